"""What is asked of decoding, checked at the door and encoded: prompts, options, weights, what responses begin with.

`place` is the function that was called, which an error names first. Imports: `maths.simplex`, `models`, `errors`, `texts`.
"""

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from paretokit.errors import ConfigError, DataError, WeightsError
from paretokit.maths.simplex import Weights
from paretokit.models.policy import Policy
from paretokit.models.soups import LogitMixture, Soup
from paretokit.texts import Prompt, begin_response, encode_prompt, is_chat

__all__ = ["check_begun", "check_options", "check_prompts", "copy_numbers", "encode", "resolve_mixtures"]


def check_prompts(prompts: Any, *, place: str) -> None:
    """Raise `DataError` for a single prompt, text or chat, where a list of prompts is expected.

    >>> check_prompts("Hi", place="generate")
    Traceback (most recent call last):
    paretokit.errors.DataError: generate: found a single prompt, expected a list of prompts. Pass [prompt].
    """
    if isinstance(prompts, str) or any(isinstance(prompt, Mapping) for prompt in prompts):
        raise DataError(f"{place}: found a single prompt, expected a list of prompts. Pass [prompt].")


def check_options(*, max_new_tokens: int, temperature: float, top_k: int, top_p: float, place: str) -> None:
    """Raise `ConfigError` for an option of sampling that is out of range.

    >>> check_options(max_new_tokens=0, temperature=1.0, top_k=0, top_p=1.0, place="generate")
    Traceback (most recent call last):
    paretokit.errors.ConfigError: generate: max_new_tokens is 0; expected at least 1.
    """
    if max_new_tokens < 1:
        raise ConfigError(f"{place}: max_new_tokens is {max_new_tokens}; expected at least 1.")
    if not (math.isfinite(temperature) and temperature >= 0):
        raise ConfigError(f"{place}: temperature is {temperature}; expected a finite number, 0 (greedy) or more.")
    if top_k < 0:
        raise ConfigError(f"{place}: top_k is {top_k}; expected 0 (off) or more.")
    if not 0 < top_p <= 1:
        raise ConfigError(f"{place}: top_p is {top_p}; expected a number above 0, at most 1 (off).")


def resolve_mixtures(
    policy: Policy | Soup | LogitMixture,
    weights: Weights | Sequence[Weights] | None,
    *,
    count: int,
    extrapolate: bool,
    place: str,
) -> list[tuple[float, ...]]:
    """Return the weights of each of `count` prompts, checked: one weighting for all, or one for each.

    Raises `WeightsError` for another number of weightings, and what `policy.mixture` raises.
    """
    if weights is None or isinstance(weights, Mapping) or any(isinstance(part, Real) for part in weights):
        return [policy.mixture(weights, extrapolate=extrapolate, place=f"{place}: weights")] * count  # type: ignore[arg-type] # one weighting
    if len(weights) != count:
        raise WeightsError(
            f"{place}: weights: found {len(weights)} weightings for {count} prompts, expected one, or one for each prompt. "
            "Repeat the prompts for further weightings."
        )
    return [
        policy.mixture(one, extrapolate=extrapolate, place=f"{place}: weights of prompt {index}")  # type: ignore[arg-type] # one each
        for index, one in enumerate(weights)
    ]


def copy_numbers(copies: int | range, *, place: str) -> range:
    """Return the numbers of the copies of each prompt. Raises `ConfigError` for none, and for numbers that leave some out.

    >>> copy_numbers(2, place="generate"), copy_numbers(range(4, 8), place="generate")
    (range(0, 2), range(4, 8))
    """
    numbers = copies if isinstance(copies, range) else range(copies)
    if not numbers:
        raise ConfigError(f"{place}: copies is {copies}; expected at least 1.")
    if numbers.start < 0 or numbers.step != 1:
        raise ConfigError(f"{place}: copies is {copies}; expected numbers in order, counted from 0, such as range(4, 8).")
    return numbers


def check_begun(begun: Sequence[str] | None, *, count: int, place: str) -> list[str]:
    """Return what each prompt's responses begin with, "" where nothing is asked for; `DataError` for another number of texts.

    >>> check_begun(None, count=2, place="generate")
    ['', '']
    """
    if begun is None:
        return [""] * count
    if isinstance(begun, str) or len(begun) != count:
        found = "one text" if isinstance(begun, str) else f"{len(begun)} texts"
        raise DataError(
            f"{place}: begun: found {found} for {count} prompts, expected a list of one for each. Pass '' for none."
        )
    return list(begun)


def encode(
    policy: Policy | Soup | LogitMixture,
    prompts: Sequence[Prompt],
    *,
    begun: Sequence[str] | None = None,
    max_new_tokens: int,
    place: str,
) -> list[tuple[int, ...]]:
    """Return the token ids that are read before the first draw, for each prompt: its own, and those of what is begun.

    Raises `DataError` for a prompt that leaves no room for `max_new_tokens`.
    """
    encoded = []
    for index, (prompt, start) in enumerate(zip(prompts, begun or [""] * len(prompts), strict=True)):
        ids = encode_prompt(policy.chat, prompt) + begin_response(policy.chat, start, chat=is_chat(prompt))
        if len(ids) + max_new_tokens > policy.context_length:
            what = f"prompt {index} and what is begun have" if start else f"prompt {index} has"
            raise DataError(
                f"{place}: {what} {len(ids)} tokens; with max_new_tokens={max_new_tokens} that exceeds "
                f"the model's context of {policy.context_length}. Shorten the prompt or lower max_new_tokens."
            )
        encoded.append(ids)
    return encoded
