"""Token rows: what a model reads, and which of its predictions are scored.

Prompts and responses arrive as token ids (see `texts`) and leave as one padded table with flat indices of the scored
predictions, so that a model computes logits only where they count and a sum over a sequence is one `index_add`.
A row holds one sequence (`pad_rows`), or pairs that share their prompts (`shared_rows`). Imports: torch, `shapes`, `errors`.
"""

from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch

from paretokit.errors import DataError
from paretokit.shapes import Bool, Float, Int, Tensor

__all__ = ["Rows", "additive", "alike", "pad_rows", "shared_rows", "text_rows", "visible"]


class Rows(NamedTuple):
    """R rows of T positions that hold S sequences with N scored tokens in all. Everything is int64.

    Padding is where `segments` is 0, never where `input_ids` has some value: a pad id may also be a real token.
    """

    input_ids: Int[Tensor, "R T"]  # padded on the right with 0
    position_ids: Int[Tensor, "R T"]  # 0, 1, ... along each sequence; 0 on padding
    segments: Int[Tensor, "R T"]  # 0 padding, 1 a sequence; or 3 k + 1, 2, 3: prompt and responses of pair k of the row
    predicting: Int[Tensor, " N"]  # flat index r * T + t of the position whose next token is scored
    targets: Int[Tensor, " N"]  # the scored token
    sequence: Int[Tensor, " N"]  # which of the S sequences the scored token belongs to
    owner: Int[Tensor, "R T"]  # which of the prompts that were given the position belongs to; -1 on padding


