"""Figures of answers that can be checked: what is chosen among several samples, shares and means with their intervals.

Tables have a row per answer, as `score` makes them, with `seed`. Imports: pandas, torch, `verifiers`, `maths`.
"""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import torch

from paretokit.experiments.verifiers import final_answer, same_answer
from paretokit.maths.calibration import auc
from paretokit.maths.intervals import Interval, bootstrap_mean
from paretokit.maths.proportions import wilson
from paretokit.maths.selection import best, weighted

__all__ = ["chosen", "figures", "guide_auc", "most_given"]

_ONE = ["seed", "prompt_index"]  # what tells problems at a seed apart


def most_given(texts: Sequence[str]) -> int:
    r"""Return the number of the first text whose final answer most of the texts give; 0 where none gives any.

    Answers are compared by `verifiers.same_answer`. Of answers that are given equally often the one that stands first wins.
    This is self-consistency (Wang et al. 2022, arXiv 2203.11171).

    >>> most_given(["No idea.", "#### 7", r"\boxed{42}", "#### 42.0"])
    2
    """
    answers = [final_answer(text) for text in texts]
    votes = [0 if own is None else sum(other is not None and same_answer(own, other) for other in answers) for own in answers]
    return votes.index(max(votes))


def chosen(samples: pd.DataFrame, *, right: str, weightings: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Return what is chosen among the samples of each problem: a row for each way of choosing, seed and problem.

    `samples` has a column `guide_<objective>`, what a guide says of a sample, for each objective of `weightings`, which holds
    weights by name. The ways: "majority" by `most_given`; "best + <name>" by the guide, as guided decoding compares
    candidates (`maths.selection.weighted`); "any (oracle)" the first one that the column `right` says is right, which needs the
    answers and bounds what any choice can reach. `drawn` becomes the number of tokens of all samples, which each way costs.

    >>> samples = pd.DataFrame({"seed": 0, "prompt_index": 0, "text": ["#### 1", "#### 2"], "tokens": [3, 4],
    ...     "right": [0.0, 1.0], "guide_calm": [0.9, 0.2]})
    >>> chosen(samples, right="right", weightings={"calm": {"calm": 1.0}})[["method", "text", "drawn"]].values.tolist()
    [['majority', '#### 1', 7], ['best + calm', '#### 1', 7], ['any (oracle)', '#### 2', 7]]
    """

    def guided(rows: pd.DataFrame, weights: Mapping[str, float]) -> int:
        scores = torch.tensor(rows[[f"guide_{name}" for name in weights]].to_numpy(), dtype=torch.float64)
        return int(best(weighted(scores, torch.tensor(list(weights.values()), dtype=torch.float64)), 1))

    ways: dict[str, Callable[[pd.DataFrame], int]] = {"majority": lambda rows: most_given(list(rows["text"]))}
    for name, weights in weightings.items():
        ways[f"best + {name}"] = lambda rows, weights=weights: guided(rows, weights)
    ways["any (oracle)"] = lambda rows: int(rows[right].to_numpy().argmax())
    found = []
    for method, choose in ways.items():
        for _, rows in samples.groupby(_ONE, sort=False):
            found.append(rows.iloc[[choose(rows)]].assign(method=method, drawn=int(rows["tokens"].to_numpy().sum())))
    return pd.concat(found, ignore_index=True)


def guide_auc(samples: pd.DataFrame, *, objectives: Sequence[str]) -> dict[str, float]:
    """Return for each objective how well the guide tells good samples from others, over all problems: an area under the curve.

    Compared are the columns `guide_<objective>` and `<objective>`, 0 or 1. NaN where all are good, or none.

    >>> samples = pd.DataFrame({"calm": [0.0, 1.0, 1.0], "guide_calm": [0.2, 0.1, 0.9]})
    >>> guide_auc(samples, objectives=["calm"])
    {'calm': 0.5}
    """
    return {
        name: auc(*(torch.tensor(samples[column].to_numpy(), dtype=torch.float64) for column in (f"guide_{name}", name)))
        for name in objectives
    }


def figures(
    frame: pd.DataFrame, *, baseline: str, shares: Sequence[str], compared: Sequence[str], means: Sequence[str]
) -> pd.DataFrame:
    """Return one row per method and figure: `method`, `figure`, `answers` (their number), `mean`, `low` and `high`.

    Columns of `shares` are 0 or 1 in each answer: their mean has a Wilson interval, in which answers to one problem at several
    seeds count as independent. Those of `compared` have "<column> - <baseline>" as well, the mean difference to the baseline's
    answer to the same problem at the same seed, with a bootstrap interval over problems, as have the columns of `means`. All
    at 95 %. A bootstrap sees no more than was there: where no answer differs, its interval is a point and says nothing.

    >>> frame = pd.DataFrame({"method": ["plain", "best"], "seed": 0, "prompt_index": 0, "right": [0.0, 1.0], "tokens": [5, 8]})
    >>> found = figures(frame, baseline="plain", shares=["right"], compared=["right"], means=["tokens"])
    >>> found[["method", "figure", "mean"]].values.tolist()  # doctest: +NORMALIZE_WHITESPACE
    [['plain', 'right', 0.0], ['best', 'right', 1.0], ['best', 'right - plain', 1.0], ['plain', 'tokens', 5.0],
     ['best', 'tokens', 8.0]]
    """
    methods = {str(method): rows.set_index(_ONE) for method, rows in frame.groupby("method", sort=False)}
    plain = methods[baseline]
    found = []

    def add(method: str, figure: str, interval: Interval) -> None:
        found.append({"method": method, "figure": figure, "answers": len(plain), **interval._asdict()})

    for name in shares:
        for method, rows in methods.items():
            add(method, name, wilson(float(rows[name].to_numpy().mean()), len(rows)))
        for method, rows in methods.items():
            if method != baseline and name in compared:
                add(method, f"{name} - {baseline}", _over_problems(pd.Series(rows[name].loc[plain.index] - plain[name])))
    for name in means:
        for method, rows in methods.items():
            add(method, name, _over_problems(pd.Series(rows[name])))
    return pd.DataFrame(found)


def _over_problems(values: pd.Series) -> Interval:
    """The mean of values by seed and problem, with what drawing other problems would have changed."""
    groups = torch.tensor(values.index.get_level_values("prompt_index").to_numpy())
    numbers = torch.tensor(values.to_numpy(), dtype=torch.float64)
    return bootstrap_mean(numbers, groups, generator=torch.Generator().manual_seed(0))
