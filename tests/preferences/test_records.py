"""`Preferences`: immutable, fingerprinted by content, selected and split without losing or leaking a pair."""

import hashlib
import os
import pickle
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paretokit.errors import ConfigError, DataError, ShapeError
from paretokit.preferences.read import read_preferences
from paretokit.preferences.records import Preferences

NAN = float("nan")
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]


def make(**changes):
    parts = {
        "objectives": ("helpful", "brief"),
        "prompts": ["one", CHAT, "two", "one"],
        "responses_a": ["a1", "a2", "", "a4"],
        "responses_b": ["b1", "b2", "b3", "b4"],
        "labels": torch.tensor([[1.0, -1.0, 0.0, NAN], [-1.0, NAN, NAN, 1.0]]),
        "source": "test",
    }
    return Preferences(**{**parts, **changes})


PROMPTS = st.lists(st.sampled_from(["x", "y", "z", "[1]"]), min_size=2, max_size=12)


def numbered(prompts):
    size = len(prompts)
    labels = torch.tensor([[float(index % 3 - 1) for index in range(size)], [1.0] * size])
    texts = ([f"{side}{index}" for index in range(size)] for side in "ab")
    return make(prompts=prompts, **dict(zip(("responses_a", "responses_b"), texts, strict=True)), labels=labels)


# --- immutable -----------------------------------------------------------------------------------------------------


def test_what_was_passed_in_or_taken_out_can_be_changed_without_effect():
    labels = torch.tensor([[1.0], [NAN]])
    prompt = [{"role": "user", "content": "Hi"}]
    value = make(prompts=[prompt], responses_a=["a"], responses_b=["b"], labels=labels)
    before = value.fingerprint
    labels[0, 0] = -1
    prompt[0]["content"] = "Bye"
    value.labels.fill_(0)
    value.labels.numpy()[:] = 0
    assert value.labels[0].tolist() == [1.0]
    assert value.prompts == (({"role": "user", "content": "Hi"},),)
    assert make(prompts=value.prompts, responses_a=["a"], responses_b=["b"], labels=value.labels).fingerprint == before


@pytest.mark.parametrize(
    "change",
    [
        lambda value: setattr(value, "labels", None),
        lambda value: setattr(value, "_labels", None),
        lambda value: setattr(value, "new", 1),
        lambda value: delattr(value, "_labels"),
        lambda value: value.objectives.append("x"),
        lambda value: value.prompts[1][0].update(content="x"),
    ],
)
def test_nothing_can_be_set(change):
    value = make()
    before = value.fingerprint
    with pytest.raises((AttributeError, TypeError)):
        change(value)
    assert make() == value
    assert value.fingerprint == before


def test_setting_names_the_remedy():
    with pytest.raises(AttributeError) as error:
        make().source = "x"
    assert str(error.value) == "Preferences cannot be changed, so 'source' cannot be set; make new ones with .select(...)."


# --- fingerprint ---------------------------------------------------------------------------------------------------


def test_fingerprint_is_that_of_the_content():
    assert make().fingerprint == make(source="elsewhere", skipped=["x"]).fingerprint
    assert make() == make(source="elsewhere")
    assert hash(make()) == hash(make(source="elsewhere"))
    assert make() != "something else"


@pytest.mark.parametrize(
    "changes",
    [
        {"objectives": ("brief", "helpful")},
        {"prompts": ["one", "Hi", "two", "one"]},
        {"responses_a": ["a1", "a2", " ", "a4"]},
        {"responses_b": ["b1", "b2", "b3", "b1"]},
        {"labels": torch.tensor([[1.0, -1.0, NAN, NAN], [-1.0, NAN, 0.0, 1.0]])},
    ],
)
def test_fingerprint_changes_with_any_content(changes):
    assert make(**changes).fingerprint != make().fingerprint


