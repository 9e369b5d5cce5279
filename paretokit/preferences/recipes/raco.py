"""The sets that RACO's authors released: signs on chosen and rejected, of which neither means better, or letters A and B.

Imports: `errors`, `prompts`, and `dialogues`, `fields`, `files`, `forms` of this floor and the other modules of this folder.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from paretokit.errors import DataError
from paretokit.preferences.dialogues import common_start
from paretokit.preferences.fields import Texts, chosen_texts
from paretokit.preferences.files import Record
from paretokit.preferences.forms import Pair
from paretokit.preferences.recipes.recipe import Asked, Recipe, each
from paretokit.preferences.recipes.saferlhf import PKU_SAFERLHF, SAFE_TIES, dual_verdicts
from paretokit.preferences.recipes.values import CHAT, nested, place_of
from paretokit.prompts import describe

__all__ = ["RACO_SAFERLHF", "RACO_TLDR"]

_SIDES = (("chosen", "rejected"), ("Summary_A", "Summary_B"), ("Response_A", "Response_B"))
_LABELS: Mapping[Any, float] = {"a": 1.0, "b": -1.0, "tie": 0.0, "1": 1.0, "-1": -1.0, "0": 0.0, 1: 1.0, -1: -1.0, 0: 0.0}


class Column(NamedTuple):
    """The column of an objective, as a sign for chosen and as a letter for A."""

    sign: str
    letter: str


_SUMMARIES = {
    "quality": Column("raco_s_quality", "Quality"),
    "conciseness": Column("raco_s_verbosity", "Verbosity"),
    "faithfulness": Column("raco_s_faithfulness", "Faithfulness"),
}
_SAFETY = {
    "helpfulness": Column("raco_s_helpfulness", "Helpfulness"),
    "harmlessness": Column("raco_s_harmlessness", "Harmlessness"),
}


def _pair(row: Record, asked: Asked, *, columns: Mapping[str, Column]) -> Pair:
    first, second = next((sides for sides in _SIDES if sides[0] in row.fields), _SIDES[0])
    labels: dict[str, float | None] = {}
    for objective in asked.wanted(tuple(columns)):
        name = columns[objective].sign if first == "chosen" else columns[objective].letter
        if name in row.fields:
            labels[objective] = _label(row.fields[name], place=place_of(row, name))
        elif asked.objectives is not None:
            row.get(name)  # says that it is missing
        elif objective == "conciseness":
            asked.notes.say("no column for conciseness; computed={'conciseness': 'conciseness'} compares lengths")
    return Pair(*_texts(row, first, second), labels)


def _label(value: Any, *, place: str) -> float | None:
    """Return the label for the first response; numbers and letters of the released files only."""
    if value is None or value == "":
        return None
    known = value.strip().lower() if isinstance(value, str) else value
    if isinstance(known, str) and known.endswith(".0"):
        known = known.removesuffix(".0")  # a CSV of floats
    if not isinstance(known, (str, int, float)) or isinstance(known, bool) or known not in _LABELS:
        raise DataError(f"{place}: found {describe(value)}, expected 'A', 'B', 'tie', 1, -1, 0 or null.")
    return _LABELS[known]


def _texts(row: Record, first: str, second: str) -> Texts:
    if first == "chosen":
        return chosen_texts(row)
    sides = (nested(row.get(name), list, place=place_of(row, name)) for name in (first, second))
    return Texts(*common_start(*sides, place=f"{row.place}, fields {first!r} and {second!r} as chosen and rejected"))


def _tldr(row: Record, asked: Asked) -> Iterator[Pair]:
    yield _pair(row, asked, columns=_SUMMARIES)


RACO_TLDR = Recipe(
    name="raco-tldr",
    kind="pairs",
    title="RACO's Reddit summaries",
    source="RACOo/RedditSummary-Alignment",
    objectives=tuple(_SUMMARIES),
    forms=(("chosen", "rejected", "raco_s_quality"), ("Summary_A", "Summary_B", "Quality")),
    rule="a is chosen, or Summary_A. A sign of 1 or the letter A says that a is better, -1 or B that b is, 0 or tie neither. "
    "Verbosity prefers the shorter summary, and is read as conciseness; faithfulness is read where its column is there.",
    licence="MIT (the posts CC-BY-4.0)",
    citation="Chen et al. 2026 (arXiv 2602.02495)",
    read=each(_tldr),
    traps=(
        "chosen does not mean better: the signs say what is",
        "the number 2 is no letter B, and is refused",
        "where the authors' converter met a missing label it wrote 0, a tie",
    ),
)


def _safety(row: Record, asked: Asked) -> Iterator[Pair]:
    if "safer_response_id" in row.fields:
        yield from dual_verdicts(row, asked)
    else:
        yield _pair(row, asked, columns=_SAFETY)


RACO_SAFERLHF = Recipe(
    name="raco-saferlhf",
    kind="pairs",
    title="RACO's SafeRLHF pairs",
    source="RACOo/SafeRLHF-Alignment",
    objectives=tuple(_SAFETY),
    forms=(
        *PKU_SAFERLHF.forms,
        ("chosen", "rejected", "raco_s_helpfulness", "raco_s_harmlessness"),
        ("Response_A", "Response_B", "Helpfulness", "Harmlessness"),
    ),
    rule="As pku-saferlhf where the file has its columns; else a is chosen, or Response_A, and a sign of 1 or the letter A "
    "says that a is better, -1 or B that b is, 0 or tie neither.",
    licence="CC-BY-NC-4.0, that of PKU-SafeRLHF (tagged MIT)",
    citation="Chen et al. 2026 (arXiv 2602.02495); Ji et al. 2024 (arXiv 2406.15513)",
    read=each(_safety),
    options={"safe_ties": SAFE_TIES, "chat": CHAT},
    noncommercial=True,
    traps=(
        "its card states no columns: they are compared when it is read",
        "chosen does not mean better: the signs say what is",
    ),
    knows=lambda fields: "safer_response_id" not in fields,
    hint="The card of the data set states no columns. Rename the two verdicts to raco_s_helpfulness and raco_s_harmlessness.",
)
