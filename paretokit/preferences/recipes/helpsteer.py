"""HelpSteer2 and HelpSteer3: ratings of single answers, and one graded preference on a pair.

Imports: `files`, `forms` of this floor, and the other modules of this folder.
"""

from collections.abc import Iterator, Sequence

from paretokit.preferences.files import Record
from paretokit.preferences.forms import Pair, sign
from paretokit.preferences.recipes.answers import Answer, Groups, Scores
from paretokit.preferences.recipes.conversations import by_marks, context
from paretokit.preferences.recipes.recipe import Asked, Option, Recipe, each
from paretokit.preferences.recipes.values import integer, one_of, place_of, text

__all__ = ["HELPSTEER2", "HELPSTEER2_PREFERENCE", "HELPSTEER3"]

_MERITS = ("helpfulness", "correctness", "coherence")
_AMOUNTS = ("complexity", "verbosity")
_STRENGTHS = range(-3, 4)
_SPLITS = {"train": "train", "val": "validation", "validation": "validation"}


def _ratings(records: Sequence[Record], asked: Asked) -> list[Pair]:
    wanted = asked.wanted((*_MERITS, "conciseness"))
    groups = Groups()
    for row in records:
        with asked.faults.tolerated():
            found = {
                name: integer(row.get(name), place=place_of(row, name), expected=range(5)) for name in (*_MERITS, *_AMOUNTS)
            }
            scores: Scores = {name: -found["verbosity"] if name == "conciseness" else found[name] for name in wanted}
            prompt = by_marks(text(row, "prompt"), place=place_of(row, "prompt"))
            groups.add(prompt, prompt, Answer(row.place, text(row, "response"), scores))
    return groups.pairs(asked)


HELPSTEER2 = Recipe(
    name="helpsteer2",
    kind="pairs",
    title="HelpSteer2, five ratings of each answer",
    source="nvidia/HelpSteer2",
    objectives=(*_MERITS, "conciseness"),
    more=_AMOUNTS,
    forms=(("prompt", "response", *_MERITS, *_AMOUNTS),),
    rule="Every two answers to a prompt are a pair; a rating from 0 to 4 that is larger by more than the margin is better. "
    "conciseness is less verbosity.",
    licence="CC-BY-4.0",
    citation="Wang et al. 2024 (arXiv 2406.08673)",
    read=_ratings,
    margin=True,
    traps=(
        "verbosity and complexity are amounts, not merits: they are read only where objectives= names them, more is better",
        "an earlier turn stands in the prompt after a mark such as <extra_id_1>Assistant: the turns are read as messages",
        "its authors advise the preference part for pairs: recipe helpsteer2-preference",
    ),
)


def _graded(row: Record, asked: Asked, *, field: str) -> dict[str, float | None]:
    """Return the label of a strength from -3 to 3, which is negative where the first response is better."""
    strength = integer(row.get(field), place=place_of(row, field), expected=_STRENGTHS)
    return {name: sign(-strength, 0, margin=asked.margin) for name in asked.wanted(("overall",))}


def _preference(row: Record, asked: Asked) -> Iterator[Pair]:
    labels = _graded(row, asked, field="preference_strength")
    if "split" in row.fields or asked.options["split"] != "all":
        part = _SPLITS[one_of(row.get("split"), place=place_of(row, "split"), expected=_SPLITS)]
        if asked.options["split"] not in ("all", part):
            asked.notes.leave_out(row.place, f"it is of the split {part}")
            return
    prompt = by_marks(text(row, "prompt"), place=place_of(row, "prompt"))
    yield Pair(prompt, text(row, "response_1"), text(row, "response_2"), labels)


HELPSTEER2_PREFERENCE = Recipe(
    name="helpsteer2-preference",
    kind="pairs",
    title="HelpSteer2-Preference, one graded preference on a pair",
    source="nvidia/HelpSteer2 (preference)",
    objectives=("overall",),
    forms=(("prompt", "response_1", "response_2", "preference_strength"),),
    rule="a is response_1. preference_strength runs from -3 to 3: negative, response_1 is better; 0, or no more than the "
    "margin, is a tie.",
    licence="CC-BY-4.0",
    citation="Wang et al. 2024 (arXiv 2410.01257)",
    read=each(_preference),
    options={"split": Option("all", "which part of the one file is read", ("all", "train", "validation"))},
    margin=True,
    traps=("a strength is negative where the first response is better", "both splits stand in one file: option split"),
)


def _helpsteer3(row: Record, asked: Asked) -> Iterator[Pair]:
    labels = _graded(row, asked, field="overall_preference")
    prompt = context(row.get("context"), place=place_of(row, "context"))
    yield Pair(prompt, text(row, "response1"), text(row, "response2"), labels)


HELPSTEER3 = Recipe(
    name="helpsteer3",
    kind="pairs",
    title="HelpSteer3-Preference, one graded preference on a pair",
    source="nvidia/HelpSteer3",
    objectives=("overall",),
    forms=(("context", "response1", "response2", "overall_preference"),),
    rule="a is response1. overall_preference runs from -3 to 3: negative, response1 is better; 0, or no more than the margin, "
    "is a tie.",
    licence="CC-BY-4.0",
    citation="Wang et al. 2025 (arXiv 2505.11475)",
    read=each(_helpsteer3),
    margin=True,
    traps=(
        "a strength is negative where the first response is better",
        "one verdict a pair, no ratings: a second objective has to be computed, for example conciseness",
    ),
    hint="The parts feedback, edit and edit_quality are other tasks; the preference part is read.",
)
