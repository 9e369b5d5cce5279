"""A folder that peft saved: base and adapter merged are the start and the reference, or there is one clear line."""

import json
import shutil

import pytest
import torch
from peft import IA3Config, LoHaConfig, LoraConfig, PeftModel, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from support.family_cases import write_model
from support.models_cases import disturb, plain_logps, ragged_pairs
from transformers import AutoModelForCausalLM, AutoTokenizer

from paretokit.errors import ModelError
from paretokit.models import adapter_folder as module
from paretokit.models import locate
from paretokit.models.adapter_folder import adapter_folder
from paretokit.models.load import load_policy
from paretokit.models.quiet import quiet

PAIRS = ragged_pairs()
CLOSE = 1e-4  # float32: merged before the product with x or added after it; log-probabilities of up to 20 tokens
QV = ["q_proj", "v_proj"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Bases, and an adapter of each kind on them, as peft saves it."""
    place = tmp_path_factory.mktemp("adapters")
    for case in ("qwen2", "llama", "gpt2", "mixtral"):
        write_model(place / case, case)
    return place


def adapt(place, base, config, *, name="adapter", size=0.1, tokenizer=True, rows=None):
    """Save an adapter that does something; returns its folder and what base and adapter give, by peft itself."""
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(3)
        model = AutoModelForCausalLM.from_pretrained(place / base)
        if rows is not None:
            model.resize_token_embeddings(rows)
        wrapped = get_peft_model(model, config)
        for weight in wrapped.parameters():
            if weight.requires_grad:
                weight.data += size * torch.randn_like(weight)
        wrapped.save_pretrained(place / name)
        if tokenizer:
            AutoTokenizer.from_pretrained(place / base).save_pretrained(place / name)
    return place / name, logps(wrapped)


@torch.no_grad()
def logps(model):
    return torch.stack([plain_logps(model.eval(), *pair).sum().double() for pair in zip(*PAIRS, strict=True)])


def edit(folder, **fields):
    path = folder / "adapter_config.json"
    content = {**json.loads(path.read_text(encoding="utf-8")), **fields}
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("adapter", ["lora", "full", "none"])
def test_base_and_adapter_are_start_and_reference(place, tmp_path, adapter):
    folder, expected = adapt(place, "qwen2", LoraConfig(r=4, target_modules=QV), name=f"start-{adapter}")
    policy = load_policy(folder, adapter=adapter)
    torch.testing.assert_close(policy.ids_logps(*PAIRS), expected, rtol=0, atol=CLOSE)
    reference = policy.ids_logps(*PAIRS, reference=True)
    assert torch.equal(policy.ids_logps(*PAIRS), reference)
    bare = load_policy(place / "qwen2", adapter="none")
    assert (reference - bare.ids_logps(*PAIRS)).abs().max() > 100 * CLOSE
    assert policy.base_hash != bare.base_hash
    assert (policy.base.name, policy.source) == (str(folder), str(folder))
    if adapter != "none":
        disturb(policy, size=0.05)
    trained = policy.ids_logps(*PAIRS)
    policy.save(tmp_path / "saved")
    again = load_policy(tmp_path / "saved")
    assert torch.equal(again.ids_logps(*PAIRS), trained)
    assert torch.equal(again.ids_logps(*PAIRS, reference=True), reference)
    policy.export(tmp_path / "plain")
    assert not list((tmp_path / "plain").glob("adapter*"))
    with quiet():
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    torch.testing.assert_close(logps(plain), trained, rtol=0, atol=CLOSE)


def test_another_adapter_than_the_one_trained_on_is_noticed(place, tmp_path):
    folder, _ = adapt(place, "qwen2", LoraConfig(r=4, target_modules=QV), name="changing")
    load_policy(folder).save(tmp_path / "saved")
    state = load_file(folder / "adapter_model.safetensors")
    name = next(name for name in state if "lora_B" in name)
    save_file({**state, name: state[name] + 0.01}, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"the weights of its base .* are not those it was trained on"):
        load_policy(tmp_path / "saved")


KINDS = {
    "rank-stabilised": ("qwen2", LoraConfig(r=4, target_modules=QV, use_rslora=True)),
    "decomposed": ("qwen2", LoraConfig(r=4, target_modules=QV, use_dora=True)),
    "biased": ("qwen2", LoraConfig(r=4, target_modules=QV, lora_bias=True)),
    "biases": ("qwen2", LoraConfig(r=4, target_modules=QV, bias="all")),
    "dropped out": ("qwen2", LoraConfig(r=4, target_modules=QV, lora_dropout=0.5)),
    "patterns": ("qwen2", LoraConfig(r=4, target_modules=QV, rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 3})),
    "output": ("qwen2", LoraConfig(r=4, target_modules=[*QV, "lm_head"])),
    "whole output": ("qwen2", LoraConfig(r=4, target_modules=QV, modules_to_save=["lm_head"])),
    "whole output, tied": ("llama", LoraConfig(r=4, target_modules=QV, modules_to_save=["lm_head"])),
    "embeddings": ("qwen2", LoraConfig(r=4, target_modules=[*QV, "embed_tokens"])),
    "embeddings, tied": ("llama", LoraConfig(r=4, target_modules=[*QV, "embed_tokens"])),
    "output, tied": ("llama", LoraConfig(r=4, target_modules=[*QV, "lm_head"])),
    "tokens, tied": ("llama", LoraConfig(r=4, target_modules=QV, trainable_token_indices=[5, 6])),
    "whole embeddings": ("qwen2", LoraConfig(r=4, target_modules=QV, modules_to_save=["embed_tokens"])),
    "tokens": ("qwen2", LoraConfig(r=4, target_modules=QV, trainable_token_indices=[5, 6])),
    "Conv1D": ("gpt2", LoraConfig(r=4, target_modules=["c_attn"], fan_in_fan_out=True)),
    "experts": ("mixtral", LoraConfig(r=2, target_modules=["q_proj"], target_parameters=["experts.gate_up_proj"])),
    "experts twice": (
        "mixtral",
        LoraConfig(r=2, target_modules=[], target_parameters=["experts.gate_up_proj", "experts.down_proj"]),
    ),
    "LoHa": ("qwen2", LoHaConfig(r=2, target_modules=QV)),
    "IA3": ("qwen2", IA3Config(target_modules=QV, feedforward_modules=[])),
}


@pytest.mark.filterwarnings("ignore::UserWarning:peft")  # peft says when weights are tied, and what it guesses of Conv1D
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_that_has_a_merged_form_is_merged(place, tmp_path, kind):
    base, config = KINDS[kind]
    with quiet():
        folder, expected = adapt(place, base, config, name=kind.replace(" ", "-"))
    policy = load_policy(folder, adapter="none")
    torch.testing.assert_close(policy.ids_logps(*PAIRS), expected, rtol=0, atol=CLOSE)
    bare = load_policy(place / base, adapter="none")
    assert (expected - bare.ids_logps(*PAIRS)).abs().max() > 100 * CLOSE
    policy.export(tmp_path / "plain")
    with quiet():
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    torch.testing.assert_close(logps(plain), expected, rtol=0, atol=CLOSE)


def test_a_merged_model_with_other_logits_is_refused(place, monkeypatch):
    """Planted: a sum that is left out."""
    folder, _ = adapt(place, "qwen2", LoraConfig(r=4, target_modules=QV), name="inexact")
    monkeypatch.setattr(module, "_add_product", lambda *_: None)
    with pytest.raises(ModelError, match=r"cannot be merged exactly: the merged model gives other logits.*merge_and_unload"):
        load_policy(folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            PrefixTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"),
            "which adds to the prompt",
        ),
        (
            PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"),
            "which adds to the prompt",
        ),
        (
            LoraConfig(r=2, target_modules=QV, task_type="CAUSAL_LM", alora_invocation_tokens=[5]),
            "depends on the text it reads",
        ),
    ],
    ids=["prefix", "prompt", "activated"],
)
def test_kinds_without_a_merged_form_are_refused(place, config, message, request):
    name = f"no-merge-{request.node.callspec.id}"
    with quiet():
        wrapped = get_peft_model(AutoModelForCausalLM.from_pretrained(place / "qwen2"), config)
        wrapped.save_pretrained(place / name)
    with pytest.raises(ModelError, match=message):
        load_policy(place / name)


def _damage(what):
    def remove_weights(folder):
        (folder / "adapter_model.safetensors").unlink()

    def pickle(folder):
        remove_weights(folder)
        torch.save({}, folder / "adapter_model.bin")

    def surplus(folder):
        state = load_file(folder / "adapter_model.safetensors")
        name = next(iter(state))
        save_file({**state, name.replace("layers.0", "layers.9"): state[name].clone()}, folder / "adapter_model.safetensors")

    def lacking(folder):
        state = load_file(folder / "adapter_model.safetensors")
        state.pop(next(iter(state)))
        save_file(state, folder / "adapter_model.safetensors")

    def whole_model(folder):
        for name in ("config.json", "model.safetensors"):
            shutil.copy(folder.parent / "qwen2" / name, folder / name)

    return {
        "weights": remove_weights,
        "pickle": pickle,
        "surplus": surplus,
        "lacking": lacking,
        "truncated": lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"x"),
        "json": lambda folder: (folder / "adapter_config.json").write_text("{", encoding="utf-8"),
        "list": lambda folder: (folder / "adapter_config.json").write_text("[]", encoding="utf-8"),
        "unknown": lambda folder: edit(folder, peft_type="MAGIC"),
        "unnamed": lambda folder: edit(folder, base_model_name_or_path=None),
        "missing": lambda folder: edit(folder, base_model_name_or_path="/gone/away"),
        "relative": lambda folder: edit(folder, base_model_name_or_path="gone/away/again"),
        "hub": lambda folder: edit(folder, base_model_name_or_path="nobody/nothing"),
        "revision": lambda folder: edit(folder, base_model_name_or_path="nobody/nothing", revision="v2"),
        "itself": lambda folder: edit(folder, base_model_name_or_path=str(folder)),
        "other": lambda folder: edit(folder, base_model_name_or_path=str(folder.parent / "gpt2")),
        "whole": whole_model,
    }[what]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("weights", "found no weights; expected adapter_model.safetensors"),
        ("pickle", "found adapter_model.bin, a pickle, which is never read; expected adapter_model.safetensors"),
        ("surplus", r"do not fit its base: unexpected \["),
        ("lacking", r"do not fit its base: missing \["),
        ("truncated", "adapter_model.safetensors: cannot be read"),
        ("json", "adapter_config.json: damaged"),
        ("list", r"adapter_config.json: damaged \(ValueError: found a list\)"),
        ("unknown", "does not fit its base"),
        ("unnamed", r"its base is not named \(base_model_name_or_path is None\).*Write the place of the base"),
        ("missing", "its base '/gone/away' is not found, neither from here nor beside the adapter.*Write the place"),
        ("relative", "its base 'gone/away/again' is not found, neither from here nor beside the adapter.*Write the place"),
        ("hub", "its base 'nobody/nothing' is not found, .*HF_HUB_OFFLINE is set"),
        ("revision", "is wanted in the revision 'v2', expected the main one"),
        ("itself", "is the adapter itself, or one on the way to it; expected a model"),
        ("other", "does not fit its base"),
        ("whole", r"found a whole model \(model.safetensors\) and a peft adapter .*expected one of them"),
    ],
)
def test_what_is_unfit_is_refused_by_name(place, tmp_path, what, message, monkeypatch):
    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: True)
    folder, _ = adapt(place, "qwen2", LoraConfig(r=2, target_modules=QV), name=f"unfit-{what}")
    _damage(what)(folder)
    with pytest.raises(ModelError, match=message):
        load_policy(folder)


def test_a_base_beside_the_adapter_is_found(place, monkeypatch, tmp_path):
    folder, expected = adapt(place, "qwen2", LoraConfig(r=2, target_modules=QV), name="moved")
    edit(folder, base_model_name_or_path="../qwen2")
    monkeypatch.chdir(tmp_path)
    torch.testing.assert_close(load_policy(folder).ids_logps(*PAIRS), expected, rtol=0, atol=CLOSE)


def test_an_adapter_on_an_adapter(place):
    first, _ = adapt(place, "qwen2", LoraConfig(r=2, target_modules=QV), name="first")
    second = place / "second"
    with quiet():
        merged = load_policy(first, adapter="none").model
        wrapped = get_peft_model(merged, LoraConfig(r=2, target_modules=["o_proj"], init_lora_weights=False))
        wrapped.save_pretrained(second)
    edit(second, base_model_name_or_path=str(first))
    policy = load_policy(second)
    torch.testing.assert_close(policy.ids_logps(*PAIRS), logps(wrapped), rtol=0, atol=CLOSE)
    edit(first, base_model_name_or_path=str(second))
    with pytest.raises(ModelError, match="one on the way to it"):
        load_policy(second)


def test_a_saved_policy_is_no_base_of_an_adapter(place, tmp_path):
    load_policy(place / "qwen2").save(tmp_path / "ours")
    folder, _ = adapt(place, "qwen2", LoraConfig(r=2, target_modules=QV), name="on-ours")
    edit(folder, base_model_name_or_path=str(tmp_path / "ours"))
    with pytest.raises(ModelError, match=r"is a saved policy, expected a plain model. Export that policy"):
        load_policy(folder)


def test_a_saved_policy_keeps_its_meaning_and_its_export_is_the_reference(place, tmp_path):
    policy = disturb(load_policy(place / "qwen2"), size=0.05)
    policy.save(tmp_path / "ours")
    assert (tmp_path / "ours" / "adapter_config.json").exists()
    assert adapter_folder(tmp_path / "ours") is None
    bare = load_policy(place / "qwen2", adapter="none").ids_logps(*PAIRS)
    assert torch.equal(load_policy(tmp_path / "ours").ids_logps(*PAIRS, reference=True), bare)
    policy.export(tmp_path / "plain")
    found = load_policy(tmp_path / "plain").ids_logps(*PAIRS, reference=True)
    torch.testing.assert_close(found, policy.ids_logps(*PAIRS), rtol=0, atol=CLOSE)


def test_adapters_in_sub_folders_are_named(place, tmp_path):
    folder, _ = adapt(place, "qwen2", LoraConfig(r=2, target_modules=QV), name="several")
    for name in ("checkpoint-1", "checkpoint-2"):
        shutil.copytree(folder, tmp_path / "run" / name)
    with pytest.raises(ModelError, match=r"adapters in its sub-folders checkpoint-1, checkpoint-2; expected one adapter"):
        load_policy(tmp_path / "run")
    for file in folder.iterdir():
        shutil.copy(file, tmp_path / "run" / file.name)
    load_policy(tmp_path / "run")  # as a trainer leaves it: the last adapter, and its checkpoints below


def test_the_tokenizer_is_the_adapters_own_or_else_that_of_its_base(place):
    bare, _ = adapt(place, "qwen2", LoraConfig(r=2, target_modules=QV), name="bare", tokenizer=False)
    assert load_policy(bare).tokenizer.chat_template
    own, _ = adapt(place, "qwen2", LoraConfig(r=2, target_modules=QV), name="own")
    template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    tokenizer = AutoTokenizer.from_pretrained(own)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(own)
    assert load_policy(own).tokenizer.chat_template == template


@pytest.mark.filterwarnings("ignore::UserWarning:peft")
@pytest.mark.parametrize("base", ["qwen2", "llama"])  # untied and tied
def test_embeddings_that_grew_with_the_tokenizer(place, tmp_path, base):
    whole = ["embed_tokens", "lm_head"] if base == "qwen2" else ["embed_tokens"]
    config = LoraConfig(r=2, target_modules=QV, modules_to_save=whole)
    if base == "llama":
        config.ensure_weight_tying = True
    with quiet():
        folder, expected = adapt(place, base, config, name=f"grown-{base}", rows=264)
        tokenizer = AutoTokenizer.from_pretrained(place / base)
        tokenizer.add_tokens(["<a>", "<b>"])
        tokenizer.save_pretrained(folder)
    policy = load_policy(folder)
    assert policy.model.get_input_embeddings().weight.shape[0] == 264
    torch.testing.assert_close(policy.ids_logps(*PAIRS), expected, rtol=0, atol=CLOSE)
    policy.export(tmp_path / "plain")
    assert len(load_policy(tmp_path / "plain").tokenizer) == 261


@pytest.mark.filterwarnings("ignore::UserWarning:peft")
def test_new_rows_that_the_adapter_does_not_bring_are_not_made_up(place):
    config = LoraConfig(r=2, target_modules=QV, modules_to_save=["embed_tokens"])
    with quiet():
        folder, _ = adapt(place, "qwen2", config, name="half-grown", rows=264)
        state = load_file(folder / "adapter_model.safetensors")
        save_file({name: part for name, part in state.items() if "lm_head" not in name}, folder / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"264 rows for the input alone, expected all that its base with 259 rows needs"):
        load_policy(folder)
    with quiet():
        folder, _ = adapt(place, "qwen2", LoraConfig(r=2, target_modules=QV), name="not-grown")
        tokenizer = AutoTokenizer.from_pretrained(place / "qwen2")
        tokenizer.add_tokens(["<a>", "<b>"])
        tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match="its tokenizer has 261 tokens, but its embedding only 259"):
        load_policy(folder)


def test_merging_adds_up_in_the_same_order_everywhere(place):
    """One thread or two, in blocks or at once: the same bits; a matrix product may differ."""
    folder, _ = adapt(place, "qwen2", LoraConfig(r=8, target_modules=QV), name="bits")
    hashes = set()
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            hashes.add(load_policy(folder, adapter="none").base_hash)
    finally:
        torch.set_num_threads(threads)
    assert len(hashes) == 1


def test_an_adapter_in_the_hub_cache_is_complete_with_its_two_files(place, monkeypatch):
    folder, _ = adapt(place, "qwen2", LoraConfig(r=2, target_modules=QV), name="snapshot")
    monkeypatch.setattr(locate.huggingface_hub, "snapshot_download", lambda name, **_: str(folder))
    assert locate.locate("somebody/adapter") == folder
    (folder / "adapter_model.safetensors").unlink()
    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: True)
    with pytest.raises(ModelError, match="nor a complete model of that id"):
        locate.locate("somebody/adapter")


def test_peft_agrees_with_what_the_tests_take_for_right(place):
    """Planted: the expected numbers are those of base and adapter read by peft, not of the bare base."""
    folder, expected = adapt(place, "qwen2", LoraConfig(r=4, target_modules=QV), name="theirs")
    with quiet():
        base = AutoModelForCausalLM.from_pretrained(place / "qwen2")
        assert (logps(base) - expected).abs().max() > 100 * CLOSE
        assert torch.equal(logps(PeftModel.from_pretrained(base, folder)), expected)
