"""What the front figure says, as plain values: computed here, drawn in `front_figure`, compared by equality in tests.

Imports: `experiments.front`, `view.projection`.
"""

import math
from collections.abc import Sequence
from itertools import combinations
from textwrap import shorten
from typing import Any, NamedTuple

import pandas as pd
import torch

from paretokit.errors import ConfigError, suggestion
from paretokit.experiments.front import Front
from paretokit.shapes import Tensor
from paretokit.view.projection import Vertex, boundary


class PointView(NamedTuple):
    """One point: a method at a weighting, averaged over prompts, copies and seeds. Scores: larger is better."""

    method: str
    weights: tuple[float, ...] | None  # [m], None where the points have no weights
    scores: tuple[float, ...]  # [m]
    low: tuple[float, ...] | None  # [m], ends of the 95 % interval; None where there is none
    high: tuple[float, ...] | None
    nondominated: bool  # among all points, in the space of all objectives
    distance: float | None  # to the true front
    seeds: tuple[str, ...]
    runs: tuple[str, ...]
    prompt: str  # of the sample
    text: str  # the sample: the first answer to the first prompt


class PanelView(NamedTuple):
    """Two objectives to draw against each other, as indices, and the true boundary along them."""

    x: int
    y: int
    boundary: tuple[Vertex, ...] | None


class HeadsView(NamedTuple):
    """One policy with action heads, decoded at many weightings of them: a curve of its own, not part of the front."""

    name: str  # of the policy
    method: str  # what it was trained by, "" before training
    run: str  # id, "" before training
    points: tuple[PointView, ...]  # in the order of the grid; dominance is among them
    prompts: int
    hypervolume: float
    reference: tuple[float, ...]  # of the hypervolume

    @property
    def legend(self) -> str:
        """What the curve is."""
        return f"heads of {self.name}, decoded at {plural(len(self.points), 'weighting')}"


class FrontView(NamedTuple):
    """Everything the front figure shows. `panels` is empty for one objective, and for more than three unless chosen."""

    objectives: tuple[str, ...]
    methods: tuple[str, ...]  # what looks differ by: methods, or the points themselves where there are none
    points: tuple[PointView, ...]
    start: PointView | None
    panels: tuple[PanelView, ...]
    best: tuple[float, ...] | None  # [m], the most that can be reached on each objective alone
    reference: tuple[float, ...]
    title: str
    subtitle: str
    caption: str  # how to read the figure
    alt: str  # one sentence with the finding
    heads: HeadsView | None = None


def front_view(front: Front, *, axes: Sequence[tuple[str, str]] | None = None) -> FrontView:
    """Return what the figure of a front shows; `axes` picks the pairs of objectives to draw, by name.

    Without it: a strip for one objective, one panel for two, all three pairs for three, parallel coordinates for more.
    """
    count = len(front.objectives)
    pairs = list(combinations(range(count), 2)) if count <= 3 else []
    if axes is not None:
        pairs = [(_index(front, x), _index(front, y)) for x, y in axes]
    points = tuple(_point(front, row) for row in front.points.to_dict("records"))
    start = None
    if front.start is not None:
        row = {**front.start.iloc[0].to_dict(), "nondominated": False, "seeds": (), "runs": ()}
        start = _point(front, {**dict.fromkeys(front.by), **row}, sample=_sample(front.start_scores))
    return FrontView(
        objectives=front.objectives,
        methods=tuple(dict.fromkeys(point.method for point in points)),
        points=points,
        start=start,
        panels=tuple(PanelView(x, y, None if front.truth is None else boundary(front.truth, x=x, y=y)) for x, y in pairs),
        best=None
        if front.truth is None
        else tuple(sum(float(points[:, i].max()) for points in front.truth) / len(front.truth) for i in range(count)),
        reference=front.reference,
        title=_title(front),
        subtitle=_subtitle(front),
        caption=_caption(front, panels=len(pairs)),
        alt=_alt(front),
    )


