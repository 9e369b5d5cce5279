"""Degenerate limits of the loop, step for step: what a method must become where there is nothing left to combine.

In float64, from a policy that has left its reference, without a norm clip unless it is the subject; records and trained
weights over several steps.
"""

from dataclasses import replace
from functools import cache

import pytest
import torch
from support.training_cases import moved_policy, pairs

from paretokit.maths.logps import sum_by_sequence
from paretokit.maths.losses import dpo
from paretokit.preferences.records import Preferences
from paretokit.rows import pad_rows
from paretokit.training.config import TrainConfig
from paretokit.training.encode import encode_preferences
from paretokit.training.loop import iter_train
from paretokit.training.references import reference_margins
from paretokit.training.sampling import order

CONFIG = TrainConfig(
    steps=3,
    pairs_per_step=4,
    learning_rate=1e-2,
    schedule="constant",
    warmup=0,
    max_length=128,
    max_grad_norm=1e6,
    weight_decay=0.1,
)
ADAMW = replace(CONFIG, optimizer="adamw")
SGD, RMSPROP = (replace(CONFIG, optimizer=name, weight_decay=0.0) for name in ("sgd", "rmsprop"))
optimizers = pytest.mark.parametrize("config", [SGD, ADAMW, RMSPROP], ids=["sgd", "adamw", "rmsprop"])
combined = pytest.mark.parametrize("method", ["raco", "cagrad"])


@cache
def run(data, weights, *, method="raco", config=SGD, adapter="lora"):
    """The records of a run, and the trained weights as one vector."""
    policy = moved_policy(adapter=adapter)
    records = list(iter_train(policy, data, method=method, weights=weights, config=config))
    return records, torch.cat([value.flatten() for value in policy.trainable_state().values()])


def labelled(data, labels):
    """The same pairs with other labels."""
    return Preferences(
        prompts=data.prompts,
        responses_a=data.responses_a,
        responses_b=data.responses_b,
        labels=labels,
        objectives=[f"objective {index}" for index in range(len(labels))],
    )


def judging(data, *columns):
    """The same pairs with the labels of these objectives alone, in this order; a column may come twice."""
    return labelled(data, data.labels[list(columns)])


def lengths(records):
    """How long each update is, in lengths of the first objective's gradient."""
    return [record.update_norm / record.gradient_norms[0] for record in records]


def assert_same(found, expected, *, within=1e-12):
    """Equal weights; as it stands, within rounding of weights of size 1 over a few steps (3e-16 was seen)."""
    torch.testing.assert_close(found, expected, rtol=0, atol=within)


def rounding(config):
    """What `assert_same` allows. AdamW divides a gradient by its size, so small ones bring their rounding (4e-12 was seen).
    RMSprop does so without correcting its mean of squares for its start at zero: its first steps, and what rounding moves in
    them, are 1 / sqrt(1 - 0.99) = 10 times as large (2e-10 was seen)."""
    return {"sgd": 1e-12, "adamw": 1e-10, "rmsprop": 1e-9}[config.optimizer]


def assert_other(found, expected):
    with pytest.raises(AssertionError, match="not close"):
        assert_same(found, expected, within=1e-6)


DATA = pairs(objectives=3, count=8)  # o0 is not judged on one pair, the others on all


# radius 0


@combined
@optimizers
def test_radius_zero_is_linear_bit_for_bit(method, config):
    # a = w + 0 p is w to the bit; raco and cagrad divide w by its sum, which is 1 to the bit here
    zero, found = run(DATA, (0.125, 0.25, 0.625), method=method, config=replace(config, c=0.0))
    linear, expected = run(DATA, (0.125, 0.25, 0.625), method="linear", config=config)
    seen = ("losses", "margins", "gradient_norms", "cosines", "coefficients", "update_norm", "norm_scale")
    for one, other in zip(zero, linear, strict=True):
        assert repr([getattr(one, name) for name in seen]) == repr([getattr(other, name) for name in seen])
        assert one.correction_norm == 0
    assert torch.equal(found, expected)


