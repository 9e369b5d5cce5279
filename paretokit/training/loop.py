"""The training loop: a generator that aligns a policy to several objectives and yields one record per optimizer step.

Per step, in this order: gradients of every objective, summed over passes; their Gramian; coefficients; combined gradient;
norm clip; optimizer. With `combine_every` all up to the combined gradient happens in each micro-batch. The loop knows no
files, no clock and no plot: a live view is a `for` over its records, and leaving the `for` stops the training with
everything learnt so far kept in the policy. Imports: `maths`, `models`, `preferences`, `texts`.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial

import torch

from paretokit.errors import NonFiniteError
from paretokit.maths.gramian import cosines, norms
from paretokit.maths.losses import judged as judged_pairs
from paretokit.maths.losses import reduce as mean_losses
from paretokit.maths.raco import Combination
from paretokit.maths.simplex import Weights
from paretokit.maths.simplex import resolve as resolve_weights
from paretokit.models.compute import Compute
from paretokit.models.policy import Policy
from paretokit.preferences.pack import Packing, Pass, packing
from paretokit.preferences.records import Preferences
from paretokit.shapes import Float, Int, Tensor
from paretokit.texts import EncodedPair
from paretokit.training import methods
from paretokit.training.checks import check, enough_memory, not_finite
from paretokit.training.combining import (
    Part,
    added,
    along,
    by_micro_batch,
    joined,
    mean_combination,
    mean_on_host,
    micro_batches,
    root_mean_square,
)
from paretokit.training.config import TrainConfig, learning_rate
from paretokit.training.encode import encode_preferences
from paretokit.training.jacobian import Jacobian, accumulate, batch_for, objective_jacobian, on_host
from paretokit.training.methods import Method, Schedule
from paretokit.training.records import StepRecord
from paretokit.training.references import References, missing, reference_margins
from paretokit.training.sampling import Draw, counted, draw_for, stream
from paretokit.training.state import TrainState
from paretokit.training.update import Update, descend, descend_along, optimizer_for, optimizer_state, update_norm


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
    step k + 1 and later, bit for bit those of an uninterrupted run with the same `references`.
    """
    config = counted(config or TrainConfig(), preferences, policy.heads)
    chosen = methods.resolve(method)
    schedule = weights if callable(weights) else lambda step: weights
    resolve_weights(schedule(1), preferences.objectives)
    policy.compute = compute_of(config)
    check(policy, preferences, method=chosen, config=config)
    pairs = encode_preferences(policy, preferences, max_length=config.max_length)
    references = {} if references is None else references
    if policy.adapter == "full" and missing(pairs, references):  # the reference is gone once the weights have moved
        reference_margins(policy, pairs, references)
    optimizer = optimizer_for(policy, config=config, resume=resume)
    draw = draw_for(policy.heads, preferences, config)
    first = 1 if resume is None else resume.step + 1
    return _run(policy, preferences.objectives, pairs, draw, chosen, schedule, config, references, optimizer, first)


def _run(
    policy: Policy,
    objectives: tuple[str, ...],
    pairs: Sequence[EncodedPair],
    draw: Draw,
    method: Method,
    schedule: Schedule,
    config: TrainConfig,
    references: References,
    optimizer: torch.optim.Optimizer,
    first: int,
) -> Iterator[tuple[StepRecord, TrainState]]:
    policy.model.eval()  # no dropout: the policy is compared with its reference
    function, beta = method.build(config), _betas(config, objectives)
    if config.head_noise and policy.bank is not None and first == 1:
        policy.bank.perturb(config.head_noise, seed=config.seed)
    for step in range(first, config.steps + 1):
        drawn = draw(step)
        plan = plan_of(policy, [pairs[index] for index in drawn.pairs], config)
        order = [index for one in plan.passes for index in one.pairs]
        chosen, labels = [drawn.pairs[index] for index in order], drawn.labels[:, order]
        counts = judged_pairs(labels)
        w = torch.tensor(resolve_weights(schedule(step), objectives), dtype=torch.float64)
        batches = by_micro_batch(plan, config)
        factors = w.tolist() if method.alpha else [1.0] * len(w)
        parts: list[Part] = []
        update: list[Tensor | None] | None = None
        problem, start, rate = "", 0, learning_rate(config, step=step)
        with enough_memory(plan, config=config, step=step):
            reference = reference_margins(policy, [pairs[i] for i in chosen], references)
            generator = torch.Generator().manual_seed(stream(config.seed, "method", step))
            for passes in batches:
                here = slice(start, start + sum(len(one.pairs) for one in passes))
                start, read, seen = here.stop, chosen[here], labels[:, here]
                judged = judged_pairs(seen)  # of the micro-batch: L_i is the mean over its pairs
                jacobian = _gradients(
                    policy, pairs, passes, read, seen, reference[here], judged, beta=beta, objectives=objectives
                )
                found = on_host(jacobian)
                problem = problem or not_finite(found, seen, read, objectives)
                if problem and config.on_non_finite == "stop":
                    raise NonFiniteError(f"step {step}, {problem} The step was not taken. {_REMEDY}")
                result = None if problem else methods.combine(function, found.gram, w, generator=generator)
                parts.append(Part(len(read) / len(chosen), found, result))
                if len(batches) > 1 and result is not None:
                    share = parts[-1].share
                    part = along(jacobian, result.coefficients * share, [f * share for f in factors], judged=counts.tolist())
                    update = added(update, part)
                    del part
            for group in optimizer.param_groups:
                group["lr"] = rate
            if problem:
                taken = Update(_nothing(w), 0.0, 0.0)
            elif update is None:
                taken = descend(
                    policy,
                    optimizer,
                    jacobian,
                    found,
                    mean_combination(parts),
                    judged=counts.tolist(),
                    max_grad_norm=config.max_grad_norm,
                    alpha=w.tolist() if method.alpha else None,
                )
            else:
                result = mean_combination(parts)
                taken = descend_along(policy, optimizer, update, result, max_grad_norm=config.max_grad_norm)
        found = mean_on_host(parts)
        result, gram = taken.combination, found.gram

        record = StepRecord(
            step=step,
            method=method.name,
            objectives=objectives,
            weights=tuple(w.tolist()),
            losses=_losses(found.losses, counts),
            judged=tuple(counts.tolist()),
            ties=tuple((labels == 0).sum(dim=1).tolist()),
            margins=tuple(found.margins.tolist()),
            gradient_norms=tuple(norms(gram).tolist()),
            cosines=tuple(tuple(row) for row in cosines(gram).tolist()),
            mixture=tuple(result.mixture.tolist()),
            clipped=tuple(result.clipped.tolist()),
            coefficients=tuple(result.coefficients.tolist()),
            gap=_number(result.gap),
            preferred_norm=update_norm(gram, w),
            correction_norm=_correction(parts, w, result),
            update_norm=taken.norm,
            norm_scale=taken.scale,
            learning_rate=rate,
            pairs=len(chosen),
            tokens=sum(pairs[i].tokens for i in chosen),
            positions=plan.positions,
            backward_passes=len(plan.passes) * (1 if policy.coverage.exact else len(labels)),
            skipped=bool(problem),
        )
        del jacobian, update
        yield record, TrainState(step, optimizer_state(policy, optimizer))


