"""The theorems of the paper on quadratics, where full gradients and smoothness constants are known.

What must not be asserted stands here as a counterexample: that clipping means a lower loss in the end.
"""

from typing import NamedTuple

import pytest
import torch
from support.maths_asserts import assert_close
from support.maths_samplers import jacobian, preference

from paretokit.maths.raco import cagrad_coefficients, coefficients


class Quadratics(NamedTuple):
    """L_i(x) = sum_j curvature_ij (x_j - centre_ij)^2 / 2, all >= 0."""

    curvature: torch.Tensor
    centre: torch.Tensor
    weights: torch.Tensor
    start: torch.Tensor
    eta: float

    def losses(self, x):
        return (self.curvature * (x - self.centre) ** 2).sum(dim=1) / 2

    def gradients(self, x):
        return self.curvature * (x - self.centre)

    @property
    def smoothness(self):
        return float((self.weights @ self.curvature).max())


def _quadratics(curvature, centre, weights, start, *, eta):
    return Quadratics(*(torch.tensor(part, dtype=torch.float64) for part in (curvature, centre, weights, start)), eta)


F1 = _quadratics([[2], [2]], [[0], [1]], [0.6, 0.4], [1], eta=0.1)
F2 = _quadratics([[1, 9], [4, 1]], [[0, 0], [2, 1]], [0.7, 0.3], [0.5, 1], eta=0.1)
F3 = _quadratics([[1, 1], [3, 1], [1, 2]], [[0, 0], [2, 0], [0, 3]], [0.2, 0.5, 0.3], [3, 2], eta=0.2)


class Trace(NamedTuple):
    points: torch.Tensor  # [T + 1, n]
    losses: torch.Tensor  # L_w, [T + 1]
    squares: torch.Tensor  # ||g_0||^2, [T]
    cosines: torch.Tensor  # of g_0 and the correction, [T]; 0 where there is none


def descend(problem, *, c, function=coefficients, steps=10):
    """Plain steps -eta G_0."""
    points, squares, cosines = [problem.start], [], []
    for _ in range(steps):
        rows = problem.gradients(points[-1])
        found = function(rows @ rows.T, problem.weights, c=c)
        preferred = problem.weights @ rows
        step = found.coefficients @ rows
        points.append(points[-1] - problem.eta * step)
        squares.append(preferred @ preferred)
        cosines.append(torch.cosine_similarity(preferred, step - preferred, dim=0))
    points = torch.stack(points)
    losses = torch.stack([problem.weights @ problem.losses(point) for point in points])
    return Trace(points, losses, torch.stack(squares), torch.stack(cosines))


@pytest.mark.parametrize(
    ("problem", "c", "function", "points", "losses"),
    [
        (
            F1,
            0.4,
            coefficients,
            [[0.88], [0.8224], [0.771712], [0.551910]],
            [0.6, 0.4704, 0.418422, 0.378170, 0.263077],
        ),
        (
            F1,
            0.4,
            cagrad_coefficients,
            [[0.88], [0.8224], [0.771712], [0.551910]],
            [0.6, 0.4704, 0.418422, 0.378170, 0.263077],
        ),
        (F1, 0.0, coefficients, None, [0.6, 0.4704, 0.387456, 0.334372, 0.244151]),
        (
            F2,
            0.4,
            coefficients,
            [[0.903588, 0.37], [1.060082, 0.138110], [1.102912, 0.048348], [1.196263, 0.042576]],
            [4.5875, 1.497806, 1.094901, 1.051815, 1.031671],
        ),
        (
            F2,
            0.4,
            cagrad_coefficients,
            [[0.903588, 0.37], [1.061793, 0.158692], [1.111845, 0.052510], [1.200031, 0.042737]],
            [4.5875, 1.497806, 1.108228, 1.049307, 1.031202],
        ),
        (
            F3,
            0.4,
            coefficients,
            [[2.193330, 1.977780], [1.797989, 1.776807], [1.626271, 1.640511], [1.528102, 1.442865]],
            [4.7, 2.913251, 2.392623, 2.262354, 2.206841],
        ),
        (
            F3,
            0.4,
            cagrad_coefficients,
            [[2.193330, 1.977780], [1.789308, 1.815724], [1.609656, 1.711762], [1.485893, 1.476510]],
            [4.7, 2.913251, 2.408351, 2.285437, 2.209534],
        ),
    ],
)
def test_fixture_trajectories(problem, c, function, points, losses):
    trace = descend(problem, c=c, function=function)
    if points is not None:
        assert_close(trace.points[[1, 2, 3, 10]], points, tolerance=1e-6)
    assert_close(trace.losses[[0, 1, 2, 3, 10]], losses, tolerance=1e-6)


