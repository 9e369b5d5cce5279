"""The front: mean scores of trained policies, one point per method and weighting, with intervals and indicators.

A `Front` is computed once from a table of scores and then only read; figures and tables are drawn from it. Scores:
larger is better. Imports: pandas, torch, `maths.fronts`, `maths.intervals`, `bootstrap`, `cells`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from paretokit.errors import DataError, suggestion
from paretokit.experiments import bootstrap, cells
from paretokit.maths import fronts
from paretokit.maths.intervals import spearman
from paretokit.shapes import Float64, Tensor


@dataclass(frozen=True, eq=False)
class Front:
    """Points with intervals, and what they are compared with. Make one with `Front.from_scores`; the fields are read.

    Intervals hold the central 95 % of 1000 bootstrap draws over prompts (a prompt with all its copies and seeds) and,
    from two seeds on, over seeds. With one seed they say nothing about how another training run would end.

    >>> scores = pd.DataFrame({
    ...     "method": ["raco"] * 4 + ["linear"] * 4,
    ...     "prompt_index": [0, 1, 2, 3] * 2,
    ...     "kind": [0.9, 0.7, 0.8, 0.8, 0.5, 0.6, 0.4, 0.5],
    ...     "short": [0.2, 0.3, 0.2, 0.1, 0.1, 0.2, 0.1, 0.2],
    ... })
    >>> front = Front.from_scores(scores, by=["method"], objectives=["kind", "short"])
    >>> front.points[["method", "kind", "short", "nondominated"]]
       method  kind  short  nondominated
    0    raco   0.8   0.20          True
    1  linear   0.5   0.15         False
    >>> round(front.hypervolume(), 3), front.reference
    (0.16, (0.0, 0.0))
    """

    objectives: tuple[str, ...]
    by: tuple[str, ...]  # the columns that tell points apart
    points: pd.DataFrame  # by columns, runs, seeds, prompts, <objective>, its _low and _high, nondominated, distance
    start: pd.DataFrame | None  # the untouched policy, one row: prompts, <objective>, _low, _high, distance
    reference: tuple[float, ...]  # of the hypervolume, one number per objective
    reference_origin: str  # "given", "zero", or "data" where it was chosen from the scores
    truth: tuple[Float64[Tensor, "_f m"], ...] | None  # F(x) of each prompt that was scored
    scores: pd.DataFrame  # the rows behind the points
    start_scores: pd.DataFrame | None  # the rows behind the start
    by_seed: pd.DataFrame  # by columns, seed, <objective>: one row per point and seed
    _moves: pd.DataFrame | None

    @classmethod
    def from_scores(
        cls,
        frame: pd.DataFrame,
        *,
        by: Sequence[str],
        objectives: Sequence[str],
        start: pd.DataFrame | None = None,
        truth: Sequence[Any] | None = None,
        reference: Sequence[float] | None = None,
        seed: int = 0,
    ) -> "Front":
        """Return the front of score rows: one point per group of `by`, the mean over a seed's answers, then seeds.

        `frame` holds the columns `prompt_index`, those of `by` (such as `method` and `weight_<objective>`) and one per
        objective; `seed` and `run` are used where present. NaN scores are not judged and do not count. `start` holds
        rows of the untouched policy. `truth[prompt_index]` is F(x), the exact scores [f, m] of the Pareto set of that
        prompt (tensors or arrays); it adds the column `distance`, see `maths.fronts.distance`. `reference` defaults to
        0 where every score lies in [0, 1], else to a tenth of the range below the smallest mean; give it where fronts
        are compared. `seed` seeds the bootstrap.

        Raises `DataError` for missing columns, an empty frame, infinite scores, a point without a judged score, and
        points (or a start) scored on different prompts, since their means could not be compared.
        """
        objectives, by = tuple(objectives), tuple(by)
        if not by:
            raise DataError("by: found no columns, expected those that tell points apart. Pass by=['method', ...].")
        cells.check_scores(frame, objectives=objectives, by=by, place="scores")
        table = frame if "seed" in frame.columns else frame.assign(seed=0)
        seeds = tuple(dict.fromkeys(table["seed"].tolist()))
        grouped = table.groupby(list(by), sort=False)
        groups: list[tuple[Any, pd.DataFrame]] = list(grouped)
        keys = pd.DataFrame([dict(zip(by, key, strict=True)) for key, _ in groups])
        count, numbers = len(keys), grouped.ngroup().tolist()
        labels = [cells.point_label(by, key) for key, _ in groups]
        if start is not None:
            # the start is one more point at the end: it shares the draws
            cells.check_scores(start, objectives=objectives, by=(), place="start")
            labels, numbers = [*labels, "start"], [*numbers, *[count] * len(start)]
        both = pd.concat([table, *([] if start is None else [start.assign(seed=seeds[0])])], ignore_index=True)
        prompts = tuple(sorted(both["prompt_index"].unique().tolist()))
        scores = cells.gather(both, numbers, labels=labels, objectives=objectives, seeds=seeds, prompts=prompts)
        means = bootstrap.means(scores)
        draws = bootstrap.draw_means(scores, generator=torch.Generator().manual_seed(seed))
        low, high = bootstrap.percentile_interval(draws)
        sets = cells.truth_sets(truth, prompts=prompts, objectives=objectives, counts=scores.counts)
        bounded = _bounded(both[list(objectives)].to_numpy(dtype=np.float64))
        chosen, origin = cells.reference_point(reference, means=means, bounded=bounded, objectives=objectives)

        every = pd.DataFrame({"prompts": [len(prompts)] * len(means)})
        every = cells.with_scores(every, means, low, high, objectives=objectives)
        if sets is not None:
            every["distance"] = [fronts.distance(mean, sets).value for mean in means]
        points = keys.assign(
            runs=[tuple(dict.fromkeys(rows["run"].tolist())) if "run" in rows else () for _, rows in groups],
            seeds=[tuple(dict.fromkeys(rows["seed"].tolist())) for _, rows in groups],
        )
        points = points.join(every[:count]).assign(nondominated=fronts.nondominated(means[:count]).tolist())
        of_points = bootstrap.Cells(scores.sums[:count], scores.counts[:count])
        return cls(
            objectives=objectives,
            by=by,
            points=points,
            start=None if start is None else every.iloc[count:].reset_index(drop=True),
            reference=chosen,
            reference_origin=origin,
            truth=sets,
            scores=table,
            start_scores=start,
            by_seed=cells.seed_table(keys, of_points, objectives=objectives, seeds=seeds),
            _moves=None if start is None else cells.move_table(keys, means, draws, objectives=objectives),
        )

    @property
    def nondominated(self) -> np.ndarray:
        """For each point, whether no other point is at least as good everywhere and better somewhere; bool [k]."""
        return self.points["nondominated"].to_numpy(dtype=bool)

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods in order of appearance; ("all",) where `by` has no column `method`."""
        return tuple(name for name, _ in self._by_method())

    def hypervolume(self, reference: Sequence[float] | None = None, *, method: str | None = None) -> float:
        """Return the volume that the points, or those of one method, dominate above `reference`; larger is better.

        Without an argument the reference is `.reference`. A point that is not above it everywhere adds nothing.
        """
        chosen = self.reference if reference is None else tuple(float(value) for value in reference)
        if len(chosen) != len(self.objectives):
            raise DataError(
                f"reference: found {len(chosen)} numbers, expected {len(self.objectives)}, one for each of "
                f"{', '.join(self.objectives)}. Give one number per objective."
            )
        return float(fronts.hypervolume(self._means(self._rows(method)), reference=chosen))

    def knee(self) -> pd.Series:
        """Return the row of the point farthest above the plane through the ends of the front (Das 1999)."""
        return self.points.iloc[int(fronts.knee(self._means(self.points)))]

    def attainment(self, *, method: str | None = None, levels: Sequence[float] = (0.25, 0.5, 0.75)) -> pd.DataFrame:
        """Return the surfaces that at least this share of the seeds attain: `level` and one column per objective.

        Over all points, or those of one method; for two or three objectives. The level 0.5 is the median front. Raises
        `DataError` where there is only one seed: it has no spread.
        """
        rows = self.by_seed
        if method is not None and self._known(method) != "all":
            rows = rows.loc[rows["method"] == method]
        numbers, seeds = pd.factorize(rows["seed"])
        if len(seeds) < 2:
            raise DataError("attainment: found one seed, expected at least two. Train with more seeds.")
        surfaces = fronts.attainment(self._means(rows), torch.tensor(numbers), levels=levels)
        found = [(level, *vector) for level, vectors in surfaces.items() for vector in vectors.tolist()]
        return pd.DataFrame(found, columns=["level", *self.objectives])

    def correlations(self) -> pd.DataFrame:
        """Return Spearman's rank correlation of weight i with score i, method x objective, over the points of a method.

        1: more weight always brings more score. NaN where weights or scores are constant. Raises `DataError` where
        `by` lacks `weight_<objective>`.
        """
        columns = [f"weight_{name}" for name in self.objectives]
        if missing := [name for name in columns if name not in self.by]:
            raise DataError(
                f"front: found no column {missing[0]!r} in by={list(self.by)}, so there are no weights to correlate. "
                "Pass by=['method', *weight columns] to Front.from_scores."
            )
        rows = {
            method: {name: spearman(_column(part, f"weight_{name}"), _column(part, name)) for name in self.objectives}
            for method, part in self._by_method()
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")

    def moves(self) -> pd.DataFrame:
        """Return, for each point and objective, how far the score moved from the start: one row each.

        Columns: those of `by`, `objective`, `start`, `score`, `difference`, `low`, `high` (paired bootstrap: the same
        prompts on both sides) and `moved`, whether the interval excludes 0. One in twenty excludes it by chance.
        Raises `DataError` where the front has no start.
        """
        if self._moves is None:
            raise DataError("front: found no start to compare with. Pass start=, the scores of the untouched policy.")
        return self._moves.copy()

    def summary(self) -> pd.DataFrame:
        """Return one row per method: points, nondominated, hypervolume, mean and smallest distance, correlations.

        `distance` and `nearest` are there with a truth, `rank_correlation_<objective>` where `by` has weights.
        """
        table = pd.DataFrame(
            [
                {
                    "method": method,
                    "points": len(part),
                    "nondominated": part["nondominated"].tolist().count(True),
                    "hypervolume": float(fronts.hypervolume(self._means(part), reference=self.reference)),
                    **({"distance": part["distance"].mean(), "nearest": part["distance"].min()} if self.truth else {}),
                }
                for method, part in self._by_method()
            ]
        )
        if all(f"weight_{name}" in self.by for name in self.objectives):
            correlations = self.correlations()
            for name in self.objectives:
                table[f"rank_correlation_{name}"] = correlations[name].to_numpy()
        return table

    def to_frame(self) -> pd.DataFrame:
        """Return a copy of the points."""
        return self.points.copy()

    def _by_method(self) -> Iterator[tuple[str, pd.DataFrame]]:
        if "method" not in self.by:
            yield "all", self.points
            return
        for method, part in self.points.groupby("method", sort=False):
            yield str(method), part

    def _rows(self, method: str | None) -> pd.DataFrame:
        return self.points if method is None else dict(self._by_method())[self._known(method)]

    def _known(self, method: str) -> str:
        if method not in self.methods:
            raise DataError(
                f"front: found no method {method!r}, expected one of {', '.join(self.methods)}."
                f"{suggestion(method, self.methods)} See front.methods."
            )
        return method

    def _means(self, rows: pd.DataFrame) -> Float64[Tensor, "k m"]:
        return torch.tensor(rows[list(self.objectives)].to_numpy(dtype=np.float64))


def _column(rows: pd.DataFrame, name: str) -> Float64[Tensor, " k"]:
    return torch.tensor(rows[name].to_numpy(dtype=np.float64))


def _bounded(scores: np.ndarray) -> bool:
    return bool(np.all((scores >= 0) & (scores <= 1) | np.isnan(scores)))
