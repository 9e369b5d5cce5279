"""The built-in tasks: readable English, exact scorers, a known front. Each is a `Rules`; `build` does the rest."""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from paretokit.errors import DataError, suggestion
from paretokit.preferences.worlds.arithmetic import MATH
from paretokit.preferences.worlds.build import World, build
from paretokit.preferences.worlds.rules import Rules
from paretokit.preferences.worlds.safety import SAFETY
from paretokit.preferences.worlds.summaries import SUMMARIES
from paretokit.preferences.worlds.tutoring import TUTORING
from paretokit.preferences.worlds.values import VALUES

__all__ = ["WORLDS", "World", "world"]

WORLDS: Mapping[str, Rules] = MappingProxyType({rules.name: rules for rules in (SUMMARIES, SAFETY, MATH, VALUES, TUTORING)})
"""The rules of every world, by name."""


@lru_cache(maxsize=8)
def _built(name: str) -> World:
    return build(WORLDS[name])


def world(name: str) -> World:
    """Return a built-in world: about 1,000 preference pairs, held-out prompts, exact scorers and the true front.

    >>> summaries = world("summaries")
    >>> summaries.preferences.objectives, len(summaries.preferences), len(summaries.prompts)
    (('quality', 'conciseness', 'faithfulness'), 1000, 128)
    >>> summaries.front(summaries.prompts[0]).shape[1]
    3

    Raises `DataError` for an unknown name, with the nearest known one.
    """
    if name not in WORLDS:
        raise DataError(f"world: expected one of {', '.join(WORLDS)}, found {name!r}.{suggestion(name, WORLDS)}")
    return _built(name)
