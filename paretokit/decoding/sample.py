"""`generate`: sampled or greedy texts from a policy, in batches, with a key-value cache.

Prompts of a batch are padded on the left and masked, the copies of a prompt share its prefill, rows that have ended
leave the batch. Every row draws from its own stream (see `draw`), so its text does not depend on its company.
Decoding knows nothing of training. Imports: torch, `models.policy` and the ground modules.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from paretokit.decoding.asked import check_begun, check_options, check_prompts, copy_numbers, encode, resolve_mixtures
from paretokit.decoding.draw import draw, uniforms
from paretokit.decoding.stops import Stop, check_stop_strings, find_stop
from paretokit.errors import ConfigError, NonFiniteError
from paretokit.maths.simplex import Weights
from paretokit.models.compute import quick
from paretokit.models.growing import grow
from paretokit.models.heads import RowHead
from paretokit.models.policy import Policy
from paretokit.models.prefix import pad_left
from paretokit.models.soups import LogitMixture, Soup, Together
from paretokit.models.stepwise import stepwise
from paretokit.templates import ChatFormat
from paretokit.texts import Prompt, continued, end_tokens, is_chat

__all__ = ["Generation", "generate"]

_SHRINK = 0.8  # rows that ended leave the batch once it would become this much smaller; moving the cache costs as well


class Generation(NamedTuple):
    """One generated response."""

    prompt: Prompt
    text: str  # the whole response, without the end token or the stop string and what follows it
    token_ids: tuple[int, ...]  # those that were drawn, without what was begun; those of the end or stop string included
    ended: bool  # False: cut off by `max_new_tokens` or `stop`
    copy: int  # 0 .. copies - 1
    prompt_index: int
    sum_logp: float  # nats, of `token_ids` under the policy itself (temperature 1, nothing cut off)
    weights: tuple[float, ...] = ()  # by which the policy's heads were mixed, in their order; () without heads
    begun: str = ""  # what `text` was asked to begin with
    stop_string: str = ""  # that ended it; "" for an end token or no end

    @property
    def extrapolated(self) -> bool:
        """Whether the weights lie outside of the simplex."""
        return any(weight < 0 for weight in self.weights)


@dataclass
class _Row:
    prompt_index: int
    prompt_ids: tuple[int, ...]  # what is read before the first draw: the prompt and what was begun
    copy: int
    weights: tuple[float, ...]
    chat: bool  # the response answers chat messages
    begun: str = ""
    token_ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    ended: bool = False
    stopped: Stop | None = None


@dataclass(frozen=True)
class _Options:
    max_new_tokens: int
    temperature: float
    top_k: int
    top_p: float
    seed: int
    ends: frozenset[int]
    stop: Callable[[], bool]
    format: ChatFormat
    stop_strings: tuple[str, ...]


def generate(
    policy: Policy | Soup | LogitMixture,
    prompts: Sequence[Prompt],
    *,
    weights: Weights | Sequence[Weights] | None = None,
    extrapolate: bool = False,
    max_new_tokens: int = 64,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    copies: int | range = 1,
    begun: Sequence[str] | None = None,
    stop_strings: Sequence[str] = (),
    batch_size: int = 64,
    stop: Callable[[], bool] | None = None,
) -> list[Generation]:
    """Return `copies` responses to each prompt: prompt by prompt in the given order, and copy by copy within a prompt.

    `temperature=0` is greedy decoding; `top_k` (0: off) and `top_p` (1: off) cut the distribution as `draw` says.
    Equal `seed`, prompt and copy number give equal text, whatever else is in the call; asking for more copies or more
    tokens leaves the earlier ones as they are. `copies=range(4, 8)` asks for the copies of these numbers alone. At most
    `batch_size` responses are decoded together. `stop` is asked
    before every token; once it is true, what is there is returned, texts that were not begun as empty ones. Model
    defaults such as a repetition penalty are not applied.

    `begun` holds, for each prompt, the text that its responses begin with: it is tokenised by itself, as a response is, but
    for the end token, and read after the prompt. `text` is then the whole response, while `token_ids`, `sum_logp` and
    `max_new_tokens` are about what was added. What is drawn depends on what was begun, and "" is as if nothing was.

    A response ends where one of `stop_strings` has appeared in what was added, also across the borders of tokens, and is
    `ended` then. As in vLLM the text ends before the string, while `token_ids` and `sum_logp` are about all tokens that were
    drawn, up to the one that completed it.

    A policy with heads is asked for `weights`: one weighting for all, or one for each prompt. Logits are mixed,
    sum_i w_i z_i, with weights that sum to one, which is the normalised geometric mixture of the heads' policies
    (`maths.mixing`); what cuts the distribution acts after that. With one weighting the heads are folded to one output
    projection, and a token costs what it costs without heads. With several, equal prompts share one reading, so that the
    whole front of a prompt is one call: `generate(policy, [prompt] * len(grid), weights=grid)`. Equal prompts draw the same
    numbers, and differ by their weights alone. Weights below 0 are refused unless `extrapolate`, and flagged in what is
    returned: outside of the simplex nothing was trained. A `Soup` or `LogitMixture` of policies takes weights likewise.

    Raises `ConfigError` for an option out of range, for `weights` on a policy without heads and for none on one with heads,
    `WeightsError` for unfit ones, `DataError` for a prompt that leaves no room for `max_new_tokens`, `NonFiniteError` where
    the model's logits are not finite.

    >>> from paretokit.models.tiny import random_policy
    >>> first, second = generate(random_policy(), ["Once"], copies=2, max_new_tokens=5)
    >>> first.copy, second.copy, len(first.token_ids), first.ended
    (0, 1, 5, False)
    """
    check_prompts(prompts, place="generate")
    check_options(max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, place="generate")
    if batch_size < 1:
        raise ConfigError(f"generate: batch_size is {batch_size}; expected at least 1.")
    numbers = copy_numbers(copies, place="generate")
    mixtures = resolve_mixtures(policy, weights, count=len(prompts), extrapolate=extrapolate, place="generate")
    starts = check_begun(begun, count=len(prompts), place="generate")
    encoded = encode(policy, prompts, begun=starts, max_new_tokens=max_new_tokens, place="generate")
    options = _Options(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        ends=end_tokens(policy.chat),
        stop=stop or (lambda: False),
        format=policy.chat,
        stop_strings=check_stop_strings(stop_strings, place="generate"),
    )
    rows = [
        _Row(index, ids, copy, mixtures[index], is_chat(prompts[index]), starts[index])
        for index, ids in enumerate(encoded)
        for copy in numbers
    ]
    by_length = sorted(rows, key=lambda row: (len(row.prompt_ids), row.prompt_ids))  # stable; equal prompts stand together
    for group in _groups(by_length, together=not isinstance(policy, Soup)):
        batches = [group[start : start + batch_size] for start in range(0, len(group), batch_size)]
        if isinstance(policy, Soup) or len({row.weights for row in group}) == 1:
            model = policy.merged(group[0].weights or None, extrapolate=extrapolate)
            for batch in batches:
                _decode_batch(model, batch, options, device=policy.device)
        else:
            for batch in batches:
                model, head = policy.by_row(torch.tensor([row.weights for row in batch], dtype=torch.float64))
                _decode_batch(model, batch, options, device=policy.device, head=head)
    return [_finish(policy, prompts[row.prompt_index], row) for row in rows]


def _groups(rows: list[_Row], *, together: bool) -> list[list[_Row]]:
    """The rows that are decoded with one model: all of them, or those of each weighting."""
    groups: dict[tuple[float, ...], list[_Row]] = {}
    for row in rows:
        groups.setdefault(() if together else row.weights, []).append(row)
    return list(groups.values())


def _finish(policy: Policy | Soup | LogitMixture, prompt: Prompt, row: _Row) -> Generation:
    return Generation(
        prompt=prompt,
        text=continued(policy.chat, row.begun, row.token_ids, chat=row.chat)[: None if row.stopped is None else row.stopped.at],
        token_ids=tuple(row.token_ids),
        ended=row.ended,
        copy=row.copy,
        prompt_index=row.prompt_index,
        sum_logp=math.fsum(row.logps),
        weights=row.weights,
        begun=row.begun,
        stop_string="" if row.stopped is None else row.stopped.string,
    )


@torch.inference_mode()
def _decode_batch(
    model: Any, rows: list[_Row], options: _Options, *, device: torch.device, head: RowHead | Together | None = None
) -> None:
    """Extend `rows`, in place, until each has ended or is full; `head` is the model's, where it mixes row by row."""
    if options.stop():
        return
    model = stepwise(model)
    uniform = torch.stack(
        [uniforms(row.prompt_ids, copy=row.copy, seed=options.seed, count=options.max_new_tokens) for row in rows]
    ).to(device)
    prompts = list(dict.fromkeys(row.prompt_ids for row in rows))
    input_ids, mask = (part.to(device) for part in pad_left(prompts))
    position = mask.cumsum(dim=-1).sub(1).clamp(min=0)
    place = {ids: index for index, ids in enumerate(prompts)}
    chosen = torch.tensor([place[row.prompt_ids] for row in rows], device=device)
    if head is not None:
        head.spread = chosen
    with quick(model, positions=input_ids.numel()):
        output = model(input_ids=input_ids, attention_mask=mask, position_ids=position, use_cache=True, logits_to_keep=1)
    cache, logits = output.past_key_values, output.logits[:, -1]
    if head is not None:
        head.spread = None
    if len(prompts) < len(rows):  # every row gets its own part of the shared prefill
        cache.batch_select_indices(chosen)
        mask, position = mask[chosen], position[chosen]
        logits = logits[chosen] if head is None else logits
    grow(cache)
    position = position[:, -1:]
    for step in range(options.max_new_tokens):
        drawn = draw(
            logits,
            uniform[:, step],
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
        )
        _append(rows, drawn.tokens.tolist(), drawn.logps.tolist(), options)
        tokens = drawn.tokens
        live = [index for index, row in enumerate(rows) if not row.ended]
        if not live or step + 1 == options.max_new_tokens or options.stop():
            return
        if len(live) <= _SHRINK * len(rows):
            rows = [rows[index] for index in live]
            chosen = torch.tensor(live, device=device)
            cache.batch_select_indices(chosen)
            tokens, mask, position, uniform = tokens[chosen], mask[chosen], position[chosen], uniform[chosen]
            if head is not None:
                head.select(chosen)
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=-1)
        position = position + 1
        with quick(model, positions=len(rows)):
            output = model(
                input_ids=tokens[:, None],
                attention_mask=mask,
                position_ids=position,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        logits = output.logits[:, -1]


def _append(rows: list[_Row], tokens: list[int], logps: list[float], options: _Options) -> None:
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
        row.ended = token in options.ends
        if options.stop_strings and not row.ended:
            text = continued(options.format, row.begun, row.token_ids, chat=row.chat)
            row.stopped = find_stop(text, options.stop_strings, start=len(row.begun))
            row.ended = row.stopped is not None