def pad_rows(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Rows:
    """Return one row per sequence, in order: the prompt, then the response, of which every token is scored.

    `prompts` and `responses` hold token ids, [S] sequences each. A prompt must hold at least one token, since the first
    response token is predicted from the last prompt token; a response at least one, since a sum over nothing is no
    log-probability. The scored tokens of sequence s are exactly `responses[s]`, in order; sequences follow each other.

    Raises `DataError` for an empty prompt or response, for numbers of prompts and responses that differ, and for none.

    >>> rows = pad_rows([[5, 6], [7]], [[8, 9], [3]])
    >>> rows.input_ids.tolist(), rows.segments.tolist()
    ([[5, 6, 8, 9], [7, 3, 0, 0]], [[1, 1, 1, 1], [1, 1, 0, 0]])
    >>> rows.predicting.tolist(), rows.targets.tolist(), rows.sequence.tolist()
    ([1, 2, 4], [8, 9, 3], [0, 0, 1])
    """
    _check(prompts, responses)
    before = torch.tensor([len(prompt) for prompt in prompts])
    scored = torch.tensor([len(response) for response in responses])
    lengths = before + scored
    input_ids, position, real = _table(zip(prompts, responses, strict=True), lengths)
    # the token at t is predicted at t - 1
    predicts = (position >= before[:, None] - 1) & (position < lengths[:, None] - 1)
    predicting = predicts.flatten().nonzero().squeeze(1)
    return Rows(
        input_ids=input_ids,
        position_ids=torch.where(real, position, 0),
        segments=real.long(),
        predicting=predicting,
        targets=input_ids.flatten()[predicting + 1],
        sequence=torch.arange(len(prompts)).repeat_interleave(scored),
        owner=torch.where(real, torch.arange(len(prompts))[:, None], -1),
    )


def text_rows(texts: Sequence[Sequence[int]]) -> Rows:
    """Return one row per text, in order, of which no token is scored: it is read for its hidden states.

    Raises `DataError` for no texts and for an empty one.

    >>> rows = text_rows([[5, 6, 8], [7]])
    >>> rows.input_ids.tolist(), rows.segments.tolist(), rows.targets.tolist()
    ([[5, 6, 8], [7, 0, 0]], [[1, 1, 1], [1, 0, 0]], [])
    """
    _check(texts, texts)
    input_ids, position, real = _table(((text,) for text in texts), torch.tensor([len(text) for text in texts]))
    nothing = torch.zeros(0, dtype=torch.int64)
    return Rows(
        input_ids=input_ids,
        position_ids=torch.where(real, position, 0),
        segments=real.long(),
        predicting=nothing,
        targets=nothing,
        sequence=nothing,
        owner=torch.where(real, torch.arange(len(texts))[:, None], -1),
    )


def shared_rows(
    prompts: Sequence[Sequence[int]],
    first: Sequence[Sequence[int]],
    second: Sequence[Sequence[int]],
    *,
    rows: Sequence[Sequence[int]] | None = None,
) -> Rows:
    """Return pairs in rows, each as its prompt, its first response, its second one; both are scored.

    `rows` holds the pairs of each row, by number; every pair stands in exactly one (default: a row per pair, in order).
    The prompt stands there once. Each response continues it: positions of the second start again where those of the first
    did, and it must not see the first, nor any pair another one, see `visible`. Of P pairs, sequence p is the first response
    of pair p and sequence P + p its second one; the scored tokens are those of the first responses in order, then those of
    the second.

    Raises `DataError` as `pad_rows` does.

    >>> rows = shared_rows([[5, 6]], [[8, 9]], [[3]])
    >>> rows.input_ids.tolist(), rows.position_ids.tolist(), rows.segments.tolist()
    ([[5, 6, 8, 9, 3]], [[0, 1, 2, 3, 2]], [[1, 1, 2, 2, 3]])
    >>> rows.predicting.tolist(), rows.targets.tolist(), rows.sequence.tolist()
    ([1, 2, 1], [8, 9, 3], [0, 0, 1])
    >>> shared_rows([[5], [6]], [[7], [8]], [[9], [3]], rows=[[1, 0]]).input_ids.tolist()
    [[6, 8, 3, 5, 7, 9]]
    """
    _check(prompts, first)
    _check(prompts, second)
    before, one, two = (torch.tensor([len(part) for part in parts]) for parts in (prompts, first, second))
    lengths = before + one + two
    row, slot, start, width, count = _places(lengths.tolist(), rows)
    # all tokens of all pairs, one after another
    owner = torch.arange(len(lengths)).repeat_interleave(lengths)
    place = torch.arange(len(owner)) - (lengths.cumsum(0) - lengths)[owner]
    in_second = place >= (before + one)[owner]
    in_first = (place >= before[owner]) & ~in_second
    at = (row * width + start)[owner] + place

    def table(values: Tensor, *, empty: int = 0) -> Tensor:
        return torch.full((count * width,), empty).index_put((at,), values).view(count, width)

    tokens = _tokens(zip(prompts, first, second, strict=True))
    scored = torch.cat([in_first.nonzero().squeeze(1), in_second.nonzero().squeeze(1)])
    # a token is predicted one place before it, the first one of a second response at the end of the prompt
    behind = torch.where(place == (before + one)[owner], one[owner] + 1, 1)
    return Rows(
        input_ids=table(tokens),
        position_ids=table(place - one[owner] * in_second),
        segments=table(3 * slot[owner] + 1 + in_first.long() + 2 * in_second.long()),
        predicting=(at - behind)[scored],
        targets=tokens[scored],
        sequence=(owner + len(lengths) * in_second)[scored],
        owner=table(owner, empty=-1),
    )


def visible(segments: Int[Tensor, "R T"]) -> Bool[Tensor, "R 1 T T"]:
    """Return which position (last axis) each position sees: what precedes it in its own segment and in its pair's prompt.

    Padding sees padding, itself included, since an attention over nothing has no value. The second axis is that of the heads.

    >>> visible(torch.tensor([[1, 2, 3]]))[0, 0].int().tolist()
    [[1, 0, 0], [1, 1, 0], [1, 0, 1]]
    >>> visible(torch.tensor([[1, 2, 4, 5]]))[0, 0].int().tolist()
    [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
    """
    pair, part = torch.div(segments - 1, 3, rounding_mode="floor"), (segments - 1).remainder(3)  # 0 prompt, 1 and 2 responses
    place = torch.arange(segments.shape[1], device=segments.device)
    same = pair[:, :, None] == pair[:, None, :]
    prompt = (part == 0)[:, None, :]
    seen = (place[:, None] >= place) & same & (prompt | (part[:, :, None] == part[:, None, :]))
    return seen[:, None]


def additive(seen: Bool[Tensor, "R 1 Q T"], dtype: torch.dtype) -> Float[Tensor, "R 1 Q T"]:
    """Return what is added to attention scores: 0 where something is seen, else the least number that `dtype` has.

    All attention functions of transformers take that, not all take a mask of truth values.

    >>> additive(torch.tensor([[[[True, False]]]]), torch.float16)
    tensor([[[[     0., -65504.]]]], dtype=torch.float16)
    """
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)


