"""Pairs as batches of token rows: which pairs are read together, and in which row each stands.

`packing` says where every pair goes, `make_batch` puts the tokens there. A pair whose prompt may be shared is one piece,
prompt and both responses; several short ones stand in one row. Any other pair takes two rows, one for each response.
Imports: torch, `errors`, `rows`, `shapes`, `texts`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch

from paretokit.errors import DataError, ShapeError
from paretokit.rows import Rows, alike, pad_rows, shared_rows
from paretokit.shapes import Float, Int, Tensor
from paretokit.texts import EncodedPair

__all__ = ["FORKED", "Batch", "ForkedBatch", "Packing", "Pass", "make_batch", "packing"]

ROWS = (128, 256, 512)  # tokens that rows of several pairs may hold
# Joining pairs in a row saves padding. It costs: attention, which computes what the mask hides, takes as long as all the rest
# in a row of about 1,300 tokens (SmolLM2-135M on two cores; 8 % in one of 109); and the pairs' gradients have to be sorted out.
# A pass costs something by itself, as much as some positions (25 with SmolLM2, 200 with tiny).
ATTENTION, SORTING, PASS = 1300, 0.05, 100
FORKED = (
    48  # tokens of a prompt from which on it pays to read it once, and what follows in a second forward pass (at 32 as fast)
)
WASTE = 0.25  # the share of padding up to which pairs of unequal length are read in one pass


class Pass(NamedTuple):
    """Pairs that are read in one forward and backward pass."""

    rows: tuple[tuple[int, ...], ...]  # the pairs of each row, by number; a pair that shares no prompt has a row pair
    shared: bool  # whether a pair stands in one row, its prompt once
    forked: bool = False  # and that row is read in two parts: the prompt, and both responses from where it ended

    @property
    def pairs(self) -> list[int]:
        """The pairs in the order of the rows."""
        return [pair for row in self.rows for pair in row]


class Packing(NamedTuple):
    """Every pair in exactly one row of one pass, and what that costs."""

    passes: tuple[Pass, ...]
    tokens: int  # read
    positions: int  # computed: tokens and padding
    apart: int  # pairs whose responses stand in rows of their own
    together: int  # tokens that shared prompts save

    def report(self) -> str:
        """Return one line for people: how the pairs are read, and the share of padding.

        >>> pair = EncodedPair((1, 2, 3), (4,), (5, 6))
        >>> packing([pair] * 3, allows=lambda longest: True, size=8, budget=512).report()
        '3 pairs in 3 rows, 1 pass: 0 of them apart, 9 tokens saved by shared prompts, 0 % padding'
        """
        rows = sum(len(one.rows) * (1 if one.shared else 2) for one in self.passes)
        pairs = sum(len(one.pairs) for one in self.passes)
        where = f"{_count(pairs, 'pair')} in {_count(rows, 'row')}, {_count(len(self.passes), 'pass')}"
        padding = round(100 * (1 - self.tokens / self.positions))
        return f"{where}: {self.apart} of them apart, {self.together} tokens saved by shared prompts, {padding} % padding"


class Batch(NamedTuple):
    """P pairs with m labels each, as token rows with N scored tokens in all.

    The first seven fields are those of `Rows`, with S = 2 P sequences: sequence p is response a of pair p, sequence P + p
    its response b. Masks come from `segments`, never from the value of a token.
    """

    input_ids: Int[Tensor, "R T"]
    position_ids: Int[Tensor, "R T"]
    segments: Int[Tensor, "R T"]
    predicting: Int[Tensor, " N"]
    targets: Int[Tensor, " N"]
    sequence: Int[Tensor, " N"]
    owner: Int[Tensor, "R T"]  # the pair that a position belongs to; -1 on padding
    labels: Float[Tensor, "m P"]  # +1 a is better, -1 b, 0 tie, NaN not judged
    reference: Float[Tensor, " P"]  # log-probability of a minus that of b under the reference, nats
    pair_ids: Int[Tensor, " P"]  # which pairs of the data these are
    shared: bool  # whether the responses of a pair share their prompt in one row; else each has a row of its own

    @property
    def forked(self) -> bool:
        """Whether the prompts of such rows are read first, and their responses from where they ended; see `ForkedBatch`."""
        return False

    @property
    def rows(self) -> Rows:
        """The token rows alone: what a policy reads."""
        return Rows(*self[:7])

    @property
    def tokens(self) -> int:
        """The number of tokens that are no padding."""
        return int((self.segments > 0).sum())

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device: one copy of the whole numbers, and one of the others."""
        if device == self.input_ids.device:
            return self
        whole = [name for name in self._fields if name not in ("labels", "reference", "shared")]
        moved = {**_moved(self, whole, device), **_moved(self, ["labels", "reference"], device)}
        return self._replace(**moved)


class ForkedBatch(Batch):
    """A batch of rows with one pair each that are read in two parts, see `forks`."""

    @property
    def forked(self) -> bool:
        """Whether they are."""
        return True


def packing(
    pairs: Sequence[EncodedPair],
    *,
    allows: Callable[[int], bool],
    size: int,
    budget: int,
    rows: Sequence[int | None] = (None, *ROWS),
    forks: Callable[[], bool] = lambda: False,
) -> Packing:
    """Return in which pass and row each pair is read: at most `size` pairs and `budget` positions in a pass.

    `allows` says whether a model reads pairs whose longer sequence has so many tokens with a shared prompt, exactly. Such
    pairs are placed longest first, one in each row, or several, each in the first row with room for it: whichever of `rows`
    costs the least (None: one; else the tokens that a row may hold, if its longest pair does not hold more). A pass
    with rows of one pair holds at most a quarter padding. Of the other pairs those with a long prompt are read in two parts
    where the model `forks`, which is asked for them alone, with padding as little; the rest take two rows. A single pair above
    the budget is a pass of its own.
    """
    joint = [index for index, pair in enumerate(pairs) if allows(pair.longest)]
    others = sorted(set(range(len(pairs))) - set(joint))
    long = [index for index in others if len(pairs[index].prompt) >= FORKED]
    parted = long if long and forks() else []
    apart = [index for index in others if index not in set(parted)]
    lengths = {index: _joint_length(pairs[index]) for index in joint}
    tried = [_first_fit(lengths, size=size, budget=budget, row=row) for row in rows]
    passes = [Pass(filled, True) for filled in min(tried, key=lambda found: _cost(found, lengths))]
    groups = alike([2 * pairs[index].longest for index in apart], size=size, budget=budget)
    passes += [Pass(tuple((apart[member],) for member in group), False) for group in groups]
    halves = _parted(pairs, parted, size=size, budget=budget)
    passes += [Pass(tuple((pair,) for pair in group), True, True) for group in halves]
    single = [2 * len(group) * max(pairs[apart[member]].longest for member in group) for group in groups]
    joined = [len(one.rows) * _width(one.rows, lengths) for one in passes if one.shared and not one.forked]
    single += [_positions(pairs, group) for group in halves]
    return Packing(
        passes=tuple(passes),
        tokens=sum(lengths.values())
        + sum(pairs[index].tokens for index in apart)
        + sum(_joint_length(pairs[index]) for index in parted),
        positions=sum(joined) + sum(single),
        apart=len(apart),
        together=sum(len(pairs[index].prompt) for index in (*joint, *parted)),
    )


