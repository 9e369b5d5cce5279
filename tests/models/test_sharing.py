"""Pairs that share their prompt in one row: exact on every family, and not used where it would not be."""

import pytest
import torch
from support.models_cases import plain_logps, ragged_pairs, trained_policy, wide

from paretokit.models.sharing import Sharing, probe
from paretokit.models.tiny import FAMILIES, random_policy
from paretokit.rows import pad_rows, shared_rows

# Gemma 2 runs with eager attention (soft-capping), whose softmax transformers computes in float32
TOLERANCE = {"gemma2": 1e-6}


def responses_of_pairs() -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
    """Ragged pairs within the windows of the random families (16 tokens)."""
    prompts, first = ragged_pairs()
    short = [0, 1, 2]
    prompts, first = [prompts[i] for i in short], [first[i] for i in short]
    return prompts, first, [[7, 2, 9, 9, 1, 4], [5], [3, 0, 8]]


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_are_those_of_plain_logits(family):
    policy = trained_policy(family)
    prompts, first, second = responses_of_pairs()
    expected = [plain_logps(policy.model, p, r) for p, r in zip(prompts * 2, first + second, strict=True)]
    rows = shared_rows(prompts, first, second)
    found = policy.token_logps(rows, shared=True).detach()
    assert (found - torch.cat(expected)).abs().max() <= TOLERANCE.get(family, 1e-8)
    assert rows.sequence.tolist() == [s for s, logps in enumerate(expected) for _ in logps]
    wrong = policy.token_logps(rows).detach()  # planted: the second response sees the first
    assert (wrong - torch.cat(expected)).abs().max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_several_pairs_in_a_row_have_the_log_probabilities_of_plain_logits(family):
    policy = trained_policy(family)
    prompts, first, second = responses_of_pairs()
    expected = [plain_logps(policy.model, p, r) for p, r in zip(prompts * 2, first + second, strict=True)]
    rows = shared_rows(prompts, first, second, rows=[[0, 2], [1]])
    assert rows.segments.amax(dim=1).tolist() == [6, 3]
    found = policy.token_logps(rows, shared=True).detach()
    assert (found - torch.cat(expected)).abs().max() <= TOLERANCE.get(family, 1e-8)
    assert rows.sequence.tolist() == [s for s, logps in enumerate(expected) for _ in logps]
    leak = torch.where(rows.segments > 3, rows.segments - 3, rows.segments)  # planted: the pairs of a row are taken for one
    wrong = policy.token_logps(rows._replace(segments=leak), shared=True).detach()
    apart, pair = (wrong - torch.cat(expected)).abs(), rows.sequence % 3
    assert apart[pair == 2].max() > 1e-3  # it comes second, and sees the other
    assert apart[pair != 2].max() <= TOLERANCE.get(family, 1e-8)


def test_in_float64_all_through_gemma_2_is_exact_too():
    """So its tolerance is that of its softmax in float32."""
    with wide():
        policy = trained_policy("gemma2")
        prompts, first, second = responses_of_pairs()
        expected = [plain_logps(policy.model, p, r) for p, r in zip(prompts * 2, first + second, strict=True)]
        found = policy.token_logps(shared_rows(prompts, first, second, rows=[[0, 2], [1]]), shared=True).detach()
    assert (found - torch.cat(expected)).abs().max() <= 1e-13


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_allows_it_up_to_its_window(family, dtype):
    policy = random_policy(family, dtype=dtype)
    assert policy.sharing == Sharing(True, "", 16 if family in ("gemma2", "gemma3", "mistral") else None)
    assert policy.sharing.allows(16)
    assert policy.sharing.allows(17) == (policy.sharing.window is None)
    assert policy.fork(seed=1).base.sharing is policy.sharing  # found out once


def test_eager_attention_takes_the_mask_too():
    assert random_policy("llama", attention="eager").sharing.exact


class Config:
    vocab_size = 50
    sliding_window = None


def test_a_model_whose_second_response_sees_the_first_keeps_separate_rows():
    """As a state-space layer would, whatever the mask says."""
    policy = trained_policy()
    found = probe(Config, lambda rows, shared: policy.token_logps(rows))
    assert not found.exact
    assert found.reason.startswith("log-probabilities in a shared row differ by ")
    assert not found.allows(3)


def test_a_model_that_counts_positions_itself_keeps_separate_rows():
    policy = trained_policy("gpt2")

    def scores(rows, shared):
        counted = torch.arange(rows.input_ids.shape[1]).expand_as(rows.position_ids)
        return policy.token_logps(rows._replace(position_ids=counted), shared=shared)

    assert not probe(Config, scores).exact


def test_an_attention_that_refuses_the_mask_keeps_separate_rows():
    policy = trained_policy()

    def scores(rows, shared):
        if shared:
            raise ValueError("only causal masks are supported\nsee the manual")
        return policy.token_logps(rows)

    assert probe(Config, scores) == Sharing(
        False, "its attention takes no mask of ours (only causal masks are supported)", None
    )


def test_memory_that_runs_out_is_not_taken_for_a_refusal():
    policy = trained_policy()

    def scores(rows, shared):
        if shared:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return policy.token_logps(rows)

    with pytest.raises(torch.OutOfMemoryError):
        probe(Config, scores)


def test_a_window_that_is_switched_off_is_none():
    policy = trained_policy()

    class Off(Config):
        sliding_window = 4
        use_sliding_window = False

    class On(Config):
        sliding_window = 8
        attention_chunk_size = 6

    for config, window in ((Off, None), (On, 6)):
        assert probe(config, lambda rows, shared: policy.token_logps(rows, shared=shared)).window == window


def test_not_a_number_is_not_exact():
    policy = trained_policy()

    def scores(rows, shared):
        return policy.token_logps(rows, shared=shared) * (torch.nan if shared else 1)

    assert not probe(Config, scores).exact


def test_one_row_of_each_kind_has_equal_sums():
    policy = trained_policy("qwen3")
    prompts, first, second = responses_of_pairs()
    shared = policy.token_logps(shared_rows(prompts, first, second), shared=True)
    apart = policy.token_logps(pad_rows(prompts * 2, first + second))
    torch.testing.assert_close(shared.sum(), apart.sum(), rtol=1e-10, atol=0)
