"""What is dear to compute and follows from its content, kept on disk: rollouts, and the answers of judges elsewhere.

A cache is a folder of JSON lines files, one for each process that added something; a line holds what was added at once. Lines
are appended whole, so a kill loses what is under way and nothing else. Imports: `files`, the standard library.
"""

import json
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any
from uuid import uuid4

from paretokit.experiments.files import append_line, storing

__all__ = ["ContentCache", "content_key"]


def content_key(*parts: Any) -> str:
    """Return the name of some JSON values: 32 hexadecimal digits, equal for equal values.

    >>> content_key("a", [1]) == content_key("a", [1]), content_key("a", "bc") == content_key("ab", "c")
    (True, False)
    """
    text = json.dumps(parts, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).hexdigest()


class ContentCache(Mapping[str, Any]):
    """A mapping from keys to JSON values, in memory and, where there is a folder, on disk.

    >>> cache = ContentCache(None)
    >>> cache.add({"a": 1})
    >>> cache["a"], "b" in cache
    (1, False)
    """

    def __init__(self, folder: Path | None) -> None:
        self._values = {} if folder is None else _read(folder)
        self._path = None if folder is None else folder / f"{uuid4().hex}.jsonl"

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def add(self, values: Mapping[str, Any]) -> None:
        """Keep some values, on disk before this returns. Raises `StoreError` where they cannot be written."""
        if self._path is not None and values:
            with storing(self._path):
                self._path.parent.mkdir(parents=True, exist_ok=True)
            append_line(self._path, values)
        self._values.update(values)


def _read(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                found = json.loads(line)
            except ValueError:
                continue  # torn by a kill, or damaged: a cache is only a cache, what is in it can be computed again
            values.update(found if isinstance(found, dict) else {})
    return values
