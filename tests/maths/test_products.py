"""Products by oneDNN: the same numbers as torch's own, whatever the shape; taken where they are faster, and nowhere else."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paretokit.maths import products
from paretokit.maths.products import FEWEST, linear, product, suits

plain = torch.nn.functional.linear
HAS_IT = products._HAS
needs_it = pytest.mark.skipif(not HAS_IT, reason="this torch was built without oneDNN")


@pytest.fixture
def taken(monkeypatch):
    """Take the way of oneDNN on any processor, and note the shapes for which it is taken."""
    seen, real = [], torch.ops.mkldnn._linear_pointwise.default

    def noting(inputs, weight, *rest):
        seen.append((tuple(inputs.shape), tuple(weight.shape)))
        return real(inputs, weight, *rest)

    monkeypatch.setattr(products, "_QUICK", True)
    monkeypatch.setattr(torch.ops.mkldnn._linear_pointwise, "default", noting)
    return seen


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_rounded(found: torch.Tensor, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
    """Off from float64 by no more than float32 sums of that length are."""
    exact = plain(inputs.double(), weight.double(), None if bias is None else bias.double())
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
        assert torch.equal(product(small, weight), plain(small, weight))
    assert len(taken) == 1


@needs_it
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_other_precisions_are_torchs(dtype, taken):
    inputs, weight = drawn(200, 200).to(dtype), drawn(200, 200, seed=1).to(dtype)
    assert torch.equal(product(inputs, weight), plain(inputs, weight))
    assert torch.equal(linear(inputs, weight), plain(inputs, weight))
    assert taken == []


@needs_it
def test_a_matrix_that_stands_for_many_is_not_misread(taken):
    """The gradient of a sum is one number spread over a matrix, with strides of 0."""
    spread, weight = torch.ones(1, 1).expand(200, 200), drawn(200, 200, seed=1)
    torch.testing.assert_close(product(spread, weight), plain(spread.contiguous(), weight))
    torch.testing.assert_close(product(weight, spread), plain(weight, spread.contiguous()))
    assert not suits(spread, weight)


def gradients(function, inputs, weight, bias):
    leaves = [part.clone().requires_grad_() for part in (inputs, weight, bias)]
    found = function(*leaves[:2], bias=leaves[2])
    return found, torch.autograd.grad(found.sin().sum(), leaves)


@needs_it
def test_gradients_are_those_of_torchs_linear_layer(taken):
    parts = drawn(3, 100, 90), drawn(110, 90, seed=1), drawn(110, seed=2)
    found, ours = gradients(linear, *parts)
    assert len(taken) == 3, "forward, to the inputs and to the weight"
    exact, theirs = gradients(plain, *(part.double() for part in parts))
    torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-4)
    for one, other in zip(ours, theirs, strict=True):
        assert float((one - other).abs().max()) <= 2e-5 * float(other.abs().max())
    with pytest.raises(AssertionError):  # the comparison can fail
        torch.testing.assert_close(found.double() * 1.001, exact, rtol=1e-4, atol=1e-4)


@needs_it
def test_only_what_is_asked_for_is_computed(taken):
    inputs, weight = drawn(200, 200).requires_grad_(), drawn(200, 200, seed=1)
    linear(inputs, weight).sin().sum().backward()
    assert len(taken) == 2, "forward, and to the inputs alone"
    with torch.no_grad():
        assert linear(inputs, weight).grad_fn is None
    assert len(taken) == 3


def test_the_derivative_in_float64():
    parts = (drawn(3, 2, 4).double(), drawn(5, 4, seed=1).double(), drawn(5, seed=2).double())
    assert torch.autograd.gradcheck(products._Product.apply, [part.requires_grad_() for part in parts])


def test_a_processor_without_wide_instructions_keeps_to_torch(monkeypatch):
    monkeypatch.setattr(products, "_QUICK", False)
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", None)
    inputs, weight = drawn(200, 200), drawn(200, 200, seed=1)
    assert torch.equal(product(inputs, weight), plain(inputs, weight))


@pytest.mark.parametrize(
    ("capability", "name", "quick"),
    [
        ("AVX2", "AMD EPYC", False),
        ("AVX512", "AMD EPYC", HAS_IT),
        ("AVX512", "Intel(R) Xeon(R) Processor", False),
        ("DEFAULT", "Apple M4", False),
    ],
)
def test_what_a_processor_must_have(capability, name, quick, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(products, "processor", lambda: name)
    assert products.is_quick() is quick
