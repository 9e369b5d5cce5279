"""The live figure: drawn by one thread while a browser writes on others, and drawn again for a page that knows nothing."""

import sys
import threading
from typing import Any

import plotly.graph_objects as go
import pytest
from plotly.basedatatypes import Undefined
from support.waits import LONG

from paretokit.view.live_figure import LiveFigure
from paretokit.view.parts import Library


class Page:
    """A page that has just been opened: it shows the figure as it was constructed, and does what it is told from then on."""

    def __init__(self, figure: LiveFigure, monkeypatch: pytest.MonkeyPatch) -> None:
        self.messages = 0
        self.traces: list[dict[str, Any]] = [{} for _ in figure.data]
        self.layout: dict[str, Any] = {}
        for name in ("restyle", "relayout", "addTraces", "moveTraces", "deleteTraces", "animate"):
            monkeypatch.setattr(figure, f"_send_{name}_msg", self._unexpected(name))
        monkeypatch.setattr(figure, "_send_update_msg", self._update)

    def _unexpected(self, name):
        def send(*arguments: Any, **options: Any) -> None:
            raise AssertionError(f"a {name} message: {arguments} {options}")

        return send

    def _update(self, restyle_data, relayout_data, trace_indexes=None, source_view_id=None) -> None:
        self.messages += 1
        for key, values in restyle_data.items():
            for place, trace in enumerate(trace_indexes):
                value = values[place % len(values)] if isinstance(values, list) else values
                if value is not Undefined:
                    self.traces[trace][key] = value
        self.layout |= relayout_data


def figure(*, traces: int = 3) -> LiveFigure:
    return LiveFigure(go.Figure([go.Scatter(x=[], y=[], mode="markers") for _ in range(traces)]))


def listed(value):
    return None if value is None else [item for item in value]  # noqa: C416 (tuples and arrays alike)


def test_what_is_drawn_is_held():
    live = figure()
    live.draw({0: {"x": [1, 2], "y": [3, 4], "marker_color": ["#000000", "#ffffff"]}, 2: {"x": [5], "y": [6]}})
    assert listed(live.data[0].x) == [1, 2]
    assert listed(live.data[0].marker.color) == ["#000000", "#ffffff"]
    assert listed(live.data[1].x) == []
    assert listed(live.data[2].y) == [6]


def sent_bytes(widget: Any) -> int:
    """How much of it goes to the page when it is opened."""
    return sum(len(str(value)) for value in widget.get_state().values())


def test_figures_share_one_library_and_are_small_without_it():
    """anywidget gives up a widget for good that needs more than two seconds to load, as three of 5 MB do on a busy machine."""
    library = Library()
    assert sent_bytes(library) > 4_000_000
    assert library.version
    for _ in range(2):
        live = LiveFigure(go.Figure(go.Scatter(x=[1], y=[2])), library=library)
        assert live.get_state()["_library"] == f"IPY_MODEL_{library.model_id}"
        assert sent_bytes(live) < 50_000


def test_a_figure_that_carries_its_library_is_seen():
    """The planted failure."""
    assert sent_bytes(go.FigureWidget()) > 4_000_000


def test_columns_and_layout_are_one_message(monkeypatch):
    live = figure()
    page = Page(live, monkeypatch)
    live.draw({0: {"x": [1], "y": [2]}, 1: {"x": [3], "y": [4]}}, shape={"width": 800, "xaxis_range": [0, 1]})
    assert page.messages == 1
    assert [listed(trace.get("x")) for trace in page.traces] == [[1], [3], None]
    assert page.layout == {"width": 800, "xaxis.range": (0, 1)} or page.layout == {"width": 800, "xaxis.range": [0, 1]}


def test_the_same_again_sends_nothing(monkeypatch):
    live = figure()
    live.draw({0: {"x": [1], "y": [2]}}, shape={"width": 800})
    page = Page(live, monkeypatch)
    live.draw({0: {"x": [1], "y": [2]}}, shape={"width": 800})
    assert page.messages == 0  # why `draw_again` exists


def test_drawing_again_tells_a_new_page_everything(monkeypatch):
    live = figure()
    live.draw(
        {0: {"x": [1], "y": [2]}, 1: {"x": [3], "y": [4]}}, shape={"width": 800, "xaxis_range": [0, 1], "font_color": "#e6edf3"}
    )
    live.draw({1: {"x": [30], "hovertext": ["a"]}}, shape={"width": 900})
    page = Page(live, monkeypatch)
    live.draw_again()
    assert page.messages == 2
    shown = [{key: listed(value) for key, value in trace.items()} for trace in page.traces]
    assert shown == [{"x": [1], "y": [2]}, {"x": [30], "y": [4], "hovertext": ["a"]}, {}]
    assert {key: listed(value) if key == "xaxis.range" else value for key, value in page.layout.items()} == {
        "width": 900, "xaxis.range": [0, 1], "font.color": "#e6edf3",
    }  # fmt: skip
    assert listed(live.data[1].x) == [30]
    assert (live.layout.width, tuple(live.layout.xaxis.range), live.layout.font.color) == (900, (0, 1), "#e6edf3")