def plan_of(policy: Policy, pairs: Sequence[EncodedPair], config: TrainConfig) -> Packing:
    """Return in which passes and rows a step reads its pairs; what is combined by itself is read by itself."""
    size, parts = config.pairs_per_backward or len(pairs), micro_batches(len(pairs), config)
    read = partial(
        packing,
        allows=policy.sharing.allows,
        size=size,
        budget=config.tokens_per_backward,
        forks=lambda: policy.forking.exact,
    )
    return joined([read([pairs[i] for i in part]) for part in parts], parts)


_REMEDY = "Lower learning_rate or beta, or look at these pairs."


def _gradients(
    policy: Policy,
    pairs: Sequence[EncodedPair],
    passes: Sequence[Pass],
    chosen: Sequence[int],
    labels: Float[Tensor, "m P"],
    reference: Float[Tensor, " P"],
    counts: Int[Tensor, " m"],
    *,
    beta: float | Sequence[float],
    objectives: Sequence[str],
) -> Jacobian:
    """The gradients of a micro-batch, over its passes; `chosen`, labels and reference are in their order."""
    total, start = None, 0
    for one in passes:
        part = slice(start, start + len(one.pairs))
        start = part.stop
        ids = torch.tensor(chosen[part])
        batch = batch_for(policy, [pairs[i] for i in chosen[part]], labels[:, part], reference[part], ids, placed=one)
        total = accumulate(total, objective_jacobian(policy, batch, beta=beta, judged=counts, objectives=objectives))
    assert total is not None, "a step has pairs"
    return total


def compute_of(config: TrainConfig) -> Compute:
    """Return how a configuration asks for the model to be run."""
    return Compute(config.autocast, config.compiler, config.checkpointing)


def _betas(config: TrainConfig, objectives: Sequence[str]) -> float | list[float]:
    """beta, by objective where heads have their own."""
    own = config.head_betas
    return config.beta if own is None else [own.get(name, config.beta) for name in objectives]


def _number(value: Float[Tensor, ""]) -> float:
    """The number in a tensor on the CPU."""
    (number,) = value.reshape(1).tolist()
    return number


def _correction(parts: Sequence[Part], weights: Float[Tensor, " m"], mean: Combination) -> float:
    """|update - g_0|: in each micro-batch, and of these the root mean square."""
    each = [(part.found.gram, (part.combination or mean).coefficients - weights) for part in parts]
    return root_mean_square(parts, [update_norm(gram, apart) for gram, apart in each])


def _losses(losses: Float[Tensor, "m P"], counts: Int[Tensor, " m"]) -> tuple[float, ...]:
    means = mean_losses(losses, judged=counts)
    return tuple(mean if count else math.nan for mean, count in zip(means.tolist(), counts.tolist(), strict=True))


def _nothing(weights: Float[Tensor, " m"]) -> Combination:
    """The combination of a step that is not taken."""
    unknown = torch.tensor(math.nan, dtype=torch.float64)
    return Combination(torch.zeros_like(weights), weights, weights, unknown, unknown)
