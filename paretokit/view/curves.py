"""How training went: losses, gradient norms, coefficients, mixture and margins over the steps of one or several runs.

Imports: plotly, `training.records`, `view.theme`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, pstdev
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from paretokit.errors import DataError
from paretokit.training.records import StepRecord
from paretokit.view.front_view import plural
from paretokit.view.theme import LINE, Style, Theme, axis, layout, method_styles, plain, transparent

Numbers = tuple[float | None, ...]  # one per step; None where the quantity is not defined

ROWS = (
    ("losses", "loss (nats)"),
    ("gradient_norms", "gradient norm"),
    ("coefficients", "coefficient"),
    ("mixture", "mixture"),
)


class RunCurves(NamedTuple):
    """One run over its steps. Per objective: [m][steps]; margins: mean and standard deviation over a step's pairs."""

    label: str
    method: str
    steps: tuple[int, ...]
    losses: tuple[Numbers, ...]
    gradient_norms: tuple[Numbers, ...]
    coefficients: tuple[Numbers, ...]
    mixture: tuple[Numbers, ...]
    margin_mean: Numbers  # nats
    margin_spread: Numbers  # nats


class CurvesView(NamedTuple):
    """What the curves figure shows."""

    objectives: tuple[str, ...]
    runs: tuple[RunCurves, ...]
    title: str
    subtitle: str
    alt: str


def named_records(source: Any) -> dict[str, tuple[StepRecord, ...]]:
    """Return the records of each run by label, from records, a run, several runs, or a mapping from labels to either.

    A run is anything with `.records`; its label is that of its spec, else the method. Raises `DataError` where there
    are no records, or runs with different objectives.
    """
    if isinstance(source, Mapping):
        pairs = [(str(label), tuple(getattr(value, "records", value))) for label, value in source.items()]
    elif hasattr(source, "records"):
        pairs = [_labelled(source)]
    else:
        items = list(source)
        if all(isinstance(item, StepRecord) for item in items):
            pairs = [(items[0].method, tuple(items))] if items else []
        else:
            pairs = [_labelled(item) for item in items]
    if not pairs or not all(records for _, records in pairs):
        raise DataError("curves: found a run without step records, expected at least one step. Train before plotting.")
    if len({records[0].objectives for _, records in pairs}) > 1:
        raise DataError(
            f"curves: found runs with different objectives, {pairs[0][1][0].objectives} and others. "
            "Plot runs of the same objectives together."
        )
    named: dict[str, tuple[StepRecord, ...]] = {}
    for label, records in pairs:
        count = sum(name == label or name.startswith(f"{label} #") for name in named)
        named[f"{label} #{count + 1}" if count else label] = records
    return named


def curves_view(source: Any) -> CurvesView:
    """Return what the curves of `named_records(source)` show."""
    named = named_records(source)
    runs = tuple(_run_curves(label, records) for label, records in named.items())
    first = next(iter(named.values()))
    pairs = sorted({record.pairs for records in named.values() for record in records})
    size = f"{pairs[0]}" if len(pairs) == 1 else f"{pairs[0]} to {pairs[-1]}"
    steps = max(len(run.steps) for run in runs)
    one = f"{runs[0].label}: {plural(steps, 'training step')}"
    return CurvesView(
        objectives=first[0].objectives,
        runs=runs,
        title=one if len(runs) == 1 else f"{len(runs)} runs of up to {plural(steps, 'training step')}",
        subtitle=f"{size} pairs a step, nothing smoothed · dotted: log 2, the loss of the reference policy",
        alt=_alt(first[0].objectives, runs),
    )


def draw_curves(view: CurvesView, *, theme: Theme = "auto") -> go.Figure:
    """Return the figure: one column per objective, one row per quantity, margins below; one look per method."""
    columns = len(view.objectives)
    rows = len(ROWS) + 1
    specs: list[list[dict[str, Any] | None]] = [[{} for _ in range(columns)] for _ in ROWS]
    specs.append([{"colspan": columns}, *[None] * (columns - 1)])
    figure = make_subplots(
        rows=rows, cols=columns, specs=specs, shared_yaxes=True, vertical_spacing=0.05, horizontal_spacing=0.03,
        column_titles=[plain(name) for name in view.objectives],
    )  # fmt: skip
    styles = method_styles(run.method for run in view.runs)
    for index, run in enumerate(view.runs):
        style, thin = styles[run.method], len(view.runs) > 1
        for row, (field, _) in enumerate(ROWS, start=1):
            for column, values in enumerate(getattr(run, field), start=1):
                figure.add_trace(_line(run, values, style=style, thin=thin), row=row, col=column)
        if len(view.runs) <= 4:
            figure.add_trace(_band(run, style=style), row=rows, col=1)
        named = run.method not in [earlier.method for earlier in view.runs[:index]]
        line = _line(run, run.margin_mean, style=style, thin=thin)
        figure.add_trace(line.update(name=plain(run.method), showlegend=named), row=rows, col=1)
    figure.update_annotations(font_size=13)
    figure.update_layout(layout(theme=theme, height=960, title=view.title, subtitle=view.subtitle, top=100))
    figure.update_xaxes(axis()).update_yaxes(axis())
    for row, (_, name) in enumerate(ROWS, start=1):
        figure.update_yaxes(title_text=name, row=row, col=1)
    for column in range(1, columns + 1):
        suffix = "" if column == 1 else str(column)
        figure.add_shape(
            type="line", xref=f"x{suffix} domain", yref=f"y{suffix}", x0=0, x1=1, y0=math.log(2), y1=math.log(2),
            line={"color": LINE, "dash": "dot", "width": 1},
        )  # fmt: skip
    figure.update_yaxes(title_text="margin (nats)", row=rows, col=1)
    return figure.update_xaxes(title_text="step", row=rows, col=1)


