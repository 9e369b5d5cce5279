"""Forks share what is frozen and own what is trained; the reference of a fully trained policy is its untouched base."""

import pytest
import torch
from support.models_cases import disturb, ragged_pairs

from paretokit.models.policy import Policy
from paretokit.models.tiny import random_policy
from paretokit.rows import pad_rows

PAIRS = ragged_pairs()


def train_a_little(policy: Policy, **options: bool) -> None:
    steps = torch.optim.AdamW(list(policy.trainable.values()), lr=1e-2, **options)
    for _ in range(2):
        steps.zero_grad()
        policy.token_logps(pad_rows(*PAIRS)).sum().neg().backward()
        steps.step()


def test_a_fork_shares_frozen_tensors_and_copies_the_others() -> None:
    policy = disturb(random_policy("gemma3"))
    fork = policy.fork()
    for (name, ours), (_, theirs) in zip(policy.model.named_parameters(), fork.model.named_parameters(), strict=True):
        assert (ours.data_ptr() == theirs.data_ptr()) == (not ours.requires_grad), name
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(policy.model.buffers(), fork.model.buffers(), strict=True):
        assert ours.data_ptr() == theirs.data_ptr()
    assert fork.tokenizer is policy.tokenizer
    assert torch.equal(fork.ids_logps(*PAIRS), policy.ids_logps(*PAIRS))


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_training_a_fork_leaves_the_original_alone(adapter: str) -> None:
    policy = random_policy(adapter=adapter)
    before, state = policy.ids_logps(*PAIRS), policy.trainable_state()
    fork = policy.fork()
    train_a_little(fork)
    assert torch.equal(policy.ids_logps(*PAIRS), before)
    assert all(torch.equal(policy.trainable[name], kept) for name, kept in state.items())
    assert all(p.grad is None for p in policy.trainable.values())
    assert (fork.ids_logps(*PAIRS) - before).abs().min() > 1e-3  # planted: it did learn
    assert torch.equal(fork.ids_logps(*PAIRS, reference=True), policy.ids_logps(*PAIRS, reference=True))


def test_a_seeded_fork_starts_afresh() -> None:
    policy = disturb(random_policy())
    fork = policy.fork(seed=3)
    torch.testing.assert_close(fork.ids_logps(*PAIRS), policy.ids_logps(*PAIRS, reference=True), rtol=0, atol=1e-4)
    full = disturb(random_policy(adapter="full"))
    afresh = full.fork(seed=3)
    assert torch.equal(afresh.ids_logps(*PAIRS), full.ids_logps(*PAIRS, reference=True))
    assert afresh.base.hash == full.base.hash
    assert (afresh.ids_logps(*PAIRS) - full.ids_logps(*PAIRS)).abs().min() > 1e-3


@pytest.mark.parametrize("options", [{}, {"foreach": True}, {"foreach": False}, {"fused": True}])
def test_full_reference_is_the_base_after_training(options: dict[str, bool]) -> None:
    policy = random_policy(adapter="full", dtype=torch.float64)
    before, name = policy.ids_logps(*PAIRS), policy.base_hash
    train_a_little(policy, **options)
    assert (policy.ids_logps(*PAIRS) - before).abs().min() > 1e-3
    assert torch.equal(policy.ids_logps(*PAIRS, reference=True), before)
    fresh = random_policy(adapter="full", dtype=torch.float64)
    train_a_little(fresh, **options)
    assert fresh.base_hash == name  # also where it is first asked for after training
    assert torch.equal(policy.fork().ids_logps(*PAIRS, reference=True), before)


def test_full_reference_is_the_model_itself_before_training() -> None:
    policy = random_policy(adapter="full")
    policy.ids_logps(*PAIRS, reference=True)
    assert policy.base._model is None  # nothing was read a second time
    assert policy.at_base()
    state = policy.trainable_state()
    disturb(policy)
    assert not policy.at_base()
    policy.load_trainable_state(state)
    assert policy.at_base()


def test_one_changed_bit_anywhere_is_noticed() -> None:
    policy = random_policy(adapter="full")
    weight = list(policy.trainable.values())[-1]
    weight.data.view(torch.int32)[-1] += 1  # unseen by autograd's version counter
    assert not policy.at_base()


def test_tied_weights_stay_tied_in_a_fork() -> None:
    fork = random_policy("llama", adapter="full").fork()
    assert fork.model.get_output_embeddings().weight is fork.model.get_input_embeddings().weight


def test_at_base_follows_the_adapter() -> None:
    policy = random_policy()
    assert policy.at_base()
    assert not disturb(policy).at_base()
    assert policy.fork(seed=0).at_base()
