"""Rollouts: how a policy goes on from what was begun, each made once and kept by content.

Rollout m of a prefix is determined by the sampler, the prompt, the prefix, the seed and m, whatever else is asked for. So a
cache may be used by any later call: with more rollouts, other labels, or after an interrupt.
Imports: `content_cache`, `decoding`, `models` by value, `errors`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from paretokit.decoding.asked import encode
from paretokit.decoding.sample import generate
from paretokit.errors import DataError
from paretokit.experiments.content_cache import ContentCache, content_key
from paretokit.maths.simplex import Weights
from paretokit.models.base import weights_hash
from paretokit.models.policy import Policy
from paretokit.models.soups import LogitMixture, Soup
from paretokit.prompts import Prompt, describe
from paretokit.templates import ChatFormat, own_template
from paretokit.texts import end_tokens

__all__ = ["PolicySampler", "Rollout", "RolloutBook", "Sampler", "Start", "Stopped"]


class Stopped(Exception):  # noqa: N818 (not an error)
    """`stop` was heard; what was finished is kept."""


class Rollout(NamedTuple):
    """One whole response that began with a prefix."""

    text: str
    ended: bool = True  # False: cut off


Sampler = Callable[..., Sequence[Sequence[Rollout]]]
"""`sampler(prompts, begun, *, copies: range, seed: int)` returns, for each prompt, the rollouts with these numbers; each begins
with its text of `begun` and depends on prompt, text, number and seed alone. An attribute `cache_key`, a text that changes
with everything else the rollouts depend on, allows to keep them on disk."""


class Start(NamedTuple):
    """Where a rollout begins."""

    prompt: Prompt
    begun: str


@dataclass(frozen=True, kw_only=True)
class PolicySampler:
    """A `Sampler` that asks a policy, by `generate`. `max_new_tokens` counts what is added to what was begun."""

    policy: Policy | Soup | LogitMixture
    weights: Weights | None = None
    max_new_tokens: int = 64
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    stop_strings: Sequence[str] = ()
    batch_size: int = 64
    stop: Callable[[], bool] | None = None  # asked before every token; what is returned after that is not whole

    @property
    def cache_key(self) -> str:
        """What rollouts depend on: all weights, the tokenizer and its template, the mixture and how tokens are drawn."""
        mixture = self.policy.mixture(self.weights, place="label_steps: weights")
        options: list[Any] = [list(mixture), self.max_new_tokens, self.temperature]
        if self.top_k or self.top_p < 1 or self.stop_strings:  # at their defaults keys are those of before
            options.append([self.top_k, self.top_p, list(self.stop_strings)])
        return content_key(_identity(self.policy), _format_hash(self.policy.chat), options)

    def check(self, starts: Sequence[Start]) -> None:
        """Raise `DataError` where a prompt and what is begun leave no room, and `ConfigError` for unfit weights."""
        self.policy.mixture(self.weights, place="label_steps: weights")
        prompts, begun = [start.prompt for start in starts], [start.begun for start in starts]
        encode(self.policy, prompts, begun=begun, max_new_tokens=self.max_new_tokens, place="label_steps")

    def __call__(self, prompts: Sequence[Prompt], begun: Sequence[str], *, copies: range, seed: int) -> list[list[Rollout]]:
        """Return the rollouts with the numbers `copies` for each prompt."""
        made = generate(
            self.policy,
            prompts,
            begun=begun,
            copies=copies,
            weights=self.weights,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            stop_strings=self.stop_strings,
            batch_size=self.batch_size,
            seed=seed,
            stop=self.stop,
        )
        rollouts = [Rollout(one.text, one.ended) for one in made]
        return [rollouts[start : start + len(copies)] for start in range(0, len(rollouts), len(copies))]


class RolloutBook:
    """The rollouts of a sampler, made when they are asked for and not known yet; `made` and `reused` count them."""

    def __init__(self, sampler: Sampler, cache: ContentCache, *, seed: int, batch_size: int) -> None:
        self.sampler = sampler
        self._cache = cache
        self._seed = seed
        self._batch_size = batch_size
        self.made = 0
        self.reused = 0

    def fill(self, starts: Sequence[Start], *, copies: range, stop: Callable[[], bool]) -> Iterator[int]:
        """Make what is missing of the rollouts `copies` of every start, in batches, and yield after each how many were made.

        A batch is on disk before the next begins. Raises `Stopped` once `stop` is true; the batch under way is then given up.
        """
        missing = [start for start in dict.fromkeys(starts) if not self.knows(start, copies)]
        self.reused += len(copies) * (len(set(starts)) - len(missing))
        size = max(1, self._batch_size // len(copies))
        missing.sort(key=lambda start: len(str(start.prompt)) + len(start.begun))  # less padding
        for first in range(0, len(missing), size):
            if stop():
                raise Stopped
            batch = missing[first : first + size]
            found = self.sampler(
                [start.prompt for start in batch], [start.begun for start in batch], copies=copies, seed=self._seed
            )
            if stop():  # it may have been cut off
                raise Stopped
            self._cache.add(dict(_entries(batch, found, copies=copies, seed=self._seed)))
            self.made += len(batch) * len(copies)
            yield len(batch) * len(copies)

    def rollouts(self, start: Start, copies: range) -> list[Rollout]:
        """Return rollouts that are known; `KeyError` for one that is not."""
        values = [self._cache[key] for key in _keys(start, copies, seed=self._seed)]
        return [Rollout(start.begun + added, ended) for added, ended in values]

    def knows(self, start: Start, copies: range) -> bool:
        """Return whether these rollouts have been made."""
        return all(key in self._cache for key in _keys(start, copies, seed=self._seed))


def _entries(
    batch: Sequence[Start], found: Sequence[Sequence[Rollout]], *, copies: range, seed: int
) -> Iterator[tuple[str, tuple[str, bool]]]:
    """What a sampler returned, checked, by key."""
    if len(found) != len(batch) or any(len(rollouts) != len(copies) for rollouts in found):
        sizes = sorted({len(rollouts) for rollouts in found})
        raise DataError(
            f"sampler: found {len(found)} lists of {', '.join(map(str, sizes)) or 'no'} rollouts, expected {len(batch)} "
            f"lists of {len(copies)}. Return a list for each prompt, with a rollout for each number in copies."
        )
    for start, rollouts in zip(batch, found, strict=True):
        for key, (text, ended) in zip(_keys(start, copies, seed=seed), rollouts, strict=True):
            if not text.startswith(start.begun):
                raise DataError(
                    f"sampler: found the text {describe(text)}, expected one that begins with {describe(start.begun)}. "
                    "Return the whole response, with what was begun."
                )
            yield key, (text[len(start.begun) :], bool(ended))


def _keys(start: Start, copies: range, *, seed: int) -> list[str]:
    prompt = start.prompt if isinstance(start.prompt, str) else [dict(turn) for turn in start.prompt]
    key = content_key(prompt, start.begun, seed)
    return [f"{key}-{copy}" for copy in copies]


def _identity(policy: Any) -> Any:
    """What tells policies apart, as JSON: the hash of base and trainable weights, and how they are put together."""
    if isinstance(policy, Mapping):
        return {name: _identity(one) for name, one in policy.items()}
    if isinstance(policy, Soup | LogitMixture):
        return [type(policy).__name__, _identity(policy.policies)]
    trained = "" if policy.at_base() and not policy.heads else weights_hash(policy.trainable)
    lora = policy.lora_config
    scale = None if lora is None else [lora.r, lora.lora_alpha, lora.use_rslora, lora.rank_pattern, lora.alpha_pattern]
    return [policy.base_hash, trained, scale, list(policy.heads), str(policy.model.dtype)]


def _format_hash(chat: ChatFormat) -> str:
    tokenizer = chat.tokenizer
    template = tokenizer.chat_template if chat.template == own_template(tokenizer) else chat.template
    parts = [tokenizer.backend_tokenizer.to_str(), template, tokenizer.bos_token, tokenizer.eos_token]
    further = sorted(chat.ends - end_tokens(ChatFormat(tokenizer)))  # left out where there are none, as in earlier caches
    parts += [further] if further else []
    return sha256(json.dumps(parts).encode()).hexdigest()
