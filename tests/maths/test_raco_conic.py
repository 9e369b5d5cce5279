"""The mixture against a conic solver that shares nothing with ours, for 2 to 32 objectives and 24 orders of scale."""

import pytest
import torch
from support.maths_asserts import assert_on_simplex
from support.maths_samplers import jacobian, preference

from paretokit.maths.raco import dual

SCALES = [1e-12, 1e-6, 1.0, 1e5, 1e12]  # of the gradients
CONIC = 1e-7  # of the trace: Clarabel stops at a relative gap and infeasibility of 1e-8


def _gradients(kind, m, *, seed):
    """[m, n] gradients with trace 1."""
    generator = torch.Generator().manual_seed(seed)
    rows, weights = jacobian("generic", m, generator=generator), preference("inner", m, generator=generator)
    if kind == "conflict":
        rows = rows - 0.97 * rows.mean(dim=0)
    elif kind == "n < m":
        rows = rows[:, : max(1, m // 2)]
    elif kind == "opposed":
        rows[0] = -2 * rows[-1]
    elif kind == "opposed, n < m":
        rows = rows[:, : max(1, m // 2)]
        rows[0] = -rows[-1]
    return rows / rows.norm(), weights


def phi(rows, weights, mixture, *, c):
    """Phi from the gradients themselves: <G_p, g_0> + c ||g_0|| ||G_p||."""
    preferred, mixed = weights @ rows, mixture @ rows
    return float(mixed @ preferred + c * preferred.norm() * mixed.norm())


def conic(rows, weights, *, c):
    """The mixture that a conic solver finds, put on the simplex."""
    import cvxpy

    mixture, preferred = cvxpy.Variable(len(rows), nonneg=True), weights @ rows
    linear = (rows @ preferred).numpy()
    objective = linear @ mixture + c * float(preferred.norm()) * cvxpy.norm2(rows.T.numpy() @ mixture)
    cvxpy.Problem(cvxpy.Minimize(objective), [cvxpy.sum(mixture) == 1]).solve(solver=cvxpy.CLARABEL)
    found = torch.tensor(mixture.value, dtype=torch.float64).clamp(min=0)
    return found / found.sum()


@pytest.mark.parametrize("m", [2, 3, 5, 8, 16, 32])
@pytest.mark.parametrize("kind", ["generic", "conflict", "n < m", "opposed", "opposed, n < m"])
def test_no_mixture_of_a_conic_solver_is_better(kind, m):
    for seed, c in enumerate((0.1, 0.4, 0.9)):
        rows, weights = _gradients(kind, m, seed=seed)
        theirs = phi(rows, weights, conic(rows, weights, c=c), c=c)
        for scale in SCALES:
            scaled = scale * rows
            gram = scaled @ scaled.T
            found = dual(gram, weights, c=c)
            assert_on_simplex(found.mixture)
            assert phi(rows, weights, found.mixture, c=c) <= theirs + CONIC
            assert abs(float(found.value / gram.trace()) - theirs) <= 10 * CONIC  # nor is ours better than can be
            square = float(found.mixture @ gram @ found.mixture / gram.trace())
            # nearly but not exactly zero: a float64 Gramian carries no more
            assert 0 <= found.gap <= gram.trace() * (1e-7 if 1.4e-14 < square < 1e-10 else 1e-9)


def test_the_comparison_rejects_a_wrong_mixture():
    rows, weights = _gradients("conflict", 5, seed=1)
    wrong = torch.full((5,), 0.2, dtype=torch.float64)
    assert phi(rows, weights, wrong, c=0.4) > phi(rows, weights, conic(rows, weights, c=0.4), c=0.4) + 10 * CONIC
