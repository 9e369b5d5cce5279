"""List the runs of a store, or move one to its trash.

Example:

    paretokit runs --store runs
"""

import argparse

from paretokit.cli import options as shared


def add(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    command.add_argument("--store", default="runs", help="folder of the runs (default: runs)")
    command.add_argument("--remove", metavar="RUN", help="move this run to the store's trash")


def run(options: argparse.Namespace) -> None:
    """Print the table of runs."""
    from paretokit.cli.output import print_runs
    from paretokit.experiments.store import Store

    store = Store(options.store)
    if options.remove:
        shared.messages().print(f"moved to {store.remove(options.remove)}", markup=False)
    print_runs(store, as_json=options.json)
