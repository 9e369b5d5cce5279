"""The smallest of b'p + s sqrt(p'Hp) over the simplex, found exactly, face by face.

This is the problem behind CAGrad and RACO: H is the Gramian of m vectors g_i, b_i = <g_i, g_0> with g_0 in their span,
and p'Hp = ||G_p||^2 with G_p = sum p_i g_i. On the plane through the vectors of a face the minimiser has a closed form,
so only the face has to be found: by trying all of them where there are few, by an active-set walk where there are many.
H comes divided by its trace, which makes every tolerance below a relative one. Imports: torch, `shapes`.
"""

from itertools import combinations
from typing import NamedTuple

import torch
from torch.nn.functional import threshold

from paretokit.shapes import Bool, Float64, Int, Tensor

__all__ = ["Minimum", "Problem", "enumerate_faces", "evidence", "lower_bound", "minimise", "values", "walk_faces"]

ENUMERATED = 8  # up to this many vectors all faces are tried, 2^m - 1 of them
ROUNDING = 4 * torch.finfo(torch.float64).eps  # differences below this, relative to the trace, are noise
ABSENT = 1e-12  # a component of the mixture up to this is rounding of 0: it moves Phi by less than 1e-12 of the trace


class Problem(NamedTuple):
    """Phi(p) = b'p + s sqrt(p'Hp), to be minimised over the simplex."""

    gram: Float64[Tensor, "m m"]  # H, positive semi-definite, of trace at most 1
    linear: Float64[Tensor, " m"]  # b, the products of the vectors with one in their span
    radius: float  # s
    zero: float  # a quadratic form up to this counts as 0


class Minimum(NamedTuple):
    """A point of the simplex and what it proves: `bound` <= min Phi <= `value`, up to forms that count as 0."""

    mixture: Float64[Tensor, " m"]
    value: float  # Phi there
    bound: float  # min_i <g_i, d> for some d within s of g_0


class _Planes(NamedTuple):
    """The planes (affine hulls) of F faces of equal size; as mixtures of the face's vectors, negative ones included."""

    nearest: Float64[Tensor, "F m"]  # sums to 1: G of it is the point of the plane closest to the origin
    slope: Float64[Tensor, "F m"]  # sums to 0: G of it is minus the part of g_0 along the plane
    distance2: Float64[Tensor, " F"]  # squared length of G_nearest
    steepness2: Float64[Tensor, " F"]  # squared length of G_slope


class _Kink(NamedTuple):
    """What lies around a mixture with G_p = 0."""

    products: Float64[Tensor, " m"]  # <g_i, d>, where d is g_0 without its part along the face
    rest: Minimum | None  # of the other vectors, without their parts along the face; None where plainly not below 0
    direction: Float64[Tensor, " m"] | None  # in which Phi changes at the rate `rest.value`


def minimise(problem: Problem) -> Minimum:
    """Return a minimiser of Phi over the simplex; components outside its support are exactly 0.

    The cost grows as 2^m up to m = 8, polynomially beyond. Equal problems give equal bits.
    """
    # shortest vectors first: differences to the first vector of a face then lose the least to rounding
    order = problem.gram.diagonal().argsort(stable=True)
    ordered = problem._replace(gram=problem.gram[order][:, order], linear=problem.linear[order])
    found = evidence((enumerate_faces if len(order) <= ENUMERATED else walk_faces)(ordered), ordered)
    return found._replace(mixture=torch.zeros_like(found.mixture).index_copy(0, order, found.mixture))


def evidence(mixture: Float64[Tensor, " m"], problem: Problem) -> Minimum:
    """Return the mixture with Phi there and the lower bound that it proves."""
    value = float(values(mixture[None], problem))
    return Minimum(mixture, value, min(value, lower_bound(mixture, problem)))


def values(mixtures: Float64[Tensor, "F m"], problem: Problem) -> Float64[Tensor, " F"]:
    """Return Phi of each mixture."""
    return mixtures @ problem.linear + problem.radius * _roots(mixtures, problem)


def enumerate_faces(problem: Problem) -> Float64[Tensor, " m"]:
    """Return the best minimiser of all faces, small faces first: a larger one must gain more than rounding.

    So no component is there by noise alone.
    """
    vertices = torch.eye(len(problem.linear), dtype=torch.float64)
    best, least = vertices[0], float("inf")
    for size in range(1, len(vertices) + 1):
        candidates = vertices if size == 1 else _inner_points(problem, size=size)
        if len(candidates):
            value, index = values(candidates, problem).min(dim=0)
            if float(value) < least - ROUNDING:
                best, least = candidates[int(index)], float(value)
    return best


