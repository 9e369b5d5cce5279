"""Files as records: JSONL, CSV and Parquet, each record with the place to name when it cannot be used.

Imports: the standard library, `errors`, `prompts`; pyarrow on use.
"""

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from paretokit.errors import DataError
from paretokit.prompts import describe

__all__ = ["SUFFIXES", "Faults", "Record", "from_cells", "parse_json", "read_records", "record"]

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")


class Record(NamedTuple):
    """The fields of one record and the place it came from, such as "pairs.jsonl, line 3"."""

    place: str
    fields: dict[str, Any]

    def get(self, name: str) -> Any:
        """Return a field; `DataError` where it is missing, naming the fields that were found."""
        if name not in self.fields:
            found = ", ".join(map(str, self.fields)) or "none"
            raise DataError(f"{self.place}, field {name!r}: missing; found the fields {found}.")
        return self.fields[name]


class Faults:
    """What to do with a record that cannot be used: raise its error, or keep its message and go on."""

    def __init__(
        self, *, skip: bool, remedy: str = "Correct the record, or leave such records out with on_error='skip'."
    ) -> None:
        self.skip = skip
        self.remedy = remedy
        self.messages: list[str] = []

    @contextmanager
    def tolerated(self) -> Iterator[None]:
        """Run a block for one record; an error in it is raised with the remedy added, or listed."""
        try:
            yield
        except DataError as error:
            if not self.skip:
                raise DataError(f"{error} {self.remedy}") from None
            self.messages.append(str(error))


def record(place: str, value: Any) -> Record:
    """Return a record with what NumPy and pandas put into it turned into plain values, a missing value into None."""
    if not isinstance(value, dict):
        raise DataError(f"{place}: found {describe(value)}, expected an object with fields such as 'prompt'.")
    return Record(place, _plain(value))


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if hasattr(value, "tolist"):  # NumPy arrays and scalars
        return _plain(value.tolist())
    if isinstance(value, float):
        return None if math.isnan(value) else value
    return None if type(value).__name__ in ("NAType", "NaTType") else value


def read_records(path: Path, *, faults: Faults) -> list[Record]:
    """Return the records of a file, read by its suffix. `DataError` for a file that cannot be read as a whole."""
    if path.is_dir():
        raise DataError(f"{path}: found a folder, expected a file ({', '.join(SUFFIXES)}).")
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: found the file type {path.suffix!r}, expected one of {', '.join(SUFFIXES)}; convert it.")
    if not path.exists():
        raise DataError(f"{path}: there is no such file (looked in {path.absolute().parent}); check the path.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the file and its permissions.") from None
    if path.suffix.lower() == ".parquet":
        return _parquet(path, data, faults=faults)
    if path.suffix.lower() == ".csv":
        return _csv(path, _text(path, data), faults=faults)
    return _jsonl(path, _text(path, data), faults=faults)


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: found byte 0x{data[error.start]:02x} at offset {error.start}, which is not UTF-8; "
            "save the file as UTF-8."
        ) from None


def _jsonl(path: Path, text: str, *, faults: Faults) -> list[Record]:
    records = []
    for number, line in enumerate(text.split("\n"), start=1):  # not splitlines: U+2028 may stand inside a string
        if line.strip():
            with faults.tolerated():
                place = f"{path}, line {number}"
                records.append(record(place, parse_json(line, place=place)))
    return records


def parse_json(text: str, *, place: str) -> Any:
    """Return the value of a JSON text. `DataError` for broken JSON and for a key that stands twice in an object."""

    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise DataError(f"{place}: found the key {twice!r} twice in one object, expected each once.")
        return fields

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise DataError(f"{place}: broken JSON at column {error.colno} ({error.msg}), expected one complete object.") from None
    except DataError:
        raise
    except ValueError:  # Python converts no integer of more than 4300 digits
        raise DataError(f"{place}: broken JSON (a number of too many digits), expected one complete object.") from None
    except RecursionError:
        raise DataError(f"{place}: broken JSON (nested too deeply), expected one complete object.") from None


def _csv(path: Path, text: str, *, faults: Faults) -> list[Record]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = []
        start = 1  # a quoted text may run over several lines: name the first
        for cells in reader:
            if cells:
                rows.append((start, cells))
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}, line {start}: broken CSV ({error}); quote the texts, or use JSONL.") from None
    if not rows:
        return []
    (_, header), *rest = rows
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise DataError(f"{path}, line 1: found the column {twice!r} twice, expected each once; rename one.")
    records = []
    for start, cells in rest:
        with faults.tolerated():
            place = f"{path}, line {start}"
            if len(cells) != len(header):
                raise DataError(f"{place}: found {len(cells)} cells, expected {len(header)} as in the header.")
            records.append(from_cells(Record(place, dict(zip(header, cells, strict=True)))))
    return records


def from_cells(row: Record) -> Record:
    """Return the record of a table row with its text cells read: chats and `labels` as JSON, "" labels as null."""
    fields = dict(row.fields)
    for name in ("prompt", "chosen", "rejected"):
        if isinstance(cell := fields.get(name), str):
            fields[name] = _chat_or_text(cell)
    if isinstance(cell := fields.get("labels"), str):
        fields["labels"] = parse_json(cell, place=f"{row.place}, field 'labels'")
    return Record(row.place, fields)


def _chat_or_text(cell: str) -> Any:
    """Return the chat that a cell spells as JSON, else the cell: a list of objects with a role is no raw prompt."""
    if not cell.lstrip().startswith("["):
        return cell
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    chat = isinstance(value, list) and value and all(isinstance(item, dict) and "role" in item for item in value)
    return value if chat else cell


def _parquet(path: Path, data: bytes, *, faults: Faults) -> list[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: broken Parquet ({reason}); write the file again.") from None
    records = []
    for number, row in enumerate(table.to_pylist(maps_as_pydicts="strict"), start=1):
        with faults.tolerated():
            records.append(from_cells(record(f"{path}, row {number}", row)))
    return records
