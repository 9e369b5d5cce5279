"""The slow twin of `paretokit.maths.faces`: the minimiser of every face, all 2^m - 1 of them, by least squares."""

from itertools import combinations

import numpy as np

from paretokit.maths.faces import Problem


def phi(mixtures: np.ndarray, problem: Problem) -> np.ndarray:
    """Phi of each row, straight from its definition; forms that count as 0 are 0."""
    squares = ((mixtures @ np.array(problem.gram)) * mixtures).sum(axis=1)
    cancelled = squares <= problem.zero * (np.abs(mixtures) @ np.array(problem.norms)) ** 2
    roots = np.sqrt(np.where(cancelled, 0.0, squares))
    return mixtures @ np.array(problem.linear) + problem.radius * roots


def enumerate_faces(problem: Problem) -> list[float]:
    """Return the best of all faces' minimisers, small faces first: a larger one must gain more than rounding."""
    size = len(problem.linear)
    best, least = None, np.inf
    for count in range(1, size + 1):
        inner = [point for face in combinations(range(size), count) if (point := _inner_point(face, problem)) is not None]
        if inner:
            values = phi(np.array(inner), problem)
            if values.min() < least - 1e-15:
                best, least = inner[int(values.argmin())], values.min()
    assert best is not None
    return best.tolist()


def _inner_point(face: tuple[int, ...], problem: Problem) -> np.ndarray | None:
    """The stationary point of Phi on the plane of the face, where there is one, inside the face."""
    gram, linear, unit = np.array(problem.gram), np.array(problem.linear), np.eye(len(problem.linear))
    steps, base = unit[list(face[1:])] - unit[face[0]], unit[face[0]]
    inner = steps @ gram @ steps.T
    right = np.stack([steps @ gram @ base, steps @ linear], axis=1)
    found = -steps.T @ np.linalg.lstsq(inner, right, rcond=1e-15)[0]
    nearest, slope = base + found[:, 0], found[:, 1]
    room = problem.radius**2 - slope @ gram @ slope
    if len(face) > 1 and room <= 0:
        return None
    distance2 = nearest @ gram @ nearest
    cancelled = distance2 <= problem.zero * (np.abs(nearest) @ np.array(problem.norms)) ** 2
    step = np.sqrt(distance2 / room) if len(face) > 1 and not cancelled else 0.0
    point = nearest + step * slope
    return point / point.sum() if (point >= 0).all() else None
