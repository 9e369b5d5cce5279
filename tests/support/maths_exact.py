"""The slow twin of `paretokit.maths.raco`: every face of the simplex, with 60 digits, from the gradients themselves.

Nothing here knows a tolerance but `NOTHING`, which is far below what float64 can say. Entries of the gradients are taken as
the exact numbers that they are.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

from mpmath import mp, mpf, sqrt

DIGITS = 60
NOTHING = mpf(10) ** -40


class Exact(NamedTuple):
    """The solution for some gradients and weights."""

    mixture: list[Any]  # p
    value: Any  # Phi(p)
    clipped: list[Any]  # coefficients of RACO
    free: list[Any]  # and of weighted CAGrad
    preferred: list[Any]  # g_0


def solve(rows: Sequence[Sequence[float]], weights: Sequence[float], *, c: float) -> Exact:
    """Return the solution for gradients [m, n]."""
    with mp.workdps(DIGITS):
        vectors = [[mpf(entry) for entry in row] for row in rows]
        total = mp.fsum(map(mpf, weights))
        w = [mpf(weight) / total for weight in weights]
        gram = [[mp.fdot(one, other) for other in vectors] for one in vectors]
        linear = [mp.fdot(row, w) for row in gram]
        radius = mpf(c) * sqrt(mp.fdot(w, linear))
        candidates = [
            point
            for count in range(1, len(w) + 1)
            for face in combinations(range(len(w)), count)
            for point in _inner(face, gram, linear, radius)
        ]
        values = [mp.fdot(linear, point) + radius * _norm(point, gram) for point in candidates]
        least = min(values)
        mixture = candidates[values.index(least)]
        clipped = [min(part, weight) for part, weight in zip(mixture, w, strict=True)]
        free, kept = (_joined(w, part, gram, radius) for part in (mixture, clipped))
        return Exact(mixture, least, kept, free, combined(vectors, w))


def combined(rows: Sequence[Sequence[float]], coefficients: Sequence[Any]) -> list[Any]:
    """Return sum_i a_i g_i."""
    return [mp.fdot(coefficients, column) for column in zip(*rows, strict=True)]


def apart(rows: Sequence[Sequence[float]], found: Sequence[float], expected: Sequence[Any], preferred: Sequence[Any]) -> float:
    """Return how far an update is from the exact one, relative to |g_0|."""
    with mp.workdps(DIGITS):
        gap = combined(rows, [mpf(one) - other for one, other in zip(found, expected, strict=True)])
        return float(mp.norm(gap) / mp.norm(list(preferred)))


def cancelled(mixture: Sequence[Any], rows: Sequence[Sequence[float]]) -> float:
    """Return q'Hq over (sum_i |q_i| |g_i|)^2: 1 where all gradients point one way, 0 where they cancel; 1 without a mixture."""
    with mp.workdps(DIGITS):
        most = mp.fsum(abs(part) * mp.norm(list(row)) for part, row in zip(mixture, rows, strict=True))
        share = (mp.norm(combined(rows, mixture)) / most) ** 2 if most else mpf(1)
        return float(share) if share > NOTHING else 0.0


def _inner(face: tuple[int, ...], gram: Any, linear: Any, radius: Any) -> list[list[Any]]:
    """The stationary points of Phi on the plane of a face that lie on the face, and the points where its gradients cancel."""
    first, *others = face
    size = len(linear)

    def spread(parts: Sequence[Any]) -> list[Any]:
        point = [mpf(0)] * size
        for index, part in zip(face, parts, strict=True):
            point[index] = part
        return point

    if not others:
        return [spread([mpf(1)])]
    steps = mp.matrix([[gram[i][j] - gram[first][i] - gram[first][j] + gram[first][first] for j in others] for i in others])
    roots = [sqrt(steps[k, k]) for k in range(len(others))]
    if not all(roots):  # two equal gradients: a smaller face holds the same point
        return []
    unit = mp.matrix([[steps[k, j] / (roots[k] * roots[j]) for j in range(len(others))] for k in range(len(others))])
    if abs(mp.det(unit)) < NOTHING:
        return []  # dependent steps: a smaller face holds an equal point (Caratheodory)

    def solved(right: Sequence[Any]) -> list[Any]:
        inner = mp.lu_solve(unit, mp.matrix([part / root for part, root in zip(right, roots, strict=True)]))
        return [inner[k] / roots[k] for k in range(len(others))]

    down = [linear[i] - linear[first] for i in others]
    slope = solved([-part for part in down])
    near = solved([gram[first][first] - gram[first][i] for i in others])
    nearest, direction = [1 - mp.fsum(near), *near], [-mp.fsum(slope), *slope]
    room = radius**2 + mp.fdot(slope, down)
    closest, found = spread(nearest), []
    distance = _norm(closest, gram)
    if min(nearest) >= 0 and distance == 0:
        found.append(closest)
    if room > 0:
        point = [start + distance / sqrt(room) * way for start, way in zip(nearest, direction, strict=True)]
        if min(point) >= 0:
            found.append(spread(point))
    return found


def _norm(point: Sequence[Any], gram: Any) -> Any:
    """|sum p_i g_i|, exactly 0 where the gradients cancel."""
    square = mp.fdot(point, [mp.fdot(row, point) for row in gram])
    scale = mp.fsum(abs(part) * sqrt(gram[i][i]) for i, part in enumerate(point)) ** 2
    return sqrt(square) if square > NOTHING * scale else mpf(0)


def _joined(weights: Sequence[Any], mixture: Sequence[Any], gram: Any, radius: Any) -> list[Any]:
    length = _norm(mixture, gram)
    return [w + (radius * part / length if length else 0) for w, part in zip(weights, mixture, strict=True)]
