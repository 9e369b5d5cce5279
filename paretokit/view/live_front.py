"""The live front: a fixed set of traces per pair of objectives, and what a board and a training put into them.

Traces are made once and only filled (`skeleton`, then `columns`). Methods differ by marker shape and colour, point by
point; dominated points stay, grey; lines and reference points are traces, since a live page does not refresh shapes.
Imports: plotly, `view.front_view`, `view.front_points`, `view.theme`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from paretokit.view.front_points import START, heads_look, hover
from paretokit.view.front_view import FrontView, HeadsView, PanelView, PointView, number
from paretokit.view.theme import DOMINATED, INK, LINE, Theme, axis, layout, method_styles, nth_style, plain, transparent

PARTS = ("truth", "reference", "dominated", "nondominated", "start", "path", "now", "selected", "between", "heads")
_NAMES = {
    "truth": "best attainable",
    "reference": "hypervolume reference",
    "dominated": "dominated",
    "nondominated": "",
    "start": START,
    "path": "",
    "now": "training now, one answer to each prompt",
    "selected": "selected",
    "between": "these weights, between runs: not trained",
    "heads": "",  # named with what is drawn
}
_HEIGHT = 400


class Now(NamedTuple):
    """The training that runs: its mean scores so far, [steps looked at][m]."""

    label: str
    method: str
    steps: tuple[int, ...]
    scores: tuple[tuple[float, ...], ...]


def skeleton(view: FrontView, methods: Sequence[str]) -> go.Figure:
    """Return the figure with all its traces, empty: for each panel of the view those of `PARTS`, then a legend entry for
    each method."""
    count = len(_panels(view))
    figure = make_subplots(rows=1, cols=count, horizontal_spacing=0.3 / count if count > 1 else 0)
    for column in range(1, count + 1):
        for part in PARTS:
            figure.add_trace(_trace(part, named=column == 1, joined=len(view.objectives) == 2), row=1, col=column)
    for method, style in method_styles(methods).items():
        marker = {"symbol": style.symbol, "size": 11, "color": style.colour}
        figure.add_scatter(x=[None], y=[None], mode="markers", name=plain(method), marker=marker, visible=False)
    shared = layout(theme="auto", height=_HEIGHT, title="", subtitle="", top=16, bottom=84)
    figure.update_layout(shared, title=None, uirevision="kept", width=700, autosize=False)
    figure.update_layout(legend={"itemclick": False, "itemdoubleclick": False})
    for column, panel in enumerate(_panels(view), start=1):
        figure.update_xaxes(axis(), row=1, col=column, title_text=plain(view.objectives[panel.x]))
        strip = panel.x == panel.y
        figure.update_yaxes(axis(), row=1, col=column, title_text=None if strip else plain(view.objectives[panel.y]))
        if strip:
            figure.update_yaxes(row=1, col=column, visible=False, range=[-1, 1])
    return figure


def columns(
    view: FrontView,
    *,
    methods: Sequence[str],
    now: Now | None,
    selected: str | None,
    between: tuple[float, ...] | None = None,
) -> dict[int, dict[str, Any]]:
    """Return what the traces of `skeleton` hold: x, y and what belongs to each point, by the number of the trace.

    `between`: the scores [m] to expect at the weights that are set, see `between.between`.
    """
    styles = method_styles(methods)
    found: dict[int, dict[str, Any]] = {}
    for place, panel in enumerate(_panels(view)):
        values = _panel(view, panel, styles=styles, now=now, selected=selected, between=between)
        values["heads"]["showlegend"] = place == 0 and view.heads is not None
        for index, part in enumerate(PARTS):
            found[place * len(PARTS) + index] = values[part]
    shown = {point.method for point in view.points} | ({now.method} if now is not None else set())
    first = len(_panels(view)) * len(PARTS)
    for index, method in enumerate(styles):
        found[first + index] = {"visible": method in shown}
    return found


def between_columns(view: FrontView, between: tuple[float, ...] | None) -> dict[int, dict[str, Any]]:
    """Return of `columns` what depends on the weights that are set."""
    return {
        panel * len(PARTS) + PARTS.index("between"): _between(view, place, between) for panel, place in enumerate(_panels(view))
    }


def shape(view: FrontView, *, now: Now | None, theme: Theme) -> dict[str, Any]:
    """Return the layout that goes with the columns: axis ranges that hold every point and the reference, text colour."""
    found: dict[str, Any] = {"font_color": INK[theme]}
    for place, panel in enumerate(_panels(view)):
        suffix = "" if place == 0 else str(place + 1)
        found[f"xaxis{suffix}_range"] = _range(view, panel.x, now)
        if panel.x != panel.y:
            found[f"yaxis{suffix}_range"] = _range(view, panel.y, now)
    return found


def point_at(view: FrontView, trace: int, index: int) -> PointView | None:
    """Return the point that a click on item `index` of a trace means, or None where it is not a trained policy."""
    part = PARTS[trace % len(PARTS)] if trace < len(_panels(view)) * len(PARTS) else ""
    if part not in ("dominated", "nondominated"):
        return None
    return _of(view, nondominated=part == "nondominated")[index]


def _panels(view: FrontView) -> tuple[PanelView, ...]:
    """The panels of the view; for one objective a strip, for more than three the first objective against the others."""
    count = len(view.objectives)
    if view.panels:
        return view.panels
    return (PanelView(0, 0, None),) if count == 1 else tuple(PanelView(0, y, None) for y in range(1, min(count, 4)))


def _trace(part: str, *, named: bool, joined: bool) -> go.Scatter:
    marker: dict[str, Any] = {}
    if part in ("dominated", "nondominated"):
        marker = {
            "size": 9 if part == "dominated" else 11,
            "opacity": 0.75 if part == "dominated" else 1,
            "line": {"width": 1.5},
        }
    looks: dict[str, dict[str, Any]] = {
        "truth": {"mode": "lines", "line": {"color": LINE, "width": 1.5}, "hoverinfo": "skip"},
        "reference": {"mode": "markers", "marker": {"symbol": "x-thin", "size": 10, "line": {"color": LINE, "width": 2}}},
        "start": {"mode": "markers", "marker": {"symbol": "star", "size": 14, "color": LINE}},
        "path": {"mode": "lines", "line": {"color": LINE, "width": 1.5, "dash": "dot"}, "hoverinfo": "skip"},
        "now": {"mode": "markers", "marker": {"symbol": "diamond-open", "size": 12, "color": LINE, "line": {"width": 2}}},
        "selected": {"mode": "markers", "hoverinfo": "skip",
                     "marker": {"symbol": "circle-open", "size": 22, "color": LINE, "line": {"width": 2}}},
        "between": {"mode": "markers",
                    "marker": {"symbol": "circle-open-dot", "size": 14, "color": LINE, "line": {"width": 2}}},
        "dominated": {"mode": "markers", "marker": {**marker, "color": DOMINATED}},
        "nondominated": {"mode": "markers", "marker": marker},
        "heads": {"mode": "lines+markers" if joined else "markers", "line": {"color": LINE, "width": 1.5},
                  "marker": {"size": 9, "line": {"width": 2}}},
    }  # fmt: skip
    bars = {"type": "data", "symmetric": False, "thickness": 1.1, "width": 0, "color": transparent(LINE, 0.6)}
    both = {"error_x": bars, "error_y": bars} if part in ("dominated", "nondominated", "start", "heads") else {}
    shown = named and bool(_NAMES[part])
    return go.Scatter(x=[], y=[], name=_NAMES[part], legendgroup=part, showlegend=shown, **both, **looks[part])


def _panel(
    view: FrontView,
    panel: PanelView,
    *,
    styles: Any,
    now: Now | None,
    selected: str | None,
    between: tuple[float, ...] | None,
) -> dict[str, dict]:
    def place(scores: Sequence[float]) -> tuple[float, float]:
        return scores[panel.x], 0.0 if panel.x == panel.y else scores[panel.y]

    def spread(points: Sequence[PointView], *, coloured: bool) -> dict[str, Any]:
        at = [place(point.scores) for point in points]
        found: dict[str, Any] = {
            "x": [x for x, _ in at], "y": [y for _, y in at],
            "hovertext": [hover(view, point) for point in points], "hoverinfo": "text",
        }  # fmt: skip
        for name, index in (("error_x", panel.x), ("error_y", panel.y)):
            ends = [(p.low, p.scores, p.high) for p in points]
            strip = name == "error_y" and panel.x == panel.y
            found[f"{name}_array"] = [0 if high is None or strip else high[index] - s[index] for _, s, high in ends]
            found[f"{name}_arrayminus"] = [0 if low is None or strip else s[index] - low[index] for low, s, _ in ends]
        looks = [styles.get(point.method, nth_style(len(styles))) for point in points]
        if coloured:
            found |= {"marker_symbol": [look.symbol for look in looks], "marker_line_color": [look.colour for look in looks]}
        return found

    good, poor = _of(view, nondominated=True), _of(view, nondominated=False)
    full = spread(good, coloured=True)
    chosen = [point for point in view.points if selected is not None and selected in point.runs]
    path = [] if now is None else [place(scores) for scores in now.scores]
    begun = [place(view.start.scores)] if view.start is not None and path else []
    reference = place(view.reference)
    heads = view.heads
    return {
        "truth": _line(_boundary(view, panel)),
        "reference": {
            "x": [reference[0]], "y": [reference[1]], "hoverinfo": "text",
            "hovertext": [f"hypervolume reference<br>{', '.join(f'{value:.3g}' for value in view.reference)}"],
        },
        "dominated": spread(poor, coloured=True),
        "nondominated": {**full, "marker_color": full["marker_line_color"]},
        "start": spread([] if view.start is None else [view.start], coloured=False),
        "path": _line([*begun, *path]),
        "now": {
            **_line(path[-1:]), "hoverinfo": "text",
            "hovertext": [_hover_now(view, now)] if now is not None and path else [],
        },
        "selected": _line([place(point.scores) for point in chosen]),
        "between": _between(view, panel, between),
        "heads": {**spread(() if heads is None else heads.points, coloured=False), **_heads_looks(heads, styles=styles)},
    }  # fmt: skip


def _line(points: Sequence[tuple[float, float]]) -> dict[str, Any]:
    return {"x": [x for x, _ in points], "y": [y for _, y in points]}


def _boundary(view: FrontView, panel: PanelView) -> list[tuple[float, float]]:
    if panel.boundary is None:
        return []
    left, below = view.reference[panel.x], view.reference[panel.y]
    return [(left, panel.boundary[0][1]), *panel.boundary, (panel.boundary[-1][0], below)]


def _heads_looks(heads: HeadsView | None, *, styles: Any) -> dict[str, Any]:
    """Open marks in the look of the method, the dominated ones in grey, joined by a line in the method's colour."""
    if heads is None:
        return {"name": "", "line_color": LINE, "marker_symbol": [], "marker_color": []}
    look, colours = heads_look(heads, styles)
    symbols = [f"{look.symbol}-open"] * len(colours)
    return {"name": plain(heads.legend), "line_color": look.colour, "marker_symbol": symbols, "marker_color": colours}


