"""Prompts inside chosen and rejected, and chat messages spelled as text."""

import json

import numpy as np
import pytest
from trl import extract_prompt

from paretokit.errors import DataError
from paretokit.preferences.dialogues import common_start, spelled_chat


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


ASKED = [user("Name a tree.")]
LONG = [{"role": "system", "content": "Be brief."}, user("Hi"), assistant("Hello."), user("Name a tree.")]


def error_of(call):
    with pytest.raises(DataError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("asked", [ASKED, LONG])
@pytest.mark.parametrize(("good", "bad"), [("Ash.", "Rock."), ("Ash.", "Ash is a tree."), ("", "Ash.")])
def test_the_common_start_is_the_prompt_as_in_trl(asked, good, bad):
    chosen, rejected = [*asked, assistant(good)], [*asked, assistant(bad)]
    found = common_start(chosen, rejected)
    assert (list(found.prompt), found.chosen, found.rejected) == (asked, good, bad)
    theirs = extract_prompt({"chosen": chosen, "rejected": rejected})
    assert theirs == {"prompt": asked, "chosen": [assistant(good)], "rejected": [assistant(bad)]}


def test_equal_answers_are_no_part_of_the_prompt():
    found = common_start([*ASKED, assistant("Ash.")], [*ASKED, assistant("Ash.")])
    assert (list(found.prompt), found.chosen, found.rejected) == (ASKED, "Ash.", "Ash.")


def test_keys_that_are_null_and_text_parts_make_no_difference():
    parts = {"role": "user", "content": [{"type": "text", "text": "Name a "}, {"type": "text", "text": "tree."}], "name": None}
    found = common_start([parts, assistant("Ash.", tool_calls=None)], [*ASKED, assistant("Rock.", tool_calls=[])])
    assert (list(found.prompt), found.chosen, found.rejected) == (ASKED, "Ash.", "Rock.")


@pytest.mark.parametrize(
    ("chosen", "rejected", "message"),
    [
        (
            [*ASKED, assistant("Ash."), user("More."), assistant("Oak.")],
            [*ASKED, assistant("Rock."), user("More."), assistant("Oak.")],
            "row: 'chosen' goes on for 3 messages after the 1 that both begin with, expected one answer of the assistant "
            "after a common start. Cut both after the first answer that differs.",
        ),
        (
            [*ASKED, assistant("Ash.")],
            [*ASKED, assistant("Ash."), user("More."), assistant("Oak.")],
            "row: 'rejected' goes on for 3 messages after the 1 that both begin with, expected one answer of the "
            "assistant after a common start. Cut both after the first answer that differs.",
        ),
        (
            [user("Name a tree."), assistant("Ash.")],
            [user("Name a bird."), assistant("Ash.")],
            "row: 'chosen' goes on for 2 messages after the 0 that both begin with, expected one answer of the assistant "
            "after a common start. Cut both after the first answer that differs.",
        ),
        (
            [assistant("Ash.")],
            [assistant("Rock.")],
            "row: found no prompt, since each holds its answer only; add the messages that were answered.",
        ),
        (ASKED, ASKED, "row, 'chosen': the last message is from the user, expected the assistant's answer."),
        (
            [*ASKED, assistant("Ash.")],
            [*ASKED, assistant("Rock."), user("Why?")],
            "row, 'rejected': the last message is from the user, expected the assistant's answer.",
        ),
        ([], [], "row, 'chosen': found [], expected a list of chat messages."),
        (
            [*ASKED, assistant("", tool_calls=[{"function": {"name": "trees"}}])],
            [*ASKED, assistant("No.")],
            "row, 'chosen', message 1: found the key 'tool_calls', calls of tools, which would be lost; expected 'role' "
            "and 'content'. Write it into the content as text, or leave the record out.",
        ),
        (
            [assistant("Hi"), assistant("Ash.")],
            [assistant("Hi"), assistant("Rock.")],
            "row, common start: the last message is from the assistant, expected the user; put the answer into the response.",
        ),
    ],
)
def test_what_has_no_common_start_is_named(chosen, rejected, message):
    assert error_of(lambda: common_start(chosen, rejected, place="row")) == message


# --- messages as text ----------------------------------------------------------------------------------------------

TALK = [user('It\'s "so", \\n said 日本\n\tshe.'), assistant(""), user("Why?")]


@pytest.mark.parametrize("write", [json.dumps, repr, lambda talk: repr(tuple(talk)), lambda talk: json.dumps(talk, indent=2)])
def test_messages_are_read_as_json_and_as_python_writes_them(write):
    assert spelled_chat(f" {write(TALK)}\n", place="x") == TALK


@pytest.mark.parametrize("write", [json.dumps, repr])
def test_one_message_alone_and_speakers_by_from(write):
    assert spelled_chat(write(TALK[0]), place="x") == [TALK[0]]
    human = [{"from": "human", "value": "Hi"}]
    assert spelled_chat(write(human), place="x") == human


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[]",
        "[1, 2]",
        "['role']",
        '[{"type": "admin"}]',
        "{'role': 'admin'}",
        '{"role": "user", "content": "x"} What is wrong with this JSON?',
        "[{'role': 'user', 'content': 'x'}] Explain.",
        "(see above) what's this?",
        "[it's \\d]",
        "[" * 100_000 + "'",
        "{'a': " * 5_000,
        "__import__('os')",
        "[__import__('os')]",
    ],
)
def test_other_text_stays_text(text):
    assert spelled_chat(text, place="x") is None


@pytest.mark.parametrize(
    "text",
    [
        str(np.array([user("a"), user("b")])),
        "array([{'role': 'user', 'content': 'a'}], dtype=object)",
        "[{'role': 'user', 'content': None, 'when': datetime.date(2026, 1, 1)}]",
        '[{"role": "user", "content": "cut}]',
    ],
)
def test_messages_that_cannot_be_read_are_named(text):
    message = error_of(lambda: spelled_chat(text, place="line 2"))
    assert message.startswith("line 2: found chat messages as text that cannot be read, ")
    assert message.endswith("; expected JSON. Write them with json.dumps, not str.")
