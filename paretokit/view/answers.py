"""What the policies of a Studio say to its prompts: sampled once, remembered, and published with the newest in front.

An answer is remembered as long as its policy does not change, so a slider that comes back to where it was is answered at
once. All answers use the same random numbers: what differs between two of them is the policy or the weights.
Imports: `policies`, `events`, `jobs`, `decoding`, `experiments.evaluation`, `models`; reads the clock.
"""

import threading
from collections.abc import Sequence
from itertools import count
from time import monotonic

from paretokit.decoding.sample import generate
from paretokit.experiments.evaluation import Evaluation, WorldEvaluation
from paretokit.models.policy import Policy
from paretokit.texts import Prompt, encode_prompt
from paretokit.view.events import Answer, Publish, Texts, prompt_line
from paretokit.view.jobs import Request
from paretokit.view.policies import START, Policies, Source

GRACE = 0.1  # seconds that heads may still decode for a slider that has moved on: a drag is followed, not waited for
FEW = 3  # prompts beside the chosen one that a policy with heads answers at once

_LONGEST = 64  # tokens of an answer
_REMEMBERED = 4000  # answers; the oldest are forgotten

_Place = tuple[str, str, tuple[float, ...]]  # where an answer is remembered: run, prompt and mixture


class Answers:
    """The answers to `prompt`, the chosen one, and with heads to a few more; see the module's text."""

    def __init__(
        self,
        policies: Policies,
        prompts: Sequence[Prompt],
        *,
        objectives: tuple[str, ...],
        axes: tuple[str, ...],
        evaluation: Evaluation | None,
        publish: Publish,
    ) -> None:
        self.prompt = prompts[0]
        self.weights: tuple[float, ...] | None = None  # those that were asked for last
        self.numbers = count(1)  # of what is asked for: a newer question has a greater one
        self.told: tuple[int, Texts | None] = (0, None)  # the answers that were published last, with their number
        self._policies, self._objectives, self._axes = policies, objectives, axes
        self._evaluation, self._publish = evaluation, publish
        self._few = _few(policies.given, prompts)
        self._mixes = bool(policies.given.heads) and not policies.given.at_base()  # whether weights matter before training
        self._answers: dict[_Place, Answer] = {}
        self._telling = threading.Lock()

    # On any thread.

    def remembered(self, weights: tuple[float, ...], *, asked: float) -> Texts | None:
        """Return the answers before and after, where nothing has to be sampled for them; `asked` is when, by the clock."""
        prompts, source = self._asked(), self._policies.at(weights)
        if source.changes:
            return None
        before = [answer for answer in self._kept(START, prompts[:1], weights) if answer is not None]
        after = [answer for answer in self._kept(source, prompts, weights) if answer is not None]
        if (len(before), len(after)) != (1, len(prompts)):
            return None
        return self._texts(prompts, before, after, weights=weights, asked=asked)

    def tell(self, texts: Texts, number: int) -> Texts:
        """Publish answers, once, unless newer ones are there, and return them."""
        with self._telling:  # the bus takes a value and returns; what was asked for later must not be put first
            newest, told = self.told
            if number < newest:
                return texts
            if told is None or texts._replace(seconds=0.0) != told._replace(seconds=0.0):
                told = texts
                self._publish("texts", texts)
            self.told = (number, told)
        return told

    def _asked(self) -> list[Prompt]:
        """The chosen prompt, and with heads a few more."""
        return list({repr(prompt): prompt for prompt in (self.prompt, *self._few)}.values())

    def _kept(self, source: Source, prompts: Sequence[Prompt], weights: tuple[float, ...]) -> list[Answer | None]:
        """What a source has said to the prompts, None where it was not asked."""
        found = [self._answers.get(self._place(source, prompt, weights)) for prompt in prompts]
        return [None if answer is None else answer._replace(source=source.words) for answer in found]

    def _place(self, source: Source, prompt: Prompt, weights: tuple[float, ...]) -> _Place:
        mixed = self._policies.given.heads and (source.run is not None or self._mixes)
        mixture = tuple(round(weight, 9) for weight in weights) if mixed else ()
        return "" if source.run is None else source.run.id, repr(prompt), mixture

    def _texts(
        self,
        prompts: Sequence[Prompt],
        before: Sequence[Answer],
        after: Sequence[Answer],
        *,
        weights: tuple[float, ...],
        asked: float,
    ) -> Texts:
        said = dict(zip(map(repr, prompts), after, strict=True))
        decoded = tuple((prompt_line(prompt), said[repr(prompt)]) for prompt in self._few)
        taken = monotonic() - asked
        names = self._objectives if decoded else ()
        return Texts(prompt_line(prompts[0]), before[0], after[0], weights, self._axes, taken, decoded, names)

    # On the worker's thread.

    def sampled(self, weights: tuple[float, ...], request: Request[Texts]) -> Texts | None:
        """Return the answers before and after, sampled where they are not remembered; None where no longer wanted."""
        prompts = self._asked()
        after = self._said(self._policies.at(weights), prompts, weights, request)
        before = self._said(START, prompts[:1], weights, request)
        if before is None or after is None or (request.superseded and not self._policies.given.heads):
            return None
        return self._texts(prompts, before, after, weights=weights, asked=request.asked)

    def forget(self, run_id: str) -> None:
        """Forget what a run has said, since it has learnt something."""
        self._answers = {place: answer for place, answer in self._answers.items() if place[0] != run_id}

    def _said(
        self, source: Source, prompts: Sequence[Prompt], weights: tuple[float, ...], request: Request[Texts]
    ) -> list[Answer] | None:
        """The answers of a source, remembered where it does not change; None where no longer wanted."""
        answers = [None] * len(prompts) if source.changes else self._kept(source, prompts, weights)
        missing = [prompt for prompt, answer in zip(prompts, answers, strict=True) if answer is None]
        if (made := self._sample(source, missing, weights, request)) is None:
            return None
        if not source.changes:
            self._answers |= {
                self._place(source, prompt, weights): answer for prompt, answer in zip(missing, made, strict=True)
            }
            for place in list(self._answers)[: max(0, len(self._answers) - _REMEMBERED)]:
                del self._answers[place]
        new = iter(made)
        return [next(new) if answer is None else answer for answer in answers]

    def _sample(
        self, source: Source, prompts: Sequence[Prompt], weights: tuple[float, ...], request: Request[Texts]
    ) -> list[Answer] | None:
        if not prompts:
            return []
        policy = self._policies.of(source.run)
        began, stopped = monotonic(), False
        grace = GRACE if policy.heads else 0.0

        def stop() -> bool:
            nonlocal stopped
            stopped = request.superseded and monotonic() - began >= grace
            return stopped

        made = generate(
            policy,
            prompts,
            weights=dict(zip(self._objectives, weights, strict=True)) if policy.heads else None,
            max_new_tokens=_room(policy),
            seed=0,
            stop=stop,
        )
        if stopped:
            return None
        return [Answer(source.words, one.text, one.ended, self._scores(one.prompt, one.text)) for one in made]

    def _scores(self, prompt: Prompt, text: str) -> tuple[float, ...] | None:
        """The exact scores of a text, where a world knows the prompt."""
        if not isinstance(self._evaluation, WorldEvaluation) or prompt not in self._evaluation.world.prompts:
            return None
        return tuple(float(scorer(prompt, text)) for scorer in self._evaluation.world.scorers.values())


def _few(policy: Policy, prompts: Sequence[Prompt]) -> tuple[Prompt, ...]:
    """The prompts that heads answer at once: the first ones that leave room for an answer; none without heads."""
    if not policy.heads:
        return ()
    room = policy.context_length - _room(policy)
    return tuple([prompt for prompt in prompts if len(encode_prompt(policy.chat, prompt)) <= room][:FEW])


def _room(policy: Policy) -> int:
    """How many tokens an answer may have."""
    return min(_LONGEST, policy.context_length // 2)
