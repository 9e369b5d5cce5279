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
    monkeypatch.setattr(heads, "_HELD", at_once)
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


# Low-rank heads: a matrix plus a product of two thin ones


def _thin(n=7, d=5, v=11, r=2, *, seed=0, dtype=torch.float64, grads=True):
    """Hidden states, weight, bias, up, down, targets."""
    hidden, weight, bias, targets = _case(n, d, v, seed=seed, dtype=dtype, grads=grads)
    generator = torch.Generator().manual_seed(seed + 100)
    thin = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in ((v, r), (r, d))]
    return hidden, weight, bias, *(part.requires_grad_(grads) for part in thin), targets


@HOW
@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("biased", [True, False])
def test_low_rank_heads_equal_the_summed_matrix_in_value_and_gradient(scale, cap, chunk, biased):
    hidden, weight, bias, up, down, targets = _thin()
    bias = bias if biased else None
    inputs = [part for part in (hidden, weight, bias, up, down) if part is not None]
    cotangent = torch.linspace(-1, 2, len(targets), dtype=torch.float64)
    results = []
    for made in (
        projected_logps(hidden, Head(weight, bias, up, down, scale=scale, cap=cap), targets, chunk=chunk),
        _plain(hidden, weight + up @ down, bias, targets, scale=scale, cap=cap),
    ):
        results.append([made, *torch.autograd.grad(made, inputs, cotangent)])
    for ours, plain in zip(*results, strict=True):
        assert_close(ours.detach(), plain.detach(), tolerance=1e-12)
    with pytest.raises(AssertionError):  # planted: without the thin product
        assert_close(
            _plain(hidden, weight, bias, targets, scale=scale, cap=cap).detach(), results[0][0].detach(), tolerance=1e-3
        )


@HOW
@pytest.mark.parametrize("rank", [1, 3])
def test_gradients_of_low_rank_heads_are_the_derivative(scale, cap, rank):
    *inputs, targets = _thin(n=3, d=2, v=4, r=rank)

    def function(hidden, weight, bias, up, down):
        return projected_logps(hidden, Head(weight, bias, up, down, scale=scale, cap=cap), targets, chunk=2)

    assert torch.autograd.gradcheck(function, inputs)


def test_the_derivative_check_rejects_a_thin_matrix_that_is_not_heard(monkeypatch):
    *inputs, targets = _thin(n=3, d=2, v=4)
    plain = heads._add_to_head

    def deaf(found, *given):
        plain([*found[:3], None], *given)

    def function(hidden, weight, bias, up, down):
        return projected_logps(hidden, Head(weight, bias, up, down), targets)

    monkeypatch.setattr(heads, "_add_to_head", deaf)
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(function, inputs)


@pytest.mark.parametrize("asked", [(3,), (4,), (3, 4), (0, 4), (1, 3)])
def test_only_what_is_asked_for_gets_a_gradient(asked):
    """As in training: the base's matrix is frozen, up and down are not."""
    *parts, targets = _thin(grads=False)
    for index in asked:
        parts[index].requires_grad_()
    hidden, weight, bias, up, down = parts
    wanted = [parts[index] for index in asked]
    found = torch.autograd.grad(projected_logps(hidden, Head(weight, bias, up, down), targets, chunk=3).sum(), wanted)
    expected = torch.autograd.grad(_plain(hidden, weight + up @ down, bias, targets, scale=1.0, cap=None).sum(), wanted)
    for ours, plain in zip(found, expected, strict=True):
        assert_close(ours, plain, tolerance=1e-12)
    assert all(part.grad is None for part in parts)


@HOW
@pytest.mark.parametrize("at_once", [1, 7 * 4, 2**25])
def test_blocks_of_low_rank_heads_are_the_derivative_in_raw_logits(monkeypatch, scale, cap, at_once):
    hidden, weight, bias, up, down, targets = _thin(grads=False)
    raw = torch.nn.functional.linear(hidden, weight + up @ down, bias).requires_grad_()
    logits = scale * raw if cap is None else cap * torch.tanh(scale * raw / cap)
    (expected,) = torch.autograd.grad(token_logps(logits, targets).sum(), raw)
    monkeypatch.setattr(heads, "_HELD", at_once)
    blocks, found = _blocks(hidden, weight, targets, bias=bias, up=up, down=down, scale=scale, cap=cap)
    assert_close(found, expected, tolerance=1e-12)
    assert len(blocks) == {1: 11, 28: 3, 2**25: 1}[at_once]
    _, wrong = _blocks(hidden, weight, targets, bias=bias, scale=scale, cap=cap)
    with pytest.raises(AssertionError):  # planted: without the thin product
        assert_close(wrong, expected, tolerance=1e-3)


def test_blocks_of_low_rank_heads_add_up_to_the_gradients_of_the_projection():
    hidden, weight, bias, up, down, targets = _thin()
    given_slopes = torch.linspace(-1, 2, len(targets), dtype=torch.float64)
    made = projected_logps(hidden, Head(weight, bias, up, down, scale=2.0, cap=1.5), targets, chunk=3)
    to_hidden, to_up, to_down = torch.autograd.grad(made, (hidden, up, down), given_slopes)
    with torch.no_grad():
        _, part = _blocks(hidden, weight, targets, bias=bias, up=up, down=down, scale=2.0, cap=1.5)
        part = given_slopes[:, None] * part
        assert_close(part @ (weight + up @ down), to_hidden, tolerance=1e-12)
        assert_close(part.T @ (hidden @ down.T), to_up, tolerance=1e-12)
        assert_close((part @ up).T @ hidden, to_down, tolerance=1e-12)


def test_a_thin_product_that_is_zero_changes_no_bit():
    hidden, weight, bias, _, down, targets = _thin(grads=False)
    copy = Head(weight, bias, torch.zeros(11, 2, dtype=torch.float64), down)
    assert torch.equal(projected_logps(hidden, copy, targets), projected_logps(hidden, Head(weight, bias), targets))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_low_rank_heads_of_half_precision_are_summed_in_float32(dtype):
    hidden, weight, _, up, down, targets = _thin(v=300, dtype=dtype)
    found = projected_logps(hidden, Head(weight, None, up, down), targets, chunk=3)
    assert found.dtype == torch.float32
    raw = torch.addmm(hidden @ weight.T, hidden @ down.T, up.T).float()
    assert_close(found.detach(), token_logps(raw, targets).detach(), tolerance=1e-5)
    assert [part.dtype for part in torch.autograd.grad(found.sum(), (hidden, up, down))] == [dtype] * 3


def test_parts_of_a_head_move_together():
    *parts, _ = _thin(grads=True)
    _, weight, bias, up, down = parts
    head = Head(weight, bias, up, down, scale=2.0, cap=1.5)
    block = head.rows(slice(2, 5))
    assert [part.shape[0] for part in block[:4]] == [3, 3, 3, 2]
    assert block.down is down
    assert {part.dtype for part in head.to(torch.float32)[:4]} == {torch.float32}
    assert not any(part.requires_grad for part in head.detach()[:4])
    for made in (block, head.to(torch.float32), head.detach()):
        assert (made.scale, made.cap) == (2.0, 1.5)
