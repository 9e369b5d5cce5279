"""`train_reward_model`: labels of every kind in, a calibrated model out that comes back from disk; better than chance."""

from pathlib import Path

import pytest
import torch
from support.reward_cases import KINDS, PROMPTS, STEPS, all_labels

import paretokit as pk
from paretokit.errors import ConfigError
from paretokit.experiments.progress import losses_bar
from paretokit.models.tiny import random_policy
from paretokit.training.rewards import RewardRecord

CONFIG = pk.RewardConfig(steps=3, examples_per_step=4, heldout=0.4)


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_labels_in_a_model_out(adapter: str) -> None:
    policy = random_policy(adapter=adapter)
    before = policy.trainable_state()
    model = pk.train_reward_model(policy, all_labels(count=20), config=CONFIG.replace(width=5), progress=False)
    assert isinstance(model, pk.RewardModel)
    assert (model.kinds, model.outputs.width) == (KINDS, 5)
    assert model.policy is policy
    assert set(model.report.objectives) == set(KINDS)
    assert model.report.measured > 0
    assert model.step_scores(PROMPTS, STEPS).shape == (4, 4, 3)
    moved = [name for name, part in policy.trainable.items() if not torch.equal(part, before[name])]
    assert bool(moved) is (adapter == "lora")


def test_equal_calls_are_equal_models() -> None:
    one, other, third = (
        pk.train_reward_model(random_policy(adapter="none"), all_labels(), config=CONFIG.replace(seed=seed), progress=False)
        for seed in (0, 0, 1)
    )
    assert one.source == other.source != third.source


def test_a_world_is_learnt_and_kept(tmp_path: Path) -> None:
    """Preferences of a built-in world, on the shipped policy's frozen backbone: right on held-out prompts, and saved."""
    pairs = pk.read_preferences("world:safety").select(limit=200)
    config = pk.RewardConfig(steps=100, learning_rate=0.01)
    model = pk.train_reward_model(pk.load_policy("tiny", adapter="none"), pairs, config=config, progress=False)
    for found in model.report.objectives.values():
        assert found.judged > 5
        assert found.after.accuracy > 0.7
        assert found.after.log_loss < found.after.chance
    model.save(tmp_path / "judge")
    loaded = pk.load_reward_model(tmp_path / "judge")
    assert loaded.source == model.source
    assert loaded.report.to_json() == model.report.to_json()
    found, expected = (one.step_scores(["Hi"], [["Hello", " there."]]) for one in (loaded, model))
    assert torch.equal(found, expected)


def test_progress_is_shown_and_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    pk.train_reward_model(random_policy(adapter="none"), all_labels(), config=CONFIG, progress=False)
    assert capsys.readouterr() == ("", "")
    pk.train_reward_model(random_policy(adapter="none"), all_labels(), config=CONFIG, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "figures on held-out prompts" in shown.err
    with losses_bar(2, shown=True) as show:
        show("", RewardRecord(2, ("right",), (0.25,), (1.0,), 0.0, 1e-3, examples=1, tokens=0))
    assert "right 0.250" in capsys.readouterr().err


def test_threads_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    pk.train_reward_model(random_policy(adapter="none"), all_labels(), config=CONFIG.replace(threads=1), progress=False)
    assert asked == [1]


def test_a_policy_with_heads_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ConfigError, match="found a policy with the heads a, b, expected one without"):
        pk.train_reward_model(random_policy(heads=["a", "b"]), all_labels(), config=CONFIG, progress=False)
