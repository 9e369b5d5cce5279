"""Stop strings: texts that end a response, wherever their characters lie in its tokens.

As in vLLM, which the papers' scripts use, the text ends before the string, while the tokens that were drawn and their
log-probability are kept whole. Imports: `errors`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from paretokit.errors import ConfigError

__all__ = ["Stop", "check_stop_strings", "find_stop"]


class Stop(NamedTuple):
    """Where a stop string was found."""

    at: int  # the text ends here
    string: str


def check_stop_strings(strings: Any, *, place: str) -> tuple[str, ...]:
    """Return the stop strings. Raises `ConfigError` for what is no list of texts, and for a text that is empty.

    >>> check_stop_strings(["Q:"], place="generate")
    ('Q:',)
    """
    if (
        isinstance(strings, str)
        or not isinstance(strings, Sequence)
        or not all(isinstance(one, str) and one for one in strings)
    ):
        raise ConfigError(
            f"{place}: stop_strings is {strings!r}; expected a list of texts, none of them empty. Pass ['\\n\\n'], or [] for "
            "none."
        )
    return tuple(strings)


def find_stop(text: str, strings: Sequence[str], *, start: int = 0) -> Stop | None:
    """Return the first place of a stop string in a text from `start` on; of several there the longest. None without any.

    >>> find_stop("12 Q: A", ["Q", "Q:", "A"]), find_stop("12", ["Q:"])
    (Stop(at=3, string='Q:'), None)
    """
    found = [Stop(at, one) for one in strings if (at := text.find(one, start)) >= 0]
    return min(found, key=lambda stop: (stop.at, -len(stop.string)), default=None)
