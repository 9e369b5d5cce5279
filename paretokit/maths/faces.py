"""The smallest of b'p + s sqrt(p'Hp) over the simplex, found exactly, by walking from face to face.

This is the problem behind CAGrad and RACO: H is the Gramian of m vectors g_i, b_i = <g_i, g_0> with g_0 in their span,
and p'Hp = ||G_p||^2 with G_p = sum p_i g_i. On the plane through the vectors of a face the minimiser has a closed form,
so only the face has to be found. All is small and happens in floats of Python: vectors are lists, a face is the sorted
list of its vectors' numbers. H comes divided by its trace, against overflow alone: the vectors may be of very different
lengths, and every tolerance below is relative to the lengths that it is about. Imports: `floats`, `rounding`.
"""

from math import inf, sqrt
from typing import NamedTuple

from paretokit.maths.floats import dot, times
from paretokit.maths.rounding import ROUNDING, is_zero, length, limits

__all__ = ["Minimum", "Problem", "evidence", "minimise"]

CLEAR = 1e-8  # what exceeds this, relative to 1, is not there by rounding


class Problem(NamedTuple):
    """Phi(p) = b'p + s sqrt(p'Hp), to be minimised over the simplex."""

    gram: list[list[float]]  # H [m, m], positive semi-definite, of trace at most 1
    linear: list[float]  # b [m], the products of the vectors with one in their span
    radius: float  # s
    zero: float  # q'Hq counts as 0 up to this times (sum_i |q_i| lengths_i)^2: it is cancelled then, not small
    lengths: list[float] | None = None  # [m]: rounding of H_ij is relative to lengths_i lengths_j; None: the roots of H_ii
    total: float = 1.0  # rounding of b_i is relative to lengths_i times this: sum_j w_j lengths_j where b = Hw

    @property
    def norms(self) -> list[float]:
        """`lengths`, or what stands in for them."""
        if self.lengths is not None:
            return self.lengths
        return [sqrt(max(row[index], 0.0)) for index, row in enumerate(self.gram)]


class Minimum(NamedTuple):
    """A point of the simplex and what it proves: `bound` <= min Phi <= `value`, up to forms that count as 0."""

    mixture: list[float]  # [m]
    value: float  # Phi there
    bound: float  # min_i <g_i, d> for some d within s of g_0


class _Ahead(NamedTuple):
    """Where Phi falls: a point no higher than the one before, and a face around it that holds a lower one."""

    point: list[float]  # [m]
    face: list[int]


class _Steps(NamedTuple):
    """The steps D = (g_j - g_first) of a face [k - 1], and the Cholesky factor L of their products DHD'."""

    factor: list[list[float]]  # the rows of L; in place of its diagonal the inverse, 0 for a step along those before it
    independence: float  # in [0, 1]: the least share of a step's square that is not along the steps before it


class _Plane(NamedTuple):
    """The plane (affine hull) of a face; as mixtures of the face's vectors, negative ones included."""

    stationary: list[float] | None  # [k] the minimiser of Phi over it; None where Phi never rises along the slope
    slope: list[float]  # [k], sums to 0: G of it is minus the part of g_0 along the plane
    independence: float  # that of the steps


