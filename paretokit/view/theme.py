"""Colours, marker shapes and dashes: one fixed look per method, readable on white and on black, never colour alone.

Colours are those of Okabe and Ito (2008), chosen to stay apart for colour-blind readers. Imports: plotly.
"""

from collections.abc import Iterable
from html import escape
from textwrap import shorten, wrap
from typing import Any, Literal, NamedTuple

import plotly.graph_objects as go

Theme = Literal["auto", "light", "dark"]

INK = {"auto": "#777777", "light": "#24292f", "dark": "#e6edf3"}  # text; "auto" is readable, if softer, on both
PAPER = {"light": "#ffffff", "dark": "#111111"}  # what the figure is assumed to lie on
GRID = "rgba(128,128,128,0.22)"
LINE = "#808080"  # axes, the start point, the true front
DOMINATED = "#a6a6a6"
CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["sendChartToCloud"], "responsive": True}

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "pentagon", "hexagram")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_KNOWN = ("raco", "cagrad", "linear", "pcgrad", "mgda", "upgrad", "modpo", "amopo", "mah-dpo", "mah-raco")


class Style(NamedTuple):
    """How one method, or one objective, looks in every figure."""

    colour: str
    symbol: str
    dash: str


def nth_style(index: int) -> Style:
    """Return the look number `index`; no two of the first 56 are alike.

    >>> nth_style(0)
    Style(colour='#0072B2', symbol='circle', dash='solid')
    """
    return Style(
        _COLOURS[index % len(_COLOURS)],
        _SYMBOLS[index % len(_SYMBOLS)],
        _DASHES[index % len(_DASHES)],
    )


def method_styles(methods: Iterable[str]) -> dict[str, Style]:
    """Return a look for each method; a known method looks the same in every figure.

    >>> method_styles(["linear", "mine"])["linear"] == method_styles(["linear"])["linear"]
    True
    """
    names = list(dict.fromkeys(methods))
    places = {name: _KNOWN.index(name) for name in names if name in _KNOWN}
    free = (index for index in range(len(_KNOWN) + len(names)) if index not in places.values())
    return {name: nth_style(places[name] if name in places else next(free)) for name in names}


def transparent(colour: str, opacity: float) -> str:
    """Return a #rrggbb colour with an opacity.

    >>> transparent("#0072B2", 0.2)
    'rgba(0,114,178,0.2)'
    """
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def plain(text: str) -> str:
    """Return text that plotly shows as it stands: its HTML tags and entities have no effect.

    >>> plain("<b>&")
    '&lt;b&gt;&amp;'
    """
    return escape(str(text), quote=False)


def folded(text: str, *, characters: int = 160, width: int = 56) -> str:
    """Return the beginning of a text for a hover label: on one line each `width` characters, escaped.

    >>> folded("one two <three>", width=8)
    'one two<br>&lt;three&gt;'
    """
    return "<br>".join(plain(line) for line in wrap(shorten(text, characters, placeholder=" ..."), width))


def layout(*, theme: Theme, height: int, title: str, subtitle: str, bottom: int = 90, top: int = 90) -> go.Layout:
    """Return the layout that all figures share: transparent, legend below, closest hover, no fixed width."""
    ink = INK[theme]
    return go.Layout(
        template=go.layout.Template(),
        title={
            "text": plain(title),
            "subtitle": {"text": plain(subtitle), "font": {"size": 12, "color": ink}},
            "font": {"size": 16},
            "x": 0, "xref": "container", "xanchor": "left", "pad": {"l": 12},
            "y": 1 - 26 / height, "yref": "container", "yanchor": "bottom",
        },
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": ink, "size": 12, "family": "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"},
        hovermode="closest",
        hoverlabel={"align": "left", "namelength": -1, "font": {"size": 12}},
        legend={
            "orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yref": "container", "yanchor": "bottom",
        },
        margin={"l": 60, "r": 20, "t": top, "b": bottom},
        height=height,
        autosize=True,
    )  # fmt: skip


def axis() -> dict[str, Any]:
    """Return what all axes share."""
    return {
        "gridcolor": GRID, "linecolor": LINE, "showline": True, "zeroline": False, "ticks": "outside",
        "tickcolor": LINE, "automargin": True,
    }  # fmt: skip
