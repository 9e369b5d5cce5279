"""What the coefficients of RACO and of weighted CAGrad are, read as a specification."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.maths_asserts import assert_close, assert_on_simplex
from support.maths_samplers import KINDS, jacobian, preference

from paretokit.errors import ConfigError, DataError, NonFiniteError, ShapeError, WeightsError
from paretokit.maths import simplex
from paretokit.maths.raco import cagrad_coefficients, clip, coefficients, dual

quick = settings(deadline=None, max_examples=30, derandomize=True)
seeds = st.integers(0, 10**6)
kinds = st.sampled_from(KINDS)
weighings = st.sampled_from(["inner", "uniform", "sparse", "one-hot"])
radii = st.sampled_from([0.0, 0.1, 0.4, 0.9])
BOTH = [coefficients, cagrad_coefficients]


def _sample(kind, m, *, seed, weighing="inner"):
    generator = torch.Generator().manual_seed(seed)
    rows = jacobian(kind, m, generator=generator)
    return rows, preference(weighing, m, generator=generator)


def _matrix(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def _phi(gram, weights, mixtures, *, c):
    """Phi of each row of `mixtures`, straight from its definition."""
    linear = gram @ weights
    s = c * (weights @ linear).clamp(min=0).sqrt()
    return mixtures @ linear + s * ((mixtures @ gram) * mixtures).sum(dim=1).clamp(min=0).sqrt()


# properties


@quick
@given(kinds, st.integers(1, 10), seeds, weighings, radii)
def test_mixture_on_the_simplex(kind, m, seed, weighing, c):
    rows, weights = _sample(kind, m, seed=seed, weighing=weighing)
    found = dual(rows @ rows.T, weights, c=c)
    assert_on_simplex(found.mixture)
    assert found.gap >= 0


@quick
@given(kinds, st.integers(1, 40), seeds, weighings, radii)
def test_gap_is_rounding_for_any_number_of_objectives(kind, m, seed, weighing, c):
    rows, weights = _sample(kind, m, seed=seed, weighing=weighing)
    gram = rows @ rows.T
    found = dual(gram, weights, c=c)
    square = found.mixture @ gram @ found.mixture / gram.trace()
    # where the mixture almost cancels, a float64 Gramian carries no more than this
    assert found.gap <= gram.trace() * (1e-7 if 1.4e-14 < square < 1e-10 else 1e-10)


@quick
@given(kinds, st.integers(1, 9), seeds, weighings, radii)
def test_correction_has_length_s_or_0(kind, m, seed, weighing, c):
    rows, weights = _sample(kind, m, seed=seed, weighing=weighing)
    preferred = weights @ rows
    for function in BOTH:
        step = function(rows @ rows.T, weights, c=c).coefficients @ rows
        length, scale = float((step - preferred).norm()), float(rows.norm())
        radius = c * float(preferred.norm())
        assert min(length, abs(length - radius)) <= 1e-8 * scale
        assert float(step @ preferred) >= (1 - c) * float(preferred @ preferred) - 1e-8 * scale**2
        assert (1 - c) * preferred.norm() - 1e-8 * scale <= step.norm() <= (1 + c) * preferred.norm() + 1e-8 * scale


@quick
@given(st.sampled_from(["generic", "conflict", "uneven"]), st.integers(2, 10), seeds, radii)
def test_permuting_objectives_permutes_the_coefficients(kind, m, seed, c):
    rows, weights = _sample(kind, m, seed=seed)
    order = torch.randperm(m, generator=torch.Generator().manual_seed(seed))
    for function in BOTH:
        before = function(rows @ rows.T, weights, c=c)
        after = function(rows[order] @ rows[order].T, weights[order], c=c)
        assert_close(after.coefficients, before.coefficients[order], tolerance=1e-7)
        assert_close(after.mixture, before.mixture[order], tolerance=1e-7)


@pytest.mark.parametrize("scale", [1e-12, 3e-7, 2.0, 1e5, 1e12])
@pytest.mark.parametrize("m", [2, 3, 5, 10])
def test_gradient_scale_changes_nothing(scale, m):
    rows, weights = _sample("conflict", m, seed=m)
    for function in BOTH:
        before, after = (function(k**2 * (rows @ rows.T), weights, c=0.4) for k in (1.0, scale))
        assert_close(after.coefficients, before.coefficients, tolerance=1e-10)
        assert_close(after.mixture, before.mixture, tolerance=1e-10)
        assert_close(after.value / scale**2, before.value, tolerance=1e-10 * float(before.value.abs()))


@quick
@given(kinds, st.integers(1, 10), seeds, radii)
def test_equal_arguments_give_equal_bits(kind, m, seed, c):
    rows, weights = _sample(kind, m, seed=seed)
    first, second = (coefficients(rows @ rows.T, weights, c=c) for _ in range(2))
    assert all(bool((a == b).all()) for a, b in zip(first, second, strict=True))


@quick
@given(st.integers(2, 10), seeds, radii, weighings)
def test_equal_gradients_act_as_one_objective(m, seed, c, weighing):
    rows, weights = _sample("generic", m, seed=seed, weighing=weighing)
    share = torch.tensor([0.3, 0.7], dtype=torch.float64)
    twice = torch.cat([rows, rows[:1]])
    split = torch.cat([weights[:1] * share[0], weights[1:], weights[:1] * share[1]])
    for function in BOTH:
        one = function(rows @ rows.T, weights, c=c)
        two = function(twice @ twice.T, split, c=c)
        assert_close(two.coefficients @ twice, one.coefficients @ rows, tolerance=1e-9)
        folded = torch.cat([two.mixture[:1] + two.mixture[-1:], two.mixture[1:-1]])
        assert_close(folded, one.mixture, tolerance=1e-9)
        if weights[0] > 0:
            assert_close(two.mixture[0] * share[1], two.mixture[-1] * share[0], tolerance=1e-12)


@quick
@given(kinds, st.integers(2, 9), seeds, weighings, st.sampled_from([0.1, 0.4, 0.9]))
def test_unclipped_serves_the_worst_off_best(kind, m, seed, weighing, c):
    rows, weights = _sample(kind, m, seed=seed, weighing=weighing)
    gram = rows @ rows.T
    plain, unclipped, clipped = gram @ weights, *(function(gram, weights, c=c) for function in reversed(BOTH))
    square = unclipped.mixture @ gram @ unclipped.mixture
    if weights @ plain <= 1.4e-14 * gram.trace() or square <= 1e-10 * gram.trace():
        return  # g_0 or G_p is zero: there is no correction to speak of
    worst, tolerance = (gram @ unclipped.coefficients).min(), 1e-8 * gram.trace()
    assert abs(worst - unclipped.value) <= tolerance
    assert worst >= plain.min() - tolerance
    assert worst >= (gram @ clipped.coefficients).min() - tolerance
    drawn = torch.randn(64, rows.shape[1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    others = weights @ rows + c * (weights @ plain).sqrt() * drawn / drawn.norm(dim=1, keepdim=True)
    assert (others @ rows.T).amin(dim=1).max() <= unclipped.value + tolerance


@quick
@given(st.integers(2, 7), seeds, st.sampled_from([0.4, 0.9]))
def test_interior_mixture_gives_every_gradient_the_same_product(m, seed, c):
    rows, weights = _sample("conflict", m, seed=seed)
    found = cagrad_coefficients(rows @ rows.T, weights, c=c)
    products = rows @ rows.T @ found.coefficients
    inside = found.mixture > 0
    assert_close(products[inside], found.value.expand(int(inside.sum())), tolerance=1e-8 * float(rows.norm() ** 2))
    assert (products >= found.value - 1e-8 * rows.norm() ** 2).all()


def test_interior_mixture_erases_the_preference_at_equal_norms():
    rows = _matrix([1, 0], [-0.6, 0.8])
    for weight in (0.4, 0.5, 0.6):
        weights = _matrix(weight, 1 - weight)
        free, clipped = (function(rows @ rows.T, weights, c=0.9).coefficients for function in reversed(BOTH))
        assert_close(free[0], free[1], tolerance=1e-12)
        assert weight == 0.5 or abs(clipped[0] - clipped[1]) > 0.05


# closed forms


@pytest.mark.parametrize(
    ("rows", "weights", "c", "mixture", "clipped", "unclipped"),
    [
        ([[1, -4], [-1, 1]], [0.2, 0.8], 0.5, [0.356145, 0.643855], [0.327519, 1.210518], [0.328410, 1.032145]),
        ([[1, 2, 0], [0, -1, 2]], [0.8, 0.2], 0.4, [0, 1], [0.8, 0.497187], None),
        ([[1, 0], [-1, 1]], [0.5, 0.5], 0.4, [1, 0], [0.7, 0.5], None),
        ([[1, 0], [0, 2]], [1, 0], 0.4, [0, 1], [1, 0], [1, 0.2]),
        ([[1, 0], [-1, 0]], [0.7, 0.3], 0.4, [0, 1], [0.7, 0.46], None),
        (
            [[1, 0, 0], [-0.5, 1, 0], [0, -0.5, 1]],
            [1 / 3] * 3,
            0.4,
            [0.385253, 0.502073, 0.112673],
            [0.492334, 0.492334, 0.387079],
            [0.464687, 0.504518, 0.371750],
        ),
        ([[3, 0], [-1, 1], [0, -1.5]], [0.1, 0.1, 0.8], 0.4, [0, 1, 0], [0.1, 0.416228, 0.8], [0.1, 0.416228, 0.8]),
        ([[0.872, -7.634], [-0.938, 0.497]], [0.0511, 0.9489], 0.4, [0.201547, 0.798453], None, None),
    ],
)
def test_published_table(rows, weights, c, mixture, clipped, unclipped):
    rows, weights = _matrix(*rows), _matrix(*weights)
    found = coefficients(rows @ rows.T, weights, c=c)
    free = cagrad_coefficients(rows @ rows.T, weights, c=c)
    assert_close(found.mixture, mixture, tolerance=1e-6)
    if clipped is not None:
        assert_close(found.coefficients, clipped, tolerance=1e-6)
        assert_close(free.coefficients, unclipped or clipped, tolerance=1e-6)
    else:  # row 4 of the table states the updates
        assert_close(found.coefficients @ rows, [-1.185265, 0.084754], tolerance=2e-6)
        assert_close(free.coefficients @ rows, [-0.997951, -0.222149], tolerance=2e-6)


@quick
@given(st.floats(0.05, 20), st.floats(0, 3.14159), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_two_objectives_satisfy_the_quadratic_of_the_paper(ratio, angle, weight, c):
    """RACO, Appendix B.1: an inner minimiser is a root of the stationarity condition, squared."""
    rows = torch.stack([_matrix(1, 0), ratio * torch.tensor([angle]).double().cos() * _matrix(1, 0)])
    rows[1, 1] = ratio * torch.tensor([angle]).double().sin()
    gram, weights = rows @ rows.T, _matrix(weight, 1 - weight)
    lam = dual(gram, weights, c=c).mixture[0]
    if not 1e-6 < lam < 1 - 1e-6:
        return
    linear = gram @ weights
    delta, s2 = linear[0] - linear[1], c**2 * (weights @ linear)
    q2, q1, q0 = gram[0, 0] + gram[1, 1] - 2 * gram[0, 1], 2 * (gram[0, 1] - gram[1, 1]), gram[1, 1]
    terms = [(delta**2 - s2 * q2) * q2 * lam**2, (delta**2 - s2 * q2) * q1 * lam, delta**2 * q0 - s2 * q1**2 / 4]
    assert abs(sum(terms)) <= 1e-8 * sum(abs(term) for term in terms)


# slow twins


@quick
@given(kinds, st.integers(2, 4), seeds, weighings, radii)
def test_gap_bounds_the_error_against_a_fine_grid(kind, m, seed, weighing, c):
    rows, weights = _sample(kind, m, seed=seed, weighing=weighing)
    gram = rows @ rows.T
    found = dual(gram, weights, c=c)
    grid = simplex.grid(m, resolution={2: 2000, 3: 80, 4: 24}[m])
    least = _phi(gram, weights, grid, c=c).min()
    noise = 1e-7 * gram.trace()  # of Phi as defined, where the mixture cancels
    assert found.value <= least + noise
    assert found.value - found.gap <= least + noise
    assert_close(_phi(gram, weights, found.mixture[None], c=c)[0], found.value, tolerance=float(noise))


@pytest.mark.parametrize("m", [3, 6, 12])
@pytest.mark.parametrize("kind", ["generic", "conflict", "rankdef"])
def test_agrees_with_slsqp(kind, m):
    from scipy.optimize import minimize

    rows, weights = _sample(kind, m, seed=7)
    gram = rows @ rows.T / (rows @ rows.T).trace()
    found = dual(gram, weights, c=0.4)
    answer = minimize(
        lambda p: float(_phi(gram, weights, torch.as_tensor(p)[None], c=0.4)),
        torch.full((m,), 1 / m).numpy(),
        method="SLSQP",
        bounds=[(0, 1)] * m,
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert found.value <= answer.fun + 1e-9
    assert answer.fun <= found.value + 1e-5


@pytest.mark.parametrize("m", [2, 3, 5])
@pytest.mark.parametrize("c", [0.2, 0.5, 0.9])
def test_without_the_clip_at_equal_preference_agrees_with_torchjd(m, c):
    from torchjd.aggregation import CAGradWeighting

    rows, _ = _sample("generic", m, seed=m)
    gram = rows @ rows.T
    found = cagrad_coefficients(gram, torch.full((m,), 1 / m, dtype=torch.float64), c=c)
    # its conic solver stops at 1e-8 in Phi, which is flat at the minimum: 1e-4 in the mixture
    assert_close(found.coefficients, CAGradWeighting(c=c)(gram), tolerance=5e-4)


def test_zero_gradient_does_not_stop_the_rest():
    # where torchjd's update is zero
    rows = _matrix([1, 2], [0, 0])
    for function in BOTH:
        assert_close(function(rows @ rows.T, _matrix(0.5, 0.5), c=0.5).coefficients @ rows, [0.5, 1], tolerance=1e-15)


def test_frozen_example_of_torchjd():
    rows = _matrix([-4, 1, 1], [6, 1, 1])
    found = cagrad_coefficients(rows @ rows.T, _matrix(0.5, 0.5), c=0.5)
    assert_close(found.coefficients, [0.704124, 0.5], tolerance=1e-6)
    assert_close(found.coefficients @ rows, [0.183504, 1.204124, 1.204124], tolerance=1e-6)


# derivative


@quick
@given(st.sampled_from(["generic", "conflict", "uneven"]), st.integers(2, 8), seeds, radii)
def test_gradient_of_phi_is_least_on_the_support(kind, m, seed, c):
    rows, weights = _sample(kind, m, seed=seed)
    gram = rows @ rows.T / (rows @ rows.T).trace()
    found = dual(gram, weights, c=c)
    point = found.mixture.clone().requires_grad_()
    (slope,) = torch.autograd.grad(_phi(gram, weights, point[None], c=c)[0], point)
    # Phi is homogeneous of degree 1: on the support its slope is Phi itself
    assert (slope >= found.value - 1e-9).all()
    assert_close(slope[found.mixture > 0], found.value.expand(int((found.mixture > 0).sum())), tolerance=1e-9)


# degenerate limits


@pytest.mark.parametrize("function", BOTH)
def test_radius_0_returns_the_preference(function):
    rows, weights = _sample("conflict", 4, seed=1)
    assert_close(function(rows @ rows.T, weights, c=0.0).coefficients, weights, tolerance=0)


@pytest.mark.parametrize("function", BOTH)
def test_one_objective_gives_1_plus_c(function):
    found = function(_matrix([9.0]), _matrix(1.0), c=0.4)
    assert_close(found.coefficients, [1.4], tolerance=1e-15)
    assert_close(found.value, 9 * 1.4, tolerance=1e-14)


@pytest.mark.parametrize("function", BOTH)
@pytest.mark.parametrize("gram", [torch.zeros(3, 3), torch.tensor([[1.0, -1, 0], [-1, 1, 0], [0, 0, 0]])])
def test_zero_gramian_or_zero_preferred_gradient_returns_the_preference(function, gram):
    weights = _matrix(0.25, 0.25, 0.5)
    found = function(gram, weights, c=0.4)
    assert_close(found.coefficients, weights, tolerance=0)
    assert_close(found.mixture, weights, tolerance=0)
    assert (found.value, found.gap) == (0, 0)


@pytest.mark.parametrize("function", BOTH)
def test_equal_gradients_lengthen_the_preferred_one(function):
    for m in (2, 5, 11):
        weights = preference("inner", m, generator=torch.Generator().manual_seed(m))
        found = function(torch.full((m, m), 3.0, dtype=torch.float64), weights, c=0.4)
        assert_close(found.mixture, weights, tolerance=1e-15)
        assert_close(found.coefficients, 1.4 * weights, tolerance=1e-14)


def test_one_hot_preference_keeps_that_gradients_direction():
    rows, _ = _sample("conflict", 3, seed=3)
    for index in range(3):
        weights = torch.eye(3, dtype=torch.float64)[index]
        found = coefficients(rows @ rows.T, weights, c=0.4)
        length = 1.4 if found.mixture[index] > 0 else 1.0
        assert_close(found.coefficients, length * weights, tolerance=1e-14)


def test_everything_clipped_away_returns_the_preference():
    found = coefficients(_matrix([1, 0], [0, 4]), _matrix(1, 0), c=0.4)
    assert_close(found.clipped, [0, 0], tolerance=0)
    assert_close(found.coefficients, [1, 0], tolerance=0)


def test_opposed_gradients_cancel_without_the_clip_and_not_with_it():
    rows = _matrix([1, 0.1, 0], [-1, 0.1, 0], [0, 1, 5])
    rows[:2, 1] = 0
    gram, weights = rows @ rows.T, _matrix(0.15, 0.05, 0.8)
    free, clipped = (function(gram, weights, c=0.4) for function in reversed(BOTH))
    assert_close(free.mixture, [0.5, 0.5, 0], tolerance=1e-12)
    assert_close(free.coefficients, weights, tolerance=0)
    assert_close(clipped.clipped, [0.15, 0.05, 0], tolerance=1e-12)
    assert float((clipped.coefficients - weights).abs().max()) > 0.1


def test_objective_without_a_gradient_gets_the_gap_closed():
    # an objective that judged no pair: p sits on it, and the bound needs a direction that serves the conflicting rest
    rows = _matrix([0, 0], [-0.1, 1], [1.1, -1])
    found = dual(rows @ rows.T, _matrix(0.2, 0.4, 0.4), c=0.9)
    assert_close(found.mixture, [1, 0, 0], tolerance=0)
    assert (rows @ rows.T @ _matrix(0.2, 0.4, 0.4)).min() < -0.01
    assert 0 <= found.gap <= 1e-15


def test_zero_threshold_is_that_of_the_gramians_dtype():
    # the mixture (1/2, 1/2) has the squared length 1e-8 of the trace: zero in float32, not in float64
    rows = _matrix([1, 1e-4, 0], [-1, 1e-4, 0], [0, 1, 1]) * 2**0.5
    gram, weights = rows @ rows.T, _matrix(0.01, 0.01, 0.98)
    single, double = (cagrad_coefficients(matrix, weights, c=0.4) for matrix in (gram.float(), gram))
    assert single.coefficients.dtype == torch.float64
    assert_close(single.coefficients, weights, tolerance=0)
    assert float((double.coefficients - weights).abs().max()) > 1


def test_rounding_of_a_float32_gramian_does_not_blow_up():
    for seed in range(20):
        rows, weights = _sample("opposed", 3, seed=seed)
        rows32 = rows.float()
        found = cagrad_coefficients(rows32 @ rows32.T, weights, c=0.4)
        # coefficients are at most 1 + s / sqrt(zero threshold)
        assert float(found.coefficients.abs().max()) <= 1 + 0.4 / (64 * torch.finfo(torch.float32).eps) ** 0.5


def test_slightly_indefinite_gramian_is_accepted():
    rows, weights = _sample("rankdef", 6, seed=2)
    gram = rows @ rows.T
    exact = coefficients(gram, weights, c=0.4)
    found = coefficients(gram - 1e-15 * gram.trace() * torch.eye(6, dtype=torch.float64), weights, c=0.4)
    assert_close(found.coefficients, exact.coefficients, tolerance=1e-6)


def test_weights_need_not_sum_to_one_exactly():
    gram = _matrix([17, -5], [-5, 2])
    assert_on_simplex(coefficients(gram, torch.tensor([0.2, 0.8]), c=0.5).mixture)
    assert_on_simplex(coefficients(torch.ones(2, 2), _matrix(0.2, 0.8 + 5e-7), c=0.5).mixture)


# the clip


def test_two_objectives_the_clip_never_lowers_the_cosine():
    def cosine(rows, weights, mixture):
        return torch.cosine_similarity(weights @ rows, mixture @ rows, dim=0)

    rows, weights = _matrix([1, -4], [-1, 1]), _matrix(0.2, 0.8)
    found = coefficients(rows @ rows.T, weights, c=0.5)
    assert_close(cosine(rows, weights, found.mixture), 0.345785, tolerance=1e-6)
    assert_close(cosine(rows, weights, found.clipped), 0.943330, tolerance=1e-6)
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):  # for every mixture, not only the optimal one
        rows = jacobian("generic", 2, generator=generator)
        weights, mixture = (preference("inner", 2, generator=generator) for _ in range(2))
        assert cosine(rows, weights, clip(mixture, weights)) >= cosine(rows, weights, mixture) - 1e-12


@pytest.mark.parametrize(
    ("rows", "weights", "before", "after"),
    [
        ([[-2, 1], [-2, -1], [3, 2]], [0.6, 0.2, 0.2], 0.430304, -0.110432),
        ([[-2, -1], [-3, -3], [3, 1]], [0.2, 0.3, 0.5], 0.984469, 0.071790),
    ],
)
def test_three_objectives_the_clip_can_lower_the_cosine(rows, weights, before, after):
    """Kept so that nobody asserts more."""
    rows, weights = _matrix(*rows), _matrix(*weights)
    found = coefficients(rows @ rows.T, weights, c=0.5)
    preferred = weights @ rows
    assert_close(torch.cosine_similarity(preferred, found.mixture @ rows, dim=0), before, tolerance=1e-6)
    assert_close(torch.cosine_similarity(preferred, found.clipped @ rows, dim=0), after, tolerance=1e-6)


def test_the_clip_can_hurt_the_worst_off():
    """Kept so that nobody asserts more: the clipped update serves the worst-off less than the preferred gradient."""
    rows, weights = _matrix([0.872, -7.634], [-0.938, 0.497]), _matrix(0.0511, 0.9489)
    found = coefficients(rows @ rows.T, weights, c=0.4)
    assert_close((rows @ (weights @ rows)).min(), -1.3595, tolerance=1e-4)
    assert_close((rows @ (found.coefficients @ rows)).min(), -1.6806, tolerance=1e-4)


# errors


@pytest.mark.parametrize("function", [*BOTH, dual])
def test_message_for_a_jacobian(function):
    with pytest.raises(ShapeError) as caught:
        function(torch.zeros(3, 4), torch.tensor([0.2, 0.3, 0.5]), c=0.4)
    assert str(caught.value) == (
        "`gram` should be square, [m, m]; found shape (3, 4). Pass the Gramian, `jac @ jac.T`, not the Jacobian."
    )


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("gram", "weights", "c", "error", "message"),
    [
        ([[1, 0, NAN], [0, 1, 0], [NAN, 0, NAN]], [0.2, 0.3, 0.5], 0.4, NonFiniteError, "row 2 (objective 2)"),
        ([[1, 0], [0, INF]], [0.2, 0.8], 0.4, NonFiniteError, "row 1 (objective 1)"),
        ([[1, NAN], [0, 1]], [0.2, 0.8], 0.4, NonFiniteError, "row 0 (objective 0)"),
        ([[1, 0], [0, 1]], [NAN, 0.8], 0.4, NonFiniteError, "found nan for objective 0"),
        ([[1, 0], [0, 1]], [0.2, 0.7], 0.4, WeightsError, "found the sum 0.9"),
        ([[1, 0], [0, 1]], [-0.2, 1.2], 0.4, WeightsError, "found -0.2 for objective 0"),
        ([[1, 0], [0, 1]], [0.2, 0.3, 0.5], 0.4, ShapeError, "[2]; found shape (3,)"),
        ([[1, 0], [0, 1]], [0.2, 0.8], 1.0, ConfigError, "c: found 1.0, expected 0 <= c < 1"),
        ([[1, 0], [0, 1]], [0.2, 0.8], -0.1, ConfigError, "c: found -0.1"),
        ([[1, 0], [0, 1]], [0.2, 0.8], NAN, ConfigError, "c: found nan"),
        ([[1, -4], [-1, 1]], [0.2, 0.8], 0.4, DataError, "should be symmetric"),
        ([[1, 0], [0, -1]], [0.2, 0.8], 0.4, DataError, "squared norms on its diagonal"),
    ],
)
def test_message_names_what_is_wrong(gram, weights, c, error, message):
    for function in (*BOTH, dual):
        with pytest.raises(error) as caught:
            function(_matrix(*gram), _matrix(*weights), c=c)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_message_for_half_precision_and_for_no_objective():
    with pytest.raises(DataError, match=r"should be float32 or float64; found torch\.bfloat16"):
        coefficients(torch.eye(2, dtype=torch.bfloat16), _matrix(0.5, 0.5), c=0.4)
    with pytest.raises(ShapeError, match=r"found shape \(0, 0\)"):
        coefficients(torch.zeros(0, 0), torch.zeros(0), c=0.4)


# frozen


def test_frozen_value():
    rows = _matrix([1, 2, 0], [0, -1, 2])
    found = coefficients(rows @ rows.T, _matrix(0.8, 0.2), c=0.9)
    assert_close(found.mixture, [0.1280102370, 0.8719897630], tolerance=1e-10)
    assert_close(found.coefficients, [1.2517304728, 0.9057724184], tolerance=1e-10)
    free = cagrad_coefficients(rows @ rows.T, _matrix(0.8, 0.2), c=0.9)
    assert_close(free.coefficients, [0.9032369031, 0.9032369031], tolerance=1e-10)
