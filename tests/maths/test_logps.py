"""Token log-probabilities and their sums."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.maths_asserts import assert_close

from paretokit.maths.logps import sum_by_sequence, token_logps

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
