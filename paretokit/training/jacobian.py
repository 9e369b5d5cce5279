"""The gradients of m preference losses with respect to the trainable parameters, and what is needed of them.

One forward pass gives the margins of P pairs; a DPO-type loss sees a pair only through its margin, so g_i = sum_b c_ib h_b
with the slope c_ib = dL_i / d margin_b, known after the forward pass, and h_b = grad margin_b, the same for all objectives.
Where all that is trained are linear layers inside the rows, as with LoRA, one backward pass gives every h_b in a form that
is contracted per objective layer by layer (`row_contraction`); otherwise each objective has a backward pass of its own over
the shared graph (`separate_passes`). Both are exact. Rows of micro-batches are added, and the Gramian is taken once, of the
sum. Imports: `maths`, `texts`; `models` and `preferences` by value.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import NamedTuple

import torch

from paretokit.maths.gramian import gramian
from paretokit.maths.logps import sum_by_sequence
from paretokit.maths.losses import dpo
from paretokit.models.policy import Policy
from paretokit.preferences.pack import Batch, make_batch
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
) -> Batch:
    """Return the batch of the pairs on the policy's device; each pair shares its prompt where the policy allows it."""
    shared = policy.sharing.allows(max(pair.longest for pair in pairs))
    return make_batch(pairs, labels, reference, pair_ids, shared=shared).to(policy.device)


def margins(policy: Policy, batch: Batch) -> Float[Tensor, " P"]:
    """Return log pi(a|x) - log pi(b|x) minus the same for the reference, in nats; differentiable."""
    count = batch.labels.shape[1]
    sums = sum_by_sequence(policy.token_logps(batch.rows, shared=batch.shared), batch.sequence, count=2 * count)
    return sums[:count] - sums[count:] - batch.reference.to(sums.dtype)


def objective_jacobian(policy: Policy, batch: Batch, *, beta: float, judged: Int[Tensor, " m"]) -> Jacobian:
    """Return the losses of a batch and the gradient of each objective's mean loss.

    L_i = sum over the pairs judged on i of -log sigmoid(beta * label * margin), divided by `judged[i]`: the number of pairs
    judged on i in the *whole* optimizer batch, so that the rows of micro-batches add up to those of the big batch. An
    objective without a judged pair in this batch gets a zero row. Source: RACO (arXiv 2602.02495), section 3.
    """
    parameters = list(policy.trainable.values())
    with recorded(policy) as calls:
        delta = margins(policy, batch)
    at = delta.detach().requires_grad_()
    losses = dpo(at, batch.labels.to(at.dtype), beta=beta)
    slopes = torch.stack([torch.autograd.grad(row.sum(), at, retain_graph=True)[0] for row in losses])
    slopes = slopes / judged.clamp(min=1)[:, None]  # c_ib = dL_i / d margin_b, [m, P]
    rows = row_contraction(parameters, delta, slopes[:, batch.pair], calls)
    if rows is None:
        rows = separate_passes(parameters, delta, slopes)
    return Jacobian(losses.detach(), delta.detach(), rows)


def separate_passes(
    parameters: Sequence[Tensor], delta: Float[Tensor, " P"], slopes: Float[Tensor, "m P"]
) -> tuple[Tensor, ...]:
    """Return the rows by one backward pass per objective; an objective whose slopes are all zero needs none."""
    rows = tuple(parameter.new_zeros((len(slopes), *parameter.shape)) for parameter in parameters)
    present = slopes.any(dim=1).nonzero().flatten().tolist()
    for index in present:
        last = index == present[-1]
        gradients = torch.autograd.grad(delta, parameters, slopes[index], retain_graph=not last, allow_unused=True)
        for row, gradient in zip(rows, gradients, strict=True):
            if gradient is not None:
                row[index] = gradient
    return rows


class Call(NamedTuple):
    """One use of a trainable linear layer in a forward pass: y = x W'."""

    weight: Tensor  # [out, in]
    inputs: Tensor  # x, [R, T, in]
    outputs: Tensor  # y, [R, T, out]


@contextmanager
def recorded(policy: Policy) -> Iterator[list[Call]]:
    """Note the calls of the linear layers that hold trainable weights."""
    trainable = {id(parameter) for parameter in policy.trainable.values()}
    calls: list[Call] = []

    def note(module: torch.nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
        assert isinstance(module, torch.nn.Linear)
        calls.append(Call(module.weight, inputs[0].detach(), outputs))

    layers = [part for part in policy.model.modules() if isinstance(part, torch.nn.Linear) and id(part.weight) in trainable]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def row_contraction(
    parameters: Sequence[Tensor],
    delta: Float[Tensor, " P"],
    slopes: Float[Tensor, "m R"],
    calls: Sequence[Call],
) -> tuple[Tensor, ...] | None:
    """Return the rows by one backward pass for all objectives, or None where they cannot be had that way.

    `slopes` holds in column r the slopes of the pair that row r belongs to. With unit cotangent on every margin, a linear
    layer's output gradient d in row r is that of the row's own pair, so dW_i = sum_r c_ir d_r' x_r: one [out, in] matrix per
    row, weighted per objective. It needs every trainable parameter to be the weight of a linear layer called once, on
    [R, T, in], with no row of two pairs. Source: RACO notes, section 10, "one backward for all objectives".
    """
    by_weight = {id(call.weight): call for call in calls}
    plain = len(by_weight) == len(calls) == len(parameters) and all(id(p) in by_weight for p in parameters)
    if not plain or any(
        call.inputs.dim() != 3 or len(call.inputs) != slopes.shape[1] or not call.outputs.requires_grad for call in calls
    ):
        return None
    ordered = [by_weight[id(parameter)] for parameter in parameters]
    outputs = [call.outputs for call in ordered]
    gradients = torch.autograd.grad(delta.sum(), outputs, allow_unused=True)
    rows = []
    for call, gradient in zip(ordered, gradients, strict=True):
        if gradient is None:
            rows.append(call.weight.new_zeros((len(slopes), *call.weight.shape)))
            continue
        outer = gradient.to(call.weight.dtype).transpose(1, 2) @ call.inputs.to(call.weight.dtype)  # [R, out, in]
        rows.append((slopes.to(outer.dtype) @ outer.flatten(1)).view(len(slopes), *call.weight.shape))
    return tuple(rows)


def add(parts: Sequence[Jacobian]) -> Jacobian:
    """Return the Jacobian of the union of disjoint micro-batches: pairs joined, rows added."""

    def joined(left: Jacobian, right: Jacobian) -> Jacobian:
        return Jacobian(
            torch.cat([left.losses, right.losses], dim=1),
            torch.cat([left.margins, right.margins]),
            tuple(a + b for a, b in zip(left.rows, right.rows, strict=True)),
        )

    return reduce(joined, parts)
