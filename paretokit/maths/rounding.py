"""What rounding leaves of sums of vectors that are known by their Gramian alone: when a mixture is zero, a part absent.

Everything is relative to the lengths of the vectors that are added up: small is not zero. Imports: `floats`.
"""

import sys

from paretokit.maths.floats import dot

__all__ = ["is_zero", "length", "limits"]

ROUNDING = 4 * sys.float_info.epsilon  # differences below this, relative to what they are the difference of, are noise
ABSENT = 1e-12  # a component of a mixture up to this, see `limits`, is rounding of 0


def is_zero(square: float, mixture: list[float], lengths: list[float], *, zero: float) -> bool:
    """Return whether the square q'Hq of a mixture q, negative parts allowed, counts as 0: whether its vectors cancel.

    Entries of H are exact to eps |g_i| |g_j|, so q'Hq is to eps (sum_i |q_i| |g_i|)^2. A short vector alone is exact, and
    not zero, however long the others are.

    >>> is_zero(1e-20, [0.0, 1.0], [1.0, 1e-10], zero=1e-14), is_zero(1e-20, [0.5, 0.5], [1.0, 1.0], zero=1e-14)
    (False, True)
    """
    return square <= zero * length(mixture, lengths) ** 2


def limits(mixture: list[float], lengths: list[float], *, least: float = ABSENT) -> list[float]:
    """Return up to where each component of a mixture is rounding of 0: `least`, of the sum of the components and of lengths.

    A component moves what the mixture weighs by its own size, and where it points by that times the vector's length. So the
    component of a long vector in a mixture of short ones counts when it is far smaller than theirs.

    >>> limits([1e-6, 1.0], [1.0, 1e-6], least=1e-10)
    [2e-16, 1e-10]
    """
    total = length(mixture, lengths)
    return [least * min(1.0, total / own) if own > 0 else least for own in lengths]


def length(mixture: list[float], lengths: list[float]) -> float:
    """Return sum_i |q_i| |g_i|: how long a mixture would be if nothing in it cancelled.

    >>> length([0.5, -0.5], [1.0, 3.0])
    2.0
    """
    return dot(map(abs, mixture), lengths)
