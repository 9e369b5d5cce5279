"""LoRA layers merged for the moment: the same numbers, where it pays and is exact, and nothing is left behind."""

import pytest
import torch
from support.models_cases import disturb, wide
from support.training_cases import pairs

from paretokit.maths.losses import judged
from paretokit.models import lora, merging
from paretokit.models.tiny import random_policy
from paretokit.training.encode import encode_preferences
from paretokit.training.jacobian import batch_for, objective_jacobian
from paretokit.training.references import reference_margins


@pytest.fixture
def merged(monkeypatch):
    """The calls that were merged."""
    calls = []
    plain = merging._Merged.apply
    monkeypatch.setattr(merging._Merged, "apply", lambda *given: calls.append(given[0]) or plain(*given))
    return calls


def jacobian_of(policy, *, separate=False):
    data = pairs(objectives=3)
    encoded = encode_preferences(policy, data, max_length=128)
    reference = reference_margins(policy, encoded, {})
    batch = batch_for(policy, encoded, data.labels, reference, torch.arange(len(encoded)))
    return objective_jacobian(policy, batch, beta=0.7, judged=judged(data.labels), separate=separate)


def policy_of(family="llama", **how):
    return disturb(random_policy(family, seed=0, **{"dtype": torch.float64, **how}), size=0.02)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3", "phi3"])
def test_rows_and_margins_are_those_of_the_layers_as_they_are(family, merged):
    with wide():
        policy = policy_of(family)
        found, expected = jacobian_of(policy), jacobian_of(policy, separate=True)
    assert merged
    torch.testing.assert_close(found.margins, expected.margins, rtol=0, atol=1e-12)
    for one, other in zip(found.rows, expected.rows, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12 * float(other.abs().max()))


def test_a_wrong_scale_would_be_noticed(monkeypatch):
    policy = policy_of()
    expected = jacobian_of(policy, separate=True)
    plain = merging._Merged.apply
    monkeypatch.setattr(merging._Merged, "apply", lambda *given: plain(*given[:5], 1.01 * given[5], *given[6:]))
    assert (jacobian_of(policy).margins - expected.margins).abs().max() > 1e-6


def test_a_fresh_adapter_changes_no_bit():
    policy = random_policy(seed=0)
    assert jacobian_of(policy).margins.tolist() == jacobian_of(policy, separate=True).margins.tolist()


def test_a_base_of_lower_precision_is_not_merged(merged):
    """bfloat16 would round the adapter away."""
    jacobian_of(policy_of(dtype=torch.bfloat16))
    assert merged == []


def test_few_positions_do_not_pay():
    weight = torch.empty(64, 32)
    assert not merging._pays(torch.empty(1, 28, 32), weight)  # 6 * 28 * 96 <= 8 * 64 * 32
    assert merging._pays(torch.empty(1, 29, 32), weight)


def test_the_layers_are_as_before_afterwards_also_after_an_error():
    policy = policy_of()

    def patched() -> set[bool]:
        return {"forward" in layer.__dict__ for _, layer in lora.lora_layers(policy.model)}

    def fail() -> None:
        with merging.merging(policy.model, lambda part: {"weight": part.weight}, list):
            assert patched() == {True}
            raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        fail()
    assert patched() == {False}


def test_without_gradient_and_with_the_adapter_off_nothing_is_merged(merged):
    policy = policy_of()
    slots = {"weight": torch.zeros(1)}
    with merging.merging(policy.model, lambda part: slots, list):
        policy.ids_logps([[1, 2, 3] * 20], [[4, 5]])
        policy.ids_logps([[1, 2, 3] * 20], [[4, 5]], reference=True)
    assert merged == []
