"""How long a run will take, measured before it starts: a short trial of the real work, scaled to what the run computes.

A step costs by the position, padding included, since a prompt that two responses share is computed once, and by the pass;
log-probabilities without gradient cost by the token. Imports: `training`, `evaluation`, `memory`; reads the clock.
"""

from collections.abc import Callable, Sequence
from statistics import mean, median
from time import perf_counter
from typing import NamedTuple

import torch

from paretokit.experiments.evaluation import Evaluation, HeldOutEvaluation
from paretokit.experiments.reading import packed_steps
from paretokit.models.policy import Policy
from paretokit.preferences.pack import PASS, Packing
from paretokit.preferences.records import Preferences
from paretokit.training.config import TrainConfig
from paretokit.training.encode import encode_preferences
from paretokit.training.jacobian import batch_for, objective_jacobian
from paretokit.training.loop import compute_of, plan_of
from paretokit.training.references import References, missing
from paretokit.training.sampling import counted, draw_for


class Estimate(NamedTuple):
    """Seconds of the parts of a run, from a trial of one or two pairs; a quarter more or less is to be expected."""

    training: float
    references: float  # log-probabilities of the reference that are not in the cache yet
    figures: float | None  # on held-out pairs; None where samples are drawn, whose length is not known before
    positions: int  # computed by the steps, padding included
    known: int  # sequences whose reference log-probability is in the cache
    needed: int  # sequences that the run reads, those of held-out pairs included

    @property
    def total(self) -> float:
        """The sum of the seconds that are known."""
        return self.training + self.references + (self.figures or 0.0)


def estimate(
    policy: Policy,
    preferences: Preferences,
    *,
    config: TrainConfig,
    evaluation: Evaluation | None,
    references: References,
) -> Estimate:
    """Return how long a run would take here and now. The policy is not changed.

    The trial is run as `config` asks for: its precision, compiled or not, with checkpointing or without.
    """
    config = counted(config, preferences, policy.heads)
    before, policy.compute = policy.compute, compute_of(config)
    try:
        return _estimate(policy, preferences, config=config, evaluation=evaluation, references=references)
    finally:
        policy.compute = before


def _estimate(
    policy: Policy,
    preferences: Preferences,
    *,
    config: TrainConfig,
    evaluation: Evaluation | None,
    references: References,
) -> Estimate:
    pairs = encode_preferences(policy, preferences, max_length=config.max_length)
    length = median(pair.tokens for pair in pairs)
    typical = sorted(range(len(pairs)), key=lambda index: abs(pairs[index].tokens - length))[:2]
    trial = [pairs[index] for index in typical]
    labels = torch.nan_to_num(preferences.labels[:, typical], nan=1.0)  # an objective that is not judged may cost nothing
    if policy.heads:  # a row has one label
        labels = labels.where(torch.eye(len(labels), len(trial), dtype=torch.bool), torch.nan)
    plan = plan_of(policy, trial, config)
    judged = torch.full((len(labels),), len(trial))
    batches = [
        batch_for(policy, [trial[i] for i in one.pairs], labels[:, one.pairs], zeros, torch.tensor(one.pairs), placed=one)
        for one in plan.passes
        for zeros in [torch.zeros(len(one.pairs))]
    ]
    prompts = [pair.prompt for pair in trial for _ in range(2)]
    responses = [response for pair in trial for response in (pair.response_a, pair.response_b)]

    even = [1 / len(policy.heads)] * len(policy.heads) if policy.heads else None

    def step() -> None:
        for batch in batches:
            objective_jacobian(policy, batch, beta=config.beta, judged=judged, objectives=preferences.objectives)

    def forward() -> None:
        policy.ids_logps(prompts, responses, weights=even)

    per_forward = _seconds(forward) / sum(pair.tokens for pair in trial)
    steps = packed_steps(policy, pairs, preferences, config=config)
    positions, work = (mean(count(one.plan) for one in steps) * config.steps for count in (_positions, _work))
    draw = draw_for(policy.heads, preferences, config)
    read = [pairs[index] for index in sorted({index for s in range(1, config.steps + 1) for index in draw(s).pairs})]
    lacking, figures = missing(read, references), None
    held_out = ()
    if isinstance(evaluation, HeldOutEvaluation):
        held_out = encode_preferences(policy, evaluation.pairs, max_length=config.max_length)
        unknown = missing(held_out, references)
        figures = per_forward * (sum(pair.tokens for pair in held_out) + _sequence_tokens(unknown))
    needed = len(missing([*read, *held_out], {}))
    return Estimate(
        training=_seconds(step) / _work(plan) * work,
        references=per_forward * _sequence_tokens(lacking),
        figures=figures,
        positions=round(positions),
        known=needed - len(missing([*read, *held_out], references)),
        needed=needed,
    )


def _positions(plan: Packing) -> int:
    return plan.positions


def _work(plan: Packing) -> int:
    """What passes take, in positions: a pass costs something by itself."""
    return plan.positions + PASS * len(plan.passes)


def _seconds(work: Callable[[], None]) -> float:
    """Seconds of a call, the first left out, which allocates: the fastest of at most five that end within a second."""
    work()
    took: list[float] = []
    while len(took) < 5 and sum(took) < 1:
        began = perf_counter()
        work()
        took.append(perf_counter() - began)
    return min(took)


def _sequence_tokens(sequences: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> int:
    return sum(len(prompt) + len(response) for prompt, response in sequences)
