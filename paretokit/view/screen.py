"""What a Studio has on the page: its widgets, and how they are drawn from what happened.

Outputs are written by `Screen.draw` alone, on the drawing thread; inputs are written by the user. Drawing reads values of
the session and computes nothing but their looks. Imports: ipywidgets, `session`, `events`, `between`, `panels`,
`steps_panel`, `parts`, `live_figure`, `live_front`, `live_curves`, `stepwise`, `words`, `work`, `snapshot`, `stamp`.
"""

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, NamedTuple

import ipywidgets as widgets
from IPython.display import HTML, display

from paretokit.training.methods import methods
from paretokit.training.records import StepRecord
from paretokit.view import words
from paretokit.view.between import between
from paretokit.view.events import Progress, Texts, Trouble, prompt_line, trouble
from paretokit.view.jobs import ENDED, Job
from paretokit.view.live_curves import conflict_columns, conflict_skeleton, curves_columns, curves_skeleton
from paretokit.view.live_figure import LiveFigure
from paretokit.view.live_front import Now, between_columns, columns, shape, skeleton
from paretokit.view.panels import ControlPanel, HeadsPanel, WeightPanel
from paretokit.view.parts import Library, Probe, Stamp, Status, Table, close_widgets
from paretokit.view.session import Session, fitting
from paretokit.view.snapshot import snapshot_html
from paretokit.view.stamp import commit, stamp, stamp_text
from paretokit.view.steps_panel import StepsPanel
from paretokit.view.stepwise import CANDIDATES
from paretokit.view.theme import INK, Theme
from paretokit.view.work import FRONT_LABEL, is_training

_HOLD = 10.0  # seconds after `show` in which figures wait for their view: what is sent to half a view is an error there


class Handlers(NamedTuple):
    """What is called when the user does something; each returns in milliseconds."""

    weights_moved: Callable[[tuple[float, ...]], object]
    train_pressed: Callable[[], object]
    pause_pressed: Callable[[], object]
    stop_pressed: Callable[[], object]
    whole_front_pressed: Callable[[], object]
    next_step_pressed: Callable[[], object]
    start_again_pressed: Callable[[], object]


