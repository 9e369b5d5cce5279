"""The gradients of m preference losses with respect to the trainable parameters, and what is needed of them.

One forward pass gives the margins of P pairs; a DPO-type loss sees a pair only through its margin, so g_i = sum_b c_ib h_b
with the slope c_ib = dL_i / d margin_b, known after the forward pass, and h_b = grad margin_b, the same for all objectives.
One backward pass of the sum of the margins therefore serves all of them: every h_b is contracted with the slopes where it
arises (`models.taps`). Where that would miss a weight (`Policy.coverage`), each objective has a backward pass of its own over
the shared graph (`separate_passes`). Both are exact. Rows of micro-batches are added, and the Gramian is taken once, of the
sum. Imports: `maths`, `texts`; `models` and `preferences` by value.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from paretokit.maths.contraction import layout
from paretokit.maths.gramian import gramian
from paretokit.maths.logps import sum_by_sequence
from paretokit.maths.losses import dpo, dpo_slopes
from paretokit.models.compute import repeatable
from paretokit.models.policy import Policy
from paretokit.models.taps import Taps, on_device
from paretokit.preferences.pack import Batch, Pass, make_batch
from paretokit.shapes import Float, Int, Tensor
from paretokit.texts import EncodedPair


class Jacobian(NamedTuple):
    """Losses and gradients of m objectives on P pairs; nothing in it carries a graph."""

    losses: Float[Tensor, "m P"]  # unreduced, in nats; 0 where a pair is not judged
    margins: Float[Tensor, " P"]  # policy minus reference, in nats
    rows: tuple[Tensor, ...]  # one [m, *shape] per trainable parameter: row i is the gradient of L_i

    @property
    def gram(self) -> Float[Tensor, "m m"]:
        """The Gramian <g_i, g_j> over all trainable parameters together."""
        return gramian(self.rows)


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
    return make_batch(pairs, labels, reference, pair_ids, shared=placed.shared, rows=rows)


def margins(policy: Policy, batch: Batch) -> Float[Tensor, " P"]:
    """Return log pi(a|x) - log pi(b|x) minus the same for the reference, in nats; differentiable."""
    count = batch.labels.shape[1]
    sums = sum_by_sequence(policy.token_logps(batch.rows, shared=batch.shared), batch.sequence, count=2 * count)
    return sums[:count] - sums[count:] - batch.reference.to(sums.dtype)


def objective_jacobian(
    policy: Policy, batch: Batch, *, beta: float, judged: Int[Tensor, " m"], separate: bool = False
) -> Jacobian:
    """Return the losses of a batch and the gradient of each objective's mean loss, on the policy's device.

    L_i = sum over the pairs judged on i of -log sigmoid(beta * label * margin), divided by `judged[i]`: the number of pairs
    judged on i in the *whole* optimizer batch, so that the rows of micro-batches add up to those of the big batch. An
    objective without a judged pair in this batch gets a zero row. `batch` and `judged` belong on the CPU: from there they are
    sent once. `separate` asks for a backward pass per objective, which is taken anyway where `policy.coverage` says so.
    Source: RACO (arXiv 2602.02495), section 3.
    """
    parameters = list(policy.trainable.values())
    scales = [1 / max(count, 1) for count in judged.tolist()]
    here = batch.to(policy.device)
    if separate or not policy.coverage.exact:
        delta = margins(policy, here)
        losses, slopes = _outer(delta, here, beta=beta)
        weights = torch.stack([row * scale for row, scale in zip(slopes, scales, strict=True)])
        present = [bool(row.nan_to_num().any()) for row in batch.labels.cpu()]
        with repeatable(policy.compute):
            return Jacobian(losses, delta.detach(), separate_passes(parameters, delta, weights, present=present))
    labels, count = batch.labels.cpu(), batch.labels.shape[1]
    read, scored = (on_device(layout(owner.cpu(), labels), policy.device) for owner in (batch.owner, batch.sequence % count))
    taps = Taps(parameters, read=read, scored=scored, count=len(labels), axes=policy.coverage.axes)
    with policy.tapped(taps):
        delta = margins(policy, here)
        losses, slopes = _outer(delta, here, beta=beta)
        weights = torch.stack([row * scale for row, scale in zip(slopes, scales, strict=True)])
        return Jacobian(losses, delta.detach(), taps.rows(delta.sum(), weights, scales=scales))


def _outer(delta: Float[Tensor, " P"], batch: Batch, *, beta: float) -> tuple[Float[Tensor, "m P"], Float[Tensor, "m P"]]:
    """The losses, and their slopes not yet divided by the number of judged pairs."""
    at, labels = delta.detach(), batch.labels.to(delta.dtype)
    return dpo(at, labels, beta=beta), dpo_slopes(at, labels, beta=beta)


def separate_passes(
    parameters: Sequence[Tensor], delta: Float[Tensor, " P"], slopes: Float[Tensor, "m P"], *, present: Sequence[bool]
) -> tuple[Tensor, ...]:
    """Return the rows by one backward pass per objective; one that is not `present`, whose slopes are all 0, needs none."""
    rows = tuple(parameter.new_zeros((len(slopes), *parameter.shape)) for parameter in parameters)
    wanted = [index for index, here in enumerate(present) if here]
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
    rows = tuple(row.add_(other) for row, other in zip(total.rows, part.rows, strict=True))
    return Jacobian(torch.cat([total.losses, part.losses], dim=1), torch.cat([total.margins, part.margins]), rows)


def on_host(jacobian: Jacobian) -> tuple[Float[Tensor, "m P"], Float[Tensor, " P"], Float[Tensor, "m m"]]:
    """Return losses, margins and Gramian on the CPU, by one copy: the only wait for the device in a step."""
    parts = (jacobian.losses, jacobian.margins, jacobian.gram)
    whole = torch.cat([part.flatten() for part in parts]).cpu()
    flat = whole.split([part.numel() for part in parts])
    losses, margins, gram = (found.view(part.shape) for found, part in zip(flat, parts, strict=True))
    return losses, margins, gram
