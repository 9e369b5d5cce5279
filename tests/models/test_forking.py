"""Prompts that are read once, and what is held then given to both responses: the numbers of separate rows, forward and back."""

import math

import pytest
import torch
from support.hybrid_cases import ATTENDING, HYBRIDS, hybrid_policy
from support.models_cases import disturb, plain_logps, wide
from torch import Tensor
from transformers import LlamaForCausalLM

from paretokit.forks import fork
from paretokit.maths.losses import dpo
from paretokit.models import forking as forking_module
from paretokit.models.compute import Compute
from paretokit.models.forking import Forking
from paretokit.models.leaks import drawn_pairs
from paretokit.models.tiny import random_policy
from paretokit.preferences.pack import make_batch
from paretokit.rows import pad_rows, shared_rows
from paretokit.texts import EncodedPair
from paretokit.training.config import TrainConfig
from paretokit.training.jacobian import batch_for, margins, objective_jacobian
from paretokit.training.loop import plan_of

# why transformers 5.23 does not let the others
REFUSED = {
    "jamba": "log-probabilities after a forked prompt differ by ",  # its rule for several tokens starts from no state
    "zamba": "log-probabilities after a forked prompt differ by ",
    "mamba": "it does not go on from the state after a prompt (The size of tensor a",  # nor takes it a mask that is longer
    "falcon_mamba": "it does not go on from the state after a prompt (The size of tensor a",
    "minimax": "it does not go on from the state after a prompt (its cache is a MiniMaxCache)",
    "recurrent_gemma": "it does not go on from the state after a prompt (its cache is none)",
    "rwkv": "it does not go on from the state after a prompt (its cache is none)",
}
FORKED = [name for name in (*HYBRIDS, *ATTENDING) if name not in REFUSED]
LENGTHS = [(49, 5, 9), (1, 2, 1), (40, 1, 1), (33, 12, 3)]


def pairs_of(policy, lengths=LENGTHS):
    drawn = drawn_pairs(lengths, vocabulary=len(policy.tokenizer), seed=3)
    return [EncodedPair(tuple(p), tuple(a), tuple(b)) for p, a, b in zip(drawn.prompts, drawn.first, drawn.second, strict=True)]


@pytest.mark.parametrize("family", [*HYBRIDS, *ATTENDING])
def test_what_families_allow(family):
    found = hybrid_policy(family).forking
    assert found.exact == (family not in REFUSED)
    assert found.reason.startswith(REFUSED.get(family, ""))
    assert bool(found.reason) == (not found.exact)


@pytest.mark.parametrize("family", FORKED)
def test_log_probabilities_are_those_of_plain_logits(family):
    with wide():
        policy = hybrid_policy(family, spread=0.2, dtype=torch.float64, experts_implementation="eager")
        drawn = drawn_pairs(LENGTHS, vocabulary=len(policy.tokenizer), seed=3)
        rows = drawn.shared(together=False)
        found = policy.token_logps(rows, forked=True).detach()
        expected = [plain_logps(policy.model, p, r) for p, r in zip(drawn.prompts * 2, drawn.first + drawn.second, strict=True)]
    assert (found - torch.cat(expected)).abs().max() <= 1e-7


@pytest.mark.parametrize("family", ["lfm2", "falcon_h1", "qwen3_next", "nemotron_h", "kimi_linear", "gemma3_text", "gpt_oss"])
def test_the_first_loss_of_a_fresh_policy_is_log_2(family):
    policy = hybrid_policy(family)
    pairs = pairs_of(policy)
    prompts, first, second = ([getattr(pair, part) for pair in pairs] for part in ("prompt", "response_a", "response_b"))
    reference = policy.ids_logps(prompts, first, reference=True) - policy.ids_logps(prompts, second, reference=True)
    labels = torch.ones(1, len(pairs))
    [placed] = plan_of(policy, pairs[:1], TrainConfig()).passes
    assert placed.forked
    batch = batch_for(policy, pairs[:1], labels[:, :1], reference[:1], torch.arange(1), placed=placed)
    losses = dpo(margins(policy, batch).detach(), labels[:, :1], beta=0.1)
    torch.testing.assert_close(losses, torch.full_like(losses, math.log(2)), rtol=0, atol=2e-6)


