"""Fronts: dominance, hypervolume, knee, attainment, and the distance to a known front. Larger is better throughout."""

from itertools import combinations, product

import moocore
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.maths_asserts import assert_close, assert_on_simplex

from paretokit.errors import ConfigError, NonFiniteError, ShapeError
from paretokit.maths import simplex
from paretokit.maths.fronts import attainment, count_outside, distance, hypervolume, knee, nondominated

quick = settings(deadline=None, max_examples=50, derandomize=True)
seeds = st.integers(0, 10**6)
P = [[5.0, 5], [4, 6], [2, 7], [7, 4]]


def _matrix(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def _points(k, m, *, seed, whole=True):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(k, m, generator=generator, dtype=torch.float64)
    return (6 * points).floor() if whole else points  # whole numbers: ties and copies


def _dominates(a, b):
    return bool((a >= b).all() and (a > b).any())


# dominance


@quick
@given(st.integers(0, 12), st.integers(1, 5), seeds)
def test_nondominated_is_the_definition(k, m, seed):
    points = _points(k, m, seed=seed)
    expected = [not any(_dominates(other, point) for other in points) for point in points]
    assert nondominated(points).tolist() == expected


def test_copies_are_all_nondominated():
    assert nondominated(_matrix([1, 2], [1, 2], [2, 1], [1, 1])).tolist() == [True, True, True, False]


# hypervolume


@quick
@given(st.integers(0, 6), st.integers(1, 4), seeds)
def test_hypervolume_by_inclusion_and_exclusion(k, m, seed):
    points, reference = _points(k, m, seed=seed), [1.0] * m
    boxes = (points - 1).clamp(min=0)
    expected = sum(
        (-1) ** (size + 1) * sum(float(boxes[list(chosen)].amin(dim=0).prod()) for chosen in combinations(range(k), size))
        for size in range(1, k + 1)
    )
    assert hypervolume(points, reference=reference) == pytest.approx(expected, abs=1e-9)


@quick
@given(st.integers(1, 8), st.integers(2, 4), seeds)
def test_a_dominated_or_repeated_point_adds_no_hypervolume_and_a_better_one_does(k, m, seed):
    points, reference = _points(k, m, seed=seed, whole=False) + 0.01, [0.0] * m
    before = hypervolume(points, reference=reference)
    assert hypervolume(torch.cat([points, points[:1], points[:1] / 2]), reference=reference) == pytest.approx(before)
    assert hypervolume(torch.cat([points, points[:1] + 1]), reference=reference) > before


def test_hypervolume_closed_forms_and_frozen_value():
    assert hypervolume(_matrix([2, 3, 4]), reference=[1, 1, 1]) == 6
    assert hypervolume(_matrix(*P), reference=[0, 0]) == 39
    assert hypervolume(-_matrix(*P), reference=[-10, -10]) == 38
    assert hypervolume(torch.zeros(0, 2), reference=[0, 0]) == 0
    published = -torch.from_numpy(np.array(moocore.get_dataset("input1.dat")[:, :-1]))
    assert hypervolume(published, reference=[-10, -10]) == pytest.approx(93.55331425585321, abs=1e-12)


@quick
@given(st.integers(0, 8), st.integers(1, 4), seeds)
def test_points_outside_are_counted_and_add_nothing(k, m, seed):
    points, reference = _points(k, m, seed=seed), [2.0] * m
    outside = [any(value <= 2 for value in point) for point in points.tolist()]
    assert count_outside(points, reference=reference) == sum(outside)
    kept = points[[index for index, out in enumerate(outside) if not out]]
    assert hypervolume(kept, reference=reference) == hypervolume(points, reference=reference)


def test_a_point_on_the_references_edge_is_outside():
    assert count_outside(_matrix([0, 9], [1, 1], [-1, -1]), reference=[0, 0]) == 2
    assert hypervolume(_matrix([0, 9]), reference=[0, 0]) == 0


# knee


def test_knee_is_the_bulge_whatever_the_scale():
    points = _matrix([0, 10], [0.7, 8], [1, 0], [0.6, 7.9])
    for factor in (1, 1e-6, 1e6):
        assert knee(points * torch.tensor([1.0, factor]) + 3) == 1


def test_knee_on_a_quarter_circle_is_its_middle():
    angles = torch.linspace(0, torch.pi / 2, 91, dtype=torch.float64)
    assert knee(torch.stack([angles.cos(), angles.sin()], dim=1)) == 45


@quick
@given(st.integers(1, 10), st.integers(1, 4), seeds)
def test_knee_is_farthest_from_the_plane_of_the_extremes(k, m, seed):
    points = _points(k, m, seed=seed, whole=False)
    found = knee(points)
    front = points[nondominated(points)]
    width = front.amax(dim=0) - front.amin(dim=0)
    scaled = (front - front.amin(dim=0)) / torch.where(width > 0, width, 1.0)
    heights = (scaled.sum(dim=1) - 1) / m**0.5  # above the plane through the unit vectors
    assert_close(points[found], front[heights.argmax()], tolerance=0)


def test_knee_degenerate_cases():
    assert knee(_matrix([1, 1])) == 0
    assert knee(_matrix([0, 1], [1, 0])) == 0
    assert knee(_matrix([3.0], [4.0], [4.0])) == 1
    assert knee(_matrix([0, 5, 1], [1, 5, 0], [0.9, 5, 0.9])) == 2
    with pytest.raises(ShapeError, match="knee: found no points"):
        knee(torch.zeros(0, 2))


# attainment


def test_attainment_frozen():
    points = -_matrix([1, 3], [3, 1], [2, 2], [1.5, 2.5])
    surfaces = attainment(points, torch.tensor([1, 1, 2, 2]), levels=[0.5, 1.0])
    assert surfaces[0.5].tolist() == [[-3, -1], [-2, -2], [-1.5, -2.5], [-1, -3]]
    assert surfaces[1.0].tolist() == [[-3, -2], [-1.5, -3]]


@quick
@given(st.integers(1, 4), st.sampled_from([2, 3]), seeds, st.sampled_from([0.25, 1 / 3, 0.5, 2 / 3, 0.75, 1.0]))
def test_attainment_is_the_definition(runs, m, seed, level):
    points = _points(3 * runs, m, seed=seed)
    sets = torch.arange(3 * runs) % runs  # in no order that moocore would take
    found = attainment(points, sets, levels=[level])[level]
    values = [sorted(set(column.tolist())) for column in points.T]
    attained = [
        vector
        for vector in map(torch.tensor, product(*values))
        if sum(bool((points[sets == run] >= vector).all(dim=1).any()) for run in range(runs)) >= level * runs - 1e-9
    ]
    table = torch.stack(attained).to(torch.float64) if attained else torch.zeros(0, m, dtype=torch.float64)
    assert sorted(found.tolist()) == sorted(table[nondominated(table)].tolist())


def test_one_set_attains_its_own_front():
    points = _matrix([1, 3], [3, 1], [1, 1])
    for surface in attainment(points, torch.zeros(3, dtype=torch.int64)).values():
        assert surface.tolist() == [[1, 3], [3, 1]]


# distance to a known front


def _twin(score, fronts):
    """The same distance from its dual: the largest t with a mixture of answers at least score + t everywhere."""
    from scipy.optimize import linprog

    m, sizes = len(score), [len(front) for front in fronts]
    table = torch.cat([front / len(fronts) for front in fronts]).numpy()
    upper = np.hstack([-table.T, np.ones((m, 1))])
    equal = np.zeros((len(fronts), sum(sizes) + 1))
    for index, size in enumerate(sizes):
        equal[index, sum(sizes[:index]) : sum(sizes[:index]) + size] = 1
    bounds = [(0, None)] * sum(sizes) + [(None, None)]
    cost = [0.0] * sum(sizes) + [-1.0]
    return -linprog(cost, upper, -score.numpy(), equal, np.ones(len(fronts)), bounds).fun


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.integers(1, 5), st.integers(1, 8), seeds, st.booleans())
def test_distance_agrees_with_a_linear_programme(m, prompts, seed, whole):
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 8, (prompts,), generator=generator).tolist()
    fronts = [_points(size, m, seed=seed + index, whole=whole) for index, size in enumerate(sizes)]
    score = torch.stack([front[0] for front in fronts]).mean(dim=0)
    found = distance(score, fronts)
    assert found.value == pytest.approx(max(0.0, _twin(score, fronts)), abs=1e-9)
    assert 0 <= found.gap <= 1e-11
    assert_on_simplex(found.weights)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.integers(2, 4), seeds)
