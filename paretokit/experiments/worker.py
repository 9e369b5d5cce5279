"""One process of a sweep: reads jobs as JSON lines from standard input, writes what happens as JSON lines to standard output.

Started by `sweep` as `python -m paretokit.experiments.worker`; it ends when its input ends. The first line says what to
load; every further line is a job: {"job": 3, "method": "raco", "weights": [...], "seed": 0} or {"job": 0, "start": true}.
Imports: `train`, `evaluation`, `store`, `models`, `preferences`.
"""

import json
import os
import sys
from collections.abc import Generator, Iterator
from typing import IO, Any

import torch

from paretokit.errors import ParetokitError
from paretokit.experiments.evaluation import plan
from paretokit.experiments.reference_store import reference_store
from paretokit.experiments.store import Run, Store
from paretokit.experiments.train import run_steps, start_key
from paretokit.models.load import load_policy
from paretokit.models.policy import Policy
from paretokit.preferences.read import read_preferences
from paretokit.training.config import TrainConfig
from paretokit.training.methods import heads_for, resolve
from paretokit.training.sampling import counted


def jobs(setup: dict[str, Any], lines: Iterator[dict[str, Any]], *, policy: Policy | None = None) -> Generator[dict[str, Any]]:
    """Do the jobs one after another and yield what happens as JSON values; a job that fails does not end the others.

    `policy` stands in for the one that the set-up names.
    """
    torch.set_num_threads(setup["config"]["threads"])
    config = TrainConfig.from_json(setup["config"])
    given, bases = policy, {}

    def base_of(method: str) -> Policy:
        """The policy that a method starts from, loaded when it is first needed."""
        heads = heads_for(resolve(method), setup["objectives"])
        if given is not None:
            return given
        if heads not in bases:
            made = load_policy(
                setup["policy"],
                adapter=setup["adapter"],
                heads=heads,
                head_rank=setup["head_rank"],
                chat_options=setup["chat_options"],
            )
            made.chat = made.chat.on(setup["date"]) if made.chat.by_clock else made.chat
            bases[heads] = made
        return bases[heads]

    base = base_of(setup["methods"][0])
    stored = not setup["preferences"].startswith("world:")  # our own labels, in which 0 is a tie
    preferences = read_preferences(setup["preferences"], objectives=setup["objectives"], ties=stored).named(setup["source"])
    pairs, evaluation = plan(preferences, heldout=setup["heldout"], max_length=config.max_length)
    references = reference_store(base)
    store = Store(setup["store"])
    yield {"kind": "ready", "process": os.getpid()}
    for job in lines:
        number = job["job"]
        try:
            if job.get("start"):
                key = start_key(base, evaluation)
                if evaluation is not None and store.start(key) is None:
                    even = {name: 1 / len(base.heads) for name in base.heads} or None  # heads start alike
                    store.keep_start(key, evaluation(base, references=references, weights=even))
                yield {"kind": "start", "job": number}
                continue
            steps = counted(config, pairs, base_of(job["method"]).heads).steps
            events = run_steps(
                base_of(job["method"]).fork(seed=job["seed"]),
                pairs,
                method=job["method"],
                weights=job["weights"],
                config=config.replace(seed=job["seed"]),
                evaluation=evaluation,
                store=store,
                references=references,
                measure_start=False,
            )
            for event in events:
                if event.record is not None:
                    yield {"kind": "step", "job": number, "step": event.record.step, "steps": steps}
                elif event.run is not None:
                    yield {"kind": "run", "job": number, "run": event.run.id, "means": _means(event.run)}
        except ParetokitError as error:
            yield {"kind": "failed", "job": number, "error": str(error)}


def _means(run: Run) -> dict[str, float]:
    """The run's mean figures, for the line that announces it."""
    if run.scores is None or run.spec.evaluation is None:
        return {}
    means = run.scores[list(run.spec.axes)].mean()
    return {axis: float(means.at[axis]) for axis in run.spec.axes}  # NaN where nothing was judged


def main(source: IO[str], sink: IO[str]) -> None:
    """Serve one sweep: set-up and jobs from `source`, events to `sink`."""
    lines = (json.loads(line) for line in iter(source.readline, ""))
    try:
        for event in jobs(next(lines), lines):
            print(json.dumps(event), file=sink, flush=True)
    except ParetokitError as error:
        print(json.dumps({"kind": "broken", "error": str(error)}), file=sink, flush=True)


if __name__ == "__main__":
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print goes to the log, not between the events
    main(sys.stdin, events)
