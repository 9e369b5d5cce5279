"""Weights in decoding: several weightings in one batch are what one call per weighting gives; a prompt is read once; one
weighting is the exported model."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from support.heads_cases import NAMES, headed
from support.models_cases import disturb

from paretokit.decoding import sample
from paretokit.decoding.sample import Generation, generate
from paretokit.errors import ConfigError, WeightsError
from paretokit.models.load import load_policy
from paretokit.models.policy import Policy
from paretokit.models.tiny import random_policy
from paretokit.texts import Prompt, encode_prompt

CHAT = ({"role": "user", "content": "hi"},)
PROMPTS: list[Prompt] = ["hello", "a", "The quick brown fox jumps", CHAT]
WEIGHTINGS = [(1.0, 0.0, 0.0), (0.2, 0.3, 0.5), (0.0, 0.0, 1.0)]
RANKS = pytest.mark.parametrize("rank", [4, None], ids=["low-rank", "full"])
HOW = pytest.mark.parametrize(
    "options", [{"temperature": 0}, {}, {"temperature": 0.7, "top_k": 20, "top_p": 0.9}], ids=["greedy", "sampled", "cut"]
)
# every prompt with every weighting, in an order that keeps neither together
CASES = sorted(((prompt, weights) for prompt in PROMPTS for weights in WEIGHTINGS), key=lambda case: (len(str(case)) * 7) % 5)


@pytest.fixture
def often_ends(monkeypatch: pytest.MonkeyPatch) -> frozenset[int]:
    """Every twelfth token ends a text, so that rows leave their batch at different times."""
    ends = frozenset(range(0, 259, 12))
    monkeypatch.setattr(sample, "end_tokens", lambda tokenizer: ends)
    return ends


def trained(family: str = "gpt2", *, rank: int | None = 4, **options: object) -> Policy:
    """Heads that differ enough for their texts to differ."""
    return disturb(headed(family, rank=rank, **options), size=0.3)


def ids(generations: Sequence[Generation]) -> list[tuple[int, ...]]:
    return [generation.token_ids for generation in generations]


def assert_same_texts(found: Sequence[Generation], expected: Sequence[Generation], *, within: float = 1e-9) -> None:
    """Equal tokens, and log-probabilities up to rounding."""
    assert ids(found) == ids(expected)
    assert [g.sum_logp for g in found] == pytest.approx([g.sum_logp for g in expected], abs=within)
    assert [(g.prompt, g.copy, g.weights, g.ended) for g in found] == [(g.prompt, g.copy, g.weights, g.ended) for g in expected]


def together(policy: Policy, **options: object) -> list[Generation]:
    prompts, weights = map(list, zip(*CASES, strict=True))
    return generate(policy, prompts, weights=weights, **options)


def one_by_one(policy: Policy, **options: object) -> list[Generation]:
    return [g for prompt, weights in CASES for g in generate(policy, [prompt], weights=weights, **options)]


# several weightings in one call


@RANKS
@HOW
def test_several_weightings_in_one_call_are_one_call_each(rank: int | None, options: dict[str, float]) -> None:
    policy = trained(rank=rank)
    found = together(policy, max_new_tokens=10, copies=2, **options)
    assert_same_texts(found, one_by_one(policy, max_new_tokens=10, copies=2, **options))
    assert [(g.prompt_index, g.copy) for g in found] == [(index, copy) for index in range(len(CASES)) for copy in range(2)]
    assert [g.weights for g in found[::2]] == [weights for _, weights in CASES]
    for prompt in PROMPTS:
        assert len({g.token_ids for g in found if g.prompt == prompt and g.copy == 0}) == 3  # planted: weights matter
    with pytest.raises(AssertionError):
        assert_same_texts(found[::-1], one_by_one(policy, max_new_tokens=10, copies=2, **options))


@RANKS
@pytest.mark.parametrize(
    ("family", "adapter", "tied"),
    [
        ("llama", "lora", True),
        ("llama", "full", False),
        ("gemma3", "none", True),
        ("cohere", "lora", True),
        ("phi", "lora", False),
    ],
)
def test_other_families_and_adapters(family: str, adapter: str, tied: bool, rank: int | None) -> None:
    policy = trained(family, rank=rank, adapter=adapter, tie_word_embeddings=tied)
    # transformers computes norms and softmaxes of these in float32, whatever the batch
    assert_same_texts(together(policy, max_new_tokens=6), one_by_one(policy, max_new_tokens=6), within=1e-4)


@RANKS
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_soft_cap_acts_after_mixing_in_both_ways(rank: int | None, temperature: float) -> None:
    """Gemma 2, in float32: its softmax has no room for the mask of padded rows in float64."""
    policy = trained("gemma2", rank=rank, dtype=torch.float32)
    options = {"max_new_tokens": 6, "temperature": temperature}
    found = together(policy, **options)
    assert_same_texts(found, one_by_one(policy, **options), within=1e-3)
    for (prompt, weights), generation in zip(CASES, found, strict=True):
        encoded = encode_prompt(policy.tokenizer, prompt)
        expected = policy.ids_logps([encoded], [generation.token_ids], weights=weights)
        assert generation.sum_logp == pytest.approx(float(expected), abs=1e-3)
    uncapped = trained("gemma2", rank=rank, dtype=torch.float32, final_logit_softcapping=None)
    assert [g.sum_logp for g in together(uncapped, **options)] != pytest.approx([g.sum_logp for g in found], abs=0.1)


@RANKS
def test_rows_that_end_leave_with_their_weights(rank: int | None, often_ends: frozenset[int]) -> None:
    policy = trained(rank=rank)
    found = together(policy, max_new_tokens=24, copies=3)
    lengths = {len(g.token_ids) for g in found}
    assert len(lengths) > 8  # they did leave at different times, and the batch shrank
    assert {g.ended for g in found} == {True, False}
    assert_same_texts(found, one_by_one(policy, max_new_tokens=24, copies=3))
    assert_same_texts(found, together(policy, max_new_tokens=24, copies=3, batch_size=5))


def test_weights_that_do_not_follow_their_rows_are_noticed(often_ends: frozenset[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the batch shrinks, and the weights stay those of the first rows."""
    policy = trained()
    expected = together(policy, max_new_tokens=24, copies=3)
    monkeypatch.setattr(
        "paretokit.models.heads.RowHead.select", lambda head, rows: setattr(head, "weights", head.weights[: len(rows)])
    )
    assert ids(together(policy, max_new_tokens=24, copies=3)) != ids(expected)


