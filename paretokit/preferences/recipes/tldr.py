"""OpenAI's summaries: a choice between two, and ratings of single summaries.

Imports: `errors`, `prompts`, and `files`, `forms` of this floor and the other modules of this folder.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from paretokit.errors import DataError
from paretokit.preferences.files import Record
from paretokit.preferences.forms import Pair
from paretokit.preferences.recipes.answers import Answer, Groups
from paretokit.preferences.recipes.recipe import Asked, Option, Recipe, each
from paretokit.preferences.recipes.values import integer, nested, place_of, question, rating
from paretokit.prompts import Prompt, as_text, describe

__all__ = ["TLDR", "TLDR_AXIS"]

_AXES = ("overall", "accuracy", "coverage", "coherence")
_OPTIONS = {
    "part": Option("all", "which texts are read", ("all", "reddit", "news")),
    "chat": Option(False, "the text is a user's message and the blank before a summary is dropped; false: raw text"),
}


def _choice(row: Record, asked: Asked) -> Iterator[Pair]:
    choice = integer(row.get("choice"), place=place_of(row, "choice"), expected=(0, 1))
    place = place_of(row, "summaries")
    summaries = nested(row.get("summaries"), list, place=place)
    if len(summaries) != 2:
        raise DataError(f"{place}: found {len(summaries)} summaries, expected 2.")
    first, second = (_summary(one, asked, place=f"{place}, item {number}") for number, one in enumerate(summaries))
    label = 1.0 if choice == 0 else -1.0
    prompt = _prompt(row, asked)
    if prompt is not None:
        yield Pair(prompt, first, second, dict.fromkeys(asked.wanted(("quality",)), label))


def _summary(value: Any, asked: Asked, *, place: str) -> str:
    words = as_text(nested(value, dict, place=place).get("text"), place=f"{place}, 'text'")
    return words.removeprefix(" ") if asked.options["chat"] else words


def _prompt(row: Record, asked: Asked) -> Prompt | None:
    """Return the text to sum up, with "TL;DR:" at its end; None, counted, for a part that is not asked for."""
    place = place_of(row, "info")
    info = nested(row.get("info"), dict, place=place)
    part = "reddit" if info.get("post") is not None else "news" if info.get("article") is not None else None
    if part is None:
        raise DataError(
            f"{place}: found the keys {', '.join(info) or 'none'} without a post or an article, expected one of them."
        )
    if asked.options["part"] not in ("all", part):
        asked.notes.leave_out(row.place, f"it is of the part {part}")
        return None
    words = f"{_head(info, place=place)}{as_text(info['post' if part == 'reddit' else 'article'], place=place)}\n\nTL;DR:"
    return question(words) if asked.options["chat"] else words


def _head(info: Mapping[str, Any], *, place: str) -> str:
    """Return the lines before the text: subreddit and title where they are there."""
    names = {name: as_text(info[name], place=f"{place}, {name!r}") for name in ("subreddit", "title") if info.get(name)}
    lines = [f"SUBREDDIT: r/{names['subreddit']}\n\n"] if "subreddit" in names else []
    lines += [f"TITLE: {names['title']}\n\n"] if "title" in names else []
    return "".join(lines) + ("POST: " if info.get("post") is not None else "")


_SOURCE = "openai/summarize_from_feedback"
_LICENCE = "modified MIT; the posts CC-BY-4.0"
_CITATION = "Stiennon et al. 2020 (arXiv 2009.01325)"

TLDR = Recipe(
    name="tldr",
    kind="pairs",
    title="TL;DR comparisons, a choice between two summaries",
    source=f"{_SOURCE} (comparisons)",
    objectives=("quality",),
    forms=(("info", "summaries", "choice"),),
    rule="a is the first summary; choice is the number of the better one, 0 or 1. The prompt is subreddit, title and post, or "
    "title and article, and TL;DR: at its end.",
    licence=_LICENCE,
    citation=_CITATION,
    read=each(_choice),
    options=_OPTIONS,
    traps=(
        "a choice of 0 is the first summary, no tie",
        "a summary begins with a blank: it goes on from the raw text",
        "posts and news articles stand in one set: option part",
        "several people may judge one pair: each judgement is a pair of its own",
        "extra.confidence is not read; its scale is not stated",
        "valid1 was used by the authors to select models: evaluate on valid2",
    ),
)


def _axes(records: Sequence[Record], asked: Asked) -> list[Pair]:
    groups = Groups()
    for row in records:
        with asked.faults.tolerated():
            place = place_of(row, "summary")
            summary = nested(row.get("summary"), dict, place=place)
            axes = nested(summary.get("axes"), dict, place=f"{place}, 'axes'")
            scores = {name: _rating(axes, name, place=f"{place}, {f'axes.{name}'!r}") for name in asked.wanted(_AXES)}
            prompt = _prompt(row, asked)
            if prompt is not None:
                groups.add(prompt, prompt, Answer(row.place, _summary(summary, asked, place=place), scores))
    return groups.pairs(asked)


def _rating(axes: Mapping[str, Any], name: str, *, place: str) -> float | None:
    if name not in axes:
        raise DataError(f"{place}: missing; found the axes {', '.join(map(describe, axes)) or 'none'}.")
    return rating(axes[name], place=place, expected=range(1, 8))


TLDR_AXIS = Recipe(
    name="tldr-axis",
    kind="pairs",
    title="TL;DR ratings, four axes of single summaries",
    source=f"{_SOURCE} (axis)",
    objectives=_AXES,
    forms=(("info", "summary"),),
    rule="Every two summaries of a text are a pair; on each axis a rating from 1 to 7 that is larger by more than the margin "
    "is better. A summary that was rated several times has the mean.",
    licence=_LICENCE,
    citation=_CITATION,
    read=_axes,
    options=_OPTIONS,
    margin=True,
    traps=("single summaries: pairs are formed within one text", "posts and news articles stand in one set: option part"),
    knows=lambda fields: isinstance(fields["summary"], (dict, str)) and "axes" in fields["summary"],
)
