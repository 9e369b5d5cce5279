"""PKU-SafeRLHF: two verdicts on one pair, helpfulness and harmlessness.

Imports: `forms`, `files` of this floor, and the other modules of this folder.
"""

from collections.abc import Iterator

from paretokit.preferences.files import Record
from paretokit.preferences.forms import Pair
from paretokit.preferences.recipes.recipe import Asked, Option, Recipe, each
from paretokit.preferences.recipes.values import boolean, integer, place_of, question, text

__all__ = ["PKU_SAFERLHF"]

_VERDICTS = {"helpfulness": "better_response_id", "harmlessness": "safer_response_id"}


def _pair(row: Record, asked: Asked) -> Iterator[Pair]:
    safe = [boolean(row.get(name), place=place_of(row, name)) for name in ("is_response_0_safe", "is_response_1_safe")]
    labels: dict[str, float | None] = {}
    for objective in asked.objectives:
        name = _VERDICTS[objective]
        labels[objective] = 1.0 if integer(row.get(name), place=place_of(row, name), expected=(0, 1)) == 0 else -1.0
        if objective == "harmlessness" and asked.options["safe_ties"] and all(safe):
            labels[objective] = 0.0
    yield Pair(question(text(row, "prompt")), text(row, "response_0"), text(row, "response_1"), labels)


PKU_SAFERLHF = Recipe(
    name="pku-saferlhf",
    kind="pairs",
    title="PKU-SafeRLHF: two verdicts on one pair",
    source="PKU-Alignment/PKU-SafeRLHF",
    objectives=("helpfulness", "harmlessness"),
    forms=(
        (
            "prompt",
            "response_0",
            "response_1",
            "is_response_0_safe",
            "is_response_1_safe",
            "better_response_id",
            "safer_response_id",
        ),
    ),
    rule="a is response_0. better_response_id is the number of the more helpful answer, whatever harm it does; "
    "safer_response_id that of the less harmful one.",
    licence="CC-BY-NC-4.0",
    citation="Ji et al. 2023 (arXiv 2307.04657); Ji et al. 2024 (arXiv 2406.15513)",
    read=each(_pair),
    options={"safe_ties": Option(False, "a tie in harmlessness where both answers are safe")},
    noncommercial=True,
    traps=(
        "the verdicts are numbers of responses, 0 or 1: 0 is no tie",
        "a prompt has several pairs: split by prompt, as Preferences.split does",
    ),
)
