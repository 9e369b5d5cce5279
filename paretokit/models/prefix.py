"""Token rows that a model has read so far, with its key-value cache: what steps and candidates go on from.

A row is read a block of tokens at a time. Blocks of unequal length are padded on the left and masked; positions count
tokens, not columns. Rows are chosen, repeated and dropped by `select`: nothing is read twice.

Where the model allows it (`sharing`), rows that are the same text so far are kept once, as one line of the cache. Their next
tokens stand side by side in that line, hidden from each other by a mask, until `select` gives texts that differ lines of their
own again, without the columns that nobody sees any more. Five candidates of a text then cost the memory of one text and five
steps, and attention reads that text once for all five. A line whose rows have little in common any more is parted before that.
Elsewhere every row has a line, and blocks of unequal length leave holes in the cache that are seen by nobody. What carries a
state has no holes: its rows are read in groups of equal length, see `stepwise`.
Imports: torch, `growing`, `sharing`, `stepwise`, `rows`, `errors`, `shapes`.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch

from paretokit.errors import ModelError
from paretokit.models.compute import quick
from paretokit.models.growing import gather, grow, is_growing
from paretokit.models.sharing import Sharing
from paretokit.models.stepwise import Stepwise, stepwise
from paretokit.rows import additive
from paretokit.shapes import Bool, Float, Int, Tensor

__all__ = ["Prefix", "hidden_of", "logits_of", "pad_left"]

_MOST = 8  # columns of a line for each token of its longest row: what attention multiplies too much may be so much more
_HOLES = 1.25  # columns for each token of the longest row that are kept rather than copied to where there are no holes

Wanted = Callable[[Any], Tensor]  # a model's output -> what is wanted of its columns, [L, C, ...]


def logits_of(output: Any) -> Float[Tensor, "L C V"]:
    """Return the logits that follow each column."""
    return output.logits


def hidden_of(output: Any) -> Float[Tensor, "L C D"]:
    """Return the hidden state of each column."""
    return output.last_hidden_state


class Prefix:
    """R rows of tokens as `model` has read them; none yet when it is made. It may also be several that answer as one.

    `wanted` says what `read` returns of the model's output. `read` extends the rows and `select` chooses among them, both in
    place. `sharing` is what the model was found to allow
    (`Policy.sharing`); without it, and where a layer keeps something else than every token, no row shares anything.
    """

    def __init__(self, model: Any, *, wanted: Wanted = logits_of, sharing: Sharing | None = None) -> None:
        self.model = stepwise(model)
        self.wanted = wanted
        self.cache: Any = None
        self._shares = not isinstance(self.model, Stepwise) and sharing is not None and sharing.exact and sharing.window is None
        self._line = torch.zeros(0, dtype=torch.int64)  # of each row; on the CPU, as is what follows
        self._seen = torch.zeros(0, 0, dtype=torch.bool)  # [R, T]: which columns of its line are tokens of a row
        self._settled = 0  # columns that were there when rows were last chosen

    @property
    def lengths(self) -> list[int]:
        """How many tokens each row holds."""
        return self._seen.sum(dim=1).tolist()

    @property
    def columns(self) -> int:
        """How many columns the cache has, holes included."""
        return self._seen.shape[1]

    @property
    def lines(self) -> int:
        """How many lines the cache has: as many as rows, or fewer where some of them share one."""
        return int(self._line.max()) + 1 if len(self._line) else 0

    @torch.inference_mode()
    def read(self, blocks: Sequence[Sequence[int]]) -> Float[Tensor, "R W"]:
        """Read a block of tokens more in each row and return what is `wanted` of its last token, [R, ...].

        A row whose block is empty stays as it is; what is returned for it means nothing. Raises `ModelError` where a model
        with a sliding window would look at the wrong tokens: its window counts columns.
        """
        if self.cache is None:
            self._line = torch.arange(len(blocks))
            self._seen = torch.zeros(len(blocks), 0, dtype=torch.bool)
        ids, owner = self._side_by_side(blocks)
        if self.lines < len(blocks) and self.columns + ids.shape[1] > _MOST * (max(self.lengths) + 1):
            self._settle(self._line, self._seen, range(len(blocks)))  # a line each
            ids, owner = self._side_by_side(blocks)
        apart = self.lines == len(blocks)
        fresh = owner[self._line] == torch.arange(len(blocks))[:, None]  # [R, Q]
        seen = torch.cat([self._seen, fresh], dim=1)
        at = (owner.clamp(min=0), torch.arange(ids.shape[1]))
        position = (self._seen.sum(dim=1, keepdim=True) + fresh.cumsum(dim=1) - 1)[at].clamp(min=0)
        if apart and not isinstance(self.model, Stepwise):  # which leaves no holes
            self._check_window(seen)
        device = self.model.device
        mask = seen.long().to(device) if apart else additive(_visible(seen, owner).to(device), self.model.dtype)
        with quick(self.model, positions=ids.numel()):
            output = self.model(
                input_ids=ids.to(device),
                attention_mask=mask,
                position_ids=position.to(device),
                past_key_values=self.cache,
                use_cache=True,
                **({"logits_to_keep": 1 if apart else ids.shape[1]} if self.wanted is logits_of else {}),
            )
        if self.cache is None:
            grow(output.past_key_values)
        self.cache, self._seen = output.past_key_values, seen
        found = self.wanted(output)
        if apart:
            return found[:, -1]
        last = (fresh * torch.arange(fresh.shape[1])).amax(dim=1)
        return found[self._line.to(device), last.to(device)]

    @torch.inference_mode()
    def select(self, rows: Int[Tensor, " r"]) -> None:
        """Keep these rows, in this order; a row may be kept more than once."""
        assert self.cache is not None, "rows are read before they are selected"
        rows = rows.cpu()
        line, seen = self._line[rows], self._seen[rows]
        if not (self._shares and is_growing(self.cache)):
            self.cache.batch_select_indices(line.to(self.model.device))
            self._line, self._seen = torch.arange(len(rows)), seen
            return
        texts = [(one, columns.numpy().tobytes()) for one, columns in zip(line.tolist(), seen, strict=True)]
        self._settle(line, seen, texts)

    def _settle(self, line: Int[Tensor, " r"], seen: Bool[Tensor, "r T"], texts: Sequence[Hashable]) -> None:
        """Keep rows that are these columns of these lines; equal `texts` share a line, and no other column is kept."""
        rows: dict[Hashable, int] = {}  # a text -> the first row that has it
        for row, text in enumerate(texts):
            rows.setdefault(text, row)
        first = list(rows.values())
        order = {text: place for place, text in enumerate(rows)}
        place = torch.tensor([order[text] for text in texts])
        stay = line[first].tolist() == list(range(self.lines))
        start = self._settled if stay else 0
        width, fresh = (int(part.sum(dim=1).max()) for part in (seen, seen[:, start:]))
        if start + fresh > _HOLES * width:
            start, fresh = 0, width
        if not stay or start + fresh < self.columns:  # what comes before `start` is left where it is
            columns = start + seen[first, start:].int().argsort(dim=1, stable=True)[:, self.columns - start - fresh :]
            gather(self.cache, line[first].to(self.model.device), columns.to(self.model.device), start=start)
            seen = torch.cat([seen[:, :start], seen.gather(1, columns[place])], dim=1)
        self._line, self._seen, self._settled = place, seen, seen.shape[1]

    def _side_by_side(self, blocks: Sequence[Sequence[int]]) -> tuple[Int[Tensor, "L Q"], Int[Tensor, "L Q"]]:
        """The blocks of each line one after another, and the row that each token belongs to; padding belongs to row -1."""
        tokens: list[list[int]] = [[] for _ in range(self.lines)]
        rows: list[list[int]] = [[] for _ in range(self.lines)]
        for row, (line, block) in enumerate(zip(self._line.tolist(), blocks, strict=True)):
            tokens[line] += block
            rows[line] += [row] * len(block)
        ids, real = pad_left(tokens)
        return ids, torch.where(real.bool(), pad_left(rows)[0], -1)

    def _check_window(self, seen: Bool[Tensor, "R T"]) -> None:
        config: Any = self.model.config.get_text_config()
        window = getattr(config, "sliding_window", None)
        if window is None or seen.shape[1] <= window or not bool(_with_holes(seen).any()):
            return
        raise ModelError(
            f"{type(self.model).__name__}: found rows of {seen.shape[1]} columns with holes for a sliding window of {window}, "
            "which counts columns, expected rows that fit into it. Ask for fewer or shorter steps, or use a model whose "
            "attention sees the whole text."
        )


def _visible(seen: Bool[Tensor, "R T"], owner: Int[Tensor, "L Q"]) -> Bool[Tensor, "L 1 Q T"]:
    """Which columns each of the last Q ones sees: those of its own row, up to itself. The second axis is that of the heads."""
    width, count = seen.shape[1], owner.shape[1]
    before = torch.arange(width) <= torch.arange(width - count, width)[:, None]
    return (seen[owner.clamp(min=0)] & before & (owner >= 0)[:, :, None])[:, None]


def _with_holes(seen: Bool[Tensor, "R T"]) -> Bool[Tensor, " R"]:
    """Whether something is hidden after the first token of a row."""
    return seen.sum(dim=1) < seen.cummax(dim=1).values.sum(dim=1)


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
