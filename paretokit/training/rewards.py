"""The training loop of reward models: a generator that yields one record per optimizer step.

Per step: the examples that each objective draws, read once, in micro-batches; one loss per objective, the mean over an
example's judged steps, then over examples; the sum of the losses backward; the gradients of the backbone and of each output
scaled down to their norm; optimizer. Of a frozen backbone the hidden states are read once before the first step, and no step
runs it. The loop knows no files and no clock. Imports: `maths`, `models`, the other modules of this floor.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch

from paretokit.errors import ConfigError, NonFiniteError, suggestion
from paretokit.maths.reward_losses import bradley_terry, cross_entropy, squared_error
from paretokit.models.compute import Compute
from paretokit.models.rewards import RewardModel
from paretokit.rows import alike
from paretokit.shapes import Float, Float64, Tensor
from paretokit.training.config import BACKBONE_RATE, RewardConfig, learning_rate
from paretokit.training.reward_examples import (
    Drawn,
    Examples,
    Labels,
    Split,
    draw_for,
    encode_labels,
    kinds_of,
    means_of,
    places_of,
    split,
)
from paretokit.training.update import make_optimizer

__all__ = ["Prepared", "RewardRecord", "iter_reward_train", "losses_of", "prepare", "reward_steps"]

States = Callable[[Sequence[int]], Tensor]  # numbers of examples -> the hidden states at their places, [n, D]


@dataclass(frozen=True, slots=True)
class RewardRecord:
    """One step of a reward model's training: m objectives. Plain numbers; losses: smaller is better."""

    step: int  # counted from 1
    objectives: tuple[str, ...]
    losses: tuple[float, ...]  # [m], before the step: mean squared error, or nats
    gradient_norms: tuple[float, ...]  # [m], of each output, weighted, before the norm clip
    backbone_norm: float  # the same of the backbone; 0 where it is frozen
    learning_rate: float  # of the outputs
    examples: int  # texts, or pairs, that were drawn, each counted once
    tokens: int  # that the backbone read in this step; 0 where it is frozen


class Prepared(NamedTuple):
    """Labels made ready for a reward model."""

    examples: Examples
    split: Split


def prepare(model: RewardModel, labels: Labels, *, config: RewardConfig) -> Prepared:
    """Return the labels as examples, split by prompt. Raises `ConfigError` where model, labels and config do not fit."""
    kinds = kinds_of(labels)
    if kinds != model.kinds or tuple(kinds) != model.objectives:
        raise ConfigError(
            f"labels: found the objectives {_listed(kinds)}, expected {_listed(model.kinds)}, those of the reward model. Make "
            "it with new_reward_model(policy, kinds=kinds_of(labels))."
        )
    if unknown := sorted(set(config.weights or ()) - set(kinds)):
        raise ConfigError(
            f"weights: found {unknown[0]!r}, expected some of {', '.join(kinds)}.{suggestion(unknown[0], kinds)} Correct or "
            "remove the name."
        )
    for name in ("backbone_learning_rate", "autocast", "checkpointing"):
        value = getattr(config, name)
        if model.frozen and value:
            raise ConfigError(
                f"{name}: found {value!r} for a frozen backbone (adapter='none'), expected nothing: it is read once, and not "
                "trained. Leave it out, or load the policy with adapter='lora'."
            )
    if config.step_token is not None and config.step_token != model.step_token:
        raise ConfigError(
            f"step_token: found {config.step_token!r}, expected {model.step_token!r}, that of the reward model. Make it with "
            "new_reward_model(policy, kinds=..., step_token=...)."
        )
    examples = encode_labels(model.policy, labels, max_length=config.max_length, mark=model.mark)
    return Prepared(examples, split(examples, heldout=config.heldout, seed=config.split_seed))


