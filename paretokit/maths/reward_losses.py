"""Losses of reward models: from the outputs of m objectives at N places and their labels to losses [m, N].

One function for each kind of label: a value to be regressed, a class in [0, 1], a preference between two texts. A label is
NaN where nobody judged. Losses: smaller is better. `losses.reduce` makes means of them.
Imports: torch, `losses`, `shapes`, `errors`.
"""

import torch

from paretokit.errors import DataError
from paretokit.maths.losses import dpo
from paretokit.shapes import Float, Tensor

__all__ = ["bradley_terry", "check_classes", "cross_entropy", "squared_error"]


def squared_error(scores: Float[Tensor, "m N"], labels: Float[Tensor, "m N"]) -> Float[Tensor, "m N"]:
    """Return (score - label)^2; 0, without a gradient, where the label is NaN, whatever the score there.

    The loss of a value head, whose labels are expected returns of any range (MAHALO, arXiv 2510.01167, verifiable rewards:
    L = E (p_t - V_t)^2). The minimum over constants is the variance of the labels, at their mean.

    >>> squared_error(torch.tensor([[0.5, 2.0]]), torch.tensor([[1.0, float("nan")]]))
    tensor([[0.2500, 0.0000]])
    """
    scores, labels, unjudged = _judged(scores, labels)
    return (scores - labels).square().masked_fill(unjudged, 0.0)


def cross_entropy(logits: Float[Tensor, "m N"], labels: Float[Tensor, "m N"]) -> Float[Tensor, "m N"]:
    """Return -y log sigmoid(z) - (1 - y) log sigmoid(-z) in nats; 0, without a gradient, where the label y is NaN.

    y is the class, 0 or 1, or the share of judges who say 1. At z = 0 every judged loss is log 2 and its slope is 1/2 - y; the
    minimum over z is the entropy of y. The loss of a step classifier with two classes (MAHALO, arXiv 2510.01167, cases A and
    B), whose one logit is the difference of their two.

    Raises `DataError` for a label outside [0, 1].

    >>> cross_entropy(torch.tensor([[0.0, 2.0, 9.0]]), torch.tensor([[1.0, 0.0, float("nan")]]))
    tensor([[0.6931, 2.1269, 0.0000]])
    """
    check_classes(labels)
    logits, labels, unjudged = _judged(logits, labels)
    losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return losses.masked_fill(unjudged, 0.0)


def bradley_terry(differences: Float[Tensor, "m N"], labels: Float[Tensor, "m N"]) -> Float[Tensor, "m N"]:
    """Return -log sigmoid(label * difference) in nats, of the scores of two texts, r(x, a) - r(x, b).

    A label is +1 where a is preferred, -1 where b is, 0 for a tie (log 2, no gradient), NaN where nobody judged (0, no
    gradient): `losses.dpo` with a margin for each objective and beta = 1 (Bradley and Terry 1952; MAHALO, arXiv 2510.01167,
    case C). Adding a number to both scores changes nothing.

    >>> bradley_terry(torch.tensor([[0.0, 2.0], [2.0, 1.0]]), torch.tensor([[1.0, 1.0], [-1.0, float("nan")]]))
    tensor([[0.6931, 0.1269],
            [2.1269, 0.0000]])
    """
    known = differences.masked_fill(labels.isnan(), 0.0)
    return dpo(known.flatten(), labels.flatten()[None], beta=1.0)[0].view_as(differences)


def check_classes(labels: Float[Tensor, "*shape"]) -> None:
    """Raise `DataError` where a label that is not NaN lies outside [0, 1].

    >>> check_classes(torch.tensor([0.0, float("nan"), 1.0]))
    """
    wrong = (labels < 0) | (labels > 1)
    if wrong.any():
        raise DataError(
            f"class labels: found {labels[wrong][0].item():g}, expected numbers in [0, 1], or NaN where nobody judged. "
            "Give these labels the kind 'value', or make classes of them."
        )


def _judged(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scores and labels, both 0 where nobody judged: so that nothing comes back from there, and not NaN either."""
    unjudged = labels.isnan()
    return scores.masked_fill(unjudged, 0.0), labels.to(scores.dtype).masked_fill(unjudged, 0.0), unjudged
