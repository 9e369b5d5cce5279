"""`StepLabels`: responses cut into steps, with a label for each step and objective, as a value that nobody can change.

A label is about the text up to the end of its step. What a process reward model is trained on.
Imports: `errors`, `prompts`, and `joints`, `records`, `splits`, `step_report` of this floor.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, NoReturn

from paretokit.errors import DataError, suggestion
from paretokit.preferences.joints import separated
from paretokit.preferences.records import checked_objectives
from paretokit.preferences.splits import held_out_by_prompt
from paretokit.preferences.step_report import StepReport, count_steps
from paretokit.prompts import Prompt, as_prompt, as_text, describe

__all__ = ["FIELDS", "KINDS", "StepLabels", "check_kind", "checked_labels", "checked_steps"]

FIELDS = ("prompt", "steps", "labels", "kind")
KINDS = ("value", "class")

Row = tuple[float | None, ...]


class StepLabels:
    """N responses as steps, with one label for each step and each of m objectives.

    What a label says depends on the kind of its objective: "value" is a number to regress on, such as a discounted share of
    successes; "class" is 1 (good) or 0, or a probability between them. None: not labelled. Larger is better. Labels with equal
    objectives, kinds, texts and numbers in equal order are equal, wherever they came from.

    >>> made = StepLabels(kinds={"accuracy": "value"}, prompts=["2 + 2?"], steps=[["2 + 2", " is 4."]],
    ...     labels=[{"accuracy": [0.81, 1.0]}])
    >>> len(made), made.objectives, made.labels[0]["accuracy"]
    (1, ('accuracy',), (0.81, 1.0))
    """

    _kinds: Mapping[str, str]
    _prompts: tuple[Prompt, ...]
    _steps: tuple[tuple[str, ...], ...]
    _labels: tuple[Mapping[str, Row], ...]
    _source: str
    _skipped: tuple[str, ...]
    _left_out: Mapping[str, int]

    def __init__(
        self,
        *,
        kinds: Mapping[str, str],
        prompts: Sequence[Prompt],
        steps: Sequence[Sequence[str]],
        labels: Sequence[Mapping[str, Sequence[float | None]]],
        source: str = "memory",
        skipped: Sequence[str] = (),
        left_out: Mapping[str, int] | None = None,
    ) -> None:
        """Take the records over, copying what could be changed later.

        `kinds` names the objectives, in order, each with its kind. A record of `labels` need not name all of them: what it
        leaves out is not labelled. `skipped` and `left_out` say what reading left out. Raises `DataError` for what cannot be
        used, naming the record, counted from 0.
        """
        names = checked_objectives(tuple(kinds), source=source, fields=FIELDS)
        sizes = len(prompts), len(steps), len(labels)
        if len(set(sizes)) > 1:
            raise DataError(
                f"{source}: found {sizes[0]} prompts, {sizes[1]} responses as steps and {sizes[2]} records of labels; pass "
                "one of each per response."
            )
        if not prompts:
            raise DataError(f"{source}: found no records, expected at least one.")
        for name in names:
            check_kind(kinds[name], place=f"objective {name!r}")
        places = [f"record {index}" for index in range(len(prompts))]
        cut = tuple(checked_steps(parts, place=f"{place}, steps") for place, parts in zip(places, steps, strict=True))
        self.__dict__.update(
            _kinds=MappingProxyType({name: kinds[name] for name in names}),
            _prompts=tuple(as_prompt(one, place=f"{place}, prompt") for place, one in zip(places, prompts, strict=True)),
            _steps=cut,
            _labels=tuple(
                checked_labels(found, kinds, count=len(parts), place=place)
                for place, found, parts in zip(places, labels, cut, strict=True)
            ),
            _source=source,
            _skipped=tuple(skipped),
            _left_out=MappingProxyType({reason: count for reason, count in (left_out or {}).items() if count}),
        )

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"StepLabels cannot be changed, so {name!r} cannot be set; make new ones with .select(...).")

    __delattr__ = __setattr__  # type: ignore[assignment] # refuses, whatever it is given

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names of the m objectives, in order."""
        return tuple(self._kinds)

    @property
    def kinds(self) -> Mapping[str, str]:
        """By objective: "value" or "class"."""
        return self._kinds

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The N prompts: raw text, or a tuple of chat messages."""
        return self._prompts

    @property
    def steps(self) -> tuple[tuple[str, ...], ...]:
        """The steps of each response; joined, they are the response."""
        return self._steps

    @property
    def labels(self) -> tuple[Mapping[str, Row], ...]:
        """For each response, by objective: a number for each step, or None where it is not labelled."""
        return self._labels

    @property
    def source(self) -> str:
        """Where the labels came from: a path, "DataFrame", "list", "label_steps" or "memory"."""
        return self._source

    @property
    def skipped(self) -> tuple[str, ...]:
        """What reading left out with `on_error="skip"`: one message per record."""
        return self._skipped

    @property
    def left_out(self) -> Mapping[str, int]:
        """What a recipe does not use, counted by its reason, such as "screening questions"."""
        return self._left_out

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of kinds, texts and labels, in hexadecimal; independent of the source and the process."""
        digest = hashlib.sha256(_canonical(list(self._kinds.items())))
        for record in self.to_records():
            digest.update(b"\n" + _canonical(record))
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._prompts)

    def __eq__(self, other: object) -> bool:
        return self.fingerprint == other.fingerprint if isinstance(other, StepLabels) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce__(self) -> tuple[Any, ...]:
        content = (dict(self._kinds), self._prompts, self._steps, tuple(map(dict, self._labels)))
        return _rebuilt, (*content, self._source, self._skipped, dict(self._left_out))

    def __repr__(self) -> str:
        count = sum(map(len, self._steps))
        return (
            f"<StepLabels: {len(self)} responses, {count} steps, objectives {', '.join(self.objectives)}, from {self._source}>"
        )

    def select(self, *, objectives: Sequence[str] | None = None, indices: Iterable[int] | None = None) -> "StepLabels":
        """Return some of the responses, with some of the objectives, in the order given.

        Raises `DataError` for an unknown objective, an index out of range and for nothing left.
        """
        names = self.objectives if objectives is None else checked_objectives(objectives, source="objectives", fields=FIELDS)
        for name in names:
            if name not in self._kinds:
                raise DataError(
                    f"{self._source}: unknown objective {name!r}, expected some of {', '.join(self.objectives)}."
                    f"{suggestion(name, self.objectives)}"
                )
        chosen = list(range(len(self)) if indices is None else indices)
        for index in chosen:
            if not -len(self) <= index < len(self):
                raise DataError(f"indices: found {index}, expected records 0 to {len(self) - 1}.")
        return StepLabels(
            kinds={name: self._kinds[name] for name in names},
            prompts=[self._prompts[index] for index in chosen],
            steps=[self._steps[index] for index in chosen],
            labels=[{name: self._labels[index][name] for name in names} for index in chosen],
            source=self._source,
            skipped=self._skipped,
            left_out=self._left_out,
        )

    def separated(self, separator: str) -> "StepLabels":
        r"""Return the same labels with `separator` between steps that meet without a blank or a line break, see `joints`.

        >>> made = StepLabels(kinds={"right": "class"}, prompts=["2 + 3?"], steps=[["Add.", "It is 5."]],
        ...     labels=[{"right": [1, 1]}])
        >>> made.report().joints, "".join(made.separated(" ").steps[0])
        (1, 'Add. It is 5.')
        """
        return StepLabels(
            kinds=self._kinds,
            prompts=self._prompts,
            steps=[separated(steps, separator) for steps in self._steps],
            labels=self._labels,
            source=self._source,
            skipped=self._skipped,
            left_out=self._left_out,
        )

    def report(self) -> StepReport:
        """Return what the labels hold, as counts; its text is a table. See `StepReport`.

        >>> made = StepLabels(kinds={"calm": "class"}, prompts=["Hi"], steps=[["Oh.", " You?"]], labels=[{"calm": [1, None]}])
        >>> found = made.report()
        >>> found.steps, found.objectives[0].labelled
        (2, 1)
        """
        return count_steps(self)

    def split(self, *, test: float | int, seed: int) -> tuple["StepLabels", "StepLabels"]:
        """Return (train, test) with no prompt in both; as `Preferences.split`, `test` counts responses.

        Raises `ConfigError` for a `test` out of range, `DataError` where one part would be empty.
        """
        held_out = held_out_by_prompt(self._prompts, test=test, seed=seed, source=self._source, noun="responses")
        train = [index for index in range(len(self)) if index not in held_out]
        return self.select(indices=train), self.select(indices=sorted(held_out))

    def to_records(self) -> list[dict[str, Any]]:
        """Return the responses as JSON values, one object each: prompt, steps, labels, kind.

        >>> StepLabels(kinds={"calm": "class"}, prompts=["Hi"], steps=[["Hello."]], labels=[{"calm": [1]}]).to_records()
        [{'prompt': 'Hi', 'steps': ['Hello.'], 'labels': {'calm': [1.0]}, 'kind': {'calm': 'class'}}]
        """
        return [
            {
                "prompt": prompt if isinstance(prompt, str) else [dict(turn) for turn in prompt],
                "steps": list(steps),
                "labels": {name: list(row) for name, row in labels.items()},
                "kind": dict(self._kinds),
            }
            for prompt, steps, labels in zip(self._prompts, self._steps, self._labels, strict=True)
        ]


