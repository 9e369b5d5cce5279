"""How sure a share of successes is after a few trials. Imports: the standard library, `intervals`, `errors`."""

import math
from statistics import NormalDist

from paretokit.errors import ConfigError
from paretokit.maths.intervals import Interval

__all__ = ["wilson"]


def wilson(share: float, trials: int, *, level: float = 0.95) -> Interval:
    """Return the Wilson score interval, within [0, 1], of a probability after `trials` of which the share `share` succeeded.

    The bounds are the two p with |share - p| = z sqrt(p (1 - p) / trials), z the (1 + level) / 2 quantile of the normal law
    (Wilson 1927). At level 1 they are 0 and 1. Where an outcome is a number in [0, 1] instead of a success or none, `share` is
    the mean: its variance is at most that of a success with that mean, so the interval is no shorter than it has to be.

    Raises `ConfigError` for numbers out of range.

    >>> [round(number, 3) for number in wilson(1.0, 4)], [round(number, 3) for number in wilson(0.5, 10, level=0.9)]
    ([1.0, 0.51, 1.0], [0.5, 0.269, 0.731])
    """
    if not 0 <= share <= 1 or trials < 1 or not 0 < level <= 1:
        raise ConfigError(
            f"wilson: found share={share}, trials={trials}, level={level}, expected a share in [0, 1], at least 1 trial and "
            "0 < level <= 1. Change the numbers."
        )
    if level == 1:
        return Interval(share, 0.0, 1.0)
    squared = NormalDist().inv_cdf((1 + level) / 2) ** 2 / trials
    centre = (share + squared / 2) / (1 + squared)
    half = math.sqrt(squared * (share * (1 - share) + squared / 4)) / (1 + squared)
    low = 0.0 if share == 0 else max(0.0, centre - half)
    high = 1.0 if share == 1 else min(1.0, centre + half)
    return Interval(share, low, high)
