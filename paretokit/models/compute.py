"""How a model is run: in which precision, compiled or not, keeping activations or computing them again.

None of it changes what is computed, except for the rounding of a lower precision. Imports: torch, transformers (its layers),
`maths.products`.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
import torch._functorch.config as functorch_config
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from paretokit.errors import ModelError
from paretokit.maths.products import FEWEST, Quick, is_quick

__all__ = ["Compute", "attending", "checkpointed", "out_of_memory", "quick", "repeatable"]

_WIDE = 256  # width of a model from which on `quick` is worth its while
_SHORT = 192  # positions of a row up to which attention in half precision is faster on a CPU by plain products


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


def attending(device: torch.device, dtype: torch.dtype, *, width: int) -> AbstractContextManager[object]:
    """Return the context in which a model attends over rows of `width` positions by the faster of torch's kernels.

    On a CPU in half precision the backward pass of the fused kernel takes 10 ms where plain products, which torch does in
    float32, take 4 (8 rows of 109 positions, 9 heads of 64; two cores with bf16 instructions); from some 200 positions on
    it is the other way round. The plain products round less. Elsewhere torch's own choice stands.
    """
    plain = device.type == "cpu" and dtype.itemsize == 2 and width <= _SHORT
    return sdpa_kernel(SDPBackend.MATH) if plain else nullcontext()


def quick(model: Any, *, positions: int) -> AbstractContextManager[object]:
    """Return the context in which a model that reads so many tokens multiplies by `maths.products`, where that is faster.

    A narrow model loses by it: being asked at every operation costs `tiny`, of width 128, up to a tenth of its time.
    """
    width = model.config.get_text_config().hidden_size
    fits = model.device.type == "cpu" and model.dtype == torch.float32 and width >= _WIDE and is_quick()
    return Quick() if fits and positions * width**2 >= FEWEST else nullcontext()


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