def test_fingerprint_is_frozen_and_that_of_the_documented_bytes():
    value = make(objectives=["h"], prompts=["é"], responses_a=["a"], responses_b=["b"], labels=torch.ones(1, 1))
    assert value.fingerprint == "91df969747c25e34f1f761326217952de48d3ff9273aceb6c607187c08a73aff"
    assert value.fingerprint == hashlib.sha256(b'["h"]\n["\\u00e9","a","b",[1]]').hexdigest()


@pytest.mark.slow
def test_fingerprint_is_the_same_in_another_process():
    program = (
        "import sys, pickle; value = pickle.loads(sys.stdin.buffer.read()); value.__dict__.pop('fingerprint', None);"
        "print(value.fingerprint)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, input=pickle.dumps(make()), capture_output=True, check=True, env=environment)
    assert found.stdout.decode().strip() == make().fingerprint


def test_pickling_keeps_everything():
    value = make(skipped=["x"])
    copy = pickle.loads(pickle.dumps(value))
    assert copy == value
    assert (copy.source, copy.skipped) == ("test", ("x",))
    with pytest.raises(AttributeError):
        copy.source = "y"


# --- select --------------------------------------------------------------------------------------------------------


def test_select_picks_pairs_then_objectives_then_the_first():
    value = make()
    assert value.select(indices=[3, 0]).responses_a == ("a4", "a1")
    assert value.select(indices=[-1]).responses_a == ("a4",)
    assert value.select(objectives=["brief"]).responses_a == ("a1", "a4")
    assert value.select(objectives=["brief"]).labels.tolist() == [[-1.0, 1.0]]
    assert value.select(objectives=["brief", "helpful"]).objectives == ("brief", "helpful")
    assert value.select(limit=2).responses_b == ("b1", "b2")
    assert value.select(indices=[3, 2, 0], objectives=["brief"], limit=1).responses_a == ("a4",)
    assert value.select() == value
    assert value.select(limit=1).source == "test"


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (
            {"objectives": ["breif"]},
            DataError,
            "test: unknown objective 'breif', expected some of helpful, brief. Did you mean 'brief'?",
        ),
        ({"objectives": []}, DataError, "objectives: found no objectives, expected at least one name."),
        (
            {"objectives": ["brief", "brief"]},
            DataError,
            "objectives: found the objective 'brief' twice, expected each once.",
        ),
        (
            {"objectives": "brief"},
            DataError,
            "objectives: found the text 'brief', expected a list of objectives such as ['brief'].",
        ),
        ({"indices": [4]}, DataError, "indices: found 4, expected pairs 0 to 3."),
        ({"indices": []}, DataError, "test: no pair is left; widen the selection."),
        (
            {"indices": [1], "objectives": ["brief"]},
            DataError,
            "test: no pair is left that is judged on brief; widen the selection.",
        ),
        ({"limit": 0}, ConfigError, "limit: found 0, expected at least 1."),
    ],
)
def test_refused_selections(options, kind, message):
    with pytest.raises(kind) as error:
        make().select(**options)
    assert str(error.value) == message


# --- split ---------------------------------------------------------------------------------------------------------


def assert_no_prompt_in_both(train, test):
    assert not set(train.prompts) & set(test.prompts)


@settings(deadline=None)
@given(PROMPTS, st.integers(1, 8), st.integers(0, 2**32))
def test_split_is_by_prompt_and_loses_nothing(prompts, test, seed):
    value = numbered(prompts)
    largest = max(prompts.count(prompt) for prompt in prompts)
    try:
        train, held_out = value.split(test=test, seed=seed)
    except DataError:
        assert len(prompts) - test < largest  # the last prompt drawn was needed, and left nothing
        return
    assert_no_prompt_in_both(train, held_out)
    assert len(held_out) >= test
    assert len(train) + len(held_out) == len(value)
    assert sorted(train.responses_a + held_out.responses_a) == sorted(value.responses_a)
    for part in (train, held_out):  # the order of the data is kept
        assert list(part.responses_a) == [text for text in value.responses_a if text in part.responses_a]
    assert value.split(test=test, seed=seed) == (train, held_out)


