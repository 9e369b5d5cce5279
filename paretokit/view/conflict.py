"""Where objectives pull apart: cosines between their gradients, and what the method made of it, step by step.

Imports: plotly, `training.records`, `view.curves`, `view.theme`.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from paretokit.errors import DataError
from paretokit.training.records import StepRecord
from paretokit.view.curves import Numbers, finite, named_records, over_steps
from paretokit.view.front_view import plural
from paretokit.view.theme import INK, LINE, Theme, axis, layout, nth_style, plain

_ZERO = 1e-6  # a smaller part of the mixture counts as none


class RunConflict(NamedTuple):
    """One run over its steps. Per objective: [m][steps]; per pair of objectives: [m (m - 1) / 2][steps]."""

    label: str
    method: str
    steps: tuple[int, ...]
    weights: tuple[Numbers, ...]
    cosines: tuple[Numbers, ...]  # per pair; None beside a zero gradient
    mixture: tuple[Numbers, ...]  # p, before the clip
    clipped: tuple[Numbers, ...]  # min(p, w)
    correction: Numbers  # |update - g0| / |g0|; None where g0 is zero
    interior: float  # share of steps whose mixture has a part of every objective
    vertex: float  # share of steps whose mixture is one objective alone: there a clip changes no direction


class ConflictView(NamedTuple):
    """What the conflict figure shows; one run at a time where there are several."""

    objectives: tuple[str, ...]
    pairs: tuple[str, ...]  # "quality and conciseness"
    runs: tuple[RunConflict, ...]
    alt: str


def conflict_view(source: Any) -> ConflictView:
    """Return what the records of `named_records(source)` say about conflict. Raises `DataError` for one objective."""
    named = named_records(source)
    objectives = next(iter(named.values()))[0].objectives
    if len(objectives) < 2:
        raise DataError(f"conflict: found one objective, {', '.join(objectives)!r}; one alone conflicts with nothing. Use two.")
    pairs = tuple(f"{first} and {second}" for first, second in combinations(objectives, 2))
    runs = tuple(_run_conflict(label, records) for label, records in named.items())
    return ConflictView(objectives=objectives, pairs=pairs, runs=runs, alt=_alt(pairs, runs))


def heading(run: RunConflict) -> tuple[str, str]:
    """Return title and subtitle of a run's picture."""
    return (
        f"{run.label}: gradient conflict over {plural(len(run.steps), 'step')}",
        f"mixture of all objectives in {percent(run.interior)} of the steps, of one alone in {percent(run.vertex)} "
        "(there a clip changes no direction) · fine dots: the weights",
    )


