"""How sure a mean is, and whether two quantities rise together: bootstrap intervals and rank correlation.

Imports: torch, `shapes`, `errors`.
"""

from typing import NamedTuple

import torch

from paretokit.errors import ConfigError, NonFiniteError, ShapeError
from paretokit.shapes import Float, Float64, Int, Tensor

__all__ = ["Interval", "bootstrap_mean", "finite", "ranks", "spearman"]


class Interval(NamedTuple):
    """A mean and the bounds of its bootstrap interval; the bounds are NaN where there is nothing to resample."""

    mean: float
    low: float
    high: float


def bootstrap_mean(
    values: Float[Tensor, " N"],
    groups: Int[Tensor, " N"] | None = None,
    *,
    level: float = 0.95,
    draws: int = 1000,
    generator: torch.Generator,
) -> Interval:
    """Return the mean of the values and the percentile bootstrap interval that covers it at `level`.

    With `groups`, whole groups are drawn with replacement (prompts, when several answers to a prompt were scored), and
    a draw's mean is the sum of its values over their number; without, single values. The bounds are the (1 -+ level) /
    2 quantiles of `draws` resampled means (Efron 1979). One group says nothing about spread: low and high are NaN then.
    For a paired comparison, pass the differences. Equal generators give equal intervals.

    Raises `ShapeError` for no values, `NonFiniteError` for one that is not finite, `ConfigError` for options out of
    range.

    >>> values = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0, 1.0])
    >>> interval = bootstrap_mean(values, generator=torch.Generator().manual_seed(0))
    >>> [round(number, 3) for number in interval]
    [0.667, 0.333, 1.0]
    """
    if not 0 < level < 1 or draws < 1:
        raise ConfigError(
            f"bootstrap: found level={level}, draws={draws}, expected 0 < level < 1 and draws >= 1. Change the options."
        )
    if not len(values):
        raise ShapeError("bootstrap: found no values, expected at least one. Check what was selected.")
    numbers = finite(values, place="bootstrap")
    if groups is None:
        inverse = torch.arange(len(numbers))
    else:
        _, inverse = groups.cpu().unique(return_inverse=True)
    count = int(inverse.max()) + 1
    sums = numbers.new_zeros(count).index_add(0, inverse, numbers)
    sizes = numbers.new_zeros(count).index_add(0, inverse, torch.ones_like(numbers))
    mean = float(numbers.mean())
    if count < 2:
        return Interval(mean, float("nan"), float("nan"))
    chosen = torch.randint(count, (draws, count), generator=generator)
    means = sums[chosen].sum(dim=1) / sizes[chosen].sum(dim=1)
    bounds = means.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64))
    return Interval(mean, *bounds.tolist())


def spearman(x: Float[Tensor, " N"], y: Float[Tensor, " N"]) -> float:
    """Return Spearman's rank correlation of x and y, in [-1, 1]; equal values share the mean of their ranks.

    NaN where x or y is constant, or has fewer than two values: then no correlation is defined.
    Raises `NonFiniteError` for a value that is not finite.

    >>> round(spearman(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 3.0, 2.0, 40.0])), 6)
    0.8
    """
    found = [ranks(finite(values, place="spearman")) for values in (x, y)]
    left, right = (rank - rank.mean() if len(rank) else rank for rank in found)
    scale = float(left.norm() * right.norm())
    if scale == 0:
        return float("nan")
    return max(-1.0, min(1.0, float(left @ right) / scale))


def ranks(values: Float64[Tensor, " N"]) -> Float64[Tensor, " N"]:
    """Return the rank of each value, the smallest 1; equal values share the mean of their ranks.

    >>> ranks(torch.tensor([3.0, 1.0, 3.0], dtype=torch.float64)).tolist()
    [2.5, 1.0, 2.5]
    """
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    # a value's ranks end at the number of values up to it; equal values share the middle of theirs
    return (counts.cumsum(0) - (counts - 1) / 2).to(torch.float64)[inverse]


def finite(values: Float[Tensor, " N"], *, place: str) -> Float64[Tensor, " N"]:
    """Return the values in float64 on the CPU, detached; raises `NonFiniteError`, naming `place`, where one is not finite.

    >>> finite(torch.tensor([0.5]), place="scores").dtype
    torch.float64
    """
    numbers = values.detach().to(device="cpu", dtype=torch.float64)
    bad = (~numbers.isfinite()).nonzero().flatten().tolist()
    if bad:
        raise NonFiniteError(
            f"{place}: found {numbers[bad[0]].item()} at index {bad[0]}, expected finite numbers. Leave it out."
        )
    return numbers
