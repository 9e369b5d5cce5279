"""The three forms of preference data, each turned into pairs: native pairs, chosen and rejected, scored responses.

Imports: the standard library, `errors`, `prompts`, and `cells`, `fields`, `files`, `meaning` and `records` of this floor.
"""

import math
import sys
from collections.abc import Sequence
from itertools import combinations
from numbers import Real
from typing import Any, NamedTuple

from paretokit.errors import ConfigError, DataError, suggestion
from paretokit.preferences.cells import number
from paretokit.preferences.fields import answer_of, chosen_texts, prompt_of
from paretokit.preferences.files import Faults, Record
from paretokit.preferences.meaning import check_chosen, check_labels, check_names, check_row, check_verdicts
from paretokit.preferences.records import FIELDS
from paretokit.prompts import Prompt, describe

__all__ = ["Pair", "checked_margin", "sign", "to_pairs"]

_FORMS = (
    "prompt, response_a, response_b, labels; or prompt, chosen, rejected, objective; "
    "or prompt, response and a score per objective"
)


class Pair(NamedTuple):
    """One pair and its labels by objective; None is not judged."""

    prompt: Prompt
    response_a: str
    response_b: str
    labels: dict[str, float | None]


def to_pairs(
    records: Sequence[Record],
    *,
    objectives: Sequence[str] | None,
    margin: float | int | None,
    ties: bool = False,
    faults: Faults,
) -> list[Pair]:
    """Return the pairs that the records hold, in order; their form is that of the first record that has one.

    `objectives` names the columns that hold labels or scores, where they are columns; None takes every column that is
    not a field of the form. `margin` is for scored responses only, `ties` (0 is a tie, also where no label is -1) for native
    pairs only. What would be read with another meaning is an error, see `meaning`.
    """
    forms = (("response_a", _native), ("chosen", _chosen), ("response", _scored))
    keys = next((row.fields.keys() for row in records if any(key in row.fields for key, _ in forms)), None)
    if keys is None:
        found = ", ".join(map(str, records[0].fields)) or "none"
        raise DataError(f"{records[0].place}: found the fields {found}, expected {_FORMS}; rename the fields.")
    form = next(form for key, form in forms if key in keys)
    if ties and form is not _native:
        raise ConfigError("ties: found True, but only pairs with labels state ties by 0; leave it out.")
    if form is _scored:
        return _scored(records, objectives=objectives, margin=margin, faults=faults)
    if margin is not None:
        raise ConfigError(f"margin: found {margin}, but only scored responses have a margin; leave it out.")
    if form is _chosen:
        return _chosen(records, faults=faults)
    return _native(records, objectives=objectives, ties=ties, faults=faults)


# --- native --------------------------------------------------------------------------------------------------------


def _native(records: Sequence[Record], *, objectives: Sequence[str] | None, ties: bool, faults: Faults) -> list[Pair]:
    if any("labels" in row.fields for row in records) or not any(set(row.fields) - set(FIELDS) for row in records):
        columns = None
    else:
        columns = _columns(records, objectives, fields=FIELDS)
        check_names(columns, place=records[0].place, scores=False)
    check_labels(_stated(records, columns, objectives=objectives), ties=ties)
    hint = " Name the label columns with objectives=[...]." if columns is not None and objectives is None else ""
    pairs = []
    for row in records:
        with faults.tolerated():
            check_row(row)
            found = _object(row, "labels") if columns is None else {name: number(row.get(name)) for name in columns}
            inside = ", field 'labels', objective" if columns is None else ", field"
            labels = {name: _label(value, place=f"{row.place}{inside} {name!r}", hint=hint) for name, value in found.items()}
            prompt = prompt_of(row)
            a, b = (answer_of(row, name, prompt=prompt) for name in ("response_a", "response_b"))
            if any(label is not None for label in labels.values()):
                pairs.append(Pair(prompt, a, b, labels))
            elif columns is None or objectives is None:
                raise DataError(f"{row.place}: no objective is judged, expected +1, 0 or -1 for at least one.")
    return pairs


def _stated(
    records: Sequence[Record], columns: Sequence[str] | None, *, objectives: Sequence[str] | None
) -> dict[str, list[tuple[str, Any]]]:
    """Return by objective the places and values of all labels, right or wrong: of `labels`, or of the columns."""
    stated: dict[str, list[tuple[str, Any]]] = {}
    for row in records:
        labels = row.fields.get("labels") if columns is None else {name: row.fields.get(name) for name in columns}
        for name, value in labels.items() if isinstance(labels, dict) else ():
            if objectives is None or name in objectives:
                stated.setdefault(name, []).append((row.place, value if columns is None else number(value)))
    return stated


def _columns(records: Sequence[Record], objectives: Sequence[str] | None, *, fields: Sequence[str]) -> list[str]:
    """Return the names of the columns that hold labels or scores; `DataError` for an unknown objective."""
    columns = list(dict.fromkeys(name for row in records for name in row.fields if name not in fields))
    for name in objectives or ():
        if name not in columns:
            raise DataError(
                f"{records[0].place}: unknown objective {name!r}, expected some of {', '.join(map(str, columns))}."
                f"{suggestion(name, map(str, columns))}"
            )
    return columns if objectives is None else list(objectives)


