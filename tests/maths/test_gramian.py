"""The Gramian of gradients spread over parameters, and what is read from it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.device_waits import Waits
from support.maths_asserts import assert_close

from paretokit.errors import ShapeError
from paretokit.maths.gramian import combine, cosines, gramian, norms

quick = settings(deadline=None, max_examples=30, derandomize=True)
SHAPES = [(), (3,), (2, 4), (2, 1, 3)]


def _rows(m, *, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(m, *shape, generator=generator, dtype=torch.float64).to(dtype) for shape in SHAPES]


def _flat(rows):
    return torch.cat([row.reshape(len(row), -1) for row in rows], dim=1)


@quick
@given(st.integers(1, 6), st.integers(0, 10**6))
def test_equals_that_of_the_flat_gradients(m, seed):
    rows = _rows(m, seed=seed)
    gram, flat = gramian(rows), _flat(rows)
    assert_close(gram, [[float(a @ b) for b in flat] for a in flat], tolerance=1e-12)
    assert bool((gram == gram.T).all())
    assert_close(norms(gram), flat.norm(dim=1), tolerance=1e-12)
    assert_close(cosines(gram), torch.cosine_similarity(flat[:, None], flat[None], dim=2), tolerance=1e-12)


@pytest.mark.parametrize(("given_dtype", "expected"), [("float64", "float64"), ("float32", "float32"), ("bfloat16", "float32")])
def test_precision_is_float32_or_better(given_dtype, expected):
    rows = _rows(2, seed=0, dtype=getattr(torch, given_dtype))
    gram = gramian(rows)
    assert gram.dtype == getattr(torch, expected)
    assert_close(gram, gramian([row.double() for row in rows]), tolerance=1e-5)


@pytest.mark.parametrize("ratio", [1.0, 1e-4])
def test_long_float32_gradients_keep_their_precision(ratio):
    generator = torch.Generator().manual_seed(0)
    long, other = (torch.randn(2 * 10**6 + 77, generator=generator) for _ in range(2))
    rows = torch.stack([long, -1.37 * ratio * long, ratio * other])  # an opposed pair, a short one, an independent one

    def error(gram):
        exact = rows.double() @ rows.double().T
        lengths = exact.diagonal().sqrt()
        return float(((gram.double() - exact).abs() / (lengths[:, None] * lengths)).max()) / torch.finfo(torch.float32).eps

    assert error(gramian([rows])) <= 1  # 0.5 is the rounding of the result
    assert error(gramian([rows[:, :5000].view(3, 50, 100), rows[:, 5000:]])) <= 1
    one_product = rows.double().T.to(torch.bfloat16).float().T  # the measure tells what half precision makes of it
    assert error(one_product @ one_product.T) > 100


def test_the_precision_is_that_of_the_least_precise_rows():
    assert gramian([torch.ones(2, 3), torch.ones(2, 3, dtype=torch.float64)]).dtype == torch.float32


def test_carries_no_graph():
    rows = [row.requires_grad_() for row in _rows(2, seed=0)]
    assert not gramian(rows).requires_grad


def test_zero_gradient_has_no_cosine():
    found = cosines(torch.tensor([[4.0, 0], [0, 0]]))
    assert found[0, 0] == 1
    assert bool(found[1].isnan().all())
    assert bool(found[:, 1].isnan().all())


def test_cosines_survive_tiny_and_rounded_gradients():
    assert_close(cosines(torch.tensor([[1e-30, -1e-30], [-1e-30, 1e-30]])), [[1, -1], [-1, 1]], tolerance=1e-6)
    assert float(cosines(torch.tensor([[1.0, 1.0000001], [1.0000001, 1.0]])).max()) == 1
    assert norms(torch.tensor([[-1e-9]])).tolist() == [0.0]


@quick
@given(st.integers(1, 5), st.integers(0, 10**6))
def test_combination_is_the_weighted_sum(m, seed):
    rows = _rows(m, seed=seed)
    coefficients = torch.randn(m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = combine(rows, coefficients)
    assert [tuple(part.shape) for part in found] == SHAPES
    for part, row in zip(found, rows, strict=True):
        assert_close(part, sum(a * g for a, g in zip(coefficients, row, strict=True)), tolerance=1e-12)
    # and the norm of the combination is a'Ha
    square = sum(float((part**2).sum()) for part in found)
    assert square == pytest.approx(float(coefficients @ gramian(rows) @ coefficients), rel=1e-9, abs=1e-9)


def test_combination_keeps_the_rows_dtype():
    assert combine([torch.ones(2, 3)], torch.tensor([0.5, 0.5], dtype=torch.float64))[0].dtype == torch.float32


def test_frozen_value():
    assert gramian([torch.tensor([[1.0, -4.0], [-1.0, 1.0]])]).tolist() == [[17, -5], [-5, 2]]


def test_coefficients_go_to_the_device_once_for_all_parameters():
    rows = [torch.empty(2, size, device="meta") for size in range(1, 6)]
    coefficients = torch.ones(2, dtype=torch.float64)
    with Waits() as waits:
        found = combine(rows, coefficients)
    assert [part.shape for part in found] == [(size,) for size in range(1, 6)]
    assert waits.count["copy"] == 1
    with Waits() as planted:
        assert all((coefficients.to(row) * 1).device.type == "meta" for row in rows)
    assert planted.count["copy"] == len(rows)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: gramian([]),
            "rows: found none, expected one [m, *shape] per trainable parameter. Pass the Jacobian's rows.",
        ),
        (
            lambda: gramian([torch.zeros(2, 3), torch.zeros(3, 3)]),
            "rows: found leading sizes [(2,), (3,)], expected the same m",
        ),
        (lambda: gramian([torch.tensor(1.0)]), "rows: found leading sizes [()], expected the same m"),
        (lambda: combine([torch.zeros(2, 3)], torch.ones(3)), "combine: found 3 coefficients for rows of 2 objectives"),
    ],
)
def test_messages(call, message):
    with pytest.raises(ShapeError) as caught:
        call()
    assert message in str(caught.value)
