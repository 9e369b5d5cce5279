"""`texts`: exact token ids per family of templates; text is data; decoding gives the text back."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.toy_tokenizers import FAMILIES, ids, toy_tokenizer

from paretokit.errors import DataError, ModelError
from paretokit.texts import decode, encode_prompt, encode_response, end_token, end_tokens

CHAT = [{"role": "user", "content": "hello there"}]
DIALOGUE = [
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "the cat sat"},
    {"role": "user", "content": "on the mat"},
]
SYSTEM = {"role": "system", "content": "the other cat"}
WITH_TEMPLATE = ("chatml", "chatml-eos", "llama3", "gemma", "plain")
SPECIALS = sorted({token for special, *_ in FAMILIES.values() for token in special})
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
TRICKY = st.lists(TEXT | st.sampled_from(SPECIALS), max_size=6).map("".join)
MARKERS = ("\U000f0000", "\U000f0001")


def _messages(text):
    return [{"role": "user", "content": text}]


# --- exact ids ---------------------------------------------------------------------------------------------------


def test_chatml_prompt_has_no_bos_and_ends_with_the_generation_prompt():
    assert encode_prompt(toy_tokenizer("chatml"), [SYSTEM, *CHAT]) == ids(
        "chatml",
        *("<|im_start|>", "system\nthe other cat", "<|im_end|>", "\n"),
        *("<|im_start|>", "user\nhello there", "<|im_end|>", "\n"),
        *("<|im_start|>", "assistant\n"),
    )


def test_llama3_prompt_has_one_bos_though_template_and_tokenizer_both_add_it():
    tokenizer = toy_tokenizer("llama3")
    start, end = "<|start_header_id|>", "<|end_header_id|>"
    assert encode_prompt(tokenizer, DIALOGUE) == ids(
        "llama3",
        *("<|begin_of_text|>", start, "user", end, "\n\nhello", "<|eot_id|>"),
        *(start, "assistant", end, "\n\nthe cat sat", "<|eot_id|>"),
        *(start, "user", end, "\n\non the mat", "<|eot_id|>"),
        *(start, "assistant", end, "\n\n"),
    )
    assert encode_prompt(tokenizer, DIALOGUE).count(tokenizer.bos_token_id) == 1


def test_gemma_prompt_keeps_roles_and_names_the_assistant_model():
    assert encode_prompt(toy_tokenizer("gemma"), DIALOGUE) == ids(
        "gemma",
        *("<bos>", "<start_of_turn>", "user\nhello", "<end_of_turn>", "\n"),
        *("<start_of_turn>", "model\nthe cat sat", "<end_of_turn>", "\n"),
        *("<start_of_turn>", "user\non the mat", "<end_of_turn>", "\n"),
        *("<start_of_turn>", "model\n"),
    )


def test_template_without_generation_prompt_is_taken_as_it_is():
    assert encode_prompt(toy_tokenizer("plain"), DIALOGUE) == ids("plain", "[hello] the cat sat\n[on the mat]")


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("chatml", ["the cat"]),
        ("llama3", ["<|begin_of_text|>", "the cat"]),
        ("plain", ["<s>", "the cat"]),  # this tokenizer also puts </s> behind a text
        ("bos-unused", ["the cat"]),
        ("eos-only", ["the cat"]),
    ],
)
def test_raw_prompt_gets_what_the_tokenizer_puts_in_front_and_nothing_behind(family, expected):
    assert encode_prompt(toy_tokenizer(family), "the cat") == ids(family, *expected)


@pytest.mark.parametrize(("family", "bos"), [("llama3", "<|begin_of_text|>"), ("plain", "<s>"), ("bos-unused", "<s>")])
def test_empty_raw_prompt_is_bos(family, bos):
    assert encode_prompt(toy_tokenizer(family), "") == ids(family, bos)


@pytest.mark.parametrize(
    ("family", "chat", "token"),
    [
        ("chatml", True, "<|im_end|>"),  # not the newline behind it
        ("chatml-eos", True, "<|im_end|>"),
        ("chatml-eos", False, "<|endoftext|>"),
        ("llama3", True, "<|eot_id|>"),
        ("llama3", False, "<|end_of_text|>"),
        ("gemma", True, "<end_of_turn>"),
        ("plain", True, "</s>"),  # a template without end of turn
        ("eos-only", False, "</s>"),
    ],
)
def test_response_is_its_tokens_and_one_end_token(family, chat, token):
    tokenizer = toy_tokenizer(family)
    assert (end_token(tokenizer, chat=chat),) == ids(family, token)
    written = " the cat" if family == "plain" else "the cat"  # that template puts a blank before an answer
    assert encode_response(tokenizer, "the cat", chat=chat) == ids(family, written, token)
    assert encode_response(tokenizer, "", chat=chat) == ids(family, token)


def test_the_first_special_token_behind_the_message_is_the_end_of_turn():
    tokenizer = copy.deepcopy(toy_tokenizer("chatml"))
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}\n<|im_end|>\n<|endoftext|>{% endfor %}"
    assert (end_token(tokenizer, chat=True),) == ids("chatml", "<|im_end|>")


def test_every_end_ends_a_generation():
    assert end_tokens(toy_tokenizer("llama3")) == set(ids("llama3", "<|eot_id|>", "<|end_of_text|>"))
    assert end_tokens(toy_tokenizer("chatml")) == set(ids("chatml", "<|im_end|>"))
    assert end_tokens(toy_tokenizer("eos-only")) == set(ids("eos-only", "</s>"))


@pytest.mark.parametrize("family", WITH_TEMPLATE)
def test_prompt_equals_the_ids_of_transformers(family):
    tokenizer = toy_tokenizer(family)
    reference = tokenizer.apply_chat_template(DIALOGUE, add_generation_prompt=True, return_dict=False)
    assert encode_prompt(tokenizer, DIALOGUE) == tuple(reference)


# --- text is data ------------------------------------------------------------------------------------------------


def assert_text_adds_no_special_token(tokenizer, with_text, without_text):
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    found, expected = ([token for token in part if token in special] for part in (with_text, without_text))
    assert found == expected


@settings(deadline=None)
@given(TRICKY, st.sampled_from(WITH_TEMPLATE))
def test_special_tokens_in_messages_are_text(text, family):
    tokenizer = toy_tokenizer(family)
    assert_text_adds_no_special_token(
        tokenizer, encode_prompt(tokenizer, _messages(text)), encode_prompt(tokenizer, _messages("x"))
    )


@settings(deadline=None)
@given(TRICKY, st.sampled_from(WITH_TEMPLATE))
def test_special_tokens_in_responses_and_raw_prompts_are_text(text, family):
    tokenizer = toy_tokenizer(family)
    encoded = [encode_response(tokenizer, part, chat=True) for part in (text, "x")]
    assert_text_adds_no_special_token(tokenizer, *encoded)
    encoded = [encode_prompt(tokenizer, part) for part in (f"x{text}", "x")]
    assert_text_adds_no_special_token(tokenizer, *encoded)


def test_the_check_for_special_tokens_rejects_a_naive_encoding():
    tokenizer = toy_tokenizer("chatml")
    naive = tokenizer("x<|im_end|>", add_special_tokens=False, split_special_tokens=False)["input_ids"]
    with pytest.raises(AssertionError):
        assert_text_adds_no_special_token(tokenizer, naive, encode_prompt(tokenizer, "x"))


def test_spelled_out_end_of_turn_stays_in_the_text():
    tokenizer = toy_tokenizer("chatml")
    encoded = encode_response(tokenizer, "the <|im_end|> cat", chat=True)
    assert encoded == ids("chatml", "the <|im_end|> cat", "<|im_end|>")  # ids() takes mixed text as text
    assert encoded.count(end_token(tokenizer, chat=True)) == 1
    assert decode(tokenizer, encoded) == "the <|im_end|> cat"


def test_encoding_leaves_the_tokenizer_as_it_was():
    tokenizer = copy.deepcopy(toy_tokenizer("llama3"))
    before = tokenizer("x<|eot_id|>")["input_ids"]
    encode_response(tokenizer, "x<|eot_id|>", chat=True)
    encode_prompt(tokenizer, CHAT)
    assert tokenizer("x<|eot_id|>")["input_ids"] == before
    assert not tokenizer.split_special_tokens


# --- and back ----------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(TRICKY, st.sampled_from(WITH_TEMPLATE))
def test_decoding_gives_the_response_back(text, family):
    tokenizer = toy_tokenizer(family)
    encoded = encode_response(tokenizer, text, chat=True)
    back = decode(tokenizer, encoded, chat=True)
    assert back == (text.strip() if family in ("llama3", "gemma") else text)  # those templates leave outer blanks out
    assert encode_response(tokenizer, back, chat=True) == encoded


def test_decoding_leaves_spaces_and_newlines_alone():
    tokenizer = toy_tokenizer("chatml")
    text = "  hello , the cat ' s mat .\n\n  do n't  \n"
    assert decode(tokenizer, encode_response(tokenizer, text, chat=True)) == text


def test_decoding_takes_out_every_special_token():
    tokenizer = toy_tokenizer("llama3")
    assert decode(tokenizer, ids("llama3", "the cat", "<|start_header_id|>", "<|end_of_text|>", "<|eot_id|>")) == "the cat"
    assert decode(tokenizer, []) == ""


# --- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "call", "kind", "message"),
    [
        (
            "eos-only",
            lambda tokenizer: encode_prompt(tokenizer, ""),
            DataError,
            "prompt: found empty text and a tokenizer without BOS; write a prompt of at least one token.",
        ),
        (
            "eos-only",
            lambda tokenizer: encode_prompt(tokenizer, CHAT),
            ModelError,
            "tokenizer: found chat messages and a tokenizer without a chat template; use raw text prompts, or set "
            "tokenizer.chat_template.",
        ),
        (
            "bare",
            lambda tokenizer: encode_response(tokenizer, "x", chat=False),
            ModelError,
            "tokenizer: found neither an EOS token nor an end of turn in a chat template; set tokenizer.eos_token.",
        ),
        (
            "gemma",
            lambda tokenizer: encode_prompt(tokenizer, [SYSTEM, *CHAT]),
            DataError,
            "prompt: the chat template refused messages with roles system, user: System role not supported; change the "
            "messages to what the model was trained on.",
        ),
        (
            "gemma",
            lambda tokenizer: encode_prompt(tokenizer, CHAT * 2),
            DataError,
            "prompt: the chat template refused messages with roles user, user: Roles must alternate; change the "
            "messages to what the model was trained on.",
        ),
        (
            "chatml",
            lambda tokenizer: encode_response(tokenizer, "ab\ud800", chat=True),
            DataError,
            "response: found half of a surrogate pair (U+D800) at character 2; write the whole character, or remove it.",
        ),
    ],
)
def test_what_cannot_be_encoded_is_an_error(family, call, kind, message):
    with pytest.raises(kind) as error:
        call(toy_tokenizer(family))
    assert str(error.value) == message


def test_template_that_renders_nothing_is_an_error():
    tokenizer = copy.deepcopy(toy_tokenizer("chatml"))
    tokenizer.chat_template = "{{ '' }}"
    with pytest.raises(DataError) as error:
        encode_prompt(tokenizer, CHAT)
    assert str(error.value) == ("prompt: the chat template turned the messages into nothing; write a prompt with text in it.")


def test_private_marks_of_transformers_are_left_out_of_messages_only():
    tokenizer = toy_tokenizer("chatml")
    text = f"a{MARKERS[0]}b{MARKERS[1]}c"
    assert encode_prompt(tokenizer, _messages(text)) == encode_prompt(tokenizer, _messages("abc"))
    assert decode(tokenizer, encode_response(tokenizer, text, chat=True)) == text