def iter_reward_train(model: RewardModel, labels: Labels, *, config: RewardConfig | None = None) -> Iterator[RewardRecord]:
    """Return the training of a reward model as an iterator: one optimizer step per item. The model is changed.

    `labels` are `StepLabels` (values and classes), `Preferences`, or a list of both with different objectives. What is held
    out is not trained on. Equal arguments give bit-equal records on one machine and thread count. Arguments are checked now,
    not at the first step: raises `ConfigError` and `DataError`; while running `NonFiniteError`, for a step that is not taken.

    >>> from paretokit.models.rewards import new_reward_model
    >>> from paretokit.models.tiny import random_policy
    >>> from paretokit.preferences.step_labels import StepLabels
    >>> labels = StepLabels(kinds={"right": "class"}, prompts=["1 + 1", "2 + 2"], steps=[["2"], ["5"]],
    ...     labels=[{"right": [1]}, {"right": [0]}])
    >>> model = new_reward_model(random_policy(adapter="none"), kinds={"right": "class"})
    >>> records = list(iter_reward_train(model, labels, config=RewardConfig(steps=20, heldout=0, learning_rate=0.1)))
    >>> records[-1].losses[0] < records[0].losses[0]
    True
    """
    config = config or RewardConfig()
    return reward_steps(model, prepare(model, labels, config=config), config=config)


def reward_steps(model: RewardModel, prepared: Prepared, *, config: RewardConfig) -> Iterator[RewardRecord]:
    """Return what `iter_reward_train` returns, of labels that were prepared."""
    examples, training = prepared.examples, prepared.split.training
    draw = draw_for(examples, training, size=config.examples_per_step, seed=config.seed)
    backbone, outputs = list(model.policy.trainable.values()), [list(own.values()) for own in model.outputs.parts.values()]
    groups = [{"params": [part for own in outputs for part in own]}, *([{"params": backbone}] if backbone else [])]
    return _run(model, examples, training, draw, make_optimizer(groups, config=config), outputs, config)


def _run(
    model: RewardModel,
    examples: Examples,
    training: Sequence[int],
    draw: Callable[[int], Drawn],
    optimizer: torch.optim.Optimizer,
    outputs: Sequence[Sequence[Tensor]],
    config: RewardConfig,
) -> Iterator[RewardRecord]:
    names, backbone = examples.objectives, list(model.policy.trainable.values())
    factors = torch.tensor([(config.weights or {}).get(name, 1.0) for name in names], dtype=torch.float64)
    ratio = (config.backbone_learning_rate or BACKBONE_RATE) / config.learning_rate
    states = cached_states(model, examples, training) if model.frozen else live_states(model, examples)
    model.policy.model.eval()  # no dropout: scores are read as they will be
    for step in range(1, config.steps + 1):
        drawn, losses = draw(step), torch.zeros(len(names), dtype=torch.float64)
        optimizer.zero_grad(set_to_none=True)
        with _running(model, Compute(config.autocast, None, config.checkpointing)):
            for part in passes(examples, drawn.examples, config=config, frozen=model.frozen):
                chosen = [drawn.examples[i] for i in part]
                found = _losses(model, examples, states, chosen, drawn.shares[:, part])
                (found * factors.to(found.device)).sum().backward()
                losses += found.detach().cpu()
        norms, backbone_norm = [norm_of(own) for own in outputs], norm_of(backbone)
        if problem := _not_finite(names, losses.tolist(), norms, backbone_norm):
            optimizer.zero_grad(set_to_none=True)
            raise NonFiniteError(
                f"step {step}, {problem}, expected finite ones. The step was not taken. Lower learning_rate, or look at the "
                f"examples {drawn.examples[:8]}."
            )
        for own, norm in zip([*outputs, backbone], [*norms, backbone_norm], strict=True):
            _clip(own, norm, most=config.max_grad_norm)
        rate = learning_rate(config, step=step)
        for group, scale in zip(optimizer.param_groups, (1.0, ratio), strict=False):  # the second where there is a backbone
            group["lr"] = rate * scale
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        read = 0 if model.frozen else sum(len(text.ids) for e in drawn.examples for text in examples.texts[e])
        yield RewardRecord(
            step, names, tuple(losses.tolist()), tuple(norms), backbone_norm, rate, examples=len(drawn.examples), tokens=read
        )


