"""The part of a Studio that writes a text step by step: its buttons, the text so far, and the tree of candidates.

Buttons and text stand below the sliders, the tree below the front. Outputs are written by `draw` alone, on the drawing
thread. Imports: ipywidgets, `events`, `live_figure`, `live_tree`, `parts`, `steps`, `stepwise`, `theme`.
"""

from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from paretokit.view.events import Written
from paretokit.view.live_figure import LiveFigure
from paretokit.view.live_tree import tree_columns, tree_shape, tree_skeleton
from paretokit.view.parts import Library, Status
from paretokit.view.steps import steps_html, steps_line, tree_html
from paretokit.view.stepwise import CANDIDATES
from paretokit.view.theme import Theme


class StepsPanel:
    """`box` holds buttons and text, `tree` the figure with its heading; what they show is a `Written`."""

    def __init__(
        self,
        written: Written,
        *,
        library: Library,
        next_step: Callable[[], Any],
        start_again: Callable[[], Any],
    ) -> None:
        self._written = written
        button = {"width": "auto", "flex": "1 1 80px"}
        self.next = widgets.Button(
            description="Next step", icon="step-forward", layout=button,
            tooltip="write one step: of a few candidates the one that is best at these weights",
        )  # fmt: skip
        self.again = widgets.Button(
            description="Start again", icon="undo", layout=button,
            tooltip="drop this text; the next step begins one for the prompt that is chosen",
        )  # fmt: skip
        self.candidates = widgets.BoundedIntText(
            value=CANDIDATES, min=1, max=64, description="candidates", layout={"width": "auto"},
            tooltip="how many candidates each step has, from the next text on", style={"description_width": "76px"},
        )  # fmt: skip
        self.next.on_click(lambda _: next_step())
        self.again.on_click(lambda _: start_again())
        self.line, self.text, self.reading = Status(), widgets.HTML(), widgets.HTML()
        self.figure = LiveFigure(tree_skeleton(written.objectives), library=library)
        buttons = widgets.HBox([self.next, self.again])
        heading = widgets.HTML("<h3>Step by step</h3>")
        self.box = widgets.VBox([heading, self.candidates, buttons, self.line, self.text])
        candidates = widgets.HTML("<h3>Candidates of each step</h3>")
        self.tree = widgets.VBox([candidates, self.figure, self.reading], layout={"margin": "10px 0 0"})
        self.draw(written)

    @property
    def inputs(self) -> list[widgets.Widget]:
        """What the user can change."""
        return [self.next, self.again, self.candidates, self.figure]

    def draw(self, written: Written) -> None:
        """Show a text in words, and what can be done with it."""
        self._written = written
        self.line.text, self.text.value, self.reading.value = steps_line(written), steps_html(written), tree_html(written)
        self.next.disabled = written.state in ("writing", "ended")

    def draw_figure(self, *, theme: Theme) -> None:
        """Show its candidates."""
        made, objectives = self._written.made, self._written.objectives
        shape = tree_shape(made, objectives=objectives, theme=theme)
        self.figure.draw(tree_columns(made, objectives=objectives), shape=shape)
