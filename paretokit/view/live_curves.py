"""The live curves and the live conflict of one run: a fixed set of lines, and what the records of a run put into them.

Both show the same values as `paretokit.plot.curves` and `.conflict`, which also compare several runs.
Imports: plotly, `view.curves`, `view.conflict`, `view.theme`.
"""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from paretokit.training.records import StepRecord
from paretokit.view.conflict import conflict_view
from paretokit.view.curves import curves_view
from paretokit.view.theme import LINE, axis, layout, nth_style, plain

_HEIGHT = 340
_MARKED = 60  # steps up to which each has a marker; more of them say nothing and take the page long to draw


def curves_skeleton(objectives: Sequence[str]) -> go.Figure:
    """Return the empty figure of a run's curves: losses, gradient norms and coefficients per objective, then margins."""
    titles = ["loss (nats)", "gradient norm", "coefficient", "margin (nats)"]
    figure = make_subplots(rows=1, cols=4, subplot_titles=titles, horizontal_spacing=0.06)
    for column in (1, 2, 3):
        for index, name in enumerate(objectives):
            figure.add_trace(_line(name, index, named=column == 1), row=1, col=column)
    figure.add_trace(_line("mean margin", None, named=False), row=1, col=4)
    figure.add_trace(_line("log 2: the loss of the reference", None, named=True).update(line_dash="dot"), row=1, col=1)
    return _finish(figure)


def curves_columns(label: str, records: Sequence[StepRecord], *, objectives: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Return what the lines of `curves_skeleton` hold for the records of a run; empty lines for none."""
    count = len(objectives)
    if not records:
        return {number: {"x": [], "y": []} for number in range(3 * count + 2)}
    run = curves_view({label: tuple(records)}).runs[0]
    values = [*run.losses, *run.gradient_norms, *run.coefficients, run.margin_mean]
    lines = {number: _filled(run.steps, column) for number, column in enumerate(values)}
    ends = [run.steps[0], run.steps[-1]]
    return {**lines, 3 * count + 1: {"x": ends, "y": [math.log(2)] * 2}}


def conflict_skeleton(objectives: Sequence[str]) -> go.Figure:
    """Return the empty figure of a run's conflict: cosines per pair, mixture before and after the clip, correction."""
    titles = ["cosine between gradients", "mixture p", "after the clip, min(p, w)", "correction / |g0|"]
    figure = make_subplots(rows=1, cols=4, subplot_titles=titles, horizontal_spacing=0.06)
    for index, pair in enumerate(combinations(objectives, 2)):
        # pairs take the looks after those of the objectives, so that no line stands for two things
        figure.add_trace(_line(" and ".join(pair), len(objectives) + index, named=True), row=1, col=1)
    for column in (2, 3):
        for index, name in enumerate(objectives):
            figure.add_trace(_line(name, index, named=column == 2), row=1, col=column)
    figure.add_trace(_line("correction", None, named=False), row=1, col=4)
    figure.update_yaxes(range=[-1.05, 1.05], row=1, col=1)
    for column in (2, 3):
        figure.update_yaxes(range=[-0.03, 1.03], row=1, col=column)
    return _finish(figure)


def conflict_columns(label: str, records: Sequence[StepRecord], *, objectives: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Return what the lines of `conflict_skeleton` hold for the records of a run; empty lines for none."""
    pairs = len(objectives) * (len(objectives) - 1) // 2
    if not records or not pairs:
        return {number: {"x": [], "y": []} for number in range(pairs + 2 * len(objectives) + 1)}
    run = conflict_view({label: tuple(records)}).runs[0]
    values = [*run.cosines, *run.mixture, *run.clipped, run.correction]
    return {number: _filled(run.steps, column) for number, column in enumerate(values)}


def _filled(steps: Sequence[int], values: Sequence[float | None]) -> dict[str, Any]:
    return {"x": list(steps), "y": list(values), "mode": "lines+markers" if len(steps) <= _MARKED else "lines"}


def _line(name: str, index: int | None, *, named: bool) -> go.Scatter:
    line: dict[str, Any] = {"color": LINE, "width": 1.5}
    if index is not None:
        line = {"color": nth_style(index).colour, "dash": nth_style(index).dash, "width": 1.8}
    return go.Scatter(
        x=[], y=[], mode="lines+markers", marker={"size": 3}, name=plain(name), legendgroup=name, showlegend=named, line=line,
        hovertemplate=f"{plain(name)}<br>step %{{x}}: %{{y:.4g}}<extra></extra>",
    )  # fmt: skip


def _finish(figure: go.Figure) -> go.Figure:
    shared = layout(theme="auto", height=_HEIGHT, title="", subtitle="", top=36, bottom=90)
    figure.update_layout(shared, title=None, uirevision="kept", width=700, autosize=False)
    figure.update_annotations(font_size=12)
    return figure.update_xaxes(axis(), title_text="step").update_yaxes(axis())
