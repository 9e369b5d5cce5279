"""The search behind `guided_generate`: lines of text for each prompt, and how one step takes them on.

A line is a text that is being written; its prompt keeps at most `beams` of them, best first. Every live line has a row in
the policy's cache and in the guide's, in the same order. Imports: torch, `expand`, `guides`, `tree`, `maths.selection`,
`models.prefix`, `models.sharing`, `texts`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from paretokit.decoding.expand import Sampling, Step, expand
from paretokit.decoding.guides import Guide, NewStep, Reading
from paretokit.decoding.stops import Stop
from paretokit.decoding.tree import Candidate, GuidedGeneration, path
from paretokit.maths.selection import Rule, best
from paretokit.models.prefix import Prefix
from paretokit.models.sharing import Sharing
from paretokit.shapes import Float, Tensor
from paretokit.texts import Prompt, begin_response, decode, is_chat

__all__ = ["Limits", "Search"]


class Limits(NamedTuple):
    """How wide and how far a search goes; each number at least 1."""

    candidates: int  # of each line, at each step
    beams: int  # lines that a prompt keeps
    max_steps: int
    max_step_tokens: int
    max_new_tokens: int  # of a whole response


class _Line(NamedTuple):
    """A text that is being written."""

    task: int  # the number of its prompt
    token_ids: tuple[int, ...] = ()
    node: int = -1  # its last candidate, in the prompt's tree
    scores: tuple[float, ...] = ()
    ended: bool = False
    stopped: Stop | None = None


@dataclass
class _Task:
    """A prompt with its lines, best first, and its tree."""

    prompt: Prompt
    prompt_ids: tuple[int, ...]
    lines: list[_Line]
    tree: list[Candidate] = field(default_factory=list)
    weights: list[tuple[float, ...]] = field(default_factory=list)  # at each step: the guide's
    mixtures: list[tuple[float, ...]] = field(default_factory=list)  # and those of the policy's heads


class Search:
    """Guided decoding of a batch of prompts, a step at a time."""

    def __init__(
        self,
        prompt_ids: Sequence[tuple[int, ...]],
        prompts: Sequence[Prompt],
        *,
        guide: Guide,
        rule: Rule,
        sampling: Sampling,
        limits: Limits,
        sharing: Sharing,
    ) -> None:
        self.guide = guide
        self.rule = rule
        self.sampling = sampling
        self.limits = limits
        self.sharing = sharing
        self.mixture: tuple[float, ...] | None = None  # of the policy that reads; None before it does
        self.step = 0
        self.stopped = False
        self._tasks = [
            _Task(prompt, ids, [_Line(task)]) for task, (prompt, ids) in enumerate(zip(prompts, prompt_ids, strict=True))
        ]
        self._live = [task.lines[0] for task in self._tasks]  # a row each, in the order of the caches
        self._policy: Prefix | None = None
        self._reading: Reading | None = None
        self._logits: Float[Tensor, "R V"] | None = None  # that follow each live line

    @property
    def live(self) -> bool:
        """Whether any text can still grow."""
        return bool(self._live)

    def begin(self) -> None:
        """Have the guide read the prompts, each once."""
        self._reading = self.guide.start([task.prompt for task in self._tasks])

    def go_on_with(self, model: Any, *, mixture: tuple[float, ...]) -> None:
        """Have the policy, its heads mixed so, read the live lines from their prompts on; it allows what `sharing` says."""
        self.mixture = mixture
        self._policy = Prefix(model, sharing=self.sharing)
        self._logits = self._policy.read([(*self._tasks[line.task].prompt_ids, *line.token_ids) for line in self._live])

    def advance(self, weights: tuple[float, ...], *, stop: Callable[[], bool]) -> None:
        """Take every live line one step on, and keep the best lines of each prompt; once `stop` is true, leave all as it is."""
        assert self._reading is not None, "begin comes first"
        assert self._policy is not None, "go_on_with comes first"
        assert self._logits is not None, "go_on_with comes first"
        assert self.mixture is not None, "go_on_with comes first"
        repeated = torch.arange(len(self._live)).repeat_interleave(self.limits.candidates)
        rows = repeated.to(self._logits.device)
        self._policy.select(rows)
        parents = [self._live[row] for row in repeated.tolist()]
        steps = [self._step(parent, number % self.limits.candidates) for number, parent in enumerate(parents)]
        logits = expand(self._policy, self._logits[rows], steps, self.sampling, stop=stop)
        if logits is None:
            self.stopped = True
            return
        self.step += 1
        self._reading.select(rows)
        scores = self._reading.read([self._new(one) for one in steps])
        kept: list[int] = []
        for number, task in enumerate(self._tasks):
            mine = [row for row, parent in enumerate(parents) if parent.task == number]
            if mine:
                task.weights.append(weights)
                task.mixtures.append(self.mixture)
                kept += self._choose(task, mine, parents, steps, scores, weights)
        self._live = [line for task in self._tasks for line in task.lines if self._grows(line)]
        chosen = torch.tensor(kept, dtype=torch.long, device=rows.device)
        if kept:
            self._policy.select(chosen)
            self._reading.select(chosen)
            self._logits = logits[chosen]

    def generations(self) -> tuple[GuidedGeneration, ...]:
        """Return the best text of each prompt so far, with everything that was looked at."""
        return tuple(self._generation(number, task) for number, task in enumerate(self._tasks))

    def _new(self, step: Step) -> NewStep:
        """What the guide reads of a step: without an end token, and of a text that a stop string cut its own tokens."""
        first = step.chat and not step.response
        ids = step.token_ids if step.stopped is None else begin_response(self.sampling.format, step.added, chat=first)
        return NewStep(step.added, step.text, tuple(token for token in ids if token not in self.sampling.ends))

    def _step(self, parent: _Line, number: int) -> Step:
        prefix = (*self._tasks[parent.task].prompt_ids, *parent.token_ids)
        room = min(self.limits.max_step_tokens, self.limits.max_new_tokens - len(parent.token_ids))
        return Step(prefix, parent.token_ids, number, room, chat=is_chat(self._tasks[parent.task].prompt))

    def _choose(
        self,
        task: _Task,
        rows: Sequence[int],
        parents: Sequence[_Line],
        steps: Sequence[Step],
        scores: Float[Tensor, "R m"],
        weights: tuple[float, ...],
    ) -> list[int]:
        """Put the candidates of a prompt into its tree, keep its best lines, and return the rows of those that can grow."""
        resting = [line for line in task.lines if self._complete(line)]
        pool = torch.cat(
            [scores[list(rows)], torch.tensor([line.scores for line in resting], dtype=scores.dtype).view(-1, scores.shape[1])]
        )
        utilities = self.rule(pool, torch.tensor(weights, dtype=torch.float64))
        lines = [
            self._line(parents[row], steps[row], tuple(scores[row].tolist()), node=len(task.tree) + place)
            for place, row in enumerate(rows)
        ]
        taken: list[int] = []
        seen: set[tuple[int, ...]] = set()
        for place in best(utilities, len(utilities)).tolist():
            ids = (*lines, *resting)[place].token_ids
            if len(taken) < self.limits.beams and ids not in seen:  # of identical texts one is enough
                taken.append(place)
                seen.add(ids)
        for place, row in enumerate(rows):
            task.tree.append(
                self._candidate(parents[row], steps[row], lines[place], utilities[place].item(), kept=place in taken)
            )
        task.lines = [(*lines, *resting)[place] for place in taken]
        return [rows[place] for place in taken if place < len(rows) and self._grows(lines[place])]

    def _line(self, parent: _Line, step: Step, scores: tuple[float, ...], *, node: int) -> _Line:
        return _Line(parent.task, (*parent.token_ids, *step.token_ids), node, scores, step.ended, step.stopped)

    def _candidate(self, parent: _Line, step: Step, line: _Line, utility: float, *, kept: bool) -> Candidate:
        return Candidate(
            step=self.step,
            parent=parent.node,
            number=step.number,
            text=step.added,
            token_ids=tuple(step.token_ids),
            scores=line.scores,
            utility=utility,
            sum_logp=math.fsum(step.logps),
            kept=kept,
            ended=step.ended,
            capped=step.capped,
        )

    def _grows(self, line: _Line) -> bool:
        return not self._complete(line) and self.step < self.limits.max_steps

    def _complete(self, line: _Line) -> bool:
        return line.ended or len(line.token_ids) >= self.limits.max_new_tokens

    def _reason(self, line: _Line) -> str:
        if line.ended:
            return "end" if line.stopped is None else "stop_string"
        if len(line.token_ids) >= self.limits.max_new_tokens:
            return "max_new_tokens"
        return "max_steps" if self.step >= self.limits.max_steps else "stopped"

    def _generation(self, number: int, task: _Task) -> GuidedGeneration:
        line = task.lines[0]
        steps = path(task.tree, line.node)
        text = decode(self.sampling.format, line.token_ids, chat=is_chat(task.prompt))
        text = text[: None if line.stopped is None else line.stopped.at]
        return GuidedGeneration(
            prompt=task.prompt,
            text=text,
            token_ids=line.token_ids,
            ended=line.ended,
            copy=0,
            prompt_index=number,
            sum_logp=math.fsum(step.sum_logp for step in steps),
            weights=task.mixtures[-1] if task.mixtures else self.mixture or (),
            reason=self._reason(line),
            steps=_up_to(len(text), [step.text for step in steps]) if line.stopped else tuple(step.text for step in steps),
            stop_string="" if line.stopped is None else line.stopped.string,
            objectives=self.guide.objectives,
            guide=self.guide.source,
            guide_weights=tuple(task.weights),
            scores=line.scores,
            tree=tuple(task.tree),
            last=line.node,
            head_weights=tuple(mixture for mixture in task.mixtures if mixture),
        )


def _up_to(length: int, steps: Sequence[str]) -> tuple[str, ...]:
    """The steps of a text that is cut there: a stop string may have begun in the last step but one."""
    kept: list[str] = []
    for step in steps:
        kept.append(step[: max(0, length - sum(map(len, kept)))])
    return tuple(kept)
