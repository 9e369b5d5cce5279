"""Say what this installation can do: versions, machine, shipped data, caches.

Example:

    paretokit doctor
"""

import argparse
import os
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from paretokit.cli import options as shared
from paretokit.errors import ParetokitError


def add(command: argparse.ArgumentParser) -> None:
    """The command has no options of its own."""


def run(options: argparse.Namespace) -> None:
    """Print the findings; exit status 1 where something that paretokit needs is missing."""
    findings = checks()
    if options.json:
        shared.print_json({name: {"found": found, "fine": fine} for name, found, fine in findings})
    else:
        from rich.table import Table
        from rich.text import Text

        table = Table("", "what", "found", box=None)
        for name, found, fine in findings:
            table.add_row("ok" if fine else "missing", name, Text(found))
        shared.output().print(table)
    if broken := [name for name, _, fine in findings if not fine]:
        raise ParetokitError(f"{', '.join(broken)}: not usable, see above. Install paretokit again from its wheel.")


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