def test_the_check_for_common_prompts_rejects_a_split_by_pair():
    value = make()
    with pytest.raises(AssertionError):
        assert_no_prompt_in_both(value.select(indices=[0, 1]), value.select(indices=[2, 3]))


def test_split_draws_from_its_seed_only():
    value = make(
        prompts=[f"p{index}" for index in range(50)],
        responses_a=["a"] * 50,
        responses_b=["b"] * 50,
        labels=torch.ones(2, 50),
    )
    torch.manual_seed(1)
    first = value.split(test=10, seed=0)
    state = torch.get_rng_state()
    assert value.split(test=0.2, seed=0) == first
    assert torch.equal(torch.get_rng_state(), state)
    assert value.split(test=10, seed=1) != first
    assert len(first[1]) == 10


@pytest.mark.parametrize(
    ("test", "kind", "message"),
    [
        (0, ConfigError, "test: found 0, expected a number of pairs, at least 1, or a share in (0, 1)."),
        (1.0, ConfigError, "test: found 1.0, expected a number of pairs, at least 1, or a share in (0, 1)."),
        (NAN, ConfigError, "test: found nan, expected a number of pairs, at least 1, or a share in (0, 1)."),
        (
            4,
            DataError,
            "test: 4 pairs on 3 prompts leave none to train on with test=4; ask for less, or bring pairs on more prompts.",
        ),
    ],
)
def test_refused_splits(test, kind, message):
    with pytest.raises(kind) as error:
        make().split(test=test, seed=0)
    assert str(error.value) == message


# --- out and in again ----------------------------------------------------------------------------------------------


def test_frame_holds_one_row_per_pair_and_reads_back():
    value = make()
    frame = value.to_frame()
    assert list(frame.columns) == ["prompt", "response_a", "response_b", "helpful", "brief"]
    assert frame["prompt"][1] == CHAT
    assert read_preferences(frame) == value


@settings(deadline=None)
@given(PROMPTS)
def test_frames_of_any_preferences_read_back(prompts):
    value = numbered(prompts)
    assert read_preferences(value.to_frame()) == value


# --- refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        (
            {"responses_b": ["b"]},
            DataError,
            "test: found 4 prompts, 4 responses a and 1 responses b; pass one of each per pair.",
        ),
        (
            {"prompts": [], "responses_a": [], "responses_b": [], "labels": torch.zeros(2, 0)},
            DataError,
            "test: found no pairs, expected at least one.",
        ),
        ({"labels": torch.ones(4, 2)}, ShapeError, "labels: found shape (4, 2), expected [m, P] = (2, 4)."),
        (
            {"labels": torch.tensor([[1, 1, 1, 1], [1, 0.5, 1, 1]])},
            DataError,
            "pair 1, objective 'brief': found label 0.5, expected +1 (a is better), -1 (b), 0 (tie) or NaN (not judged).",
        ),
        (
            {"labels": torch.tensor([[1, 1, NAN, 1], [1, 1, NAN, 1]])},
            DataError,
            "pair 2: found no judged objective, expected a label for at least one.",
        ),
        (
            {"objectives": ("helpful", " ")},
            DataError,
            "test: found the objective ' ', expected a name of at least one character.",
        ),
        (
            {"objectives": ("helpful", "prompt")},
            DataError,
            "test: found an objective called 'prompt', which is a field of every record; rename it.",
        ),
        (
            {"prompts": ["one", [], "two", "one"]},
            DataError,
            "pair 1, prompt: found an empty list, expected at least one chat message (raw text may be empty).",
        ),
        (
            {"responses_a": ["a1", "a2", "\ud800", "a4"]},
            DataError,
            "pair 2, response_a: found half of a surrogate pair (U+D800) at character 0; write the whole character, or "
            "remove it.",
        ),
    ],
)
def test_refused_contents(changes, kind, message):
    with pytest.raises(kind) as error:
        make(**changes)
    assert str(error.value) == message


def test_repr_says_what_it_is():
    assert repr(make(skipped=["x"])) == ("<Preferences: 4 pairs, objectives helpful, brief, from test, 1 records skipped>")
