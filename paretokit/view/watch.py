"""A training as it is seen while it goes on: its steps so far, the time left, and looks at its scores in between.

Imports: `events`, `jobs`, `pace`, `experiments`, `models`.
"""

from typing import Any

from paretokit.experiments.evaluation import Evaluation
from paretokit.experiments.spec import RunSpec
from paretokit.experiments.train import Event
from paretokit.models.policy import Policy
from paretokit.view.events import Progress
from paretokit.view.jobs import Control
from paretokit.view.pace import Looker, Pace


class Watch:
    """How one training stands, `state`, as its events are heard. For the thread that trains."""

    def __init__(
        self, spec: RunSpec, policy: Policy, *, control: Control, evaluation: Evaluation | None, references: Any
    ) -> None:
        self.state = Progress(control.job.number, spec.id, spec.label, "preparing", spec.config.steps, (), None, ())
        weights = dict(zip(spec.objectives, spec.weights or (), strict=True)) if policy.heads else None
        self._looker, self._pace = Looker(evaluation, weights=weights), Pace()
        self._policy, self._control, self._references = policy, control, references

    def hear(self, event: Event) -> None:
        """Note a stage that begins, or a step that has just been done."""
        if event.kind == "stage":
            self.state = self.state._replace(stage=event.stage)
            self._pace.restart()
        if event.record is not None:
            eta = self._pace.left(self.state.steps - event.record.step)
            self.state = self.state._replace(records=(*self.state.records, event.record), eta=eta)

    def look(self) -> bool:
        """Look at the policy's scores after a step, where it is time to, and return whether there are new ones."""
        scores = self._looker.look(self._policy, references=self._references, stop=self._control.token)
        if self._looker.looked:
            self._pace.restart()
        if scores is None or self._control.stopped:
            return False
        self.state = self.state._replace(looks=(*self.state.looks, (self.state.records[-1].step, scores)))
        return True