def minimise(problem: Problem) -> Minimum:
    """Return a minimiser of Phi over the simplex; components outside its support are exactly 0.

    From face to face, as in Wolfe's nearest-point algorithm (1976): from the minimiser of one face, go downhill into a
    face that holds one vector more, and settle on its minimiser, giving up vectors whose component reaches 0. Phi falls
    at every turn, so no face comes back and the walk ends: where no vector promises a descent, or where what is
    promised is lost in rounding.

    Guarantees. `value` - `bound` is the evidence (`test_many_vectors_are_solved_to_rounding`); the walk ends where
    trying all faces does (`test_the_walk_ends_where_enumeration_does`). A turn costs one factorisation of size |face|,
    k^3 / 6 products, and the turns are few (`test_turns_are_few_at_32_vectors`). Equal problems give equal bits.

    >>> found = minimise(Problem([[0.2, 0.0], [0.0, 0.8]], [0.1, 0.4], 0.1, 1e-14))
    >>> found.mixture, round(found.value, 4), round(found.bound, 4)
    ([1.0, 0.0], 0.1447, 0.1447)
    """
    # shortest vectors first: differences to the first vector of a face then lose the least to rounding
    gram, linear, lengths = problem.gram, problem.linear, problem.norms
    order = sorted(range(len(linear)), key=lambda index: gram[index][index])
    ordered = problem._replace(
        gram=[_at(gram[i], order) for i in order], linear=_at(linear, order), lengths=_at(lengths, order)
    )
    found, ahead = _survey(_start(ordered), ordered)
    while ahead is not None:
        candidate, further = _survey(_settle(ahead, ordered), ordered)
        if not candidate.value < found.value:
            break
        found, ahead = candidate, further
    return found._replace(mixture=_spread(found.mixture, order, size=len(order)))


def evidence(mixture: list[float], problem: Problem) -> Minimum:
    """Return the mixture with Phi there and the lower bound min_i <g_i, d> that it proves; at a minimiser they are equal.

    For any d within s of g_0 and every p, min_i <g_i, d> <= <G_p, d> <= b'p + s ||G_p||: the bound needs no further
    assumption (`test_bound_of_any_mixture_is_below_the_minimum`). Where G_p is not zero, d = g_0 + s G_p / ||G_p||. At a
    kink (G_p = 0) d - g_0 first cancels the part of g_0 along the face; what is left of the radius goes to the other
    vectors, by solving their problem orthogonally to the face (`test_kinks_are_certified`).

    >>> evidence([0.0, 1.0], Problem([[0.2, 0.0], [0.0, 0.8]], [0.1, 0.4], 0.0, 1e-14))
    Minimum(mixture=[0.0, 1.0], value=0.4, bound=0.1)
    """
    return _survey(mixture, problem)[0]


def _survey(point: list[float], problem: Problem) -> tuple[Minimum, _Ahead | None]:
    """What the point proves, and where to go from it; None at the minimum."""
    lengths = problem.norms
    products = times(problem.gram, point)
    square = dot(point, products)
    if is_zero(square, point, lengths, zero=problem.zero):
        return _survey_kink(point, problem)
    # the derivatives of Phi, <g_i, d>; Phi is homogeneous, so their mean is Phi itself
    pull = problem.radius / sqrt(square)
    slopes = [b + pull * product for b, product in zip(problem.linear, products, strict=True)]
    value, bound = dot(slopes, point), min(slopes)
    found = Minimum(point, value, min(value, bound))
    # by how much the vectors promise to lower Phi, as a share of what rounding of their slopes is relative to
    whole = length(point, lengths)
    falls = [(value - slope) / max(own, whole) for slope, own in zip(slopes, lengths, strict=True)]
    steepest = falls.index(max(falls))
    if falls[steepest] <= ROUNDING * problem.total:
        return found, None
    return found, _Ahead(point, [i for i, part in enumerate(point) if part > 0 or i == steepest])


