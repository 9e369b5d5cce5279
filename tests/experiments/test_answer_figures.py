"""Figures of answers, by hand: choices among samples, shares and differences with their intervals."""

import math

import pandas as pd
import pytest
import torch

from paretokit.experiments.answer_figures import chosen, figures, guide_auc, most_given
from paretokit.maths.intervals import bootstrap_mean

WEIGHTINGS = {"right": {"right": 1.0, "calm": 0.0}, "calm": {"right": 0.0, "calm": 1.0}, "all": {"right": 0.5, "calm": 0.5}}
SAMPLES = pd.DataFrame(
    {
        "seed": 0,
        "prompt_index": [3] * 3 + [8] * 3,
        "text": ["#### 1", "#### 2", "#### 2.0", "none", "#### 5", "none"],
        "tokens": [2, 3, 4, 5, 6, 7],
        "right": [1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        "guide_right": [0.1, 0.5, 0.4, 0.0, 0.0, 0.0],
        "guide_calm": [0.9, 0.1, 0.8, 0.2, 0.1, 0.3],
    }
)


@pytest.mark.parametrize(
    ("texts", "number"),
    [
        (["#### 1", "#### 2", "#### 2.0"], 1),
        (["none", "#### 5", "none"], 1),  # one that answers outvotes those that do not
        (["#### 1", "#### 2"], 0),
        (["none", "no"], 0),
        ([r"\boxed{\frac{1}{2}}", "#### 3", "#### 0.5"], 0),
    ],
)
def test_the_answer_that_most_give(texts, number):
    assert most_given(texts) == number


def test_choices_by_hand():
    found = chosen(SAMPLES, right="right", weightings=WEIGHTINGS)
    picked = {method: list(rows["text"]) for method, rows in found.groupby("method", sort=False)}
    assert picked == {
        "majority": ["#### 2", "#### 5"],
        "best + right": ["#### 2", "none"],  # of equal scores the first
        "best + calm": ["#### 1", "none"],
        "best + all": ["#### 2.0", "none"],  # standardised: 0.39 + 0.56 against -1.37 + 0.84 and 0.98 - 1.40
        "any (oracle)": ["#### 1", "none"],
    }
    assert set(found["drawn"][found["prompt_index"] == 3]) == {9}
    assert list(found["tokens"][found["method"] == "best + calm"]) == [2, 7]


def test_a_guide_that_tells_samples_apart():
    good = pd.DataFrame({"right": [1.0, 0.0, 0.0], "guide_right": [0.9, 0.1, 0.95]})
    assert guide_auc(good, objectives=["right"]) == {"right": 0.5}
    assert math.isnan(guide_auc(good.assign(right=0.0), objectives=["right"])["right"])


def frame():
    rows = []
    for seed in (0, 1):
        for problem in range(4):
            rows.append({"method": "plain", "seed": seed, "prompt_index": problem, "right": problem == 0, "tokens": 10})
            rows.append({"method": "best", "seed": seed, "prompt_index": problem, "right": problem < 3, "tokens": 10 + problem})
    return pd.DataFrame(rows).astype({"right": float}).sample(frac=1, random_state=0)  # the order says nothing


def test_figures_by_hand():
    table = figures(frame(), baseline="plain", shares=["right"], compared=["right"], means=["tokens"]).set_index(
        ["method", "figure"]
    )
    assert list(table["answers"].unique()) == [8]
    share = table.loc[("plain", "right")]
    assert share["mean"] == 0.25
    squared = 1.959963984540054**2 / 8  # Wilson: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)
    half = math.sqrt(squared * (0.25 * 0.75 + squared / 4))
    assert share["low"] == pytest.approx((0.25 + squared / 2 - half) / (1 + squared))
    assert share["high"] == pytest.approx((0.25 + squared / 2 + half) / (1 + squared))
    gain = table.loc[("best", "right - plain")]
    groups, values = torch.arange(4).repeat(2), torch.tensor([0.0, 1.0, 1.0, 0.0] * 2)
    own = bootstrap_mean(values, groups, generator=torch.Generator().manual_seed(0))
    assert (gain["mean"], gain["low"], gain["high"]) == own == (0.5, own.low, own.high)
    assert own.low == 0.0 < own.high == 1.0  # drawn are problems, not answers
    assert table.loc[("best", "tokens")]["mean"] == 11.5
    assert ("plain", "right - plain") not in table.index
    alone = figures(frame(), baseline="plain", shares=["right"], compared=[], means=[])
    assert set(alone["figure"]) == {"right"}


def test_an_answer_without_its_baseline_is_no_difference():
    lone = frame().query("not (method == 'best' and prompt_index == 2)")
    with pytest.raises(KeyError):
        figures(lone, baseline="plain", shares=["right"], compared=["right"], means=[])