@RANKS
def test_sum_logp_is_what_the_mixture_says(rank: int | None) -> None:
    policy = trained(rank=rank)
    for (prompt, weights), generation in zip(CASES, together(policy, max_new_tokens=8), strict=True):
        encoded = [encode_prompt(policy.tokenizer, prompt)]
        found = policy.ids_logps(encoded, [generation.token_ids], weights=weights)
        assert generation.sum_logp == pytest.approx(float(found), abs=1e-9)
        other = policy.ids_logps(encoded, [generation.token_ids], weights=(0.6, 0.2, 0.2))
        assert generation.sum_logp != pytest.approx(float(other), abs=1e-3)  # planted


def test_equal_prompts_draw_the_same_numbers() -> None:
    policy = trained()
    found = generate(
        policy, ["a"] * 4, weights=[(0.2, 0.3, 0.5), (1.0, 0.0, 0.0), (0.2, 0.3, 0.5), (0.2, 0.3, 0.5)], max_new_tokens=9
    )
    assert found[0].token_ids == found[2].token_ids == found[3].token_ids != found[1].token_ids
    nearby = generate(policy, ["a"] * 2, weights=[(0.2, 0.3, 0.5), (0.2, 0.3 + 1e-9, 0.5 - 1e-9)], max_new_tokens=9)
    assert nearby[0].token_ids == nearby[1].token_ids  # a text changes where the weights do, not because others were drawn


def test_what_cuts_the_distribution_acts_after_mixing() -> None:
    policy = trained()
    greedy = together(policy, temperature=0, max_new_tokens=6)
    assert ids(together(policy, top_k=1, max_new_tokens=6)) == ids(greedy)
    assert ids(together(policy, max_new_tokens=6)) != ids(greedy)


def test_heads_at_their_start_answer_like_the_base() -> None:
    policy = headed("gpt2")
    plain = random_policy("gpt2", adapter="none", dtype=torch.float64)
    expected = generate(plain, [prompt for prompt, _ in CASES], max_new_tokens=8)
    assert ids(together(policy, max_new_tokens=8)) == ids(expected)
    assert ids(together(trained(), max_new_tokens=8)) != ids(expected)  # planted


