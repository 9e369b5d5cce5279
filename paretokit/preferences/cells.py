"""Values as files and tables hold them, made plain: JSON text, what NumPy, pandas and Arrow use for numbers, text cells.

Imports: the standard library, `errors`, and `dialogues` of this floor.
"""

import json
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from paretokit.errors import DataError
from paretokit.preferences.dialogues import literal, spelled_chat

__all__ = ["TEXTS", "number", "parse_json", "plain", "read_cells"]

TEXTS = ("prompt", "chosen", "rejected", "response_a", "response_b", "response")  # text, or a list of messages
_MISSING = ("nan", "NaN", "<NA>", "NaT")  # how NumPy and pandas write a value that is missing


def parse_json(text: str, *, place: str, expected: str = "one complete object") -> Any:
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
        where = f"column {error.colno}" if error.doc.find("\n", 0, -1) < 0 else f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{place}: broken JSON at {where} ({error.msg}), expected {expected}.") from None
    except DataError:
        raise
    except ValueError:  # Python converts no integer of more than 4300 digits
        raise DataError(f"{place}: broken JSON (a number of too many digits), expected {expected}.") from None
    except RecursionError:
        raise DataError(f"{place}: broken JSON (nested too deeply), expected {expected}.") from None


def plain(value: Any) -> Any:
    """Return a value as JSON knows it: NumPy's, pandas' and Arrow's numbers and lists as Python's, a missing value as None.

    Anything else, such as a date, is left as it is.

    >>> plain({"x": Decimal("1"), "y": (math.nan, 0.5)})
    {'x': 1, 'y': [None, 0.5]}
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if hasattr(value, "tolist"):  # NumPy arrays and scalars
        return plain(value.tolist())
    if isinstance(value, Decimal):
        if not value.is_finite():
            return None if value.is_nan() else float(value)
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return None if math.isnan(value) else value
    return None if type(value).__name__ in ("NAType", "NaTType") else value


def number(cell: Any) -> Any:
    """Return the number that a text cell spells, None for an empty one, anything else as it is.

    >>> number("0.5"), number(" "), number("much"), number(2)
    (0.5, None, 'much', 2)
    """
    if not isinstance(cell, str):
        return cell
    if not cell.strip():
        return None
    try:
        value = float(cell)
    except ValueError:
        return cell
    return None if math.isnan(value) else value


def read_cells(fields: Mapping[str, Any], *, place: str) -> dict[str, Any]:
    """Return the fields of a table row with its text cells read: chat messages, and `labels`.

    Both may be JSON or what Python's `str` makes of lists and dicts, see `dialogues.spelled_chat`. Raises `DataError`
    naming `place` and the field for messages or labels that cannot be read, and for a text that is only how pandas writes a
    missing value.

    >>> read_cells({"prompt": '[{"role": "user", "content": "Hi"}]', "labels": '{"kind": 1}'}, place="row 1")
    {'prompt': [{'role': 'user', 'content': 'Hi'}], 'labels': {'kind': 1}}
    """
    read = dict(fields)
    for name in TEXTS:
        cell = read.get(name)
        if not isinstance(cell, str):
            continue
        if cell in _MISSING:
            raise DataError(
                f"{place}, field {name!r}: found the text {cell!r}, which is how a missing value is written; expected text. "
                "Leave the row out, or use JSONL if the text is meant."
            )
        chat = spelled_chat(cell, place=f"{place}, field {name!r}")
        read[name] = cell if chat is None else chat
    if isinstance(cell := read.get("labels"), str):
        value = literal(cell) if cell.startswith("{'") else None  # what str makes of a dict
        read["labels"] = value if isinstance(value, dict) else parse_json(cell, place=f"{place}, field 'labels'")
    return read
