"""LoRA layers whose adapter is added to the weight for the moment: one wide product in place of one wide and two thin ones.

y = x (W + s B A)' costs a pass over W, and saves thin products, which are slow, and several passes over the outputs, which
are larger than W where there are many positions. The gradients of A and B for all objectives follow from the same inputs
and output gradients, and so does that of x. Only where W has the adapter's precision: in a lower one W + s B A would round
the adapter away. Imports: torch, peft (through `lora`), `maths.contraction`, `taps` by value.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch

from paretokit.maths.contraction import Layout, Slopes, contract
from paretokit.models import lora
from paretokit.shapes import Float, Tensor

__all__ = ["merging"]

Slots = Callable[[torch.nn.Module], dict[str, Tensor]]  # the placeholders of a module's trainable weights
Heard = Callable[[], tuple[Layout, Slopes]]  # positions and slopes, known in the backward pass


@contextmanager
def merging(model: torch.nn.Module, slots: Slots, heard: Heard) -> Iterator[None]:
    """Run the LoRA layers of a model in this way where it pays and is exact; otherwise as they are.

    `slots` gives what the gradients of all objectives at a layer's A and B are handed to.
    """
    with ExitStack() as stack:
        for _, layer in lora.lora_layers(model):
            down, up = layer.lora_A[lora.ADAPTER], layer.lora_B[lora.ADAPTER]
            placeholders = [found for part in (down, up) for found in slots(part).values()]
            if type(layer.base_layer) is torch.nn.Linear and len(placeholders) == 2:
                layer.forward = partial(_forward, layer, layer.forward, heard, placeholders)
                stack.callback(layer.__dict__.pop, "forward")
        yield


def _forward(layer: Any, plain: Callable[..., Tensor], heard: Heard, placeholders: list[Tensor], x: Tensor) -> Tensor:
    base, down, up = layer.base_layer, layer.lora_A[lora.ADAPTER].weight, layer.lora_B[lora.ADAPTER].weight
    device = x.device.type
    narrowed = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    same = x.dtype == base.weight.dtype == down.dtype == up.dtype and not narrowed
    if layer.disable_adapters or not same or not torch.is_grad_enabled() or not _pays(x, base.weight):
        return plain(x)
    scale = layer.scaling[lora.ADAPTER]
    return _Merged.apply(x, base.weight, base.bias, down, up, scale, heard, *placeholders)


def _pays(x: Float[Tensor, "*positions in"], weight: Float[Tensor, "out in"]) -> bool:
    """Whether the numbers that are not moved, about six for each input and output of every position, are more than those of
    two passes over the weight, with the products B A, about eight for each of its entries."""
    return 6 * x.shape[:-1].numel() * sum(weight.shape) > 8 * weight.numel()


class _Merged(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, *how: Any) -> Tensor:
        ctx.scale, ctx.heard = how[:2]
        ctx.save_for_backward(x, weight, down, up)
        return torch.nn.functional.linear(x, torch.addmm(weight, up, down, alpha=ctx.scale), bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, weight, down, up) = gradients, ctx.saved_tensors
        to_x = gradient @ torch.addmm(weight, up, down, alpha=ctx.scale) if ctx.needs_input_grad[0] else None
        made, slopes = ctx.heard()
        flat, read = gradient.flatten(0, -2), x.flatten(0, -2)
        rows_down = contract(ctx.scale * (flat @ up), read, made, slopes)
        rows_up = contract(flat, ctx.scale * (read @ down.T), made, slopes)
        return to_x, None, None, None, None, None, None, rows_down, rows_up
