"""What happens in a Studio, as plain values: made by the session, drawn by the Studio, kept by nobody.

Imports: `front_view`, `experiments`, `training.records`, `decoding.tree`.
"""

import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from paretokit.decoding.tree import GuidedGeneration
from paretokit.experiments.front import Front
from paretokit.experiments.store import Run
from paretokit.texts import Prompt
from paretokit.training.records import StepRecord
from paretokit.view.front_view import FrontView

Publish = Callable[[str, Any], None]  # called with a key and a value, on any thread; returns at once


class Board(NamedTuple):
    """What there is to see of all runs."""

    front: Front | None  # None until a visible run has figures
    view: FrontView
    runs: tuple[Run, ...]  # all, oldest first
    hidden: frozenset[str]  # their ids
    foreign: int  # runs of the store that belong to other data or another policy


class Progress(NamedTuple):
    """A training as it stands."""

    job: int
    run: str  # id
    label: str  # method and weights
    stage: str
    steps: int
    records: tuple[StepRecord, ...]
    eta: float | None  # seconds left for the steps, from a moving average
    looks: tuple[tuple[int, tuple[float, ...]], ...]  # (step, mean scores [m]) of one answer to each prompt
    ended: bool = False


class Answer(NamedTuple):
    """A sampled text with its exact scores, where a world has them."""

    source: str  # of which policy
    text: str
    ended: bool
    scores: tuple[float, ...] | None  # [m]


class Texts(NamedTuple):
    """The same prompt and random numbers, before training and after."""

    prompt: str
    before: Answer
    after: Answer
    weights: tuple[float, ...]  # those asked for
    axes: tuple[str, ...]
    seconds: float  # from the question to the answer
    decoded: tuple[tuple[str, Answer], ...] = ()  # of a policy with heads: a few prompts and what it says at the weights
    objectives: tuple[str, ...] = ()  # what the weights are of, where something was decoded


class Written(NamedTuple):
    """A text that is written step by step under a guide, as it stands."""

    prompt: str  # as one line; "" where it is the one that is chosen when it begins
    source: str  # what writes it; "" before it begins
    guide: str  # what judges it
    objectives: tuple[str, ...]  # in the order of the sliders; those of `made` stand in the guide's
    made: GuidedGeneration | None  # None before the first step
    state: str  # "new", "writing", "open", "stopped", "failed" or "ended"


class Trouble(NamedTuple):
    """Something that went wrong, for the panel."""

    what: str
    message: str
    traceback: str


def prompt_line(prompt: Prompt) -> str:
    """Return what the user says last in a prompt, as one line of text.

    >>> prompt_line([{"role": "user", "content": "Why  not?"}])
    'Why not?'
    """
    text = prompt if isinstance(prompt, str) else str(prompt[-1]["content"])
    return " ".join(text.split())


def trouble(what: str, error: BaseException) -> Trouble:
    """Return an exception as a value for the panel."""
    return Trouble(what, f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)))
