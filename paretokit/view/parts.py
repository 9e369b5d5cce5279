"""The few widgets of our own: what ipywidgets does not have. Each is a class of traits and a small file in `static/`.

Imports: anywidget, traitlets.
"""

from pathlib import Path

import anywidget
import traitlets

_STATIC = Path(__file__).parent / "static"


class Probe(anywidget.AnyWidget):
    """Shows nothing; sends {"attached": bool, "width": pixels, "whole": pixels, "dark": bool} whenever one of them changes.

    `width` is that of its own place, `whole` that of the Studio. It is attached once `figures` figures are drawn there.
    """

    _esm = _STATIC / "probe.js"
    _css = _STATIC / "studio.css"
    figures = traitlets.Int(0).tag(sync=True)


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
