r"""Numerals in answers: decimal and periodic ones, mixed numbers such as 3\frac{1}{2}, numerals in a base, and subscripts.

Imports: the standard library, `answer_nodes` and `answer_tokens`.
"""

import re
from fractions import Fraction

from paretokit.experiments.answer_nodes import Node, Unreadable, number
from paretokit.experiments.answer_tokens import DIGITS, Tokens

__all__ = ["mixed", "numeral", "subscript"]

_BASES = {
    name: str(number)
    for number, name in enumerate(
        re.findall(r"\w+", "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"),
        start=2,
    )
} | {str(number): str(number) for number in range(2, 37)}


def mixed(tokens: Tokens) -> Node | None:
    r"""Take a whole number with a fraction behind it, 3\frac{1}{2} or 3 1/2; None where none is next."""
    whole, second, third, fourth = (tokens.here(ahead=ahead) for ahead in range(4))
    if whole.kind != "number" or not DIGITS.fullmatch(whole.text):
        return None
    if second.kind == "number" and second.blank and third.text == "/" and fourth.kind == "number":
        texts, count = (second.text, fourth.text), 4
    elif second.text == "\\frac":
        texts, count = _plain_fraction(tokens)
    else:
        return None
    if not all(map(DIGITS.fullmatch, texts)) or int(texts[1]) == 0:
        return None
    tokens.at += count
    return Node("sum", None, (number(int(whole.text)), number(Fraction(int(texts[0]), int(texts[1])))))


def _plain_fraction(tokens: Tokens) -> tuple[tuple[str, str], int]:
    r"""The digits of \frac{1}{2} or \frac12 behind a whole number, and how many tokens that is; "" where they are none."""
    spelled = [token.text for token in tokens.tokens[tokens.at + 1 : tokens.at + 8]]
    if len(spelled) >= 7 and spelled[1] == "{" and spelled[3:5] == ["}", "{"] and spelled[6] == "}":
        return (spelled[2], spelled[5]), 8
    if len(spelled) >= 2 and re.fullmatch(r"\d\d", spelled[1]):
        return (spelled[1][0], spelled[1][1]), 3
    return ("", ""), 0


def numeral(tokens: Tokens) -> Node:
    r"""Take a numeral, with the digits under a line or the base behind it, as in 0.\overline{3} and 12_5."""
    token = tokens.here()
    tokens.at += 1
    if tokens.here().text == "\\overline" and "." in token.text:
        tokens.at += 1
        tokens.need("{")
        repeated = tokens.here().text
        tokens.at += 1
        tokens.need("}")
        if not DIGITS.fullmatch(repeated):
            raise Unreadable("no digits under a line")
        places = len(token.text.partition(".")[2])
        tail = Fraction(int(repeated), (10 ** len(repeated) - 1) * 10**places)
        return number(Fraction(token.text.rstrip(".")) + tail)
    if tokens.here().text == "_" and DIGITS.fullmatch(token.text):
        tokens.at += 1
        return Node("symbol", f"{token.text.lstrip('0') or '0'} in base {_base(tokens)}")
    text = token.text
    return number(Fraction(text.rstrip(".") if "e" not in text.lower() else text))


def _base(tokens: Tokens) -> str:
    """A base, as in 12_5, 12_{five} or 12_{(5)}."""
    braced = tokens.take("{")
    inner = tokens.take("(")
    token = tokens.here()
    if token.kind == "number" and DIGITS.fullmatch(token.text):
        tokens.at += 1
        base = str(int(token.text))
    elif token.kind == "text":
        tokens.at += 1
        base = _BASES.get(token.text.strip().casefold(), "")
    else:
        word = tokens.word()
        tokens.at += len(word)
        base = _BASES.get(word.casefold(), "")
    if not base:
        raise Unreadable("no base")
    if inner:
        tokens.need(")")
    if braced:
        tokens.need("}")
    return base


def subscript(tokens: Tokens) -> str:
    """Take the subscript of a letter; "" where there is none."""
    if not tokens.take("_"):
        return ""
    if not tokens.take("{"):
        tokens.at += 1
        return f"_{tokens.here(ahead=-1).text}"
    inside = []
    while not tokens.take("}"):
        if tokens.here().kind == "end":
            raise Unreadable("an open brace")
        inside.append(tokens.here().text)
        tokens.at += 1
    return f"_{''.join(inside)}"
