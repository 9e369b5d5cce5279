"""One held-out pair, objectives that it does not judge, pairs of one prompt: figures where there are some, or one error."""

import pytest
import torch

from paretokit.cli.output import figures_of
from paretokit.errors import ConfigError, DataError
from paretokit.experiments.evaluation import plan
from paretokit.experiments.store import Store, read_frame
from paretokit.experiments.sweep import sweep
from paretokit.experiments.train import train
from paretokit.models.tiny import random_policy
from paretokit.preferences.records import Preferences
from paretokit.training.config import TrainConfig

CONFIG = TrainConfig(steps=1, pairs_per_step=4, max_length=64)


def few(count, *, second=1.0, prompt="q{}"):
    return Preferences(
        objectives=["kind", "short"],
        prompts=[prompt.format(index) for index in range(count)],
        responses_a=[f"yes {index}" for index in range(count)],
        responses_b=[f"no {index}" for index in range(count)],
        labels=torch.tensor([[1.0] * count, [second] * count]),
    )


def trained(data, **options):
    return train(random_policy(), data, weights=[0.5, 0.5], config=CONFIG, progress=False, **options)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_too_few_pairs_to_hold_one_out_are_all_trained_on(count):
    run = trained(few(count))
    assert len(run.records) == 1
    assert run.scores is None


@pytest.mark.parametrize("count", [5, 7])
def test_one_held_out_pair_has_figures(count):
    run = trained(few(count))
    assert len(run.scores) == 1
    figures = figures_of(run)
    assert [row["figure"] for row in figures][:2] == ["kind accuracy", "short accuracy"]
    assert all(row["after"] in (0.0, 0.5, 1.0) for row in figures)


def test_an_objective_that_no_held_out_pair_judges_has_no_figure(tmp_path):
    run = trained(few(5, second=0.0), store=tmp_path)
    for found in (run, Store(tmp_path).runs()[0]):
        assert str(found.scores["short accuracy"].dtype) == "float64"  # also where it was written as nothing but null
        by_name = {row["figure"]: row for row in figures_of(found)}
        assert by_name["kind accuracy"]["after"] in (0.0, 1.0)
        assert by_name["short accuracy"]["after"] is None
        assert "short margin accuracy" not in by_name


def test_a_sweep_without_a_front_is_refused_before_it_trains(tmp_path):
    weights = [[0.5, 0.5], [1, 0]]
    for data, message in (
        (few(5, second=0.0), "sweep: none of the 1 held-out pairs is judged and untied on 'short', so that no front could be"),
        (few(4), "sweep: found 4 pairs and heldout=100, which leave none to hold out"),
    ):
        with pytest.raises(DataError) as error:
            sweep(random_policy(), data, methods=["linear"], weights=weights, config=CONFIG, store=tmp_path)
        assert str(error.value).startswith(message)
    assert Store(tmp_path).runs() == []
    front = sweep(random_policy(), few(5), methods=["linear"], weights=weights, config=CONFIG, store=tmp_path)
    assert len(front.points) == 2


def test_what_cannot_be_held_out_is_said():
    with pytest.raises(DataError) as error:
        trained(few(5, prompt="the same"))
    assert str(error.value) == (
        "heldout: found 5 pairs of one prompt, expected two prompts or more, since figures are about prompts that are not "
        "trained on. Bring more prompts, or set heldout=0."
    )
    assert trained(few(5, prompt="the same"), heldout=0).scores is None
    with pytest.raises(ConfigError, match="heldout: found -1, expected a number of pairs, or 0 for no figures"):
        plan(few(5), heldout=-1, max_length=None)


def test_a_frame_keeps_its_texts(tmp_path):
    (tmp_path / "frame.jsonl").write_text('{"text": "a", "score": null}\n{"text": null, "score": null}\n', encoding="utf-8")
    frame = read_frame(tmp_path / "frame.jsonl")
    assert frame["text"][0] == "a"
    assert str(frame["score"].dtype) == "float64"
