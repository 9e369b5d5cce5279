"""Responses that go on from what was begun: as if it had been sampled, character by character, by any batch."""

import pytest
import torch
from support.models_cases import trained_policy
from support.toy_tokenizers import blank_tokenizer

from paretokit.decoding.sample import generate
from paretokit.errors import ConfigError, DataError
from paretokit.models.tiny import byte_tokenizer, random_policy
from paretokit.texts import begin_response, continued, decode, encode_prompt, encode_response

CHAT = ({"role": "user", "content": "hi"},)
PROMPTS = ["hello", "a", CHAT, "x" * 30]
BEGUN = ["One.", "", " two, \u00e9", "y" * 20]


def test_nothing_begun_is_as_before():
    policy = trained_policy()
    plain = generate(policy, PROMPTS, copies=2, max_new_tokens=9)
    assert generate(policy, PROMPTS, copies=2, max_new_tokens=9, begun=[""] * 4) == plain
    assert generate(policy, PROMPTS, copies=2, max_new_tokens=9, begun=None) == plain
    assert [made.begun for made in plain] == [""] * 8


def test_the_text_is_the_whole_response_and_the_tokens_what_was_added():
    policy = trained_policy()
    for made in generate(policy, PROMPTS, copies=3, max_new_tokens=6, begun=BEGUN):
        begun = BEGUN[made.prompt_index]
        assert made.begun == begun
        assert made.text.startswith(begun)
        assert made.text == decode(policy.tokenizer, (*begin_response(policy.tokenizer, begun), *made.token_ids))
        assert len(made.token_ids) == 6 or made.ended


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_greedy_text_goes_on_as_it_would_have(family):
    policy = trained_policy(family)
    for made in generate(policy, ["ab", CHAT], temperature=0, max_new_tokens=12):
        for cut in (1, 5):
            begun = decode(policy.tokenizer, made.token_ids[:cut])
            if begin_response(policy.tokenizer, begun) != made.token_ids[:cut]:
                continue  # half a character cannot be begun
            (going_on,) = generate(policy, [made.prompt], temperature=0, max_new_tokens=12 - cut, begun=[begun])
            assert going_on.token_ids == made.token_ids[cut:]
            assert going_on.text == made.text


def test_what_is_begun_is_read_after_the_prompt():
    policy = trained_policy()
    found = generate(policy, PROMPTS, max_new_tokens=5, begun=BEGUN)
    for made in found:
        ids = encode_prompt(policy.tokenizer, made.prompt) + begin_response(policy.tokenizer, made.begun)
        expected = policy.ids_logps([ids], [made.token_ids])
        assert made.sum_logp == pytest.approx(float(expected), abs=1e-9)


def test_text_does_not_depend_on_the_batch():
    policy = trained_policy()
    together = generate(policy, PROMPTS, copies=3, max_new_tokens=9, begun=BEGUN)
    alone = generate(policy, PROMPTS, copies=3, max_new_tokens=9, begun=BEGUN, batch_size=1)
    assert [made.token_ids for made in alone] == [made.token_ids for made in together]
    assert len({made.token_ids for made in together}) == len(together)
    other = generate(policy, PROMPTS, copies=3, max_new_tokens=9, begun=["Two.", "", "", ""])
    assert [made.token_ids for made in other[:3]] != [made.token_ids for made in together[:3]]
    assert [made.token_ids for made in other[3:6]] == [made.token_ids for made in together[3:6]]


def test_copies_by_number_are_those_of_a_larger_request():
    policy = trained_policy()
    many = generate(policy, PROMPTS, copies=7, max_new_tokens=6, begun=BEGUN)
    some = generate(policy, PROMPTS, copies=range(3, 6), max_new_tokens=6, begun=BEGUN)
    assert [(made.prompt_index, made.copy) for made in some] == [(index, copy) for index in range(4) for copy in (3, 4, 5)]
    assert [made.text for made in some] == [made.text for made in many if made.copy in (3, 4, 5)]


def test_continued_keeps_a_blank_that_the_decoder_would_drop():
    tokenizer = blank_tokenizer("prepend")
    ids = tokenizer("cat sat", add_special_tokens=False)["input_ids"]
    assert continued(tokenizer, "the", ids) == "the cat sat"
    assert continued(tokenizer, "", ids) == decode(tokenizer, ids) == " cat sat"
    assert "the" + tokenizer.decode(ids) == "thecat sat"  # the planted failure: decoded by itself


def test_a_beginning_has_no_end_token():
    tokenizer = byte_tokenizer()
    assert (*begin_response(tokenizer, "Hi"), tokenizer.eos_token_id) == encode_response(tokenizer, "Hi", chat=True)
    assert begin_response(tokenizer, "") == ()
    with pytest.raises(DataError, match="response: found half of a surrogate pair"):
        begin_response(tokenizer, "\ud83d")


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (
            {"begun": ["a", "b"]},
            DataError,
            "generate: begun: found 2 texts for 1 prompts, expected a list of one for each. Pass '' for none.",
        ),
        (
            {"begun": "a"},
            DataError,
            "generate: begun: found one text for 1 prompts, expected a list of one for each. Pass '' for none.",
        ),
        (
            {"begun": ["y" * 100], "max_new_tokens": 200},
            DataError,
            "generate: prompt 0 and what is begun have 101 tokens; with max_new_tokens=200 that exceeds the model's context of "
            "256. Shorten the prompt or lower max_new_tokens.",
        ),
        ({"copies": range(0)}, ConfigError, "generate: copies is range(0, 0); expected at least 1."),
        (
            {"copies": range(0, 4, 2)},
            ConfigError,
            "generate: copies is range(0, 4, 2); expected numbers in order, counted from 0, such as range(4, 8).",
        ),
        (
            {"copies": range(-1, 2)},
            ConfigError,
            "generate: copies is range(-1, 2); expected numbers in order, counted from 0, such as range(4, 8).",
        ),
    ],
)
def test_messages(options, kind, message):
    with pytest.raises(kind) as error:
        generate(random_policy(), ["a"], **options)
    assert str(error.value) == message


def test_the_global_state_is_left_alone():
    state = torch.get_rng_state()
    generate(random_policy(), ["a"], begun=["b"], max_new_tokens=2)
    assert torch.equal(torch.get_rng_state(), state)