def bare_view(
    objectives: Sequence[str], *, start: pd.DataFrame | None = None, truth: Sequence[Tensor] | None = None
) -> FrontView:
    """Return what there is to see before any policy was trained: the start, where it was measured, and the true front."""
    names = tuple(objectives)
    if start is not None:
        before = Front.from_scores(start.assign(method="start"), by=["method"], objectives=names, truth=truth)
        seen = front_view(before)
        point = seen.points[0]._replace(nondominated=False, seeds=(), runs=())
        scores = ", ".join(f"{name} {number(value)}" for name, value in zip(names, point.scores, strict=True))
        return seen._replace(
            methods=(), points=(), start=point, title="No trained policy yet", subtitle=f"reference {reference_text(before)}",
            alt=f"The policy before training scores {scores}.",
        )  # fmt: skip
    pairs = list(combinations(range(len(names)), 2)) if len(names) <= 3 else []
    sets = None if truth is None else tuple(torch.as_tensor(points, dtype=torch.float64) for points in truth)
    return FrontView(
        objectives=names, methods=(), points=(), start=None,
        panels=tuple(PanelView(x, y, None if sets is None else boundary(sets, x=x, y=y)) for x, y in pairs),
        best=None if sets is None else tuple(float(sum(s[:, i].max() for s in sets) / len(sets)) for i in range(len(names))),
        reference=(0.0,) * len(names), title="No trained policy yet", subtitle="reference 0 on every axis",
        caption="Scores: larger is better.", alt="Nothing was measured yet.",
    )  # fmt: skip


def with_heads(view: FrontView, heads: HeadsView) -> FrontView:
    """Return the view with the curve of a policy's heads, and how to read it."""
    count, good = len(heads.points), sum(point.nondominated for point in heads.points)
    reference = ", ".join(f"{value:.3g}" for value in heads.reference)
    reading = (
        f"Open marks: one policy, {heads.name}, decoded at {plural(count, 'weighting')} of its heads without training in "
        f"between; one answer to each of {plural(heads.prompts, 'prompt')}, bars: 95 % intervals over prompts. {good} of them "
        f"{'is' if good == 1 else 'are'} not dominated by another one; their hypervolume above ({reference}) is "
        f"{number(heads.hypervolume)}."
    )
    return view._replace(heads=heads, caption=f"{view.caption} {reading}")


def number(value: float | None) -> str:
    """Return a score as it is written everywhere: three decimals, or "-" where there is none.

    >>> number(0.5), number(None)
    ('0.500', '-')
    """
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def weights_text(weights: Sequence[float] | None) -> str:
    """Return weights as two decimals each.

    >>> weights_text((1 / 3, 2 / 3))
    '0.33 0.67'
    """
    return "" if weights is None else " ".join(f"{weight:.2f}" for weight in weights)


