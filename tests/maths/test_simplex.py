"""Weights: what a user may write, and points on the simplex."""

from math import comb

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.maths_asserts import assert_close, assert_on_simplex

from paretokit.errors import ConfigError, WeightsError
from paretokit.maths.simplex import dirichlet, grid, mixture_of, move, normalise, resolve, validate

quick = settings(deadline=None, max_examples=50, derandomize=True)
NAMES = ("helpful", "harmless", "brief")


@quick
@given(st.permutations(NAMES), st.lists(st.integers(0, 10), min_size=3, max_size=3).filter(any))
def test_a_mapping_means_the_same_in_any_order(order, numbers):
    weights = {name: number / sum(numbers) for name, number in zip(NAMES, numbers, strict=True)}
    assert resolve({name: weights[name] for name in order}, NAMES) == tuple(weights.values())
    assert resolve(list(weights.values()), NAMES) == tuple(weights.values())


def test_numbers_are_not_renormalised():
    assert resolve([0.2, 0.8 + 5e-7], ["a", "b"]) == (0.2, 0.8 + 5e-7)
    assert resolve(torch.tensor([0.25, 0.75]), ["a", "b"]) == (0.25, 0.75)
    assert resolve([1], ["a"]) == (1.0,)
    assert resolve(list(np.array([0.25, 0.75], dtype=np.float32)), ["a", "b"]) == (0.25, 0.75)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            {"helpfull": 0.5, "harmless": 0.5, "brief": 0.0},
            "weights: found the unknown objective 'helpfull', expected helpful, harmless, brief. "
            "Did you mean 'helpful'? Correct or remove the name.",
        ),
        (
            {"helpful": 1.0},
            "weights: found no weight for harmless, brief, expected one for each of helpful, harmless, brief. "
            "Give an objective that should not count the weight 0.",
        ),
        (
            [0.5, 0.5],
            "weights: found 2 weights, expected 3 (helpful, harmless, brief). Pass one weight per objective, in order.",
        ),
        ([0.5, 0.7, -0.2], "weights: found -0.2 for brief, expected a finite number >= 0. Change that weight."),
        (
            [0.5, float("nan"), 0.5],
            "weights: found nan for harmless, expected a finite number >= 0. Change that weight.",
        ),
        ([0.5, "x", 0.5], "weights: found 'x' for harmless, expected a finite number >= 0. Change that weight."),
        ([True, 0, 0], "weights: found True for helpful, expected a finite number >= 0. Change that weight."),
        ([0.5, 0.5, 0.1], "weights: found the sum 1.1, expected 1 (within 1e-06). Divide the weights by their sum."),
        (
            "0.5,0.5,0",
            "weights: found the text '0.5,0.5,0', expected numbers. Pass a mapping or a sequence of numbers.",
        ),
    ],
)
def test_messages(weights, message):
    with pytest.raises(WeightsError) as caught:
        resolve(weights, NAMES)
    assert str(caught.value) == message


def test_message_names_the_place_and_the_number():
    with pytest.raises(WeightsError, match=r"^step 3: found 2 weights, expected 3\."):
        validate([0.5, 0.5], size=3, place="step 3")
    with pytest.raises(WeightsError, match="found inf for objective 1"):
        validate([0.5, float("inf")])


def test_validated_weights_are_a_copy():
    weights = torch.tensor([0.25, 0.75], dtype=torch.float64)
    found = validate(weights)
    found[0] = 7
    assert weights[0] == 0.25


@quick
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=6).filter(lambda numbers: sum(numbers) > 1e-3))
def test_normalise_lands_on_the_simplex(numbers):
    found = normalise(torch.tensor(numbers, dtype=torch.float64))
    assert_on_simplex(found)
    assert_close(found * sum(numbers), numbers, tolerance=1e-9 * sum(numbers))


