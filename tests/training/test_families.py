"""A step of training on every family: it starts at log 2, moves the adapters, and gives each objective its own gradient."""

import math

import pytest
import torch
from peft import LoraConfig
from support.family_cases import CASES, write_model
from support.models_cases import disturb
from support.training_cases import pairs, token_batch

from paretokit.models.load import load_policy
from paretokit.training.config import TrainConfig
from paretokit.training.jacobian import objective_jacobian
from paretokit.training.loop import iter_train

STEP = TrainConfig(steps=1, pairs_per_step=4, learning_rate=1e-2)
# the first loss is log 2 where the policy reads in training what its reference read; float32, summed over up to 40 tokens
NOISE = 2e-5


@pytest.mark.parametrize("case", CASES)
def test_a_step_starts_at_log_two_and_moves_every_adapter(case, tmp_path):
    policy = load_policy(write_model(tmp_path / "base", case))
    before = policy.trainable_state()
    (step,) = list(iter_train(policy, pairs(), weights=[0.5, 0.5], config=STEP))
    assert step.losses == pytest.approx([math.log(2)] * 2, abs=NOISE)
    moved = [name for name, weight in policy.trainable.items() if not torch.equal(weight, before[name])]
    assert moved == [name for name in before if "lora_B" in name]  # B is zero, and so is the first gradient of A
    assert policy.coverage.exact, policy.coverage.reason


@pytest.mark.parametrize("case", ["qwen3_moe", "gpt_oss", "granitemoehybrid", "gemma4_text", "gemma3", "qwen3_5_text"])
def test_a_step_of_full_training(case, tmp_path):
    policy = load_policy(write_model(tmp_path / "base", case), adapter="full")
    before = policy.trainable_state()
    (step,) = list(iter_train(policy, pairs(), weights=[0.5, 0.5], config=STEP))
    assert step.losses == pytest.approx([math.log(2)] * 2, abs=NOISE)
    moved = [name for name, weight in policy.trainable.items() if not torch.equal(weight, before[name])]
    assert len(moved) > len(before) / 2
    assert any(".experts." in name for name in moved) == (case in ("qwen3_moe", "gpt_oss", "granitemoehybrid"))


CONFIGS = {"lora": None, "experts": LoraConfig(r=2, target_modules=["q_proj"], target_parameters=["experts.down_proj"])}


@pytest.mark.parametrize(
    ("case", "adapter", "exact"),
    [
        ("falcon", "lora", True),  # adds to the output of a layer in place
        ("falcon", "full", True),
        ("gemma3n_text", "lora", True),
        ("gemma3n_text", "full", False),
        ("qwen3_next", "lora", True),
        ("llama4_text", "lora", True),
        ("falcon_h1", "lora", True),
        ("qwen3_moe", "full", False),  # its router gives three tensors
        ("gpt_oss", "full", False),  # the sinks belong to a module that gives two
        ("qwen3_moe", "experts", False),
        ("gpt_oss", "experts", False),
    ],
)
def test_every_objective_has_the_gradient_of_its_own_pass(case, adapter, exact, tmp_path):
    policy = disturb(load_policy(write_model(tmp_path / "base", case), adapter=CONFIGS.get(adapter) or adapter), size=0.02)
    assert policy.coverage.exact == exact, policy.coverage.reason
    assert bool(policy.coverage.reason) == (not exact)
    batch = token_batch(policy, "apart")
    judged = (~batch.labels.isnan()).sum(dim=1)
    ours, plain = (objective_jacobian(policy, batch, beta=0.3, judged=judged, separate=separate) for separate in (False, True))
    largest = [float(row.abs().max()) for row in plain.rows]
    assert max(largest) > 0
    for row, expected, size in zip(ours.rows, plain.rows, largest, strict=True):
        torch.testing.assert_close(row, expected, rtol=0, atol=2e-4 * max(size, 1e-3))  # float32 sums in another order
