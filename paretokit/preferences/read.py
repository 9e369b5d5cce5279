"""`read_preferences`: any of the accepted sources, read into one `Preferences` value or one clear error.

Imports: torch, `errors`, `prompts`, and `computed`, `files`, `forms`, `recipes`, `records`, `sources`, `tables` of this
floor; the worlds on use.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from paretokit.errors import ConfigError, DataError, suggestion
from paretokit.preferences.computed import Computed, add_computed, as_computed
from paretokit.preferences.files import Faults, Record
from paretokit.preferences.forms import Pair, to_pairs
from paretokit.preferences.recipes.reading import Reading, judged_pairs, read_with
from paretokit.preferences.recipes.recipe import Recipe
from paretokit.preferences.recipes.registry import LOOK, find, recognise, refuse_public
from paretokit.preferences.records import Preferences
from paretokit.preferences.sources import Source, read_source
from paretokit.preferences.tables import is_table
from paretokit.prompts import describe

__all__ = ["read_preferences", "recipe_of"]

_ON_ERROR = ("raise", "skip")
_OTHERS = ("a mapping from objectives to sources", "'world:NAME'")


def read_preferences(
    source: Any,
    *,
    objectives: Sequence[str] | None = None,
    on_error: str = "raise",
    margin: float | int | None = None,
    recipe: str | Recipe | None = None,
    recipe_options: Mapping[str, Any] | None = None,
    computed: Mapping[str, Computed] | Sequence[str] | None = None,
    limit: int | None = None,
    ties: bool = False,
) -> Preferences:
    """Return the preferences that a source holds.

    `source` is one of

    - a path to a UTF-8 file: `.jsonl` (also `.ndjson`, `.json`: one object per line, or a list of objects), `.csv` with a
      header, each also as `.gz`; `.parquet`;
    - a table: a pandas or polars frame, an Arrow table, a `Dataset` of `datasets`; or a list of dicts, one per record;
    - `"hub:OWNER/NAME"`, a data set of the Hugging Face hub, read as a stream (needs the extra `hub`; see `hub.open_hub` for
      `?split=` and other options). `limit` says how many records are read of every source: the first ones;
    - a mapping from objectives to sources: chosen and rejected responses for each objective;
    - `"world:NAME"`, a built-in task.

    A record has one of three forms; the first record decides for the source:

    - `prompt`, `response_a`, `response_b`, `labels`: an object with +1 (a is better), -1 (b), 0 (tie) or null (not
      judged) per objective. Without a field `labels`, every other field is an objective and holds its label. Labels of 0
      and 1 without any -1 are an error, since such numbers mostly name the better response; `ties=True` says that 0 is a
      tie;
    - `prompt`, `chosen`, `rejected`, `objective` (as TRL has it): the chosen response is better on that objective.
      Without `prompt`, chosen and rejected are whole conversations, and the messages that both begin with are the prompt.
      Rows that judge the same two responses to the same prompt on several objectives become one pair with several labels;
      the response chosen first is a;
    - `prompt`, `response` and one number per objective, larger is better: every two responses to a prompt are a pair,
      the earlier one is a. `margin` must be stated: scores that differ by no more are a tie. An amount, such as length or
      verbosity, is a score only where `objectives` names it: more of it is better then.

    A prompt is raw text or a list of messages `{"role", "content"}`, the last one the user's; a response is text, which may
    be empty, or after messages one assistant message. In CSV and tables, messages and `labels` may also be spelled as text,
    and an empty label or score is null. Where labels or scores are fields of their own, `objectives` names those to take;
    beside `labels` or `objective`, fields that the form does not know are ignored, but not those that change what the row
    means: images, tools, a system text, scores by which the rejected response is better and others are errors, see
    `meaning`.

    `recipe` reads a public data set as its authors meant it: a name from `paretokit.recipes()`, or a `Recipe` of your own.
    Each says which columns it needs, what the labels mean, its licence and its `recipe_options`. Records that have the
    columns of a public data set are refused without it, and the error names the recipe. What a recipe leaves out by its own
    rule is listed in `.skipped` and counted in `.notes`.

    `computed` adds objectives that are computed from the texts, to any source but a world: a mapping from their names to
    functions `(response_a, response_b)` of the two responses, whose result is above 0 where a is better, below 0 where b is,
    0 for a tie and None where it is not judged; or to `by_score(scorer)`; or to "conciseness" (the shorter is better).

    `objectives` (default: all, in order of first appearance) selects and orders; pairs that are judged on none of them
    are left out. `on_error="raise"` raises `DataError` for the first record that cannot be used, naming file, line and
    field; `"skip"` leaves such records out and lists them in `.skipped`. A source that cannot be read as a whole, or
    that holds no usable record, is always an error.

    >>> rows = [
    ...     {"prompt": "Hi", "chosen": "Hello!", "rejected": "What?", "objective": "polite"},
    ...     {"prompt": "Hi", "chosen": "What?", "rejected": "Hello!", "objective": "brief"},
    ... ]
    >>> preferences = read_preferences(rows)
    >>> preferences.objectives, preferences.labels.tolist()
    (('polite', 'brief'), [[1.0], [-1.0]])
    """
    if on_error not in _ON_ERROR:
        raise ConfigError(f"on_error: found {on_error!r}, expected 'raise' or 'skip'.{suggestion(on_error, _ON_ERROR)}")
    if isinstance(source, str) and source.startswith("world:"):
        if recipe is not None or computed is not None:
            raise ConfigError(f"source: found {source!r}, whose labels are exact; leave recipe= and computed= out.")
        return _world(source, objectives=objectives, margin=margin, limit=limit, ties=ties)
    added = as_computed(computed)
    labelled = None if objectives is None else [name for name in objectives if name not in added] or None
    known = None if recipe is None else find(recipe, kind="pairs")
    if known is None and recipe_options:
        raise ConfigError("recipe_options: found no recipe that they could belong to; pass recipe= too.")
    faults = Faults(skip=on_error == "skip")
    name, records = _records(source, recipe=known, limit=limit, faults=faults)
    if not records:
        raise DataError(
            f"{name}: found no {'usable ' if faults.messages else ''}records, expected at least one.{_first(faults)}"
        )
    reading = None
    if known is None:
        refuse_public(records, kind="pairs")
        pairs = to_pairs(records, objectives=labelled, margin=margin, ties=ties, faults=faults)
    else:
        if ties:
            raise ConfigError("ties: found True, but a recipe knows what its labels mean; leave it out.")
        reading = read_with(
            known,
            records,
            kind="pairs",
            source=name,
            objectives=labelled,
            margin=margin,
            options=recipe_options,
            faults=faults,
        )
        pairs = reading.found
    pairs = add_computed(pairs, added, source=name)
    if reading is not None:
        pairs = judged_pairs(pairs, reading.notes, source=name, named=objectives is not None)
    if not pairs:
        raise DataError(f"{name}: found no usable records, expected at least one.{_first(faults)}{_left_out(reading)}")
    return _assemble(pairs, objectives=objectives, source=name, skipped=faults.messages, reading=reading)


def recipe_of(source: Any) -> str | None:
    """Return the name of the recipe for pairs whose columns the records of a source have, or None.

    >>> recipe_of([{"prompt": "Hi", "response_a": "Hello", "response_b": "No", "kind": 1}]) is None
    True
    """
    if isinstance(source, str) and source.startswith("world:"):
        return None
    parts = list(source.values()) if isinstance(source, Mapping) and not is_table(source) else [source]
    faults = Faults(skip=True)
    found = recognise(read_source(parts[0], limit=LOOK, faults=faults, others=_OTHERS).records) if parts else None
    return found.name if found is not None and found.kind == "pairs" else None


def _left_out(reading: Reading | None) -> str:
    return "" if reading is None else "".join(f" {line}." for line in reading.notes.lines())


def _first(faults: Faults) -> str:
    return f" The first of {len(faults.messages)} problems: {faults.messages[0]}" if faults.messages else ""


def _world(
    source: str, *, objectives: Sequence[str] | None, margin: float | int | None, limit: int | None, ties: bool
) -> Preferences:
    from paretokit.preferences.worlds import world

    if margin is not None:
        raise ConfigError(f"margin: found {margin}, but only scored responses have a margin; leave it out.")
    if ties:
        raise ConfigError("ties: found True, but the labels of a world are known; leave it out.")
    preferences = world(source.removeprefix("world:")).preferences
    if objectives is None and limit is None:
        return preferences
    return preferences.select(objectives=objectives, limit=limit)


def _records(source: Any, *, recipe: Recipe | None, limit: int | None, faults: Faults) -> Source:
    """Return the source's name and its records."""
    if isinstance(source, Mapping) and not is_table(source):
        return _per_objective(source, recipe=recipe, limit=limit, faults=faults)
    return read_source(source, limit=limit, faults=faults, others=_OTHERS)


