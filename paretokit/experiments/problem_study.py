"""Label factory, reward model and guided decoding on word problems with a known answer: the whole way, at every seed.

A part of the problems trains, the rest only evaluates. The policy answers the training problems; every step of an answer gets
labels from rollouts, by a verifier of the final answer (accuracy) and a rule of length (concise), and a reward model learns
these. The other problems are answered in all `ways`, and scored by verifier and rule, not by the reward model. A small policy
solves next to nothing: `concise` shows whether guidance steers where accuracy cannot show it.
Imports: pandas, `problems`, `labelling`, `rewards`, `answering`, `answer_figures`, what keeps files and times, `training`,
`models`, `preferences`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from paretokit.errors import ConfigError, DataError
from paretokit.experiments.answer_figures import chosen, guide_auc
from paretokit.experiments.answering import SAMPLES, Decoding, kept_answers, scored, ways
from paretokit.experiments.content_cache import ContentCache, content_key
from paretokit.experiments.files import storing
from paretokit.experiments.judging import Judge
from paretokit.experiments.label_evidence import Evidence, label_lines
from paretokit.experiments.labelling import label_steps
from paretokit.experiments.problems import Problem, split_problems
from paretokit.experiments.rewards import train_reward_model
from paretokit.experiments.stage_times import seconds_of, timed
from paretokit.experiments.step_files import write_step_labels
from paretokit.experiments.studies import weightings
from paretokit.experiments.verifiers import final_answer
from paretokit.models.load import load_policy, load_reward_model
from paretokit.models.policy import Policy
from paretokit.models.reward_files import REWARD_FILE
from paretokit.models.rewards import RewardModel
from paretokit.preferences.read_steps import read_step_labels
from paretokit.preferences.step_labels import StepLabels
from paretokit.preferences.steps import Splitter, by_delimiter
from paretokit.prompts import Prompt
from paretokit.training.config import RewardConfig

__all__ = ["PLAN", "Plan", "Study", "concise", "study"]

WORDS = 40  # of a concise answer, at most


class Plan(NamedTuple):
    """How a study is done. Of rollouts, four from each prefix, and four more where those four do not agree."""

    policy: str = "smollm2"  # a name for `load_policy`
    dtype: str = "auto"  # of the policy and of the reward model's backbone
    evaluated: float = 0.5  # share of the problems
    steps: Splitter = by_delimiter(delimiter="\n")  # the policy writes a calculation a line, as the examples do
    gamma: float = 0.9  # of labels, as published
    rollouts: int = 8
    every: int = 4
    width: float = 0.5  # after four equal outcomes the interval is 0.49 long
    batch_size: int = 64  # rollouts that are decoded together
    decoding: Decoding = Decoding()
    reward: RewardConfig = RewardConfig(steps=20, examples_per_step=8, heldout=0.3)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        parts = {"steps": asdict(self.steps), "decoding": self.decoding._asdict(), "reward": self.reward.to_json()}
        return {**self._asdict(), **parts, "words": WORDS}


PLAN = Plan()


class Study(NamedTuple):
    """What came out."""

    answers: pd.DataFrame  # a row per method, seed and problem: text, tokens, drawn, capped, and the scores
    samples: pd.DataFrame  # a row per seed, problem and whole sample: the same, and what the guide says of it
    facts: dict[str, Any]  # as JSON: which problems were what, seconds, and by seed what the labels and the guide are worth


def concise(prompt: Prompt, text: str) -> bool:
    """Return whether an answer has at most 40 words: a judge that is a rule.

    >>> concise("", "It is 42."), concise("", "so " * 41)
    (True, False)
    """
    return len(text.split()) <= WORDS


def study(
    problems: Sequence[Problem],
    *,
    verifier: Judge,
    folder: Path,
    seeds: Sequence[int] = (0,),
    plan: Plan = PLAN,
    watch: Callable[[str], None] = print,
) -> Study:
    """Return every method's answer to each problem that evaluates, at each seed, scored, and what they rest on.

    `verifier` says whether an answer to a problem is right, `verifier_of(problems)` say. What is made is kept in `folder` as
    it comes, by content, and not made again by a call with equal arguments. The split of the problems is the same at all
    seeds. `watch` is told what is being done and how long it may take.

    Raises what labelling, training and decoding raise: `ConfigError` and `DataError` for a plan and problems that do not fit,
    `StoreError` where the folder cannot be written.
    """
    if not seeds:
        raise ConfigError("seeds: found none, expected at least one. Name some.")
    training, evaluation = split_problems(problems, evaluated=plan.evaluated)
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    times, name = folder / "times.jsonl", content_key([problem.question for problem in problems], plan.to_json())
    scorers = {"accuracy": verifier, "concise": concise, "stated": lambda prompt, text: final_answer(text) is not None}
    base, cache = load_policy(plan.policy, adapter="none", dtype=plan.dtype), ContentCache(folder / "answers")
    answers, samples, by_seed = [], [], {}
    for seed in seeds:
        watch(f"seed {seed}: labels on {len(training)} problems")
        with timed(times, study=name, stage="labels"):
            labels, evidence = _labelled(base, training, verifier=verifier, folder=folder, seed=seed, plan=plan, watch=watch)
        watch(f"seed {seed}: reward model, {plan.reward.steps} steps")
        with timed(times, study=name, stage="reward model"):
            guide, place = _guide(labels, plan=plan, seed=seed, folder=folder)
        for way in ways(base, guide, steps=plan.steps, decoding=plan.decoding, seed=seed):
            with timed(times, study=name, stage=way.name):
                found = kept_answers(way, evaluation, cache=cache, batch_size=plan.decoding.batch_size, watch=watch)
            frame = scored(found, scorers, objectives=guide.objectives).assign(method=way.name, seed=seed)
            (samples if way.name == SAMPLES else answers).append(frame)
        answers.append(chosen(samples[-1], right="accuracy", weightings=dict(weightings(guide.objectives))))
        by_seed[str(seed)] = {**_facts(labels, evidence, guide, samples[-1]), "kept": [labels.source, str(place)]}
    facts = {
        "policy": base.description,
        "training": [problem.number for problem in training],
        "evaluation": [problem.number for problem in evaluation],
        "seconds": seconds_of(times, study=name),
        "seeds": by_seed,
    }
    return Study(pd.concat(answers, ignore_index=True), pd.concat(samples, ignore_index=True), facts)


def _labelled(
    policy: Policy,
    problems: Sequence[Problem],
    *,
    verifier: Judge,
    folder: Path,
    seed: int,
    plan: Plan,
    watch: Callable[[str], None],
) -> tuple[StepLabels, Evidence]:
    found = label_steps(
        policy,
        [problem.prompt for problem in problems],
        split=plan.steps,
        verifiers={"accuracy": verifier},
        judges={"concise": concise},
        gamma=plan.gamma,
        rollouts=plan.rollouts,
        every=plan.every,
        width=plan.width,
        max_new_tokens=plan.decoding.max_new_tokens,
        temperature=plan.decoding.temperature,
        batch_size=plan.batch_size,
        seed=seed,
        cache=folder / "labels",
        progress=label_lines(watch),
    )
    if found.labels is None:
        raise DataError(
            f"labels: found {len(problems)} answers of {policy.description} and no text in them, expected some. Take another "
            "policy or seed."
        )
    place = folder / f"labels-{seed}.jsonl"
    write_step_labels(found.labels, place)
    return read_step_labels(place), found.evidence


def _guide(labels: StepLabels, *, plan: Plan, seed: int, folder: Path) -> tuple[RewardModel, Path]:
    """The reward model of these labels and its place: the one in the folder, or a new one, which is put there."""
    config = plan.reward.replace(seed=seed)
    place = folder / f"reward-{content_key(plan.policy, plan.dtype, labels.fingerprint, config.to_json())[:10]}"
    if (place / REWARD_FILE).exists():
        return load_reward_model(place, dtype=plan.dtype), place
    model = train_reward_model(load_policy(plan.policy, dtype=plan.dtype, seed=seed), labels, config=config)
    model.save(place)
    return model, place


def _facts(labels: StepLabels, evidence: Evidence, guide: RewardModel, samples: pd.DataFrame) -> dict[str, Any]:
    counts = {
        name: sum(label is not None and label > 0 for row in labels.labels for label in row[name]) for name in labels.objectives
    }
    report = None if guide.report is None else guide.report.to_json()
    separates = {
        name: None if math.isnan(area) else area for name, area in guide_auc(samples, objectives=guide.objectives).items()
    }
    found = {**evidence._asdict(), "saving": evidence.saving, "labels_above_zero": counts}
    return {"labels": found, "guide": guide.source, "reward": report, "auc_of_samples": separates}
