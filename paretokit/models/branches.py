"""A LoRA branch in one piece: y + s B A x forward, and backward the gradients at A and B, of one loss or of all objectives.

peft builds a branch of half a dozen operations, and autograd as many for the way back; where a device is fast, starting them
takes longer than doing them, and where it is not, each reads and writes all positions once more. Here a layer's branch is one
operation either way. Imports: torch, `maths.contraction`, `lora`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.nn.functional import linear

from paretokit.maths.contraction import Layout, Slopes, contract
from paretokit.models.lora import ADAPTER
from paretokit.shapes import Float, Tensor

__all__ = ["Heard", "factors", "in_one_piece"]


class Heard(NamedTuple):
    """What is asked of the branches instead of the gradient of one loss: a row for each objective."""

    slot: Callable[[torch.nn.Module], Tensor]  # a module's placeholder [m, *shape]: to autograd, rows are its gradient
    at: Callable[[], tuple[Layout, Slopes]]  # the positions of a pass, and the slopes there once they are known


def factors(layer: Any) -> tuple[torch.nn.Linear, torch.nn.Linear]:
    """Return the modules that hold A and B of a LoRA layer."""
    return layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]


@contextmanager
def in_one_piece(layers: Sequence[Any], *, heard: Heard | None = None) -> Iterator[None]:
    """Run the branches of LoRA layers so, for adapters that `lora.attach` accepts: no dropout among them.

    Has to last until the backward pass is done, since checkpointed layers are run once more in it.
    """
    reads = _Reads()
    for layer in layers:
        slots = () if heard is None else tuple(map(heard.slot, factors(layer)))
        layer.forward = partial(_forward, layer, reads, None if heard is None else heard.at, slots)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


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
    layer: Any, reads: _Reads, at: Callable | None, slots: tuple[Tensor, ...], inputs: Float[Tensor, "... i"]
) -> Float[Tensor, "... o"]:
    down, up = (factor.weight for factor in factors(layer))
    base, read = layer.base_layer(inputs), reads.widened(inputs, down.dtype)
    return _Branch.apply(base, inputs, read, down, up, layer.scaling[ADAPTER], at, *slots)


class _Branch(torch.autograd.Function):
    """base + scale (x A') B'; `read` is x in the adapter's precision. With slots, A and B themselves get no gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        base: Tensor,
        inputs: Tensor,
        read: Tensor,
        down: Tensor,
        up: Tensor,
        scale: float,
        at: Callable | None,
        *slots: Tensor,
    ) -> Tensor:
        thin = linear(read, down) * scale  # here, where it is thin
        ctx.save_for_backward(read, thin, down, up)
        ctx.like, ctx.scale, ctx.at = inputs.dtype, scale, at
        added = torch.addmm(base.flatten(0, -2).to(thin.dtype), thin.flatten(0, -2), up.to(thin.dtype).T)
        return added.view(base.shape).to(base.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        read, thin, down, up = ctx.saved_tensors
        flat = gradient.flatten(0, -2).to(thin.dtype)
        back = (flat @ up.to(thin.dtype)) * ctx.scale
        onward = (back @ down.to(thin.dtype)).view(read.shape).to(ctx.like) if ctx.needs_input_grad[1] else None
        at_down = back.to(down.dtype), read.flatten(0, -2)
        at_up = flat.to(up.dtype), thin.flatten(0, -2).to(up.dtype)
        if ctx.at is None:
            found = tuple(out.T @ read for out, read in (at_down, at_up))
        else:
            made, slopes = ctx.at()
            found = None, None, *(contract(out, read, made, slopes) for out, read in (at_down, at_up))
        own, rows = found[:2], found[2:]
        return gradient, onward, None, *own, None, None, *rows
