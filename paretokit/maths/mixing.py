"""Mixing the heads of several objectives: the logits of any weighting, by one matrix for all rows or by weights of each row.

For weights that sum to one, softmax(sum_i w_i z_i) is the normalised geometric mixture prod_i pi_i^(w_i) of the heads'
policies (multi-objective decoding, arXiv 2406.18853), not the arithmetic one sum_i w_i pi_i. Since z_i = W_i h, the mixture
is one ordinary head with the matrix sum_i w_i W_i. A soft-cap is applied once, after mixing, as a folded head does; mixing
capped logits would be another mixture. Imports: torch, `shapes`, `heads`.
"""

from collections.abc import Sequence

import torch

from paretokit.maths.heads import Head
from paretokit.shapes import Float, Tensor

__all__ = ["fold", "fold_heads", "mix"]


def fold_heads(heads: Float[Tensor, "H V D"], weights: Float[Tensor, " H"]) -> Float[Tensor, "V D"]:
    """Return sum_i weights_i heads_i; a bias, [H, V], folds likewise. Source: MAHALO (arXiv 2510.01167), section 3.

    >>> fold_heads(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), torch.tensor([0.25, 0.75]))
    tensor([[0.2500, 0.7500]])
    """
    return torch.tensordot(weights.to(heads), heads, dims=1)


def fold(heads: Sequence[Head], weights: Float[Tensor, " H"]) -> Head:
    """Return the mixture of heads as one head with a matrix of its own; `weights` sum to one.

    Heads are all full or all low-rank on the same matrix, with equal scale and cap. Folding low-rank heads is one product of
    [V, H r] and [H r, D].

    >>> first, second = (Head(torch.zeros(1, 2), up=torch.ones(1, 1), down=down) for down in torch.eye(2)[:, None])
    >>> fold([first, second], torch.tensor([0.25, 0.75])).weight
    tensor([[0.2500, 0.7500]])
    """
    plain = heads[0]
    bias = None if plain.bias is None else sum(w * _there(head.bias) for w, head in zip(weights.tolist(), heads, strict=True))
    if plain.up is None:
        weight = torch.zeros_like(plain.weight)
        for part, head in zip(weights.tolist(), heads, strict=True):
            weight.add_(head.weight, alpha=part)
    else:
        up = torch.cat([w * _there(head.up) for w, head in zip(weights.tolist(), heads, strict=True)], dim=1)
        weight = torch.addmm(plain.weight, up, torch.cat([_there(head.down) for head in heads]))
    return Head(weight, bias, scale=plain.scale, cap=plain.cap)  # type: ignore[arg-type] # a sum of tensors is one


def mix(hidden: Float[Tensor, "N D"], heads: Sequence[Head], weights: Float[Tensor, "N H"]) -> Float[Tensor, "N V"]:
    """Return sum_i weights_ni (W_i hidden_n + bias_i) for each row: raw logits, before scale and cap.

    Rows of `weights` sum to one. Heads are as `fold` has them; low-rank ones cost one product with their common matrix and
    one with all their thin ones.

    >>> heads = [Head(torch.zeros(1, 2), up=torch.ones(1, 1), down=down) for down in torch.eye(2)[:, None]]
    >>> mix(torch.tensor([[8.0, 4.0]] * 2), heads, torch.tensor([[1.0, 0.0], [0.25, 0.75]]))
    tensor([[8.],
            [5.]])
    """
    weights = weights.to(hidden)
    plain = heads[0]
    if plain.up is None:
        spread = (weights[:, :, None] * hidden[:, None, :]).flatten(1)
        raw = spread @ torch.cat([head.weight for head in heads], dim=1).T
    else:
        rank = plain.up.shape[1]
        down = hidden @ torch.cat([_there(head.down) for head in heads]).T
        spread = down * weights.repeat_interleave(rank, dim=1)
        raw = torch.addmm(hidden @ plain.weight.T, spread, torch.cat([_there(head.up) for head in heads], dim=1).T)
    return raw if plain.bias is None else raw + weights @ torch.stack([_there(head.bias) for head in heads])


def _there(part: Tensor | None) -> Tensor:
    assert part is not None, "heads of a policy are of one kind"
    return part
