"""From score rows to checked arrays: one cell per seed and prompt, and the tables a front is made of.

Everything here is a pure function of its arguments. Imports: pandas, torch, `errors`, `experiments.bootstrap`,
`experiments.score`.
"""

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from paretokit.errors import DataError, suggestion
from paretokit.experiments import bootstrap
from paretokit.experiments.score import score_columns
from paretokit.shapes import Float64, Tensor

RESERVED = ("run", "runs", "seed", "seeds", "prompts", "nondominated", "distance", "prompt_index", "copy")


def check_scores(frame: pd.DataFrame, *, objectives: tuple[str, ...], by: tuple[str, ...], place: str) -> None:
    """Raise `DataError` where a table of score rows cannot make points; `place` names it in the message."""
    if not objectives:
        raise DataError(f"{place}: found no objectives, expected at least one. Pass objectives=, the score columns.")
    for names, what in ((objectives, "objectives"), ((*by, *objectives), "by and objectives together")):
        if repeated := [name for name in names if names.count(name) > 1]:
            raise DataError(f"{place}: found {repeated[0]!r} twice in {what}. Name each column once.")
    if taken := [name for name in (*by, *objectives) if name in RESERVED and name not in ("run", "seed")]:
        raise DataError(f"{place}: found the column name {taken[0]!r}, which the front uses itself. Rename it.")
    for name in ("prompt_index", *by, *objectives):
        if name not in frame.columns:
            known = ", ".join(score_columns(frame)) if name in objectives else ", ".join(map(str, frame.columns))
            raise DataError(
                f"{place}: found no column {name!r}; there are {known or 'none'}."
                f"{suggestion(name, map(str, frame.columns))} Pass the table that paretokit.score returns."
            )
    if frame.empty:
        raise DataError(f"{place}: found no rows. Score at least one answer.")
    for name in ("prompt_index", *by):
        missing = frame[name].isna().to_numpy()
        if missing.any():
            row = int(np.flatnonzero(missing)[0])
            raise DataError(f"{place}, row {row}: found no value for {name!r}. Fill it in, or drop the row.")
    for name in objectives:
        if not pd.api.types.is_numeric_dtype(frame[name]):
            raise DataError(f"{place}: found {frame[name].dtype} in the column {name!r}, expected numbers. Convert it.")
        infinite = np.isinf(frame[name].to_numpy(dtype=np.float64, na_value=np.nan))
        if infinite.any():
            row = int(np.flatnonzero(infinite)[0])
            raise DataError(
                f"{place}, row {row}: found {frame[name].iloc[row]} for {name!r}, expected a finite score, "
                "or NaN for an answer that is not judged. Correct the scorer."
            )


