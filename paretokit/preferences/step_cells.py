"""Step labels in tables: what a cell spells as text that is none, read.

Imports: the standard library, `errors`, `prompts`, and `files` of this floor.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from paretokit.errors import DataError
from paretokit.preferences.files import Record, parse_json
from paretokit.prompts import describe

__all__ = ["from_text"]

_PLAIN = {"is_quality_control_question", "is_initial_screening_question", "final_answer_correct", "label"}
"""Fields of public forms that hold a number, true or false where they hold no list, object or long text."""


def from_text(row: Record) -> Record:
    """Return the record with what a cell of a table spells as text read: lists and objects as JSON, numbers, true and false."""
    fields = dict(row.fields)
    for name in _PLAIN & set(fields):
        if isinstance(value := fields[name], str) and re.fullmatch(r"-?[0-9]+|true|false", value.strip().lower()):
            fields[name] = json.loads(value.strip().lower())
    for name in ("steps", "kind", "completions", "response_steps", "step_value", "labels", "question", "label"):
        value = fields.get(name)
        if isinstance(value, str) and value.lstrip()[:1] in ("[", "{") and name not in _texts_of(fields):
            fields[name] = _json(value, place=f"{row.place}, field {name!r}")
    return Record(row.place, fields)


def _json(text: str, *, place: str) -> Any:
    try:
        return parse_json(text, place=place)
    except DataError:
        raise DataError(
            f"{place}: found the text {describe(text)}, expected a list or an object, or one spelled as JSON (not as Python "
            "prints it)."
        ) from None


def _texts_of(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields that hold text in the form at hand, and so may begin with a bracket."""
    if "response_steps" in fields:
        return ("question",)
    return ("label",) if "input" in fields else ()
