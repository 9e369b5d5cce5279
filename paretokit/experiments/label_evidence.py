"""What `label_steps` tells beside the labels: how it goes, and what the labels rest on. Imports: rich on use."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

__all__ = ["Evidence", "LabelProgress", "label_lines", "labels_bar"]


class LabelProgress(NamedTuple):
    """How far the labels are."""

    stage: str  # "responses" while they are sampled, then "rollouts"
    settled: int  # prefixes that have all their labels
    prefixes: int
    rollouts: int  # made in this stage; in the first, responses
    seconds: float  # since the call began
    left: float | None  # seconds, if nothing more is settled early, at the pace of this stage; None where there is no pace yet


class Evidence(NamedTuple):
    """What the labels rest on. Counts of prefixes and rollouts are of different prefixes: equal ones are labelled once."""

    responses: int
    empty: int  # responses left out since they have no step
    sampled: int  # responses that were sampled in this call; the others were given, or known from an earlier call
    prefixes: int
    whole: int  # prefixes that are the whole response, which has ended: they need no rollout
    rollouts: int  # that labels rest on
    made: int  # rollouts made in this call; the others were known from an earlier one
    saved: int  # rollouts that settled prefixes did not need, of `rollouts` for each
    truncated: int  # of the rollouts that labels rest on, those cut off by the limit on tokens
    questions: int  # put to verifiers and judges in this call; equal ones once
    labelled: Mapping[str, int]  # by objective: prefixes with a label
    balance: Mapping[str, float]  # by objective: the mean label; of classes, the share of good ones
    agreement: Mapping[str, float]  # by objective judged on rollouts: mean share of a prefix's answers on the label's side
    seconds: float
    stopped: bool  # `stop` was heard: prefixes that were not settled have no label

    @property
    def saving(self) -> float:
        """The share of rollouts that early stopping saved, in [0, 1]."""
        return self.saved / max(1, self.saved + self.rollouts)

    def report(self) -> str:
        """Return a few lines for people.

        >>> print(example_evidence().report())
        2 responses, 5 steps: 24 rollouts (24 made now), 24 saved (50 %), 0 cut off
        accuracy: 5 labels, mean 0.60
        calm: 5 labels, mean 0.40, answers agree to 92 %
        """
        notes = [f"{self.empty} empty responses left out"] * bool(self.empty) + ["stopped before the end"] * self.stopped
        head = (
            f"{self.responses} responses, {self.prefixes} steps: {self.rollouts} rollouts ({self.made} made now), "
            f"{self.saved} saved ({100 * self.saving:.0f} %), {self.truncated} cut off"
        )
        lines = []
        for name, count in self.labelled.items():
            mean = f", mean {self.balance[name]:.2f}" if name in self.balance else ""
            agree = f", answers agree to {100 * self.agreement[name]:.0f} %" if name in self.agreement else ""
            lines.append(f"{name}: {count} labels{mean}{agree}")
        return "\n".join(["; ".join([head, *notes]), *lines])


def example_evidence() -> Evidence:
    """Return small, consistent evidence: for documentation and tests."""
    return Evidence(
        responses=2,
        empty=0,
        sampled=0,
        prefixes=5,
        whole=2,
        rollouts=24,
        made=24,
        saved=24,
        truncated=0,
        questions=50,
        labelled={"accuracy": 5, "calm": 5},
        balance={"accuracy": 0.6, "calm": 0.4},
        agreement={"calm": 0.917},
        seconds=1.5,
        stopped=False,
    )


@contextmanager
def labels_bar(*, shown: bool) -> Iterator[Callable[[LabelProgress], None]]:
    """Yield a function that shows progress on the terminal: prefixes settled, rollouts made, and at most how long is left."""
    if not shown:
        yield lambda progress: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True)) as bar:
        task = bar.add_task("preparing", total=None, note="")

        def show(progress: LabelProgress) -> None:
            left = "" if progress.left is None else f", at most {_duration(progress.left)} left"
            note = f"{progress.rollouts} rollouts{left}"
            total = progress.prefixes or None
            bar.update(task, description=progress.stage, completed=progress.settled, total=total, note=note)

        yield show


def label_lines(tell: Callable[[str], None], *, every: float = 10.0) -> Callable[[LabelProgress], None]:
    """Return a function that tells progress as lines of text, one in `every` seconds at most: for files, where bars are lost.

    >>> show = label_lines(print)
    >>> for seconds in (1.0, 2.0, 12.0):
    ...     show(LabelProgress("rollouts", settled=3, prefixes=8, rollouts=40, seconds=seconds, left=75.0))
    rollouts: 40 made, 3 of 8 prefixes settled, at most 1:15 left
    rollouts: 40 made, 3 of 8 prefixes settled, at most 1:15 left
    """
    told = -every

    def show(progress: LabelProgress) -> None:
        nonlocal told
        if progress.seconds - told >= every:
            told = progress.seconds
            left = "" if progress.left is None else f", at most {_duration(progress.left)} left"
            tell(
                f"{progress.stage}: {progress.rollouts} made, {progress.settled} of {progress.prefixes} prefixes settled{left}"
            )

    return show


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
