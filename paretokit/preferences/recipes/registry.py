"""The recipes by name, the one that fits given records, and what to say where none was passed.

Imports: `errors`, and `files` of this floor and the other modules of this folder.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from paretokit.errors import ConfigError, DataError, suggestion
from paretokit.preferences.files import Record
from paretokit.preferences.recipes.helpsteer import HELPSTEER2, HELPSTEER2_PREFERENCE, HELPSTEER3
from paretokit.preferences.recipes.hh import HH_RLHF
from paretokit.preferences.recipes.overall import NECTAR, SHP, SKYWORK
from paretokit.preferences.recipes.raco import RACO_SAFERLHF, RACO_TLDR
from paretokit.preferences.recipes.recipe import Recipe
from paretokit.preferences.recipes.saferlhf import BEAVERTAILS, PKU_SAFERLHF
from paretokit.preferences.recipes.step_recipes import STEP_RECIPES
from paretokit.preferences.recipes.tldr import TLDR, TLDR_AXIS
from paretokit.preferences.recipes.ultrafeedback import ULTRAFEEDBACK, ULTRAFEEDBACK_BINARIZED
from paretokit.prompts import describe

__all__ = ["LOOK", "check_columns", "find", "recipes", "recognise", "refuse_public"]

_RECIPES: tuple[Recipe, ...] = (
    BEAVERTAILS,
    HELPSTEER2,
    HELPSTEER2_PREFERENCE,
    HELPSTEER3,
    HH_RLHF,
    NECTAR,
    PKU_SAFERLHF,
    RACO_SAFERLHF,
    RACO_TLDR,
    SHP,
    SKYWORK,
    TLDR,
    TLDR_AXIS,
    ULTRAFEEDBACK,
    ULTRAFEEDBACK_BINARIZED,
    *STEP_RECIPES,
)
_READERS = {"pairs": "read_preferences", "steps": "read_step_labels"}
LOOK = 10  # records that are looked at to know a schema


def recipes() -> dict[str, Recipe]:
    """Return the recipes for public data sets by name, in alphabetical order.

    >>> recipes()["pku-saferlhf"].licence
    'CC-BY-NC-4.0'
    """
    return {recipe.name: recipe for recipe in sorted(_RECIPES, key=lambda recipe: recipe.name)}


def find(recipe: str | Recipe, *, kind: str) -> Recipe:
    """Return a recipe by its name; a `Recipe` stands for itself.

    `kind` is that of the reader, "pairs" or "steps". Raises `ConfigError`, with the nearest name, for an unknown recipe, and
    with the right reader for a recipe of the other kind.

    >>> find("pku-safrlhf", kind="pairs")
    Traceback (most recent call last):
    paretokit.errors.ConfigError: recipe: found 'pku-safrlhf', expected one of ... Did you mean 'pku-saferlhf'? ...
    """
    known = recipes()
    if not isinstance(recipe, Recipe):
        if not isinstance(recipe, str) or recipe not in known:
            names = [name for name, one in known.items() if one.kind == kind]
            near = suggestion(recipe, known) if isinstance(recipe, str) else ""
            raise ConfigError(
                f"recipe: found {describe(recipe)}, expected one of {', '.join(names)}.{near} "
                "Choose a name from paretokit.recipes(), or pass a Recipe of your own."
            )
        recipe = known[recipe]
    if recipe.kind != kind:
        raise ConfigError(
            f"recipe: found {recipe.name!r}, which is for {recipe.kind}; expected one for {kind}. "
            f"Use {_READERS.get(recipe.kind, recipe.kind)}(..., recipe={recipe.name!r})."
        )
    return recipe


def recognise(records: Sequence[Record]) -> Recipe | None:
    """Return the recipe whose data set the first records come from, or None."""
    fields = _first_fields(records)
    return next((recipe for recipe in recipes().values() if recipe.recognises(fields)), None)


def refuse_public(records: Sequence[Record], *, kind: str) -> None:
    """Raise `DataError`, naming the recipe and the reader, where the records come from a public data set."""
    known = recognise(records)
    if known is None:
        return
    shell = f" (in the shell: --recipe {known.name})" if known.kind == kind == "pairs" else ""
    reader = "" if known.kind == kind else f" to {_READERS[known.kind]}"
    raise DataError(
        f"{records[0].place}: found the columns of {known.source} ({', '.join(_first_fields(records))}), whose values have a "
        f"meaning of their own; pass recipe={known.name!r}{reader}{shell}. If the data are others, rename the fields."
    )


def check_columns(recipe: Recipe, records: Sequence[Record]) -> None:
    """Raise `DataError`, with the columns found and expected, where the first records have no form of the recipe.

    Records that fit a form, but are those of another public data set by a form of its own, are refused as well: a file of
    RACO holds chosen and rejected, as Skywork's does, and chosen does not mean better in it. A recipe of the user's own reads
    what its forms say.
    """
    found = _first_fields(records)
    fitting = _fitting(recipe, found)
    other = recognise(records)
    if fitting:
        if recipe not in _RECIPES or other is None or fitting & _fitting(other, found):
            return
        raise DataError(
            f"{records[0].place}: recipe {recipe.name!r} found the columns of {other.source} ({', '.join(map(str, found))}), "
            f"whose values have another meaning; pass recipe={other.name!r}. If the data are others, rename the fields."
        )
    nearest = min(recipe.forms, key=lambda form: len(set(form) - set(found)))
    missing = [name for name in nearest if name not in found]
    hint = recipe.hint or (
        f"These are the columns of recipe={other.name!r}."
        if other is not None and other.name != recipe.name
        else f"Compare the file with {recipe.source}; its columns may have been renamed."
    )
    raise DataError(
        f"{records[0].place}: recipe {recipe.name!r} found the columns {', '.join(map(str, found)) or 'none'}, expected "
        f"{'; or '.join(', '.join(form) for form in recipe.forms)}; missing: {', '.join(missing)}. {hint}"
    )


def _fitting(recipe: Recipe, fields: Mapping[str, Any]) -> set[tuple[str, ...]]:
    """Return the forms of the recipe of which all columns are there."""
    return {form for form in recipe.forms if set(form) <= set(fields)}


def _first_fields(records: Sequence[Record]) -> Mapping[str, Any]:
    """Return the columns of the first records, each with the first value that is there."""
    fields: dict[str, Any] = {}
    for row in records[:LOOK]:
        for name, value in row.fields.items():
            if fields.get(name) is None:
                fields[name] = value
    return fields
