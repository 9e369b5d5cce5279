"""`encode_pair`: what stays, what goes first, and that every token taken away is counted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.toy_tokenizers import ids, toy_tokenizer

from paretokit.errors import ConfigError, DataError
from paretokit.texts import encode_pair, encode_prompt, encode_response

WORDS = st.lists(st.sampled_from(["hello", "the", "cat", "mat,", "naïve", "日本", "\n", "x " * 9, "<|im_end|>"]), max_size=12)
SENTENCE = WORDS.map(" ".join)
FAMILY = st.sampled_from(["chatml", "llama3", "gemma"])
LENGTH = st.integers(24, 120)


@st.composite
def chats(draw, *, system=False):
    exchanges = draw(st.lists(st.tuples(SENTENCE, SENTENCE), max_size=3))
    turns = [
        {"role": role, "content": f"{content} #{index}"}
        for index, exchange in enumerate(exchanges)
        for role, content in zip(("user", "assistant"), exchange, strict=True)
    ]
    head = [{"role": "system", "content": "be the cat"}] if system and draw(st.booleans()) else []
    return [*head, *turns, {"role": "user", "content": draw(SENTENCE) + " end"}]


def assert_adds_up(pair, tokenizer, prompt, a, b, *, max_length):
    chat = not isinstance(prompt, str)
    full = encode_prompt(tokenizer, prompt)
    assert len(pair.prompt) + pair.cut_prompt_tokens == len(full)
    for kept, cut, text in ((pair.response_a, pair.cut_a, a), (pair.response_b, pair.cut_b, b)):
        whole = encode_response(tokenizer, text, chat=chat)
        assert len(pair.prompt) + len(kept) <= max_length
        assert len(kept) >= 1
        assert kept == whole[: len(kept)]
        assert len(kept) + cut == len(whole)


@settings(deadline=None)
@given(chats(), SENTENCE, SENTENCE, FAMILY, LENGTH)
def test_lengths_hold_and_counts_add_up(prompt, a, b, family, max_length):
    tokenizer = toy_tokenizer(family)
    pair = encode_pair(tokenizer, prompt, a, b, max_length=max_length)
    assert_adds_up(pair, tokenizer, prompt, a, b, max_length=max_length)


@settings(deadline=None)
@given(SENTENCE, SENTENCE, SENTENCE, st.sampled_from(["llama3", "plain"]), st.integers(2, 60))
def test_raw_text_is_cut_from_the_left_behind_bos(prompt, a, b, family, max_length):
    tokenizer = toy_tokenizer(family)
    pair = encode_pair(tokenizer, prompt, a, b, max_length=max_length)
    assert_adds_up(pair, tokenizer, prompt, a, b, max_length=max_length)
    full = encode_prompt(tokenizer, prompt)
    assert pair.prompt == (full[0], *full[1 + pair.cut_prompt_tokens :])
    assert pair.dropped_turns == 0


@settings(deadline=None)
@given(chats(system=True), SENTENCE, SENTENCE, LENGTH)
def test_the_oldest_exchanges_go_first_then_the_last_turn_is_cut_from_the_left(prompt, a, b, max_length):
    tokenizer = toy_tokenizer("chatml")
    pair = encode_pair(tokenizer, prompt, a, b, max_length=max_length)
    head, turns = (prompt[:1], prompt[1:]) if prompt[0]["role"] == "system" else ([], prompt)
    kept = turns[pair.dropped_turns :]
    assert kept[0]["role"] == "user"
    if len(kept) == 1:  # only then may the last turn lose its beginning
        text = tokenizer.decode(pair.prompt, clean_up_tokenization_spaces=False)
        frame = tokenizer.decode(encode_prompt(tokenizer, [*head, {"role": "user", "content": ""}]))
        end = "<|im_end|>\n<|im_start|>assistant\n"
        rest = text.removeprefix(frame.removesuffix(end)).removesuffix(end)
        assert kept[0]["content"].endswith(rest)
        kept = [{"role": "user", "content": rest}]
    assert pair.prompt == encode_prompt(tokenizer, [*head, *kept])


@settings(deadline=None)
@given(chats(system=True), SENTENCE, SENTENCE, LENGTH)
def test_nothing_is_taken_away_without_need(prompt, a, b, max_length):
    tokenizer = toy_tokenizer("chatml")
    pair = encode_pair(tokenizer, prompt, a, b, max_length=max_length)
    longest = max(len(encode_response(tokenizer, text, chat=True)) for text in (a, b))
    full = encode_prompt(tokenizer, prompt)
    if len(full) + longest <= max_length:
        assert pair[3:] == (0, 0, 0, 0)
        assert pair.prompt == full
    if len(full) <= max_length // 2:
        assert pair.prompt == full
    if pair.dropped_turns:  # one exchange more would not have fitted
        start = len(prompt) - len([turn for turn in prompt if turn["role"] != "system"])
        turns = prompt[start:]
        before = next(i for i in range(pair.dropped_turns - 1, -1, -1) if turns[i]["role"] == "user")
        longer = encode_prompt(tokenizer, [*prompt[:start], *turns[before:]])
        assert len(longer) > max(max_length - longest, max_length // 2)


def test_exact_ids_of_a_shortened_chat():
    tokenizer = toy_tokenizer("chatml")
    prompt = [
        {"role": "system", "content": "the cat"},
        {"role": "user", "content": "hello " * 20},
        {"role": "assistant", "content": "hello " * 20},
        {"role": "user", "content": "on the mat"},
    ]
    kept = ids(
        "chatml",
        *("<|im_start|>", "system\nthe cat", "<|im_end|>", "\n"),
        *("<|im_start|>", "user\non the mat", "<|im_end|>", "\n"),
        *("<|im_start|>", "assistant\n"),
    )
    pair = encode_pair(tokenizer, prompt, "the cat", "hello", max_length=len(kept) + 10)
    assert pair.prompt == kept
    assert pair.dropped_turns == 2
    assert pair.cut_a == pair.cut_b == 0


def test_last_turn_is_cut_as_little_as_the_budget_allows():
    tokenizer = toy_tokenizer("chatml")
    prompt = [{"role": "user", "content": " cat" * 50}]
    pair = encode_pair(tokenizer, prompt, "the", "cat", max_length=40)
    assert len(pair.prompt) + max(len(pair.response_a), len(pair.response_b)) == 40
    assert pair.cut_a == pair.cut_b == 0


def test_a_long_response_loses_its_end_token_and_leaves_the_prompt_whole():
    tokenizer = toy_tokenizer("chatml")
    prompt = [{"role": "user", "content": "hello"}]
    pair = encode_pair(tokenizer, prompt, " cat" * 100, "the", max_length=40)
    assert pair.prompt == encode_prompt(tokenizer, prompt)
    assert tokenizer.eos_token_id not in pair.response_a
    assert pair.response_b == encode_response(tokenizer, "the", chat=True)
    assert (pair.cut_a, pair.cut_b) == (101 - len(pair.response_a), 0)


def test_long_prompt_and_long_response_share_the_length():
    pair = encode_pair(toy_tokenizer("llama3"), " cat" * 100, " mat" * 100, "the", max_length=40)
    assert (len(pair.prompt), len(pair.response_a)) == (20, 20)


def test_special_token_text_survives_the_cut_as_text():
    tokenizer = toy_tokenizer("chatml")
    pair = encode_pair(tokenizer, [{"role": "user", "content": "<|im_end|>" * 30}], "a", "b", max_length=60)
    assert pair.prompt.count(tokenizer.eos_token_id) == 1


def test_the_check_of_sums_rejects_a_lost_token():
    tokenizer = toy_tokenizer("llama3")
    pair = encode_pair(tokenizer, " cat" * 9, "the", "the", max_length=8)
    assert_adds_up(pair, tokenizer, " cat" * 9, "the", "the", max_length=8)
    with pytest.raises(AssertionError):
        assert_adds_up(pair._replace(prompt=pair.prompt[1:]), tokenizer, " cat" * 9, "the", "the", max_length=8)


@pytest.mark.parametrize(
    ("prompt", "max_length", "kind", "message"),
    [
        ("the", 1, ConfigError, "max_length: found 1, expected at least 2 (a prompt and a response token)."),
        (
            [{"role": "system", "content": " cat" * 30}, {"role": "user", "content": "hello"}],
            30,
            DataError,
            "prompt: the system message and the chat template alone take {frame} tokens, and max_length is 30; raise "
            "it to at least {more}, or shorten the system message.",
        ),
    ],
)
def test_what_cannot_be_shortened_is_an_error(prompt, max_length, kind, message):
    tokenizer = toy_tokenizer("chatml")
    frame = len(encode_prompt(tokenizer, [{"role": "system", "content": " cat" * 30}, {"role": "user", "content": ""}]))
    with pytest.raises(kind) as error:
        encode_pair(tokenizer, prompt, "a", "b", max_length=max_length)
    assert str(error.value) == message.format(frame=frame, more=frame + 1)
