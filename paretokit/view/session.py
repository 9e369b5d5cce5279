"""A Studio without its widgets: all that a user can ask for.

Every method may be called on any thread and returns at once; the work is done on the worker's, and what happens is
published as plain values under a key: "front" (`Board`), "progress" (`Progress`), "texts" (`Texts`), "steps" (`Written`),
"job <number>" (the `Job`), "weights", "asked" (what the user asked of all jobs), and "trouble" (`Trouble`, or None once a new
training or step is asked for). What runs there are is known to the `shelf`, which policy answers to `policies`, what it says
to `answers`, and what it writes under a guide to `steps`.
Imports: `work`, `shelf`, `policies`, `answers`, `stepwise`, `heads`, `events`, `jobs`, `experiments`, `training`, `models`,
`preferences`, `maths.simplex`; reads the clock.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any
from uuid import uuid4

import torch

from paretokit.errors import ConfigError
from paretokit.experiments.evaluation import WorldEvaluation, plan
from paretokit.experiments.front import Front
from paretokit.experiments.journal import OPEN, Journal
from paretokit.experiments.presets import preset
from paretokit.experiments.reference_store import reference_store
from paretokit.experiments.store import Run, Store
from paretokit.experiments.train import start_key
from paretokit.maths.simplex import resolve as resolve_weights
from paretokit.models.policy import Policy
from paretokit.preferences.records import Preferences
from paretokit.texts import Prompt
from paretokit.training.config import TrainConfig
from paretokit.training.methods import fits, methods, resolve
from paretokit.training.sampling import counted
from paretokit.view.answers import Answers
from paretokit.view.events import Board, Publish, Texts, trouble
from paretokit.view.heads import no_front
from paretokit.view.jobs import Job, Request, Worker
from paretokit.view.policies import Policies
from paretokit.view.shelf import Shelf
from paretokit.view.stepwise import Stepwise, check_guide
from paretokit.view.work import FRONT_LABEL, START_LABEL, UNTRAINED, Work

SETTLE = 0.2  # seconds without another change before a sample is drawn: a drag asks once
LATE = 0.1  # seconds: what is asked so soon after the slider was let go belongs to the same drag


def fitting(policy: Policy) -> tuple[str, ...]:
    """Return the names of the methods that can train a policy: those for heads where it has some, the others else."""
    return tuple(name for name, method in methods().items() if (method.kind == "heads") == bool(policy.heads))


class Session:
    """See the module's text. Raises what `read`, `plan` and the weights raise for unusable arguments."""

    def __init__(
        self,
        policy: Policy,
        preferences: Preferences,
        *,
        publish: Publish,
        store: Store | str | Path | None = None,
        config: TrainConfig | None = None,
        heldout: int = 100,
        guide: Any = None,
    ) -> None:
        if not policy.trainable:
            raise ConfigError(
                f"Studio: found a policy with nothing to train (adapter={policy.adapter!r}). Load it with adapter='lora'."
            )
        if policy.heads:
            fits(resolve(fitting(policy)[0]), policy.heads, preferences.objectives)
        if guide is not None:
            check_guide(guide, preferences.objectives, policy.chat)
        config = config or preset(policy.source)
        if config.threads is None:  # leave a core to the kernel and the browser
            config = config.replace(threads=max(1, torch.get_num_threads() - 1))
        self.objectives = preferences.objectives
        self.pairs, self.evaluation = plan(preferences, heldout=heldout, max_length=config.max_length)
        self.config = counted(config, self.pairs, policy.heads)
        self._temporary = TemporaryDirectory(prefix="paretokit-") if store is None else None
        folder = self._temporary.name if self._temporary is not None else store
        self.store = folder if isinstance(folder, Store) else Store(folder)  # type: ignore[arg-type] # not None here
        self.publish = publish
        self.journal = Journal(self.store.path / "journal.jsonl", studio=uuid4().hex[:8])
        references = reference_store(policy)
        self.shelf = Shelf(
            self.store,
            self.journal,
            start_key=start_key(policy, self.evaluation),
            pairs=self.pairs,
            evaluation=self.evaluation,
            axes=self.axes,
            publish=publish,
        )
        self.policies = Policies(policy, self.shelf)
        self.answers = Answers(
            self.policies,
            self.prompts,
            objectives=self.objectives,
            axes=self.axes,
            evaluation=self.evaluation,
            publish=publish,
        )
        self._let_go = -LATE  # when the user let go of a slider
        self.worker = Worker(
            name="paretokit-worker",
            changed=lambda job: publish(f"job {job.number}", job),
            failed=lambda key, error: publish("trouble", trouble(key.rstrip("0123456789 "), error)),
        )
        self._work = Work(
            self.worker,
            self.shelf,
            self.policies,
            self.answers,
            objectives=self.objectives,
            evaluation=self.evaluation,
            references=references,
            publish=publish,
        )
        self.steps: Stepwise | None = None
        if guide is not None:
            self.steps = Stepwise(
                self.worker, self.shelf, self.policies, self.answers,
                guide=guide, objectives=self.objectives, publish=publish,
            )  # fmt: skip
        self.shelf.note(OPEN, policy=policy.source, preferences=preferences.source, objectives=list(self.objectives))

    @property
    def policy(self) -> Policy:
        """The policy that the session was given. Raises `ConfigError` once it is closed."""
        return self.policies.given

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes of the front: what is measured, one per objective; the objectives where nothing is."""
        return self.objectives if self.evaluation is None else self.evaluation.axes

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """Prompts to sample answers to: held out, where anything is."""
        if isinstance(self.evaluation, WorldEvaluation):
            return tuple(self.evaluation.world.prompts[:12])
        held_out = self.pairs if self.evaluation is None else self.evaluation.pairs
        return tuple({str(prompt): prompt for prompt in held_out.prompts}.values())[:12]

    @property
    def no_front(self) -> str:
        """Why the whole front of the heads cannot be drawn; "" where it can."""
        return no_front(self.policy.heads, self.evaluation)

    def begin(self) -> Job[None] | None:
        """Measure the policy before training, where that is a matter of seconds and was not done yet."""
        if not isinstance(self.evaluation, WorldEvaluation) or self.store.start(self.shelf.start_key) is not None:
            return None
        return self.worker.submit(self._work.measure_start, label=START_LABEL)

    def train(
        self, *, weights: Mapping[str, float] | Sequence[float], method: str, steps: int | None, seed: int | None
    ) -> Job[Run]:
        """Queue a training and return its job. What is wrong with the arguments is raised now.

        A run of the store that was stopped goes on; one that is done is returned. A paused training holds its turn.
        """
        vector = resolve_weights(weights, self.objectives)
        changes = {"steps": steps, "seed": seed}
        config = self.config.replace(**{name: value for name, value in changes.items() if value is not None})
        fits(resolve(method), self.policy.heads, self.objectives)
        named = dict(zip(self.objectives, vector, strict=True))
        self.shelf.note("train", weights=named, method=method, steps=config.steps, seed=config.seed)
        self.answers.weights = vector
        self.publish("trouble", None)
        label = f"{method} {'/'.join(f'{weight:.2f}' for weight in vector)}"
        return self.worker.submit(lambda control: self._work.train(control, self.pairs, vector, method, config), label=label)

    def sample(
        self, weights: Mapping[str, float] | Sequence[float], *, prompt: Prompt | None = None, after: float = SETTLE
    ) -> Request[Texts]:
        """Ask for a text at these weights, `after` seconds from now unless asked again; only the newest is answered.

        It comes from the selected run, else from the visible run whose weights are nearest, the one that trains
        included, and stands beside the answer of the policy before training to the same random numbers. An answer that
        was sampled before is published at once.

        With heads it is asked for now, and comes at these weights from the selected run, else from the newest trained one
        that is visible, else from the policy before training, together with answers to a few more prompts.
        """
        vector = resolve_weights(weights, self.objectives)
        self.answers.weights = vector
        if prompt is not None:
            self.answers.prompt = prompt
        asked, number = monotonic(), next(self.answers.numbers)
        rest = 0.0 if self.policy.heads or asked - self._let_go < LATE else after
        request = self.worker.ask("sample", lambda request: self._work.sample(request, vector, number), after=rest)
        if (remembered := self.answers.remembered(vector, asked=asked)) is not None:
            self.answers.tell(remembered, number)
        return request

    def decode(self, weights: Mapping[str, float] | Sequence[float]) -> Request[Texts]:
        """Ask what the heads say at these weights. The answer comes whatever else is asked for, and is shown unless there
        is a newer one. Raises `ConfigError` for a policy without heads."""
        self._need_heads("decode")
        vector = resolve_weights(weights, self.objectives)
        self.answers.weights, number = vector, next(self.answers.numbers)
        return self.worker.ask(f"decode {number}", lambda request: self._work.sample(request, vector, number, action="decode"))

    def draw_whole_front(self, run_id: str | None) -> Job[Front | None]:
        """Queue the decoding of a run's heads at many weightings, on the prompts that runs are measured on, and return its
        job; None: of the policy that is shown. Raises `ConfigError` where there is nothing to draw."""
        self._need_heads("draw_whole_front")
        if self.no_front:
            raise ConfigError(f"draw_whole_front: {self.no_front}")
        if run_id is not None:
            self.shelf.check(run_id)
        runs = [run for run in self.shelf.trained(heads=True) if run_id in (None, run.id)]
        if run_id is not None and not runs:
            raise ConfigError(
                f"draw_whole_front: found no trained heads that are visible in run {run_id!r}, expected some. "
                "Choose a run that was trained with heads, or restore it."
            )
        run = self.shelf.chosen(runs)
        self.shelf.note("draw_whole_front", **({} if run is None else {"run": run.id}))
        label = UNTRAINED if run is None else run.spec.label
        return self.worker.submit(lambda control: self._work.draw_whole_front(control, run), label=f"{FRONT_LABEL}{label}")

    def guided(self, place: str) -> Stepwise:
        """Return what writes step by step. Raises `ConfigError` in a Studio without a guide."""
        if self.steps is None:
            raise ConfigError(
                f"{place}: found a Studio without a guide, expected one that judges the steps. "
                "Make it with Studio(..., guide=...): a reward model, or scorers by objective."
            )
        return self.steps

    def move(self, weights: tuple[float, ...]) -> Request[Texts]:
        """The weights were set to these: ask for a text at them. Without heads no run stays selected."""
        if self.shelf.selected is not None and not self.policy.heads:
            self.shelf.select(None)
        request = self.sample(weights)
        self.publish("weights", weights)  # after the text, which is waited for
        return request

    def select(self, run_id: str | None, *, weights: Mapping[str, float] | Sequence[float]) -> None:
        """Show the curves and texts of a run, at these weights; None: of the newest, and of the one nearest to them."""
        self.shelf.select(run_id)
        self.sample(weights, after=0.0)

    def pause(self) -> None:
        """Let what trains, and what waits, rest after its step."""
        self._ask_all("pause", Job.pause)

    def resume(self) -> None:
        """Let all that is paused go on."""
        self._ask_all("resume", Job.resume)

    def stop(self) -> None:
        """Stop what trains after its step, what waits, and within a token the step that is being written."""
        if self.steps is not None:
            self.steps.stop()
        self._ask_all("stop", Job.stop)

    def let_go(self) -> None:
        """The user let go of a slider: what is asked for is due now."""
        self._let_go = monotonic()
        self.worker.hurry("sample")

    def hide(self, run_id: str) -> None:
        """Take a run off the front; `restore` brings it back, nothing is deleted. Raises `StoreError` for an unknown run."""
        self.shelf.hide(run_id)
        self.refresh()

    def restore(self, run_id: str) -> None:
        """Put a hidden run back on the front."""
        self.shelf.restore(run_id)
        self.refresh()

    def refresh(self) -> Request[Board]:
        """Compute the front again."""
        return self.worker.ask("front", lambda request: self.shelf.show())

    def close(self) -> None:
        """Stop and end the worker and let go of policies and guide; a temporary store goes, any other stays. What was done
        can still be read."""
        self.worker.close()
        self.policies.close()
        if self.steps is not None:
            self.steps.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def _ask_all(self, action: str, act: Callable[[Job[Any]], None]) -> None:
        for job in self.worker.jobs():
            act(job)
        self.shelf.note(action)
        self.publish("asked", action)

    def _need_heads(self, place: str) -> None:
        if not self.policy.heads:
            raise ConfigError(
                f"{place}: found a policy without heads, expected a head per objective. "
                f"Load it with load_policy(..., heads={list(self.objectives)})."
            )
