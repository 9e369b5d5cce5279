"""The random policies that tests are made of: every family, equal for equal seeds, a tokenizer for any text."""

import pytest
import torch

from paretokit.errors import ConfigError
from paretokit.models.tiny import FAMILIES, byte_tokenizer, random_policy


def test_thirteen_families() -> None:
    names = "llama qwen2 qwen3 gemma2 gemma3 mistral phi3 gpt2 gpt_neox granite cohere olmo2 phi"
    assert set(FAMILIES) == set(names.split())


@pytest.mark.parametrize("family", FAMILIES)
def test_small_complete_and_determined_by_the_seed(family: str) -> None:
    policy, same, other = (random_policy(family, seed=seed, adapter="none") for seed in (1, 1, 2))
    weights = dict(policy.model.named_parameters())
    assert sum(weight.numel() for weight in weights.values()) < 80_000
    assert policy.context_length == 256
    assert policy.base_hash == same.base_hash != other.base_hash
    for name, weight in weights.items():
        assert weight.std() > 0.01, f"{name} is neutral, so no test would notice if it were left out"
    assert policy.model.config.pad_token_id == policy.model.config.eos_token_id == policy.tokenizer.eos_token_id


def test_what_makes_a_family_special_is_switched_on() -> None:
    configs = {family: random_policy(family, adapter="none").model.config for family in FAMILIES}
    assert configs["gemma2"].final_logit_softcapping == 3.0
    assert configs["gemma2"]._attn_implementation == "eager"
    assert configs["gemma3"].sliding_window == configs["mistral"].sliding_window == 16
    assert configs["granite"].logits_scaling == 4.0
    assert configs["cohere"].logit_scale == 0.25
    tied = {family for family, config in configs.items() if config.tie_word_embeddings}
    assert tied == {"llama", "gemma2", "gemma3", "gpt2", "cohere"}


def test_fields_can_be_overridden() -> None:
    policy = random_policy("mistral", sliding_window=None, num_hidden_layers=3, dtype=torch.float64)
    assert policy.model.config.sliding_window is None
    assert len(policy.model.get_base_model().model.layers) == 3
    assert {p.dtype for p in policy.trainable.values()} == {torch.float64}


def test_unknown_family() -> None:
    with pytest.raises(ConfigError, match=r"family 'lama': expected one of llama, .*. Did you mean 'llama'\?"):
        random_policy("lama")


def test_any_text_encodes_and_comes_back() -> None:
    tokenizer = byte_tokenizer()
    for text in ("", "plain", "Ünïcödé 🎈", "\n\t  x", "<|im_end|> as text"):
        ids = tokenizer(text, split_special_tokens=True)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert max(ids, default=0) < len(tokenizer) == 259
