"""Train the built-in tiny policy with three methods at five weightings and show the Pareto front.

Works offline, in about a minute on two cores. Example:

    paretokit demo --world summaries --seeds 3
"""

import argparse
from pathlib import Path
from time import perf_counter

from paretokit.cli import options as shared
from paretokit.cli.progress import SweepProgress

METHODS = ("raco", "cagrad", "linear")


def add(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    worlds = ("summaries", "safety", "math", "values", "tutoring")  # those that tiny was taught
    command.add_argument("--world", default="summaries", choices=worlds, help="the task (default: summaries)")
    command.add_argument("--seeds", type=int, default=1, metavar="N", help="training seeds per point (default: 1)")
    command.add_argument("--steps", type=int, help="optimizer steps per run (default: the preset of tiny)")
    command.add_argument("--store", default="demo-runs", help="folder of the runs; what is there is not run again")
    command.add_argument("--out", default="front.html", help="the page to write (default: front.html)")
    command.add_argument("--workers", type=int, help="processes, one thread each (default: one per core)")


def weightings(objectives: int) -> list[list[float]]:
    """Return five weightings that spread over the simplex, no two of them with the same weight on an objective where
    there are two; for three: the middle, towards each corner, and one between.

    >>> weightings(2)[0], len(weightings(3)), all(abs(sum(w) - 1) < 1e-9 for w in weightings(3))
    ([0.1, 0.9], 5, True)
    """
    if objectives == 2:
        return [[w, round(1 - w, 2)] for w in (0.1, 0.3, 0.5, 0.7, 0.9)]
    return [[0.34, 0.33, 0.33], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.45, 0.45, 0.1]]


def run(options: argparse.Namespace) -> None:
    """Run the sweep, then print the tables and write the page."""
    began = perf_counter()
    progress = SweepProgress(shared.messages())
    with progress:
        from paretokit.experiments.presets import preset
        from paretokit.experiments.store import Store
        from paretokit.experiments.sweep import sweep
        from paretokit.preferences.worlds import world

        task = world(options.world)
        store = Store(options.store)
        front = sweep(
            "tiny",
            task.preferences,
            methods=METHODS,
            weights=weightings(len(task.scorers)),
            seeds=range(options.seeds),
            config=preset("tiny") if options.steps is None else preset("tiny").replace(steps=options.steps),
            store=store,
            workers=options.workers,
            on_event=progress.show,
        )
    from paretokit.cli.output import print_front, rank_note
    from paretokit.view.report import write_front

    title = f"{options.world}: {', '.join(METHODS)} at five weightings"
    page = write_front(front, runs=[store.run(name) for name in progress.runs], path=Path(options.out), title=title)
    note = rank_note(front, task.preferences)
    print_front(front, page=page, as_json=options.json, seconds=perf_counter() - began, note=note)
