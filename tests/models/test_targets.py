"""Which layers get an adapter: what a family lists is what structure finds, in every family; never a router or a tower."""

import pytest
import torch
from peft import LoraConfig
from support.family_cases import CASES, SEEING, TEXT, UNLISTED, tiny_model
from transformers.models.llama4.modeling_llama4 import Llama4Router
from transformers.pytorch_utils import Conv1D

from paretokit.errors import ConfigError
from paretokit.models import lora, targets
from paretokit.models.families import FAMILIES, family_of, table
from paretokit.models.targets import default_targets, is_plain_linear, language_model, language_parameters

NEVER = ("router", "expert_gate", "vision", "visual", "audio", "projector", "embed", "lm_head", "conv", "mamba", "per_layer")


def attach(model, config=None):
    generator = torch.Generator().manual_seed(0)
    return lora.attach(model, config or lora.default_config(), dtype=torch.float32, generator=generator)


@pytest.mark.parametrize("case", CASES)
def test_the_list_and_the_structure_say_the_same(case, monkeypatch):
    model = tiny_model(case)
    found = default_targets(model)
    monkeypatch.setattr(targets, "family_of", lambda config: None)
    by_structure = default_targets(model)
    assert by_structure.names == found.names
    assert found.names
    assert by_structure.family is None
    listed = found.family
    assert (listed is None) == (case in UNLISTED or case == "qwen3_vl")
    if listed is not None:
        assert set(found.kinds) <= set(listed.targets)


def test_every_model_type_in_the_list_has_a_tiny_model():
    types = {kind for family in FAMILIES for kind in family.model_types}
    assert types == {case.split()[0] for case in (*TEXT, *SEEING)} - {"qwen3_vl"} | {"qwen3_5_moe", "gemma3n"}
    assert len(types) == sum(len(family.model_types) for family in FAMILIES)  # none is listed twice


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_place_in_the_list_is_in_some_tiny_model(family):
    cases = [case for case in CASES if case.split()[0] in family.model_types]
    found = {place for case in cases for place in default_targets(tiny_model(case)).kinds}
    assert found | OF_OTHER_SETTINGS.get(family.name, set()) == set(family.targets)


LATENT_Q, DENSE = {"self_attn.q_proj"}, {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}
OF_OTHER_SETTINGS = {"GLM-4.7-Flash": LATENT_Q, "DeepSeek V3": LATENT_Q, "Qwen2 MoE": DENSE, "Qwen3-Next": DENSE}


@pytest.mark.parametrize("case", CASES)
def test_no_router_tower_or_state_space_layer_is_adapted(case):
    model = tiny_model(case)
    inside = language_model(model)
    names = {id(part): name for name, part in inside.named_modules()}
    for place in default_targets(model).names:
        part = model.get_submodule(place)
        assert is_plain_linear(part)
        assert id(part) in names
        if case != "mamba2":  # has nothing but state-space layers
            assert not any(word in place.split("layers.")[-1] for word in NEVER), place
        assert not place.endswith(("mamba.out_proj", "conv.out_proj", ".gate"))


@pytest.mark.parametrize(
    ("case", "reason", "place"),
    [
        ("qwen3_next", "router or gate", "mlp.shared_expert_gate"),
        ("llama4_text", "router or gate", "feed_forward.router"),
        ("gemma4_text experts", "router or gate", "router.proj"),
        ("hunyuan_v1_moe", "router or gate", "mlp.gate.wg"),
        ("falcon_h1", "state-space layer", "mamba.out_proj"),
        ("nemotron_h", "state-space layer", "mixer.in_proj"),
        ("lfm2", "convolution layer", "conv.in_proj"),
        ("gemma3", "vision or audio tower", "model.vision_tower.encoder.layers.self_attn.q_proj"),
        ("gemma4_text", "outside of the decoder's layers", "model.per_layer_model_projection"),
        ("qwen3_moe", "stacked experts", "mlp.experts.gate_up_proj"),
        ("llama", "output projection", "lm_head"),
    ],
)
def test_what_is_left_out_is_told_with_its_reason(case, reason, place):
    left = default_targets(tiny_model(case)).left_out
    assert any(found.endswith(place) or found == place for found in left[reason]), left