def losses_of(kinds: Sequence[str], scores: Float[Tensor, "m n"], labels: Float64[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    """Return the loss of each objective at n places, by its kind; 0 where nobody judged.

    The label of a preference is about the score at its place and at the next one.

    >>> scores, labels = torch.tensor([[1.0, 3.0], [1.0, 3.0]]), torch.tensor([[2.0, float("nan")], [-1.0, float("nan")]])
    >>> losses_of(["value", "preference"], scores, labels.double())
    tensor([[1.0000, 0.0000],
            [0.1269, 0.0000]])
    """
    rows = []
    for kind, own, wanted in zip(kinds, scores, labels.to(scores.dtype), strict=True):
        if kind == "preference":
            rows.append(bradley_terry((own - own.roll(-1))[None], wanted[None]))
        else:
            rows.append((squared_error if kind == "value" else cross_entropy)(own[None], wanted[None]))
    return torch.cat(rows)


def passes(examples: Examples, chosen: Sequence[int], *, config: RewardConfig, frozen: bool) -> list[list[int]]:
    """Return which of the chosen examples are read together, by their place in `chosen`: of like length, each once. Those of
    a `frozen` backbone are not read, and have no length."""
    sizes = [1 if frozen else sum(len(text.ids) for text in examples.texts[e]) for e in chosen]
    return alike(sizes, size=config.examples_per_backward or len(chosen), budget=config.tokens_per_backward)


def live_states(model: RewardModel, examples: Examples) -> States:
    """Return how hidden states are read anew each time, with gradient."""
    return lambda chosen: model.hidden([text for e in chosen for text in examples.texts[e]])


def cached_states(model: RewardModel, examples: Examples, chosen: Sequence[int]) -> States:
    """Return how hidden states of some examples are looked up that are read once, now."""
    kept = model.features([text for e in chosen for text in examples.texts[e]])
    places, _ = places_of(examples, chosen)
    row = torch.full((examples.labels.shape[1],), -1).index_put((places,), torch.arange(len(places)))

    def look_up(wanted: Sequence[int]) -> Float[Tensor, "n D"]:
        return kept[row[places_of(examples, wanted)[0]]].to(model.policy.device)

    return look_up


def norm_of(parameters: Sequence[Tensor]) -> float:
    """Return the norm of the gradients of some weights, those without one left out."""
    squares = [float(part.grad.double().square().sum()) for part in parameters if part.grad is not None]
    return math.sqrt(math.fsum(squares)) if all(map(math.isfinite, squares)) else math.nan


def _losses(
    model: RewardModel, examples: Examples, states: States, chosen: Sequence[int], shares: Float64[Tensor, "m E"]
) -> Float64[Tensor, " m"]:
    """What some examples add to the mean loss of each objective; differentiable."""
    places, owner = places_of(examples, chosen)
    labels = examples.labels[:, places]
    scores = model.outputs(states(chosen)).T
    losses = losses_of(list(model.kinds.values()), scores, labels.to(scores.device))
    return (losses.double() * means_of(labels, owner, shares).to(scores.device)).sum(dim=1)


def _not_finite(names: Sequence[str], losses: Sequence[float], norms: Sequence[float], backbone_norm: float) -> str:
    """Return the first objective whose loss or gradient is not finite, or the backbone; "" where all are."""
    for name, loss, norm in zip(names, losses, norms, strict=True):
        if not math.isfinite(loss) or not math.isfinite(norm):
            return f"objective {name!r}: found a loss of {loss:g} and, of its output, a gradient of norm {norm:g}"
    return "" if math.isfinite(backbone_norm) else f"the backbone: found a gradient of norm {backbone_norm:g}"


def _clip(parameters: Sequence[Tensor], norm: float, *, most: float) -> None:
    if norm > most:
        for part in parameters:
            if part.grad is not None:
                part.grad.mul_(most / norm)


@contextmanager
def _running(model: RewardModel, how: Compute) -> Iterator[None]:
    """Run the backbone so, for the passes of a step."""
    before, model.policy.compute = model.policy.compute, how
    try:
        yield
    finally:
        model.policy.compute = before


def _listed(kinds: dict[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
