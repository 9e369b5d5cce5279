"""Files as records: JSON, CSV and Parquet, each record with the place to name when it cannot be used.

Imports: the standard library, `errors`, `prompts`, and `cells` and `tables` of this floor; pyarrow on use.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from paretokit.errors import DataError
from paretokit.preferences.cells import parse_json, plain, read_cells
from paretokit.preferences.tables import arrow_rows
from paretokit.prompts import describe

__all__ = ["FILE_TYPES", "SUFFIXES", "Faults", "Record", "file_type", "from_cells", "read_records", "record"]

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")
FILE_TYPES = ".jsonl, .ndjson, .json, .csv, each also as .gz, or .parquet"
_GZIP = b"\x1f\x8b"


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
    return Record(place, plain(value))


def from_cells(row: Record) -> Record:
    """Return the record of a table row with its text cells read, see `cells.read_cells`."""
    return Record(row.place, read_cells(row.fields, place=row.place))


def file_type(path: Path) -> str:
    """Return the suffix of a data file that says how to read it, "" where it is none of `SUFFIXES`; `.gz` is left out.

    >>> file_type(Path("pairs.JSONL.gz")), file_type(Path("pairs.txt"))
    ('.jsonl', '')
    """
    name = path.name.lower()
    suffix = Path(name.removesuffix(".gz")).suffix
    return suffix if suffix in SUFFIXES else ""


def read_records(path: Path, *, faults: Faults, limit: int | None = None) -> list[Record]:
    """Return the records of a file, at most the first `limit`, read by its suffix.

    Raises `DataError` for a file that cannot be read as a whole.
    """
    if path.is_dir():
        raise DataError(f"{path}: found a folder, expected a file ({FILE_TYPES}).")
    kind = file_type(path)
    packed = path.name.lower().endswith(".gz")
    if not kind or (packed and kind == ".parquet"):
        found = "".join(path.suffixes[-2:]) if packed else path.suffix
        raise DataError(f"{path}: found the file type {found!r}, expected one of {FILE_TYPES}; convert it.")
    if not path.exists():
        raise DataError(f"{path}: there is no such file (looked in {path.absolute().parent}); check the path.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the file and its permissions.") from None
    if packed:
        data = _unpacked(path, data)
    elif data[:2] == _GZIP:
        raise DataError(f"{path}: found compressed bytes, expected {kind}; end its name in {kind}.gz, or unpack it.")
    if kind == ".parquet":
        return _parquet(path, data, faults=faults, limit=limit)
    text = _text(path, data)
    if kind == ".csv":
        return _csv(path, text, faults=faults, limit=limit)
    start = text.lstrip()[:1]
    if start == "[" or (start == "{" and kind == ".json"):
        return _json(path, text, faults=faults, limit=limit)
    return _jsonl(path, text, faults=faults, limit=limit)


def _unpacked(path: Path, data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: broken gzip ({' '.join(str(error).split())}); pack the file again.") from None


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: found byte 0x{data[error.start]:02x} at offset {error.start}, which is not UTF-8; "
            "save the file as UTF-8."
        ) from None


def _jsonl(path: Path, text: str, *, faults: Faults, limit: int | None) -> list[Record]:
    records = []
    # not splitlines: U+2028 may stand inside a string
    lines = ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())
    for number, line in islice(lines, limit):
        with faults.tolerated():
            place = f"{path}, line {number}"
            records.append(record(place, parse_json(line, place=place)))
    return records


def _json(path: Path, text: str, *, faults: Faults, limit: int | None) -> list[Record]:
    """Return the records of a list of objects; a file with an object on each line is JSONL, whatever it is called."""
    if text.lstrip().startswith("{"):
        _refuse_one_object(path, text)
        return _jsonl(path, text, faults=faults, limit=limit)
    rows = parse_json(text, place=str(path), expected="a list of objects")
    records = []
    for index, row in enumerate(islice(rows, limit)):
        with faults.tolerated():
            records.append(record(f"{path}, item {index}", row))
    return records


def _refuse_one_object(path: Path, text: str) -> None:
    """Raise `DataError` for a file that is one object around its records, or one object with a list for each column."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):  # several objects, or none
        return
    if "\n" in text.strip() or all(isinstance(part, (dict, list)) for part in whole.values()):
        raise DataError(
            f"{path}: found one object with the fields {_names(whole)}, expected a list of objects or one object on each line. "
            "Save the records as a list (in pandas: orient='records')."
        )


def _names(fields: Any) -> str:
    return describe(", ".join(map(str, fields)))[1:-1]


def _csv(path: Path, text: str, *, faults: Faults, limit: int | None) -> list[Record]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    limit_before = csv.field_size_limit(max(len(text), csv.field_size_limit()))  # no text is too long to be read
    try:
        rows = []
        start = 1  # a quoted text may run over several lines: name the first
        for cells in reader:
            if cells:
                rows.append((start, cells))
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}, line {start}: broken CSV ({error}); quote the texts, or use JSONL.") from None
    finally:
        csv.field_size_limit(limit_before)
    if not rows:
        return []
    (_, header), *rest = rows
    if len(header) == 1 and (sign := next((sign for sign in ";\t|" if sign in header[0]), "")):
        raise DataError(f"{path}, line 1: found columns parted by {sign!r}, expected commas; save the file with commas.")
    index = header[0] == ""  # a first column without a name is the index that pandas writes
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise DataError(f"{path}, line 1: found the column {twice!r} twice, expected each once; rename one.")
    records = []
    for start, cells in islice(rest, limit):
        with faults.tolerated():
            place = f"{path}, line {start}"
            if len(cells) != len(header):
                raise DataError(f"{place}: found {len(cells)} cells, expected {len(header)} as in the header.")
            records.append(from_cells(Record(place, dict(zip(header[index:], cells[index:], strict=True)))))
    return records


def _parquet(path: Path, data: bytes, *, faults: Faults, limit: int | None) -> list[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: broken Parquet ({reason}); write the file again.") from None
    records = []
    for number, row in enumerate(arrow_rows(table, name=str(path), limit=limit), start=1):
        with faults.tolerated():
            records.append(from_cells(record(f"{path}, row {number}", row)))
    return records
