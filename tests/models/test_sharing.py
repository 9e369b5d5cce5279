"""Pairs that share their prompt in one row: exact on every family, and not used where it would not be."""

import math

import pytest
import torch
from support.hybrid_cases import ATTENDING, HYBRIDS, hybrid_policy
from support.models_cases import plain_logps, ragged_pairs, trained_policy, wide
from transformers import LlamaForCausalLM

from paretokit.maths.losses import dpo
from paretokit.models import sharing
from paretokit.models.compute import Compute
from paretokit.models.layer_kinds import Kinds, layer_kinds
from paretokit.models.leaks import drawn_pairs, seen_unasked
from paretokit.models.sharing import Sharing, decide, probe
from paretokit.models.tiny import FAMILIES, random_policy
from paretokit.rows import pad_rows, shared_rows
from paretokit.texts import EncodedPair
from paretokit.training.jacobian import batch_for, margins

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


class On(Config):
    def __init__(self, **found):
        vars(self).update(found)


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
    off = On(sliding_window=4, use_sliding_window=False)
    no_layer = On(sliding_window=4, layer_types=["full_attention"])
    on = On(sliding_window=8, attention_chunk_size=6)
    for config, window in ((off, None), (no_layer, None), (on, 6)):
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


def scores_of(policy):
    return lambda rows, shared: policy.token_logps(rows, shared=shared)


@pytest.mark.parametrize("family", HYBRIDS)
def test_layers_that_carry_a_state_keep_separate_rows_and_the_reason_names_them(family):
    policy = hybrid_policy(family)
    assert not policy.sharing.exact
    assert not policy.sharing.allows(2)
    kinds = layer_kinds(policy.model, policy.model.config)
    assert (
        policy.sharing.reason
        == f"its layers of the kind {', '.join(kinds.carrying)} carry what comes before along the row, past any mask"
    )


@pytest.mark.parametrize("family", ATTENDING)
def test_attention_alone_shares_up_to_its_window(family):
    policy = hybrid_policy(family)
    assert policy.sharing == Sharing(True, "", ATTENDING[family][1])


@pytest.mark.parametrize("family", ["lfm2", "falcon_h1", "qwen3_next", "mamba2", "jamba"])
def test_a_small_model_finds_the_leak_too(family, monkeypatch):
    """As it would with a class of which the structure says nothing; nor is its loaded model looked at."""
    policy = hybrid_policy(family)
    monkeypatch.setattr(sharing, "layer_kinds", lambda *_: Kinds((), (), (), ()))
    monkeypatch.setattr(sharing, "probe", lambda *_, **__: Sharing(True, "", None))
    found = decide(policy.model, scores_of(policy))
    assert not found.exact
    assert found.reason.startswith("in a small model of its class a response sees the other one of its row")


@pytest.mark.parametrize("family", ["lfm2", "falcon_h1", "qwen3_next", "nemotron_h"])
def test_the_loaded_model_shows_the_smallest_leak_by_its_derivative(family):
    """What it changes is far below what bfloat16 rounds; with small weights the old rule let it pass."""
    policy = hybrid_policy(family, spread=0.0, dtype=torch.bfloat16)
    pairs = drawn_pairs([(5, 4, 3)], vocabulary=200)
    assert seen_unasked(policy.model, pairs, scores_of(policy)) > 0
    plain = hybrid_policy("qwen3", dtype=torch.bfloat16)
    assert seen_unasked(plain.model, pairs, scores_of(plain)) == 0.0


