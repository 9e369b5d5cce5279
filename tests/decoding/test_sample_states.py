"""Sampling from models that carry a state: what a row says does not depend on the rows beside it, nor on a cache."""

import pytest
import torch
from support.hybrid_cases import HYBRIDS, hybrid_policy

from paretokit.decoding.sample import generate
from paretokit.models.soups import LogitMixture
from paretokit.models.tiny import random_policy

PROMPTS = ["Once upon a time", "Hi", "Hi", "A much longer beginning than that of the others"]


def greedy(policy, ids, count):
    """The slow twin: the whole row, read at once, for every token."""
    ids, said = list(ids), []
    for _ in range(count):
        with torch.no_grad():
            logits = policy.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        ids.append(int(logits.argmax()))
        said.append(ids[-1])
        if said[-1] == policy.tokenizer.eos_token_id:
            break
    return said


@pytest.mark.parametrize("family", HYBRIDS)
def test_a_batch_of_unequal_prompts_says_what_each_says_alone(family):
    policy = hybrid_policy(family, spread=0.3)
    made = generate(policy, PROMPTS, temperature=0, max_new_tokens=6)
    for one, prompt in zip(made, PROMPTS, strict=True):
        ids = policy.tokenizer(prompt)["input_ids"]
        assert list(one.token_ids) == greedy(policy, ids, 6)
        if one.ended:
            continue
        expected = policy.ids_logps([ids], [one.token_ids])
        assert abs(float(expected) - one.sum_logp) <= (0.05 if family in ("zamba2", "nemotron_h") else 1e-3)


def test_copies_of_a_prompt_share_its_reading_and_part():
    policy = hybrid_policy("falcon_h1", spread=0.3)
    together = generate(policy, PROMPTS, copies=3, seed=1, max_new_tokens=5)
    alone = [generate(policy, [prompt], copies=3, seed=1, max_new_tokens=5) for prompt in PROMPTS]
    assert [one.token_ids for one in together] == [one.token_ids for made in alone for one in made]


def test_heads_are_mixed_row_by_row():
    policy = hybrid_policy("qwen3_next", spread=0.3, heads=["kind", "short"])
    with torch.no_grad():
        for part in policy.bank.parameters().values():
            part += 0.3 * torch.randn(part.shape, generator=torch.Generator().manual_seed(3))
    grid = [[1, 0], [0.5, 0.5], [0, 1], [0.2, 0.8]]
    together = generate(policy, PROMPTS, weights=grid, temperature=0, max_new_tokens=5)
    alone = [
        generate(policy, [prompt], weights=weights, temperature=0, max_new_tokens=5)[0]
        for prompt, weights in zip(PROMPTS, grid, strict=True)
    ]
    assert [one.token_ids for one in together] == [one.token_ids for one in alone]
    assert together[1].token_ids != together[2].token_ids  # the same prompt, other weights


def test_models_that_are_mixed_by_their_logits_carry_states_each():
    policy = hybrid_policy("lfm2", spread=0.3)
    mixture = LogitMixture({"a": policy, "b": policy.fork()})
    together = generate(mixture, PROMPTS, weights=[0.5, 0.5], temperature=0, max_new_tokens=5)
    plain = generate(policy, PROMPTS, temperature=0, max_new_tokens=5)
    assert [one.token_ids for one in together] == [one.token_ids for one in plain]


def test_a_model_that_attends_is_not_wrapped(monkeypatch):
    from paretokit.models import stepwise

    monkeypatch.setattr(stepwise.Stepwise, "__call__", lambda *_, **__: pytest.fail("wrapped"))
    assert generate(random_policy("llama"), PROMPTS, max_new_tokens=2)
