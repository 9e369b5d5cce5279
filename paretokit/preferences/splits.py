"""Which records are held out for tests, by prompt, so that no prompt is on both sides. Imports: torch, `errors`, `prompts`."""

import math
from collections.abc import Sequence

import torch

from paretokit.errors import ConfigError, DataError
from paretokit.prompts import Prompt, describe

__all__ = ["held_out_by_prompt"]


def held_out_by_prompt(prompts: Sequence[Prompt], *, test: float | int, seed: int, source: str, noun: str) -> frozenset[int]:
    """Return the indices of the records that are held out: all those of some prompts, drawn in an order that depends on `seed`.

    Prompts are taken until at least `test` records are held out: a number, or a share of all for a float between 0 and 1.
    Raises `ConfigError` for a `test` out of range, `DataError` where no record would be left, naming `source` and `noun`.

    >>> sorted(held_out_by_prompt(["a", "b", "a"], test=1, seed=0, source="memory", noun="pairs"))
    [0, 2]
    """
    share = isinstance(test, float)
    if isinstance(test, bool) or (share and not 0 < test < 1) or (not share and test < 1):
        raise ConfigError(f"test: found {describe(test)}, expected a number of {noun}, at least 1, or a share in (0, 1).")
    wanted = math.ceil(test * len(prompts)) if share else int(test)
    groups: dict[Prompt, list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault(prompt, []).append(index)
    held_out: set[int] = set()
    keys = list(groups)
    for draw in torch.randperm(len(keys), generator=torch.Generator().manual_seed(seed)).tolist():
        if len(held_out) >= wanted:
            break
        held_out.update(groups[keys[draw]])
    if len(held_out) == len(prompts):
        raise DataError(
            f"{source}: {len(prompts)} {noun} on {len(groups)} prompts leave none to train on with test={test}; "
            f"ask for less, or bring {noun} on more prompts."
        )
    return frozenset(held_out)
