"""Policies mixed where they answer: exact sums of changes in weights, or of logits; never averages of LoRA's factors."""

import pytest
import torch
from support.models_cases import disturb
from transformers import AutoModelForCausalLM

from paretokit.decoding.sample import generate
from paretokit.errors import ConfigError, ModelError, WeightsError
from paretokit.models.lora import lora_layers
from paretokit.models.soups import LogitMixture, Soup
from paretokit.models.tiny import FAMILIES, random_policy

PROMPTS = ["Hello", "Why not? ", "Hello"]


def trained(family: str = "llama", *, adapter: str = "lora", **config) -> dict:
    """Two policies on one base that have gone different ways."""
    base = random_policy(family, dtype=torch.float64, adapter=adapter, **config)
    policies = {}
    for number, name in enumerate(("kind", "short")):
        policies[name] = disturb(base.fork(seed=number), size=0.05, seed=number)
    return policies


def logits(model, ids=((5, 9, 13, 7),)) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor(ids), use_cache=True).logits[:, -1]


def changes(policies, weights) -> dict[str, torch.Tensor]:
    """sum_i w_i (alpha / r) B_i A_i of each layer, by hand."""
    found: dict[str, torch.Tensor] = {}
    for policy, weight in zip(policies.values(), weights, strict=True):
        for name, layer in lora_layers(policy.model):
            down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            delta = weight * layer.scaling["default"] * (up @ down).detach()
            found[name] = found.get(name, 0) + delta
    return found


@pytest.mark.parametrize("weights", [(0.3, 0.7), (1.4, -0.4)])
def test_a_soup_of_adapters_adds_their_whole_changes(weights):
    policies = trained()
    model = Soup(policies).merged(weights, extrapolate=True)
    modules = dict(model.named_modules())
    for name, delta in changes(policies, weights).items():
        layer = modules[name.removeprefix("base_model.model.")]
        base = dict(policies["kind"].model.named_modules())[name].base_layer.weight
        torch.testing.assert_close(layer.weight, base + delta, rtol=0, atol=1e-14)


def test_averaging_the_factors_would_be_another_model():
    """Planted: (sum w B)(sum w A) is not sum w B A."""
    policies = trained()
    pairs = zip(*(lora_layers(policy.model) for policy in policies.values()), strict=True)
    for (name, one), (_, other) in pairs:
        factors = [(layer.lora_A["default"].weight, layer.lora_B["default"].weight) for layer in (one, other)]
        averaged = sum(0.5 * up for _, up in factors) @ sum(0.5 * down for down, _ in factors) * one.scaling["default"]
        exact = changes(policies, (0.5, 0.5))[name]
        assert (averaged - exact).norm() > 0.1 * exact.norm()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_a_corner_is_that_policy(family, adapter):
    policies = trained(family, adapter=adapter)
    for place, policy in enumerate(policies.values()):
        corner = [float(place == other) for other in range(2)]
        for mixed in (Soup(policies), LogitMixture(policies)):
            found = logits(mixed.merged(corner))
            torch.testing.assert_close(found, logits(policy.merged()), rtol=0, atol=1e-10)


def test_a_full_soup_is_the_weighted_sum_of_all_weights():
    policies = trained(adapter="full")
    model = Soup(policies).merged([0.25, 0.75])
    plain = [dict(policy.model.named_parameters()) for policy in policies.values()]
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight, 0.25 * plain[0][name] + 0.75 * plain[1][name], rtol=0, atol=1e-14)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight  # tied as before


def test_mixed_logits_are_the_weighted_sum():
    policies = trained()
    found = logits(LogitMixture(policies).merged([0.25, 0.75]))
    expected = sum(w * logits(policy.merged()) for w, policy in zip((0.25, 0.75), policies.values(), strict=True))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    with pytest.raises(AssertionError):  # planted: a soup is another mixture
        torch.testing.assert_close(logits(Soup(policies).merged([0.25, 0.75])), expected, rtol=0, atol=1e-6)


def test_a_policy_of_weight_zero_does_not_run():
    assert len(LogitMixture(trained()).merged([0.0, 1.0]).models) == 1


@pytest.mark.parametrize("kind", [Soup, LogitMixture])
def test_weightings_together_are_weightings_one_at_a_time(kind):
    mixed, grid = kind(trained()), [(1.0, 0.0), (0.5, 0.5), (0.2, 0.8)]
    together = generate(mixed, PROMPTS, weights=grid, max_new_tokens=10, copies=2)
    apart = [
        made
        for prompt, weights in zip(PROMPTS, grid, strict=True)
        for made in generate(mixed, [prompt], weights=weights, max_new_tokens=10, copies=2)
    ]
    assert [made.token_ids for made in together] == [made.token_ids for made in apart]
    assert [made.weights for made in together] == [weights for weights in grid for _ in range(2)]


def test_nothing_of_the_policies_is_changed():
    policies = trained()
    before = {name: policy.trainable_state() for name, policy in policies.items()}
    generate(Soup(policies), PROMPTS, weights=[0.5, 0.5], max_new_tokens=3)
    for name, policy in policies.items():
        assert all(torch.equal(value, before[name][key]) for key, value in policy.trainable.items())


def test_a_soup_exports_a_plain_model(tmp_path):
    soup = Soup(trained())
    soup.export(tmp_path / "soup", weights=[0.3, 0.7])
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "soup", dtype=torch.float64)
    torch.testing.assert_close(logits(loaded), logits(soup.merged([0.3, 0.7])), rtol=0, atol=1e-12)


def test_what_cannot_be_mixed_is_said():
    policies = trained()
    with pytest.raises(ConfigError, match=r"^policies: found none, expected one per objective"):
        Soup({})
    with pytest.raises(ConfigError, match=r"^policy 'full': found adapter 'full' in torch.float64, expected 'lora'"):
        Soup({**policies, "full": random_policy(adapter="full", dtype=torch.float64)})
    with pytest.raises(ModelError, match=r"^policy 'other': found another base than that of the first one"):
        LogitMixture({**policies, "other": random_policy(seed=5, dtype=torch.float64)})
    with pytest.raises(ConfigError, match=r"^policy 'heads': found the heads a, b, expected none"):
        Soup({"heads": random_policy(heads=["a", "b"])})
    with pytest.raises(WeightsError, match=r"^weights: found 1 weights, expected 2 \(kind, short\)"):
        Soup(policies).merged([1.0])
    with pytest.raises(WeightsError, match=r"found -0\.4 for short"):
        Soup(policies).merged([1.4, -0.4])
    with pytest.raises(ConfigError, match=r"^generate: weights: found none for the policies kind, short"):
        generate(Soup(policies), PROMPTS)
