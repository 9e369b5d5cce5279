"""A line on the terminal that shows how a training goes. Imports: rich on use."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["losses_bar"]


@contextmanager
def losses_bar(steps: int, *, shown: bool) -> Iterator[Callable[[str, Any], None]]:
    """Yield a function that shows a stage that begins, or a step's record: its number, the losses and the time left."""
    if not shown:
        yield lambda stage, record: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, TextColumn("{task.fields[losses]}"), console=Console(stderr=True)) as bar:
        task = bar.add_task("preparing", total=steps, losses="")

        def show(stage: str, record: Any) -> None:
            if record is not None:
                pairs = zip(record.objectives, record.losses, strict=True)
                losses = "  ".join(f"{name} {loss:.3f}" for name, loss in pairs)
                bar.update(task, completed=record.step, losses=losses)
            elif stage:
                bar.update(task, description=stage)

        yield show
