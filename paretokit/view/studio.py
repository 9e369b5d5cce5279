"""`Studio`: sliders, training and a live front in a notebook cell; every action is a method too.

What the user does is posted to a session, whose one worker does it; what happens comes back as values that one thread
draws, at most five times a second. So a slider answers at once, and nothing is written by two threads.
Threads, widgets and policies live in its parts, which know no `Studio`: so one that nobody holds any more is collected, and
they end with it.
Imports: `shown`, `assembly`, `cells`, `jobs`, `events`, `heads`, `decoding.guided`, `experiments`, `models`, `preferences`,
`training.config`, `maths.simplex`.
"""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar
from weakref import finalize

import pandas as pd

from paretokit.decoding.guided import GuidedStep
from paretokit.errors import ConfigError
from paretokit.experiments.front import Front
from paretokit.experiments.store import Run, Store
from paretokit.maths.simplex import resolve as resolve_weights
from paretokit.models.policy import Policy
from paretokit.preferences.records import Preferences
from paretokit.texts import Prompt
from paretokit.training.config import TrainConfig
from paretokit.view import cells
from paretokit.view.assembly import assemble, end
from paretokit.view.events import Texts
from paretokit.view.heads import decoded_frame
from paretokit.view.jobs import Job, Request
from paretokit.view.shown import Shown

Asked = TypeVar("Asked", bound=Job[Any] | Request[Any])


