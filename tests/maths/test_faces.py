"""The minimiser behind RACO: enumeration of faces, the walk over them, and the bound that certifies both."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.maths_asserts import assert_close, assert_on_simplex
from support.maths_samplers import KINDS, jacobian, preference

from paretokit.maths import simplex
from paretokit.maths.faces import Problem, enumerate_faces, evidence, lower_bound, minimise, values, walk_faces

quick = settings(deadline=None, max_examples=40, derandomize=True)
seeds = st.integers(0, 10**6)
ZERO = 64 * torch.finfo(torch.float64).eps


def _problem(kind, m, *, seed, c=0.4):
    generator = torch.Generator().manual_seed(seed)
    rows, weights = jacobian(kind, m, generator=generator), preference("inner", m, generator=generator)
    gram = rows @ rows.T
    gram = gram / gram.trace()
    return Problem(gram, gram @ weights, c * float((weights @ gram @ weights).sqrt()), ZERO)


@quick
@given(st.sampled_from(KINDS), st.integers(2, 8), seeds, st.sampled_from([0.0, 0.4, 0.9]))
def test_the_walk_ends_where_enumeration_does(kind, m, seed, c):
    problem = _problem(kind, m, seed=seed, c=c)
    enumerated, walked = (evidence(search(problem), problem) for search in (enumerate_faces, walk_faces))
    assert_on_simplex(enumerated.mixture)
    assert_on_simplex(walked.mixture)
    assert abs(enumerated.value - walked.value) <= 1e-9
    assert max(enumerated.value - enumerated.bound, walked.value - walked.bound) <= 1e-9


@quick
@given(st.sampled_from(KINDS), st.integers(2, 4), seeds)
def test_bound_of_any_mixture_is_below_the_minimum(kind, m, seed):
    problem = _problem(kind, m, seed=seed)
    least = float(values(simplex.grid(m, resolution=12), problem).min())
    mixtures = [
        *torch.eye(m, dtype=torch.float64),
        preference("inner", m, generator=torch.Generator().manual_seed(seed)),
    ]
    assert all(lower_bound(mixture, problem) <= least + 1e-7 for mixture in mixtures)


@pytest.mark.parametrize("m", [9, 32, 64])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "near equal"])
def test_many_vectors_are_solved_to_rounding(kind, m):
    problem = _problem(kind, m, seed=m)
    found = minimise(problem)
    assert_on_simplex(found.mixture)
    assert 0 <= found.value - found.bound <= 1e-12


def test_support_is_exact():
    for seed in range(10):
        found = minimise(_problem("generic", 6, seed=seed)).mixture
        assert ((found == 0) | (found > 1e-9)).all()


def test_one_vector():
    found = minimise(Problem(torch.eye(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64), 0.4, ZERO))
    assert (found.mixture.tolist(), found.value, found.bound) == ([1.0], 1.4, 1.4)


def _kink(*rows, weights, c):
    rows, weights = torch.tensor(rows, dtype=torch.float64), torch.tensor(weights, dtype=torch.float64)
    gram = rows @ rows.T / (rows**2).sum()
    return Problem(gram, gram @ weights, c * float((weights @ gram @ weights).sqrt()), ZERO)


@pytest.mark.parametrize("search", [enumerate_faces, walk_faces])
@pytest.mark.parametrize(
    ("problem", "mixture"),
    [
        # a zero vector; the others conflict, and only a direction between them serves both
        (_kink([0, 0], [-0.1, 1], [1.1, -1], weights=[0.2, 0.4, 0.4], c=0.9), [1, 0, 0]),
        # an opposed pair across such a conflict
        (
            _kink([0, 0, 1], [0, 0, -1], [-0.1, 1, 0], [1.1, -1, 0], weights=[0.25] * 4, c=0.9),
            [0.5, 0.5, 0, 0],
        ),
        # a zero vector that a face of the others undercuts: the walk must leave the kink
        (_kink([0, 0], [-1, 0.2], [0.5, 0.2], weights=[0.1, 0.1, 0.8], c=0.4), None),
        # two zero vectors
        (_kink([0, 0], [0, 0], [1, 0], weights=[0.2, 0.2, 0.6], c=0.4), [1, 0, 0]),
    ],
)
def test_kinks_are_certified(problem, mixture, search):
    found = evidence(search(problem), problem)
    if mixture is not None:
        assert_close(found.mixture, mixture, tolerance=1e-15)
        assert found.value == pytest.approx(0, abs=1e-16)
    else:
        assert found.value < -1e-3
    assert 0 <= found.value - found.bound <= 1e-15


def test_bound_without_a_radius_is_that_of_the_linear_part():
    problem = _kink([0, 0], [-1, 0], [2, 1], weights=[0.2, 0.4, 0.4], c=0.0)
    assert lower_bound(torch.tensor([1.0, 0, 0], dtype=torch.float64), problem) == float(problem.linear.min())


def test_bound_sees_a_wrong_mixture():
    problem = _problem("generic", 4, seed=3)
    wrong = torch.full((4,), 0.25, dtype=torch.float64)
    found = evidence(wrong, problem)
    assert found.value - found.bound > 1e-3


def test_frozen_value():
    found = minimise(_kink([1, 0, 0], [-0.5, 1, 0], [0, -0.5, 1], weights=[1 / 3] * 3, c=0.4))
    assert_close(found.mixture, [0.385253, 0.502073, 0.112673], tolerance=1e-6)
