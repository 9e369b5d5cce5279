"""The configuration of one training run: a frozen value whose every field is documented, checked and written as JSON.

The line that documents a field is also its help in the shell. Imports: the standard library and `errors`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from paretokit.errors import ConfigError, suggestion

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "linear", "constant")
NON_FINITE = ("stop", "skip")
AUTOCASTS = ("bfloat16", "float16")


def _option(default: Any, description: str, *, check: Callable[[Any], bool], expected: str) -> Any:
    return field(default=default, metadata={"help": description, "check": check, "expected": expected})


def _whole(low: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= low


def _real(low: float, high: float, *, low_open: bool = False) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        return number and (low < value if low_open else low <= value) and value < high

    return check


def _optional(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _betas(value: Any) -> bool:
    positive = _real(0, math.inf, low_open=True)
    return isinstance(value, dict) and all(isinstance(name, str) and positive(beta) for name, beta in value.items())


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How to train; what to train on, with which method and weights, are arguments of `train`.

    Raises `ConfigError`, naming the field, for a value out of range.

    >>> config = TrainConfig(steps=5, c=0.4)
    >>> TrainConfig.from_json(config.to_json()) == config
    True
    >>> TrainConfig(c=1.0)
    Traceback (most recent call last):
    paretokit.errors.ConfigError: c: found 1.0, expected 0 <= c < 1. Change c in the TrainConfig or on the command line.
    """

    steps: int = _option(40, "optimizer steps", check=_whole(1), expected="a whole number >= 1")
    pairs_per_step: int = _option(8, "preference pairs in one optimizer step", check=_whole(1), expected="a whole number >= 1")
    pairs_per_backward: int | None = _option(
        None,
        "pairs in one forward and backward pass; smaller needs less memory and gives the same update (default: all)",
        check=_optional(_whole(1)),
        expected="a whole number >= 1, or nothing",
    )
    tokens_per_backward: int = _option(
        2048,
        "tokens in one forward and backward pass; smaller needs less memory and gives the same update",
        check=_whole(1),
        expected="a whole number >= 1",
    )
    learning_rate: float = _option(2e-4, "peak learning rate", check=_real(0, math.inf, low_open=True), expected="a number > 0")
    beta: float = _option(
        0.2,
        "DPO's inverse temperature (0.2 in RACO's release)",
        check=_real(0, math.inf, low_open=True),
        expected="a number > 0",
    )
    head_betas: Mapping[str, float] | None = _option(
        None,
        "beta of some heads, where it is another one: name=number,... (methods mah-dpo and mah-raco)",
        check=_optional(_betas),
        expected="numbers > 0 by objective, or nothing",
    )
    c: float = _option(
        0.4,
        "radius of the conflict correction, relative to the preferred gradient",
        check=_real(0, 1),
        expected="0 <= c < 1",
    )
    max_length: int | None = _option(
        None,
        "tokens of prompt and response together; what is longer is cut, and counted (default: 512, or the model's context)",
        check=_optional(_whole(2)),
        expected="a whole number >= 2, or nothing",
    )
    max_grad_norm: float = _option(
        1.0,
        "the combined gradient is scaled down to this norm",
        check=_real(0, math.inf, low_open=True),
        expected="a number > 0",
    )
    optimizer: str = _option(
        "adamw",
        f"one of {', '.join(OPTIMIZERS)}",
        check=lambda value: value in OPTIMIZERS,
        expected=f"one of {', '.join(OPTIMIZERS)}",
    )
    schedule: str = _option(
        "cosine",
        f"learning-rate schedule after the warm-up: one of {', '.join(SCHEDULES)}",
        check=lambda value: value in SCHEDULES,
        expected=f"one of {', '.join(SCHEDULES)}",
    )
    warmup: float = _option(
        0.1, "share of the steps in which the learning rate rises", check=_real(0, 1), expected="0 <= warmup < 1"
    )
    weight_decay: float = _option(
        0.0,
        "decoupled weight decay (AdamW); not part of the objectives' gradients",
        check=_real(0, math.inf),
        expected="a number >= 0",
    )
    seed: int = _option(
        0, "seed of adapter initialisation, data order and method", check=_whole(0), expected="a whole number >= 0"
    )
    on_non_finite: str = _option(
        "stop",
        "a step whose loss or gradient is not finite: stop with an error, or skip it; it is never taken",
        check=lambda value: value in NON_FINITE,
        expected=f"one of {', '.join(NON_FINITE)}",
    )
    checkpointing: bool = _option(
        False,
        "keep each layer's inputs alone and compute it once more in the backward pass: less memory, more time",
        check=lambda value: isinstance(value, bool),
        expected="true or false",
    )
    autocast: str | None = _option(
        None,
        "precision of the matrix products, by torch.autocast: bfloat16 or float16 (default: as the model is)",
        check=_optional(lambda value: value in AUTOCASTS),
        expected=f"one of {', '.join(AUTOCASTS)}, or nothing",
    )
    compiler: str | None = _option(
        None,
        "compile the model with this backend of torch.compile, such as inductor; then each objective has a backward pass",
        check=_optional(lambda value: isinstance(value, str) and bool(value)),
        expected="the name of a backend, or nothing",
    )
    threads: int | None = _option(
        None,
        "torch threads of the run (default: as torch is set)",
        check=_optional(_whole(1)),
        expected="a whole number >= 1, or nothing",
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not item.metadata["check"](value):
                raise ConfigError(
                    f"{item.name}: found {value!r}, expected {item.metadata['expected']}. "
                    f"Change {item.name} in the TrainConfig or on the command line."
                )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "TrainConfig":
        """Return the config that `to_json` wrote; fields that are absent keep their default, unknown ones are an error."""
        names = [item.name for item in fields(cls)]
        for name in data:
            if name not in names:
                raise ConfigError(
                    f"TrainConfig: found the unknown field {name!r}, expected some of {', '.join(names)}."
                    f"{suggestion(name, names)} Remove it, or correct its name."
                )
        return cls(**data)

    def replace(self, **changes: Any) -> "TrainConfig":
        """Return a copy with some fields changed; checked like a new one."""
        return replace(self, **changes)


def learning_rate(config: TrainConfig, *, step: int) -> float:
    """Return the learning rate of a step (counted from 1): a linear rise, the peak at the first step after the warm-up,
    then the schedule, which would reach zero one step after the last (`constant` stays at the peak).

    >>> config = TrainConfig(steps=4, warmup=0.25, learning_rate=1.0, schedule="linear")
    >>> [round(learning_rate(config, step=step), 3) for step in (1, 2, 3, 4)]
    [0.5, 1.0, 0.667, 0.333]
    """
    rising = round(config.warmup * config.steps)
    if step <= rising:
        return config.learning_rate * step / (rising + 1)
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - 1 - rising) / (config.steps - rising)
    factor = 1 - done if config.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return config.learning_rate * factor
