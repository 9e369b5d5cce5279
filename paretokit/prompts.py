"""What a prompt is, checked at the door: raw text, or chat messages with a role and content each.

Imports: the standard library and `errors`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from paretokit.errors import DataError, suggestion

__all__ = ["ROLES", "Message", "Prompt", "Reply", "as_message", "as_prompt", "as_text", "describe", "is_chat"]

Prompt = str | Sequence[Mapping[str, str]]
ROLES = ("system", "user", "assistant")
_UNREAD_KEYS = {  # what chat data put beside role and content, and a policy that reads text would not see
    "tool_calls": "calls of tools",
    "function_call": "a call of a function",
    "tool_call_id": "the result of a tool",
    "reasoning_content": "a thought",
    "reasoning": "a thought",
    "thinking": "a thought",
    "images": "images",
    "audio": "sound",
    "audios": "sound",
    "videos": "videos",
}
_UNREAD_ROLES = {
    "tool": "Results of tools are not read: leave the record out.",
    "function": "Results of functions are not read: leave the record out.",
    "developer": "Rename it to 'system'.",
}


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise TypeError("a chat message cannot be changed; make a dict of it and change that")


_REFUSE: Any = _refuse  # type checkers want the signature of every method it stands for


class Message(dict[str, str]):
    """A chat message that cannot be changed: a dict with "role" and "content", hashable and picklable.

    >>> Message(role="user", content="Hi")["content"] = "Bye"
    Traceback (most recent call last):
    TypeError: a chat message cannot be changed; make a dict of it and change that
    """

    __setitem__ = __delitem__ = __ior__ = update = pop = popitem = clear = setdefault = _REFUSE

    def __hash__(self) -> int:  # type: ignore[override] # a dict has none
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type, tuple[dict[str, str]]]:
        return Message, (dict(self),)


class Reply(NamedTuple):
    """What the user says to an answer, in a dialogue."""

    text: str
    last: bool = False  # the dialogue ends with it


def is_chat(prompt: Prompt) -> bool:
    """Return whether the prompt is a list of chat messages rather than raw text.

    >>> is_chat("2 + 2 ="), is_chat([{"role": "user", "content": "2 + 2?"}])
    (False, True)
    """
    return not isinstance(prompt, str)


def as_text(value: Any, *, place: str) -> str:
    """Return `value` if it is a string that can be written as UTF-8; else raise `DataError` naming `place`.

    >>> as_text(None, place="pairs.jsonl, line 3, field 'response_a'")
    Traceback (most recent call last):
    paretokit.errors.DataError: pairs.jsonl, line 3, field 'response_a': found null, expected text (may be empty).
    """
    if not isinstance(value, str):
        raise DataError(f"{place}: found {describe(value)}, expected text (may be empty).")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        raise DataError(
            f"{place}: found half of a surrogate pair (U+{code:04X}) at character {error.start}; "
            "write the whole character, or remove it."
        ) from None
    return value


def as_prompt(value: Any, *, place: str = "prompt") -> str | tuple[Message, ...]:
    """Return a valid prompt: raw text as it is, chat messages as a tuple of `Message`, which cannot be changed.

    Chat: roles are system, user and assistant; a system message comes first or not at all; the last message is the
    user's, since the response answers it; see `as_message` for each of them. Raises `DataError` naming `place` and the
    message.

    >>> as_prompt([{"role": "user", "content": "Hi"}])
    ({'role': 'user', 'content': 'Hi'},)
    >>> as_prompt([{"role": "human", "content": "Hi"}])
    Traceback (most recent call last):
    paretokit.errors.DataError: prompt, message 0: found role 'human', expected one of system, user, assistant.
    """
    if isinstance(value, str):
        return as_text(value, place=place)
    if not isinstance(value, Sequence) or isinstance(value, (bytes, bytearray)):
        raise DataError(f"{place}: found {describe(value)}, expected text or a list of chat messages.")
    if not value:
        raise DataError(f"{place}: found an empty list, expected at least one chat message (raw text may be empty).")
    messages = tuple(_message(item, first=index == 0, place=f"{place}, message {index}") for index, item in enumerate(value))
    if messages[-1]["role"] != "user":
        raise DataError(
            f"{place}: the last message is from the {messages[-1]['role']}, expected the user; "
            "put the answer into the response."
        )
    return messages


def as_message(item: Any, *, place: str) -> Message:
    """Return a valid chat message: an object with a role and a content, all of which is text.

    A content may be a list of text parts `{"type": "text", "text": "..."}`: they are put together without anything between
    them, as chat templates do. Keys beside role and content may be null or empty. Raises `DataError` for everything that would
    be lost: tool calls and results, thoughts, images, sound, and any other key, naming `place`.

    >>> as_message({"role": "user", "content": [{"type": "text", "text": "Hi"}], "tool_calls": None}, place="prompt")
    {'role': 'user', 'content': 'Hi'}
    """
    if not isinstance(item, Mapping):
        raise DataError(f"{place}: found {describe(item)}, expected an object with 'role' and 'content'.")
    if {"from", "value"} <= set(item):
        raise DataError(
            f"{place}: found the keys 'from' and 'value', expected 'role' and 'content'; rename them, and the speakers "
            "human to user and gpt to assistant."
        )
    extra = [key for key, part in item.items() if key not in ("role", "content") and not _nothing(part)]
    for key in extra:
        if key in _UNREAD_KEYS:
            raise DataError(
                f"{place}: found the key {key!r}, {_UNREAD_KEYS[key]}, which would be lost; expected 'role' and 'content'. "
                "Write it into the content as text, or leave the record out."
            )
    role = item.get("role")
    if isinstance(role, str) and role in _UNREAD_ROLES:
        raise DataError(f"{place}: found role {role!r}, expected one of {', '.join(ROLES)}. {_UNREAD_ROLES[role]}")
    for key in ("role", "content"):
        if key not in item:
            raise DataError(f"{place}: {key!r} is missing, expected an object with 'role' and 'content'.")
    if extra:
        raise DataError(f"{place}: found the key {extra[0]!r}, expected 'role' and 'content'; remove the key.")
    if role not in ROLES:
        near = suggestion(role, ROLES) if isinstance(role, str) else ""
        raise DataError(f"{place}: found role {describe(role)}, expected one of {', '.join(ROLES)}.{near}")
    return Message(role=role, content=_content(item["content"], place=f"{place}, 'content'"))


def _message(item: Any, *, first: bool, place: str) -> Message:
    message = as_message(item, place=place)
    if message["role"] == "system" and not first:
        raise DataError(f"{place}: found a system message, expected it first or not at all.")
    return message


def _nothing(part: Any) -> bool:
    """Return whether a value is null or empty, so that nothing is lost without it."""
    return part is None or (isinstance(part, (str, list, tuple, dict)) and not part)


def _content(value: Any, *, place: str) -> str:
    """Return the text of a content, which may be a list of text parts."""
    if not isinstance(value, (list, tuple)):
        return as_text(value, place=place)
    if not value:
        raise DataError(f"{place}: found an empty list, expected text or a list of text parts.")
    texts = []
    for index, part in enumerate(value):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if not isinstance(part, Mapping) or kind != "text":
            found = describe(part) if kind is None else f"a part of type {describe(kind)}"
            raise DataError(
                f"{place}, part {index}: found {found}, which would be lost; expected text or parts of type 'text' only. "
                "Leave the record out, or describe the part in words."
            )
        if extra := [key for key, item in part.items() if key not in ("type", "text") and not _nothing(item)]:
            raise DataError(f"{place}, part {index}: found the key {extra[0]!r}, expected 'type' and 'text'; remove the key.")
        texts.append(as_text(part.get("text"), place=f"{place}, part {index}, 'text'"))
    return "".join(texts)


def describe(value: Any) -> str:
    """Return a found value for an error message: JSON's name for null and booleans, short repr for the rest.

    >>> describe(None), describe(True), describe("x" * 100)[:12]
    ('null', 'true', "'xxxxxxxxxxx")
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
