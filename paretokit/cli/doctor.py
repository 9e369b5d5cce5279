"""Say what this installation can do, and what a training would need here: memory, time, and how its pairs would be read.

Without options: versions, machine, shipped data, caches. With a policy, also what it allows and how its chat template writes a
conversation; with preferences too, that training, with the options of `paretokit train`. Nothing is trained and nothing is
written. Example:

    paretokit doctor --policy smollm2 --preferences pairs.jsonl --objectives harmless,concise
"""

import argparse
import os
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from paretokit.cli import options as shared
from paretokit.cli.adapter_rows import adapter_facts, adapter_rows
from paretokit.cli.model_rows import chat_facts, chat_rows, policy_rows, start_row, verdict
from paretokit.errors import ConfigError, ParetokitError
from paretokit.training.config import TrainConfig

if TYPE_CHECKING:
    from paretokit.experiments.estimate import Estimate
    from paretokit.experiments.memory import MemoryEstimate
    from paretokit.experiments.reading import Reading
    from paretokit.models.policy import Policy
    from paretokit.models.targets import Targets
    from paretokit.preferences.rendered import RenderedCounts


class Data(NamedTuple):
    """How the pairs were read."""

    recipe: str | None
    passed: bool  # False: the recipe was recognised by the columns, and training needs it as an option
    notes: tuple[str, ...]  # licence, remarks, what the recipe left out

    def report(self) -> str:
        """Return the recipe as one line for people."""
        if self.recipe is None:
            return "none: the file has a form of paretokit's own"
        return self.recipe if self.passed else f"{self.recipe}, recognised but not passed: train with --recipe {self.recipe}"


class Outlook(NamedTuple):
    """What a training would be like here."""

    config: TrainConfig
    data: Data
    policy: "Policy"
    rendered: "RenderedCounts"  # special tokens spelled in the pairs
    reading: "Reading"
    memory: "MemoryEstimate"
    time: "Estimate"
    adapter: "Targets"


def add(command: argparse.ArgumentParser) -> None:
    """Add the options of a training; none of them is needed."""
    command.add_argument("--policy", help="tiny, smollm2, a folder, or a hub id")
    command.add_argument("--adapter", default="lora", choices=("lora", "full"), help="what is trained (default: lora)")
    command.add_argument("--method", default="raco", help="what would train it (default: raco)")
    shared.add_head_rank(command)
    shared.add_chat_options(command)
    shared.add_preferences(command, required=False)
    command.add_argument("--heldout", type=int, default=100, help="pairs kept for the figures, at most a fifth (default: 100)")
    shared.add_config(command)


def run(options: argparse.Namespace) -> None:
    """Print the findings; exit status 1 where something that paretokit needs is missing."""
    if options.policy is None and options.preferences is not None:
        raise ConfigError(
            "--policy: found --preferences alone, expected both. Give both to see what a training needs, --policy alone to "
            "look at a model, or neither to look at the installation."
        )
    planned = None if options.preferences is None else outlook(options)
    policy = None if options.policy is None or planned is not None else _policy(options)
    findings = checks()
    if options.json:
        found = {name: {"found": found, "fine": fine} for name, found, fine in findings}
        if policy is not None:
            from paretokit.models.targets import adapted

            found["policy"] = {
                "reference": start_row(policy)[1],
                **_allows(policy, policy.forking),
                "chat": chat_facts(policy),
                "adapter": adapter_facts(adapted(policy.model)),
            }
        shared.print_json(found if planned is None else {**found, "training": as_json(planned)})
    else:
        from rich.table import Table
        from rich.text import Text

        table = Table("", "what", "found", box=None)
        for name, found, fine in findings:
            table.add_row("ok" if fine else "missing", name, Text(found))
        shared.output().print(table)
        if policy is not None:
            _tell(f"The policy {options.policy}", policy_rows(policy))
        if planned is not None:
            _tell(f"Training {options.policy} on {options.preferences}", rows(planned))
    if broken := [name for name, _, fine in findings if not fine]:
        raise ParetokitError(f"{', '.join(broken)}: not usable, see above. Install paretokit again from its wheel.")


