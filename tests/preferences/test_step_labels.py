"""`StepLabels`: immutable, split by prompt, written and read back; what cannot be used is named."""

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretokit.errors import ConfigError, DataError, StoreError
from paretokit.experiments.step_files import write_step_labels
from paretokit.preferences.read_steps import read_step_labels
from paretokit.preferences.step_labels import StepLabels

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
NAN = float("nan")


def make(**changes):
    parts = {
        "kinds": {"accuracy": "value", "calm": "class"},
        "prompts": ["one", CHAT, "two", "one"],
        "steps": [["A.", " B."], ["C\u2028."], ["D.", "\n\nE."], ["F."]],
        "labels": [
            {"accuracy": [0.5, 1.62], "calm": [1, None]},
            {"accuracy": [None], "calm": [0.25]},
            {"accuracy": [-2, 3]},
            {"accuracy": [0.1], "calm": [0]},
        ],
    }
    return StepLabels(**{**parts, **changes})


def test_what_was_passed_in_can_be_changed_without_effect():
    kinds, steps, labels = {"calm": "class"}, [["A."]], [{"calm": [1]}]
    value = StepLabels(kinds=kinds, prompts=["p"], steps=steps, labels=labels)
    before = value.fingerprint
    kinds["calm"], labels[0]["calm"][0] = "value", 0
    steps[0].append("B.")
    assert (value.kinds["calm"], value.steps, value.labels[0]["calm"]) == ("class", (("A.",),), (1.0,))
    assert make() != value
    assert StepLabels(kinds=value.kinds, prompts=["p"], steps=value.steps, labels=value.labels).fingerprint == before


@pytest.mark.parametrize(
    "change",
    [
        lambda value: setattr(value, "steps", ()),
        lambda value: delattr(value, "_steps"),
        lambda value: value.labels[0].update(calm=()),
        lambda value: value.kinds.pop("calm"),
    ],
)
def test_it_cannot_be_changed(change):
    with pytest.raises((AttributeError, TypeError)):
        change(make())


def test_equal_content_is_equal_wherever_it_came_from():
    assert make() == make(source="elsewhere") == pickle.loads(pickle.dumps(make()))
    assert len({make(), make(source="elsewhere")}) == 1
    assert make() != make(kinds={"calm": "class", "accuracy": "value"})  # the order of objectives counts
    assert make() != make(prompts=["one", CHAT, "two", "three"])
    assert make() != "labels"
    assert repr(make()) == "<StepLabels: 4 responses, 6 steps, objectives accuracy, calm, from memory>"


def test_an_objective_that_a_record_leaves_out_is_not_labelled():
    assert make().labels[2]["calm"] == (None, None)
    assert make().objectives == ("accuracy", "calm")


def test_select():
    value = make().select(objectives=["calm"], indices=[3, -4])
    assert value.objectives == ("calm",)
    assert value.steps == (("F.",), ("A.", " B."))
    assert [labels["calm"] for labels in value.labels] == [(0.0,), (1.0, None)]


@given(st.lists(st.sampled_from("xyz"), min_size=2, max_size=9), st.integers(1, 5), st.integers(0, 2**32))
def test_split_is_by_prompt(prompts, test, seed):
    count = len(prompts)
    value = StepLabels(
        kinds={"a": "value"},
        prompts=prompts,
        steps=[[str(index)] for index in range(count)],
        labels=[{"a": [float(index)]} for index in range(count)],
    )
    try:
        train, held_out = value.split(test=test, seed=seed)
    except DataError:
        assert count - test < max(map(prompts.count, prompts))
        return
    assert not set(train.prompts) & set(held_out.prompts)
    assert sorted(train.steps + held_out.steps) == sorted(value.steps)
    assert len(held_out) >= test
    assert value.split(test=test, seed=seed) == (train, held_out)


def test_written_and_read_back(tmp_path):
    path = tmp_path / "labels.jsonl"
    write_step_labels(make(), path)
    assert read_step_labels(path) == make()
    assert read_step_labels(path).source == str(path)
    first = json.loads(path.read_text().split("\n")[0])
    assert first == {
        "prompt": "one",
        "steps": ["A.", " B."],
        "labels": {"accuracy": [0.5, 1.62], "calm": [1.0, None]},
        "kind": {"accuracy": "value", "calm": "class"},
    }


