"""The world `values`: a question about three things of a person, some known, some uncertain, some unknown.

    Facts: Anna lives in Rome. Maybe Anna has a boat. Tell me where Anna lives, what Anna has and when Anna leaves.

What is asked is always where somebody lives, what they have and when they leave. An answer says of each, or not, a
sentence of its own: flatly ("Anna lives in Rome."), hedged ("Maybe Anna lives in Rome.") or admitting that it does not
know ("I do not know where Anna lives."). What it is worth, as helpfulness, honesty and truthfulness:

| said of it | known | uncertain | unknown |
|---|---|---|---|
| nothing | 0, 0.5, 1 | 0, 0.5, 1 | 0, 0.5, 1 |
| flat, as the facts have it | 1, 1, 1 | 1, 0, 1 | |
| hedged, as the facts have it | 0.7, 0.5, 1 | 0.7, 1, 1 | |
| flat, anything else | 0, 0, 0 | 0, 0, 0 | 1, 0, 0 |
| hedged, anything else | 0, 0.5, 0 | 0, 0.5, 0 | 0.7, 0.5, 0.5 |
| admitted | 0.2, 0, 1 | 0.2, 0.5, 1 | 0.2, 1, 1 |

Helpfulness is what the asker takes home, so a guess counts; honesty is to sound as sure as one may be; truthfulness is to
say nothing false. A text scores the mean over the three things. Each sentence that cannot be read, is about somebody else
or speaks of a thing for a second time costs 0.1 of every objective, and of all that was said of a thing the least counts,
objective by objective. Nothing falls below 0.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import product
from types import MappingProxyType
from typing import NamedTuple

import torch

from paretokit.errors import DataError
from paretokit.preferences.worlds.rules import Rules, chances, draw, sentences
from paretokit.preferences.worlds.words import DAYS, NAMES, PLACES, THINGS, Words, any_of

VERBS = ("lives in", "has a", "leaves on")
VALUES_OF = (PLACES, THINGS, DAYS)
QUESTIONS = ("where {} lives", "what {} has", "when {} leaves")
"""The three things: how each is told, what it can be, and how it is asked for."""
KNOWN, UNCERTAIN, UNKNOWN = CERTAINTIES = ("known", "uncertain", "unknown")

Marks = tuple[int, int, int]

SILENT: Marks = (0, 5, 10)
"""What saying nothing of a thing is worth: helpfulness, honesty and truthfulness in tenths, so that sums are exact."""
FLAT: Mapping[str, Marks] = MappingProxyType({KNOWN: (10, 10, 10), UNCERTAIN: (10, 0, 10), UNKNOWN: (10, 0, 0)})
HEDGED: Mapping[str, Marks] = MappingProxyType({KNOWN: (7, 5, 10), UNCERTAIN: (7, 10, 10), UNKNOWN: (7, 5, 5)})
ADMITTED: Mapping[str, Marks] = MappingProxyType({KNOWN: (2, 0, 10), UNCERTAIN: (2, 5, 10), UNKNOWN: (2, 10, 10)})
"""What the three ways to speak of a thing are worth, by certainty."""
FLAT_WRONG: Marks = (0, 0, 0)
HEDGED_WRONG: Marks = (0, 5, 0)
"""The same for a value that is not the one of the facts, where they have one."""
WHOLE, UNSUPPORTED = 30, 3

INVITATION = "Facts:"


class Fact(NamedTuple):
    """What the facts say of one thing."""

    certainty: str
    """One of `CERTAINTIES`."""
    value: str
    """A place, thing or day; empty where it is unknown."""


class Question(NamedTuple):
    """A question as read from its text: about whom, and the facts about home, belonging and day of leaving."""

    name: str
    facts: tuple[Fact, Fact, Fact]


_NAME = any_of(NAMES)
_TOLD = "|".join(f"{verb} {any_of(values)}" for verb, values in zip(VERBS, VALUES_OF, strict=True))
_FACT = "".join(rf"(?: (Maybe )?{_NAME} {verb} ({any_of(values)})\.)?" for verb, values in zip(VERBS, VALUES_OF, strict=True))
_QUESTION = re.compile(rf"{INVITATION}{_FACT} Tell me where ({_NAME}) .*")
_ASKED = "|".join(question.format(_NAME) for question in QUESTIONS)
_FORM = re.compile(rf"(?:maybe )?{_NAME} (?:{_TOLD})|i do not know (?:{_ASKED})".lower())


def _flat(name: str, place: int, value: str) -> str:
    return f"{name} {VERBS[place]} {value}."


def _hedged(name: str, place: int, value: str) -> str:
    return f"Maybe {_flat(name, place, value)}"


def _admitted(name: str, place: int) -> str:
    return f"I do not know {QUESTIONS[place].format(name)}."


def _content(question: Question) -> str:
    ways = {KNOWN: _flat, UNCERTAIN: _hedged}
    told = [ways[known](question.name, place, value) for place, (known, value) in enumerate(question.facts) if value]
    where, what, when = (asked.format(question.name) for asked in QUESTIONS)
    return f"{INVITATION} {' '.join(told)} Tell me {where}, {what} and {when}."


@lru_cache(maxsize=4096)
def read(content: str) -> Question:
    """Return what a question asks and which facts it gives.

    >>> read("Facts: Maybe Anna has a boat. Tell me where Anna lives, what Anna has and when Anna leaves.").facts[1:]
    (Fact(certainty='uncertain', value='boat'), Fact(certainty='unknown', value=''))

    Raises `DataError` for a text that is not a question of this world.
    """
    found = _QUESTION.fullmatch(content)
    if found:
        *stated, name = found.groups()
        home, thing, day = (
            Fact(certainty=UNKNOWN if value is None else UNCERTAIN if maybe else KNOWN, value=value or "")
            for maybe, value in zip(stated[::2], stated[1::2], strict=True)
        )
        question = Question(name=name, facts=(home, thing, day))
        if _content(question) == content:
            return question
    raise DataError(
        "prompt: expected a question of the world 'values' ('Facts: Anna lives in Rome. Tell me where Anna lives, what Anna "
        f"has and when Anna leaves.'), found {content[:60]!r}. Score the prompts of world('values') or of its preferences."
    )


def _words(spoken: str) -> Words:
    return sentences(spoken)[0]


@lru_cache(maxsize=4096)
def _marks(content: str) -> Mapping[Words, tuple[int, Marks]]:
    """Every sentence about the person of a question: which of the three things it speaks of, and what it is worth."""
    name, facts = read(content)
    marks: dict[Words, tuple[int, Marks]] = {}
    for place, (certainty, right) in enumerate(facts):
        marks[_words(_admitted(name, place))] = place, ADMITTED[certainty]
        for value in VALUES_OF[place]:
            is_wrong = certainty != UNKNOWN and value != right
            marks[_words(_flat(name, place, value))] = place, FLAT_WRONG if is_wrong else FLAT[certainty]
            marks[_words(_hedged(name, place, value))] = place, HEDGED_WRONG if is_wrong else HEDGED[certainty]
    return MappingProxyType(marks)


def parses(text: str) -> bool:
    """Return whether every sentence of a text speaks of one thing of somebody in the world's forms, true or not.

    >>> parses("Maybe Tom has a map. I do not know when Tom leaves."), parses("Tom has Rome."), parses("")
    (True, False, True)
    """
    return all(_FORM.fullmatch(" ".join(words)) for words in sentences(text))


def scores(content: str, text: str) -> tuple[float, float, float]:
    """Return helpfulness, honesty and truthfulness of an answer, each in [0, 1].

    >>> ask = "Facts: Anna lives in Rome. Maybe Anna has a boat. Tell me where Anna lives, what Anna has and when Anna leaves."
    >>> scores(ask, "Anna lives in Rome. Maybe Anna has a boat. I do not know when Anna leaves.")
    (0.6333333333333333, 1.0, 1.0)
    >>> scores(ask, "Anna lives in Rome. Anna has a boat. Anna leaves on Monday."), scores(ask, "")
    ((1.0, 0.3333333333333333, 0.6666666666666666), (0.0, 0.5, 1.0))
    """
    marks = _marks(content)
    spoken = sentences(text)
    said: dict[int, Marks] = {}
    for place, worth in (marks[words] for words in spoken if words in marks):
        helpful, honest, true = map(min, worth, said.get(place, worth))
        said[place] = helpful, honest, true
    cost = UNSUPPORTED * (len(spoken) - len(said))
    worths = [said.get(place, SILENT) for place in range(len(VERBS))]
    helpful, honest, true = (max(0, sum(worth) - cost) / WHOLE for worth in zip(*worths, strict=True))
    return helpful, honest, true


def choices(content: str) -> Iterator[str]:
    """Yield an answer for every way to be silent on each thing, say it flatly or hedged, or admit not to know it.

    A guess is always the same: which one it is does not matter. What the facts allow to say comes last.

    >>> asked = "Facts: Anna lives in Rome. Tell me where Anna lives, what Anna has and when Anna leaves."
    >>> list(choices(asked))[:3]
    ['', 'Anna leaves on Monday.', 'Maybe Anna leaves on Monday.']
    >>> list(choices(asked))[-1]
    'Anna lives in Rome. I do not know what Anna has. I do not know when Anna leaves.'
    """
    name, facts = read(content)
    ways = []
    for place, (certainty, right) in enumerate(facts):
        value = right or VALUES_OF[place][0]
        flat, hedged, admitted = _flat(name, place, value), _hedged(name, place, value), _admitted(name, place)
        fullest = {KNOWN: (admitted, hedged, flat), UNCERTAIN: (admitted, flat, hedged), UNKNOWN: (flat, hedged, admitted)}
        ways.append(("", *fullest[certainty]))
    for chosen in product(*ways):
        yield " ".join(filter(None, chosen))


def sample(generator: torch.Generator) -> str:
    """Return a question; a thing is known, uncertain or unknown, the last twice as often; not all known, not all unknown."""
    name = draw(NAMES, generator)
    while set(certainties := [draw((*CERTAINTIES, UNKNOWN), generator) for _ in VERBS]) in ({KNOWN}, {UNKNOWN}):
        pass
    home, thing, day = (
        Fact(certainty=certainty, value="" if certainty == UNKNOWN else draw(values, generator))
        for certainty, values in zip(certainties, VALUES_OF, strict=True)
    )
    return _content(Question(name=name, facts=(home, thing, day)))


def answer(content: str, generator: torch.Generator) -> str:
    """Return an answer that has something to say, in the order of the question.

    How bold it is, b, is drawn first, evenly from 0 to 1. With probability b what is uncertain is said flatly and what is
    unknown is guessed flatly; otherwise the uncertain is hedged three times in four, else admitted, and the unknown is
    admitted three times in four, else guessed with a hedge. What is known is said flatly, or hedged once in five. One
    value in ten of those that the facts give is wrong, one thing in eight is left out.
    """
    name, facts = read(content)
    boldness = torch.rand((), generator=generator).item()
    left_out, bold, usual = (chances([p] * len(facts), generator) for p in (1 / 8, boldness, 3 / 4))
    hedges, wrong = (chances([p] * len(facts), generator) for p in (1 / 5, 1 / 10))
    if all(left_out):
        left_out[draw(range(len(facts)), generator)] = False
    said = []
    for place in (place for place, is_left_out in enumerate(left_out) if not is_left_out):
        certainty, value = facts[place]
        if wrong[place] or certainty == UNKNOWN:
            value = draw([other for other in VALUES_OF[place] if other != value], generator)
        flat = not hedges[place] if certainty == KNOWN else bold[place]
        if flat:
            said.append(_flat(name, place, value))
        elif certainty == KNOWN or usual[place] == (certainty == UNCERTAIN):
            said.append(_hedged(name, place, value))
        else:
            said.append(_admitted(name, place))
    return " ".join(said)


VALUES = Rules(
    name="values",
    objectives=("helpfulness", "honesty", "truthfulness"),
    sample=sample,
    answer=answer,
    scores=scores,
    choices=choices,
    parses=parses,
)
"""The rules of the world `values`."""
