"""Gradients per objective: against a slow twin, by finite differences, at the start in closed form, in micro-batches."""

import math

import pytest
import torch
from support.models_cases import disturb
from support.training_cases import exact_policy, moved_policy, pairs

from paretokit.maths.losses import dpo, judged
from paretokit.models.tiny import FAMILIES, random_policy
from paretokit.preferences.pack import Batch, make_batch
from paretokit.training.encode import encode_preferences
from paretokit.training.jacobian import add, batch_for, margins, objective_jacobian, recorded, row_contraction, separate_passes
from paretokit.training.references import reference_margins

# their norm or softmax computes in float32 inside a float64 model
NARROW = set(FAMILIES) - {"gpt2", "gpt_neox"}


def batch_of(policy, preferences, chosen=None, *, shared=False) -> Batch:
    chosen = list(range(len(preferences))) if chosen is None else chosen
    encoded = encode_preferences(policy, preferences, max_length=128)
    reference = reference_margins(policy, encoded, {})
    ids = torch.tensor(chosen)
    return make_batch([encoded[i] for i in chosen], preferences.labels[:, chosen], reference[chosen], ids, shared=shared)


def slow_rows(policy, preferences, *, beta):
    """One forward and one backward pass per objective and pair, on plain logits, from the formula."""
    encoded = encode_preferences(policy, preferences, max_length=128)
    parameters = list(policy.trainable.values())
    rows = []
    for labels in preferences.labels.tolist():
        counted = [value for value in labels if not math.isnan(value)]
        total = torch.zeros((), dtype=torch.float64)
        for pair, label in zip(encoded, labels, strict=True):
            if math.isnan(label):
                continue
            sums = []
            for response in (pair.response_a, pair.response_b):
                ids = torch.tensor([[*pair.prompt, *response]])
                logps = policy.model(input_ids=ids).logits[0].log_softmax(-1)
                at = range(len(pair.prompt), ids.shape[1])
                sums.append(sum(logps[t - 1, ids[0, t]] for t in at))
            margin = sums[0] - sums[1] - float(reference_margins(policy, [pair], {})[0])
            total = total - torch.nn.functional.logsigmoid(beta * label * margin) / len(counted)
        rows.append(torch.autograd.grad(total, parameters, allow_unused=True))
    return rows


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_rows_equal_separate_backward_passes(adapter):
    policy = moved_policy() if adapter == "lora" else exact_policy(adapter="full")
    data = pairs(objectives=3)
    jacobian = objective_jacobian(policy, batch_of(policy, data), beta=0.7, judged=judged(data.labels))
    slow = slow_rows(policy, data, beta=0.7)
    scale = max(float(row.abs().max()) for row in jacobian.rows)
    for index, gradients in enumerate(slow):
        for row, gradient in zip(jacobian.rows, gradients, strict=True):
            torch.testing.assert_close(row[index], gradient, rtol=1e-8, atol=1e-10 * scale)


def test_rows_are_the_derivative_of_the_losses():
    policy = moved_policy()
    data = pairs()
    batch = batch_of(policy, data)
    jacobian = objective_jacobian(policy, batch, beta=0.7, judged=judged(data.labels))
    generator = torch.Generator().manual_seed(3)
    directions = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in policy.trainable.values()]
    expected = sum((row * d).flatten(1).sum(1) for row, d in zip(jacobian.rows, directions, strict=True))

    h = 1e-6
    with torch.no_grad():
        plus, minus = _losses_at(policy, batch, data, directions, h), _losses_at(policy, batch, data, directions, -h)
    torch.testing.assert_close((plus - minus) / (2 * h), expected, rtol=1e-6, atol=1e-8)


def _losses_at(policy, batch, data, directions, step):
    for parameter, direction in zip(policy.trainable.values(), directions, strict=True):
        parameter += step * direction
    losses = dpo(margins(policy, batch), batch.labels.double(), beta=0.7).sum(1) / judged(data.labels)
    for parameter, direction in zip(policy.trainable.values(), directions, strict=True):
        parameter -= step * direction
    return losses


def test_at_the_start_losses_are_log_two_and_gradients_have_a_closed_form():
    policy = exact_policy(seed=1)
    data = pairs(objectives=2)
    batch = batch_of(policy, data)
    counts = judged(data.labels)
    jacobian = objective_jacobian(policy, batch, beta=0.3, judged=counts)
    known = data.labels.isfinite()
    assert jacobian.losses[known].tolist() == pytest.approx([math.log(2)] * int(known.sum()), abs=1e-12)
    parameters = list(policy.trainable.values())
    delta = margins(policy, batch)
    for index in range(2):
        signs = torch.nan_to_num(data.labels[index].double(), nan=0.0)
        expected = torch.autograd.grad((signs * delta).sum() * (-0.3 / 2) / counts[index], parameters, retain_graph=True)
        for row, gradient in zip(jacobian.rows, expected, strict=True):
            torch.testing.assert_close(row[index], gradient, rtol=1e-9, atol=1e-15)


