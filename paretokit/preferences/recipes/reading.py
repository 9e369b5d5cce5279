"""Records read with a recipe: what was asked for is checked, the columns are compared, and what was left out is counted.

Imports: `errors`, and `files`, `forms` of this floor and the other modules of this folder.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from paretokit.errors import ConfigError, DataError, suggestion
from paretokit.preferences.files import Faults, Record
from paretokit.preferences.forms import Pair, checked_margin
from paretokit.preferences.recipes.recipe import Asked, Notes, Recipe
from paretokit.preferences.recipes.registry import check_columns, find

__all__ = ["Reading", "judged_pairs", "read_with"]


class Reading(NamedTuple):
    """What a recipe made of records."""

    recipe: Recipe
    found: Any  # a list of pairs, or what a recipe for steps returns
    notes: Notes  # recipe and licence, remarks, what was left out


def read_with(
    recipe: str | Recipe,
    records: Sequence[Record],
    *,
    kind: str,
    source: str,
    objectives: Sequence[str] | None,
    margin: float | int | None,
    options: Mapping[str, Any] | None,
    faults: Faults,
) -> Reading:
    """Return what the recipe makes of the records, which must be at least one.

    Raises `ConfigError` for a recipe, option, objective or margin that does not exist here, `DataError` where the columns are
    not those of the data set and for the first record that cannot be used.
    """
    recipe = find(recipe, kind=kind)
    notes = Notes()
    notes.say(f"recipe {recipe.name}: {recipe.title} ({recipe.source}), licence {recipe.licence}{_terms(recipe)}")
    asked = Asked(
        source=source,
        objectives=_objectives(recipe, objectives),
        options=recipe.with_defaults(options or {}),
        margin=_margin(recipe, margin),
        faults=faults,
        notes=notes,
    )
    check_columns(recipe, records)
    return Reading(recipe, recipe.read(records, asked), notes)


def judged_pairs(pairs: Sequence[Pair], notes: Notes, *, source: str, named: bool) -> list[Pair]:
    """Return the pairs that are judged on an objective; the others, which a data set may well hold, are counted.

    An objective that is judged in no pair is left out with a remark, unless the caller asked for objectives by name
    (`named`): then it stays, and is an error further on.
    """
    judged = []
    seen: dict[str, bool] = {}
    for index, pair in enumerate(pairs):
        for name, label in pair.labels.items():
            seen[name] = seen.get(name, False) or label is not None
        if any(label is not None for label in pair.labels.values()):
            judged.append(pair)
        else:
            notes.leave_out(f"{source}, pair {index}", "it is judged on none of the objectives")
    never = [] if named or not judged else [name for name, found in seen.items() if not found]
    for name in never:
        notes.say(f"the objective {name} is judged in no pair, and left out")
    if not never:
        return judged
    return [pair._replace(labels={name: pair.labels[name] for name in pair.labels if name not in never}) for pair in judged]


def _terms(recipe: Recipe) -> str:
    return ": not for commercial use" if recipe.noncommercial else ""


def _objectives(recipe: Recipe, objectives: Sequence[str] | None) -> tuple[str, ...] | None:
    if objectives is None:
        return None
    known = (*recipe.objectives, *recipe.more)
    for name in objectives:
        if name not in known and not recipe.open:
            raise DataError(
                f"recipe {recipe.name!r}: unknown objective {name!r}, expected some of {', '.join(known)}."
                f"{suggestion(name, known)}"
            )
    return tuple(objectives)


def _margin(recipe: Recipe, margin: float | int | None) -> float:
    if margin is None:
        return 0.0
    if not recipe.margin:
        raise ConfigError(f"margin: found {margin}, but recipe {recipe.name!r} has no scores to compare; leave it out.")
    return checked_margin(margin)
