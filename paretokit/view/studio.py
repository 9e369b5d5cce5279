"""`Studio`: sliders, training and a live front in a notebook cell; every action is a method too.

What the user does is posted to a session, whose one worker does it; what happens comes back as values that one thread
draws, at most five times a second. So a slider answers at once, and nothing is written by two threads.
Imports: `session`, `work`, `screen`, `bus`, `jobs`, `events`, `heads`, `plot`, `report`, `words`.
"""

import atexit
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from time import monotonic
from typing import Any
from weakref import WeakValueDictionary

import pandas as pd
import plotly.graph_objects as go
from IPython.core.getipython import get_ipython

from paretokit.errors import ConfigError, DataError
from paretokit.experiments.front import Front
from paretokit.experiments.store import Run, Store
from paretokit.maths.simplex import resolve as resolve_weights
from paretokit.models.policy import Policy
from paretokit.preferences.records import Preferences
from paretokit.texts import Prompt
from paretokit.training.config import TrainConfig
from paretokit.view import plot, words
from paretokit.view.bus import Renderer
from paretokit.view.events import Texts, trouble
from paretokit.view.front_figure import draw_front
from paretokit.view.heads import decoded_frame
from paretokit.view.jobs import Job, Request
from paretokit.view.live_front import point_at
from paretokit.view.report import write_front
from paretokit.view.screen import Handlers, Screen
from paretokit.view.session import Session
from paretokit.view.theme import Theme
from paretokit.view.work import FRONT_LABEL, is_training

_OF_CELL: "WeakValueDictionary[str, Studio]" = WeakValueDictionary()  # a cell that runs again closes what it made before


_SOON = ("texts", "trouble", "job", "asked")  # what a person waits for is drawn at once, what goes on by itself in its turn


def _handled(method: Callable[..., Any]) -> Callable[..., Any]:
    """A handler of the interface: what it raises is shown in the panel, since the browser would swallow it."""

    @wraps(method)
    def handle(self: "Studio", *arguments: Any) -> None:
        try:
            method(self, *arguments)
        except Exception as error:
            self._renderer.put("trouble", trouble(method.__name__.strip("_"), error))

    return handle


