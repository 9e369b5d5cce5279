"""What one optimizer step did, as plain numbers: the value that travels from the training loop to files and figures.

Nothing here holds a tensor, so a record can be kept, compared and written as JSON. Imports: the standard library only.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of training: m objectives, P pairs. Losses: smaller is better; margins and losses are in nats.

    A loss is NaN where no pair of the step was judged on that objective; such an objective has a zero gradient and
    `judged` 0. Norms and cosines are those of the gradients accumulated over the whole step, before the norm clip. With
    `combine_every` they are means over the micro-batches, weighted by their pairs: mixtures and coefficients are means, norms
    root mean squares, cosines those of the mean Gramian, the gap the largest; `update_norm` is that of the step itself.

    >>> record = StepRecord.from_json({**example_json(), "step": 3})
    >>> record.step, record.objectives
    (3, ('helpful', 'harmless'))
    >>> StepRecord.from_json(record.to_json()) == record
    True
    """

    step: int  # counted from 1
    method: str
    objectives: tuple[str, ...]
    weights: tuple[float, ...]  # [m], the user's weights at this step
    losses: tuple[float, ...]  # [m], L_i
    judged: tuple[int, ...]  # [m], pairs judged on the objective in this step
    ties: tuple[int, ...]  # [m], judged pairs that are ties
    margins: tuple[float, ...]  # [P], policy minus reference, in nats
    gradient_norms: tuple[float, ...]  # [m], |g_i|
    cosines: tuple[tuple[float, ...], ...]  # [m, m]; NaN beside a zero gradient
    mixture: tuple[float, ...]  # [m], p on the simplex
    clipped: tuple[float, ...]  # [m], min(p, w); the mixture itself where the method does not clip
    coefficients: tuple[float, ...]  # [m], a: the update is sum a_i g_i
    gap: float  # certificate of the mixture, see maths.raco
    preferred_norm: float  # |g_0|, g_0 = sum w_i g_i
    correction_norm: float  # |update - g_0|
    update_norm: float  # |sum a_i g_i|
    norm_scale: float  # factor of the gradient-norm clip, 1 where it did not act
    learning_rate: float
    pairs: int
    tokens: int  # tokens of the pairs of this step, a prompt counted once per response, padding not counted
    positions: int | None = None  # positions that were computed: tokens, a shared prompt counted once, and padding
    backward_passes: int | None = None  # one per micro-batch; one per objective where one is not enough for all
    skipped: bool = False  # the step was not taken, since a loss or gradient was not finite
    wall_time: float | None = None  # seconds since training began; filled in by experiments
    tokens_per_second: float | None = None  # filled in by experiments

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values; NaN becomes None, since JSON has no NaN."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "StepRecord":
        """Return the record that `to_json` wrote. Raises `TypeError` for missing or unknown fields."""
        known = {field.name: data[field.name] for field in fields(cls) if field.name in data}
        if unknown := sorted(set(data) - set(known)):
            raise TypeError(f"StepRecord: unknown fields {unknown}; the record was written by another version.")
        return cls(**{name: _value(name, value) for name, value in known.items()})


_NULLABLE = {"wall_time", "tokens_per_second", "positions", "backward_passes"}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _value(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_value(name, item) for item in value)
    return math.nan if value is None and name not in _NULLABLE else value


def example_json() -> dict[str, Any]:
    """Return the JSON of a small, consistent record: for documentation and tests."""
    return {
        "step": 1,
        "method": "raco",
        "objectives": ["helpful", "harmless"],
        "weights": [0.2, 0.8],
        "losses": [0.69, 0.7],
        "judged": [2, 2],
        "ties": [0, 1],
        "margins": [0.1, -0.2],
        "gradient_norms": [4.123, 1.414],
        "cosines": [[1.0, -0.857], [-0.857, 1.0]],
        "mixture": [0.356, 0.644],
        "clipped": [0.2, 0.644],
        "coefficients": [0.328, 1.211],
        "gap": 0.0,
        "preferred_norm": 0.6,
        "correction_norm": 0.3,
        "update_norm": 0.88,
        "norm_scale": 1.0,
        "learning_rate": 1e-3,
        "pairs": 2,
        "tokens": 120,
    }
