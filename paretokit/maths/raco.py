"""The coefficients of the RACO step: CAGrad clipped by the user's preference, from the Gramian alone.

From the Gramian of m loss gradients and a preference, this module finds the coefficients of one update. The update is
the preferred gradient plus a correction of fixed relative length, along the mixture of gradients that serves the
worst-off objective, clipped by the preference. All is computed from [m, m], so the cost does not depend on the size of
the model. Gramian and preference come to the host once each; what follows is arithmetic in floats of Python, so nothing
waits for the device again. Imports: torch, numpy, `shapes`, `errors`, `simplex`, `faces`, `floats`, `rounding`.
"""

from math import isfinite, sqrt
from operator import sub
from typing import NamedTuple

import numpy as np
import torch

from paretokit.errors import ConfigError, DataError, NonFiniteError, ShapeError
from paretokit.maths import simplex
from paretokit.maths.faces import Minimum, Problem, evidence, minimise
from paretokit.maths.floats import dot, times
from paretokit.maths.rounding import ROUNDING, is_zero, limits
from paretokit.shapes import Float, Float64, Tensor

__all__ = ["Combination", "Dual", "cagrad_coefficients", "clip", "coefficients", "dual"]


class Dual(NamedTuple):
    """The mixture that serves the worst-off objective, and how well; float64, on the CPU."""

    mixture: Float64[Tensor, " m"]  # p on the simplex
    value: Float64[Tensor, ""]  # Phi(p) = p'Gw + s sqrt(p'Gp)
    gap: Float64[Tensor, ""]  # Phi(p) is within this of the minimum


class Combination(NamedTuple):
    """The coefficients of an update sum_i a_i g_i, the mixture they come from, its evidence; float64, on the CPU."""

    coefficients: Float64[Tensor, " m"]  # a
    mixture: Float64[Tensor, " m"]  # p on the simplex
    clipped: Float64[Tensor, " m"]  # q: the mixture as it entered the coefficients
    value: Float64[Tensor, ""]  # Phi(p)
    gap: Float64[Tensor, ""]  # Phi(p) is within this of the minimum


class _Scaled(NamedTuple):
    """A checked problem, in floats of Python, with the Gramian divided by its trace."""

    task: Problem
    weights: list[float]
    trace: float
    same: float  # relative to the lengths: gradients whose rows differ by no more are the same


def dual(gram: Float[Tensor, "m _m"], weights: Float[Tensor, " _m"], *, c: float) -> Dual:
    """Return the mixture p that minimises Phi(p) = p'Gw + s sqrt(p'Gp) over the simplex, with s = c sqrt(w'Gw).

    Dual to the search for the update that serves the worst-off objective best: min Phi = max over ||d - g_0|| <= s of
    min_i <g_i, d>, with the preferred gradient g_0 = sum w_i g_i. `gram`, `weights` and `c` are those of
    `coefficients`, as are the errors.

    Guarantees. Phi(p) is within `gap` of the minimum, and gap is rounding: below 1e-10 of the trace, or 1e-7 where G_p
    is nearly but not exactly zero (`test_gap_bounds_the_error_against_a_fine_grid`, `test_golden_gap`). Components
    outside the support are exactly 0. Equal gradients count as one objective that has the sum of their weights, and
    share its component in proportion to them (`test_equal_gradients_act_as_one_objective`). Where g_0 is zero every p
    is a minimiser: p = w. A mixture G_q is zero where its gradients cancel, q'Gq <= 64 eps (sum_i |q_i| |g_i|)^2 with the eps
    of `gram.dtype`: that is what rounding leaves of q'Gq. A short gradient beside a long one is not zero.

    Reference: CAGrad (Liu et al. 2021, arXiv 2110.14048), eq. 6, with a preference in place of the mean.

    >>> found = dual(torch.tensor([[17.0, -5.0], [-5.0, 2.0]]), torch.tensor([0.2, 0.8]), c=0.5)
    >>> found.mixture, round(float(found.value), 4)
    (tensor([0.3561, 0.6439], dtype=torch.float64), 0.4222)
    """
    problem = _scaled(gram, weights, c=c)
    return _dual(_solve(problem), trace=problem.trace)


