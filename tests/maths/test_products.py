"""Products by oneDNN: the same numbers as torch's own, whatever the shape; taken where they are faster, and nowhere else."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import linear

from paretokit.maths import products
from paretokit.maths.products import FEWEST, Quick, product

HAS_IT = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.mkldnn.is_available()
needs_it = pytest.mark.skipif(not HAS_IT, reason="this torch was built without oneDNN")


@pytest.fixture
def taken(monkeypatch):
    """Take the way of oneDNN on any processor, and note the shapes for which it is taken."""
    seen, plain = [], torch.ops.mkldnn._linear_pointwise.default

    def noting(inputs, weight, *rest):
        seen.append((tuple(inputs.shape), tuple(weight.shape)))
        return plain(inputs, weight, *rest)

    monkeypatch.setattr(products, "_QUICK", True)
    monkeypatch.setattr(torch.ops.mkldnn._linear_pointwise, "default", noting)
    return seen


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_rounded(found: torch.Tensor, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
    """Off from float64 by no more than float32 sums of that length are."""
    exact = linear(inputs.double(), weight.double(), None if bias is None else bias.double())
    size = inputs.double().abs() @ weight.double().abs().T
    assert found.dtype == torch.float32
    assert found.shape == exact.shape
    assert ((found - exact).abs() <= 2e-6 * (size + 1)).all()


@needs_it
@settings(max_examples=25, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 70), st.booleans(), st.booleans(), st.booleans())
def test_equal_to_float64_for_every_shape_and_stride(rows, read, out, flipped, turned, biased):
    patch = pytest.MonkeyPatch()
    patch.setattr(products, "_QUICK", True)
    patch.setattr(products, "FEWEST", 0)
    try:
        inputs = drawn(read, rows).T if flipped else drawn(rows, read)
        weight = drawn(read, out, seed=1).T if turned else drawn(out, read, seed=1)
        bias = drawn(out, seed=2) if biased else None
        assert_rounded(product(inputs, weight, bias=bias), inputs, weight, bias)
    finally:
        patch.undo()


@needs_it
def test_large_products_are_taken_and_small_ones_are_not(taken):
    side = round(FEWEST ** (1 / 3)) + 1
    inputs, weight = drawn(2, side, side), drawn(side, side, seed=1)
    assert_rounded(product(inputs, weight), inputs, weight)
    assert taken == [((2, side, side), (side, side))]
    for small in (drawn(1, side), drawn(0, side), drawn(2, 0, side)):
        assert torch.equal(product(small, weight), linear(small, weight))
    assert len(taken) == 1


@needs_it
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_other_precisions_are_torchs(dtype, taken):
    inputs, weight = drawn(200, 200).to(dtype), drawn(200, 200, seed=1).to(dtype)
    assert torch.equal(product(inputs, weight), linear(inputs, weight))
    with Quick():
        assert torch.equal(linear(inputs, weight), product(inputs, weight))
    assert taken == []


@needs_it
def test_a_matrix_that_stands_for_many_is_not_misread(taken):
    """The gradient of a sum is one number spread over a matrix, with strides of 0."""
    spread, weight = torch.ones(1, 1).expand(200, 200), drawn(200, 200, seed=1)
    torch.testing.assert_close(product(spread, weight), linear(spread.contiguous(), weight))
    torch.testing.assert_close(product(weight, spread), linear(weight, spread.contiguous()))


def gradients(inputs, weight, bias, *, quick):
    leaves = [part.clone().requires_grad_() for part in (inputs, weight, bias)]
    if quick:
        with Quick():
            found = linear(*leaves)
    else:
        found = linear(*leaves)
    return found, torch.autograd.grad(found.sin().sum(), leaves)


@needs_it
def test_linear_layers_inside_the_context_have_the_same_gradients(taken):
    parts = drawn(3, 100, 90), drawn(110, 90, seed=1), drawn(110, seed=2)
    found, ours = gradients(*parts, quick=True)
    assert len(taken) == 3, "forward, to the inputs and to the weight"
    exact, theirs = gradients(*(part.double() for part in parts), quick=False)
    torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-4)
    for one, other in zip(ours, theirs, strict=True):
        assert float((one - other).abs().max()) <= 2e-5 * float(other.abs().max())
    with pytest.raises(AssertionError):  # the comparison can fail
        torch.testing.assert_close(found.double() * 1.001, exact, rtol=1e-4, atol=1e-4)


@needs_it
def test_only_what_is_asked_for_is_computed(taken):
    inputs, weight = drawn(200, 200).requires_grad_(), drawn(200, 200, seed=1)
    with Quick():
        linear(inputs, weight).sum().backward()
    assert len(taken) == 1, "the gradient of a sum is spread, and so torch's; the weight has none"
    with Quick(), torch.no_grad():
        assert linear(inputs, weight).grad_fn is None


@needs_it
def test_autocast_and_the_world_outside_are_left_alone(taken):
    inputs, weight = drawn(200, 200), drawn(200, 200, seed=1)
    with Quick(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(inputs, weight).dtype == torch.bfloat16
    linear(inputs, weight)
    with pytest.raises(RuntimeError, match="planted"), Quick():
        raise RuntimeError("planted")
    linear(inputs, weight)
    assert taken == []


def test_a_processor_without_wide_instructions_keeps_to_torch(monkeypatch):
    monkeypatch.setattr(products, "_QUICK", False)
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", None)
    inputs, weight = drawn(200, 200), drawn(200, 200, seed=1)
    assert torch.equal(product(inputs, weight), linear(inputs, weight))


@pytest.mark.parametrize(("capability", "quick"), [("AVX2", False), ("AVX512", HAS_IT), ("DEFAULT", False)])
def test_what_a_processor_must_have(capability, quick, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert products.is_quick() is quick