# a prompt is read once


def read(policy: Policy, prompts: list[Prompt], weights: object, **options: object) -> list[tuple[int, int]]:
    """Rows and columns of every table of tokens that goes through the backbone."""
    seen: list[tuple[int, int]] = []
    embedding = policy.by_row(torch.eye(len(policy.heads), dtype=torch.float64))[0].get_input_embeddings()
    hook = embedding.register_forward_hook(lambda module, inputs, output: seen.append(tuple(inputs[0].shape)))
    try:
        generate(policy, prompts, weights=weights, **options)
    finally:
        hook.remove()
    return seen


@RANKS
@pytest.mark.parametrize("copies", [1, 3])
def test_the_prefill_has_a_row_for_each_distinct_prompt(rank: int | None, copies: int) -> None:
    policy = trained("llama", rank=rank)
    prompts = ["hello", "a"] * 3
    longest = max(len(encode_prompt(policy.tokenizer, prompt)) for prompt in prompts)
    seen = read(policy, prompts, WEIGHTINGS * 2, max_new_tokens=4, copies=copies, temperature=1.0)
    assert seen[0] == (2, longest)
    assert seen[1:] == [(6 * copies, 1)] * 3
    assert sum(rows * width for rows, width in seen) == 2 * longest + 3 * 6 * copies
    calls = zip(prompts, WEIGHTINGS * 2, strict=True)
    apart = [shape for prompt, weights in calls for shape in read(policy, [prompt], weights, max_new_tokens=4)]
    assert sum(rows * width for rows, width in apart) > 2 * longest + 3 * 6  # planted: a call each reads them again


def test_a_whole_front_of_one_prompt_is_one_reading() -> None:
    policy = trained()
    grid = [(i / 10, (10 - i) / 10, 0.0) for i in range(11)]
    seen = read(policy, ["The quick brown fox"] * 11, grid, max_new_tokens=3)
    assert seen == [(1, len(encode_prompt(policy.tokenizer, "The quick brown fox"))), (11, 1), (11, 1)]


# one weighting


@RANKS
@HOW
def test_one_weighting_is_the_exported_model(tmp_path: Path, rank: int | None, options: dict[str, float]) -> None:
    policy = trained(rank=rank)
    found = generate(policy, PROMPTS, weights=(0.2, 0.3, 0.5), max_new_tokens=10, copies=2, **options)
    policy.export(tmp_path / "plain", weights=(0.2, 0.3, 0.5))
    plain = load_policy(tmp_path / "plain", adapter="none", dtype="float64")
    expected = generate(plain, PROMPTS, max_new_tokens=10, copies=2, **options)
    assert ids(found) == ids(expected)
    assert [g.sum_logp for g in found] == pytest.approx([g.sum_logp for g in expected], abs=1e-9)
    assert {g.weights for g in found} == {(0.2, 0.3, 0.5)}
    assert {g.weights for g in expected} == {()}
    other = generate(policy, PROMPTS, weights=(0.5, 0.3, 0.2), max_new_tokens=10, copies=2, **options)
    assert ids(other) != ids(expected)  # planted


def test_one_weighting_is_folded_however_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = trained()
    by_name = {"truth": 0.5, "help": 0.2, "honest": 0.3}
    expected = generate(policy, PROMPTS, weights=(0.2, 0.3, 0.5), max_new_tokens=6)
    monkeypatch.setattr(Policy, "by_row", None)  # nothing is mixed row by row
    for weights in (by_name, [0.2, 0.3, 0.5], [by_name] * 4, [(0.2, 0.3, 0.5), by_name, [0.2, 0.3, 0.5], by_name]):
        assert generate(policy, PROMPTS, weights=weights, max_new_tokens=6) == expected
    with pytest.raises(TypeError):  # planted: two weightings are
        generate(policy, ["a", "b"], weights=WEIGHTINGS[:2], max_new_tokens=2)


def test_as_many_heads_as_prompts_is_one_weighting() -> None:
    policy = trained()
    found = generate(policy, ["a", "b", "c"], weights=[0.2, 0.3, 0.5], max_new_tokens=2)
    assert {g.weights for g in found} == {(0.2, 0.3, 0.5)}