def walk_faces(problem: Problem) -> Float64[Tensor, " m"]:
    """Return a minimiser found from face to face, as in Wolfe's nearest-point algorithm (1976).

    From the minimiser of one face, go downhill into a face that holds one vector more, and settle on its minimiser,
    giving up vectors whose component reaches 0. Phi falls at every turn, so no face comes back and the walk ends: where
    no vector promises a descent, or where what is promised is lost in rounding. Each turn costs a few solutions of size
    |face|.
    """
    vertices = torch.eye(len(problem.linear), dtype=torch.float64)
    reached = values(vertices, problem)
    point, least = vertices[int(reached.argmin())], float(reached.min())
    while (ahead := _downhill(point, problem)) is not None:
        candidate = _settle(*ahead, problem)
        value = float(values(candidate[None], problem))
        if not value < least:
            break
        point, least = candidate, value
    return point


def lower_bound(mixture: Float64[Tensor, " m"], problem: Problem) -> float:
    """Return min_i <g_i, d> for the d within s of g_0 that belongs to the mixture; at a minimiser it equals min Phi.

    For any such d and every p, min_i <g_i, d> <= <G_p, d> <= b'p + s ||G_p||: the bound needs no further assumption.
    Where G_p is not zero, d = g_0 + s G_p / ||G_p||. At a kink (G_p = 0) d - g_0 first cancels the part of g_0 along
    the face; what is left of the radius goes to the other vectors, by solving their problem orthogonally to the face.
    """
    root = float(_roots(mixture[None], problem))
    if root > 0:
        return float((problem.linear + problem.radius / root * (problem.gram @ mixture)).min())
    kink = _kink(mixture, problem)
    if kink.rest is None:
        return float(kink.products.min())
    return min(float(kink.products[mixture > 0].min()), kink.rest.bound)


def _roots(mixtures: Float64[Tensor, "F m"], problem: Problem) -> Float64[Tensor, " F"]:
    """||G_p||, exactly 0 where its square counts as 0."""
    return threshold(((mixtures @ problem.gram) * mixtures).sum(dim=1), problem.zero, 0.0).sqrt()


def _differences(problem: Problem, faces: Int[Tensor, "F k"]) -> tuple[Tensor, Tensor, Tensor]:
    """The steps g_j - g_base of each face, as mixtures that sum to 0 [F, k-1, m], and their products with all vectors.

    With them a Cholesky factor of the steps' products among themselves.
    """
    unit = torch.eye(len(problem.linear), dtype=torch.float64)
    steps = unit[faces[:, 1:]] - unit[faces[:, :1]]
    rows = steps @ problem.gram
    inner = rows @ steps.mT
    factor, failed = torch.linalg.cholesky_ex(inner)
    if bool(failed.any()):  # dependent vectors: nothing is lost, a smaller face holds an equal point (Caratheodory)
        ridge = ROUNDING * (failed > 0)[:, None, None] * torch.eye(inner.shape[1], dtype=torch.float64)
        factor = torch.linalg.cholesky_ex(inner + ridge).L
    return steps, rows, factor


def _planes(problem: Problem, faces: Int[Tensor, "F k"]) -> _Planes:
    """With H_f the products of the steps D: nearest = e_base - D' H_f^-1 D H e_base, slope = - D' H_f^-1 D b."""
    steps, rows, factor = _differences(problem, faces)
    base = torch.eye(len(problem.linear), dtype=torch.float64)[faces[:, 0]]
    right = torch.stack([(rows @ base[:, :, None])[:, :, 0], steps @ problem.linear], dim=2)
    points = torch.stack([base, torch.zeros_like(base)], dim=2) - steps.mT @ torch.cholesky_solve(right, factor)
    distance2, steepness2 = (points * (problem.gram @ points)).sum(dim=1).unbind(dim=1)
    return _Planes(points[:, :, 0], points[:, :, 1], distance2, steepness2)


