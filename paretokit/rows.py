"""Token rows: what a model reads, and which of its predictions are scored.

Prompts and responses arrive as token ids (see `texts`) and leave as one padded table with flat indices of the scored
predictions, so that a model computes logits only where they count and a sum over a sequence is one `index_add`.
In this version a row holds one sequence; `sequence` and `segments` leave room for more. Imports: torch, `shapes`,
`errors`.
"""

from array import array
from collections.abc import Sequence
from typing import NamedTuple

import torch

from paretokit.errors import DataError
from paretokit.shapes import Int, Tensor

__all__ = ["Rows", "pad_rows"]


class Rows(NamedTuple):
    """R rows of T positions that hold S sequences with N scored tokens in all. Everything is int64.

    Padding is where `segments` is 0, never where `input_ids` has some value: a pad id may also be a real token.
    """

    input_ids: Int[Tensor, "R T"]  # padded on the right with 0
    position_ids: Int[Tensor, "R T"]  # 0, 1, ... along each sequence; 0 on padding
    segments: Int[Tensor, "R T"]  # 0 padding, > 0 real
    predicting: Int[Tensor, " N"]  # flat index r * T + t of the position whose next token is scored
    targets: Int[Tensor, " N"]  # the scored token
    sequence: Int[Tensor, " N"]  # which of the S sequences the scored token belongs to


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
    width = int(lengths.max())
    position = torch.arange(width).expand(len(prompts), width)
    real = position < lengths[:, None]
    input_ids = torch.zeros(len(prompts), width, dtype=torch.int64)
    tokens = array("q", [token for pair in zip(prompts, responses, strict=True) for part in pair for token in part])
    input_ids[real] = torch.frombuffer(tokens, dtype=torch.int64)  # ten times faster than torch.tensor(list)
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
    )


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
