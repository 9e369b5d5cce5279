"""How a training spends its time: the time left, and how often to look at the scores in between.

Imports: `experiments.evaluation`; reads the clock.
"""

from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

import pandas as pd

from paretokit.experiments.evaluation import Evaluation, WorldEvaluation
from paretokit.models.policy import Policy

SHARE = 0.25  # at most this share of a run's time goes into looks at its scores while it trains


class Looker:
    """Looks at the scores of a policy while it trains, as often as a quarter of the time allows.

    `weights`, by objective, mix the heads of a policy that has some; None for one without.
    """

    def __init__(self, evaluation: Evaluation | None, *, weights: Mapping[str, float] | None = None) -> None:
        self._evaluation = evaluation.quick() if isinstance(evaluation, WorldEvaluation) else None
        self._weights = weights
        self._cost = 0.0
        self._since = monotonic()
        self.looked = False

    def look(self, policy: Policy, *, references: Any, stop: Callable[[], bool]) -> tuple[float, ...] | None:
        """Return the mean scores, or None where it is not time yet or nothing can be measured in between."""
        began = monotonic()
        self.looked = self._evaluation is not None and (began - self._since) * SHARE >= self._cost * (1 - SHARE)
        if self._evaluation is None or not self.looked:
            return None
        frame: pd.DataFrame = self._evaluation(policy, references=references, weights=self._weights, stop=stop)
        self._since = monotonic()
        self._cost = self._since - began
        return tuple(frame[list(self._evaluation.axes)].mean().tolist())


class Pace:
    """The time that steps take, as a moving average over the last eight."""

    def __init__(self) -> None:
        self._took: deque[float] = deque(maxlen=8)
        self.restart()

    def restart(self) -> None:
        """Leave out what happened since the last step."""
        self._since = monotonic()

    def left(self, steps: int) -> float:
        """Note a step that ends now and return the seconds that `steps` more will take."""
        now = monotonic()
        self._took.append(now - self._since)
        self._since = now
        return steps * sum(self._took) / len(self._took)