def _survey_kink(point: list[float], problem: Problem) -> tuple[Minimum, _Ahead | None]:
    """The same where G_p = 0. Phi changes from there at the rate of its minimum over the other vectors, made orthogonal."""
    gram, b, lengths = problem.gram, problem.linear, problem.norms
    value = dot(b, point)
    face = [i for i, part in enumerate(point) if part > 0]
    others = [i for i, part in enumerate(point) if part <= 0]
    steps = _steps(face, problem)
    down = _differences(b, face)
    along_g0 = _along(steps, down)
    room = problem.radius**2 - dot(down, along_g0)
    if room < 0:  # no kink of Phi: only forms that count as 0 make it look like one
        return Minimum(point, value, min(value, *b)), None
    # the vectors and g_0 without their parts along the face
    rows = [_differences(row, face) for row in gram]
    linear = [part - dot(row, along_g0) for part, row in zip(b, rows, strict=True)]
    if min(_at(linear, others), default=0.0) >= 0:
        return Minimum(point, value, min(value, *linear)), None
    along = [_along(steps, rows[i]) for i in others]
    across = [[gram[i][j] - dot(rows[i], part) for j, part in zip(others, along, strict=True)] for i in others]
    apart = _at(lengths, others)
    rest = minimise(Problem(across, _at(linear, others), sqrt(room), problem.zero, apart, problem.total))
    found = Minimum(point, value, min(value, rest.bound, *_at(linear, face)))
    if rest.value >= -ROUNDING * problem.total * length(rest.mixture, apart):
        return found, None
    # along the face: cancel what the mixture brings, and go down g_0 in proportion to what it keeps
    kept = sqrt(_nonzero(dot(rest.mixture, times(across, rest.mixture)), rest.mixture, apart, zero=problem.zero))
    keep = kept / sqrt(room) if room > 0 else 0.0
    inner = [dot(rest.mixture, parts) + keep * own for *parts, own in zip(*along, along_g0, strict=True)]
    direction = [way - part for way, part in zip(_fall(inner), _at(point, face), strict=True)] + rest.mixture
    moved = _slide(_at(point, face + others), direction, _at(lengths, face + others))
    reached = _spread(moved, face + others, size=len(point))
    return found, _Ahead(reached, [i for i, part in enumerate(reached) if part > 0])


def _start(problem: Problem) -> list[float]:
    """Where the walk sets out: the minimiser of a face that is often the last one already.

    It is what remains of all vectors when those without a clear part in the minimiser of their plane are given up, all
    at once, and so on; where a plane has no minimiser, those that its slope leads away from. Where the vectors depend
    on each other, or one alone is left, it is the best vertex.
    """
    size, lengths = len(problem.linear), problem.norms
    face = list(range(size))
    while len(face) > 1:
        target, slope, independence = _plane(face, problem)
        if independence < CLEAR:
            break
        if target is None:
            face = [i for i, part in zip(face, slope, strict=True) if part > 0]
            continue
        least = limits(target, _at(lengths, face), least=CLEAR)
        kept = [i for i, part, limit in zip(face, target, least, strict=True) if part > limit]
        if len(kept) == len(face):
            return _spread(target, face, size=size)
        face = kept
    squares = [row[i] for i, row in enumerate(problem.gram)]
    zero = problem.zero
    roots = [sqrt(_nonzero(own, [1.0], [most], zero=zero)) for own, most in zip(squares, lengths, strict=True)]
    vertices = [b + problem.radius * root for b, root in zip(problem.linear, roots, strict=True)]
    return _spread([1.0], [vertices.index(min(vertices))], size=size)


def _settle(ahead: _Ahead, problem: Problem) -> list[float]:
    """The minimiser of the face ahead or of a smaller one, reached from the point without climbing."""
    size, face = len(ahead.point), ahead.face
    point = _at(ahead.point, face)
    while len(face) > 1:  # every turn gives up a vector
        target, slope, _ = _plane(face, problem)
        lengths = _at(problem.norms, face)
        if target is None:
            point = _slide(point, slope, lengths)
        elif all(part > limit for part, limit in zip(target, limits(target, lengths), strict=True)):
            return _spread(target, face, size=size)
        else:
            point = _slide(point, [end - part for end, part in zip(target, point, strict=True)], lengths, furthest=1.0)
        face = [i for i, part in zip(face, point, strict=True) if part > 0]
        point = [part for part in point if part > 0]
    return _spread(point, face, size=size)


