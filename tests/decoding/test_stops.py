"""Stop strings: the text ends before them, wherever their characters lie in the tokens; what was drawn is kept whole."""

import pytest

from paretokit.decoding.guided import guided_generate
from paretokit.decoding.sample import generate
from paretokit.decoding.stops import Stop, check_stop_strings, find_stop
from paretokit.errors import ConfigError
from paretokit.experiments.labelling import label_steps
from paretokit.experiments.rollouts import PolicySampler
from paretokit.models.load import load_policy
from paretokit.models.tiny import random_policy

PROMPTS = ["Once", "Two words", "And a third"]
SCORERS = {"long": lambda prompt, text: float(len(text))}


@pytest.fixture(scope="module")
def policy():
    return random_policy(seed=1)


def test_the_text_ends_before_the_string_across_the_borders_of_tokens(policy):
    plain = generate(policy, PROMPTS, max_new_tokens=24, seed=3)
    for index, one in enumerate(plain):
        string = one.text[4:9]  # five characters: random tokens are shorter than that
        made = generate(policy, PROMPTS, max_new_tokens=24, seed=3, stop_strings=["never in here", string])[index]
        at = one.text.index(string)
        assert (made.text, made.stop_string, made.ended) == (one.text[:at], string, True)
        ids = made.token_ids
        assert ids == one.token_ids[: len(ids)]  # the beginning of what is drawn without the string
        drawn, shorter = (policy.tokenizer.decode(part) for part in (ids, ids[:-1]))
        assert string in drawn and string not in shorter  # noqa: PT018 (one border)
        cut = generate(policy, PROMPTS, max_new_tokens=len(ids), seed=3)[index]
        assert (made.token_ids, made.sum_logp) == (cut.token_ids, pytest.approx(cut.sum_logp, abs=1e-4))


def test_without_a_hit_nothing_changes(policy):
    assert generate(policy, PROMPTS, max_new_tokens=8, stop_strings=["never in here"]) == generate(
        policy, PROMPTS, max_new_tokens=8
    )


def test_what_was_begun_does_not_stop(policy):
    [made] = generate(policy, ["Once"], begun=["STOP here"], stop_strings=["STOP here"], max_new_tokens=4)
    assert made.text.startswith("STOP here")
    assert (made.stop_string, len(made.token_ids)) == ("", 4)


@pytest.mark.parametrize("max_step_tokens", [2, 64])
def test_guided_texts_end_before_the_string_too(max_step_tokens):
    policy = load_policy("tiny", adapter="none")  # writes whole characters
    arguments = {"reward_model": SCORERS, "weights": [1.0], "candidates": 1, "steps": "turn", "max_new_tokens": 24}
    arguments |= {"max_step_tokens": max_step_tokens, "max_steps": 100, "seed": 3}
    plain = guided_generate(policy, PROMPTS, **arguments)
    for index, one in enumerate(plain):
        string = one.text[4:9]
        made = guided_generate(policy, PROMPTS, **arguments, stop_strings=[string])[index]
        assert (made.text, made.reason, made.stop_string) == (one.text[: one.text.index(string)], "stop_string", string)
        assert made.ended
        assert "".join(made.steps) == made.text
        assert made.scores == (float(len(made.text)),)  # the guide judged the text without it
        assert made.token_ids == one.token_ids[: len(made.token_ids)]


def test_rollouts_take_stop_strings_and_the_cuts_of_the_distribution(policy):
    sampler = PolicySampler(policy=policy, max_new_tokens=6)
    others = [
        PolicySampler(policy=policy, max_new_tokens=6, top_k=2),
        PolicySampler(policy=policy, max_new_tokens=6, top_p=0.5),
        PolicySampler(policy=policy, max_new_tokens=6, stop_strings=("a",)),
    ]
    assert len({one.cache_key for one in (sampler, *others)}) == 4
    [[found]] = others[0](["Once"], [""], copies=range(1), seed=0)
    assert found.text == generate(policy, ["Once"], max_new_tokens=6, top_k=2)[0].text
    for option, message in (({"top_k": -1}, "top_k is -1"), ({"top_p": 0.0}, "top_p is 0.0"), ({"stop_strings": [""]}, "stop")):
        with pytest.raises(ConfigError, match=message):
            label_steps(policy, ["Once"], split="turn", verifiers={"x": lambda prompt, text: 1.0}, progress=False, **option)


def test_the_first_string_counts_and_of_equal_places_the_longest():
    assert find_stop("a b c", ["c", "b", "b c"]) == Stop(2, "b c")
    assert find_stop("a b a", ["a"], start=1) == Stop(4, "a")
    assert find_stop("a", []) is None


@pytest.mark.parametrize("strings", ["text", [""], None, 5, [None], b"text", {"text"}, iter(["text"])])
def test_message(strings):
    with pytest.raises(ConfigError, match=r"^generate: stop_strings is .*; expected a list of texts, none of them empty"):
        check_stop_strings(strings, place="generate")