@combined
def test_a_small_radius_is_noticed(method):
    small = run(DATA, (0.125, 0.25, 0.625), method=method, config=replace(SGD, c=1e-3))[1]
    assert_other(small, run(DATA, (0.125, 0.25, 0.625), method="linear")[1])


# one objective


def plain(data, *, config, adapter):
    """DPO as anyone would write it, with torch's optimizer: one loss, `backward`, step."""
    policy = moved_policy(adapter=adapter)
    encoded = encode_preferences(policy, data, max_length=config.max_length)
    reference = reference_margins(policy, encoded, {})
    parameters = list(policy.trainable.values())
    if config.optimizer == "sgd":
        optimizer = torch.optim.SGD(parameters, lr=config.learning_rate)
    elif config.optimizer == "rmsprop":
        optimizer = torch.optim.RMSprop(parameters, lr=config.learning_rate)
    else:
        optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    losses = []
    for step in range(1, config.steps + 1):
        chosen = order(len(encoded), step=step, size=config.pairs_per_step, seed=config.seed)
        drawn = [encoded[i] for i in chosen]
        rows = pad_rows([pair.prompt for pair in drawn] * 2, [p.response_a for p in drawn] + [p.response_b for p in drawn])
        sums = sum_by_sequence(policy.token_logps(rows), rows.sequence, count=2 * len(drawn))
        margins = sums[: len(drawn)] - sums[len(drawn) :] - reference[chosen]
        loss = dpo(margins, data.labels[:, chosen].double(), beta=config.beta).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, torch.cat([value.flatten() for value in policy.trainable_state().values()])


@pytest.mark.parametrize("adapter", ["lora", "full"])
@optimizers
def test_linear_with_one_objective_is_plain_dpo(config, adapter):
    data = judging(DATA, 1)
    records, found = run(data, (1.0,), method="linear", config=config, adapter=adapter)
    losses, expected = plain(data, config=config, adapter=adapter)
    assert [record.losses[0] for record in records] == pytest.approx(losses, rel=1e-10)
    assert_same(found, expected, within=rounding(config))


def test_another_beta_is_noticed():
    data = judging(DATA, 1)
    assert_other(run(data, (1.0,), method="linear")[1], plain(data, config=replace(SGD, beta=0.201), adapter="lora")[1])


@combined
def test_with_one_objective_the_update_is_its_gradient_times_one_plus_c(method):
    data = judging(DATA, 1)
    records, found = run(data, (1.0,), method=method)
    assert lengths(records) == pytest.approx([1 + SGD.c] * SGD.steps, rel=1e-12)
    faster = replace(SGD, learning_rate=(1 + SGD.c) * SGD.learning_rate)
    assert_same(found, plain(data, config=faster, adapter="lora")[1])
    assert_other(found, plain(data, config=SGD, adapter="lora")[1])


@optimizers
def test_under_the_norm_clip_one_objective_is_plain_dpo_whatever_the_radius(config):
    data, clipped = judging(DATA, 1), replace(config, max_grad_norm=0.1)
    records, found = run(data, (1.0,), config=clipped)
    assert all(record.norm_scale < 1 for record in records)
    assert_same(found, run(data, (1.0,), method="linear", config=clipped)[1], within=rounding(config))


# one-hot weights


JUDGED = labelled(DATA, DATA.labels.nan_to_num(nan=1.0))  # so that o0 can be trained on alone


@optimizers
def test_one_hot_weights_train_on_that_objective_alone_its_gradient_as_it_is_or_lengthened(config):
    records, found = run(JUDGED, (1.0, 0.0, 0.0), config=config)
    known = lengths(records)
    cases = {round(length, 9) for length in known}
    assert cases == {1.0, 1 + config.c}  # the correction is clipped away, or lies along the gradient: both occur
    for record, length in zip(records, known, strict=True):
        assert (length == pytest.approx(1.0)) is (record.mixture[0] == 0)
        assert record.coefficients[1:] == (0.0, 0.0)

    def lengthened(gram, weights, *, generator):
        return weights * steps.pop(0)

    steps = list(known)
    alone, expected = run(judging(JUDGED, 0), (1.0,), method=lengthened, config=config)
    assert [record.losses[0] for record in records] == pytest.approx([record.losses[0] for record in alone], rel=1e-9)
    assert_same(found, expected, within=rounding(config))