def test_drawing_again_before_anything_was_drawn_is_quiet(monkeypatch):
    live = figure()
    page = Page(live, monkeypatch)
    live.draw_again()
    assert page.messages == 0


@pytest.mark.parametrize(
    "columns", [{0: {"colour": ["#000000"]}}, {0: {"marker_colour": "#000000"}}, {7: {"x": [1]}}, {0: {"x": 5}}]
)
def test_unknown_columns_are_refused_and_spoil_nothing(columns):
    live = figure()
    live.draw({0: {"x": [1], "y": [2]}})
    with pytest.raises((ValueError, IndexError)):
        live.draw(columns)
    live.draw({0: {"x": [10], "y": [20]}})
    live.draw_again()
    assert listed(live.data[0].x) == [10]
    assert not live._in_batch_mode


def test_an_unknown_part_of_the_layout_is_refused():
    live = figure()
    with pytest.raises(ValueError, match="xaxis9_colour"):
        live.draw({}, shape={"xaxis9_colour": 1})


def test_no_button_sends_the_chart_anywhere():
    live = figure()
    assert "sendChartToCloud" in live._config["modeBarButtonsToRemove"]
    assert live._config["displaylogo"] is False


def clicked(live: LiveFigure, trace: int, *points: int) -> None:
    """What the browser sends when points are clicked."""
    state = {"alt": False, "ctrl": False, "meta": False, "shift": False, "button": 0, "buttons": 1}
    at = {
        "trace_indexes": [trace] * len(points),
        "point_indexes": list(points),
        "xs": [0] * len(points),
        "ys": [0] * len(points),
    }
    live.set_state(
        {"_js2py_pointsCallback": {"event_type": "plotly_click", "points": at, "device_state": state, "selector": None}}
    )


def test_a_click_tells_trace_and_points():
    live, seen = figure(), []
    live.on_points(lambda trace, indices: seen.append((trace, indices)))
    live.draw({2: {"x": [1, 2, 3], "y": [1, 2, 3]}})
    clicked(live, 2, 1)
    clicked(live, 0)
    assert [(trace, indices) for trace, indices in seen if indices] == [(2, [1])]


def test_a_browser_that_writes_meanwhile_harms_no_drawing():
    live = figure()
    layout_defaults = {"xaxis": {"range": [0, 1], "type": "linear"}, "yaxis": {"range": [0, 1]}, "height": 450}
    done, written, errors = threading.Event(), [0, 0], []

    def browse(place):
        try:
            while not done.is_set():
                number = written[place] = written[place] + 1
                delta = {**layout_defaults, "height": 400 + number % 50}
                live.set_state({"_js2py_layoutDelta": {"layout_delta": delta, "layout_edit_id": live._last_layout_edit_id}})
                state = [{"uid": live.data[0].uid, "marker": {"size": number % 9}}]
                live.set_state({"_js2py_traceDeltas": {"trace_deltas": state, "trace_edit_id": live._last_trace_edit_id}})
        except BaseException as error:
            errors.append(error)

    former = sys.getswitchinterval()
    threads = [threading.Thread(target=browse, args=(place,)) for place in range(2)]
    drawn = 0
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        while drawn < 300 or (min(written) < 100 and not errors):
            columns = {trace: {"x": [drawn, drawn + trace], "y": [drawn, -drawn]} for trace in range(3)}
            live.draw(columns, shape={"xaxis_range": [0, drawn + 1]})
            drawn += 1
        done.set()
        for thread in threads:
            thread.join(LONG)
    finally:
        done.set()
        sys.setswitchinterval(former)
    assert errors == []
    assert not any(thread.is_alive() for thread in threads)
    assert not live._in_batch_mode
    for trace in range(3):
        assert listed(live.data[trace].x) == [drawn - 1, drawn - 1 + trace]
        assert listed(live.data[trace].y) == [drawn - 1, 1 - drawn]
    assert tuple(live.layout.xaxis.range) == (0, drawn)


def test_set_state_waits_for_a_drawing_that_is_under_way():
    """The planted failure is a figure without the lock: its message would be handled in the middle of a batch."""

    def overlaps(live) -> bool:
        inside, gate, handled = threading.Event(), threading.Event(), threading.Event()
        live.data[0].on_change(lambda *_: (inside.set(), gate.wait(LONG)), "x")
        drawing = threading.Thread(target=lambda: live.draw({0: {"x": [1]}}))
        drawing.start()
        assert inside.wait(LONG)
        delta = {"layout_delta": {"height": 450}, "layout_edit_id": -1}
        browser = threading.Thread(target=lambda: (live.set_state({"_js2py_layoutDelta": delta}), handled.set()))
        browser.start()
        overlapped = handled.wait(0.2)
        gate.set()
        drawing.join(LONG)
        browser.join(LONG)
        assert handled.is_set()
        return overlapped

    class Unguarded(LiveFigure):
        def set_state(self, state):
            go.FigureWidget.set_state(self, state)

    assert not overlaps(figure())
    assert overlaps(Unguarded(go.Figure([go.Scatter(x=[], y=[])])))
