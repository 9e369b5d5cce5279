"""The BeaverTails family: PKU-SafeRLHF with two verdicts on a pair, BeaverTails with the safety of single answers.

Imports: `errors`, `files`, `forms` of this floor, and the other modules of this folder.
"""

from collections.abc import Iterator, Sequence

from paretokit.errors import DataError
from paretokit.preferences.files import Record
from paretokit.preferences.forms import Pair
from paretokit.preferences.recipes.answers import Answer, Groups
from paretokit.preferences.recipes.recipe import Asked, Option, Recipe, each
from paretokit.preferences.recipes.values import CHAT, boolean, integer, place_of, prompt, text

__all__ = ["BEAVERTAILS", "PKU_SAFERLHF", "SAFE_TIES", "dual_verdicts"]

SAFE_TIES = Option(False, "a tie in harmlessness where both answers are safe")
_VERDICTS = {"helpfulness": "better_response_id", "harmlessness": "safer_response_id"}
_PAIR = ("prompt", "response_0", "response_1")
_BEAVERTAILS_PAPER = "Ji et al. 2023 (arXiv 2307.04657)"


def dual_verdicts(row: Record, asked: Asked) -> Iterator[Pair]:
    """Yield the pair of a record of PKU-SafeRLHF; both verdicts are numbers of responses."""
    safe = [boolean(row.get(name), place=place_of(row, name)) for name in ("is_response_0_safe", "is_response_1_safe")]
    labels: dict[str, float | None] = {}
    for objective in asked.wanted(tuple(_VERDICTS)):
        name = _VERDICTS[objective]
        labels[objective] = 1.0 if integer(row.get(name), place=place_of(row, name), expected=(0, 1)) == 0 else -1.0
        if objective == "harmlessness" and asked.options["safe_ties"] and all(safe):
            labels[objective] = 0.0
    yield Pair(prompt(row, "prompt", asked), text(row, "response_0"), text(row, "response_1"), labels)


PKU_SAFERLHF = Recipe(
    name="pku-saferlhf",
    kind="pairs",
    title="PKU-SafeRLHF, two verdicts on one pair",
    source="PKU-Alignment/PKU-SafeRLHF",
    objectives=("helpfulness", "harmlessness"),
    forms=((*_PAIR, "is_response_0_safe", "is_response_1_safe", "better_response_id", "safer_response_id"),),
    rule="a is response_0. better_response_id is the number of the more helpful answer, whatever harm it does; "
    "safer_response_id that of the less harmful one.",
    licence="CC-BY-NC-4.0",
    citation=f"{_BEAVERTAILS_PAPER}; Ji et al. 2024 (arXiv 2406.15513)",
    read=each(dual_verdicts),
    options={"safe_ties": SAFE_TIES, "chat": CHAT},
    noncommercial=True,
    traps=(
        "the verdicts are numbers of responses, 0 or 1: 0 is no tie",
        "a prompt has several pairs: split by prompt, as Preferences.split does",
        "the single-dimension sets have one verdict on both objectives together: recipe beavertails reads it as overall",
    ),
)


def _beavertails(records: Sequence[Record], asked: Asked) -> list[Pair]:
    groups = Groups()
    pairs: list[Pair] = []
    for row in records:
        with asked.faults.tolerated():
            if "better_response_id" in row.fields:
                pairs.append(_single(row, asked))
            else:
                name = _objective(row, asked, "harmlessness", verdict="on a single answer")
                safe = float(boolean(row.get("is_safe"), place=place_of(row, "is_safe")))
                question = prompt(row, "prompt", asked)
                groups.add(question, question, Answer(row.place, text(row, "response"), {name: safe}))
    return pairs + groups.pairs(asked, majority=True)


def _single(row: Record, asked: Asked) -> Pair:
    name = _objective(row, asked, "overall", verdict="of the single-dimension set")
    verdict = integer(row.get("better_response_id"), place=place_of(row, "better_response_id"), expected=(-1, 0, 1))
    label = {0: 1.0, 1: -1.0, -1: None}[verdict]
    return Pair(prompt(row, "prompt", asked), text(row, "response_0"), text(row, "response_1"), {name: label})


def _objective(row: Record, asked: Asked, name: str, *, verdict: str) -> str:
    """Return the objective that the form of a record is about; `DataError` where another was asked for."""
    if asked.wanted((name,)) != (name,):
        raise DataError(
            f"{row.place}: the verdict {verdict} is {name}, expected objectives=[{name!r}] and found {list(asked.wanted(()))}."
        )
    return name


BEAVERTAILS = Recipe(
    name="beavertails",
    kind="pairs",
    title="BeaverTails, the safety of single answers",
    source="PKU-Alignment/BeaverTails",
    objectives=("harmlessness",),
    more=("overall",),
    forms=(("prompt", "response", "is_safe"), (*_PAIR, "better_response_id")),
    rule="Every two answers to a prompt are a pair; the safe one is less harmful, two alike are a tie. In the "
    "single-dimension set a is response_0, better_response_id is the number of the better answer over all, and -1, whose "
    "meaning is not stated, is not judged.",
    licence="CC-BY-NC-4.0",
    citation=_BEAVERTAILS_PAPER,
    read=_beavertails,
    options={"chat": CHAT},
    noncommercial=True,
    traps=(
        "several people may judge one answer: the majority decides, an even vote is not judged",
        "better_response_id -1 is no index",
    ),
    knows=lambda fields: not {"safer_response_id", "is_response_0_safe", "labels"} & set(fields),
    hint="BeaverTails-Evaluation holds prompts only; the pairs with two verdicts are PKU-SafeRLHF, recipe='pku-saferlhf'.",
)