def gather(
    rows: pd.DataFrame,
    groups: Sequence[int],
    *,
    labels: Sequence[str],
    objectives: tuple[str, ...],
    seeds: tuple[Hashable, ...],
    prompts: tuple[int, ...],
) -> bootstrap.Cells:
    """Return sum and number of the judged scores of each group, seed, prompt and objective.

    `groups[i]` is the group of row i, `labels` names the groups in messages. Raises `DataError` where a seed of a group
    lacks prompts that others have, or nothing at all is judged on an objective.
    """
    shape = (len(labels), len(seeds), len(prompts))
    places = [
        np.asarray(groups),
        pd.Index(seeds).get_indexer(rows["seed"].tolist()),
        pd.Index(prompts).get_indexer(rows["prompt_index"].tolist()),
    ]
    flat = np.ravel_multi_index(places, shape)

    def total(values: np.ndarray | None) -> np.ndarray:
        return np.bincount(flat, weights=values, minlength=math.prod(shape)).reshape(shape)

    answered = total(None) > 0
    for group, seed in np.argwhere(answered.any(axis=2) & ~answered.all(axis=2)):
        missing = np.flatnonzero(~answered[group, seed])
        raise DataError(
            f"{labels[group]}, seed {seeds[seed]}: found no scores for {len(missing)} of {len(prompts)} prompts, "
            f"the first is {prompts[missing[0]]}, so means cannot be compared. Score all policies on the same prompts."
        )
    columns = [rows[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in objectives]
    sums = np.stack([total(np.nan_to_num(values)) for values in columns], axis=-1)
    counts = np.stack([total(~np.isnan(values)) for values in columns], axis=-1)
    for group, objective in np.argwhere(counts.sum(axis=(1, 2)) == 0):
        raise DataError(f"{labels[group]}: found no judged score for {objectives[objective]!r}. Judge it, or leave it out.")
    return bootstrap.Cells(torch.from_numpy(sums), torch.from_numpy(counts))


def with_scores(
    table: pd.DataFrame,
    means: Float64[Tensor, "k m"],
    low: Float64[Tensor, "k m"],
    high: Float64[Tensor, "k m"],
    *,
    objectives: tuple[str, ...],
) -> pd.DataFrame:
    """Return `table` with the columns <objective>, <objective>_low and <objective>_high added."""
    added = {}
    for index, name in enumerate(objectives):
        added[name] = means[:, index].numpy()
        added[f"{name}_low"] = low[:, index].numpy()
        added[f"{name}_high"] = high[:, index].numpy()
    return table.assign(**added)


def truth_sets(
    truth: Sequence[Any] | None,
    *,
    prompts: tuple[int, ...],
    objectives: tuple[str, ...],
    counts: Float64[Tensor, "k S N m"],
) -> tuple[Float64[Tensor, "_f m"], ...] | None:
    """Return F(x) of the scored prompts, in order; None where no truth is given.

    Raises `DataError` where it does not fit the scores, or some prompts were answered or judged more often than others:
    the truth weighs all prompts alike.
    """
    if truth is None:
        return None
    if prompts[-1] >= len(truth) or prompts[0] < 0:
        raise DataError(
            f"truth: found the sets of {len(truth)} prompts, but scores with prompt_index {prompts[-1]}. "
            "Pass one set per prompt, in the order of the prompts that were scored."
        )
    sets = tuple(torch.as_tensor(truth[index], dtype=torch.float64) for index in prompts)
    for index, points in zip(prompts, sets, strict=True):
        if points.ndim != 2 or points.shape[1] != len(objectives) or not len(points) or not bool(points.isfinite().all()):
            raise DataError(
                f"truth, prompt {index}: found an array of shape {tuple(points.shape)}, expected finite scores "
                f"[f, {len(objectives)}] with f >= 1, in the order {', '.join(objectives)}. Pass world.front(prompt)."
            )
    least, most = counts.amin(dim=(2, 3)), counts.amax(dim=(2, 3))
    if bool((least != most).any()):
        raise DataError(
            "truth: found prompts with more judged answers than others, so means cannot be compared with a front of "
            "all prompts. Score every prompt equally often on every objective, or leave truth out."
        )
    return sets


def reference_point(
    given: Sequence[float] | None, *, means: Float64[Tensor, "k m"], bounded: bool, objectives: tuple[str, ...]
) -> tuple[tuple[float, ...], str]:
    """Return the reference point of the hypervolume, and where it comes from: "given", "zero" or "data".

    `bounded`: every single score lies in [0, 1].
    """
    if given is not None:
        values = tuple(float(value) for value in given)
        if len(values) != len(objectives) or not all(map(math.isfinite, values)):
            raise DataError(
                f"reference: found {values}, expected {len(objectives)} finite numbers, one for each of "
                f"{', '.join(objectives)}. Give the worst score that counts on each objective."
            )
        return values, "given"
    if bounded:
        return (0.0,) * len(objectives), "zero"
    smallest, largest = means.amin(dim=0), means.amax(dim=0)
    return tuple((smallest - 0.1 * (largest - smallest)).tolist()), "data"


def seed_table(
    keys: pd.DataFrame, scores: bootstrap.Cells, *, objectives: tuple[str, ...], seeds: tuple[Hashable, ...]
) -> pd.DataFrame:
    """Return one row per point and seed it has: its keys, `seed`, and the mean of each objective."""
    by_seed = scores.sums.sum(dim=2) / scores.counts.sum(dim=2)
    rows = [
        {**key, "seed": seed, **dict(zip(objectives, mean, strict=True))}
        for key, of_point in zip(keys.to_dict("records"), by_seed.tolist(), strict=True)
        for seed, mean in zip(seeds, of_point, strict=True)
        if not all(map(math.isnan, mean))
    ]
    return pd.DataFrame(rows)


def move_table(
    keys: pd.DataFrame, means: Float64[Tensor, "k1 m"], draws: Float64[Tensor, "d k1 m"], *, objectives: tuple[str, ...]
) -> pd.DataFrame:
    """Return the differences from the start, which is the last of `means`: one row per point and objective."""
    low, high = bootstrap.percentile_interval(draws[:, :-1] - draws[:, -1:])
    rows = [
        {
            **key,
            "objective": name,
            "start": float(means[-1, column]),
            "score": float(means[row, column]),
            "difference": float(means[row, column] - means[-1, column]),
            "low": float(low[row, column]),
            "high": float(high[row, column]),
        }
        for row, key in enumerate(keys.to_dict("records"))
        for column, name in enumerate(objectives)
    ]
    table = pd.DataFrame(rows)
    return table.assign(moved=(table["low"] > 0) | (table["high"] < 0))


def point_label(by: Sequence[str], key: Sequence[Any]) -> str:
    """Return how messages name a point, such as "point method='raco', weight_kind=0.5"."""
    return "point " + ", ".join(f"{name}={value!r}" for name, value in zip(by, key, strict=True))
