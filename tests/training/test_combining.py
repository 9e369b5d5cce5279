"""`combine_every`: gradients combined in each micro-batch, as RACO's released code does, against a slow twin."""

import math
from dataclasses import replace

import pytest
import torch
from support.training_cases import exact_policy, moved_policy, pairs

from paretokit.errors import NonFiniteError
from paretokit.maths.raco import coefficients
from paretokit.models.tiny import random_policy
from paretokit.preferences.pack import make_batch
from paretokit.training.combining import by_micro_batch, micro_batches
from paretokit.training.config import TrainConfig
from paretokit.training.encode import encode_preferences
from paretokit.training.jacobian import margins
from paretokit.training.loop import iter_train, plan_of
from paretokit.training.references import reference_margins
from paretokit.training.sampling import order

CONFIG = TrainConfig(
    steps=2, pairs_per_step=8, learning_rate=1e-2, max_length=128, warmup=0, schedule="constant", optimizer="sgd",
    max_grad_norm=1e6, combine_every=4,
)  # fmt: skip
WEIGHTS = {2: (0.3, 0.7), 3: (0.2, 0.3, 0.5)}


def run(data, *, config=CONFIG, method="raco", policy=None, weights=None):
    policy = policy or moved_policy()
    records = list(iter_train(policy, data, method=method, weights=weights or WEIGHTS[len(data.objectives)], config=config))
    return records, torch.cat([value.flatten() for value in policy.trainable_state().values()])


def release(data, *, config, weights):
    """What the released code does, with plain autograd: per micro-batch a loss per objective, the mean over its judged pairs, a
    gradient each, RACO's coefficients; the combined gradients, each over the number of micro-batches, are added up."""
    policy = moved_policy()
    encoded = encode_preferences(policy, data, max_length=config.max_length)
    reference = reference_margins(policy, encoded, {})
    parameters = list(policy.trainable.values())
    taken = []
    for step in range(1, config.steps + 1):
        drawn = order(len(encoded), step=step, size=config.pairs_per_step, seed=config.seed)
        total = [torch.zeros_like(parameter) for parameter in parameters]
        each = []
        for start in range(0, len(drawn), config.combine_every):
            micro = drawn[start : start + config.combine_every]
            labels = data.labels[:, micro].double()
            batch = make_batch([encoded[i] for i in micro], labels, reference[micro], torch.tensor(micro), shared=False)
            delta = margins(policy, batch)
            gradients = []
            for row in labels:
                judged = ~row.isnan()
                loss = -torch.nn.functional.logsigmoid(config.beta * row[judged] * delta[judged]).sum() / max(1, judged.sum())
                found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
                gradients.append([torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)])
            flat = torch.stack([torch.cat([part.flatten() for part in gradient]) for gradient in gradients])
            a = coefficients(flat @ flat.T, torch.tensor(weights, dtype=torch.float64), c=config.c).coefficients
            each.append(a)
            for place, parts in enumerate(zip(*gradients, strict=True)):
                total[place] += sum(x * part for x, part in zip(a, parts, strict=True)) * (len(micro) / len(drawn))
        taken.append(torch.stack(each).mean(dim=0))
        with torch.no_grad():
            for parameter, gradient in zip(parameters, total, strict=True):
                parameter -= config.learning_rate * gradient
    return taken, torch.cat([value.flatten() for value in policy.trainable_state().values()])


@pytest.mark.parametrize("objectives", [2, 3])
@pytest.mark.parametrize("every", [2, 4])
@pytest.mark.filterwarnings("ignore:combine_every=2")
def test_it_is_the_order_of_the_released_code(objectives, every):
    data, config = pairs(objectives=objectives, count=16), replace(CONFIG, combine_every=every)
    records, found = run(data, config=config)
    taken, expected = release(data, config=config, weights=WEIGHTS[objectives])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    for record, mean in zip(records, taken, strict=True):
        assert record.coefficients == pytest.approx(mean.tolist(), rel=1e-9)
    whole = run(data, config=replace(CONFIG, combine_every=None))[1]
    assert float((found - whole).abs().max()) > 1e-6  # it is another update than that of the whole batch


@pytest.mark.parametrize("every", [8, 9])
@pytest.mark.parametrize("method", ["raco", "cagrad", "linear"])
def test_the_whole_batch_is_the_default_bit_for_bit(every, method):
    data = pairs(count=16)
    records, found = run(data, config=replace(CONFIG, combine_every=every), method=method)
    expected, weights = run(data, config=replace(CONFIG, combine_every=None), method=method)
    assert repr(records) == repr(expected)
    assert torch.equal(found, weights)