def test_the_lengths_are_noticed():
    found = run(JUDGED, (1.0, 0.0, 0.0))[1]
    assert_other(found, run(judging(JUDGED, 0), (1.0,), method="linear")[1])
    assert_other(found, run(judging(JUDGED, 0), (1.0,), method="raco")[1])


def test_without_the_clip_one_hot_weights_do_not_keep_the_direction():
    """CAGrad corrects with what the user gave no weight: the property above is that of RACO's clip."""
    records = run(JUDGED, (1.0, 0.0, 0.0), method="cagrad")[0]
    assert any(max(record.coefficients[1:]) > 0.1 for record in records)


# identical objectives


@combined
@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.1, 0.9), (1.0, 0.0), (0.2, 0.3, 0.5), (0.0, 0.0, 1.0)])
def test_identical_objectives_train_on_their_gradient_times_one_plus_c(method, weights):
    records, found = run(judging(DATA, *[1] * len(weights)), weights, method=method)
    # the Gramian and the root of its quadratic form round apart
    assert lengths(records) == pytest.approx([1 + SGD.c] * SGD.steps, rel=1e-12)
    assert_same(found, run(judging(DATA, 1), (1.0,), method=method)[1])


@combined
def test_one_label_that_differs_is_noticed(method):
    data = judging(DATA, 1, 1)
    labels = data.labels.clone()
    labels[1, 0] *= -1
    records, found = run(labelled(data, labels), (0.5, 0.5), method=method)
    assert lengths(records) != pytest.approx([1 + SGD.c] * SGD.steps, rel=1e-3)
    assert_other(found, run(judging(DATA, 1), (1.0,), method=method)[1])


# a duplicated objective


@pytest.mark.parametrize("method", ["linear", "raco", "cagrad"])
@pytest.mark.parametrize("split", [(0.1, 0.2), (0.0, 0.3)])
@optimizers
def test_a_duplicated_objective_with_split_weights_trains_like_the_one(method, split, config):
    twice, found = run(judging(DATA, 0, 0, 1), (*split, 0.7), method=method, config=config)
    once, expected = run(judging(DATA, 0, 1), (0.3, 0.7), method=method, config=config)
    for one, other in zip(twice, once, strict=True):
        assert one.coefficients[0] + one.coefficients[1] == pytest.approx(other.coefficients[0], rel=1e-6)
        assert one.losses[1:] == pytest.approx(other.losses, rel=1e-9, nan_ok=True)
        assert one.update_norm == pytest.approx(other.update_norm, rel=1e-9)
    assert_same(found, expected, within=rounding(config))


@pytest.mark.parametrize("method", ["linear", "raco", "cagrad"])
def test_a_split_that_gives_more_weight_is_noticed(method):
    twice = run(judging(DATA, 0, 0, 1), (0.2, 0.2, 0.6), method=method)[1]
    assert_other(twice, run(judging(DATA, 0, 1), (0.3, 0.7), method=method)[1])


# an objective without weight


@optimizers
def test_linear_monitors_an_objective_without_weight(config):
    records, found = run(DATA, (0.3, 0.7, 0.0), method="linear", config=config)
    others, expected = run(judging(DATA, 0, 1), (0.3, 0.7), method="linear", config=config)
    for record, other in zip(records, others, strict=True):
        assert record.losses[:2] == pytest.approx(other.losses, rel=1e-9, nan_ok=True)
        assert record.losses[2] > 0
        assert record.gradient_norms[2] > 0
    assert_same(found, expected, within=rounding(config))


def test_a_small_weight_is_noticed():
    assert_other(run(DATA, (0.3, 0.699, 0.001), method="linear")[1], run(judging(DATA, 0, 1), (0.3, 0.7), method="linear")[1])


@combined
def test_a_correction_heeds_an_objective_without_weight(method):
    """Monitoring is for linear: the others look at its gradient to find the mixture, RACO before it clips."""
    found = run(DATA, (0.3, 0.7, 0.0), method=method)[1]
    assert_other(found, run(judging(DATA, 0, 1), (0.3, 0.7), method=method)[1])
