"""How well scores predict labels, and the temperature that makes their probabilities fit.

N logits z meet N labels in [0, 1]; the probability of class 1 is sigmoid(z / T). All is computed in float64, and what is
returned are plain numbers, NaN where N is 0. Imports: torch, `intervals`, `reward_losses`, `shapes`, `errors`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from paretokit.errors import ConfigError, ShapeError
from paretokit.maths.intervals import finite, ranks
from paretokit.maths.reward_losses import check_classes, cross_entropy
from paretokit.shapes import Float, Float64, Tensor

__all__ = [
    "Calibration",
    "Reliability",
    "Temperature",
    "accuracy",
    "auc",
    "brier",
    "log_loss",
    "measure",
    "reliability",
    "smoothed",
    "temperature",
]


class Reliability(NamedTuple):
    """Predicted against observed, by bins of equal width over [0, 1]; NaN in an empty bin."""

    counts: tuple[int, ...]  # how many probabilities are in each bin
    predicted: tuple[float, ...]  # their mean
    observed: tuple[float, ...]  # the mean of their labels

    @property
    def error(self) -> float:
        """The expected calibration error: the mean of |predicted - observed|, each bin weighted by its count."""
        rows = [row for row in zip(self.counts, self.predicted, self.observed, strict=True) if row[0]]
        total = sum(self.counts)
        return math.fsum(count * abs(p - o) for count, p, o in rows) / total if total else math.nan


class Temperature(NamedTuple):
    """The temperature of least log loss, with evidence."""

    value: float
    gap: float  # the log loss at `value` is within this of the least one between the bounds
    before: float  # log loss at temperature 1, in nats
    after: float  # log loss at `value`
    at_bound: bool  # the labels ask for a more extreme one: they are separated by the logits, or not predicted at all


class Calibration(NamedTuple):
    """How well probabilities fit labels."""

    judged: int  # N
    positive: float  # the mean label
    log_loss: float  # in nats; smaller is better
    chance: float  # log loss of always saying `positive`
    brier: float  # smaller is better
    auc: float  # larger is better
    accuracy: float  # larger is better
    reliability: Reliability


def brier(probabilities: Float[Tensor, " N"], labels: Float[Tensor, " N"]) -> float:
    """Return the mean of (p - y)^2, in [0, 1]; smaller is better (Brier 1950).

    It is 1/4 for p = 1/2 everywhere and labels 0 or 1. Raises `DataError` for a label outside [0, 1], `NonFiniteError` for
    what is not finite, `ShapeError` for unequal numbers, as all functions here do.

    >>> round(brier(torch.tensor([0.9, 0.2]), torch.tensor([1.0, 0.0])), 6)
    0.025
    """
    p, y = _checked(probabilities, labels, place="brier")
    return _mean((p - y).square())


def auc(scores: Float[Tensor, " N"], labels: Float[Tensor, " N"]) -> float:
    """Return the share of pairs of a positive and a negative in which the positive scores higher, ties counted half.

    The area under the ROC curve, in [0, 1]; larger is better, and any increasing function of the scores gives the same.
    A label above 1/2 is positive. NaN where there is no positive or no negative. Computed from ranks (Mann and Whitney 1947).

    >>> auc(torch.tensor([0.1, 0.4, 0.4, 0.8]), torch.tensor([0.0, 0.0, 1.0, 1.0]))
    0.875
    """
    s, y = _checked(scores, labels, place="auc")
    positive = y > 0.5
    above, below = int(positive.sum()), int((~positive).sum())
    if not above or not below:
        return math.nan
    return (float(ranks(s)[positive].sum()) - above * (above + 1) / 2) / (above * below)


def accuracy(logits: Float[Tensor, " N"], labels: Float[Tensor, " N"]) -> float:
    """Return the share of logits on their label's side of 0, in [0, 1]; a logit of 0 counts half. Larger is better.

    A label above 1/2 is positive.

    >>> accuracy(torch.tensor([2.0, -1.0, 0.0]), torch.tensor([1.0, 1.0, 0.0]))
    0.5
    """
    z, y = _checked(logits, labels, place="accuracy")
    return _mean(torch.where(z == 0, 0.5, ((z > 0) == (y > 0.5)).double()))


def log_loss(logits: Float[Tensor, " N"], labels: Float[Tensor, " N"]) -> float:
    """Return the mean `reward_losses.cross_entropy` in nats; smaller is better.

    >>> round(log_loss(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 1.0])), 6)
    0.410038
    """
    z, y = _checked(logits, labels, place="log_loss")
    return _mean(cross_entropy(z[None], y[None])[0])


def reliability(probabilities: Float[Tensor, " N"], labels: Float[Tensor, " N"], *, bins: int = 10) -> Reliability:
    """Return mean probability and mean label in `bins` bins of equal width; the last one holds 1 as well.

    Of calibrated probabilities the two agree in every bin, up to chance. Raises `ConfigError` for `bins` below 1 or a
    probability outside [0, 1].

    >>> found = reliability(torch.tensor([0.1, 0.3, 0.9]), torch.tensor([0.0, 1.0, 1.0]), bins=2)
    >>> found.counts, [round(x, 6) for x in found.predicted], found.observed, round(found.error, 6)
    ((2, 1), [0.2, 0.9], (0.5, 1.0), 0.233333)
    """
    p, y = _checked(probabilities, labels, place="reliability")
    if bins < 1 or bool(((p < 0) | (p > 1)).any()):
        raise ConfigError(
            f"reliability: found bins={bins} and probabilities from {p.min().item() if len(p) else 0:g} to "
            f"{p.max().item() if len(p) else 1:g}, expected bins >= 1 and numbers in [0, 1]. Pass probabilities, not logits."
        )
    place = (p * bins).long().clamp(max=bins - 1)
    counts = torch.bincount(place, minlength=bins)
    sums = [torch.zeros(bins, dtype=torch.float64).index_add(0, place, values) for values in (p, y)]
    predicted, observed = (tuple((part / counts).tolist()) for part in sums)
    return Reliability(tuple(counts.tolist()), predicted, observed)


def temperature(
    logits: Float[Tensor, " N"], labels: Float[Tensor, " N"], *, lowest: float = 0.01, highest: float = 100.0
) -> Temperature:
    """Return the T between `lowest` and `highest` that minimises the log loss of sigmoid(z / T).

    In s = 1/T the loss is convex, so its slope is bisected until no float64 lies between; by convexity the loss is within
    |slope| times the distance to the bound on the downhill side of its least value, which is the `gap`. Where every T is as
    good as 1 (no labels, or all logits 0), it is 1. T > 1 makes probabilities less extreme; neither order nor sign of the
    logits changes (Guo et al. 2017, arXiv 1706.04599, section 4.2).

    Raises `ConfigError` where 0 < lowest <= 1 <= highest does not hold, and what `brier` does for unfit numbers.

    >>> found = temperature(torch.tensor([2.0, 2.0, 2.0, 2.0]), torch.tensor([1.0, 1.0, 1.0, 0.0]))
    >>> round(found.value, 6), found.at_bound  # 3 of 4 are right: the logit should be log 3
    (1.820478, False)
    """
    if not (0 < lowest <= 1 <= highest < math.inf):
        raise ConfigError(
            f"temperature: found lowest={lowest}, highest={highest}, expected 0 < lowest <= 1 <= highest. Change the bounds."
        )
    z, y = _checked(logits, labels, place="temperature")
    if not len(z):
        return Temperature(1.0, 0.0, math.nan, math.nan, False)

    def slope(s: float) -> float:
        return _mean((torch.sigmoid(s * z) - y) * z)

    low, high = 1 / highest, 1 / lowest
    s = _root(slope, low=low, high=high)
    steepness = slope(s)
    gap = steepness * (s - low) if steepness > 0 else steepness * (s - high)
    bound = steepness != 0 and s in (low, high)
    return Temperature(1 / s, max(0.0, gap), log_loss(z, y), log_loss(s * z, y), bound)


def smoothed(labels: Float[Tensor, " N"]) -> Float64[Tensor, " N"]:
    """Return labels moved inwards as one more label of each class would: 1 to (P + 1) / (P + 2), 0 to 1 / (Q + 2).

    P is the number of positives, the sum of the labels, and Q that of negatives; a label in between moves in proportion. A
    temperature fitted to few labels that happen to be separated would be as bold as it may; fitted to these it is as bold as
    so few labels allow, and for many labels nothing changes (Platt 1999, "Probabilistic outputs for support vector machines",
    section 2.2).

    >>> smoothed(torch.tensor([1.0, 1.0, 0.0])).tolist()
    [0.75, 0.75, 0.3333333333333333]
    """
    y = finite(labels, place="smoothed, labels")
    check_classes(y)
    positive, negative = float(y.sum()), float((1 - y).sum())
    return y * (positive + 1) / (positive + 2) + (1 - y) / (negative + 2)


def measure(logits: Float[Tensor, " N"], labels: Float[Tensor, " N"], *, bins: int = 10) -> Calibration:
    """Return every figure of this module for the probabilities sigmoid(logits).

    >>> found = measure(torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1.0, 0.0, 0.0]), bins=2)
    >>> found.judged, found.auc, round(found.accuracy, 3), found.reliability.counts
    (3, 1.0, 0.667, (1, 2))
    """
    z, y = _checked(logits, labels, place="measure")
    p, positive = torch.sigmoid(z), _mean(y)
    constant = torch.full_like(y, positive)
    chance = _mean(-torch.xlogy(y, constant) - torch.xlogy(1 - y, 1 - constant))
    return Calibration(
        len(z), positive, log_loss(z, y), chance, brier(p, y), auc(z, y), accuracy(z, y), reliability(p, y, bins=bins)
    )


def _root(slope: Callable[[float], float], *, low: float, high: float) -> float:
    """Where an increasing function crosses 0 between low and high; 1 if it is 0 there, a bound where it does not cross."""
    if slope(1.0) == 0:
        return 1.0
    if slope(low) >= 0:
        return low
    if slope(high) <= 0:
        return high
    while low < (middle := (low + high) / 2) < high:
        if slope(middle) < 0:
            low = middle
        else:
            high = middle
    return high


def _checked(
    scores: Float[Tensor, " N"], labels: Float[Tensor, " K"], *, place: str
) -> tuple[Float64[Tensor, " N"], Float64[Tensor, " N"]]:
    if len(scores) != len(labels):
        raise ShapeError(f"{place}: found {len(scores)} scores and {len(labels)} labels. Pass one label per score.")
    found, wanted = finite(scores, place=place), finite(labels, place=f"{place}, labels")
    check_classes(wanted)
    return found, wanted


def _mean(values: Float64[Tensor, " N"]) -> float:
    return float(values.mean()) if len(values) else math.nan