def _hover_now(view: FrontView, now: Now) -> str:
    scores = "<br>".join(f"{plain(n)} <b>{number(s)}</b>" for n, s in zip(view.objectives, now.scores[-1], strict=True))
    return f"<b>{plain(now.label)}</b>, after step {now.steps[-1]}<br>{scores}<br>one answer to each prompt"


def _between(view: FrontView, panel: PanelView, scores: tuple[float, ...] | None) -> dict[str, Any]:
    if scores is None:
        return {**_line([]), "hoverinfo": "text", "hovertext": []}
    lines = "<br>".join(f"{plain(n)} <b>{number(s)}</b>" for n, s in zip(view.objectives, scores, strict=True))
    at = scores[panel.x], 0.0 if panel.x == panel.y else scores[panel.y]
    return {**_line([at]), "hoverinfo": "text", "hovertext": [f"<b>interpolated, not trained</b><br>{lines}"]}


def _of(view: FrontView, *, nondominated: bool) -> list[PointView]:
    return [point for point in view.points if point.nondominated is nondominated]


def _range(view: FrontView, index: int, now: Now | None) -> list[float]:
    """Holds every point with its interval, the path, the reference and the best that is attainable."""
    values = [view.reference[index], *([] if view.best is None else [view.best[index]])]
    heads = () if view.heads is None else view.heads.points
    for point in (*view.points, *heads, *([] if view.start is None else [view.start])):
        values += [end[index] for end in (point.low, point.scores, point.high) if end is not None]
    values += [] if now is None else [scores[index] for scores in now.scores]
    low, high = min(values), max(values)
    margin = 0.07 * max(high - low, 1e-3)
    return [low - margin, high + margin]
