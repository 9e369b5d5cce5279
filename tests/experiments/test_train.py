"""A whole run: kept, found again, resumed, stopped, failed; and its figures."""

import contextlib
from dataclasses import replace

import pytest
import torch
from support.training_cases import pairs

from paretokit.errors import NonFiniteError, StoreError, WeightsError
from paretokit.experiments.estimate import estimate
from paretokit.experiments.evaluation import HeldOutEvaluation, plan
from paretokit.experiments.reference_store import reference_store
from paretokit.experiments.store import Store
from paretokit.experiments.train import policy_hash, run_steps, train
from paretokit.models.tiny import random_policy
from paretokit.training.config import TrainConfig

CONFIG = TrainConfig(steps=4, pairs_per_step=4, learning_rate=1e-2, max_length=128)
SETTINGS = {"method": "raco", "weights": (0.4, 0.6), "config": CONFIG}


def plain(records):
    """Records without times, which differ between equal runs."""
    return [replace(record, wall_time=None, tokens_per_second=None) for record in records]


def run(policy, store, **changes):
    return train(policy, pairs(count=20), **{**SETTINGS, **changes}, store=store, heldout=4, progress=False)


def test_a_run_is_kept_and_found_again(tmp_path):
    policy = random_policy(seed=0)
    first = run(policy, tmp_path)
    again = random_policy(seed=0)
    second = run(again, tmp_path)
    assert second.id == first.id
    assert second.records == first.records
    assert Store(tmp_path).ids() == [first.id]
    for name, value in policy.trainable_state().items():
        assert torch.equal(again.trainable_state()[name], value)


def test_without_a_store_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(random_policy(seed=0), None)
    assert result.folder is None
    assert len(result.records) == 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("after", [1, 3])
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(tmp_path, after):
    straight = run(random_policy(seed=0), tmp_path / "straight")
    train_pairs, evaluation = plan(pairs(count=20), heldout=4, max_length=CONFIG.max_length)
    events = run_steps(random_policy(seed=0), train_pairs, **SETTINGS, evaluation=evaluation, store=Store(tmp_path / "cut"))
    with contextlib.closing(events):
        for event in events:
            if event.record is not None and event.record.step == after:
                break
    stopped = Store(tmp_path / "cut").runs()[0]
    assert stopped.state["state"] == "stopped"
    assert len(stopped.records) == after
    resumed = run(random_policy(seed=0), tmp_path / "cut")
    assert plain(resumed.records) == plain(straight.records)
    assert resumed.scores.equals(straight.scores)
    for name, value in straight.policy.trainable_state().items():
        assert torch.equal(resumed.policy.trainable_state()[name], value)


def test_a_stopped_run_keeps_its_policy(tmp_path):
    train_pairs, evaluation = plan(pairs(count=20), heldout=4, max_length=CONFIG.max_length)
    policy = random_policy(seed=0)
    events = run_steps(policy, train_pairs, **SETTINGS, evaluation=evaluation, store=Store(tmp_path))
    with contextlib.closing(events):
        for event in events:
            if event.record is not None:
                break
    kept = Store(tmp_path).folder(Store(tmp_path).ids()[0]).trained_weights()
    assert all(torch.equal(kept[name], value) for name, value in policy.trainable_state().items())


def test_a_failed_run_says_why_and_is_not_taken_for_done(tmp_path):
    policy = random_policy(seed=0)
    with torch.no_grad():
        next(iter(policy.trainable.values())).fill_(torch.nan)
    with pytest.raises(NonFiniteError):
        train(policy, pairs(count=20), **SETTINGS, store=tmp_path, heldout=0, progress=False)
    (failed,) = Store(tmp_path).runs()
    assert failed.state["state"] == "failed"
    assert "is not finite" in failed.state["reason"]
    assert failed.scores is None


def test_bad_weights_write_nothing(tmp_path):
    with pytest.raises(WeightsError):
        run(random_policy(seed=0), tmp_path / "store", weights=(0.4, 0.4))
    assert not (tmp_path / "store").exists()


def test_a_read_only_store_is_one_clear_error(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.write_text", refuse)
    with pytest.raises(StoreError, match=r"cannot be written: Permission denied\. What was there before is unchanged"):
        train(random_policy(seed=0), pairs(count=20), **SETTINGS, store=tmp_path, heldout=0, progress=False)


def test_held_out_accuracies_count_zero_as_one_half_before_training(tmp_path):
    result = run(random_policy(seed=0), tmp_path)
    margins = [name for name in result.start.columns if name.endswith("margin accuracy")]
    known = result.start[margins].stack().dropna()
    assert len(known) > 0
    assert (known == 0.5).all()
    assert set(result.scores["o0 accuracy"].dropna()) <= {0.0, 0.5, 1.0}


def test_held_out_accuracy_by_hand():
    data = pairs(count=20)
    policy = random_policy(seed=4)
    evaluation = HeldOutEvaluation(pairs=data, max_length=128)
    frame = evaluation(policy, references=reference_store(policy))
    a = policy.sequence_logps(data.prompts, data.responses_a)
    b = policy.sequence_logps(data.prompts, data.responses_b)
    for index, objective in enumerate(data.objectives):
        for pair, label in enumerate(data.labels[index].tolist()):
            found = frame[f"{objective} accuracy"][pair]
            if abs(label) != 1:
                assert found != found  # NaN: tied or not judged
            else:
                assert found == float((a[pair] > b[pair]) == (label > 0))


def test_held_out_prompts_are_not_trained_on():
    data = pairs(count=20)
    train_pairs, evaluation = plan(data, heldout=100, max_length=64)
    assert len(evaluation.pairs) == 4  # a fifth, though a hundred were asked for
    assert not set(train_pairs.prompts) & set(evaluation.pairs.prompts)
    assert plan(data, heldout=0, max_length=64) == (data, None)


def test_fresh_adapters_share_their_start_and_moved_ones_do_not(tmp_path):
    first, second = run(random_policy(seed=0), tmp_path), run(random_policy(seed=0).fork(seed=5), tmp_path)
    assert first.spec.start == second.spec.start
    assert first.spec.policy_hash != second.spec.policy_hash
    third = run(first.policy, tmp_path)
    assert third.spec.start != first.spec.start


def test_the_hash_follows_the_weights():
    policy = random_policy(seed=0)
    before = policy_hash(policy)
    assert policy_hash(random_policy(seed=0)) == before
    with torch.no_grad():
        next(iter(policy.trainable.values())).add_(1e-3)
    assert policy_hash(policy) != before


def test_the_estimate_leaves_the_policy_alone_and_knows_its_parts():
    policy = random_policy(seed=0)
    before = policy.trainable_state()
    train_pairs, evaluation = plan(pairs(count=20), heldout=4, max_length=128)
    found = estimate(policy, train_pairs, config=CONFIG, evaluation=evaluation, references=reference_store(policy))
    assert found.training > 0
    assert found.figures > 0
    assert found.total == pytest.approx(found.training + found.references + found.figures)
    assert all(torch.equal(policy.trainable_state()[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in policy.trainable.values())
