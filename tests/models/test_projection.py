"""The output projection outside of the model: exact on every family, and not used where it would not be."""

import pytest
import torch
from support.models_cases import ragged_pairs, trained_policy

from paretokit.models.projection import Projection, backbone, projection
from paretokit.models.tiny import FAMILIES, random_policy
from paretokit.rows import pad_rows

HOW = {"gemma2": (1.0, 3.0), "granite": (0.25, None), "cohere": (0.25, None)}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_exact_with_its_scale_and_cap(family, dtype):
    policy = random_policy(family, dtype=dtype)
    assert policy.projection == Projection(True, "", *HOW.get(family, (1.0, None)))
    assert policy.fork(seed=1).projection is policy.projection  # found out once


@pytest.mark.parametrize("adapter", ["lora", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_the_models_own_head(family, adapter):
    """Tied and untied, and with a bias (Phi; Phi-3 has none, GPT-NeoX none, GPT-2 ties)."""
    policy = trained_policy(family, adapter=adapter)
    rows = pad_rows(*ragged_pairs())
    weights = list(policy.trainable.values())
    results = []
    for exact in (True, False):
        policy.base.projection = policy.projection._replace(exact=exact)
        found = policy.token_logps(rows)
        gradients = torch.autograd.grad(found.sum(), weights, allow_unused=True)
        results.append([found.detach(), *(part for part in gradients if part is not None)])
    assert len(results[0]) == len(results[1]) > 1
    for ours, own in zip(*results, strict=True):
        torch.testing.assert_close(ours, own, rtol=1e-7, atol=1e-9)


def test_logits_that_are_made_otherwise_are_noticed():
    for name, value in (("logits_scaling", 2.0), ("final_logit_softcapping", 0.5)):
        policy = trained_policy()
        setattr(policy.model.config.get_text_config(), name, value)  # says what the model does not do
        found = projection(policy.model)
        assert (found.exact, found.reason) == (False, "its logits are not those of its hidden states")


def test_a_head_with_an_adapter_keeps_its_own_way():
    policy = trained_policy()
    head = policy.model.get_output_embeddings()
    policy.model.get_base_model().set_output_embeddings(torch.nn.Sequential(head))
    assert projection(policy.model).reason == "its output projection is a Sequential"


def test_the_backbone_has_the_adapters_in_it():
    policy = trained_policy()
    inside = {id(part) for part in backbone(policy.model).parameters()}
    assert all(id(part) in inside for part in policy.trainable.values())
