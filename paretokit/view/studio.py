"""`Studio`: sliders, training and a live front in a notebook cell; every action is a method too.

What the user does is posted to a session, whose one worker does it; what happens comes back as values that one thread
draws, at most five times a second. So a slider answers at once, and nothing is written by two threads.
Imports: `session`, `panels`, `parts`, `live_figure`, `live_front`, `live_curves`, `words`, `snapshot`, `report`.
"""

import atexit
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from time import monotonic
from typing import Any
from weakref import WeakValueDictionary

import ipywidgets as widgets
import plotly.graph_objects as go
from IPython.core.getipython import get_ipython
from IPython.display import HTML, display

from paretokit.errors import DataError
from paretokit.experiments.front import Front
from paretokit.experiments.store import Run, Store
from paretokit.maths.simplex import resolve as resolve_weights
from paretokit.models.policy import Policy
from paretokit.preferences.records import Preferences
from paretokit.texts import Prompt
from paretokit.training.config import TrainConfig
from paretokit.training.methods import methods
from paretokit.training.records import StepRecord
from paretokit.view import plot, words
from paretokit.view.bus import Renderer
from paretokit.view.front_figure import draw_front
from paretokit.view.jobs import ENDED, Job, Request
from paretokit.view.live_curves import conflict_columns, conflict_skeleton, curves_columns, curves_skeleton
from paretokit.view.live_figure import LiveFigure
from paretokit.view.live_front import Now, columns, point_at, shape, skeleton
from paretokit.view.panels import ControlPanel, WeightPanel
from paretokit.view.parts import Probe, Stamp, Status, Table
from paretokit.view.report import write_front
from paretokit.view.session import Progress, Session, Texts, Trouble, prompt_line, trouble
from paretokit.view.snapshot import snapshot_html
from paretokit.view.stamp import commit, stamp, stamp_text
from paretokit.view.theme import Theme

