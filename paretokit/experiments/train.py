"""One run from start to figures: references and checkpoints on disk, the training loop, samples before and after.

`run_steps` is the run as a generator of events, for whoever shows progress; `train` is the blocking call with a progress
bar. Imports: `training`, `evaluation`, `store`, `reference_store`; rich on use.
"""

import json
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import pandas as pd
import torch

from paretokit.errors import ParetokitError
from paretokit.experiments.evaluation import Evaluation, Stop, plan
from paretokit.experiments.presets import preset
from paretokit.experiments.progress import losses_bar
from paretokit.experiments.reference_store import ReferenceStore, reference_store
from paretokit.experiments.spec import RunSpec, dated, versions
from paretokit.experiments.store import Run, RunFolder, Store
from paretokit.maths.simplex import resolve as resolve_weights
from paretokit.models.policy import Policy
from paretokit.preferences.records import Preferences
from paretokit.training.config import TrainConfig
from paretokit.training.loop import compute_of, iter_steps
from paretokit.training.methods import Combine, Schedule, Weights
from paretokit.training.methods import resolve as resolve_method
from paretokit.training.records import StepRecord
from paretokit.training.sampling import counted
from paretokit.training.state import TrainState
from paretokit.turns import usual_lead_in


class _Stopped(Exception):  # noqa: N818 (not an error)
    """`stop` was heard while figures were taken."""


class Event(NamedTuple):
    """Something that happened in a run: a stage that begins, a step, or the end."""

    kind: str  # "stage", "step" or "run"
    stage: str = ""  # "figures before training", "training" or "figures after training"
    record: StepRecord | None = None
    run: Run | None = None


def train(
    policy: Policy,
    preferences: Preferences,
    *,
    method: str | Combine = "raco",
    weights: Weights | Schedule,
    config: TrainConfig | None = None,
    store: Store | str | Path | None = None,
    heldout: int = 100,
    progress: bool = True,
) -> Run:
    """Align `policy` to the weighted objectives and return the run with its records and figures. The policy is changed.

    Figures: on a world, samples on its held-out prompts scored exactly, before and after; on other data, accuracies on up
    to `heldout` pairs (at most a fifth of the data) that are split off by prompt and not trained on; 0: none.
    `store=None` writes nothing but the cache of reference log-probabilities. With a store, equal calls are one run: one
    that is done is returned (`policy` then holds what it had learnt), one that was interrupted goes on where it stopped.
    On Ctrl-C what was learnt so far is kept, with state "stopped", and the interrupt is raised again. Where the chat template
    prints today's date and none was asked for, a run that is taken up on another day goes on with its first day's date, to
    which the policy is set.

    >>> import paretokit as pk
    >>> run = pk.train(pk.load_policy("tiny"), pk.read_preferences("world:safety"), weights={"helpfulness": 0.3,
    ...     "harmlessness": 0.7}, config=pk.TrainConfig(steps=1), progress=False)
    >>> run.records[0].objectives, len(run.scores) == len(run.start)
    (('helpfulness', 'harmlessness'), True)
    """
    config = config or preset(policy.source)
    pairs, evaluation = plan(preferences, heldout=heldout, max_length=config.max_length)
    config = counted(config, pairs, policy.heads)
    events = run_steps(
        policy,
        pairs,
        method=method,
        weights=weights,
        config=config,
        evaluation=evaluation,
        store=Store(store) if isinstance(store, (str, Path)) else store,
    )
    run = None
    with closing(events), losses_bar(config.steps, shown=progress) as show:
        for event in events:
            show(event.stage, event.record)
            run = event.run or run
    assert run is not None, "run_steps ends with the run"
    return run


def run_steps(
    policy: Policy,
    preferences: Preferences,
    *,
    method: str | Combine,
    weights: Weights | Schedule,
    config: TrainConfig,
    evaluation: Evaluation | None,
    store: Store | None,
    references: ReferenceStore | None = None,
    measure_start: bool = True,
    stop: Stop | None = None,
) -> Generator[Event]:
    """Return the run as an iterator of events; the last holds the `Run`. Leaving it stops the run and keeps what was done.

    Figures before training are measured once for all runs of a store that start alike, and not at all without
    `measure_start`. `stop` is asked at every token while samples are drawn; once it is true the run ends with state
    "stopped", without the figures that were not finished. Arguments are checked now.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    config = counted(config, preferences, policy.heads).replace(threads=torch.get_num_threads())
    policy.compute = compute_of(config)
    spec = run_spec(policy, preferences, method=method, weights=weights, config=config, evaluation=evaluation)
    references = reference_store(policy) if references is None else references
    folder = None if store is None else store.folder(spec.id)
    if folder is not None:
        spec = _on_its_date(policy, spec, folder.spec())
    if folder is not None and folder.state()["state"] == "done":
        return (event for event in [Event("run", run=_finished(folder, policy))])
    before = None if folder is None or callable(weights) else folder.resume_point()
    records = [] if before is None else before[0]
    fresh = policy.trainable_state()
    if before is not None:
        policy.load_trainable_state(before[1])
    try:
        steps = iter_steps(
            policy,
            preferences,
            method=method,
            weights=weights,
            config=config,
            references=references,
            resume=None if before is None else before[2],
        )
    except ParetokitError:
        policy.load_trainable_state(fresh)
        raise
    measure = None
    if evaluation is not None:
        last = weights(config.steps) if callable(weights) else weights
        answering = resolve_weights(last, preferences.objectives)
        by_head = dict(zip(preferences.objectives, answering, strict=True)) if policy.heads else None
        measure = partial(evaluation, policy, references=references, weights=by_head, stop=stop or (lambda: False))
    return _run_steps(policy, spec, steps, records, measure, store, references, measure_start, stop or (lambda: False))


def run_spec(
    policy: Policy,
    preferences: Preferences,
    *,
    method: str | Combine,
    weights: Weights | Schedule,
    config: TrainConfig,
    evaluation: Evaluation | None,
) -> RunSpec:
    """Return the spec of a run; weights from a function are not part of it, so it gets a name of its own by the clock."""
    fixed = None if callable(weights) else resolve_weights(weights, preferences.objectives)
    return RunSpec(
        policy=policy.source,
        adapter=policy.adapter,
        policy_hash=policy_hash(policy),
        start=start_key(policy, evaluation),
        preferences=preferences.source,
        preferences_hash=preferences.fingerprint,
        objectives=preferences.objectives,
        method=resolve_method(method).name,
        weights=fixed,
        config=config,
        evaluation=None if evaluation is None else evaluation.to_json(),
        versions=versions(),
        device=str(policy.device),
        chat=chat_record(policy),
        note="" if fixed is not None and isinstance(method, str) else f"function, {pd.Timestamp.now().isoformat()}",
    )


def policy_hash(policy: Policy) -> str:
    """Return a hash of the policy as it stands: 16 digits over the base's hash and the trainable weights."""
    digest = sha256(policy.base_hash.encode())
    digest.update(json.dumps(policy.heads).encode() if policy.heads else b"")
    if policy.adapter == "lora" or policy.heads or not policy.at_base():
        for name, value in policy.trainable_state().items():
            digest.update(name.encode())
            digest.update(value.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def start_key(policy: Policy, evaluation: Evaluation | None) -> str:
    """Return the name of the policy's figures: fresh adapters change nothing, so all of them answer like their base."""
    answers = policy.base_hash if policy.at_base() else policy_hash(policy)
    measured = None if evaluation is None else evaluation.to_json()
    chat = chat_record(policy)
    said = [] if chat is None else [json.dumps([chat["options"], chat["lead_in"], chat["thoughts"]], sort_keys=True)]
    described = " ".join([answers, json.dumps(measured, sort_keys=True), *said])
    return dated(sha256(described.encode()).hexdigest()[:16], chat)


def chat_record(policy: Policy) -> dict[str, Any] | None:
    """Return what a run keeps of the policy's chat format: `ChatFormat.to_json` and the lead-in of a plain question; None
    where there is no option, no date and no lead-in, and the chat template alone says all."""
    made = {**policy.chat.to_json(), "lead_in": usual_lead_in(policy.chat)}
    return made if any(made.values()) else None


def _run_steps(
    policy: Policy,
    spec: RunSpec,
    steps: Iterator[tuple[StepRecord, TrainState]],
    records: list[StepRecord],
    measure: Callable[[], pd.DataFrame] | None,
    store: Store | None,
    references: ReferenceStore,
    measure_start: bool,
    stop: Stop,
) -> Generator[Event]:
    folder = None if store is None else store.folder(spec.id)
    if folder is not None:
        if not records:
            folder.clear()
        folder.begin(spec)
    start = None if store is None else store.start(spec.start)
    run = Run(spec, (), policy, start=start, folder=None if folder is None else folder.path, state={"state": "stopped"})
    try:
        if measure is not None and start is None and measure_start and not records:
            yield Event("stage", "figures before training")
            start = measure()
            if stop():  # some samples are missing
                start = None
                raise _Stopped
            if store is not None:
                store.keep_start(spec.start, start)
        yield Event("stage", "training")
        earlier = records[-1].wall_time or 0.0 if records else 0.0
        began = before = perf_counter()
        for record, state in steps:
            now = perf_counter()
            seconds = now - before
            record = replace(record, wall_time=earlier + now - began, tokens_per_second=record.tokens / seconds)
            records.append(record)
            if folder is not None:
                folder.add_step(record, policy.trainable_state(), state)
            yield Event("step", record=record)
            before = perf_counter()
        scores = None
        if measure is not None:
            yield Event("stage", "figures after training")
            scores = measure()
            if stop():
                raise _Stopped
        run = replace(run, records=tuple(records), scores=scores, start=start, state={"state": "done"})
    except (GeneratorExit, KeyboardInterrupt):
        _keep(replace(run, records=tuple(records), start=start), folder, references)
        raise
    except _Stopped:
        run = replace(run, records=tuple(records), start=start)
    except Exception as error:
        references.flush()
        if folder is not None:
            folder.mark("failed", reason=str(error))
        raise
    _keep(run, folder, references)
    yield Event("run", run=run)


def _keep(run: Run, folder: RunFolder | None, references: ReferenceStore) -> None:
    """Write the end of a run. An interrupt may have hit the middle of an optimizer step; the checkpoint is whole."""
    if folder is not None:
        point = folder.resume_point() if run.state["state"] == "stopped" else None
        if point is not None:
            run.load().load_trainable_state(point[1])
        folder.end(run)
    references.flush()


def _on_its_date(policy: Policy, spec: RunSpec, begun: RunSpec | None) -> RunSpec:
    """The spec of a run that was begun before, on the date of that day, to which the policy's prompts are set as well."""
    if begun is None or begun.chat is None or spec.chat is None or begun.chat["date"] == spec.chat["date"]:
        return spec
    policy.chat = policy.chat.on(begun.chat["date"])
    return spec.replace(chat=begun.chat, start=begun.start)


def _finished(folder: RunFolder, policy: Policy) -> Run:
    """The stored run; the policy that was passed in takes over what it had learnt, as if it had been trained now."""
    policy.load_trainable_state(folder.trained_weights())
    return replace(folder.read(), policy=policy)
