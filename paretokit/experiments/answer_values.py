"""Whether two answers are the same object: numbers by value, formulas at points, pairs, sets and matrices part by part.

Rational numbers are exact. Other values are computed with more digits than the numbers in the answers have together, so that
what differs is seen to differ. Formulas with symbols are equal where they are equal at three points, none of which is a root
of a formula that somebody writes. All work is bounded: no power, factorial or text beyond a size is evaluated.
Imports: mpmath, `answer_nodes`.
"""

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from math import comb, factorial, isqrt
from typing import Any

from mpmath import MPContext

from paretokit.experiments.answer_nodes import Node, Unreadable

__all__ = ["equal"]

_BITS = 2**16  # of the numerator and denominator of a rational number, at most
_FACTORIAL = 5000
_PRECISION = 8000  # bits, at most
_LONGEST_EXPONENT = 64  # bits of the logarithm of a value, at most
_POINTS = 3
_PRIMES = (
    1009,
    1013,
    1019,
    1021,
    1031,
    1033,
    1039,
    1049,
    1051,
    1061,
    1063,
    1069,
    1087,
    1091,
    1093,
    1097,
    1103,
    1109,
    1117,
    1123,
)

Value = Any  # a Fraction, or a number of mpmath


def equal(first: Node, second: Node) -> bool:
    """Return whether two answers are the same mathematical object; raises `Unreadable` where values are beyond all bounds."""
    first, second = _bare(first, second), _bare(second, first)
    return _Comparison(first, second).same(first, second)


def _bare(node: Node, other: Node) -> Node:
    """An answer without "x =" in front, where the other one has none either; the part of a list each."""
    if node.kind == "list" and other.kind == "list" and any(part.kind == "relation" for part in other.parts):
        return node
    if node.kind == "list" and node.value == "{}" and node.parts and all(part.kind == "relation" for part in node.parts):
        names = {_assigned(part) for part in node.parts}
        if len(names) == 1 and None not in names:
            return node._replace(parts=tuple(part.parts[1] for part in node.parts))
    if node.kind == "relation" and other.kind != "relation" and _assigned(node) is not None:
        return node.parts[1]
    return node


def _assigned(node: Node) -> str | None:
    """The name of what a relation like x = 5, f(x) = 5 or x in [0, 1] is about."""
    if node.kind != "relation" or node.value not in (("=",), ("in",)):
        return None
    left = node.parts[0]
    if left.kind == "symbol":
        return left.value
    if left.kind == "product" and len(left.parts) == 2 and all(part.kind == "symbol" for part in left.parts):
        return f"{left.parts[0].value}({left.parts[1].value})"
    return None


