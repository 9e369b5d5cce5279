"""Write a page about runs of a store: their front, curves, gradient conflict and samples.

Example:

    paretokit report --store runs --out report.html
"""

import argparse
from pathlib import Path

from paretokit.cli import options as shared
from paretokit.errors import StoreError


def add(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    command.add_argument("--store", default="runs", help="folder of the runs (default: runs)")
    command.add_argument("--run", dest="run_ids", action="append", help="only this run; give it several times (default: all)")
    command.add_argument("--out", default="report.html", help="the page to write (default: report.html)")


def run(options: argparse.Namespace) -> None:
    """Gather the runs, write the page, print the tables."""
    with shared.messages().status("reading runs"):
        from paretokit.cli.output import print_front
        from paretokit.experiments.compare import front_of
        from paretokit.experiments.store import Store
        from paretokit.view.report import write_front

        store = Store(options.store)
        chosen = [store.run(name) for name in options.run_ids] if options.run_ids else store.runs()
        done = [run for run in chosen if run.scores is not None]
        if not done:
            raise StoreError(
                f"{store.path}: found {len(chosen)} runs, none of them with figures, expected at least one. Finish a run with "
                "`paretokit train`, or name another store."
            )
        front = front_of(done)
    title = f"{done[0].spec.preferences}: {', '.join(dict.fromkeys(run.spec.method for run in done))}"
    page = write_front(front, runs=done, path=Path(options.out), title=title)
    print_front(front, page=page, as_json=options.json, seconds=None)
