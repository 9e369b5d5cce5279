"""The simulated student of the world `tutoring`: what it has not understood, and what it answers to a tutor's turn.

A student opens with sums that it got wrong:

    Help: 4 plus 3 is not 8. 9 minus 2 is not 5.

The tutor says something, the student answers, and so on. The student does one thing with a sum. If the tutor tells the
result, it repeats it. Else, if it is asked how it did the sum, it explains, and stays where it is. Else, if it is asked what
the sum is, it tries again: a slip, a result that is off by one, it puts right; anything else only with the hint how to count,
which it remembers once it was given; without the hint it comes one nearer. A sum that nobody speaks of stays as it is.

| what the tutor says | example |
|---|---|
| told | 4 plus 3 is 7. |
| explain | How did you do 4 plus 3? |
| asked | What is 4 plus 3? |
| hint | Count 3 on from 4. |
| cheer | You can do it. |

Everything follows from the text of the dialogue: there is no state elsewhere and no chance. A dialogue is written as one text
with a turn a line, the student's first (`build.ask` makes chat messages of it).
Imports: `rules`, `words`, `errors`, `prompts`, the standard library.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from paretokit.errors import DataError
from paretokit.preferences.worlds.rules import sentences
from paretokit.preferences.worlds.words import CHEERS, Words, any_of
from paretokit.prompts import Reply

INVITATION = "Help: "
MOODS = ("Ok.", "Let me see.", "I like this.")
"""How an answer of the student begins, from bored to engaged."""
MOST_SUMS = 3

WHOLE = 60
"""Scores are counted in sixtieths: halves, thirds and quarters of what they are shares of stay whole."""
CHEER, EXPLAINED = 12, 48
FALSE_ACCURACY, FALSE_ENGAGEMENT = 15, 6

_NUMBER = "(?:0|[1-9][0-9]?)"
CALCULATION = rf"{_NUMBER} (?:plus|minus) {_NUMBER}"
_CLAIM = re.compile(rf" ({CALCULATION}) is (not )?({_NUMBER})\.")
_OPENING = re.compile(rf"{INVITATION[:-1]}((?: {CALCULATION} is not {_NUMBER}\.){{1,{MOST_SUMS}}})")
_MOOD = any_of(tuple(map(re.escape, MOODS)))
_REPLY = re.compile(rf"{_MOOD}((?: {CALCULATION} is (?:not )?{_NUMBER}\.){{1,{MOST_SUMS}}})")


class Sum(NamedTuple):
    """A sum that the student has not got right, and its last wrong result."""

    first: int
    sign: str  # "plus" or "minus"
    second: int
    wrong: int

    @property
    def calculation(self) -> str:
        """As it is spoken of, "4 plus 3"."""
        return f"{self.first} {self.sign} {self.second}"

    @property
    def result(self) -> int:
        """What is right."""
        return self.first + (self.second if self.sign == "plus" else -self.second)

    @property
    def slip(self) -> bool:
        """Whether the wrong result is off by one."""
        return abs(self.wrong - self.result) == 1

    @property
    def told(self) -> str:
        """The sentence that gives the result away."""
        return f"{self.calculation} is {self.result}."

    @property
    def asked(self) -> str:
        """The question that makes the student try again."""
        return f"What is {self.calculation}?"

    @property
    def explain(self) -> str:
        """The question that makes the student tell how it went about it."""
        return f"How did you do {self.calculation}?"

    @property
    def hint(self) -> str:
        """The sentence that says how to count."""
        return f"Count {self.second} {'on' if self.sign == 'plus' else 'back'} from {self.first}."

    @property
    def nearer(self) -> "Sum":
        """The sum with the wrong result that comes after another try without a hint."""
        return self._replace(wrong=self.wrong + (1 if self.wrong < self.result else -1))


class Dialogue(NamedTuple):
    """Where a dialogue stands when it is the tutor's turn."""

    sums: tuple[Sum, ...]  # not understood yet, at least one
    hinted: frozenset[str]  # calculations of which a hint was given
    explained: frozenset[str]  # calculations that the student was asked to explain
    cheers: frozenset[Words]  # said so far


class Effect(NamedTuple):
    """What a tutor's turn does."""

    understood: tuple[bool, ...]  # by sum: right in the student's next answer, without being told
    told: tuple[bool, ...]  # by sum: right because it was told
    tried: tuple[bool, ...]  # by sum: tried again, with whatever result
    explained: tuple[bool, ...]  # by sum: explained, for the first time
    cheered: bool  # by a sentence that is new in this dialogue
    needless: int  # hints that nothing needed
    false: int  # sentences that are false, cannot be read or were said in this turn before


def read(content: str) -> Dialogue:
    """Return where a dialogue stands, from its text: a turn a line, the student's first and last.

    >>> read("Help: 4 plus 3 is not 8. 9 minus 2 is not 5.").sums[0]
    Sum(first=4, sign='plus', second=3, wrong=8)
    >>> turns = ["Help: 4 plus 3 is not 8. 9 minus 2 is not 5.", "What is 4 plus 3?", "Ok. 4 plus 3 is 7. 9 minus 2 is not 5."]
    >>> [one.calculation for one in read("\\n".join(turns)).sums]
    ['9 minus 2']

    Raises `DataError` for a text that is not such a dialogue: other words, a sum twice, a wrong result that is right, an
    answer that is not about the sums that were open, and one in which everything is right.
    """
    found = _read(content)
    if found is None or not found.sums:
        raise DataError(
            "prompt: expected a dialogue of the world 'tutoring' in which a sum is still wrong ('Help: 4 plus 3 is not 8.'), "
            f"found {content[:60]!r}. Score the prompts of world('tutoring'), of its preferences, or of its student's answers."
        )
    return found


