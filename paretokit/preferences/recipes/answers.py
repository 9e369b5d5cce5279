"""Scored answers to one prompt, compared two by two; the same answer standing twice is one answer.

Imports: the standard library, `prompts`, and `files`, `forms` of this floor and `recipe`.
"""

import statistics
from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from paretokit.preferences.forms import Pair, sign
from paretokit.preferences.recipes.recipe import Asked
from paretokit.prompts import Prompt

__all__ = ["Answer", "Groups", "Scores", "compared"]

Scores = dict[str, float | None]


class Answer(NamedTuple):
    """One answer with a score for each objective; larger is better, None is not judged."""

    place: str
    text: str
    scores: Scores


def compared(prompt: Prompt, answers: Sequence[Answer], asked: Asked) -> Iterator[Pair]:
    """Yield every two answers as a pair, the earlier one as a; scores that differ by no more than the margin are a tie."""
    for a, b in combinations(answers, 2):
        yield Pair(
            prompt, a.text, b.text, {name: sign(a.scores[name], b.scores[name], margin=asked.margin) for name in a.scores}
        )


class Groups:
    """Answers collected prompt by prompt, where a data set has one answer in a record."""

    def __init__(self) -> None:
        self._answers: dict[Hashable, tuple[Prompt, list[Answer]]] = {}

    def add(self, key: Hashable, prompt: Prompt, answer: Answer) -> None:
        """Add an answer to the group of `key`."""
        self._answers.setdefault(key, (prompt, []))[1].append(answer)

    def pairs(self, asked: Asked, *, majority: bool = False) -> list[Pair]:
        """Return all pairs within each group, in the order of their first answers.

        An answer that stands several times under its prompt is one answer, with the mean of its scores; with `majority`, for
        scores 0 and 1, with the verdict of more than half, and none where they are even. An answer alone is left out.
        """
        pairs: list[Pair] = []
        for prompt, answers in self._answers.values():
            merged = _merged(answers, majority=majority)
            if len(merged) < len(answers):
                asked.notes.say("an answer that stands several times under its prompt is read as one")
            if len(merged) == 1:
                asked.notes.leave_out(answers[0].place, "it is the only answer to its prompt")
            pairs += compared(prompt, merged, asked)
        return pairs


def _merged(answers: Sequence[Answer], *, majority: bool) -> list[Answer]:
    alike: dict[str, list[Answer]] = {}
    for answer in answers:
        alike.setdefault(answer.text, []).append(answer)
    return [
        same[0]._replace(scores={name: _one([answer.scores[name] for answer in same], majority) for name in same[0].scores})
        for same in alike.values()
    ]


def _one(scores: Sequence[float | None], majority: bool) -> float | None:
    judged = [score for score in scores if score is not None]
    if not judged:
        return None
    mean = statistics.fmean(judged)
    if not majority:
        return mean
    return None if mean == 0.5 else float(mean > 0.5)
