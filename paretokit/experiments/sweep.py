"""Many runs: methods x weightings x seeds, spread over processes, resumable, gathered as one front.

For models this small, one process per core with one thread each beats one run on all cores. The parent gives out jobs one
by one and never touches torch; workers are subprocesses on a module entry point, which works the same in a notebook, in a
script and in the shell. Imports: `store`, `compare`, `worker` by name.
"""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretokit.errors import ConfigError, DataError, ParetokitError
from paretokit.experiments.compare import front_of
from paretokit.experiments.evaluation import plan
from paretokit.experiments.files import storing, write_lines
from paretokit.experiments.front import Front
from paretokit.experiments.presets import preset
from paretokit.experiments.store import Store
from paretokit.maths.simplex import resolve as resolve_weights
from paretokit.preferences.read import read_preferences
from paretokit.preferences.records import Preferences, native_records
from paretokit.templates import today
from paretokit.training.config import TrainConfig
from paretokit.training.methods import Weights, heads_for
from paretokit.training.methods import resolve as resolve_method
from paretokit.training.sampling import counted

if TYPE_CHECKING:
    from paretokit.models.policy import Policy


class SweepError(ParetokitError, RuntimeError):
    """Runs of a sweep that failed, or a worker that died; what was finished is in the store."""


def sweep(
    policy: "str | Policy",
    preferences: str | Preferences,
    *,
    methods: Sequence[str] = ("raco",),
    weights: Sequence[Weights],
    seeds: Sequence[int] = (0,),
    config: TrainConfig | None = None,
    store: Store | str | Path | None = None,
    adapter: str = "lora",
    head_rank: int | None = 16,
    heldout: int = 100,
    workers: int | None = None,
    chat_options: Mapping[str, Any] | None = None,
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> Front:
    """Train one policy for every method, weighting and seed, and return the front of their figures.

    A second call on the same store does only what is missing. `policy` is a name or folder that every worker loads, for
    methods of the kind "heads" with a head of `head_rank` for each objective (None: full heads); or a policy in memory,
    which then trains its forks one after another in this process. `workers` defaults to one process per core, each with one
    thread (`config.threads`). `chat_options` are those of `load_policy`, for a name or folder. `on_event` sees what happens, as
    JSON values: see `sweep_events`.
    Raises `SweepError` after all other runs are done where one failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        chosen = store if isinstance(store, Store) else Store(scratch if store is None else store)
        events = sweep_events(
            policy,
            preferences,
            methods=methods,
            weights=weights,
            seeds=seeds,
            config=config,
            store=chosen,
            adapter=adapter,
            head_rank=head_rank,
            heldout=heldout,
            workers=workers,
            chat_options=chat_options,
        )
        runs, failures = [], []
        with closing(events):
            for event in events:
                if event["kind"] == "run":
                    runs.append(event["run"])
                if event["kind"] == "failed":
                    failures.append(event["error"])
                if on_event is not None:
                    on_event(event)
        if failures:
            raise SweepError(
                f"sweep: {len(failures)} of {len(runs) + len(failures)} runs failed, the first with: {failures[0]} "
                f"The others are in {chosen.path}; correct the cause and run the sweep again."
            )
        order = {run_id: index for index, run_id in enumerate(chosen.ids())}
        return front_of([chosen.run(run_id) for run_id in sorted(runs, key=order.__getitem__)])


def sweep_events(
    policy: "str | Policy",
    preferences: str | Preferences,
    *,
    methods: Sequence[str],
    weights: Sequence[Weights],
    seeds: Sequence[int],
    config: TrainConfig | None,
    store: Store,
    adapter: str = "lora",
    head_rank: int | None = 16,
    heldout: int = 100,
    workers: int | None = None,
    chat_options: Mapping[str, Any] | None = None,
) -> Generator[dict[str, Any]]:
    """Return the sweep as an iterator of events; leaving it stops the workers and keeps every step that was finished.

    Events are JSON values with a `kind`: "plan" (how many jobs of how many steps), "ready" (a worker has loaded), "start"
    (figures before training), "step" (job, step, steps), "run" (job, run id, mean figures), "failed" (job, error). The
    job's method, weights and seed are added.
    """
    data = read_preferences(preferences) if isinstance(preferences, str) else preferences
    name = policy if isinstance(policy, str) else policy.source
    config = config or preset(name)
    steps = config.steps
    if config.epochs is not None:
        pairs, _ = plan(data, heldout=heldout, max_length=config.max_length)
        heads = [heads_for(resolve_method(method), data.objectives) or () for method in methods]
        steps = max(counted(config, pairs, own).steps for own in heads)
    if chat_options is not None and not isinstance(policy, str):
        raise ConfigError(
            "sweep: found chat_options for a policy in memory, which has its own. Load it with "
            "load_policy(..., chat_options=...), or pass its name."
        )
    for method in methods:
        resolve_method(method)
    if not (len(methods) and len(weights) and len(seeds)):
        raise ConfigError("sweep: found an empty list, expected at least one method, one weighting and one seed. Add one.")
    _check_figures(data, heldout=heldout)
    grid = [
        {"method": method, "weights": list(resolve_weights(weighting, data.objectives)), "seed": seed}
        for seed, weighting, method in product(seeds, weights, methods)
    ]
    todo = [{"job": 0, "start": True}, *({"job": number, **job} for number, job in enumerate(grid, start=1))]
    setup = {
        "policy": name,
        "adapter": adapter,
        "head_rank": head_rank,
        "chat_options": None if chat_options is None else dict(chat_options),
        "methods": list(methods),
        "preferences": _shared(data, store=store),
        "source": data.source,
        "objectives": list(data.objectives),
        "heldout": heldout,
        "config": config.replace(threads=config.threads or 1).to_json(),
        "store": str(store.path.resolve()),
        "date": _date(name, store),
    }
    if not isinstance(policy, str):
        from paretokit.experiments.worker import jobs

        events = jobs(setup, iter(todo), policy=policy)
    else:
        count = min(workers or os.cpu_count() or 1, len(todo))
        events = _spread(setup, todo, workers=count, logs=store.path / "logs")
    return _announced(events, todo, steps=steps)


def _check_figures(data: Preferences, *, heldout: int) -> None:
    """Raise `DataError` where the runs could be trained, but would give no front."""
    from paretokit.experiments.evaluation import HeldOutEvaluation, plan

    _, evaluation = plan(data, heldout=heldout, max_length=None)
    if evaluation is None:
        raise DataError(
            f"sweep: found {len(data)} pairs and heldout={heldout}, which leave none to hold out, so that no front could be "
            "drawn; expected five pairs or more, and heldout of at least 1. Bring more pairs, or train single runs with train."
        )
    if isinstance(evaluation, HeldOutEvaluation) and evaluation.unjudged:
        raise DataError(
            f"sweep: none of the {len(evaluation.pairs)} held-out pairs is judged and untied on {evaluation.unjudged[0]!r}, so "
            "that no front could be drawn. Bring more pairs, or hold out more with heldout (at most a fifth are)."
        )


def _announced(events: Generator[dict[str, Any]], todo: list[dict[str, Any]], *, steps: int) -> Generator[dict[str, Any]]:
    yield {"kind": "plan", "jobs": len(todo) - 1, "steps": steps}
    with closing(events):
        for event in events:
            yield {**todo[event["job"]], **event} if "job" in event else event


def _date(policy: str, store: Store) -> str:
    """The date of all prompts of a sweep, where a template prints it: that of the store's runs of the policy, else today's."""
    for run_id in store.ids():
        spec = store.folder(run_id).spec()
        if spec is not None and spec.policy == policy and spec.chat is not None and spec.chat["by_clock"]:
            return spec.chat["date"]
    return today()


def _shared(data: Preferences, *, store: Store) -> str:
    """A name that every worker can read the same pairs from: a world, or a copy in the store."""
    if data.source.startswith("world:"):
        return data.source
    path = store.path / "inputs" / f"{data.fingerprint}.jsonl"
    if not path.exists():
        write_lines(path, native_records(data))
    return str(path.resolve())


def _spread(setup: dict[str, Any], todo: list[dict[str, Any]], *, workers: int, logs: Path) -> Generator[dict[str, Any]]:
    """Give the jobs to processes, one at a time each, and yield their events as they come."""
    with storing(logs):
        logs.mkdir(parents=True, exist_ok=True)
    inbox: queue.SimpleQueue[tuple[int, dict[str, Any] | None]] = queue.SimpleQueue()
    waiting = list(reversed(todo))
    started = [_start(setup, number, inbox, logs) for number in range(workers)]
    processes = [process for process, _ in started]
    alive = set(range(workers))
    try:
        while alive:
            number, event = inbox.get()
            if event is None:
                alive.discard(number)
                if processes[number].wait() != 0:
                    raise SweepError(
                        f"sweep: worker {number} ended with exit status {processes[number].returncode}; its log is "
                        f"{logs / f'worker-{number}.log'}. What was finished is kept; run the sweep again to go on."
                    )
                continue
            if event["kind"] == "broken":
                raise SweepError(f"sweep: {event['error']}")
            if event["kind"] in ("ready", "start", "run", "failed"):
                _give(processes[number], waiting.pop() if waiting else None)
            yield event
    finally:
        for process, listener in started:
            if process.poll() is None:
                process.terminate()
            listener.join()
            process.wait()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            process.stdout.close()


def _start(
    setup: dict[str, Any], number: int, inbox: "queue.SimpleQueue[tuple[int, dict[str, Any] | None]]", logs: Path
) -> "tuple[subprocess.Popen[str], threading.Thread]":
    environment = {**os.environ, "OMP_NUM_THREADS": str(setup["config"]["threads"]), "TOKENIZERS_PARALLELISM": "false"}
    with (logs / f"worker-{number}.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "paretokit.experiments.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
            env=environment,
        )
    _give(process, setup)

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            inbox.put((number, json.loads(line)))
        inbox.put((number, None))

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    return process, listener


def _give(process: "subprocess.Popen[str]", job: dict[str, Any] | None) -> None:
    """Send a job, or close the input: the worker's sign to end."""
    assert process.stdin is not None
    try:
        if job is None:
            process.stdin.close()
        else:
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
    except BrokenPipeError:
        pass  # the worker has died; its exit status is reported when its output ends