def draw_conflict(view: ConflictView, *, theme: Theme = "auto") -> go.Figure:
    """Return the figure: cosines above; below, mixture before and after the clip; then the length of the correction.

    Of several runs the first is shown; a menu changes to the others.
    """
    titles = ["cosine between gradients", "mixture p", "after the clip, min(p, w)", "correction, relative to |g0|"]
    figure = make_subplots(
        rows=3, cols=2, specs=[[{"colspan": 2}, None], [{}, {}], [{"colspan": 2}, None]], subplot_titles=titles,
        vertical_spacing=0.14, horizontal_spacing=0.06, row_heights=[0.4, 0.35, 0.25], shared_yaxes=True,
    )  # fmt: skip
    for number, run in enumerate(view.runs):
        _add_run(figure, view, run, shown=number == 0)
    figure.update_annotations(font_size=13)
    title, subtitle = heading(view.runs[0])
    figure.update_layout(layout(theme=theme, height=860, title=title, subtitle=subtitle, top=150, bottom=60))
    upper, middle = (next(figure.select_yaxes(row=row, col=1)).domain for row in (1, 2))
    across = {"orientation": "h", "xanchor": "left", "x": 0, "yref": "paper"}
    figure.update_layout(
        legend={**across, "y": upper[1] + 0.035, "yanchor": "bottom"},
        legend2={**across, "y": middle[0] - 0.05, "yanchor": "top"},
    )
    figure.update_xaxes(axis()).update_yaxes(axis())
    figure.update_yaxes(range=[-1.05, 1.05], row=1, col=1).update_yaxes(range=[-0.03, 1.03], row=2)
    figure.update_yaxes(rangemode="tozero", row=3, col=1).update_xaxes(title_text="step", row=3, col=1)
    if len(view.runs) > 1:
        figure.update_layout(
            updatemenus=[_menu(view, traces=len(tuple(figure.select_traces())) // len(view.runs), theme=theme)]
        )
    return figure.update_yaxes(zeroline=True, zerolinecolor=LINE, zerolinewidth=1, row=1, col=1)


def percent(share: float) -> str:
    """Return a share as a percentage.

    >>> percent(0.674)
    '67 %'
    """
    return f"{100 * share:.0f} %"


def _run_conflict(label: str, records: Sequence[StepRecord]) -> RunConflict:
    count = len(records[0].objectives)
    pairs = list(combinations(range(count), 2))
    sizes = [sum(part > _ZERO for part in record.mixture) for record in records]
    relative = [r.correction_norm / r.preferred_norm if r.preferred_norm > 0 else None for r in records]
    return RunConflict(
        label=label,
        method=records[0].method,
        steps=tuple(record.step for record in records),
        weights=over_steps(record.weights for record in records),
        cosines=over_steps([record.cosines[i][j] for i, j in pairs] for record in records),
        mixture=over_steps(record.mixture for record in records),
        clipped=over_steps(record.clipped for record in records),
        correction=tuple(None if length is None else finite(length) for length in relative),
        interior=_share(size == count for size in sizes),
        vertex=_share(size == 1 for size in sizes),
    )


def _share(hits: Iterable[bool]) -> float:
    found = list(hits)
    return sum(found) / len(found)


def _alt(pairs: tuple[str, ...], runs: tuple[RunConflict, ...]) -> str:
    parts = []
    for index, name in enumerate(pairs):
        known = [value for run in runs for value in run.cosines[index] if value is not None]
        if known:
            parts.append(f"{name} in {percent(_share(value < 0 for value in known))}")
    told = f"Gradients point against each other ({', '.join(parts)} of the steps)" if parts else "No cosine is defined"
    by_method: dict[str, list[RunConflict]] = {}
    for run in runs:
        by_method.setdefault(run.method, []).append(run)
    vertices = [f"{method} in {percent(sum(run.vertex for run in group) / len(group))}" for method, group in by_method.items()]
    return f"{told}; the mixture is a single objective, so that a clip changes no direction, for {', '.join(vertices)}."


def _add_run(figure: go.Figure, view: ConflictView, run: RunConflict, *, shown: bool) -> None:
    for index, (name, values) in enumerate(zip(view.pairs, run.cosines, strict=True)):
        # pairs take the looks after those of the objectives, so that no line stands for two things
        line = _line(run, values, name=name, index=len(view.objectives) + index, legend="legend")
        figure.add_trace(line.update(visible=shown), row=1, col=1)
    for column, parts in enumerate((run.mixture, run.clipped), start=1):
        for index, name in enumerate(view.objectives):
            trace = _line(run, parts[index], name=name, index=index, legend="legend2")
            figure.add_trace(trace.update(visible=shown, showlegend=column == 1), row=2, col=column)
            weight = _line(run, run.weights[index], name=f"weight of {name}", index=index, legend="legend2")
            weight.update(line={"width": 1, "dash": "dot"}, showlegend=False, opacity=0.7, legendgroup=name)
            figure.add_trace(weight.update(visible=shown), row=2, col=column)
    correction = _line(run, run.correction, name="correction", index=0, legend="legend")
    correction.update(line={"color": LINE, "dash": "solid"}, showlegend=False, visible=shown)
    figure.add_trace(correction, row=3, col=1)


def _line(run: RunConflict, values: Numbers, *, name: str, index: int, legend: str) -> go.Scatter:
    style = nth_style(index)
    return go.Scatter(
        x=run.steps, y=values, mode="lines" if len(run.steps) > 1 else "markers", name=plain(name), legend=legend,
        legendgroup=name, line={"color": style.colour, "dash": style.dash, "width": 1.6},
        hovertemplate=f"{plain(name)}<br>step %{{x}}: %{{y:.3f}}<extra></extra>",
    )  # fmt: skip


def _menu(view: ConflictView, *, traces: int, theme: Theme) -> dict[str, Any]:
    """A menu of the runs: each choice shows that run's lines and its heading."""
    buttons = []
    for number, run in enumerate(view.runs):
        visible = [place // traces == number for place in range(traces * len(view.runs))]
        title, subtitle = map(plain, heading(run))
        change = {"title.text": title, "title.subtitle.text": subtitle}
        buttons.append({"label": plain(run.label), "method": "update", "args": [{"visible": visible}, change]})
    return {
        "type": "dropdown", "buttons": buttons, "x": 1, "xanchor": "right", "y": 1.03, "yanchor": "bottom",
        "bgcolor": "rgba(0,0,0,0)", "bordercolor": LINE, "font": {"size": 11, "color": INK[theme]}, "pad": {"b": 4},
    }  # fmt: skip
