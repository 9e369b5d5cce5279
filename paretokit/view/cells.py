"""Which notebook cell makes a Studio: a cell that runs again closes what it made before.

A cell has the id that the front end gives it. Where there is none (a console, `nbclient`), the statement that runs stands
for it: the same statement run again is the same cell, an edited one is another. A Studio that was shown is held here, as
the page shows it even where no variable does. Imports: IPython.
"""

import sys
from collections.abc import Hashable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, WeakSet

from IPython.core.getipython import get_ipython

_MADE: dict[Hashable, "_Made"] = {}  # by cell
_SHOWN: set[Any] = set()  # on a page, and not closed
_RUNS: "WeakKeyDictionary[Any, list[None]]" = WeakKeyDictionary()  # of a shell: an item for each cell begun since it was asked


class _Made(NamedTuple):
    run: int  # of the cell
    studios: "WeakSet[Any]"


def earlier() -> list[Any]:
    """Return the Studios to close before the cell that runs makes one: those that its earlier runs made.

    What the same run has made stays, so a loop may make many. Without IPython there are no cells, and [] is returned.
    """
    if (shell := get_ipython()) is None or (cell := _cell(shell)) is None:
        return []
    run, former = _run(shell), _MADE.get(cell)
    if former is not None and former.run == run:
        return []
    for other in [other for other, made in _MADE.items() if not made.studios]:  # a statement holds little, but many would
        del _MADE[other]
    _MADE[cell] = _Made(run, WeakSet())
    return [] if former is None else list(former.studios)


def made(studio: Any) -> None:
    """Note that the cell which runs has made a Studio; `earlier` was asked before."""
    if (shell := get_ipython()) is not None and (found := _MADE.get(_cell(shell))) is not None:
        found.studios.add(studio)


def hold(studio: Any) -> None:
    """Keep a Studio that is shown, until `let_go`: someone may use it though no variable holds it."""
    if get_ipython() is not None:
        _SHOWN.add(studio)


def let_go(studio: Any) -> None:
    """Keep a Studio no more. Repeating it is harmless."""
    _SHOWN.discard(studio)


def _cell(shell: Any) -> Hashable | None:
    """The cell that runs; None where none does (another thread, a script that a shell imports)."""
    kernel = getattr(shell, "kernel", None)
    if kernel is not None and (found := (kernel.get_parent("shell") or {}).get("metadata", {}).get("cellId")):
        return found
    frame = sys._getframe(1)
    while frame is not None and frame.f_locals is not shell.user_ns:
        frame = frame.f_back
    return None if frame is None else frame.f_code


def _run(shell: Any) -> int:
    """A number that differs between two runs of cells."""
    if (runs := _RUNS.get(shell)) is None:
        runs = _RUNS[shell] = []
        shell.events.register("pre_run_cell", lambda info: runs.append(None))
    return len(runs)
