"""A Studio without its widgets: the policy, the data, the runs and the journal, and the jobs that change them.

Every method returns at once; the work is done on the worker's thread, and what happens is published as plain values
under a key: "front" (`Board`), "progress" (`Progress`), "texts" (`Texts`), "job <number>" (the `Job`), and "trouble"
(`Trouble`, or None once a new training is asked for). The store is the truth: what is shown can be read from it again.

A policy with action heads answers at any weights without training. So its texts come from the run that is shown, a
finished one even while another trains, and follow the sliders at once.
Imports: `events`, `jobs`, `pace`, `heads`, `front_view`, `experiments`, `training`, `decoding`, `models`, `preferences`.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from itertools import count
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
from paretokit.experiments.front import Front
from paretokit.experiments.journal import OPEN, OUTCOME, Journal
from paretokit.experiments.presets import preset
from paretokit.experiments.reference_store import reference_store
from paretokit.experiments.store import Run, Store
from paretokit.experiments.train import run_spec, run_steps, start_key
from paretokit.maths.simplex import resolve as resolve_weights
from paretokit.models.policy import Policy
from paretokit.preferences.records import Preferences
from paretokit.texts import Prompt, encode_prompt
from paretokit.training.config import TrainConfig
from paretokit.training.methods import fits, methods, resolve
from paretokit.view.events import Answer, Board, Progress, Texts, prompt_line, trouble
from paretokit.view.front_view import HeadsView, bare_view, front_view, with_heads
from paretokit.view.heads import heads_view, no_front, whole_front
from paretokit.view.jobs import Control, Job, Request, Worker
from paretokit.view.pace import Looker, Pace

SETTLE = 0.2  # seconds without another change before a sample is drawn: a drag asks once
LATE = 0.1  # seconds: what is asked so soon after the slider was let go belongs to the same drag

GRACE = 0.1  # seconds that heads may still decode for a slider that has moved on: a drag is followed, not waited for
FEW = 3  # prompts beside the chosen one that a policy with heads answers at once

START_LABEL = "figures before training"  # of the job that measures the start
FRONT_LABEL = "whole front of "  # how the label of a job begins that decodes the heads at many weightings

_TRAINED = ("done", "stopped")  # states of runs that hold a trained policy
_BEFORE = "before training"
_UNTRAINED = "the policy before training", "", 0  # name, method and seed where there is no run
_LONGEST = 64  # tokens of an answer
_REMEMBERED = 4000  # answers; the oldest are forgotten

Publish = Callable[[str, Any], None]


def fitting(policy: Policy) -> tuple[str, ...]:
    """Return the names of the methods that can train a policy: those for heads where it has some, the others else."""
    return tuple(name for name, method in methods().items() if (method.kind == "heads") == bool(policy.heads))


def is_training(job: Job[Any]) -> bool:
    """Return whether a job trains a policy, rather than measure one."""
    return job.label != START_LABEL and not job.label.startswith(FRONT_LABEL)


class _Source(NamedTuple):
    """What answers at some weights."""

    run: Run | None  # None: the policy before training
    training: Policy | None  # the policy of a run that trains, which changes with each step
    words: str


_START = _Source(None, None, _BEFORE)


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
        if policy.heads:
            fits(resolve(fitting(policy)[0]), policy.heads, preferences.objectives)
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
        self._answers: dict[tuple[str, str, tuple[float, ...]], Answer] = {}
        self._asked: tuple[float, ...] | None = None  # the weights that were asked for last
        self._numbers = count(1)  # of what is asked for
        self._telling = threading.Lock()
        self._told: tuple[int, Texts | None] = (0, None)  # the answers that were published last, with their number
        self._mixes = bool(policy.heads) and not policy.at_base()  # whether the weights matter before training
        self._curve: HeadsView | None = None  # the whole front of heads that was drawn last
        self._let_go = -LATE  # when the user let go of a slider
        self._live: tuple[Run, Policy] | None = None  # the run that trains
        self._runs: dict[str, Run] = {}
        self._headed: set[str] = set()  # those that have learnt heads
        self.hidden: frozenset[str] = frozenset()
        self.selected: str | None = None
        self.prompt: Prompt = self.prompts[0]
        self.few = self._few()
        self._read_store()
        self.board = self._board()
        self.worker = Worker(
            name="paretokit-worker",
            changed=lambda job: publish(f"job {job.number}", job),
            failed=lambda key, error: publish("trouble", trouble(key.rstrip("0123456789 "), error)),
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
    def no_front(self) -> str:
        """Why the whole front of the heads cannot be drawn; "" where it can."""
        return no_front(self.policy.heads, self.evaluation)

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

        With heads it is asked for now, and comes at these weights from the selected run, else from the newest trained one
        that is visible, else from the policy before training, together with answers to a few more prompts.
        """
        vector = resolve_weights(weights, self.objectives)
        self._asked = vector
        self.prompt = self.prompt if prompt is None else prompt
        asked, number = monotonic(), next(self._numbers)
        rest = 0.0 if self.policy.heads or asked - self._let_go < LATE else after
        request = self.worker.ask("sample", lambda request: self._sample(request, vector, number), after=rest)
        if (remembered := self._remembered(vector, asked=asked)) is not None:
            self._tell(remembered, number)
        return request

    def decode(self, weights: Mapping[str, float] | Sequence[float]) -> Request[Texts]:
        """Ask what the heads say at these weights. The answer comes whatever else is asked for, and is shown unless there
        is a newer one. Raises `ConfigError` for a policy without heads."""
        self._need_heads("decode")
        vector = resolve_weights(weights, self.objectives)
        self._asked, number = vector, next(self._numbers)
        return self.worker.ask(f"decode {number}", lambda request: self._sample(request, vector, number, action="decode"))

    def draw_whole_front(self, run_id: str | None) -> Job[Front | None]:
        """Queue the decoding of a run's heads at many weightings, on the prompts that runs are measured on, and return its
        job; None: of the policy that is shown. Raises `ConfigError` where there is nothing to draw."""
        self._need_heads("draw_whole_front")
        if self.no_front:
            raise ConfigError(f"draw_whole_front: {self.no_front}")
        if run_id is not None:
            self._known(run_id)
        runs = [run for run in self._with_heads() if run_id in (None, run.id)]
        if run_id is not None and not runs:
            raise ConfigError(
                f"draw_whole_front: found no trained heads that are visible in run {run_id!r}, expected some. "
                "Choose a run that was trained with heads, or restore it."
            )
        run = self._shown(runs)
        self._note("draw_whole_front", **({} if run is None else {"run": run.id}))
        label = _UNTRAINED[0] if run is None else run.spec.label
        return self.worker.submit(lambda control: self._draw_whole_front(control, run), label=f"{FRONT_LABEL}{label}")

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
        equal = dict.fromkeys(self.objectives, 1 / len(self.objectives)) if self.policy.heads else None
        policy = self.policy.fork(seed=0)
        frame = self.evaluation(policy, references=self.references, weights=equal, stop=control.token)
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
        looker = Looker(self.evaluation, weights=dict(zip(self.objectives, weights, strict=True)) if policy.heads else None)
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
                            if not policy.heads:  # else what is shown is another policy, which has not changed
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
        if self._curve is not None and self._curve.run == run.id:
            self._curve = None  # of what it had learnt before
        self._runs.pop(run.id, None)
        self._take(run)
        self.hidden -= {run.id}
        self._show()
        self._sample_again()
        return run

    def _draw_whole_front(self, control: Control, run: Run | None) -> Front | None:
        assert isinstance(self.evaluation, WorldEvaluation)
        name, method, seed = _UNTRAINED if run is None else (run.spec.label, run.spec.method, run.spec.seed)
        run_id = "" if run is None else run.id
        front = whole_front(
            self._policy_of(run),
            self.evaluation,
            name=name,
            run=run_id,
            seed=seed,
            objectives=self.objectives,
            reference=self.board.view.reference,
            stop=lambda: not control.checkpoint(),
        )
        if front is not None:
            self._curve = heads_view(front, name=name, method=method, run=run_id)
            self._show()
        return front

    def _sample_again(self) -> None:
        """The policy has changed: sample at the weights that were asked for last, under a key of its own, so that an
        answer someone waits for is not superseded."""
        if (weights := self._asked) is not None:
            number = next(self._numbers)
            with suppress(ConfigError):  # the Studio was closed meanwhile: nobody reads the answer
                self.worker.ask("sample again", lambda request: self._sample(request, weights, number))

    def _sample(
        self, request: Request[Texts], weights: tuple[float, ...], number: int, *, action: str = "set_weights"
    ) -> Texts | None:
        prompts = self._asked_prompts()
        after = self._answer(self._source(weights), prompts, weights, request)
        before = self._answer(_START, prompts[:1], weights, request)
        if before is None or after is None or (request.superseded and not self.policy.heads):
            return None
        texts = self._tell(self._texts(prompts, before, after, weights=weights, asked=request.asked), number)
        if not request.superseded:
            self._note(action, weights=dict(zip(self.objectives, weights, strict=True)))
        return texts

    def _asked_prompts(self) -> list[Prompt]:
        """The chosen prompt, and with heads a few more."""
        return list({repr(prompt): prompt for prompt in (self.prompt, *self.few)}.values())

    def _source(self, weights: tuple[float, ...]) -> "_Source":
        """The run to sample from. With heads: the one that is shown. Else the selected one, else of the trained ones and
        the one that trains the nearest."""
        if self.policy.heads:
            shown = self._shown(self._with_heads())
            how = "the selected run" if shown is not None and shown.id == self.selected else "the newest run"
            return _START if shown is None else _Source(shown, None, f"{shown.spec.label}, {how}")
        live = self._live
        shown = [run for run in self._trained() if run.id not in self._headed]
        runs = shown if live is None else [*shown, live[0]]
        found = [run for run in runs if run.id == self.selected]
        how = "the selected run"
        if not found:
            how = "the run nearest to these weights"
            far = {run.id: sum(abs(a - b) for a, b in zip(weights, run.spec.weights or (), strict=True)) for run in runs}
            found = sorted(runs, key=lambda run: -far[run.id])  # the newest of equals comes last
        if not found:
            return _START
        run = found[-1]
        if live is not None and run is live[0]:
            return _Source(run, live[1], f"{run.spec.label}, training, after step {run.records[-1].step}")
        return _Source(run, None, f"{run.spec.label}, {how}")

    def _trained(self) -> list[Run]:
        """The visible runs that hold a trained policy, oldest first."""
        return [
            run
            for run in self.runs
            if run.id not in self.hidden and run.spec.weights is not None and run.state["state"] in _TRAINED
        ]

    def _with_heads(self) -> list[Run]:
        """Those of the trained runs that this policy, which has heads, can take over."""
        return [run for run in self._trained() if run.id in self._headed]

    def _shown(self, runs: Sequence[Run]) -> Run | None:
        """Of runs with heads the selected one, else the newest."""
        return next((run for run in runs if run.id == self.selected), runs[-1] if runs else None)

    def _remembered(self, weights: tuple[float, ...], *, asked: float) -> Texts | None:
        """The answers before and after, where nothing has to be sampled for them."""
        prompts, found = self._asked_prompts(), self._source(weights)
        if found.training is not None:
            return None
        before = [answer for answer in self._kept(_START, prompts[:1], weights) if answer is not None]
        after = [answer for answer in self._kept(found, prompts, weights) if answer is not None]
        if (len(before), len(after)) != (1, len(prompts)):
            return None
        return self._texts(prompts, before, after, weights=weights, asked=asked)

    def _kept(self, source: "_Source", prompts: Sequence[Prompt], weights: tuple[float, ...]) -> list[Answer | None]:
        """What a source has said to the prompts, None where it was not asked."""
        found = [self._answers.get(self._place(source, prompt, weights)) for prompt in prompts]
        return [None if answer is None else answer._replace(source=source.words) for answer in found]

    def _place(self, source: "_Source", prompt: Prompt, weights: tuple[float, ...]) -> tuple[str, str, tuple[float, ...]]:
        """Where an answer is remembered."""
        mixed = self.policy.heads and (source.run is not None or self._mixes)
        mixture = tuple(round(weight, 9) for weight in weights) if mixed else ()
        return "" if source.run is None else source.run.id, repr(prompt), mixture

    def _texts(
        self,
        prompts: Sequence[Prompt],
        before: Sequence[Answer],
        after: Sequence[Answer],
        *,
        weights: tuple[float, ...],
        asked: float,
    ) -> Texts:
        said = dict(zip(map(repr, prompts), after, strict=True))
        decoded = tuple((prompt_line(prompt), said[repr(prompt)]) for prompt in self.few)
        taken = monotonic() - asked
        names = self.objectives if decoded else ()
        return Texts(prompt_line(prompts[0]), before[0], after[0], weights, self.axes, taken, decoded, names)

    def _tell(self, texts: Texts, number: int) -> Texts:
        """Publish answers, once, unless newer ones are there, and return them."""
        with self._telling:  # the bus takes a value and returns; what was asked for later must not be put first
            newest, told = self._told
            if number < newest:
                return texts
            if told is None or texts._replace(seconds=0.0) != told._replace(seconds=0.0):
                told = texts
                self.publish("texts", texts)
            self._told = (number, told)
        return told

    def _answer(
        self, source: "_Source", prompts: Sequence[Prompt], weights: tuple[float, ...], request: Request[Texts]
    ) -> list[Answer] | None:
        """The answers of a source, remembered where it no longer changes; None where no longer wanted."""
        answers = [None] * len(prompts) if source.training is not None else self._kept(source, prompts, weights)
        missing = [prompt for prompt, answer in zip(prompts, answers, strict=True) if answer is None]
        if not missing:
            return [answer for answer in answers if answer is not None]
        policy = self._policy_of(source.run) if source.training is None else source.training
        began, stopped = monotonic(), False
        grace = GRACE if policy.heads else 0.0

        def stop() -> bool:
            nonlocal stopped
            stopped = request.superseded and monotonic() - began >= grace
            return stopped

        made = generate(
            policy,
            missing,
            weights=dict(zip(self.objectives, weights, strict=True)) if policy.heads else None,
            max_new_tokens=min(_LONGEST, policy.context_length // 2),
            seed=0,
            stop=stop,
        )
        if stopped:
            return None
        new = iter([Answer(source.words, one.text, one.ended, self._scores(one.prompt, one.text)) for one in made])
        found = [next(new) if answer is None else answer for answer in answers]
        if source.training is None:
            places = (self._place(source, prompt, weights) for prompt in prompts)
            self._answers |= dict(zip(places, found, strict=True))
            for place in list(self._answers)[: max(0, len(self._answers) - _REMEMBERED)]:
                del self._answers[place]
        return found

    def _scores(self, prompt: Prompt, text: str) -> tuple[float, ...] | None:
        """The exact scores of a text, where a world knows the prompt."""
        if not isinstance(self.evaluation, WorldEvaluation) or prompt not in self.evaluation.world.prompts:
            return None
        return tuple(float(scorer(prompt, text)) for scorer in self.evaluation.world.scorers.values())

    def _policy_of(self, run: Run | None) -> Policy:
        if run is None:
            return self.policy
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
        if self._curve is not None and self._curve.run not in self.hidden:
            view = with_heads(view, self._curve)
        return Board(front, view, self.runs, self.hidden, self._foreign)

    # On any thread.

    def _few(self) -> tuple[Prompt, ...]:
        """The prompts that heads answer at once: the first ones that leave room for an answer; none without heads."""
        if not self.policy.heads:
            return ()
        room = self.policy.context_length - min(_LONGEST, self.policy.context_length // 2)
        fit = [prompt for prompt in self.prompts if len(encode_prompt(self.policy.tokenizer, prompt)) <= room]
        return tuple(fit[:FEW])

    def _need_heads(self, place: str) -> None:
        if not self.policy.heads:
            raise ConfigError(
                f"{place}: found a policy without heads, expected a head per objective. "
                f"Load it with load_policy(..., heads={list(self.objectives)})."
            )

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
                self._take(run)
            else:
                self._foreign += 1
        hidden: set[str] = set()
        for entry in self._journalled():
            if entry["action"] == "hide":
                hidden.add(entry["run"])
            elif entry["action"] == "restore" or entry.get("outcome") == "done":
                hidden.discard(entry.get("run", entry.get("spec")))
        self.hidden = frozenset(hidden & set(self._runs))

    def _take(self, run: Run) -> None:
        self._runs[run.id] = run
        if run.folder is not None and (run.folder / "policy" / "heads.safetensors").exists():
            self._headed.add(run.id)

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
