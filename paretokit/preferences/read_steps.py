"""`read_step_labels`: a file of step labels, read into one value or one clear error.

Imports: `errors`, `prompts`, and `files`, `step_labels` of this floor.
"""

import os
from pathlib import Path
from typing import Any

from paretokit.errors import DataError
from paretokit.preferences.files import Faults, Record, read_records
from paretokit.preferences.step_labels import StepLabels, check_kind, checked_labels, checked_steps
from paretokit.prompts import as_prompt, describe

__all__ = ["read_step_labels"]

_SUFFIXES = (".jsonl", ".ndjson", ".json")


def read_step_labels(path: str | os.PathLike[str]) -> StepLabels:
    """Return the step labels in a JSONL file: one object per line with `prompt`, `steps`, `labels` and `kind`.

    `labels` holds, by objective, a number or null for each step; `kind` holds "value" or "class" for each objective that
    `labels` names, the same in every line. Objectives are ordered by first appearance. Raises `DataError` for the first
    record that cannot be used, naming file, line and field. `experiments.step_files.write_step_labels` writes such a file.
    """
    source = Path(path)
    if source.suffix.lower() not in _SUFFIXES:
        raise DataError(
            f"{source}: found the file type {source.suffix!r}, expected {', '.join(_SUFFIXES)}; convert it to JSONL."
        )
    faults = Faults(skip=False, remedy="Correct the record, or remove the line.")
    rows = read_records(source, faults=faults)
    if not rows:
        raise DataError(f"{source}: found no records, expected at least one.")
    kinds: dict[str, str] = {}
    for row in rows:
        with faults.tolerated():
            _add_kinds(row, kinds)
    prompts, steps, labels = [], [], []
    for row in rows:
        with faults.tolerated():
            prompts.append(as_prompt(row.get("prompt"), place=f"{row.place}, field 'prompt'"))
            steps.append(checked_steps(row.get("steps"), place=f"{row.place}, field 'steps'"))
            place = f"{row.place}, field 'labels'"
            labels.append(checked_labels(_object(row, "labels"), kinds, count=len(steps[-1]), place=place))
    return StepLabels(kinds=kinds, prompts=prompts, steps=steps, labels=labels, source=str(source))


def _add_kinds(row: Record, kinds: dict[str, str]) -> None:
    """Add the kinds of a record to those known; a record may neither lack one it has labels for nor contradict another."""
    stated = _object(row, "kind")
    for name in _object(row, "labels"):
        if name not in stated:
            raise DataError(f"{row.place}, field 'kind': found none for the objective {name!r}, expected 'value' or 'class'.")
    for name, kind in stated.items():
        check_kind(kind, place=f"{row.place}, field 'kind', objective {name!r}")
        if kinds.setdefault(name, kind) != kind:
            raise DataError(
                f"{row.place}, field 'kind', objective {name!r}: found {kind!r}, and {kinds[name]!r} in a record before; "
                "expected one kind for each objective."
            )


def _object(row: Record, name: str) -> dict[str, Any]:
    value = row.get(name)
    if not isinstance(value, dict):
        raise DataError(f"{row.place}, field {name!r}: found {describe(value)}, expected an object with a key per objective.")
    return value
