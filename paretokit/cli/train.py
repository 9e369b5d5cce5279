"""Train a policy on preference pairs at chosen weights, and report what changed.

Data with two or more labels per pair are read from a file; a fifth of them, at most --heldout, is kept for the figures.
Equal calls are one run: an interrupted one goes on where it stopped. Example:

    paretokit train --policy smollm2 --preferences pairs.jsonl --objectives harmless,concise \\
        --method raco --weights 0.5,0.5 --steps 20
"""

import argparse
from typing import TYPE_CHECKING

from paretokit.cli import options as shared
from paretokit.training.config import TrainConfig

if TYPE_CHECKING:
    from paretokit.experiments.estimate import Estimate


def add(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    shared.add_data(command)
    command.add_argument("--method", default="raco", help="raco, cagrad, linear, mah-dpo or mah-raco (default: raco)")
    command.add_argument("--weights", required=True, type=str, help="such as 0.5,0.5 or harmless=0.5,concise=0.5; sum 1")
    shared.add_config(command)


def run(options: argparse.Namespace) -> None:
    """Train, with the report of the data, estimates of time and memory, progress, and the figures at the end."""
    weights = shared.weights(options.weights)
    config = shared.config(options)
    console = shared.messages()
    with console.status("loading"):
        from paretokit.cli.output import print_run
        from paretokit.experiments.estimate import estimate
        from paretokit.experiments.evaluation import plan
        from paretokit.experiments.memory import memory_estimate
        from paretokit.experiments.reading import how_read
        from paretokit.experiments.reference_store import reference_store
        from paretokit.experiments.store import Store
        from paretokit.experiments.train import train
        from paretokit.maths.simplex import resolve
        from paretokit.training.encode import length_limit
        from paretokit.training.loop import compute_of
        from paretokit.training.methods import resolve as resolve_method
        from paretokit.training.sampling import counted

        resolve_method(options.method)
        preferences = shared.read(options)
        resolve(weights, preferences.objectives, place="--weights")
        policy = shared.policy(options, preferences.objectives, seed=config.seed)
        policy.compute = compute_of(config)
        pairs, evaluation = plan(preferences, heldout=options.heldout, max_length=config.max_length)
        config = counted(config, pairs, policy.heads)
    console.print(str(preferences.report(policy.chat, length_limit(policy, config.max_length))), markup=False)
    with console.status("estimating"):
        reading = how_read(policy, pairs, config=config)
        memory = memory_estimate(policy, pairs, config=config)
        expected = estimate(policy, pairs, config=config, evaluation=evaluation, references=reference_store(policy))
    console.print(f"estimate: {time_line(expected, config)}")
    console.print(f"a step: {reading.report()}", markup=False)
    console.print(f"{'memory' if memory.fits else 'warning: memory'}: {memory.report()}", markup=False)
    finished = train(
        policy,
        preferences,
        method=options.method,
        weights=weights,
        config=config,
        store=Store(options.store),
        heldout=options.heldout,
    )
    print_run(finished, as_json=options.json)


def time_line(expected: "Estimate", config: TrainConfig) -> str:
    """Return how long the parts of a run will take, as one line for people."""
    figures = "and then the samples" if expected.figures is None else f"+ {_minutes(expected.figures)} for the figures"
    return (
        f"{_minutes(expected.training)} for {config.steps} steps of {config.pairs_per_step} pairs "
        f"+ {_minutes(expected.references)} for reference log-probabilities {figures}"
    )


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
