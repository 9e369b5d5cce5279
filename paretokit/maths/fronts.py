"""Fronts: which score vectors are worth having, how much they cover, and how far they lie from the best possible.

Scores: larger is better in every column, here and in everything that calls this module; moocore, which minimises by
default, is told so in this file alone. Everything is computed in float64. Imports: torch, moocore, `shapes`, `errors`,
`games`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import moocore
import torch

from paretokit.errors import ConfigError, NonFiniteError, ShapeError
from paretokit.maths.games import minimax
from paretokit.shapes import Bool, Float, Float64, Int, Tensor

__all__ = ["Distance", "attainment", "count_outside", "distance", "hypervolume", "knee", "nondominated"]

EXACT = 1e-13  # bounds that differ by less, relative to the largest difference in scores, are equal


def nondominated(scores: Float[Tensor, "k m"]) -> Bool[Tensor, " k"]:
    """Return which points no other point dominates: at least as good in every objective and better in one.

    Equal points do not dominate each other, so all copies of a nondominated point are nondominated.
    Raises `NonFiniteError`, naming the point, for a score that is not finite.

    >>> nondominated(torch.tensor([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0], [1.0, 1.0]])).tolist()
    [True, True, True, False]
    """
    points = _finite(scores, place="nondominated")
    if not len(points):
        return torch.zeros(0, dtype=torch.bool)
    return torch.from_numpy(moocore.is_nondominated(points.numpy(), maximise=True, keep_weakly=True))


def hypervolume(scores: Float[Tensor, "k m"], *, reference: Sequence[float]) -> float:
    """Return the volume of what the points weakly dominate and the reference does not exceed; 0 for no points.

    `reference` has one entry per objective. A point that is not better than it in *every* objective adds nothing:
    `count_outside` says how many such there are. Figures are comparable only at the same reference.

    Raises `ShapeError` where the reference has another length, `NonFiniteError` for a score or entry that is not
    finite.

    >>> hypervolume(torch.tensor([[5.0, 5.0], [4.0, 6.0], [2.0, 7.0], [7.0, 4.0]]), reference=[0, 0])
    39.0
    """
    points, corner = _with_reference(scores, reference)
    inside = points[(points > corner).all(dim=1)]
    return float(moocore.hypervolume(inside.numpy(), ref=corner.numpy(), maximise=True)) if len(inside) else 0.0


def count_outside(scores: Float[Tensor, "k m"], *, reference: Sequence[float]) -> int:
    """Return how many points are not better than the reference in every objective, and so add no hypervolume.

    Errors are those of `hypervolume`.

    >>> count_outside(torch.tensor([[1.0, 2.0], [0.0, 3.0]]), reference=[0, 0])
    1
    """
    points, corner = _with_reference(scores, reference)
    return int((points <= corner).any(dim=1).sum())


def knee(scores: Float[Tensor, "k m"]) -> int:
    """Return the index of the nondominated point farthest above the plane through the extremes of the front.

    Each objective is scaled to run from 0 to 1 over the nondominated points; the plane through the m unit vectors then
    stands for an even exchange between objectives, and the distance above it is proportional to the sum of the scaled
    scores. An objective that is constant on the front does not count. The first index wins a tie: with one nondominated
    point, it is that point; with two in two objectives there is no bulge, and it is the first. Source: Das (1999), "On
    characterizing the knee of the Pareto curve based on normal-boundary intersection", with the extremes taken as ideal
    unit vectors.

    Raises `ShapeError` for no points, `NonFiniteError` for a score that is not finite.

    >>> knee(torch.tensor([[0.0, 10.0], [0.7, 8.0], [1.0, 0.0]]))
    1
    """
    points = _finite(scores, place="knee")
    if not len(points):
        raise ShapeError("knee: found no points, expected at least one. Score at least one run.")
    front = nondominated(points)
    low, high = points[front].amin(dim=0), points[front].amax(dim=0)
    width = high - low
    scaled = torch.where(width > 0, (points - low) / width, 0.0).sum(dim=1)
    return int(torch.where(front, scaled, -torch.inf).argmax())


def attainment(
    scores: Float[Tensor, "k m"], sets: Int[Tensor, " k"], *, levels: Sequence[float] = (0.25, 0.5, 0.75)
) -> dict[float, Float64[Tensor, "q m"]]:
    """Return, for each level, the best vectors attained by at least this share of the sets: attainment surfaces.

    `sets` names the set of each point, for example its seed; a set attains a vector that one of its points weakly
    dominates. Each surface [q, m] is nondominated; the one of level 0.5 is the median front. Two or three objectives.
    Source: Fonseca, Guerreiro, Lopez-Ibanez & Paquete (2011), as computed by moocore.

    Raises `ShapeError` for no points or other numbers of objectives, `ConfigError` for a level outside (0, 1].

    >>> points = torch.tensor([[1.0, 3.0], [3.0, 1.0], [2.0, 2.0]])
    >>> attainment(points, torch.tensor([0, 0, 1]), levels=[1.0])[1.0].tolist()
    [[1.0, 2.0], [2.0, 1.0]]
    """
    points = _finite(scores, place="attainment")
    if not len(points) or points.shape[1] not in (2, 3):
        raise ShapeError(
            f"attainment: found scores of shape {tuple(points.shape)}, expected [k >= 1, 2 or 3]. "
            "Choose two or three objectives."
        )
    order = sets.cpu().argsort(stable=True)  # moocore takes each run of equal labels in sorted order for one set
    surfaces = {}
    for level in levels:
        if not 0 < level <= 1:
            raise ConfigError(f"attainment: found the level {level!r}, expected 0 < level <= 1. A median is 0.5.")
        # moocore minimises here and knows no other way
        surface = moocore.eaf((-points[order]).numpy(), sets=sets.cpu()[order].numpy(), percentiles=[100 * level])
        rows = -torch.from_numpy(surface[:, :-1].copy())
        surfaces[level] = rows[_lexicographic(rows)]
    return surfaces


class Distance(NamedTuple):
    """How far a mean score lies below a front, with what proves it."""

    value: float  # >= 0: every objective could rise by this much at once
    gap: float  # the value is within this of the true distance
    weights: Float64[Tensor, " m"]  # v on the simplex for which the score comes closest to the best


def distance(score: Float[Tensor, " m"], fronts: Sequence[Float[Tensor, "_f _m"]]) -> Distance:
    """Return how far the score s lies below the fronts: min over v on the simplex of h(v) - v.s, never negative.

    h(v) = mean over x of max over f in F(x) of v.f.

    `score` is the mean score s over the prompts x, `fronts` one set F(x) [f, m] of attainable scores per prompt
    (dominated points do no harm), equally weighted. h(v) is the best mean score for the weights v, so h(v) - v.s is
    what is left to gain for them, and its minimum is the largest t such that some mixture of best answers is at least
    s + t in every objective. 0 exactly where s is on the mean front, or beyond it.

    h(v) - v.s is convex and piecewise linear; cutting planes (Kelley 1960) end at its minimum after finitely many
    pieces, each an exact linear programme. `gap` is the difference of the upper and the lower bound.

    Raises `ShapeError` for no fronts, an empty one, or another number of objectives, `NonFiniteError` for NaN or
    infinity.

    >>> front = torch.tensor([[0.0, 1.0], [0.6, 0.6], [1.0, 0.0]], dtype=torch.float64)
    >>> round(distance(torch.tensor([0.4, 0.4], dtype=torch.float64), [front]).value, 12)
    0.2
    """
    point = _finite(score[None], place="distance")[0]
    padded = _padded(fronts, m=len(point))
    vertices = torch.eye(len(point), dtype=torch.float64)
    pieces = torch.stack([_piece(vertex, padded) - point for vertex in vertices])
    least, best = float("inf"), vertices[0]
    while True:
        # minimise the largest of the pieces found so far: a lower bound; then find the piece that is largest there
        game = minimax(-pieces.T)
        weights = game.rows
        piece = _piece(weights, padded) - point
        reached = float(weights @ piece)
        if reached < least:
            least, best = reached, weights
        low = -game.high
        if least - low <= EXACT * float(pieces.abs().max()) or bool((pieces == piece).all(dim=1).any()):
            return Distance(max(0.0, least), max(0.0, least - low), best)
        pieces = torch.cat([pieces, piece[None]])


def _piece(weights: Float64[Tensor, " m"], padded: Float64[Tensor, "x f m"]) -> Float64[Tensor, " m"]:
    """The mean of the best vectors for the weights: a subgradient of h, and weights . piece = h(weights)."""
    best = (padded @ weights).argmax(dim=1)
    return padded[torch.arange(len(padded)), best].mean(dim=0)


def _padded(fronts: Sequence[Tensor], *, m: int) -> Float64[Tensor, "x f m"]:
    """The fronts as one table, the shorter ones filled up with copies of their first point."""
    if not fronts:
        raise ShapeError("distance: found no fronts, expected one per prompt. Pass F(x) for each prompt of the score.")
    tables = [_finite(front, place=f"distance: front {index}") for index, front in enumerate(fronts)]
    for index, table in enumerate(tables):
        if not len(table) or table.shape[1] != m:
            raise ShapeError(
                f"distance: found front {index} of shape {tuple(table.shape)}, expected [f >= 1, {m}]. "
                "Give every front the objectives of the score."
            )
    longest = max(len(table) for table in tables)
    return torch.stack([torch.cat([table, table[:1].expand(longest - len(table), m)]) for table in tables])


def _with_reference(scores: Tensor, reference: Sequence[float]) -> tuple[Tensor, Tensor]:
    points = _finite(scores, place="hypervolume")
    corner = _finite(torch.tensor([list(map(float, reference))], dtype=torch.float64), place="hypervolume: reference")[0]
    if len(corner) != points.shape[1]:
        raise ShapeError(
            f"hypervolume: found a reference of length {len(corner)}, expected {points.shape[1]}. "
            "Give one reference value per objective."
        )
    return points, corner


def _lexicographic(rows: Float64[Tensor, "q m"]) -> Int[Tensor, " q"]:
    order = torch.arange(len(rows))
    for column in rows.T.flip(0):
        order = order[column[order].argsort(stable=True)]
    return order


def _finite(scores: Float[Tensor, "k m"], *, place: str) -> Float64[Tensor, "k m"]:
    points = scores.detach().to(device="cpu", dtype=torch.float64)
    bad = (~points.isfinite()).any(dim=1).nonzero()
    if len(bad):
        index = int(bad[0])
        raise NonFiniteError(
            f"{place}: found {points[index].tolist()} at point {index}, expected finite scores. Leave such points out."
        )
    return points
