"""Dialogues in preference data: the prompt that two conversations share, and messages that are spelled as text.

Imports: the standard library, `errors`, `prompts`.
"""

import ast
import json
import re
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from paretokit.errors import DataError
from paretokit.prompts import Message, as_message, as_prompt, describe

__all__ = ["CommonStart", "common_start", "literal", "spelled_chat"]

_OPENS = re.compile(r"(array\()?[\[(]\s*\{\s*(['\"])(role|content|from|value)\2\s*:")


class CommonStart(NamedTuple):
    """The prompt that two conversations share, and the answer in which each of them ends."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str


def common_start(chosen: Sequence[Any], rejected: Sequence[Any], *, place: str = "chosen and rejected") -> CommonStart:
    """Return the messages that two conversations begin with alike, as the prompt, and the last message of each, an answer.

    This is how TRL reads rows without a prompt (`trl.extract_prompt`), with one difference: an answer is one message. Raises
    `DataError` naming `place` where a conversation does not end with the assistant's message, where the two share no
    message at the start, and where they differ before the last message of either: which of the answers is judged then, the
    data do not say. The last messages may be equal.

    >>> asked = {"role": "user", "content": "Name a tree."}
    >>> common_start([asked, {"role": "assistant", "content": "Ash."}], [asked, {"role": "assistant", "content": "Rock."}])
    CommonStart(prompt=({'role': 'user', 'content': 'Name a tree.'},), chosen='Ash.', rejected='Rock.')
    """
    sides = {
        "chosen": _conversation(chosen, "chosen", place=place),
        "rejected": _conversation(rejected, "rejected", place=place),
    }
    first, second = sides.values()
    shortest = min(len(first), len(second)) - 1
    shared = next((index for index in range(shortest) if first[index] != second[index]), shortest)
    for name, messages in sides.items():
        if len(messages) - shared > 1:
            raise DataError(
                f"{place}: {name!r} goes on for {len(messages) - shared} messages after the {shared} that both begin with, "
                "expected one answer of the assistant after a common start. Cut both after the first answer that differs."
            )
    if not shared:
        raise DataError(f"{place}: found no prompt, since each holds its answer only; add the messages that were answered.")
    prompt = cast("tuple[Message, ...]", as_prompt(first[:shared], place=f"{place}, common start"))
    return CommonStart(prompt, first[-1]["content"], second[-1]["content"])


def _conversation(messages: Sequence[Any], name: str, *, place: str) -> tuple[Message, ...]:
    """Return valid messages of which the last one is the assistant's."""
    inside = f"{place}, {name!r}"
    if isinstance(messages, str) or not messages:
        raise DataError(f"{inside}: found {describe(messages)}, expected a list of chat messages.")
    found = tuple(as_message(item, place=f"{inside}, message {index}") for index, item in enumerate(messages))
    if found[-1]["role"] != "assistant":
        raise DataError(f"{inside}: the last message is from the {found[-1]['role']}, expected the assistant's answer.")
    return found


def spelled_chat(text: str, *, place: str) -> list[dict[str, Any]] | None:
    """Return the chat messages that a whole text spells, as JSON or as Python writes them; None for any other text.

    Such text is what is left of messages in a CSV file or a text column. An object alone is a list of one message. Nothing is
    run: Python's notation is read by `ast.literal_eval`. Raises `DataError` naming `place` for a text that begins and ends
    like messages and cannot be read, such as NumPy's notation, which leaves the commas out.

    >>> spelled_chat("[{'role': 'user', 'content': 'Hi'}]", place="line 2")
    [{'role': 'user', 'content': 'Hi'}]
    >>> spelled_chat("[1, 2]", place="line 2") is None
    True
    """
    bare = text.strip()
    if not bare.startswith(("[", "(", "{", "array([")):
        return None
    value = literal(bare)
    if isinstance(value, dict) and ({"role", "content"} <= value.keys() or {"from", "value"} <= value.keys()):
        return [value]
    if isinstance(value, (list, tuple)) and value and all(_is_message(item) for item in value):
        return list(value)
    if value is None and _OPENS.match(bare) and bare.endswith(("}]", "},)", "})", "dtype=object)")):
        raise DataError(
            f"{place}: found chat messages as text that cannot be read, {describe(bare)}; expected JSON. "
            "Write them with json.dumps, not str."
        )
    return None


def _is_message(item: Any) -> bool:
    return isinstance(item, dict) and ("role" in item or {"from", "value"} <= item.keys())


def literal(text: str) -> Any:
    """Return the value of JSON or of a Python literal; None where the text is neither. Nothing is run.

    >>> literal("{'kind': 1}"), literal("kind")
    ({'kind': 1}, None)
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if "'" not in text:  # Python writes keys in single quotes
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # backslashes in texts that are no literal
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