class Studio:
    """A panel to explore a trade-off: set weights, train, watch the front, read samples. Show it as a cell's last value.

    `policy` is not changed: each run trains a fork of it. With `store`, a folder, everything is kept, and a Studio on
    the same folder shows it again; without, runs live in a temporary folder until `close`. `config` defaults to what suits
    the policy, with one core left to the notebook; `heldout` as in `paretokit.train`.

    A policy with action heads (`load_policy(..., heads=[...])`) answers at any weights without training: its texts follow
    the sliders at once, `decode` returns them, and `draw_whole_front` draws all that its heads can reach.

    Its methods do what the buttons do and return at once, but for `decode`; a `Job` can be waited for. Interrupting the
    kernel does not stop work in the background: `stop()` does, within a step.

    >>> import paretokit as pk
    >>> config = pk.TrainConfig(steps=1, pairs_per_step=4, max_length=160, threads=1)
    >>> studio = pk.Studio(pk.load_policy("tiny"), pk.read_preferences("world:safety"), config=config)
    >>> run = studio.train(weights={"helpfulness": 0.3, "harmlessness": 0.7}).result()
    >>> run.state["state"], len(studio.front.points)
    ('done', 1)
    >>> studio.close()
    """

    def __init__(
        self,
        policy: Policy,
        preferences: Preferences,
        *,
        store: Store | str | Path | None = None,
        config: TrainConfig | None = None,
        heldout: int = 100,
    ) -> None:
        cell = _cell_id()
        if cell is not None and (former := _OF_CELL.pop(cell, None)) is not None:
            former.close()
        early: list[tuple[str, Any]] = []  # what is published before there is anything to draw on
        self._publish = lambda key, value: early.append((key, value))
        self.session = Session(
            policy,
            preferences,
            publish=lambda key, value: self._publish(key, value),
            store=store,
            config=config,
            heldout=heldout,
        )
        handlers = Handlers(
            self._slider_moved, self._train_pressed, self._pause_pressed, self._stop_pressed, self._whole_front_pressed
        )
        self.screen = Screen(self.session, handlers, weights=self.session.shelf.last_weights())
        self._renderer = Renderer(self.screen.draw, name="paretokit-render", failed=self.screen.failed)
        self._publish = self._put
        self._publish("front", self.session.shelf.board)
        for key, value in early:
            self._publish(key, value)
        self._views = 0
        self._wire()
        self._closed = False
        atexit.register(self.close)
        if cell is not None:
            _OF_CELL[cell] = self
        self.session.begin()
        self.session.sample(self.weights)

    # What a user calls.

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
        return self.screen.texts

    def set_weights(self, weights: Mapping[str, float] | Sequence[float]) -> Request[Texts]:
        """Move the sliders and sample a text at these weights. Raises `WeightsError` for weights that are none."""
        vector = resolve_weights(weights, self.session.objectives)
        self.screen.weights.set(vector)
        return self._weights_moved(vector)

    def train(
        self,
        *,
        weights: Mapping[str, float] | Sequence[float] | None = None,
        method: str | None = None,
        steps: int | None = None,
        seed: int | None = None,
    ) -> Job[Run]:
        """Queue a training and return its job; what is left out is read from the panel.

        Raises `WeightsError` and `ConfigError` now; what goes wrong later is the job's exception, and shown in red.
        """
        given = {"method": method, "steps": steps, "seed": seed}
        settings = {name: self.screen.controls.settings[name] if value is None else value for name, value in given.items()}
        job = self.session.train(weights=self.weights if weights is None else weights, **settings)
        if weights is not None:
            vector = resolve_weights(weights, self.session.objectives)
            self.screen.weights.set(vector)
            if self.session.policy.heads:  # the texts follow the sliders, whoever moves them
                self.session.sample(vector)
        return job

    def pause(self) -> None:
        """Let the training rest after its step; sliders stay live."""
        self._note_and("pause", lambda job: job.pause())

    def resume(self) -> None:
        """Let a paused training go on."""
        self._note_and("resume", lambda job: job.resume())

    def stop(self) -> None:
        """Stop the training after its step, and those that wait; what was learnt is kept, and `train` goes on from there."""
        self._note_and("stop", lambda job: job.stop())

    def sample(self, prompt: Prompt | None = None) -> Request[Texts]:
        """Sample answers to a prompt (default: the one chosen last) at the weights of the panel."""
        return self.session.sample(self.weights, prompt=prompt, after=0.0)

    def decode(
        self, *, weights: Mapping[str, float] | Sequence[float] | None = None, timeout: float | None = 60.0
    ) -> pd.DataFrame:
        """Move the sliders of a policy with heads (default: leave them) and return what it says at these weights to a few
        prompts: one row each, with `policy`, `prompt`, `text`, `ended`, the weights and, on a world, the scores.

        Blocks until it is decoded: where a training runs, until after its step. The policy is the selected run's, else the
        newest trained one's, else that before training. Raises `ConfigError` for a policy without heads, `WeightsError`
        and, after `timeout` seconds, `TimeoutError`.
        """
        request = self.session.decode(self.weights if weights is None else weights)
        if weights is not None:
            self.screen.weights.set(resolve_weights(weights, self.session.objectives))
        self._publish("weights", self.screen.weights.weights)
        texts = request.result(timeout)
        if texts is None:
            raise ConfigError("decode: the Studio was closed meanwhile. Make a new one on the same store.")
        return decoded_frame(texts)

    def draw_whole_front(self, *, run: str | Run | None = None) -> Job[Front | None]:
        """Decode a policy with heads at a grid of weightings, draw the curve of its scores into the front and return the job.

        `run` defaults to the selected run, else the newest trained one, else the policy before training. The job's result
        is a `Front` of its own, None if it was stopped; it waits for a training that runs. Raises `ConfigError` for a
        policy without heads and for data without scorers.
        """
        return self.session.draw_whole_front(None if run is None else _id(run))

    def hide(self, run: str | Run) -> None:
        """Take a run off the front. Nothing is deleted; `restore` brings it back."""
        self.session.hide(_id(run))

    def restore(self, run: str | Run) -> None:
        """Put a hidden run back on the front."""
        self.session.restore(_id(run))

    def select(self, run: str | Run | None) -> None:
        """Show the curves and texts of a run; None: those of the newest run, and of the one nearest to the weights."""
        self.session.shelf.select(None if run is None else _id(run))
        self.session.sample(self.weights, after=0.0)

    def wait(self, timeout: float | None = None) -> "Studio":
        """Block until all is done and drawn, and return the Studio. Raises `TimeoutError`; Ctrl-C stops what runs."""
        until = None if timeout is None else monotonic() + timeout
        while not self.session.worker.idle:
            for job in self.session.worker.jobs():
                job.wait(None if until is None else max(until - monotonic(), 0.0))
            threading.Event().wait(0.02)
            if until is not None and monotonic() > until:
                raise TimeoutError(f"Studio: still busy after {timeout:g} s. Wait longer, or stop it.")
        self._renderer.flush(60.0 if until is None else max(until - monotonic(), 0.1))
        return self

    def front_figure(self, *, theme: Theme = "auto") -> go.Figure:
        """Return the front as a plain figure."""
        return draw_front(self.session.shelf.board.view, theme=theme)

    def curves_figure(self, *, theme: Theme = "auto") -> go.Figure:
        """Return the curves of the visible runs as a plain figure. Raises `DataError` where there is none."""
        return plot.curves(self._visible(), theme=theme)

    def conflict_figure(self, *, theme: Theme = "auto") -> go.Figure:
        """Return the gradient conflict of the visible runs as a plain figure. Raises `DataError` where there is none."""
        return plot.conflict(self._visible(), theme=theme)

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

    def close(self) -> None:
        """Stop what runs and end both threads. The widgets stay on the page as they are."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        self.session.close()
        self._renderer.close()

    def _ipython_display_(self) -> None:
        self.screen.show()

    def _wire(self) -> None:
        self.screen.prompt.observe(lambda change: self._prompt_chosen(self.screen.prompts[change["new"]]), "value")
        self.screen.own_prompt.observe(lambda change: self._prompt_chosen(change["new"]), "value")
        self.screen.tab.observe(lambda change: self._tab_chosen(change["new"]), "value")
        self.screen.points.observe(lambda change: self._row_chosen(change["new"]), "selected")
        self.screen.run_list.observe(lambda change: self._row_chosen(change["new"]), "selected")
        self.screen.hide.on_click(lambda _: self._hide_pressed())
        self.screen.restore.on_click(lambda _: self._restore_pressed())
        self.screen.probe.on_msg(lambda _, content, __: self._probed(content))
        self.screen.front.on_points(self._point_clicked)

    # What the user does: any thread, and over in milliseconds.

    def _put(self, key: str, value: Any) -> None:
        self._renderer.put(key, value, soon=key.split()[0] in _SOON)

    @_handled
    def _slider_moved(self, weights: tuple[float, ...]) -> None:
        self._weights_moved(weights)

    @_handled
    def _train_pressed(self) -> None:
        if any(not job.ended and is_training(job) for job in self.session.worker.jobs()):
            return  # the button is disabled by then, but a second click may be under way; Python's train() queues
        self.train()

    @_handled
    def _pause_pressed(self) -> None:
        paused = any(job.paused for job in self.session.worker.jobs())
        self.resume() if paused else self.pause()

    @_handled
    def _stop_pressed(self) -> None:
        self.stop()

    @_handled
    def _whole_front_pressed(self) -> None:
        if not any(not job.ended and job.label.startswith(FRONT_LABEL) for job in self.session.worker.jobs()):
            self.draw_whole_front()

    @_handled
    def _hide_pressed(self) -> None:
        self.hide(self._chosen())

    @_handled
    def _restore_pressed(self) -> None:
        self.restore(self._chosen())

    @_handled
    def _prompt_chosen(self, prompt: Prompt) -> None:
        if prompt:
            chat = [{"role": "user", "content": prompt}]  # as the data are: a text alone would be continued, not answered
            own = isinstance(prompt, str) and not isinstance(self.session.prompts[0], str)
            self.session.sample(self.weights, prompt=chat if own else prompt, after=0.0)

    @_handled
    def _row_chosen(self, key: str) -> None:
        if (key or None) != self.session.shelf.selected:
            self.select(key or None)

    @_handled
    def _point_clicked(self, trace: int, chosen: Sequence[int]) -> None:
        point = point_at(self.session.shelf.board.view, trace, chosen[0]) if chosen else None
        if point is not None and point.runs:
            self.select(point.runs[-1])

    @_handled
    def _probed(self, content: Mapping[str, Any]) -> None:
        if content.get("released"):
            self.session.let_go()
            return
        if (frame := content.get("drawn")) is not None:
            if frame == self.screen.probe.frame:
                self._renderer.shown()
            return
        self._publish("probe", dict(content))
        if content.get("attached"):
            self._views += 1
            self._publish("attached", self._views)

    def _weights_moved(self, weights: tuple[float, ...]) -> Request[Texts]:
        if self.session.shelf.selected is not None and not self.session.policy.heads:
            self.session.shelf.select(None)
        request = self.session.sample(weights)
        self._publish("weights", weights)  # after the text, which is waited for
        return request

    @_handled
    def _tab_chosen(self, name: str) -> None:
        self.screen.show_tab(name)
        self._views += 1
        self._publish("attached", self._views)  # a figure that was out of sight missed what was drawn

    def _chosen(self) -> str:
        if self.session.shelf.selected is None:
            raise DataError("runs: found no selected run, expected one. Select a row of the list first.")
        return self.session.shelf.selected

    def _note_and(self, action: str, act: Callable[[Job[Any]], None]) -> None:
        for job in self.session.worker.jobs():
            act(job)
        self.session.shelf.note(action)
        self._publish("asked", action)

    def _visible(self) -> list[Run]:
        shown = self.session.shelf.visible()
        if not shown:
            raise DataError("Studio: found no visible run, expected at least one. Train first, or restore a run.")
        return shown


def _id(run: str | Run) -> str:
    return run if isinstance(run, str) else run.id


def _cell_id() -> str | None:
    """The id of the notebook cell that runs, where the front end tells it; None elsewhere."""
    shell = get_ipython()
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return None
    parent = kernel.get_parent("shell") or {}
    return parent.get("metadata", {}).get("cellId")