def test_a_linear_method_does_not_mind_where_all_pairs_are_judged():
    """Also with a last micro-batch that is smaller: each counts by its pairs."""
    data = pairs(count=16).select(indices=range(3, 16))  # the third pair has an objective without a label
    for every in (3, 4):
        found = run(data, config=replace(CONFIG, combine_every=every), method="linear")
        expected = run(data, config=replace(CONFIG, combine_every=None), method="linear")
        torch.testing.assert_close(found[1], expected[1], rtol=0, atol=1e-14)
        for one, other in zip(found[0], expected[0], strict=True):
            assert one.losses == pytest.approx(other.losses)
            assert one.update_norm == pytest.approx(other.update_norm, rel=1e-9)


def test_passes_do_not_change_the_update_and_stay_in_their_micro_batch():
    data = pairs(count=16)
    found = run(data, config=replace(CONFIG, pairs_per_backward=1))
    expected = run(data)
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=1e-13)
    assert [record.backward_passes for record in found[0]] == [8, 8]
    policy = exact_policy()
    encoded = encode_preferences(policy, data, max_length=128)[:8]
    for every in (3, 4):
        config = replace(CONFIG, combine_every=every)
        plan = plan_of(policy, encoded, config)
        together = [sorted(i for one in passes for i in one.pairs) for passes in by_micro_batch(plan, config)]
        assert together == micro_batches(8, config)
        assert plan.tokens == plan_of(policy, encoded, replace(CONFIG, combine_every=None)).tokens


def test_a_record_holds_means_over_the_micro_batches():
    data = pairs(count=16)
    [record] = run(data, config=replace(CONFIG, steps=1))[0]
    assert record.correction_norm == pytest.approx(CONFIG.c * record.preferred_norm, rel=1e-9)  # root mean squares of both
    assert math.isfinite(record.gap)
    assert len(record.margins) == 8
    assert sum(record.judged) == int((~data.labels[:, order(16, step=1, size=8, seed=0)].isnan()).sum())
    assert abs(sum(record.mixture) - 1) <= 1e-12


def test_the_norm_clip_is_that_of_the_whole_step():
    data = pairs(count=16)
    [record] = run(data, config=replace(CONFIG, steps=1, max_grad_norm=1e-3))[0]
    before, after = moved_policy().trainable_state(), None
    policy = moved_policy()
    run(data, config=replace(CONFIG, steps=1, max_grad_norm=1e-3), policy=policy)
    after = policy.trainable_state()
    moved = torch.cat([(after[name] - before[name]).flatten() for name in before]).norm()
    assert float(moved) == pytest.approx(1e-3 * CONFIG.learning_rate, rel=1e-9)
    assert record.norm_scale == pytest.approx(1e-3 / record.update_norm)


@pytest.mark.parametrize("method", ["mah-dpo", "mah-raco"])
def test_heads_take_the_mean_of_their_micro_batches(method):
    data = pairs(count=16)

    def fresh():
        return random_policy("gpt2", heads=data.objectives, dtype=torch.float64)

    whole, split, linear = fresh(), fresh(), fresh()
    config = replace(CONFIG, pairs_per_step=4)
    expected = run(data, policy=whole, method=method, config=replace(config, combine_every=None))[1]
    found = run(data, policy=split, method=method, config=replace(config, combine_every=2))[1]
    if method == "mah-dpo":  # linear in the gradients
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
    else:
        assert float((found - expected).abs().max()) > 1e-9
        same = run(data, policy=linear, method=method, config=replace(config, combine_every=4))[1]
        assert torch.equal(same, expected)


def test_a_micro_batch_that_is_not_finite_stops_the_step_or_skips_it():
    def broken(policy):
        with torch.no_grad():
            next(iter(policy.trainable.values())).fill_(float("nan"))
        return policy

    with pytest.raises(NonFiniteError, match=r"step 1, objective 'o0': found a loss or gradient that is not finite"):
        run(pairs(count=16), policy=broken(moved_policy()))
    records, _ = run(pairs(count=16), policy=broken(moved_policy()), config=replace(CONFIG, on_non_finite="skip"))
    assert [record.skipped for record in records] == [True, True]
    assert [len(record.margins) for record in records] == [8, 8]


def test_few_pairs_at_once_are_warned_of():
    with pytest.warns(UserWarning, match="combine_every=2: the gradients of all objectives lie in a space"):
        iter_train(random_policy(), pairs(), weights=(0.5, 0.5), config=replace(CONFIG, combine_every=2))
