"""What was measured, as a table for people, as JSON, and as the table of the README. Imports: torch; rich on use."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from paretokit.cli.bench.timing import Paired, Ratio
from paretokit.experiments.spec import versions
from paretokit.processor import processor

if TYPE_CHECKING:
    from rich.table import Table


class Goal(NamedTuple):
    """What the ratio should be: "faster", theirs / ours at least `value`; or "cost", ours / theirs at most `value`.

    Without a value nothing was promised: the ratio is there to be read.
    """

    kind: Literal["faster", "cost"]
    value: float | None = None
    aim: float | None = None  # what would be better still

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        sign, word = (">=", " faster") if self.kind == "faster" else ("<=", "")
        aim = "" if self.aim is None else f", aim {self.aim:g}x"
        return f"{sign} {self.value:g}x{word}{aim}"


class Row(NamedTuple):
    """One ratio: what was compared with what, what is wanted and what was found."""

    bench: str  # the name that it is asked for by
    what: str
    against: str
    goal: Goal
    found: Paired
    unit: str  # of the figures: "s", "ms" or "MiB"
    sizes: str  # what the figures are for
    comparable: bool  # whether that is what the goal is stated for

    @property
    def ratio(self) -> Ratio:
        """The ratio in the direction of the goal."""
        return self.found.faster() if self.goal.kind == "faster" else self.found.cost()

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none, or the sizes are not those it is stated for."""
        wanted, value = self.goal.value, self.ratio.value
        if not self.comparable or wanted is None:
            return None
        return value >= wanted if self.goal.kind == "faster" else value <= wanted

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON values, every single figure included."""
        ours, theirs = self.found.medians
        return {
            "bench": self.bench,
            "what": self.what,
            "against": self.against,
            "sizes": self.sizes,
            "ratio": self.ratio.value,
            "ratio_of": "against / ours" if self.goal.kind == "faster" else "ours / against",
            "spread": [self.ratio.low, self.ratio.high],
            "goal": str(self.goal),
            "met": self.met,
            "repeats": len(self.found.ours),
            "unit": self.unit,
            "median_ours": ours,
            "median_against": theirs,
            "ours": list(self.found.ours),
            "theirs": list(self.found.theirs),
        }

    def cells(self) -> list[str]:
        """Return the row as text: what, against, the two medians, ratio, spread, goal, met."""
        value, low, high = self.ratio
        ours, theirs = (f"{median:.4g} {self.unit}" for median in self.found.medians)
        met = {True: "yes", False: "no", None: "-"}[self.met]
        return [self.what, self.against, ours, theirs, f"{value:.3g}x", f"{low:.3g}-{high:.3g}", str(self.goal), met]


HEADINGS = ("what", "against", "ours", "theirs", "ratio", "spread", "goal", "met")


def machine(device: torch.device) -> dict[str, Any]:
    """Return what figures of speed depend on: the device, processor, threads, versions, how busy it was, and the date."""
    found = {**versions(), **{name: _version(name) for name in ("trl", "torchjd")}}
    return {
        "device": device.type if device.type != "cuda" else torch.cuda.get_device_name(device),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "bf16": has_bf16(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": found,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def has_bf16() -> bool:
    """Return whether this processor multiplies in bfloat16 at a useful speed."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def machine_line(state: dict[str, Any]) -> str:
    """Return the machine as one line of text."""
    names = ", ".join(f"{name} {number}" for name, number in state["versions"].items())
    halves = "with" if state["bf16"] else "no"
    where = "" if state["device"] == "cpu" else f"{state['device']}; "
    return (
        f"{where}{state['cpu']}, {state['cores']} cores, {state['threads']} torch threads, {state['capability']}, "
        f"{halves} bf16 instructions, load {state['load']} at the start; {names}; {state['date'][:10]}"
    )


def table(rows: Sequence[Row]) -> "Table":
    """Return the rows as a rich table."""
    from rich.table import Table
    from rich.text import Text

    found = Table(box=None, pad_edge=False)
    for heading in HEADINGS:
        found.add_column(heading, no_wrap=heading in ("ratio", "spread", "met"), overflow="fold")
    for row in rows:
        found.add_row(*map(Text, row.cells()))
    return found


def markdown(rows: Sequence[Row], state: dict[str, Any]) -> str:
    """Return the README's table of performance, and below it the machine that it was measured on.

    >>> found = Paired((1.0, 1.0, 1.0), (3.0, 4.0, 3.0))
    >>> row = Row("dpo", "a step", "another", Goal("faster", 2.5, aim=3), found, "s", "8 pairs", True)
    >>> state = dict.fromkeys(("device", "cpu", "cores", "threads", "capability", "bf16", "load"), 1)
    >>> print(markdown([row], {**state, "versions": {}, "date": "2026-01-01"}))
    | what | against | ratio (spread) | goal |
    |---|---|---|---|
    | a step | another | 3x (3-4) | >= 2.5x faster, aim 3x |
    ...
    """
    lines = ["| what | against | ratio (spread) | goal |", "|---|---|---|---|"]
    for row in rows:
        what, against, _, _, value, spread, goal, _ = row.cells()
        lines.append(f"| {what} | {against} | {value} ({spread}) | {goal} |")
    return "\n".join([*lines, "", f"Measured by `paretokit bench` on {machine_line(state)}."])


def to_json(rows: Sequence[Row], state: dict[str, Any]) -> dict[str, Any]:
    """Return rows and machine as one JSON object."""
    return {"machine": state, "rows": [row.to_json() for row in rows]}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
