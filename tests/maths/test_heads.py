"""Log-probabilities through an output projection, in chunks, and their derivative in blocks of the vocabulary."""

import math

import pytest
import torch
from support.maths_asserts import assert_close

from paretokit.maths import heads
from paretokit.maths.heads import Head, projected, projected_logps, vocabulary_blocks
from paretokit.maths.logps import token_logps


def _case(n=7, d=5, v=11, *, seed=0, dtype=torch.float64, grads=True):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((n, d), (v, d), (v,))
    parts = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(grads) for shape in shapes]
    return *parts, torch.randint(0, v, (n,), generator=generator)


def _plain(hidden, weight, bias, targets, *, scale, cap):
    logits = scale * (hidden @ weight.T + (0 if bias is None else bias))
    return token_logps(logits if cap is None else cap * torch.tanh(logits / cap), targets)


HOW = pytest.mark.parametrize(("scale", "cap"), [(1.0, None), (0.25, None), (1.0, 3.0), (2.0, 1.5)])


@HOW
@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
@pytest.mark.parametrize("biased", [True, False])
def test_chunks_equal_plain_logits_in_value_and_gradient(scale, cap, chunk, biased):
    hidden, weight, bias, targets = _case()
    bias = bias if biased else None
    inputs = [part for part in (hidden, weight, bias) if part is not None]
    cotangent = torch.linspace(-1, 2, len(targets), dtype=torch.float64)
    results = []
    for made in (
        projected_logps(hidden, Head(weight, bias, scale=scale, cap=cap), targets, chunk=chunk),
        _plain(hidden, weight, bias, targets, scale=scale, cap=cap),
    ):
        results.append([made, *torch.autograd.grad(made, inputs, cotangent)])
    for ours, plain in zip(*results, strict=True):
        assert_close(ours.detach(), plain.detach(), tolerance=1e-12)


@HOW
def test_gradients_are_the_derivative(scale, cap):
    hidden, weight, bias, targets = _case(n=3, d=2, v=4)

    def function(hidden, weight, bias):
        return projected_logps(hidden, Head(weight, bias, scale=scale, cap=cap), targets, chunk=2)

    assert torch.autograd.gradcheck(function, (hidden, weight, bias))


def test_a_frozen_weight_gets_no_gradient_and_costs_none(monkeypatch):
    hidden, weight, _, targets = _case()
    calls = []
    made = projected_logps(hidden, Head(weight.detach()), targets, chunk=2)
    monkeypatch.setattr(heads, "_logits", lambda *given: calls.append(given))
    made.sum().backward()
    assert hidden.grad is not None
    assert calls == []  # the logits are not made again


def _kept(function) -> int:
    """The size of the largest tensor that is kept for the backward pass."""
    sizes = [0]
    with torch.autograd.graph.saved_tensors_hooks(lambda part: sizes.append(part.numel()) or part, lambda part: part):
        function()
    return max(sizes)


def test_no_logits_are_kept():
    hidden, weight, _, targets = _case(n=40, d=3, v=50, grads=False)
    hidden.requires_grad_()
    assert _kept(lambda: projected_logps(hidden, Head(weight), targets, chunk=8)) == weight.numel()
    assert _kept(lambda: token_logps(hidden @ weight.T, targets)) == 40 * 50  # planted: the plain way keeps them


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_half_precision_states_are_summed_in_float32(dtype):
    hidden, weight, _, targets = _case(v=300, dtype=dtype)
    found = projected_logps(hidden, Head(weight), targets, chunk=3)
    assert found.dtype == torch.float32
    expected = token_logps((hidden @ weight.T).float(), targets)
    assert_close(found.detach(), expected.detach(), tolerance=1e-5)
    (gradient,) = torch.autograd.grad(found.sum(), hidden)
    assert gradient.dtype == dtype


def test_nothing_to_score_is_nothing():
    hidden, weight, _, targets = _case(n=0)
    assert projected_logps(hidden, Head(weight), targets).shape == (0,)


# Its derivative with respect to raw logits, in blocks of the vocabulary


def _blocks(hidden, weight, targets, **how):
    """The blocks' slices, and their parts side by side."""
    head = Head(weight, **how)
    normaliser = projected(hidden, head, targets)[1]
    blocks, parts = zip(*vocabulary_blocks(hidden, head, targets, normaliser), strict=True)
    return blocks, torch.cat(parts, dim=1)