def test_micro_batches_add_up_to_the_batch():
    policy = moved_policy()
    data = pairs(objectives=3)
    counts = judged(data.labels)
    whole = objective_jacobian(policy, batch_of(policy, data), beta=0.5, judged=counts)
    parts = [
        objective_jacobian(policy, batch_of(policy, data, chosen), beta=0.5, judged=counts)
        for chosen in ([0], [1, 2, 3], [4, 5])
    ]
    joined = add(parts)
    torch.testing.assert_close(joined.losses, whole.losses, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(joined.gram, whole.gram, rtol=1e-10, atol=1e-14)
    mean_of_parts = sum(part.gram for part in parts)
    assert not torch.allclose(mean_of_parts, whole.gram, rtol=1e-3)  # adding Gramians is another quantity


def test_an_objective_without_judged_pairs_gets_a_zero_row():
    policy = moved_policy()
    data = pairs(objectives=2)
    labels = data.labels.clone()
    labels[1] = torch.nan
    batch = batch_of(policy, data)._replace(labels=labels)
    jacobian = objective_jacobian(policy, batch, beta=0.5, judged=judged(labels))
    assert float(jacobian.gram[1].abs().max()) == 0.0
    assert float(jacobian.gram[0, 0]) > 0
    assert bool(jacobian.gram.isfinite().all())


def test_nothing_in_a_jacobian_carries_a_graph():
    policy = moved_policy()
    data = pairs()
    jacobian = objective_jacobian(policy, batch_of(policy, data), beta=0.5, judged=judged(data.labels))
    assert not any(tensor.requires_grad for tensor in (jacobian.losses, jacobian.margins, *jacobian.rows))
    assert all(parameter.grad is None for parameter in policy.trainable.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shared_prompt_changes_no_margin_and_no_gradient(family):
    policy = disturb(random_policy(family, seed=0, dtype=torch.float64), size=0.02)
    data = pairs(objectives=3)
    apart, shared = (batch_of(policy, data, shared=flag) for flag in (False, True))
    assert (apart.shared, shared.shared) == (False, True)
    assert shared.tokens < apart.tokens
    encoded = encode_preferences(policy, data, max_length=128)
    found = batch_for(policy, encoded, data.labels, shared.reference, shared.pair_ids)
    assert found.shared == (family not in ("gemma2", "gemma3", "mistral"))
    if not found.shared:  # longer than their window of 16 tokens
        assert max(pair.longest for pair in encoded) > 16
        assert (margins(policy, apart) - margins(policy, shared)).abs().max() > 1e-5
        return
    one, other = (objective_jacobian(policy, batch, beta=0.7, judged=judged(data.labels)) for batch in (apart, shared))
    torch.testing.assert_close(one.margins, other.margins, rtol=0, atol=1e-7 if family in NARROW else 1e-10)
    scale = max(float(row.abs().max()) for row in one.rows)
    for left, right in zip(one.rows, other.rows, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=(1e-6 if family in NARROW else 1e-9) * scale)


@pytest.mark.parametrize("family", ["gpt2", "llama", "phi3", "gemma3"])
def test_one_backward_pass_gives_the_rows_of_m(family):
    policy = random_policy(family, seed=0, dtype=torch.float64)
    with torch.no_grad():
        for index, parameter in enumerate(policy.trainable.values()):
            parameter += 0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index))
    data = pairs(objectives=4)
    batch = batch_of(policy, data)
    parameters = list(policy.trainable.values())
    slopes = torch.randn(4, len(data), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    delta = margins(policy, batch)
    slow = separate_passes(parameters, delta, slopes)
    with recorded(policy) as calls:
        delta = margins(policy, batch)
    fast = row_contraction(parameters, delta, slopes[:, batch.pair], calls)
    assert fast is not None
    scale = max(float(row.abs().max()) for row in slow)
    for one, other in zip(fast, slow, strict=True):
        # RMSNorm computes in float32 inside a float64 model: rows move by up to 1e-7 of their scale (Gemma 3); GPT-2 has none
        tolerance = 1e-10 if family == "gpt2" else 1e-6
        torch.testing.assert_close(one, other, rtol=1e-8, atol=tolerance * scale)


def test_full_fine_tuning_takes_separate_passes():
    policy = exact_policy(adapter="full")
    data = pairs()
    with recorded(policy) as calls:
        delta = margins(policy, batch_of(policy, data))
    slopes = torch.ones(2, len(data), dtype=torch.float64)
    assert row_contraction(list(policy.trainable.values()), delta, slopes.repeat(1, 2), calls) is None


def test_a_layer_that_is_called_twice_takes_separate_passes():
    """The planted case: with two calls of one weight, contracting either alone would be wrong."""
    policy = moved_policy()
    data = pairs()
    with recorded(policy) as calls:
        margins(policy, batch_of(policy, data))
        delta = margins(policy, batch_of(policy, data))
    slopes = torch.ones(2, len(data), dtype=torch.float64)
    assert row_contraction(list(policy.trainable.values()), delta, slopes.repeat(1, 2), calls) is None
