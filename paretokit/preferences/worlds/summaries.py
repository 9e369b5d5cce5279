"""The world `summaries`: a short post with four facts, some of them hearsay, and a summary of it.

    Sum up: Tom sold the red car. It seems that Anna moved to Rome. Ben leaves on Monday. I hear that Mia broke the map.

A summary says some of the facts, each as a sentence of its own. Hearsay must be passed on as hearsay ("It seems that
..."), which takes three words more; said flatly it still tells the reader the fact, but claims what the post does not.
Three objectives pull apart:

- quality: the share of the post's facts that the text tells, flatly or as hearsay, right in every word;
- conciseness: 1 - words / words of the whole post, not below 0;
- faithfulness: 1 for no unsupported sentence, 0.5 for one, 0 for two or more. Unsupported is hearsay said flatly, a
  fact with a wrong name, thing, place or day, and any sentence that cannot be read. Supported sentences do not dilute
  it, and repeating one counts again.

Saying a certain fact as hearsay is supported: it claims less. Which of the hedges is used does not matter, all have
three words.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import product
from types import MappingProxyType

import torch

from paretokit.errors import DataError
from paretokit.preferences.worlds.rules import Rules, chances, draw, draw_distinct, sentence, sentences
from paretokit.preferences.worlds.words import DAYS, NAMES, PLACES, THINGS, Words, any_of, written

DEEDS = ("sold", "lost", "found", "bought", "broke")
LOOKS = ("old", "new", "red", "blue", "big")
TRAVELS = ("moved", "went", "drove")
PLANS = ("leaves", "starts", "returns")
HEDGES = ("it seems that", "they say that", "I hear that")

FACTS = 4
UNSUPPORTED_LIMIT = 2
INVITATION = "Sum up: "

_CLAUSE = re.compile(
    rf"{any_of(NAMES)} (?:{any_of(DEEDS)} the (?:{any_of(LOOKS)} )?{any_of(THINGS)}"
    rf"|{any_of(TRAVELS)} to {any_of(PLACES)}|{any_of(PLANS)} on {any_of(DAYS)})".lower()
)
_HEDGES = frozenset(tuple(hedge.lower().split()) for hedge in HEDGES)
_KINDS = tuple(tuple(word.lower() for word in kind) for kind in (NAMES, THINGS, PLACES, DAYS))


def _split(words: Words) -> tuple[Words, Words]:
    """A sentence as its hedge (no words for a flat statement) and its clause."""
    return (words[:3], words[3:]) if words[:3] in _HEDGES else ((), words)


def _is_clause(words: Words) -> bool:
    return _CLAUSE.fullmatch(" ".join(words)) is not None


@lru_cache(maxsize=4096)
def read(content: str) -> Mapping[Words, Words]:
    """Return the facts of a post in order: the words of each clause and those of its hedge, none for a certain fact.

    >>> dict(read("Sum up: Tom sold the car. I hear that Ben went to Oslo."))
    {('tom', 'sold', 'the', 'car'): (), ('ben', 'went', 'to', 'oslo'): ('i', 'hear', 'that')}

    Raises `DataError` for a text that is not a post of this world.
    """
    told = [_split(words) for words in sentences(content.removeprefix(INVITATION))]
    facts = MappingProxyType({clause: hedge for hedge, clause in told})
    if not content.startswith(INVITATION) or not facts or len(facts) < len(told) or not all(map(_is_clause, facts)):
        raise DataError(
            f"prompt: expected a post of the world 'summaries' ({INVITATION!r} and its facts, one sentence each), "
            f"found {content[:60]!r}. Score the prompts of world('summaries') or of its preferences."
        )
    return facts


def parses(text: str) -> bool:
    """Return whether every sentence of a text tells a fact in the world's form, true or not.

    >>> parses("Tom sold the car. It seems that Mia lost the big ring."), parses("Tom sold."), parses("")
    (True, False, True)
    """
    return all(_is_clause(_split(words)[1]) for words in sentences(text))


def scores(content: str, text: str) -> tuple[float, float, float]:
    """Return quality, conciseness and faithfulness of a summary, each in [0, 1].

    >>> post = "Sum up: Tom sold the car. I hear that Ben went to Oslo."
    >>> scores(post, "Tom sold the car.")
    (0.5, 0.6363636363636364, 1.0)
    >>> scores(post, "Tom sold the car. Ben went to Oslo."), scores(post, "")
    ((1.0, 0.2727272727272727, 0.5), (0.0, 1.0, 1.0))
    """
    facts = read(content)
    told: set[Words] = set()
    words = unsupported = 0
    for spoken in sentences(text):
        words += len(spoken)
        hedge, clause = _split(spoken)
        if clause in facts:
            told.add(clause)
        if clause not in facts or (facts[clause] and not hedge):
            unsupported += 1
    budget = sum(len(hedge) + len(clause) for clause, hedge in facts.items())
    return (
        len(told) / len(facts),
        max(0.0, 1 - words / budget),
        1 - min(unsupported, UNSUPPORTED_LIMIT) / UNSUPPORTED_LIMIT,
    )


def choices(content: str) -> Iterator[str]:
    """Yield a summary for every way to leave each fact out, say it flatly, or (hearsay) pass it on as hearsay.

    >>> list(choices("Sum up: Tom sold the car. I hear that Ben went to Oslo."))[:3]
    ['', 'Ben went to Oslo.', 'I hear that Ben went to Oslo.']
    """
    ways = [((), clause, hedge + clause) if hedge else ((), clause) for clause, hedge in read(content).items()]
    for chosen in product(*ways):
        yield " ".join(written(words) for words in chosen if words)


def sample(generator: torch.Generator) -> str:
    """Return a post of four facts, one or two of them hearsay; no person, thing, place or day is named twice."""
    hearsay = draw_distinct(range(FACTS), draw((1, 2), generator), generator)
    things, places, days = (draw_distinct(kind, FACTS, generator) for kind in (THINGS, PLACES, DAYS))
    facts = []
    for place, name in enumerate(draw_distinct(NAMES, FACTS, generator)):
        look = draw(("", "", *(f"{look} " for look in LOOKS)), generator)
        deed = f"{draw(DEEDS, generator)} the {look}{things[place]}"
        travel = f"{draw(TRAVELS, generator)} to {places[place]}"
        plan = f"{draw(PLANS, generator)} on {days[place]}"
        hedge = f"{draw(HEDGES, generator)} " if place in hearsay else ""
        facts.append(f"{hedge}{name} {draw((deed, deed, travel, plan), generator)}")
    return INVITATION + " ".join(map(sentence, facts))


def answer(content: str, generator: torch.Generator) -> str:
    """Return a summary of one to four facts in the order of the post.

    How complete it is, is drawn first (each fact is told with a probability between 0.25 and 1); hearsay is passed on
    as such or said flatly, half and half; one fact in twelve gets a wrong name, thing, place or day.
    """
    facts = list(read(content).items())
    completeness = 0.25 + 0.75 * torch.rand((), generator=generator).item()
    told, flat, wrong = (chances([p] * len(facts), generator) for p in (completeness, 0.5, 1 / 12))
    if not any(told):
        told[draw(range(len(facts)), generator)] = True
    said = []
    for place in (place for place, is_told in enumerate(told) if is_told):
        clause, hedge = facts[place]
        clause = _distort(clause, generator) if wrong[place] else clause
        said.append(clause if flat[place] else hedge + clause)
    return " ".join(map(written, said))


def _distort(clause: Words, generator: torch.Generator) -> Words:
    """The clause with its first or last word replaced by another of its kind."""
    old = draw((clause[0], clause[-1]), generator)
    new = draw([word for kind in _KINDS if old in kind for word in kind if word != old], generator)
    return tuple(new if word == old else word for word in clause)


SUMMARIES = Rules(
    name="summaries",
    objectives=("quality", "conciseness", "faithfulness"),
    sample=sample,
    answer=answer,
    scores=scores,
    choices=choices,
    parses=parses,
)
"""The rules of the world `summaries`."""
