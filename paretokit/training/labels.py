"""Label rules of process reward models: from what was seen after a prefix to the label of its last step. Pure functions.

The four regimes of MAHALO (arXiv 2510.01167, as `PRM training`): a value from verified rollouts, the majority of a judge over
rollouts, a judge on the prefix itself (whose answer is the label) and preference pairs (which are labels already); the last
two need no rule here. `Budget` says when further rollouts are not worth their price.
Imports: `maths.proportions`, `preferences`, `errors`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from paretokit.errors import ConfigError, DataError
from paretokit.maths.proportions import wilson
from paretokit.preferences.step_labels import StepLabels

__all__ = [
    "Agreement",
    "Budget",
    "agreement",
    "discounted",
    "hindsight_target",
    "majority",
    "unit_target",
]


def discounted(outcomes: Sequence[float], remaining: Sequence[int], *, gamma: float) -> list[float]:
    """Return gamma^(n_m - t) z_m for each rollout m: its outcome, worth less the more steps away it is; each in [0, 1].

    `outcomes` are the z_m, in [0, 1]; `remaining` are the n_m - t, steps that rollout m has after the prefix; 0 < gamma <= 1.
    Raises `DataError` for unequal numbers, none, or an outcome or count out of range; `ConfigError` for such a gamma.

    >>> discounted([1.0, 0.0, 1.0], [0, 1, 2], gamma=0.5)
    [1.0, 0.0, 0.25]
    """
    if not 0 < gamma <= 1:
        raise ConfigError(f"gamma: found {gamma}, expected a number above 0, at most 1 (no discount).")
    if len(outcomes) != len(remaining) or not outcomes:
        raise DataError(
            f"rollouts: found {len(outcomes)} outcomes and {len(remaining)} numbers of steps, expected one of each for at "
            "least one rollout."
        )
    for index, (outcome, steps) in enumerate(zip(outcomes, remaining, strict=True)):
        if not (0 <= outcome <= 1 and steps >= 0):
            raise DataError(
                f"rollout {index}: found the outcome {outcome} after {steps} steps, expected an outcome in [0, 1] and at least "
                "0 steps. Scale what the verifier returns."
            )
    return [gamma**steps * outcome for outcome, steps in zip(outcomes, remaining, strict=True)]


def hindsight_target(outcomes: Sequence[float], remaining: Sequence[int], *, gamma: float, score: float | None = None) -> float:
    """Return the published value target of a prefix, V_t = (1/M) sum_m (r_t + gamma^(n_m - t) z_m).

    `score` is r_t, a step score that already exists; None: 0. With r_t in [0, 1] the target lies in [0, 2], so it is no
    probability; `unit_target` is the one that lies in [0, 1]. Without r_t it lies there as it is. Arguments as for
    `discounted`. Source: MAHALO, arXiv 2510.01167, verifiable objectives, hindsight relabelling.

    >>> hindsight_target([1.0, 0.0], [1, 3], gamma=0.5, score=0.5)
    0.75
    """
    return _finite_score(score) + math.fsum(discounted(outcomes, remaining, gamma=gamma)) / len(outcomes)


def unit_target(outcomes: Sequence[float], remaining: Sequence[int], *, gamma: float, score: float | None = None) -> float:
    """Return the value target of a prefix scaled to [0, 1]: (1/M) sum_m (r_t + gamma^(n_m - t) z_m) / 2, not as published.

    `score` is r_t in [0, 1]. Without one there is nothing to halve: the target is then (1/M) sum_m gamma^(n_m - t) z_m, equal
    to the published one. Arguments as for `discounted`; raises `DataError` for a score outside [0, 1].

    >>> unit_target([1.0, 0.0], [1, 3], gamma=0.5, score=0.5), unit_target([1.0, 0.0], [1, 3], gamma=0.5)
    (0.375, 0.25)
    """
    if score is not None and not 0 <= score <= 1:
        raise DataError(f"step score: found {score}, expected a number in [0, 1]. Scale it, or take hindsight_target.")
    target = hindsight_target(outcomes, remaining, gamma=gamma, score=score)
    return target if score is None else target / 2


def majority(probabilities: Sequence[float]) -> float:
    """Return 1.0 where a judge finds more than half of the rollouts positive, else 0.0: 1[(1/M) sum_m 1[J_m > 1/2] > 1/2].

    `probabilities` are the judge's answers J_m, in [0, 1], one for each rollout. Exactly half is no majority. Source: MAHALO,
    arXiv 2510.01167, case A. Raises `DataError` for no answers.

    >>> majority([0.9, 0.6, 0.1]), majority([0.9, 0.1])
    (1.0, 0.0)
    """
    if not probabilities:
        raise DataError("majority: found no answers, expected at least one rollout that was judged.")
    return float(2 * sum(map(_positive, probabilities)) > len(probabilities))


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How many rollouts a prefix gets: `rollouts` at most, fewer where its label is certain before, as looked at now and then.

    After every `every` rollouts a prefix is looked at, and gets no more once each of its labels is settled:

    - a majority, where the rollouts that are left cannot change it; or, below confidence 1, where the Wilson interval of the
      share of positive rollouts at level `confidence` lies on one side of 1/2;
    - a value, where the Wilson interval of the mean of gamma^(n_m - t) z_m is at most `width` long.

    What that guarantees: with `confidence=None` every prefix gets all rollouts; with `confidence=1` a majority is exactly the
    one of all rollouts, at a lower price, and values get all of them. Below 1 a settled majority can still differ from that of
    all rollouts, where the true share is near 1/2: with the defaults in at most 1.8 % of prefixes, whatever their true share,
    since four equal answers settle it. A value is then the mean over the rollouts that were made: as many looks are taken, its
    interval covers the truth somewhat less often than `confidence` says.

    >>> budget = Budget(rollouts=10, every=4)
    >>> budget.looks, budget.settles_majority([0.9, 0.8, 0.9, 0.7]), budget.settles_majority([0.9, 0.8, 0.9, 0.2])
    ((4, 8, 10), True, False)
    """

    rollouts: int = 16
    every: int = 4
    confidence: float | None = 0.95
    width: float = 0.25

    def __post_init__(self) -> None:
        for name, count in (("rollouts", self.rollouts), ("every", self.every)):
            if isinstance(count, bool) or count < 1:
                raise ConfigError(f"budget: {name} is {count}; expected at least 1.")
        if self.confidence is not None and not 0 < self.confidence <= 1:
            raise ConfigError(
                f"budget: confidence is {self.confidence}; expected a number above 0, at most 1 (stop where nothing can "
                "change), or None (all rollouts)."
            )
        if not 0 < self.width < 1:
            raise ConfigError(f"budget: width is {self.width}; expected a number between 0 and 1.")

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of rollouts after which a prefix is looked at; the last is `rollouts`."""
        return (*range(self.every, self.rollouts, self.every), self.rollouts)

    def settles_majority(self, probabilities: Sequence[float]) -> bool:
        """Return whether the majority of a judge's answers needs no further rollouts."""
        count, positive = len(probabilities), sum(map(_positive, probabilities))
        if count >= self.rollouts or self.confidence is None:
            return count >= self.rollouts
        if 2 * positive > self.rollouts or 2 * (count - positive) >= self.rollouts:
            return True
        interval = wilson(positive / count, count, level=self.confidence)
        return interval.low > 0.5 or interval.high < 0.5

    def settles_value(self, values: Sequence[float]) -> bool:
        """Return whether the mean of values in [0, 1] needs no further rollouts."""
        if len(values) >= self.rollouts or self.confidence is None:
            return len(values) >= self.rollouts
        share = min(1.0, math.fsum(values) / len(values))
        _, low, high = wilson(share, len(values), level=self.confidence)
        return high - low <= self.width


