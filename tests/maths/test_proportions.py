"""The Wilson interval: its equation, a second implementation, its limits, what it refuses."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from paretokit.errors import ConfigError
from paretokit.maths.proportions import wilson

quick = settings(deadline=None, max_examples=60, derandomize=True)


@quick
@given(st.integers(0, 30), st.integers(0, 30), st.floats(0.01, 0.999))
def test_agrees_with_scipy(successes, failures, level):
    trials = max(1, successes + failures)
    theirs = binomtest(successes, trials).proportion_ci(confidence_level=level, method="wilson")
    assert wilson(successes / trials, trials, level=level)[1:] == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def assert_solves(share, trials, level, bounds):
    for bound in bounds:
        distance = norm.ppf((1 + level) / 2) * math.sqrt(bound * (1 - bound) / trials)
        assert abs(share - bound) == pytest.approx(distance, abs=1e-9)


@quick
@given(st.floats(0.01, 0.99), st.integers(1, 500), st.sampled_from([0.5, 0.9, 0.99]))
def test_the_bounds_solve_their_equation(share, trials, level):
    _, low, high = wilson(share, trials, level=level)
    assert_solves(share, trials, level, (low, high))
    assert 0 < low < share < high < 1


def test_the_check_rejects_the_normal_interval():
    half = norm.ppf(0.975) * math.sqrt(0.2 * 0.8 / 50)  # Wald's
    with pytest.raises(AssertionError):
        assert_solves(0.2, 50, 0.95, (0.2 - half, 0.2 + half))


def test_limits():
    assert wilson(0.0, 5)[1] == 0
    assert wilson(1.0, 5)[2] == 1
    assert wilson(0.5, 5, level=1) == (0.5, 0, 1)
    assert wilson(0.25, 10**9)[1:] == pytest.approx((0.25, 0.25), abs=1e-4)


def test_frozen_value():
    assert wilson(0.75, 8) == pytest.approx((0.75, 0.4092754, 0.9285208), abs=1e-7)


@pytest.mark.parametrize(
    ("share", "trials", "level"), [(1.5, 4, 0.95), (-0.1, 4, 0.95), (0.5, 0, 0.95), (0.5, 4, 0), (0.5, 4, 2)]
)
def test_messages(share, trials, level):
    with pytest.raises(ConfigError) as error:
        wilson(share, trials, level=level)
    assert str(error.value) == (
        f"wilson: found share={share}, trials={trials}, level={level}, expected a share in [0, 1], at least 1 trial and "
        "0 < level <= 1. Change the numbers."
    )