def test_distance_is_least_over_the_simplex_and_attained_at_its_weights(m, seed):
    fronts = [_points(5, m, seed=seed + index, whole=False) for index in range(4)]
    score = torch.stack([front.mean(dim=0) for front in fronts]).mean(dim=0)
    found = distance(score, fronts)

    def slack(weights):
        return float(sum((front @ weights).max() for front in fronts) / len(fronts) - weights @ score)

    assert slack(found.weights) == pytest.approx(found.value, abs=1e-12)
    assert all(slack(weights) >= found.value - found.gap - 1e-12 for weights in simplex.grid(m, resolution=8))


def test_distance_closed_forms():
    front = _matrix([0, 1], [0.6, 0.6], [1, 0])
    assert distance(_matrix(0.6, 0.6), [front]).value == 0
    assert distance(_matrix(0.4, 0.4), [front]).value == pytest.approx(0.2, abs=1e-15)
    # two prompts: the mean front is that of the sums
    assert distance(_matrix(0, 0), [_matrix([1, 0], [0, 1])] * 2).value == pytest.approx(0.5, abs=1e-15)
    assert distance(_matrix(0.0), [_matrix([0.25], [0.75])]).value == 0.75


def test_distance_moves_with_the_score_and_does_not_mind_dominated_points():
    fronts = [_points(6, 3, seed=seed, whole=False) for seed in range(3)]
    score = torch.stack([front.mean(dim=0) for front in fronts]).mean(dim=0) / 2
    found = distance(score, fronts).value
    assert distance(score - 0.1, fronts).value == pytest.approx(found + 0.1, abs=1e-12)
    worse = [torch.cat([front, front / 2]) for front in fronts]
    assert distance(score, worse).value == pytest.approx(found, abs=1e-12)


