"""Bootstrap over prompts, and over seeds where there are several, for many mean scores at once.

A prompt is the unit: a draw takes prompts with replacement, each with all its answers and seeds. All points share the
draws, so differences between points are paired. One matrix product does all draws. Imports: torch, `shapes`.
"""

from typing import NamedTuple

import torch

from paretokit.shapes import Float64, Tensor

LEVEL = 0.95
DRAWS = 1000


class Cells(NamedTuple):
    """Scores gathered per point, seed, prompt and objective; a count of 0 means nothing judged, or no such seed."""

    sums: Float64[Tensor, "k S N m"]
    counts: Float64[Tensor, "k S N m"]


def means(cells: Cells) -> Float64[Tensor, "k m"]:
    """Return the mean over a seed's judged answers, then over seeds.

    >>> sums, counts = torch.tensor([[3.0, 0.0], [1.0, 0.0]]).double(), torch.tensor([[4, 4], [2, 0]]).double()
    >>> means(Cells(sums[None, ..., None], counts[None, ..., None]))  # (3 + 0) / 8 and 1 / 2
    tensor([[0.4375]], dtype=torch.float64)
    """
    return (cells.sums.sum(dim=2) / cells.counts.sum(dim=2)).nanmean(dim=1)


def draw_means(cells: Cells, *, generator: torch.Generator) -> Float64[Tensor, "d k m"]:
    """Return `DRAWS` resampled `means`, the same prompts for every point in each draw.

    Where a point has two seeds or more, its seeds are resampled too; points with the same seeds share those draws. A
    draw without any judged answer is NaN, and so are all draws where there is one prompt: it says nothing about spread.
    """
    points, seeds, prompts, objectives = cells.sums.shape
    if prompts < 2:
        return torch.full((DRAWS, points, objectives), torch.nan, dtype=torch.float64)
    taken = _taken(prompts, generator=generator)
    sums, counts = (taken @ table.movedim(2, 0).reshape(prompts, -1) for table in cells)
    by_seed = (sums / counts).reshape(DRAWS, points, seeds, objectives)  # 0/0 is NaN: nothing judged in this draw
    present = cells.counts.sum(dim=(2, 3)) > 0  # [k, S]
    weights = torch.zeros(DRAWS, points, seeds, 1, dtype=torch.float64)
    for pattern in dict.fromkeys(map(tuple, present.tolist())):
        mask = torch.tensor(pattern)
        same = (present == mask).all(dim=1).nonzero().flatten()
        drawn = torch.zeros(DRAWS, seeds, dtype=torch.float64)
        drawn[:, mask] = _taken(int(mask.sum()), generator=generator)
        weights[:, same] = drawn[:, None, :, None]
    usable = weights * (~by_seed.isnan())
    return (usable * by_seed.nan_to_num()).sum(dim=2) / usable.sum(dim=2)


def percentile_interval(draws: Float64[Tensor, "d *rest"]) -> tuple[Float64[Tensor, "*rest"], Float64[Tensor, "*rest"]]:
    """Return the lower and upper end of the central `LEVEL` of the draws; draws that are NaN are left out.

    >>> low, high = percentile_interval(torch.arange(101, dtype=torch.float64))
    >>> round(low.item(), 6), round(high.item(), 6)
    (2.5, 97.5)
    """
    ends = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    quantile = torch.nanquantile if bool(draws.isnan().any()) else torch.quantile
    low, high = quantile(draws, ends, dim=0)
    return low, high


def _taken(size: int, *, generator: torch.Generator) -> Float64[Tensor, "d n"]:
    """How often each of `size` units is taken in each draw: [DRAWS, size], rows summing to `size`."""
    chosen = torch.randint(size, (DRAWS, size), generator=generator)
    return torch.zeros(DRAWS, size, dtype=torch.float64).scatter_add_(1, chosen, torch.ones(DRAWS, size).double())
