"""The gradients of m preference losses with respect to the trainable parameters, and what is needed of them.

One forward pass gives the margins of P pairs; a DPO-type loss sees a pair only through its margin, so the m losses are
functions of one vector [P]. This version runs one backward pass per objective over the shared forward graph. Rows of
micro-batches are added, and the Gramian is taken once, of the sum. Imports: `maths`; `models` and `preferences` by value.
"""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch

from paretokit.maths.gramian import gramian
from paretokit.maths.logps import sum_by_sequence
from paretokit.maths.losses import dpo
from paretokit.models.policy import Policy
from paretokit.preferences.pack import Batch
from paretokit.shapes import Float, Int, Tensor


class Jacobian(NamedTuple):
    """Losses and gradients of m objectives on P pairs; nothing in it carries a graph."""

    losses: Float[Tensor, "m P"]  # unreduced, in nats; 0 where a pair is not judged
    margins: Float[Tensor, " P"]  # policy minus reference, in nats
    rows: tuple[Tensor, ...]  # one [m, *shape] per trainable parameter: row i is the gradient of L_i

    @property
    def gram(self) -> Float[Tensor, "m m"]:
        """The Gramian <g_i, g_j> over all trainable parameters together."""
        return gramian(self.rows)


def margins(policy: Policy, batch: Batch) -> Float[Tensor, " P"]:
    """Return log pi(a|x) - log pi(b|x) minus the same for the reference, in nats; differentiable."""
    count = batch.labels.shape[1]
    sums = sum_by_sequence(policy.token_logps(batch.rows), batch.sequence, count=2 * count)
    return sums[:count] - sums[count:] - batch.reference.to(sums.dtype)


def objective_jacobian(policy: Policy, batch: Batch, *, beta: float, judged: Int[Tensor, " m"]) -> Jacobian:
    """Return the losses of a batch and the gradient of each objective's mean loss, one backward pass per objective.

    L_i = sum over the pairs judged on i of -log sigmoid(beta * label * margin), divided by `judged[i]`: the number of pairs
    judged on i in the *whole* optimizer batch, so that the rows of micro-batches add up to those of the big batch. An
    objective without a judged pair in this batch gets a zero row. Source: RACO (arXiv 2602.02495), section 3.
    """
    parameters = list(policy.trainable.values())
    delta = margins(policy, batch)
    losses = dpo(delta, batch.labels.to(delta.dtype), beta=beta)
    present = [index for index, row in enumerate(batch.labels.isfinite().any(dim=1).tolist()) if row]
    rows = tuple(parameter.new_zeros((len(losses), *parameter.shape)) for parameter in parameters)
    for index in present:
        total = losses[index].sum() / judged[index]
        gradients = torch.autograd.grad(total, parameters, retain_graph=index != present[-1], allow_unused=True)
        for row, gradient in zip(rows, gradients, strict=True):
            if gradient is not None:
                row[index] = gradient
    return Jacobian(losses.detach(), delta.detach(), rows)


def add(parts: Sequence[Jacobian]) -> Jacobian:
    """Return the Jacobian of the union of disjoint micro-batches: pairs joined, rows added."""

    def joined(left: Jacobian, right: Jacobian) -> Jacobian:
        return Jacobian(
            torch.cat([left.losses, right.losses], dim=1),
            torch.cat([left.margins, right.margins]),
            tuple(a + b for a, b in zip(left.rows, right.rows, strict=True)),
        )

    return reduce(joined, parts)
