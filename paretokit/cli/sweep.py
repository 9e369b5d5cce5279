"""Train every combination of methods, weightings and seeds, and show the front they form.

Runs are spread over processes. A second call on the same store does only what is missing. Example:

    paretokit sweep --policy tiny --preferences world:safety --methods raco,linear \\
        --weights 0.2,0.8 --weights 0.8,0.2 --seeds 3 --steps 30
"""

import argparse
from pathlib import Path
from time import perf_counter

from paretokit.cli import options as shared
from paretokit.cli.progress import SweepProgress


def add(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    shared.add_data(command)
    command.add_argument("--methods", type=shared.names, default=["raco"], help="comma-separated (default: raco)")
    command.add_argument("--weights", action="append", default=[], help="a weighting such as 0.5,0.5; give it several times")
    command.add_argument("--grid", type=int, metavar="K", help="all weightings in steps of 1/K, in place of --weights")
    command.add_argument("--seeds", type=int, default=1, metavar="N", help="training seeds per point (default: 1)")
    command.add_argument("--workers", type=int, help="processes, one thread each (default: one per core)")
    command.add_argument("--out", default="front.html", help="the page to write (default: front.html)")
    shared.add_config(command)


def run(options: argparse.Namespace) -> None:
    """Run the sweep, then print the tables and write the page."""
    began = perf_counter()
    config = shared.config(options).replace(seed=0)
    weightings = [shared.weights(text) for text in options.weights]
    progress = SweepProgress(shared.messages())
    with progress:
        from paretokit.cli.output import print_front
        from paretokit.experiments.store import Store
        from paretokit.experiments.sweep import sweep
        from paretokit.maths.simplex import grid
        from paretokit.view.report import write_front

        preferences = shared.read(options)
        if options.grid:
            weightings += grid(len(preferences.objectives), resolution=options.grid).tolist()
        store = Store(options.store)
        front = sweep(
            options.policy,
            preferences,
            methods=options.methods,
            weights=weightings,
            seeds=range(options.seeds),
            config=config,
            store=store,
            adapter=options.adapter,
            head_rank=options.head_rank or None,
            heldout=options.heldout,
            workers=options.workers,
            chat_options=shared.chat_options(options),
            on_event=progress.show,
        )
    title = f"{preferences.source}: {', '.join(options.methods)}"
    page = write_front(front, runs=[store.run(name) for name in progress.runs], path=Path(options.out), title=title)
    print_front(front, page=page, as_json=options.json, seconds=perf_counter() - began)
