"""Matrix products by the faster of the libraries that torch brings.

On a CPU torch multiplies float32 matrices with Intel's MKL, which on processors of other makers keeps to 256-bit
instructions; oneDNN, which torch uses for half precision, does not, and does the same sums in the same precision. On a
Zen 5 with two cores: 219 against 480 GFLOP/s at 872 x 576 x 576, and from some two million multiplications on it was the
faster at every shape; on a Xeon the two are equal, and torch keeps to MKL. Imports: torch, `processor`, `shapes`.
"""

from typing import Any

import torch

from paretokit.processor import processor
from paretokit.shapes import Float, Tensor

__all__ = ["is_quick", "linear", "product", "suits"]

FEWEST = 2**21  # multiplications below which starting oneDNN takes longer than it saves


def is_quick() -> bool:
    """Return whether this processor and this torch have the faster products at all."""
    return _HAS and torch.backends.cpu.get_cpu_capability() == "AVX512" and "Intel" not in processor()


_HAS = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
_QUICK = is_quick()


def suits(inputs: Float[Tensor, "... i"], weight: Float[Tensor, "o i"]) -> bool:
    """Return whether oneDNN takes this product, and is worth its while."""
    return (
        _QUICK
        and inputs.is_cpu
        and inputs.dtype == weight.dtype == torch.float32
        and inputs.numel() * weight.shape[0] >= FEWEST
        and 0 not in inputs.stride()
    )


def product(
    inputs: Float[Tensor, "... i"], weight: Float[Tensor, "o i"], *, bias: Float[Tensor, " o"] | None = None
) -> Float[Tensor, "... o"]:
    """Return inputs weight' + bias; without gradient. `weight` may be a transposed view at no cost; `inputs` at that of a copy.

    >>> product(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([[11.]])
    """
    if not suits(inputs, weight):
        return torch.nn.functional.linear(inputs, weight, bias)
    return torch.ops.mkldnn._linear_pointwise.default(inputs, weight, bias, "none", [], "")


def linear(
    inputs: Float[Tensor, "... i"], weight: Float[Tensor, "o i"], *, bias: Float[Tensor, " o"] | None = None
) -> Float[Tensor, "... o"]:
    """Return `product`, differentiable; where oneDNN takes it, once.

    >>> linear(torch.ones(1, 2), torch.ones(1, 2))
    tensor([[2.]])
    """
    if torch.is_grad_enabled() and suits(inputs, weight):
        return _Product.apply(inputs, weight, bias)
    return product(inputs, weight, bias=bias)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs if ctx.needs_input_grad[1] else None, weight)
        return product(inputs, weight, bias=bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        inputs, weight = ctx.saved_tensors
        to_inputs, to_weight, to_bias = ctx.needs_input_grad
        flat = gradient.flatten(0, -2)
        return (
            product(gradient, weight.T) if to_inputs else None,
            product(flat.T, inputs.flatten(0, -2).T) if to_weight else None,
            flat.sum(dim=0) if to_bias else None,
        )
