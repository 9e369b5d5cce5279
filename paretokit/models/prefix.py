"""Token rows that a model has read so far, with its key-value cache: what steps and candidates go on from.

A row is read a block of tokens at a time. Blocks of unequal length are padded on the left and masked, so that the last
column is the last token of every row; the holes which that leaves in the cache are seen by nobody, and positions count
tokens, not columns. Rows are chosen, repeated and dropped by `select`: nothing is read twice.
Imports: torch, transformers and peft (types), `growing`, `errors`, `shapes`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from paretokit.errors import ModelError
from paretokit.models.growing import grow
from paretokit.shapes import Bool, Float, Int, Tensor

__all__ = ["Prefix", "hidden_of_last", "logits_of_last", "pad_left"]

Last = Callable[[Any], Tensor]  # a model's output -> what is wanted of the last column, [R, ...]


def logits_of_last(output: Any) -> Float[Tensor, "R V"]:
    """Return the logits that follow the last token of each row."""
    return output.logits[:, -1]


def hidden_of_last(output: Any) -> Float[Tensor, "R D"]:
    """Return the hidden state of the last token of each row."""
    return output.last_hidden_state[:, -1]


class Prefix:
    """R rows of tokens as `model` has read them; none yet when it is made.

    `last` says what `read` returns of the model's output. `read` extends the rows and `select` chooses among them, both in
    place; the tensors that were there before are left as they are.
    """

    def __init__(self, model: PreTrainedModel | PeftModel, *, last: Last = logits_of_last) -> None:
        self.model = model
        self.last = last
        self.cache: Any = None
        self.mask: Int[Tensor, "R T"] | None = None

    @property
    def lengths(self) -> list[int]:
        """How many tokens each row holds."""
        return [] if self.mask is None else self.mask.sum(dim=1).tolist()

    @property
    def columns(self) -> int:
        """How many columns the cache has, holes included."""
        return 0 if self.mask is None else self.mask.shape[1]

    @torch.inference_mode()
    def read(self, blocks: Sequence[Sequence[int]]) -> Float[Tensor, "R W"]:
        """Read a block of tokens more in each row and return what `last` takes of the last column, [R, ...].

        A row whose block is empty stays as it is; what is returned for it means nothing. Raises `ModelError` where a model
        with a sliding window would look at the wrong tokens: its window counts columns.
        """
        device = next(self.model.parameters()).device
        ids, fresh = (part.to(device) for part in pad_left(blocks))
        before = 0 if self.mask is None else self.mask.sum(dim=1, keepdim=True)
        position = (before + fresh.cumsum(dim=1) - 1).clamp(min=0)
        mask = fresh if self.mask is None else torch.cat([self.mask, fresh], dim=1)
        self._check_window(mask)
        keep = {"logits_to_keep": 1} if self.last is logits_of_last else {}
        output = self.model(
            input_ids=ids, attention_mask=mask, position_ids=position, past_key_values=self.cache, use_cache=True, **keep
        )
        if self.cache is None:
            grow(output.past_key_values)
        self.cache, self.mask = output.past_key_values, mask
        return self.last(output)

    @torch.inference_mode()
    def select(self, rows: Int[Tensor, " r"]) -> None:
        """Keep these rows, in this order; a row may be kept more than once."""
        assert self.mask is not None, "rows are read before they are selected"
        self.cache.batch_select_indices(rows)
        self.mask = self.mask[rows]

    def _check_window(self, mask: Int[Tensor, "R T"]) -> None:
        config: Any = self.model.config.get_text_config()
        window = getattr(config, "sliding_window", None)
        if window is None or mask.shape[1] <= window or not bool(_with_holes(mask).any()):
            return
        raise ModelError(
            f"{type(self.model).__name__}: found rows of {mask.shape[1]} columns with holes for a sliding window of {window}, "
            "which counts columns, expected rows that fit into it. Ask for fewer or shorter steps, or use a model whose "
            "attention sees the whole text."
        )


def _with_holes(mask: Int[Tensor, "R T"]) -> Bool[Tensor, " R"]:
    """Whether something is masked after the first token of a row."""
    return mask.sum(dim=1) < mask.cummax(dim=1).values.sum(dim=1)


def pad_left(rows: Sequence[Sequence[int]]) -> tuple[Int[Tensor, "R T"], Int[Tensor, "R T"]]:
    """Return ids and mask, 1 where a token is; the last column is the last token of every row that has one.

    >>> pad_left([[5], [6, 7]])
    (tensor([[0, 5],
            [6, 7]]), tensor([[0, 1],
            [1, 1]]))
    """
    width = max(1, *map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask
