"""Which pairs an optimizer step reads, from its number and the seed alone.

Imports: torch, `training.config`; `preferences` by value.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from hashlib import blake2b
from typing import NamedTuple

import torch

from paretokit.preferences.records import Preferences
from paretokit.shapes import Float, Tensor
from paretokit.training.config import TrainConfig

__all__ = ["Draw", "Drawn", "by_head", "counted", "draw_for", "jointly", "order", "stream"]


class Drawn(NamedTuple):
    """The rows of a step: a pair of the data each, with its labels."""

    pairs: list[int]
    labels: Float[Tensor, "m R"]


Draw = Callable[[int], Drawn]  # step, counted from 1 -> its rows


def jointly(preferences: Preferences, *, size: int, seed: int) -> Draw:
    """Return how steps of `size` pairs are drawn, each with all its labels: one seeded shuffle after another."""

    def draw(step: int) -> Drawn:
        drawn = order(len(preferences), step=step, size=size, seed=seed)
        return Drawn(drawn, preferences.labels[:, drawn])

    return draw


def by_head(preferences: Preferences, *, size: int, seed: int) -> Draw:
    """Return how steps are drawn for heads: `size` pairs of each objective's own, each row with one label.

    Every objective goes through the pairs that it judged in seeded shuffles of its own, so that no data set is cut to the
    length of another. Objectives that judged the same pairs draw the same ones: such a pair has a row for each.
    """
    pools = [(~row.isnan()).nonzero().squeeze(1).tolist() for row in preferences.labels]

    def draw(step: int) -> Drawn:
        rows = [
            (pool[index], objective)
            for objective, pool in enumerate(pools)
            if pool
            for index in order(len(pool), step=step, size=size, seed=seed)
        ]
        pairs, objectives = map(list, zip(*rows, strict=True))
        labels = torch.full((len(pools), len(rows)), torch.nan)
        places = torch.arange(len(rows))
        labels[objectives, places] = preferences.labels[objectives, pairs]
        return Drawn(pairs, labels)

    return draw


def draw_for(heads: Sequence[str], preferences: Preferences, config: TrainConfig) -> Draw:
    """Return how the steps of a policy with these heads, or with none, draw their pairs."""
    return (by_head if heads else jointly)(preferences, size=config.pairs_per_step, seed=config.seed)


def counted(config: TrainConfig, preferences: Preferences, heads: Sequence[str]) -> TrainConfig:
    """Return the configuration with its epochs turned into steps; as it is where it has steps.

    The steps are as many as it takes to read every pair of `preferences` `epochs` times: epochs times pairs over
    `pairs_per_step`, rounded up. Pairs are read in one shuffle after another without a break, so no step is short: the last one
    is filled up from the next shuffle. With heads an epoch is one pass over the pairs of the objective that has the most.

    >>> from paretokit.preferences.worlds import world
    >>> pairs = world("safety").preferences.select(indices=range(10))
    >>> counted(TrainConfig(epochs=2, pairs_per_step=8), pairs, ()).steps
    3
    """
    if config.epochs is None:
        return config
    total = max((~preferences.labels.isnan()).sum(dim=1).tolist()) if heads else len(preferences)
    return config.replace(steps=math.ceil(Fraction(str(config.epochs)) * total / config.pairs_per_step))


def order(total: int, *, step: int, size: int, seed: int) -> list[int]:
    """Return the indices of the pairs of a step (counted from 1): the pairs are read in one seeded shuffle after another,
    `size` at a time, so that the pairs of a step follow from its number alone.

    >>> order(3, step=1, size=2, seed=0) + order(3, step=2, size=2, seed=0)[:1] != [0, 0, 0]
    True
    >>> sorted(order(4, step=1, size=4, seed=7))
    [0, 1, 2, 3]
    """
    positions = range((step - 1) * size, step * size)
    epochs = {position // total for position in positions}
    shuffles = {
        epoch: torch.randperm(total, generator=torch.Generator().manual_seed(stream(seed, "order", epoch))).tolist()
        for epoch in epochs
    }
    return [shuffles[position // total][position % total] for position in positions]


def stream(seed: int, purpose: str, index: int) -> int:
    """Return a seed of its own for each (seed, purpose, index), below 2^63.

    >>> stream(0, "order", 1) == stream(0, "order", 1) != stream(0, "method", 1)
    True
    """
    return int.from_bytes(blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=8).digest(), "big") >> 1
