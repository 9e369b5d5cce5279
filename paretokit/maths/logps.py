"""Log-probabilities of scored tokens and their sums over sequences, in nats.

N scored tokens are the rows of a logit matrix; which of S sequences each belongs to is a vector of indices, so a ragged
batch needs neither padding nor a mask. Imports: torch, `shapes`.
"""

from collections.abc import Iterator
from typing import Any

import torch

from paretokit.shapes import Float, Int, Tensor

__all__ = ["projected", "projected_logps", "sum_by_sequence", "token_logps", "vocabulary_blocks"]

_AT_ONCE = 2**24  # logits that exist at a time


def token_logps(logits: Float[Tensor, "N V"], targets: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Return log softmax(logits)[n, targets[n]] for each n, in nats, <= 0; differentiable in `logits`.

    Half-precision logits are widened before the log-sum-exp: the result is float32, or float64 where the logits are.
    A target outside 0..V-1 is torch's index error: no index is taken to mean "ignore".

    >>> token_logps(torch.tensor([[0.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1]))
    tensor([-0.6931, -0.3133])
    """
    return _chosen(torch.log_softmax(logits.to(_wide(logits.dtype)), dim=-1), targets)


def projected_logps(
    hidden: Float[Tensor, "N D"],
    weight: Float[Tensor, "V D"],
    targets: Int[Tensor, " N"],
    *,
    bias: Float[Tensor, " V"] | None = None,
    scale: float = 1.0,
    cap: float | None = None,
    chunk: int | None = None,
) -> Float[Tensor, " N"]:
    """Return `token_logps(logits, targets)` for logits = scale (hidden weight' + bias), without keeping any logits.

    With `cap` the logits are cap tanh(logits / cap) (soft-capping, Gemma 2, arXiv 2408.00118, section 2). `chunk` rows of
    logits exist at a time (default: 64 MB of them in float32). Differentiable in hidden, weight and bias, once. Each
    log-probability depends on its own hidden state alone, so its gradient there is found in the forward pass, where the
    logits are, and only scaled in the backward one; that of the weight makes the logits again, where it is asked for.

    >>> hidden, weight = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    >>> projected_logps(hidden, weight, torch.tensor([1]))
    tensor([-0.3133])
    """
    return projected(hidden, weight, targets, bias=bias, scale=scale, cap=cap, chunk=chunk)[0]


def projected(
    hidden: Float[Tensor, "N D"],
    weight: Float[Tensor, "V D"],
    targets: Int[Tensor, " N"],
    *,
    bias: Float[Tensor, " V"] | None = None,
    scale: float = 1.0,
    cap: float | None = None,
    chunk: int | None = None,
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Return `projected_logps` and the logarithm of the sum of the exponentials of each position's logits; the latter
    carries no gradient. With it logits become probabilities without all of them being there, see `vocabulary_blocks`.
    """
    return _Projected.apply(hidden, weight, bias, targets, scale, cap, chunk or max(1, _AT_ONCE // len(weight)))


def vocabulary_blocks(
    hidden: Float[Tensor, "N D"],
    weight: Float[Tensor, "V D"],
    targets: Int[Tensor, " N"],
    normaliser: Float[Tensor, " N"],
    *,
    bias: Float[Tensor, " V"] | None = None,
    scale: float = 1.0,
    cap: float | None = None,
) -> Iterator[tuple[slice, Float[Tensor, "N v"]]]:
    """Yield, for one block of the vocabulary after another, the derivative of each log-probability with respect to the
    block's raw logits hidden weight' + bias. `normaliser` is what `projected` returned beside the log-probabilities.

    >>> hidden, weight, targets = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1])
    >>> [(block, part)] = vocabulary_blocks(hidden, weight, targets, projected(hidden, weight, targets)[1])
    >>> block, part
    (slice(0, 2, None), tensor([[-0.2689,  0.2689]]))
    """
    size = max(1, _AT_ONCE // max(1, len(hidden)))
    for start in range(0, len(weight), size):
        block = slice(start, min(start + size, len(weight)))
        logits, bend = _logits(hidden, weight[block], None if bias is None else bias[block], scale, cap)
        found = logits.sub_(normaliser[:, None]).exp_()
        inside = (targets >= block.start) & (targets < block.stop)
        column = (targets - block.start).clamp(0, block.stop - block.start - 1)
        found.scatter_add_(1, column[:, None], -inside[:, None].to(found.dtype))
        yield block, (found if bend is None else found.mul_(bend)).mul_(-scale)


class _Projected(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, *how: Any
    ) -> tuple[Tensor, Tensor]:
        chunk = how[2]
        found, normalisers, slopes = [], [], []
        for rows, chosen in zip(hidden.split(chunk), targets.split(chunk), strict=True):
            logits, bend = _logits(rows, weight, bias, *how[:2])
            largest, logit = logits.amax(dim=-1), _chosen(logits, chosen)
            exponentials = logits.sub_(largest[:, None]).exp_()
            total = exponentials.sum(dim=-1)
            found.append((logit - largest) - total.log())
            normalisers.append(largest + total.log())
            if ctx.needs_input_grad[0]:
                cotangent = _less_one_hot(exponentials.div_(total[:, None]), chosen, bend)
                slopes.append((cotangent.to(weight.dtype) @ weight).mul_(-how[0]))
        ctx.how = how
        ctx.save_for_backward(hidden, weight, bias, targets, torch.cat(slopes) if slopes else None)
        normaliser = torch.cat(normalisers)
        ctx.mark_non_differentiable(normaliser)
        return torch.cat(found), normaliser

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, slopes = ctx.saved_tensors
        given = gradients[0][:, None]
        to_hidden = None if slopes is None else (given * slopes).to(hidden.dtype)
        to_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        to_bias = torch.zeros_like(bias) if ctx.needs_input_grad[2] else None
        if to_weight is not None or to_bias is not None:
            parts = (part.split(ctx.how[2]) for part in (hidden, targets, given))
            for rows, chosen, scaled in zip(*parts, strict=True):
                logits, bend = _logits(rows, weight, bias, *ctx.how[:2])
                cotangent = _less_one_hot(torch.softmax(logits, dim=-1), chosen, bend)
                cotangent = cotangent.mul_(-ctx.how[0] * scaled).to(weight.dtype)
                if to_weight is not None:
                    to_weight.addmm_(cotangent.T, rows)
                if to_bias is not None:
                    to_bias += cotangent.sum(dim=0)
        return to_hidden, to_weight, to_bias, None, None, None, None


def _logits(
    hidden: Float[Tensor, "n D"],
    weight: Float[Tensor, "V D"],
    bias: Float[Tensor, " V"] | None,
    scale: float,
    cap: float | None,
) -> tuple[Float[Tensor, "n V"], Float[Tensor, "n V"] | None]:
    """The logits, in float32 or better and free to be written over, and the slope of the cap where there is one."""
    raw = torch.nn.functional.linear(hidden, weight, bias)
    logits = raw.to(_wide(raw.dtype))
    logits = logits if scale == 1 else logits.mul_(scale)
    if cap is None:
        return logits, None
    bounded = torch.tanh(logits / cap)
    return cap * bounded, 1 - bounded**2


def _chosen(logps: Float[Tensor, "n V"], targets: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    return logps.gather(-1, targets[:, None]).squeeze(-1)


def _less_one_hot(
    softmax: Float[Tensor, "n V"], targets: Int[Tensor, " n"], bend: Float[Tensor, "n V"] | None
) -> Float[Tensor, "n V"]:
    """Minus the derivative of each row's chosen log-probability with respect to its logits; takes the place of `softmax`."""
    softmax[torch.arange(len(targets), device=targets.device), targets] -= 1
    return softmax if bend is None else softmax.mul_(bend)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype == torch.float64 else torch.float32


def sum_by_sequence(token_logps: Float[Tensor, " N"], sequence: Int[Tensor, " N"], *, count: int) -> Float[Tensor, " S"]:
    """Return the sum of `token_logps` over each of `count` sequences (sum_logps), 0 for one without tokens.

    `sequence[n]`, in 0..count-1, is the sequence of token n, in any order.

    >>> sum_by_sequence(torch.tensor([-1.0, -2.0, -4.0]), torch.tensor([1, 0, 1]), count=3)
    tensor([-2., -5.,  0.])
    """
    wide = token_logps if token_logps.dtype == torch.float64 else token_logps.to(torch.float32)
    return wide.new_zeros(count).index_add(0, sequence, wide)
