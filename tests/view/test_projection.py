"""The boundary of the true front along two axes: support function, closed form, random means, degenerate sets."""

import numpy as np
import pytest
import torch
from support.view_data import falls, support_at, truth_sets

from paretokit.view.projection import boundary

PAIRS = [(0, 1), (0, 2), (1, 2), (1, 0)]


@pytest.mark.parametrize(("x", "y"), PAIRS)
def test_it_touches_where_the_support_function_says(x, y):
    sets = truth_sets(prompts=7)
    vertices = boundary(sets, x=x, y=y)
    for angle in np.linspace(0, np.pi / 2, 41):
        direction = (float(np.cos(angle)), float(np.sin(angle)))
        best = [max(direction[0] * float(f[x]) + direction[1] * float(f[y]) for f in points) for points in sets]
        assert support_at(vertices, direction) == pytest.approx(np.mean(best))


@pytest.mark.parametrize(("x", "y"), PAIRS)
def test_it_falls_and_bends_outwards(x, y):
    assert falls(boundary(truth_sets(), x=x, y=y))


def test_no_mean_of_answers_lies_beyond():
    sets = truth_sets(prompts=5)
    vertices = boundary(sets, x=0, y=1)
    generator = np.random.default_rng(0)
    for _ in range(200):
        mean = np.mean([points[generator.integers(len(points))].numpy() for points in sets], axis=0)
        for angle in np.linspace(0, np.pi / 2, 9):
            direction = (float(np.cos(angle)), float(np.sin(angle)))
            assert direction[0] * mean[0] + direction[1] * mean[1] <= support_at(vertices, direction) + 1e-12


def test_two_prompts_by_hand():
    steep = torch.tensor([[0.0, 1.0], [0.5, 0.0]]).double()
    flat = torch.tensor([[0.0, 0.5], [1.0, 0.0]]).double()
    assert boundary([steep, flat], x=0, y=1) == ((0.0, 0.75), (0.5, 0.5), (0.75, 0.0))


def test_order_of_prompts_and_dominated_points_do_not_matter():
    sets = truth_sets(prompts=6)
    more = [torch.cat([points, points[:2] - 0.1]) for points in reversed(sets)]
    assert np.array(boundary(more, x=0, y=2)) == pytest.approx(np.array(boundary(sets, x=0, y=2)))


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([[0.3, 0.4]], ((0.3, 0.4),)),
        ([[0.3, 0.4], [0.3, 0.4]], ((0.3, 0.4),)),
        ([[0.3, 0.4], [0.2, 0.4], [0.3, 0.1]], ((0.3, 0.4),)),
        ([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]], ((0.0, 1.0), (1.0, 0.0))),
        ([[0.0, 1.0], [0.1, 0.1], [1.0, 0.0]], ((0.0, 1.0), (1.0, 0.0))),
    ],
    ids=["one point", "twice", "one above all", "on a line", "a dent"],
)
def test_degenerate_sets(points, expected):
    assert boundary([torch.tensor(points, dtype=torch.float64)], x=0, y=1) == expected


def test_equal_slopes_are_one_edge():
    line = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double()
    assert np.array(boundary([line, line, line], x=0, y=1)) == pytest.approx(np.array([[0.0, 1.0], [1.0, 0.0]]))
