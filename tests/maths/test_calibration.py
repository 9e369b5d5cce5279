"""Brier, AUC, reliability, and the temperature of least log loss with its certificate."""

import inspect
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from support.maths_asserts import assert_close

from paretokit.errors import ConfigError, DataError, NonFiniteError, ShapeError
from paretokit.maths.calibration import accuracy, auc, brier, log_loss, measure, reliability, smoothed, temperature

NAN = float("nan")
CONFLICT = ([2.0, 1.0, -0.5, -3.0, 0.7, 0.0], [1.0, 0.0, 1.0, 0.0, 1.0, 1.0])  # not separable
logits = st.lists(st.floats(-8, 8).map(lambda x: round(x, 2)), min_size=1, max_size=12)


def _tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def _drawn(values, seed):
    return torch.randint(2, (len(values),), generator=torch.Generator().manual_seed(seed)).double()


# property


@given(logits, st.integers(0, 10**6))
def test_figures_are_in_their_range(values, seed):
    found = measure(_tensor(values), _drawn(values, seed), bins=4)
    assert found.judged == len(values) == sum(found.reliability.counts)
    assert 0 <= found.brier <= 1
    assert 0 <= found.accuracy <= 1
    assert math.isnan(found.auc) or 0 <= found.auc <= 1
    assert 0 <= found.reliability.error <= 1
    assert found.log_loss >= 0
    assert 0 <= found.chance <= math.log(2) + 1e-12


@given(logits, st.integers(0, 10**6))
def test_only_the_order_matters_to_auc_and_swapping_classes_mirrors_it(values, seed):
    z, y = _tensor(values), _drawn(values, seed)
    assert auc(torch.atan(z), y) == pytest.approx(auc(z, y), nan_ok=True)
    assert auc(-z, y) == pytest.approx(1 - auc(z, y), nan_ok=True)
    assert auc(z, 1 - y) == pytest.approx(1 - auc(z, y), nan_ok=True)


@given(logits, st.integers(0, 10**6))
def test_smoothed_labels_keep_their_order_and_their_side(values, seed):
    y = _drawn(values, seed)
    found = smoothed(y)
    assert bool((found[y == 1] > 0.5).all())
    assert bool((found[y == 0] <= 0.5).all())
    assert float(found.min()) > 0
    assert float(found.max()) < 1
    assert_close(smoothed(1 - y), 1 - found, tolerance=1e-12)  # classes may be swapped
    if 0 < y.sum() < len(y):  # a separated set has a finite temperature
        assert not temperature(2 * y - 1, found).at_bound


@given(logits, st.integers(0, 10**6))
def test_the_fitted_temperature_is_never_worse_than_1(values, seed):
    z, y = _tensor(values), _drawn(values, seed)
    found = temperature(z, y)
    assert 0.01 <= found.value <= 100
    assert found.after <= found.before + 1e-12
    assert found.after == pytest.approx(log_loss(z / found.value, y), abs=1e-12)


@given(logits, st.integers(0, 10**6), st.floats(0.5, 2))
def test_a_scale_of_the_logits_is_a_scale_of_the_temperature(values, seed, scale):
    z, y = _tensor([*values, 1.0, -1.0, 1.0, -1.0]), torch.cat([_drawn(values, seed), _tensor([1, 1, 0, 0])])  # not separable
    one, other = temperature(z, y), temperature(scale * z, y)
    assert other.after == pytest.approx(one.after, abs=1e-9) or one.at_bound or other.at_bound


# closed form


def test_closed_forms():
    assert brier(_tensor([0.5, 0.5, 0.5]), _tensor([0, 1, 1])) == 0.25
    assert auc(_tensor([1, 2, 3, 4]), _tensor([0, 0, 1, 1])) == 1
    assert auc(_tensor([5, 5, 5]), _tensor([0, 1, 1])) == 0.5
    assert accuracy(_tensor([1, -1, 0, 2]), _tensor([1, 1, 1, 0])) == 0.375
    assert log_loss(_tensor([0, 0]), _tensor([0, 1])) == pytest.approx(math.log(2))
    found = measure(_tensor([0.0, 0.0, 0.0, 0.0]), _tensor([1, 1, 1, 0]))
    assert found.positive == 0.75
    assert found.chance == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))