@pytest.mark.parametrize("how", ["lora", "full", "heads"])
@pytest.mark.parametrize("family", ["lfm2", "qwen3_5_text", "olmo_hybrid", "gemma3_text"])
def test_the_gradients_of_all_objectives_are_those_of_separate_rows(family, how):
    """By one backward pass for all objectives, where the policy's coverage allows it, and by one for each."""
    heads = ["kind", "short"] if how == "heads" else None
    with wide():
        adapter = "lora" if how == "lora" else "full"
        policy = disturb(hybrid_policy(family, spread=0.2, dtype=torch.float64, adapter=adapter, heads=heads))
        pairs = pairs_of(policy)
        labels = torch.tensor([[1.0, -1.0, 0.0, 1.0], [-1.0, -1.0, 1.0, torch.nan]])
        if heads:
            labels = torch.tensor([[1.0, torch.nan, -1.0, torch.nan], [torch.nan, 1.0, torch.nan, -1.0]])
        judged = (~labels.isnan()).sum(dim=1)
        reference = torch.linspace(-1, 1, 4).double()
        asked = {"beta": 0.3, "judged": judged, "objectives": ["kind", "short"]}
        apart = make_batch(pairs, labels, reference, torch.arange(4))
        forked = make_batch(pairs, labels, reference, torch.arange(4), shared=True, forked=True)
        expected = objective_jacobian(policy, apart, separate=True, **asked)
        for separate in (True, False):
            found = objective_jacobian(policy, forked, separate=separate, **asked)
            torch.testing.assert_close(found.losses, expected.losses, rtol=0, atol=1e-8)
            for ours, theirs in zip((*found.rows, *found.own), (*expected.rows, *expected.own), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-7)
            assert max(float(row.abs().max()) for row in found.rows) > 1e-4


def test_a_state_that_is_not_handed_on_is_found(monkeypatch):
    """Planted: the recurrent state after the prompt is forgotten, and the convolution's columns are."""
    kept = forking_module.chosen_rows

    def forgetful(cache, rows):
        made = kept(cache, rows)
        for layer in made.layers:
            if hasattr(layer, "recurrent_states"):
                layer.recurrent_states = {
                    place: None if state is None else 0.999 * state for place, state in layer.recurrent_states.items()
                }
        return made

    monkeypatch.setattr(forking_module, "chosen_rows", forgetful)
    forking_module._of_twin.cache_clear()
    found = hybrid_policy("qwen3_5_text").forking
    forking_module._of_twin.cache_clear()
    assert not found.exact
    assert found.reason.startswith("log-probabilities after a forked prompt differ by ")


def test_a_state_without_gradient_is_found(monkeypatch):
    """Planted: the numbers are right, but no gradient goes back into the prompt."""
    kept = forking_module.chosen_rows

    def detached(cache, rows):
        made = kept(cache, rows)
        for layer in made.layers:
            if hasattr(layer, "conv_states"):
                layer.conv_states = {place: None if s is None else s.detach() for place, s in layer.conv_states.items()}
        return made

    monkeypatch.setattr(forking_module, "chosen_rows", detached)
    forking_module._of_twin.cache_clear()
    found = hybrid_policy("lfm2").forking
    forking_module._of_twin.cache_clear()
    assert found.reason.startswith("gradients through a forked prompt differ by ")


def test_the_loaded_model_is_looked_at_too(monkeypatch):
    policy = hybrid_policy("lfm2")
    plain = policy.reader.logps
    monkeypatch.setattr(policy.reader, "logps", lambda rows, **how: plain(rows, **how) * (1.5 if how.get("forked") else 1))
    assert policy.forking.reason.startswith("log-probabilities after a forked prompt differ by ")


def test_a_class_that_makes_no_small_model_is_not_forked():
    class Odd(LlamaForCausalLM):
        def __init__(self, config, needed):
            super().__init__(config)

    policy = random_policy("llama")
    made = forking_module.forking(Odd(policy.model.config, 1), lambda rows: rows, lambda rows: rows)
    assert made == Forking(False, "no small model of its class can be made, which would show whether that is exact")


def test_not_while_layers_are_computed_twice_or_compiled():
    policy = hybrid_policy("lfm2")
    policy.compute = Compute(checkpointing=True)
    assert policy.forking.reason == "with checkpointing a layer is computed once more, which would go on from its own state"
    policy.compute = Compute(compiler="inductor")
    assert policy.forking.reason == "the model is compiled, and hands out no cache"
    policy.compute = Compute()
    assert policy.forking.exact
    assert policy.fork(seed=1).base.forking is policy.forking  # found out once


def test_a_model_whose_logits_are_its_own_is_forked_too():
    policy = hybrid_policy("falcon_h1", lm_head_multiplier=0.5)
    policy.base.projection = policy.projection._replace(exact=False, reason="planted: as if its logits were made otherwise")
    drawn = drawn_pairs(LENGTHS, vocabulary=200, seed=3)
    found = policy.token_logps(drawn.shared(together=False), forked=True)
    torch.testing.assert_close(found, policy.token_logps(drawn.apart), rtol=0, atol=2e-5)


def test_every_token_of_a_pair_is_read_once_but_the_last_ones():
    prompts, first, second = [[5, 6], [7]], [[8, 9, 3], [3]], [[4, 1], [1, 2, 3, 4]]
    made = fork(shared_rows(prompts, first, second))
    assert made.prompt_owner.tolist() == [[0, 0], [-1, 1]]
    assert made.response_owner.tolist() == [[0, 0, -1], [-1, -1, -1], [0, -1, -1], [1, 1, 1]]
    numbers: Tensor = pad_rows(prompts * 2, first + second).targets
    ids = torch.cat([made.prompts[:, -1], made.responses.flatten()])[made.predicting]
    before = [[6, 8, 9], [7], [6, 4], [7, 1, 2, 3]]  # what precedes each scored token
    assert ids.tolist() == [token for part in before for token in part]
    assert len(numbers) == len(made.predicting)
