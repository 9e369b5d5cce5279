"""Conversations in public records: message lists with a common start, and dialogues written as one text with turn marks.

Imports: the standard library, `errors`, `prompts`, and `files` of this floor and `values`.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from paretokit.errors import DataError
from paretokit.preferences.files import Record
from paretokit.preferences.recipes.values import nested, place_of, question
from paretokit.prompts import Message, as_prompt, as_text, describe

__all__ = ["Turns", "by_marks", "by_names", "context", "last_answers", "messages"]

Turns = tuple[Message, ...]

_NAMES = re.compile(r"\n\n(Human|Assistant):")
_MARKS = re.compile(r"(?:^|\n)<extra_id_\d>(\w+)[ \t]*\n")
_ROLES = {"human": "user", "user": "user", "assistant": "assistant", "system": "system"}


class Answers(NamedTuple):
    """What two conversations share, and the last answer of each."""

    prompt: Turns
    first: str
    second: str


def messages(row: Record, name: str) -> Turns:
    """Return a field that holds a whole conversation, ended by the assistant; `DataError` for anything else.

    >>> turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    >>> messages(Record("x.jsonl, line 1", {"chosen": turns}), "chosen")[1]["content"]
    'Hello'
    """
    place = place_of(row, name)
    found = nested(row.get(name), list, place=place)
    if not found or not isinstance(found[-1], dict) or found[-1].get("role") != "assistant":
        raise DataError(f"{place}: found {describe(found)}, expected messages that end with the assistant's.")
    last = dict(found[-1], role="user")  # checked as every other message is, by the rule for prompts
    *before, answer = _chat([*found[:-1], last], place=place)
    return (*before, Message(role="assistant", content=answer["content"]))


def context(value: Any, *, place: str) -> Turns:
    """Return a chat prompt, given as messages, as their JSON in a table cell, or as the words of one question.

    >>> context("Why?", place="x.jsonl, line 1, field 'context'")
    ({'role': 'user', 'content': 'Why?'},)
    """
    if isinstance(value, str):
        if not value.lstrip().startswith("["):
            return question(as_text(value, place=place))
        value = nested(value, list, place=place)
    return _chat(value, place=place)


def last_answers(first: Sequence[Message], second: Sequence[Message]) -> Answers | None:
    """Return the common start of two conversations and their last answers; None where they differ before the last answer.

    >>> asked, yes, no = (Message(role=role, content=text) for role, text in
    ...     (("user", "Go?"), ("assistant", "Yes"), ("assistant", "No")))
    >>> last_answers([asked, yes], [asked, no])[1:]
    ('Yes', 'No')
    """
    (*start, a), (*other, b) = first, second
    if not start or start != other or (a["role"], b["role"], start[-1]["role"]) != ("assistant", "assistant", "user"):
        return None
    return Answers(tuple(start), a["content"], b["content"])


def by_names(dialogue: str, *, place: str, blank_after: bool = False) -> Turns:
    r"""Return the turns of a dialogue written with "\n\nHuman: " and "\n\nAssistant: " before each, the first a Human's.

    One blank after a name belongs to it, and with `blank_after` one at the end of a turn too. Raises `DataError` where the
    text does not begin with a Human's turn.

    >>> by_names("\n\nHuman: Hi\n\nAssistant: Hello!", place="x.jsonl, line 1, field 'chosen'")
    ({'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': 'Hello!'})
    """
    if not dialogue.startswith("\n\nHuman:"):
        raise DataError(f"{place}: found {describe(dialogue)}, expected a dialogue that begins with '\\n\\nHuman:'.")
    _, *parts = _NAMES.split(dialogue)
    names, texts = parts[::2], parts[1::2]
    end = " " if blank_after else ""
    return tuple(
        Message(role=_ROLES[name.lower()], content=as_text(words, place=place).removeprefix(" ").removesuffix(end))
        for name, words in zip(names, texts, strict=True)
    )


def by_marks(dialogue: str, *, place: str) -> Turns:
    r"""Return the turns of a prompt that may hold lines such as "<extra_id_1>Assistant" between them, the last the user's.

    Text before the first mark is the user's. Raises `DataError` for a mark of an unknown speaker.

    >>> by_marks("Plan a walk.\n<extra_id_1>Assistant\nHow long?\n<extra_id_1>User\nAn hour.", place="field 'prompt'")[2]
    {'role': 'user', 'content': 'An hour.'}
    """
    before, *parts = _MARKS.split(dialogue)
    names, texts = parts[::2], parts[1::2]
    turns = [Message(role="user", content=before)] if before or not parts else []
    for name, words in zip(names, texts, strict=True):
        if name.lower() not in _ROLES:
            raise DataError(f"{place}: found a turn of {name!r}, expected User, Assistant or System.")
        if words or name.lower() != "system":
            turns.append(Message(role=_ROLES[name.lower()], content=words))
    return _chat(turns, place=place)


def _chat(value: Any, *, place: str) -> Turns:
    prompt = as_prompt(value, place=place)
    return question(prompt) if isinstance(prompt, str) else prompt
