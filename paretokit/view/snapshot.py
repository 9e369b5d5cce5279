"""What stays when the kernel is gone: a Studio as plain HTML, with the front as an inline SVG. No script, no network.

It shows the same values as the live views. Imports: `events`, `front_points`, `front_view`, `words`, `theme`.
"""

from collections.abc import Sequence
from html import escape

from paretokit.view.events import Board, Texts
from paretokit.view.front_points import heads_look
from paretokit.view.front_view import FrontView, PanelView, PointView
from paretokit.view.theme import DOMINATED, LINE, method_styles
from paretokit.view.words import MARKS, OPEN, decoded_html, point_columns, point_rows, reading_html, texts_html

_SIDE, _LEFT, _BELOW = 260, 52, 40  # pixels: of a panel, of the room for its labels


def snapshot_html(board: Board, texts: Texts | None, *, stamp: str, closed: bool = False) -> str:
    """Return a Studio as folded HTML: front, points, last texts and stamp. That of a closed Studio is unfolded."""
    view = board.view
    picture = "".join(_svg(view, panel) for panel in view.panels)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row["cells"]) + "</tr>" for row in point_rows(view))
    head = "".join(f"<th>{escape(name)}</th>" for name in point_columns(view))
    legend = " ".join(
        f'<span style="color:{style.colour}">{MARKS[style.symbol]}</span> {escape(method)}'
        for method, style in method_styles(view.methods).items()
    )
    if view.heads is not None:
        legend += f' <span style="color:{heads_look(view.heads, method_styles(view.methods))[0].colour}">{OPEN}</span> '
        legend += escape(view.heads.legend)
    fold, why = ("<details open>", "the Studio is closed") if closed else ("<details>", "stays when the kernel is gone")
    return (
        f"{fold}<summary>Snapshot: {escape(view.title)} ({why})</summary>"
        f"<p>{escape(view.subtitle)}</p><div>{picture}</div><p>{legend}</p>{reading_html(view)}"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f"{'' if texts is None else texts_html(texts)}{decoded_html(texts)}<pre>{escape(stamp)}</pre></details>"
    )


def _svg(view: FrontView, panel: PanelView) -> str:
    """One panel: points with their intervals, the start as a star, the true front as a line, the reference as a cross."""
    points = [*view.points, *([] if view.start is None else [view.start]), *(view.heads.points if view.heads else ())]
    place = _Scale(view, panel, points)
    styles = method_styles(view.methods)
    marks = []
    if panel.boundary is not None:
        left, below = view.reference[panel.x], view.reference[panel.y]
        chain = [(left, panel.boundary[0][1]), *panel.boundary, (panel.boundary[-1][0], below)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(x, y) for x, y in chain))
        marks.append(f'<polyline points="{line}" fill="none" stroke="{LINE}"/>')
    x, y = place(view.reference[panel.x], view.reference[panel.y])
    marks.append(_text("✕", x, y + 5, colour=LINE))
    if view.heads is not None:
        look, _ = heads_look(view.heads, styles)
        if len(view.objectives) == 2:
            line = " ".join("{:.1f},{:.1f}".format(*place(p.scores[panel.x], p.scores[panel.y])) for p in view.heads.points)
            marks.append(f'<polyline points="{line}" fill="none" stroke="{look.colour}"/>')
        for point in view.heads.points:
            marks += _point(point, panel, place, mark=OPEN, colour=look.colour)
    for point in sorted(view.points, key=lambda point: point.nondominated):
        marks += _point(point, panel, place, mark=MARKS[styles[point.method].symbol], colour=styles[point.method].colour)
    if view.start is not None:
        marks += _point(view.start, panel, place, mark="★", colour=LINE, start=True)
    bottom = _SIDE + 16
    names = escape(view.objectives[panel.x]), escape(view.objectives[panel.y])
    frame = f"M{_LEFT} 8V{_SIDE}H{_LEFT + _SIDE - 8}"
    return (
        f'<svg role="img" aria-label="{names[1]} against {names[0]}" width="{_LEFT + _SIDE}" height="{_SIDE + _BELOW}" '
        f'style="max-width:100%"><path d="{frame}" fill="none" stroke="{LINE}"/>{"".join(marks)}'
        + _text(f"{place.low_x:.2f}", _LEFT, bottom, colour=LINE)
        + _text(f"{place.high_x:.2f}", _LEFT + _SIDE - 20, bottom, colour=LINE)
        + _text(names[0], _LEFT + _SIDE / 2, bottom + 14, colour=LINE)
        + _text(f"{place.low_y:.2f}", _LEFT - 22, _SIDE, colour=LINE)
        + _text(f"{place.high_y:.2f}", _LEFT - 22, 16, colour=LINE)
        + f'<text transform="translate(12 {_SIDE / 2}) rotate(-90)" text-anchor="middle" font-size="12" '
        f'fill="{LINE}">{names[1]}</text></svg>'
    )


class _Scale:
    """From scores to pixels, so that every point, interval, the reference and the true front are inside."""

    def __init__(self, view: FrontView, panel: PanelView, points: Sequence[PointView]) -> None:
        self.low_x, self.high_x = self._ends(view, panel.x, points)
        self.low_y, self.high_y = self._ends(view, panel.y, points)

    @staticmethod
    def _ends(view: FrontView, index: int, points: Sequence[PointView]) -> tuple[float, float]:
        values = [view.reference[index], *([] if view.best is None else [view.best[index]])]
        for point in points:
            values += [end[index] for end in (point.low, point.scores, point.high) if end is not None]
        margin = 0.05 * max(max(values) - min(values), 1e-3)
        return min(values) - margin, max(values) + margin

    def __call__(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.low_x) / (self.high_x - self.low_x)
        up = (y - self.low_y) / (self.high_y - self.low_y)
        return _LEFT + across * (_SIDE - 8), 8 + (1 - up) * (_SIDE - 8)


def _point(point: PointView, panel: PanelView, place: _Scale, *, mark: str, colour: str, start: bool = False) -> list[str]:
    x, y = place(point.scores[panel.x], point.scores[panel.y])
    found = []
    if point.low is not None and point.high is not None:
        (left, below), (right, above) = (place(end[panel.x], end[panel.y]) for end in (point.low, point.high))
        bars = f"M{left:.1f} {y:.1f}H{right:.1f}M{x:.1f} {below:.1f}V{above:.1f}"
        found.append(f'<path d="{bars}" stroke="{colour}" stroke-opacity="0.5" fill="none"/>')
    shown = colour if point.nondominated or start else DOMINATED
    return [*found, _text(mark, x, y + 5, colour=shown, size=15)]


def _text(text: str, x: float, y: float, *, colour: str, size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" font-size="{size}" fill="{colour}">{text}</text>'
