"""Tokenizers that put a blank in front of a text read alone: prompt and response have the tokens of the joined text."""

import pytest
from support.toy_tokenizers import BLANKS, CHATML, FAMILIES, INST, MARKED, ZEPHYR, blank_tokenizer, toy_tokenizer

from paretokit.texts import begin_response, continued, decode, encode_pair, encode_prompt, encode_response, encode_steps
from paretokit.turns import following, plain, puts_blank

TEMPLATES = {"zephyr": ZEPHYR, "inst": INST, "marked": MARKED, "chatml": CHATML.replace("<|im_end|>", "</s>")}
JOINTS = [("the cat", " sat"), ("the cat", "sat"), ("the", "\n the"), ("the", "  é, 2"), ("the", "<s> sat")]
QUESTION = [{"role": "user", "content": "the cat"}]


def joined(tokenizer, text):
    return tuple(tokenizer(text, split_special_tokens=True)["input_ids"])


def test_which_tokenizers_put_a_blank():
    assert [puts_blank(blank_tokenizer(kind)) for kind in BLANKS] == [True] * len(BLANKS)
    assert not any(puts_blank(toy_tokenizer(family)) for family in FAMILIES)


@pytest.mark.parametrize("kind", BLANKS)
@pytest.mark.parametrize(("prompt", "response"), JOINTS)
def test_raw_text_has_the_tokens_of_the_joined_text(kind, prompt, response):
    tokenizer = blank_tokenizer(kind)
    encoded = encode_response(tokenizer, response, chat=False)
    assert encode_prompt(tokenizer, prompt) + encoded == (*joined(tokenizer, prompt + response), tokenizer.eos_token_id)
    assert decode(tokenizer, encoded) == response
    pair = encode_pair(tokenizer, prompt, response, "x", max_length=999)
    assert pair.response_a == encoded
    naive = plain(tokenizer, response)  # the planted failure: a response read alone
    assert (encode_prompt(tokenizer, prompt) + naive == joined(tokenizer, prompt + response)) == (
        naive == following(tokenizer, response)
    )


@pytest.mark.parametrize("kind", BLANKS)
def test_a_token_never_reaches_across_the_joint(kind):
    tokenizer = blank_tokenizer(kind)
    ids = encode_prompt(tokenizer, "the ") + encode_response(tokenizer, "on", chat=False)
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == "the on"
    assert ids[: len(encode_prompt(tokenizer, "the "))] == encode_prompt(tokenizer, "the ")


@pytest.mark.parametrize("kind", BLANKS)
def test_steps_are_joined_to_each_other(kind):
    tokenizer = blank_tokenizer(kind)
    found = encode_steps(tokenizer, "the cat", [" sat.", " on", "\nthe mat"])
    assert found.ids == joined(tokenizer, "the cat sat. on\nthe mat")
    assert found.ids[: found.ends[0] + 1] == joined(tokenizer, "the cat sat.")


@pytest.mark.parametrize("kind", BLANKS)
@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("answer", ["the cat", "sat on", "2, 3", "on\nthe mat"])
def test_chats_have_the_tokens_of_the_conversation(kind, name, answer):
    tokenizer = blank_tokenizer(kind, TEMPLATES[name])
    for messages in (QUESTION, [*QUESTION, {"role": "assistant", "content": "sat"}, {"role": "user", "content": "on"}]):
        prompt, response = encode_prompt(tokenizer, messages), encode_response(tokenizer, answer, chat=True)
        whole = tokenizer.apply_chat_template([*messages, {"role": "assistant", "content": answer}], return_dict=False)
        assert list(prompt + response) == whole[: len(prompt + response)]
        assert response[-1] == tokenizer.eos_token_id
        assert decode(tokenizer, response, chat=True) == answer
        steps = encode_steps(tokenizer, messages, [answer, " on"])
        before = [*messages, {"role": "assistant", "content": f"{answer} on"}]
        assert list(steps.ids) == tokenizer.apply_chat_template(before, return_dict=False)[: len(steps.ids)]


@pytest.mark.parametrize("kind", BLANKS)
@pytest.mark.parametrize("chat", [False, True])
def test_what_was_begun_goes_on_as_one_text(kind, chat):
    tokenizer = blank_tokenizer(kind, INST)
    whole = encode_response(tokenizer, "the cat sat", chat=chat)
    begun = begin_response(tokenizer, "the cat", chat=chat)
    assert whole[: len(begun)] == begun
    assert continued(tokenizer, "the cat", whole[len(begun) :], chat=chat) == "the cat sat"
    assert begin_response(tokenizer, "", chat=chat) == ()


def test_byte_level_tokenizers_read_responses_alone_as_before():
    tokenizer = toy_tokenizer("chatml")
    for _, response in JOINTS:
        assert following(tokenizer, response) == plain(tokenizer, response)
