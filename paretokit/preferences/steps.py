"""Step splitting: where one step of a response ends and the next begins, at a delimiter, after a sentence, or never.

A splitter is a frozen value with two pure functions of text. Nothing is lost: the steps of a text, joined, are the text.
Imports: the standard library, `errors`, `prompts`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from paretokit.errors import ConfigError, suggestion
from paretokit.prompts import describe

__all__ = ["KINDS", "Count", "Splitter", "as_splitter", "by_delimiter", "by_sentence", "by_turn"]

KINDS = ("delimiter", "sentence", "turn")

Count = Callable[[str], int]
"""The beginning of a text -> how many tokens it has."""

_CLOSERS = "\"'\u201d\u2019\u00bb)\\]}"
_STOP = re.compile(
    rf"[.!?]+[{_CLOSERS}]*(?=\s|\Z)"  # the end of a sentence, unless what stands before says otherwise
    r"|(?<=\S)(?=\s*\n[^\S\n]*\n)"  # a blank line ahead
)
_MARKER = re.compile(r"(?:\A|\n)\s*(?:[-*+]\s+)?\(?(?:[0-9]{1,3}|[A-Za-z])\.\Z")  # "1." or "a." at the start of a line
_LAST_WORD = re.compile(r"[\w.]*\Z")
_TITLES = ("mr.", "mrs.", "ms.", "dr.", "prof.", "st.")
_SHORT = ("vs.", "cf.", "e.g.", "i.e.", "eg.", "ie.", "fig.", "figs.", "eq.", "eqs.", "approx.", "al.", "resp.", "viz.", "ca.")
_ABBREVIATIONS = frozenset((*_TITLES, *_SHORT))


@dataclass(frozen=True)
class Splitter:
    r"""Where steps end; made by `by_delimiter`, `by_sentence` and `by_turn`.

    Whatever the kind, `"".join(splitter.split(text)) == text`, no step is empty, and every step of a text with a word in it
    has something other than blanks in it: blanks at the start of a text belong to the first step, blanks at its end to the
    last.

    - "delimiter": a step ends with the delimiter, which stays at its end. One that follows nothing but blanks and
      delimiters ends no step.
    - "sentence": a step ends after . ! or ?, and closing quotes and brackets, where blanks or the end of the text follow, and
      before a blank line. The blanks after a sentence belong to the next step, since most tokenizers put a blank in front of
      a word. No step ends after a list marker ("1." or "a." at the start of a line or step, with text behind it in the
      line), after a common abbreviation such as "e.g." or "Dr.", or inside a number such as 3.14.
      With `min_tokens`, a sentence of fewer tokens ends no step: it goes on to the end of the first sentence that makes it
      long enough. Tokens are counted by the tokenizer of whoever splits or decodes.
    - "turn": a text is one step.

    >>> by_sentence().split("It is 3.5 km, e.g. on foot. \"Really?\" Yes")
    ('It is 3.5 km, e.g. on foot.', ' "Really?"', ' Yes')
    >>> by_delimiter().split("First.\n\nSecond.\n\n")
    ('First.\n\n', 'Second.\n\n')
    """

    kind: str
    delimiter: str = ""
    min_tokens: int = 0  # of a sentence step; the last one of a text may have fewer

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(
                f"splitter: found the kind {describe(self.kind)}, expected one of {', '.join(KINDS)}."
                f"{suggestion(str(self.kind), KINDS)}"
            )
        if self.kind == "delimiter" and not self.delimiter:
            raise ConfigError("splitter: found an empty delimiter, expected a text such as '\\n\\n'. Name one.")
        if self.kind != "delimiter" and self.delimiter:
            raise ConfigError(
                f"splitter: found the delimiter {self.delimiter!r} for the kind {self.kind!r}, which has none. Leave it out."
            )
        if self.min_tokens < 0 or (self.min_tokens and self.kind != "sentence"):
            raise ConfigError(
                f"splitter: found min_tokens={self.min_tokens} for the kind {self.kind!r}, expected a number >= 0, and 0 for "
                "all kinds but 'sentence'. Leave it out."
            )

    def split(self, text: str, *, count: Count | None = None) -> tuple[str, ...]:
        """Return the steps of a text, in order; none for the empty text. `count` as in `end`.

        >>> by_turn().split("All of it. And more."), by_turn().split("")
        (('All of it. And more.',), ())
        """
        steps: list[str] = []
        start = 0
        while start < len(text):
            rest = text[start:]
            end = self.end(rest) if count is None else self.end(rest, count=partial(_between, count, text[:start]))
            step = rest if end is None else rest[:end]
            if steps and not self._has_content(step):  # blanks at the end
                steps[-1] += step
            else:
                steps.append(step)
            start += len(step)
        return tuple(steps)

    def end(self, text: str, *, count: Count | None = None) -> int | None:
        """Return where the first step of `text` ends, as an offset; None while it goes on.

        `text` begins where a step begins and may still be written: what follows its last character is not known, and the
        end of the text counts as the end of a sentence that looks complete. So the answer for a longer text is the same one
        or, where it was the end of the text (the point of "3." before "14" follows), a later one or None.

        `count` returns how many tokens the beginning of `text` has that it is given. Raises `ConfigError` where `min_tokens`
        asks for it and it is missing.

        >>> by_sentence(min_tokens=3).end("Oh. He goes on. Then", count=lambda text: len(text.split()))
        15
        >>> [by_sentence().end(text) for text in ("Tom goes", "Tom goes.", "Tom goes. He", "Dr.")]
        [None, 9, 9, None]
        """
        if self.kind == "turn":
            return None
        start = self._content_start(text)
        if self.kind == "delimiter":
            found = text.find(self.delimiter, start)
            return None if found < 0 or start == len(text) else found + len(self.delimiter)
        if self.min_tokens and count is None:
            raise ConfigError(
                f"splitter: found min_tokens={self.min_tokens} and no tokenizer to count with, expected one. Pass count=, or a "
                "policy, or leave min_tokens out."
            )
        for stop in _STOP.finditer(text, start):
            if not _held(text, stop) and (count is None or count(text[: stop.end()]) >= self.min_tokens):
                return stop.end()
        return None

    def _content_start(self, text: str) -> int:
        """Where the first character stands that is neither a blank nor part of a delimiter that follows nothing."""
        blank = rf"(?:{re.escape(self.delimiter)}|\s)*+" if self.delimiter else r"\s*+"
        found = re.match(blank, text)
        return found.end() if found else 0

    def _has_content(self, text: str) -> bool:
        return self._content_start(text) < len(text)


def _between(count: Count, before: str, text: str) -> int:
    """How many tokens `text` has after the text `before`, where a blank in front may belong to a word."""
    return count(before + text) - count(before)


def _held(text: str, stop: re.Match[str]) -> bool:
    """Whether a point is part of a list marker or an abbreviation, and ends no sentence."""
    if stop.group()[:1] != "." or stop.group()[1:2] in ("!", "?", "."):
        return False
    before, after = text[: stop.start() + 1], text[stop.end() : stop.end() + 1]
    if after != "\n" and len(stop.group()) == 1 and _MARKER.search(before):
        return True
    word = _LAST_WORD.search(before)
    return word is not None and word.group().lower() in _ABBREVIATIONS


def by_delimiter(*, delimiter: str = "\n\n") -> Splitter:
    r"""Return a splitter whose steps end with `delimiter`, by default a blank line, as in the paper's mathematics.

    >>> by_delimiter(delimiter=";").split("a; b")
    ('a;', ' b')
    """
    return Splitter("delimiter", delimiter)


def by_sentence(*, min_tokens: int = 0) -> Splitter:
    """Return a splitter whose steps are sentences, as in the paper's human values.

    A step has at least `min_tokens` tokens, but for the last one of a text; the official code of MAHALO (arXiv 2510.01167) asks
    for 8.

    >>> by_sentence().split("4 plus 3 is 7. Tom has 7 maps.")
    ('4 plus 3 is 7.', ' Tom has 7 maps.')
    """
    return Splitter("sentence", min_tokens=min_tokens)


def by_turn() -> Splitter:
    """Return a splitter that leaves a response whole, as in the paper's tutoring.

    >>> by_turn().split("What is 4 plus 3? Try it.")
    ('What is 4 plus 3? Try it.',)
    """
    return Splitter("turn")


def as_splitter(split: Splitter | str) -> Splitter:
    """Return a splitter as it is, or the one that a kind names: "sentence", "turn", or "delimiter" for a blank line.

    >>> as_splitter("delimiter") == by_delimiter()
    True
    """
    if isinstance(split, Splitter):
        return split
    return by_delimiter() if split == "delimiter" else Splitter(split)
