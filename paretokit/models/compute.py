"""How a model is run: in which precision, compiled or not, keeping activations or computing them again.

None of it changes what is computed, except for the rounding of a lower precision. Imports: torch, transformers (its layers),
`maths.products`, `attention`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
import torch._functorch.config as functorch_config
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from paretokit.errors import ModelError
from paretokit.maths.products import FEWEST, is_quick, linear, suits
from paretokit.models.attention import attend, attends
from paretokit.shapes import Int, Tensor

__all__ = ["Compute", "checkpointed", "kernels", "out_of_memory", "quick", "repeatable"]

_WIDE = 256  # width of a model from which on it is worth being asked at every operation
_SHORT, _SHORTER = 256, 192  # positions of a row up to which half precision attends faster by products: ours, torch's
_linear, _sdpa = torch.nn.functional.linear, torch.nn.functional.scaled_dot_product_attention


class Compute(NamedTuple):
    """How a policy runs its model; the default is as the model is."""

    autocast: str | None = None  # precision of matrix products, such as "bfloat16", by torch.autocast
    compiler: str | None = None  # backend of torch.compile, such as "inductor"
    checkpointing: bool = False  # keep a layer's inputs alone, and compute it once more in the backward pass

    @property
    def dtype(self) -> torch.dtype | None:
        """The precision that `autocast` names."""
        return None if self.autocast is None else getattr(torch, self.autocast)


@contextmanager
def checkpointed(model: torch.nn.Module) -> Iterator[None]:
    """Run the model's layers so that their activations are not kept; for the forward pass alone.

    transformers does this in training mode only, which would switch dropout on as well.
    """
    layers = [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]
    if not layers:
        raise ModelError(
            f"{type(model).__name__}: found no layers that can be computed once more (GradientCheckpointingLayer), expected "
            "some. Set checkpointing=False."
        )
    with ExitStack() as stack:
        for layer in layers:
            plain = layer.forward
            layer.forward = partial(checkpoint, plain, use_reentrant=False, preserve_rng_state=False)
            stack.callback(layer.__dict__.pop, "forward")
        yield


def kernels(model: Any, how: Compute, *, rows: Int[Tensor, "R T"]) -> AbstractContextManager[object]:
    """Return the context in which a model that reads such rows, forward and back, computes on a CPU by the faster ways.

    In float32 those of `quick`. In half precision short rows attend by products, `attention.attend` (8 rows of 109 positions,
    9 heads of 64, forward and back, two cores with bf16 instructions: 3.7 ms, torch's fused kernel 12.3 and its plain one 7.1;
    at 256 positions 19, 25 and 33). Narrow models and autocast have torch's plain one there. Elsewhere torch's choice stands.
    """
    half = (how.dtype or model.dtype).itemsize == 2
    if model.device.type != "cpu" or not half:
        return quick(model, positions=rows.numel())
    if how.dtype is None and _wide(model):
        return _Instead({_sdpa: _attend}) if rows.shape[1] <= _SHORT else nullcontext()
    return sdpa_kernel(SDPBackend.MATH) if rows.shape[1] <= _SHORTER else nullcontext()


def quick(model: Any, *, positions: int) -> AbstractContextManager[object]:
    """Return the context in which a model that reads so many tokens multiplies by `maths.products`, where that is faster.

    A narrow model loses by it: being asked at every operation costs `tiny`, of width 128, up to a tenth of its time.
    """
    width = model.config.get_text_config().hidden_size
    fits = model.device.type == "cpu" and model.dtype == torch.float32 and is_quick() and _wide(model)
    return _Instead({_linear: _multiply}) if fits and positions * width**2 >= FEWEST else nullcontext()


class _Instead(TorchFunctionMode):
    """The context in which some of torch's functions, whoever calls them, are others; these may return NotImplemented."""

    def __init__(self, ways: Mapping[Callable[..., Any], Callable[..., Any]]) -> None:
        super().__init__()
        self.ways = ways

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Take the place of the functions named, and of nothing else."""
        named, found = kwargs or {}, NotImplemented
        if func in self.ways and not torch.is_autocast_enabled("cpu"):
            found = self.ways[func](*args, **named)
        return func(*args, **named) if found is NotImplemented else found


def _multiply(inputs: Tensor, weight: Tensor, *bias: Tensor | None, **how: Any) -> Any:
    return linear(inputs, weight, bias=bias[0] if bias else None) if suits(inputs, weight) and not how else NotImplemented


def _attend(*given: Any, **how: Any) -> Any:
    return attend(*given, **how) if len(given) == 3 and attends(*given, **how) else NotImplemented


def _wide(model: Any) -> bool:
    return model.config.get_text_config().hidden_size >= _WIDE


def repeatable(how: Compute) -> AbstractContextManager[object]:
    """Return the context in which a compiled model must be compiled, and its graph be gone through backwards, where that
    happens more than once: by default a compiled graph overwrites what its forward pass kept, and refuses a second pass."""
    return nullcontext() if how.compiler is None else functorch_config.patch(donated_buffer=False)


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on a GPU or on the CPU.

    >>> out_of_memory(MemoryError()), out_of_memory(RuntimeError("expected a tensor"))
    (True, False)
    """
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error)  # the CPU's allocator has no error of its own
    return isinstance(error, RuntimeError) and any(part in text for part in ("can't allocate memory", "not enough memory"))
