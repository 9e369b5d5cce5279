"""Bootstrap intervals and rank correlation."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.maths_asserts import assert_close

from paretokit.errors import ConfigError, NonFiniteError, ShapeError
from paretokit.maths.intervals import bootstrap_mean, spearman

quick = settings(deadline=None, max_examples=40, derandomize=True)


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _normal(n, *, seed):
    return torch.randn(n, generator=_generator(seed), dtype=torch.float64)


@quick
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=20), st.integers(0, 1000))
def test_interval_lies_within_the_values_around_the_mean(values, seed):
    numbers = torch.tensor(values, dtype=torch.float64)
    found = bootstrap_mean(numbers, draws=200, generator=_generator(seed))
    assert found.mean == pytest.approx(float(numbers.mean()), abs=1e-12)
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9


def test_width_is_that_of_the_normal_law():
    values = _normal(400, seed=1)
    found = bootstrap_mean(values, draws=4000, generator=_generator())
    width = 2 * 1.96 * float(values.std()) / 20
    assert found.high - found.low == pytest.approx(width, rel=0.08)


def test_covers_the_truth_about_as_often_as_it_says():
    generator = _generator(5)
    hits = 0
    for _ in range(300):
        values = torch.randn(40, generator=generator, dtype=torch.float64)
        found = bootstrap_mean(values, level=0.9, draws=200, generator=generator)
        hits += found.low <= 0 <= found.high
    assert 0.83 <= hits / 300 <= 0.95


def test_groups_are_drawn_whole():
    # each prompt scored ten times the same: as sure as the prompts alone
    values, copies = _normal(12, seed=2), torch.arange(12).repeat_interleave(10)
    alone = bootstrap_mean(values, generator=_generator())
    grouped = bootstrap_mean(values.repeat_interleave(10), copies, generator=_generator())
    assert_close(grouped, alone, tolerance=1e-12)
    naive = bootstrap_mean(values.repeat_interleave(10), generator=_generator())
    assert naive.high - naive.low < 0.5 * (grouped.high - grouped.low)


def test_groups_of_unequal_size_weigh_by_their_values():
    found = bootstrap_mean(torch.tensor([0.0, 0.0, 0.0, 1.0]), torch.tensor([7, 7, 7, 9]), level=0.999, generator=_generator())
    assert found == (0.25, 0.0, 1.0)


@pytest.mark.parametrize("values", [[2.0], [2.0, 3.0]])
def test_one_group_has_no_interval(values):
    found = bootstrap_mean(torch.tensor(values), torch.zeros(len(values), dtype=torch.int64), generator=_generator())
    assert found.mean == sum(values) / len(values)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_equal_generators_give_equal_intervals_and_a_constant_has_no_width():
    values = _normal(9, seed=3)
    assert bootstrap_mean(values, generator=_generator(1)) == bootstrap_mean(values, generator=_generator(1))
    assert bootstrap_mean(torch.full((5,), 3.0), generator=_generator()) == (3.0, 3.0, 3.0)


@quick
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12))
def test_spearman_agrees_with_scipy(pairs):
    from scipy.stats import rankdata

    x, y = (torch.tensor(column, dtype=torch.float64) for column in zip(*pairs, strict=True))
    found = spearman(x, y)
    if len(set(x.tolist())) == 1 or len(set(y.tolist())) == 1:
        assert math.isnan(found)
    else:
        ranks = torch.stack([torch.from_numpy(rankdata(column.numpy())) for column in (x, y)])
        assert found == pytest.approx(float(torch.corrcoef(ranks)[0, 1]), abs=1e-12)


@quick
@given(st.integers(2, 10), st.integers(0, 10**6))
def test_spearman_sees_only_the_order(n, seed):
    x, y = _normal(n, seed=seed), _normal(n, seed=seed + 1)
    assert spearman(x.exp(), y**3) == pytest.approx(spearman(x, y), abs=1e-12)
    assert spearman(x, -y) == pytest.approx(-spearman(x, y), abs=1e-12)
    assert spearman(x, x.exp()) == pytest.approx(1, abs=1e-12)


def test_spearman_closed_form_without_ties():
    # 1 - 6 sum d^2 / (n (n^2 - 1))
    x, y = torch.tensor([1.0, 2, 3, 4, 5]), torch.tensor([2.0, 1, 4, 3, 5])
    assert spearman(x, y) == pytest.approx(1 - 6 * 4 / (5 * 24), abs=1e-12)


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0]])
def test_spearman_is_undefined_without_variation(values):
    assert math.isnan(spearman(torch.tensor(values), torch.tensor(values)))


def test_frozen_value():
    found = bootstrap_mean(torch.tensor([0.0, 1, 1, 0, 1, 1]), generator=_generator())
    assert_close(found, [2 / 3, 1 / 3, 1.0], tolerance=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: bootstrap_mean(torch.zeros(0), generator=_generator()), ShapeError, "bootstrap: found no values"),
        (
            lambda: bootstrap_mean(torch.tensor([1.0, math.nan]), generator=_generator()),
            NonFiniteError,
            "nan at index 1",
        ),
        (lambda: bootstrap_mean(torch.ones(2), level=95, generator=_generator()), ConfigError, "level=95"),
        (lambda: bootstrap_mean(torch.ones(2), draws=0, generator=_generator()), ConfigError, "draws=0"),
        (
            lambda: spearman(torch.ones(2), torch.tensor([1.0, math.inf])),
            NonFiniteError,
            "spearman: found inf at index 1",
        ),
    ],
)
def test_messages(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)
