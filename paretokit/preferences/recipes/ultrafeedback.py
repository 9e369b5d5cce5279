"""UltraFeedback: four aspects of four answers by GPT-4, and its binarized form.

Imports: `errors`, and `fields`, `files`, `forms` of this floor, and the other modules of this folder.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from paretokit.errors import DataError
from paretokit.preferences.fields import chosen_texts
from paretokit.preferences.files import Record
from paretokit.preferences.forms import Pair, sign
from paretokit.preferences.recipes.answers import Answer, Scores, compared
from paretokit.preferences.recipes.recipe import Asked, Option, Recipe, each
from paretokit.preferences.recipes.values import CHAT, nested, number, place_of, prompt, rating
from paretokit.prompts import as_text

__all__ = ["ULTRAFEEDBACK", "ULTRAFEEDBACK_BINARIZED"]

_ASPECTS = ("instruction_following", "honesty", "truthfulness", "helpfulness")
_HIDDEN = "each answer was written under a system prompt of its own, which is left out"


def _four_answers(row: Record, asked: Asked) -> Iterator[Pair]:
    place = place_of(row, "completions")
    answers = []
    for number_of, value in enumerate(nested(row.get("completions"), list, place=place)):
        answer = _answer(value, asked.wanted(_ASPECTS), place=f"{place}, item {number_of}")
        if answer.text.strip():
            answers.append(answer)
        else:
            asked.notes.leave_out(answer.place, "the answer is empty")
    if asked.options["leave_out_truthful_qa"] and row.get("source") == "truthful_qa":
        asked.notes.leave_out(row.place, "it is of TruthfulQA")
        return
    if len(answers) < 2:
        asked.notes.leave_out(row.place, "fewer than two answers are left")
    asked.notes.say(_HIDDEN)
    yield from compared(prompt(row, "instruction", asked), answers, asked)


def _answer(value: Any, aspects: tuple[str, ...], *, place: str) -> Answer:
    fields = nested(value, dict, place=place)
    annotations = nested(_part(fields, "annotations", place=place), dict, place=f"{place}, 'annotations'")
    scores: Scores = {}
    for aspect in aspects:
        inside = f"{place}, {f'annotations.{aspect}'!r}"
        found = nested(_part(annotations, aspect, place=f"{place}, 'annotations'"), dict, place=inside)
        rate = _part(found, "Rating", place=inside)
        scores[aspect] = None if rate == "N/A" else rating(rate, place=f"{inside}, 'Rating'", expected=range(1, 6))
    return Answer(place, as_text(_part(fields, "response", place=place), place=f"{place}, 'response'"), scores)


def _part(fields: Mapping[str, Any], name: str, *, place: str) -> Any:
    if name not in fields:
        raise DataError(f"{place}: {name!r} is missing; found the keys {', '.join(map(str, fields)) or 'none'}.")
    return fields[name]


ULTRAFEEDBACK = Recipe(
    name="ultrafeedback",
    kind="pairs",
    title="UltraFeedback, four aspects of four answers",
    source="openbmb/UltraFeedback",
    objectives=_ASPECTS,
    forms=(("instruction", "completions"),),
    rule="Every two answers to an instruction are a pair; in each aspect a rating from 1 to 5 that is larger by more than the "
    "margin is better. N/A is not judged.",
    licence="MIT",
    citation="Cui et al. 2023 (arXiv 2310.01377)",
    read=each(_four_answers),
    options={
        "leave_out_truthful_qa": Option(False, "leaves out the prompts of TruthfulQA, for those who evaluate on it"),
        "chat": CHAT,
    },
    margin=True,
    traps=(
        "ratings are text, and N/A occurs",
        _HIDDEN,
        "overall_score was wrong for 2,628 answers until December 2023, and is not read",
        "an empty answer is left out",
    ),
)


def _binarized(row: Record, asked: Asked) -> Iterator[Pair]:
    texts = chosen_texts(row)
    chosen, rejected = (number(row.get(name), place=place_of(row, name)) for name in ("score_chosen", "score_rejected"))
    if chosen < rejected:
        raise DataError(
            f"{row.place}, field 'score_chosen': found {chosen:g}, below score_rejected {rejected:g}; expected the chosen "
            "answer to have the larger score."
        )
    label = sign(chosen, rejected, margin=asked.margin)
    yield Pair(*texts, dict.fromkeys(asked.wanted(("overall",)), label))


ULTRAFEEDBACK_BINARIZED = Recipe(
    name="ultrafeedback-binarized",
    kind="pairs",
    title="UltraFeedback binarized, the best answer against another",
    source="HuggingFaceH4/ultrafeedback_binarized, trl-lib/ultrafeedback_binarized",
    objectives=("overall",),
    forms=(("chosen", "rejected", "score_chosen", "score_rejected"),),
    rule="a is the chosen answer. It is better where score_chosen is larger than score_rejected by more than the margin, else "
    "the two are a tie.",
    licence="MIT",
    citation="Cui et al. 2023 (arXiv 2310.01377)",
    read=each(_binarized),
    margin=True,
    traps=(
        "chosen and rejected hold whole conversations, of which the field prompt repeats the first message",
        "the rejected answer was drawn at random, so the two scores may be equal",
    ),
    knows=lambda fields: "objective" not in fields and "labels" not in fields,
)