def test_two_logits_have_a_temperature_in_closed_form():
    """k of n positive at logit a: sigmoid(a / T) = k / n."""
    z, y = _tensor([2.0] * 5), _tensor([1, 1, 1, 1, 0])
    assert temperature(z, y).value == pytest.approx(2 / math.log(4), rel=1e-14)


def test_smoothed_labels_by_hand():
    assert_close(smoothed(_tensor([1, 1, 1, 0])), [0.8, 0.8, 0.8, 1 / 3], tolerance=1e-15)
    assert_close(smoothed(_tensor([0.5])), [0.5 * (1.5 / 2.5) + 0.5 / 2.5], tolerance=1e-15)
    many = torch.cat([torch.ones(10**5), torch.zeros(10**5)])
    assert_close(smoothed(many), many, tolerance=1e-5)  # for many labels nothing changes
    assert smoothed(_tensor([])).shape == (0,)
    separated, y = _tensor([3.0] * 4 + [-3.0] * 4), _tensor([1] * 4 + [0] * 4)
    assert temperature(separated, y).at_bound  # planted: without, it has none
    assert temperature(separated, smoothed(y)).value == pytest.approx(3 / math.log(5), rel=1e-12)  # 5/6


def test_bins_by_hand():
    found = reliability(_tensor([0.0, 0.1, 0.25, 0.5, 1.0]), _tensor([0, 1, 0, 1, 1]), bins=4)
    assert found.counts == (2, 1, 1, 1)
    assert_close(found.predicted, [0.05, 0.25, 0.5, 1.0], tolerance=1e-15)
    assert found.observed == (0.5, 0.0, 1.0, 1.0)
    assert found.error == pytest.approx((2 * 0.45 + 0.25 + 0.5 + 0) / 5)
    empty = reliability(_tensor([0.9]), _tensor([1]), bins=2)
    assert empty.counts == (0, 1)
    assert math.isnan(empty.predicted[0])
    assert empty.error == pytest.approx(0.1)


# slow twin, brute force


@given(logits, st.integers(0, 10**6))
def test_auc_is_a_count_over_all_pairs(values, seed):
    labels = _drawn(values, seed).tolist()
    rows = list(zip(values, labels, strict=True))
    wins = [float(a > b) + 0.5 * (a == b) for (a, x), (b, y) in itertools.product(rows, rows) if x == 1 and y == 0]
    expected = sum(wins) / len(wins) if wins else NAN
    assert auc(_tensor(values), _tensor(labels)) == pytest.approx(expected, nan_ok=True)


@given(logits, st.integers(0, 10**6), st.integers(1, 7))
def test_bins_of_a_slow_twin(values, seed, bins):
    p, y = torch.sigmoid(_tensor(values)), _drawn(values, seed)
    found = reliability(p, y, bins=bins)
    for index in range(bins):
        mine = [(a, b) for a, b in zip(p.tolist(), y.tolist(), strict=True) if min(int(a * bins), bins - 1) == index]
        assert found.counts[index] == len(mine)
        if mine:
            assert found.predicted[index] == pytest.approx(sum(a for a, _ in mine) / len(mine))
            assert found.observed[index] == pytest.approx(sum(b for _, b in mine) / len(mine))


@given(logits, st.integers(0, 10**6))
def test_the_gap_bounds_the_error_against_a_fine_grid(values, seed):
    z, y = _tensor(values), _drawn(values, seed)
    found = temperature(z, y, lowest=0.05, highest=20.0)
    grid = torch.logspace(math.log10(1 / 20), math.log10(20), 800, dtype=torch.float64)
    losses = torch.nn.functional.softplus(grid[:, None] * z, threshold=700) - y * grid[:, None] * z
    assert found.after - float(losses.mean(dim=1).min()) <= found.gap + 1e-12
    assert found.gap <= 1e-12  # bisected to the last bit


def test_scipy_finds_no_better_temperature():
    z, y = map(_tensor, CONFLICT)
    theirs = minimize_scalar(lambda s: log_loss(s * z, y), bounds=(0.01, 100), method="bounded", options={"xatol": 1e-12})
    found = temperature(z, y)
    assert found.value == pytest.approx(1 / theirs.x, rel=1e-6)
    assert found.after <= theirs.fun + 1e-15


# derivative


