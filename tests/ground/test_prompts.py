"""`prompts`: what is accepted, and the message for what is not."""

import copy
import json
import pickle

import pytest

from paretokit.errors import DataError
from paretokit.prompts import as_prompt, as_text, is_chat

USER = {"role": "user", "content": "hello"}


def test_text_and_chat_pass_and_are_told_apart():
    assert as_prompt("hello") == "hello"
    assert as_prompt("") == ""
    assert as_prompt([{"role": "system", "content": ""}, USER]) == ({"role": "system", "content": ""}, USER)
    assert is_chat([USER])
    assert not is_chat("hello")


def test_messages_are_copied_and_null_keys_ignored():
    given = [{**USER, "tool_calls": None}]
    taken = as_prompt(given)
    given[0]["content"] = "changed"
    assert taken == (USER,)


@pytest.mark.parametrize(
    "change",
    [
        lambda message: message.__setitem__("content", "x"),
        lambda message: message.__delitem__("content"),
        lambda message: message.update(content="x"),
        lambda message: message.pop("content"),
        lambda message: message.popitem(),
        lambda message: message.clear(),
        lambda message: message.setdefault("name", "x"),
        lambda message: message.__ior__({"content": "x"}),
    ],
)
def test_messages_cannot_be_changed(change):
    (message,) = as_prompt([USER])
    with pytest.raises(TypeError, match="a chat message cannot be changed; make a dict of it and change that"):
        change(message)
    assert message == USER


def test_messages_travel_and_serve_as_keys():
    prompt = as_prompt([USER])
    assert pickle.loads(pickle.dumps(prompt)) == prompt
    assert json.loads(json.dumps(prompt)) == [USER]
    assert {prompt: 1}[as_prompt([dict(USER)])] == 1
    assert copy.deepcopy(prompt) == prompt


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "prompt: found null, expected text or a list of chat messages."),
        (3, "prompt: found 3, expected text or a list of chat messages."),
        (b"hello", "prompt: found b'hello', expected text or a list of chat messages."),
        (USER, "prompt: found {'role': 'user', 'content': 'hello'}, expected text or a list of chat messages."),
        ([], "prompt: found an empty list, expected at least one chat message (raw text may be empty)."),
        (["hello"], "prompt, message 0: found 'hello', expected an object with 'role' and 'content'."),
        ([{"role": "user"}], "prompt, message 0: 'content' is missing, expected an object with 'role' and 'content'."),
        ([{"content": "x"}], "prompt, message 0: 'role' is missing, expected an object with 'role' and 'content'."),
        (
            [USER, {"role": "asistant", "content": "x"}],
            "prompt, message 1: found role 'asistant', expected one of system, user, assistant. Did you mean 'assistant'?",
        ),
        (
            [{"role": ["user"], "content": "x"}],
            "prompt, message 0: found role ['user'], expected one of system, user, assistant.",
        ),
        (
            [{"role": None, "content": "x"}],
            "prompt, message 0: found role null, expected one of system, user, assistant.",
        ),
        (
            [USER, {"role": "system", "content": "x"}, USER],
            "prompt, message 1: found a system message, expected it first or not at all.",
        ),
        (
            [USER, {"role": "assistant", "content": "x"}],
            "prompt: the last message is from the assistant, expected the user; put the answer into the response.",
        ),
        (
            [{"role": "user", "content": None}],
            "prompt, message 0, 'content': found null, expected text (may be empty).",
        ),
        (
            [{"role": "user", "content": "x", "name": "Ann"}],
            "prompt, message 0: found the key 'name', expected 'role' and 'content'; remove the key.",
        ),
        (
            "ab\udc00c",
            "prompt: found half of a surrogate pair (U+DC00) at character 2; write the whole character, or remove it.",
        ),
    ],
)
def test_refused_prompts_say_where_what_and_what_to_do(value, message):
    with pytest.raises(DataError) as error:
        as_prompt(value)
    assert str(error.value) == message


def test_place_is_named():
    with pytest.raises(DataError, match=r"^pairs\.jsonl, line 7, field 'response_a': found true, expected text"):
        as_text(True, place="pairs.jsonl, line 7, field 'response_a'")