def test_a_failed_write_leaves_what_was_there(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be written"):
        write_step_labels(make(), tmp_path / "file" / "labels.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"prompts": []},
            "memory: found 0 prompts, 4 responses as steps and 4 records of labels; pass one of each per response.",
        ),
        ({"prompts": [], "steps": [], "labels": []}, "memory: found no records, expected at least one."),
        (
            {"kinds": {"accuracy": "values", "calm": "class"}},
            "objective 'accuracy': found the kind 'values', expected 'value' or 'class'. Did you mean 'value'?",
        ),
        ({"kinds": {}}, "memory: found no objectives, expected at least one name."),
        (
            {"kinds": {"steps": "value"}},
            "memory: found an objective called 'steps', which is a field of every record; rename it.",
        ),
        (
            {"steps": [["A.", " B."], [], ["D.", "E."], ["F."]]},
            "record 1, steps: found none, expected at least one step. Leave the response out.",
        ),
        (
            {"steps": [["A.", ""], ["C."], ["D.", "E."], ["F."]]},
            "record 0, steps, step 1: found an empty text, expected at least one character. Leave it out.",
        ),
        (
            {"labels": [{"calm": [1]}] * 4},
            "record 0, objective 'calm': found 1 labels for 2 steps, expected one for each.",
        ),
        (
            {"labels": [{"clam": [1, 1]}] * 4},
            "record 0: found the objective 'clam', expected some of accuracy, calm. Did you mean 'calm'?",
        ),
        (
            {"labels": [{"calm": [1, 1.5]}] * 4},
            "record 0, objective 'calm', step 1: found 1.5, expected a number from 0 to 1 (good) or null (not labelled) for "
            "the kind 'class'.",
        ),
        (
            {"labels": [{"accuracy": [1, NAN]}] * 4},
            "record 0, objective 'accuracy', step 1: found nan, expected a finite number or null (not labelled).",
        ),
        (
            {"labels": [{"accuracy": [True, 1]}] * 4},
            "record 0, objective 'accuracy', step 0: found true, expected a finite number or null (not labelled).",
        ),
    ],
)
def test_refused_values(changes, message):
    with pytest.raises(DataError) as error:
        make(**changes)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: make().select(objectives=["clam"]), DataError, "memory: unknown objective 'clam', expected some of accuracy"),
        (lambda: make().select(indices=[4]), DataError, "indices: found 4, expected records 0 to 3."),
        (lambda: make().split(test=0, seed=0), ConfigError, "test: found 0, expected a number of responses, at least 1"),
        (
            lambda: make().split(test=4, seed=0),
            DataError,
            "memory: 4 responses on 3 prompts leave none to train on with test=4",
        ),
    ],
)
def test_refused_selections(call, kind, message):
    with pytest.raises(kind) as error:
        call()
    assert message in str(error.value)


GOOD = {"prompt": "p", "steps": ["A."], "labels": {"calm": [1]}, "kind": {"calm": "class"}}
REMEDY = " Correct the record, or leave such records out with on_error='skip'."


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ('{"prompt": "p"', "line 2: broken JSON at column 15 (Expecting ',' delimiter), expected one complete object."),
        ({**GOOD, "steps": "A."}, "line 2, field 'steps': found 'A.', expected a list of texts."),
        ({**GOOD, "steps": [7]}, "line 2, field 'steps', step 0: found 7, expected text (may be empty)."),
        ({**GOOD, "prompt": None}, "line 2, field 'prompt': found null, expected text or a list of chat messages."),
        ({**GOOD, "labels": [1]}, "line 2, field 'labels': found [1], expected an object with a key per objective."),
        (
            {**GOOD, "labels": {"calm": [2]}},
            "line 2, field 'labels', objective 'calm', step 0: found 2, expected a number from 0 to 1 (good) or null (not "
            "labelled) for the kind 'class'.",
        ),
        (
            {**GOOD, "labels": {"calm": 1}},
            "line 2, field 'labels', objective 'calm': found 1, expected a list of a number or null per step.",
        ),
        (
            {**GOOD, "labels": {"calm": [1], "kind": [1]}},
            "line 2, field 'kind': found none for the objective 'kind', expected 'value' or 'class'.",
        ),
        (
            {**GOOD, "kind": {"calm": "value"}},
            "line 2, field 'kind', objective 'calm': found 'value', and 'class' in a record before; expected one kind for each "
            "objective.",
        ),
        (
            {key: value for key, value in GOOD.items() if key != "kind"},
            "line 2, field 'kind': missing; found the fields prompt, steps, labels.",
        ),
    ],
)
def test_a_record_that_cannot_be_used_is_named(tmp_path, monkeypatch, record, message):
    monkeypatch.chdir(tmp_path)
    second = record if isinstance(record, str) else json.dumps(record)
    (tmp_path / "labels.jsonl").write_text(f"{json.dumps(GOOD)}\n{second}\n", encoding="utf-8")
    with pytest.raises(DataError) as error:
        read_step_labels("labels.jsonl")
    assert str(error.value) == f"labels.jsonl, {message}{REMEDY}"


def test_a_file_that_cannot_be_read_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "labels.txt").write_text("x")
    for name, message in (
        ("empty.jsonl", "empty.jsonl: found no records, expected at least one."),
        ("labels.txt", "labels.txt: found the file type '.txt', expected one of .jsonl"),
        ("none.jsonl", "none.jsonl: there is no such file"),
    ):
        with pytest.raises(DataError) as error:
            read_step_labels(name)
        assert message in str(error.value)
