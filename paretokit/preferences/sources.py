"""Any source of records, read into a name and a list of records: a file, the hub, a table in memory, or a list of dicts.

Imports: the standard library, `errors`, `prompts`, and `files`, `hub`, `tables` of this floor.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from paretokit.errors import ConfigError, DataError
from paretokit.preferences.files import FILE_TYPES, Faults, Record, file_type, from_cells, read_records, record
from paretokit.preferences.hub import PREFIX, open_hub
from paretokit.preferences.tables import open_table
from paretokit.prompts import describe

__all__ = ["Source", "read_source"]


class Source(NamedTuple):
    """What a source is called in messages, and the records it holds."""

    name: str
    records: list[Record]


def read_source(
    source: Any, *, faults: Faults, limit: int | None = None, place: str = "source", others: Sequence[str] = ()
) -> Source:
    """Return the name and the records of a source, at most the first `limit`.

    A source is a path to a file (see `files`), `"hub:OWNER/NAME"` (see `hub`), a table in memory (see `tables`), or a list of
    dicts. Values are plain: dicts, lists, text, numbers and None, whatever NumPy, pandas or Arrow made of them; in tables and
    CSV, text cells that spell chat messages or `labels` are read, see `cells`. A record that cannot be read goes to `faults`.
    `place` names the argument and `others` says what else the caller reads, for the message where the source is nothing known.

    Raises `ConfigError` for a limit below 1, and `DataError` for a source that cannot be read as a whole; no records are no
    error here.

    >>> name, records = read_source([{"prompt": "Hi"}, {"prompt": "Bye"}], limit=1, faults=Faults(skip=False))
    >>> name, [record.place for record in records], records[0].fields
    ('list', ['list, row 0'], {'prompt': 'Hi'})
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ConfigError(f"limit: found {describe(limit)}, expected a whole number of at least 1.")
    if isinstance(source, str) and source.startswith(PREFIX):
        name, rows = open_hub(source, limit=limit)
        return Source(name, _records(name, rows, faults=faults, cells=True))
    if isinstance(source, (str, os.PathLike)):
        return Source(str(source), read_records(_path(source, place=place, others=others), faults=faults, limit=limit))
    if (table := open_table(source, limit=limit)) is not None:
        return Source(table.name, _records(table.name, table.rows, faults=faults, cells=True))
    if isinstance(source, Sequence) and not isinstance(source, (bytes, bytearray)):
        return Source("list", _records("list", islice(source, limit), faults=faults, cells=False))
    known = ["a path", "'hub:OWNER/NAME'", "a DataFrame or another table", "a list of dicts", *others]
    raise DataError(f"{place}: found {type(source).__name__}, expected {_either(known)}.")


def _path(source: str | os.PathLike[str], *, place: str, others: Sequence[str]) -> Path:
    path = Path(source)
    try:
        known = path.exists() or file_type(path) != ""
    except (OSError, ValueError):  # a name that no file can have
        known = False
    if not known:
        expected = _either([f"a path ({FILE_TYPES})", "'hub:OWNER/NAME'", *others])
        hint = f" A data set of the hub is read with {PREFIX + str(source)!r}." if str(source).count("/") == 1 else ""
        raise DataError(f"{place}: found {describe(str(source))}, which is no file; expected {expected}.{hint}")
    return path


def _either(names: Sequence[str]) -> str:
    """Return "a, b or c"."""
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _records(name: str, rows: Iterable[Any], *, faults: Faults, cells: bool) -> list[Record]:
    records = []
    for index, row in enumerate(rows):
        with faults.tolerated():
            found = record(f"{name}, row {index}", dict(row) if isinstance(row, Mapping) else row)
            records.append(from_cells(found) if cells else found)
    return records
