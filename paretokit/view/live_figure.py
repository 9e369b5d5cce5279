"""A plotly figure in a notebook that one thread draws while the browser talks back on another.

plotly's FigureWidget guards nothing: a batch is one flag for all threads. Here drawing and what the browser sends are
kept apart by a lock. Imports: plotly, ipywidgets, `parts`, `theme`.
"""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import traitlets
from ipywidgets import widget_serialization

from paretokit.view.parts import Library
from paretokit.view.theme import CONFIG

Columns = Mapping[int, Mapping[str, Any]]  # number of a trace -> what to set in it, such as {"x": [...], "marker_size": [...]}
Shape = Mapping[str, Any]  # what to set in the layout, such as {"width": 800, "xaxis_range": [0, 1]}


class LiveFigure(go.FigureWidget):
    """A figure with a fixed number of traces, made once; `draw` changes what they hold. Figures may share a `library`.

    Until it is shown in a page it draws nothing there: what was drawn before is drawn again by `draw_again`.
    """

    _esm = Path(__file__).parent / "static" / "figure.js"
    _library = traitlets.Instance(Library).tag(sync=True, **widget_serialization)
    _live_lock: Any
    _drawn: Any  # what was drawn last: columns and shape

    def __init__(self, figure: go.Figure | None = None, *, library: Library | None = None) -> None:
        # before plotly's constructor, which guards attribute access
        object.__setattr__(self, "_live_lock", threading.RLock())
        object.__setattr__(self, "_drawn", ({}, {}))
        self._library = library or Library()
        super().__init__(figure)
        self._config = {**dict(self._config or {}), **CONFIG}

    def set_state(self, state: dict[str, Any]) -> None:
        """What the browser sends, on whichever thread it arrives."""
        with self._live_lock:
            super().set_state(state)

    def on_points(self, clicked: Callable[[int, list[int]], object]) -> None:
        """Call `clicked(trace, indices)` when points are clicked. It runs inside `set_state`, so it must only post."""
        traces: Any = self.data
        for number, trace in enumerate(traces):
            trace.on_click(lambda _, points, __, number=number: clicked(number, list(points.point_inds)))

    def draw(self, columns: Columns, *, shape: Shape | None = None) -> None:
        """Set whole columns of traces, and parts of the layout, in one message; for one drawing thread."""
        layout = {} if shape is None else shape
        with self._live_lock:
            traces, former = self._drawn
            kept = {number: {**traces.get(number, {}), **values} for number, values in columns.items()}
            self._put(columns, layout)
            object.__setattr__(self, "_drawn", ({**traces, **kept}, {**former, **layout}))

    def draw_again(self) -> None:
        """Draw what was drawn last in a page that has just been opened, or opened again.

        Such a page shows the figure as it was constructed, and plotly sends no value that it believes to be there; so
        the columns are emptied, and the layout changed, first.
        """
        with self._live_lock:
            traces, shape = self._drawn
            self._put(
                {number: {name: _emptied(value) for name, value in values.items()} for number, values in traces.items()},
                {name: _other(value) for name, value in shape.items()},
            )
            self._put(traces, shape)

    def _put(self, columns: Columns, layout: Shape) -> None:
        with self.batch_update():
            for number, values in columns.items():
                self.data[number].update(dict(values))
            if layout:
                self.update_layout(dict(layout))


def _emptied(value: Any) -> Any:
    """Nothing, in the shape of a value; plotly.js stumbles over columns that are not there."""
    return [] if isinstance(value, (list, tuple)) else None


def _other(value: Any) -> Any:
    """A valid value that is not this one; plotly.js stumbles over a width that is taken away."""
    if isinstance(value, (list, tuple)):
        return [part + 1 for part in value]
    return "#808081" if isinstance(value, str) else value + 1
