"""The configurations of a training run and of a reward model's: frozen, documented, checked values, see `fields`.

Imports: the standard library, `errors` and `fields`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from paretokit.errors import ConfigError
from paretokit.training.fields import Checked, numbers_by_name, option, optional, real, same_as, whole

__all__ = [
    "AUTOCASTS",
    "BACKBONE_RATE",
    "NON_FINITE",
    "OPTIMIZERS",
    "SCHEDULES",
    "RewardConfig",
    "TrainConfig",
    "learning_rate",
]

OPTIMIZERS = ("adamw", "sgd", "rmsprop")
SCHEDULES = ("cosine", "linear", "constant")
NON_FINITE = ("stop", "skip")
AUTOCASTS = ("bfloat16", "float16")
BACKBONE_RATE = 2e-4
if TYPE_CHECKING:
    Steps = int  # beyond `training.sampling.counted`, which every use of a configuration begins with
else:
    Steps = int | None  # None: epochs are given
STEPS = 40  # where neither steps nor epochs are given


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig(Checked):
    """How to train; what to train on, with which method and weights, are arguments of `train`.

    How long is said by `steps` or by `epochs`: the one that is given counts, 40 steps where neither is. With epochs, `steps` is
    None until the pairs are known; then epochs become steps (`training.sampling.counted`), and a run by epochs is the run by
    that number of steps, in every record and by name.

    beta: the commands that RACO released pass none and so run at 0.1, while its README says 0.2; the default here is 0.2.

    Raises `ConfigError`, naming the field, for a value out of range, and where both steps and epochs are given.

    >>> config = TrainConfig(steps=5, c=0.4)
    >>> TrainConfig.from_json(config.to_json()) == config
    True
    >>> TrainConfig(c=1.0)
    Traceback (most recent call last):
    paretokit.errors.ConfigError: c: found 1.0, expected 0 <= c < 1. Change c in the TrainConfig or on the command line.
    """

    where: ClassVar[str] = "the TrainConfig or on the command line"

    steps: Steps = option(  # noqa: RUF009 (a field)
        None,
        f"optimizer steps (default: {STEPS}, where no epochs are given)",
        check=whole(1),
        expected="a whole number >= 1",
        or_else="epochs",
    )
    epochs: float | None = option(
        None,
        "passes over the training pairs, in place of steps; the last step is filled up from the next shuffle",
        check=optional(real(0, math.inf, low_open=True)),
        expected="a number > 0, or nothing",
        later=True,
    )
    pairs_per_step: int = option(8, "preference pairs in one optimizer step", check=whole(1), expected="a whole number >= 1")
    pairs_per_backward: int | None = option(
        None,
        "pairs in one forward and backward pass; smaller needs less memory and gives the same update (default: all)",
        check=optional(whole(1)),
        expected="a whole number >= 1, or nothing",
    )
    tokens_per_backward: int = option(
        2048,
        "tokens in one forward and backward pass; smaller needs less memory and gives the same update",
        check=whole(1),
        expected="a whole number >= 1",
    )
    combine_every: int | None = option(
        None,
        "pairs whose gradients are combined by themselves; the step is the mean of these combinations, as in RACO's released "
        "code, which combines each micro-batch; a loss is then the mean over its micro-batch (default: all pairs of the step)",
        check=optional(whole(1)),
        expected="a whole number >= 1, or nothing",
        later=True,
    )
    learning_rate: float = option(2e-4, "peak learning rate", check=real(0, math.inf, low_open=True), expected="a number > 0")
    beta: float = option(
        0.2,
        "DPO's inverse temperature (RACO's README says 0.2, its released commands run at 0.1)",
        check=real(0, math.inf, low_open=True),
        expected="a number > 0",
    )
    head_betas: Mapping[str, float] | None = option(
        None,
        "beta of some heads, where it is another one: name=number,... (methods mah-dpo and mah-raco)",
        check=optional(numbers_by_name),
        expected="numbers > 0 by objective, or nothing",
    )
    head_noise: float = option(
        0.0,
        "standard deviation of the noise that is added to the heads before the first step: MAHALO's release adds 0.001; the "
        "reference stays without, as there (methods mah-dpo and mah-raco)",
        check=real(0, math.inf),
        expected="a number >= 0",
        later=True,
    )
    c: float = option(
        0.4,
        "radius of the conflict correction, relative to the preferred gradient",
        check=real(0, 1),
        expected="0 <= c < 1",
    )
    max_length: int | None = option(
        None,
        "tokens of prompt and response together; what is longer is cut, and counted (default: 512, or the model's context)",
        check=optional(whole(2)),
        expected="a whole number >= 2, or nothing",
    )
    max_grad_norm: float = option(
        1.0,
        "the combined gradient is scaled down to this norm",
        check=real(0, math.inf, low_open=True),
        expected="a number > 0",
    )
    optimizer: str = option(
        "adamw",
        f"one of {', '.join(OPTIMIZERS)}; rmsprop is that of DPO's reference code and of MAHALO",
        check=lambda value: value in OPTIMIZERS,
        expected=f"one of {', '.join(OPTIMIZERS)}",
    )
    schedule: str = option(
        "cosine",
        f"learning-rate schedule after the warm-up: one of {', '.join(SCHEDULES)}",
        check=lambda value: value in SCHEDULES,
        expected=f"one of {', '.join(SCHEDULES)}",
    )
    warmup: float = option(
        0.1, "share of the steps in which the learning rate rises", check=real(0, 1), expected="0 <= warmup < 1"
    )
    weight_decay: float = option(
        0.0,
        "decoupled weight decay, of adamw alone; not part of the objectives' gradients",
        check=real(0, math.inf),
        expected="a number >= 0",
    )
    seed: int = option(
        0, "seed of adapter initialisation, data order and method", check=whole(0), expected="a whole number >= 0"
    )
    on_non_finite: str = option(
        "stop",
        "a step whose loss or gradient is not finite: stop with an error, or skip it; it is never taken",
        check=lambda value: value in NON_FINITE,
        expected=f"one of {', '.join(NON_FINITE)}",
    )
    checkpointing: bool = option(
        False,
        "keep each layer's inputs alone and compute it once more in the backward pass: less memory, more time",
        check=lambda value: isinstance(value, bool),
        expected="true or false",
    )
    autocast: str | None = option(
        None,
        "precision of the matrix products, by torch.autocast: bfloat16 or float16 (default: as the model is)",
        check=optional(lambda value: value in AUTOCASTS),
        expected=f"one of {', '.join(AUTOCASTS)}, or nothing",
    )
    compiler: str | None = option(
        None,
        "compile the model with this backend of torch.compile, such as inductor; then each objective has a backward pass",
        check=optional(lambda value: isinstance(value, str) and bool(value)),
        expected="the name of a backend, or nothing",
    )
    threads: int | None = option(
        None,
        "torch threads of the run (default: as torch is set)",
        check=optional(whole(1)),
        expected="a whole number >= 1, or nothing",
    )

    def __post_init__(self) -> None:
        if self.steps is None and self.epochs is None:
            object.__setattr__(self, "steps", STEPS)
        Checked.__post_init__(self)
        if self.steps is not None and self.epochs is not None:
            raise ConfigError(
                f"epochs: found epochs={self.epochs} and steps={self.steps}, expected one of them. Leave one out; on a copy of "
                "a configuration that has steps, replace(epochs=...) does."
            )

    def replace(self, **changes: Any) -> "TrainConfig":
        """Return a copy with some fields changed, checked like a new one; steps take the place of epochs, epochs of steps."""
        for one, other in (("epochs", "steps"), ("steps", "epochs")):
            if changes.get(one) is not None and other not in changes:
                changes[other] = None
        return replace(self, **changes)


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardConfig(Checked):
    """How to train a reward model; on which backbone and which labels are arguments of `train_reward_model`.

    Raises `ConfigError`, naming the field, for a value out of range.

    >>> config = RewardConfig(steps=5, width=64)
    >>> RewardConfig.from_json(config.to_json()) == config
    True
    >>> RewardConfig(heldout=1.0)
    Traceback (most recent call last):
    paretokit.errors.ConfigError: heldout: found 1.0, expected 0 <= heldout < 1. Change heldout in the RewardConfig.
    """

    where: ClassVar[str] = "the RewardConfig"

    steps: int = same_as(TrainConfig, "steps", default=200, help="optimizer steps", or_else="")
    examples_per_step: int = option(
        16, "texts, or pairs of texts, of each objective in one optimizer step", check=whole(1), expected="a whole number >= 1"
    )
    examples_per_backward: int | None = same_as(
        TrainConfig,
        "pairs_per_backward",
        help="texts, or pairs, in one forward and backward pass; smaller needs less memory and gives the same update",
    )
    tokens_per_backward: int = same_as(TrainConfig, "tokens_per_backward")
    learning_rate: float = same_as(TrainConfig, "learning_rate", default=3e-3, help="peak learning rate of the outputs")
    backbone_learning_rate: float | None = option(
        None,
        f"peak learning rate of a backbone that is trained (default: {BACKBONE_RATE:g})",
        check=optional(real(0, math.inf, low_open=True)),
        expected="a number > 0, or nothing",
    )
    width: int | None = option(
        None,
        "units between hidden state and output (default: none, linear outputs)",
        check=optional(whole(1)),
        expected="a whole number >= 1, or nothing",
    )
    step_token: str | None = option(
        None,
        "token put behind each step, at which its score is read, such as <extra_0> (default: none, at the step's last token)",
        check=optional(lambda value: isinstance(value, str) and bool(value)),
        expected="a token of the tokenizer, or nothing",
    )
    weights: Mapping[str, float] | None = option(
        None,
        "factors of the losses of some objectives, by name (default: 1 each)",
        check=optional(numbers_by_name),
        expected="numbers > 0 by objective, or nothing",
    )
    heldout: float = option(
        0.2,
        "share of the prompts that are not trained on: half of them to fit temperatures, half to measure",
        check=real(0, 1),
        expected="0 <= heldout < 1",
    )
    split_seed: int = option(
        0, "seed of the split by prompt, the same for all runs to be compared", check=whole(0), expected="a whole number >= 0"
    )
    bins: int = option(10, "bins of the reliability tables", check=whole(1), expected="a whole number >= 1")
    max_length: int | None = same_as(
        TrainConfig,
        "max_length",
        help="tokens of a text; steps and ends of responses beyond are left out, and counted (default: the model's context)",
    )
    max_grad_norm: float = same_as(
        TrainConfig, "max_grad_norm", help="the gradients of the backbone and of each output are scaled down to this norm"
    )
    optimizer: str = same_as(TrainConfig, "optimizer")
    schedule: str = same_as(TrainConfig, "schedule")
    warmup: float = same_as(TrainConfig, "warmup")
    weight_decay: float = same_as(TrainConfig, "weight_decay", default=0.01)
    seed: int = same_as(TrainConfig, "seed", help="seed of the outputs' start and of the order of the data")
    checkpointing: bool = same_as(TrainConfig, "checkpointing")
    autocast: str | None = same_as(TrainConfig, "autocast")
    threads: int | None = same_as(TrainConfig, "threads")


def learning_rate(config: TrainConfig | RewardConfig, *, step: int) -> float:
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
