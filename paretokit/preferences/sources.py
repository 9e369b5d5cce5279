"""Any source of records, read into a name and a list of records: a file, a table in memory, or a list of dicts.

Imports: the standard library, `errors`, `prompts`, and `files` of this floor.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from paretokit.errors import DataError
from paretokit.preferences.files import SUFFIXES, Faults, Record, from_cells, read_records, record
from paretokit.prompts import describe

__all__ = ["Source", "read_source"]


class Source(NamedTuple):
    """What a source is called in messages, and the records it holds."""

    name: str
    records: list[Record]


def read_source(source: Any, *, faults: Faults, others: Sequence[str] = ()) -> Source:
    """Return the name and the records of a source: a path to a file, a DataFrame, or a list of dicts.

    Values are plain: dicts, lists, text, numbers and None, whatever NumPy or pandas made of them. A record that cannot be
    read goes to `faults`. `others` says what else the caller reads, for the message where the source is nothing known.
    Raises `DataError` for a source that cannot be read as a whole; no records are no error here.

    >>> name, records = read_source([{"prompt": "Hi"}], faults=Faults(skip=False))
    >>> name, records[0].place, records[0].fields
    ('list', 'list, row 0', {'prompt': 'Hi'})
    """
    if isinstance(source, (str, os.PathLike)):
        return Source(str(source), read_records(_path(source, others=others), faults=faults))
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        return Source("DataFrame", _rows("DataFrame", source.to_dict("records"), faults=faults, cells=True))
    if isinstance(source, Sequence) and not isinstance(source, (bytes, bytearray)):
        return Source("list", _rows("list", source, faults=faults, cells=False))
    raise DataError(
        f"source: found {type(source).__name__}, expected {_either(['a path', 'a DataFrame', 'a list of dicts', *others])}."
    )


def _path(source: str | os.PathLike[str], *, others: Sequence[str]) -> Path:
    path = Path(source)
    try:
        known = path.exists() or path.suffix.lower() in SUFFIXES
    except OSError:  # a name that no file can have
        known = False
    if not known:
        expected = _either([f"a path ({', '.join(SUFFIXES)})", *others])
        raise DataError(
            f"source: found {describe(str(source))}, which is no file; expected {expected}. "
            "Public data sets are not fetched: save one as a file first."
        )
    return path


def _either(names: Sequence[str]) -> str:
    """Return "a, b or c"."""
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _rows(name: str, rows: Sequence[Any], *, faults: Faults, cells: bool) -> list[Record]:
    records = []
    for index, row in enumerate(rows):
        with faults.tolerated():
            found = record(f"{name}, row {index}", dict(row) if isinstance(row, Mapping) else row)
            records.append(from_cells(found) if cells else found)
    return records
