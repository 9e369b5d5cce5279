"""HH-RLHF: whole dialogues as text, one verdict a pair; what the verdict is about stands in the folder's name.

Imports: `errors`, `prompts`, and `files`, `forms` of this floor and the other modules of this folder.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from paretokit.errors import DataError
from paretokit.preferences.files import Record
from paretokit.preferences.forms import Pair, to_pairs
from paretokit.preferences.recipes.conversations import by_names, last_answers
from paretokit.preferences.recipes.recipe import Asked, Recipe
from paretokit.preferences.recipes.values import place_of, text

__all__ = ["HH_RLHF"]

_FOLDERS = re.compile(r"(?<![A-Za-z])(harmless|helpful)-(?:base|online|rejection-sampled)(?![A-Za-z])")
UNNAMED = "preference"
_NAME_IT = "pass {objective: path}"
_DIFFER = "the dialogues differ before the last answer"
_NOT_LAST = "a dialogue does not end with the assistant's turn"


def _read(records: Sequence[Record], asked: Asked) -> list[Pair]:
    judged = []
    for row in records:
        with asked.faults.tolerated():
            objective = row.fields.get("objective") or _stated(asked)
            if asked.objectives is not None and objective not in asked.objectives:
                continue  # a file for another objective, in a mapping from objectives to paths
            chosen, rejected = (by_names(text(row, name), place=place_of(row, name)) for name in ("chosen", "rejected"))
            answers = last_answers(chosen, rejected)
            if answers is None:
                ended = chosen[-1]["role"] == rejected[-1]["role"] == "assistant"
                asked.notes.leave_out(row.place, _DIFFER if ended else _NOT_LAST)
                continue
            made = {
                "prompt": list(answers.prompt),
                "chosen": answers.first,
                "rejected": answers.second,
                "objective": objective,
            }
            judged.append(Record(row.place, made))
    return to_pairs(judged, objectives=None, margin=None, faults=asked.faults) if judged else []


def _stated(asked: Asked) -> str:
    """Return what the verdicts of the file are about: its folder's name, the one objective asked for, or no more than that."""
    found = set(_FOLDERS.findall(asked.source))
    if len(found) == 1:
        (name,) = found
        if asked.objectives is not None and name not in asked.objectives:
            raise DataError(
                f"{asked.source}: found a file about {name!r} by its folder, and objectives={list(asked.objectives)}. "
                f"For another name pass {{name: path}}."
            )
        return name
    if asked.objectives is None:
        asked.notes.say(f"the path does not say what the verdicts are about, so that they are called {UNNAMED}: {_NAME_IT}")
        return UNNAMED
    if len(asked.objectives) == 1:
        return asked.objectives[0]
    raise DataError(
        f"{asked.source}: found verdicts on one objective, and objectives={list(asked.objectives)}; {_NAME_IT}, one for each."
    )


def _dialogues(fields: Mapping[str, Any]) -> bool:
    return all(isinstance(fields.get(name), str) and fields[name].startswith("\n\nHuman:") for name in ("chosen", "rejected"))


HH_RLHF = Recipe(
    name="hh-rlhf",
    kind="pairs",
    title="HH-RLHF, helpful or harmless",
    source="Anthropic/hh-rlhf",
    objectives=("helpful", "harmless"),
    open=True,
    forms=(("chosen", "rejected"),),
    rule="a is the chosen answer, and better. The prompt is the common start of both dialogues. The "
    "objective is that of the file: {objective: path}, else the folder's name, else the one in objectives=, else preference.",
    licence="MIT",
    citation="Bai et al. 2022 (arXiv 2204.05862)",
    read=_read,
    traps=(
        "a file is about one objective, and the pairs of two files are different ones: the other objective is not judged",
        "some pairs differ before the last answer, and are left out",
        "the last answer may be empty",
        "red-team-attempts holds no pairs",
    ),
    knows=_dialogues,
)