def test_the_slope_is_zero_at_the_fitted_temperature():
    z, y = map(_tensor, CONFLICT)
    found = temperature(z, y)
    s = torch.tensor(1 / found.value, dtype=torch.float64, requires_grad=True)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(s * z, y)
    (slope,) = torch.autograd.grad(loss, s)
    assert abs(slope.item()) < 1e-14
    assert not found.at_bound
    ((off,),) = (torch.autograd.grad(torch.nn.functional.binary_cross_entropy_with_logits(1.1 * s * z, y), s),)
    assert abs(off.item()) > 1e-4  # planted: elsewhere it is not


# limits


def test_a_temperature_beyond_all_bounds_says_so():
    separated = temperature(_tensor([2.0, -2.0]), _tensor([1, 0]))
    assert (separated.value, separated.at_bound) == (pytest.approx(0.01), True)
    wrong = temperature(_tensor([2.0, -2.0]), _tensor([0, 1]))
    assert (wrong.value, wrong.at_bound) == (pytest.approx(100), True)
    assert max(separated.gap, wrong.gap) < 1e-12


def test_where_every_temperature_is_as_good_it_is_1():
    for z, y in (([0.0, 0.0], [1.0, 0.0]), ([], [])):
        found = temperature(_tensor(z), _tensor(y))
        assert (found.value, found.gap, found.at_bound) == (1.0, 0.0, False)


def test_nothing_and_one_class_are_nan():
    nothing = measure(_tensor([]), _tensor([]))
    assert nothing.judged == 0
    assert all(map(math.isnan, (nothing.brier, nothing.auc, nothing.accuracy, nothing.log_loss, nothing.reliability.error)))
    assert math.isnan(auc(_tensor([1.0, 2.0]), _tensor([1, 1])))


def test_soft_labels_are_shares():
    z = _tensor([1.5])
    mixed, apart = temperature(_tensor([1.5] * 4), _tensor([1, 1, 1, 0])), temperature(z, _tensor([0.75]))
    assert apart.value == pytest.approx(mixed.value, rel=1e-12)


def test_float32_is_widened():
    assert temperature(torch.tensor([2.0, 2.0]), torch.tensor([1.0, 0.25])).value == pytest.approx(
        2 / math.log(0.625 / 0.375), rel=1e-12
    )


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: inspect.unwrap(brier)(_tensor([0.5, 0.5]), _tensor([1.0])),  # without the tests' check of shapes
            ShapeError,
            "brier: found 2 scores and 1 labels. Pass one label per score.",
        ),
        (
            lambda: auc(_tensor([0.5, NAN]), _tensor([1, 0])),
            NonFiniteError,
            "auc: found nan at index 1, expected finite numbers. Leave it out.",
        ),
        (
            lambda: log_loss(_tensor([0.5]), _tensor([NAN])),
            NonFiniteError,
            "log_loss, labels: found nan at index 0, expected finite numbers. Leave it out.",
        ),
        (
            lambda: accuracy(_tensor([0.5]), _tensor([3.0])),
            DataError,
            "class labels: found 3, expected numbers in [0, 1], or NaN where nobody judged. "
            "Give these labels the kind 'value', or make classes of them.",
        ),
        (
            lambda: reliability(_tensor([0.5, 2.0]), _tensor([1, 0]), bins=3),
            ConfigError,
            "reliability: found bins=3 and probabilities from 0.5 to 2, expected bins >= 1 and numbers in [0, 1]. "
            "Pass probabilities, not logits.",
        ),
        (
            lambda: reliability(_tensor([0.5]), _tensor([1]), bins=0),
            ConfigError,
            "reliability: found bins=0 and probabilities from 0.5 to 0.5, expected bins >= 1 and numbers in [0, 1]. "
            "Pass probabilities, not logits.",
        ),
        (
            lambda: temperature(_tensor([0.5]), _tensor([1]), lowest=2.0),
            ConfigError,
            "temperature: found lowest=2.0, highest=100.0, expected 0 < lowest <= 1 <= highest. Change the bounds.",
        ),
    ],
)
def test_messages(call, kind, message):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message


def test_a_frozen_value():
    z, y = map(_tensor, CONFLICT)
    found = temperature(z, y)
    assert found.value == pytest.approx(1.3995786301096165, rel=1e-9)
    assert (found.before, found.after) == pytest.approx((0.5931978772934078, 0.5822198157022783), rel=1e-14)
    assert measure(z, y).brier == pytest.approx(0.2164100281654623, rel=1e-14)
