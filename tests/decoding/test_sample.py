"""generate: a row's text does not depend on its company; it ends where it should; it agrees with transformers."""

import inspect
from collections.abc import Sequence

import pytest
import torch
from support.models_cases import disturb, trained_policy

from paretokit.decoding import sample
from paretokit.decoding.sample import Generation, generate
from paretokit.errors import ConfigError, DataError, NonFiniteError
from paretokit.models.policy import Policy
from paretokit.models.tiny import FAMILIES, random_policy
from paretokit.texts import Prompt, encode_prompt, encode_response, end_tokens

CHAT = ({"role": "user", "content": "hi"},)
PROMPTS: list[Prompt] = ["hello", "a", "The quick brown fox jumps over the lazy dog", CHAT, "x" * 30, ""]


@pytest.fixture
def often_ends(monkeypatch: pytest.MonkeyPatch) -> frozenset[int]:
    """Every twelfth token ends a text, so that rows leave their batch at different times."""
    ends = frozenset(range(0, 259, 12))
    monkeypatch.setattr(sample, "end_tokens", lambda tokenizer: ends)
    return ends


def ids(generations: Sequence[Generation]) -> list[tuple[int, ...]]:
    return [generation.token_ids for generation in generations]


def family_policy(family: str) -> Policy:
    # Gemma 2 in float32: its float32 softmax has no room for the float64 mask value of rows padded on the left
    return trained_policy(family, dtype=torch.float32 if family == "gemma2" else torch.float64)


@pytest.mark.parametrize("family", FAMILIES)
def test_text_does_not_depend_on_the_batch(family: str) -> None:
    policy = family_policy(family)
    together = generate(policy, PROMPTS, copies=2, max_new_tokens=18)
    alone = generate(policy, PROMPTS, copies=2, max_new_tokens=18, batch_size=1)
    assert ids(together) == ids(alone)


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_text_is_that_of_transformers(family: str) -> None:
    policy = family_policy(family)
    found = generate(policy, PROMPTS[:4], temperature=0, max_new_tokens=24)
    for generation in found:
        prompt = torch.tensor([encode_prompt(policy.tokenizer, generation.prompt)])
        theirs = policy.model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            max_new_tokens=24,
            eos_token_id=sorted(end_tokens(policy.tokenizer)),
            pad_token_id=policy.tokenizer.pad_token_id,
        )
        assert tuple(theirs[0, prompt.shape[1] :].tolist()) == generation.token_ids


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_rows_that_end_leave_and_the_others_go_on_unchanged(family: str, often_ends: frozenset[int]) -> None:
    policy = trained_policy(family)
    prompts = [f"{'ab' * (index % 7)}{index}" for index in range(30)]
    together = generate(policy, prompts, max_new_tokens=30)
    assert len({len(tokens) for tokens in ids(together)}) > 8  # they did leave at different times
    assert ids(together) == ids(generate(policy, prompts, max_new_tokens=30, batch_size=1))
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1)).tolist()
    shuffled = generate(policy, [prompts[index] for index in order], max_new_tokens=30, batch_size=7)
    assert ids(shuffled) == [together[index].token_ids for index in order]


def test_float32_agrees_but_for_the_last_bits(often_ends: frozenset[int]) -> None:
    policy = trained_policy(dtype=torch.float32)
    prompts = [f"{'ab' * (index % 7)}{index}" for index in range(60)]
    pairs = zip(
        generate(policy, prompts, max_new_tokens=30),
        generate(policy, prompts, max_new_tokens=30, batch_size=1),
        strict=True,
    )
    # a uniform number may fall within the rounding of a boundary: seen once in 24,000 tokens
    assert sum(together.token_ids != alone.token_ids for together, alone in pairs) <= 1


def test_ended_means_the_last_token_ends(often_ends: frozenset[int]) -> None:
    found = generate(trained_policy(), PROMPTS, copies=10, max_new_tokens=12)
    assert {generation.ended for generation in found} == {True, False}
    for generation in found:
        assert not often_ends & set(generation.token_ids[:-1])
        assert generation.ended == (generation.token_ids[-1] in often_ends)
        assert generation.ended or len(generation.token_ids) == 12


def test_text_is_the_tokens_without_the_end() -> None:
    policy = trained_policy(dtype=torch.float32)
    found = generate(policy, ["a", CHAT], copies=300, max_new_tokens=3, batch_size=600)
    ended = [generation for generation in found if generation.token_ids[-1] == policy.tokenizer.eos_token_id]
    assert all(generation.ended for generation in ended)
    ascii_only = [generation for generation in ended if generation.text.isascii()]
    assert len(ascii_only) >= 2
    for generation in ascii_only:
        chat = generation.prompt is CHAT
        assert encode_response(policy.tokenizer, generation.text, chat=chat) == generation.token_ids


@pytest.mark.parametrize("options", [{}, {"temperature": 0.0}, {"temperature": 0.5, "top_k": 20, "top_p": 0.9}])
def test_sum_logp_is_what_the_policy_says(options: dict[str, float]) -> None:
    policy = trained_policy()
    found = generate(policy, PROMPTS, copies=2, max_new_tokens=10, **options)
    prompts = [encode_prompt(policy.tokenizer, generation.prompt) for generation in found]
    expected = policy.ids_logps(prompts, ids(found))
    assert [generation.sum_logp for generation in found] == pytest.approx(expected.tolist(), abs=1e-9)


