"""What was done in a Studio, one JSON line each: append-only, so that it can be read again and replayed as a script.

Each line holds `time` (ISO, UTC), `studio` (a name per opened Studio), `action` (the method that was called), `call` (the
same as Python) and the facts of the action, such as `weights`, `seed`, `spec` and `outcome`.
Imports: `files`, the standard library.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paretokit.experiments.files import append_line, read_lines, storing

# actions of lines that call nothing: a Studio was made, a job has ended
OPEN, OUTCOME = "open", "outcome"


class Journal:
    """The journal of a store, written under the name of one Studio.

    >>> import tempfile
    >>> journal = Journal(Path(tempfile.mkdtemp()) / "journal.jsonl", studio="s1")
    >>> journal.add("train", weights=[0.2, 0.8], seed=0)
    >>> print(script(journal.entries()))
    studio.train(weights=[0.2, 0.8], seed=0)
    """

    def __init__(self, path: Path, *, studio: str) -> None:
        self.path = path
        self.studio = studio

    def add(self, action: str, *, facts: dict[str, Any] | None = None, **arguments: Any) -> None:
        """Append a call of `studio.<action>(**arguments)`, with more `facts` of it. Raises `StoreError`."""
        called = "" if action in (OPEN, OUTCOME) else python_call(action, **arguments)
        with storing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "studio": self.studio, "action": action, "call": called, **arguments, **(facts or {})}
        append_line(self.path, line)

    def entries(self) -> list[dict[str, Any]]:
        """Return all lines of the store's journal, oldest first. Raises `StoreError` for a damaged line."""
        return read_lines(self.path)


def python_call(action: str, **arguments: Any) -> str:
    """Return a call of a Studio's method as Python text.

    >>> python_call("hide", run="raco-s0-1a2b3c4d5e")
    "studio.hide(run='raco-s0-1a2b3c4d5e')"
    """
    return f"studio.{action}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"


def script(entries: Sequence[dict[str, Any]], *, studio: str | None = None) -> str:
    """Return the calls of all entries, or of one Studio's, as a Python script that acts on a `studio`."""
    return "\n".join(entry["call"] for entry in entries if entry["call"] and studio in (None, entry["studio"]))
