r"""Mathematical answers, in LaTeX or plain signs, read into small trees: numbers, formulas, pairs, sets, matrices, relations.

A reader for final answers, not for all of LaTeX: what it does not know is no answer that it can read (`Unreadable`), never a
part that is left out. Units, numerals in a base and words are symbols of their own. Imports: the standard library, and
`answer_nodes`, `answer_tokens`, `answer_numerals`, `answer_units`.
"""

from collections.abc import Sequence
from fractions import Fraction

from paretokit.experiments.answer_nodes import Node, Unreadable, number, product
from paretokit.experiments.answer_numerals import mixed, numeral, subscript
from paretokit.experiments.answer_tokens import CONSTANTS, DIGITS, FUNCTIONS, GREEK, Token, Tokens, tokens_of, words_of
from paretokit.experiments.answer_units import POWERS, UNITS, units

__all__ = ["read_answer"]

_DEEPEST = 25  # brackets and powers within one another


_RELATIONS = {
    "=": "=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "!=": "!=", "≤": "<=", "≥": ">=", "≠": "!=",
    "\\le": "<=", "\\leq": "<=", "\\leqslant": "<=", "\\ge": ">=", "\\geq": ">=", "\\geqslant": ">=", "\\ne": "!=",
    "\\neq": "!=", "\\lt": "<", "\\gt": ">", "\\in": "in", "∈": "in",
}  # fmt: skip
_PRODUCTS = ("*", "\\cdot", "\\times")
_QUOTIENTS = ("/", "\\div")
_SIGNS = {"+": "+", "-": "-", "\\pm": "±", "±": "±", "\\mp": "∓", "∓": "∓"}
_MATRICES = {"matrix": "m", "pmatrix": "m", "bmatrix": "m", "smallmatrix": "m", "array": "m", "Bmatrix": "m", "vmatrix": "det"}


def read_answer(text: str) -> Node:
    r"""Return the answer that a plain text spells, see `answer_text.plain`; raises `Unreadable`.

    >>> read_answer("(1, 2)").value, read_answer(r"\{1,2\}").value, read_answer("1,2").value
    ('()', '{}', '{}')
    >>> read_answer(r"3\frac{1}{2}").kind, read_answer(r"5\text{ cm}").parts[1].value
    ('sum', 'cm')
    """
    words = words_of(text)
    if words is not None:
        return Node("text", words)
    reader = _Reader(tokens_of(text))
    found = reader.answer()
    if reader.at < len(reader.tokens):
        raise Unreadable(text)
    return found


