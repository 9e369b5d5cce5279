"""Sets with one verdict on whole answers: Nectar's ranking, Skywork's choice, SHP's votes.

Imports: `errors`, `prompts`, and `files`, `forms` of this floor and the other modules of this folder.
"""

from collections.abc import Iterator
from itertools import combinations

from paretokit.errors import DataError
from paretokit.preferences.files import Record
from paretokit.preferences.forms import Pair
from paretokit.preferences.recipes.conversations import Turns, by_names, last_answers, messages
from paretokit.preferences.recipes.recipe import Asked, Option, Recipe, each
from paretokit.preferences.recipes.values import CHAT, integer, nested, number, place_of, prompt, text
from paretokit.prompts import as_text

__all__ = ["NECTAR", "SHP", "SKYWORK"]


def _ranking(row: Record, asked: Asked) -> Iterator[Pair]:
    asked_for = _asked(row)
    place = place_of(row, "answers")
    ranked = []
    for position, value in enumerate(nested(row.get("answers"), list, place=place)):
        inside = f"{place}, item {position}"
        fields = nested(value, dict, place=inside)
        words = as_text(fields.get("answer"), place=f"{inside}, 'answer'")
        ranked.append((words, integer(fields.get("rank"), place=f"{inside}, 'rank'", expected=range(1, 8))))
    for (a, rank), (b, other) in combinations(ranked, 2):
        if abs(rank - other) < asked.options["gap"]:
            asked.notes.leave_out(place, f"the ranks differ by less than {asked.options['gap']}")
        else:
            label = 1.0 if rank < other else -1.0
            yield Pair(asked_for, a, b, dict.fromkeys(asked.wanted(("overall",)), label))


def _asked(row: Record) -> Turns:
    """Return the turns before the answers; the text ends with an Assistant who has said nothing yet."""
    place = place_of(row, "prompt")
    *turns, last = by_names(text(row, "prompt").rstrip(), place=place, blank_after=True)
    if last["role"] != "assistant" or last["content"] or not turns or turns[-1]["role"] != "user":
        raise DataError(f"{place}: found a dialogue that does not end with '\\n\\nAssistant:', expected one that does.")
    return tuple(turns)


NECTAR = Recipe(
    name="nectar",
    kind="pairs",
    title="Nectar, seven answers ranked",
    source="berkeley-nest/Nectar",
    objectives=("overall",),
    forms=(("prompt", "answers"),),
    rule="Every two answers whose ranks differ by at least gap are a pair; rank 1 is the best.",
    licence="Apache-2.0, provided that it is not used to compete with OpenAI (an earlier revision: CC-BY-NC-4.0)",
    citation="Zhu et al. 2023 (Starling-7B)",
    read=each(_ranking),
    options={"gap": Option(1, "the least difference of two ranks; 2 leaves out neighbours, which are often close", (), 1)},
    traps=(
        "a small rank is good",
        "one ranking mixes helpful and harmless: a second objective has to be computed, for example conciseness",
    ),
    knows=lambda fields: isinstance(fields["prompt"], str) and fields["prompt"].startswith("\n\nHuman:"),
)


def _chosen(row: Record, asked: Asked) -> Iterator[Pair]:
    answers = last_answers(messages(row, "chosen"), messages(row, "rejected"))
    if answers is None:
        asked.notes.leave_out(row.place, "the conversations differ before the last answer")
        return
    yield Pair(*answers, dict.fromkeys(asked.wanted(("overall",)), 1.0))


SKYWORK = Recipe(
    name="skywork",
    kind="pairs",
    title="Skywork-Reward-Preference, a choice between two answers",
    source="Skywork/Skywork-Reward-Preference-80K-v0.2",
    objectives=("overall",),
    forms=(("chosen", "rejected"),),
    rule="a is the chosen answer, and better. The prompt is the common start of both conversations.",
    licence="not known to us: that of each source, see the card",
    citation="Liu et al. 2024 (arXiv 2410.18451)",
    read=each(_chosen),
    traps=("v0.1 holds prompts of RewardBench", "chosen and rejected hold whole conversations"),
    knows=lambda fields: "source" in fields and not {"prompt", "objective", "labels"} & set(fields),
)


def _votes(row: Record, asked: Asked) -> Iterator[Pair]:
    label = integer(row.get("labels"), place=place_of(row, "labels"), expected=(0, 1))
    ratio = asked.options["ratio"]
    if ratio > 1 or "score_A" in row.fields:
        first, second = (number(row.get(name), place=place_of(row, name)) for name in ("score_A", "score_B"))
        if (first > second) != (label == 1) and first != second:
            raise DataError(
                f"{place_of(row, 'labels')}: found {label} with score_A {first:g} and score_B {second:g}, expected 1 where A "
                "has more votes and 0 where B has."
            )
        if max(first, second) < ratio * min(first, second):
            asked.notes.leave_out(row.place, f"one score is less than {ratio} times the other")
            return
    asked_for = prompt(row, "history", asked)
    verdict = 1.0 if label == 1 else -1.0
    yield Pair(
        asked_for,
        text(row, "human_ref_A"),
        text(row, "human_ref_B"),
        dict.fromkeys(asked.wanted(("helpfulness",)), verdict),
    )


SHP = Recipe(
    name="shp",
    kind="pairs",
    title="Stanford Human Preferences, votes on Reddit",
    source="stanfordnlp/SHP",
    objectives=("helpfulness",),
    forms=(("history", "human_ref_A", "human_ref_B", "labels"),),
    rule="a is human_ref_A. labels is 1 where A is better and 0 where B is; scores, where they are there, must agree.",
    licence="not known to us: Reddit's terms, see the card",
    citation="Ethayarajh et al. 2022 (Understanding Dataset Difficulty with V-Usable Information)",
    read=each(_votes),
    options={
        "ratio": Option(1, "the least ratio of the two scores; the authors advise 2 for training", (), 1),
        "chat": CHAT,
    },
    traps=("a label of 1 is the first answer, 0 the second: no tie",),
)
