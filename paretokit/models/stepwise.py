"""A model whose layers carry a state, to be called as one that attends is: with padded rows, a mask and a cache.

A state has no columns: what was padding is in it for good, and a hole between tokens is in the window of a convolution. So rows
are never padded here. Those of equal length that go on with equally many tokens are read together, and each group has a cache
of its own. Where a model goes on with one token at a time alone (`continuing`), blocks are read so; where it cannot be trusted
to go on at all, the tokens of a row are kept, and read again from their start. Imports: torch, transformers, `continuing`,
`heads`.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from transformers.cache_utils import LinearAttentionCacheLayerMixin

from paretokit.models.continuing import Continuing, answer_of, cache_of, continuing
from paretokit.models.heads import RowHead
from paretokit.shapes import Float, Int, Tensor

__all__ = ["StepCache", "Stepped", "Stepwise", "chosen_rows", "stepwise"]


def stepwise(model: Any) -> Any:
    """Return a model that may be called with padded rows and a cache: itself where its layers attend alone."""
    if isinstance(model, Stepwise) or not isinstance(model, torch.nn.Module):
        return model
    how = continuing(model)
    return Stepwise(model, how) if how.carries else model


class Stepped(NamedTuple):
    """What a model answers: of each row the logits, or hidden state, after its last token."""

    logits: Float[Tensor, "R 1 V"]
    last_hidden_state: Float[Tensor, "R 1 V"]  # the same, for a model without output projection
    past_key_values: "StepCache"


class _Group(NamedTuple):
    """Rows of equal length, which were read together."""

    rows: list[int]
    held: dict[str, Any]  # the cache by its name; none before anything is read
    tokens: list[list[int]]  # of each row


class StepCache:
    """The groups of R rows, each with its own cache."""

    def __init__(self, groups: Sequence[_Group], *, count: int) -> None:
        self.groups = list(groups)
        self.count = count

    def batch_select_indices(self, indices: Int[Tensor, " r"]) -> None:
        """Keep these rows, in this order; a row may be kept more than once."""
        places: dict[int, list[int]] = {}
        for place, row in enumerate(indices.tolist()):
            places.setdefault(row, []).append(place)
        kept = []
        for group in self.groups:
            picked = [(number, place) for number, row in enumerate(group.rows) for place in places.get(row, ())]
            if picked:
                kept.append(_part(group, [number for number, _ in picked], rows=[place for _, place in picked]))
        self.groups, self.count = kept, len(indices)


class Stepwise:
    """A model that carries a state, called as one that attends is."""

    def __init__(self, model: Any, how: Continuing) -> None:
        self.model = model
        self.how = how

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def __call__(
        self,
        *,
        input_ids: Int[Tensor, "R Q"],
        attention_mask: Int[Tensor, "R T"],
        past_key_values: StepCache | None = None,
        **inputs: Any,
    ) -> Stepped:
        """Return what follows the last token of each row; what is masked is not read. Row r goes on with the tokens of
        `input_ids` that the last Q columns of the mask name; where there are none, what is returned for it means nothing."""
        width = input_ids.shape[1]
        real = attention_mask[:, -width:].bool().tolist()
        ids = input_ids.tolist()
        blocks = [[token for token, here in zip(*row, strict=True) if here] for row in zip(ids, real, strict=True)]
        cache = past_key_values or StepCache([_Group(list(range(len(blocks))), {}, [[] for _ in blocks])], count=len(blocks))
        found: dict[int, Tensor] = {}
        groups = []
        for part in _alike(cache.groups, blocks):
            fresh = [blocks[row] for row in part.rows]
            if not fresh[0]:
                groups.append(part)
                continue
            after, group = self._read(part, fresh)
            groups.append(group)
            found |= after
        head = self._row_head()
        count = len(blocks) if head is None or head.spread is None else len(head.spread)
        like = next(iter(found.values()))
        stacked = torch.stack([found.get(row, torch.zeros_like(like)) for row in range(count)])[:, None]
        cache.groups = groups  # in place, as transformers does
        return Stepped(stacked, stacked, cache)

    def _read(self, group: _Group, fresh: list[list[int]]) -> tuple[dict[int, Tensor], _Group]:
        """What follows each row after tokens more, by the number of its row; and the group then."""
        tokens = [[*before, *more] for before, more in zip(group.tokens, fresh, strict=True)]
        if not self.how.tokens:
            output = self._run(group.rows, tokens, start=0, held=None)
            return self._after(group.rows, output), _Group(group.rows, {}, tokens)
        held, start = group.held, len(group.tokens[0])
        together = self.how.blocks or not held
        cuts = [(0, len(fresh[0]))] if together else [(place, place + 1) for place in range(len(fresh[0]))]
        output: Any = None
        for begin, end in cuts:
            output = self._run(group.rows, [one[begin:end] for one in fresh], start=start + begin, held=held)
            name, cache = cache_of(output)
            held = {name: cache}
        return self._after(group.rows, output), _Group(group.rows, held, tokens)

    def _run(self, rows: list[int], tokens: list[list[int]], *, start: int, held: dict[str, Any] | None) -> Any:
        """The model's output for rows of equally many tokens, from a position on; `held` None: nothing is kept."""
        device = self.model.device
        ids = torch.tensor(tokens, device=device)
        positions = torch.arange(start, start + ids.shape[1], device=device).expand(ids.shape)
        with self._head_of(rows):
            return self.model(input_ids=ids, position_ids=positions, use_cache=held is not None, **(held or {}))

    def _after(self, rows: list[int], output: Any) -> dict[int, Tensor]:
        found = answer_of(output)
        head = self._row_head()
        if head is None or head.spread is None:
            return dict(zip(rows, found[:, -1], strict=True))
        return dict(zip(_read_by(head, rows), found[:, -1], strict=True))

    def _row_head(self) -> RowHead | None:
        find = getattr(self.model, "get_output_embeddings", None)
        head = None if find is None else find()
        return head if isinstance(head, RowHead) else None

    @contextmanager
    def _head_of(self, rows: list[int]) -> Iterator[None]:
        """While a head that mixes row by row sees these rows alone."""
        head = self._row_head()
        if head is None:
            yield
            return
        weights, spread = head.weights, head.spread
        if spread is None:
            head.weights = weights[rows]
        else:
            wanted = _read_by(head, rows)
            head.weights = weights[wanted]
            head.spread = torch.tensor([rows.index(row) for row in spread[wanted].tolist()], device=spread.device)
        try:
            yield
        finally:
            head.weights, head.spread = weights, spread