class Agreement(NamedTuple):
    """How far two sources of labels agree on the steps that both have labelled."""

    share: float  # of labels on the same side of 1/2, in [0, 1]
    kappa: float  # Cohen's: 0 as by chance, 1 always; NaN where both always say the same
    steps: int


def agreement(first: StepLabels, second: StepLabels, *, objective: str) -> Agreement:
    """Return how far two labellings of the same steps agree on an objective: that of two judges, say.

    A label counts as positive above 1/2. Raises `DataError` where prompts or steps differ, or no step is labelled in both.

    >>> one, two = (StepLabels(kinds={"calm": "class"}, prompts=["Hi"], steps=[["A.", " B.", " C.", " D."]],
    ...     labels=[{"calm": row}]) for row in ([1, 1, 0, 0], [1, 0, 0, 0]))
    >>> agreement(one, two, objective="calm")
    Agreement(share=0.75, kappa=0.5, steps=4)
    """
    if first.prompts != second.prompts or first.steps != second.steps:
        raise DataError("agreement: found different prompts or steps, expected two labellings of the same responses, in order.")
    sides = [
        (_positive(a), _positive(b))
        for one, other in zip(
            first.select(objectives=[objective]).labels, second.select(objectives=[objective]).labels, strict=True
        )
        for a, b in zip(one[objective], other[objective], strict=True)
        if a is not None and b is not None
    ]
    if not sides:
        raise DataError(f"agreement: found no step that both have labelled for {objective!r}, expected at least one.")
    count = len(sides)
    share = sum(a == b for a, b in sides) / count
    a, b = (sum(side[index] for side in sides) / count for index in (0, 1))
    chance = a * b + (1 - a) * (1 - b)
    return Agreement(share=share, kappa=math.nan if chance == 1 else (share - chance) / (1 - chance), steps=count)


def _positive(probability: float) -> bool:
    return probability > 0.5


def _finite_score(score: float | None) -> float:
    if score is None:
        return 0.0
    if not math.isfinite(score):
        raise DataError(f"step score: found {score}, expected a finite number. Correct what gives the scores.")
    return float(score)