def clip(mixture: Float[Tensor, " m"], weights: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    """Return q_i = min(p_i, w_i), not renormalised (RACO, Algorithm 1).

    What is bounded is the part in the mixture, not the size of the correction: G_q is scaled to the length c ||g_0||, so the
    coefficient of an objective with a short gradient can exceed its weight many times over, and does
    (`test_a_short_gradient_beside_a_long_one_keeps_its_correction`).

    >>> clip(torch.tensor([0.356, 0.644]), torch.tensor([0.2, 0.8]))
    tensor([0.2000, 0.6440])
    """
    return torch.minimum(mixture, weights)


def coefficients(gram: Float[Tensor, "m _m"], weights: Float[Tensor, " _m"], *, c: float) -> Combination:
    """Return the coefficients a of the RACO update sum_i a_i g_i.

    a = w + (s / sqrt(q'Gq)) q, or a = w where q'Gq is zero; with s = c sqrt(w'Gw) = c ||g_0||, q = min(p, w)
    elementwise, and p the minimiser of p'Gw + s sqrt(p'Gp) over the simplex (see `dual`, also for what counts as zero).

    `gram` [m, m], any m >= 1, is the Gramian <g_i, g_j> of the objectives' loss gradients over the whole optimizer
    batch, in float32 or float64. It must be symmetric positive semi-definite up to rounding; that is not verified
    beyond symmetry and diagonal, because it costs an eigendecomposition. `weights` [m] is the preference w on the
    simplex, `c` in [0, 1) the radius of the correction. Each tensor is copied to the CPU once, and all is computed there in
    float64 (`test_no_scalar_is_read_from_a_tensor`), in closed form for m = 2 and along faces beyond (`faces.minimise`).

    Guarantees. The update differs from g_0 by a vector of length s or 0, so its product with g_0 is at least
    (1 - c) ||g_0||^2 (`test_correction_has_length_s_or_0`). Scaling all gradients together leaves a as it is
    (`test_gradient_scale_changes_nothing`); permuting the objectives permutes a, where the optimum is unique
    (`test_permuting_objectives_permutes_the_coefficients`). Norms may differ by any factor below 1e4 in float32 and 1e7 in
    float64: what counts is how precise the cosines are, which is eps whatever the norms (`test_short_beside_long_*`).
    Equal arguments give equal bits.
    Not guaranteed: anything for the worst-off objective, after the clip
    (`test_three_objectives_the_clip_can_lower_the_cosine`).

    References: RACO (arXiv 2602.02495), Algorithm 1 and Appendix B.1; CAGrad (arXiv 2110.14048). Where we differ from
    the authors' code: G is divided by its trace where they use an absolute epsilon, and the clip is always on.

    Raises `ShapeError` where `gram` is not square or `weights` do not fit it, `NonFiniteError`, naming the objective,
    for NaN or infinity, `WeightsError` for weights off the simplex, `ConfigError` for c outside [0, 1), and `DataError`
    for a matrix that is no Gramian or less precise than float32.

    >>> result = coefficients(torch.tensor([[17.0, -5.0], [-5.0, 2.0]]), torch.tensor([0.2, 0.8]), c=0.5)
    >>> result.coefficients, result.mixture, result.clipped
    (tensor([0.3275, 1.2105], dtype=torch.float64),
     tensor([0.3561, 0.6439], dtype=torch.float64),
     tensor([0.2000, 0.6439], dtype=torch.float64))
    """
    problem = _scaled(gram, weights, c=c)
    found = _solve(problem)
    return _join(problem, found, list(map(min, found.mixture, problem.weights)))


def cagrad_coefficients(gram: Float[Tensor, "m _m"], weights: Float[Tensor, " _m"], *, c: float) -> Combination:
    """Return the coefficients of weighted CAGrad: those of `coefficients` without the clip, q = p.

    Arguments and errors are those of `coefficients`, and so are the guarantees. In addition every objective's gradient
    has a product of at least `value` - `gap` with the update, and no update within s of g_0 gives the worst-off one
    more than `value`, where G_p is not zero (`test_unclipped_serves_the_worst_off_best`). Where p has no zero, all
    products are equal (`test_interior_mixture_gives_every_gradient_the_same_product`): at equal norms the preference is
    then without effect on the update's products, which is what the clip repairs. `clipped` holds p.

    Reference: CAGrad (arXiv 2110.14048), with a preference for the mean and without the final division by 1 + c^2.

    >>> result = cagrad_coefficients(torch.tensor([[17.0, -5.0], [-5.0, 2.0]]), torch.tensor([0.2, 0.8]), c=0.5)
    >>> result.coefficients
    tensor([0.3284, 1.0321], dtype=torch.float64)
    """
    problem = _scaled(gram, weights, c=c)
    found = _solve(problem)
    return _join(problem, found, found.mixture)


def _join(problem: _Scaled, found: Minimum, mixture: list[float]) -> Combination:
    task = problem.task
    square = dot(mixture, times(task.gram, mixture))
    factor = 0.0 if is_zero(square, mixture, task.norms, zero=task.zero) else task.radius / sqrt(square)
    joined = [weight + factor * part for weight, part in zip(problem.weights, mixture, strict=True)]
    seen = _dual(found, trace=problem.trace)
    return Combination(_tensor(joined), seen.mixture, _tensor(mixture), seen.value, seen.gap)


def _dual(found: Minimum, *, trace: float) -> Dual:
    return Dual(_tensor(found.mixture), _tensor(found.value * trace), _tensor((found.value - found.bound) * trace))


def _tensor(numbers: float | list[float]) -> Float64[Tensor, "..."]:
    return torch.from_numpy(np.array(numbers))  # half the time of torch.tensor


def _solve(problem: _Scaled) -> Minimum:
    task, weights, _, same = problem
    if is_zero(dot(weights, task.linear), weights, task.norms, zero=task.zero):  # g_0 = 0: Phi is 0 everywhere
        return Minimum(weights, 0.0, 0.0)
    if len(weights) == 2:
        return evidence(_two(task, weights, same=same), task)
    return _merged(task, weights, same=same)


def _two(task: Problem, weights: list[float], *, same: float) -> list[float]:
    """The minimiser for two objectives, in closed form.

    With p = (lam, 1 - lam), p'Gp = q2 (lam - lam0)^2 + r and p'Gw = delta lam + const. For D = s^2 q2 - delta^2 <= 0 Phi is
    monotone; otherwise it has one stationary point, or for r = 0 a kink, at lam0 - delta sqrt(r / (q2 D)). lam is the part of
    the longer gradient: beside a short one it is small, and 1 - lam would have lost its digits.
    """
    lengths = task.norms
    if _alike(0, 1, task, same=same):
        return weights  # any p
    long, short = (0, 1) if lengths[0] >= lengths[1] else (1, 0)
    h11, h12, h22 = task.gram[long][long], task.gram[long][short], task.gram[short][short]
    delta, q2 = task.linear[long] - task.linear[short], h11 + h22 - 2 * h12
    room = task.radius**2 * q2 - delta**2
    if task.radius == 0 and delta == 0:
        return weights  # nothing to choose between
    if q2 <= ROUNDING * sum(lengths) ** 2 or room <= 0:
        lam = 1.0 if delta < 0 else 0.0
    else:
        nearest = (h22 - h12) / q2
        r = (h11 * h22 - h12**2) / q2
        kink = is_zero(r, [nearest, 1 - nearest], [lengths[long], lengths[short]], zero=task.zero)
        lam = nearest - (0.0 if kink else delta * sqrt(r / (q2 * room)))
        lam = min(max(lam, 0.0), 1.0)
    mixture = [0.0, 0.0]
    mixture[long], mixture[short] = lam, 1 - lam
    least = limits(mixture, lengths)
    if lam <= least[long]:
        mixture[long], mixture[short] = 0.0, 1.0
    elif 1 - lam <= least[short]:
        mixture[long], mixture[short] = 1.0, 0.0
    return mixture


def _merged(task: Problem, weights: list[float], *, same: float) -> Minimum:
    """The minimum where equal gradients are one objective, its component shared in proportion to the weights."""
    size, lengths = len(weights), task.norms
    first = [next((other for other in range(index) if _alike(index, other, task, same=same)), index) for index in range(size)]
    leaders = sorted(set(first))
    if len(leaders) == size:
        return minimise(task)
    gram = [[task.gram[i][j] for j in leaders] for i in leaders]
    found = minimise(task._replace(gram=gram, linear=[task.linear[i] for i in leaders], lengths=[lengths[i] for i in leaders]))
    mixture = [0.0] * size
    for leader, part in zip(leaders, found.mixture, strict=True):
        group = [index for index, other in enumerate(first) if other == leader]
        total = sum(weights[index] for index in group)
        for index in group:  # where a group weighs nothing, in equal parts
            mixture[index] = part * (weights[index] / total if total > 0 else 1 / len(group))
    return found._replace(mixture=mixture)


def _alike(one: int, other: int, task: Problem, *, same: float) -> bool:
    """Whether two gradients are the same: their products with every gradient are, up to rounding."""
    gram, lengths = task.gram, task.norms
    least = same * max(lengths[one], lengths[other])
    if abs(gram[one][one] - gram[other][one]) > least * lengths[one]:  # one entry decides almost always
        return False
    return all(abs(left - right) <= least * length for left, right, length in zip(gram[one], gram[other], lengths, strict=True))


def _scaled(gram: Tensor, weights: Tensor, *, c: float) -> _Scaled:
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or not len(gram):
        raise ShapeError(
            f"`gram` should be square, [m, m]; found shape {tuple(gram.shape)}. "
            "Pass the Gramian, `jac @ jac.T`, not the Jacobian."
        )
    if gram.dtype not in (torch.float32, torch.float64):
        raise DataError(f"`gram` should be float32 or float64; found {gram.dtype}. Accumulate it as `maths.gramian` does.")
    if not 0 <= c < 1:
        raise ConfigError(f"c: found {c!r}, expected 0 <= c < 1. Lower the radius of the correction; RACO uses 0.4.")
    eps = torch.finfo(gram.dtype).eps
    rows = gram.tolist()
    trace = _checked_trace(rows, rounding=sqrt(eps))
    preference = _preference(weights, size=len(rows))
    unit = 1 / (2 * trace) if trace > 0 else 0.0
    columns = zip(*rows, strict=True)
    matrix = [[(a + b) * unit for a, b in zip(row, column, strict=True)] for row, column in zip(rows, columns, strict=True)]
    linear = times(matrix, preference)
    lengths = [sqrt(max(row[index], 0.0)) for index, row in enumerate(matrix)]
    zero, square = 64 * eps, dot(preference, linear)
    radius = 0.0 if is_zero(square, preference, lengths, zero=zero) else c * sqrt(square)
    task = Problem(matrix, linear, radius, zero, lengths, dot(preference, lengths))
    return _Scaled(task, preference, trace, 16 * eps)


def _checked_trace(rows: list[list[float]], *, rounding: float) -> float:
    """The trace of what is found to be a Gramian."""
    finite = [all(map(isfinite, row)) for row in rows]
    diagonal = [row[index] for index, row in enumerate(rows)]
    if not all(finite):
        # a bad gradient spoils a row, a column and its own square; the square says whose it is
        own = [isfinite(square) for square in diagonal]
        index = (finite if all(own) else own).index(False)
        raise NonFiniteError(
            f"`gram`: found {rows[index]} in row {index} (objective {index}), expected finite numbers. "
            "Look at that objective's gradient."
        )
    tolerance = rounding * max(map(abs, diagonal))
    columns = zip(*rows, strict=True)
    asymmetry = max(max(map(abs, map(sub, row, column))) for row, column in zip(rows, columns, strict=True))
    if min(diagonal) < -tolerance or asymmetry > tolerance:
        raise DataError(
            f"`gram` should be symmetric, with squared norms on its diagonal; found {rows}. Pass the Gramian, `jac @ jac.T`."
        )
    return sum(diagonal)


def _preference(weights: Tensor, *, size: int) -> list[float]:
    if weights.shape != (size,):
        raise ShapeError(
            f"`weights` should have one entry per objective, [{size}]; found shape {tuple(weights.shape)}. "
            "Pass weights in the order of the Gramian's rows."
        )
    values = weights.tolist()
    for index, value in enumerate(values):
        if not isfinite(value):
            raise NonFiniteError(f"`weights`: found {value} for objective {index}, expected a finite number. Change it.")
    total = sum(values)
    if not weights.is_floating_point() or min(values) < 0 or abs(total - 1) > simplex.TOLERANCE:
        simplex.validate(values, size=size)  # says what is wrong, if anything
    return [value / total for value in values]
