"""Pairs as one batch of token rows: what a training step reads.

Imports: torch, `errors`, `rows`, `shapes`, `texts`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from paretokit.errors import DataError, ShapeError
from paretokit.rows import Rows, pad_rows, shared_rows
from paretokit.shapes import Float, Int, Tensor
from paretokit.texts import EncodedPair

__all__ = ["Batch", "make_batch"]


class Batch(NamedTuple):
    """P pairs with m labels each, as token rows with N scored tokens in all.

    The first six fields are those of `Rows`, with S = 2 P sequences: sequence p is response a of pair p, sequence P + p
    its response b. Masks come from `segments`, never from the value of a token.
    """

    input_ids: Int[Tensor, "R T"]
    position_ids: Int[Tensor, "R T"]
    segments: Int[Tensor, "R T"]
    predicting: Int[Tensor, " N"]
    targets: Int[Tensor, " N"]
    sequence: Int[Tensor, " N"]
    labels: Float[Tensor, "m P"]  # +1 a is better, -1 b, 0 tie, NaN not judged
    reference: Float[Tensor, " P"]  # log-probability of a minus that of b under the reference, nats
    pair_ids: Int[Tensor, " P"]  # which pairs of the data these are

    @property
    def rows(self) -> Rows:
        """The token rows alone: what a policy reads."""
        return Rows(*self[:6])

    @property
    def shared(self) -> bool:
        """Whether the responses of a pair share their prompt in one row; else each has a row, those of a first."""
        return len(self.input_ids) == self.labels.shape[1]

    @property
    def pair(self) -> Int[Tensor, " R"]:
        """Which pair each row belongs to."""
        count = self.labels.shape[1]
        return torch.arange(count, device=self.input_ids.device).repeat(len(self.input_ids) // count)

    @property
    def tokens(self) -> int:
        """The number of tokens that are no padding."""
        return int((self.segments > 0).sum())

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        return type(self)(*(part.to(device) for part in self))


def make_batch(
    pairs: Sequence[EncodedPair],
    labels: Float[Tensor, "m P"],
    reference: Float[Tensor, " P"],
    pair_ids: Int[Tensor, " P"],
    *,
    shared: bool = False,
) -> Batch:
    """Return the batch of the pairs, in order.

    With `shared` a pair is one row, in which its prompt stands once; the policy's `sharing` says whether that is exact.

    Raises `DataError` for no pairs, `ShapeError` where labels, reference or ids are not one per pair.

    >>> import torch
    >>> pair = EncodedPair(prompt=(5, 6), response_a=(8, 3), response_b=(3,))
    >>> batch = make_batch([pair], torch.tensor([[1.0], [-1.0]]), torch.zeros(1), torch.tensor([40]))
    >>> batch.input_ids.tolist(), batch.targets.tolist(), batch.sequence.tolist()
    ([[5, 6, 8, 3], [5, 6, 3, 0]], [8, 3, 3], [0, 0, 1])
    """
    if not pairs:
        raise DataError("batch: found no pairs, expected at least one.")
    for name, value in (("labels", labels), ("reference", reference), ("pair_ids", pair_ids)):
        if value.shape[-1] != len(pairs):
            raise ShapeError(f"batch, {name}: found {value.shape[-1]} pairs, expected {len(pairs)} as encoded.")
    prompts, first, second = ([getattr(pair, part) for pair in pairs] for part in ("prompt", "response_a", "response_b"))
    rows = shared_rows(prompts, first, second) if shared else pad_rows(prompts * 2, first + second)
    return Batch(*rows, labels=labels, reference=reference, pair_ids=pair_ids)
