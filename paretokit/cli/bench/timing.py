"""Two things measured in turn, and how they compare: machines drift, so only figures that were taken side by side count.

Imports: the standard library.
"""

import gc
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple


class Paired(NamedTuple):
    """What was measured of ours and of what it is compared with, turn by turn: ours[k] and theirs[k] stand side by side."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def medians(self) -> tuple[float, float]:
        """The median of ours and of theirs."""
        return median(self.ours), median(self.theirs)

    def in_ms(self) -> "Paired":
        """Return seconds as milliseconds.

        >>> Paired((0.5,), (2.0,)).in_ms()
        Paired(ours=(500.0,), theirs=(2000.0,))
        """
        return Paired(*(tuple(1000 * value for value in side) for side in self))

    def faster(self) -> "Ratio":
        """Return theirs / ours: how many times faster ours is.

        >>> Paired((1.0, 2.0, 1.0), (4.0, 4.0, 3.0)).faster()
        Ratio(value=4.0, low=2.0, high=4.0)
        """
        return ratio(self.theirs, self.ours)

    def cost(self) -> "Ratio":
        """Return ours / theirs: how many times more ours costs.

        >>> Paired((3.0, 2.0, 1.0), (4.0, 4.0, 4.0)).cost()
        Ratio(value=0.5, low=0.25, high=0.75)
        """
        return ratio(self.ours, self.theirs)


class Ratio(NamedTuple):
    """The ratio of two medians, and the smallest and largest ratio of one turn."""

    value: float
    low: float
    high: float


def ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """Return how two equally long series compare, turn by turn; the medians' ratio may lie outside the turns' own."""
    turns = [one / other for one, other in zip(above, below, strict=True)]
    return Ratio(median(above) / median(below), min(turns), max(turns))


def timed(action: Callable[[], object], *, per: int = 1, clock: Callable[[], float] = time.perf_counter) -> Callable[[], float]:
    """Return a function that runs `action` once and returns how many seconds it took, divided by `per`."""

    def measure() -> float:
        began = clock()
        action()
        return (clock() - began) / per

    return measure


def alternate(
    ours: Callable[[], float],
    theirs: Callable[[], float],
    *,
    repeats: int,
    warmup: int,
    watch: Callable[[str], None],
) -> Paired:
    """Measure ours, theirs, ours, theirs, ...: `warmup` turns that do not count, then `repeats` turns that do.

    Each function measures once and returns the figure. `watch` is told which turn begins.

    >>> marks = iter(range(100))
    >>> alternate(lambda: next(marks), lambda: next(marks), repeats=2, warmup=1, watch=print)
    warm-up
    turn 1 of 2
    turn 2 of 2
    Paired(ours=(2, 4), theirs=(3, 5))
    """
    found = []
    for turn in range(-warmup, repeats):
        gc.collect()  # so that it does not happen while a clock runs
        watch("warm-up" if turn < 0 else f"turn {turn + 1} of {repeats}")
        pair = ours(), theirs()
        if turn >= 0:
            found.append(pair)
    return Paired(*zip(*found, strict=True))
