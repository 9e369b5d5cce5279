"""Objectives that are computed from the texts of pairs: conciseness, and functions of the user's own.

Imports: the standard library, `errors`, `prompts`, and `forms` of this floor.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from paretokit.errors import ConfigError, DataError, suggestion
from paretokit.preferences.forms import Pair, checked_margin, sign
from paretokit.prompts import describe

__all__ = ["COMPUTED", "ByScore", "Compare", "Computed", "add_computed", "as_computed", "by_score", "conciseness"]

Compare = Callable[[str, str], Any]  # (response_a, response_b) -> above 0: a is better; below: b; 0: a tie; None: not judged

_TRIED = 3  # pairs on which a comparison is also called with the responses swapped


class ByScore(NamedTuple):
    """A scorer of single responses, made into a comparison of two."""

    score: Callable[[Any, str], Any]
    margin: float


Computed = str | Compare | ByScore


def by_score(scorer: Callable[[Any, str], Any], *, margin: float | int = 0.0) -> ByScore:
    """Return a comparison for `computed=` out of a scorer: the response with the larger score is better.

    `scorer(prompt, response)` returns a number, larger is better, or NaN or None for a text that is not judged, as the
    scorers of `paretokit.score` do. Scores that differ by no more than `margin` are a tie. Raises `ConfigError` for a margin
    below 0.

    >>> pair = Pair("Hi", "Hello!", "What?", {})
    >>> add_computed([pair], {"warm": by_score(lambda prompt, response: response.count("!"))}, source="list")[0].labels
    {'warm': 1.0}
    """
    return ByScore(scorer, checked_margin(margin))


def conciseness(response_a: str, response_b: str) -> int:
    """Return how many characters longer b is than a, white space at the ends apart: the shorter response is better.

    Characters, not words, so that languages without blanks are compared as well.

    >>> conciseness("Ash.", "It is an ash. "), conciseness("Ash.", "Oak.")
    (9, 0)
    """
    return len(response_b.strip()) - len(response_a.strip())


COMPUTED: Mapping[str, Compare] = {"conciseness": conciseness}


def as_computed(computed: Mapping[str, Computed] | Sequence[str] | None) -> dict[str, Compare | ByScore]:
    """Return the computed objectives by name, built-in names replaced; `ConfigError` for anything that cannot compare.

    >>> list(as_computed(["conciseness"]))
    ['conciseness']
    """
    if computed is None:
        return {}
    if isinstance(computed, str) or not isinstance(computed, (Mapping, Sequence)):
        raise ConfigError(f"computed: found {describe(computed)}, expected a mapping from objectives to functions, or a list.")
    given = computed if isinstance(computed, Mapping) else {name: name for name in computed}
    return {name: _comparison(name, value) for name, value in given.items()}


def _comparison(name: Any, value: Any) -> Compare | ByScore:
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"computed: found the objective {describe(name)}, expected a name of at least one character.")
    if isinstance(value, str):
        if value not in COMPUTED:
            raise ConfigError(
                f"computed, {name!r}: found {value!r}, expected one of {', '.join(COMPUTED)}, or a function of the two "
                f"responses.{suggestion(value, COMPUTED)}"
            )
        return COMPUTED[value]
    if not isinstance(value, ByScore) and not callable(value):
        raise ConfigError(
            f"computed, {name!r}: found {describe(value)}, expected a function of the two responses, by_score(...) of a "
            "scorer, or the name of a built-in one."
        )
    return value


def add_computed(pairs: Iterable[Pair], computed: Mapping[str, Compare | ByScore], *, source: str) -> list[Pair]:
    """Return the pairs with a label for each computed objective added to those they have.

    Raises `DataError` where an objective has labels already, and where a function fails or returns no finite number. A
    function of two responses is called with them swapped too, on the first pairs: what does not change its sign there
    does not compare them, and is refused.
    """
    made: list[Pair] = []
    for index, pair in enumerate(pairs):
        labels = dict(pair.labels)
        for name, compare in computed.items():
            place = f"{source}, pair {index}, computed objective {name!r}"
            if name in labels:
                raise DataError(f"{place}: the data have labels for it too; give the computed one another name.")
            labels[name] = _label(compare, pair, tried=index < _TRIED, place=place)
        made.append(pair._replace(labels=labels))
    return made


def _label(compare: Compare | ByScore, pair: Pair, *, tried: bool, place: str) -> float | None:
    if isinstance(compare, ByScore):
        scores = [_number(compare.score, pair.prompt, text, place=place) for text in (pair.response_a, pair.response_b)]
        return sign(*scores, margin=compare.margin)
    found = _number(compare, pair.response_a, pair.response_b, place=place)
    if tried and found is not None:
        turned = _number(compare, pair.response_b, pair.response_a, place=place)
        if turned is not None and sign(turned, 0, margin=0) != sign(-found, 0, margin=0):
            raise DataError(
                f"{place}: found {found:g}, and {turned:g} with the responses swapped, expected the opposite sign. Return a "
                "number above 0 where the first response is better; wrap a scorer of one response in by_score(...)."
            )
    return sign(found, 0, margin=0)


def _number(function: Callable[[Any, Any], Any], first: Any, second: Any, *, place: str) -> float | None:
    try:
        found = function(first, second)
    except Exception as error:
        raise DataError(f"{place}: the function failed ({type(error).__name__}: {error}); correct it.") from error
    if found is None:
        return None
    try:
        value = math.nan if isinstance(found, bool) else float(found)
    except (TypeError, ValueError):
        value = math.inf
    if isinstance(found, bool) or math.isinf(value):
        raise DataError(
            f"{place}: found {describe(found)}, expected a finite number, or None where it is not judged. Correct the function."
        )
    return None if math.isnan(value) else value