class Studio(Shown):
    """A panel to explore a trade-off: set weights, train, watch the front, read samples. Show it as a cell's last value.

    `policy` is not changed: each run trains a fork of it. With `store`, a folder, everything is kept, and a Studio on
    the same folder shows it again; without, runs live in a temporary folder until `close`. `config` defaults to what suits
    the policy, with one core left to the notebook; `heldout` as in `paretokit.train`.

    A policy with action heads (`load_policy(..., heads=[...])`) answers at any weights without training: its texts follow
    the sliders at once, `decode` returns them, and `draw_whole_front` draws all that its heads can reach.

    With `guide`, a reward model or scorers by objective as `guided_generate` takes them, a text can be written step by step:
    `next_step` writes one at the weights of the sliders, which may move before the next. It judges the objectives of the
    preferences, in any order, else a `ConfigError` is raised.

    Its methods do what the buttons do and return at once, but for `decode` and `next_step`; a `Job` can be waited for.
    Interrupting the kernel does not stop work in the background: `stop()` does, within a step.

    A Studio ends with `close`; when its cell runs again (where the front end names no cells: the statement that made it); and,
    if it was never shown and has no work under way, when no variable holds it. One that was shown lives until then, since
    the page may use it. What has ended lets go of its threads, widgets, policies and guide, even where IPython's `Out` still
    holds it: a snapshot stays on the page, `front`, `runs`, `texts` and the figures can be read, and all that would do
    something raises `ConfigError`.

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
        guide: Any = None,
    ) -> None:
        for earlier in cells.earlier():
            earlier.close()
        parts = assemble(policy, preferences, store=store, config=config, heldout=heldout, guide=guide)
        self.session, self.pressed, self.screen, self._renderer = parts
        self._ended = finalize(self, end, parts, widgets=True)
        self._ended.atexit = False  # the page of a kernel that ends keeps its widgets
        self._exit = finalize(self, end, parts, widgets=False)
        cells.made(self)
        self.session.begin()
        self.session.sample(self.weights)

    def set_weights(self, weights: Mapping[str, float] | Sequence[float]) -> Request[Texts]:
        """Move the sliders and sample a text at these weights. Raises `WeightsError` for weights that are none."""
        self._check("set_weights")
        vector = resolve_weights(weights, self.session.objectives)
        self.screen.weights.set(vector)
        return self._kept(self.session.move(vector))

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
        self._check("train")
        given = {"method": method, "steps": steps, "seed": seed}
        settings = {name: self.screen.controls.settings[name] if value is None else value for name, value in given.items()}
        job = self.session.train(weights=self.weights if weights is None else weights, **settings)
        if weights is not None:
            vector = resolve_weights(weights, self.session.objectives)
            self.screen.weights.set(vector)
            if self.session.policy.heads:  # the texts follow the sliders, whoever moves them
                self.session.sample(vector)
        return self._kept(job)

    def pause(self) -> None:
        """Let the training rest after its step; sliders stay live."""
        self._check("pause")
        self.session.pause()

    def resume(self) -> None:
        """Let a paused training go on."""
        self._check("resume")
        self.session.resume()

    def stop(self) -> None:
        """Stop the training after its step, and those that wait; what was learnt is kept, and `train` goes on from there.

        A step of a text that is being written is dropped within a token; the text goes on with `next_step`.
        """
        self._check("stop")
        self.session.stop()

    def sample(self, prompt: Prompt | None = None) -> Request[Texts]:
        """Sample answers to a prompt (default: the one chosen last) at the weights of the panel."""
        self._check("sample")
        return self._kept(self.session.sample(self.weights, prompt=prompt, after=0.0))

    def decode(
        self, *, weights: Mapping[str, float] | Sequence[float] | None = None, timeout: float | None = 60.0
    ) -> pd.DataFrame:
        """Move the sliders of a policy with heads (default: leave them) and return what it says at these weights to a few
        prompts: one row each, with `policy`, `prompt`, `text`, `ended`, the weights and, on a world, the scores.

        Blocks until it is decoded: where a training runs, until after its step. The policy is the selected run's, else the
        newest trained one's, else that before training. Raises `ConfigError` for a policy without heads, `WeightsError`
        and, after `timeout` seconds, `TimeoutError`.
        """
        self._check("decode")
        request = self.session.decode(self.weights if weights is None else weights)
        if weights is not None:
            self.screen.weights.set(resolve_weights(weights, self.session.objectives))
        self.session.publish("weights", self.screen.weights.weights)
        texts = request.result(timeout)
        if texts is None:
            raise ConfigError("decode: the Studio was closed meanwhile. Make a new one on the same store.")
        return decoded_frame(texts)

    def next_step(
        self, *, weights: Mapping[str, float] | Sequence[float] | None = None, timeout: float | None = 60.0
    ) -> GuidedStep | None:
        """Write one step of a text, move the sliders to `weights` first (default: leave them), and return the step, or None
        where `stop` ended it: then nothing has changed.

        A few candidates are sampled, the guide scores the text that each would make, and the best at these weights stays. What
        was written before stays as it is. The first step begins a text for the prompt that is chosen; what then answers at
        the weights (a run, or the policy before training) writes all of it; heads are mixed at the weights of each step. The
        steps are those of `iter_guided` at the same weights, seed 0, in the guide's order of objectives. `generations[0]` is
        the text so far, also `written`.

        Blocks until it is written: where a training runs, until after its step. Raises `WeightsError`; `ConfigError` without
        a guide and for a text that has ended; what the guide raises, which leaves the text as it was; and `TimeoutError` after
        `timeout` seconds, while the step is still being written.

        >>> import paretokit as pk
        >>> guide = {"helpfulness": lambda prompt, text: len(text), "harmlessness": lambda prompt, text: -len(text)}
        >>> studio = pk.Studio(pk.load_policy("tiny"), pk.read_preferences("world:safety"), guide=guide)
        >>> step = studio.next_step(weights=[1, 0])
        >>> step.step, step.weights
        (1, (1.0, 0.0))
        >>> [candidate.text for candidate in studio.written.path] == [step.generations[0].text]
        True
        >>> studio.close()
        """
        self._check("next_step")
        steps = self.session.guided("next_step")
        if weights is not None and resolve_weights(weights, self.session.objectives) != self.screen.weights.weights:
            self.set_weights(weights)
        request = steps.next_step(self.screen.weights.weights, candidates=self.screen.candidates)
        try:
            step = request.result(timeout)
        except KeyboardInterrupt:
            steps.stop()
            raise
        if request.superseded:
            raise ConfigError("next_step: the Studio was closed meanwhile. Make a new one on the same store.")
        return step

    def start_again(self, *, prompt: Prompt | None = None, candidates: int | None = None) -> None:
        """Drop the text that was written step by step, and a step that is being written; `next_step` begins another one.

        It will answer `prompt` (default: the one that is chosen then) with so many candidates a step (default: what the panel
        shows then). Random numbers are the same again: what differs is due to the weights. Raises `ConfigError` without a
        guide, and for no candidates.

        >>> import paretokit as pk
        >>> guide = {"helpfulness": lambda prompt, text: len(text), "harmlessness": lambda prompt, text: -len(text)}
        >>> studio = pk.Studio(pk.load_policy("tiny"), pk.read_preferences("world:safety"), guide=guide)
        >>> texts = []
        >>> for weights in ([1, 0], [0, 1]):
        ...     studio.start_again(candidates=3)
        ...     texts.append(studio.next_step(weights=weights).generations[0].text)
        >>> len(texts[0]) > len(texts[1]), len(studio.written.tree)
        (True, 3)
        >>> studio.close()
        """
        self._check("start_again")
        self.session.guided("start_again").start_again(prompt=prompt, candidates=candidates)

    def draw_whole_front(self, *, run: str | Run | None = None) -> Job[Front | None]:
        """Decode a policy with heads at a grid of weightings, draw the curve of its scores into the front and return the job.

        `run` defaults to the selected run, else the newest trained one, else the policy before training. The job's result
        is a `Front` of its own, None if it was stopped; it waits for a training that runs. Raises `ConfigError` for a
        policy without heads and for data without scorers.
        """
        self._check("draw_whole_front")
        return self._kept(self.session.draw_whole_front(None if run is None else _id(run)))

    def hide(self, run: str | Run) -> None:
        """Take a run off the front. Nothing is deleted; `restore` brings it back."""
        self._check("hide")
        self.session.hide(_id(run))

    def restore(self, run: str | Run) -> None:
        """Put a hidden run back on the front."""
        self._check("restore")
        self.session.restore(_id(run))

    def select(self, run: str | Run | None) -> None:
        """Show the curves and texts of a run; None: those of the newest run, and of the one nearest to the weights."""
        self._check("select")
        self.session.select(None if run is None else _id(run), weights=self.weights)

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

    def close(self) -> None:
        """Stop what runs, end both threads and let go of widgets, policies and guide; see the class. On the page a snapshot
        takes the place of the widgets. Closing twice is harmless."""
        self._ended()
        self._exit.detach()
        cells.let_go(self)

    @property
    def closed(self) -> bool:
        """Whether it has ended: what was done can be read, and nothing more be done."""
        return not self._ended.alive

    def _ipython_display_(self) -> None:
        if not self.closed:
            cells.hold(self)
        self.screen.show()

    def _check(self, place: str) -> None:
        if self.closed:
            raise ConfigError(f"{place}: the Studio is closed. Make a new one on the same store.")

    def _kept(self, asked: Asked) -> Asked:
        """What was asked for; until it is there, it keeps the Studio, which nobody else may hold."""
        asked.keeps = self
        if asked.ended:
            asked.keeps = None
        return asked


def _id(run: str | Run) -> str:
    return run if isinstance(run, str) else run.id