def test_fixture_numbers():
    assert [problem.smoothness for problem in (F1, F2, F3)] == pytest.approx([2.0, 6.6, 2.0])
    assert_close(descend(F1, c=0.4).squares.min(), 0.119197, tolerance=1e-6)
    assert_close(descend(F1, c=0.0).squares.min(), 0.025941, tolerance=1e-6)
    assert_close(descend(F2, c=0.0).losses[10], 1.035570, tolerance=1e-6)


@pytest.mark.parametrize("function", [coefficients, cagrad_coefficients])
@pytest.mark.parametrize("problem", [F1, F2, F3], ids=["F1", "F2", "F3"])
@pytest.mark.parametrize("c", [0.0, 0.4, 0.9])
def test_theorem_3_1_descent(problem, c, function):
    """L_w never rises, the bound of each step holds, and that of T steps, for eta <= 1 / l_w."""
    steps = 25
    trace = descend(problem, c=c, function=function, steps=steps)
    slack = 1e-12
    assert problem.eta <= 1 / problem.smoothness
    assert (trace.losses.diff() <= slack).all()
    rho = trace.cosines
    # no correction, no terms with c: an update of g_0 alone obeys the bound with c = 0
    size = c * (rho != 0).to(rho)
    gamma = (1 + size * rho) - problem.smoothness * problem.eta / 2 * (1 + size**2 + 2 * size * rho)
    assert (trace.losses[1:] <= trace.losses[:-1] - problem.eta * trace.squares * gamma + slack).all()
    assert (gamma >= (1 - c**2) / 2 - slack).all()
    assert trace.squares.min() <= 2 * trace.losses[0] / (problem.eta * (1 - c**2) * steps)


def _gain(cosine, *, c, curvature):
    """Gamma(rho), with curvature = l_w eta."""
    return (1 + c * cosine) - curvature / 2 * (1 + c**2 + 2 * c * cosine)


def test_theorem_3_2_witness():
    rows = torch.tensor([[1.0, -4], [-1, 1]], dtype=torch.float64)
    weights = torch.tensor([0.2, 0.8], dtype=torch.float64)
    found = coefficients(rows @ rows.T, weights, c=0.5)
    before, after = (torch.cosine_similarity(weights @ rows, q @ rows, dim=0) for q in (found.mixture, found.clipped))
    gains = [_gain(cosine, c=0.5, curvature=0.3) for cosine in (before, after)]
    assert_close(gains, [0.933525, 1.142665], tolerance=1e-6)
    assert_close(gains[1] - gains[0], 0.5 * (1 - 0.3) * (after - before), tolerance=1e-12)


def test_theorem_3_2_two_objectives_gain_by_the_clip():
    generator = torch.Generator().manual_seed(0)
    strict = 0
    for _ in range(150):
        rows = jacobian("generic", 2, generator=generator)
        weights = preference("inner", 2, generator=generator)
        found = coefficients(rows @ rows.T, weights, c=0.9)
        before, after = (torch.cosine_similarity(weights @ rows, q @ rows, dim=0) for q in (found.mixture, found.clipped))
        difference = _gain(after, c=0.9, curvature=0.5) - _gain(before, c=0.9, curvature=0.5)
        assert_close(difference, 0.9 * 0.5 * (after - before), tolerance=1e-12)
        assert difference >= -1e-12
        if (found.mixture > 1e-3).all() and float((found.mixture - weights).abs().max()) > 1e-3:
            assert difference > 0
            strict += 1
    assert strict > 50


def test_the_clip_can_be_behind_in_the_end():
    """Kept so that nobody asserts more: ahead at t = 2, behind at t = 10."""
    clipped, free = (descend(F2, c=0.4, function=function).losses for function in (coefficients, cagrad_coefficients))
    assert clipped[2] < free[2]
    assert clipped[10] > free[10]
