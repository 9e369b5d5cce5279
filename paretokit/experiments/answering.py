"""Ways to answer problems with a policy and a reward model that guides it; every answer is made once and kept by content.

Imports: pandas, `problems`, `content_cache`, `rollouts`, `score`, `studies`, `decoding`, `models`, `preferences`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import pandas as pd

from paretokit.decoding.guided import guided_generate
from paretokit.decoding.sample import generate
from paretokit.decoding.tree import GuidedGeneration
from paretokit.experiments.content_cache import ContentCache, content_key
from paretokit.experiments.problems import Problem
from paretokit.experiments.rollouts import PolicySampler
from paretokit.experiments.score import Scorer, score
from paretokit.experiments.studies import weightings
from paretokit.models.policy import Policy
from paretokit.models.rewards import RewardModel
from paretokit.preferences.steps import Splitter, by_turn
from paretokit.prompts import Prompt

__all__ = ["SAMPLES", "Answer", "Decoding", "Way", "kept_answers", "scored", "ways"]

SAMPLES = "samples"


class Decoding(NamedTuple):
    """How answers are sampled, and where they are cut off."""

    candidates: int = 5  # at each step, and whole samples of a problem
    max_steps: int = 16
    max_step_tokens: int = 64
    max_new_tokens: int = 128  # of an answer
    temperature: float = 0.7
    batch_size: int = 16  # problems that are decoded together


class Answer(NamedTuple):
    """An answer as `score` takes it, with what it cost and what the guide says of it."""

    prompt_index: int  # the number of the problem
    copy: int
    prompt: Prompt
    text: str
    token_ids: Sequence[int]
    ended: bool
    drawn: int  # tokens, those of candidates that were dropped included
    scores: Sequence[float]  # by objective; none without a guide


class Way(NamedTuple):
    """A way to answer."""

    name: str
    key: str  # changes with all that answers depend on beside the prompt
    answer: Callable[[Sequence[Prompt]], list[list[Mapping[str, Any]]]]  # for each prompt one or several answers, as JSON


def ways(policy: Policy, guide: RewardModel, *, steps: Splitter, decoding: Decoding, seed: int) -> Iterator[Way]:
    """Yield the ways to answer: "plain", `SAMPLES`, "guided + <objective>" for each objective of the guide, "guided + all".

    "plain" is one sample; `SAMPLES` are several whole ones, which the guide has scored, the first of them that of "plain";
    "guided" chooses among as many candidates at every step, by one output of the guide or by all at equal weights. All draw
    from the same `seed`.
    """
    sampler = PolicySampler(policy=policy, max_new_tokens=decoding.max_new_tokens, temperature=decoding.temperature)
    known = (sampler.cache_key, decoding._replace(batch_size=0), steps.kind, steps.delimiter, seed)
    limits = decoding._asdict()  # by the names of `guided_generate`

    def plain(prompts: Sequence[Prompt]) -> list[list[Mapping[str, Any]]]:
        made = generate(policy, prompts, max_new_tokens=decoding.max_new_tokens, temperature=decoding.temperature, seed=seed)
        return [[_row(one.text, one.token_ids, one.ended, drawn=len(one.token_ids))] for one in made]

    def whole(prompts: Sequence[Prompt]) -> list[list[Mapping[str, Any]]]:
        at_once = {**limits, "max_steps": 1, "max_step_tokens": decoding.max_new_tokens}
        even = [1 / len(guide.objectives)] * len(guide.objectives)
        made = guided_generate(policy, prompts, reward_model=guide, weights=even, steps=by_turn(), seed=seed, **at_once)
        return [[_row(c.text, c.token_ids, c.ended, drawn=len(c.token_ids), scores=c.scores) for c in one.tree] for one in made]

    def stepwise(weights: Mapping[str, float]) -> Callable[[Sequence[Prompt]], list[list[Mapping[str, Any]]]]:
        def answer(prompts: Sequence[Prompt]) -> list[list[Mapping[str, Any]]]:
            made = guided_generate(policy, prompts, reward_model=guide, weights=weights, steps=steps, seed=seed, **limits)
            return [[_row(one.text, one.token_ids, one.ended, drawn=_drawn(one), scores=one.scores)] for one in made]

        return answer

    yield Way("plain", content_key("plain", *known), plain)
    yield Way(SAMPLES, content_key(SAMPLES, guide.fingerprint, *known), whole)
    for name, weights in weightings(guide.objectives):
        yield Way(f"guided + {name}", content_key(weights, guide.fingerprint, *known), stepwise(weights))


def _row(text: str, token_ids: Sequence[int], ended: bool, *, drawn: int, scores: Sequence[float] = ()) -> dict[str, Any]:
    return {"text": text, "token_ids": list(token_ids), "ended": ended, "drawn": drawn, "scores": list(scores)}


def _drawn(made: GuidedGeneration) -> int:
    return sum(len(candidate.token_ids) for candidate in made.tree)


def kept_answers(
    way: Way, problems: Sequence[Problem], *, cache: ContentCache, batch_size: int, watch: Callable[[str], None]
) -> list[Answer]:
    """Return the answers to all problems, problem by problem: those in `cache`, and the others made, `batch_size` at a time.

    A batch is kept before the next one begins, so that a call after an interrupt goes on there. `watch` is told after each
    batch how long the others will take.
    """
    keys = [content_key(way.key, problem.question) for problem in problems]
    missing = [place for place, key in enumerate(keys) if key not in cache]
    began = perf_counter()
    for first in range(0, len(missing), batch_size):
        batch = missing[first : first + batch_size]
        made = way.answer([problems[place].prompt for place in batch])
        cache.add({keys[place]: rows for place, rows in zip(batch, made, strict=True)})
        done = first + len(batch)
        left = (perf_counter() - began) / done * (len(missing) - done)
        watch(f"{way.name}: {done} of {len(missing)} problems, about {left:.0f} s left")
    return [
        Answer(problem.number, copy, problem.prompt, **row)
        for problem, key in zip(problems, keys, strict=True)
        for copy, row in enumerate(cache[key])
    ]


def scored(answers: Sequence[Answer], scorers: Mapping[str, Scorer], *, objectives: Sequence[str]) -> pd.DataFrame:
    """Return the table of `score` with `capped` (1: cut off), `drawn`, and, where there was a guide, `guide_<objective>`.

    The column with the prompts is left out.
    """
    frame = score(answers, scorers).drop(columns="prompt")
    frame = frame.assign(capped=1.0 - frame["ended"].astype(float), drawn=[answer.drawn for answer in answers])
    if answers[0].scores:
        for place, name in enumerate(objectives):
            frame[f"guide_{name}"] = [answer.scores[place] for answer in answers]
    return frame
