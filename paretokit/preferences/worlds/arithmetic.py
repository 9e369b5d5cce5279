"""The world `math`: a short word problem, and an answer that tells its calculations or asks them, as a tutor might.

    Count: Tom has 4 maps. Tom finds 3. Tom loses 2.

A problem has two or three calculations, in its own order: 4 plus 3, then 7 minus 2. They and the result are its units.
An answer is made of these sentences, in any order (the last has three phrasings):

| sentence | example |
|---|---|
| calculation told | 4 plus 3 is 7. |
| calculation asked | What is 4 plus 3? |
| result told | Tom has 5 maps. |
| result asked | How many maps has Tom? |
| cheer | You can do it. |

Two objectives pull apart:

- accuracy: 1/2 for the result told, and 1/2 times the share of the calculations told;
- engagement: 0.2 for a cheer, and 0.8 times the share of the units that are asked and not told in the same text (a
  question whose answer is given away is none).

Each sentence that is false, cannot be read or was said before costs 0.25 of accuracy and 0.1 of engagement; a second
cheer, in any phrasing, was said before. Neither falls below 0. A calculation that is not one of the problem's own is
false, whatever it says. So the answers that nothing dominates all cheer; they run from every unit told, (1, 0.2), to
every unit asked, (0, 1), and ask the calculations before the result.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import accumulate, product
from types import MappingProxyType
from typing import NamedTuple

import torch

from paretokit.errors import DataError
from paretokit.preferences.worlds.rules import Rules, chances, draw, draw_distinct, sentences
from paretokit.preferences.worlds.words import CHEERS, NAMES, THINGS, Words, any_of

MORE = ("finds", "buys", "gets")
LESS = ("loses", "sells", "breaks")
STARTS, SIZES, TOTALS = range(2, 10), range(1, 6), range(2, 15)
"""What a drawn problem starts with, how large its steps are, and what it may come to on the way."""
CALCULATIONS = (2, 3)

WHOLE = 60
"""Scores are counted in sixtieths: halves, thirds and quarters of what they are shares of stay whole."""
RESULT, TOLD, CHEER, ASKED = 30, 30, 12, 48
FALSE_ACCURACY, FALSE_ENGAGEMENT = 15, 6

INVITATION = "Count: "


class Problem(NamedTuple):
    """A problem as read from its text: who has at first how many of what, and what each step adds (less than 0: takes)."""

    name: str
    things: str
    start: int
    steps: tuple[int, ...]


class Unit(NamedTuple):
    """One thing to find out, a calculation or the result."""

    asked: str
    """The sentence that asks for it."""
    claim: str
    """The sentence that tells it, with `{}` for the number."""
    number: int

    @property
    def told(self) -> str:
        """The sentence that tells it rightly."""
        return self.claim.format(self.number)


_NUMBER = "[0-9]{1,2}"
_PLURALS = tuple(f"{thing}s" for thing in THINGS)
_STEP = rf"{any_of(MORE + LESS)} [1-9][0-9]?"
_PROBLEM = re.compile(
    rf"{INVITATION}({any_of(NAMES)}) has ([1-9][0-9]?) ({any_of(_PLURALS)})\.((?: \1 {_STEP}\.){{1,{CALCULATIONS[-1]}}})"
)
_STEPS = re.compile(rf"({any_of(MORE + LESS)}) ([0-9]+)")
_RESULT = rf"{any_of(NAMES)} has {_NUMBER} {any_of(_PLURALS)}"
_FORM = re.compile(
    rf"{_NUMBER} (?:plus|minus) {_NUMBER} is {_NUMBER}|what is {_NUMBER} (?:plus|minus) {_NUMBER}"
    rf"|{_RESULT}|how many {any_of(_PLURALS)} has {any_of(NAMES)}|{any_of(CHEERS)}".replace(".", "").lower()
)


@lru_cache(maxsize=4096)
def read(content: str) -> Problem:
    """Return what a problem states; one with a single calculation can be read too.

    >>> read("Count: Tom has 4 maps. Tom finds 3. Tom loses 2.")
    Problem(name='Tom', things='maps', start=4, steps=(3, -2))

    Raises `DataError` for a text that is not a problem of this world: other words, more taken than there is, or the same
    calculation twice.
    """
    found = _PROBLEM.fullmatch(content)
    if found:
        name, start, things, told = found.groups()
        steps = tuple(int(size) if verb in MORE else -int(size) for verb, size in _STEPS.findall(told))
        problem = Problem(name=name, things=things, start=int(start), steps=steps)
        calculations = list(zip(_totals(problem), steps, strict=False))
        if min(_totals(problem)) >= 0 and len(set(calculations)) == len(calculations):
            return problem
    raise DataError(
        "prompt: expected a problem of the world 'math' ('Count: Tom has 4 maps. Tom finds 3. Tom loses 2.'), "
        f"found {content[:60]!r}. Score the prompts of world('math') or of its preferences."
    )


def _totals(problem: Problem) -> list[int]:
    """How many there are at first and after each step."""
    return list(accumulate(problem.steps, initial=problem.start))


def units(problem: Problem) -> list[Unit]:
    """Return the calculations of a problem in order, then its result.

    >>> for unit in units(read("Count: Tom has 4 maps. Tom loses 2.")):
    ...     print(unit.asked, unit.told)
    What is 4 minus 2? 4 minus 2 is 2.
    How many maps has Tom? Tom has 2 maps.
    """
    totals = _totals(problem)
    found = []
    for before, step, after in zip(totals, problem.steps, totals[1:], strict=False):
        calculation = f"{before} {'plus' if step > 0 else 'minus'} {abs(step)}"
        found.append(Unit(asked=f"What is {calculation}?", claim=f"{calculation} is {{}}.", number=after))
    name, things = problem.name, problem.things
    return [*found, Unit(asked=f"How many {things} has {name}?", claim=f"{name} has {{}} {things}.", number=totals[-1])]


def _words(spoken: str) -> Words:
    return sentences(spoken)[0]


@lru_cache(maxsize=4096)
def _kinds(content: str) -> Mapping[Words, tuple[str, int]]:
    """What each sentence that is right for a problem is: "told" or "asked" with the place of the unit, or a cheer."""
    kinds = {_words(cheer): ("cheer", 0) for cheer in CHEERS}
    for place, unit in enumerate(units(read(content))):
        kinds |= {_words(unit.told): ("told", place), _words(unit.asked): ("asked", place)}
    return MappingProxyType(kinds)


def parses(text: str) -> bool:
    """Return whether every sentence of a text is in one of the world's forms, true or not.

    >>> parses("2 plus 2 is 5. How many maps has Tom? Take your time."), parses("2 plus 2."), parses("")
    (True, False, True)
    """
    return all(_FORM.fullmatch(" ".join(words)) for words in sentences(text))


def scores(content: str, text: str) -> tuple[float, float]:
    """Return accuracy and engagement of an answer, each in [0, 1].

    >>> problem = "Count: Tom has 4 maps. Tom finds 3. Tom loses 2."
    >>> scores(problem, "4 plus 3 is 7. 7 minus 2 is 5. Tom has 5 maps.")
    (1.0, 0.0)
    >>> scores(problem, "4 plus 3 is 7. What is 7 minus 2? Take your time."), scores(problem, "")
    ((0.25, 0.4666666666666667), (0.0, 0.0))
    """
    kinds = _kinds(content)
    spoken = sentences(text)
    said = {kinds[words] for words in spoken if words in kinds}
    result = len(read(content).steps)
    told = {place for kind, place in said if kind == "told"}
    asked = {place for kind, place in said if kind == "asked"} - told
    false = len(spoken) - len(said)
    accuracy = RESULT * (result in told) + TOLD // result * len(told - {result}) - FALSE_ACCURACY * false
    engagement = CHEER * (("cheer", 0) in said) + ASKED // (result + 1) * len(asked) - FALSE_ENGAGEMENT * false
    return max(0, accuracy) / WHOLE, max(0, engagement) / WHOLE


def solved(content: str, text: str) -> bool:
    """Return whether an answer tells the result of a problem, rightly and no other beside it.

    How it gets there does not matter: this is the check of an outcome, not of the steps.

    >>> problem = "Count: Tom has 4 maps. Tom finds 3. Tom loses 2."
    >>> solved(problem, "4 plus 3 is 8. Tom has 5 maps."), solved(problem, "7 minus 2 is 5.")
    (True, False)
    >>> solved(problem, "Tom has 5 maps. Tom has 6 maps.")
    False
    """
    results = {words for words in sentences(text) if re.fullmatch(_RESULT.lower(), " ".join(words))}
    return results == {_words(units(read(content))[-1].told)}


def choices(content: str) -> Iterator[str]:
    """Yield an answer for every way to leave each unit out, ask it or tell it, without and with a cheer.

    >>> list(choices("Count: Tom has 4 maps. Tom loses 2."))[:3]
    ['', 'You can do it.', 'How many maps has Tom?']
    """
    ways = [("", unit.asked, unit.told) for unit in units(read(content))]
    for chosen in product(*ways, ("", CHEERS[1])):
        yield " ".join(filter(None, chosen))


def sample(generator: torch.Generator) -> str:
    """Return a problem with two or three steps of different sizes; it never comes to fewer than 2 things or more than 14."""
    name, things = draw(NAMES, generator), draw(_PLURALS, generator)
    while True:
        start, number = draw(STARTS, generator), draw(CALCULATIONS, generator)
        steps = [size * draw((1, -1), generator) for size in draw_distinct(SIZES, number, generator)]
        if all(total in TOTALS for total in accumulate(steps, initial=start)):
            break
    told = (f"{name} {draw(MORE if step > 0 else LESS, generator)} {abs(step)}." for step in steps)
    return f"{INVITATION}{name} has {start} {things}. {' '.join(told)}"


def answer(content: str, generator: torch.Generator) -> str:
    """Return an answer that has something to say, in the order of the problem.

    How much it asks, p, is drawn first, evenly from 0 to 1: each unit is asked with probability p and told otherwise. One
    unit in ten is left out, one told number in ten is wrong, and a cheer follows with probability 0.2 + 0.5 p.
    """
    problem = read(content)
    asks = torch.rand((), generator=generator).item()
    found = units(problem)
    asked, left_out, wrong = (chances([p] * len(found), generator) for p in (asks, 1 / 10, 1 / 10))
    if all(left_out):
        left_out[draw(range(len(found)), generator)] = False
    said = []
    for place, unit in enumerate(found):
        if asked[place] and not left_out[place]:
            said.append(unit.asked)
        elif not left_out[place]:
            said.append(_mistaken(unit, generator) if wrong[place] else unit.told)
    cheers = [draw(CHEERS, generator)] if chances([0.2 + 0.5 * asks], generator) == [True] else []
    return " ".join(said + cheers)


def _mistaken(unit: Unit, generator: torch.Generator) -> str:
    """The sentence that tells the unit, with another number."""
    return unit.claim.format(draw([total for total in TOTALS if total != unit.number], generator))


MATH = Rules(
    name="math",
    objectives=("accuracy", "engagement"),
    sample=sample,
    answer=answer,
    scores=scores,
    choices=choices,
    parses=parses,
)
"""The rules of the world `math`."""