class _Comparison:
    """Two answers, with the points and the precision at which they are compared."""

    def __init__(self, first: Node, second: Node) -> None:
        names = sorted({node.value for one in (first, second) for node in _nodes(one) if node.kind == "symbol"})
        if len(names) > len(_PRIMES):
            raise Unreadable("too many symbols")
        self.points = [
            {name: Fraction(sign * prime, below) for name, prime in zip(names, _PRIMES, strict=False)}
            for sign, below in ((1, 1), (-1, 7), (1, 11))
        ][: _POINTS if names else 1]
        bits = _literal_bits(first) + _literal_bits(second)
        self.context = MPContext()
        self.enough = 256 + 4 * bits <= _PRECISION
        self.context.prec = min(_PRECISION, 256 + 4 * bits)
        self.near = self.context.mpf(2) ** -(self.context.prec * 3 // 5)
        self.known: dict[int, list[Value | None]] = {}  # by id of a node, which lives as long as the answers do
        self.kept: list[Node] = []

    def same(self, one: Node, other: Node) -> bool:
        one, other = self._opened(one), self._opened(other)
        objects = ("list", "union", "matrix", "relation", "text")
        if one.kind in objects or other.kind in objects:
            if one.kind != other.kind or not self._alike(one, other):
                return False
            if one.kind == "relation":
                return self._same_relation(one, other)
            if one.kind == "text":
                return True
            unordered = one.kind == "union" or (one.kind == "list" and one.value == "{}")
            if unordered:
                return self._within(one, other) and self._within(other, one)
            return len(one.parts) == len(other.parts) and all(
                self.same(a, b) for a, b in zip(one.parts, other.parts, strict=True)
            )
        return self._same_value(one, other)

    def _alike(self, one: Node, other: Node) -> bool:
        return one.kind == "relation" or one.value == other.value

    def _within(self, one: Node, other: Node) -> bool:
        return all(any(self.same(part, found) for found in other.parts) for part in one.parts)

    def _opened(self, node: Node) -> Node:
        """A formula with plus or minus as the set of its two values, also inside of a set."""
        if node.kind == "list" and node.value == "{}":
            parts = [self._opened(part) if _has_sign(part) else part for part in node.parts]
            flat = [inner for part in parts for inner in (part.parts if _is_set(part) else (part,))]
            return node if flat == list(node.parts) else self._keep(node._replace(parts=tuple(flat)))
        if node.kind in ("list", "union", "matrix", "relation", "text") or not _has_sign(node):
            return node
        return self._keep(Node("list", "{}", (self._keep(_chosen(node, 1)), self._keep(_chosen(node, -1)))))

    def _keep(self, node: Node) -> Node:
        self.kept.append(node)
        return node

    def _same_relation(self, one: Node, other: Node) -> bool:
        (signs, sides), (others, against) = _rising(one), _rising(other)
        if signs != others:
            return False
        if all(self.same(a, b) for a, b in zip(sides, against, strict=True)):
            return True
        if signs == ("=",):
            return all(self.same(a, b) for a, b in zip(sides, reversed(against), strict=True)) or self._proportional(
                sides, against
            )
        return signs == ("!=",) and all(self.same(a, b) for a, b in zip(sides, reversed(against), strict=True))

    def _proportional(self, sides: tuple[Node, ...], others: tuple[Node, ...]) -> bool:
        """Whether two equations differ by a factor, as 2x = 4y and x = 2y."""
        if any(node.kind in ("list", "union", "matrix", "text") for node in (*sides, *others)):
            return False
        minus = Node("number", Fraction(-1))
        differences = [
            self._values(self._keep(Node("sum", None, (left, Node("product", None, (minus, right))))))
            for left, right in (sides, others)
        ]
        ratios = []
        for a, b in zip(*differences, strict=True):
            if a is None or b is None or self._zero(a) or self._zero(b):
                return False
            ratios.append(self._number(a) / self._number(b))
        return len(ratios) > 1 and all(abs(ratio - ratios[0]) <= self.near * abs(ratios[0]) for ratio in ratios)

    def _zero(self, value: Value) -> bool:
        return value == 0 if isinstance(value, Fraction) else abs(value) <= self.near

    def _same_value(self, one: Node, other: Node) -> bool:
        pairs = list(zip(self._values(one), self._values(other), strict=True))
        if all(a is None and b is None for a, b in pairs):
            return one == other
        return all(self._near(a, b) for a, b in pairs if a is not None or b is not None)

    def _near(self, a: Value | None, b: Value | None) -> bool:
        if a is None or b is None:
            return False
        if isinstance(a, str) or isinstance(b, str):
            return a == b
        if isinstance(a, Fraction) and isinstance(b, Fraction):
            return a == b
        if not self.enough:
            raise Unreadable("numbers with more digits than are computed")
        x, y = self._number(a), self._number(b)
        return bool(abs(x - y) <= self.near * max(self.context.one, abs(x), abs(y)))

    def _number(self, value: Value) -> Value:
        if isinstance(value, Fraction):
            return self.context.mpf(value.numerator) / value.denominator
        return value

    # --- values ---

    def _values(self, node: Node) -> list[Value | None]:
        """The value at each point; None where there is none, such as of 1/0."""
        if id(node) not in self.known:
            self.kept.append(node)
            self.known[id(node)] = [self._value_or_none(node, point) for point in self.points]
        return self.known[id(node)]

    def _value_or_none(self, node: Node, point: Mapping[str, Fraction]) -> Value | None:
        if infinite := _infinite(node):
            return infinite
        try:
            found = self._value(node, point)
        except (ZeroDivisionError, ValueError, OverflowError, TypeError):
            return None
        if not isinstance(found, Fraction) and not self.context.isfinite(found):
            return None
        return found

    def _value(self, node: Node, point: Mapping[str, Fraction]) -> Value:
        if node.kind == "number":
            return node.value
        if node.kind == "symbol":
            return point[node.value]
        if node.kind == "constant":
            if node.value == "infinity":
                raise Unreadable("infinity inside of a formula")
            return {"pi": +self.context.pi, "e": +self.context.e, "i": self.context.mpc(0, 1)}[node.value]
        if node.kind in ("sum", "product"):
            return self._folded(node, point)
        if node.kind == "power":
            return self._power(*(self._value(part, point) for part in node.parts))
        if node.kind == "call":
            return self._called(node.value, [self._value(part, point) for part in node.parts])
        raise Unreadable(f"{node.kind} inside of a formula")

    def _folded(self, node: Node, point: Mapping[str, Fraction]) -> Value:
        add = node.kind == "sum"
        total: Value = Fraction(0 if add else 1)
        for part in node.parts:
            value = self._value(part, point)
            if not (isinstance(total, Fraction) and isinstance(value, Fraction)):
                total, value = self._number(total), self._number(value)
            total = _small(total + value if add else total * value)
        return total

    def _power(self, base: Value, exponent: Value) -> Value:
        both = isinstance(base, Fraction) and isinstance(exponent, Fraction)
        if both and (root := _exact(base, exponent)) is not None:
            return root
        x, y = self._number(base), self._number(exponent)
        if x == 0:
            if isinstance(y, self.context.mpf) and y > 0:
                return Fraction(0)
            raise ZeroDivisionError
        if isinstance(exponent, Fraction) and exponent.denominator == 1:
            self._bounded(y * self.context.log(abs(x)))
            return self.context.power(x, int(exponent))
        odd_root = isinstance(exponent, Fraction) and exponent.denominator % 2 == 1
        if odd_root and isinstance(x, self.context.mpf) and x < 0:  # the real one, as in school
            sign = -1 if exponent.numerator % 2 else 1
            return sign * self._power(-x, exponent)
        self._bounded(y * self.context.log(x))
        return self.context.power(x, y)

    def _bounded(self, exponent: Value) -> None:
        """Refuse a value whose logarithm is too long to be computed with."""
        if exponent and self.context.mag(exponent) > _LONGEST_EXPONENT:
            raise Unreadable("a value beyond all bounds")

    def _called(self, name: str, given: list[Value]) -> Value:
        if name in ("factorial", "binomial"):
            return _counted(name, given)
        x = given[0]
        if name == "abs" and isinstance(x, Fraction):
            return abs(x)
        if name in ("floor", "ceil"):
            if isinstance(x, Fraction):
                return Fraction(x.__floor__() if name == "floor" else x.__ceil__())
            if not isinstance(x, self.context.mpf) or self.context.mag(x) > self.context.prec // 2:
                raise Unreadable("no real number to round")
            return Fraction(int(self.context.floor(x) if name == "floor" else self.context.ceil(x)))
        known = self._functions().get(name)
        if known is None:
            raise Unreadable(name)
        value = self._number(x)
        if value and self.context.mag(value) > _LONGEST_EXPONENT and name not in ("log", "ln", "abs"):
            raise Unreadable("an argument beyond all bounds")
        if name == "log":
            base = self._number(given[1]) if len(given) == 2 else self.context.mpf(10)
            if value == 0 or base in (0, 1):
                raise ZeroDivisionError
            return self.context.log(value) / self.context.log(base)
        return known(value)

    def _functions(self) -> Mapping[str, Callable[[Value], Value]]:
        c = self.context
        return {
            "sin": c.sin, "cos": c.cos, "tan": c.tan, "cot": c.cot, "sec": c.sec, "csc": c.csc,
            "arcsin": c.asin, "arccos": c.acos, "arctan": c.atan, "sinh": c.sinh, "cosh": c.cosh, "tanh": c.tanh,
            "exp": c.exp, "ln": c.ln, "log": c.log, "abs": abs,
        }  # fmt: skip


def _small(value: Value) -> Value:
    if isinstance(value, Fraction) and value.numerator.bit_length() + value.denominator.bit_length() > _BITS:
        raise Unreadable("a number beyond all bounds")
    return value


def _exact(base: Fraction, exponent: Fraction) -> Fraction | None:
    """The power as a rational number; None where it is none, or none that is found here."""
    if exponent.denominator == 1:
        if base in (0, 1, -1):
            if base == 0 and exponent < 0:
                raise ZeroDivisionError
            return base ** (int(exponent) % 2 if base == -1 else min(int(exponent), 1) if exponent >= 0 else 1)
        bits = max(base.numerator.bit_length(), base.denominator.bit_length()) * abs(exponent.numerator)
        if bits > _BITS:
            raise Unreadable("a power beyond all bounds")
        return base ** int(exponent)
    if exponent.denominator == 2 and base >= 0:
        top, bottom = isqrt(base.numerator), isqrt(base.denominator)
        if top * top == base.numerator and bottom * bottom == base.denominator:
            return _exact(Fraction(top, bottom), Fraction(exponent.numerator))
    return None


def _counted(name: str, given: list[Value]) -> Fraction:
    if not all(isinstance(one, Fraction) and one.denominator == 1 and 0 <= one <= _FACTORIAL for one in given):
        raise Unreadable(f"no {name} of a small whole number")
    numbers = [int(one) for one in given]
    return Fraction(factorial(numbers[0]) if name == "factorial" else comb(*numbers))


def _infinite(node: Node) -> str:
    """Infinity with its sign; "" for all else."""
    if node.kind == "constant" and node.value == "infinity":
        return "+infinity"
    if node.kind == "product" and len(node.parts) == 2 and node.parts[0] == Node("number", Fraction(-1)):
        return "-infinity" if _infinite(node.parts[1]) == "+infinity" else ""
    return ""


def _rising(node: Node) -> tuple[tuple[str, ...], tuple[Node, ...]]:
    """The signs and sides of a relation, turned round where its first sign is > or >=."""
    turned = {">": "<", ">=": "<=", "<": ">", "<=": ">="}
    if node.value[0] in (">", ">="):
        signs = tuple(str(turned.get(sign, sign)) for sign in reversed(node.value))
        return signs, tuple(reversed(node.parts))
    return node.value, node.parts


def _is_set(node: Node) -> bool:
    return node.kind == "list" and node.value == "{}"


def _has_sign(node: Node) -> bool:
    return any(one.kind == "sign" for one in _nodes(node))


def _chosen(node: Node, sign: int) -> Node:
    """The formula with each plus-or-minus decided together."""
    if node.kind == "sign":
        return Node("number", Fraction(sign * node.value))
    return node._replace(parts=tuple(_chosen(part, sign) for part in node.parts))


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for part in node.parts:
        yield from _nodes(part)


def _literal_bits(node: Node) -> int:
    """About how many bits the numbers have that are written in an answer, powers of whole numbers multiplied out."""
    if node.kind == "number":
        return node.value.numerator.bit_length() + node.value.denominator.bit_length()
    bits = [_literal_bits(part) for part in node.parts]
    if node.kind == "power":
        exponent = node.parts[1]
        numbers = [part.value for part in (exponent, *exponent.parts) if part.kind == "number"]
        largest = max([1, *(min(_PRECISION, int(abs(number))) for number in numbers)])
        return min(_PRECISION, bits[0] * largest + bits[1])
    return min(_PRECISION, sum(bits))