def test_targets_of_a_model_that_wears_an_adapter_are_those_it_was_given():
    model = tiny_model("qwen3_next")
    before = default_targets(model)
    assert default_targets(attach(model).get_base_model()) == before
    only = attach(tiny_model("llama"), LoraConfig(target_modules=["q_proj"]))
    assert targets.adapted(only).kinds == {"self_attn.q_proj": 2}


def test_a_subclass_of_linear_is_tried():
    class Doubled(torch.nn.Linear):
        def forward(self, inputs):
            return 2 * super().forward(inputs)

    class Plain(torch.nn.Linear):
        def forward(self, inputs):
            return inputs @ self.weight.T + self.bias

    router = Llama4Router(tiny_model("llama4_text").config)
    assert [is_plain_linear(part) for part in (Plain(3, 2), torch.nn.Linear(3, 2), Conv1D(2, 3))] == [True] * 3
    assert [is_plain_linear(part) for part in (Doubled(3, 2), router, torch.nn.Embedding(3, 2))] == [False] * 3


def test_a_router_that_was_asked_for_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"LoRA on '.*router' \(Llama4Router\) is not supported, because its output is not"):
        attach(tiny_model("llama4_text"), LoraConfig(target_modules=["router"]))


def test_layers_to_transform_holds_for_the_default_targets():
    made = attach(tiny_model("llama"), LoraConfig(layers_to_transform=[1]))
    assert {name.split("layers.")[1][0] for name, _ in lora.lora_layers(made)} == {"1"}
    made = attach(tiny_model("gpt2"), LoraConfig(layers_to_transform=0, layers_pattern="h"))
    assert {name.split(".h.")[1][0] for name, _ in lora.lora_layers(made)} == {"0"}


def test_a_name_that_only_stacked_experts_have_is_not_passed_over():
    with pytest.raises(
        ConfigError, match=r"no linear layer 'gate_proj' in MixtralForCausalLM, whose experts are stacked .*target_parameters"
    ):
        attach(tiny_model("mixtral"), LoraConfig(target_modules=["q_proj", "gate_proj"]))
    assert list(lora.lora_layers(attach(tiny_model("mixtral"), LoraConfig(target_modules=["q_proj"]))))


def test_dense_and_shared_layers_keep_their_names_beside_experts():
    made = attach(tiny_model("qwen3_moe"), LoraConfig(target_modules=["gate_proj", "up_proj", "down_proj"]))
    assert {name.split("model.layers.")[1] for name, _ in lora.lora_layers(made)} == {
        "1.mlp.gate_proj",
        "1.mlp.up_proj",
        "1.mlp.down_proj",
    }


def test_full_training_leaves_the_tower_alone():
    seeing = tiny_model("gemma3")
    trained = language_parameters(seeing)
    assert trained
    assert not any("vision" in name or "projector" in name for name in trained)
    assert len(trained) < len(dict(seeing.named_parameters()))
    text = tiny_model("gemma3_text")
    assert set(language_parameters(text)) == set(dict(text.named_parameters()))


def test_a_model_without_any_linear_layer_is_an_error():
    model = tiny_model("gpt2")
    model.transformer.h = torch.nn.ModuleList()
    with pytest.raises(ConfigError, match=r"found no linear layer of attention or MLP in GPT2LMHeadModel.*adapter='full'"):
        default_targets(model)


def test_family_by_its_text_model():
    assert family_of(tiny_model("gemma3").config).name == "Gemma 3"
    assert family_of(tiny_model("nanochat").config) is None
    assert all(f"| {family.name} | {family.example} |" in table() for family in FAMILIES)
