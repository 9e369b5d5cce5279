"""What the user does on the page of a Studio, as calls of its session: any thread, and over in milliseconds.

What goes wrong in a handler is shown in the panel, since the browser would swallow it.
Imports: `session`, `screen`, `events`, `live_front`, `work`, `errors`, `texts`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from paretokit.errors import DataError
from paretokit.texts import Prompt
from paretokit.view.events import trouble
from paretokit.view.live_front import point_at
from paretokit.view.screen import Handlers, Screen
from paretokit.view.session import Session
from paretokit.view.work import FRONT_LABEL, is_training


def _handled(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def handle(self: "Pressed", *arguments: Any) -> None:
        if self.screen is not None and self.screen.closed:
            return
        try:
            method(self, *arguments)
        except Exception as error:
            self.session.publish("trouble", trouble(method.__name__, error))

    return handle


class Pressed:
    """The handlers of one Studio. `handlers` are for its screen, which `wire` joins to the rest of them.

    `shown()` is called when the page has shown what was drawn last.
    """

    def __init__(self, session: Session, *, shown: Callable[[], object]) -> None:
        self.session = session
        self.screen: Any = None  # a `Screen`, from `wire` on
        self._shown, self._views = shown, 0

    @property
    def handlers(self) -> Handlers:
        """What the screen's controls call."""
        return Handlers(
            weights_moved=self.slider_moved,
            train_pressed=self.train_pressed,
            pause_pressed=self.pause_pressed,
            stop_pressed=self.stop_pressed,
            whole_front_pressed=self.whole_front_pressed,
            next_step_pressed=self.next_step_pressed,
            start_again_pressed=self.start_again_pressed,
        )

    def wire(self, screen: Screen) -> None:
        """Hear what is done with the controls of a screen."""
        self.screen = screen
        screen.prompt.observe(lambda change: self.prompt_chosen(screen.prompts[change["new"]]), "value")
        screen.own_prompt.observe(lambda change: self.prompt_chosen(change["new"]), "value")
        screen.tab.observe(lambda change: self.tab_chosen(change["new"]), "value")
        screen.points.observe(lambda change: self.row_chosen(change["new"]), "selected")
        screen.run_list.observe(lambda change: self.row_chosen(change["new"]), "selected")
        screen.hide.on_click(lambda _: self.hide_pressed())
        screen.restore.on_click(lambda _: self.restore_pressed())
        screen.probe.on_msg(lambda _, content, __: self.probed(content))
        screen.front.on_points(self.point_clicked)

    @_handled
    def slider_moved(self, weights: tuple[float, ...]) -> None:
        """A weight was moved, and the others with it."""
        self.session.move(weights)

    @_handled
    def train_pressed(self) -> None:
        """Train, unless something trains already."""
        if any(not job.ended and is_training(job) for job in self.session.worker.jobs()):
            return  # the button is disabled by then, but a second click may be under way; Python's train() queues
        self.session.train(weights=self.screen.weights.weights, **self.screen.controls.settings)

    @_handled
    def pause_pressed(self) -> None:
        """Pause, or resume what is paused."""
        paused = any(job.paused for job in self.session.worker.jobs())
        self.session.resume() if paused else self.session.pause()

    @_handled
    def stop_pressed(self) -> None:
        """Stop what runs and what waits."""
        self.session.stop()

    @_handled
    def whole_front_pressed(self) -> None:
        """Draw the whole front of a policy with heads, unless it is being drawn."""
        if not any(not job.ended and job.label.startswith(FRONT_LABEL) for job in self.session.worker.jobs()):
            self.session.draw_whole_front(None)

    @_handled
    def next_step_pressed(self) -> None:
        """Write a step of the text at the weights of the sliders, unless one is being written."""
        steps = self.session.guided("next_step")
        if steps.written.state != "writing":  # a second click may be under way
            steps.next_step(self.screen.weights.weights, candidates=self.screen.candidates)

    @_handled
    def start_again_pressed(self) -> None:
        """Drop the text that was written step by step."""
        self.session.guided("start_again").start_again()

    @_handled
    def hide_pressed(self) -> None:
        """Take the selected run off the front."""
        self.session.hide(self._chosen())

    @_handled
    def restore_pressed(self) -> None:
        """Put the selected run back on the front."""
        self.session.restore(self._chosen())

    @_handled
    def prompt_chosen(self, prompt: Prompt) -> None:
        """A prompt was chosen from the list, or written; an empty one is none."""
        if prompt:
            chat = [{"role": "user", "content": prompt}]  # as the data are: a text alone would be continued, not answered
            own = isinstance(prompt, str) and not isinstance(self.session.prompts[0], str)
            self.session.sample(self.screen.weights.weights, prompt=chat if own else prompt, after=0.0)

    @_handled
    def row_chosen(self, key: str) -> None:
        """A row was selected in a table, or none any more."""
        if (key or None) != self.session.shelf.selected:
            self.session.select(key or None, weights=self.screen.weights.weights)

    @_handled
    def point_clicked(self, trace: int, chosen: Sequence[int]) -> None:
        """Points of the live front were clicked."""
        point = point_at(self.session.shelf.board.view, trace, chosen[0]) if chosen else None
        if point is not None and point.runs:
            self.session.select(point.runs[-1], weights=self.screen.weights.weights)

    @_handled
    def tab_chosen(self, name: str) -> None:
        """Another of the boxes below the front was chosen."""
        self.screen.show_tab(name)
        self._attached()  # a figure that was out of sight missed what was drawn

    @_handled
    def probed(self, content: Mapping[str, Any]) -> None:
        """The probe tells what only the browser knows."""
        if content.get("released"):
            self.session.let_go()
            return
        if (frame := content.get("drawn")) is not None:
            if frame == self.screen.probe.frame:
                self._shown()
            return
        self.session.publish("probe", dict(content))
        if content.get("attached"):
            self._attached()

    def _attached(self) -> None:
        self._views += 1
        self.session.publish("attached", self._views)

    def _chosen(self) -> str:
        if self.session.shelf.selected is None:
            raise DataError("runs: found no selected run, expected one. Select a row of the list first.")
        return self.session.shelf.selected
