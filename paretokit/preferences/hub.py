"""Data sets of the Hugging Face hub, read as a stream by `datasets`: what `"hub:OWNER/NAME"` means.

Imports: the standard library, `errors`, and `tables` of this floor; datasets on use.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl

from paretokit.errors import ConfigError, DataError, DependencyError, suggestion
from paretokit.preferences.tables import Table, one_split, open_table
from paretokit.prompts import describe

__all__ = ["PREFIX", "open_hub"]

PREFIX = "hub:"
_OPTIONS = {"split": "split", "config": "name", "folder": "data_dir", "revision": "revision"}  # ours: what `datasets` calls it
_FORM = "hub:OWNER/NAME, with ?split=, config=, folder= or revision= joined by '&'"


def open_hub(source: str, *, limit: int | None = None) -> Table:
    """Return the rows of a data set of the hub, at most the first `limit`, as they arrive.

    `source` is `hub:OWNER/NAME`, after which `?` may say which part is meant: `split` (needed where there are several),
    `config`, `folder` (a folder of the repository, `data_dir` in `datasets`) and `revision` (a branch, tag or commit), joined
    by `&`. Only data files are read: `datasets` from version 4 on runs no code of a data set. As in `datasets`, a folder
    OWNER/NAME in the current folder is read in place of the hub, and `HF_HUB_OFFLINE` forbids the network.

    Raises `ConfigError` for an option that is unknown, `DependencyError` without `datasets`, and `DataError` for a name of
    another form, for several splits, and for everything that `datasets` cannot read, with what it says.
    """
    name, options = _parse(source)
    try:
        import datasets
    except ImportError:
        raise DependencyError(f"{source}: needs datasets. Install it with: pip install 'paretokit[hub]'") from None
    arguments: dict[str, Any] = {_OPTIONS[key]: value for key, value in options.items()}
    with_split = "&" if options else "?"
    try:
        found = datasets.load_dataset(name, streaming=True, **arguments)
    except Exception as error:  # the network, the hub, a builder of `datasets`: each has its own kinds
        raise DataError(f"{source}: cannot be read from the hub ({_reason(error)}); check name and options.") from None
    if isinstance(found, Mapping):
        found = one_split(found, remedy=f"name it in the source, for example {source}{with_split}split={{split}}")
    table = open_table(found, limit=limit)
    if table is None:
        raise DataError(f"{source}: found {type(found).__name__}, expected a data set.")
    return Table(source, _guarded(islice(table.rows, limit), source=source))


def _parse(source: str) -> tuple[str, dict[str, str]]:
    name, _, query = source.removeprefix(PREFIX).partition("?")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or ".." in name:
        raise DataError(f"source: found {describe(source)}, expected {_FORM}.")
    try:
        pairs = parse_qsl(query, strict_parsing=True) if query else []
    except ValueError:
        raise DataError(f"source: found {describe(source)}, expected {_FORM}.") from None
    options = dict(pairs)
    if len(options) < len(pairs):
        raise ConfigError(f"{source}: found an option twice, expected each once.")
    for key in options:
        if key not in _OPTIONS:
            raise ConfigError(
                f"{source}: found the option {key!r}, expected some of {', '.join(_OPTIONS)}.{suggestion(key, _OPTIONS)}"
            )
    return name, options


def _guarded(rows: Iterator[Any], *, source: str) -> Iterator[Any]:
    """Yield the rows; `DataError` where they stop arriving."""
    count = 0
    try:
        for row in rows:
            yield row
            count += 1
    except GeneratorExit:
        raise
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{source}: stopped after {count} rows ({_reason(error)}); read it again.") from None


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."
