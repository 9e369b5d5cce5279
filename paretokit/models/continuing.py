"""Whether a model goes on from a cache exactly: with one token, and with several at once.

Attention does. Of layers that carry a state, some have a rule for several tokens that forgets the state, or a cache that
transformers cannot hand on; and what such layers keep cannot be told by a mask from what was padding. So a model with layers
of that kind is asked once, by a small random model of its class. Imports: torch, transformers, `layer_kinds`, `small_twin`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from transformers.cache_utils import DynamicCache

from paretokit.models.compute import out_of_memory
from paretokit.models.layer_kinds import layer_kinds
from paretokit.models.small_twin import Asked, redraw, small_twin
from paretokit.shapes import Float, Tensor

__all__ = ["CACHES", "Continuing", "answer_of", "cache_of", "continuing"]

CACHES = ("past_key_values", "cache_params")  # what models call their cache
_CLOSE = 1e-4  # in units of the largest logit
# In transformers 5.23 Zamba 2 and Nemotron-H keep step sizes above time_step_min in their rule for several tokens, but not in
# that for one. So decoding by a cache is off by some 1e-3 there, whoever decodes; a state that is lost is off by some 1e-1.
_CLOSE_BY_ONE = 5e-3
_LENGTH = 9


class Continuing(NamedTuple):
    """How a model may go on from what it has read."""

    carries: bool  # whether it has layers that carry a state; else what follows is true
    blocks: bool  # with several tokens at once
    tokens: bool  # with one token

    @property
    def report(self) -> str:
        """One line for people.

        >>> Continuing(True, False, True).report
        'its layers carry a state, which goes on with one token at a time'
        """
        if not self.carries:
            return "from its cache"
        if self.blocks:
            return "its layers carry a state, which goes on with any number of tokens"
        if self.tokens:
            return "its layers carry a state, which goes on with one token at a time"
        return "what its layers carry cannot be handed on: texts are read from their start each time"


def cache_of(output: Any) -> tuple[str, Any]:
    """Return the cache that a model gives back, and what it calls it; None where it gives none."""
    return next(((name, found) for name in CACHES if (found := getattr(output, name, None)) is not None), ("", None))


def answer_of(output: Any) -> Tensor:
    """Return the logits of a model's output, or the hidden states where it has no output projection."""
    return output.last_hidden_state if getattr(output, "logits", None) is None else output.logits


def continuing(model: Any) -> Continuing:
    """Return how a model goes on; one whose layers attend alone is not run."""
    kinds = layer_kinds(model, model.config.get_text_config())
    if not (kinds.carrying or kinds.unknown):
        return Continuing(False, True, True)
    return _of_twin(Asked(model))


@lru_cache(maxsize=256)
def _of_twin(asked: Asked) -> Continuing:
    model = small_twin(asked.taken()).model
    if model is None:  # then nothing shows that the cache may be trusted
        return Continuing(True, False, False)
    redraw(model, seed=0)
    size = int(model.config.get_text_config().vocab_size)
    ids = torch.randint(0, size, (2, _LENGTH), generator=torch.Generator().manual_seed(0))
    half = _LENGTH // 2
    blocks = all(_goes_on(model, ids, ends, close=_CLOSE) for ends in ([half, half + 2, _LENGTH], [1, half, _LENGTH]))
    tokens = _goes_on(model, ids, [half, *range(half + 1, _LENGTH + 1)], close=_CLOSE_BY_ONE)
    return Continuing(True, blocks, tokens)


@torch.no_grad()
def _goes_on(model: Any, ids: Tensor, ends: Sequence[int], *, close: float) -> bool:
    """Whether rows that are read up to these ends, one after another, give the logits of rows that are read at once."""
    expected: Float[Tensor, "R V"] = answer_of(model(input_ids=ids, use_cache=False))[:, -1]
    held: dict[str, Any] = {}
    start = 0
    found = expected
    for end in ends:
        try:
            positions = torch.arange(start, end).expand(len(ids), -1)
            output = model(input_ids=ids[:, start:end], position_ids=positions, use_cache=True, **held)
        except Exception as error:  # a layer that was not made for it may fail in any way
            if out_of_memory(error):
                raise
            return False
        name, cache = cache_of(output)
        if type(cache) is not DynamicCache:  # nor is a cache of a family's own known to choose rows rightly
            return False
        held, start, found = {name: cache}, end, answer_of(output)[:, -1]
    return bool((found - expected).abs().max() <= close * expected.abs().max().clamp(min=1.0))
