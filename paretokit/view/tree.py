"""What guided decoding looked at: every candidate of every step, with what it scored on each objective.

One panel per objective: steps to the right, the score of the text so far upwards, lines from a candidate to those that
go on from it. Imports: plotly, `decoding.tree`, `errors`, `view.theme`, `view.front_view`.
"""

from typing import NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from paretokit.decoding.tree import Candidate, GuidedGeneration
from paretokit.errors import DataError
from paretokit.view.events import prompt_line
from paretokit.view.front_view import plural
from paretokit.view.theme import DOMINATED, Theme, axis, folded, layout, nth_style, plain

_PATH, _KEPT, _LEFT = "the text", "kept for a while", "not taken"


class NodeView(NamedTuple):
    """One candidate."""

    step: int
    parent: int  # the place of the candidate that it goes on from, -1: the prompt
    scores: tuple[float, ...]  # [m]
    kind: str  # "the text", "kept for a while" or "not taken"
    hover: str  # with <br> between lines, escaped


class TreeView(NamedTuple):
    """What the figure of a tree shows."""

    objectives: tuple[str, ...]
    nodes: tuple[NodeView, ...]
    title: str
    subtitle: str
    alt: str


def tree_view(made: GuidedGeneration) -> TreeView:
    """Return what there is to see of a guided response. Raises `DataError` where no step was completed."""
    if not made.tree:
        raise DataError("tree: found a response without any step, expected one that was decoded. Let it take a step.")
    on_path = {id(node) for node in made.path}
    nodes = tuple(
        NodeView(
            node.step,
            node.parent,
            node.scores,
            _PATH if id(node) in on_path else _KEPT if node.kept else _LEFT,
            _hover(node, made.objectives),
        )
        for node in made.tree
    )
    steps = plural(len(made.steps), "step")
    weights = made.guide_weights[-1]
    listed = ", ".join(f"{name} {weight:.2f}" for name, weight in zip(made.objectives, weights, strict=True))
    moved = len(set(made.guide_weights)) > 1
    scores = ", ".join(f"{name} {score:.2f}" for name, score in zip(made.objectives, made.scores, strict=True))
    return TreeView(
        objectives=made.objectives,
        nodes=nodes,
        title=f"{plural(len(nodes), 'candidate')} in {plural(max(node.step for node in nodes), 'step')}",
        subtitle=f"guided by {made.guide} · weights {'at the last step ' if moved else ''}{listed} · {ending(made.reason)}",
        alt=f"Guided decoding of '{prompt_line(made.prompt)}': a text of {steps} that scores {scores}.",
    )


def draw_tree(view: TreeView, *, theme: Theme = "auto") -> go.Figure:
    """Return the figure: what became the text is filled and joined, what was left is hollow."""
    return tree_panels(view).update_layout(layout(theme=theme, height=480, title=view.title, subtitle=view.subtitle, top=80))


def tree_panels(view: TreeView) -> go.Figure:
    """Return the panels with what they show, before the figure has a title and a size."""
    count = len(view.objectives)
    figure = make_subplots(rows=1, cols=count, horizontal_spacing=0.2 / count if count > 1 else 0)
    for column in range(count):
        for trace in tree_traces(view, column):
            figure.add_trace(trace, row=1, col=column + 1)
        title = f"{plain(view.objectives[column])}, of the text so far"
        figure.update_yaxes(axis(), title_text=title, row=1, col=column + 1)
        figure.update_xaxes(axis(), title_text="step", dtick=1, row=1, col=column + 1)
    return figure


def tree_traces(view: TreeView, column: int) -> list[go.Scatter]:
    """Return the lines between candidates and the candidates of each kind, on one objective: as many for every view."""
    style = nth_style(0)
    found = []
    for kind, width, colour in ((_LEFT, 1, DOMINATED), (_KEPT, 1.5, style.colour), (_PATH, 3, style.colour)):
        nodes = [node for node in view.nodes if node.kind == kind]
        x: list[float | None] = []
        y: list[float | None] = []
        for node in nodes:
            if node.parent >= 0:
                parent = view.nodes[node.parent]
                x += [parent.step, node.step, None]
                y += [parent.scores[column], node.scores[column], None]
        named = {"legendgroup": kind, "name": kind}
        lines = {"color": colour, "width": width}
        found.append(go.Scatter(x=x, y=y, mode="lines", line=lines, hoverinfo="skip", showlegend=False, **named))
        marker = {
            "size": 11 if kind == _PATH else 8,
            "symbol": style.symbol if kind == _PATH else f"{style.symbol}-open",
            "color": colour,
            "line": {"width": 1.5, "color": colour},
        }
        found.append(
            go.Scatter(
                x=[node.step for node in nodes],
                y=[node.scores[column] for node in nodes],
                mode="markers",
                marker=marker,
                hovertext=[node.hover for node in nodes],
                hoverinfo="text",
                showlegend=column == 0 and bool(nodes),
                **named,
            )
        )
    return found


def _hover(node: Candidate, objectives: tuple[str, ...]) -> str:
    scores = [f"{plain(name)} {score:.3f}" for name, score in zip(objectives, node.scores, strict=True)]
    ending = " · ends the text" if node.ended else " · cut off" if node.capped else ""
    number = f"step {node.step}, candidate {node.number + 1}{ending}"
    return "<br>".join([folded(node.text) or "(nothing)", *scores, f"utility {node.utility:.3f}", number])


def ending(reason: str) -> str:
    """Return in words why a guided text is not longer.

    >>> ending("max_steps")
    'cut off after the most steps allowed'
    """
    return {
        "end": "the text ended by itself",
        "max_steps": "cut off after the most steps allowed",
        "max_new_tokens": "cut off after the most tokens allowed",
        "stopped": "stopped before its end",
    }[reason]
