"""The values of public records, checked: verdicts, booleans, ratings, nested cells; each error names field, found, expected.

Imports: the standard library, `errors`, `prompts`, and `cells`, `dialogues`, `files` of this floor and `recipe`.
"""

import math
from collections.abc import Collection
from typing import Any

from paretokit.errors import DataError
from paretokit.preferences.cells import number as spelled
from paretokit.preferences.dialogues import literal
from paretokit.preferences.files import Record
from paretokit.preferences.recipes.recipe import Asked, Option
from paretokit.prompts import Message, Prompt, as_text, describe

__all__ = [
    "CHAT",
    "boolean",
    "either",
    "integer",
    "nested",
    "number",
    "one_of",
    "place_of",
    "prompt",
    "question",
    "rating",
    "text",
]

CHAT = Option(True, "the prompt is a user's message, for the chat template; false: raw text")


def place_of(row: Record, name: str) -> str:
    """Return how an error names a field: "pairs.jsonl, line 3, field 'choice'"."""
    return f"{row.place}, field {name!r}"


def text(row: Record, name: str) -> str:
    """Return a text field; `DataError` for anything else."""
    return as_text(row.get(name), place=place_of(row, name))


def question(words: str) -> tuple[Message, ...]:
    """Return a chat prompt of one user message.

    >>> question("Why?")
    ({'role': 'user', 'content': 'Why?'},)
    """
    return (Message(role="user", content=words),)


def prompt(row: Record, name: str, asked: Asked) -> Prompt:
    """Return the question in a text field: a user's message, or raw text with the option chat=False."""
    words = text(row, name)
    return question(words) if asked.options["chat"] else words


def number(value: Any, *, place: str) -> float:
    """Return a finite number, also where a CSV cell spells it; `DataError` for anything else."""
    found = _spelled_number(value)
    if found is not None:
        return found
    raise DataError(f"{place}: found {describe(value)}, expected a finite number.")


def integer(value: Any, *, place: str, expected: Collection[int]) -> int:
    """Return a whole number out of a known set, also where a table holds it as 1.0 or a CSV cell as "1".

    Raises `DataError`, with the values expected, for anything else; true and false are not numbers here.

    >>> integer("1", place="x.csv, line 2, field 'choice'", expected=(0, 1))
    1
    >>> integer(2, place="x.jsonl, line 2, field 'choice'", expected=(0, 1))
    Traceback (most recent call last):
    paretokit.errors.DataError: x.jsonl, line 2, field 'choice': found 2, expected 0 or 1.
    """
    found = _spelled_number(value)
    if found is not None and found in expected:
        return int(found)
    raise DataError(f"{place}: found {describe(value)}, expected {either(expected)}.")


def rating(value: Any, *, place: str, expected: Collection[int]) -> float | None:
    """Return a rating out of a known set of whole numbers, None for a missing one; `DataError` as `integer`.

    >>> rating("4", place="...", expected=range(1, 6)), rating(None, place="...", expected=range(1, 6))
    (4.0, None)
    """
    return None if value is None or value == "" else float(integer(value, place=place, expected=expected))


def one_of(value: Any, *, place: str, expected: Collection[str]) -> str:
    """Return a text out of a known set; `DataError`, with the values expected, for anything else."""
    if isinstance(value, str) and value in expected:
        return value
    raise DataError(f"{place}: found {describe(value)}, expected {either(expected)}.")


def boolean(value: Any, *, place: str) -> bool:
    """Return true or false, also where a CSV cell spells them; `DataError` for anything else.

    >>> boolean("True", place="x.csv, line 2, field 'is_safe'")
    True
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise DataError(f"{place}: found {describe(value)}, expected true or false.")


def nested(value: Any, kind: type, *, place: str) -> Any:
    """Return a list or an object, also where a table cell spells it as JSON or as Python; `DataError` for anything else.

    >>> nested("[{'rank': 1}]", list, place="x.csv, line 2, field 'answers'")
    [{'rank': 1}]
    """
    found = value
    if isinstance(found, str):
        found = literal(found)
    if isinstance(found, kind):
        return found
    raise DataError(f"{place}: found {describe(value)}, expected {'a list' if kind is list else 'an object'}.")


def either(expected: Collection[Any]) -> str:
    """Return the values of a set for a message: "0, 1 or 2", and "-3 to 3" for a longer run of numbers."""
    values = list(expected)
    if len(values) > 3 and values == list(range(values[0], values[-1] + 1)):
        return f"a whole number from {values[0]} to {values[-1]}"
    *first, last = map(describe, values)
    return f"{', '.join(first)} or {last}" if first else last


def _spelled_number(value: Any) -> float | None:
    """Return the finite number that a value is, or that a cell spells; None for anything else."""
    found = spelled(value)
    try:
        fine = isinstance(found, (int, float)) and not isinstance(found, bool) and math.isfinite(found)
    except OverflowError:  # an integer that no float holds
        fine = False
    return float(found) if fine else None
