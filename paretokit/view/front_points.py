"""The points of a front as plotly traces: markers by method, intervals, hover labels, legend entries.

Imports: plotly, `view.front_view`, `view.theme`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from paretokit.view.front_view import FrontView, HeadsView, PointView, number
from paretokit.view.theme import DOMINATED, LINE, Style, folded, method_styles, plain, transparent

START = "before training"
Place = Callable[[PointView], tuple[float | str, float | str]]
Bars = Callable[[PointView], tuple[tuple[float, float] | None, tuple[float, float] | None] | None]


def hover(view: FrontView, point: PointView) -> str:
    """Return the hover label of a point: method, weights, seeds, runs, scores with intervals, sample; escaped.

    The label says what the colour says, so that nothing hangs on colour alone.
    """
    lines = [f"<b>{plain(point.method)}</b>"]
    if point.weights is not None:
        pairs = zip(view.objectives, point.weights, strict=True)
        lines.append("weights: " + ", ".join(f"{plain(name)} {weight:.2f}" for name, weight in pairs))
    for index, name in enumerate(view.objectives):
        interval = ""
        if point.low is not None and point.high is not None:
            interval = f" [{number(point.low[index])}, {number(point.high[index])}]"
        lines.append(f"{plain(name)} <b>{number(point.scores[index])}</b>{interval}")
    if point.distance is not None:
        lines.append(f"distance to the true front {number(point.distance)}")
    if point.seeds:
        dominance = "not dominated" if point.nondominated else "dominated"
        lines.append(f"{'seed' if len(point.seeds) == 1 else 'seeds'} {plain(', '.join(point.seeds))} · {dominance}")
    if point.runs:
        listed = ", ".join(point.runs[:3]) + (f" and {len(point.runs) - 3} more" if len(point.runs) > 3 else "")
        lines.append(f"{'run' if len(point.runs) == 1 else 'runs'} {plain(listed)}")
    if point.text or point.prompt:
        lines += [f"<i>{folded(point.prompt)}</i>", folded(point.text) or "<i>(empty answer)</i>"]
    return "<br>".join(lines)


def point_traces(view: FrontView, *, place: Place, bars: Bars, named: bool) -> Iterator[go.Scatter]:
    """The start and, per method, its dominated points below its other points, where `place` and `bars` put them."""
    styles = method_styles(view.methods)
    for nondominated in (False, True):
        for method, style in styles.items():
            points = [p for p in view.points if p.method == method and p.nondominated is nondominated]
            marker = _marker(style, nondominated=nondominated)
            if points:
                yield _scatter(view, points, name=method, group=method, marker=marker, place=place, bars=bars)
    if named:
        for method, style in styles.items():
            yield legend_entry(plain(method), group=method, marker=_marker(style, nondominated=True))
        if any(not point.nondominated for point in view.points):
            faded = {"symbol": "circle", "size": 9, "color": DOMINATED, "opacity": 0.75}
            yield legend_entry("dominated", group="dominated", marker=faded)
    if view.start is not None:
        marker = {"symbol": "star", "size": 14, "color": LINE, "line": {"width": 0}}
        trace = _scatter(view, [view.start], name=START, group=START, marker=marker, place=place, bars=bars)
        yield trace.update(showlegend=named)


def heads_look(heads: HeadsView, styles: Mapping[str, Style]) -> tuple[Style, list[str]]:
    """Return the look of a curve of heads, that of the method, and the colour of each point: grey where dominated."""
    look = styles.get(heads.method, Style(LINE, "circle", "solid"))
    return look, [look.colour if point.nondominated else DOMINATED for point in heads.points]


def heads_trace(view: FrontView, heads: HeadsView, *, place: Place, bars: Bars, named: bool, joined: bool) -> go.Scatter:
    """The curve of a policy's heads: open marks, `joined` by a line in the order of the weightings."""
    look, colours = heads_look(heads, method_styles(view.methods))
    marker = {"symbol": f"{look.symbol}-open", "size": 9, "color": colours, "line": {"width": 2},
              "bars": transparent(look.colour, 0.4)}  # fmt: skip
    trace = _scatter(view, heads.points, name=heads.legend, group="heads", marker=marker, place=place, bars=bars)
    mode = "lines+markers" if joined else "markers"
    return trace.update(mode=mode, line={"color": look.colour, "width": 1.5}, showlegend=named)


def _scatter(
    view: FrontView,
    points: Sequence[PointView],
    *,
    name: str,
    group: str,
    marker: dict[str, Any],
    place: Place,
    bars: Bars,
) -> go.Scatter:
    places, ends = [place(point) for point in points], [bars(point) for point in points]
    error = {"thickness": 1.1, "width": 0, "color": marker.get("bars", LINE)}
    both = {}
    for side, key in enumerate(("error_x", "error_y")):
        lengths = [end[side] for end in ends if end is not None and end[side] is not None]
        if lengths and len(lengths) == len(points):
            below, above = zip(*lengths, strict=True)
            both[key] = {**error, "type": "data", "symmetric": False, "array": above, "arrayminus": below}
    return go.Scatter(
        x=[x for x, _ in places], y=[y for _, y in places], mode="markers", name=plain(name), legendgroup=group,
        showlegend=False, marker={key: value for key, value in marker.items() if key != "bars"},
        hovertext=[hover(view, point) for point in points], hoverinfo="text", **both,
    )  # fmt: skip


def _marker(style: Style, *, nondominated: bool) -> dict[str, Any]:
    fill = style.colour if nondominated else DOMINATED
    return {
        "symbol": style.symbol, "size": 11 if nondominated else 9,
        "color": fill, "opacity": 1 if nondominated else 0.75,
        "line": {"color": style.colour, "width": 1.5},
        "bars": transparent(style.colour, 0.6) if nondominated else transparent(DOMINATED, 0.4),
    }  # fmt: skip


def legend_entry(name: str, *, group: str, marker: dict[str, Any]) -> go.Scatter:
    """Return a trace without points that stands for a group in the legend."""
    kept = {key: value for key, value in marker.items() if key != "bars"}
    return go.Scatter(x=[None], y=[None], mode="markers", name=name, legendgroup=group, showlegend=True, marker=kept)
