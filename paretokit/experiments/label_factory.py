"""One call of `label_steps`: prefixes, the rollouts from each, and when their labels are settled.

All prefixes are looked at after the same numbers of rollouts, so that batches are full, and each objective settles by its own
rollouts alone, so that its labels do not depend on the others. Imports: `rollouts`, `judging`, `label_evidence`, `training`,
`preferences`; reads the clock.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from paretokit.errors import DataError
from paretokit.experiments.judging import Judge, JudgeBook
from paretokit.experiments.label_evidence import Evidence, LabelProgress
from paretokit.experiments.rollouts import PolicySampler, Rollout, RolloutBook, Start, Stopped
from paretokit.preferences.step_labels import StepLabels
from paretokit.preferences.steps import Count, Splitter
from paretokit.prompts import as_text
from paretokit.training.labels import Budget, discounted, majority

__all__ = ["JUDGE", "PREFIX_JUDGE", "VERIFIER", "Factory"]

VERIFIER, JUDGE, PREFIX_JUDGE = "verifier", "judge", "prefix judge"
"""The regimes, as `label_steps` describes them."""
_JUDGED_AT_ONCE = 64  # prefixes, between two signs of progress


@dataclass
class _Prefix:
    """A text that a label is about, and what has been seen of it."""

    start: Start
    steps: int  # t
    place: str
    whole: bool  # a response that has ended
    used: int = 0
    truncated: int = 0
    answers: dict[str, list[float]] = field(default_factory=dict)  # by objective: of each rollout
    remaining: dict[str, list[int]] = field(default_factory=dict)  # by objective: n_m - t of each rollout
    labels: dict[str, float] = field(default_factory=dict)


@dataclass
class Factory:
    """One call of `label_steps`."""

    prompts: list[Any]
    split: Splitter
    count: Count | None  # of tokens, where the splitter asks for a number of them
    regimes: Mapping[str, Mapping[str, Judge]]
    step_scores: Mapping[str, Judge]
    target: Callable[..., float]
    gamma: float
    budget: Budget
    book: RolloutBook
    asked: Mapping[str, JudgeBook]
    stop: Callable[[], bool]
    prefixes: dict[tuple[Start, int], _Prefix] = field(default_factory=dict)
    cut: list[tuple[Any, tuple[str, ...]]] = field(default_factory=list)  # prompt and steps of each response
    empty: int = 0
    sampled: int = 0
    stopped: bool = False
    began: float = field(default_factory=perf_counter)
    stage_began: float = 0.0

    @property
    def rolled(self) -> list[str]:
        """The objectives that need rollouts."""
        return [*self.regimes[VERIFIER], *self.regimes[JUDGE]]

    def run(self, responses: Sequence[str] | None, *, copies: int) -> Iterator[LabelProgress]:
        """Do all the work, or as much as `stop` allows."""
        try:
            yield from self._responses(responses, copies=copies)
            self.sampled = self.book.made
            self.stage_began = perf_counter()
            yield self._progress("rollouts")
            yield from self._judge_prefixes()
            yield from self._judge_whole()
            yield from self._roll_out()
        except Stopped:
            self.stopped = True

    def _responses(self, responses: Sequence[str] | None, *, copies: int) -> Iterator[LabelProgress]:
        if responses is not None:
            made = [Rollout(as_text(text, place=f"response {index}")) for index, text in enumerate(responses)]
            self._cut(list(zip(self.prompts, made, strict=True)))
            return
        starts, numbers = [Start(prompt, "") for prompt in self.prompts], range(copies)
        self._check_room((start, f"prompt {index}") for index, start in enumerate(starts))
        self.stage_began = perf_counter()
        try:
            for _ in self.book.fill(starts, copies=numbers, stop=self.stop):
                yield self._progress("responses")
        finally:
            known = [start for start in starts if self.book.knows(start, numbers)]
            self._cut([(start.prompt, made) for start in known for made in self.book.rollouts(start, numbers)])

    def _cut(self, responses: Sequence[tuple[Any, Rollout]]) -> None:
        """Cut the responses into steps, and note every prefix."""
        for index, (prompt, response) in enumerate(responses):
            steps = self.split.split(response.text, count=self.count)
            if not steps:
                self.empty += 1
                continue
            self.cut.append((prompt, steps))
            for count in range(1, len(steps) + 1):
                start = Start(prompt, "".join(steps[:count]))
                whole = count == len(steps) and response.ended
                place = f"response {index}, step {count - 1}"
                known = self.prefixes.setdefault((start, count), _Prefix(start, count, place, whole))
                known.whole = known.whole and whole  # where another response goes on from here, it is no end
        if self.rolled:
            self._check_room((prefix.start, prefix.place) for prefix in self.prefixes.values() if not prefix.whole)

    def _check_room(self, starts: Iterable[tuple[Start, str]]) -> None:
        sampler = self.book.sampler
        for start, place in starts if isinstance(sampler, PolicySampler) else ():
            try:
                sampler.check([start])
            except DataError as error:
                raise DataError(f"{place}: {error}") from error

    def _judge_prefixes(self) -> Iterator[LabelProgress]:
        for name in self.regimes[PREFIX_JUDGE]:
            for batch in _batches(list(self.prefixes.values())):
                answers = self.asked[name].answers(
                    [(prefix.start.prompt, prefix.start.begun) for prefix in batch], stop=self.stop
                )
                for prefix, answer in zip(batch, answers, strict=True):
                    prefix.labels[name] = answer
                yield self._progress("rollouts")

    def _judge_whole(self) -> Iterator[LabelProgress]:
        """Label the responses that have ended, each by its own outcome."""
        whole = [prefix for prefix in self.prefixes.values() if prefix.whole]
        for batch in _batches(whole) if self.rolled else ():
            for name in self.rolled:
                answers = self.asked[name].answers(
                    [(prefix.start.prompt, prefix.start.begun) for prefix in batch], stop=self.stop
                )
                for prefix, answer in zip(batch, answers, strict=True):
                    prefix.labels[name] = self._label(name, prefix, [answer], [0])
            yield self._progress("rollouts")

    def _roll_out(self) -> Iterator[LabelProgress]:
        """Make rollouts from all other prefixes, and look after every few which of their labels are settled."""
        open_ = [prefix for prefix in self.prefixes.values() if not prefix.whole] if self.rolled else []
        done = 0
        for look in self.budget.looks:
            copies = range(done, look)
            for _ in self.book.fill([prefix.start for prefix in open_], copies=copies, stop=self.stop):
                yield self._progress("rollouts")
            for batch in _batches(open_):
                self._look(batch, copies)
                yield self._progress("rollouts")
            open_ = [prefix for prefix in open_ if not self._settled(prefix)]
            done = look

    def _look(self, batch: Sequence[_Prefix], copies: range) -> None:
        """Ask what the new rollouts of some prefixes are worth, and settle the labels that can be."""
        made = [self.book.rollouts(prefix.start, copies) for prefix in batch]
        for name in self.rolled:
            pending = [(prefix, found) for prefix, found in zip(batch, made, strict=True) if name not in prefix.labels]
            questions = [(prefix.start.prompt, rollout.text) for prefix, found in pending for rollout in found]
            answers = iter(self.asked[name].answers(questions, stop=self.stop))
            for prefix, found in pending:
                seen = prefix.answers.setdefault(name, [])
                left = prefix.remaining.setdefault(name, [])
                seen += [next(answers) for _ in found]
                left += [max(0, len(self.split.split(rollout.text, count=self.count)) - prefix.steps) for rollout in found]
                if self._settles(name, seen, left):
                    prefix.labels[name] = self._label(name, prefix, seen, left)
        for prefix, found in zip(batch, made, strict=True):
            prefix.used += len(found)
            prefix.truncated += sum(not rollout.ended for rollout in found)

    def _settles(self, name: str, answers: list[float], remaining: list[int]) -> bool:
        if name in self.regimes[JUDGE]:
            return self.budget.settles_majority(answers)
        return self.budget.settles_value(discounted(answers, remaining, gamma=self.gamma))

    def _label(self, name: str, prefix: _Prefix, answers: list[float], remaining: list[int]) -> float:
        if name in self.regimes[JUDGE]:
            return majority(answers)
        score = self.step_scores[name](*prefix.start) if name in self.step_scores else None
        return self.target(answers, remaining, gamma=self.gamma, score=score)

    def _settled(self, prefix: _Prefix) -> bool:
        return all(name in prefix.labels for name in self.asked)

    def _progress(self, stage: str) -> LabelProgress:
        now, made = perf_counter(), self.book.made - self.sampled
        settled = sum(map(self._settled, self.prefixes.values()))
        limit = self.budget.rollouts
        at_most = sum(limit - prefix.used for prefix in self.prefixes.values() if not self._settled(prefix))
        left = (now - self.stage_began) / made * at_most if made and stage == "rollouts" else None
        return LabelProgress(stage, settled, len(self.prefixes), made, now - self.began, left)

    def evidence(self) -> Evidence:
        """Return what the labels rest on."""
        prefixes = list(self.prefixes.values())
        labelled = {name: [p.labels[name] for p in prefixes if name in p.labels] for name in self.asked}
        rolled = [prefix for prefix in prefixes if prefix.used and self._settled(prefix)]
        return Evidence(
            responses=len(self.cut),
            empty=self.empty,
            sampled=self.sampled,
            prefixes=len(prefixes),
            whole=sum(prefix.whole for prefix in prefixes),
            rollouts=sum(prefix.used for prefix in prefixes),
            made=self.book.made - self.sampled,
            saved=sum(self.budget.rollouts - prefix.used for prefix in rolled),
            truncated=sum(prefix.truncated for prefix in prefixes),
            questions=sum(book.asked for book in self.asked.values()),
            labelled={name: len(values) for name, values in labelled.items()},
            balance={name: sum(values) / len(values) for name, values in labelled.items() if values},
            agreement={name: share for name in self.regimes[JUDGE] if (share := _agreement(name, prefixes)) is not None},
            seconds=perf_counter() - self.began,
            stopped=self.stopped,
        )

    def labels(self) -> StepLabels | None:
        """Return the labels of all responses; None where there is no response."""
        if not self.cut:
            return None
        kinds = {name: "value" if regime == VERIFIER else "class" for regime, named in self.regimes.items() for name in named}
        rows = []
        for prompt, steps in self.cut:
            starts = [(Start(prompt, "".join(steps[:count])), count) for count in range(1, len(steps) + 1)]
            rows.append({name: [self.prefixes[start].labels.get(name) for start in starts] for name in kinds})
        prompts, steps = zip(*self.cut, strict=True)
        return StepLabels(kinds=kinds, prompts=prompts, steps=steps, labels=rows, source="label_steps")


def _agreement(name: str, prefixes: Sequence[_Prefix]) -> float | None:
    """The mean share of a prefix's answers that are on the side of its label."""
    shares = [
        sum((answer > 0.5) == (prefix.labels[name] > 0.5) for answer in seen) / len(seen)
        for prefix in prefixes
        if name in prefix.labels and (seen := prefix.answers.get(name))
    ]
    return sum(shares) / len(shares) if shares else None


def _batches(prefixes: Sequence[_Prefix]) -> Iterator[Sequence[_Prefix]]:
    return (prefixes[first : first + _JUDGED_AT_ONCE] for first in range(0, len(prefixes), _JUDGED_AT_ONCE))
