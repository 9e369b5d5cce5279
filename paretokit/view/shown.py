"""What a Studio shows, as plain values, figures and files: for scripts, and for the cell after the panel.

Imports: `session`, `screen`, `events`, `front_figure`, `plot`, `report`, `theme`, `words`, `decoding.tree`, `experiments`,
`errors`.
"""

from pathlib import Path

import plotly.graph_objects as go

from paretokit.decoding.tree import GuidedGeneration
from paretokit.errors import DataError
from paretokit.experiments.front import Front
from paretokit.experiments.store import Run
from paretokit.view import plot, words
from paretokit.view.events import Texts
from paretokit.view.front_figure import draw_front
from paretokit.view.report import write_front
from paretokit.view.screen import Screen
from paretokit.view.session import Session
from paretokit.view.theme import Theme


class Shown:
    """The readable half of a `Studio`: nothing here changes anything."""

    session: Session
    screen: Screen

    @property
    def weights(self) -> dict[str, float]:
        """The weights that the sliders show, by objective."""
        return dict(zip(self.session.objectives, self.screen.weights.weights, strict=True))

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs of this policy on these data, oldest first, hidden ones too."""
        return self.session.shelf.runs

    @property
    def front(self) -> Front | None:
        """The front of the visible runs; None until one has figures."""
        return self.session.shelf.board.front

    @property
    def texts(self) -> Texts | None:
        """The answers that were sampled last."""
        return self.session.answers.told[1]

    @property
    def written(self) -> GuidedGeneration | None:
        """The text that `next_step` writes, with its steps, the weights that chose each, and all candidates; None before its
        first step. `reason` is "stopped" as long as it can go on. Raises `ConfigError` without a guide."""
        return self.session.guided("written").made

    def front_figure(self, *, theme: Theme = "auto") -> go.Figure:
        """Return the front as a plain figure."""
        return draw_front(self.session.shelf.board.view, theme=theme)

    def curves_figure(self, *, theme: Theme = "auto") -> go.Figure:
        """Return the curves of the visible runs as a plain figure. Raises `DataError` where there is none."""
        return plot.curves(self._visible(), theme=theme)

    def conflict_figure(self, *, theme: Theme = "auto") -> go.Figure:
        """Return the gradient conflict of the visible runs as a plain figure. Raises `DataError` where there is none."""
        return plot.conflict(self._visible(), theme=theme)

    def tree_figure(self, *, theme: Theme = "auto") -> go.Figure:
        """Return the candidates of `written` as a plain figure. Raises `DataError` before the first step, `ConfigError`
        without a guide."""
        made = self.session.guided("tree_figure").made
        if made is None:
            raise DataError("tree_figure: found no text, expected one with a step. Call next_step() first.")
        return plot.tree(made, theme=theme)

    def text_table(self) -> str:
        """Return the answers before and after as HTML."""
        return words.texts_html(self.screen.texts)

    def snapshot(self) -> str:
        """Return the Studio as one piece of HTML without script: front, points, texts and stamp."""
        return self.screen.snapshot()

    def export(self, path: str | Path) -> Path:
        """Write one HTML file with all figures and tables, which needs no network, and return its path."""
        shown = self._visible()
        if self.front is None:
            raise DataError("export: found no run with figures, expected at least one. Train first.")
        return write_front(self.front, runs=shown, path=Path(path), title=f"{shown[0].spec.preferences}: front")

    def _visible(self) -> list[Run]:
        shown = self.session.shelf.visible()
        if not shown:
            raise DataError("Studio: found no visible run, expected at least one. Train first, or restore a run.")
        return shown
