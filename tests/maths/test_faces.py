"""The minimiser behind RACO: the walk over faces, its slow twin that tries them all, and the bound that certifies both."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.maths_asserts import assert_close, assert_on_simplex
from support.maths_faces import enumerate_faces, phi
from support.maths_samplers import KINDS, jacobian, preference

from paretokit.maths import faces, simplex
from paretokit.maths.faces import Problem, evidence, minimise
from paretokit.maths.raco import dual

quick = settings(deadline=None, max_examples=40, derandomize=True)
seeds = st.integers(0, 10**6)
ZERO = 64 * torch.finfo(torch.float64).eps


def _problem(kind, m, *, seed, c=0.4):
    generator = torch.Generator().manual_seed(seed)
    rows, weights = jacobian(kind, m, generator=generator), preference("inner", m, generator=generator)
    return _of(rows, weights, c=c)


def _of(rows, weights, *, c):
    gram = rows @ rows.T / (rows**2).sum()
    return Problem(gram.tolist(), (gram @ weights).tolist(), c * float((weights @ gram @ weights).sqrt()), ZERO)


def walk(problem):
    return minimise(problem).mixture


@quick
@given(st.sampled_from(KINDS), st.integers(2, 8), seeds, st.sampled_from([0.0, 0.4, 0.9]))
def test_the_walk_ends_where_enumeration_does(kind, m, seed, c):
    problem = _problem(kind, m, seed=seed, c=c)
    enumerated, walked = (evidence(search(problem), problem) for search in (enumerate_faces, walk))
    assert_on_simplex(torch.tensor(enumerated.mixture, dtype=torch.float64))
    assert_on_simplex(torch.tensor(walked.mixture, dtype=torch.float64))
    assert abs(enumerated.value - walked.value) <= 1e-9
    assert max(enumerated.value - enumerated.bound, walked.value - walked.bound) <= 1e-9


@quick
@given(st.sampled_from(KINDS), st.integers(2, 4), seeds)
def test_bound_of_any_mixture_is_below_the_minimum(kind, m, seed):
    problem = _problem(kind, m, seed=seed)
    least = float(phi(simplex.grid(m, resolution=12).numpy(), problem).min())
    mixtures = [*np.eye(m).tolist(), preference("inner", m, generator=torch.Generator().manual_seed(seed)).tolist()]
    assert all(evidence(mixture, problem).bound <= least + 1e-7 for mixture in mixtures)


@pytest.mark.parametrize("m", [9, 32, 64])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "near equal"])
def test_many_vectors_are_solved_to_rounding(kind, m):
    problem = _problem(kind, m, seed=m)
    found = minimise(problem)
    assert_on_simplex(torch.tensor(found.mixture, dtype=torch.float64))
    assert 0 <= found.value - found.bound <= 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_turns_are_few_at_32_vectors(kind, monkeypatch):
    """The planes whose minimiser is computed, those of the first guess included: no more than two for each vector."""
    turns, plane = [], faces._plane
    monkeypatch.setattr(faces, "_plane", lambda *args: turns.append(1) or plane(*args))
    for seed in range(50):
        turns.clear()
        minimise(_problem(kind, 32, seed=seed, c=(0.1, 0.4, 0.9)[seed % 3]))
        assert 0 < len(turns) <= 2 * 32


@quick
@given(st.sampled_from(KINDS), seeds, st.sampled_from([0.1, 0.4, 0.9]))
def test_two_vectors_end_at_the_closed_form(kind, seed, c):
    generator = torch.Generator().manual_seed(seed)
    rows, weights = jacobian(kind, 2, generator=generator), preference("inner", 2, generator=generator)
    if float((weights @ rows).norm()) <= 1e-6 * float(rows.norm()):
        return  # no preferred gradient: `dual` returns the preference
    walked, closed, trace = minimise(_of(rows, weights, c=c)), dual(rows @ rows.T, weights, c=c), float((rows**2).sum())
    assert_close(walked.value, closed.value / trace, tolerance=1e-12)


def test_support_is_exact():
    for seed in range(10):
        found = minimise(_problem("generic", 6, seed=seed)).mixture
        assert all(part == 0 or part > 1e-9 for part in found)


def test_one_vector():
    found = minimise(Problem([[1.0]], [1.0], 0.4, ZERO))
    assert found == ([1.0], 1.4, 1.4)


def _kink(*rows, weights, c):
    rows, weights = torch.tensor(rows, dtype=torch.float64), torch.tensor(weights, dtype=torch.float64)
    return _of(rows, weights, c=c)


@pytest.mark.parametrize("search", [enumerate_faces, walk])
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
    assert evidence([1.0, 0.0, 0.0], problem).bound == min(problem.linear)


def test_bound_sees_a_wrong_mixture():
    problem = _problem("generic", 4, seed=3)
    found = evidence([0.25] * 4, problem)
    assert found.value - found.bound > 1e-3


def test_frozen_value():
    found = minimise(_kink([1, 0, 0], [-0.5, 1, 0], [0, -0.5, 1], weights=[1 / 3] * 3, c=0.4))
    assert_close(found.mixture, [0.385253, 0.502073, 0.112673], tolerance=1e-6)
