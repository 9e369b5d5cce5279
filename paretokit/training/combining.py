"""The micro-batches whose gradients are combined by themselves, and the mean of their combinations.

RACO's released code combines the objectives' gradients in every micro-batch and adds up the results; `combine_every` does the
same. By default a step has one micro-batch, all its pairs, and nothing here changes a bit of it.
Imports: torch, `maths`, `preferences`, `training.config`, `training.jacobian`.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from paretokit.maths.gramian import combine as weighted_sum
from paretokit.maths.raco import Combination
from paretokit.preferences.pack import Packing, Pass
from paretokit.shapes import Float, Tensor
from paretokit.training.config import TrainConfig
from paretokit.training.jacobian import Jacobian, OnHost

__all__ = [
    "Part",
    "added",
    "along",
    "by_micro_batch",
    "joined",
    "mean_combination",
    "mean_on_host",
    "micro_batches",
    "root_mean_square",
]


class Part(NamedTuple):
    """One micro-batch of a step."""

    share: float  # of the pairs of the step
    found: OnHost
    combination: Combination | None  # None where the step is not taken


def micro_batches(count: int, config: TrainConfig) -> list[list[int]]:
    """Return which of `count` rows of a step are combined together: `combine_every` pairs after another, the rest last.

    The rows of a step with heads are `pairs_per_step` pairs of each objective: so many of each go together.

    >>> micro_batches(5, TrainConfig(pairs_per_step=5, combine_every=2)), micro_batches(2, TrainConfig())
    ([[0, 1], [2, 3], [4]], [[0, 1]])
    >>> micro_batches(4, TrainConfig(pairs_per_step=2, combine_every=1))
    [[0, 2], [1, 3]]
    """
    found: dict[int, list[int]] = {}
    for place in range(count):
        found.setdefault(_number(place, config), []).append(place)
    return [found[number] for number in sorted(found)]


def _number(place: int, config: TrainConfig) -> int:
    return 0 if config.combine_every is None else place % config.pairs_per_step // config.combine_every


def joined(plans: Sequence[Packing], parts: Sequence[Sequence[int]]) -> Packing:
    """Return the packings of parts of some pairs as one of all; no pass holds pairs of two parts."""
    if len(plans) == 1:
        return plans[0]
    passes = tuple(
        one._replace(rows=tuple(tuple(part[index] for index in row) for row in one.rows))
        for plan, part in zip(plans, parts, strict=True)
        for one in plan.passes
    )
    tokens, positions, apart, together = (sum(numbers) for numbers in zip(*(plan[1:] for plan in plans), strict=True))
    return Packing(passes, tokens, positions, apart, together)


def by_micro_batch(plan: Packing, config: TrainConfig) -> list[list[Pass]]:
    """Return the passes of a step that `joined` made, for each micro-batch."""
    found: dict[int, list[Pass]] = {}
    for one in plan.passes:
        found.setdefault(_number(one.pairs[0], config), []).append(one)
    return [found[number] for number in sorted(found)]


def along(
    jacobian: Jacobian, coefficients: Float[Tensor, " m"], factors: Sequence[float], *, judged: Sequence[int]
) -> list[Tensor | None]:
    """Return sum_i a_i g_i, and the heads' own gradients times their factors; None for a head that the step has no pair of."""
    update: list[Tensor | None] = [*weighted_sum(jacobian.rows, coefficients)] if jacobian.rows else []
    for owner, gradient in zip(jacobian.owners, jacobian.own, strict=True):
        update.append(gradient.mul(factors[owner]) if judged[owner] else None)
    return update


def added(total: list[Tensor | None] | None, part: list[Tensor | None]) -> list[Tensor | None]:
    """Return the sum of two updates; the tensors of `total` are reused."""
    if total is None:
        return part
    return [one if other is None or one is None else one.add_(other) for one, other in zip(total, part, strict=True)]


def mean_on_host(parts: Sequence[Part]) -> OnHost:
    """Return losses and margins of all pairs, and the mean of the Gramians and squares: norms are then root mean squares."""
    if len(parts) == 1:
        return parts[0].found
    losses = torch.cat([part.found.losses for part in parts], dim=1)
    margins = torch.cat([part.found.margins for part in parts])
    return OnHost(
        losses, margins, _mean(parts, [part.found.gram for part in parts]), _mean(parts, [p.found.own_squares for p in parts])
    )


def mean_combination(parts: Sequence[Part]) -> Combination:
    """Return the mean of the combinations; its gap is the largest one."""
    each = [part.combination for part in parts if part.combination is not None]
    if len(each) == 1:
        return each[0]
    return Combination(
        coefficients=_mean(parts, [one.coefficients for one in each]),
        mixture=_mean(parts, [one.mixture for one in each]),
        clipped=_mean(parts, [one.clipped for one in each]),
        value=_mean(parts, [one.value for one in each]),
        gap=torch.stack([one.gap for one in each]).amax(),
    )


def root_mean_square(parts: Sequence[Part], lengths: Sequence[float]) -> float:
    """Return the root of the mean square over the micro-batches.

    >>> root_mean_square([Part(0.5, None, None)] * 2, [1.0, 7.0])
    5.0
    """
    if len(lengths) == 1:
        return lengths[0]
    return math.sqrt(math.fsum(part.share * length**2 for part, length in zip(parts, lengths, strict=True)))


def _mean(parts: Sequence[Part], values: Sequence[Tensor]) -> Tensor:
    return torch.stack([value * part.share for part, value in zip(parts, values, strict=True)]).sum(dim=0)
