"""Attention over short rows on a CPU by plain matrix products, forward and back; differentiable once.

Of torch's two ways there, the fused kernel is slow in half precision and the plain one widens all six products to float32,
which takes four times as long as half precision does. What a fused kernel keeps in float32 stays so here: the scores, their
softmax, and the gradient of the softmax; probabilities and the scores' gradient are rounded where they meet values, queries
and keys. Imports: torch, `maths.logps`, `shapes`.
"""

from typing import Any

import torch

from paretokit.maths.logps import wide
from paretokit.shapes import Float, Tensor

__all__ = ["attend", "attends"]


def attends(queries: Tensor, keys: Tensor, values: Tensor, *, attn_mask: Tensor | None = None, **how: Any) -> bool:
    """Return whether a call of torch's `scaled_dot_product_attention` asks for what `attend` does: a mask that is added, the
    same for all heads, or the causal one; no dropout, and as many keys as queries."""
    if queries.ndim != 4 or keys.shape != values.shape or queries.shape[2:] != keys.shape[2:] or how.get("dropout_p"):
        return False
    if queries.shape[1] != keys.shape[1] and not (how.get("enable_gqa") and queries.shape[1] % keys.shape[1] == 0):
        return False
    causal = bool(how.get("is_causal"))
    if attn_mask is None:
        return causal
    alike = attn_mask.ndim == 4 and attn_mask.shape[1] == 1  # for all heads
    return alike and attn_mask.is_floating_point() and not attn_mask.requires_grad and not causal


def attend(
    queries: Float[Tensor, "B H T D"],
    keys: Float[Tensor, "B K T D"],
    values: Float[Tensor, "B K T D"],
    *,
    attn_mask: Float[Tensor, "B 1 T T"] | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Float[Tensor, "B H T D"]:
    """Return softmax(scale queries keys' + mask) values, for calls that `attends` takes; the arguments are torch's.

    H is a multiple of K, the heads of keys and values; as many heads of queries follow each other for each of them. The mask
    must be finite: the lowest number, not minus infinity, where a position is not seen.

    >>> one = torch.ones(1, 1, 2, 1)
    >>> attend(one, one, torch.tensor([1.0, 3.0]).view(1, 1, 2, 1), is_causal=True).flatten()
    tensor([1., 2.])
    """
    assert not dropout_p, "see attends"
    if attn_mask is None:
        lowest = queries.new_full((1, 1, *queries.shape[2:3] * 2), torch.finfo(queries.dtype).min)
        attn_mask = lowest.triu(diagonal=1)
    return _Attend.apply(queries, keys, values, attn_mask, queries.shape[-1] ** -0.5 if scale is None else scale)


class _Attend(torch.autograd.Function):
    """Heads of queries that share keys and values stand below each other, as one head of more positions."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float) -> Tensor:
        precise, (rows, heads, width, size) = wide(queries.dtype), queries.shape
        below = queries.reshape(rows, keys.shape[1], -1, size)
        scores = (below.to(precise) * scale) @ keys.to(precise).mT
        scores.view(rows, -1, heads // keys.shape[1], width, width).add_(mask[:, :, None])
        shares = torch.softmax(scores, dim=-1)
        ctx.save_for_backward(below, keys, values, shares)
        ctx.scale = scale
        return (shares.to(values.dtype) @ values).view(queries.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        below, keys, values, shares = ctx.saved_tensors
        gradient = gradients[0].reshape(below.shape)
        to_values = shares.to(values.dtype).mT @ gradient
        to_shares = gradient.to(shares.dtype) @ values.to(shares.dtype).mT
        slopes = torch.ops.aten._softmax_backward_data(to_shares, shares, -1, shares.dtype)
        to_scores = slopes.mul_(ctx.scale).to(below.dtype)
        to_queries = (to_scores @ keys).view(gradients[0].shape)
        return to_queries, to_scores.mT @ below, to_values, None, None