def test_a_policy_without_heads_has_no_weights_to_tell() -> None:
    [found] = generate(random_policy(), ["a"], max_new_tokens=2)
    assert found.weights == ()
    assert not found.extrapolated


def test_no_prompts_are_no_texts() -> None:
    assert generate(trained(), [], weights=(0.2, 0.3, 0.5), max_new_tokens=2) == []


def test_decoding_leaves_the_policy_as_it_was() -> None:
    policy = trained("llama")
    before = policy.trainable_state()
    together(policy, max_new_tokens=3)
    assert all(torch.equal(weight, before[name]) for name, weight in policy.trainable.items())
    assert all(weight.requires_grad and not weight.is_inference() for weight in policy.trainable.values())
    assert policy.model.get_output_embeddings().weight.is_inference() is False
    found = policy.ids_logps([[1, 2]], [[3]], weights=(0.2, 0.3, 0.5))
    assert found.isfinite().all()


# outside of the simplex


@RANKS
def test_weights_outside_of_the_simplex_are_asked_for_and_flagged(rank: int | None) -> None:
    policy = trained(rank=rank)
    weights = [(1.5, -1.0, 0.5), (0.2, 0.3, 0.5)]
    found = generate(policy, ["a", "hello"], weights=weights, extrapolate=True, max_new_tokens=6)
    assert [g.extrapolated for g in found] == [True, False]
    alone = [
        generate(policy, [p], weights=w, extrapolate=True, max_new_tokens=6)[0]
        for p, w in zip(["a", "hello"], weights, strict=True)
    ]
    assert ids(found) == ids(alone)
    assert [g.extrapolated for g in alone] == [True, False]
    with pytest.raises(WeightsError) as caught:
        generate(policy, ["hello", "a"], weights=weights[::-1], max_new_tokens=6)
    assert str(caught.value) == (
        "generate: weights of prompt 1: found -1.0 for honest, expected a finite number >= 0. Change that weight."
    )
    with pytest.raises(WeightsError, match=r"generate: weights: found the sum 1\.2, expected 1"):
        generate(policy, ["a"], weights=(1.5, -1.0, 0.7), extrapolate=True)


# what is refused


def test_a_wrong_number_of_weightings() -> None:
    for count in (1, 3):
        with pytest.raises(WeightsError) as caught:
            generate(headed(), ["a", "b"], weights=(WEIGHTINGS * 2)[:count])
        assert str(caught.value) == (
            f"generate: weights: found {count} weightings for 2 prompts, expected one, or one for each prompt. Repeat the "
            "prompts for further weightings."
        )


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((0.5, 0.5), r"generate: weights: found 2 weights, expected 3 \(help, honest, truth\)"),
        ((0.5, 0.3, 0.3), r"generate: weights: found the sum 1\.1, expected 1"),
        ([(0.2, 0.3, 0.5), (0.5, 0.5)], r"generate: weights of prompt 1: found 2 weights, expected 3"),
        ([{"help": 1.0}, (0.2, 0.3, 0.5)], r"generate: weights of prompt 0: found no weight for honest, truth"),
        ([(0.2, 0.3, 0.5), {"trust": 1.0}], r"generate: weights of prompt 1: found the unknown objective 'trust', .*'truth'\?"),
    ],
)
def test_unfit_weights_say_whose_they_are(weights: object, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        generate(headed(), ["a", "b"], weights=weights)


def test_weights_and_heads_go_together() -> None:
    with pytest.raises(ConfigError) as caught:
        generate(random_policy(), ["a"], weights=[0.5, 0.5])
    assert str(caught.value) == (
        "generate: weights: found weights for a policy that has no heads to weigh, expected none. Leave them out, load the "
        "policy with heads=[...], or train one policy per weighting."
    )
    with pytest.raises(ConfigError, match=r"generate: weights of prompt 0: found weights for a policy that has no heads"):
        generate(random_policy(), ["a"], weights=[(0.5, 0.5)])
    with pytest.raises(ConfigError) as caught:
        generate(headed(), ["a"])
    assert str(caught.value) == (
        f"generate: weights: found none for a policy with the heads {', '.join(NAMES)}, expected one weight for each. Pass "
        "weights that sum to 1."
    )


def test_no_prompts_with_no_weightings_are_no_answers():
    assert generate(random_policy(heads=["kind", "short"]), [], weights=[]) == []
