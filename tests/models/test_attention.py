"""Attention by products: what torch's gives, forward and back, and no more rounding than its fused kernel has."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from paretokit.models.attention import attend, attends


def drawn(rows, heads, width, size, *, shared=1, dtype=torch.float64, seed=0):
    """Queries, keys, values as transformers hands them over, `shared` heads of queries for each of keys; and a cotangent."""
    generator = torch.Generator().manual_seed(seed)
    counts = (heads * shared, heads, heads, heads * shared)
    return [torch.randn(rows, width, count, size, generator=generator).to(dtype).transpose(1, 2) for count in counts]


def hiding(rows, width, dtype, *, seed=0):
    """A causal mask that hides some earlier positions as well, another for each row."""
    hidden = torch.rand(rows, 1, width, width, generator=torch.Generator().manual_seed(seed)) < 0.3
    hidden |= torch.ones(width, width, dtype=torch.bool).triu(1)
    hidden[..., torch.arange(width), torch.arange(width)] = False
    return torch.zeros(hidden.shape, dtype=dtype).masked_fill(hidden, torch.finfo(dtype).min)


def with_gradients(function, parts, **how):
    *leaves, cotangent = parts
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    found = function(*leaves, **how)
    return [found.detach(), *torch.autograd.grad(found, leaves, cotangent)]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(1, 5),
    st.booleans(), st.sampled_from([None, 0.3]),
)  # fmt: skip
def test_equal_to_torchs_in_float64(rows, heads, shared, width, size, causal, scale):
    parts = drawn(rows, heads, width, size, shared=shared)
    how = {"is_causal": True} if causal else {"attn_mask": hiding(rows, width, torch.float64)}
    how |= {"scale": scale, "enable_gqa": shared > 1}
    assert attends(*parts[:3], **how)
    for ours, theirs in zip(
        with_gradients(attend, parts, **how),
        with_gradients(scaled_dot_product_attention, parts, **how),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_the_derivative():
    queries, keys, values, _ = (part.requires_grad_() for part in drawn(1, 2, 4, 3))
    mask = hiding(1, 4, torch.float64)
    assert torch.autograd.gradcheck(lambda *given: attend(*given, attn_mask=mask), (queries, keys, values))


def errors(function, dtype):
    parts = drawn(4, 3, 60, 16, dtype=dtype)
    mask = hiding(4, 60, dtype)
    doubled = [part.double() for part in parts]
    exact = with_gradients(scaled_dot_product_attention, doubled, attn_mask=mask.double().clamp(min=-1e30))
    found = with_gradients(function, parts, attn_mask=mask)
    return [float((one.double() - two).norm() / two.norm()) for one, two in zip(found, exact, strict=True)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_rounds_no_more_than_the_fused_kernel(dtype):
    ours, theirs = errors(attend, dtype), errors(scaled_dot_product_attention, dtype)
    # the probabilities are rounded before they meet the values, which fused kernels need not do for rows as short as these
    assert all(0 < one <= 1.25 * two for one, two in zip(ours, theirs, strict=True))
    coarse = errors(lambda *given, **how: attend(*(part.bfloat16().to(dtype) for part in given), **how), dtype)
    assert dtype == torch.bfloat16 or min(coarse) > 1.25 * max(theirs)  # the bound can be missed


def test_what_it_does_not_do_is_left_to_torch():
    queries, keys, values, _ = drawn(1, 2, 3, 4)
    mask = hiding(1, 3, torch.float64)
    assert attends(queries, keys, values, attn_mask=mask)
    assert attends(queries, keys, values, is_causal=True)
    assert not attends(queries, keys, values)  # everything is seen: nothing that a language model asks for
    assert not attends(queries, keys, values, attn_mask=mask == 0)
    assert not attends(queries, keys, values, attn_mask=mask, is_causal=True)
    assert not attends(queries, keys, values, attn_mask=mask.repeat(1, 2, 1, 1))
    assert not attends(queries, keys, values, attn_mask=mask.clone().requires_grad_())
    assert not attends(queries, keys, values, attn_mask=mask, dropout_p=0.1)
    assert not attends(queries, keys[:, :1], values[:, :1], attn_mask=mask)
    assert attends(queries, keys[:, :1], values[:, :1], attn_mask=mask, enable_gqa=True)
    assert not attends(queries, keys.repeat(1, 2, 1, 1), values.repeat(1, 2, 1, 1), attn_mask=mask, enable_gqa=True)
    assert not attends(queries[:, :, -1:], keys, values, attn_mask=mask[:, :, -1:])
