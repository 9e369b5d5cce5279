"""What a set of step labels holds, as counts: responses, steps, joints, and the labels of each objective.

Computed first, printed by `StepReport.__str__`, plain values throughout. Imports: the standard library and `joints`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from paretokit.preferences.joints import bare_joints

__all__ = ["ObjectiveCounts", "StepReport", "count_steps"]


class ObjectiveCounts(NamedTuple):
    """The labels of one objective."""

    objective: str
    kind: str  # "value" or "class"
    labelled: int  # steps
    unlabelled: int
    least: float | None  # of the labels; None where there are none
    mean: float | None
    most: float | None

    @property
    def constant(self) -> bool:
        """Whether all labels are equal, or there are none: a model can learn nothing from them but that number."""
        return self.least == self.most


class StepReport(NamedTuple):
    """Counts over N responses; `str` gives a readable table, `to_json` plain values."""

    source: str
    fingerprint: str
    responses: int
    prompts: int  # distinct ones
    steps: int
    joints: int  # steps that follow the one before without a blank or a line break
    unlabelled: int  # responses without a single label
    objectives: tuple[ObjectiveCounts, ...]
    skipped: int  # records that could not be used
    left_out: Mapping[str, int]  # what the recipe does not use, by its reason

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return self._asdict() | {"objectives": [one._asdict() for one in self.objectives], "left_out": dict(self.left_out)}

    def __str__(self) -> str:
        lines = [
            f"{self.source}: {self.responses} responses to {self.prompts} prompts, {self.steps} steps",
            *(_line(one) for one in self.objectives),
        ]
        if self.joints:
            lines.append(f"{self.joints} steps follow the one before without a blank: see separator of read_step_labels")
        if self.unlabelled:
            lines.append(f"{self.unlabelled} responses without a label, which teach nothing")
        lines += [f"left out: {count} {reason}" for reason, count in self.left_out.items()]
        if self.skipped:
            lines.append(f"skipped: {self.skipped} records that could not be used")
        return "\n".join(lines)


def count_steps(labels: Any) -> StepReport:
    """Return the counts of some `StepLabels`."""
    return StepReport(
        source=labels.source,
        fingerprint=labels.fingerprint,
        responses=len(labels),
        prompts=len(set(labels.prompts)),
        steps=sum(map(len, labels.steps)),
        joints=sum(len(bare_joints(steps)) for steps in labels.steps),
        unlabelled=sum(all(label is None for row in one.values() for label in row) for one in labels.labels),
        objectives=tuple(_counts(name, kind, labels) for name, kind in labels.kinds.items()),
        skipped=len(labels.skipped),
        left_out=labels.left_out,
    )


def _counts(name: str, kind: str, labels: Any) -> ObjectiveCounts:
    row = [label for one in labels.labels for label in one[name]]
    known = [label for label in row if label is not None]
    if not known:
        return ObjectiveCounts(name, kind, 0, len(row), None, None, None)
    return ObjectiveCounts(name, kind, len(known), len(row) - len(known), min(known), sum(known) / len(known), max(known))


def _line(one: ObjectiveCounts) -> str:
    if one.labelled == 0:
        return f"  {one.objective} ({one.kind}): no labels"
    note = ", all equal" if one.constant and one.labelled > 1 else ""
    spread = f"mean {one.mean:.3g}, from {one.least:.3g} to {one.most:.3g}"
    return f"  {one.objective} ({one.kind}): {one.labelled} steps labelled, {one.unlabelled} not; {spread}{note}"
