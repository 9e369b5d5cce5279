"""`label_steps`: the label factory. Responses are cut into steps, and every step gets its labels from rollouts and judges.

The rules are in `training.labels`; `label_factory` makes rollouts in batches, asks verifiers and judges, keeps both by content,
and stops early where a label is certain. Here its arguments are checked. Imports: `label_factory` and what it is made of,
`decoding.asked`, `training`, `preferences`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from paretokit.cache import cache_folder
from paretokit.decoding.asked import check_options, check_prompts
from paretokit.decoding.stops import check_stop_strings
from paretokit.errors import ConfigError, DataError
from paretokit.experiments.content_cache import ContentCache, content_key
from paretokit.experiments.judging import Judge, JudgeBook
from paretokit.experiments.label_evidence import Evidence, LabelProgress, labels_bar
from paretokit.experiments.label_factory import JUDGE, PREFIX_JUDGE, VERIFIER, Factory
from paretokit.experiments.rollouts import PolicySampler, RolloutBook, Sampler
from paretokit.maths.simplex import Weights
from paretokit.models.policy import Policy
from paretokit.models.soups import LogitMixture, Soup
from paretokit.preferences.step_labels import StepLabels
from paretokit.preferences.steps import Splitter, as_splitter
from paretokit.prompts import Prompt, as_prompt
from paretokit.texts import begin_response
from paretokit.training.labels import Budget, discounted, hindsight_target

__all__ = ["Labelling", "label_steps"]


class Labelling(NamedTuple):
    """Step labels and what they rest on."""

    labels: StepLabels | None  # None: `stop` was heard before there was a response
    evidence: Evidence


def label_steps(
    policy: Policy | Soup | LogitMixture | Sampler,
    prompts: Sequence[Prompt],
    *,
    split: Splitter | str,
    responses: Sequence[str] | None = None,
    copies: int = 1,
    verifiers: Mapping[str, Judge] | None = None,
    judges: Mapping[str, Judge] | None = None,
    prefix_judges: Mapping[str, Judge] | None = None,
    step_scores: Mapping[str, Judge] | None = None,
    target: Callable[..., float] = hindsight_target,
    gamma: float = 0.9,
    rollouts: int = 16,
    every: int = 4,
    confidence: float | None = 0.95,
    width: float = 0.25,
    weights: Weights | None = None,
    max_new_tokens: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_strings: Sequence[str] | None = None,
    batch_size: int = 64,
    seed: int = 0,
    cache: str | Path | None = None,
    stop: Callable[[], bool] | None = None,
    progress: bool | Callable[[LabelProgress], None] = True,
) -> Labelling:
    """Return a label for every step of the responses and every objective, with the evidence: rollouts made and saved, balance.

    `responses` holds a text for each prompt; None: `copies` of them are sampled for each. `split` says where steps end, a
    `Splitter` or a kind of one. With t steps a prefix, an objective gets its labels in one of three ways (MAHALO, arXiv
    2510.01167), by the mapping that names it:

    - `verifiers`: of the kind "value": `target` of the outcomes z_m = verifier(prompt, text) in [0, 1] of M rollouts from the
      prefix, each discounted by `gamma` for the steps it has after it. `hindsight_target` is the published one, `unit_target`
      the one scaled to [0, 1]; r_t is what `step_scores[objective](prompt, prefix)` returns, a score that already exists.
    - `judges`: of the kind "class": 1 where the judge, (prompt, text) -> a probability, finds most of M rollouts good, else 0.
    - `prefix_judges`: of the kind "class": the judge's answer to the prefix itself, in [0, 1]; for rollouts that cost too much.

    The last prefix of a response that has ended is the response: its outcome is known and needs no rollout, unless another
    response goes on from there. Equal prefixes are labelled once. M is at most `rollouts`, fewer where a label is certain
    before: `every`, `confidence` and `width` are those of `training.labels.Budget`, which says what is guaranteed. The labels
    of an objective do not depend on the other objectives.

    `policy` may be any `Sampler` (see `experiments.rollouts`) instead: `weights` (of heads), `max_new_tokens` (64, of what
    is added), `temperature` (1), `top_k` (0: off), `top_p` (1: off) and `stop_strings` (none) are for policies alone.
    `batch_size` rollouts are decoded together. Every rollout belongs to the policy's weights, the prompt, the prefix, the
    seed and its number, and is kept under `cache` (default: the cache folder), as are answers of judges with a `cache_key`.
    So a call that was interrupted, by whatever, goes on where it was when it is made again, and one that has been made
    before makes no rollouts. Verifiers and judges without a `cache_key` are asked again. `stop` is asked at every token and
    question; `progress` is a bar on the terminal, nothing, or a function.

    Raises `ConfigError` for options that do not fit, `DataError` for prompts, responses or answers that cannot be used, and
    what a judge raises, after what is known has been kept.

    >>> from paretokit.experiments.rollouts import Rollout
    >>> def sampler(prompts, begun, *, copies, seed):  # goes right at even numbers
    ...     return [[Rollout(text + (" Yes.", " No.")[copy % 2]) for copy in copies] for text in begun]
    >>> found = label_steps(sampler, ["Is it?"], responses=["Well. Yes."], split="sentence", gamma=1.0, progress=False,
    ...     verifiers={"right": lambda prompt, text: text.endswith("Yes.")})
    >>> found.labels.labels[0]["right"], found.evidence.rollouts
    ((0.5, 1.0), 16)
    """
    check_prompts(prompts, place="label_steps")
    regimes = {VERIFIER: verifiers or {}, JUDGE: judges or {}, PREFIX_JUDGE: prefix_judges or {}}
    _check_objectives(regimes, step_scores or {})
    _check_responses(responses, count=len(prompts), copies=copies)
    if batch_size < 1:
        raise ConfigError(f"label_steps: batch_size is {batch_size}; expected at least 1.")
    discounted([1.0], [0], gamma=gamma)  # refuses a gamma out of range before anything is sampled
    splitter = as_splitter(split)
    if splitter.min_tokens and not isinstance(policy, Policy | Soup | LogitMixture):
        raise ConfigError(
            f"label_steps: found min_tokens={splitter.min_tokens} for a sampler that is a function, expected a policy, whose "
            "tokenizer counts them. Leave min_tokens out."
        )
    heard = stop or (lambda: False)
    asked = {
        "weights": weights,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "stop_strings": None if stop_strings is None else check_stop_strings(stop_strings, place="label_steps"),
    }
    options = {name: value for name, value in asked.items() if value is not None}
    sampler = _sampler(policy, options, batch_size=batch_size, stop=heard)
    folder = cache_folder() / "labels" if cache is None else Path(cache)
    kept = _kept(sampler, folder / "rollouts")
    if cache is not None and kept is None:
        raise ConfigError(
            "label_steps: cache: found a sampler without a cache_key, whose rollouts cannot be kept. Give it one."
        )
    factory = Factory(
        prompts=[as_prompt(prompt, place=f"prompt {index}") for index, prompt in enumerate(prompts)],
        split=splitter,
        count=partial(_tokens, sampler.policy.tokenizer)
        if isinstance(sampler, PolicySampler) and splitter.min_tokens
        else None,
        regimes=regimes,
        step_scores=step_scores or {},
        target=target,
        gamma=gamma,
        budget=Budget(rollouts=rollouts, every=every, confidence=confidence, width=width),
        book=RolloutBook(sampler, ContentCache(kept), seed=seed, batch_size=batch_size),
        asked={
            name: JudgeBook(judge, ContentCache(_kept(judge, folder / "answers")), place=f"{regime} {name!r}")
            for regime, named in regimes.items()
            for name, judge in named.items()
        },
        stop=heard,
    )
    with labels_bar(shown=progress is True) as show:
        for one in factory.run(responses, copies=copies):
            progress(one) if callable(progress) else show(one)
    return Labelling(factory.labels(), factory.evidence())


def _check_objectives(regimes: Mapping[str, Mapping[str, Judge]], step_scores: Mapping[str, Judge]) -> None:
    names = [name for named in regimes.values() for name in named]
    if not names:
        raise ConfigError("label_steps: found no objective, expected some in verifiers, judges or prefix_judges. Name one.")
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"label_steps: found the objective {name!r} twice, expected it in one of the mappings. Rename one."
            )
    for name in step_scores:
        if name not in regimes[VERIFIER]:
            raise ConfigError(
                f"label_steps: step_scores: found {name!r}, expected objectives that verifiers names. Leave the others out."
            )


def _check_responses(responses: Sequence[str] | None, *, count: int, copies: int) -> None:
    if not count:
        raise DataError("label_steps: found no prompts, expected at least one.")
    if copies < 1:
        raise ConfigError(f"label_steps: copies is {copies}; expected at least 1.")
    if responses is None:
        return
    if copies != 1:
        raise ConfigError(f"label_steps: copies is {copies}, but the responses are given; leave it out, or repeat prompts.")
    if isinstance(responses, str) or len(responses) != count:
        found = "one text" if isinstance(responses, str) else f"{len(responses)} texts"
        raise DataError(f"label_steps: responses: found {found} for {count} prompts, expected a list of one for each.")


def _sampler(
    policy: Policy | Soup | LogitMixture | Sampler, options: dict[str, Any], *, batch_size: int, stop: Callable[[], bool]
) -> Sampler:
    """What makes the rollouts."""
    if not isinstance(policy, Policy | Soup | LogitMixture):
        if options:
            raise ConfigError(
                f"label_steps: found {', '.join(options)} for a sampler that is a function, expected none: they are for "
                "policies. Leave them out."
            )
        return policy
    sampler = PolicySampler(policy=policy, batch_size=batch_size, stop=stop, **options)
    check_options(
        max_new_tokens=sampler.max_new_tokens,
        temperature=sampler.temperature,
        top_k=sampler.top_k,
        top_p=sampler.top_p,
        place="label_steps",
    )
    return sampler


def _tokens(tokenizer: Any, text: str) -> int:
    return len(begin_response(tokenizer, text))


def _kept(function: Any, folder: Path) -> Path | None:
    """Where results of a function are kept: under its `cache_key`; None where it has none."""
    key = getattr(function, "cache_key", None)
    return None if key is None else folder / content_key(str(key))
