"""Saving is all or nothing, loading is strict, exporting gives the same function as a plain model."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from support.models_cases import disturb, ragged_pairs
from transformers import AutoModelForCausalLM, AutoTokenizer

from paretokit.errors import ConfigError, ModelError, StoreError
from paretokit.models import saving
from paretokit.models.load import load_policy
from paretokit.models.policy import Policy
from paretokit.models.quiet import quiet
from paretokit.models.tiny import FAMILIES, random_policy

PAIRS = ragged_pairs()


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain transformers folder."""
    folder = tmp_path_factory.mktemp("models") / "base"
    random_policy("llama", adapter="none").export(folder)
    return folder


@pytest.mark.parametrize("adapter", ["lora", "full", "none", LoraConfig(r=4, lora_alpha=12, target_modules=["q_proj"])])
def test_saved_and_loaded_is_the_same_policy(base_folder: Path, tmp_path: Path, adapter: str | LoraConfig) -> None:
    policy = disturb(load_policy(base_folder, adapter=adapter))
    policy.save(tmp_path / "saved")
    loaded = load_policy(tmp_path / "saved")
    assert loaded.adapter == policy.adapter
    assert list(loaded.trainable) == list(policy.trainable)
    assert all(torch.equal(loaded.trainable[name], weight) for name, weight in policy.trainable.items())
    assert torch.equal(loaded.ids_logps(*PAIRS), policy.ids_logps(*PAIRS))
    assert torch.equal(loaded.ids_logps(*PAIRS, reference=True), policy.ids_logps(*PAIRS, reference=True))
    assert loaded.base_hash == policy.base_hash
    assert (loaded.source, loaded.base.name) == (str(tmp_path / "saved"), str(base_folder))
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]
    loaded.save(tmp_path / "again")
    for file in (tmp_path / "saved").iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


def test_peft_reads_the_adapter_itself(base_folder: Path, tmp_path: Path) -> None:
    policy = disturb(load_policy(base_folder))
    policy.save(tmp_path / "saved")
    with quiet():
        theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base_folder), tmp_path / "saved")
    ids = torch.tensor([PAIRS[0][3]])
    with torch.no_grad():
        assert torch.equal(theirs(ids).logits, policy.model(ids).logits)


def test_another_precision_is_checked_in_the_saved_one(base_folder: Path, tmp_path: Path) -> None:
    policy = disturb(load_policy(base_folder, dtype="bfloat16"))
    policy.save(tmp_path / "saved")
    wide = load_policy(tmp_path / "saved", dtype="float64")
    assert wide.model.dtype == torch.float64
    assert {p.dtype for p in wide.trainable.values()} == {torch.float64}
    torch.testing.assert_close(wide.ids_logps(*PAIRS), policy.ids_logps(*PAIRS), rtol=0.05, atol=0.2)


