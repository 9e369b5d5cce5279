"""A LoRA branch in one piece: y + s B A x forward, and backward the gradients at A and B, of one loss or of all objectives.

peft builds a branch of half a dozen operations, and autograd as many for the way back; where a device is fast, starting them
takes longer than doing them, and where it is not, each reads and writes all positions once more. Here a layer's branch is one
operation either way. Imports: torch, `maths.contraction`, `maths.products`, `lora`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch

from paretokit.maths.contraction import Layout, Slopes, contract
from paretokit.maths.products import product
from paretokit.models.lora import ADAPTER
from paretokit.shapes import Float, Tensor

__all__ = ["Heard", "factors", "in_one_piece", "unviewed"]


class Heard(NamedTuple):
    """What is asked of the branches instead of the gradient of one loss: a row for each objective."""

    slot: Callable[[torch.nn.Module], Tensor]  # a module's placeholder [m, *shape]: to autograd, rows are its gradient
    # what tells, of the rows that are being read, their positions, and the slopes there once they are known
    at: Callable[[], Callable[[], tuple[Layout, Slopes]]]


def factors(layer: Any) -> tuple[torch.nn.Linear, torch.nn.Linear]:
    """Return the modules that hold A and B of a LoRA layer."""
    return layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]


@contextmanager
def in_one_piece(layers: Sequence[Any], *, heard: Heard | None = None) -> Iterator[None]:
    """Run LoRA layers so, for adapters that `lora.attach` accepts: no dropout among them.

    Has to last until the backward pass is done, since checkpointed layers are run once more in it.
    """
    reads = _Reads()
    for layer in layers:
        parts = factors(layer)
        slots = () if heard is None else tuple(map(heard.slot, parts))
        down, up = (part.weight for part in parts)
        at = None if heard is None else heard.at
        layer.forward = partial(_forward, layer.base_layer, down, up, layer.scaling[ADAPTER], reads, at, slots)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def unviewed(tensor: Tensor) -> Tensor:
    """Return the same numbers at the same place, as an output of a function that may be written over.

    Autograd refuses that for views, and some models (Falcon, Gemma 3n) add to the output of a linear layer in place.
    """
    return torch.ops.aten._unsafe_view(tensor, tensor.shape)


class _Reads:
    """Inputs in the precision of the adapter: layers that follow each other often read the same ones."""

    def __init__(self) -> None:
        self._last: tuple[Tensor, Tensor] | None = None

    def widened(self, inputs: Tensor, dtype: torch.dtype) -> Tensor:
        if inputs.dtype == dtype:
            return inputs.detach()
        if self._last is None or self._last[0] is not inputs:
            self._last = (inputs, inputs.detach().to(dtype))
        return self._last[1]


def _forward(
    base: torch.nn.Module,
    down: Tensor,
    up: Tensor,
    scale: float,
    reads: _Reads,
    at: Callable | None,
    slots: tuple[Tensor, ...],
    inputs: Float[Tensor, "... i"],
) -> Float[Tensor, "... o"]:
    whole = _frozen(base) and not _autocast(inputs.device.type)
    fixed = (None, base.weight, base.bias) if whole else (base(inputs), None, None)
    now = None if at is None else at()
    return _Branch.apply(*fixed, inputs, reads.widened(inputs, down.dtype), down, up, scale, now, *slots)


def _autocast(device: str) -> bool:
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def _frozen(base: torch.nn.Module) -> bool:
    """Whether the layer that a branch stands beside is no more than a product with a matrix that is not trained."""
    return type(base) is torch.nn.Linear and not any(weight.requires_grad for weight in base.parameters())


class _Branch(torch.autograd.Function):
    """base + scale (x A') B'; `read` is x in the adapter's precision. With slots, A and B themselves get no gradient.

    Where base is x W' + bias with nothing in it trained, W and the bias are given in its place.
    """

    @staticmethod
    def forward(
        ctx: Any,
        base: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        inputs: Tensor,
        read: Tensor,
        down: Tensor,
        up: Tensor,
        scale: float,
        at: Callable | None,
        *slots: Tensor,
    ) -> Tensor:
        thin = product(read, down) * scale  # here, where it is thin
        ctx.save_for_backward(weight, read, thin, down, up)
        ctx.like, ctx.scale, ctx.at = inputs.dtype, scale, at
        if base is not None:
            return unviewed(_plus(base, thin, up.T))
        assert weight is not None, "given in place of base"
        return unviewed(_plus(product(inputs, weight, bias=bias), thin, up.T, fresh=True))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        weight, read, thin, down, up = ctx.saved_tensors
        flat = gradient.flatten(0, -2).to(thin.dtype)
        back = product(flat, up.to(thin.dtype).T) * ctx.scale
        onward = None
        if ctx.needs_input_grad[3]:
            if weight is None:
                onward = (back @ down.to(thin.dtype)).view(read.shape).to(ctx.like)
            else:
                onward = _plus(product(gradient, weight.T), back, down, fresh=True)
        at_down = back.to(down.dtype), read.flatten(0, -2)
        at_up = flat.to(up.dtype), thin.flatten(0, -2).to(up.dtype)
        if ctx.at is None:
            found = product(at_down[0].T, at_down[1].T), product(at_up[1].T, at_up[0].T).T.contiguous()
        else:
            made, slopes = ctx.at()
            found = None, None, *(contract(out, read, made, slopes) for out, read in (at_down, at_up))
        own, rows = found[:2], found[2:]
        through = gradient if weight is None else None
        return through, None, None, onward, None, *own, None, None, *rows


def _plus(base: Tensor, thin: Tensor, wide: Tensor, *, fresh: bool = False) -> Tensor:
    """base + thin wide, rounded once to the precision of base; a `fresh` base is written over."""
    flat, left, right = base.flatten(0, -2), thin.flatten(0, -2), wide.to(thin.dtype)
    if not fresh:
        return torch.addmm(flat.to(left.dtype), left, right).view(base.shape).to(base.dtype)
    if flat.dtype == left.dtype:
        flat.addmm_(left, right)
    elif flat.is_cpu and flat.dtype == torch.bfloat16:
        flat.addmm_(*_in_halves(left, right))
    else:
        flat.add_(product(left, right.T))
    return base


def _in_halves(left: Float[Tensor, "N r"], right: Float[Tensor, "r o"]) -> tuple[Float[Tensor, "N s"], Float[Tensor, "s o"]]:
    """Factors in bfloat16, s = 3 r, whose product is that of two float32 matrices up to 2^-16 of the sum of its terms' sizes.

    A float32 number is nearly the sum of two in bfloat16, and of the four products that of the two smaller halves is left out.
    A CPU then adds a branch to bfloat16 in one operation, which sums in float32 and rounds once.
    """
    high, above = left.bfloat16(), right.bfloat16()
    low, below = (left - high).bfloat16(), (right - above).bfloat16()
    return torch.cat([high, low, high], dim=1), torch.cat([above, above, below])
