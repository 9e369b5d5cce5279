"""`guided_generate`: decoding step by step, each step chosen among candidates by what a reward model says of them.

    prompts -> prefill, once -> K candidates a line, in one batch -> scores [N, m] -> utilities [N] -> lines that stay -> ...

The policy's cache and the guide's are carried along by selection: neither reads anything twice (MAHALO, arXiv 2510.01167,
section 4; there candidates are decoded one after another and scored from the start). With a single candidate this is
sampling, with one step for the whole text it is best-of-n, with several beams a search.
Imports: torch, `asked`, `search`, `expand`, `guides`, `tree`, `maths`, `models`, `preferences.steps`, the ground modules.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from paretokit.decoding.asked import check_options, check_prompts, encode
from paretokit.decoding.expand import Sampling
from paretokit.decoding.guides import guide_of
from paretokit.decoding.search import Limits, Search
from paretokit.decoding.stops import check_stop_strings
from paretokit.decoding.tree import GuidedGeneration
from paretokit.errors import ConfigError
from paretokit.maths.selection import Rule, rule
from paretokit.maths.simplex import Weights, resolve
from paretokit.models.policy import Policy
from paretokit.models.soups import LogitMixture, Soup
from paretokit.preferences.steps import Splitter, as_splitter, by_sentence
from paretokit.texts import Prompt, end_tokens

__all__ = ["GuidedStep", "guided_generate", "iter_guided"]

Moving = Callable[[int], Weights]  # the step, counted from 1 -> weights
_At = Callable[[int], tuple[float, ...]]  # the same, checked


class GuidedStep(NamedTuple):
    """Where a batch of prompts stands after a step."""

    step: int  # counted from 1; where `stop` ended the decoding the last complete one, again
    weights: tuple[float, ...]  # of the guide's objectives, asked for that step
    generations: tuple[GuidedGeneration, ...]  # the best text of each prompt so far, in their order
    head_weights: tuple[float, ...] = ()  # of the policy's heads, asked for that step; () without heads


def guided_generate(
    policy: Policy | Soup | LogitMixture,
    prompts: Sequence[Prompt],
    *,
    reward_model: Any,
    weights: Weights | Moving,
    candidates: int = 5,
    beams: int = 1,
    combine: str | Rule = "weighted",
    least: Mapping[str, float] | None = None,
    steps: Splitter | str | None = None,
    max_steps: int = 20,
    max_step_tokens: int = 64,
    max_new_tokens: int = 256,
    head_weights: Weights | Moving | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    stop_strings: Sequence[str] = (),
    batch_size: int = 16,
    stop: Callable[[], bool] | None = None,
) -> list[GuidedGeneration]:
    """Return a response to each prompt, written step by step under the guidance of `reward_model`, in the order of prompts.

    At each step `candidates` ways to go on are sampled from every line of text that is kept, the guide scores the text that
    each would make, and the `beams` best ones stay. `reward_model` is one, or a mapping of scorers `(prompt, text) -> number`
    by objective. `weights` say what counts how much, on the simplex over its objectives: fixed, or a function of the step
    (counted from 1), which is asked before each step, so that they can move. `combine` turns a candidate's scores into one
    utility (`maths.selection`): "weighted" (standardised over the candidates of a prompt), "minimum", "product",
    "lexicographic", "constraint" (with `least`, a score by objective that has to be reached first), or a function. Of equal
    candidates the first one stays.

    `steps` says where a step ends, a `Splitter` or a kind of one (default: after each sentence); "turn" makes the whole
    response one step, and so this best-of-n; `converse` takes such turns one after another. An end token ends a response,
    also as the only token of a step. What reaches `max_step_tokens` is cut off there and goes on with the next step; a
    response that reaches `max_steps` or `max_new_tokens` is cut off and says so: `ended` is False and `reason` tells.
    A response also ends before one of `stop_strings`, wherever in its tokens the string lies, with the reason "stop_string";
    the guide judges the text without it, `token_ids` and `sum_logp` are about all tokens that were drawn.
    `head_weights` mix the heads of a policy that has some; they may move as `weights` do. Where they have moved, the policy
    reads the lines that are kept once more, since a text goes on as the policy of that moment would go on with it.

    Candidate k draws the numbers that copy k of `generate` draws after the same text, so the first step of a candidate
    is the beginning of that copy, and no text depends on the batch it shares. `batch_size` prompts are decoded together.
    Once `stop`, which is asked before each token, is true, the step that was being decoded is dropped, and what is complete
    is returned.

    Raises `ConfigError` for options out of range, `WeightsError` for unfit weights, `DataError` for a prompt that leaves no
    room, `NonFiniteError` where logits or scores are not finite. Source: MAHALO, arXiv 2510.01167, section 4.

    >>> from paretokit.models.tiny import random_policy
    >>> scorers = {"short": lambda prompt, text: -len(text), "calm": lambda prompt, text: -text.count("!")}
    >>> made = guided_generate(random_policy(), ["Hi"], reward_model=scorers, weights=[1, 0], candidates=3, max_new_tokens=8)
    >>> made[0].reason, len(made[0].tree) % 3, made[0].guide
    ('max_new_tokens', 0, 'the scorers short, calm')
    """
    check_prompts(prompts, place="guided_generate")
    if batch_size < 1:
        raise ConfigError(f"guided_generate: batch_size is {batch_size}; expected at least 1.")
    made: list[GuidedGeneration] = []
    for start in range(0, len(prompts), batch_size):
        found = iter_guided(
            policy,
            prompts[start : start + batch_size],
            reward_model=reward_model,
            weights=weights,
            candidates=candidates,
            beams=beams,
            combine=combine,
            least=least,
            steps=steps,
            max_steps=max_steps,
            max_step_tokens=max_step_tokens,
            max_new_tokens=max_new_tokens,
            head_weights=head_weights,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            stop_strings=stop_strings,
            stop=stop,
        )
        *_, last = found
        made += [one._replace(prompt_index=start + one.prompt_index) for one in last.generations]
    return made


def iter_guided(
    policy: Policy | Soup | LogitMixture,
    prompts: Sequence[Prompt],
    *,
    reward_model: Any,
    weights: Weights | Moving,
    candidates: int = 5,
    beams: int = 1,
    combine: str | Rule = "weighted",
    least: Mapping[str, float] | None = None,
    steps: Splitter | str | None = None,
    max_steps: int = 20,
    max_step_tokens: int = 64,
    max_new_tokens: int = 256,
    head_weights: Weights | Moving | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    stop_strings: Sequence[str] = (),
    stop: Callable[[], bool] | None = None,
) -> Iterator[GuidedStep]:
    """Return what `guided_generate` does as an iterator: one item for each step, all prompts in one batch.

    The last item holds the finished texts. Leaving the loop ends the decoding. Arguments are checked now, not at the first
    step; weights that move are asked for when a step begins. The policy is taken as it is when the first step begins, and
    again where its heads are mixed otherwise.

    >>> from paretokit.models.tiny import random_policy
    >>> scorers = {"short": lambda prompt, text: -len(text), "calm": lambda prompt, text: -text.count("!")}
    >>> moving = lambda step: [1, 0] if step < 2 else [0, 1]
    >>> found = iter_guided(random_policy(), ["Hi"], reward_model=scorers, weights=moving, max_step_tokens=4, max_new_tokens=8)
    >>> [(step.step, step.weights, len(step.generations[0].tree)) for step in found]
    [(1, (1.0, 0.0), 5), (2, (0.0, 1.0), 10)]
    """
    check_prompts(prompts, place="guided_generate")
    check_options(max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, place="guided_generate")
    limits = Limits(candidates, beams, max_steps, max_step_tokens, max_new_tokens)
    for name, count in limits._asdict().items():
        if count < 1:
            raise ConfigError(f"guided_generate: {name} is {count}; expected at least 1.")
    guide = guide_of(reward_model, policy.chat)
    chosen = rule(combine, guide.objectives, least=least)
    at = _schedule(weights, partial(resolve, objectives=guide.objectives), place="guided_generate: weights")
    at(1)
    splitter = by_sentence() if steps is None else as_splitter(steps)
    sampling = Sampling(
        format=policy.chat,
        ends=end_tokens(policy.chat),
        boundary=splitter.end,
        counted=splitter.min_tokens > 0,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        stop_strings=check_stop_strings(stop_strings, place="guided_generate"),
    )
    mixed_at = _schedule(head_weights, policy.mixture, place="guided_generate: head_weights")
    mixed_at(1)
    search = Search(
        encode(policy, prompts, max_new_tokens=max_new_tokens, place="guided_generate"),
        prompts,
        guide=guide,
        rule=chosen,
        sampling=sampling,
        limits=limits,
        sharing=policy.sharing,
    )
    return _run(search, policy, at, mixed_at, stop or (lambda: False))


def _run(
    search: Search, policy: Policy | Soup | LogitMixture, weights: _At, mixed_at: _At, stop: Callable[[], bool]
) -> Iterator[GuidedStep]:
    search.begin()
    while search.live and not search.stopped:
        asked, mixture = weights(search.step + 1), mixed_at(search.step + 1)
        if mixture != search.mixture:
            search.go_on_with(policy.merged(mixture or None), mixture=mixture)
        search.advance(asked, stop=stop)
        yield GuidedStep(search.step, asked, search.generations(), mixture)


def _schedule(weights: Any, check: Callable[..., tuple[float, ...]], *, place: str) -> _At:
    """The weights of each step, fixed or moving, as `check` returns them."""
    if callable(weights):
        return lambda step: check(weights(step), place=f"{place} at step {step}")
    fixed = check(weights, place=place)
    return lambda step: fixed