class Screen:
    """The widgets of a Studio, `box` around all of them; see the module's text."""

    def __init__(self, session: Session, handlers: Handlers, *, weights: tuple[float, ...]) -> None:
        self.session = session
        self.texts: Texts | None = None
        self._job: Job[Any] | None = None
        self._progress: Progress | None = None
        self._trouble: Trouble | None = None
        self._theme: Theme = "auto"
        self._handle: Any = None
        self.closed = False
        self._hold_until = 0.0
        self._commit = commit()
        self._build(handlers, weights)

    def show(self) -> None:
        """Display the widgets in the cell that runs, and below them a snapshot that stays when the kernel is gone; once
        closed, the snapshot alone."""
        if self.closed:
            display(HTML(self.snapshot()))
            return
        self._hold_until = monotonic() + _HOLD
        display(self.box)
        self._handle = display(HTML(self.snapshot()), display_id=True)
        self._free_inputs()

    @property
    def candidates(self) -> int:
        """How many candidates a step has, as the panel says."""
        return CANDIDATES if self.steps is None else int(self.steps.candidates.value)

    def snapshot(self) -> str:
        """Return what is shown as plain HTML."""
        return snapshot_html(self.session.shelf.board, self.texts, stamp=self._stamp_text(), closed=self.closed)

    def close(self) -> None:
        """Take the widgets off the page and out of memory. The snapshot stays in their place; drawing has ended by then."""
        self.closed = True
        close_widgets(self.box)
        if self._handle is not None:
            self._handle.update(HTML(self.snapshot()))

    def show_tab(self, name: str) -> None:
        """Show one of the boxes below the front."""
        for label, box in self._tabs.items():
            box.layout.display = "" if label == name else "none"

    def _build(self, handlers: Handlers, weights: tuple[float, ...]) -> None:
        session, view = self.session, self.session.shelf.board.view
        self._methods = tuple(dict.fromkeys([*methods(), *(run.spec.method for run in session.shelf.runs)]))
        figures = 3 if session.steps is None else 4
        self.probe, self.status, self._stamp = Probe(figures=figures), Status(), Stamp(text=self._stamp_text())
        self.weights = WeightPanel(session.objectives, weights, changed=handlers.weights_moved)
        self.controls = ControlPanel(
            methods=fitting(session.policy), steps=session.config.steps, seed=session.config.seed,
            train=handlers.train_pressed, pause=handlers.pause_pressed, stop=handlers.stop_pressed,
        )  # fmt: skip
        self.heads: HeadsPanel | None = None
        if session.policy.heads:
            self.heads = HeadsPanel(refused=session.no_front, draw=handlers.whole_front_pressed)
        self.stale, self.error, self.heading, self.reading, self.text = (widgets.HTML() for _ in range(5))
        library = Library()
        self.front = LiveFigure(skeleton(view, self._methods), library=library)
        self.curves = LiveFigure(curves_skeleton(session.objectives), library=library)
        self.conflict = LiveFigure(conflict_skeleton(session.objectives), library=library)
        self.steps: StepsPanel | None = None
        if session.steps is not None:
            self.steps = StepsPanel(
                session.steps.written, library=library,
                next_step=handlers.next_step_pressed, start_again=handlers.start_again_pressed,
            )  # fmt: skip
        self.points = Table(label="points of the front", columns=words.point_columns(view))
        self.run_list = Table(label="runs", columns=words.RUN_COLUMNS, note="Select a run for its curves, or to hide it.")
        small = {"width": "auto"}
        self.hide = widgets.Button(description="Hide", icon="eye-slash", tooltip="take the selected run off", layout=small)
        self.restore = widgets.Button(description="Restore", icon="eye", tooltip="put the selected run back", layout=small)
        self.prompts = {prompt_line(prompt): prompt for prompt in session.prompts}
        self.prompt = widgets.Dropdown(
            options=[(line if len(line) < 90 else line[:87] + "...", line) for line in self.prompts], description="prompt",
            tooltip="what the policies answer", layout={"width": "auto", "flex": "1 1 300px"},
        )  # fmt: skip
        self.own_prompt = widgets.Text(
            placeholder="or a prompt of your own, then Enter", continuous_update=False, description="own",
            tooltip="a prompt of your own", layout={"width": "auto", "flex": "1 1 300px"},
        )  # fmt: skip
        tabs: dict[str, list[widgets.Widget]] = {
            "Curves": [self.curves],
            "Gradient conflict": [self.conflict],
            "Runs": [widgets.HBox([self.hide, self.restore]), self.run_list],
        }
        self._tabs = {name: widgets.VBox(children) for name, children in tabs.items()}
        self.tab = widgets.ToggleButtons(options=list(tabs), tooltips=[f"show: {name}" for name in tabs])
        self.show_tab("Curves")
        controls = widgets.VBox([self.weights.box, self.controls.box, self.status, self.stale, self.error])
        front = widgets.VBox([self.probe, self.heading, self.front, self.reading, self.points])
        if self.heads is not None:
            controls.children = (*controls.children, self.heads.box)
        if self.steps is not None:
            controls.children, front.children = (*controls.children, self.steps.box), (*front.children, self.steps.tree)
        controls.add_class("paretokit-controls")
        front.add_class("paretokit-main")
        top = widgets.HBox([controls, front]).add_class("paretokit-top")
        asked = widgets.HBox([self.prompt, self.own_prompt], layout={"flex_flow": "row wrap"})
        below = [widgets.HTML("<h3>One answer, before and after</h3>"), asked, self.text, self.tab, *self._tabs.values()]
        self._inputs: list[widgets.Widget] = [
            *self.weights.sliders, *self.weights.numbers, *self.weights.locks, self.controls.method, self.controls.steps,
            self.controls.seed, self.controls.train, self.controls.pause, self.controls.stop, self.hide, self.restore,
            self.prompt, self.own_prompt, self.tab, self.points, self.run_list, self.probe, self.front,
            *([] if self.heads is None else [self.heads.draw]), *([] if self.steps is None else self.steps.inputs),
        ]  # fmt: skip
        self.box = widgets.VBox([top, *below, self._stamp]).add_class("paretokit-studio")

    # On the drawing thread only.

    def draw(self, events: Mapping[str, Any]) -> None:
        """Draw what happened: the newest value of each key, see `session`."""
        if "trouble" in events:
            self._trouble = events["trouble"]
            self.error.value = words.trouble_html(self._trouble)
        if "progress" in events:
            self._progress = events["progress"]
        if "texts" in events:
            self.texts = events["texts"]
            self.text.value = words.texts_html(self.texts)
            if self.heads is not None:
                self.heads.texts.value = words.decoded_html(self.texts)
        if "steps" in events and self.steps is not None:
            self.steps.draw(events["steps"])
        for job in (value for key, value in events.items() if key.startswith("job ")):
            self._draw_job(job)
        self._draw_status()
        if "probe" in events:
            self._theme = "dark" if events["probe"]["dark"] else "light"
            self._set_width(int(events["probe"]["width"]), int(events["probe"]["whole"]))
        if "attached" in events:
            self._hold_until = 0.0
        if {"front", "progress", "probe"} & set(events):
            self._draw_tables()
            if monotonic() >= self._hold_until:
                self._draw_front()
        if {"front", "progress", "probe", "attached"} & set(events) and monotonic() >= self._hold_until:
            self._draw_lines()
        elif "weights" in events and monotonic() >= self._hold_until:
            self.front.draw(between_columns(self.session.shelf.board.view, self._between()))
        if self.steps is not None and {"steps", "probe", "attached"} & set(events) and monotonic() >= self._hold_until:
            self.steps.draw_figure(theme=self._theme)
        if {"front", "weights"} & set(events):
            stale = "" if self.heads is not None else words.stale_text(self.weights.weights, self.session.shelf.board)
            self.stale.value = _badge(stale)
        if "attached" in events:
            for figure in (*self._beside, self.curves, self.conflict):
                figure.draw_again()
        self.probe.frame += 1  # last: when the page comes to it, it has drawn the rest
        self._free_inputs()

    def _free_inputs(self) -> None:
        """Let what the user does arrive where the browser sends it: at a subshell, which hears it while a cell runs.

        From 7.4 on ipykernel sends it to the shell that wrote to the widget last instead, which is busy while a cell
        runs. The mark by which it remembers that shell is taken away; other versions have none.
        """
        for widget in self._inputs:
            if widget.comm is not None:
                vars(widget.comm).pop("_reply_subshell_id", None)

    def _draw_job(self, job: Job[Any]) -> None:
        self._job = job
        if job.exception is not None:
            self._trouble = Trouble(job.label, f"{type(job.exception).__name__}: {job.exception}", job.traceback or "")
            self.error.value = words.trouble_html(self._trouble)
        if job.state in ENDED:
            self._stamp.text = self._stamp_text()
            if self._handle is not None:
                self._handle.update(HTML(self.snapshot()))

    def _draw_status(self) -> None:
        jobs = self.session.worker.jobs()
        training = [job for job in jobs if is_training(job)]
        job = jobs[0] if jobs else self._job
        answered = None if self.texts is None else self.texts.seconds
        self.status.text = words.status_line(job, self._progress, waiting=len(training[1:]), answered=answered)
        self.controls.train.disabled = bool(training)
        if self.heads is not None:
            drawing = any(job.label.startswith(FRONT_LABEL) for job in jobs)
            self.heads.draw.disabled = drawing or bool(self.heads.refused)
        paused = any(job.paused for job in jobs)
        self.controls.pause.description, self.controls.pause.icon = ("Resume", "play") if paused else ("Pause", "pause")
        done = 0 if self._progress is None else len(self._progress.records) / self._progress.steps
        self.controls.bar.value = done

    def _draw_front(self) -> None:
        board = self.session.shelf.board
        now = self._now()
        found = columns(
            board.view, methods=self._methods, now=now, selected=self.session.shelf.selected, between=self._between()
        )
        self.front.draw(found, shape=shape(board.view, now=now, theme=self._theme))

    def _between(self) -> tuple[float, ...] | None:
        if self.heads is not None:  # what is between is decoded, and need not be guessed
            return None
        return between(self.session.shelf.board.view, self.weights.weights, method=str(self.controls.method.value))

    def _draw_tables(self) -> None:
        board = self.session.shelf.board
        self.heading.value = words.heading_html(board)
        self.reading.value = words.reading_html(board.view)
        self.points.rows = words.point_rows(board.view)
        self.run_list.rows = words.run_rows(board)
        for table in (self.points, self.run_list):
            table.selected = self.session.shelf.selected or ""

    def _draw_lines(self) -> None:
        label, records = self._shown_records()
        objectives = self.session.objectives
        ink = {"font_color": INK[self._theme]}
        if self.tab.value == "Curves":  # what is out of sight is drawn when it comes into sight
            self.curves.draw(curves_columns(label, records, objectives=objectives), shape=ink)
        if self.tab.value == "Gradient conflict":
            self.conflict.draw(conflict_columns(label, records, objectives=objectives), shape=ink)

    def _shown_records(self) -> tuple[str, tuple[StepRecord, ...]]:
        """The selected run, else the one that trains, else the newest that is visible."""
        selected = [run for run in self.session.shelf.runs if run.id == self.session.shelf.selected]
        if not selected and self._progress is not None and not self._progress.ended:
            return self._progress.label, self._progress.records
        found = selected or self.session.shelf.visible()
        return (found[-1].spec.label, found[-1].records) if found else ("", ())

    def _now(self) -> Now | None:
        progress = self._progress
        if progress is None or progress.ended:
            return None
        looks = progress.looks
        return Now(progress.label, progress.label.split()[0], tuple(s for s, _ in looks), tuple(scores for _, scores in looks))

    def _set_width(self, width: int, whole: int) -> None:
        if width < 100:  # hidden, or not laid out yet
            return
        for figure in self._beside:
            figure.draw({}, shape={"width": width})
        for figure in (self.curves, self.conflict):
            figure.draw({}, shape={"width": whole})

    def failed(self, error: Exception) -> None:
        """Show that drawing itself went wrong."""
        self.error.value = words.trouble_html(trouble("drawing", error))

    @property
    def _beside(self) -> list[LiveFigure]:
        """The figures beside the controls; the others are as wide as the whole Studio."""
        return [self.front] if self.steps is None else [self.front, self.steps.figure]

    def _stamp_text(self) -> str:
        shown = self.session.shelf.visible()
        return stamp_text(stamp(shown)) if shown else stamp_text({**self._commit, "runs": "none yet"})


def _badge(text: str) -> str:
    return f'<span class="paretokit-badge">{text}</span>' if text else ""
