r"""A mathematical answer as tokens, read from left to right: numbers, letters, commands of LaTeX, texts and signs.

Imports: the standard library and `answer_nodes`.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from paretokit.experiments.answer_nodes import Unreadable

__all__ = ["CONSTANTS", "DIGITS", "FUNCTIONS", "GREEK", "Token", "Tokens", "tokens_of", "words_of"]


class Token(NamedTuple):
    """A piece of an answer that is read as a whole."""

    kind: str  # "number", "letter", "command", "text", "sign"
    text: str
    blank: bool  # whether a blank stands before it


_TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d{1,4}(?![\dA-Za-z]))?|\.\d+)"
    r"|\\(?:text|mathrm|mbox|textbf|textit|textrm|operatorname|mathbf|mathit|boldsymbol|bm|hbox)\s*\{(?P<text>[^{}]*)\}"
    r"|(?P<command>\\[A-Za-z]+|\\[{}%|&\\_])"
    r"|(?P<letter>[^\W\d_])"
    r"|(?P<sign>\*\*|<=|>=|!=|[^\s])"
)
GREEK = re.findall(
    r"\w+",
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau upsilon phi "
    "varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell",
)
FUNCTIONS = re.findall(
    r"\w+", "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp sqrt floor ceil abs asin acos atan"
)
CONSTANTS = {
    "\\pi": "pi",
    "pi": "pi",
    "π": "pi",
    "\\infty": "infinity",
    "∞": "infinity",
    "infinity": "infinity",
    "inf": "infinity",
}
DIGITS = re.compile(r"[0-9]+")


def words_of(text: str) -> str | None:
    """Return the words of an answer that is nothing but words; None for any other, and for what may be a product of letters."""
    marked = re.search(r"\\(?:text|mathrm|mbox|textbf|textit|textrm)\s*\{", text)
    inside = re.sub(r"\\(?:text|mathrm|mbox|textbf|textit|textrm)\s*\{([^{}]*)\}", r"\1", text)
    bare = " ".join(inside.split())
    if not re.fullmatch(r"[^\W\d_][^\W\d_]+(?:[ '-][^\W\d_]+)*\.?", bare):
        return None
    if not marked and (len(bare) < 3 or bare in FUNCTIONS or bare in CONSTANTS):
        return None
    return bare.rstrip(".").casefold()


def tokens_of(text: str) -> list[Token]:
    r"""Return the tokens of a text.

    >>> [token.text for token in tokens_of(r"3\sqrt{2} cm")]
    ['3', '\\sqrt', '{', '2', '}', 'c', 'm']
    """
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
        tokens.append(Token(kind, spelled, blank))
        at = found.end()
    return tokens


class Tokens:
    """The tokens of an answer and the place that is read next."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.at = 0

    def here(self, *, ahead: int = 0) -> Token:
        """Return the next token, or one `ahead` of it; the kind is "end" where there is none."""
        index = self.at + ahead
        return self.tokens[index] if index < len(self.tokens) else Token("end", "", False)

    def take(self, *texts: str) -> str | None:
        """Take the next token if it is one of these."""
        token = self.here()
        if token.kind in ("sign", "command") and token.text in texts:
            self.at += 1
            return token.text
        return None

    def need(self, *texts: str) -> str:
        """Take the next token, which must be one of these; `Unreadable` for any other."""
        found = self.take(*texts)
        if found is None:
            raise Unreadable(f"expected one of {texts}")
        return found

    def word(self) -> str:
        """Return the letters that stand together from here on."""
        letters = []
        while (token := self.here(ahead=len(letters))).kind == "letter" and not (letters and token.blank):
            letters.append(token.text)
        return "".join(letters)
