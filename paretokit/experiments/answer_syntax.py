r"""Mathematical answers, in LaTeX or plain signs, read into small trees: numbers, formulas, pairs, sets, matrices, relations.

A reader for final answers, not for all of LaTeX: what it does not know is no answer that it can read (`Unreadable`), never a
part that is left out. Units, numerals in a base and words are symbols of their own. Imports: the standard library.
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

__all__ = ["Node", "Unreadable", "read_answer"]

_DEEPEST = 25  # brackets and powers within one another


class Unreadable(Exception):  # noqa: N818 (not an error for the caller)
    """A text that is no answer as this module reads them, or a value beyond its bounds."""


class Node(NamedTuple):
    """A part of an answer.

    Formulas: "number" (a Fraction), "symbol" (a name), "constant" (pi, e, i, infinity), "sum", "product", "power", "call"
    (name, arguments), "sign" (plus or minus). Objects: "list" (the brackets, parts; "{}" is a set), "union", "matrix" (rows),
    "relation" (signs, sides), "text".
    """

    kind: str
    value: Any = None
    parts: tuple["Node", ...] = ()


class _Token(NamedTuple):
    kind: str  # "number", "letter", "command", "text", "sign"
    text: str
    blank: bool  # whether a blank stands before it


_TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d{1,4}(?![\dA-Za-z]))?|\.\d+)"
    r"|\\(?:text|mathrm|mbox|textbf|textit|textrm|operatorname|mathbf|mathit|hbox)\s*\{(?P<text>[^{}]*)\}"
    r"|(?P<command>\\[A-Za-z]+|\\[{}%|&\\_])"
    r"|(?P<letter>[^\W\d_])"
    r"|(?P<sign>\*\*|<=|>=|!=|[^\s])"
)
_GREEK = re.findall(
    r"\w+",
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau upsilon phi "
    "varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell",
)
_FUNCTIONS = re.findall(
    r"\w+", "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp sqrt floor ceil abs asin acos atan"
)
_CONSTANTS = {
    "\\pi": "pi",
    "pi": "pi",
    "π": "pi",
    "\\infty": "infinity",
    "∞": "infinity",
    "infinity": "infinity",
    "inf": "infinity",
}
_UNITS = frozenset(
    re.findall(
        r"\w+",
        "mm cm dm km in ft yd mi mg kg lb lbs oz ml mL cl dl kl ms sec min hr hrs kW kWh MW Hz kHz MHz GHz Pa kPa mph kph rpm "
        "cc amu mol kJ eV",
    )
)
_MONEY_AND_DEGREES = frozenset({"dollar", "dollars", "degree", "degrees"})
_RELATIONS = {
    "=": "=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "!=": "!=", "≤": "<=", "≥": ">=", "≠": "!=",
    "\\le": "<=", "\\leq": "<=", "\\leqslant": "<=", "\\ge": ">=", "\\geq": ">=", "\\geqslant": ">=", "\\ne": "!=",
    "\\neq": "!=", "\\lt": "<", "\\gt": ">", "\\in": "in", "∈": "in",
}  # fmt: skip
_PRODUCTS = ("*", "\\cdot", "\\times")
_QUOTIENTS = ("/", "\\div")
_SIGNS = {"+": "+", "-": "-", "\\pm": "±", "±": "±", "\\mp": "∓", "∓": "∓"}
_MATRICES = {"matrix": "m", "pmatrix": "m", "bmatrix": "m", "smallmatrix": "m", "array": "m", "Bmatrix": "m", "vmatrix": "det"}
_DIGITS = re.compile(r"[0-9]+")


def read_answer(text: str) -> Node:
    r"""Return the answer that a plain text spells, see `answer_text.plain`; raises `Unreadable`.

    >>> read_answer("(1, 2)").value, read_answer(r"\{1,2\}").value, read_answer("1,2").value
    ('()', '{}', '{}')
    >>> read_answer(r"3\frac{1}{2}").kind, read_answer(r"5\text{ cm}").parts[1].value
    ('sum', 'cm')
    """
    words = _words(text)
    if words is not None:
        return Node("text", words)
    reader = _Reader(_tokens(text))
    found = reader.answer()
    if reader.at < len(reader.tokens):
        raise Unreadable(text)
    return found


def _words(text: str) -> str | None:
    """The words of an answer that is nothing but words; None for any other, and for what may be a product of letters."""
    marked = re.search(r"\\(?:text|mathrm|mbox|textbf|textit|textrm)\s*\{", text)
    inside = re.sub(r"\\(?:text|mathrm|mbox|textbf|textit|textrm)\s*\{([^{}]*)\}", r"\1", text)
    bare = " ".join(inside.split())
    if not re.fullmatch(r"[^\W\d_][^\W\d_]+(?:[ '-][^\W\d_]+)*\.?", bare):
        return None
    if not marked and (len(bare) < 3 or bare in _FUNCTIONS or bare in _CONSTANTS):
        return None
    return bare.rstrip(".").casefold()


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:  # a blank, or a sign that is none
            if not text[at].isspace():
                raise Unreadable(text)
            at += 1
            continue
        kind = found.lastgroup or "text"
        blank = at == 0 or text[at - 1].isspace()
        spelled = found.group("text") if kind == "text" else found.group()
        tokens.append(_Token(kind, spelled, blank))
        at = found.end()
    return tokens


class _Reader:
    """Tokens, read from left to right."""

    def __init__(self, tokens: Sequence[_Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0

    # --- looking and taking ---

    def here(self, *, ahead: int = 0) -> _Token:
        index = self.at + ahead
        return self.tokens[index] if index < len(self.tokens) else _Token("end", "", False)

    def take(self, *texts: str) -> str | None:
        """Take the next token if it is one of these."""
        token = self.here()
        if token.kind in ("sign", "command") and token.text in texts:
            self.at += 1
            return token.text
        return None

    def need(self, *texts: str) -> str:
        found = self.take(*texts)
        if found is None:
            raise Unreadable(f"expected one of {texts}")
        return found

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
        word = self._word()
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
        factors.append(self._mixed() or self._factor())
        while True:
            if self.take(*_PRODUCTS):
                factors.append(self._signed())
            elif self.take(*_QUOTIENTS):
                factors.append(Node("power", None, (self._signed(), _number(-1))))
            elif self._goes_on():
                factors.append(self._factor())
            else:
                break
        if sign < 0:
            factors.insert(0, _number(-1))
        return factors[0] if len(factors) == 1 else Node("product", None, tuple(factors))

    def _signed(self) -> Node:
        if self.take("-"):
            return Node("product", None, (_number(-1), self._factor()))
        return self._factor()

    def _goes_on(self) -> bool:
        """Whether what follows is multiplied without a sign."""
        token = self.here()
        if token.kind == "number":
            return self.tokens[self.at - 1].kind != "number"  # "3 4" is no product
        if token.kind in ("letter", "text"):
            return not (token.kind == "text" and token.text.strip().casefold() in ("and", "or")) and not (
                token.blank and self._word() in ("and", "or")
            )
        if token.kind == "command":
            name = token.text[1:]
            return name in (*_GREEK, *_FUNCTIONS, "frac", "sqrt", "pi", "infty", "binom", "lfloor", "lceil", "%", "overline")
        return token.text in ("(", "π", "√", "%", "{")

    def _mixed(self) -> Node | None:
        r"""A whole number with a fraction behind it: 3\frac{1}{2}, or 3 1/2."""
        whole, second, third, fourth = (self.here(ahead=ahead) for ahead in range(4))
        if whole.kind != "number" or not _DIGITS.fullmatch(whole.text):
            return None
        if second.kind == "number" and second.blank and third.text == "/" and fourth.kind == "number":
            texts, count = (second.text, fourth.text), 4
        elif second.text == "\\frac":
            texts, count = self._plain_fraction()
        else:
            return None
        if not all(map(_DIGITS.fullmatch, texts)) or int(texts[1]) == 0:
            return None
        self.at += count
        return Node("sum", None, (_number(int(whole.text)), _number(Fraction(int(texts[0]), int(texts[1])))))

    def _plain_fraction(self) -> tuple[tuple[str, str], int]:
        r"""The digits of \frac{1}{2} or \frac12 behind a whole number, and how many tokens that is; "" where they are none."""
        spelled = [token.text for token in self.tokens[self.at + 1 : self.at + 8]]
        if len(spelled) >= 7 and spelled[1] == "{" and spelled[3:5] == ["}", "{"] and spelled[6] == "}":
            return (spelled[2], spelled[5]), 8
        if len(spelled) >= 2 and re.fullmatch(r"\d\d", spelled[1]):
            return (spelled[1][0], spelled[1][1]), 3
        return ("", ""), 0

    def _factor(self) -> Node:
        found = self._atom()
        while True:
            if self.take("^", "**"):
                found = Node("power", None, (found, self._argument()))
            elif self.take("!"):
                found = Node("call", "factorial", (found,))
            elif self.take("%", "\\%") or self._percent():
                found = Node("product", None, (found, _number(Fraction(1, 100))))
            else:
                return found

    def _percent(self) -> bool:
        token = self.here()
        if token.kind == "text" and token.text.strip().casefold() == "percent":
            self.at += 1
            return True
        if token.kind == "letter" and token.blank and self._word() == "percent":
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
        return found if sign > 0 else _product([_number(-1), found])

    def _digit_or_group(self) -> Node:
        if self.take("{"):
            return self._group("}")
        token = self.here()
        if token.kind == "number" and _DIGITS.fullmatch(token.text):
            rest = token.text[1:]
            if rest:
                self.tokens = [*self.tokens[: self.at + 1], _Token("number", rest, False), *self.tokens[self.at + 1 :]]
            self.at += 1
            return _number(int(token.text[0]))
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
            return self._numeral()
        if token.kind == "text":
            self.at += 1
            return _product([_unit(word) for word in token.text.replace("^2", "²").replace("^3", "³").split()])
        if token.kind == "letter":
            return self._letters()
        if token.kind == "command":
            return self._command()
        return self._bracket()

    def _numeral(self) -> Node:
        token = self.here()
        self.at += 1
        if self.here().text == "\\overline" and "." in token.text:
            self.at += 1
            self.need("{")
            repeated = self.here().text
            self.at += 1
            self.need("}")
            if not _DIGITS.fullmatch(repeated):
                raise Unreadable("no digits under a line")
            places = len(token.text.partition(".")[2])
            tail = Fraction(int(repeated), (10 ** len(repeated) - 1) * 10**places)
            return _number(Fraction(token.text.rstrip(".")) + tail)
        if self.here().text == "_" and _DIGITS.fullmatch(token.text):
            self.at += 1
            return Node("symbol", f"{token.text.lstrip('0') or '0'} in base {self._base()}")
        text = token.text
        return _number(Fraction(text.rstrip(".") if "e" not in text.lower() else text))

    def _base(self) -> str:
        """A base, as in 12_5, 12_{five} or 12_{(5)}."""
        braced = self.take("{")
        inner = self.take("(")
        token = self.here()
        if token.kind == "number" and _DIGITS.fullmatch(token.text):
            self.at += 1
            base = str(int(token.text))
        elif token.kind == "text":
            self.at += 1
            base = _BASES.get(token.text.strip().casefold(), "")
        else:
            word = self._word()
            self.at += len(word)
            base = _BASES.get(word.casefold(), "")
        if not base:
            raise Unreadable("no base")
        if inner:
            self.need(")")
        if braced:
            self.need("}")
        return base

    def _word(self) -> str:
        """The letters that stand together from here on."""
        letters = []
        while (token := self.here(ahead=len(letters))).kind == "letter" and not (letters and token.blank):
            letters.append(token.text)
        return "".join(letters)

    def _letters(self) -> Node:
        token, word = self.here(), self._word()
        for name in sorted((*_FUNCTIONS, *_CONSTANTS), key=len, reverse=True):
            if len(name) > 1 and word.startswith(name):
                self.at += len(name)
                return Node("constant", _CONSTANTS[name]) if name in _CONSTANTS else self._call(name)
        after_number = self.at > 0 and self.tokens[self.at - 1].text not in (*_PRODUCTS, *_QUOTIENTS, *_SIGNS)
        if len(word) >= 2 and (word in _UNITS or (token.blank and len(word) >= 3 and after_number)):
            self.at += len(word)
            return _unit(word)
        self.at += 1
        if token.text in _CONSTANTS:
            return Node("constant", _CONSTANTS[token.text])
        if token.text in ("e", "i") and self.here().text != "_":
            return Node("constant", token.text)
        return Node("symbol", token.text + self._subscript())

    def _subscript(self) -> str:
        if not self.take("_"):
            return ""
        if not self.take("{"):
            self.at += 1
            return f"_{self.here(ahead=-1).text}"
        inside = []
        while not self.take("}"):
            if self.here().kind == "end":
                raise Unreadable("an open brace")
            inside.append(self.here().text)
            self.at += 1
        return f"_{''.join(inside)}"

    def _command(self) -> Node:
        text = self.here().text
        name = text[1:]
        if text == "\\{":
            return self._bracket()
        self.at += 1
        if text in _CONSTANTS:
            return Node("constant", _CONSTANTS[text])
        if name in _GREEK:
            return Node("symbol", name + self._subscript())
        if name == "frac":
            top = self._digit_or_group()
            return Node("product", None, (top, Node("power", None, (self._digit_or_group(), _number(-1)))))
        if name == "sqrt":
            return self._root()
        if name in ("binom", "dbinom", "tbinom"):
            return Node("call", "binomial", (self._digit_or_group(), self._digit_or_group()))
        if name in _FUNCTIONS:
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
        return Node("power", None, (self._digit_or_group(), _number(1 / index)))

    def _call(self, name: str) -> Node:
        """A function with its argument in brackets, or the factor behind it."""
        power = self._argument() if self.take("^") else None
        base = self._argument() if name in ("log", "lg") and self.take("_") else None
        if name == "sqrt":
            inside = self._argument()
            return Node("power", None, (inside, _number(Fraction(1, 2))))
        name = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "lg": "log"}.get(name, name)
        if power == _number(-1) or power == Node("product", None, (_number(-1), _number(1))):
            name, power = f"arc{name}", None
        argument = self._argument() if self.here().text in ("(", "{", "[") else self._bare_argument()
        found = Node("call", name, (argument,) if base is None else (argument, base))
        return found if power is None else Node("power", None, (found, power))

    def _bare_argument(self) -> Node:
        """The product behind a function without brackets: numbers, letters and fractions up to the next sign."""
        factors = [self._factor()]
        while self._goes_on() and self.here().text not in ("(", "{") and self.here().text[1:] not in _FUNCTIONS:
            factors.append(self._factor())
        return _product(factors)

    def _bracket(self) -> Node:
        opening = self.here().text
        self.at += 1
        if opening == "|":
            inside = self.formula()
            self.need("|")
            return Node("call", "abs", (inside,))
        if opening == "√":
            return Node("power", None, (self._digit_or_group(), _number(Fraction(1, 2))))
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
        name = self._word()
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
        self.at += len(self._word())
        self.need("}")
        return Node("matrix", kind, tuple(Node("list", "row", tuple(row)) for row in rows))


_BASES = {
    name: str(number)
    for number, name in enumerate(
        re.findall(r"\w+", "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"),
        start=2,
    )
} | {str(number): str(number) for number in range(2, 37)}


def _number(value: int | Fraction) -> Node:
    return Node("number", Fraction(value))


def _unit(word: str) -> Node:
    """A word as a symbol; money and degrees are notation, as their signs are."""
    name = word.strip(".,")
    if name.casefold() in _MONEY_AND_DEGREES:
        return _number(1)
    power = {"²": 2, "³": 3}.get(name[-1:])
    symbol = Node("symbol", name if len(name) < 3 else name.casefold())
    if power is None:
        return symbol
    return Node("power", None, (_unit(name[:-1]), _number(power)))


def _product(factors: Sequence[Node]) -> Node:
    if not factors:
        return _number(1)
    return factors[0] if len(factors) == 1 else Node("product", None, tuple(factors))
