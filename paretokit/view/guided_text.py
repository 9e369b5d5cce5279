"""One text that is written under a guide, a step whenever one is asked for, chosen at the weights of that moment.

The policy's cache and the guide's are kept between the steps, so nothing is read twice, and no step changes one that was
kept. A stop and an error come in the middle of a step, and end the caches with it: the steps that were kept are then written
once more, from the same random numbers at the weights that chose them, before the next one.
Imports: `decoding`, `models`, the ground modules.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from paretokit.decoding.guided import GuidedStep, iter_guided
from paretokit.decoding.tree import GuidedGeneration
from paretokit.errors import ConfigError, ModelError
from paretokit.models.policy import Policy
from paretokit.texts import Prompt, encode_prompt

_LONGEST = 256  # tokens of a text


class Writer(NamedTuple):
    """What writes a text, and what judges it."""

    policy: Policy
    words: str  # what to call it
    guide: Any  # a reward model, or scorers by objective


class GuidedText:
    """A text as it grows. It costs nothing until its first step; it is begun and written on one thread.

    `prompt` and `candidates` may be left to the moment when it begins.
    """

    def __init__(self, *, prompt: Prompt | None = None, candidates: int | None = None) -> None:
        self.prompt, self.candidates = prompt, candidates
        self._given = (prompt, candidates)
        self.writer: Writer | None = None
        self.source = ""  # what writes it, in words; "" before it begins
        self.kept: tuple[GuidedStep, ...] = ()
        self.halt = ""  # "stopped" or "failed", where the last step was not completed
        self._asked: list[Mapping[str, float]] = []  # the weights of each step
        self._steps: Iterator[GuidedStep] | None = None  # holds the caches
        self._stop: Callable[[], bool] = lambda: False

    @property
    def made(self) -> GuidedGeneration | None:
        """The text so far; None before its first step."""
        return self.kept[-1].generations[0] if self.kept else None

    @property
    def answered(self) -> Prompt | None:
        """The prompt that it answers; None as long as that may be another one when it begins."""
        return self.prompt if self.kept else self._given[0]

    @property
    def ended(self) -> bool:
        """Whether it can go on no more: `made.reason` says why."""
        return self.made is not None and self.made.reason != "stopped"

    def begin(self, writer: Writer, *, prompt: Prompt, candidates: int) -> None:
        """Say what writes; the prompt, and the number of candidates a step, count where they were left open."""
        self.writer, self.source = writer, writer.words
        given, count = self._given
        self.prompt, self.candidates = prompt if given is None else given, candidates if count is None else count

    def close(self) -> None:
        """Forget what writes and judges it, and the caches; what was written stays."""
        self.writer, self._steps = None, None

    def advance(self, weights: Mapping[str, float], *, stop: Callable[[], bool]) -> GuidedStep | None:
        """Write one more step, chosen at these weights, and return it; None once `stop` is true.

        It is complete, or the text is what it was before. Raises `ConfigError` for a text that has ended, `ModelError` for a
        guide that judges the same text differently each time, and what `iter_guided` raises.
        """
        if self.made is not None and self.ended:
            raise ConfigError(
                f"next_step: found a text that has ended ({self.made.reason}), expected one that can go on. "
                "Begin another one with start_again()."
            )
        self._stop, self._asked = stop, [*self._asked[: len(self.kept)], weights]
        steps, self._steps = self._steps, None  # until the step is complete
        if steps is None and (steps := self._again()) is None:
            return None
        step = next(steps)
        if step.step == len(self.kept):
            return None
        self.kept = (*self.kept, step)
        if not self.ended:
            self._steps = steps
        return step

    def _again(self) -> Iterator[GuidedStep] | None:
        """The steps from the first one on, taken as far as they were kept; None where that was stopped."""
        assert self.writer is not None, "a text begins before it goes on"
        assert self.prompt is not None, "a text begins before it goes on"
        assert self.candidates is not None, "a text begins before it goes on"
        policy = self.writer.policy
        room = policy.context_length - len(encode_prompt(policy.chat, self.prompt))
        steps = iter_guided(
            policy,
            [self.prompt],
            reward_model=self.writer.guide,
            weights=lambda step: self._asked[step - 1],
            candidates=self.candidates,
            max_new_tokens=max(1, min(_LONGEST, room)),
            head_weights=(lambda step: self._asked[step - 1]) if policy.heads else None,
            seed=0,
            stop=lambda: self._stop(),
        )
        for kept in self.kept:
            again = next(steps)
            if again.step < kept.step:
                return None
            if again.generations[0].token_ids != kept.generations[0].token_ids:
                found, expected = again.generations[0].steps[-1], kept.generations[0].steps[-1]
                raise ModelError(
                    f"next_step: step {kept.step}, written once more after an interruption, found {found!r}, expected "
                    f"{expected!r} as before: the guide judges the same text differently each time. "
                    "Begin another one with start_again()."
                )
        return steps