def _tell(title: str, found: list[tuple[str, str]]) -> None:
    """Print findings by name under a title."""
    from rich.table import Table
    from rich.text import Text

    told = Table("what", "found", box=None, title=title)
    told.title_justify = "left"
    for name, finding in found:
        told.add_row(name, Text(finding))
    shared.output().print("", told)


def outlook(options: argparse.Namespace) -> Outlook:
    """Return what the training that the options describe would be like; it is tried on a few short passes."""
    config = shared.config(options)
    with shared.messages().status("estimating"):
        from paretokit.experiments.estimate import estimate
        from paretokit.experiments.evaluation import plan
        from paretokit.experiments.memory import memory_estimate
        from paretokit.experiments.reading import how_read
        from paretokit.experiments.reference_store import reference_store
        from paretokit.models.targets import adapted
        from paretokit.preferences.read import recipe_of
        from paretokit.preferences.rendered import count_rendered
        from paretokit.training.loop import compute_of
        from paretokit.training.sampling import counted

        recognised = None if options.recipe else recipe_of(shared.source(options.preferences))
        preferences = shared.read(options, recipe=recognised)
        policy = shared.policy(options, preferences.objectives, seed=config.seed)
        policy.compute = compute_of(config)
        pairs, evaluation = plan(preferences, heldout=options.heldout, max_length=config.max_length)
        config = counted(config, pairs, policy.heads)
        return Outlook(
            config,
            Data(preferences.recipe, recognised is None, preferences.notes),
            policy,
            count_rendered(pairs.prompts, pairs.responses_a, pairs.responses_b, tokenizer=policy.chat),
            how_read(policy, pairs, config=config),
            memory_estimate(policy, pairs, config=config),
            estimate(policy, pairs, config=config, evaluation=evaluation, references=reference_store(policy)),
            adapted(policy.model),
        )


def _policy(options: argparse.Namespace) -> "Policy":
    from paretokit.models.load import load_policy

    return load_policy(options.policy, adapter=options.adapter, chat_options=shared.chat_options(options))


def rows(planned: Outlook) -> list[tuple[str, str]]:
    """Return what to print of a training: name and finding."""
    from paretokit.cli.train import time_line
    from paretokit.experiments.memory import size

    reading, memory, time = planned.reading, planned.memory, planned.time
    parts = {name: getattr(memory, name) for name in PARTS}
    return [
        ("recipe", planned.data.report()),
        *(("data", note) for note in planned.data.notes),
        start_row(planned.policy),
        *chat_rows(planned.policy),
        ("special tokens spelled in texts", planned.rendered.warning or "none"),
        *adapter_rows(planned.adapter),
        ("shared prompts", reading.shared_prompts),
        ("logits in chunks", verdict(reading.projection.exact, reading.projection.reason)),
        ("one backward pass for all objectives", verdict(reading.coverage.exact, reading.coverage.reason)),
        ("a step", reading.plan.report()),
        *(("slower there", reason) for reason in reading.reasons),
        ("reference log-probabilities", f"{time.known} of {time.needed} in the cache"),
        *((f"memory, {PARTS[name]}", size(count)) for name, count in parts.items()),
        ("memory, in all", memory.report()),
        ("time", time_line(time, planned.config)),
    ]


PARTS = {
    "weights": "weights",
    "gradients": "gradients of the objectives",
    "update": "combined gradient",
    "moments": "optimizer",
    "activations": "activations of the largest pass",
    "chunk": "logits and other short-lived parts",
    "reading": "log-probabilities without gradient",
}


