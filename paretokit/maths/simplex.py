"""Objective weights: points on the simplex, read from what a user writes, laid out on a grid, or drawn.

A weight vector is non-negative and sums to one, in the order of the objectives. What a user writes may be a mapping by
name or a sequence; everything past this module is a vector. Imports: torch, `shapes`, `errors`.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import isfinite
from numbers import Real
from typing import Any

import torch

from paretokit.errors import ConfigError, WeightsError, suggestion
from paretokit.shapes import Float, Float64, Tensor

__all__ = ["dirichlet", "grid", "mixture_of", "move", "normalise", "resolve", "validate"]

Weights = Mapping[str, float] | Sequence[float]  # by objective, or in the order of the objectives
TOLERANCE = 1e-6  # on the sum of weights
_ROUNDING = 1e-9


def resolve(
    weights: Mapping[str, Any] | Sequence[Any] | Float[Tensor, " m"],
    objectives: Sequence[str],
    *,
    place: str = "weights",
    extrapolate: bool = False,
) -> tuple[float, ...]:
    """Return the weights as a tuple in the order of `objectives`, each non-negative, with sum 1 (within 1e-6).

    With `extrapolate` they may be negative: a point of the plane of the simplex, outside of it.

    `weights` maps every objective's name to its weight, or is a sequence in the order of `objectives`. The numbers are
    returned as they were given: nothing is renormalised. `place` opens the error message.

    Raises `WeightsError` for an unknown or missing name, a wrong length, and a number that is not a weight.

    >>> resolve({"brief": 0.25, "faithful": 0.75}, ["faithful", "brief"])
    (0.75, 0.25)
    >>> resolve([0.5, 0.6], ["faithful", "brief"])
    Traceback (most recent call last):
    paretokit.errors.WeightsError: weights: found the sum 1.1, expected 1 (within 1e-06). Divide the weights by their
    sum.
    """
    names = tuple(objectives)
    if isinstance(weights, Mapping):
        weights = _by_name(weights, names, place=place)
    return tuple(validate(weights, names=names, place=place, extrapolate=extrapolate).tolist())


def _by_name(weights: Mapping[str, Any], names: tuple[str, ...], *, place: str) -> list[Any]:
    listed = ", ".join(names)
    for name in weights:
        if name not in names:
            raise WeightsError(
                f"{place}: found the unknown objective {name!r}, expected {listed}.{suggestion(name, names)} "
                "Correct or remove the name."
            )
    missing = [name for name in names if name not in weights]
    if missing:
        raise WeightsError(
            f"{place}: found no weight for {', '.join(missing)}, expected one for each of {listed}. "
            "Give an objective that should not count the weight 0."
        )
    return [weights[name] for name in names]


def validate(
    weights: Sequence[Any] | Float[Tensor, " m"],
    *,
    names: Sequence[str] | None = None,
    size: int | None = None,
    place: str = "weights",
    extrapolate: bool = False,
) -> Float64[Tensor, " m"]:
    """Return the weights as a float64 vector on the CPU, checked: finite, non-negative, with sum 1 (within 1e-6).

    With `names` there must be one weight per name, and messages use the names; with `size`, that many weights. Both
    leave the numbers as they are; with `extrapolate` they may be negative. The result never shares memory with a tensor
    argument.

    Raises `WeightsError`.

    >>> validate([0.2, 0.8], size=2)
    tensor([0.2000, 0.8000], dtype=torch.float64)
    """
    if isinstance(weights, str):
        raise WeightsError(f"{place}: found the text {weights!r}, expected numbers. Pass a mapping or a sequence of numbers.")
    values = weights.tolist() if isinstance(weights, Tensor) else list(weights)
    expected = len(names) if names is not None else size
    if not values or (expected is not None and len(values) != expected):
        order = f" ({', '.join(names)})" if names else ""
        wanted = "at least one" if expected is None else f"{expected}{order}"
        raise WeightsError(f"{place}: found {len(values)} weights, expected {wanted}. Pass one weight per objective, in order.")
    for index, value in enumerate(values):
        label = names[index] if names is not None else f"objective {index}"
        if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value) or (value < 0 and not extrapolate):
            wanted = "a finite number" if extrapolate else "a finite number >= 0"
            raise WeightsError(f"{place}: found {value!r} for {label}, expected {wanted}. Change that weight.")
    total = sum(values)
    if abs(total - 1) > TOLERANCE:
        raise WeightsError(
            f"{place}: found the sum {total:.9g}, expected 1 (within {TOLERANCE:g}). Divide the weights by their sum."
        )
    return torch.tensor(values, dtype=torch.float64)


def normalise(weights: Float[Tensor, " m"]) -> Float64[Tensor, " m"]:
    """Return weights / sum(weights), in float64: the point of the simplex in the direction of non-negative numbers.

    Raises `WeightsError` where a number is negative or not finite, or all are zero: they have no direction.

    >>> normalise(torch.tensor([1.0, 3.0]))
    tensor([0.2500, 0.7500], dtype=torch.float64)
    """
    values = weights.detach().to(device="cpu", dtype=torch.float64)
    total = float(values.sum())
    if not isfinite(total) or total <= 0 or bool((values < 0).any()):
        raise WeightsError(f"normalise: found {values.tolist()}, expected finite numbers >= 0, not all zero. Change them.")
    return values / total


def move(weights: Sequence[float], index: int, value: float, *, locked: Sequence[bool] | None = None) -> tuple[float, ...]:
    """Return weights with number `index` as near to `value` as can be and the unlocked others rescaled in proportion.

    The result is on the simplex (sum 1 within rounding), and `locked` weights, other than the moved one, stay as they
    are: with what they hold, `value` is limited to 1 minus their sum, and nothing moves where all others are locked.
    Others that are all zero share what is left equally. `weights` must be on the simplex, which is not checked.

    >>> move([0.5, 0.3, 0.2], 0, 0.0)
    (0.0, 0.6, 0.4)
    >>> move([0.5, 0.3, 0.2], 0, 0.9, locked=[False, True, False])
    (0.7, 0.3, 0.0)
    """
    free = [i for i in range(len(weights)) if i != index and not (locked is not None and locked[i])]
    if not free:
        return tuple(float(weight) for weight in weights)
    room = max(1 - sum(weights[i] for i in range(len(weights)) if i != index and i not in free), 0.0)
    moved = min(max(float(value), 0.0), room)
    held = sum(weights[i] for i in free)
    left = max(room - moved, 0.0)
    found = [float(weight) for weight in weights]
    found[index] = moved
    for i in free:
        found[i] = left * (weights[i] / held) if held > 0 else left / len(free)
    return tuple(found)


def mixture_of(target: Float[Tensor, " m"], points: Float[Tensor, "k m"]) -> Float64[Tensor, " k"] | None:
    """Return coefficients >= 0 with sum 1 that mix `points` to `target`, at most m of them positive; None outside their hull.

    Of all the mixtures of m points or fewer, that whose points lie nearest to the target on average is returned, so that
    with them any quantity known at the points is interpolated between neighbours; on a line, the two next to the target.
    All are points of the simplex. Tries all subsets of the 12 nearest points: at most 792 for m <= 5.

    >>> mixture_of(torch.tensor([0.4, 0.6]), torch.tensor([[0.0, 1.0], [0.2, 0.8], [1.0, 0.0]]))
    tensor([0.0000, 0.7500, 0.2500], dtype=torch.float64)
    """
    goal, given = target.detach().double(), points.detach().double()
    far = (given - goal).abs().sum(dim=1)
    near = far.argsort(stable=True)[:12]
    best: tuple[float, Tensor, Tensor] | None = None
    for size in range(1, min(len(goal), len(near)) + 1):
        chosen = torch.tensor(list(combinations(near.tolist(), size)))  # [subsets, size]
        mixed = _coefficients(given[chosen], goal)
        off = torch.einsum("is,ism->im", mixed, given[chosen]) - goal
        fits = (mixed >= -_ROUNDING).all(dim=1) & (off.abs() <= _ROUNDING).all(dim=1)
        if bool(fits.any()):
            spread = torch.where(fits, far[chosen].mean(dim=1), torch.inf)
            index = int(spread.argmin())
            if best is None or float(spread[index]) < best[0]:
                best = float(spread[index]), chosen[index], mixed[index]
    if best is None:
        return None
    _, chosen, mixed = best
    found = torch.zeros(len(given), dtype=torch.float64)
    found[chosen] = mixed.clamp(min=0) / mixed.clamp(min=0).sum()
    return found


def _coefficients(corners: Float64[Tensor, "i s m"], goal: Float64[Tensor, " m"]) -> Float64[Tensor, "i s"]:
    """Those that come nearest to the goal, of any sign, with sum 1: corners in one hyperplane have no others."""
    return torch.linalg.lstsq(corners.mT, goal.expand(len(corners), -1).unsqueeze(-1), driver="gelsd").solution.squeeze(-1)


def grid(m: int, *, resolution: int) -> Float64[Tensor, "k m"]:
    """Return all weight vectors whose entries are multiples of 1 / `resolution`, first objective first: [k, m].

    k = binomial(resolution + m - 1, m - 1). The order is lexicographic, from the last vertex to the first; the vertices
    are among them, and for `resolution` divisible by m the centre. This is the simplex-lattice design of Scheffé
    (1958).

    Raises `ConfigError` where m or `resolution` is below 1.

    >>> grid(2, resolution=2).tolist()
    [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]
    """
    for name, value in (("m", m), ("resolution", resolution)):
        if value < 1:
            raise ConfigError(f"grid: found {name} = {value}, expected a whole number >= 1. Raise {name}.")
    # stars and bars: m - 1 bars among resolution + m - 1 places; the runs between them are the entries
    places = resolution + m - 1
    bars = [(-1, *chosen, places) for chosen in combinations(range(places), m - 1)]
    counts = torch.tensor(bars, dtype=torch.float64).diff(dim=1) - 1
    return counts / resolution


def dirichlet(m: int, k: int, *, generator: torch.Generator) -> Float64[Tensor, "k m"]:
    """Return k weight vectors drawn uniformly from the simplex of m objectives: Dirichlet(1, ..., 1), [k, m].

    Equal generators give equal draws. Each row is m standard exponentials divided by their sum (Devroye 1986, XI.4).

    >>> draws = dirichlet(3, 4, generator=torch.Generator().manual_seed(0))
    >>> draws.shape, bool(torch.allclose(draws.sum(dim=1), torch.ones(4, dtype=torch.float64)))
    (torch.Size([4, 3]), True)
    """
    if m < 1 or k < 0:
        raise ConfigError(f"dirichlet: found m = {m}, k = {k}, expected m >= 1 and k >= 0. Change the shape.")
    draws = torch.empty(k, m, dtype=torch.float64).exponential_(generator=generator)
    return draws / draws.sum(dim=1, keepdim=True)