def _read_by(head: RowHead, rows: list[int]) -> list[int]:
    """The rows of the logits that read these rows of the hidden states."""
    assert head.spread is not None, "each reads its own otherwise"
    return [place for place, row in enumerate(head.spread.tolist()) if row in set(rows)]


def _alike(groups: Sequence[_Group], blocks: Sequence[Sequence[int]]) -> Iterator[_Group]:
    """The groups, parted by how many tokens their rows go on with."""
    for group in groups:
        members: dict[int, list[int]] = {}
        for number, row in enumerate(group.rows):
            members.setdefault(len(blocks[row]), []).append(number)
        for numbers in members.values():
            yield group if len(members) == 1 else _part(group, numbers, rows=[group.rows[number] for number in numbers])


def _part(group: _Group, numbers: list[int], *, rows: list[int]) -> _Group:
    """Rows of a group by their numbers in it, under these numbers."""
    held = {name: chosen_rows(cache, torch.tensor(numbers)) for name, cache in group.held.items()}
    return _Group(rows, held, [group.tokens[number] for number in numbers])


def chosen_rows(cache: Any, rows: Int[Tensor, " r"]) -> Any:
    """Return a cache of transformers with these rows, in this order: states as well as keys and values; differentiable.

    `cache` is left as it is.
    """
    chosen = copy.copy(cache)
    chosen.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in chosen.layers:
        if hasattr(layer, "batch_select_indices"):
            layer.batch_select_indices(rows)
        if isinstance(layer, LinearAttentionCacheLayerMixin):
            for name in ("conv_states", "recurrent_states"):
                states = getattr(layer, name)
                picked = {place: None if state is None else state[rows.to(state.device)] for place, state in states.items()}
                setattr(layer, name, picked)
            for name, value in vars(layer).items():
                if isinstance(value, dict) and name not in ("conv_states", "recurrent_states"):
                    setattr(layer, name, dict(value))
    return chosen
