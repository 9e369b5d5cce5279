"""The gradients of m preference losses with respect to the trainable parameters, and what is needed of them.

One forward pass gives the margins of P pairs; a DPO-type loss sees a pair only through its margin, so g_i = sum_b c_ib h_b
with the slope c_ib = dL_i / d margin_b, known after the forward pass, and h_b = grad margin_b, the same for all objectives.
One backward pass of the sum of the margins therefore serves all of them: every h_b is contracted with the slopes where it
arises (`models.taps`). Where that would miss a weight (`Policy.coverage`), each objective has a backward pass of its own over
the shared graph (`separate_passes`), as a single objective has anyway. Both are exact. Rows of micro-batches are added, and the
Gramian is taken once, of the sum. Imports: `maths`, `texts`; `models` and `preferences` by value.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch

from paretokit.errors import ShapeError
from paretokit.forks import fork
from paretokit.maths.contraction import layout
from paretokit.maths.gramian import gramian
from paretokit.maths.logps import sum_by_sequence
from paretokit.maths.losses import dpo, dpo_slopes
from paretokit.models.compute import repeatable
from paretokit.models.policy import Policy
from paretokit.models.taps import Own, Taps, on_device
from paretokit.preferences.pack import Batch, Pass, make_batch
from paretokit.rows import Rows
from paretokit.shapes import Float, Float64, Int, Tensor
from paretokit.texts import EncodedPair


class Jacobian(NamedTuple):
    """Losses and gradients of m objectives on P pairs; nothing in it carries a graph."""

    losses: Float[Tensor, "m P"]  # unreduced, in nats; 0 where a pair is not judged
    margins: Float[Tensor, " P"]  # policy minus reference, in nats
    rows: tuple[Tensor, ...]  # one [m, *shape] per trainable parameter of the backbone: row i is the gradient of L_i
    own: tuple[Tensor, ...] = ()  # one [*shape] per parameter of the heads: the gradient of the loss of its own objective
    owners: tuple[int, ...] = ()  # whose objective's it is, for each of `own`

    @property
    def gram(self) -> Float[Tensor, "m m"]:
        """The Gramian <g_i, g_j> over all trainable parameters of the backbone together."""
        count = len(self.losses)
        return gramian(self.rows) if self.rows else self.losses.new_zeros(count, count)

    @property
    def own_squares(self) -> Float[Tensor, " m"]:
        """|gradient of L_i at its own head|^2 for each objective; 0 without heads."""
        squares = self.losses.new_zeros(len(self.losses))
        for owner, gradient in zip(self.owners, self.own, strict=True):
            squares[owner] += gradient.to(squares.dtype).square().sum()
        return squares


def batch_for(
    policy: Policy,
    pairs: Sequence[EncodedPair],
    labels: Float[Tensor, "m P"],
    reference: Float[Tensor, " P"],
    pair_ids: Int[Tensor, " P"],
    *,
    placed: Pass | None = None,
) -> Batch:
    """Return the batch of the pairs, on the CPU. `placed` says in which rows they stand, the pairs being those of the rows in
    order; by default a row per pair, or two where the policy does not allow one."""
    if placed is None:
        shared = policy.sharing.allows(max(pair.longest for pair in pairs))
        return make_batch(pairs, labels, reference, pair_ids, shared=shared)
    rows, start = [], 0
    for row in placed.rows:
        rows.append(range(start, start + len(row)))
        start += len(row)
    return make_batch(pairs, labels, reference, pair_ids, shared=placed.shared, rows=rows, forked=placed.forked)


def margins(policy: Policy, batch: Batch, *, through: Int[Tensor, " N"] | None = None) -> Float[Tensor, " P"]:
    """Return log pi(a|x) - log pi(b|x) minus the same for the reference, in nats; differentiable.

    `through`, on the CPU, holds the number of the head that each scored token goes through, where the policy has heads.
    """
    count = batch.labels.shape[1]
    logps = policy.token_logps(batch.rows, shared=batch.shared, forked=batch.forked, through=through)
    sums = sum_by_sequence(logps, batch.sequence, count=2 * count)
    return sums[:count] - sums[count:] - batch.reference.to(sums.dtype)


def objective_jacobian(
    policy: Policy,
    batch: Batch,
    *,
    beta: float | Sequence[float],
    judged: Int[Tensor, " m"],
    objectives: Sequence[str] = (),
    separate: bool = False,
) -> Jacobian:
    """Return the losses of a batch and the gradient of each objective's mean loss, on the policy's device.

    L_i = sum over the pairs judged on i of -log sigmoid(beta * label * margin), divided by `judged[i]`: the number of pairs
    judged on i in the *whole* optimizer batch, so that the rows of micro-batches add up to those of the big batch. An
    objective without a judged pair in this batch gets a zero row. `batch` and `judged` belong on the CPU: from there they are
    sent once. `separate` asks for a backward pass per objective, by autograd through peft's own layers; where `policy.coverage`
    says that one pass would miss a weight, there is one per objective anyway.

    For a policy with heads `objectives` names the rows of the labels, and each pair has a label for one of them alone: it goes
    through that objective's head, whose gradient is in `own`; `beta` may then be a number for each objective. `rows` are
    those of the backbone. Source: RACO (arXiv 2602.02495), section 3; MAHALO (arXiv 2510.01167), section 3.
    """
    scales = [1 / max(count, 1) for count in judged.tolist()]
    labels, here = batch.labels.cpu(), batch.to(policy.device)
    routes = routing(policy, labels, objectives)
    through = None if routes is None else routes.heads(batch)
    sharpness = _sharpness(beta, routes)
    alone = len(labels) == 1 and routes is None  # then the one loss has a backward pass like any other's
    taps = None if separate or alone or not policy.coverage.exact else taps_for(policy, batch, routes)
    plain = nullcontext() if separate else policy.in_one_piece()
    with plain if taps is None else policy.tapped(taps):
        delta = margins(policy, here, through=through)
        losses, slopes = _outer(delta, here, beta=sharpness)
        weights = torch.stack([row * scale for row, scale in zip(slopes, scales, strict=True)])
        if taps is not None:
            rows = taps.rows(delta.sum(), weights, scales=scales)
        else:
            present = [bool(row.nan_to_num().any()) for row in labels]
            with repeatable(policy.compute):
                rows = separate_passes(list(policy.trainable.values()), delta, weights, present=present)
    return _split(routes, losses, delta, rows)


def taps_for(policy: Policy, batch: Batch, routes: "Routes | None") -> Taps:
    """Return what listens to one pass over a batch, which belongs on the CPU."""
    labels = batch.labels.cpu()
    sequence = batch.sequence.cpu() % labels.shape[1]
    owners = [batch.owner.cpu()]
    if batch.forked:
        made = fork(Rows(*(part.cpu() for part in batch.rows)))
        owners = [made.prompt_owner, made.response_owner]
    *read, scored = (on_device(layout(owner, labels), policy.device) for owner in (*owners, sequence))
    own = [] if routes is None else routes.own(policy, labels, sequence)
    axes = policy.coverage.axes
    return Taps(list(policy.trainable.values()), read=read, scored=scored, count=len(labels), axes=axes, own=own)


class Routes(NamedTuple):
    """Which head each pair goes through, and whose the heads' weights are."""

    objective: Int[Tensor, " P"]  # the row of the labels in which the pair has its label
    through: Int[Tensor, " P"]  # the number of that objective's head
    owners: tuple[int, ...]  # the objective of each parameter of the heads, in the policy's order

    def heads(self, batch: Batch) -> Int[Tensor, " N"]:
        """Return the number of the head that each scored token of a batch goes through, on the CPU, as the batch should be."""
        return self.through[batch.sequence.cpu() % len(self.through)]

    def own(self, policy: Policy, labels: Float[Tensor, "m P"], sequence: Int[Tensor, " N"]) -> list[Own]:
        """Return what has to be heard at each head: of its own objective, at the positions that go through it."""
        assert policy.bank is not None, "routes exist for heads"
        found, start = [], 0
        for number, scorer in enumerate(policy.bank.scorers.values()):
            objective = self.owners[start]
            start += len(scorer.own)
            positions = sequence[self.through[sequence] == number]
            made = layout(positions, labels[objective : objective + 1]) if len(positions) else None
            found.append(Own(scorer, objective, None if made is None else on_device(made, policy.device)))
        return found


