"""What guided decoding costs beside doing it one candidate at a time, and what a reward model costs as a text grows.

Imports: torch, `maths`, `models`, `decoding`, `preferences`, the other modules of this package.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch

from paretokit.cli.bench.report import Goal, Row
from paretokit.cli.bench.settings import Settings
from paretokit.decoding.expand import Sampling, Step, expand
from paretokit.decoding.guided import guided_generate
from paretokit.maths.selection import weighted
from paretokit.models.load import load_policy
from paretokit.models.policy import Policy
from paretokit.models.prefix import Prefix
from paretokit.models.projection import backbone
from paretokit.models.rewards import RewardModel, RewardReading, new_reward_model
from paretokit.preferences.steps import Splitter, by_sentence
from paretokit.preferences.worlds import world
from paretokit.shapes import Float, Tensor
from paretokit.texts import Prompt, encode_prompt, end_tokens, is_chat

_OBJECTIVES = ("accuracy", "engagement")
_PROMPTS, _CANDIDATES = 8, 5
_STEP = 8  # tokens that each candidate adds where a reward model's cost is measured as the text grows
_STEPS = 10  # of some milliseconds each, in a turn


class _Work(NamedTuple):
    """What is decoded on both sides: the same model, reward model, numbers, boundaries and limits."""

    policy: Policy
    reward_model: RewardModel
    prompts: Sequence[Prompt]
    splitter: Splitter
    max_steps: int
    max_step_tokens: int


def guided(settings: Settings) -> Iterator[Row]:
    """Candidates of all prompts in one batch beside one at a time, with a cache and without; the reward model's own cost."""
    names = ("tiny",) if settings.quick else ("tiny", settings.name)
    for name in dict.fromkeys(names):
        yield from _decoding(settings, name)
        yield _growing(settings, name)


def _decoding(settings: Settings, name: str) -> Iterator[Row]:
    work = _work(settings, name)
    sizes = f"{len(work.prompts)} prompts, up to {work.max_steps} steps of up to {work.max_step_tokens} tokens"
    ours = settings.timed(partial(batched, work))
    what = f"guided decoding, K = {_CANDIDATES}, {len(work.prompts)} prompts, {name}"
    for against, goal, keep in (
        ("one candidate at a time, with its cache", 4, True),
        ("one at a time, each text read again", 6, False),
    ):
        found = settings.compare(what, ours, settings.timed(partial(one_by_one, work, keep=keep)))
        yield Row("guided", what, against, Goal("faster", goal), found, "s", sizes, not settings.quick)


def _growing(settings: Settings, name: str) -> Row:
    """A reward model's step after a long text beside one after a short text."""
    reward_model = _reward_model(load_policy(name, adapter="none", device=settings.device))
    short, long = (16, 64) if settings.quick else (32, 448)
    what = f"a reward model's step of {_STEP} tokens, K = {_CANDIDATES}, {_PROMPTS} texts, after {long} tokens, {name}"
    sides = [_read_step(settings, reward_model, length) for length in (long, short)]
    found = settings.compare(what, *sides).in_ms()
    sizes = f"{_PROMPTS} texts of {_CANDIDATES} candidates, choosing included"
    return Row("guided", what, f"after {short} tokens", Goal("cost", 1.5), found, "ms", sizes, not settings.quick)


def _read_step(settings: Settings, reward_model: RewardModel, length: int) -> Callable[[], float]:
    """Time what a guide does in a step, by copies that are made before the clock starts: candidates of each text are read,
    and one of each stays."""
    texts = reward_model.start([[7] * length] * _PROMPTS)
    candidates = torch.arange(_PROMPTS).repeat_interleave(_CANDIDATES)
    blocks = [[9 + number % _CANDIDATES] * _STEP for number in range(len(candidates))]

    def step(reading: RewardReading) -> None:
        reading.select(candidates)
        reading.read(blocks)
        reading.select(torch.arange(_PROMPTS) * _CANDIDATES)

    def measure() -> float:
        return sum(settings.timed(partial(step, _copied(texts, reward_model)))() for _ in range(_STEPS)) / _STEPS

    return measure


def _work(settings: Settings, name: str) -> _Work:
    policy = load_policy(name, adapter="none", device=settings.device)
    quick = settings.quick
    prompts = world("summaries").prompts[: 2 if quick else _PROMPTS]
    return _Work(policy, _reward_model(policy), prompts, by_sentence(), 2 if quick else 6, 6 if quick else 24)


def _reward_model(policy: Policy) -> RewardModel:
    """An untrained one: what it costs does not depend on what it has learnt."""
    return new_reward_model(policy, kinds=dict.fromkeys(_OBJECTIVES, "class"))


def batched(work: _Work) -> list[str]:
    """Decode as `guided_generate` does and return the texts."""
    made = guided_generate(
        work.policy,
        work.prompts,
        reward_model=work.reward_model,
        weights=[0.5, 0.5],
        candidates=_CANDIDATES,
        steps=work.splitter,
        max_steps=work.max_steps,
        max_step_tokens=work.max_step_tokens,
        max_new_tokens=work.max_steps * work.max_step_tokens,
    )
    return [one.text for one in made]


def one_by_one(work: _Work, *, keep: bool) -> list[str]:
    """Decode the same texts one candidate at a time. `keep`: from a copy of the caches; else all that is there is read again,
    by the policy and by the reward model."""
    model, chat = work.policy.merged(), work.policy.chat
    sampling = Sampling(
        format=chat, ends=end_tokens(chat), boundary=work.splitter.end, temperature=1.0, top_k=0, top_p=1.0, seed=0
    )
    return [_one_text(work, model, prompt, sampling, keep=keep) for prompt in work.prompts]


def _one_text(work: _Work, model: Any, asked: Prompt, sampling: Sampling, *, keep: bool) -> str:
    prompt = encode_prompt(sampling.format, asked)
    response: tuple[int, ...] = ()
    text = ""
    state = _read_again(work, model, prompt)
    for _ in range(work.max_steps):
        found = []
        for number in range(_CANDIDATES):
            prefix, logits, reading = (
                _state_copy(work, model, state) if keep else _read_again(work, model, (*prompt, *response))
            )
            step = Step((*prompt, *response), response, number, work.max_step_tokens, chat=is_chat(asked))
            after = expand(prefix, logits, [step], sampling, stop=lambda: False)
            assert after is not None, "nothing stops it"
            fresh = [token for token in step.token_ids if token not in sampling.ends]
            found.append((step, (prefix, after, reading), reading.read([fresh])[0]))
        scores = torch.stack([scores for _, _, scores in found])
        step, state, _ = found[int(weighted(scores, torch.tensor([0.5, 0.5], dtype=torch.float64)).argmax())]
        response, text = (*response, *step.token_ids), step.text
        if step.ended:
            break
    return text


_State = tuple[Prefix, Float[Tensor, "1 V"], Any]  # what the policy has read, the logits after it, what the reward model has


def _read_again(work: _Work, model: Any, ids: tuple[int, ...]) -> _State:
    prefix = Prefix(model)
    return prefix, prefix.read([ids]), work.reward_model.start([ids])


def _state_copy(work: _Work, model: Any, state: _State) -> _State:
    prefix, logits, reading = state
    return _copied(prefix, work.reward_model, model), logits, _copied(reading, work.reward_model)


def _copied(holder: Any, *shared: Any) -> Any:
    """A copy of what was read, with the models shared."""
    models = [
        model for one in shared for model in ((one, backbone(one.policy.model)) if isinstance(one, RewardModel) else (one,))
    ]
    return copy.deepcopy(holder, {id(model): model for model in models})