def as_json(planned: Outlook) -> dict[str, Any]:
    """Return a training's outlook as a value for JSON: bytes, seconds, and what the policy allows."""
    reading, memory, time = planned.reading, planned.memory, planned.time
    return {
        "config": planned.config.to_json(),
        "data": planned.data._asdict(),
        "reference": start_row(planned.policy)[1],
        "chat": chat_facts(planned.policy),
        "rendered": {**planned.rendered._asdict(), "warning": planned.rendered.warning},
        "adapter": adapter_facts(planned.adapter),
        "allows": _allows(reading, reading.forking if reading.apart else None),
        "step": {
            "report": reading.plan.report(),
            "passes": len(reading.plan.passes),
            **{name: getattr(reading.plan, name) for name in ("tokens", "positions", "apart", "together")},
        },
        "reasons": list(reading.reasons),
        "references": {"cached": time.known, "needed": time.needed},
        "memory": {**memory._asdict(), "total": memory.total, "fits": memory.fits},
        "seconds": {"training": time.training, "references": time.references, "figures": time.figures, "total": time.total},
    }


def _allows(found: Any, forking: Any) -> dict[str, Any]:
    """What a policy allows; `forking` is None where nothing has to be forked."""
    return {
        "shared prompts": {**_allowed(found.sharing), "window": found.sharing.window},
        "forked prompts": None if forking is None else _allowed(forking),
        "logits in chunks": _allowed(found.projection),
        "one backward pass": _allowed(found.coverage),
    }


def _allowed(found: Any) -> dict[str, Any]:
    return {"exact": found.exact, "reason": found.reason}


def checks() -> list[tuple[str, str, bool]]:
    """Return what was looked at: name, finding, and whether it is fine."""
    import torch

    from paretokit.cache import cache_folder
    from paretokit.experiments.spec import versions
    from paretokit.models import smollm2
    from paretokit.models.load import load_policy
    from paretokit.preferences.worlds import WORLDS, world

    def tiny() -> str:
        policy = load_policy("tiny", adapter="none")
        return f"{sum(p.numel() for p in policy.model.parameters()):,} parameters, base {policy.base_hash[:10]}"

    cache = cache_folder()
    return [
        *((f"version of {name}", found, found != "not installed") for name, found in versions().items()),
        *(_package(name) for name in ("plotly", "ipywidgets", "anywidget")),
        *(_package(name, needed=False) for name in ("jupyterlab", "ipykernel")),
        ("browser for tests", shutil.which("chromium") or "no chromium on the PATH", True),
        ("cores", f"{os.cpu_count()}, torch uses {torch.get_num_threads()}", True),
        ("memory", _memory(), True),
        ("accelerator", "cuda" if torch.cuda.is_available() else "none (cpu)", True),
        _check("policy tiny", tiny),
        ("policy smollm2", _optional(smollm2.package_file), True),
        *(_check(f"world {name}", lambda name=name: f"{len(world(name).preferences)} pairs") for name in WORLDS),
        ("cache", f"{cache}, {shutil.disk_usage(_existing(cache)).free / 2**30:.0f} GiB free", True),
    ]


def _package(name: str, *, needed: bool = True) -> tuple[str, str, bool]:
    try:
        found = version(name)
    except PackageNotFoundError:
        return f"version of {name}", "not installed" + ("" if needed else ": pip install 'paretokit[lab]'"), not needed
    broken = name == "ipykernel" and found.startswith("7.0.")
    note = ", which breaks widgets that are updated from threads: pip install 'ipykernel>=7.1'" if broken else ""
    return f"version of {name}", found + note, not broken


def _check(name: str, look: Callable[[], str]) -> tuple[str, str, bool]:
    try:
        return name, look(), True
    except ParetokitError as error:
        return name, str(error), False


def _optional(look: Callable[[], object]) -> str:
    try:
        return f"installed, {look()}"
    except ParetokitError:
        return "not installed: `make smollm2`"


def _memory() -> str:
    pages: Any = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return f"{pages * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB" if pages else "unknown"


def _existing(path: Path) -> Path:
    """The nearest folder above that exists."""
    return path if path.exists() else _existing(path.parent)
