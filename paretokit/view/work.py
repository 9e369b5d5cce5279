"""What the worker of a Studio does, all of it on the worker's thread: measure the start, train, sample, decode a front.

A job is given its `Control`, by which it is paused and stopped and lets questions be answered in between; a question is
given its `Request`, by which it hears that its answer is no longer wanted.
Imports: `shelf`, `policies`, `answers`, `watch`, `heads`, `events`, `jobs`, `experiments`, `training.config`,
`preferences`.
"""

from contextlib import closing, suppress
from typing import Any

from paretokit.errors import ConfigError
from paretokit.experiments.evaluation import Evaluation, WorldEvaluation
from paretokit.experiments.front import Front
from paretokit.experiments.journal import OUTCOME
from paretokit.experiments.reference_store import ReferenceStore
from paretokit.experiments.store import Run
from paretokit.experiments.train import run_spec, run_steps
from paretokit.preferences.records import Preferences
from paretokit.training.config import TrainConfig
from paretokit.view.answers import Answers
from paretokit.view.events import Publish, Texts
from paretokit.view.heads import heads_view, whole_front
from paretokit.view.jobs import Control, Job, Request, Worker
from paretokit.view.policies import Policies
from paretokit.view.shelf import Shelf
from paretokit.view.watch import Watch

START_LABEL = "figures before training"  # of the job that measures the start
FRONT_LABEL = "whole front of "  # how the label of a job begins that decodes the heads at many weightings
UNTRAINED = "the policy before training"  # its name, where there is no run


def is_training(job: Job[Any]) -> bool:
    """Return whether a job trains a policy, rather than measure one."""
    return job.label != START_LABEL and not job.label.startswith(FRONT_LABEL)


class Work:
    """The jobs and the answers to questions of one Studio; see the module's text."""

    def __init__(
        self,
        worker: Worker,
        shelf: Shelf,
        policies: Policies,
        answers: Answers,
        *,
        objectives: tuple[str, ...],
        evaluation: Evaluation | None,
        references: ReferenceStore,
        publish: Publish,
    ) -> None:
        self._worker, self._shelf, self._policies, self._answers = worker, shelf, policies, answers
        self._objectives, self._evaluation, self._references, self._publish = objectives, evaluation, references, publish

    def measure_start(self, control: Control) -> None:
        """Measure the policy before training and keep its figures, unless stopped."""
        assert self._evaluation is not None
        policy = self._policies.given.fork(seed=0)
        equal = dict.fromkeys(self._objectives, 1 / len(self._objectives)) if policy.heads else None
        frame = self._evaluation(policy, references=self._references, weights=equal, stop=control.token)
        if not control.stopped:
            self._shelf.store.keep_start(self._shelf.start_key, frame)
            self._shelf.show()

    def train(self, control: Control, pairs: Preferences, weights: tuple[float, ...], method: str, config: TrainConfig) -> Run:
        """Train a fork of the policy on the pairs and return its run, which is on the shelf by then."""
        policy = self._policies.given.fork(seed=config.seed)
        spec = run_spec(policy, pairs, method=method, weights=weights, config=config, evaluation=self._evaluation)
        store = self._shelf.store
        events = run_steps(
            policy,
            pairs,
            method=method,
            weights=weights,
            config=config,
            evaluation=self._evaluation,
            store=store,
            references=self._references,
            stop=control.token,
        )
        watch = Watch(spec, policy, control=control, evaluation=self._evaluation, references=self._references)
        self._publish("progress", watch.state)
        outcome = "failed"
        try:
            with closing(events):
                for event in events:
                    watch.hear(event)
                    if event.record is not None:
                        self._policies.live = Run(spec, watch.state.records, policy)
                        if watch.look() and not policy.heads:  # with heads another policy is shown, which has not changed
                            self._sample_again()
                    self._publish("progress", watch.state)
                    if event.kind != "run" and not control.checkpoint():
                        break
            run = store.folder(spec.id).read()
            outcome = run.state["state"]
        except Exception as error:
            folder = store.folder(spec.id)
            if folder.state()["state"] in ("running", "stopped", "failed"):
                folder.mark("failed", reason=str(error))
                if (run := folder.read()).records:
                    self._shelf.add(run)
                    self._shelf.show()
            raise
        finally:
            self._policies.live = None
            self._publish("progress", watch.state._replace(ended=True))
            self._shelf.note(OUTCOME, job=control.job.number, spec=spec.id, outcome=outcome)
        self._policies.keep(run.id, policy)
        self._answers.forget(run.id)
        self._shelf.add_newest(run)
        self._shelf.show()
        self._sample_again()
        return run

    def draw_whole_front(self, control: Control, run: Run | None) -> Front | None:
        """Decode the heads of a run, or of the policy before training, at many weightings; None where it was stopped."""
        assert isinstance(self._evaluation, WorldEvaluation)
        name, method, seed = (UNTRAINED, "", 0) if run is None else (run.spec.label, run.spec.method, run.spec.seed)
        run_id = "" if run is None else run.id
        front = whole_front(
            self._policies.of(run),
            self._evaluation,
            name=name,
            run=run_id,
            seed=seed,
            objectives=self._objectives,
            reference=self._shelf.board.view.reference,
            stop=lambda: not control.checkpoint(),
        )
        if front is not None:
            self._shelf.curve = heads_view(front, name=name, method=method, run=run_id)
            self._shelf.show()
        return front

    def sample(
        self, request: Request[Texts], weights: tuple[float, ...], number: int, *, action: str = "set_weights"
    ) -> Texts | None:
        """Answer at these weights the question with this number, and note as `action` that it was answered."""
        texts = self._answers.sampled(weights, request)
        if texts is None:
            return None
        told = self._answers.tell(texts, number)
        if not request.superseded:
            self._shelf.note(action, weights=dict(zip(self._objectives, weights, strict=True)))
        return told

    def _sample_again(self) -> None:
        """The policy has changed: sample at the weights that were asked for last, under a key of its own, so that an
        answer someone waits for is not superseded."""
        if (weights := self._answers.weights) is not None:
            number = next(self._answers.numbers)
            with suppress(ConfigError):  # the Studio was closed meanwhile: nobody reads the answer
                self._worker.ask("sample again", lambda request: self.sample(request, weights, number))
