"""LoRA: what is adapted, how it starts, what is refused; and the other two kinds, full and none."""

import pytest
import torch
from peft import LoraConfig
from support.models_cases import disturb, ragged_pairs

from paretokit.errors import ConfigError
from paretokit.models import lora
from paretokit.models.tiny import FAMILIES, random_policy


def test_default_adapts_every_linear_layer_but_the_output() -> None:
    policy = random_policy("mistral")
    adapted = {name.rsplit(".", 1)[-1] for name, _ in lora.lora_layers(policy.model)}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    config = policy.lora_config
    assert config is not None
    assert (config.r, config.lora_alpha, config.lora_dropout, config.bias) == (16, 32, 0.0, "none")
    assert set(policy.trainable) == {
        f"base_model.model.{name.removeprefix('base_model.model.')}.lora_{side}.weight"
        for name, _ in lora.lora_layers(policy.model)
        for side in "AB"
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_only_adapters_are_trainable_and_in_float32(family: str) -> None:
    policy = random_policy(family)
    assert policy.trainable
    assert all(".lora_" in name for name in policy.trainable)
    assert {p.dtype for p in policy.trainable.values()} == {torch.float32}
    assert not policy.model.training
    output = policy.model.get_output_embeddings()
    assert not any(layer.base_layer is output for _, layer in lora.lora_layers(policy.model))


def test_start_follows_the_seed_alone() -> None:
    torch.manual_seed(3)
    first = random_policy(seed=1).fork(seed=7)
    torch.manual_seed(4)
    second, other = random_policy(seed=1).fork(seed=7), random_policy(seed=1).fork(seed=8)
    for name, weight in first.trainable.items():
        assert torch.equal(weight, second.trainable[name])
        if "lora_A" in name:
            assert not torch.equal(weight, other.trainable[name])
            bound = weight.shape[1] ** -0.5
            assert weight.abs().max() <= bound
            assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.2)
        else:
            assert not weight.any()


def test_loading_and_forking_leave_the_global_random_state_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    random_policy("gpt2").fork(seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert not torch.equal(torch.get_rng_state(), before)  # planted: the comparison notices a draw


def test_a_config_of_ones_own() -> None:
    policy = random_policy(adapter=LoraConfig(r=4, lora_alpha=4, target_modules=["q_proj", "v_proj"]))
    assert {name.split(".")[-3] for name in policy.trainable} == {"q_proj", "v_proj"}
    assert {weight.shape[0] for name, weight in policy.trainable.items() if "lora_A" in name} == {4}


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ({"use_dora": True}, "use_dora=True"),
        ({"use_rslora": True}, "use_rslora=True"),
        ({"lora_bias": True}, "lora_bias=True"),
        ({"bias": "all"}, "bias='all'"),
        ({"lora_dropout": 0.1}, "lora_dropout=0.1"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save=\['lm_head'\]"),
        ({"init_lora_weights": "gaussian"}, "init_lora_weights='gaussian'"),
        ({"trainable_token_indices": [1]}, r"trainable_token_indices=\[1\]"),
    ],
)
def test_inexact_variants_are_refused(option: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=rf"LoraConfig\({named}\) is not supported.*Leave the field out"):
        random_policy(adapter=LoraConfig(target_modules=["q_proj"], **option))


@pytest.mark.parametrize(("family", "target"), [("llama", "lm_head"), ("qwen2", "lm_head"), ("llama", "embed_tokens")])
def test_output_and_embeddings_are_refused(family: str, target: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"LoRA on '.*{target}' .* is not supported, because .*; expected linear layers other"
    ):
        random_policy(family, adapter=LoraConfig(target_modules=["q_proj", target]))


def test_unknown_target_is_named() -> None:
    with pytest.raises(ConfigError, match=r"peft refuses this LoraConfig: Target modules \{'nowhere'\} not found"):
        random_policy(adapter=LoraConfig(target_modules=["nowhere"]))


@pytest.mark.parametrize("family", ["llama", "qwen2"])  # tied and untied
def test_full_trains_everything_once(family: str) -> None:
    policy = random_policy(family, adapter="full")
    assert sum(p.numel() for p in policy.trainable.values()) == sum(p.numel() for p in policy.model.parameters())
    tied = policy.model.get_output_embeddings().weight is policy.model.get_input_embeddings().weight
    assert tied == (family == "llama")


def test_none_trains_nothing() -> None:
    policy = random_policy(adapter="none")
    assert policy.trainable == {}
    assert not any(p.requires_grad for p in policy.model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_model_is_the_policy(family: str) -> None:
    policy = disturb(random_policy(family, dtype=torch.float64))
    prompts, responses = ragged_pairs()
    before = policy.ids_logps(prompts, responses)
    merged = policy.merged()
    assert not any("lora" in name for name, _ in merged.named_parameters())
    ids = torch.tensor([prompts[3] + responses[3]])
    tolerance = 1e-5 if family == "gemma2" else 1e-11  # Gemma 2: a float32 softmax inside
    with torch.no_grad():
        torch.testing.assert_close(merged(ids).logits, policy.model(ids).logits, rtol=0, atol=tolerance)
    assert torch.equal(policy.ids_logps(prompts, responses), before)


def test_merged_shares_what_no_adapter_touches_and_stays_behind() -> None:
    policy = random_policy()
    merged = policy.merged()
    assert merged.get_input_embeddings().weight is policy.model.get_input_embeddings().weight
    ids = torch.tensor([[1, 5, 9]])
    before = merged(ids).logits
    disturb(policy)
    assert torch.equal(merged(ids).logits, before)


def test_merged_is_the_model_itself_where_precision_would_be_lost() -> None:
    policy = random_policy(dtype=torch.bfloat16)
    assert policy.merged() is policy.model
