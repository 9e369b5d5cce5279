"""The training loop: a generator that aligns a policy to several objectives and yields one record per optimizer step.

Per step, in this order: gradients of every objective, summed over micro-batches; their Gramian; coefficients; combined
gradient; norm clip; optimizer. The loop knows no files, no clock and no plot: a live view is a `for` over its records, and
leaving the `for` stops the training with everything learnt so far kept in the policy. Imports: `maths`, `models`,
`preferences`, `texts`.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from traceback import clear_frames
from typing import NamedTuple

import torch

from paretokit.errors import ConfigError, MemoryLimitError, ModelError, NonFiniteError, suggestion
from paretokit.maths.gramian import combine as weighted_sum
from paretokit.maths.gramian import cosines, norms
from paretokit.maths.losses import judged as judged_pairs
from paretokit.maths.losses import reduce as mean_losses
from paretokit.maths.raco import Combination
from paretokit.maths.simplex import resolve as resolve_weights
from paretokit.models.compute import Compute, out_of_memory
from paretokit.models.policy import Policy
from paretokit.preferences.pack import Packing, packing
from paretokit.preferences.records import Preferences
from paretokit.shapes import Float, Int, Tensor
from paretokit.texts import EncodedPair
from paretokit.training import methods
from paretokit.training.config import TrainConfig, learning_rate
from paretokit.training.encode import encode_preferences
from paretokit.training.jacobian import Jacobian, accumulate, batch_for, objective_jacobian, on_host
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
    policy.compute = compute_of(config)
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
    policy.model.eval()  # no dropout: the policy is compared with its reference
    size = config.pairs_per_backward or config.pairs_per_step
    for step in range(first, config.steps + 1):
        drawn = order(len(pairs), step=step, size=config.pairs_per_step, seed=config.seed)
        read = [pairs[index] for index in drawn]
        plan = packing(read, allows=policy.sharing.allows, size=size, budget=config.tokens_per_backward)
        chosen = [drawn[index] for one in plan.passes for index in one.pairs]
        labels = preferences.labels[:, chosen]
        counts = judged_pairs(labels)
        w = torch.tensor(resolve_weights(schedule(step), preferences.objectives), dtype=torch.float64)
        with _memory(plan, config=config, step=step):
            reference = reference_margins(policy, [pairs[i] for i in chosen], references)
            jacobian = _gradients(policy, pairs, plan, chosen, labels, reference, counts, beta=config.beta)
            losses, margins, gram = on_host(jacobian)
            problem = _not_finite(losses, margins, gram, labels, chosen, preferences.objectives)
            if problem and config.on_non_finite == "stop":
                raise NonFiniteError(f"step {step}, {problem} The step was not taken. {_REMEDY}")
            rate = learning_rate(config, step=step)
            if problem:
                taken = Update(_nothing(w), 0.0, 0.0)
            else:
                for group in optimizer.param_groups:
                    group["lr"] = rate
                generator = torch.Generator().manual_seed(stream(config.seed, "method", step))
                result = methods.combine(function, gram, w, generator=generator)
                taken = descend(policy, optimizer, jacobian.rows, gram, result, max_grad_norm=config.max_grad_norm)
        result = taken.combination

        record = StepRecord(
            step=step,
            method=name,
            objectives=preferences.objectives,
            weights=tuple(w.tolist()),
            losses=_losses(losses, counts),
            judged=tuple(counts.tolist()),
            ties=tuple((labels == 0).sum(dim=1).tolist()),
            margins=tuple(margins.tolist()),
            gradient_norms=tuple(norms(gram).tolist()),
            cosines=tuple(tuple(row) for row in cosines(gram).tolist()),
            mixture=tuple(result.mixture.tolist()),
            clipped=tuple(result.clipped.tolist()),
            coefficients=tuple(result.coefficients.tolist()),
            gap=_number(result.gap),
            preferred_norm=_norm(gram, w),
            correction_norm=_norm(gram, result.coefficients - w),
            update_norm=taken.norm,
            norm_scale=taken.scale,
            learning_rate=rate,
            pairs=len(chosen),
            tokens=sum(pairs[i].tokens for i in chosen),
            positions=plan.positions,
            backward_passes=len(plan.passes) * (1 if policy.coverage.exact else len(labels)),
            skipped=bool(problem),
        )
        del jacobian
        yield record, TrainState(step, _optimizer_state(policy, optimizer))


class Update(NamedTuple):
    """What an optimizer step was given."""

    combination: Combination
    norm: float  # |sum_i a_i g_i|, before the norm clip
    scale: float  # factor of the norm clip, 1 where it did not act


def descend(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    rows: Sequence[Tensor],
    gram: Float[Tensor, "m m"],
    result: Combination,
    *,
    max_grad_norm: float,
) -> Update:
    """Take one optimizer step along sum_i a_i g_i, scaled down to `max_grad_norm`, and return what was done.

    `rows` are the objectives' gradients, [m, *shape] per trainable weight; `gram` is their Gramian, on the CPU.
    """
    norm = _norm(gram, result.coefficients)
    scale = min(1.0, max_grad_norm / norm) if norm > 0 else 1.0
    update = weighted_sum(rows, result.coefficients * scale)
    for parameter, gradient in zip(policy.trainable.values(), update, strict=True):
        parameter.grad = gradient
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return Update(result, norm, scale)


_REMEDY = "Lower learning_rate or beta, or look at these pairs."


def _gradients(
    policy: Policy,
    pairs: Sequence[EncodedPair],
    plan: Packing,
    chosen: Sequence[int],
    labels: Float[Tensor, "m P"],
    reference: Float[Tensor, " P"],
    counts: Int[Tensor, " m"],
    *,
    beta: float,
) -> Jacobian:
    """The gradients of a step, over its passes; `chosen`, labels and reference are in the order of the plan."""
    total, start = None, 0
    for one in plan.passes:
        part = slice(start, start + len(one.pairs))
        start = part.stop
        ids = torch.tensor(chosen[part])
        batch = batch_for(policy, [pairs[i] for i in chosen[part]], labels[:, part], reference[part], ids, placed=one)
        total = accumulate(total, objective_jacobian(policy, batch, beta=beta, judged=counts))
    assert total is not None, "a step has pairs"
    return total


@contextmanager
def _memory(plan: Packing, *, config: TrainConfig, step: int) -> Iterator[None]:
    """Say what would need less memory where there is too little; nothing of the step has been done then."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        longest = max(sum(len(row) for row in one.rows) for one in plan.passes)
        remedies = [] if config.checkpointing else ["checkpointing=True"]
        if longest > 1:
            remedies.append(f"pairs_per_backward={max(1, longest // 2)}")
        remedies.append(f"tokens_per_backward={max(1, config.tokens_per_backward // 2)} or a smaller max_length")
        reason = str(error).split("\n")[0][:160]
        clear_frames(error.__traceback__)  # they hold what the memory is full of
        error.__traceback__ = None
    else:
        return
    raise MemoryLimitError(
        f"step {step}: found too little memory for a pass of {longest} pairs ({reason}), expected to read the step in "
        f"{len(plan.passes)} passes. The policy is as it was before the step. The same update needs less memory with "
        f"{', '.join(remedies)}."
    )


