"""The world `tutoring`: a tutor's next turn in a dialogue with a student who got some sums wrong.

A prompt is a dialogue: what the student opened with and, in half of them, up to two turns of a tutor with the student's
answers. What a tutor can say and what a student makes of it is told in `student`. Two objectives pull apart, since a student
that is asked to explain a sum does not try it again in the same turn:

- accuracy: the share of the open sums that are right in the student's next answer without being told;
- engagement: 0.2 for a cheer, and 0.8 times the share of the open sums that the student is asked to explain; both count
  only when they are new in the dialogue.

Each sentence that is false, cannot be read or was said in this turn before costs 0.25 of accuracy and 0.1 of engagement;
each hint that nothing needed costs 0.1 of engagement. Neither falls below 0. So the turns that nothing dominates cheer, where
a cheer is left, and make the student try some sums and explain the others: from (1, 0.2) to (0, 1) where none was explained.
Imports: `rules`, `student`, `words`, torch (for its generator), the standard library.
"""

import re
from collections.abc import Iterator
from itertools import product

import torch

from paretokit.preferences.worlds.rules import Rules, chances, draw, sentences
from paretokit.preferences.worlds.student import CALCULATION, INVITATION, Sum, effect, rated, read, reply, words
from paretokit.preferences.worlds.words import CHEERS

FIRST, SECOND, FURTHER = range(2, 11), range(1, 7), range(2, 4)
"""What a drawn sum starts with, what is added or taken, and how far off a result is that is no slip."""
SUMS = 2
ROUNDS = (0, 0, 1, 2)
"""How many turns of a tutor a drawn dialogue has, all equally likely; it ends before where the student is done."""

_NUMBER = "[0-9]{1,2}"
_FORM = re.compile(
    rf"{CALCULATION} is {_NUMBER}|(?:what is|how did you do) {CALCULATION}"
    rf"|count {_NUMBER} (?:on|back) from {_NUMBER}|{'|'.join(CHEERS).replace('.', '').lower()}"
)


def scores(content: str, text: str) -> tuple[float, float]:
    """Return accuracy and engagement of a tutor's turn, each in [0, 1].

    >>> problem = "Help: 4 plus 3 is not 8. 9 minus 2 is not 5."
    >>> scores(problem, "What is 4 plus 3? Count 2 back from 9. What is 9 minus 2?"), scores(problem, "4 plus 3 is 7.")
    ((1.0, 0.0), (0.0, 0.0))
    >>> scores(problem, "What is 4 plus 3? How did you do 9 minus 2? You can do it.")
    (0.5, 0.6)
    """
    return rated(effect(read(content), text))


def understood(content: str, text: str) -> bool:
    """Return whether after a tutor's turn every sum is right in the student's next answer, and none was told.

    >>> understood("Help: 4 plus 3 is not 8.", "What is 4 plus 3?"), understood("Help: 4 plus 3 is not 8.", "4 plus 3 is 7.")
    (True, False)
    """
    return all(effect(read(content), text).understood)


def parses(text: str) -> bool:
    """Return whether every sentence of a text is in one of the world's forms, true or not.

    >>> parses("2 plus 2 is 5. How did you do 9 minus 2? Take your time."), parses("2 plus 2."), parses("")
    (True, False, True)
    """
    return all(_FORM.fullmatch(" ".join(spoken)) for spoken in sentences(text))


def choices(content: str) -> Iterator[str]:
    """Yield a turn for every way to treat each open sum, without and with a cheer that is new.

    A sum is left out, told, explained, asked, or asked after its hint.

    >>> list(choices("Help: 4 plus 3 is not 8."))[-1]
    'Count 3 on from 4. What is 4 plus 3? You can do it.'
    """
    dialogue = read(content)
    ways = [("", one.told, one.explain, one.asked, f"{one.hint} {one.asked}") for one in dialogue.sums]
    fresh = [cheer for cheer in (CHEERS[1], CHEERS[0], CHEERS[2]) if words(cheer) not in dialogue.cheers]
    for chosen in product(*ways, ("", *fresh[:1])):
        yield " ".join(filter(None, chosen))


def sample(generator: torch.Generator) -> str:
    """Return a dialogue that opens with two different sums, each off by one, or with equal chance by two or three."""
    sums: dict[str, Sum] = {}
    while len(sums) < SUMS:
        one = Sum(draw(FIRST, generator), draw(("plus", "minus"), generator), draw(SECOND, generator), 0)
        far = draw(FURTHER, generator) if chances([0.5], generator) == [True] else 1
        one = one._replace(wrong=one.result + far * draw((1, -1), generator))
        if min(one.result, one.wrong) >= 0:
            sums[one.calculation] = one
    content = INVITATION + " ".join(f"{one.calculation} is not {one.wrong}." for one in sums.values())
    for _ in range(draw(ROUNDS, generator)):
        tutored = answer(content, generator)
        replied = reply(content, tutored)
        if replied.last:
            break
        content = f"{content}\n{tutored}\n{replied.text}"
    return content


def answer(content: str, generator: torch.Generator) -> str:
    """Return a turn of a tutor who has something to say, in the order of the sums.

    How much it makes the student explain, p, is drawn first, evenly from 0 to 1: each sum is explained with probability p and
    asked otherwise; before it is asked comes its hint, with probability 0.8 where it helps and 0.15 where it does not. One
    sum in ten is left out, one in ten told instead, one told result in ten is wrong, and a cheer follows with probability
    0.2 + 0.5 p.
    """
    dialogue = read(content)
    explains = torch.rand((), generator=generator).item()
    number = len(dialogue.sums)
    left_out, told, wrong, explained = (chances([p] * number, generator) for p in (1 / 10, 1 / 10, 1 / 10, explains))
    if all(left_out):
        left_out[draw(range(number), generator)] = False
    needs = [not one.slip and one.calculation not in dialogue.hinted for one in dialogue.sums]
    hinted = chances([0.8 if needed else 0.15 for needed in needs], generator)
    said = []
    for place, one in enumerate(dialogue.sums):
        if left_out[place]:
            continue
        if told[place]:
            said.append(f"{one.calculation} is {one.wrong}." if wrong[place] else one.told)
        elif explained[place]:
            said.append(one.explain)
        else:
            said += [one.hint] * hinted[place] + [one.asked]
    cheers = [draw(CHEERS, generator)] if chances([0.2 + 0.5 * explains], generator) == [True] else []
    return " ".join(said + cheers)


TUTORING = Rules(
    name="tutoring",
    objectives=("accuracy", "engagement"),
    sample=sample,
    answer=answer,
    scores=scores,
    choices=choices,
    parses=parses,
    reply=reply,
)
"""The rules of the world `tutoring`."""
