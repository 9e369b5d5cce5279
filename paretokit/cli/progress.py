"""Progress of a sweep in the shell: one bar per run that is under way, one for the whole, a line for each finished run.

Imports: rich, the standard library.
"""

from time import perf_counter
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class SweepProgress:
    """Shows the events of a sweep; `runs` lists the names of the finished ones in the order of their end."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description:<28}"), BarColumn(bar_width=24), MofNCompleteColumn())
        self._bars = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console)
        self._all = self._bars.add_task("loading", total=None)
        self._tasks: dict[int, TaskID] = {}
        self._done: dict[int, int] = {}  # job -> steps done
        self._steps = 0
        self._began = perf_counter()
        self.runs: list[str] = []

    def __enter__(self) -> "SweepProgress":
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def show(self, event: dict[str, Any]) -> None:
        """Show one event of `sweep_events`."""
        if event["kind"] == "plan":
            self._steps = event["steps"]
            self._bars.update(self._all, total=event["jobs"] * event["steps"], description="all runs (steps)")
        elif event["kind"] == "step":
            if event["job"] not in self._tasks:
                self._tasks[event["job"]] = self._bars.add_task(_label(event), total=event["steps"])
            self._bars.update(self._tasks[event["job"]], completed=event["step"])
            self._done[event["job"]] = event["step"]
            self._bars.update(self._all, completed=sum(self._done.values()))
        elif event["kind"] in ("run", "failed"):
            if event["job"] in self._tasks:
                self._bars.remove_task(self._tasks.pop(event["job"]))
            self._done[event["job"]] = self._steps
            self._bars.update(self._all, completed=sum(self._done.values()))
            seconds = f"{perf_counter() - self._began:5.1f} s"
            if event["kind"] == "failed":
                self._bars.console.print(f"{seconds}  {_label(event)}  failed: {event['error']}", style="red", markup=False)
                return
            self.runs.append(event["run"])
            means = " ".join(f"{name} {_short(value, digits=3)}" for name, value in event["means"].items())
            self._bars.console.print(f"{seconds}  {_label(event)}  {means}", markup=False)


def _label(event: dict[str, Any]) -> str:
    weights = "/".join(_short(weight, digits=2) for weight in event["weights"])
    return f"{event['method']:<7} {weights} s{event['seed']}"


def _short(value: float, *, digits: int) -> str:
    """A number between 0 and 1 without its leading zero, so that a line fits 80 columns."""
    return f"{value:.{digits}f}".removeprefix("0")
