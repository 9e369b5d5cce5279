"""The training loop: a generator that aligns a policy to several objectives and yields one record per optimizer step.

Per step, in this order: gradients of every objective, summed over micro-batches; their Gramian; coefficients; combined
gradient; norm clip; optimizer. The loop knows no files, no clock and no plot: a live view is a `for` over its records, and
leaving the `for` stops the training with everything learnt so far kept in the policy. Imports: `maths`, `models`,
`preferences`, `texts`.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from hashlib import blake2b

import torch

from paretokit.errors import ConfigError, NonFiniteError
from paretokit.maths.gramian import combine as weighted_sum
from paretokit.maths.gramian import cosines, norms
from paretokit.maths.losses import judged as judged_pairs
from paretokit.maths.losses import reduce as mean_losses
from paretokit.maths.simplex import resolve as resolve_weights
from paretokit.models.policy import Policy
from paretokit.preferences.records import Preferences
from paretokit.rows import alike
from paretokit.shapes import Float, Tensor
from paretokit.texts import EncodedPair
from paretokit.training import methods
from paretokit.training.config import TrainConfig, learning_rate
from paretokit.training.encode import encode_preferences
from paretokit.training.jacobian import Jacobian, add, batch_for, objective_jacobian
from paretokit.training.methods import Schedule, Weights
from paretokit.training.records import StepRecord
from paretokit.training.references import References, missing, reference_margins
from paretokit.training.state import TrainState


def iter_train(
    policy: Policy,
    preferences: Preferences,
    *,
    method: str | methods.Combine = "raco",
    weights: Weights | Schedule,
    config: TrainConfig | None = None,
    references: References | None = None,
) -> Iterator[StepRecord]:
    """Return the training of `policy` on `preferences` as an iterator: one optimizer step per item. The policy is changed.

    `weights` is a mapping by objective, a sequence in the order of `preferences.objectives`, or a function from the step
    (counted from 1) to either; non-negative, sum 1. `method` is a name of `methods()` or a function of the Gramian.
    `references` keeps reference log-probabilities between runs (default: for this run only).
    Arguments are checked now, not at the first step. Equal arguments give bit-equal records on one machine and thread
    count. Raises `ConfigError`, `WeightsError`, `DataError`, and, while running, `NonFiniteError`; a step that raises has
    not changed the policy.

    >>> from paretokit.models.tiny import random_policy
    >>> from paretokit.preferences.read import read_preferences
    >>> labels = {"kind": 1, "short": -1}
    >>> pairs = read_preferences([{"prompt": "Hi", "response_a": "Yes.", "response_b": "No no.", "labels": labels}])
    >>> config = TrainConfig(steps=2, pairs_per_step=4)
    >>> records = list(iter_train(random_policy(seed=0), pairs, method="linear", weights=[0.5, 0.5], config=config))
    >>> [round(loss, 4) for loss in records[0].losses]
    [0.6931, 0.6931]
    """
    steps = iter_steps(policy, preferences, method=method, weights=weights, config=config, references=references)
    return (record for record, _ in steps)


def iter_steps(
    policy: Policy,
    preferences: Preferences,
    *,
    method: str | methods.Combine = "raco",
    weights: Weights | Schedule,
    config: TrainConfig | None = None,
    references: References | None = None,
    resume: TrainState | None = None,
) -> Iterator[tuple[StepRecord, TrainState]]:
    """Return what `iter_train` returns, each record with the state of the optimizer after it.

    With `resume`, the state after some step k and a policy that holds the weights of that moment, the items are those of
    step k + 1 and later, bit for bit those of an uninterrupted run.
    """
    config = config or TrainConfig()
    name, function = methods.resolve(method, config)
    schedule = weights if callable(weights) else lambda step: weights
    resolve_weights(schedule(1), preferences.objectives)
    _check(policy, preferences, config=config)
    pairs = encode_preferences(policy, preferences, max_length=config.max_length)
    references = {} if references is None else references
    if policy.adapter == "full" and missing(pairs, references):  # the reference is gone once the weights have moved
        reference_margins(policy, pairs, references)
    optimizer = _optimizer(policy, config=config, resume=resume)
    first = 1 if resume is None else resume.step + 1
    return _run(policy, preferences, pairs, name, function, schedule, config, references, optimizer, first)


def _run(
    policy: Policy,
    preferences: Preferences,
    pairs: Sequence[EncodedPair],
    name: str,
    function: methods.Combine,
    schedule: Schedule,
    config: TrainConfig,
    references: References,
    optimizer: torch.optim.Optimizer,
    first: int,
) -> Iterator[tuple[StepRecord, TrainState]]:
    parameters = policy.trainable
    policy.model.eval()  # no dropout: the policy is compared with its reference
    for step in range(first, config.steps + 1):
        drawn = order(len(pairs), step=step, size=config.pairs_per_step, seed=config.seed)
        size = config.pairs_per_backward or len(drawn)
        groups = alike([pairs[i].tokens for i in drawn], size=size, budget=config.tokens_per_backward)
        chosen = [drawn[i] for group in groups for i in group]
        labels = preferences.labels[:, chosen]
        counts = judged_pairs(labels)
        reference = reference_margins(policy, [pairs[i] for i in chosen], references)
        parts, start = [], 0
        for group in groups:
            part = slice(start, start + len(group))
            start = part.stop
            ids = torch.tensor(chosen[part])
            batch = batch_for(policy, [pairs[i] for i in chosen[part]], labels[:, part], reference[part], ids)
            parts.append(objective_jacobian(policy, batch, beta=config.beta, judged=counts.to(policy.device)))
        jacobian = add(parts)
        gram = jacobian.gram.cpu()
        _check_finite(jacobian, gram, labels, chosen, preferences.objectives, step=step)

        w = torch.tensor(resolve_weights(schedule(step), preferences.objectives), dtype=torch.float64)
        generator = torch.Generator().manual_seed(stream(config.seed, "method", step))
        result = methods.combine(function, gram, w, generator=generator)
        update_norm = _norm(gram, result.coefficients)
        scale = min(1.0, config.max_grad_norm / update_norm) if update_norm > 0 else 1.0
        rate = learning_rate(config, step=step)
        update = weighted_sum(jacobian.rows, result.coefficients * scale)
        for parameter, gradient in zip(parameters.values(), update, strict=True):
            parameter.grad = gradient
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

        record = StepRecord(
            step=step,
            method=name,
            objectives=preferences.objectives,
            weights=tuple(w.tolist()),
            losses=_losses(jacobian, counts),
            judged=tuple(int(count) for count in counts.tolist()),
            ties=tuple((labels == 0).sum(dim=1).tolist()),
            margins=tuple(jacobian.margins.tolist()),
            gradient_norms=tuple(norms(gram).tolist()),
            cosines=tuple(tuple(row) for row in cosines(gram).tolist()),
            mixture=tuple(result.mixture.tolist()),
            clipped=tuple(result.clipped.tolist()),
            coefficients=tuple(result.coefficients.tolist()),
            gap=float(result.gap),
            preferred_norm=_norm(gram, w),
            correction_norm=_norm(gram, result.coefficients - w),
            update_norm=update_norm,
            norm_scale=scale,
            learning_rate=rate,
            pairs=len(chosen),
            tokens=sum(pairs[i].tokens for i in chosen),
        )
        yield record, TrainState(step, _optimizer_state(policy, optimizer))


def order(total: int, *, step: int, size: int, seed: int) -> list[int]:
    """Return the indices of the pairs of a step (counted from 1): the pairs are read in one seeded shuffle after another,
    `size` at a time, so that the pairs of a step follow from its number alone.

    >>> order(3, step=1, size=2, seed=0) + order(3, step=2, size=2, seed=0)[:1] != [0, 0, 0]
    True
    >>> sorted(order(4, step=1, size=4, seed=7))
    [0, 1, 2, 3]
    """
    positions = range((step - 1) * size, step * size)
    epochs = {position // total for position in positions}
    shuffles = {
        epoch: torch.randperm(total, generator=torch.Generator().manual_seed(stream(seed, "order", epoch))).tolist()
        for epoch in epochs
    }
    return [shuffles[position // total][position % total] for position in positions]


def stream(seed: int, purpose: str, index: int) -> int:
    """Return a seed of its own for each (seed, purpose, index), below 2^63.

    >>> stream(0, "order", 1) == stream(0, "order", 1) != stream(0, "method", 1)
    True
    """
    return int.from_bytes(blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=8).digest(), "big") >> 1


def _norm(gram: Float[Tensor, "m m"], coefficients: Float[Tensor, " m"]) -> float:
    """|sum_i a_i g_i| = sqrt(a'Ga), with rounding below zero taken as zero."""
    a = coefficients.to(torch.float64)
    return math.sqrt(max(float(a @ gram.to(torch.float64) @ a), 0.0))


def _losses(jacobian: Jacobian, counts: Tensor) -> tuple[float, ...]:
    means = mean_losses(jacobian.losses.cpu(), judged=counts)
    return tuple(mean if count else math.nan for mean, count in zip(means.tolist(), counts.tolist(), strict=True))


def _check(policy: Policy, preferences: Preferences, *, config: TrainConfig) -> None:
    if not policy.trainable:
        raise ConfigError(
            f"policy: found nothing trainable (adapter={policy.adapter!r}), expected an adapter or full fine-tuning. "
            "Load it with adapter='lora' or adapter='full'."
        )
    if config.pairs_per_step <= 2 and len(preferences.objectives) > 1:
        warnings.warn(
            f"pairs_per_step={config.pairs_per_step}: the gradients of all objectives lie in a space of that many "
            "dimensions, so the combination is degenerate. Take more pairs a step.",
            UserWarning,
            stacklevel=3,
        )


def _check_finite(
    jacobian: Jacobian, gram: Tensor, labels: Tensor, chosen: Sequence[int], objectives: Sequence[str], *, step: int
) -> None:
    """Raise before anything has changed; name the objective, the step and the pairs."""
    bad_pairs = (~torch.isfinite(jacobian.margins)).nonzero().flatten().tolist()
    for index, objective in enumerate(objectives):
        if not bool(torch.isfinite(gram[index, index])) or not bool(torch.isfinite(jacobian.losses[index]).all()):
            where = [chosen[i] for i in bad_pairs] or [chosen[i] for i in labels[index].isfinite().nonzero().flatten().tolist()]
            raise NonFiniteError(
                f"step {step}, objective {objective!r}: found a loss or gradient that is not finite, in the pairs {where}. "
                "The step was not taken. Lower learning_rate or beta, or look at these pairs."
            )


def _optimizer(policy: Policy, *, config: TrainConfig, resume: TrainState | None) -> torch.optim.Optimizer:
    parameters = list(policy.trainable.values())
    if config.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(parameters, lr=config.learning_rate)
    else:
        optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
    if resume is not None:
        for name, parameter in policy.trainable.items():
            prefix = f"{name}."
            moments = {key[len(prefix) :]: value.clone() for key, value in resume.optimizer.items() if key.startswith(prefix)}
            if moments:
                optimizer.state[parameter] = moments
    return optimizer


def _optimizer_state(policy: Policy, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}.{moment}": value
        for name, parameter in policy.trainable.items()
        for moment, value in optimizer.state[parameter].items()
        if isinstance(value, Tensor)
    }
