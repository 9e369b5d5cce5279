"""Matrix games: the two bounds meet, at values that are known."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.maths_asserts import assert_close, assert_on_simplex

from paretokit.maths.games import minimax

quick = settings(deadline=None, max_examples=60, derandomize=True)


def _matrix(*rows):
    return torch.tensor(rows, dtype=torch.float64)


@quick
@given(st.integers(1, 5), st.integers(1, 12), st.integers(0, 10**6), st.sampled_from([1e-6, 1.0, 1e6]), st.booleans())
def test_bounds_meet(r, n, seed, scale, whole):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(r, n, generator=generator, dtype=torch.float64)
    matrix = scale * (matrix.round() if whole else matrix)  # whole numbers: ties and degenerate pivots
    game = minimax(matrix)
    assert_on_simplex(game.rows)
    assert_on_simplex(game.columns)
    assert -1e-15 * scale <= game.high - game.low <= 1e-11 * scale


@pytest.mark.parametrize(
    ("matrix", "rows", "columns", "value"),
    [
        ([[0, 1, -1], [-1, 0, 1], [1, -1, 0]], [1 / 3] * 3, [1 / 3] * 3, 0),  # stone, paper, scissors
        ([[3, -1], [-2, 4]], [0.6, 0.4], [0.5, 0.5], 1),
        ([[1, 5, 2]], [1], [1, 0, 0], 1),
        ([[1], [5], [2]], [0, 1, 0], [1], 5),
        ([[7]], [1], [1], 7),
    ],
)
def test_closed_forms(matrix, rows, columns, value):
    game = minimax(_matrix(*matrix))
    assert_close(game.rows, rows, tolerance=1e-12)
    assert_close(game.columns, columns, tolerance=1e-12)
    assert_close([game.low, game.high], [value] * 2, tolerance=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_agrees_with_scipy(seed):
    from scipy.optimize import linprog

    matrix = torch.randn(4, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    padded = torch.cat([matrix, -torch.ones(4, 1, dtype=torch.float64)], dim=1).numpy()
    answer = linprog([0.0] * 9 + [1.0], padded, [0.0] * 4, [[1.0] * 9 + [0.0]], [1.0], [(0, None)] * 9 + [(None, None)])
    assert_close(minimax(matrix).high, answer.fun, tolerance=1e-12)


def test_constant_game():
    game = minimax(torch.full((2, 3), -4.0, dtype=torch.float64))
    assert (game.low, game.high) == (-4, -4)
