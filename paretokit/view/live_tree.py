"""The live tree of a text that is written step by step: a fixed set of traces, and what its candidates put into them.

It shows what `paretokit.plot.tree` shows, with the objectives in the order of the sliders.
Imports: plotly, `view.tree`, `view.theme`.
"""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from paretokit.decoding.tree import GuidedGeneration
from paretokit.view.theme import INK, Theme, layout, plain
from paretokit.view.tree import TreeView, tree_panels, tree_traces, tree_view

_HEIGHT = 300
_ROOM = 4  # steps that there is room for from the beginning


def tree_skeleton(objectives: Sequence[str]) -> go.Figure:
    """Return the empty figure: a panel for each objective, with a trace for each part of a tree."""
    figure = tree_panels(_empty(objectives))
    shared = layout(theme="auto", height=_HEIGHT, title="", subtitle="", top=16, bottom=84)
    figure.update_layout(shared, title=None, uirevision="kept", width=700, autosize=False)
    for column, name in enumerate(objectives, start=1):  # that it is the score of the text so far is said in words
        figure.update_yaxes(title_text=plain(name), row=1, col=column)
    return figure.update_layout(legend={"itemclick": False, "itemdoubleclick": False})


def tree_columns(made: GuidedGeneration | None, *, objectives: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Return what the traces of `tree_skeleton` hold for a text; nothing for None, and for one without steps."""
    view = _empty(objectives) if made is None or not made.tree else _ordered(tree_view(made), objectives)
    traces = [trace for column in range(len(objectives)) for trace in tree_traces(view, column)]
    return {number: _column(trace) for number, trace in enumerate(traces)}


def tree_shape(made: GuidedGeneration | None, *, objectives: Sequence[str], theme: Theme) -> dict[str, Any]:
    """Return the layout that goes with the columns: room for the steps and the scores, and the colour of text."""
    nodes = () if made is None else made.tree
    steps = max((node.step for node in nodes), default=0)
    found: dict[str, Any] = {"font_color": INK[theme]}
    for place, name in enumerate(objectives):
        suffix = "" if place == 0 else str(place + 1)
        scores = [node.scores[made.objectives.index(name)] for node in nodes] if made is not None else []
        found |= {f"xaxis{suffix}_range": [0.5, max(steps, _ROOM) + 0.5], f"yaxis{suffix}_range": _around(scores)}
    return found


def _around(scores: Sequence[float]) -> list[float]:
    """The ends of an axis that holds the scores, with a margin."""
    if not scores:
        return [0.0, 1.0]
    low, high = min(scores), max(scores)
    margin = 0.1 * (high - low) or 0.1 * abs(high) or 0.1
    return [low - margin, high + margin]


def _empty(objectives: Sequence[str]) -> TreeView:
    return TreeView(tuple(objectives), (), "", "", "")


def _ordered(view: TreeView, objectives: Sequence[str]) -> TreeView:
    """The view with its objectives in another order."""
    places = [view.objectives.index(name) for name in objectives]
    nodes = tuple(node._replace(scores=tuple(node.scores[place] for place in places)) for node in view.nodes)
    return view._replace(objectives=tuple(objectives), nodes=nodes)


def _column(trace: go.Scatter) -> dict[str, Any]:
    found: dict[str, Any] = {"x": list(trace.x or ()), "y": list(trace.y or ())}
    if trace.mode == "markers":
        found |= {"hovertext": list(trace.hovertext or ()), "showlegend": trace.showlegend}
    return found