def _per_objective(source: Mapping[str, Any], *, recipe: Recipe | None, limit: int | None, faults: Faults) -> Source:
    if recipe is not None and not recipe.open:
        raise ConfigError(
            f"source: found a mapping, but recipe {recipe.name!r} has objectives of its own; pass the path of one file."
        )
    if "prompt" in source:
        raise DataError(
            f"source: found a mapping with the keys {describe(', '.join(map(str, source)))[1:-1]}, expected one from "
            "objectives to sources. A table is passed as a DataFrame, one record in a list."
        )
    names, records = [], []
    for objective, part in source.items():
        name, found = read_source(part, place=f"source, objective {objective!r}", limit=limit, faults=faults)
        if not found:
            raise DataError(f"{name}: found no records, expected at least one.{_first(faults)}")
        named = [Record(row.place, {**row.fields, "objective": objective}) for row in found]
        if recipe is None:
            refuse_public(named, kind="pairs")
        for row, made in zip(found, named, strict=True):
            with faults.tolerated():
                row.get("chosen")
                stated = row.fields.get("objective")
                if stated not in (None, objective):
                    raise DataError(f"{row.place}, field 'objective': found {stated!r} in the file for {objective!r}.")
                records.append(made)
        names.append(name)
    return Source(", ".join(names), records)


def _assemble(
    pairs: list[Pair], *, objectives: Sequence[str] | None, source: str, skipped: list[str], reading: Reading | None
) -> Preferences:
    names = list(dict.fromkeys(name for pair in pairs for name in pair.labels))
    labels = [[math.nan if (label := pair.labels.get(name)) is None else label for pair in pairs] for name in names]
    preferences = Preferences(
        objectives=names,
        prompts=[pair.prompt for pair in pairs],
        responses_a=[pair.response_a for pair in pairs],
        responses_b=[pair.response_b for pair in pairs],
        labels=torch.tensor(labels, dtype=torch.float32),
        source=source,
        skipped=[*skipped, *(() if reading is None else reading.notes.left_out)],
        recipe=None if reading is None else reading.recipe.name,
        notes=() if reading is None else reading.notes.lines(),
    )
    if objectives is not None:
        preferences = preferences.select(objectives=objectives)
    never = preferences.labels.isnan().all(1).tolist()
    if any(never):
        name = preferences.objectives[never.index(True)]
        raise DataError(f"{source}: objective {name!r} is judged in no record; leave it out, or name others in objectives=.")
    return preferences
