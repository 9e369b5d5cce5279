"""The methods by name, each a function from the Gramian of the objectives' gradients to the coefficients of the update.

A method never sees a model: it maps the Gramian G [m, m] and the weights w [m] to coefficients a [m], and the update is
sum_i a_i g_i. Any function of that form can stand in for a name. Imports: `maths`.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from paretokit.errors import ConfigError, NonFiniteError, ShapeError, suggestion
from paretokit.maths import raco
from paretokit.maths.raco import Combination
from paretokit.maths.simplex import Weights
from paretokit.shapes import Float, Tensor
from paretokit.training.config import TrainConfig

Schedule = Callable[[int], Weights]  # step, counted from 1 -> weights
Combine = Callable[..., Combination | Tensor]  # (gram [m, m], weights [m], *, generator) -> Combination, or a [m]


class Method(NamedTuple):
    """A named method: what it is, and the function that builds its combination for a configuration."""

    name: str
    kind: str  # "combination": from the Gramian to coefficients; "heads": the same for the backbone of a policy with heads
    description: str
    build: Callable[[TrainConfig], Combine]
    alpha: bool = False  # heads: their own gradients are weighted too, as those of sum_i w_i L_i are


def linear_coefficients(gram: Float[Tensor, "m m"], weights: Float[Tensor, " m"]) -> Combination:
    """Return a = w, the update sum_i w_i g_i of DPO with linearly weighted losses (DPO-LW): RACO and CAGrad at c = 0.

    >>> linear_coefficients(torch.eye(2), torch.tensor([0.25, 0.75])).coefficients.tolist()
    [0.25, 0.75]
    """
    weights = weights.to(torch.float64)
    matrix = gram.to(torch.float64)
    value = (weights @ matrix @ weights).clamp(min=0)
    return Combination(coefficients=weights, mixture=weights, clipped=weights, value=value, gap=torch.zeros_like(value))


def _raco(config: TrainConfig) -> Combine:
    return lambda gram, weights, *, generator: raco.coefficients(gram, weights, c=config.c)


def _cagrad(config: TrainConfig) -> Combine:
    return lambda gram, weights, *, generator: raco.cagrad_coefficients(gram, weights, c=config.c)


def _linear(config: TrainConfig) -> Combine:
    return lambda gram, weights, *, generator: linear_coefficients(gram, weights)


_METHODS = (
    Method("cagrad", "combination", "weighted CAGrad, without RACO's clip (arXiv 2110.14048)", _cagrad),
    Method("linear", "combination", "DPO on the weighted sum of the losses (DPO-LW)", _linear),
    Method(
        "mah-dpo", "heads", "a head per objective, DPO on the weighted sum of their losses (arXiv 2510.01167)", _linear, True
    ),
    Method("mah-raco", "heads", "RACO on the backbone that the objectives' heads share", _raco),
    Method("raco", "combination", "CAGrad clipped by the user's weights (arXiv 2602.02495)", _raco),
)


def methods() -> dict[str, Method]:
    """Return the methods by name, in alphabetical order.

    >>> list(methods())
    ['cagrad', 'linear', 'mah-dpo', 'mah-raco', 'raco']
    """
    return {method.name: method for method in _METHODS}


def resolve(method: str | Combine) -> Method:
    """Return a method by its name; a function stands for itself, for policies with heads and without.

    Raises `ConfigError`, with the nearest name, for an unknown method.

    >>> resolve("rako")
    Traceback (most recent call last):
    paretokit.errors.ConfigError: method: found 'rako', expected one of cagrad, linear, mah-dpo, mah-raco, raco. Did you
    mean 'raco'? ...
    """
    if callable(method):
        return Method(getattr(method, "__name__", type(method).__name__), "", "a function of the Gramian", lambda _: method)
    known = methods()
    if method not in known:
        raise ConfigError(
            f"method: found {method!r}, expected one of {', '.join(known)}.{suggestion(method, known)} "
            "Choose a name from paretokit.methods(), or pass a function of the Gramian and the weights."
        )
    return known[method]


def heads_for(method: Method, objectives: Sequence[str]) -> tuple[str, ...] | None:
    """Return the heads that a policy needs for a method: one for each objective, or None.

    >>> heads_for(resolve("mah-dpo"), ["kind", "short"]), heads_for(resolve("raco"), ["kind", "short"])
    (('kind', 'short'), None)
    """
    return tuple(objectives) if method.kind == "heads" else None


def fits(method: Method, heads: Sequence[str], objectives: Sequence[str]) -> None:
    """Raise `ConfigError` where a method and a policy with these heads do not go together for these objectives."""
    if method.kind == "heads" and not heads:
        raise ConfigError(
            f"method {method.name!r}: found a policy without heads, expected one head per objective. "
            f"Load it with load_policy(..., heads={list(objectives)})."
        )
    if method.kind == "combination" and heads:
        raise ConfigError(
            f"method {method.name!r}: found a policy with the heads {', '.join(heads)}, expected none. "
            "Use mah-dpo or mah-raco, or load the policy without heads."
        )
    if heads and sorted(heads) != sorted(objectives):
        raise ConfigError(
            f"heads: found {', '.join(heads)} for the objectives {', '.join(objectives)}, expected the same names. "
            "Load the policy with the objectives' names, or select them with preferences.select(...)."
        )


def combine(
    function: Combine, gram: Float[Tensor, "m m"], weights: Float[Tensor, " m"], *, generator: torch.Generator
) -> Combination:
    """Return what `function` makes of the Gramian, as a `Combination` in float64; checked, since it may be a user's own.

    A function that returns bare coefficients gets the weights as its mixture, and a value and gap that are NaN: nothing
    is known about them. Raises `ShapeError` or `NonFiniteError` for coefficients that cannot be used.

    >>> own = lambda gram, weights, *, generator: weights / weights.max()
    >>> combine(own, torch.eye(2), torch.tensor([0.2, 0.8]), generator=torch.Generator()).coefficients.tolist()
    [0.25, 1.0]
    """
    result = function(gram, weights, generator=generator)
    if not isinstance(result, Combination):
        unknown = torch.tensor(float("nan"), dtype=torch.float64)
        plain = weights.to(torch.float64)
        result = Combination(torch.as_tensor(result).to(torch.float64), plain, plain, unknown, unknown)
    if result.coefficients.shape != weights.shape:
        raise ShapeError(
            f"combination: found coefficients of shape {tuple(result.coefficients.shape)}, expected {tuple(weights.shape)}, "
            "one per objective. Return a vector from the function passed as `method`."
        )
    found = result.coefficients.tolist()  # numbers, not tensors: nothing here may wait for a device
    if not all(map(math.isfinite, found)):
        raise NonFiniteError(
            f"combination: found the coefficients {found}, expected finite numbers. "
            "Look at the Gramian that the method received; see `gram` of objective_jacobian."
        )
    return result
