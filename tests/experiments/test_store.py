"""Run folders: readable back, whole at any moment, refused where they are not ours."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch

from paretokit.errors import StoreError
from paretokit.experiments import files
from paretokit.experiments.spec import RunSpec, example_spec
from paretokit.experiments.store import Run, RunFolder, Store, read_frame, write_frame
from paretokit.models.tiny import random_policy
from paretokit.training.records import StepRecord, example_json
from paretokit.training.state import TrainState


def record(step):
    return StepRecord.from_json({**example_json(), "step": step})


def filled(path, *, steps=3) -> RunFolder:
    folder = RunFolder(path)
    folder.begin(example_spec())
    for step in range(1, steps + 1):
        moments = {"a.exp_avg": torch.full((2,), float(step)), "a.step": torch.tensor(float(step))}
        folder.add_step(record(step), {"a": torch.full((2,), 10.0 * step)}, TrainState(step, moments))
    return folder


def test_steps_are_read_back(tmp_path):
    records, weights, state = filled(tmp_path / "run").resume_point()
    assert records == [record(1), record(2), record(3)]
    assert weights["a"].tolist() == [30.0, 30.0]
    assert state.step == 3
    assert state.optimizer["a.exp_avg"].tolist() == [3.0, 3.0]


def test_a_kill_between_record_and_checkpoint_loses_that_step_only(tmp_path):
    folder = filled(tmp_path / "run", steps=2)
    files.append_line(folder.path / "records.jsonl", record(3).to_json())  # the checkpoint of step 3 was never written
    records, _, state = folder.resume_point()
    assert [r.step for r in records] == [1, 2]
    assert state.step == 2
    assert [r.step for r in folder.records()] == [1, 2]  # the file agrees, so that step 3 can be appended again


def test_a_kill_in_the_middle_of_a_line_loses_that_step_only(tmp_path):
    folder = filled(tmp_path / "run", steps=2)
    with (folder.path / "records.jsonl").open("a") as handle:
        handle.write(json.dumps(record(3).to_json())[:40])
    records, _, _ = folder.resume_point()
    assert [r.step for r in records] == [1, 2]


@pytest.mark.parametrize("part", ["write", "replace"])
def test_a_full_disk_leaves_the_former_checkpoint(tmp_path, monkeypatch, part):
    folder = filled(tmp_path / "run", steps=2)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    if part == "write":
        monkeypatch.setattr("paretokit.experiments.store.save_file", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StoreError) as caught:
        folder.add_step(record(3), {"a": torch.zeros(2)}, TrainState(3, {}))
    monkeypatch.undo()
    assert "No space left on device" in str(caught.value)
    assert "checkpoint.safetensors: cannot be written" in str(caught.value)
    assert "What was there before is unchanged" in str(caught.value)
    assert folder.resume_point()[2].step == 2
    assert not [path for path in folder.path.iterdir() if path.name.startswith(".")]


def test_a_damaged_checkpoint_is_refused_by_name(tmp_path):
    folder = filled(tmp_path / "run")
    (folder.path / "checkpoint.safetensors").write_bytes(b"nonsense")
    with pytest.raises(StoreError, match=r"checkpoint.safetensors: found no readable checkpoint.*run it again"):
        folder.resume_point()


def test_a_run_without_steps_has_no_resume_point(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin(example_spec())
    assert folder.resume_point() is None
    assert folder.state() == {"state": "running", "reason": ""}


def test_frames_keep_numbers_texts_and_gaps(tmp_path):
    frame = pd.DataFrame({"text": ["a\nb", "ü"], "score": [0.5, math.nan], "ended": [True, False], "n": [1, 2]})
    write_frame(tmp_path / "scores.jsonl", frame)
    back = read_frame(tmp_path / "scores.jsonl")
    pd.testing.assert_frame_equal(back, frame)
    assert read_frame(tmp_path / "none.jsonl") is None


def test_a_run_that_has_ended_is_read_back_with_its_policy(tmp_path):
    store = Store(tmp_path)
    spec = example_spec()
    folder = store.folder(spec.id)
    folder.begin(spec)
    policy = random_policy(seed=0)
    scores = pd.DataFrame({"prompt_index": [0], "helpfulness": [0.5]})
    folder.add_step(record(1), policy.trainable_state(), TrainState(1, {}))
    folder.end(Run(spec, (record(1),), policy, scores, None, folder.path, {"state": "done"}))
    (run,) = store.runs()
    assert run.spec == spec
    assert run.records == (record(1),)
    assert run.scores["helpfulness"].tolist() == [0.5]
    assert run.state["state"] == "done"
    assert not (folder.path / "checkpoint.safetensors").exists()
    trained = folder.trained_weights()
    assert all(torch.equal(trained[name], value) for name, value in policy.trainable_state().items())


def test_runs_are_found_by_the_beginning_of_their_name(tmp_path):
    store = Store(tmp_path)
    specs = [example_spec(), example_spec().replace(method="linear"), example_spec().replace(weights=(0.3, 0.7))]
    for spec in specs:
        store.folder(spec.id).begin(spec)
    assert store.run("linear").spec == specs[1]
    assert store.run(specs[0].id).spec == specs[0]
    with pytest.raises(StoreError, match="found 2 runs that begin with 'raco', expected one"):
        store.run("raco")
    with pytest.raises(StoreError, match=r"found no run 'zzz'.*paretokit runs --store"):
        store.run("zzz")


def test_a_removed_run_lies_in_the_trash(tmp_path):
    store = Store(tmp_path)
    spec = example_spec()
    store.folder(spec.id).begin(spec)
    target = store.remove(spec.id)
    assert store.ids() == []
    assert (target / "spec.json").exists()
    store.folder(spec.id).begin(spec)
    assert store.remove(spec.id) == target  # a second removal replaces the first


def test_a_store_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(StoreError, match=r"runs: found a file, expected a folder\. Choose another folder with --store"):
        Store(tmp_path / "runs")


def test_equal_specs_have_equal_names_and_any_change_another():
    spec = example_spec()
    assert RunSpec.from_json(json.loads(json.dumps(spec.to_json()))).id == spec.id
    assert spec.replace(versions={"paretokit": "9"}).id == spec.id
    others = [
        spec.replace(weights=(0.3, 0.7)),
        spec.replace(policy_hash="3" * 16),
        spec.replace(preferences_hash="3" * 16),
        spec.replace(config=spec.config.replace(beta=0.1)),
        spec.replace(evaluation={"kind": "world"}),
    ]
    assert len({spec.id, *(other.id for other in others)}) == 6


def test_a_spec_of_another_format_is_refused():
    with pytest.raises(StoreError, match=r"found format 99, expected 1\. The run was written by another version"):
        RunSpec.from_json({**example_spec().to_json(), "format": 99})


def test_a_json_file_that_is_not_ours_is_refused(tmp_path):
    (tmp_path / "state.json").write_text("[1]")
    with pytest.raises(StoreError, match="found a JSON list, expected an object"):
        files.read_json(tmp_path / "state.json")
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(StoreError, match="found no readable JSON"):
        files.read_json(tmp_path / "state.json")
    (tmp_path / "records.jsonl").write_text('{"a": 1}\nbroken\n{"b": 2}\n')
    with pytest.raises(StoreError, match=r"records.jsonl, line 2: found broken JSON"):
        files.read_lines(tmp_path / "records.jsonl")


def test_nan_never_reaches_a_json_file(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "x.json", {"a": math.nan})
    assert not (tmp_path / "x.json").exists()


def test_written_files_have_the_mode_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    files.write_text(tmp_path / "ours", "text")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode
