"""The front, drawn: projections side by side, a strip for one objective, parallel coordinates for many.

Imports: plotly, `view.front_view`, `view.front_points`, `view.theme`.
"""

from collections.abc import Iterator
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from paretokit.view.front_points import START, heads_look, heads_trace, hover, legend_entry, point_traces
from paretokit.view.front_view import FrontView, PanelView, PointView
from paretokit.view.theme import DOMINATED, INK, LINE, Style, Theme, axis, layout, method_styles, plain, transparent

_TRUTH, _REFERENCE = "best attainable", "hypervolume reference"


def draw_front(view: FrontView, *, theme: Theme = "auto") -> go.Figure:
    """Return the figure of a front view: one panel per pair of objectives, or what the view has instead.

    Methods differ by colour and marker shape; dominated points are grey with an edge in the colour of their method.
    """
    if view.panels:
        return _pairs(view, theme=theme)
    return _strip(view, theme=theme) if len(view.objectives) == 1 else _parallel(view, theme=theme)


def _pairs(view: FrontView, *, theme: Theme) -> go.Figure:
    count = len(view.panels)
    figure = make_subplots(rows=1, cols=count, horizontal_spacing=0.24 / count if count > 1 else 0)
    near, whole = _ranges(view)
    apart = any(_far(near[i], whole[i]) for panel in view.panels for i in (panel.x, panel.y))
    for column, panel in enumerate(view.panels, start=1):
        for trace in _panel_traces(view, panel, named=column == 1, edge=(whole[panel.x][0], whole[panel.y][0])):
            figure.add_trace(trace, row=1, col=column)
        shown = near if apart else whole
        figure.update_xaxes(axis(), row=1, col=column, title_text=plain(view.objectives[panel.x]), range=shown[panel.x])
        figure.update_yaxes(axis(), row=1, col=column, title_text=plain(view.objectives[panel.y]), range=shown[panel.y])
    figure.update_layout(layout(theme=theme, height=540, title=view.title, subtitle=view.subtitle, top=110 if apart else 80))
    if apart:
        _add_zoom(figure, view, near=near, whole=whole, theme=theme)
    return figure


def _panel_traces(view: FrontView, panel: PanelView, *, named: bool, edge: tuple[float, float]) -> Iterator[go.Scatter]:
    if panel.boundary is not None:
        vertices = [(edge[0], panel.boundary[0][1]), *panel.boundary, (panel.boundary[-1][0], edge[1])]
        yield go.Scatter(
            x=[x for x, _ in vertices], y=[y for _, y in vertices], mode="lines", name=_TRUTH, legendgroup=_TRUTH,
            showlegend=named, line={"color": LINE, "width": 1.5}, hoverinfo="skip",
        )  # fmt: skip

    def place(point: PointView) -> tuple[float, float]:
        return point.scores[panel.x], point.scores[panel.y]

    def bars(point: PointView) -> tuple[tuple[float, float], tuple[float, float]] | None:
        if point.low is None or point.high is None:
            return None
        (x, y), low, high = place(point), point.low, point.high
        return (x - low[panel.x], high[panel.x] - x), (y - low[panel.y], high[panel.y] - y)

    yield from point_traces(view, place=place, bars=bars, named=named)
    if view.heads is not None:
        joined = len(view.objectives) == 2
        yield heads_trace(view, view.heads, place=place, bars=bars, named=named, joined=joined)
    yield go.Scatter(
        x=[view.reference[panel.x]], y=[view.reference[panel.y]], mode="markers",
        name=_REFERENCE, legendgroup=_REFERENCE, showlegend=named,
        marker={"symbol": "x-thin", "size": 10, "line": {"color": LINE, "width": 2}},
        hovertext=[f"{_REFERENCE}<br>{', '.join(f'{value:.3g}' for value in view.reference)}"], hoverinfo="text",
    )  # fmt: skip


Range = list[float]


def _ranges(view: FrontView) -> tuple[list[Range], list[Range]]:
    """For each objective the range of a close-up, and the range that also holds the reference point."""
    shown = [*view.points, *([view.start] if view.start is not None else []), *(view.heads.points if view.heads else ())]
    near, whole = [], []
    for index in range(len(view.objectives)):
        values = [point.scores[index] for point in shown]
        values += [point.low[index] for point in shown if point.low is not None]
        values += [point.high[index] for point in shown if point.high is not None]
        everything = [*values, view.reference[index], *((view.best[index],) if view.best is not None else ())]
        # close-up: the points, and the front up to its best on this axis, so that both are seen together
        near.append(_padded(min(values), max(values) if view.best is None else max(*values, view.best[index])))
        whole.append(_padded(min(everything), max(everything)))
    return near, whole


def _padded(low: float, high: float) -> Range:
    span = max(high - low, 1e-3)
    return [low - 0.07 * span, high + 0.07 * span]


def _far(near: Range, whole: Range) -> bool:
    return (whole[1] - whole[0]) > 1.3 * (near[1] - near[0])


def _add_zoom(figure: go.Figure, view: FrontView, *, near: list[Range], whole: list[Range], theme: Theme) -> None:
    """Start close to the points, say where the reference lies, and offer the whole picture at a click."""
    notes = [
        {
            "text": f"↙ reference ({view.reference[panel.x]:.3g}, {view.reference[panel.y]:.3g})",
            "xref": f"x{_suffix(column)} domain", "yref": f"y{_suffix(column)} domain", "x": 0.01, "y": 0.01,
            "xanchor": "left", "yanchor": "bottom", "showarrow": False, "font": {"size": 11},
        }
        for column, panel in enumerate(view.panels, start=1)
    ]  # fmt: skip
    figure.update_layout(annotations=notes)

    def ranges(chosen: list[Range], *, noted: bool) -> dict[str, Any]:
        change: dict[str, Any] = {f"annotations[{place}].visible": noted for place in range(len(notes))}
        for column, panel in enumerate(view.panels, start=1):
            change |= {
                f"xaxis{_suffix(column)}.range": chosen[panel.x],
                f"yaxis{_suffix(column)}.range": chosen[panel.y],
            }
        return change

    figure.update_layout(
        updatemenus=[
            {
                "type": "buttons", "direction": "right", "x": 1, "xanchor": "right", "y": 1.01, "yanchor": "bottom",
                "bgcolor": "rgba(0,0,0,0)", "bordercolor": LINE, "font": {"size": 11, "color": INK[theme]},
                "pad": {"t": 0, "b": 4, "r": 0}, "showactive": False,
                "buttons": [
                    {"label": "Close-up", "method": "relayout", "args": [ranges(near, noted=True)]},
                    {"label": "From the reference", "method": "relayout", "args": [ranges(whole, noted=False)]},
                ],
            }
        ]
    )  # fmt: skip


def _suffix(column: int) -> str:
    """How plotly numbers axes: x, x2, x3."""
    return "" if column == 1 else str(column)


def _strip(view: FrontView, *, theme: Theme) -> go.Figure:
    """One objective: one line per method, scores to the right."""

    def bars(point: PointView) -> tuple[tuple[float, float], None] | None:
        if point.low is None or point.high is None:
            return None
        return (point.scores[0] - point.low[0], point.high[0] - point.scores[0]), None

    figure = go.Figure([*point_traces(view, place=lambda p: (p.scores[0], plain(p.method)), bars=bars, named=True)])
    marks = [(view.reference[0], _REFERENCE, "dot"), *(((view.best[0], _TRUTH, "solid"),) if view.best else ())]
    for value, name, dash in marks:
        figure.add_vline(
            x=value, line={"color": LINE, "width": 1.5, "dash": dash}, annotation_text=name, annotation_position="top"
        )
    figure.update_layout(layout(theme=theme, height=200 + 50 * len(view.methods), title=view.title, subtitle=view.subtitle))
    return figure.update_xaxes(axis(), title_text=plain(view.objectives[0])).update_yaxes(axis(), type="category")


def _parallel(view: FrontView, *, theme: Theme) -> go.Figure:
    """More than three objectives: one line per point across one upright axis per objective."""
    names = [plain(name) for name in view.objectives]
    figure = go.Figure()
    styles = method_styles(view.methods)
    for point in sorted(view.points, key=lambda point: point.nondominated):
        style = styles[point.method]
        colour = style.colour if point.nondominated else transparent(DOMINATED, 0.6)
        ends = [] if point.low is None or point.high is None else list(zip(point.low, point.scores, point.high, strict=True))
        bars = {"array": [high - at for _, at, high in ends], "arrayminus": [at - low for low, at, _ in ends]}
        figure.add_scatter(
            x=names, y=point.scores, mode="lines+markers", name=plain(point.method), legendgroup=point.method,
            showlegend=False, line={"color": colour, "dash": style.dash, "width": 1.5},
            marker={"symbol": style.symbol, "size": 8, "color": colour}, hovertext=[hover(view, point)] * len(names),
            hoverinfo="text", error_y={"type": "data", "symmetric": False, "thickness": 1, "width": 0, **bars},
        )  # fmt: skip
    if view.heads is not None:
        look, colours = heads_look(view.heads, styles)
        for index, (point, colour) in enumerate(zip(view.heads.points, colours, strict=True)):
            figure.add_scatter(
                x=names, y=point.scores, mode="lines+markers", name=plain(view.heads.legend), legendgroup="heads",
                showlegend=index == 0, line={"color": transparent(colour, 0.6), "dash": "dot", "width": 1},
                marker={"symbol": f"{look.symbol}-open", "size": 7, "color": colour},
                hovertext=[hover(view, point)] * len(names), hoverinfo="text",
            )  # fmt: skip
    entries = [(method, style.colour, style) for method, style in styles.items()]
    if not all(point.nondominated for point in view.points):
        entries.append(("dominated", DOMINATED, Style(DOMINATED, "circle", "solid")))
    for name, colour, style in entries:
        entry = legend_entry(plain(name), group=name, marker={"symbol": style.symbol, "size": 8, "color": colour})
        figure.add_trace(entry.update(mode="lines+markers", line={"color": colour, "dash": style.dash}))
    lines = [(view.reference, _REFERENCE, "dot", "x-thin-open")]
    lines += [(view.best, _TRUTH + " alone", "solid", "line-ew-open")] if view.best is not None else []
    lines += [(view.start.scores, START, "dash", "star")] if view.start is not None else []
    for values, name, dash, symbol in lines:
        figure.add_scatter(
            x=names, y=values, mode="lines+markers", name=name, line={"color": LINE, "dash": dash, "width": 1.5},
            marker={"symbol": symbol, "size": 10, "color": LINE}, hoverinfo="name+y",
        )  # fmt: skip
    figure.update_layout(layout(theme=theme, height=540, title=view.title, subtitle=view.subtitle))
    return figure.update_xaxes(axis(), type="category").update_yaxes(axis(), title_text="score")
