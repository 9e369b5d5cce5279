"""Token log-probabilities and their sums."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.maths_asserts import assert_close

from paretokit.maths import logps
from paretokit.maths.logps import projected, projected_logps, sum_by_sequence, token_logps, vocabulary_blocks

quick = settings(deadline=None, max_examples=40, derandomize=True)


def _logits(n, v, *, seed, dtype=torch.float64):
    return 5 * torch.randn(n, v, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@quick
@given(st.integers(0, 5), st.integers(1, 7), st.integers(0, 10**6))
def test_slow_twin_and_total_probability(n, v, seed):
    logits = _logits(n, v, seed=seed)
    every = torch.stack([token_logps(logits, torch.full((n,), target)) for target in range(v)], dim=1)
    expected = [[x - math.log(sum(math.exp(y) for y in row)) for x in row] for row in logits.tolist()]
    assert_close(every, torch.tensor(expected, dtype=torch.float64).reshape(n, v), tolerance=1e-12)
    assert_close(every.exp().sum(dim=1), torch.ones(n), tolerance=1e-12)


def test_closed_forms():
    assert_close(token_logps(torch.zeros(2, 4), torch.tensor([0, 3])), [-math.log(4)] * 2, tolerance=1e-6)
    assert token_logps(torch.tensor([[3.0]]), torch.tensor([0])).tolist() == [0.0]


def test_shift_of_the_logits_changes_nothing():
    logits, targets = _logits(3, 5, seed=0), torch.tensor([4, 0, 2])
    assert_close(token_logps(logits + 100, targets), token_logps(logits, targets), tolerance=1e-12)


def test_gradient_is_one_hot_minus_softmax():
    logits, targets = _logits(3, 5, seed=1).requires_grad_(), torch.tensor([4, 0, 2])
    token_logps(logits, targets).sum().backward()
    expected = torch.nn.functional.one_hot(targets, 5) - logits.detach().softmax(dim=1)
    assert_close(logits.grad, expected, tolerance=1e-12)


@pytest.mark.parametrize(("given_dtype", "expected"), [("float64", "float64"), ("float32", "float32"), ("bfloat16", "float32")])
def test_precision_is_float32_or_better(given_dtype, expected):
    logits = _logits(4, 50, seed=2, dtype=getattr(torch, given_dtype))
    found = token_logps(logits, torch.arange(4))
    assert found.dtype == getattr(torch, expected)
    assert_close(found, token_logps(logits.double(), torch.arange(4)), tolerance=1e-5)
    assert (
        sum_by_sequence(found.to(getattr(torch, given_dtype)), torch.zeros(4, dtype=torch.int64), count=1).dtype == found.dtype
    )


def test_no_target_is_ignored():
    with pytest.raises((IndexError, RuntimeError)):
        token_logps(torch.zeros(1, 3), torch.tensor([-100]))


@quick
@given(st.lists(st.integers(0, 3), max_size=12), st.integers(0, 10**6))
def test_sums_by_sequence_are_those_of_a_loop(sequence, seed):
    values = -torch.rand(len(sequence), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = sum_by_sequence(values, torch.tensor(sequence, dtype=torch.int64), count=4)
    expected = [sum(v for v, s in zip(values.tolist(), sequence, strict=True) if s == index) for index in range(4)]
    assert_close(found, expected, tolerance=1e-12)


def test_sums_send_the_gradient_to_every_token():
    values = torch.tensor([-1.0, -2.0, -3.0], requires_grad=True)
    sums = sum_by_sequence(values, torch.tensor([1, 0, 1]), count=2)
    (sums * torch.tensor([10.0, 100.0])).sum().backward()
    assert values.grad.tolist() == [100, 10, 100]


def test_frozen_value():
    found = token_logps(torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64), torch.tensor([2]))
    assert found.item() == pytest.approx(-0.4076059644443804, abs=1e-15)


# Through the output projection, in chunks


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
        projected_logps(hidden, weight, targets, bias=bias, scale=scale, cap=cap, chunk=chunk),
        _plain(hidden, weight, bias, targets, scale=scale, cap=cap),
    ):
        results.append([made, *torch.autograd.grad(made, inputs, cotangent)])
    for ours, plain in zip(*results, strict=True):
        assert_close(ours.detach(), plain.detach(), tolerance=1e-12)


@HOW
def test_gradients_are_the_derivative(scale, cap):
    hidden, weight, bias, targets = _case(n=3, d=2, v=4)

    def function(hidden, weight, bias):
        return projected_logps(hidden, weight, targets, bias=bias, scale=scale, cap=cap, chunk=2)

    assert torch.autograd.gradcheck(function, (hidden, weight, bias))


def test_a_frozen_weight_gets_no_gradient_and_costs_none(monkeypatch):
    hidden, weight, _, targets = _case()
    calls = []
    made = projected_logps(hidden, weight.detach(), targets, chunk=2)
    monkeypatch.setattr(logps, "_logits", lambda *given: calls.append(given))
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
    assert _kept(lambda: projected_logps(hidden, weight, targets, chunk=8)) == weight.numel()
    assert _kept(lambda: token_logps(hidden @ weight.T, targets)) == 40 * 50  # planted: the plain way keeps them


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_half_precision_states_are_summed_in_float32(dtype):
    hidden, weight, _, targets = _case(v=300, dtype=dtype)
    found = projected_logps(hidden, weight, targets, chunk=3)
    assert found.dtype == torch.float32
    expected = token_logps((hidden @ weight.T).float(), targets)
    assert_close(found.detach(), expected.detach(), tolerance=1e-5)
    (gradient,) = torch.autograd.grad(found.sum(), hidden)
    assert gradient.dtype == dtype


def test_nothing_to_score_is_nothing():
    hidden, weight, _, targets = _case(n=0)
    assert projected_logps(hidden, weight, targets).shape == (0,)


# Its derivative with respect to raw logits, in blocks of the vocabulary


def _blocks(hidden, weight, targets, **how):
    """The blocks' slices, and their parts side by side."""
    normaliser = projected(hidden, weight, targets, **how)[1]
    blocks, parts = zip(*vocabulary_blocks(hidden, weight, targets, normaliser, **how), strict=True)
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
    monkeypatch.setattr(logps, "_AT_ONCE", at_once)
    blocks, found = _blocks(hidden, weight, targets, bias=bias, scale=scale, cap=cap)
    assert_close(found, expected, tolerance=1e-12)
    assert [n for block in blocks for n in range(11)[block]] == list(range(11))
    assert len(blocks) == {1: 11, 28: 3, 77: 1, 2**25: 1}[at_once]


