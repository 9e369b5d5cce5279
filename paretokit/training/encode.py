"""All pairs of a data set as token ids, cut to one length, with what was cut.

Imports: `texts`, `errors`; `models` and `preferences` by value.
"""

from paretokit.errors import ConfigError, DataError
from paretokit.models.policy import Policy
from paretokit.preferences.records import Preferences
from paretokit.texts import EncodedPair, encode_pair


def encode_preferences(policy: Policy, preferences: Preferences, *, max_length: int) -> tuple[EncodedPair, ...]:
    """Return the pairs as token ids, in order; prompt and response together hold at most `max_length` tokens.

    What is cut stands in each pair. Raises `ConfigError` where `max_length` exceeds the model's context, and `DataError`,
    naming the pair, for a response that alone is longer than the model can read: cutting most of it away would train on
    something else than the data say.
    """
    if max_length > policy.context_length:
        raise ConfigError(
            f"max_length: found {max_length}, expected at most {policy.context_length}, the context of {policy.source}. "
            "Lower max_length."
        )
    pairs = tuple(
        encode_pair(policy.tokenizer, prompt, a, b, max_length=max_length)
        for prompt, a, b in zip(preferences.prompts, preferences.responses_a, preferences.responses_b, strict=True)
    )
    for index, pair in enumerate(pairs):
        for side, response, cut in (("a", pair.response_a, pair.cut_a), ("b", pair.response_b, pair.cut_b)):
            if len(response) + cut > policy.context_length:
                raise DataError(
                    f"pair {index}, response_{side}: found {len(response) + cut} tokens, expected at most "
                    f"{policy.context_length}, the context of {policy.source}. Shorten the response or leave the pair out."
                )
    return pairs