def routing(policy: Policy, labels: Float[Tensor, "m P"], objectives: Sequence[str]) -> Routes | None:
    """Return the way of each pair through the heads of a policy; None for a policy without heads.

    Raises `ShapeError` for a pair that has not exactly one label.
    """
    if policy.bank is None:
        return None
    judged = ~labels.isnan()
    counts = judged.sum(dim=0).tolist()
    if any(count != 1 for count in counts):
        raise ShapeError(
            f"labels: found {counts} labels per pair for a policy with heads, expected exactly one each. "
            "Repeat a pair for every objective that judged it."
        )
    numbers = torch.tensor([policy.heads.index(name) for name in objectives])
    objective = judged.int().argmax(dim=0)
    owners = [objectives.index(name) for name, parts in policy.bank.parts.items() for _ in parts]
    return Routes(objective, numbers[objective], tuple(owners))


def _sharpness(beta: float | Sequence[float], routes: Routes | None) -> float | Float64[Tensor, " P"]:
    """beta, for each pair where it differs between objectives."""
    if isinstance(beta, (int, float)):
        return beta
    assert routes is not None, "one beta per objective is for heads"
    return torch.tensor(list(beta), dtype=torch.float64)[routes.objective]


def _outer(
    delta: Float[Tensor, " P"], batch: Batch, *, beta: float | Float64[Tensor, " P"]
) -> tuple[Float[Tensor, "m P"], Float[Tensor, "m P"]]:
    """The losses, and their slopes not yet divided by the number of judged pairs."""
    at, labels = delta.detach(), batch.labels.to(delta.dtype)
    if isinstance(beta, torch.Tensor):
        each = beta.to(delta)
        return dpo(at * each, labels, beta=1.0), dpo_slopes(at * each, labels, beta=1.0) * each
    return dpo(at, labels, beta=beta), dpo_slopes(at, labels, beta=beta)


