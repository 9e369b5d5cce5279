"""Writing files so that a kill or a full disk leaves the former content or the new one, never half of it.

Imports: the standard library, `errors`.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from paretokit.errors import StoreError


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn an `OSError` inside the block (full disk, no permission) into a `StoreError` that names the path."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written: {error.strerror or error}. What was there before is unchanged. "
            "Free space or permissions, or choose another folder with --store."
        ) from error


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary file beside `path`, then put it in the place of `path` in one move."""
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            write(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write one JSON object, indented, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_lines(path: Path, values: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines, whole or not at all."""
    write_text(path, "".join(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n" for value in values))


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """Append one JSON line and hand it to the operating system; a torn last line, which a kill leaves, is cut off first."""
    line = (json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n").encode()
    with storing(path), path.open("ab+") as handle:
        if (size := handle.tell()) and (handle.seek(size - 1), handle.read(1))[1] != b"\n":
            handle.truncate(path.read_bytes().rfind(b"\n") + 1)
        handle.write(line)


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; raises `StoreError` naming the file where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: found no readable JSON ({error}). Delete the run folder and run it again.") from error
    if not isinstance(value, dict):
        raise StoreError(f"{path}: found a JSON {type(value).__name__}, expected an object. Delete the run folder.")
    return value


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the JSON lines of a file, [] where it does not exist; a torn last line is left out, any other is an error."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    values = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            values.append(json.loads(line))
        except ValueError as error:
            raise StoreError(
                f"{path}, line {number}: found broken JSON ({error}). Delete the run folder, or that line of a journal."
            ) from error
    return values
