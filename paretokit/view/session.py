"""A Studio without its widgets: the policy, the data, the runs and the journal, and the jobs that change them.

Every method returns at once; the work is done on the worker's thread, and what happens is published as plain values
under a key: "front" (`Board`), "progress" (`Progress`), "texts" (`Texts`), "job <number>" (the `Job`), and "trouble"
(`Trouble`, or None once a new training is asked for). The store is the truth: what is shown can be read from it again.
Imports: `events`, `jobs`, `pace`, `front_view`, `experiments`, `training`, `decoding`, `models`, `preferences`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any, NamedTuple
from uuid import uuid4

import torch

from paretokit.decoding.sample import generate
from paretokit.errors import ConfigError, ParetokitError, StoreError, suggestion
from paretokit.experiments.compare import front_of, true_sets
from paretokit.experiments.evaluation import WorldEvaluation, plan
from paretokit.experiments.journal import OPEN, OUTCOME, Journal
from paretokit.experiments.presets import preset
from paretokit.experiments.reference_store import reference_store
from paretokit.experiments.store import Run, Store
from paretokit.experiments.train import run_spec, run_steps, start_key
from paretokit.maths.simplex import resolve as resolve_weights
from paretokit.models.policy import Policy
from paretokit.preferences.records import Preferences
from paretokit.texts import Prompt
from paretokit.training.config import TrainConfig
from paretokit.training.methods import fits, resolve
from paretokit.view.events import Answer, Board, Progress, Texts, prompt_line, trouble
from paretokit.view.front_view import bare_view, front_view
from paretokit.view.jobs import Control, Job, Request, Worker
from paretokit.view.pace import Looker, Pace

SETTLE = 0.2  # seconds without another change before a sample is drawn: a drag asks once
LATE = 0.1  # seconds: what is asked so soon after the slider was let go belongs to the same drag

START_LABEL = "figures before training"  # of the job that measures the start

_TRAINED = ("done", "stopped")  # states of runs that hold a trained policy
_BEFORE = "before training"

Publish = Callable[[str, Any], None]


class _Source(NamedTuple):
    """What answers at some weights."""

    run: Run
    training: Policy | None  # the policy of a run that trains, which changes with each step
    words: str


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
    ) -> None:
        if not policy.trainable:
            raise ConfigError(
                f"Studio: found a policy with nothing to train (adapter={policy.adapter!r}). Load it with adapter='lora'."
            )
        config = config or preset(policy.source)
        if config.threads is None:  # leave a core to the kernel and the browser
            config = config.replace(threads=max(1, torch.get_num_threads() - 1))
        self.policy, self.config = policy, config
        self.objectives = preferences.objectives
        self.pairs, self.evaluation = plan(preferences, heldout=heldout, max_length=config.max_length)
        self._temporary = TemporaryDirectory(prefix="paretokit-") if store is None else None
        folder = self._temporary.name if self._temporary is not None else store
        self.store = folder if isinstance(folder, Store) else Store(folder)  # type: ignore[arg-type] # not None here
        self.start_key = start_key(policy, self.evaluation)
        self.publish = publish
        self.references = reference_store(policy)
        self.journal = Journal(self.store.path / "journal.jsonl", studio=uuid4().hex[:8])
        self._policies: dict[str, Policy] = {}
        self._answers: dict[tuple[str, str], Answer] = {}
        self._asked: tuple[float, ...] | None = None  # the weights that were asked for last
        self._told: Texts | None = None  # the answers that were published last
        self._let_go = -LATE  # when the user let go of a slider
        self._live: tuple[Run, Policy] | None = None  # the run that trains
        self._runs: dict[str, Run] = {}
        self.hidden: frozenset[str] = frozenset()
        self.selected: str | None = None
        self.prompt: Prompt = self.prompts[0]
        self._read_store()
        self.board = self._board()
        self.worker = Worker(
            name="paretokit-worker",
            changed=lambda job: publish(f"job {job.number}", job),
            failed=lambda key, error: publish("trouble", trouble(key, error)),
        )
        self._note(OPEN, policy=policy.source, preferences=preferences.source, objectives=list(self.objectives))

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
    def runs(self) -> tuple[Run, ...]:
        """The runs of this policy on these data, oldest first; hidden ones too."""
        return tuple(self._runs.values())

    def begin(self) -> Job[None] | None:
        """Measure the policy before training, where that is a matter of seconds and was not done yet."""
        if not isinstance(self.evaluation, WorldEvaluation) or self.store.start(self.start_key) is not None:
            return None
        return self.worker.submit(self._measure_start, label=START_LABEL)

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
        self._note("train", weights=named, method=method, steps=config.steps, seed=config.seed)
        self._asked = vector
        self.publish("trouble", None)
        label = f"{method} {'/'.join(f'{weight:.2f}' for weight in vector)}"
        return self.worker.submit(lambda control: self._train(control, vector, method, config), label=label)

    def sample(
        self, weights: Mapping[str, float] | Sequence[float], *, prompt: Prompt | None = None, after: float = SETTLE
    ) -> Request[Texts]:
        """Ask for a text at these weights, `after` seconds from now unless asked again; only the newest is answered.

        It comes from the selected run, else from the visible run whose weights are nearest, the one that trains
        included, and stands beside the answer of the policy before training to the same random numbers. An answer that
        was sampled before is published at once.
        """
        vector = resolve_weights(weights, self.objectives)
        self._asked = vector
        self.prompt = self.prompt if prompt is None else prompt
        asked = monotonic()
        rest = 0.0 if asked - self._let_go < LATE else after
        request = self.worker.ask("sample", lambda request: self._sample(request, vector), after=rest)
        if (remembered := self._remembered(vector)) is not None:
            self._tell(self._texts(*remembered, weights=vector, asked=asked))
        return request

    def let_go(self) -> None:
        """The user let go of a slider: what is asked for is due now."""
        self._let_go = monotonic()
        self.worker.hurry("sample")

    def hide(self, run_id: str) -> None:
        """Take a run off the front; `restore` brings it back, nothing is deleted. Raises `StoreError` for an unknown run."""
        self._known(run_id)
        self.hidden |= {run_id}
        self._note("hide", run=run_id)
        self.refresh()

    def restore(self, run_id: str) -> None:
        """Put a hidden run back on the front."""
        self._known(run_id)
        self.hidden -= {run_id}
        self._note("restore", run=run_id)
        self.refresh()

    def select(self, run_id: str | None) -> None:
        """Make a run the one whose curves and texts are shown; None: the newest, and the nearest."""
        if run_id is not None:
            self._known(run_id)
        self.selected = run_id
        self.publish("front", self.board)

    def refresh(self) -> Request[Board]:
        """Compute the front again."""
        return self.worker.ask("front", self._refresh)

    def last_weights(self) -> tuple[float, ...]:
        """Return the weights that the store saw last, equal weights where it saw none."""
        for entry in reversed(self._journalled()):
            found = entry.get("weights")
            if isinstance(found, dict) and tuple(found) == self.objectives:
                return resolve_weights(found, self.objectives)
        for run in reversed(self.runs):
            if run.spec.weights is not None:
                return run.spec.weights
        return tuple([1 / len(self.objectives)] * len(self.objectives))

    def close(self) -> None:
        """Stop and end the worker; a temporary store goes, any other stays."""
        self.worker.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def note(self, action: str, **arguments: Any) -> None:
        """Write an action into the journal."""
        self._note(action, **arguments)

    # On the worker's thread.

    def _measure_start(self, control: Control) -> None:
        assert self.evaluation is not None
        frame = self.evaluation(self.policy.fork(seed=0), references=self.references, stop=control.token)
        if not control.stopped:
            self.store.keep_start(self.start_key, frame)
            self._show()

    def _train(self, control: Control, weights: tuple[float, ...], method: str, config: TrainConfig) -> Run:
        policy = self.policy.fork(seed=config.seed)
        spec = run_spec(policy, self.pairs, method=method, weights=weights, config=config, evaluation=self.evaluation)
        events = run_steps(
            policy,
            self.pairs,
            method=method,
            weights=weights,
            config=config,
            evaluation=self.evaluation,
            store=self.store,
            references=self.references,
            stop=control.token,
        )
        state = Progress(control.job.number, spec.id, spec.label, "preparing", config.steps, (), None, ())
        self.publish("progress", state)
        looker = Looker(self.evaluation)
        pace = Pace()
        outcome = "failed"
        try:
            with closing(events):
                for event in events:
                    if event.kind == "stage":
                        state = state._replace(stage=event.stage)
                        pace.restart()
                    if event.record is not None:
                        records = (*state.records, event.record)
                        self._live = (Run(spec, records, policy), policy)
                        eta = pace.left(config.steps - event.record.step)
                        state = state._replace(records=records, eta=eta)
                        looks = looker.look(policy, references=self.references, stop=control.token)
                        if looks is not None and not control.stopped:
                            state = state._replace(looks=(*state.looks, (event.record.step, looks)))
                            self._sample_again()
                        if looker.looked:
                            pace.restart()
                    self.publish("progress", state)
                    if event.kind != "run" and not control.checkpoint():
                        break
            run = self.store.folder(spec.id).read()
            outcome = run.state["state"]
        except Exception as error:
            folder = self.store.folder(spec.id)
            if folder.state()["state"] in ("running", "stopped", "failed"):
                folder.mark("failed", reason=str(error))
                if (run := folder.read()).records:
                    self._runs[run.id] = run
                    self._show()
            raise
        finally:
            self._live = None
            self.publish("progress", state._replace(ended=True))
            self._note(OUTCOME, job=control.job.number, spec=spec.id, outcome=outcome)
        self._policies[run.id] = policy
        self._forget_answers(run.id)
        self._runs.pop(run.id, None)
        self._runs[run.id] = run
        self.hidden -= {run.id}
        self._show()
        self._sample_again()
        return run

    def _sample_again(self) -> None:
        """The policy has changed: sample at the weights that were asked for last, under a key of its own, so that an
        answer someone waits for is not superseded."""
        if (weights := self._asked) is not None:
            with suppress(ConfigError):  # the Studio was closed meanwhile: nobody reads the answer
                self.worker.ask("sample again", lambda request: self._sample(request, weights))

    def _sample(self, request: Request[Texts], weights: tuple[float, ...]) -> Texts | None:
        prompt, found = self.prompt, self._source(weights)
        before = self._answer("", self.policy, _BEFORE, prompt, request)
        if found is None:
            after = before
        elif found.training is not None:
            after = self._answer("", found.training, found.words, prompt, request)
        else:
            after = self._answer(found.run.id, self._policy_of(found.run), found.words, prompt, request)
        if request.superseded or before is None or after is None:
            return None
        self._note("set_weights", weights=dict(zip(self.objectives, weights, strict=True)))
        return self._tell(self._texts(before, after, weights=weights, asked=request.asked))

    def _source(self, weights: tuple[float, ...]) -> "_Source | None":
        """The run to sample from: the selected one, else of the trained ones and the one that trains the nearest."""
        live = self._live
        shown = [
            run
            for run in self.runs
            if run.id not in self.hidden and run.spec.weights is not None and run.state["state"] in _TRAINED
        ]
        runs = shown if live is None else [*shown, live[0]]
        found = [run for run in runs if run.id == self.selected]
        how = "the selected run"
        if not found:
            how = "the run nearest to these weights"
            far = {run.id: sum(abs(a - b) for a, b in zip(weights, run.spec.weights or (), strict=True)) for run in runs}
            found = sorted(runs, key=lambda run: -far[run.id])  # the newest of equals comes last
        if not found:
            return None
        run = found[-1]
        if live is not None and run is live[0]:
            return _Source(run, live[1], f"{run.spec.label}, training, after step {run.records[-1].step}")
        return _Source(run, None, f"{run.spec.label}, {how}")

    def _remembered(self, weights: tuple[float, ...]) -> tuple[Answer, Answer] | None:
        """The answers before and after, where nothing has to be sampled for them."""
        place, found = repr(self.prompt), self._source(weights)
        before = self._answers.get(("", place))
        if before is None or found is None:
            return None if before is None else (before, before)
        after = None if found.training is not None else self._answers.get((found.run.id, place))
        return None if after is None else (before, after._replace(source=found.words))

    def _texts(self, before: Answer, after: Answer, *, weights: tuple[float, ...], asked: float) -> Texts:
        return Texts(prompt_line(self.prompt), before, after, weights, self.axes, monotonic() - asked)

    def _tell(self, texts: Texts) -> Texts:
        """Publish answers, once, and return them."""
        if self._told is None or texts._replace(seconds=0.0) != self._told._replace(seconds=0.0):
            self._told = texts
            self.publish("texts", texts)
        return self._told

    def _answer(self, key: str, policy: Policy, source: str, prompt: Prompt, request: Request[Texts]) -> Answer | None:
        """The answer of a policy, remembered under `key` where the policy no longer changes; None where no longer wanted."""
        kept = key or policy is self.policy
        place = (key, repr(prompt))
        if kept and place in self._answers:
            return self._answers[place]._replace(source=source)
        room = policy.context_length // 2
        made = generate(policy, [prompt], max_new_tokens=min(64, room), seed=0, stop=lambda: request.superseded)[0]
        if request.superseded:
            return None
        scores = None
        if isinstance(self.evaluation, WorldEvaluation) and prompt in self.evaluation.world.prompts:
            scores = tuple(float(scorer(prompt, made.text)) for scorer in self.evaluation.world.scorers.values())
        answer = Answer(source, made.text, made.ended, scores)
        if kept:
            self._answers[place] = answer
        return answer

    def _policy_of(self, run: Run) -> Policy:
        if run.id not in self._policies:
            policy = self.policy.fork()
            policy.load_trainable_state(self.store.folder(run.id).trained_weights())
            self._policies[run.id] = policy
        return self._policies[run.id]

    def _forget_answers(self, run_id: str) -> None:
        self._answers = {place: answer for place, answer in self._answers.items() if place[0] != run_id}

    def _refresh(self, request: Request[Board]) -> Board:
        self._show()
        return self.board

    def _show(self) -> None:
        self.board = self._board()
        self.publish("front", self.board)

    def _board(self) -> Board:
        shown = [run for run in self.runs if run.id not in self.hidden and run.scores is not None]
        if shown:
            front = front_of(shown)
            view = front_view(front)
        else:
            front = None
            recorded = None if self.evaluation is None else self.evaluation.to_json()
            view = bare_view(self.axes, start=self.store.start(self.start_key), truth=true_sets(recorded))
        return Board(front, view, self.runs, self.hidden, self._foreign)

    # On any thread.

    def _read_store(self) -> None:
        """Take the runs of this policy on these data from the store; say what could not be read."""
        self._foreign = 0
        for run_id in self.store.ids():
            try:
                run = self.store.folder(run_id).read()
            except ParetokitError as error:
                self.publish("trouble", trouble(f"run {run_id}", error))
                continue
            if run.spec.start == self.start_key and run.spec.preferences_hash == self.pairs.fingerprint and run.records:
                self._runs[run.id] = run
            else:
                self._foreign += 1
        hidden: set[str] = set()
        for entry in self._journalled():
            if entry["action"] == "hide":
                hidden.add(entry["run"])
            elif entry["action"] == "restore" or entry.get("outcome") == "done":
                hidden.discard(entry.get("run", entry.get("spec")))
        self.hidden = frozenset(hidden & set(self._runs))

    def _journalled(self) -> list[dict[str, Any]]:
        try:
            return self.journal.entries()
        except StoreError as error:
            self.publish("trouble", trouble("journal", error))
            return []

    def _note(self, action: str, **arguments: Any) -> None:
        try:
            self.journal.add(action, **arguments)
        except StoreError as error:  # what was asked is done all the same; only its record is missing
            self.publish("trouble", trouble("journal", error))

    def _known(self, run_id: str) -> None:
        if run_id not in self._runs:
            raise StoreError(
                f"run: found no run {run_id!r} in this Studio.{suggestion(run_id, self._runs)} See `studio.runs` for their ids."
            )