def _places(lengths: Sequence[int], rows: Sequence[Sequence[int]] | None) -> tuple[Tensor, Tensor, Tensor, int, int]:
    """The row of each pair, its number there and its first place; the width of the rows and how many there are."""
    given = [[pair] for pair in range(len(lengths))] if rows is None else rows
    if sorted(pair for members in given for pair in members) != list(range(len(lengths))):
        raise DataError(f"rows: found the pairs {given}, expected each of {len(lengths)} in exactly one row.")
    row, slot, start = (torch.zeros(len(lengths), dtype=torch.int64) for _ in range(3))
    width = 0
    for index, members in enumerate(given):
        filled = 0
        for number, pair in enumerate(members):
            row[pair], slot[pair], start[pair] = index, number, filled
            filled += lengths[pair]
        width = max(width, filled)
    return row, slot, start, width, len(given)


def _table(
    parts: Iterable[tuple[Sequence[int], ...]], lengths: Int[Tensor, " R"]
) -> tuple[Int[Tensor, "R T"], Int[Tensor, "R T"], Bool[Tensor, "R T"]]:
    """The token ids of each row one after another, padded with 0; the places; and where there is a token."""
    width = int(lengths.max())
    position = torch.arange(width).expand(len(lengths), width)
    real = position < lengths[:, None]
    input_ids = torch.zeros(len(lengths), width, dtype=torch.int64)
    input_ids[real] = _tokens(parts)
    return input_ids, position, real


def _tokens(parts: Iterable[tuple[Sequence[int], ...]]) -> Int[Tensor, " n"]:
    """All tokens one after another; ten times faster than torch.tensor(list)."""
    return torch.frombuffer(array("q", [token for row in parts for part in row for token in part]), dtype=torch.int64)


def _check(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> None:
    if len(prompts) != len(responses):
        raise DataError(f"rows: found {len(prompts)} prompts and {len(responses)} responses; pass one response per prompt.")
    if not prompts:
        raise DataError("rows: found no sequences; pass at least one prompt with its response.")
    for name, parts in (("prompt", prompts), ("response", responses)):
        for index, part in enumerate(parts):
            if not len(part):
                raise DataError(
                    f"rows: {name} {index} holds no tokens; encode it with paretokit.texts, which adds BOS or the end token."
                )


def alike(lengths: Sequence[int], *, size: int, budget: int, waste: float = 0.25) -> list[list[int]]:
    """Return the indices of the lengths in groups of like length, shortest first. Every index stands in exactly one group.

    A group has at most `size` members, its padded table holds at most `budget` positions, and at most the share `waste` of
    them is padding; a single length above the budget is a group of its own.

    >>> alike([10, 300, 12, 290, 11], size=8, budget=1000)
    [[0, 4, 2], [3, 1]]
    >>> alike([10, 10, 10], size=2, budget=1000), alike([10, 10, 10], size=8, budget=20)
    ([[0, 1], [2]], [[0, 1], [2]])
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        joined = [*groups[-1], index] if groups else [index]
        table = len(joined) * lengths[index]
        if groups and len(joined) <= size and table <= budget and sum(lengths[i] for i in joined) >= (1 - waste) * table:
            groups[-1] = joined
        else:
            groups.append([index])
    return groups