def test_saving_again_replaces_a_policy_and_nothing_else(base_folder: Path, tmp_path: Path) -> None:
    policy = load_policy(base_folder)
    policy.save(tmp_path / "saved")
    disturb(policy).save(tmp_path / "saved")
    assert torch.equal(load_policy(tmp_path / "saved").ids_logps(*PAIRS), policy.ids_logps(*PAIRS))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    for write in (policy.save, policy.export):
        with pytest.raises(StoreError, match=r"thesis: exists and is not empty; expected a new folder. Choose another"):
            write(tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"


@pytest.mark.parametrize("earlier", [False, True])
def test_a_full_disk_leaves_nothing_half_written(
    base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool
) -> None:
    policy = disturb(load_policy(base_folder))
    if earlier:
        policy.save(tmp_path / "saved")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def full(state: dict[str, torch.Tensor], path: Path, **options: object) -> None:
        path.write_bytes(b"the first half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "save_file", full)
    with pytest.raises(StoreError, match=r"saved: cannot be written \(.*No space left on device\). Free some space"):
        policy.save(tmp_path / "saved")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == (["saved"] if earlier else [])


def test_an_interrupted_move_brings_the_earlier_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "saved"
    target.mkdir()
    (target / "mark").write_text("earlier")
    move = Path.replace

    def refuse(self: Path, to: Path) -> Path:
        if self.name.endswith(".new"):
            raise OSError(5, "Input/output error")
        return move(self, to)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(StoreError), saving.new_folder(target, replaces="mark") as place:
        (place / "mark").write_text("later")
    assert (target / "mark").read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def drop_one(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    state = load_file(file)
    save_file({name: state[name] for name in list(state)[1:]}, file)


def add_one(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    save_file({**load_file(file), "surplus.weight": torch.zeros(1)}, file)


def reshape_one(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    state = load_file(file)
    name = next(iter(state))
    save_file({**state, name: state[name][:1].clone()}, file)


def cut_weights(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])


def edit(**changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / "policy.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_one, r"1 missing \(base_model\..*lora_A\.weight\), none unexpected. Use weights saved from a policy"),
        (add_one, r"none missing, 1 unexpected \(surplus\.weight\)"),
        (reshape_one, r"lora_A\.weight has shape \(1, 48\), expected \(16, 48\)"),
        (cut_weights, r"adapter_model\.safetensors: cannot be read \("),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), r"adapter_model\.safetensors: cannot be read"),
        (
            edit(base_hash="0" * 64),
            r"weights of its base .* are not those it was trained on \(hash \w+, expected 000000",
        ),
        (edit(base="nowhere/at-all"), r"its base cannot be loaded. policy 'nowhere/at-all': found no such folder"),
        (edit(format=99), r"policy\.json: found format 99, expected 1. Use the paretokit version that wrote it"),
        (edit(surplus=1), r"policy\.json: damaged \(TypeError"),
        (lambda folder: (folder / "policy.json").write_text("{"), r"policy\.json: damaged \(JSONDecodeError"),
    ],
)
def test_loading_is_strict(base_folder: Path, tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    load_policy(base_folder).save(tmp_path / "saved")
    damage(tmp_path / "saved")
    with pytest.raises(ModelError, match=message) as raised:
        load_policy(tmp_path / "saved")
    assert "\n" not in str(raised.value)


def test_a_saved_policy_keeps_its_adapter(base_folder: Path, tmp_path: Path) -> None:
    load_policy(base_folder).save(tmp_path / "saved")
    with pytest.raises(ConfigError, match=r"adapter='full' was asked for, but the saved policy has adapter='lora'"):
        load_policy(tmp_path / "saved", adapter="full")


def test_state_that_does_not_fit_changes_nothing() -> None:
    policy = disturb(random_policy())
    before = policy.trainable_state()
    state = {name: torch.zeros_like(weight) for name, weight in before.items()}
    del state[next(reversed(state))]
    with pytest.raises(ModelError, match=r"load_trainable_state: the weights do not fit the policy: 1 missing"):
        policy.load_trainable_state(state)
    assert all(torch.equal(policy.trainable[name], weight) for name, weight in before.items())


def test_state_is_a_copy() -> None:
    policy = random_policy()
    state = policy.trainable_state()
    disturb(policy)
    policy.load_trainable_state(state)
    assert all(torch.equal(weight, random_policy().trainable[name]) for name, weight in policy.trainable.items())
    assert all(weight.requires_grad and weight.is_leaf for weight in policy.trainable.values())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_export_is_a_plain_model_with_the_same_logits(tmp_path: Path, family: str, adapter: str) -> None:
    policy = disturb(random_policy(family, dtype=torch.float64, adapter=adapter))
    before = policy.ids_logps(*PAIRS)
    policy.export(tmp_path / "plain")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "plain", dtype="auto").eval()
    assert type(plain) is type(random_policy(family, adapter="none").model)
    assert plain.dtype == torch.float64
    ids = torch.tensor([PAIRS[0][3] + PAIRS[1][3]])
    tolerance = 1e-5 if family == "gemma2" else 1e-11  # Gemma 2: a float32 softmax inside
    with torch.no_grad():
        torch.testing.assert_close(plain(ids).logits, policy.model(ids).logits, rtol=0, atol=tolerance)
    assert torch.equal(policy.ids_logps(*PAIRS), before)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "plain")
    chat = [{"role": "user", "content": "hé"}]
    assert tokenizer.apply_chat_template(chat) == policy.tokenizer.apply_chat_template(chat)


def test_export_keeps_ties_and_float32_trained_on_a_half_precision_base(tmp_path: Path) -> None:
    policy = disturb(random_policy(dtype=torch.bfloat16))
    policy.export(tmp_path / "plain")
    assert policy.model.dtype == torch.bfloat16
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "plain", dtype="auto").eval()
    assert plain.dtype == torch.float32
    assert "lm_head.weight" not in load_file(tmp_path / "plain" / "model.safetensors")
    wide = random_policy()  # the same base, not yet rounded to bfloat16
    with torch.no_grad():
        for name, weight in wide.model.named_parameters():
            weight.copy_(dict(policy.model.named_parameters())[name])
    ids = torch.tensor([PAIRS[0][3]])
    with torch.no_grad():
        torch.testing.assert_close(plain(ids).logits, wide.model(ids).logits, rtol=0, atol=1e-5)


def test_exported_policy_is_a_base_to_train_further(base_folder: Path, tmp_path: Path) -> None:
    policy: Policy = disturb(load_policy(base_folder, dtype="float64"))
    policy.export(tmp_path / "plain")
    further = load_policy(tmp_path / "plain", dtype="float64")
    assert further.ids_logps(*PAIRS, reference=True).tolist() == pytest.approx(policy.ids_logps(*PAIRS).tolist())
    assert further.base_hash != policy.base_hash