def compute_of(config: TrainConfig) -> Compute:
    """Return how a configuration asks for the model to be run."""
    return Compute(config.autocast, config.compiler, config.checkpointing)


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
    a, rows = coefficients.tolist(), gram.tolist()
    square = math.fsum(x * y * value for x, row in zip(a, rows, strict=True) for y, value in zip(a, row, strict=True))
    return math.sqrt(max(square, 0.0)) if math.isfinite(square) else math.nan


def _number(value: Float[Tensor, ""]) -> float:
    """The number in a tensor on the CPU."""
    (number,) = value.reshape(1).tolist()
    return number


def _losses(losses: Float[Tensor, "m P"], counts: Int[Tensor, " m"]) -> tuple[float, ...]:
    means = mean_losses(losses, judged=counts)
    return tuple(mean if count else math.nan for mean, count in zip(means.tolist(), counts.tolist(), strict=True))


def _nothing(weights: Float[Tensor, " m"]) -> Combination:
    """The combination of a step that is not taken."""
    unknown = torch.tensor(math.nan, dtype=torch.float64)
    return Combination(torch.zeros_like(weights), weights, weights, unknown, unknown)


def _check(policy: Policy, preferences: Preferences, *, config: TrainConfig) -> None:
    devices = sorted({str(weight.device) for weight in policy.model.parameters()})
    if len(devices) > 1:
        raise ConfigError(
            f"policy: found weights on {', '.join(devices)}, expected all on one device. Load the model with device='cuda' or "
            "device='cpu'; a model spread over devices is not supported."
        )
    if policy.model.get_output_embeddings() is None:
        raise ModelError(
            f"policy {policy.source!r}: found no output projection (get_output_embeddings() is None), expected one that maps "
            "hidden states to logits. Use a causal language model."
        )
    if config.compiler is not None and config.compiler not in (known := torch._dynamo.list_backends(exclude_tags=())):
        raise ConfigError(
            f"compiler: found {config.compiler!r}, expected one of {', '.join(known)}.{suggestion(config.compiler, known)} "
            "Change compiler in the TrainConfig or on the command line."
        )
    if config.compiler is not None and not policy.projection.exact:
        raise ConfigError(
            f"compiler: found {config.compiler!r} for a model whose backbone cannot be run by itself "
            f"({policy.projection.reason}), expected no compiler. Leave it out."
        )
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


def _not_finite(
    losses: Float[Tensor, "m P"],
    margins: Float[Tensor, " P"],
    gram: Float[Tensor, "m m"],
    labels: Float[Tensor, "m P"],
    chosen: Sequence[int],
    objectives: Sequence[str],
) -> str:
    """The first objective whose loss or gradient is not finite, and the pairs that may be the reason; "" where all are."""
    bad = [pair for pair, margin in zip(chosen, margins.tolist(), strict=True) if not math.isfinite(margin)]
    rows = zip(objectives, losses.tolist(), gram.diagonal().tolist(), labels.tolist(), strict=True)
    for objective, values, square, verdicts in rows:
        if not math.isfinite(square) or not all(map(math.isfinite, values)):
            where = bad or [pair for pair, verdict in zip(chosen, verdicts, strict=True) if math.isfinite(verdict)]
            return f"objective {objective!r}: found a loss or gradient that is not finite, in the pairs {where}."
    return ""


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
