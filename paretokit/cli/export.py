"""Write a policy or the policy of a run as a plain transformers folder, which `AutoModelForCausalLM` reads alone.

The adapter is merged in; the heads of a multi-head policy are folded to one output projection by --weights. Example:

    paretokit export --run mah-dpo-s0 --weights 0.3,0.7 ./for-serving
"""

import argparse

from paretokit.cli import options as shared


def add(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", dest="run_id", help="a run of the store, by its name or the beginning of it")
    which.add_argument("--policy", help="a folder of a saved policy, tiny, smollm2, or a hub id")
    command.add_argument("--store", default="runs", help="folder of the runs (default: runs)")
    command.add_argument("--weights", help="for a policy with heads: 0.5,0.5 or kind=0.5,short=0.5 (default: those of the run)")
    command.add_argument("--extrapolate", action="store_true", help="allow weights below 0")
    command.add_argument("folder", help="the folder to write; it must not hold anything yet")


def run(options: argparse.Namespace) -> None:
    """Load and export."""
    with shared.messages().status("exporting"):
        from paretokit.models.load import load_policy

        weights = shared.weights(options.weights) if options.weights else None
        if options.run_id is None:
            policy = load_policy(options.policy)
        else:
            from paretokit.experiments.store import Store

            stored = Store(options.store).run(options.run_id)
            policy = stored.load()
            if policy.heads and weights is None and stored.spec.weights is not None:
                weights = dict(zip(stored.spec.objectives, stored.spec.weights, strict=True))
        policy.export(options.folder, weights=weights, extrapolate=options.extrapolate)
    if options.json:
        shared.print_json({"folder": options.folder, "heads": policy.heads, "weights": weights})
    else:
        shared.output().print(f"written: {options.folder}", markup=False)
