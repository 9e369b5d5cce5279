"""Short gradients beside long ones: what counts as zero is what cancels, not what is small."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.maths_asserts import assert_close, assert_on_simplex
from support.maths_exact import apart, cancelled, solve
from support.maths_samplers import jacobian, preference
from support.maths_uneven import cases as made_cases

from paretokit.maths import faces, raco
from paretokit.maths.gramian import gramian
from paretokit.maths.raco import cagrad_coefficients, coefficients, dual

CASES = json.loads((Path(__file__).parent / "golden" / "uneven.json").read_text())
quick = settings(deadline=None, max_examples=25, derandomize=True)
cases = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
seeds = st.integers(0, 10**6)
MOST = {torch.float32: 1e4, torch.float64: 1e7}  # the largest ratio of norms that is promised
NAMES = (("coefficients_clipped", coefficients), ("coefficients_unclipped", cagrad_coefficients))


def check(case, *, dtype=torch.float64, order=None):
    """The solution is the stored one: the mixture, its value, and both updates, relative to the largest coefficient."""
    rows, weights = torch.tensor(case["rows"], dtype=dtype), torch.tensor(case["weights"], dtype=torch.float64)
    order = torch.arange(len(weights)) if order is None else order
    gram = gramian([rows[order]])
    assert gram.dtype == dtype
    found = dual(gram, weights[order], c=case["c"])
    assert_on_simplex(found.mixture)
    assert_close(found.mixture, torch.tensor(case["p"], dtype=torch.float64)[order], tolerance=1e-9)
    assert_close(found.value, case["value"], tolerance=1e-9 * abs(case["value"]))
    assert 0 <= found.gap <= 1e-9 * gram.trace()
    for name, function in NAMES:
        expected = torch.tensor(case[name], dtype=torch.float64)[order]
        result = function(gram, weights[order], c=case["c"]).coefficients
        assert_close(result, expected, tolerance=1e-9 * max(1.0, float(expected.abs().max())))


@cases
@dtypes
def test_golden(case, dtype):
    check(case, dtype=dtype)


@cases
def test_golden_permuted(case):
    check(case, dtype=torch.float32, order=torch.arange(len(case["weights"])).flip(0))


@pytest.mark.parametrize("name", ["p", "value", "coefficients_clipped", "coefficients_unclipped"])
def test_golden_check_rejects_a_wrong_answer(name):
    case = CASES[1]
    wrong = [part * (1 + 1e-6) + 1e-6 for part in case[name]] if isinstance(case[name], list) else case[name] * (1 + 1e-6)
    with pytest.raises(AssertionError):
        check({**case, name: wrong}, dtype=torch.float32)


def test_most_golden_cases_fail_where_zero_means_small(monkeypatch):
    """The rule that was: relative to the trace."""

    def small(square, mixture, lengths, *, zero):
        return square <= zero

    monkeypatch.setattr(faces, "is_zero", small)
    monkeypatch.setattr(raco, "is_zero", small)
    failed = 0
    for case in CASES:
        try:
            check(case, dtype=torch.float32)
        except AssertionError:
            failed += 1
    assert failed > len(CASES) / 2


def test_the_golden_cases_are_those_that_the_script_makes():
    # as JSON, whose numbers are read back exactly
    made = json.loads(json.dumps(made_cases()))
    assert [case["name"] for case in made] == [case["name"] for case in CASES]
    for one, other in zip(made, CASES, strict=True):
        assert one == other


def test_a_short_gradient_beside_a_long_one_keeps_its_correction():
    rows = torch.tensor([[100.0, 0.0], [-0.5, 0.5]])  # norms 100 and .7
    found = coefficients(rows @ rows.T, torch.tensor([0.8, 0.2]), c=0.4)
    assert_close(found.coefficients, [0.8, 45.3978], tolerance=1e-3)
    assert found.coefficients[1] > 200 * 0.2  # far beyond its weight: the clip bounds the mixture, not the size
    assert_close(found.clipped, [0.0, 0.2], tolerance=1e-7)  # weights of float32


# against the slow twin


def _short_beside_long(m, *, seed, dtype, ratio, kind="generic", weighing="inner"):
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(m, 1, generator=generator, dtype=torch.float64)
    share[0], share[-1] = 0, 1
    scales = (ratio ** -share[torch.randperm(m, generator=generator)]).log2().round().exp2()
    rows = jacobian(kind, m, generator=generator) * scales
    return rows.to(dtype), preference(weighing, m, generator=generator)


class Compared(NamedTuple):
    error: float  # of both updates against those of the slow twin, relative to |g_0|, over what rounding of the Gramian moves
    left: float  # the least that is left of g_0, G_p or the clipped mixture, as a share: (1e-3)^(1/2) of the length is much


def compare(rows, weights, *, c):
    exact = solve(rows.tolist(), weights.tolist(), c=c)
    clipped = [min(part, weight) for part, weight in zip(exact.mixture, weights.tolist(), strict=True)]
    left = min(cancelled(mixture, rows.tolist()) for mixture in (weights.tolist(), exact.mixture, clipped))
    gram = gramian([rows])
    error = max(
        apart(rows.tolist(), function(gram, weights, c=c).coefficients.tolist(), expected, exact.preferred)
        for function, expected in ((coefficients, exact.clipped), (cagrad_coefficients, exact.free))
    )
    return Compared(error * max(left, 1e-40) / torch.finfo(rows.dtype).eps, left)


@dtypes
@quick
@given(
    st.sampled_from(["generic", "conflict", "uneven"]),
    st.integers(2, 5),
    seeds,
    st.sampled_from([1.0, 30.0, 1e3, None]),
    st.sampled_from(["inner", "sparse", "uniform"]),
)
def test_short_beside_long_agrees_with_the_slow_twin(dtype, kind, m, seed, ratio, weighing):
    most = ratio or MOST[dtype]
    rows, weights = _short_beside_long(m, seed=seed, dtype=dtype, ratio=most, kind=kind, weighing=weighing)
    found = compare(rows, weights, c=0.4)
    assume(found.left > 1e-3)  # what nearly cancels is nearly lost in rounding
    assert found.error <= 16


@dtypes
@pytest.mark.parametrize("m", [6, 7, 8])
def test_short_beside_long_agrees_with_the_slow_twin_for_many(dtype, m):
    rows, weights = _short_beside_long(m, seed=m, dtype=dtype, ratio=MOST[dtype])
    found = compare(rows, weights, c=0.4)
    assert found.left > 1e-3
    assert found.error <= 16


@dtypes
def test_the_comparison_tells_a_preference_without_its_correction(dtype, monkeypatch):
    rows, weights = _short_beside_long(3, seed=1, dtype=dtype, ratio=MOST[dtype])
    monkeypatch.setattr(raco, "is_zero", lambda *args, zero: True)
    assert compare(rows, weights, c=0.4).error > 1e4


# what cancels is zero, whatever the lengths


@dtypes
@pytest.mark.parametrize("ratio", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("m", [2, 3, 5])
def test_opposed_gradients_of_any_lengths_do_not_blow_up(dtype, ratio, m):
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn(m, 50, generator=generator, dtype=torch.float64)
        rows[-1] = -ratio * 1.37 * rows[0]
        rows[:, 0] += torch.tensor([0.0, *[5.0] * (m - 2), 0.0])  # the others agree
        weights = preference("inner", m, generator=generator)
        gram = gramian([rows.to(dtype)])
        lengths, preferred = gram.double().diagonal().sqrt(), float((weights @ gram.double() @ weights).clamp(min=0).sqrt())
        free = cagrad_coefficients(gram, weights, c=0.4)
        # no part of a correction is longer than the threshold allows: eight roots of eps
        most = 0.4 * preferred / (8 * torch.finfo(dtype).eps ** 0.5)
        assert bool(((free.coefficients - weights).abs() * lengths <= most * (1 + 1e-9)).all())


@dtypes
@pytest.mark.parametrize("ratio", [1e-6, 1e-3, 1.0, 1e3])
def test_whether_a_pair_cancels_does_not_depend_on_its_lengths(dtype, ratio):
    """With weights at which g_0 is a little above the threshold there is a correction, a little below there is none."""
    eps = torch.finfo(dtype).eps
    for factor, corrected in ((4.0, True), (0.25, False)):
        angle = torch.tensor(2 * (64 * eps * factor) ** 0.5, dtype=torch.float64)  # |g_0| = angle / 2 of what does not cancel
        gram = torch.tensor([[1.0, -angle.cos()], [-angle.cos(), 1.0]], dtype=torch.float64)
        lengths = torch.tensor([1.0, ratio], dtype=torch.float64)
        weights = torch.tensor([ratio, 1.0], dtype=torch.float64) / (1 + ratio)
        found = cagrad_coefficients((gram * lengths[:, None] * lengths).to(dtype), weights, c=0.9)
        assert bool(((found.coefficients - weights).abs() > 1e-12 * weights).any()) == corrected  # they are normalised


@dtypes
@pytest.mark.parametrize("ratio", [1e-4, 1e-2, 1.0])
def test_a_mixture_that_cancels_corrects_nothing_whatever_the_lengths(dtype, ratio):
    """An opposed pair across the direction of g_0: p sits on the pair, and G_p is zero."""
    rows = torch.tensor([[1.0, 0, 0], [-ratio, 0, 0], [0, 3.0, 1.0], [0, 2.0, -1.0]], dtype=dtype)
    weights = torch.tensor([ratio, 1.0, 8.0, 8.0], dtype=torch.float64)
    weights = weights / weights.sum()
    found = cagrad_coefficients(gramian([rows]), weights, c=0.4)
    assert_close(found.mixture, [ratio / (1 + ratio), 1 / (1 + ratio), 0, 0], tolerance=1e-6)
    assert_close(found.coefficients, weights, tolerance=0)


@dtypes
def test_short_gradients_that_differ_are_not_taken_for_equal(dtype):
    """Beside a long one their rows of the Gramian differ by less than rounding of the trace."""
    ratio = 1 / MOST[dtype]
    rows = torch.tensor([[1.0, 0, 0], [0, ratio, 0], [0, 0, ratio]], dtype=dtype)
    found = dual(gramian([rows]), torch.tensor([0.5, 0.4, 0.1], dtype=torch.float64), c=0.4)
    assert_close(found.mixture[1:], [0.5, 0.5], tolerance=1e-3)  # in proportion to their weights if they were one
    twice = dual(gramian([rows[[0, 1, 1]]]), torch.tensor([0.5, 0.4, 0.1], dtype=torch.float64), c=0.4)
    assert_close(twice.mixture[1] / twice.mixture[2], 4.0, tolerance=1e-9)
