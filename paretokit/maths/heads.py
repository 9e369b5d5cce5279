"""Output projections as values: from hidden states to log-probabilities, and back, without keeping any logits.

A head turns a hidden state h into logits: scale (W h + bias), soft-capped where the family does so, with W a matrix or a
matrix plus a product of two thin ones. The heads of a policy with several objectives are of that form, and so is their
mixture (`mixing`). Imports: torch, `shapes`, `logps`.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from paretokit.maths.logps import wide
from paretokit.maths.products import linear, product
from paretokit.shapes import Float, Int, Tensor

__all__ = ["Head", "logits_of", "projected", "projected_logps", "vocabulary_blocks"]

_AT_ONCE = 2**24  # logits that exist at a time
_HELD = 2**22  # logits that a CPU's caches hold


class Head(NamedTuple):
    """logits = soft-capped scale ((weight + up down) hidden + bias); all tensors in one precision."""

    weight: Float[Tensor, "V D"]
    bias: Float[Tensor, " V"] | None = None
    up: Float[Tensor, "V r"] | None = None  # A of a low-rank head; `up` and `down` are both there, or neither is
    down: Float[Tensor, "r D"] | None = None  # B
    scale: float = 1.0  # Cohere multiplies by `logit_scale`, Granite divides by `logits_scaling`
    cap: float | None = None  # cap tanh(logits / cap): Gemma 2 (arXiv 2408.00118, section 2)

    def to(self, dtype: torch.dtype) -> "Head":
        """Return the head with its tensors in a precision."""
        return self._map(lambda part: part.to(dtype))

    def detach(self) -> "Head":
        """Return the head without a gradient."""
        return self._map(torch.Tensor.detach)

    def rows(self, block: slice) -> "Head":
        """Return the head for a block of the vocabulary."""
        return self._map(lambda part: part[block])._replace(down=self.down)

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Head":
        parts = [None if part is None else change(part) for part in self[:4]]
        return Head(*parts, *self[4:])  # type: ignore[arg-type] # the weight is never None


def logits_of(hidden: Float[Tensor, "N D"], head: Head) -> Float[Tensor, "N V"]:
    """Return the logits of hidden states, in float32 or better.

    >>> logits_of(torch.tensor([[1.0, 2.0]]), Head(torch.eye(2), up=torch.ones(2, 1), down=torch.ones(1, 2), scale=0.5))
    tensor([[2.0000, 2.5000]])
    """
    return _logits(hidden, head)[0]


def projected_logps(
    hidden: Float[Tensor, "N D"], head: Head, targets: Int[Tensor, " N"], *, chunk: int | None = None
) -> Float[Tensor, " N"]:
    """Return `token_logps(logits_of(hidden, head), targets)`, in nats, without keeping any logits.

    `chunk` rows of logits exist at a time (default: 64 MB of them in float32). Differentiable in hidden and in the head's
    tensors, once. Each log-probability depends on its own hidden state alone, so its gradient there is found in the forward
    pass, where the logits are, and only scaled in the backward one; that of the head makes the logits again, where it is
    asked for.

    >>> projected_logps(torch.tensor([[1.0, 0.0]]), Head(torch.tensor([[0.0, 1.0], [1.0, 0.0]])), torch.tensor([1]))
    tensor([-0.3133])
    """
    return projected(hidden, head, targets, chunk=chunk)[0]


def projected(
    hidden: Float[Tensor, "N D"], head: Head, targets: Int[Tensor, " N"], *, chunk: int | None = None
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Return `projected_logps` and the logarithm of the sum of the exponentials of each position's logits; the latter
    carries no gradient. With it logits become probabilities without all of them being there, see `vocabulary_blocks`.
    """
    return _Projected.apply(hidden, targets, chunk or max(1, _AT_ONCE // len(head.weight)), *head)


def vocabulary_blocks(
    hidden: Float[Tensor, "N D"], head: Head, targets: Int[Tensor, " N"], normaliser: Float[Tensor, " N"]
) -> Iterator[tuple[slice, Float[Tensor, "N v"]]]:
    """Yield, for one block of the vocabulary after another, the derivative of each log-probability with respect to the
    block's raw logits, W h + bias. `normaliser` is what `projected` returned beside the log-probabilities.

    >>> hidden, head, targets = torch.tensor([[1.0, 0.0]]), Head(torch.tensor([[0.0, 1.0], [1.0, 0.0]])), torch.tensor([1])
    >>> [(block, part)] = vocabulary_blocks(hidden, head, targets, projected(hidden, head, targets)[1])
    >>> block, part
    (slice(0, 2, None), tensor([[-0.2689,  0.2689]]))
    """
    size = max(1, (_HELD if hidden.is_cpu else _AT_ONCE) // max(1, len(hidden)))
    for start in range(0, len(head.weight), size):
        block = slice(start, min(start + size, len(head.weight)))
        logits, bend = _logits(hidden, head.rows(block))
        found = logits.sub_(normaliser[:, None]).exp_()
        inside = (targets >= block.start) & (targets < block.stop)
        column = (targets - block.start).clamp(0, block.stop - block.start - 1)
        found.scatter_add_(1, column[:, None], -inside[:, None].to(found.dtype))
        yield block, (found if bend is None else found.mul_(bend)).mul_(-head.scale)


class _Projected(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, targets: Tensor, chunk: int, *parts: Any) -> tuple[Tensor, Tensor]:
        head = Head(*parts)
        found, normalisers, slopes = [], [], []
        for rows, chosen in zip(hidden.split(chunk), targets.split(chunk), strict=True):
            logits, bend = _logits(rows, head)
            largest, logit = logits.amax(dim=-1), logits.gather(-1, chosen[:, None]).squeeze(-1)
            exponentials = logits.sub_(largest[:, None]).exp_()
            total = exponentials.sum(dim=-1)
            found.append((logit - largest) - total.log())
            normalisers.append(largest + total.log())
            if ctx.needs_input_grad[0]:
                surplus = _less_one_hot(exponentials.div_(total[:, None]), chosen, bend).to(head.weight.dtype)
                slopes.append(_to_hidden(surplus, head).mul_(-head.scale))
        ctx.chunk, ctx.how = chunk, parts[4:]
        ctx.save_for_backward(hidden, targets, torch.cat(slopes) if slopes else None, *parts[:4])
        normaliser = torch.cat(normalisers)
        ctx.mark_non_differentiable(normaliser)
        return torch.cat(found), normaliser

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, targets, slopes, *parts = ctx.saved_tensors
        head, given = Head(*parts, *ctx.how), gradients[0][:, None]
        to_hidden = None if slopes is None else (given * slopes).to(hidden.dtype)
        wanted = ctx.needs_input_grad[3:7]
        found = [torch.zeros_like(part) if asked else None for part, asked in zip(parts, wanted, strict=True)]
        if any(wanted):
            pieces = (part.split(ctx.chunk) for part in (hidden, targets, given))
            for rows, chosen, scaled in zip(*pieces, strict=True):
                logits, bend = _logits(rows, head)
                surplus = _less_one_hot(torch.softmax(logits, dim=-1), chosen, bend)
                _add_to_head(found, surplus.mul_(-head.scale * scaled).to(head.weight.dtype), rows, head)
        return to_hidden, None, None, *found, None, None


def _add_to_head(found: list[Tensor | None], cotangent: Float[Tensor, "n V"], rows: Float[Tensor, "n D"], head: Head) -> None:
    """Add to the gradients of weight, bias, up and down, where they are asked for, those of some positions."""
    to_weight, to_bias, to_up, to_down = found
    if to_weight is not None:
        to_weight.addmm_(cotangent.T, rows)
    if to_bias is not None:
        to_bias += cotangent.sum(dim=0)
    if to_up is not None and head.down is not None:
        to_up.addmm_(cotangent.T, rows @ head.down.T)
    if to_down is not None and head.up is not None:
        to_down.addmm_((cotangent @ head.up).T, rows)


def _logits(hidden: Float[Tensor, "n D"], head: Head) -> tuple[Float[Tensor, "n V"], Float[Tensor, "n V"] | None]:
    """The logits, in float32 or better and free to be written over, and the slope of the cap where there is one."""
    raw = linear(hidden, head.weight, bias=head.bias)
    if head.up is not None and head.down is not None:
        raw = torch.addmm(raw, hidden @ head.down.T, head.up.T)
    logits = raw.to(wide(raw.dtype))
    logits = logits if head.scale == 1 else logits * head.scale
    if head.cap is None:
        return logits, None
    bounded = torch.tanh(logits / head.cap)
    return head.cap * bounded, 1 - bounded**2


def _to_hidden(cotangent: Float[Tensor, "n V"], head: Head) -> Float[Tensor, "n D"]:
    found = product(cotangent, head.weight.T)
    return found if head.up is None or head.down is None else found.addmm_(cotangent @ head.up, head.down)


def _less_one_hot(
    softmax: Float[Tensor, "n V"], targets: Int[Tensor, " n"], bend: Float[Tensor, "n V"] | None
) -> Float[Tensor, "n V"]:
    """Minus the derivative of each row's chosen log-probability with respect to its logits; takes the place of `softmax`."""
    softmax[torch.arange(len(targets), device=targets.device), targets] -= 1
    return softmax if bend is None else softmax.mul_(bend)