def make_batch(
    pairs: Sequence[EncodedPair],
    labels: Float[Tensor, "m P"],
    reference: Float[Tensor, " P"],
    pair_ids: Int[Tensor, " P"],
    *,
    shared: bool = False,
    rows: Sequence[Sequence[int]] | None = None,
    forked: bool = False,
) -> Batch:
    """Return the batch of the pairs, in order.

    With `shared` a pair is one piece of a row, in which its prompt stands once; the policy's `sharing` says whether that is
    exact. `rows` then holds the pairs of each row (default: a row per pair). With `forked`, each such row is read in two parts.

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
    if shared:
        table = shared_rows(prompts, first, second, rows=rows)
    else:
        table = pad_rows(prompts * 2, first + second)
        table = table._replace(owner=torch.where(table.owner < 0, -1, table.owner % len(pairs)))
    kind = ForkedBatch if forked else Batch
    return kind(*table, labels=labels, reference=reference, pair_ids=pair_ids, shared=shared)


def _parted(pairs: Sequence[EncodedPair], chosen: Sequence[int], *, size: int, budget: int) -> list[list[int]]:
    """Pairs that are read in two parts, in passes of at most `size` pairs and `budget` positions with little padding."""
    groups: list[list[int]] = []
    for index in sorted(chosen, key=lambda index: (-len(pairs[index].prompt), -_longer(pairs[index]))):
        wider = [*groups[-1], index] if groups else [index]
        tokens = sum(_joint_length(pairs[one]) for one in wider)
        if groups and len(wider) <= size and tokens >= (1 - WASTE) * _positions(pairs, wider) <= budget:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _positions(pairs: Sequence[EncodedPair], group: Sequence[int]) -> int:
    """The positions of pairs that are read in two parts together."""
    return len(group) * (max(len(pairs[one].prompt) for one in group) + 2 * max(_longer(pairs[one]) for one in group))


def _longer(pair: EncodedPair) -> int:
    return max(len(pair.response_a), len(pair.response_b))


def _first_fit(lengths: Mapping[int, int], *, size: int, budget: int, row: int | None) -> list[tuple[tuple[int, ...], ...]]:
    """First-fit decreasing: the passes, each as rows of pairs."""
    passes: list[list[list[int]]] = []
    for pair in sorted(lengths, key=lambda index: -lengths[index]):
        rooms = (_room(one, lengths, pair, size=size, budget=budget, row=row) for one in passes)
        home = next((room for room in rooms if room is not None), None)
        if home is None:
            home = []
            passes.append([home])
        home.append(pair)
    return [tuple(map(tuple, one)) for one in passes]


def _room(
    rows: list[list[int]], lengths: Mapping[int, int], pair: int, *, size: int, budget: int, row: int | None
) -> list[int] | None:
    """The row of a pass that takes a pair no longer than its pairs, added where it may be; None where the pass does not."""
    if sum(map(len, rows)) >= size:
        return None
    filled = [sum(lengths[member] for member in members) for members in rows]
    longest, length = lengths[rows[0][0]], lengths[pair]
    for members, tokens in zip(rows, filled, strict=True):
        width = max(*filled, tokens + length)
        if row is not None and tokens + length <= max(row, longest) and len(rows) * width <= budget:
            return members
    table = (len(rows) + 1) * max(filled)
    if table <= budget and (longest <= (row or 0) or sum(filled) + length >= (1 - WASTE) * table):
        rows.append([])
        return rows[-1]
    return None


def _cost(passes: Sequence[tuple[tuple[int, ...], ...]], lengths: Mapping[int, int]) -> float:
    """What passes cost, in positions of short rows."""
    total = float(PASS * len(passes))
    for rows in passes:
        width = _width(rows, lengths)
        total += len(rows) * width * (1 + width / ATTENTION) * (1 + SORTING * (max(map(len, rows)) > 1))
    return total


def _width(rows: Sequence[Sequence[int]], lengths: Mapping[int, int]) -> int:
    return max(sum(lengths[pair] for pair in row) for row in rows)


def _joint_length(pair: EncodedPair) -> int:
    return len(pair.prompt) + len(pair.response_a) + len(pair.response_b)


def _count(number: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def _moved(batch: Batch, names: Sequence[str], device: torch.device) -> dict[str, Tensor]:
    """Some fields on a device, by one copy of all of them together."""
    parts = [getattr(batch, name) for name in names]
    whole = torch.cat([part.flatten() for part in parts]).to(device, non_blocking=True)
    split = whole.split([part.numel() for part in parts])
    return {name: flat.view(part.shape).to(part.dtype) for name, flat, part in zip(names, split, parts, strict=True)}
