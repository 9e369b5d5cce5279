"""`generate`: sampled or greedy texts from a policy, in batches, with a key-value cache.

Prompts of a batch are padded on the left and masked, the copies of a prompt share its prefill, rows that have ended
leave the batch. Every row draws from its own stream (see `draw`), so its text does not depend on its company.
Decoding knows nothing of training. Imports: torch, `models.policy` and the ground modules.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from paretokit.decoding.draw import draw, uniforms
from paretokit.errors import ConfigError, DataError, NonFiniteError
from paretokit.models.policy import Policy
from paretokit.shapes import Int, Tensor
from paretokit.texts import Prompt, decode, encode_prompt, end_tokens

__all__ = ["Generation", "generate"]

_SHRINK = 0.8  # rows that ended leave the batch once it would become this much smaller; moving the cache costs as well


class Generation(NamedTuple):
    """One generated response."""

    prompt: Prompt
    text: str  # without the end token
    token_ids: tuple[int, ...]  # the end token included, if the text ended
    ended: bool  # False: cut off by `max_new_tokens` or `stop`
    copy: int  # 0 .. copies - 1
    prompt_index: int
    sum_logp: float  # nats, of `token_ids` under the policy itself (temperature 1, nothing cut off)


@dataclass
class _Row:
    prompt_index: int
    prompt_ids: tuple[int, ...]
    copy: int
    token_ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    ended: bool = False


@dataclass(frozen=True)
class _Options:
    max_new_tokens: int
    temperature: float
    top_k: int
    top_p: float
    seed: int
    ends: frozenset[int]
    stop: Callable[[], bool]


def generate(
    policy: Policy,
    prompts: Sequence[Prompt],
    *,
    weights: Sequence[float] | Mapping[str, float] | None = None,
    max_new_tokens: int = 64,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    copies: int = 1,
    batch_size: int = 64,
    stop: Callable[[], bool] | None = None,
) -> list[Generation]:
    """Return `copies` responses to each prompt: prompt by prompt in the given order, and copy by copy within a prompt.

    `temperature=0` is greedy decoding; `top_k` (0: off) and `top_p` (1: off) cut the distribution as `draw` says.
    Equal `seed`, prompt and copy number give equal text, whatever else is in the call; asking for more copies or more
    tokens leaves the earlier ones as they are. At most `batch_size` responses are decoded together. `stop` is asked
    before every token; once it is true, what is there is returned, texts that were not begun as empty ones. Model
    defaults such as a repetition penalty are not applied.

    Raises `ConfigError` for an option out of range and for `weights` on a policy without heads, `DataError` for a
    prompt that leaves no room for `max_new_tokens`, `NonFiniteError` where the model's logits are not finite.

    >>> from paretokit.models.tiny import random_policy
    >>> first, second = generate(random_policy(), ["Once"], copies=2, max_new_tokens=5)
    >>> first.copy, second.copy, len(first.token_ids), first.ended
    (0, 1, 5, False)
    """
    if isinstance(prompts, str) or any(isinstance(prompt, Mapping) for prompt in prompts):
        raise DataError("generate: found a single prompt, expected a list of prompts. Pass [prompt].")
    _check_options(max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p)
    for name, count in (("copies", copies), ("batch_size", batch_size)):
        if count < 1:
            raise ConfigError(f"generate: {name} is {count}; expected at least 1.")
    if weights is not None:
        raise ConfigError(
            "generate: `weights` were given, but this policy has no heads to weigh. Leave them out, or train one "
            "policy per weighting."
        )
    encoded = _encode(policy, prompts, max_new_tokens=max_new_tokens)
    options = _Options(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        ends=end_tokens(policy.tokenizer),
        stop=stop or (lambda: False),
    )
    rows = [_Row(index, ids, copy) for index, ids in enumerate(encoded) for copy in range(copies)]
    by_length = sorted(rows, key=lambda row: len(row.prompt_ids))  # stable: copies of a prompt stay together
    model = policy.merged()
    for start in range(0, len(rows), batch_size):
        _decode_batch(model, by_length[start : start + batch_size], options, device=policy.device)
    return [_finish(policy, prompts[row.prompt_index], row) for row in rows]


def _check_options(*, max_new_tokens: int, temperature: float, top_k: int, top_p: float) -> None:
    if max_new_tokens < 1:
        raise ConfigError(f"generate: max_new_tokens is {max_new_tokens}; expected at least 1.")
    if not (math.isfinite(temperature) and temperature >= 0):
        raise ConfigError(f"generate: temperature is {temperature}; expected a finite number, 0 (greedy) or more.")
    if top_k < 0:
        raise ConfigError(f"generate: top_k is {top_k}; expected 0 (off) or more.")
    if not 0 < top_p <= 1:
        raise ConfigError(f"generate: top_p is {top_p}; expected a number above 0, at most 1 (off).")


def _encode(policy: Policy, prompts: Sequence[Prompt], *, max_new_tokens: int) -> list[tuple[int, ...]]:
    encoded = [encode_prompt(policy.tokenizer, prompt) for prompt in prompts]
    for index, ids in enumerate(encoded):
        if len(ids) + max_new_tokens > policy.context_length:
            raise DataError(
                f"generate: prompt {index} has {len(ids)} tokens; with max_new_tokens={max_new_tokens} that exceeds "
                f"the model's context of {policy.context_length}. Shorten the prompt or lower max_new_tokens."
            )
    return encoded


def _finish(policy: Policy, prompt: Prompt, row: _Row) -> Generation:
    return Generation(
        prompt=prompt,
        text=decode(policy.tokenizer, row.token_ids),
        token_ids=tuple(row.token_ids),
        ended=row.ended,
        copy=row.copy,
        prompt_index=row.prompt_index,
        sum_logp=math.fsum(row.logps),
    )


@torch.inference_mode()
def _decode_batch(model: Any, rows: list[_Row], options: _Options, *, device: torch.device) -> None:
    """Extend `rows`, in place, until each has ended or is full."""
    if options.stop():
        return
    uniform = torch.stack(
        [uniforms(row.prompt_ids, copy=row.copy, seed=options.seed, count=options.max_new_tokens) for row in rows]
    ).to(device)
    prompts = list(dict.fromkeys(row.prompt_ids for row in rows))
    input_ids, mask = (part.to(device) for part in _pad_left(prompts))
    position = mask.cumsum(dim=-1).sub(1).clamp(min=0)
    output = model(input_ids=input_ids, attention_mask=mask, position_ids=position, use_cache=True, logits_to_keep=1)
    cache, logits = output.past_key_values, output.logits[:, -1]
    place = {ids: index for index, ids in enumerate(prompts)}
    if len(prompts) < len(rows):  # every copy gets its own rows of the shared prefill
        chosen = torch.tensor([place[row.prompt_ids] for row in rows], device=device)
        cache.batch_select_indices(chosen)
        logits, mask, position = logits[chosen], mask[chosen], position[chosen]
    position = position[:, -1:]
    for step in range(options.max_new_tokens):
        drawn = draw(
            logits,
            uniform[:, step],
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
        )
        _append(rows, drawn.tokens.tolist(), drawn.logps.tolist(), ends=options.ends)
        tokens = drawn.tokens
        live = [index for index, row in enumerate(rows) if not row.ended]
        if not live or step + 1 == options.max_new_tokens or options.stop():
            return
        if len(live) <= _SHRINK * len(rows):
            rows = [rows[index] for index in live]
            chosen = torch.tensor(live, device=device)
            cache.batch_select_indices(chosen)
            tokens, mask, position, uniform = tokens[chosen], mask[chosen], position[chosen], uniform[chosen]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=-1)
        position = position + 1
        logits = model(
            input_ids=tokens[:, None],
            attention_mask=mask,
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]


def _append(rows: list[_Row], tokens: list[int], logps: list[float], *, ends: frozenset[int]) -> None:
    for row, token, logp in zip(rows, tokens, logps, strict=True):
        if row.ended:
            continue
        if not math.isfinite(logp):
            raise NonFiniteError(
                f"generate: prompt {row.prompt_index}, copy {row.copy}, token {len(row.token_ids)}: the model's logits "
                "are not finite. Its weights are damaged or training diverged; load the policy again, or train with a "
                "lower learning rate."
            )
        row.token_ids.append(token)
        row.logps.append(logp)
        row.ended = token in ends


def _pad_left(prompts: Sequence[Sequence[int]]) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """Return ids and mask, 1 where a token is; the last column is a token in every row."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids, mask
