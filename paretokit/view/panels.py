"""The input panels of a Studio: weights that always sum to one, and the controls of a training.

A panel reads what the user does and calls a function with the values; it does no work of its own.
Imports: ipywidgets, `maths.simplex`.
"""

import threading
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import ipywidgets as widgets

from paretokit.maths.simplex import move

Weights = tuple[float, ...]


class WeightPanel:
    """A slider, a number and a lock for each objective. Moving one rescales the unlocked others, so that the sum stays one.

    `changed(weights)` is called once for each change by the user, and not for one by `set`.
    """

    def __init__(self, objectives: Sequence[str], weights: Weights, *, changed: Callable[[Weights], object]) -> None:
        self.objectives, self.weights = tuple(objectives), tuple(weights)
        self._changed = changed
        self._busy = threading.RLock()
        self._setting = False
        self.sliders, self.numbers, self.locks = [], [], []
        rows = []
        for index, (name, weight) in enumerate(zip(self.objectives, self.weights, strict=True)):
            slider = widgets.FloatSlider(
                value=round(weight, 2), min=0.0, max=1.0, step=0.01, readout=False, continuous_update=True,
                description=name, tooltip=f"weight of {name}", layout={"flex": "1 1 auto", "min_width": "120px"},
                style={"description_width": "92px"},
            )  # fmt: skip
            number = widgets.BoundedFloatText(
                value=round(weight, 3), min=0.0, max=1.0, step=0.01, tooltip=f"weight of {name}, as a number",
                layout={"width": "64px"},
            )  # fmt: skip
            lock = widgets.ToggleButton(
                value=False,
                icon="unlock",
                tooltip=f"keep the weight of {name} when another one moves",
                layout={"width": "32px", "padding": "0"},
            )
            slider.observe(lambda change, i=index: self._moved(i, change["new"], grain=0.0051), "value")
            number.observe(lambda change, i=index: self._moved(i, change["new"], grain=0.00051), "value")
            lock.observe(lambda change, button=lock: _show_lock(button), "value")
            self.sliders.append(slider)
            self.numbers.append(number)
            self.locks.append(lock)
            rows.append(widgets.HBox([slider, number, lock]))
        self.box = widgets.VBox(rows)

    def set(self, weights: Weights) -> None:
        """Show other weights; `changed` is not called."""
        with self._busy:
            self.weights = tuple(weights)
            self._show()

    def _moved(self, index: int, value: float, *, grain: float) -> None:
        """`grain`: half of what the control can show; within it, what it shows is the weight as it is."""
        with self._busy:
            if self._setting or abs(value - self.weights[index]) < grain:
                return
            self.weights = move(self.weights, index, value, locked=[lock.value for lock in self.locks])
            self._show()
        self._changed(self.weights)

    def _show(self) -> None:
        """Show the weights, rounded to what a control can show: the browser would round them itself and send them back,
        and what comes back late would undo a newer move, in turn for ever."""
        self._setting = True
        try:
            for slider, number, weight in zip(self.sliders, self.numbers, self.weights, strict=True):
                slider.value = round(weight, 2)
                number.value = round(weight, 3)
        finally:
            self._setting = False


def _show_lock(button: widgets.ToggleButton) -> None:
    button.icon = "lock" if button.value else "unlock"


class ControlPanel:
    """Method, steps, seed, and the buttons Train, Pause and Stop; `settings` reads the former."""

    def __init__(
        self,
        *,
        methods: Sequence[str],
        steps: int,
        seed: int,
        train: Callable[[], Any],
        pause: Callable[[], Any],
        stop: Callable[[], Any],
    ) -> None:
        narrow = {"width": "auto", "flex": "1 1 96px"}
        style = {"description_width": "56px"}
        self.method = widgets.Dropdown(
            options=list(methods), value="raco" if "raco" in methods else methods[0], description="method",
            tooltip="how the gradients of the objectives are combined", layout={"width": "auto"}, style=style,
        )  # fmt: skip
        self.steps = widgets.BoundedIntText(
            value=steps, min=1, max=100_000, description="steps", tooltip="optimizer steps", layout=narrow, style=style
        )
        self.seed = widgets.BoundedIntText(
            value=seed, min=0, max=2**31 - 1, description="seed", tooltip="decides start and order of the data", layout=narrow,
            style=style,
        )  # fmt: skip
        button = {"width": "auto", "flex": "1 1 80px"}
        self.train = widgets.Button(
            description="Train", icon="play", button_style="primary", tooltip="train at these weights", layout=button
        )
        self.pause = widgets.Button(description="Pause", icon="pause", tooltip="rest after this step", layout=button)
        self.stop = widgets.Button(
            description="Stop", icon="stop", tooltip="stop within a step; what was learnt is kept", layout=button
        )
        self.train.on_click(lambda _: train())
        self.pause.on_click(lambda _: pause())
        self.stop.on_click(lambda _: stop())
        self.bar = widgets.FloatProgress(value=0.0, min=0.0, max=1.0, tooltip="share of the steps", layout={"width": "auto"})
        settings = widgets.HBox([self.steps, self.seed])
        self.box = widgets.VBox([self.method, settings, widgets.HBox([self.train, self.pause, self.stop]), self.bar])

    @property
    def settings(self) -> dict[str, Any]:
        """The method, steps and seed that are set."""
        return {"method": self.method.value, "steps": self.steps.value, "seed": self.seed.value}


class HeadsPanel:
    """For a policy with heads: a button that draws its whole front, or says why it cannot, and room for texts."""

    def __init__(self, *, refused: str, draw: Callable[[], Any]) -> None:
        self.refused = refused
        self.draw = widgets.Button(
            description="Draw the whole front", icon="line-chart", disabled=bool(refused), layout={"width": "auto"},
            tooltip=refused or "decode the shown policy at many weightings of its heads, without training",
        )  # fmt: skip
        self.draw.on_click(lambda _: draw())
        self.texts = widgets.HTML()
        self.reason: widgets.HTML | None = None  # a widget outside of the box would outlive it
        if refused:
            self.reason = widgets.HTML(f"<p>Draw the whole front: {escape(refused)}</p>")
        self.box = widgets.VBox([widget for widget in (self.draw, self.reason, self.texts) if widget is not None])
