"""All pairs of a data set as token ids, cut to one length, with what was cut.

Imports: `texts`, `errors`; `models` and `preferences` by value.
"""

from functools import lru_cache

from paretokit.errors import ConfigError, DataError
from paretokit.models.policy import Policy
from paretokit.preferences.records import Preferences
from paretokit.templates import ChatFormat
from paretokit.texts import EncodedPair

DEFAULT_LENGTH = 512


def length_limit(policy: Policy, max_length: int | None) -> int:
    """Return how many tokens of prompt and response are read: `max_length`, or 512 where that is None and the model can.

    Raises `ConfigError` where `max_length` exceeds the model's context.
    """
    if max_length is None:
        return min(DEFAULT_LENGTH, policy.context_length)
    if max_length > policy.context_length:
        raise ConfigError(
            f"max_length: found {max_length}, expected at most {policy.context_length}, the context of {policy.source}. "
            "Lower max_length."
        )
    return max_length


def encode_preferences(policy: Policy, preferences: Preferences, *, max_length: int | None) -> tuple[EncodedPair, ...]:
    """Return the pairs as token ids, in order; prompt and response together hold at most `length_limit` tokens.

    What is cut stands in each pair. Raises `ConfigError` where `max_length` exceeds the model's context, and `DataError`,
    naming the pair, for a response that alone is longer than the model can read: cutting most of it away would train on
    something else than the data say.
    """
    limit = length_limit(policy, max_length)
    pairs = _encoded(policy.chat, preferences, limit)
    for index, pair in enumerate(pairs):
        for side, response, cut in (("a", pair.response_a, pair.cut_a), ("b", pair.response_b, pair.cut_b)):
            if len(response) + cut > policy.context_length:
                raise DataError(
                    f"pair {index}, response_{side}: found {len(response) + cut} tokens, expected at most "
                    f"{policy.context_length}, the context of {policy.source}. Shorten the response or leave the pair out."
                )
    return pairs


@lru_cache(maxsize=8)
def _encoded(chat: ChatFormat, preferences: Preferences, limit: int) -> tuple[EncodedPair, ...]:
    """The pairs of a data set, encoded once per format and length: a sweep trains on the same pairs again and again."""
    return preferences.encode(chat, max_length=limit)