def _object(row: Record, name: str) -> dict[str, Any]:
    value = row.get(name)
    if not isinstance(value, dict):
        raise DataError(f"{row.place}, field {name!r}: found {describe(value)}, expected an object like {{'helpful': 1}}.")
    return value


def _label(value: Any, *, place: str, hint: str = "") -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real) or value not in (1, 0, -1):
        raise DataError(
            f"{place}: found label {describe(value)}, expected +1 (a is better), -1 (b), 0 (tie) or null (not judged).{hint}"
        )
    return float(value)


# --- chosen and rejected -------------------------------------------------------------------------------------------


def _chosen(records: Sequence[Record], *, faults: Faults) -> list[Pair]:
    """One row per judgement; rows on the same prompt and responses become one pair with several labels."""
    check_verdicts(records, fields=("prompt", "chosen", "rejected", "objective"))
    pairs: list[Pair] = []
    open_pairs: dict[tuple[Prompt, frozenset[str]], list[Pair]] = {}
    for row in records:
        with faults.tolerated():
            check_row(row)
            prompt, chosen, rejected = chosen_texts(row)
            check_chosen(row)
            if "objective" not in row.fields:
                raise DataError(
                    f"{row.place}, field 'objective': missing; name what the judgement is about, "
                    "or pass {objective: source} for sources of one objective each."
                )
            objective = row.fields["objective"]
            if not isinstance(objective, str) or not objective.strip():
                raise DataError(f"{row.place}, field 'objective': found {describe(objective)}, expected a name.")
            alike = open_pairs.setdefault((prompt, frozenset((chosen, rejected))), [])
            pair = next((pair for pair in alike if objective not in pair.labels), None)
            if pair is None:  # also where the same objective was judged before: a repeated judgement is a pair of its own
                pair = Pair(prompt, chosen, rejected, {})
                pairs.append(pair)
                alike.append(pair)
            pair.labels[objective] = 1.0 if pair.response_a == chosen else -1.0
    return pairs


# --- scored responses ----------------------------------------------------------------------------------------------


class _Scored(NamedTuple):
    place: str
    response: str
    scores: dict[str, float | None]


def _scored(
    records: Sequence[Record], *, objectives: Sequence[str] | None, margin: float | int | None, faults: Faults
) -> list[Pair]:
    """All pairs of responses to the same prompt; a is the earlier one."""
    if margin is None:
        raise ConfigError(
            f"{records[0].place}: found scored responses; state margin=, the difference up to which two scores are a "
            "tie, for example margin=0.0."
        )
    margin = checked_margin(margin)
    columns = _columns(records, objectives, fields=("prompt", "response"))
    check_names(columns, place=records[0].place, scores=True, named=objectives is not None)
    groups: dict[Prompt, list[_Scored]] = {}
    for row in records:
        with faults.tolerated():
            check_row(row)
            prompt = prompt_of(row)
            scores = {name: _score(number(row.get(name)), place=f"{row.place}, field {name!r}") for name in columns}
            groups.setdefault(prompt, []).append(_Scored(row.place, answer_of(row, "response", prompt=prompt), scores))
    pairs = []
    for prompt, group in groups.items():
        with faults.tolerated():
            if len(group) == 1:
                raise DataError(f"{group[0].place}: found the only response to its prompt, expected two to compare.")
        for a, b in combinations(group, 2):
            labels = {name: sign(a.scores[name], b.scores[name], margin=margin) for name in columns}
            with faults.tolerated():
                if any(label is not None for label in labels.values()):
                    pairs.append(Pair(prompt, a.response, b.response, labels))
                elif objectives is None:
                    raise DataError(f"{b.place}: found no objective that is scored here and at {a.place}, expected one.")
    return pairs


def _score(value: Any, *, place: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real) or not _is_finite(value):
        raise DataError(
            f"{place}: found score {describe(value)}, expected a finite number or null. "
            "Name the score columns with objectives=[...]."
        )
    return float(value)


def _is_finite(value: Any) -> bool:
    """Return whether a float holds a number, which NaN, infinity and the largest integers are not."""
    return abs(value) <= sys.float_info.max


def checked_margin(margin: Any) -> float:
    """Return a margin as a float; `ConfigError` for anything but a finite number of at least 0.

    >>> checked_margin(1)
    1.0
    """
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not (_is_finite(margin) and margin >= 0):
        raise ConfigError(f"margin: found {describe(margin)}, expected a finite number of at least 0.")
    return float(margin)


def sign(a: float | None, b: float | None, *, margin: float | int) -> float | None:
    """Return the label of two scores, larger is better: +1, -1, 0 where they differ by no more than `margin`, None for null.

    >>> sign(3, 1, margin=0), sign(1, 3, margin=2), sign(1, None, margin=0)
    (1.0, 0.0, None)
    """
    if a is None or b is None:
        return None
    return 0.0 if abs(a - b) <= margin else math.copysign(1.0, a - b)
