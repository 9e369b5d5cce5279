"""Products of vectors and matrices that are lists of floats: for m of a few, faster than any call into a library.

A vector of m is a list, a matrix a list of its rows. Sums run in one order, so equal lists give equal bits, on any
machine. Imports: nothing.
"""

from collections.abc import Iterable, Sequence
from operator import mul

__all__ = ["dot", "times"]


def dot(left: Iterable[float], right: Iterable[float]) -> float:
    """Return the sum of left_i right_i, as far as the shorter of the two reaches.

    >>> dot([1.0, 2.0], [3.0, 4.0, 5.0])
    11.0
    """
    return sum(map(mul, left, right))


def times(matrix: Sequence[Sequence[float]], vector: Sequence[float]) -> list[float]:
    """Return the product of a matrix with a vector.

    >>> times([[1.0, 2.0], [0.0, 1.0]], [3.0, 4.0])
    [11.0, 4.0]
    """
    return [sum(map(mul, row, vector)) for row in matrix]
