"""Decoding on a GPU: in float64 the texts of the CPU, since every row draws its numbers there; needs a GPU that CUDA runs on.

Tokens are compared exactly; sums and scores within what norms and softmaxes round that transformers computes in float32.
"""

import pytest
import torch
from support.guided_twin import often
from support.models_cases import ON_CUDA, trained_policy, wide
from support.reward_cases import PROMPTS, STEPS, reward_model

from paretokit.decoding.guided import guided_generate
from paretokit.decoding.sample import generate
from paretokit.models.tiny import FAMILIES, random_policy

pytestmark = ON_CUDA
LIMITS = {"candidates": 4, "max_steps": 3, "max_step_tokens": 6, "max_new_tokens": 17}


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "gemma2"])
def test_generated_texts_are_those_of_the_cpu(family):
    """Gemma 2 is left out: its eager attention has a float32 softmax, which has no room for the float64 mask value."""
    here, there = (
        generate(trained_policy(family, device=device), ["hello", "The quick brown fox"], copies=3, max_new_tokens=12)
        for device in ("cpu", "cuda")
    )
    assert [made.token_ids for made in there] == [made.token_ids for made in here]
    assert [made.sum_logp for made in there] == pytest.approx([made.sum_logp for made in here], abs=1e-4)


def test_a_front_of_heads_in_one_batch_is_that_of_the_cpu():
    grid = [(1.0, 0.0), (0.5, 0.5), (0.0, 1.0)]
    here, there = (
        generate(
            random_policy(heads=["a", "b"], dtype=torch.float64, device=device), ["hello"] * 3, weights=grid, max_new_tokens=12
        )
        for device in ("cpu", "cuda")
    )
    assert [made.token_ids for made in there] == [made.token_ids for made in here]


@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral"])
@pytest.mark.parametrize("beams", [1, 2])
def test_guided_texts_trees_and_scores_are_those_of_the_cpu(family, beams):
    found = {}
    for device in ("cpu", "cuda"):
        policy = random_policy(family, dtype=torch.float64, device=device, **_window(family))
        guide = reward_model(device=device, kinds={"right": "class", "kind": "preference"})
        found[device] = guided_generate(
            policy, ["hello", "The quick"], reward_model=guide, weights=[0.7, 0.3], steps=often(), beams=beams, **LIMITS
        )
    for here, there in zip(found["cpu"], found["cuda"], strict=True):
        assert there.token_ids == here.token_ids
        assert [node.token_ids for node in there.tree] == [node.token_ids for node in here.tree]
        for one, other in zip(there.tree, here.tree, strict=True):
            assert one.scores == pytest.approx(other.scores, abs=1e-5)


def _window(family):
    return {"sliding_window": 64} if family == "mistral" else {}


def test_scores_of_steps_are_those_of_the_cpu():
    with wide():
        here, there = (reward_model(device=device).step_scores(PROMPTS, STEPS) for device in ("cpu", "cuda"))
    torch.testing.assert_close(there, here, rtol=0, atol=1e-9, equal_nan=True)
