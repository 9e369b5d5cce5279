"""`read_step_labels`: step labels from a file, a table or a list, in our own form or in a public one, or one clear error.

Imports: `errors`, `prompts`, and `files`, `joints`, `recipes`, `sources`, `step_labels` of this floor.
"""

import json
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from paretokit.errors import ConfigError, DataError, suggestion
from paretokit.preferences.files import Faults, Record, parse_json
from paretokit.preferences.joints import bare_joints, separated
from paretokit.preferences.recipes.step_recipes import StepRecipe, recognised_steps, step_recipe
from paretokit.preferences.sources import read_source
from paretokit.preferences.step_labels import StepLabels, check_kind, checked_labels, checked_steps
from paretokit.prompts import Prompt, as_prompt, describe

__all__ = ["read_step_labels"]

_FIELDS = ("prompt", "steps", "labels", "kind")
_ON_ERROR = ("raise", "skip")


_PLAIN = {"is_quality_control_question", "is_initial_screening_question", "final_answer_correct", "label"}
"""Fields of public forms that hold a number, true or false where they hold no list, object or long text."""


class _Response(NamedTuple):
    """A response that can be used, and where it was found."""

    place: str
    prompt: Prompt
    steps: tuple[str, ...]
    labels: Mapping[str, Sequence[float | None]]


def read_step_labels(
    source: Any, *, recipe: str | None = None, separator: str | None = None, on_error: str = "raise"
) -> StepLabels:
    """Return the step labels that a source holds.

    `source` is a path to a file, a table in memory (a DataFrame, ...), or a list of dicts, as in `read_preferences`.

    Our own form has the fields `prompt`, `steps`, `labels` and `kind` in every record: `labels` holds, by objective, a number
    or null for each step; `kind` holds "value" or "class" for each objective that `labels` names, the same in every record.
    Objectives are ordered by first appearance. `experiments.step_files.write_step_labels` writes such a file. In tables and CSV
    files, lists and objects may be spelled as JSON text.

    `recipe` reads a public form, with the meaning that its authors gave it (`recipes.step_recipes`): "prm800k",
    "math-shepherd", "trl-stepwise", "processbench", "mahalo-value". Questions become raw prompts. What a recipe does not use
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
    chosen = None if recipe is None else step_recipe(recipe)
    faults = Faults(skip=on_error == "skip", remedy="Correct the record, or leave such records out with on_error='skip'.")
    found = read_source(source, faults=faults)
    left_out: Counter[str] = Counter()
    if chosen is None:
        kinds, responses = _own(found.records, faults)
    else:
        kinds, responses = {chosen.objective: chosen.kind}, _public(found.records, chosen, faults, left_out)
    if not responses:
        detail = f" The first of {len(faults.messages)} problems: {faults.messages[0]}" if faults.messages else ""
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items() if count)
        left = f" Left out: {reasons}." if reasons else ""
        usable = "usable " if detail or left else ""
        raise DataError(f"{found.name}: found no {usable}records, expected at least one.{left}{detail}")
    return StepLabels(
        kinds=kinds,
        prompts=[one.prompt for one in responses],
        steps=_joined(responses, separator, usual=None if chosen is None else chosen.separator),
        labels=[one.labels for one in responses],
        source=found.name,
        skipped=faults.messages,
        left_out=left_out,
    )


def _own(rows: Sequence[Record], faults: Faults) -> tuple[dict[str, str], list[_Response]]:
    """The responses of records in our own form, and the kinds of their objectives."""
    kinds: dict[str, str] = {}
    usable: list[Record] = []
    for row in rows:
        with faults.tolerated():
            _check_form(row)
            one = _from_text(row)
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


def _public(rows: Sequence[Record], recipe: StepRecipe, faults: Faults, left_out: "Counter[str]") -> list[_Response]:
    """The responses of records in a public form."""
    kinds, responses = {recipe.objective: recipe.kind}, []
    for row in rows:
        with faults.tolerated():
            if missing := [name for name in recipe.columns if name not in row.fields]:
                raise DataError(
                    f"{row.place}: found the columns {_listed(row)}, expected {', '.join(recipe.columns)} for the recipe "
                    f"{recipe.name!r}; {missing[0]!r} is missing. {_other(row, recipe)}"
                )
            counted: Counter[str] = Counter()
            made = recipe.read(_from_text(row), counted)
            for number, (prompt, steps, labels) in enumerate(made):
                place = row.place if len(made) == 1 else f"{row.place}, response {number}"
                checked = checked_labels({recipe.objective: labels}, kinds, count=len(steps), place=place)
                responses.append(_Response(place, as_prompt(prompt), checked_steps(steps, place=place), checked))
            left_out.update(counted)
    return responses


def _other(row: Record, recipe: StepRecipe) -> str:
    other = recognised_steps(row.fields)
    if other is not None and other is not recipe:
        return f"The columns are those of recipe={other.name!r}."
    if set(_FIELDS) <= set(row.fields):
        return "The columns are those of our own form: leave the recipe out."
    return "The data set may have changed its form: rename the columns, or write records in our own form."


def _check_form(row: Record) -> None:
    """Raise `DataError` for a record in a public form, naming its recipe."""
    if set(_FIELDS) <= set(row.fields):
        return
    if recipe := recognised_steps(row.fields):
        raise DataError(
            f"{row.place}: found the columns {_listed(row)}, which are those of {recipe.source}, expected "
            f"{', '.join(_FIELDS)}. Pass recipe={recipe.name!r}."
        )


def _listed(row: Record) -> str:
    return ", ".join(map(str, row.fields)) or "none"


def _from_text(row: Record) -> Record:
    """The record with what a cell of a table spells as text read: lists and objects as JSON, numbers, true and false."""
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
