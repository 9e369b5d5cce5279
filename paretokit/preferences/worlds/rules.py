"""What makes a world: some functions of text, and the two things every world's text needs, sentences and draws.

A `Rules` value knows how posts or requests are drawn, how an answer to one is drawn, what any text scores, which texts
the content choices render to, and whether a text is made of the world's sentences only. Everything else about a world
(pairs, held-out prompts, the true front) is derived from these by `build`. Imports: torch (for its generator),
`prompts` and the standard library.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from paretokit.prompts import Reply

T = TypeVar("T")

_WORD = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"[.!?]")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """One world as a value of plain functions; `content` is what the user's turn says, or a dialogue with a turn a line.

    The functions are module-level and pure, so a `Rules` can be pickled and sent to another process.

    What `scores` must guarantee, and the tests hold: for every text there is a text in `choices(content)` that scores
    at least as much on every objective. A world gets there by reading a text sentence by sentence: a sentence that is
    not, word for word, one of the world's sentences about this content can only lower scores, and so can saying
    something twice.
    """

    name: str
    """The name in `world(name)` and in `"world:<name>"`."""
    objectives: tuple[str, ...]
    """In the order of the numbers that `scores` returns."""
    sample: Callable[[torch.Generator], str]
    """`generator -> content`: draws a post or request."""
    answer: Callable[[str, torch.Generator], str]
    """`(content, generator) -> text`: draws an answer, good or bad, from the world's documented distribution."""
    scores: Callable[[str, str], tuple[float, ...]]
    """`(content, text) -> ` a number in [0, 1] per objective, for any text; `DataError` for another world's content."""
    choices: Callable[[str], Iterator[str]]
    """`content -> ` the text of every content choice, the empty one first, the fullest last; they make the front."""
    parses: Callable[[str], bool]
    """`text -> ` whether every sentence is one of the world's forms, supported by some content or not."""
    reply: Callable[[str, str], Reply] | None = None
    """`(content, text) -> ` what the user says to an answer, and whether that is the end; None: a world of single turns."""


def sentences(text: str) -> list[tuple[str, ...]]:
    r"""Return the lower-cased words of each sentence of a text.

    Sentences end at `.`, `!` or `?`; words are runs of `\w`; every other sign is ignored, so words are never fewer than
    they look. Signs without any word are one sentence without words (nobody can read it, so worlds count it as
    unsupported); blanks are none.

    >>> sentences("Tom sold the car. It seems, perhaps!")
    [('tom', 'sold', 'the', 'car'), ('it', 'seems', 'perhaps')]
    >>> sentences("..."), sentences("Hello. ---"), sentences(" ")
    ([()], [('hello',), ()], [])
    """
    found = [tuple(_WORD.findall(piece)) for piece in _SENTENCE_END.split(text.lower()) if piece.strip()]
    return found or ([()] if text.strip() else [])


def sentence(words: str) -> str:
    """Return words as a written sentence.

    >>> sentence("it seems that Tom sold the car")
    'It seems that Tom sold the car.'
    """
    return f"{words[0].upper()}{words[1:]}."


def chances(probabilities: Sequence[float], generator: torch.Generator) -> list[bool]:
    """Return whether each of some independent events happened, given their probabilities.

    >>> chances([1.0, 0.0], torch.Generator().manual_seed(0))
    [True, False]
    """
    luck = torch.rand(len(probabilities), generator=generator).tolist()
    return [drawn < probability for drawn, probability in zip(luck, probabilities, strict=True)]


def draw(items: Sequence[T], generator: torch.Generator) -> T:
    """Return one of the items, all equally likely.

    >>> draw(["only"], torch.Generator().manual_seed(0))
    'only'
    """
    return items[int(torch.randint(len(items), (), generator=generator))]


def draw_distinct(items: Sequence[T], count: int, generator: torch.Generator) -> list[T]:
    """Return `count` different items in random order.

    >>> sorted(draw_distinct("abc", 3, torch.Generator().manual_seed(0)))
    ['a', 'b', 'c']
    """
    return [items[i] for i in torch.randperm(len(items), generator=generator)[:count].tolist()]
