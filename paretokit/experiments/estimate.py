"""How long a run will take, measured before it starts: a short trial of the real work, scaled by the number of tokens.

Imports: `training`, `evaluation`; reads the clock.
"""

from collections.abc import Sequence
from statistics import median
from time import perf_counter
from typing import NamedTuple

import torch

from paretokit.experiments.evaluation import Evaluation, HeldOutEvaluation
from paretokit.experiments.reference_store import ReferenceStore
from paretokit.models.policy import Policy
from paretokit.preferences.records import Preferences
from paretokit.training.config import TrainConfig
from paretokit.training.encode import encode_preferences
from paretokit.training.jacobian import batch_for, objective_jacobian
from paretokit.training.loop import order
from paretokit.training.references import missing


class Estimate(NamedTuple):
    """Seconds of the parts of a run, from a trial of one or two pairs; a quarter more or less is to be expected."""

    training: float
    references: float  # log-probabilities of the reference that are not in the cache yet
    figures: float | None  # on held-out pairs; None where samples are drawn, whose length is not known before

    @property
    def total(self) -> float:
        """The sum of what is known."""
        return self.training + self.references + (self.figures or 0.0)


def estimate(
    policy: Policy,
    preferences: Preferences,
    *,
    config: TrainConfig,
    evaluation: Evaluation | None,
    references: ReferenceStore,
) -> Estimate:
    """Return how long a run would take here and now. The policy is not changed."""
    pairs = encode_preferences(policy, preferences, max_length=config.max_length)
    length = median(pair.tokens for pair in pairs)
    typical = sorted(range(len(pairs)), key=lambda index: abs(pairs[index].tokens - length))[:2]
    trial = [pairs[index] for index in typical]
    labels = torch.nan_to_num(preferences.labels[:, typical], nan=1.0)  # every objective costs a backward pass
    batch = batch_for(policy, trial, labels, torch.zeros(len(trial)), torch.tensor(typical))
    judged = torch.full((len(labels),), len(trial), device=policy.device)
    prompts = [pair.prompt for pair in trial for _ in range(2)]
    responses = [response for pair in trial for response in (pair.response_a, pair.response_b)]

    def step() -> None:
        objective_jacobian(policy, batch, beta=config.beta, judged=judged)

    def forward() -> None:
        policy.ids_logps(prompts, responses)

    tokens = sum(pair.tokens for pair in trial)
    per_step, per_forward = _seconds(step) / tokens, _seconds(forward) / tokens
    steps = [order(len(pairs), step=s, size=config.pairs_per_step, seed=config.seed) for s in range(1, config.steps + 1)]
    read = {index for step_pairs in steps for index in step_pairs}
    lacking = missing([pairs[index] for index in sorted(read)], references)
    figures = None
    if isinstance(evaluation, HeldOutEvaluation):
        held_out = encode_preferences(policy, evaluation.pairs, max_length=config.max_length)
        unknown = missing(held_out, references)
        figures = per_forward * (sum(pair.tokens for pair in held_out) + _sequence_tokens(unknown))
    return Estimate(
        training=per_step * sum(pairs[index].tokens for step_pairs in steps for index in step_pairs),
        references=per_forward * _sequence_tokens(lacking),
        figures=figures,
    )


def _seconds(work) -> float:
    """Seconds of the second call: the first one allocates."""
    work()
    began = perf_counter()
    work()
    return perf_counter() - began


def _sequence_tokens(sequences: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> int:
    return sum(len(prompt) + len(response) for prompt, response in sequences)
