"""Losses of reward models: values by kind, gradients, and places that nobody judged."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.maths_asserts import assert_close

from paretokit.errors import DataError
from paretokit.maths.losses import dpo, judged, reduce
from paretokit.maths.reward_losses import bradley_terry, check_classes, cross_entropy, squared_error

NAN = float("nan")
scores = st.lists(st.floats(-30, 30), min_size=1, max_size=6)
LABELS = {squared_error: [-3.0, 0.5, 7.0], cross_entropy: [0.0, 0.25, 1.0], bradley_terry: [-1.0, 0.0, 1.0]}
LOSSES = pytest.mark.parametrize("loss", LABELS)


def _tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def _slow(loss, score, label):
    """The loss of one place, in plain floats."""
    if math.isnan(label):
        return 0.0
    if loss is squared_error:
        return (score - label) ** 2
    if loss is bradley_terry:
        return math.log1p(math.exp(-label * score))
    return label * math.log1p(math.exp(-score)) + (1 - label) * math.log1p(math.exp(score))


# property


@LOSSES
@given(scores, st.integers(0, 10**6))
def test_losses_are_not_negative_and_have_their_labels_shape(loss, values, seed):
    drawn = torch.randint(4, (3, len(values)), generator=torch.Generator().manual_seed(seed))
    labels = _tensor([*LABELS[loss], NAN])[drawn]
    found = loss(_tensor([values] * 3), labels)
    assert found.shape == labels.shape
    assert bool((found >= 0).all())
    assert not found[labels.isnan()].any()


@given(scores)
def test_swapping_classes_or_texts_swaps_the_sign(values):
    z, ones = _tensor([values]), torch.ones(1, len(values), dtype=torch.float64)
    assert_close(cross_entropy(z, ones), cross_entropy(-z, 0 * ones), tolerance=1e-12)
    assert_close(bradley_terry(z, ones), bradley_terry(-z, -ones), tolerance=0)
    assert_close(bradley_terry(z, ones), cross_entropy(z, ones), tolerance=1e-12)  # a pair is a class of its difference


def test_objectives_do_not_see_each_other():
    z, labels = _tensor([[1.0, -2.0], [0.5, 3.0]]), _tensor([[0.0, 1.0], [NAN, 1.0]])
    for loss in LABELS:
        alone = torch.cat([loss(z[i : i + 1], labels[i : i + 1]) for i in range(2)])
        assert torch.equal(loss(z, labels), alone)


# closed form, slow twin


def test_closed_forms():
    assert_close(squared_error(_tensor([[0.25, 3.0]]), _tensor([[1.0, 1.0]])), [[0.5625, 4.0]], tolerance=0)
    zero = torch.zeros(1, 3, dtype=torch.float64)
    assert_close(cross_entropy(zero, _tensor([[0.0, 0.3, 1.0]])), [[math.log(2)] * 3], tolerance=1e-15)
    assert_close(bradley_terry(zero, _tensor([[-1.0, 0.0, 1.0]])), [[math.log(2)] * 3], tolerance=1e-15)
    odds = _tensor([[math.log(3)]])  # p = 3/4
    assert_close(cross_entropy(odds, _tensor([[1.0]])), [[math.log(4 / 3)]], tolerance=1e-15)
    entropy = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert_close(cross_entropy(odds, _tensor([[0.75]])), [[entropy]], tolerance=1e-15)  # least over z
    assert_close(bradley_terry(-odds, _tensor([[1.0]])), [[math.log(4)]], tolerance=1e-15)


@LOSSES
@given(scores)
def test_slow_twin(loss, values):
    labels = [*LABELS[loss], NAN]
    found = loss(_tensor([values] * 4), _tensor([[label] * len(values) for label in labels]))
    assert_close(found, [[_slow(loss, value, label) for value in values] for label in labels], tolerance=1e-10)


@given(scores, scores)
def test_bradley_terry_is_dpo_with_a_margin_for_each_objective(one, other):
    size = min(len(one), len(other))
    rows, labels = _tensor([one[:size], other[:size]]), _tensor([[1.0] * size, [-1.0] * size])
    expected = torch.cat([dpo(row, label[None], beta=1.0) for row, label in zip(rows, labels, strict=True)])
    assert torch.equal(bradley_terry(rows, labels), expected)


# derivative


@LOSSES
def test_gradient_by_differences(loss):
    z = _tensor([[0.3, -2.0, 1.0], [0.1, 4.0, -0.5]]).requires_grad_()
    labels = _tensor([LABELS[loss], [NAN, *LABELS[loss][1:]]])
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), (z,))


@given(st.floats(-20, 20), st.floats(0, 1))
def test_slopes_by_formula(score, label):
    for loss, slope in (
        (squared_error, 2 * (score - label)),
        (cross_entropy, 1 / (1 + math.exp(-score)) - label),
    ):
        z = _tensor([[score]]).requires_grad_()
        (gradient,) = torch.autograd.grad(loss(z, _tensor([[label]])).sum(), z)
        assert gradient.item() == pytest.approx(slope, rel=1e-9, abs=1e-12)


@LOSSES
@pytest.mark.parametrize("score", [NAN, float("inf"), 1e30])
def test_an_unjudged_place_sends_nothing_back_whatever_its_score(loss, score):
    z = _tensor([[score, 0.5]]).requires_grad_()
    losses = loss(z, _tensor([[NAN, 1.0]]))
    assert losses[0, 0].item() == 0
    losses.sum().backward()
    assert z.grad[0, 0].item() == 0
    assert bool(z.grad.isfinite().all())
    assert z.grad[0, 1].item() != 0  # planted: what was judged does


# limits


@LOSSES
def test_one_objective_no_places_and_means(loss):
    nothing = torch.zeros(2, 0, dtype=torch.float64)
    assert loss(nothing, nothing).shape == (2, 0)
    labels = _tensor([[1.0, NAN], [NAN, NAN]])
    means = reduce(loss(_tensor([[3.0, 3.0], [3.0, 3.0]]), labels), judged=judged(labels))
    assert means[0].item() == pytest.approx(_slow(loss, 3.0, 1.0))
    assert bool(means[1].isnan())


def test_far_scores_are_finite_in_float32():
    far, ones = torch.tensor([[1e4, -1e4]]), torch.tensor([[1.0, 1.0]])
    assert cross_entropy(far, ones).tolist() == [[0, 1e4]]
    assert bradley_terry(far, ones).tolist() == [[0, 1e4]]
    assert squared_error(far, ones).dtype == torch.float32


def test_a_tie_has_no_slope():
    z = _tensor([[3.0]]).requires_grad_()
    bradley_terry(z, _tensor([[0.0]])).sum().backward()
    assert z.grad.tolist() == [[0.0]]


@pytest.mark.parametrize("label", [2.0, -0.5])
def test_message_for_a_class_out_of_range(label):
    expected = (
        f"class labels: found {label:g}, expected numbers in [0, 1], or NaN where nobody judged. "
        "Give these labels the kind 'value', or make classes of them."
    )
    for call in (
        lambda: cross_entropy(torch.zeros(1, 2), torch.tensor([[NAN, label]])),
        lambda: check_classes(_tensor([label])),
    ):
        with pytest.raises(DataError) as caught:
            call()
        assert str(caught.value) == expected


def test_a_frozen_value():
    found = cross_entropy(_tensor([[0.7, -1.3]]), _tensor([[1.0, 0.4]]))
    assert_close(found, [[0.4031860488854579, 0.7610084538329922]], tolerance=1e-15)