def _stationary(planes: _Planes, problem: Problem) -> tuple[Float64[Tensor, "F m"], Bool[Tensor, " F"]]:
    """The minimiser of Phi over each plane, and whether there is one; if not, Phi never rises along the slope.

    With p = nearest + t slope, r = distance2, e = steepness2: Phi = const - t e + s sqrt(r + t^2 e), which for e < s^2
    is least at t = sqrt(r / (s^2 - e)). r = 0 is the kink: t = 0 and G_p = 0.
    """
    room = problem.radius**2 - planes.steepness2
    step = (threshold(planes.distance2, problem.zero, 0.0) / room.abs()).sqrt()
    return planes.nearest + step[:, None] * planes.slope, room > 0


def _inner_points(problem: Problem, *, size: int) -> Float64[Tensor, "F m"]:
    """The minimisers of the planes of all faces of one size, as far as they lie in their face."""
    faces = torch.tensor(list(combinations(range(len(problem.linear)), size)))
    points, exists = _stationary(_planes(problem, faces), problem)
    inside = points[exists & (points >= 0).all(dim=1)]
    return inside / inside.sum(dim=1, keepdim=True)


def _downhill(point: Float64[Tensor, " m"], problem: Problem) -> tuple[Float64[Tensor, " m"], Bool[Tensor, " m"]] | None:
    """A point no higher than `point`, and a face around it that holds a lower one; None at the minimum."""
    root = float(_roots(point[None], problem))
    if root > 0:
        slopes = problem.linear + problem.radius / root * (problem.gram @ point)
        slope, index = slopes.min(dim=0)
        if float(slope) >= float(slopes @ point) - ROUNDING:
            return None
        return point, (point > 0).index_fill(0, index, True)
    kink = _kink(point, problem)
    if kink.rest is None or kink.direction is None or kink.rest.value >= -ROUNDING:
        return None
    moved = _slide(point, kink.direction)
    return moved, moved > 0


def _settle(point: Float64[Tensor, " m"], support: Bool[Tensor, " m"], problem: Problem) -> Float64[Tensor, " m"]:
    """The minimiser of the face `support` or of a smaller one, reached from `point` without climbing."""
    for _ in range(len(point)):  # every turn gives up a vector
        face = support.nonzero().T
        planes = _planes(problem, face)
        (target,), exists = _stationary(planes, problem)
        if bool(exists) and bool((target[face[0]] > ABSENT).all()):
            return target / target.sum()
        direction = target - point if bool(exists) else planes.slope[0]
        point = _slide(point, direction, furthest=1.0 if bool(exists) else float("inf"))
        support = point > 0
    return point


def _slide(
    point: Float64[Tensor, " m"], direction: Float64[Tensor, " m"], *, furthest: float = float("inf")
) -> Float64[Tensor, " m"]:
    """Go along `direction`, which sums to 0, until the first component reaches 0."""
    reach = torch.where(direction < 0, point / -direction, float("inf"))
    step = min(furthest, float(reach.min()))
    return torch.where(reach <= step, 0.0, threshold(point + step * direction, ABSENT, 0.0))


def _kink(point: Float64[Tensor, " m"], problem: Problem) -> _Kink:
    m = len(point)
    face, others = (point > 0).nonzero().T, (point <= 0).nonzero()[:, 0]
    (steps,), (rows,), factor = _differences(problem, face)
    down = steps @ problem.linear
    *along, along_g0 = torch.cholesky_solve(torch.cat([rows, down[:, None]], dim=1), factor[0]).T
    # the vectors and g_0 without their parts along the face
    linear = problem.linear - rows.T @ along_g0
    room = problem.radius**2 - float(down @ along_g0)
    if room < 0:  # no kink of Phi: only forms that count as 0 make it look like one
        return _Kink(problem.linear, None, None)
    if not len(others) or float(linear[others].min()) >= 0:
        return _Kink(linear, None, None)
    across = problem.gram - rows.T @ torch.stack(along, dim=1)
    rest = minimise(Problem(across[others][:, others], linear[others], room**0.5, problem.zero))
    mixture = torch.zeros(m, dtype=torch.float64).index_copy(0, others, rest.mixture)
    # along the face: cancel what the mixture brings, and go down g_0 in proportion to what it keeps
    length = float(_roots(mixture[None], problem._replace(gram=across)))
    inner = torch.stack(along, dim=1) @ mixture + (length / room**0.5 if room > 0 else 0.0) * along_g0
    return _Kink(linear, rest, mixture - point - steps.T @ inner)