@lru_cache(maxsize=4096)
def _read(content: str) -> Dialogue | None:
    """The same, with None for a text that is no dialogue, and with no sums where all are understood."""
    opening, *turns = content.split("\n")
    matched = _OPENING.fullmatch(opening)
    sums = _open_sums(matched.group(1)) if matched else None
    if not sums or len({one.calculation for one in sums}) < len(sums) or len(turns) % 2:
        return None
    found = Dialogue(sums, frozenset(), frozenset(), frozenset())
    for tutored, replied in zip(turns[::2], turns[1::2], strict=True):
        matched = _REPLY.fullmatch(replied)
        left = _open_sums(matched.group(1)) if matched else None
        spoken_of = [calculation for calculation, _, _ in _CLAIM.findall(replied)]
        if left is None or spoken_of != [one.calculation for one in found.sums]:
            return None
        said = set(sentences(tutored))
        found = Dialogue(
            left,
            found.hinted | {one.calculation for one in found.sums if words(one.hint) in said},
            found.explained | {one.calculation for one in found.sums if words(one.explain) in said},
            found.cheers | (said & set(map(words, CHEERS))),
        )
    return found


def _open_sums(claims: str) -> tuple[Sum, ...] | None:
    """The sums that are still wrong; None where a claim is not as it says."""
    sums = []
    for calculation, wrong, number in _CLAIM.findall(claims):
        first, sign, second = calculation.split()
        one = Sum(int(first), sign, int(second), int(number))
        if one.result < 0 or (one.wrong == one.result) == bool(wrong):
            return None
        if wrong:
            sums.append(one)
    return tuple(sums)


def words(spoken: str) -> Words:
    """Return the words of one sentence."""
    return sentences(spoken)[0]


@lru_cache(maxsize=4096)
def _kinds(sums: tuple[Sum, ...]) -> Mapping[Words, tuple[str, int]]:
    """What each sentence is that has a place in the dialogue: its kind, and the place of its sum."""
    kinds = {words(cheer): ("cheer", 0) for cheer in CHEERS}
    for place, one in enumerate(sums):
        for kind in ("told", "explain", "asked", "hint"):
            kinds[words(getattr(one, kind))] = (kind, place)
    return MappingProxyType(kinds)


def effect(dialogue: Dialogue, text: str) -> Effect:
    """Return what a tutor's turn does to the student.

    >>> found = effect(read("Help: 4 plus 3 is not 8. 9 minus 2 is not 5."), "What is 4 plus 3? What is 9 minus 2?")
    >>> found.understood, found.false
    ((True, False), 0)
    """
    kinds = _kinds(dialogue.sums)
    spoken = sentences(text)
    said = {kinds[one] for one in spoken if one in kinds}
    understood, told, tried, explained, needless = [], [], [], [], 0
    for place, one in enumerate(dialogue.sums):
        hint_given, known = ("hint", place) in said, one.calculation in dialogue.hinted
        is_told, is_explained = ("told", place) in said, ("explain", place) in said
        tries = ("asked", place) in said and not is_told and not is_explained
        tried.append(tries)
        told.append(is_told)
        explained.append(is_explained and not is_told and one.calculation not in dialogue.explained)
        understood.append(tries and (one.slip or known or hint_given))
        needless += hint_given and (one.slip or known)
    cheers = {one for one in spoken if kinds.get(one, ("", 0))[0] == "cheer"}
    return Effect(
        tuple(understood),
        tuple(told),
        tuple(tried),
        tuple(explained),
        cheered=bool(cheers - dialogue.cheers),
        needless=needless,
        false=len(spoken) - len(said),
    )


def rated(found: Effect) -> tuple[float, float]:
    """Return accuracy and engagement of a tutor's turn with this effect, each in [0, 1].

    >>> rated(effect(read("Help: 4 plus 3 is not 8."), "What is 4 plus 3? Take your time."))
    (1.0, 0.2)
    """
    share = WHOLE // len(found.understood)
    accuracy = share * sum(found.understood) - FALSE_ACCURACY * found.false
    engaging = CHEER * found.cheered + EXPLAINED * sum(found.explained) // len(found.explained)
    engagement = engaging - FALSE_ENGAGEMENT * (found.false + found.needless)
    return max(0, accuracy) / WHOLE, max(0, engagement) / WHOLE


def reply(content: str, text: str) -> Reply:
    """Return what the student answers to a tutor's turn: its mood, then each sum that was open, right now or still wrong.

    The mood tells the engagement: below 0.3, below 0.6, or more. The answer is the last one where every sum is right.

    >>> problem = "Help: 4 plus 3 is not 8. 9 minus 2 is not 5."
    >>> reply(problem, "What is 4 plus 3? How did you do 9 minus 2?")
    Reply(text='Let me see. 4 plus 3 is 7. 9 minus 2 is not 5.', last=False)
    >>> reply(problem, "9 minus 2 is 7. What is 4 plus 3? You can do it.")
    Reply(text='Ok. 4 plus 3 is 7. 9 minus 2 is 7.', last=True)

    Raises `DataError` for a dialogue of another world.
    """
    dialogue = read(content)
    found = effect(dialogue, text)
    _, engagement = rated(found)
    mood = MOODS[(engagement >= 0.3) + (engagement >= 0.6)]
    right = [understood or told for understood, told in zip(found.understood, found.told, strict=True)]
    claims = []
    for one, done, tried in zip(dialogue.sums, right, found.tried, strict=True):
        claims.append(one.told if done else f"{one.calculation} is not {(one.nearer if tried else one).wrong}.")
    return Reply(" ".join((mood, *claims)), last=all(right))
