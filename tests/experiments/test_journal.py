"""The journal: read back as it was written, replayed as a script, whole after a kill, refused by name."""

import json
from typing import Any

import pytest

from paretokit.errors import StoreError
from paretokit.experiments.journal import OUTCOME, Journal, python_call, script

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("sample", {"prompt": [{"role": "user", "content": 'Say "why\'s that"?'}]}),
    ("train", {"weights": {"helpfulness": 0.3, "harmlessness": 0.7}, "method": "raco", "steps": 3, "seed": 0}),
    ("hide", {"run": "raco-s0-1a2b3c4d5e"}),
    ("set_weights", {"weights": {"it's": 1 / 3, 'a "name"\n': 2 / 3}}),
    ("pause", {}),
]


class Recorder:
    """Takes any call and notes it."""

    def __init__(self):
        self.called = []

    def __getattr__(self, name):
        return lambda **arguments: self.called.append((name, arguments))


def filled(path, *, studio="s1") -> Journal:
    journal = Journal(path, studio=studio)
    for action, arguments in CALLS:
        journal.add(action, **arguments)
    return journal


def test_what_was_added_is_read_back_in_order(tmp_path):
    entries = filled(tmp_path / "deep" / "journal.jsonl").entries()
    facts = [
        {key: value for key, value in entry.items() if key not in ("time", "studio", "action", "call")} for entry in entries
    ]
    assert [(entry["action"], found) for entry, found in zip(entries, facts, strict=True)] == CALLS
    assert {entry["studio"] for entry in entries} == {"s1"}
    assert [entry["time"] for entry in entries] == sorted(entry["time"] for entry in entries)
    assert all(entry["time"].endswith("+00:00") for entry in entries)


def test_nothing_written_is_nothing_read(tmp_path):
    assert Journal(tmp_path / "journal.jsonl", studio="s1").entries() == []
    assert list(tmp_path.iterdir()) == []


def test_the_script_makes_the_same_calls_again(tmp_path):
    recorder = Recorder()
    exec(script(filled(tmp_path / "journal.jsonl").entries()), {"studio": recorder})
    assert recorder.called == CALLS


def test_an_outcome_is_a_fact_and_no_call(tmp_path):
    journal = filled(tmp_path / "journal.jsonl")
    before = script(journal.entries())
    journal.add(OUTCOME, job=1, spec="raco-s0-1a2b3c4d5e", outcome="done")
    assert journal.entries()[-1]["outcome"] == "done"
    assert script(journal.entries()) == before


def test_facts_stand_in_the_line_but_not_in_the_call(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl", studio="s1")
    journal.add("train", facts={"job": 3}, seed=0)
    (entry,) = journal.entries()
    assert (entry["call"], entry["seed"], entry["job"]) == ("studio.train(seed=0)", 0, 3)


def test_two_studios_share_a_file_and_can_be_told_apart(tmp_path):
    filled(tmp_path / "journal.jsonl")
    second = Journal(tmp_path / "journal.jsonl", studio="s2")
    second.add("hide", run="a")
    assert script(second.entries(), studio="s2") == python_call("hide", run="a")
    assert len(script(second.entries()).splitlines()) == len(CALLS) + 1


def test_a_torn_last_line_is_left_out(tmp_path):
    journal = filled(tmp_path / "journal.jsonl")
    text = journal.path.read_text()
    for torn in (
        text[:-1],
        text[:-20],
        text + '{"time": "2026',
        text + "\udcff".encode("utf-8", "surrogateescape").decode("latin-1"),
    ):
        journal.path.write_text(torn)
        expected = CALLS[: torn.count("\n")]
        assert [entry["action"] for entry in journal.entries()] == [action for action, _ in expected]


def test_a_journal_goes_on_after_a_torn_line(tmp_path):
    journal = filled(tmp_path / "journal.jsonl")
    with journal.path.open("a") as handle:
        handle.write('{"time": "2026')  # a kill in the middle of a line
    journal.add("hide", run="a")
    journal.add("restore", run="a")
    assert [entry["action"] for entry in journal.entries()][-2:] == ["hide", "restore"]


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    journal = filled(tmp_path / "journal.jsonl")
    lines = journal.path.read_text().splitlines()
    journal.path.write_text("\n".join([lines[0], "{broken", *lines[2:]]) + "\n")
    with pytest.raises(StoreError) as caught:
        journal.entries()
    assert f"{journal.path}, line 2: found broken JSON" in str(caught.value)


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "store").write_text("not a folder")
    with pytest.raises(StoreError) as caught:
        Journal(tmp_path / "store" / "journal.jsonl", studio="s1").add("hide", run="a")
    assert f"{tmp_path / 'store' / 'journal.jsonl'}: cannot be written" in str(caught.value)
    assert (tmp_path / "store").read_text() == "not a folder"


def test_what_json_cannot_hold_is_refused_and_leaves_no_half_line(tmp_path):
    journal = filled(tmp_path / "journal.jsonl")
    before = journal.path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.add("train", seed=float("nan"))
    assert journal.path.read_bytes() == before
    assert [json.loads(line)["action"] for line in before.splitlines()] == [action for action, _ in CALLS]