_HOLD = 10.0  # seconds after `display` in which figures wait for their view: what is sent to half a view is an error there
_OF_CELL: "WeakValueDictionary[str, Studio]" = WeakValueDictionary()  # a cell that runs again closes what it made before


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

    Its methods do what the buttons do and return at once; a `Job` can be waited for. Interrupting the kernel does not
    stop work in the background: `stop()` does, within a step.

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
        self._job: Job[Any] | None = None
        self._progress: Progress | None = None
        self._texts: Texts | None = None
        self._trouble: Trouble | None = None
        self._theme: Theme = "auto"
        self._handle: Any = None
        self._drawn_views = 0
        self._hold_until = 0.0
        self._commit = commit()
        self._build(self.session.last_weights())
        self._renderer = Renderer(self._draw, name="paretokit-render", failed=self._failed_to_draw)
        self._publish = self._renderer.put
        self._publish("front", self.session.board)
        for key, value in early:
            self._publish(key, value)
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
        return dict(zip(self.session.objectives, self._weights.weights, strict=True))

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs of this policy on these data, oldest first, hidden ones too."""
        return self.session.runs

    @property
    def front(self) -> Front | None:
        """The front of the visible runs; None until one has figures."""
        return self.session.board.front

    @property
    def texts(self) -> Texts | None:
        """The answers that were sampled last."""
        return self._texts

    def set_weights(self, weights: Mapping[str, float] | Sequence[float]) -> Request[Texts]:
        """Move the sliders and sample a text at these weights. Raises `WeightsError` for weights that are none."""
        vector = resolve_weights(weights, self.session.objectives)
        self._weights.set(vector)
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
        settings = {name: self._controls.settings[name] if value is None else value for name, value in given.items()}
        job = self.session.train(weights=self.weights if weights is None else weights, **settings)
        if weights is not None:
            self._weights.set(resolve_weights(weights, self.session.objectives))
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

    def hide(self, run: str | Run) -> None:
        """Take a run off the front. Nothing is deleted; `restore` brings it back."""
        self.session.hide(_id(run))

    def restore(self, run: str | Run) -> None:
        """Put a hidden run back on the front."""
        self.session.restore(_id(run))

    def select(self, run: str | Run | None) -> None:
        """Show the curves and texts of a run; None: those of the newest run, and of the one nearest to the weights."""
        self.session.select(None if run is None else _id(run))
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
        return draw_front(self.session.board.view, theme=theme)

    def curves_figure(self, *, theme: Theme = "auto") -> go.Figure:
        """Return the curves of the visible runs as a plain figure. Raises `DataError` where there is none."""
        return plot.curves(self._visible(), theme=theme)

    def conflict_figure(self, *, theme: Theme = "auto") -> go.Figure:
        """Return the gradient conflict of the visible runs as a plain figure. Raises `DataError` where there is none."""
        return plot.conflict(self._visible(), theme=theme)

    def text_table(self) -> str:
        """Return the answers before and after as HTML."""
        return words.texts_html(self._texts)

    def snapshot(self) -> str:
        """Return the Studio as one piece of HTML without script: front, points, texts and stamp."""
        return snapshot_html(self.session.board, self._texts, stamp=self._stamp_text())

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
        self._hold_until = monotonic() + _HOLD
        display(self.box)
        self._handle = display(HTML(self.snapshot()), display_id=True)

    # What is on the page.

    def _build(self, weights: tuple[float, ...]) -> None:
        session, view = self.session, self.session.board.view
        self._methods = tuple(dict.fromkeys([*methods(), *(run.spec.method for run in session.runs)]))
        self._probe, self._status, self._stamp = Probe(figures=3), Status(), Stamp(text=self._stamp_text())
        self._weights = WeightPanel(session.objectives, weights, changed=self._weights_moved)
        self._controls = ControlPanel(
            methods=tuple(methods()), steps=session.config.steps, seed=session.config.seed,
            train=self._train_pressed, pause=self._pause_pressed, stop=self._stop_pressed,
        )  # fmt: skip
        self._stale, self._error, self._heading, self._reading, self._text = (widgets.HTML() for _ in range(5))
        self._live_front = LiveFigure(skeleton(view, self._methods))
        self._live_curves = LiveFigure(curves_skeleton(session.objectives))
        self._live_conflict = LiveFigure(conflict_skeleton(session.objectives))
        self._points = Table(label="points of the front", columns=words.point_columns(view))
        self._run_list = Table(label="runs", columns=words.RUN_COLUMNS, note="Select a run for its curves, or to hide it.")
        small = {"width": "auto"}
        self._hide = widgets.Button(description="Hide", icon="eye-slash", tooltip="take the selected run off", layout=small)
        self._restore = widgets.Button(description="Restore", icon="eye", tooltip="put the selected run back", layout=small)
        self._prompts = {prompt_line(prompt): prompt for prompt in session.prompts}
        self._prompt = widgets.Dropdown(
            options=[(line if len(line) < 90 else line[:87] + "...", line) for line in self._prompts], description="prompt",
            tooltip="what the policies answer", layout={"width": "auto", "flex": "1 1 300px"},
        )  # fmt: skip
        self._own_prompt = widgets.Text(
            placeholder="or a prompt of your own, then Enter", continuous_update=False, description="own",
            tooltip="a prompt of your own", layout={"width": "auto", "flex": "1 1 300px"},
        )  # fmt: skip
        tabs = {"Curves": [self._live_curves], "Gradient conflict": [self._live_conflict]}
        tabs["Runs"] = [widgets.HBox([self._hide, self._restore]), self._run_list]
        self._tabs = {name: widgets.VBox(children) for name, children in tabs.items()}
        self._tab = widgets.ToggleButtons(options=list(tabs), tooltips=[f"show: {name}" for name in tabs])
        self._show_tab("Curves")
        controls = widgets.VBox([self._weights.box, self._controls.box, self._status, self._stale, self._error])
        front = widgets.VBox([self._probe, self._heading, self._live_front, self._reading, self._points])
        controls.add_class("paretokit-controls")
        front.add_class("paretokit-main")
        top = widgets.HBox([controls, front]).add_class("paretokit-top")
        asked = widgets.HBox([self._prompt, self._own_prompt], layout={"flex_flow": "row wrap"})
        below = [widgets.HTML("<h3>One answer, before and after</h3>"), asked, self._text, self._tab, *self._tabs.values()]
        self.box = widgets.VBox([top, *below, self._stamp]).add_class("paretokit-studio")

    def _wire(self) -> None:
        self._prompt.observe(lambda change: self._prompt_chosen(self._prompts[change["new"]]), "value")
        self._own_prompt.observe(lambda change: self._prompt_chosen(change["new"]), "value")
        self._tab.observe(lambda change: self._tab_chosen(change["new"]), "value")
        self._points.observe(lambda change: self._row_chosen(change["new"]), "selected")
        self._run_list.observe(lambda change: self._row_chosen(change["new"]), "selected")
        self._hide.on_click(lambda _: self._hide_pressed())
        self._restore.on_click(lambda _: self._restore_pressed())
        self._probe.on_msg(lambda _, content, __: self._probed(content))
        for number, trace in enumerate(self._live_front.data):
            trace.on_click(lambda _, points, __, number=number: self._point_clicked(number, points.point_inds))

    # What the user does: any thread, and over in milliseconds.

    @_handled
    def _train_pressed(self) -> None:
        if any(not job.ended and job.label != "figures before training" for job in self.session.worker.jobs()):
            return  # the button is disabled by then, but a second click may be under way; Python's train() queues
        self.train()

    @_handled
    def _pause_pressed(self) -> None:
        paused = any(job._pause.is_set() for job in self.session.worker.jobs())
        self.resume() if paused else self.pause()

    @_handled
    def _stop_pressed(self) -> None:
        self.stop()

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
        if (key or None) != self.session.selected:
            self.select(key or None)

    @_handled
    def _point_clicked(self, trace: int, chosen: Sequence[int]) -> None:
        point = point_at(self.session.board.view, trace, chosen[0]) if chosen else None
        if point is not None and point.runs:
            self.select(point.runs[-1])

    @_handled
    def _probed(self, content: Mapping[str, Any]) -> None:
        for button in (self._controls.train, self._controls.pause, self._controls.stop):
            button.send_state("tooltip")  # their clicks are then heard while a cell runs, see notebooks/LOG.md
        self._publish("probe", dict(content))
        if content.get("attached"):
            self._drawn_views += 1
            self._publish("attached", self._drawn_views)

    def _weights_moved(self, weights: tuple[float, ...]) -> Request[Texts]:
        self._publish("weights", weights)
        if self.session.selected is not None:
            self.session.select(None)
        return self.session.sample(weights)

    def _show_tab(self, name: str) -> None:
        for label, box in self._tabs.items():
            box.layout.display = "" if label == name else "none"

    @_handled
    def _tab_chosen(self, name: str) -> None:
        self._show_tab(name)
        self._drawn_views += 1
        self._publish("attached", self._drawn_views)  # a figure that was out of sight missed what was drawn

    def _chosen(self) -> str:
        if self.session.selected is None:
            raise DataError("runs: found no selected run, expected one. Select a row of the list first.")
        return self.session.selected

    def _note_and(self, action: str, act: Callable[[Job[Any]], None]) -> None:
        for job in self.session.worker.jobs():
            act(job)
        self.session.note(action)
        self._publish("asked", action)

    # What is drawn: on the drawing thread only.

    def _draw(self, events: Mapping[str, Any]) -> None:
        if "trouble" in events:
            self._trouble = events["trouble"]
            self._error.value = words.trouble_html(self._trouble)
        if "progress" in events:
            self._progress = events["progress"]
        if "texts" in events:
            self._texts = events["texts"]
            self._text.value = words.texts_html(self._texts)
        if "job" in events:
            self._draw_job(events["job"])
        if "probe" in events:
            self._theme = "dark" if events["probe"]["dark"] else "light"
            self._set_width(int(events["probe"]["width"]))
        if "attached" in events:
            self._hold_until = 0.0
        if {"front", "progress", "probe"} & set(events):
            self._draw_tables()
            if monotonic() >= self._hold_until:
                self._draw_front()
                self._draw_lines()
        if {"front", "weights", "job"} & set(events):
            self._stale.value = _badge(words.stale_text(self._weights.weights, self.session.board))
        self._draw_status()
        if "attached" in events:
            for figure in (self._live_front, self._live_curves, self._live_conflict):
                figure.draw_again()

    def _draw_job(self, job: Job[Any]) -> None:
        self._job = job
        if job.state == "running" and self._trouble is not None:
            self._trouble = None
            self._error.value = ""
        if job.exception is not None:
            self._trouble = Trouble(job.label, f"{type(job.exception).__name__}: {job.exception}", job.traceback or "")
            self._error.value = words.trouble_html(self._trouble)
        if job.state in ENDED:
            self._stamp.text = self._stamp_text()
            if self._handle is not None:
                self._handle.update(HTML(self.snapshot()))

    def _draw_status(self) -> None:
        jobs = self.session.worker.jobs()
        training = [job for job in jobs if job.label != "figures before training"]
        job = jobs[0] if jobs else self._job
        answered = None if self._texts is None else self._texts.seconds
        self._status.text = words.status_line(job, self._progress, waiting=len(training[1:]), answered=answered)
        self._controls.train.disabled = bool(training)
        paused = any(job._pause.is_set() for job in jobs)
        self._controls.pause.description, self._controls.pause.icon = ("Resume", "play") if paused else ("Pause", "pause")
        done = 0 if self._progress is None else len(self._progress.records) / self._progress.steps
        self._controls.bar.value = done

    def _draw_front(self) -> None:
        board = self.session.board
        now = self._now()
        found = columns(board.view, methods=self._methods, now=now, selected=self.session.selected)
        self._live_front.draw(found, shape(board.view, now=now, theme=self._theme))

    def _draw_tables(self) -> None:
        board = self.session.board
        self._heading.value = words.heading_html(board)
        self._reading.value = words.reading_html(board.view)
        self._points.rows = words.point_rows(board.view)
        self._run_list.rows = words.run_rows(board)
        for table in (self._points, self._run_list):
            table.selected = self.session.selected or ""

    def _draw_lines(self) -> None:
        label, records = self._shown_records()
        objectives = self.session.objectives
        ink = shape(self.session.board.view, now=None, theme=self._theme)["font_color"]
        self._live_curves.draw(curves_columns(label, records, objectives=objectives), {"font_color": ink})
        self._live_conflict.draw(conflict_columns(label, records, objectives=objectives), {"font_color": ink})

    def _shown_records(self) -> tuple[str, tuple[StepRecord, ...]]:
        """The selected run, else the one that trains, else the newest that is visible."""
        selected = [run for run in self.runs if run.id == self.session.selected]
        if not selected and self._progress is not None and not self._progress.ended:
            return self._progress.label, self._progress.records
        found = selected or [run for run in self.runs if run.id not in self.session.hidden]
        return (found[-1].spec.label, found[-1].records) if found else ("", ())

    def _now(self) -> Now | None:
        progress = self._progress
        if progress is None or progress.ended:
            return None
        looks = progress.looks
        return Now(progress.label, progress.label.split()[0], tuple(s for s, _ in looks), tuple(scores for _, scores in looks))

    def _set_width(self, width: int) -> None:
        if width < 100:  # hidden, or not laid out yet
            return
        self._live_front.draw({}, {"width": width})
        whole = max(width, 300) if width < 700 else width + 350  # below the front there is the room of the controls too
        for figure in (self._live_curves, self._live_conflict):
            figure.draw({}, {"width": whole})

    def _failed_to_draw(self, error: Exception) -> None:
        self._error.value = words.trouble_html(trouble("drawing", error))

    def _visible(self) -> list[Run]:
        shown = [run for run in self.runs if run.id not in self.session.hidden and run.records]
        if not shown:
            raise DataError("Studio: found no visible run, expected at least one. Train first, or restore a run.")
        return shown

    def _stamp_text(self) -> str:
        shown = [run for run in self.runs if run.id not in self.session.hidden]
        return stamp_text(stamp(shown)) if shown else stamp_text({**self._commit, "runs": "none yet"})


def _badge(text: str) -> str:
    return f'<span class="paretokit-badge">{text}</span>' if text else ""


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