def test_blocks_tell_a_wrong_target_and_a_wrong_normaliser():
    hidden, weight, _, targets = _case(grads=False)
    normaliser = projected(hidden, weight, targets)[1]
    [(_, right)] = vocabulary_blocks(hidden, weight, targets, normaliser)
    for planted in ((targets.flip(0), normaliser), (targets, normaliser + 0.1)):
        [(_, wrong)] = vocabulary_blocks(hidden, weight, *planted)
        with pytest.raises(AssertionError):
            assert_close(wrong, right, tolerance=1e-3)


def test_blocks_add_up_to_the_gradients_of_the_projection():
    hidden, weight, bias, targets = _case()
    given_slopes = torch.linspace(-1, 2, len(targets), dtype=torch.float64)
    made = projected_logps(hidden, weight, targets, bias=bias, scale=2.0, cap=1.5, chunk=3)
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
    found, normaliser = projected(hidden, weight, targets, bias=bias, scale=scale, cap=cap, chunk=chunk)
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
    normaliser = projected(hidden, weight, targets)[1]
    assert normaliser.dtype == torch.float32
    [(_, found)] = vocabulary_blocks(hidden, weight, targets, normaliser)
    assert found.dtype == torch.float32
    expected = torch.nn.functional.one_hot(targets, 300) - (hidden @ weight.T).double().softmax(dim=1)
    assert_close(found, expected, tolerance=1e-5)


def test_blocks_of_nothing_are_empty():
    hidden, weight, _, targets = _case(n=0, grads=False)
    assert _blocks(hidden, weight, targets)[1].shape == (0, 11)
