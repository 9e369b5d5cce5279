"""Policy.token_logps and its sums equal plain logits, on every family, whatever shares the batch."""

import math

import pytest
import torch
from support.models_cases import disturb, plain_logps, ragged_pairs, trained_policy

from paretokit.errors import DataError
from paretokit.models.tiny import FAMILIES, random_policy
from paretokit.rows import pad_rows
from paretokit.texts import encode_prompt, encode_response

# Gemma 2 runs with eager attention (soft-capping), whose softmax transformers computes in float32
TOLERANCE = {"gemma2": 1e-6}


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_plain_logits(family: str) -> None:
    policy = trained_policy(family)
    prompts, responses = ragged_pairs()
    expected = torch.cat([plain_logps(policy.model, p, r) for p, r in zip(prompts, responses, strict=True)])
    found = policy.token_logps(pad_rows(prompts, responses)).detach()
    assert found.dtype == torch.float64
    assert (found - expected).abs().max() <= TOLERANCE.get(family, 1e-8)


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_eager_attention_agrees(family: str) -> None:
    prompts, responses = ragged_pairs()
    sdpa, eager = (random_policy(family, attention=attention) for attention in ("sdpa", "eager"))
    assert sdpa.model.config._attn_implementation == "sdpa"
    assert eager.model.config._attn_implementation == "eager"
    found = [policy.ids_logps(prompts, responses) for policy in (sdpa, eager)]
    torch.testing.assert_close(*found, rtol=0, atol=1e-4)  # float32, sums of up to 20 tokens


def test_padding_value_is_never_read() -> None:
    policy = trained_policy()
    rows = pad_rows(*ragged_pairs())
    other = rows._replace(input_ids=rows.input_ids.where(rows.segments > 0, torch.tensor(77)))
    assert torch.equal(policy.token_logps(rows), policy.token_logps(other))
    real = rows._replace(input_ids=rows.input_ids.where(rows.segments == 0, torch.tensor(77)))
    assert not torch.equal(policy.token_logps(rows), policy.token_logps(real))  # planted: it does read real ones


def test_gradient_is_that_of_the_plain_sum() -> None:
    policy = trained_policy("qwen3")
    prompts, responses = ragged_pairs()
    weights = list(policy.trainable.values())
    found = torch.autograd.grad(policy.token_logps(pad_rows(prompts, responses)).sum(), weights)
    with torch.enable_grad():
        total = sum(
            policy.model(input_ids=torch.tensor([p + r]))
            .logits[0]
            .log_softmax(-1)[range(len(p) - 1, len(p) + len(r) - 1), r]
            .sum()
            for p, r in zip(prompts, responses, strict=True)
        )
    for ours, plain in zip(found, torch.autograd.grad(total, weights), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-11)


def test_sums_come_in_input_order_for_any_batch_size() -> None:
    policy = trained_policy()
    prompts, responses = ragged_pairs()
    expected = [plain_logps(policy.model, p, r).sum().item() for p, r in zip(prompts, responses, strict=True)]
    for batch_size in (1, 2, 16):
        found = policy.ids_logps(prompts, responses, batch_size=batch_size)
        assert found.dtype == torch.float64
        assert found.tolist() == pytest.approx(expected, abs=1e-9)
    assert not found.requires_grad
    assert policy.ids_logps([], []).shape == (0,)


def test_half_precision_logits_are_summed_in_float32() -> None:
    policy = random_policy(dtype=torch.bfloat16)
    assert {p.dtype for p in policy.trainable.values()} == {torch.float32}
    assert policy.model.dtype == torch.bfloat16
    found = policy.token_logps(pad_rows(*ragged_pairs()))
    assert found.dtype == torch.float32
    found.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in policy.trainable.values())


def test_texts_are_scored_with_their_end_token() -> None:
    policy = trained_policy()
    chat = ({"role": "user", "content": "Say hi."},)
    found = policy.sequence_logps([chat, "Once"], ["hi", " upon"])
    ids = [
        (encode_prompt(policy.tokenizer, chat), encode_response(policy.tokenizer, "hi", chat=True)),
        (encode_prompt(policy.tokenizer, "Once"), encode_response(policy.tokenizer, " upon", chat=False)),
    ]
    assert all(response[-1] == policy.tokenizer.eos_token_id for _, response in ids)
    assert found.tolist() == pytest.approx([plain_logps(policy.model, *pair).sum().item() for pair in ids], abs=1e-9)


def test_reference_is_the_base_and_leaves_no_context_open() -> None:
    base, policy = random_policy(dtype=torch.float64), random_policy(dtype=torch.float64)
    disturb(policy)
    texts = (["Once", "a"], [" upon", " time"])
    before = policy.sequence_logps(*texts)
    assert policy.reference_logps(*texts).tolist() == pytest.approx(base.sequence_logps(*texts).tolist(), abs=1e-10)
    assert torch.equal(policy.sequence_logps(*texts), before)
    assert (before - base.sequence_logps(*texts)).abs().min() > 1e-3
    with pytest.raises(DataError):
        policy.reference_logps(["x" * 300], ["y"])
    assert torch.equal(policy.sequence_logps(*texts), before)  # switched on again after an error, too
    assert all(p.requires_grad for p in policy.trainable.values())


def test_reference_between_forward_and_backward_changes_nothing() -> None:
    policy = trained_policy()
    prompts, responses = ragged_pairs()
    weights = list(policy.trainable.values())
    expected = torch.autograd.grad(policy.token_logps(pad_rows(prompts, responses)).sum(), weights)
    total = policy.token_logps(pad_rows(prompts, responses)).sum()
    policy.ids_logps(prompts, responses, reference=True)
    for ours, plain in zip(torch.autograd.grad(total, weights), expected, strict=True):
        assert torch.equal(ours, plain)


def test_start_is_the_reference() -> None:
    prompts, responses = ragged_pairs()
    for adapter in ("lora", "full", "none"):
        policy = random_policy(dtype=torch.float64, adapter=adapter)
        found = policy.ids_logps(prompts, responses) - policy.ids_logps(prompts, responses, reference=True)
        assert found.abs().max() <= 1e-12


def test_uniform_model_gives_log_of_the_vocabulary() -> None:
    policy = random_policy(adapter="full", dtype=torch.float64)
    with torch.no_grad():
        policy.model.get_output_embeddings().weight.zero_()
    assert policy.ids_logps([[5, 6]], [[7, 8, 9]]).item() == pytest.approx(-3 * math.log(len(policy.tokenizer)))


def test_bad_input_is_named() -> None:
    policy = random_policy()
    with pytest.raises(DataError, match=r"a row holds 302 positions, but the model was made for 256; shorten"):
        policy.sequence_logps(["x" * 300], ["y"])
    with pytest.raises(DataError, match=r"found 2 prompts and 1 responses; pass one response per prompt"):
        policy.sequence_logps(["a", "b"], ["c"])