def over_steps(rows: Iterable[Sequence[float]]) -> tuple[Numbers, ...]:
    """Return the columns of a table with one row per step; NaN becomes None, so that views compare by equality.

    >>> over_steps([(1.0, float("nan")), (2.0, 3.0)])
    ((1.0, 2.0), (None, 3.0))
    """
    return tuple(tuple(map(finite, column)) for column in zip(*rows, strict=True))


def finite(value: float) -> float | None:
    """Return a number, or None where it is not finite."""
    return value if math.isfinite(value) else None


def _labelled(run: Any) -> tuple[str, tuple[StepRecord, ...]]:
    records = tuple(getattr(run, "records", run))
    spec = getattr(run, "spec", None)
    return str(getattr(spec, "label", None) or (records[0].method if records else "run")), records


def _run_curves(label: str, records: Sequence[StepRecord]) -> RunCurves:
    return RunCurves(
        label=label,
        method=records[0].method,
        steps=tuple(record.step for record in records),
        losses=over_steps(record.losses for record in records),
        gradient_norms=over_steps(record.gradient_norms for record in records),
        coefficients=over_steps(record.coefficients for record in records),
        mixture=over_steps(record.mixture for record in records),
        margin_mean=tuple(finite(fmean(record.margins)) if record.margins else None for record in records),
        margin_spread=tuple(finite(pstdev(record.margins)) if record.margins else None for record in records),
    )


def _alt(objectives: tuple[str, ...], runs: tuple[RunCurves, ...]) -> str:
    """The losses of the first and last tenth of the steps, averaged over runs: single steps are noisy."""
    parts = []
    for index, name in enumerate(objectives):
        ends: tuple[list[float], list[float]] = ([], [])
        for run in runs:
            part = max(1, len(run.steps) // 10)
            for values, kept in zip((run.losses[index][:part], run.losses[index][-part:]), ends, strict=True):
                kept += [value for value in values if value is not None]
        if ends[0] and ends[1]:
            parts.append(f"{name} from {fmean(ends[0]):.3f} to {fmean(ends[1]):.3f}")
    over = "over the run" if len(runs) == 1 else f"over {len(runs)} runs, on average"
    return f"Losses between the first and the last tenth of the steps {over}: {', '.join(parts) or 'nothing was judged'}."


def _line(run: RunCurves, values: Numbers, *, style: Style, thin: bool) -> go.Scatter:
    return go.Scatter(
        x=run.steps, y=values, mode="lines" if len(run.steps) > 1 else "markers", name=plain(run.label),
        legendgroup=run.method, showlegend=False, opacity=0.8 if thin else 1,
        line={"color": style.colour, "dash": style.dash, "width": 1.2 if thin else 1.8},
        hovertemplate=f"{plain(run.label)}<br>step %{{x}}: %{{y:.4g}}<extra></extra>",
    )  # fmt: skip


def _band(run: RunCurves, *, style: Style) -> go.Scatter:
    """Mean plus and minus one standard deviation, as one closed outline."""
    known = [
        (step, mean, spread)
        for step, mean, spread in zip(run.steps, run.margin_mean, run.margin_spread, strict=True)
        if mean is not None and spread is not None
    ]
    outline = [(step, mean + spread) for step, mean, spread in known]
    outline += [(step, mean - spread) for step, mean, spread in reversed(known)]
    return go.Scatter(
        x=[x for x, _ in outline], y=[y for _, y in outline], mode="lines", line={"width": 0}, fill="toself",
        fillcolor=transparent(style.colour, 0.15), hoverinfo="skip", showlegend=False, legendgroup=run.method,
    )  # fmt: skip