def _plane(face: list[int], problem: Problem) -> _Plane:
    """The plane of the face, and the minimiser of Phi over it.

    nearest = e_first - D'(DHD')^-1 DH e_first is the mixture whose G is the point closest to the origin, of squared
    length r; slope = -D'(DHD')^-1 Db, of squared length e. With p = nearest + t slope, Phi = const - t e + s sqrt(r + t^2 e),
    which for e < s^2 is least at t = sqrt(r / (s^2 - e)). r = 0 is the kink: t = 0 and G_p = 0.
    """
    steps = _steps(face, problem)
    down = _differences(problem.linear, face)
    inner = _along(steps, down)
    slope = _fall(inner)
    room = problem.radius**2 - dot(down, inner)
    if room <= 0:
        return _Plane(None, slope, steps.independence)
    nearest = _fall(_along(steps, _differences(problem.gram[face[0]], face)))
    nearest[0] += 1.0
    distance2 = dot(nearest, [dot(nearest, _at(problem.gram[i], face)) for i in face])
    step = sqrt(_nonzero(distance2, nearest, _at(problem.norms, face), zero=problem.zero) / room)
    stationary = [start + step * part for start, part in zip(nearest, slope, strict=True)]
    total = sum(stationary)
    return _Plane([part / total for part in stationary], slope, steps.independence)


def _steps(face: list[int], problem: Problem) -> _Steps:
    """The Cholesky factor, row by row: L_ji = (DHD'_ji - sum_k<i L_jk L_ik) / L_ii.

    A step that is along those before it is left out. Nothing is lost: a smaller face holds an equal point (Caratheodory).
    """
    gram, (first, *others) = problem.gram, face
    base, factor, independence = gram[first], [], 1.0
    origin = base[first]
    for j in others:
        own, row = gram[j], []
        shift = own[first] - origin
        for i, done in zip(others, factor, strict=False):
            row.append((own[i] - base[i] - shift - dot(row, done)) * done[-1])
        square = own[j] - base[j] - shift
        pivot = square - dot(row, row)
        if pivot > ROUNDING * (own[j] + origin):
            independence = min(independence, pivot / square)
            row.append(1 / sqrt(pivot))
        else:
            independence = 0.0
            row.append(0.0)
        factor.append(row)
    return _Steps(factor, independence)


def _along(steps: _Steps, right: list[float]) -> list[float]:
    """(DHD')^-1 right, by substitution forwards and backwards."""
    solved: list[float] = []
    for row, entry in zip(steps.factor, right, strict=True):
        solved.append((entry - dot(row, solved)) * row[-1])
    for k in range(len(solved) - 1, -1, -1):
        row = steps.factor[k]
        last = solved[k] * row[-1]
        solved[k] = last
        for i in range(k):
            solved[i] -= row[i] * last
    return solved


def _differences(vector: list[float], face: list[int]) -> list[float]:
    """D times a vector of m."""
    first = vector[face[0]]
    return [vector[i] - first for i in face[1:]]


def _fall(inner: list[float]) -> list[float]:
    """-D' times the steps: a mixture of the face's vectors that sums to 0."""
    return [sum(inner), *(-part for part in inner)]


def _slide(point: list[float], direction: list[float], lengths: list[float], *, furthest: float = inf) -> list[float]:
    """Go along `direction`, which sums to 0, until the first component reaches 0."""
    reach = [part / -way if way < 0 else inf for part, way in zip(point, direction, strict=True)]
    step = min(furthest, *reach)
    moved = [part + step * way for part, way in zip(point, direction, strict=True)]
    least = limits(moved, lengths)
    return [0.0 if far <= step or part <= limit else part for part, far, limit in zip(moved, reach, least, strict=True)]


def _at(vector: list[float], places: list[int]) -> list[float]:
    return [vector[i] for i in places]


def _spread(parts: list[float], places: list[int], *, size: int) -> list[float]:
    """A vector of that size with the parts in their places, and 0 elsewhere."""
    vector = [0.0] * size
    for place, part in zip(places, parts, strict=True):
        vector[place] = part
    return vector


def _nonzero(square: float, mixture: list[float], lengths: list[float], *, zero: float) -> float:
    """The square of a mixture, exactly 0 where it counts as 0."""
    return 0.0 if is_zero(square, mixture, lengths, zero=zero) else square
