"""Tables in memory as rows of Python values: pandas, polars, Arrow, and the data sets of `datasets`.

None of these is imported to tell what a source is: the module of its class says so. Imports: the standard library, `errors`,
`prompts`, and `cells` of this floor; pyarrow on use.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from paretokit.errors import DataError
from paretokit.preferences.cells import TEXTS
from paretokit.prompts import describe

__all__ = ["Table", "arrow_rows", "is_table", "one_split", "open_table"]

_BATCH = 1000  # rows that are turned into Python values at a time
_INDEX = re.compile(r"__index_level_\d+__")  # what pandas calls its index in Parquet
_MEDIA = ("Image", "Audio", "Video", "Pdf", "Nifti", "Mesh")  # features of `datasets` that no text model reads


class Table(NamedTuple):
    """What a table is called in messages, and its rows."""

    name: str
    rows: Iterable[Any]


def open_table(source: Any, *, limit: int | None = None) -> Table | None:
    """Return a table's name and its rows, at most the first `limit`; None where the source is no table.

    Tables are a pandas DataFrame (and what has its `to_dict` and `columns`), a polars DataFrame or LazyFrame, everything that
    Arrow can read (`pyarrow.Table`, `RecordBatch`, `dataset.Dataset`, objects with `__arrow_c_stream__`), and a `Dataset` or
    `IterableDataset` of `datasets`, also alone in a `DatasetDict`. An index of pandas is not read. Raises `DataError` for
    columns that are called alike or not by a text, for several splits, and for columns of images or sound.
    """
    library = _library(source)
    if library == "datasets":
        return _dataset(source, limit=limit)
    if library == "polars":
        return _polars(source, limit=limit)
    if library == "pyarrow" or (library != "pandas" and hasattr(source, "__arrow_c_stream__")):
        return _arrow(source, limit=limit)
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        _check_columns(list(source.columns), name="DataFrame")
        _check_index(source)
        rows = source if limit is None else source.head(limit)
        return Table("DataFrame", rows.to_dict("records"))
    return None


def is_table(source: Any) -> bool:
    """Return whether the source is of a library of tables; a `DatasetDict` is, although it is a mapping.

    >>> is_table({"helpful": "a.jsonl"})
    False
    """
    return bool(_library(source))


def _library(source: Any) -> str:
    """Return which of the known libraries the source's class, or a class it derives from, belongs to; "" for none."""
    known = ("pandas", "polars", "pyarrow", "datasets")
    heads = (base.__module__.partition(".")[0] for base in type(source).__mro__)
    return next((head for head in heads if head in known), "")


def _check_columns(names: Sequence[Any], *, name: str) -> None:
    for column in names:
        if not isinstance(column, str):
            remedy = (
                "flatten them, for example with frame.columns = frame.columns.map('_'.join)"
                if isinstance(column, tuple)
                else "rename it"
            )
            raise DataError(
                f"{name}: found the column {describe(column)}, expected columns that are called by a text; {remedy}."
            )
        if names.count(column) > 1:
            raise DataError(f"{name}: found the column {column!r} twice, expected each once; rename one.")


def _check_index(frame: Any) -> None:
    """Raise `DataError` where the index of pandas holds a field of a record, since an index is not read."""
    for name in getattr(getattr(frame, "index", None), "names", ()):
        if name in (*TEXTS, "labels", "objective"):
            raise DataError(f"DataFrame: found {name!r} in the index, expected it as a column; call reset_index() first.")


def _polars(source: Any, *, limit: int | None) -> Table | None:
    frame = source.collect() if hasattr(source, "collect") else source
    if not hasattr(frame, "iter_rows") or not hasattr(frame, "columns"):  # a Series, an expression
        return None
    return Table("DataFrame", islice(frame.iter_rows(named=True), limit))


def _arrow(source: Any, *, limit: int | None) -> Table | None:
    import pyarrow as pa

    if hasattr(source, "to_table"):  # a pyarrow.dataset.Dataset: files that are read together
        source = source.to_table()
    if isinstance(source, pa.RecordBatch):
        source = pa.Table.from_batches([source])
    if not isinstance(source, pa.Table):
        if not hasattr(source, "__arrow_c_stream__"):
            return None
        try:
            source = pa.RecordBatchReader.from_stream(source).read_all()
        except (pa.ArrowException, TypeError) as error:  # a stream of something else than rows, such as one column
            reason = " ".join(str(error).split())
            raise DataError(f"source: found {type(source).__name__}, which is no table ({reason}); pass a table.") from None
    return Table("Table", arrow_rows(source, name="Table", limit=limit))


def arrow_rows(table: Any, *, name: str, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a `pyarrow.Table` as dicts, without the index that pandas left in it.

    Raises `DataError` naming the table for two columns that are called alike, and for values that Python has no form for.
    """
    import pyarrow as pa

    _check_columns(table.column_names, name=name)
    table = table.drop_columns([column for column in table.column_names if _INDEX.fullmatch(column)])
    seen = 0
    for batch in table.slice(0, limit).to_batches(max_chunksize=_BATCH):
        try:
            rows = batch.to_pylist(maps_as_pydicts="strict")
        except (KeyError, ValueError, OverflowError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"{name}, rows {seen + 1} to {seen + batch.num_rows}: found values that Python has no form for ({reason}); "
                "leave the column out."
            ) from None
        seen += batch.num_rows
        yield from rows


# --- datasets ------------------------------------------------------------------------------------------------------


def _dataset(source: Any, *, limit: int | None) -> Table | None:
    if isinstance(source, Mapping):
        source = one_split(source, remedy="pass one of them, for example source[{split!r}]")
    if not hasattr(source, "features"):
        return None
    name = type(source).__name__
    for column, feature in (source.features or {}).items():
        if kind := _media(feature):
            raise DataError(
                f"{name}: found the column {column!r} of {kind} values, which a text model does not see; expected text. "
                f"Take it out with remove_columns({column!r}) if the answers do not depend on it."
            )
    if not hasattr(source, "__len__"):  # an IterableDataset
        return Table(name, islice(source, limit))
    rows = source if limit is None else source.take(min(limit, len(source)))
    batches = rows.with_format("arrow").iter(batch_size=_BATCH)
    return Table(name, (row for batch in batches for row in arrow_rows(batch, name=name)))


def one_split(splits: Mapping[str, Any], *, remedy: str) -> Any:
    """Return the only split of a data set; `DataError` for several, naming them and the remedy with the first's name in it."""
    if len(splits) != 1:
        found = ", ".join(map(repr, splits)) or "none"
        first = next(iter(splits), "train")
        raise DataError(f"source: found the splits {found}, expected one; {remedy.format(split=first)}.")
    return next(iter(splits.values()))


def _media(feature: Any) -> str | None:
    """Return what kind of thing other than text a feature holds, however deep inside; None for text and numbers."""
    kind = type(feature).__name__
    if kind in _MEDIA:
        return kind
    if isinstance(feature, Mapping):
        parts: Iterable[Any] = feature.values()
    elif isinstance(feature, (list, tuple)):
        parts = feature
    else:
        parts = [inner] if (inner := getattr(feature, "feature", None)) is not None else []
    return next(filter(None, map(_media, parts)), None)
