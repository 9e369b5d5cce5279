"""The text of a Studio that is written step by step under a guide: asked for on any thread, written on the worker's.

One policy writes a whole text: the one that answered at the weights of its first step, as it was then. From then on the
sliders decide which candidate is kept and, where the policy has heads, how these are mixed.
Imports: `guided_text`, `policies`, `answers`, `shelf`, `events`, `jobs`, `decoding`, `errors`, `texts`.
"""

import threading
from itertools import count
from typing import Any

from paretokit.decoding.guided import GuidedStep
from paretokit.decoding.guides import guide_of
from paretokit.decoding.tree import GuidedGeneration
from paretokit.errors import ConfigError
from paretokit.templates import ChatFormat
from paretokit.texts import Prompt
from paretokit.view.answers import Answers
from paretokit.view.events import Publish, Written, prompt_line
from paretokit.view.guided_text import GuidedText, Writer
from paretokit.view.jobs import Request, Worker
from paretokit.view.policies import Policies
from paretokit.view.shelf import Shelf

CANDIDATES = 5  # of each step, unless others are asked for


def check_guide(guide: Any, objectives: tuple[str, ...], chat: ChatFormat) -> None:
    """Raise `ConfigError` where `guide` is no reward model or scorers, or judges other objectives than these."""
    found = guide_of(guide, chat, place="guide").objectives
    if sorted(found) != sorted(objectives):
        raise ConfigError(
            f"guide: found the objectives {', '.join(found)}, expected those of the preferences, in any order: "
            f"{', '.join(objectives)}. Train the reward model on them, or pass a scorer for each."
        )


class Stepwise:
    """See the module's text. How the text stands is published as "steps", a `Written`."""

    def __init__(
        self,
        worker: Worker,
        shelf: Shelf,
        policies: Policies,
        answers: Answers,
        *,
        guide: Any,
        objectives: tuple[str, ...],
        publish: Publish,
    ) -> None:
        self._worker, self._shelf, self._policies, self._answers = worker, shelf, policies, answers
        self._guide, self._objectives, self._publish = guide, objectives, publish
        self._judge = guide_of(guide, policies.given.chat).source
        self._text = GuidedText()
        self._numbers = count(1)  # of the steps that are asked for
        self._halted = 0  # those up to this number are stopped
        self._waiting: dict[int, GuidedText] = {}  # steps that are asked for and not written yet
        self._lock = threading.Lock()

    # On any thread.

    @property
    def written(self) -> Written:
        """How the text stands."""
        with self._lock:
            return self._written()

    @property
    def made(self) -> GuidedGeneration | None:
        """The text with its tree; None before its first step."""
        return self._text.made

    def next_step(self, weights: tuple[float, ...], *, candidates: int = CANDIDATES) -> Request[GuidedStep]:
        """Ask for one more step, chosen at these weights; the answer is None where it was stopped.

        A text that begins with it answers the prompt that is chosen now, with so many candidates, unless `start_again` said
        otherwise.
        """
        prompt = self._answers.prompt
        self._publish("trouble", None)
        with self._lock:
            number, text = next(self._numbers), self._text
            request = self._worker.ask(
                f"next step {number}",
                lambda request: self._write(request, text, number, weights, prompt=prompt, candidates=candidates),
            )
            self._waiting[number] = text
        self._tell()
        return request

    def start_again(self, *, prompt: Prompt | None = None, candidates: int | None = None) -> None:
        """Drop the text, and a step that is being written: the next step begins another one. Raises `ConfigError` for no
        candidates."""
        if candidates is not None and candidates < 1:
            raise ConfigError(f"start_again: candidates is {candidates}; expected at least 1.")
        with self._lock:
            self._halt()
            self._text = GuidedText(prompt=prompt, candidates=candidates)
        self._tell()

    def stop(self) -> None:
        """Stop the step that is being written, within a token, and those that wait; what was kept stays."""
        with self._lock:
            self._halt()

    def close(self) -> None:
        """Forget the guide and what writes; the worker has ended by then. What was written stays."""
        self._guide = None
        for text in {self._text, *self._waiting.values()}:
            text.close()

    def _halt(self) -> None:
        self._halted = max(self._waiting, default=self._halted)

    def _tell(self) -> None:
        with self._lock:  # what is published last is the newest
            self._publish("steps", self._written())

    def _written(self) -> Written:
        text = self._text
        state = "ended" if text.ended else text.halt or ("open" if text.kept else "new")
        if text in self._waiting.values():
            state = "writing"
        prompt = "" if text.answered is None else prompt_line(text.answered)
        return Written(prompt, text.source, self._judge, self._objectives, text.made, state)

    # On the worker's thread.

    def _write(
        self,
        request: Request[GuidedStep],
        text: GuidedText,
        number: int,
        weights: tuple[float, ...],
        *,
        prompt: Prompt,
        candidates: int,
    ) -> GuidedStep | None:
        """Write a step of a text; None where it was stopped."""

        def stop() -> bool:
            return number <= self._halted or request.superseded

        step, text.halt = None, "failed"
        named = dict(zip(self._objectives, weights, strict=True))
        try:
            if not stop():
                if not text.kept:
                    text.begin(self._writer(weights), prompt=prompt, candidates=candidates)
                step = text.advance(named, stop=stop)
            text.halt = "stopped" if step is None else ""
        finally:
            with self._lock:
                del self._waiting[number]
            self._tell()
        if step is not None:
            if step.step == 1:
                self._shelf.note("start_again", prompt=_plain(text.prompt), candidates=text.candidates)
            self._shelf.note("next_step", weights=named)
        return step

    def _writer(self, weights: tuple[float, ...]) -> Writer:
        """What answers at these weights, as it is now: a policy that trains is copied."""
        source = self._policies.at(weights)
        policy = self._policies.of(source.run)
        if source.changes:
            policy = policy.fork()
        words = "the policy before training" if source.run is None else f"{source.words} when the text began"
        return Writer(policy, f"{words}, its heads mixed at each step's weights" if policy.heads else words, self._guide)


def _plain(prompt: Prompt | None) -> Any:
    """A prompt as the journal can hold it."""
    return prompt if prompt is None or isinstance(prompt, str) else [dict(message) for message in prompt]