def test_order_is_prompt_by_prompt_and_copy_by_copy() -> None:
    found = generate(random_policy(), PROMPTS, copies=3, max_new_tokens=2, batch_size=4)
    assert [(g.prompt_index, g.copy) for g in found] == [(p, c) for p in range(len(PROMPTS)) for c in range(3)]
    assert [g.prompt for g in found] == [prompt for prompt in PROMPTS for _ in range(3)]
    assert generate(random_policy(), [], max_new_tokens=2) == []


def test_more_copies_or_tokens_leave_the_earlier_ones() -> None:
    policy = trained_policy()
    few = generate(policy, PROMPTS, copies=1, max_new_tokens=6)
    many = generate(policy, PROMPTS, copies=3, max_new_tokens=12)
    assert [tokens[:6] for tokens in ids(many)[::3]] == ids(few)
    assert len(set(ids(many))) == len(many)  # copies differ


def test_seeds_differ_and_repeat_and_the_global_state_is_left_alone() -> None:
    policy = trained_policy()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = generate(policy, PROMPTS, max_new_tokens=8, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert generate(policy, PROMPTS, max_new_tokens=8, seed=1) == first
    assert ids(generate(policy, PROMPTS, max_new_tokens=8, seed=2)) != ids(first)


def test_decoding_leaves_the_policy_as_it_was() -> None:
    policy = trained_policy("gemma3", dtype=torch.float32)
    before = {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}
    generate(policy, PROMPTS, max_new_tokens=3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy.model.state_dict().items())
    assert all(p.requires_grad and not p.is_inference() for p in policy.trainable.values())
    policy.model(input_ids=torch.tensor([[1, 2, 3]])).logits.sum().backward()  # nothing of inference mode stays behind


def test_decoding_follows_training() -> None:
    policy = random_policy()
    before = generate(policy, ["a"], temperature=0, max_new_tokens=8)
    disturb(policy, size=0.5)
    assert ids(generate(policy, ["a"], temperature=0, max_new_tokens=8)) != ids(before)


def test_half_precision_decodes() -> None:
    found = generate(random_policy(dtype=torch.bfloat16), PROMPTS, max_new_tokens=4)
    assert all(len(generation.token_ids) == 4 or generation.ended for generation in found)


def test_stop_is_asked_before_every_token() -> None:
    policy = trained_policy()
    full = generate(policy, PROMPTS, max_new_tokens=9)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 4

    part = generate(policy, PROMPTS, max_new_tokens=9, stop=stop)
    assert ids(part) == [tokens[:4] for tokens in ids(full)]
    assert not any(generation.ended for generation in part)
    none = generate(policy, PROMPTS, max_new_tokens=9, stop=lambda: True)
    assert [(g.text, g.token_ids, g.sum_logp) for g in none] == [("", (), 0.0)] * len(PROMPTS)


def test_stop_between_batches_leaves_the_rest_empty() -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    found = generate(trained_policy(), ["aaaa", "b"], max_new_tokens=3, batch_size=1, stop=stop)
    assert [len(generation.token_ids) for generation in found] == [0, 3]  # the shorter prompt goes first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, r"max_new_tokens is 0; expected at least 1"),
        ({"temperature": -1.0}, r"temperature is -1.0; expected a finite number, 0 \(greedy\) or more"),
        ({"temperature": float("nan")}, r"temperature is nan"),
        ({"top_k": -1}, r"top_k is -1; expected 0 \(off\) or more"),
        ({"top_p": 0.0}, r"top_p is 0.0; expected a number above 0, at most 1 \(off\)"),
        ({"top_p": 1.5}, r"top_p is 1.5"),
        ({"copies": 0}, r"copies is 0; expected at least 1"),
        ({"batch_size": 0}, r"batch_size is 0; expected at least 1"),
        (
            {"weights": [0.5, 0.5]},
            r"weights: found weights for a policy that has no heads to weigh, expected none. Leave them out",
        ),
    ],
)
def test_options_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        generate(random_policy(), ["a"], **options)


def test_a_prompt_without_room_is_named_before_anything_is_decoded() -> None:
    message = r"prompt 1 has 250 tokens; with max_new_tokens=7 that exceeds the model's context of 256. Shorten"
    with pytest.raises(DataError, match=message):
        generate(random_policy(), ["a", "x" * 250], max_new_tokens=7)
    assert len(generate(random_policy("gpt2"), ["x" * 250], max_new_tokens=6)[0].token_ids) == 6


@pytest.mark.parametrize("single", ["a prompt", CHAT])
def test_a_single_prompt_is_not_a_list_of_prompts(single: Prompt) -> None:
    unchecked = inspect.unwrap(generate)  # without the type checks that only the tests have
    with pytest.raises(DataError, match=r"found a single prompt, expected a list of prompts. Pass \[prompt\]"):
        unchecked(random_policy(), single)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_are_an_error(temperature: float) -> None:
    policy = random_policy(adapter="full")
    with torch.no_grad():
        next(iter(policy.trainable.values()))[7] = torch.nan
    with pytest.raises(NonFiniteError, match=r"prompt \d, copy 0, token 0: the model's logits are not finite. Its"):
        generate(policy, ["a", "b"], temperature=temperature, max_new_tokens=3)
