"""The estimate of time: by positions as packed, run as the run would be."""

import pytest
from support.training_cases import pairs

from paretokit.experiments import estimate as module
from paretokit.experiments.estimate import estimate
from paretokit.experiments.evaluation import plan
from paretokit.experiments.reading import _LOOKED_AT
from paretokit.models.compute import Compute
from paretokit.models.reading import Reader
from paretokit.models.sharing import Sharing
from paretokit.models.tiny import random_policy
from paretokit.training.config import TrainConfig
from paretokit.training.encode import encode_preferences
from paretokit.training.loop import iter_train
from paretokit.training.references import reference_sums

CONFIG = TrainConfig(steps=3, pairs_per_step=4, max_length=128)


def found(policy, *, config=CONFIG, references=None, heldout=4):
    data, evaluation = plan(pairs(count=20), heldout=heldout, max_length=128)
    return estimate(policy, data, config=config, evaluation=evaluation, references={} if references is None else references)


@pytest.fixture
def by_count(monkeypatch):
    """Time by the positions that the model reads, in seconds; a pass by itself costs nothing."""
    read = []
    original = Reader.logps

    def logps(self, rows, **how):
        read.append(rows.input_ids.numel())
        return original(self, rows, **how)

    def seconds(work):
        work()  # the model is probed in the first call
        read.clear()
        work()
        return float(sum(read))

    monkeypatch.setattr(Reader, "logps", logps)
    monkeypatch.setattr(module, "_seconds", seconds)
    monkeypatch.setattr(module, "PASS", 0)


@pytest.mark.parametrize("exact", [True, False])
def test_the_positions_are_those_of_the_run(by_count, exact):
    policy = random_policy()
    policy.base.sharing = Sharing(exact, "" if exact else "of a test", None)
    made = found(policy)
    data, _ = plan(pairs(count=20), heldout=4, max_length=128)
    records = list(iter_train(policy, data, weights=[0.5, 0.5], config=CONFIG))
    assert made.positions == sum(record.positions for record in records)
    assert made.training == pytest.approx(made.positions)


def test_a_shared_prompt_costs_once(by_count):
    shared, apart = random_policy(), random_policy()
    apart.base.sharing = Sharing(False, "of a test", None)
    assert found(shared).training < found(apart).training


def test_more_passes_take_longer(monkeypatch):
    monkeypatch.setattr(module, "_seconds", lambda work: 1.0)
    one, many = (found(random_policy(), config=CONFIG.replace(pairs_per_step=size, steps=8 // size)) for size in (8, 1))
    assert many.training > one.training


def test_the_policy_runs_as_the_run_would_and_then_as_before(monkeypatch):
    policy, seen = random_policy(), []
    policy.compute = Compute(autocast="bfloat16")
    monkeypatch.setattr(module, "_seconds", lambda work: seen.append(policy.compute) or 1.0)
    found(policy, config=CONFIG.replace(checkpointing=True))
    assert seen == [Compute(checkpointing=True)] * 2
    assert policy.compute == Compute(autocast="bfloat16")


def test_what_is_in_the_cache_is_counted_and_costs_nothing():
    policy, references = random_policy(), {}
    first = found(policy, references=references)
    assert first.known == 0
    assert first.references > 0
    data, evaluation = plan(pairs(count=20), heldout=4, max_length=128)
    both = [*encode_preferences(policy, data, max_length=128), *encode_preferences(policy, evaluation.pairs, max_length=128)]
    reference_sums(policy, both, references)
    second = found(policy, references=references)
    assert second.known == second.needed == first.needed
    assert second.references == 0


def test_without_figures_only_the_steps_are_read():
    made = found(random_policy(), heldout=0)
    assert made.figures is None
    assert made.total == made.training + made.references


def test_a_long_run_is_taken_to_be_like_its_beginning(monkeypatch):
    assert _LOOKED_AT >= 1000
    monkeypatch.setattr(module, "_seconds", lambda work: 1.0)
    whole = found(random_policy(), config=CONFIG.replace(steps=60))
    monkeypatch.setattr("paretokit.experiments.reading._LOOKED_AT", 40)
    # 40 pairs of the same twenty, drawn in another order, against 240 of them
    assert found(random_policy(), config=CONFIG.replace(steps=60)).positions == pytest.approx(whole.positions, rel=0.2)