class _Reader(Tokens):
    """Tokens, read from left to right into an object."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        super().__init__(tokens)
        self.depth = 0

    # --- objects ---

    def answer(self) -> Node:
        """A list without brackets, which is a set, or one object."""
        parts = [self.relation()]
        while self.take(",", ";") or self._conjunction():
            while self._conjunction():
                pass
            parts.append(self.relation())
        return parts[0] if len(parts) == 1 else Node("list", "{}", tuple(parts))

    def _conjunction(self) -> bool:
        token = self.here()
        if token.kind == "text" and token.text.strip().casefold() in ("and", "or", ",", ", and", ", or"):
            self.at += 1
            return True
        word = self.word()
        if token.blank and word in ("and", "or"):
            self.at += len(word)
            return True
        return False

    def relation(self) -> Node:
        sides, signs = [self.union()], []
        while self.here().kind in ("sign", "command") and self.here().text in _RELATIONS:
            signs.append(_RELATIONS[self.here().text])
            self.at += 1
            sides.append(self.union())
        return Node("relation", tuple(signs), tuple(sides)) if signs else sides[0]

    def union(self) -> Node:
        parts = [self.formula()]
        while self.take("\\cup", "\u222a"):
            parts.append(self.formula())
        return parts[0] if len(parts) == 1 else Node("union", None, tuple(parts))

    # --- formulas ---

    def formula(self) -> Node:
        parts = [self._term()]
        while self.here().kind in ("sign", "command") and self.here().text in _SIGNS:
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else Node("sum", None, tuple(parts))

    def _term(self) -> Node:
        """A product with the signs before it."""
        sign, factors = 1, []
        while self.here().kind in ("sign", "command") and self.here().text in _SIGNS:
            found = _SIGNS[self.here().text]
            self.at += 1
            if found in "±∓":
                factors.append(Node("sign", 1 if found == "±" else -1))
            sign = -sign if found == "-" else sign
        factors.append(mixed(self) or self._factor())
        while True:
            if self.take(*_PRODUCTS):
                factors.append(self._signed())
            elif self.take(*_QUOTIENTS):
                factors.append(Node("power", None, (self._signed(), number(-1))))
            elif self._goes_on():
                factors.append(self._factor())
            else:
                break
        if sign < 0:
            factors.insert(0, number(-1))
        return factors[0] if len(factors) == 1 else Node("product", None, tuple(factors))

    def _signed(self) -> Node:
        if self.take("-"):
            return Node("product", None, (number(-1), self._factor()))
        return self._factor()

    def _goes_on(self) -> bool:
        """Whether what follows is multiplied without a sign."""
        token = self.here()
        if token.kind == "number":
            return self.tokens[self.at - 1].kind != "number"  # "3 4" is no product
        if token.kind in ("letter", "text"):
            return not (token.kind == "text" and token.text.strip().casefold() in ("and", "or")) and not (
                token.blank and self.word() in ("and", "or")
            )
        if token.kind == "command":
            name = token.text[1:]
            return name in (*GREEK, *FUNCTIONS, "frac", "sqrt", "pi", "infty", "binom", "lfloor", "lceil", "%", "overline")
        return token.text in ("(", "π", "√", "%", "{")

    def _factor(self) -> Node:
        found = self._atom()
        while True:
            if self.take("^", "**"):
                found = Node("power", None, (found, self._argument()))
            elif self.take("!"):
                found = Node("call", "factorial", (found,))
            elif self.take("%", "\\%") or self._percent():
                found = Node("product", None, (found, number(Fraction(1, 100))))
            else:
                return found

    def _percent(self) -> bool:
        token = self.here()
        if token.kind == "text" and token.text.strip().casefold() == "percent":
            self.at += 1
            return True
        if token.kind == "letter" and token.blank and self.word() == "percent":
            self.at += len("percent")
            return True
        return False

    def _argument(self) -> Node:
        """What a power takes: a group or one atom with its sign, and a power of that where one follows."""
        sign = 1
        while self.take("-"):
            sign = -sign
        found = self._atom()
        if self.take("^", "**"):
            self.depth += 1
            if self.depth > _DEEPEST:
                raise Unreadable("too deep")
            found = Node("power", None, (found, self._argument()))
            self.depth -= 1
        return found if sign > 0 else product([number(-1), found])

    def _digit_or_group(self) -> Node:
        if self.take("{"):
            return self._group("}")
        token = self.here()
        if token.kind == "number" and DIGITS.fullmatch(token.text):
            rest = token.text[1:]
            if rest:
                self.tokens = [*self.tokens[: self.at + 1], Token("number", rest, False), *self.tokens[self.at + 1 :]]
            self.at += 1
            return number(int(token.text[0]))
        return self._atom()

    def _group(self, closing: str) -> Node:
        found = self.formula()
        self.need(closing)
        return found

    # --- atoms ---

    def _atom(self) -> Node:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise Unreadable("too deep")
        found = self._one_atom()
        self.depth -= 1
        return found

    def _one_atom(self) -> Node:
        token = self.here()
        if token.kind == "end":
            raise Unreadable("nothing follows")
        if token.kind == "number":
            return numeral(self)
        if token.kind == "text":
            self.at += 1
            spelled = token.text.replace("^2", "²").replace("^3", "³").replace("/", " / ")
            return units(spelled.split())
        if token.kind == "letter":
            return self._letters()
        if token.kind == "command":
            return self._command()
        return self._bracket()

    def _letters(self) -> Node:
        token, word = self.here(), self.word()
        for name in sorted((*FUNCTIONS, *CONSTANTS), key=len, reverse=True):
            if len(name) > 1 and word.startswith(name):
                self.at += len(name)
                return Node("constant", CONSTANTS[name]) if name in CONSTANTS else self._call(name)
        after_number = self.at > 0 and self.tokens[self.at - 1].text not in (*_PRODUCTS, *_QUOTIENTS, *_SIGNS)
        if len(word) >= 2 and (word in UNITS or (token.blank and len(word) >= 3 and after_number)):
            return self._units()
        self.at += 1
        if token.text in CONSTANTS:
            return Node("constant", CONSTANTS[token.text])
        if token.text in ("e", "i") and self.here().text != "_":
            return Node("constant", token.text)
        return Node("symbol", token.text + subscript(self))

    def _units(self) -> Node:
        """The units that stand here as plain words: one, or several where "square" or "per" joins them."""
        words: list[str] = []
        while word := self.word():
            joins = word in (*POWERS, "per")
            if words and not joins and words[-1] not in (*POWERS, "per"):
                break
            words.append(word)
            self.at += len(word)
        return units(words)

    def _command(self) -> Node:
        text = self.here().text
        name = text[1:]
        if text == "\\{":
            return self._bracket()
        self.at += 1
        if text in CONSTANTS:
            return Node("constant", CONSTANTS[text])
        if name in GREEK:
            return Node("symbol", name + subscript(self))
        if name == "frac":
            top = self._digit_or_group()
            return Node("product", None, (top, Node("power", None, (self._digit_or_group(), number(-1)))))
        if name == "sqrt":
            return self._root()
        if name in ("binom", "dbinom", "tbinom"):
            return Node("call", "binomial", (self._digit_or_group(), self._digit_or_group()))
        if name in FUNCTIONS:
            return self._call(name)
        if name in ("lfloor", "lceil"):
            inside = self.formula()
            self.need("\\rfloor" if name == "lfloor" else "\\rceil")
            return Node("call", "floor" if name == "lfloor" else "ceil", (inside,))
        if name in ("lvert", "|"):
            inside = self.formula()
            self.need("\\rvert" if name == "lvert" else "\\|")
            return Node("call", "abs" if name == "lvert" else "norm", (inside,))
        if name in ("emptyset", "varnothing"):
            return Node("list", "{}", ())
        if name == "begin":
            return self._matrix()
        if name == "mathbb":
            self.need("{")
            letter = self.here().text
            self.at += 1
            self.need("}")
            return Node("symbol", f"the set {letter}")
        raise Unreadable(text)

    def _root(self) -> Node:
        index = Fraction(2)
        if self.take("["):
            inside = self._group("]")
            if inside.kind != "number" or inside.value <= 0:
                raise Unreadable("no index of a root")
            index = inside.value
        return Node("power", None, (self._digit_or_group(), number(1 / index)))

    def _call(self, name: str) -> Node:
        """A function with its argument in brackets, or the factor behind it."""
        power = self._argument() if self.take("^") else None
        base = self._argument() if name in ("log", "lg") and self.take("_") else None
        if name == "sqrt":
            inside = self._argument()
            return Node("power", None, (inside, number(Fraction(1, 2))))
        name = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "lg": "log"}.get(name, name)
        if power == number(-1) or power == Node("product", None, (number(-1), number(1))):
            name, power = f"arc{name}", None
        argument = self._argument() if self.here().text in ("(", "{", "[") else self._bare_argument()
        found = Node("call", name, (argument,) if base is None else (argument, base))
        return found if power is None else Node("power", None, (found, power))

    def _bare_argument(self) -> Node:
        """The product behind a function without brackets: numbers, letters and fractions up to the next sign."""
        factors = [self._factor()]
        while self._goes_on() and self.here().text not in ("(", "{") and self.here().text[1:] not in FUNCTIONS:
            factors.append(self._factor())
        return product(factors)

    def _bracket(self) -> Node:
        opening = self.here().text
        self.at += 1
        if opening == "|":
            inside = self.formula()
            self.need("|")
            return Node("call", "abs", (inside,))
        if opening == "√":
            return Node("power", None, (self._digit_or_group(), number(Fraction(1, 2))))
        closings = {"(": (")", "]"), "[": ("]", ")"), "{": ("}",), "\\{": ("\\}",)}.get(opening)
        if closings is None:
            raise Unreadable(opening)
        if found := self.take(*closings):
            return Node("list", f"{opening}{found}".replace("\\", ""), ())
        parts, kind = [self.relation()], ""
        while separator := self.take(",", ";", ":"):
            kind = ":" if separator == ":" else kind
            parts.append(self.relation())
        closing = self.need(*closings)
        single = len(parts) == 1 and opening != "\\{"
        if single and parts[0].kind != "relation" and f"{opening}{closing}" in ("()", "[]", "{}"):
            return parts[0]
        return Node("list", f"{opening}{closing}".replace("\\", "") + kind, tuple(parts))

    def _matrix(self) -> Node:
        self.need("{")
        name = self.word()
        self.at += len(name)
        self.need("}")
        kind = _MATRICES.get(name)
        if kind is None:
            raise Unreadable(name)
        if name == "array":
            self.need("{")
            while not self.take("}"):
                if self.here().kind == "end":
                    raise Unreadable("an open brace")
                self.at += 1
        rows = [[self.formula()]]
        while not self.take("\\end"):
            if self.take("&"):
                rows[-1].append(self.formula())
            else:
                self.need("\\\\")
                if self.here().text != "\\end":
                    rows.append([self.formula()])
        self.need("{")
        self.at += len(self.word())
        self.need("}")
        return Node("matrix", kind, tuple(Node("list", "row", tuple(row)) for row in rows))
