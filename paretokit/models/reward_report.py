"""What a reward model predicts on prompts that it was not trained on: plain numbers, saved with the model.

Imports: the standard library, `maths.calibration`.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from paretokit.maths.calibration import Calibration, Reliability, Temperature

__all__ = ["KINDS", "ObjectiveReport", "RewardReport"]

KINDS = ("value", "class", "preference")


class ObjectiveReport(NamedTuple):
    """Held-out figures of one objective. NaN or None: not defined for its kind, or nothing was judged."""

    kind: str  # one of `KINDS`
    fitted: int  # judged steps or pairs that the temperature was fitted on
    judged: int  # judged steps or pairs of other prompts, on which all that follows is measured
    temperature: Temperature | None  # None: nothing to fit on, or a value; its losses are of the labels it was fitted to
    before: Calibration | None  # at temperature 1; of a preference, each pair counts in both orders
    after: Calibration | None  # at the temperature that the model has
    squared_error: float = math.nan  # of a value: mean squared error; smaller is better
    variance: float = math.nan  # of its labels: the error of the best constant
    spearman: float = math.nan  # rank correlation of score and label; larger is better


class RewardReport(NamedTuple):
    """How a reward model was trained and measured. No prompt is in two of the three parts.

    >>> found = ObjectiveReport("value", 0, 3, None, None, None, squared_error=0.5, variance=1.0)
    >>> report = RewardReport({"right": found}, trained=8, fitted=1, measured=1, cut_steps=0, cut_texts=0)
    >>> RewardReport.from_json(report.to_json()).objectives["right"].squared_error
    0.5
    """

    objectives: Mapping[str, ObjectiveReport]
    trained: int  # prompts
    fitted: int  # prompts of which temperatures were fitted
    measured: int  # prompts of which the figures are
    cut_steps: int  # labelled steps that did not fit into `max_length`, left out
    cut_texts: int  # texts of pairs that did not, cut

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values; NaN becomes None, since JSON has no NaN."""
        objectives = {name: _plain(found) for name, found in self.objectives.items()}
        return {**self._asdict(), "objectives": objectives}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "RewardReport":
        """Return the report that `to_json` wrote. Raises `TypeError` or `KeyError` for missing or unknown fields."""
        return cls(**{**data, "objectives": {name: _objective(found) for name, found in data["objectives"].items()}})


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items()}  # type: ignore[attr-defined] # a NamedTuple
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _objective(data: Mapping[str, Any]) -> ObjectiveReport:
    temperature = data["temperature"]
    return ObjectiveReport(
        **{
            **_numbers(data, keep=("temperature", "before", "after")),
            "temperature": None if temperature is None else Temperature(**_numbers(temperature)),
            "before": _calibration(data["before"]),
            "after": _calibration(data["after"]),
        }
    )


def _calibration(data: Mapping[str, Any] | None) -> Calibration | None:
    if data is None:
        return None
    table = data["reliability"]
    bins: Any = {name: tuple(math.nan if number is None else number for number in table[name]) for name in Reliability._fields}
    return Calibration(**{**_numbers(data, keep=("reliability",)), "reliability": Reliability(**bins)})


def _numbers(data: Mapping[str, Any], *, keep: tuple[str, ...] = ()) -> dict[str, Any]:
    return {name: math.nan if value is None and name not in keep else value for name, value in data.items()}
