"""Preference losses per objective: from the margins of P pairs and the labels of m objectives to losses [m, P].

A margin is log pi(a|x) - log pi(b|x) minus the same under the reference, in nats, without beta. A label is +1 where the
objective prefers a, -1 where it prefers b, 0 for a tie, NaN where the pair was not judged. Losses: smaller is better.
Imports: torch, `shapes`, `errors`.
"""

from math import isfinite

import torch

from paretokit.errors import ConfigError
from paretokit.shapes import Float, Int, Tensor

__all__ = ["dpo", "dpo_slopes", "judged", "reduce"]


def dpo(margins: Float[Tensor, " P"], labels: Float[Tensor, "m P"], *, beta: float) -> Float[Tensor, "m P"]:
    """Return -log sigmoid(beta * label * margin) per objective and pair, in nats; differentiable in `margins`.

    A tie costs log 2 whatever the margin and has no gradient; a pair that was not judged costs 0 and has none either.
    At margin 0 every judged loss is log 2 and its slope is -beta * label / 2. `beta` > 0 is the inverse temperature.
    With one objective and all labels +1 this is DPO (Rafailov et al. 2023, arXiv 2305.18290, eq. 7); with a label per
    objective, the losses of RACO (arXiv 2602.02495).

    Raises `ConfigError` for a `beta` that is not a number > 0.

    >>> dpo(torch.tensor([3.0, -1.5]), torch.tensor([[1.0, 0.0], [-1.0, float("nan")]]), beta=0.1)
    tensor([[0.5544, 0.6931],
            [0.8544, 0.0000]])
    """
    _check(beta)
    unjudged = labels.isnan()
    # the sign 0 before the product: an unjudged pair must not send NaN back either
    losses = -torch.nn.functional.logsigmoid(beta * labels.masked_fill(unjudged, 0.0) * margins)
    return losses.masked_fill(unjudged, 0.0)


def dpo_slopes(margins: Float[Tensor, " P"], labels: Float[Tensor, "m P"], *, beta: float) -> Float[Tensor, "m P"]:
    """Return the derivative of each `dpo` loss with respect to its margin, -beta label sigmoid(-beta label margin).

    It is 0 for a tie and for a pair that was not judged. Raises `ConfigError` as `dpo` does.

    >>> dpo_slopes(torch.zeros(2), torch.tensor([[1.0, -1.0], [0.0, float("nan")]]), beta=0.2)
    tensor([[-0.1000,  0.1000],
            [-0.0000,  0.0000]])
    """
    _check(beta)
    signs = labels.nan_to_num(nan=0.0)
    return (-beta * signs * torch.sigmoid(-beta * signs * margins)).masked_fill(labels.isnan(), 0.0)


def judged(labels: Float[Tensor, "m P"]) -> Int[Tensor, " m"]:
    """Return how many pairs each objective judged, ties included.

    >>> judged(torch.tensor([[1.0, 0.0], [-1.0, float("nan")]]))
    tensor([2, 1])
    """
    return (~labels.isnan()).sum(dim=1)


def reduce(losses: Float[Tensor, "m P"], *, judged: Int[Tensor, " m"] | Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    """Return the sum of each objective's losses over `judged` [m]; NaN, without a gradient, where `judged` is 0.

    `losses` must be 0 where a pair was not judged, as `dpo` has it. `judged` counts over the whole optimizer batch:
    then the results of its micro-batches add up to that of the batch.

    >>> reduce(torch.tensor([[0.5, 0.7], [0.9, 0.0], [0.0, 0.0]]), judged=torch.tensor([2, 1, 0]))
    tensor([0.6000, 0.9000,    nan])
    """
    means = losses.sum(dim=1) / judged.clamp(min=1)
    return torch.where(judged > 0, means, torch.nan)


def _check(beta: float) -> None:
    if not isfinite(beta) or beta <= 0:
        raise ConfigError(f"beta: found {beta!r}, expected a number > 0. RACO's release uses 0.2.")