class Summing(torch.nn.Module):
    """A layer that adds a little of all that came before in the row."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, states):
        return states + self.scale * states.cumsum(dim=1)


class SummingLlama(LlamaForCausalLM):
    """A model of a class of its own that leaks; its configuration does not tell."""

    def __init__(self, config):
        super().__init__(config)
        self.summing = Summing(1e-3)
        self.model.layers[-1].register_forward_hook(lambda module, inputs, output: self.summing(output))


class GatedLlama(SummingLlama):
    """One whose gate starts at zero, so that it leaks only once it is trained."""

    def __init__(self, config):
        super().__init__(config)
        self.gate = torch.nn.Parameter(torch.zeros(()))
        self.summing.scale = self.gate


class LatePooling(LlamaForCausalLM):
    """One that leaks over a distance alone: each stretch of 64 columns sees the mean of the one before."""

    def __init__(self, config):
        super().__init__(config)

        def pool(module, inputs, output):
            whole = output.shape[1] // 64 * 64
            means = output[:, :whole].unflatten(1, (-1, 64)).mean(dim=2).repeat_interleave(64, dim=1)
            return output + torch.nn.functional.pad(means, (0, 0, 64, 0))[:, : output.shape[1]] * 1e-3

        self.model.layers[0].register_forward_hook(pool)


class Choosing(LlamaForCausalLM):
    """One whose leak has no derivative: what token comes last in the row so far, by rank, is added as a constant."""

    def __init__(self, config):
        super().__init__(config)

        def choose(module, inputs, output):
            ranks = inputs[0].detach()[..., 0].cummax(dim=1).indices  # which column of the row is the highest so far
            return output + 0.01 * (ranks % 7)[..., None]

        self.model.layers[0].register_forward_hook(choose)


def planted(kind):
    config = random_policy("llama", adapter="full").model.config
    torch.manual_seed(0)
    return kind(config).eval().requires_grad_(False)


@pytest.mark.parametrize("kind", [SummingLlama, GatedLlama, LatePooling, Choosing])
def test_a_planted_leak_is_found(kind):
    policy = random_policy("llama")
    model = planted(kind)
    policy.reader.model = model
    found = decide(model, lambda rows, shared: policy.reader.logps(rows, shared=shared))
    assert not found.exact
    assert "sees the other one of its row" in found.reason or " in a shared row" in found.reason


def test_the_class_alone_does_not_make_it_leak():
    """The same test with nothing planted: a class of its own is taken where a small model of it keeps responses apart."""

    class Own(LlamaForCausalLM):
        pass

    policy = random_policy("llama")
    policy.reader.model = planted(Own)
    assert decide(policy.reader.model, lambda rows, shared: policy.reader.logps(rows, shared=shared)).exact


def test_a_class_that_makes_no_small_model_keeps_separate_rows():
    class Odd(LlamaForCausalLM):
        def __init__(self, config, needed):
            super().__init__(config)

    policy = random_policy("llama")
    config = policy.model.config
    policy.reader.model = Odd(config, 1).eval().requires_grad_(False)
    found = decide(policy.reader.model, lambda rows, shared: policy.reader.logps(rows, shared=shared))
    assert found == Sharing(False, "nothing is known of its modules (Odd), and no small model of its class can be made", None)


def test_a_kind_of_layer_that_is_not_known_keeps_separate_rows():
    policy = random_policy("llama", adapter="full")
    policy.model.config.layer_types = ["full_attention", "folded_attention"]
    assert policy.sharing.reason == "its configuration names layers of a kind that is not known (folded_attention)"


@pytest.mark.parametrize("family", [*HYBRIDS, *ATTENDING])
def test_a_fresh_policy_starts_at_log_2(family):
    """Whichever way its pairs are read: then no response has read another, and policy and reference agree to the last bit."""
    policy = hybrid_policy(family)
    prompts, first, second = responses_of_pairs()
    pairs = [EncodedPair(tuple(p), tuple(a), tuple(b)) for p, a, b in zip(prompts, first, second, strict=True)]
    reference = policy.ids_logps(prompts, first, reference=True) - policy.ids_logps(prompts, second, reference=True)
    labels = torch.ones(1, len(pairs))
    batch = batch_for(policy, pairs, labels, reference, torch.arange(len(pairs)))
    losses = dpo(margins(policy, batch).detach(), labels, beta=0.1)
    torch.testing.assert_close(losses, torch.full_like(losses, math.log(2)), rtol=0, atol=5e-7)


def test_the_first_loss_shows_a_row_that_leaks():
    """Planted: with LFM2's responses in one row the same check fails."""
    policy = hybrid_policy("lfm2")
    prompts, first, second = responses_of_pairs()
    pairs = [EncodedPair(tuple(p), tuple(a), tuple(b)) for p, a, b in zip(prompts, first, second, strict=True)]
    reference = policy.ids_logps(prompts, first, reference=True) - policy.ids_logps(prompts, second, reference=True)
    policy.base.sharing = Sharing(True, "", None)
    batch = batch_for(policy, pairs, torch.ones(1, 3), reference, torch.arange(3))
    losses = dpo(margins(policy, batch).detach(), torch.ones(1, 3), beta=0.1)
    assert (losses - math.log(2)).abs().max() > 1e-4


def test_it_is_found_out_where_no_gradient_is_wanted_and_of_the_model_as_it_is():
    policy = random_policy()
    with torch.inference_mode():
        assert policy.sharing.exact
    policy = random_policy()
    policy.compute = Compute(compiler="no such backend")
    assert policy.sharing.exact
    assert policy.compute.compiler == "no such backend"