def _split(
    routes: Routes | None, losses: Float[Tensor, "m P"], delta: Float[Tensor, " P"], rows: tuple[Tensor, ...]
) -> Jacobian:
    """The Jacobian of rows for all weights: those of heads, which come last, hold their own objective alone."""
    if routes is None:
        return Jacobian(losses, delta.detach(), rows)
    count = len(rows) - len(routes.owners)
    own = [row[0] if len(row) == 1 else row[owner] for owner, row in zip(routes.owners, rows[count:], strict=True)]
    return Jacobian(losses, delta.detach(), rows[:count], tuple(own), routes.owners)


def separate_passes(
    parameters: Sequence[Tensor], delta: Float[Tensor, " P"], slopes: Float[Tensor, "m P"], *, present: Sequence[bool]
) -> tuple[Tensor, ...]:
    """Return the rows by one backward pass per objective; one that is not `present`, whose slopes are all 0, needs none."""
    wanted = [index for index, here in enumerate(present) if here]
    if wanted and len(slopes) == 1:  # nothing to be put beside it
        found = torch.autograd.grad(delta, parameters, slopes[0], allow_unused=True)
        return tuple(
            parameter.new_zeros((1, *parameter.shape)) if gradient is None else gradient[None]
            for parameter, gradient in zip(parameters, found, strict=True)
        )
    rows = tuple(parameter.new_zeros((len(slopes), *parameter.shape)) for parameter in parameters)
    for index in wanted:
        keep = index != wanted[-1]
        gradients = torch.autograd.grad(delta, parameters, slopes[index], retain_graph=keep, allow_unused=True)
        for row, gradient in zip(rows, gradients, strict=True):
            if gradient is not None:
                row[index] = gradient
    return rows


def accumulate(total: Jacobian | None, part: Jacobian) -> Jacobian:
    """Return the Jacobian of the union of disjoint micro-batches: pairs joined, rows added. The rows of `total` are reused."""
    if total is None:
        return part
    rows, own = (
        tuple(one.add_(other) for one, other in zip(ours, others, strict=True))
        for ours, others in ((total.rows, part.rows), (total.own, part.own))
    )
    losses = torch.cat([total.losses, part.losses], dim=1)
    return Jacobian(losses, torch.cat([total.margins, part.margins]), rows, own, total.owners)


class OnHost(NamedTuple):
    """What the step needs to know of a Jacobian, on the CPU."""

    losses: Float[Tensor, "m P"]
    margins: Float[Tensor, " P"]
    gram: Float[Tensor, "m m"]
    own_squares: Float[Tensor, " m"]


def on_host(jacobian: Jacobian) -> OnHost:
    """Return losses, margins, Gramian and norms on the CPU, by one copy: the only wait for the device in a step."""
    parts = (jacobian.losses, jacobian.margins, jacobian.gram, jacobian.own_squares)
    whole = torch.cat([part.flatten() for part in parts]).cpu()
    flat = whole.split([part.numel() for part in parts])
    return OnHost(*(found.view(part.shape) for found, part in zip(flat, parts, strict=True)))
