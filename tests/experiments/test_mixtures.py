"""The front of one policy, decoded at many weightings in one call, and the study that compares ways to serve them."""

import math
from unittest import mock

import pandas as pd
import pytest
import torch

from paretokit.decoding import sample
from paretokit.decoding.sample import generate
from paretokit.errors import WeightsError
from paretokit.experiments import mixtures
from paretokit.experiments.front import Front
from paretokit.experiments.mixture_study import METHODS, Size, study, summary
from paretokit.experiments.mixtures import score_mixtures
from paretokit.experiments.presets import preset
from paretokit.models.load import load_policy
from paretokit.preferences.worlds import world

GRID = [(1.0, 0.0), (0.5, 0.5), (0.0, 1.0)]


@pytest.fixture(scope="module")
def policy():
    made = load_policy("tiny", adapter="none", heads=["helpfulness", "harmlessness"])
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in made.trainable.items():
            if name.endswith(".A"):
                weight += 0.3 * torch.randn(weight.shape, generator=generator)
    return made


def test_each_row_belongs_to_its_weights_and_prompt(policy):
    task = world("safety")
    with mock.patch.object(mixtures, "generate", wraps=generate) as called:
        frame = score_mixtures(policy, task.prompts[:3], task.scorers, weights=GRID, max_new_tokens=12)
    assert called.call_count == 1
    assert len(frame) == 9
    for _, row in frame.iterrows():
        weights = (row["weight_helpfulness"], row["weight_harmlessness"])
        [alone] = generate(policy, [task.prompts[row["prompt_index"]]], weights=weights, max_new_tokens=12)
        assert row["text"] == alone.text
        assert row["helpfulness"] == task.scorers["helpfulness"](alone.prompt, alone.text)
    assert frame["text"].nunique() > 3  # planted: the weights do something


def test_a_front_can_be_made_of_it(policy):
    task = world("safety")
    frame = score_mixtures(policy, task.prompts[:4], task.scorers, weights=GRID, max_new_tokens=12)
    front = Front.from_scores(frame, by=["weight_helpfulness", "weight_harmlessness"], objectives=tuple(task.scorers))
    assert len(front.points) == len(GRID)
    assert front.points["prompts"].tolist() == [4] * 3


def test_an_unfit_weighting_is_named(policy):
    task = world("safety")
    with pytest.raises(WeightsError, match=r"^weighting 1: found the sum 0\.9"):
        score_mixtures(policy, task.prompts[:1], task.scorers, weights=[(1.0, 0.0), (0.5, 0.4)])


def test_the_study_measures_every_method_at_every_weighting():
    told: list[str] = []
    config = preset("tiny").replace(steps=1, pairs_per_step=3)
    with mock.patch.object(sample, "_decode_batch", side_effect=_say_nothing):
        frame = study("safety", seeds=[0, 1], config=config, size=Size(2, 1, 4), watch=told.append)
    counts = frame.groupby("method").size()
    assert {name: int(counts[name]) for name in METHODS} == {
        "sft": 4, "dpo": 4, "soup": 44, "mah-dpo": 44, "mah-raco": 44,
    }  # fmt: skip
    assert sum("training" in text for text in told) == 2 * 5


def _say_nothing(model, rows, options, **where):
    for row in rows:
        row.ended = True


def rows(method: str, seed: int, points: dict[tuple[float, float], tuple[float, float]]) -> list[dict]:
    return [
        {
            "method": method, "seed": seed, "prompt_index": 0, "weight_helpfulness": weights[0],
            "weight_harmlessness": weights[1], "helpfulness": scores[0], "harmlessness": scores[1],
        }
        for weights, scores in points.items()
    ]  # fmt: skip


def test_figures_by_hand():
    """Three weightings of a method beside an untouched policy at (0.5, 0.5)."""
    points = {(1.0, 0.0): (0.8, 0.2), (0.5, 0.5): (0.6, 0.6), (0.0, 1.0): (0.1, 0.9)}
    frame = pd.DataFrame(
        [
            *(row for seed in (0, 1) for row in rows("sft", seed, {(0.5, 0.5): (0.5, 0.5)})),
            *(row for seed in (0, 1) for row in rows("mah-dpo", seed, points)),
        ]
    )
    table = summary(frame, "safety").set_index(["method", "figure"])["mean"]
    expected = {
        "even helpfulness": 0.6,
        "alone harmlessness": 0.9,
        "interference helpfulness on harmlessness": 0.5 - 0.2,
        "interference harmlessness on helpfulness": 0.5 - 0.1,
        "control helpfulness": 1.0,
        "hypervolume": 0.8 * 0.2 + 0.6 * 0.4 + 0.1 * 0.3,
    }
    for figure, value in expected.items():
        assert math.isclose(table["mah-dpo", figure], value, abs_tol=1e-12), figure
    assert math.isclose(table["sft", "hypervolume"], 0.25)
    assert ("sft", "control helpfulness") not in table.index  # one point has no order
