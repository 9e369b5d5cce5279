"""Every family on a tiny random model: saved, read again and exported it gives the same log-probabilities."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from support.family_cases import CASES, SEEING, tiny_model, write_model
from support.models_cases import disturb, plain_logps, ragged_pairs
from transformers import AutoModelForCausalLM

from paretokit.errors import ConfigError, ModelError
from paretokit.models.families import table
from paretokit.models.load import load_policy
from paretokit.models.quiet import quiet
from paretokit.models.soups import Soup

PAIRS = ragged_pairs()
# merging adds up W + s B A before the product with x, the policy after it: float32 rounds each sum of some 40 terms, and
# log-probabilities are sums over up to 20 tokens, here read in a batch and alone. Measured: at most 2e-5 on these models; an
# adapter left out shows as .02 or more.
CLOSE = 1e-4
EXPERTS = {
    "qwen3_moe": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
    "gpt_oss": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],  # stored the other way round
    "mixtral": ["experts.down_proj"],
    "llama4_text": ["feed_forward.experts.gate_up_proj"],
}
HEADED = ("qwen3_moe", "falcon_h1", "gemma4_text", "gemma3", "lfm2", "llama4_text")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a case, written once."""
    place, made = tmp_path_factory.mktemp("families"), {}

    def write(case: str) -> Path:
        if case not in made:
            made[case] = write_model(place / case.replace(" ", "-"), case)
        return made[case]

    return write


@pytest.mark.parametrize("case", CASES)
def test_saved_read_again_and_exported_a_policy_is_the_same(case, folder, tmp_path):
    policy = load_policy(folder(case))
    assert policy.projection.exact, policy.projection.reason
    reference = policy.ids_logps(*PAIRS, reference=True)
    assert torch.equal(policy.ids_logps(*PAIRS), reference)
    trained = disturb(policy, size=0.05).ids_logps(*PAIRS)
    assert (trained - reference).abs().max() > 100 * CLOSE  # the adapter does something
    policy.save(tmp_path / "saved")
    again = load_policy(tmp_path / "saved")
    assert torch.equal(again.ids_logps(*PAIRS), trained)
    assert list(again.trainable) == list(policy.trainable)
    policy.export(tmp_path / "plain")
    with torch.no_grad():
        plain = _export(tmp_path / "plain", seeing=case in SEEING)
        found = [plain_logps(plain, *pair).sum().double() for pair in zip(*PAIRS, strict=True)]
    torch.testing.assert_close(torch.stack(found), trained, rtol=0, atol=CLOSE)


def _export(folder, *, seeing):
    """The exported model, read by transformers alone where it is one for text."""
    if seeing:
        return load_policy(folder, adapter="none").model
    with quiet():
        model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval()


@pytest.mark.parametrize(
    "case", ["qwen3_moe", "gpt_oss", "qwen3_5_text", "granitemoehybrid", "gemma4_text", "gemma3", "mistral3"]
)
def test_full_training_is_saved_and_exported(case, folder, tmp_path):
    policy = disturb(load_policy(folder(case), adapter="full"), size=0.02)
    trained = policy.ids_logps(*PAIRS)
    assert not any("vision" in name or "projector" in name for name in policy.trainable)
    policy.save(tmp_path / "saved")
    policy.export(tmp_path / "plain")
    assert torch.equal(load_policy(tmp_path / "saved").ids_logps(*PAIRS), trained)
    assert torch.equal(load_policy(tmp_path / "plain", adapter="none").ids_logps(*PAIRS), trained)
    assert not torch.equal(policy.ids_logps(*PAIRS, reference=True), trained)


@pytest.mark.parametrize("case", HEADED)
def test_heads_on_any_family(case, folder, tmp_path):
    policy = disturb(load_policy(folder(case), heads=["kind", "short"], head_rank=4), size=0.05)
    weights = [0.3, 0.7]
    expected = policy.ids_logps(*PAIRS, weights=weights)
    policy.save(tmp_path / "saved")
    assert torch.equal(load_policy(tmp_path / "saved").ids_logps(*PAIRS, weights=weights), expected)
    policy.export(tmp_path / "plain", weights=weights)
    found = load_policy(tmp_path / "plain", adapter="none").ids_logps(*PAIRS)
    torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("case", EXPERTS)
