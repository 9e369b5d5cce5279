"""`read_step_labels`: step labels from a file, a table or a list, in our own form or in a public one, or one clear error.

Imports: `errors`, `prompts`, and `files`, `joints`, `recipes`, `sources`, `step_labels` of this floor.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from paretokit.errors import ConfigError, DataError, suggestion
from paretokit.preferences.files import Faults, Record
from paretokit.preferences.joints import bare_joints, separated
from paretokit.preferences.recipes.reading import read_with
from paretokit.preferences.recipes.recipe import Recipe
from paretokit.preferences.recipes.registry import refuse_public
from paretokit.preferences.recipes.step_recipes import StepReading
from paretokit.preferences.sources import read_source
from paretokit.preferences.step_cells import from_text
from paretokit.preferences.step_labels import StepLabels, check_kind, checked_labels, checked_steps
from paretokit.prompts import Prompt, as_prompt, describe

__all__ = ["read_step_labels"]

_FIELDS = ("prompt", "steps", "labels", "kind")
_ON_ERROR = ("raise", "skip")


class _Response(NamedTuple):
    """A response that can be used, and where it was found."""

    place: str
    prompt: Prompt
    steps: tuple[str, ...]
    labels: Mapping[str, Sequence[float | None]]


def read_step_labels(
    source: Any, *, recipe: str | Recipe | None = None, separator: str | None = None, on_error: str = "raise"
) -> StepLabels:
    """Return the step labels that a source holds.

    `source` is a path to a file, a table in memory (a DataFrame, ...), or a list of dicts, as in `read_preferences`.

    Our own form has the fields `prompt`, `steps`, `labels` and `kind` in every record: `labels` holds, by objective, a number
    or null for each step; `kind` holds "value" or "class" for each objective that `labels` names, the same in every record.
    Objectives are ordered by first appearance. `experiments.step_files.write_step_labels` writes such a file. In tables and CSV
    files, lists and objects may be spelled as JSON text.

    `recipe` reads a public form, with the meaning that its authors gave it (`paretokit.recipes()`): "prm800k",
    "math-shepherd", "trl-stepwise", "processbench", "mahalo-value". Questions become chat prompts. What a recipe does not use
    is counted in `.left_out`. Without a recipe a public form is an error that names the recipe.

    The steps of a response, joined, are the text that a model reads. Where two of them meet without a blank or a line break, a
    warning says how many; `separator` (" ", "\\n", ...) is put there, see `joints.separated`, and with "" the steps are
    taken as they are, without a warning. Between steps that are parted already nothing is put.

    `on_error="raise"` raises `DataError` for the first record that cannot be used, naming place and field; `"skip"` leaves such
    records out and lists them in `.skipped`. Raises `ConfigError` for an unknown recipe.

    >>> rows = [{"prompt": "2 + 3?", "completions": ["Add.", "It is 6."], "labels": [True, False]}]
    >>> found = read_step_labels(rows, recipe="trl-stepwise", separator=" ")
    >>> found.steps, found.labels[0]["correctness"]
    ((('Add.', ' It is 6.'),), (1.0, 0.0))
    """
    if on_error not in _ON_ERROR:
        raise ConfigError(f"on_error: found {on_error!r}, expected 'raise' or 'skip'.{suggestion(str(on_error), _ON_ERROR)}")
    faults = Faults(skip=on_error == "skip", remedy="Correct the record, or leave such records out with on_error='skip'.")
    found = read_source(source, faults=faults)
    left_out: Mapping[str, int] = {}
    usual = None
    if recipe is None:
        kinds, responses = _own(found.records, faults)
    elif found.records:
        kinds, responses, reading = _public(found.records, recipe, faults, source=found.name)
        left_out, usual = reading.left_out, reading.separator
    else:
        kinds, responses = {}, []
    if not responses:
        detail = f" The first of {len(faults.messages)} problems: {faults.messages[0]}" if faults.messages else ""
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items() if count)
        left = f" Left out: {reasons}." if reasons else ""
        usable = "usable " if found.records or detail else ""
        raise DataError(f"{found.name}: found no {usable}records, expected at least one.{left}{detail}")
    return StepLabels(
        kinds=kinds,
        prompts=[one.prompt for one in responses],
        steps=_joined(responses, separator, usual=usual),
        labels=[one.labels for one in responses],
        source=found.name,
        skipped=faults.messages,
        left_out=left_out,
    )


def _own(rows: Sequence[Record], faults: Faults) -> tuple[dict[str, str], list[_Response]]:
    """The responses of records in our own form, and the kinds of their objectives."""
    if rows and not set(_FIELDS) <= set(rows[0].fields):
        refuse_public(rows, kind="steps")
    kinds: dict[str, str] = {}
    usable: list[Record] = []
    for row in rows:
        with faults.tolerated():
            one = from_text(row)
            _add_kinds(one, kinds)
            usable.append(one)
    responses: list[_Response] = []
    for row in usable:
        with faults.tolerated():
            prompt = as_prompt(row.get("prompt"), place=f"{row.place}, field 'prompt'")
            steps = checked_steps(row.get("steps"), place=f"{row.place}, field 'steps'")
            place = f"{row.place}, field 'labels'"
            labels = checked_labels(_object(row, "labels"), kinds, count=len(steps), place=place)
            responses.append(_Response(row.place, prompt, steps, labels))
    return kinds, responses


def _public(
    rows: Sequence[Record], recipe: str | Recipe, faults: Faults, *, source: str
) -> tuple[dict[str, str], list[_Response], StepReading]:
    """The responses of records in a public form, the kind of their objective, and the reading."""
    found = read_with(
        recipe, rows, kind="steps", source=source, objectives=None, margin=None, options=None, faults=faults
    ).found
    kinds, responses = {found.objective: found.kind}, []
    for row in found.rows:
        with faults.tolerated():
            steps = checked_steps(row.steps, place=row.place)
            labels = checked_labels({found.objective: row.labels}, kinds, count=len(steps), place=row.place)
            responses.append(_Response(row.place, as_prompt(row.prompt, place=row.place), steps, labels))
    return kinds, responses, found


def _joined(responses: Sequence[_Response], separator: str | None, *, usual: str | None) -> list[tuple[str, ...]]:
    """The steps of all responses, with what stands between them; a warning where nothing does and nothing was said."""
    if separator is not None:
        return [separated(one.steps, separator) for one in responses]
    bare = [(one, joints) for one in responses if (joints := bare_joints(one.steps))]
    if bare:
        one, joints = bare[0]
        shown = one.steps[joints[0] - 1][-20:] + one.steps[joints[0]][:20]
        hint = "" if usual is None else f" (usual here: {usual!r})"
        warnings.warn(
            f"{one.place}: found steps that meet without a blank, such as {describe(shown)}, {sum(len(j) for _, j in bare)} in "
            f"{len(bare)} of {len(responses)} responses; a model reads them as one text. Pass separator=' ' or another text to "
            f"put between them{hint}, or separator='' to take them as they are.",
            UserWarning,
            stacklevel=3,
        )
    return [one.steps for one in responses]


def _add_kinds(row: Record, kinds: dict[str, str]) -> None:
    """Add the kinds of a record to those known; a record may neither lack one it has labels for nor contradict another."""
    stated = _object(row, "kind")
    for name in _object(row, "labels"):
        if name not in stated:
            raise DataError(f"{row.place}, field 'kind': found none for the objective {name!r}, expected 'value' or 'class'.")
    for name, kind in stated.items():
        check_kind(kind, place=f"{row.place}, field 'kind', objective {name!r}")
        if kinds.get(name, kind) != kind:
            raise DataError(
                f"{row.place}, field 'kind', objective {name!r}: found {kind!r}, and {kinds[name]!r} in a record before; "
                "expected one kind for each objective."
            )
    kinds.update(stated)


def _object(row: Record, name: str) -> dict[str, Any]:
    value = row.get(name)
    if not isinstance(value, dict):
        raise DataError(f"{row.place}, field {name!r}: found {describe(value)}, expected an object with a key per objective.")
    return value
