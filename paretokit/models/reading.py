"""What a model is called with to read token rows, and how its output projection is kept to the positions that are scored.

Imports: torch, transformers and peft (types), `errors`, `rows`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from paretokit.errors import DataError, ModelError
from paretokit.rows import Rows, visible
from paretokit.shapes import Bool, Float, Int, Tensor

__all__ = ["inputs_of", "scored_only"]


def inputs_of(model: PreTrainedModel | PeftModel, rows: Rows, *, limit: int, shared: bool) -> dict[str, Any]:
    """What a model is called with to read rows."""
    width = rows.input_ids.shape[1]
    if width > limit and not shared:  # a shared row is longer than its sequences
        raise DataError(
            f"log-probabilities: a row holds {width} positions, but the model was made for {limit}; "
            "shorten prompt and response, or set max_length."
        )
    device = next(model.parameters()).device
    input_ids, position_ids, segments = (part.to(device) for part in rows[:3])
    read = {"input_ids": input_ids, "use_cache": False}
    if shared:
        return {**read, "position_ids": position_ids, "attention_mask": _additive(visible(segments), model.dtype)}
    # Padding lies to the right, so that no real position sees it through the causal mask. Its count goes on, because
    # a count that starts again is how transformers recognises another sequence in the row, which it keeps apart.
    counting = torch.arange(width, device=device).expand_as(position_ids)
    return {**read, "position_ids": torch.where(segments > 0, position_ids, counting)}


def _additive(seen: Bool[Tensor, "R 1 T T"], dtype: torch.dtype) -> Float[Tensor, "R 1 T T"]:
    """What is added to attention scores: 0 where something is seen. All attention functions take that, not all a bool."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)


@contextmanager
def scored_only(model: PreTrainedModel | PeftModel, predicting: Int[Tensor, " N"]) -> Iterator[None]:
    """Let the output projection see the scored positions alone: [1, N, D] instead of [R, T, D], in their order.

    What a family does to its logits afterwards (scaling, soft-capping) is elementwise and so still right.
    """

    def gather(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0].flatten(0, 1)[predicting][None], *inputs[1:])

    head = model.get_output_embeddings()
    if head is None:
        raise ModelError(
            f"{type(model).__name__}: found no output projection (get_output_embeddings() is None), expected one that maps "
            "hidden states to logits. Use a causal language model."
        )
    hook = head.register_forward_pre_hook(gather)
    try:
        yield
    finally:
        hook.remove()
