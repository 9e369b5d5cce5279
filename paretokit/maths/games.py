"""Matrix games: the smallest possible maximum of a few linear functions on the simplex, solved exactly.

Cutting planes need it as their inner problem; with a handful of rows a dense simplex method is all it takes. Imports:
torch, `shapes`.
"""

from typing import NamedTuple

import torch

from paretokit.shapes import Float64, Tensor

__all__ = ["Game", "minimax"]

NOISE = 1e-12  # entries of the tableau, which start in [1, 2], below this are rounding


class Game(NamedTuple):
    """Optimal mixtures of a matrix game M [r, n]; `low` <= value <= `high` whatever the solver did."""

    columns: Float64[Tensor, " n"]  # minimises max_i (M q)_i over the simplex
    rows: Float64[Tensor, " r"]  # maximises min_j (p M)_j over the simplex
    low: float  # min_j (p M)_j
    high: float  # max_i (M q)_i


def minimax(matrix: Float64[Tensor, "r n"]) -> Game:
    """Return mixtures of columns and rows with max_i (M q)_i = min_j (p M)_j: the value of the game (von Neumann 1928).

    Solved as the linear programme: maximise sum x with M' x <= 1, x >= 0, where M' is M moved and scaled into [1, 2];
    then the value of M' is 1 / sum x, and its multipliers are the rows' mixture. Primal simplex with Bland's rule,
    which cannot cycle. Meant for few rows; the cost per pivot is r (r + n).

    >>> game = minimax(torch.tensor([[3.0, -1.0], [-2.0, 4.0]], dtype=torch.float64))
    >>> game.columns, game.rows, game.high
    (tensor([0.5000, 0.5000], dtype=torch.float64), tensor([0.6000, 0.4000], dtype=torch.float64), 1.0)
    """
    r, n = matrix.shape
    least, width = float(matrix.min()), float(matrix.max() - matrix.min())
    moved = (matrix - least) / (width if width > 0 else 1.0) + 1
    tableau = torch.zeros(r + 1, n + r + 1, dtype=torch.float64)
    tableau[:r, :n], tableau[:r, n:-1], tableau[:r, -1] = moved, torch.eye(r, dtype=torch.float64), 1.0
    tableau[r, :n] = -1.0
    basis = list(range(n, n + r))
    while True:
        entering = (tableau[r, :-1] < -NOISE).nonzero()
        if not len(entering):
            break
        column = int(entering[0])
        ratios = torch.where(tableau[:r, column] > NOISE, tableau[:r, -1] / tableau[:r, column], torch.inf).tolist()
        row = min(range(r), key=lambda index: (ratios[index], basis[index]))
        basis[row] = column
        pivot = tableau[row] / tableau[row, column]
        tableau = tableau - tableau[:, column : column + 1] * pivot
        tableau[row] = pivot
    solution = torch.zeros(n + r, dtype=torch.float64)
    solution[basis] = tableau[:r, -1]
    columns, rows = _mixture(solution[:n]), _mixture(tableau[r, n:-1])
    return Game(columns, rows, float((rows @ matrix).min()), float((matrix @ columns).max()))


def _mixture(values: Float64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    positive = values.clamp(min=0)
    return positive / positive.sum()
