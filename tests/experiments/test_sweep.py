"""Sweeps: in one process and in several the same runs; only what is missing; failures named, the rest kept."""

import json
import os
import signal

import pytest
from support.training_cases import pairs

from paretokit.errors import ConfigError, DataError, WeightsError
from paretokit.experiments.compare import front_of, labelled
from paretokit.experiments.store import Store
from paretokit.experiments.sweep import SweepError, sweep
from paretokit.experiments.worker import jobs
from paretokit.models.load import load_policy
from paretokit.preferences.records import native_records
from paretokit.training.config import TrainConfig

CONFIG = TrainConfig(steps=2, pairs_per_step=4, learning_rate=1e-2, max_length=128)
GRID = {"methods": ["raco", "linear"], "weights": [(0.3, 0.7), (0.7, 0.3)], "config": CONFIG, "heldout": 4}


@pytest.fixture(scope="module")
def data():
    return pairs(count=24)


def numbers(store):
    """Each run's records without times, by its name."""
    kept = {}
    for run in Store(store).runs():
        kept[run.id] = [{**r.to_json(), "wall_time": None, "tokens_per_second": None} for r in run.records]
    return kept


@pytest.mark.slow
def test_processes_give_the_same_runs_as_one_process(tmp_path, data):
    alone = sweep(load_policy("tiny"), data, **GRID, store=tmp_path / "alone")
    spread = sweep("tiny", data, **GRID, store=tmp_path / "spread", workers=2)
    assert numbers(tmp_path / "alone") == numbers(tmp_path / "spread")
    key = ["method", "weight_o0 accuracy"]
    columns = list(alone.objectives)
    one, other = (front.to_frame().sort_values(key)[columns].to_numpy() for front in (alone, spread))
    assert one.tolist() == other.tolist()


def test_a_worker_reads_a_world_and_a_copy_in_which_zero_is_a_tie(tmp_path, data):
    (tmp_path / "pairs.jsonl").write_text(
        "".join(json.dumps({**row, "labels": {"o0": 1, "o1": 0}}) + "\n" for row in native_records(data)), encoding="utf-8"
    )
    shared = {"policy": "tiny", "adapter": "lora", "head_rank": 16, "methods": ["raco"], "chat_options": None, "heldout": 4}
    shared |= {"config": CONFIG.replace(threads=1).to_json(), "store": str(tmp_path / "store"), "date": "2026-03-05"}
    for source, names in (("world:safety", ["helpfulness", "harmlessness"]), (str(tmp_path / "pairs.jsonl"), ["o0", "o1"])):
        setup = {**shared, "preferences": source, "source": source, "objectives": names}
        assert [event["kind"] for event in jobs(setup, iter([]))] == ["ready"]


def test_a_second_sweep_does_only_what_is_missing(tmp_path, data):
    policy = load_policy("tiny")
    sweep(policy, data, **GRID, store=tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("spec.json")}
    events = []
    front = sweep(policy, data, **{**GRID, "methods": ["raco", "linear", "cagrad"]}, store=tmp_path, on_event=events.append)
    assert len(front.points) == 6
    assert {event["method"] for event in events if event["kind"] == "step"} == {"cagrad"}
    assert sum(event["kind"] == "run" for event in events) == 6
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_seeds_are_runs_of_one_point(tmp_path, data):
    front = sweep(load_policy("tiny"), data, **{**GRID, "methods": ["raco"]}, seeds=(0, 1), store=tmp_path)
    assert len(front.points) == 2
    assert [len(seeds) for seeds in front.points["seeds"]] == [2, 2]
    assert len(Store(tmp_path).ids()) == 4
    starts = {run.spec.start for run in Store(tmp_path).runs()}
    assert len(starts) == 1  # fresh adapters of any seed answer like the base


def test_a_run_that_fails_is_named_and_the_others_are_kept(tmp_path, data, monkeypatch):
    from paretokit.errors import NonFiniteError
    from paretokit.training import loop

    real = loop.not_finite

    def fail_on_linear(*found):
        if len(Store(tmp_path).ids()) == 2:
            raise NonFiniteError("planted")
        return real(*found)

    monkeypatch.setattr(loop, "not_finite", fail_on_linear)
    with pytest.raises(SweepError, match=r"1 of 4 runs failed, the first with: planted .*run the sweep again"):
        sweep(load_policy("tiny"), data, **GRID, store=tmp_path)
    states = [run.state["state"] for run in Store(tmp_path).runs()]
    assert sorted(states) == ["done", "done", "done", "failed"]
    monkeypatch.undo()
    assert len(sweep(load_policy("tiny"), data, **GRID, store=tmp_path).points) == 4


@pytest.mark.slow
def test_a_worker_that_dies_is_reported_and_leaves_no_process(tmp_path, data):
    def kill_the_first(event):
        if event["kind"] == "ready":
            os.kill(event["process"], signal.SIGKILL)

    with pytest.raises(SweepError, match=r"worker 0 ended with exit status -9; its log is .*worker-0\.log"):
        sweep("tiny", data, **GRID, store=tmp_path, workers=1, on_event=kill_the_first)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"methods": ["rako"]}, ConfigError, "Did you mean 'raco'"),
        ({"methods": []}, ConfigError, "expected at least one method, one weighting and one seed"),
        ({"weights": [(0.5, 0.6)]}, WeightsError, "sum"),
        ({"weights": [{"o0": 0.5, "o7": 0.5}]}, WeightsError, "o7"),
    ],
)
def test_bad_arguments_are_refused_before_anything_starts(tmp_path, data, changes, error, message):
    with pytest.raises(error, match=message):
        sweep("tiny", data, **{**GRID, **changes}, store=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_runs_of_different_data_do_not_share_a_chart(tmp_path, data):
    policy = load_policy("tiny")
    sweep(policy, data, **{**GRID, "methods": ["raco"]}, store=tmp_path)
    sweep(policy, pairs(count=30), **{**GRID, "methods": ["raco"]}, store=tmp_path)
    with pytest.raises(DataError, match="found 2 different starts or evaluations among 4 runs, expected one"):
        front_of(Store(tmp_path).runs())
    with pytest.raises(DataError, match="none of them with figures"):
        front_of([])


def test_labels_name_run_method_seed_and_weights(tmp_path, data):
    sweep(load_policy("tiny"), data, **{**GRID, "methods": ["raco"], "weights": [(0.3, 0.7)]}, store=tmp_path)
    (run,) = Store(tmp_path).runs()
    frame = labelled(run)
    assert set(frame["run"]) == {run.id}
    assert set(frame["weight_o0 accuracy"]) == {0.3}
    assert json.dumps(run.spec.to_json())
