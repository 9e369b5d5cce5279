"""Assertions that several view tests share; `tests/view/test_checks.py` shows that each can fail."""

from html.parser import HTMLParser
from itertools import combinations
from typing import Any

import numpy as np
import plotly.graph_objects as go

_FROM_OUTSIDE = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src", "object": "data"}

# linear RGB as seen without the second and without the first kind of cones (Machado, Oliveira and Fernandes 2009)
DEUTERANOPIA = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))
PROTANOPIA = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))
_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def tags(html: str) -> list[tuple[str, dict[str, str | None]]]:
    """The tags of a page with their attributes, in order."""
    parser = _Tags()
    parser.feed(html)
    return parser.found


def assert_asks_for_nothing(html: str) -> None:
    """No tag of the page loads anything, and a policy forbids it to what the scripts might try."""
    found = tags(html)
    outside = [(tag, given[_FROM_OUTSIDE[tag]]) for tag, given in found if given.get(_FROM_OUTSIDE.get(tag, ""))]
    assert not outside, f"the page loads {outside}"
    policies = [given["content"] or "" for tag, given in found if given.get("http-equiv") == "Content-Security-Policy"]
    assert policies, "the page has no content security policy"
    assert "default-src 'none'" in policies[0], policies[0]
    assert "http" not in policies[0], policies[0]


def linear(colour: str) -> np.ndarray:
    """A #rrggbb colour as linear RGB."""
    values = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(first: str, second: str) -> float:
    """The contrast ratio of two colours (WCAG 2), from 1 to 21."""
    light, dark = sorted((float(linear(colour) @ (0.2126, 0.7152, 0.0722)) for colour in (first, second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def assert_tell_apart(colours: list[str], *, seen: Any, least: float) -> None:
    """Any two of the colours, as seen through a 3 x 3 matrix, are at least `least` apart in CIELAB."""

    def lab(colour: str) -> np.ndarray:
        xyz = np.array(_TO_XYZ) @ np.clip(np.array(seen) @ linear(colour), 0, 1) / (0.95047, 1.0, 1.08883)
        f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])

    for first, second in combinations(colours, 2):
        apart = float(np.linalg.norm(lab(first) - lab(second)))
        assert apart >= least, f"{first} and {second} are only {apart:.1f} apart"


def assert_legend_names_each_once(figure: go.Figure) -> None:
    """No name stands twice in a legend."""
    named = [
        (trace.legend, trace.name) for trace in figure.data if trace.showlegend is not False and trace.visible is not False
    ]
    assert len(named) == len(set(named)), f"the legend repeats {sorted(named, key=str)}"


def shown_text(figure: go.Figure) -> str:
    """All that a figure shows as text: titles, legend, hover labels."""
    return figure.to_json()
