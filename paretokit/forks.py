"""Pairs that are read in two parts: each prompt once, and then both responses from where it ended.

Where layers carry a state along a row, two responses cannot stand in it side by side; but what a model holds after a prompt can
be given to both. The rows are those of `shared_rows`, a pair in each; here is what is read of them, and where what was read
predicts their scored tokens. Imports: torch, `rows`, `shapes`.
"""

from typing import NamedTuple

import torch

from paretokit.rows import Rows
from paretokit.shapes import Float, Int, Tensor

__all__ = ["Fork", "fork"]

_FEWEST = 2  # columns of responses: with one alone, models take the rule for a single token, which writes over its state


class Fork(NamedTuple):
    """P prompts, padded on the left, and their 2 P responses, padded on the right; the first responses come first."""

    prompts: Int[Tensor, "P L"]  # token ids
    prompt_positions: Int[Tensor, "P L"]  # 0, 1, ... along each prompt; 0 on padding
    prompt_mask: Int[Tensor, "P L"]  # 1 where a token is
    prompt_owner: Int[Tensor, "P L"]  # as in `Rows`
    responses: Int[Tensor, "P2 C"]  # token ids; the last token of a response predicts nothing, and is not read
    response_positions: Int[Tensor, "P2 C"]  # go on from those of the prompt, over padding too
    response_owner: Int[Tensor, "P2 C"]
    predicting: Int[Tensor, " N"]  # the place of what predicts a scored token: p after prompt p, then P + r C + c

    def after(self, prompts: Float[Tensor, "P L D"], responses: Float[Tensor, "P2 C D"]) -> Float[Tensor, "N D"]:
        """Return what was found where each scored token is predicted, of what was found at every position."""
        return torch.cat([prompts[:, -1], responses.flatten(0, 1)])[self.predicting.to(prompts.device)]


def fork(rows: Rows) -> Fork:
    """Return how to read rows of `shared_rows`, each with a single pair, in two parts.

    >>> from paretokit.rows import shared_rows
    >>> found = fork(shared_rows([[5, 6], [7]], [[8, 9], [3]], [[4], [1, 2, 3]]))
    >>> found.prompts.tolist(), found.prompt_mask.tolist()
    ([[5, 6], [0, 7]], [[1, 1], [0, 1]])
    >>> found.responses.tolist(), found.response_positions.tolist()
    ([[8, 0], [0, 0], [0, 0], [1, 2]], [[2, 3], [1, 2], [2, 3], [1, 2]])
    >>> found.predicting.tolist()
    [0, 2, 1, 0, 1, 8, 9]
    """
    assert int(rows.segments.max()) <= 3, "a row holds one pair"
    count, device = len(rows.input_ids), rows.input_ids.device
    before, *scored = ((rows.segments == part).sum(dim=1) for part in (1, 2, 3))
    read = torch.cat(scored) - 1  # tokens of each response that are read
    length, width = int(before.max()), max(_FEWEST, int(read.max()))
    own = rows.owner[:, 0]
    column = torch.arange(length, device=device) - (length - before)[:, None]
    here = column >= 0
    place = torch.arange(width, device=device)
    starts = torch.cat([before, before + scored[0]])
    real = place < read[:, None]
    at = (starts[:, None] + place).clamp(max=rows.input_ids.shape[1] - 1)
    ids = rows.input_ids
    # the scored tokens of a sequence follow each other
    sequence = rows.sequence
    first = torch.cat([sequence.new_ones(1, dtype=torch.bool), sequence[1:] != sequence[:-1]])
    index = torch.arange(len(sequence), device=device)
    nth = index - index.where(first, index.new_zeros(())).cummax(dim=0).values
    row = _rows_of(own, sequence)
    line = row + count * (sequence >= count)
    return Fork(
        prompts=torch.where(here, ids.gather(1, column.clamp(min=0)), 0),
        prompt_positions=column.clamp(min=0),
        prompt_mask=here.long(),
        prompt_owner=torch.where(here, own[:, None], -1),
        responses=torch.where(real, ids.repeat(2, 1).gather(1, at), 0),
        response_positions=before.repeat(2)[:, None] + place,
        response_owner=torch.where(real, own.repeat(2)[:, None], -1),
        predicting=torch.where(nth == 0, row, count + line * width + nth - 1),
    )


def _rows_of(own: Int[Tensor, " P"], sequence: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
    """The row of the pair of each sequence; `own` is the pair of each row."""
    return own.argsort()[sequence % len(own)]