@pytest.mark.parametrize("bad", [[0.0, 0.0], [1.0, -1.0, 2.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_normalise_refuses_what_has_no_direction(bad):
    with pytest.raises(WeightsError, match="not all zero"):
        normalise(torch.tensor(bad))


@pytest.mark.parametrize("m", [1, 2, 3, 5])
@pytest.mark.parametrize("resolution", [1, 2, 6])
def test_grid_holds_every_multiple_once(m, resolution):
    points = grid(m, resolution=resolution)
    counts = points * resolution
    assert len(points) == comb(resolution + m - 1, m - 1) == len({tuple(row) for row in counts.round().tolist()})
    assert_close(counts, counts.round(), tolerance=1e-12)
    for row in points:
        assert_on_simplex(row)
    assert sorted(points.tolist()) == points.tolist()


def test_dirichlet_is_uniform():
    points = dirichlet(3, 4000, generator=torch.Generator().manual_seed(0))
    for row in points[:50]:
        assert_on_simplex(row)
    # mean 1/3, variance 1/18; four standard errors
    assert_close(points.mean(dim=0), [1 / 3] * 3, tolerance=4 * (1 / 18 / 4000) ** 0.5)
    assert_close(points.var(dim=0), [1 / 18] * 3, tolerance=0.005)


def test_equal_generators_draw_the_same():
    first, second = (dirichlet(4, 5, generator=torch.Generator().manual_seed(7)) for _ in range(2))
    assert bool((first == second).all())
    assert dirichlet(1, 2, generator=torch.Generator()).tolist() == [[1.0], [1.0]]


def test_messages_of_grid_and_dirichlet():
    with pytest.raises(ConfigError, match="grid: found resolution = 0, expected a whole number >= 1"):
        grid(2, resolution=0)
    with pytest.raises(ConfigError, match="dirichlet: found m = 0"):
        dirichlet(0, 1, generator=torch.Generator())


@st.composite
def moves(draw):
    """Weights on the simplex, the number of the one that moves, where to, and what is locked."""
    numbers = draw(st.lists(st.integers(0, 20), min_size=1, max_size=6).filter(any))
    size = len(numbers)
    index, value = draw(st.integers(0, size - 1)), draw(st.floats(-0.5, 1.5))
    locked = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    return tuple(number / sum(numbers) for number in numbers), index, value, locked


@settings(quick, max_examples=300)
@given(moves())
def test_a_move_stays_on_the_simplex_and_keeps_what_is_locked(given_move):
    weights, index, value, locked = given_move
    found = move(weights, index, value, locked=locked)
    assert resolve(found, [str(place) for place in range(len(found))]) == found  # a policy can be trained at them
    others = [place for place in range(len(weights)) if place != index]
    held = [place for place in others if locked[place]]
    free = [place for place in others if not locked[place]]
    assert [found[place] for place in held] == [weights[place] for place in held]
    if not free:
        assert found == weights
        return
    room = 1 - sum(weights[place] for place in held)
    assert found[index] == pytest.approx(min(max(value, 0.0), room), abs=1e-12)
    before, after = sum(weights[place] for place in free), sum(found[place] for place in free)
    for place in free:
        share = weights[place] / before if before > 0 else 1 / len(free)
        assert found[place] == pytest.approx(after * share, abs=1e-12)


def test_moves_by_hand():
    assert move([0.25, 0.75], 0, 1.0) == (1.0, 0.0)
    assert move([0.25, 0.75], 0, 0.5) == (0.5, 0.5)
    assert move([0.5, 0.25, 0.25], 0, 0.25) == (0.25, 0.375, 0.375)
    assert move([0.5, 0.25, 0.25], 0, -3.0) == (0.0, 0.5, 0.5)
    assert move([0.5, 0.25, 0.25], 0, 7.0, locked=[False, False, True]) == (0.75, 0.0, 0.25)
    assert move([5e-324, 1.0], 1, 0.25) == (0.75, 0.25)  # the least number there is keeps its share
    assert move([1.0, 0.0, 0.0], 0, 0.5) == (0.5, 0.25, 0.25)  # what has no proportions shares equally
    assert move([0.5, 0.25, 0.25], 0, 0.25, locked=[True, False, False]) == (0.25, 0.375, 0.375)  # its own lock is no bar


def test_nothing_moves_where_all_others_are_locked():
    weights = (0.5, 0.25, 0.25)
    assert move(weights, 0, 0.1, locked=[False, True, True]) == weights
    assert move((1.0,), 0, 0.3) == (1.0,)


def test_locks_that_hold_everything_leave_no_weight_below_zero():
    weights = resolve([0.0, 0.0, 0.5, 0.5 + 5e-7], ["a", "b", "c", "d"])  # allowed: the sum is 1 within 1e-6
    assert move(weights, 0, 0.5, locked=[False, False, True, True]) == weights
    above = (0.0, 0.0, 0.7, 0.2 + 2e-16, 0.1 + 1e-16)  # as rounding leaves it
    assert move(above, 0, 0.5, locked=[False, False, True, True, True]) == above


@quick
@given(moves())
def test_moving_there_and_back_changes_nothing(given_move):
    weights, index, value, locked = given_move
    there = move(weights, index, value, locked=locked)
    free = [place for place in range(len(weights)) if place != index and not locked[place]]
    if sum(there[place] for place in free) > 0:  # at 0 the proportions are lost
        assert move(there, index, weights[index], locked=locked) == pytest.approx(weights, abs=1e-9)
    else:
        back = move(there, index, weights[index], locked=locked)
        assert back[index] == pytest.approx(weights[index], abs=1e-9)


def test_a_move_leaves_its_argument_alone():
    weights = [0.5, 0.3, 0.2]
    move(weights, 0, 0.9)
    assert weights == [0.5, 0.3, 0.2]


# Mixtures


@quick
@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 10_000))
def test_a_mixture_of_points_is_found_again_with_few_of_them(m, count, seed):
    generator = torch.Generator().manual_seed(seed)
    points = dirichlet(m, count, generator=generator)
    target = dirichlet(count, 1, generator=generator)[0] @ points
    mixed = mixture_of(target, points)
    assert_on_simplex(mixed)
    assert_close(mixed @ points, target, tolerance=1e-8)
    assert int((mixed > 0).sum()) <= m


@quick
@given(st.lists(st.integers(0, 100), min_size=2, max_size=10, unique=True), st.integers(0, 100))
def test_on_a_line_it_is_that_of_the_two_neighbours(percents, asked):
    at = [percent / 100 for percent in sorted(percents)]
    points = torch.tensor([[first, 1 - first] for first in at], dtype=torch.float64)
    mixed = mixture_of(torch.tensor([asked / 100, 1 - asked / 100], dtype=torch.float64), points)
    if not at[0] <= asked / 100 <= at[-1]:
        assert mixed is None
        return
    values = torch.arange(len(at), dtype=torch.float64) ** 2
    assert float(mixed @ values) == pytest.approx(float(np.interp(asked / 100, at, values.numpy())), abs=1e-6)


def test_outside_of_all_points_there_is_no_mixture():
    corner = torch.tensor([1.0, 0.0, 0.0])
    assert mixture_of(corner, torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]])) is None
    assert mixture_of(corner, torch.tensor([[1.0, 0.0, 0.0]])).tolist() == [1.0]


def test_points_that_stand_twice_or_in_a_line_are_no_trouble():
    points = torch.tensor([[0.2, 0.2, 0.6], [0.2, 0.2, 0.6], [0.4, 0.4, 0.2], [0.3, 0.3, 0.4]])
    mixed = mixture_of(torch.tensor([0.25, 0.25, 0.5]), points)
    assert_close(mixed @ points.double(), torch.tensor([0.25, 0.25, 0.5]), tolerance=1e-6)
    assert mixture_of(torch.tensor([0.3, 0.2, 0.5]), points) is None
