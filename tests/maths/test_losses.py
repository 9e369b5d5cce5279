"""DPO per objective: values, gradients, ties, and pairs that nobody judged."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.maths_asserts import assert_close

from paretokit.errors import ConfigError
from paretokit.maths.losses import dpo, dpo_slopes, judged, reduce

quick = settings(deadline=None, max_examples=50, derandomize=True)
margins = st.lists(st.floats(-50, 50), min_size=1, max_size=6)
NAN = float("nan")


def _tensor(values):
    return torch.tensor(values, dtype=torch.float64)


@quick
@given(margins, st.floats(0.01, 2))
def test_swapping_the_answers_swaps_the_label(values, beta):
    delta, ones = _tensor(values), torch.ones(1, len(values), dtype=torch.float64)
    assert_close(dpo(delta, -ones, beta=beta), dpo(-delta, ones, beta=beta), tolerance=0)
    # -log sigmoid(x) - (-log sigmoid(-x)) = -x
    assert_close(dpo(delta, ones, beta=beta) - dpo(delta, -ones, beta=beta), (-beta * delta)[None], tolerance=1e-10)


@quick
@given(margins, st.floats(0.01, 2))
def test_slow_twin(values, beta):
    labels = [[1.0] * len(values), [0.0] * len(values), [-1.0] * len(values), [NAN] * len(values)]
    found = dpo(_tensor(values), _tensor(labels), beta=beta)
    expected = [
        [0.0 if math.isnan(sign) else math.log1p(math.exp(-beta * sign * value)) for value in values] for (sign, *_) in labels
    ]
    assert_close(found, expected, tolerance=1e-12)


def test_closed_forms_and_frozen_values():
    assert dpo(_tensor([3.0]), _tensor([[1.0]]), beta=0.1).item() == pytest.approx(0.5543552445, abs=1e-10)
    assert dpo(_tensor([-1.5]), _tensor([[1.0]]), beta=0.2).item() == pytest.approx(0.8543552445, abs=1e-10)
    start = dpo(torch.zeros(3, dtype=torch.float64), _tensor([[1.0, -1, 0]]), beta=0.2)
    assert_close(start, [[math.log(2)] * 3], tolerance=1e-15)
    assert_close(dpo(_tensor([2000.0]), _tensor([[1.0], [-1.0]]), beta=1.0), [[0.0], [2000.0]], tolerance=0)


def test_gradient_at_the_start_is_half_beta_times_the_signs():
    delta = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    labels = _tensor([[1, -1, 0, NAN], [1, 1, 1, 1]])
    counts = judged(labels)
    for index, loss in enumerate(reduce(dpo(delta, labels, beta=0.2), judged=counts)):
        (gradient,) = torch.autograd.grad(loss, delta, retain_graph=True)
        assert_close(gradient, -(0.2 / 2) * labels[index].nan_to_num() / counts[index], tolerance=1e-15)


@quick
@given(st.floats(-20, 20), st.sampled_from([1.0, -1.0]), st.floats(0.05, 1))
def test_gradient_is_minus_beta_sign_sigmoid(value, sign, beta):
    delta = _tensor([value]).requires_grad_()
    (gradient,) = torch.autograd.grad(dpo(delta, _tensor([[sign]]), beta=beta).sum(), delta)
    assert gradient.item() == pytest.approx(-beta * sign / (1 + math.exp(beta * sign * value)), rel=1e-9)


def test_gradient_by_differences():
    labels = _tensor([[1, -1, 0], [NAN, 1, -1]])
    delta = _tensor([0.3, -2.0, 5.0]).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: dpo(x, labels, beta=0.5), (delta,))


def test_an_unjudged_pair_sends_nothing_back():
    delta = torch.tensor([1.0, 2.0], requires_grad=True)
    labels = torch.tensor([[NAN, NAN], [1.0, NAN]])
    losses = dpo(delta, labels, beta=0.1)
    assert losses[:, 1].tolist() == [0, 0]
    losses.sum().backward()
    assert delta.grad[1] == 0
    assert bool(delta.grad.isfinite().all())


def test_float32_margins_of_any_size_are_finite():
    found = dpo(torch.tensor([-1e4, 1e4]), torch.tensor([[1.0, -1.0]]), beta=1.0)
    assert found.dtype == torch.float32
    assert found.tolist() == [[1e4, 1e4]]


def test_counts_and_means():
    labels = torch.tensor([[1.0, 0.0, NAN], [NAN, NAN, NAN], [-1.0, 1.0, 1.0]])
    assert judged(labels).tolist() == [2, 0, 3]
    losses = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0], [3.0, 3.0, 3.0]])
    assert_close(reduce(losses, judged=judged(labels))[[0, 2]], [1.5, 3.0], tolerance=0)
    assert bool(reduce(losses, judged=judged(labels))[1].isnan())


def test_micro_batches_add_up():
    labels = _tensor([[1, -1, NAN, 1], [0, 1, 1, -1]])
    losses = dpo(_tensor([1.0, 2, 3, 4]), labels, beta=0.3)
    whole = reduce(losses, judged=judged(labels))
    parts = [reduce(losses[:, part], judged=judged(labels)) for part in (slice(0, 1), slice(1, 4))]
    assert_close(parts[0] + parts[1], whole, tolerance=1e-15)


def test_an_objective_without_pairs_has_no_gradient():
    delta = torch.tensor([1.0], requires_grad=True)
    labels = torch.tensor([[NAN]])
    reduce(dpo(delta, labels, beta=0.1), judged=judged(labels)).sum().backward()
    assert delta.grad.tolist() == [0.0]


@pytest.mark.parametrize("function", [dpo, dpo_slopes])
@pytest.mark.parametrize("beta", [0.0, -0.1, NAN, float("inf")])
def test_message_for_beta(function, beta):
    with pytest.raises(ConfigError) as caught:
        function(torch.zeros(1), torch.ones(1, 1), beta=beta)
    assert str(caught.value) == f"beta: found {beta!r}, expected a number > 0. RACO's release uses 0.2."


# The slopes, by formula


@quick
@given(margins, st.floats(0.01, 2), st.integers(0, 10**6))
def test_slopes_are_the_derivative_of_every_loss(values, beta, seed):
    drawn = torch.randint(4, (3, len(values)), generator=torch.Generator().manual_seed(seed))
    labels, delta = _tensor([1.0, -1.0, 0.0, NAN])[drawn], _tensor(values).requires_grad_()
    losses = dpo(delta, labels, beta=beta)
    expected = torch.stack([torch.autograd.grad(loss.sum(), delta, retain_graph=True)[0] for loss in losses])
    found = dpo_slopes(delta.detach(), labels, beta=beta)
    assert_close(found, expected, tolerance=1e-12)
    assert not found[labels.nan_to_num() == 0].any()


@quick
@given(margins, st.floats(0.01, 2))
def test_slopes_of_a_slow_twin(values, beta):
    found = dpo_slopes(_tensor(values), _tensor([[1.0] * len(values), [-1.0] * len(values)]), beta=beta)
    expected = [[-beta * sign / (1 + math.exp(beta * sign * value)) for value in values] for sign in (1, -1)]
    assert_close(found, expected, tolerance=1e-12)
    assert_close(found[1] - found[0], [beta] * len(values), tolerance=1e-12)  # sigmoid(x) + sigmoid(-x) = 1


def test_slopes_at_the_start_and_far_out():
    labels = _tensor([[1, -1, 0, NAN]])
    assert_close(dpo_slopes(_tensor([0.0] * 4), labels, beta=0.2), [[-0.1, 0.1, 0.0, 0.0]], tolerance=1e-15)
    far = dpo_slopes(torch.tensor([1e4, -1e4]), torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), beta=1.0)
    assert far.dtype == torch.float32
    assert far.tolist() == [[0, -1], [1, 0]]


def test_an_unjudged_pair_has_no_slope_whatever_its_margin():
    found = dpo_slopes(_tensor([float("inf"), NAN]), _tensor([[NAN, NAN]]), beta=0.1)
    assert found.tolist() == [[0, 0]]


def test_a_frozen_slope():
    assert dpo_slopes(_tensor([3.0]), _tensor([[1.0]]), beta=0.1).item() == pytest.approx(-0.0425557483188341, abs=1e-15)