def test_stacked_experts_on_request(case, folder, tmp_path):
    """Switched off, merged, mixed, saved and exported; each expert has an A and a B of its own."""
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj"], target_parameters=EXPERTS[case])
    policy = load_policy(folder(case), adapter=config)
    base = load_policy(folder(case), adapter="none")
    assert torch.equal(policy.ids_logps(*PAIRS), base.ids_logps(*PAIRS))
    assert policy.base_hash == base.base_hash
    other = disturb(policy.fork(seed=1), size=0.05, seed=9)
    trained = disturb(policy, size=0.05).ids_logps(*PAIRS)
    for name in policy.trainable:
        if ".experts." in name and "lora_A" in name:
            assert policy.trainable[name].shape[0] == 2 * 4
    assert torch.equal(policy.ids_logps(*PAIRS, reference=True), base.ids_logps(*PAIRS))
    assert (trained - base.ids_logps(*PAIRS)).abs().max() > 100 * CLOSE
    policy.save(tmp_path / "saved")
    again = load_policy(tmp_path / "saved")
    assert again.lora_config is not None
    assert sorted(again.lora_config.target_parameters or []) == sorted(EXPERTS[case])
    assert torch.equal(again.ids_logps(*PAIRS), trained)
    policy.export(tmp_path / "plain")
    torch.testing.assert_close(load_policy(tmp_path / "plain", adapter="none").ids_logps(*PAIRS), trained, rtol=0, atol=CLOSE)
    soup = Soup({"one": policy, "two": other})
    for weights, expected in (([1.0, 0.0], trained), ([0.0, 1.0], other.ids_logps(*PAIRS))):
        soup.export(tmp_path / f"soup{weights[0]}", weights=weights)
        found = load_policy(tmp_path / f"soup{weights[0]}", adapter="none").ids_logps(*PAIRS)
        torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


def test_an_adapter_on_experts_alone(folder):
    config = LoraConfig(r=2, target_modules=[], target_parameters=["experts.down_proj"])
    policy = load_policy(folder("mixtral"), adapter=config)
    assert all(".experts." in name for name in policy.trainable)
    beside = load_policy(folder("mixtral"), adapter=LoraConfig(r=2, target_parameters=["experts.down_proj"]))
    default = load_policy(folder("mixtral"), adapter=LoraConfig(r=2))
    assert set(beside.trainable) == {*policy.trainable, *default.trainable}


def test_a_parameter_that_is_not_there_is_named(folder):
    with pytest.raises(ConfigError, match=r"no parameter 'experts.nowhere' in Mixtral.*such as 'model.layers.0.mlp.experts."):
        load_policy(folder("mixtral"), adapter=LoraConfig(target_parameters=["experts.nowhere"]))


@pytest.mark.parametrize("case", ["llama4", "qwen3_5"])
def test_of_a_seeing_model_with_a_text_class_the_text_half_is_read(case, folder):
    policy = load_policy(folder(case), adapter="none")
    assert policy.model.config.get_text_config() is policy.model.config
    assert not any("vis" in name for name, _ in policy.model.named_parameters())


def test_a_text_half_with_weights_missing_or_left_over_is_still_refused(folder, tmp_path):
    """The weights of the tower may be left over, those of the language model may not."""
    from safetensors.torch import load_file, save_file

    source = folder("llama4")
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(source / "model.safetensors")
    state["language_model.model.layers.7.self_attn.q_proj.weight"] = torch.zeros(2, 2)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"unexpected keys \['language_model.model.layers.7.self_attn.q_proj.weight'\]"):
        load_policy(tmp_path)


@pytest.mark.parametrize("case", ["qwen3_moe", "mixtral", "gpt_oss"])
def test_the_router_loss_is_no_part_of_what_is_trained(case, tmp_path):
    """A model that would add it gives the same log-probabilities."""
    plain = write_model(tmp_path / "plain", case)
    config = json.loads((plain / "config.json").read_text(encoding="utf-8"))
    expected = load_policy(plain, adapter="none").ids_logps(*PAIRS)
    (plain / "config.json").write_text(json.dumps({**config, "output_router_logits": True, "router_aux_loss_coef": 9.0}))
    assert torch.equal(load_policy(plain, adapter="none").ids_logps(*PAIRS), expected)


def test_the_documents_show_the_list():
    page = Path(__file__).parents[2] / "docs" / "families.md"
    assert table() in page.read_text(encoding="utf-8")


def test_the_tiny_models_are_moved_from_their_start():
    """Planted: a norm that is neutral would hide what does not reach it."""
    assert all(float(weight.detach().std()) > 0.01 for weight in tiny_model("llama").parameters())
