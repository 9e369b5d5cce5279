"""The optimizer and its step along a combination of the objectives' gradients.

Imports: torch, `maths`, `training.config`, `training.state`; `models` by value.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from paretokit.maths.raco import Combination
from paretokit.models.policy import Policy
from paretokit.shapes import Float, Tensor
from paretokit.training.combining import along
from paretokit.training.config import RewardConfig, TrainConfig
from paretokit.training.jacobian import Jacobian, OnHost
from paretokit.training.state import TrainState

__all__ = ["MOMENTS", "Update", "descend", "descend_along", "make_optimizer", "optimizer_for", "optimizer_state", "update_norm"]


MOMENTS = {"adamw": 2, "sgd": 0, "rmsprop": 1}  # tensors of the size of a weight that an optimizer keeps for it


class Update(NamedTuple):
    """What an optimizer step was given."""

    combination: Combination
    norm: float  # |sum_i a_i g_i|, the heads' own gradients included, before the norm clip
    scale: float  # factor of the norm clip, 1 where it did not act


def descend(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    jacobian: Jacobian,
    found: OnHost,
    result: Combination,
    *,
    judged: Sequence[int],
    max_grad_norm: float,
    alpha: Sequence[float] | None = None,
) -> Update:
    """Take one optimizer step along sum_i a_i g_i, scaled down to `max_grad_norm`, and return what was done.

    `found` is what is known of the Jacobian on the CPU. The heads of a policy take their own objectives' gradients, times
    `alpha` where that is given; they count in the norm. The head of an objective of which the step has no pair, by `judged`,
    does not move.
    """
    count = len(result.coefficients)
    factors = [1.0] * count if alpha is None else list(alpha)
    own = math.fsum(f * f * square for f, square in zip(factors, found.own_squares.tolist(), strict=True))
    norm = math.hypot(update_norm(found.gram, result.coefficients), math.sqrt(own) if math.isfinite(own) else math.nan)
    scale = min(1.0, max_grad_norm / norm) if norm > 0 else 1.0
    _take(policy, optimizer, along(jacobian, result.coefficients * scale, [f * scale for f in factors], judged=judged))
    return Update(result, norm, scale)


def descend_along(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    update: Sequence[Tensor | None],
    result: Combination,
    *,
    max_grad_norm: float,
) -> Update:
    """Take one optimizer step along an update that is already combined, scaled down to `max_grad_norm`."""
    present = [part for part in update if part is not None]
    squares = torch.stack([part.to(torch.promote_types(part.dtype, torch.float32)).square().sum() for part in present])
    norm = math.sqrt(squares.double().sum().item())
    scale = min(1.0, max_grad_norm / norm) if norm > 0 else 1.0
    _take(policy, optimizer, [None if part is None else part.mul_(scale) for part in update])
    return Update(result, norm, scale)


def _take(policy: Policy, optimizer: torch.optim.Optimizer, update: Sequence[Tensor | None]) -> None:
    for parameter, gradient in zip(policy.trainable.values(), update, strict=True):
        parameter.grad = gradient
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def update_norm(gram: Float[Tensor, "m m"], coefficients: Float[Tensor, " m"]) -> float:
    """|sum_i a_i g_i| = sqrt(a'Ga), with rounding below zero taken as zero."""
    a, rows = coefficients.tolist(), gram.tolist()
    square = math.fsum(x * y * value for x, row in zip(a, rows, strict=True) for y, value in zip(a, row, strict=True))
    return math.sqrt(max(square, 0.0)) if math.isfinite(square) else math.nan


def optimizer_for(policy: Policy, *, config: TrainConfig, resume: TrainState | None) -> torch.optim.Optimizer:
    """Return the optimizer of a policy's trainable weights, with the moments of `resume` where that is given."""
    optimizer = make_optimizer(list(policy.trainable.values()), config=config)
    if resume is not None:
        for name, parameter in policy.trainable.items():
            prefix = f"{name}."
            moments = {key[len(prefix) :]: value.clone() for key, value in resume.optimizer.items() if key.startswith(prefix)}
            if moments:
                optimizer.state[parameter] = moments
    return optimizer


def make_optimizer(parameters: Sequence[Any], *, config: TrainConfig | RewardConfig) -> torch.optim.Optimizer:
    """Return the optimizer that a configuration asks for, of parameters or of groups of them, as torch takes them."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=config.learning_rate)
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=config.learning_rate)
    return torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


def optimizer_state(policy: Policy, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the moments of every weight that has some, as `<weight>.<moment>`."""
    return {
        f"{name}.{moment}": value
        for name, parameter in policy.trainable.items()
        for moment, value in optimizer.state[parameter].items()
        if isinstance(value, Tensor)
    }
