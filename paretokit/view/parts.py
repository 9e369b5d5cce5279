"""The few widgets of our own: what ipywidgets does not have. Each is a class of traits and a small file in `static/`.

Imports: anywidget, ipywidgets, plotly, traitlets.
"""

from functools import cache
from pathlib import Path

import anywidget
import plotly
import traitlets
from ipywidgets import Widget

_STATIC = Path(__file__).parent / "static"
_BUNDLE = Path(plotly.__file__).parent / "package_data" / "widgetbundle.js"


class Probe(anywidget.AnyWidget):
    """Shows nothing; sends {"attached": bool, "width": pixels, "whole": pixels, "dark": bool} whenever one of them changes.

    `width` is that of its own place, `whole` that of the Studio. It is attached once `figures` figures are drawn there.
    When a slider of the Studio is let go, it sends {"released": true}; and when the page has drawn all that was sent
    before `frame` was set, {"drawn": frame}.
    """

    _esm = _STATIC / "probe.js"
    _css = _STATIC / "studio.css"
    figures = traitlets.Int(0).tag(sync=True)
    frame = traitlets.Int(0).tag(sync=True)


class Table(anywidget.AnyWidget):
    """A table whose rows can be selected by mouse and keyboard.

    `rows`: {"key", "cells": [str], "muted": bool, "mark": str, "colour": "#rrggbb" or ""}; `selected`: a key, or "".
    """

    _esm = _STATIC / "table.js"
    label = traitlets.Unicode("").tag(sync=True)
    columns = traitlets.List(traitlets.Unicode()).tag(sync=True)
    rows = traitlets.List(traitlets.Dict()).tag(sync=True)
    selected = traitlets.Unicode("").tag(sync=True)
    note = traitlets.Unicode("").tag(sync=True)


class Status(anywidget.AnyWidget):
    """One line of text that a screen reader speaks when it changes."""

    _esm = _STATIC / "status.js"
    text = traitlets.Unicode("").tag(sync=True)


class Stamp(anywidget.AnyWidget):
    """A folded text with a button that copies it."""

    _esm = _STATIC / "stamp.js"
    text = traitlets.Unicode("").tag(sync=True)


class Library(anywidget.AnyWidget):
    """plotly's library for the figures of a page, `static/figure.js`: 5 MB, sent once instead of with each figure."""

    _esm = "export default {};"
    version = traitlets.Unicode(plotly.__version__).tag(sync=True)
    source = traitlets.Unicode().tag(sync=True)

    @traitlets.default("source")
    def _read(self) -> str:
        return _bundle()


@cache
def _bundle() -> str:
    """The library as text, once for all Studios of a process."""
    return _BUNDLE.read_text(encoding="utf-8")


def close_widgets(root: Widget) -> None:
    """Close a widget and all that belong to it: children, layouts, styles. ipywidgets itself closes one, and keeps the rest
    in memory for ever."""
    found, waiting = {id(root): root}, [root]
    while waiting:
        for value in vars(waiting.pop())["_trait_values"].values():
            for part in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(part, Widget) and id(part) not in found:
                    found[id(part)] = part
                    waiting.append(part)
    for widget in found.values():
        widget.close()