def plural(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> plural(1, "seed"), plural(3, "seed")
    ('1 seed', '3 seeds')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def has_weights(front: Front) -> bool:
    """Return whether the points carry one weight per objective."""
    return all(f"weight_{name}" in front.by for name in front.objectives)


def _index(front: Front, name: str) -> int:
    if name not in front.objectives:
        raise ConfigError(
            f"axes: found {name!r}, expected one of {', '.join(front.objectives)}.{suggestion(name, front.objectives)} "
            "Pass pairs of objective names."
        )
    return front.objectives.index(name)


def _point(front: Front, row: dict[str, Any], *, sample: tuple[str, str] | None = None) -> PointView:
    names = front.objectives
    low, high = (tuple(float(row[f"{name}_{end}"]) for name in names) for end in ("low", "high"))
    known = all(map(math.isfinite, (*low, *high)))
    method = row.get("method") or ", ".join(str(row[name]) for name in front.by if row[name] is not None) or "start"
    prompt, text = _sample(_rows(front, row)) if sample is None else sample
    return PointView(
        method=str(method),
        weights=tuple(float(row[f"weight_{name}"]) for name in names) if has_weights(front) and sample is None else None,
        scores=tuple(float(row[name]) for name in names),
        low=low if known else None,
        high=high if known else None,
        nondominated=bool(row["nondominated"]),
        distance=float(row["distance"]) if "distance" in row else None,
        seeds=tuple(map(str, row["seeds"])),
        runs=tuple(map(str, row["runs"])),
        prompt=prompt,
        text=text,
    )


def _rows(front: Front, row: dict[str, Any]) -> pd.DataFrame:
    rows = front.scores
    for name in front.by:
        rows = rows.loc[rows[name] == row[name]]
    return rows


def _sample(rows: pd.DataFrame | None) -> tuple[str, str]:
    """Return prompt and text of the first row of the lowest prompt, shortened; empty where the scores hold no texts."""
    if rows is None or "text" not in rows or rows.empty:
        return "", ""
    first = rows.sort_values("prompt_index", kind="stable").iloc[0]
    return shorten(str(first.get("prompt", "")), 160, placeholder=" ..."), shorten(str(first["text"]), 160, placeholder=" ...")


def _seeds(front: Front) -> str:
    counts = {len(seeds) for seeds in front.points["seeds"]}
    return plural(min(counts), "seed") if len(counts) == 1 else f"{min(counts)} to {max(counts)} seeds"


def _title(front: Front) -> str:
    weightings = front.points[[f"weight_{n}" for n in front.objectives]].drop_duplicates() if has_weights(front) else ()
    made_of = [plural(len(front.methods), "method")] if "method" in front.by else []
    made_of += [plural(len(weightings), "weighting")] if len(weightings) else []
    detail = f" ({' x '.join(made_of)})" if made_of else ""
    return f"Mean scores of {plural(len(front.points), 'policy').replace('policys', 'policies')}{detail}"


def _subtitle(front: Front) -> str:
    prompts = int(front.points["prompts"].iloc[0])
    one = _seeds(front) == "1 seed"
    parts = [
        "1 seed: training noise is not shown" if one else _seeds(front),
        plural(prompts, "prompt"),
        f"bars: 95 % intervals over prompts{'' if one else ' and seeds'}",
        f"hypervolume reference {reference_text(front)}",
    ]
    return " · ".join(parts)


def reference_text(front: Front) -> str:
    """Return the reference point of the hypervolume as text, with its origin where it was chosen from the data."""
    values = "(" + ", ".join(f"{value:.3g}" for value in front.reference) + ")"
    return f"{values}, chosen from these scores" if front.reference_origin == "data" else values


def _caption(front: Front, *, panels: int) -> str:
    count = len(front.objectives)
    parts = ["Scores: larger is better."]
    if panels:
        space = "in this plane" if count == 2 else f"among all {count} objectives, not in the projection"
        parts.append(f"Grey points are dominated {space}.")
    if front.truth is not None and panels:
        parts.append(
            "The grey line bounds what any answers to these prompts can score: the mean over prompts of each prompt's "
            "exact attainable set, seen along the two axes."
        )
        if count > 2:
            parts.append("A policy may reach it in one panel only by giving up the objective that the panel does not show.")
    if front.start is not None:
        parts.append("The star is the policy before training.")
    return " ".join(parts)


def _alt(front: Front) -> str:
    count, good = len(front.points), int(front.nondominated.sum())
    summary = front.summary()
    volumes = ", ".join(f"{row['method']} {row['hypervolume']:.3f}" for row in summary.to_dict("records"))
    sentence = f"Of {plural(count, 'point')}, {good} {'is' if good == 1 else 'are'} not dominated; hypervolume {volumes}"
    if front.truth is not None:
        row = front.points.loc[front.points["distance"].idxmin()]
        name = " ".join(str(row[key]) for key in ("method",) if key in front.by) or "one point"
        if has_weights(front):
            name += f" at weights {weights_text([row[f'weight_{objective}'] for objective in front.objectives])}"
        sentence += f"; nearest to the true front is {name}, at a distance of {row['distance']:.3f}"
    if front.start is not None:
        moves = front.moves()
        moved = f"{moves['moved'].tolist().count(True)} of {len(moves)}"
        sentence += f"; {moved} scores differ from the start by more than their interval"
    return sentence + "."
