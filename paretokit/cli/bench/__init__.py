"""Measure what paretokit is fast at, each beside what it is compared with, in one run and in turns.

dpo: a DPO step beside TRL's. raco: 2, 4 and 8 objectives beside one. passes: four objectives beside four backward passes.
full: the same for full fine-tuning. solver: coefficients beside TorchJD's CAGrad. memory: log-probabilities beside plain
logits. prefix: shared prompts beside a row per response. heads: what action heads cost. guided: candidates in one batch
beside one at a time. all: all of these. ui: the Studio in JupyterLab, in a real browser. Ratios of medians are printed with
their spread over the turns. They depend on the machine: leave it alone meanwhile. Needs smollm2 (`make smollm2`), TRL and
TorchJD (`pip install 'paretokit[dev]'`). Examples:

    paretokit bench dpo raco --out bench.json
    paretokit bench all --markdown
    paretokit bench ui --moves 500
"""

import argparse
from pathlib import Path

from paretokit.cli import options as shared
from paretokit.errors import ConfigError

NAMES = ("dpo", "raco", "passes", "full", "solver", "memory", "prefix", "heads", "guided")


def add(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    command.add_argument(
        "what", nargs="+", choices=(*NAMES, "all", "ui"), metavar="WHAT", help=f"{', '.join(NAMES)}; all of these; or ui"
    )
    command.add_argument("--policy", help="what takes the steps (default: smollm2; goals are stated for that)")
    command.add_argument("--device", default="cpu", help="cpu, cuda, or mps (default: cpu; solver, memory stay on the CPU)")
    command.add_argument("--repeats", type=int, help="turns that count, after one that warms up (default: 5; memory: 3)")
    command.add_argument("--bf16", action="store_true", help="dpo, raco: in bfloat16 as well, on processors made for it")
    command.add_argument("--quick", action="store_true", help="a few tokens on tiny, once: does it run at all?")
    command.add_argument("--markdown", action="store_true", help="print the table of the README")
    command.add_argument("--out", help="write the result as JSON to this file as well")
    command.add_argument("--moves", type=int, default=500, help="ui: slider moves while memory is watched (default: 500)")
    command.add_argument("--answers", type=int, default=30, help="ui: slider releases that are timed, twice (default: 30)")


def run(options: argparse.Namespace) -> None:
    """Measure and print; what was measured before an error or an interruption is printed as well."""
    if "ui" in options.what:
        _check_ui(options)
        from paretokit.cli.bench import ui

        ui.run(options)
        return
    if options.json and options.markdown:
        raise ConfigError("--markdown: found beside --json, expected one of them. Use --out for a JSON file as well.")
    if options.repeats is not None and options.repeats < 1:
        raise ConfigError(f"--repeats: found {options.repeats}, expected a whole number >= 1. Five or more say something.")
    from paretokit.cli.bench import report
    from paretokit.cli.bench.benches import BENCHES
    from paretokit.cli.bench.settings import Settings
    from paretokit.models.build import pick_device

    messages = shared.messages()
    device = pick_device(options.device)
    settings = Settings(
        policy=options.policy,
        repeats=options.repeats,
        quick=options.quick,
        bf16=options.bf16,
        device=device,
        say=lambda text: messages.print(text, soft_wrap=True, markup=False),
    )
    state = report.machine(device)
    rows: list[report.Row] = []
    try:
        for name in NAMES if "all" in options.what else dict.fromkeys(options.what):
            for row in BENCHES[name](settings):
                rows.append(row)
                settings.say(f"{row.what}: {row.ratio.value:.3g}x, goal {row.goal}")
    finally:
        if rows:
            _print(rows, state, options)


def _print(rows: list, state: dict, options: argparse.Namespace) -> None:
    from paretokit.cli.bench import report
    from paretokit.experiments.files import write_json

    result = report.to_json(rows, state)
    if options.out:
        write_json(Path(options.out), result)
    if options.json:
        shared.print_json(result)
    elif options.markdown:
        print(report.markdown(rows, state))
    else:
        shared.output().print(report.table(rows))
        shared.output().print(report.machine_line(state), soft_wrap=True, markup=False)


def _check_ui(options: argparse.Namespace) -> None:
    given = [f"--{name}" for name in ("policy", "repeats", "bf16", "quick", "markdown", "out") if getattr(options, name)]
    given += ["--device"] if options.device != "cpu" else []
    if set(options.what) != {"ui"}:
        raise ConfigError(
            f"what: found {' '.join(options.what)}, expected ui alone, since it measures in a browser. Run it by itself."
        )
    if given:
        raise ConfigError(f"ui: found {', '.join(given)}, which it does not know. Leave them out.")
