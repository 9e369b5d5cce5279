"""The prompt and the responses of a record, whichever way they are spelled: text, or chat messages.

Imports: the standard library, `errors`, `prompts`, and `dialogues` and `files` of this floor.
"""

from typing import NamedTuple

from paretokit.errors import DataError
from paretokit.preferences.dialogues import common_start, spelled_chat
from paretokit.preferences.files import Record
from paretokit.prompts import Prompt, as_message, as_prompt, as_text, describe, is_chat

__all__ = ["Texts", "answer_of", "chosen_texts", "prompt_of"]


class Texts(NamedTuple):
    """A prompt and two answers to it."""

    prompt: Prompt
    chosen: str
    rejected: str


def prompt_of(row: Record) -> Prompt:
    """Return the field `prompt`; `DataError` where it is no prompt, or chat messages that are spelled as text."""
    value, place = row.get("prompt"), f"{row.place}, field 'prompt'"
    if isinstance(value, str):
        _refuse_spelled(value, place=place)
    return as_prompt(value, place=place)


def answer_of(row: Record, name: str, *, prompt: Prompt) -> str:
    """Return a response: text, or after a chat prompt the content of the one assistant message that holds it."""
    value, place = row.get(name), f"{row.place}, field {name!r}"
    if not isinstance(value, list):
        text = as_text(value, place=place)
        _refuse_spelled(text, place=place)
        return text
    if not is_chat(prompt):
        raise DataError(f"{place}: found messages after a raw text prompt, expected text; make the prompt messages too.")
    if len(value) != 1 or not isinstance(value[0], dict) or value[0].get("role") != "assistant":
        raise DataError(
            f"{place}: found {describe(value)}, expected text or one assistant message; put the rest into 'prompt'."
        )
    return as_message(value[0], place=place)["content"]


def _refuse_spelled(text: str, *, place: str) -> None:
    if spelled_chat(text, place=place) is not None:
        raise DataError(
            f"{place}: found chat messages as text, {describe(text)}; expected text or a list of messages. Read the text "
            "with json.loads, or ast.literal_eval where it is Python's, and write the messages."
        )


def chosen_texts(row: Record) -> Texts:
    """Return prompt, chosen and rejected of a row in TRL's forms.

    Where `prompt` is missing, or is text beside two conversations, the prompt is their common start, see
    `dialogues.common_start`; a text beside them must be one of its user's messages. Where `prompt` is messages, conversations
    that begin with it hold the answer after it. Text without a prompt is an error: TRL takes what the two texts begin with
    alike, which would be the start of the answers too.
    """
    prompt, sides = row.fields.get("prompt"), [row.get("chosen"), row.get("rejected")]
    conversations = all(isinstance(side, list) for side in sides)
    place = f"{row.place}, fields 'chosen' and 'rejected'"
    if prompt is None and conversations:
        return Texts(*common_start(*sides, place=place))
    if prompt is None and all(isinstance(side, str) for side in sides):
        dialogue = all("\n\nAssistant:" in side for side in sides)
        remedy = "Pass recipe='hh-rlhf', which splits such dialogues" if dialogue else "Add the prompt, or make them messages"
        raise DataError(f"{row.place}, field 'prompt': missing, and chosen and rejected are text. {remedy}.")
    if isinstance(prompt, str) and conversations and min(map(len, sides)) > 1:
        found = common_start(*sides, place=place)
        if prompt not in [message["content"] for message in found.prompt if message["role"] == "user"]:
            raise DataError(
                f"{row.place}, field 'prompt': found {describe(prompt)}, which is no message of the user at the start of "
                "'chosen' and 'rejected', so it would be lost; take the field out, or add the message."
            )
        return Texts(*found)
    asked = prompt_of(row)
    if is_chat(asked) and conversations and min(map(len, sides)) > 1:
        found = common_start(*sides, place=place)
        if found.prompt != asked:
            raise DataError(
                f"{place}: found conversations that begin with other messages than 'prompt', expected the same or answers "
                "only; take 'prompt' out, or cut the conversations."
            )
        return Texts(*found)
    return Texts(asked, *(answer_of(row, name, prompt=asked) for name in ("chosen", "rejected")))
