"""The parts of which a mathematical answer is made: numbers, formulas, pairs, sets, matrices, relations.

Imports: the standard library.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

__all__ = ["Node", "Unreadable", "number", "product"]


class Unreadable(Exception):  # noqa: N818 (not an error for the caller)
    """A text that is no answer as it is read here, or a value beyond its bounds."""


class Node(NamedTuple):
    """A part of an answer.

    Formulas: "number" (a Fraction), "symbol" (a name), "constant" (pi, e, i, infinity), "sum", "product", "power", "call"
    (name, arguments), "sign" (plus or minus). Objects: "list" (the brackets, parts; "{}" is a set), "union", "matrix" (rows),
    "relation" (signs, sides), "text".
    """

    kind: str
    value: Any = None
    parts: tuple["Node", ...] = ()


def number(value: int | Fraction) -> Node:
    """Return a rational number as a part of an answer."""
    return Node("number", Fraction(value))


def product(factors: Sequence[Node]) -> Node:
    """Return the product of the factors: 1 for none, the factor itself for one."""
    if not factors:
        return number(1)
    return factors[0] if len(factors) == 1 else Node("product", None, tuple(factors))