def test_distance_of_a_score_beyond_the_front_is_0():
    found = distance(_matrix(2, 2), [_matrix([1, 1])])
    assert (found.value, found.gap) == (0, 0)


# errors


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: nondominated(_matrix([1, 2], [1, torch.nan])),
            NonFiniteError,
            "nondominated: found [1.0, nan] at point 1",
        ),
        (lambda: hypervolume(_matrix([1, 2]), reference=[0]), ShapeError, "found a reference of length 1, expected 2"),
        (lambda: hypervolume(_matrix([1, 2]), reference=[0, torch.inf]), NonFiniteError, "hypervolume: reference"),
        (lambda: count_outside(_matrix([1, 2]), reference=[0] * 3), ShapeError, "reference of length 3, expected 2"),
        (lambda: attainment(torch.zeros(2, 4), torch.tensor([0, 1])), ShapeError, "found scores of shape (2, 4)"),
        (lambda: attainment(torch.zeros(2, 2), torch.tensor([0, 1]), levels=[50]), ConfigError, "found the level 50"),
        (lambda: distance(_matrix(1, 2), []), ShapeError, "found no fronts"),
        (
            lambda: distance(_matrix(1, 2), [torch.zeros(0, 2)]),
            ShapeError,
            "front 0 of shape (0, 2), expected [f >= 1, 2]",
        ),
        (lambda: distance(_matrix(1, 2), [torch.zeros(1, 3)]), ShapeError, "front 0 of shape (1, 3)"),
        (lambda: distance(_matrix(1, torch.nan), [torch.zeros(1, 2)]), NonFiniteError, "distance: found [1.0, nan]"),
    ],
)
def test_messages(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