def check_kind(kind: Any, *, place: str) -> None:
    """Raise `DataError`, naming `place`, for anything but "value" and "class".

    >>> check_kind("clas", place="objective 'calm'")
    Traceback (most recent call last):
    paretokit.errors.DataError: objective 'calm': found the kind 'clas', expected 'value' or 'class'. Did you mean 'class'?
    """
    if kind not in KINDS:
        near = suggestion(kind, KINDS) if isinstance(kind, str) else ""
        raise DataError(f"{place}: found the kind {describe(kind)}, expected 'value' or 'class'.{near}")


def checked_steps(value: Any, *, place: str) -> tuple[str, ...]:
    """Return the steps of a response, checked: a list of texts, none of them empty; `DataError` naming `place`.

    >>> checked_steps(["One.", " Two."], place="record 0, steps")
    ('One.', ' Two.')
    """
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise DataError(f"{place}: found {describe(value)}, expected a list of texts.")
    if not value:
        raise DataError(f"{place}: found none, expected at least one step. Leave the response out.")
    steps = tuple(as_text(step, place=f"{place}, step {index}") for index, step in enumerate(value))
    if "" in steps:
        raise DataError(f"{place}, step {steps.index('')}: found an empty text, expected at least one character. Leave it out.")
    return steps


def checked_labels(value: Mapping[str, Any], kinds: Mapping[str, str], *, count: int, place: str) -> Mapping[str, Row]:
    """Return the labels of a response with `count` steps, by objective in the order of `kinds`; `DataError` naming `place`.

    >>> dict(checked_labels({"calm": [1, None]}, {"calm": "class", "right": "value"}, count=2, place="record 0"))
    {'calm': (1.0, None), 'right': (None, None)}
    """
    for name in value:
        if name not in kinds:
            raise DataError(
                f"{place}: found the objective {name!r}, expected some of {', '.join(kinds)}.{suggestion(name, kinds)}"
            )
    none: Row = (None,) * count
    rows = {}
    for name in kinds:
        row = value.get(name, none)
        if isinstance(row, str) or not isinstance(row, Sequence):
            raise DataError(
                f"{place}, objective {name!r}: found {describe(row)}, expected a list of a number or null per step."
            )
        if len(row) != count:
            raise DataError(f"{place}, objective {name!r}: found {len(row)} labels for {count} steps, expected one for each.")
        rows[name] = tuple(
            _label(label, kinds[name], place=f"{place}, objective {name!r}, step {step}") for step, label in enumerate(row)
        )
    return MappingProxyType(rows)


def _label(value: Any, kind: str, *, place: str) -> float | None:
    if value is None:
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if kind == "class" and not (number and 0 <= value <= 1):
        raise DataError(
            f"{place}: found {describe(value)}, expected a number from 0 to 1 (good) or null (not labelled) for the "
            "kind 'class'."
        )
    if not number:
        raise DataError(f"{place}: found {describe(value)}, expected a finite number or null (not labelled).")
    return float(value)


def _rebuilt(kinds: Any, prompts: Any, steps: Any, labels: Any, source: str, skipped: Any, left_out: Any) -> StepLabels:
    return StepLabels(
        kinds=kinds, prompts=prompts, steps=steps, labels=labels, source=source, skipped=skipped, left_out=left_out
    )


def _canonical(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), sort_keys=True).encode()
