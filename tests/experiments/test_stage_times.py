"""Times of stages: calls add up, an interrupted one counts, another study's do not."""

import pytest

from paretokit.errors import StoreError
from paretokit.experiments import stage_times
from paretokit.experiments.stage_times import seconds_of, timed


def test_calls_add_up_and_an_interrupt_counts(tmp_path, monkeypatch):
    clock = iter([0.0, 2.0, 10.0, 13.0, 20.0, 21.0])
    monkeypatch.setattr(stage_times, "perf_counter", lambda: next(clock))
    path = tmp_path / "times.jsonl"
    with pytest.raises(KeyboardInterrupt), timed(path, study="one", stage="labels"):
        raise KeyboardInterrupt
    with timed(path, study="one", stage="labels"):
        pass
    with timed(path, study="two", stage="labels"):
        pass
    assert seconds_of(path, study="one") == {"labels": 5.0}


def test_a_place_that_cannot_be_written(tmp_path):
    with (
        pytest.raises(StoreError, match=r"times\.jsonl: cannot be written"),
        timed(tmp_path / "no" / "times.jsonl", study="one", stage="a"),
    ):
        pass
