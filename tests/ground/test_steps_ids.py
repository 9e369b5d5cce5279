"""A prompt and its steps as one row of tokens: each step on its own, no end token, the places of their ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretokit.errors import DataError
from paretokit.models.tiny import byte_tokenizer
from paretokit.texts import begin_response, encode_prompt, encode_response, encode_steps

TOKENIZER = byte_tokenizer()


@given(st.lists(st.text(max_size=6), max_size=5))
def test_steps_follow_the_prompt_one_after_another(steps):
    found = encode_steps(TOKENIZER, "Hi", steps)
    expected = list(encode_prompt(TOKENIZER, "Hi"))
    for step, end in zip(steps, found.ends, strict=True):
        expected += begin_response(TOKENIZER, step)
        assert end == len(expected) - 1
    assert found.ids == tuple(expected)
    for count in range(len(steps)):  # what follows changes nothing
        part = encode_steps(TOKENIZER, "Hi", steps[:count])
        assert part.ids == found.ids[: len(part.ids)]
        assert part.ends == found.ends[:count]


def test_a_text_is_its_response_without_the_end():
    chat = [{"role": "user", "content": "Hi"}]
    found = encode_steps(TOKENIZER, chat, ["Hello", " <|im_end|>"])
    assert found.ids == encode_prompt(TOKENIZER, chat) + encode_response(TOKENIZER, "Hello <|im_end|>", chat=True)[:-1]


def test_steps_as_ids_and_empty_ones():
    found = encode_steps(TOKENIZER, "a", [[7, 8], "", (9,)])
    start = len(encode_prompt(TOKENIZER, "a"))
    assert found.ids[start:] == (7, 8, 9)
    assert found.ends == (start + 1, start + 1, start + 2)
    assert encode_steps(TOKENIZER, "a", [""]).ends == (start - 1,)
    assert encode_steps(TOKENIZER, "a", []).ends == ()


def test_an_unfit_prompt_or_step_is_named():
    with pytest.raises(DataError, match="prompt: found an empty list"):
        encode_steps(TOKENIZER, [], ["a"])
    with pytest.raises(DataError, match="response: found half of a surrogate pair"):
        encode_steps(TOKENIZER, "a", ["\ud800"])