@HOW
@pytest.mark.parametrize("at_once", [1, 7 * 4, 7 * 11, 2**25])
@pytest.mark.parametrize("biased", [True, False])
def test_blocks_are_the_derivative_in_raw_logits(monkeypatch, scale, cap, at_once, biased):
    hidden, weight, bias, targets = _case(grads=False)
    bias = bias if biased else None
    raw = torch.nn.functional.linear(hidden, weight, bias).requires_grad_()
    logits = scale * raw if cap is None else cap * torch.tanh(scale * raw / cap)
    (expected,) = torch.autograd.grad(token_logps(logits, targets).sum(), raw)
    monkeypatch.setattr(heads, "_AT_ONCE", at_once)
    blocks, found = _blocks(hidden, weight, targets, bias=bias, scale=scale, cap=cap)
    assert_close(found, expected, tolerance=1e-12)
    assert [n for block in blocks for n in range(11)[block]] == list(range(11))
    assert len(blocks) == {1: 11, 28: 3, 77: 1, 2**25: 1}[at_once]


def test_blocks_tell_a_wrong_target_and_a_wrong_normaliser():
    hidden, weight, _, targets = _case(grads=False)
    normaliser = projected(hidden, Head(weight), targets)[1]
    [(_, right)] = vocabulary_blocks(hidden, Head(weight), targets, normaliser)
    for planted in ((targets.flip(0), normaliser), (targets, normaliser + 0.1)):
        [(_, wrong)] = vocabulary_blocks(hidden, Head(weight), *planted)
        with pytest.raises(AssertionError):
            assert_close(wrong, right, tolerance=1e-3)


def test_blocks_add_up_to_the_gradients_of_the_projection():
    hidden, weight, bias, targets = _case()
    given_slopes = torch.linspace(-1, 2, len(targets), dtype=torch.float64)
    made = projected_logps(hidden, Head(weight, bias, scale=2.0, cap=1.5), targets, chunk=3)
    to_hidden, to_weight, to_bias = torch.autograd.grad(made, (hidden, weight, bias), given_slopes)
    with torch.no_grad():
        part = given_slopes[:, None] * _blocks(hidden, weight, targets, bias=bias, scale=2.0, cap=1.5)[1]
        assert_close(part @ weight, to_hidden, tolerance=1e-12)
        assert_close(part.T @ hidden, to_weight, tolerance=1e-12)
        assert_close(part.sum(dim=0), to_bias, tolerance=1e-12)


@HOW
@pytest.mark.parametrize("chunk", [2, None])
def test_normaliser_is_the_log_sum_of_exponentials_and_carries_no_gradient(scale, cap, chunk):
    hidden, weight, bias, targets = _case()
    found, normaliser = projected(hidden, Head(weight, bias, scale=scale, cap=cap), targets, chunk=chunk)
    logits = scale * (hidden @ weight.T + bias)
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    assert_close(normaliser, torch.logsumexp(logits, dim=1).detach(), tolerance=1e-12)
    assert_close(found.detach(), token_logps(logits, targets).detach(), tolerance=1e-12)
    assert (found.requires_grad, normaliser.requires_grad) == (True, False)


@pytest.mark.parametrize(("cap", "slope"), [(None, 2.0), (1.0, 2.0 * (1 - math.tanh(2.0) ** 2))])
def test_blocks_of_equal_logits_in_closed_form(cap, slope):
    hidden, weight = torch.ones(1, 1, dtype=torch.float64), torch.ones(4, 1, dtype=torch.float64)
    _, found = _blocks(hidden, weight, torch.tensor([2]), scale=2.0, cap=cap)
    assert_close(found, [[-slope / 4, -slope / 4, 3 * slope / 4, -slope / 4]], tolerance=1e-14)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_blocks_of_half_precision_states_are_float32(dtype):
    hidden, weight, _, targets = _case(v=300, dtype=dtype, grads=False)
    normaliser = projected(hidden, Head(weight), targets)[1]
    assert normaliser.dtype == torch.float32
    [(_, found)] = vocabulary_blocks(hidden, Head(weight), targets, normaliser)
    assert found.dtype == torch.float32
    expected = torch.nn.functional.one_hot(targets, 300) - (hidden @ weight.T).double().softmax(dim=1)
    assert_close(found, expected, tolerance=1e-5)


def test_blocks_of_nothing_are_empty():
    hidden, weight, _, targets = _case(n=0, grads=False)
    assert _blocks(hidden, weight, targets)[1].shape == (0, 11)
