"""load_policy: what it accepts, and one clear line, soon and without noise, for what it does not."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from support.models_cases import ragged_pairs
from support.waits import LONG

from paretokit.errors import ConfigError, ModelError
from paretokit.models import locate
from paretokit.models.load import load_policy
from paretokit.models.tiny import random_policy


@pytest.fixture(scope="module")
def plain_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "plain"
    random_policy("qwen2", adapter="none").export(folder)
    return folder


def test_the_built_in_policy() -> None:
    policy = load_policy("tiny")
    assert (policy.source, policy.base.name, policy.description) == ("tiny", "tiny", "tiny")
    assert (policy.adapter, policy.heads, policy.device.type) == ("lora", (), "cpu")
    assert policy.model.dtype == torch.float32
    assert 300_000 <= sum(p.numel() for p in load_policy("tiny", adapter="none").model.parameters()) <= 700_000
    assert policy.tokenizer.chat_template


def test_a_plain_folder(plain_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load_policy(plain_folder, dtype=torch.float64)
    expected = random_policy("qwen2")
    pairs = ragged_pairs()
    torch.testing.assert_close(policy.ids_logps(*pairs), expected.ids_logps(*pairs), rtol=0, atol=1e-3)
    assert policy.base.name == str(plain_folder)
    monkeypatch.chdir(plain_folder.parent)
    relative = load_policy("plain")
    assert (relative.source, relative.base.name) == ("plain", str(plain_folder))  # found again from elsewhere


def test_equal_seeds_give_equal_adapters(plain_folder: Path) -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    one, two, other = (load_policy(plain_folder, seed=seed).trainable_state() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"adapter": "lore"},
            r"adapter 'lore': expected one of lora, full, none, or a peft LoraConfig. Did you mean 'lor",
        ),
        ({"attention": "spda"}, r"attention 'spda': expected one of sdpa, eager. Did you mean 'sdpa'"),
        ({"dtype": "float16"}, r"dtype 'float16': expected 'auto' or one of float32, bfloat16, float64"),
        ({"dtype": torch.float16}, r"dtype torch.float16: expected 'auto'"),
        ({"dtype": "bfloat16", "adapter": "full"}, r"adapter='full': what is trained has to be float32"),
        ({"device": "gpu"}, r"device 'gpu': cannot be used here \(.*\). Use 'auto' or 'cpu'"),
    ],
)
def test_options_out_of_range(plain_folder: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_policy(plain_folder, **options)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere/model", r"policy './nowhere/model': found no such folder. Pass 'tiny', 'smollm2', a folder, or"),
        ("a/b/c", r"policy 'a/b/c': found no such folder"),
        ("tinny", r"policy 'tinny': .* HF_HUB_OFFLINE is set. Did you mean 'tiny'\?"),
        ("smollm", r"Did you mean 'smollm2'\?"),
        (
            "nobody/nothing",
            r"nor a complete model of that id in the local Hugging Face cache, and HF_HUB_OFFLINE",
        ),
        (__file__, r"found a file, expected a folder"),
    ],
)
def test_a_missing_model_is_one_clear_line(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as raised:
        load_policy(name)
    assert "\n" not in str(raised.value)


def test_a_hub_that_never_answers_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "PATIENCE", 0.2)
    monkeypatch.setattr(locate.huggingface_hub, "is_offline_mode", lambda: False)
    answer = threading.Event()
    monkeypatch.setattr(locate.huggingface_hub.HfApi, "model_info", lambda *a, **k: answer.wait(LONG))
    try:
        with pytest.raises(ModelError, match=r"the hub did not answer \(TimeoutError\). Check the network, or: pass"):
            load_policy("nobody/nothing")
    finally:
        answer.set()
    assert 0 < locate.PATIENCE < 5


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("RepositoryNotFoundError", r"nor on the hub. Pass 'tiny'"),
        ("GatedRepoError", r"on the hub it is gated. Ask for access there and set HF_TOKEN"),
    ],
)
def test_what_the_hub_says_is_passed_on(kind: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import errors

    def refuse(*_: object, **__: object) -> None:
        error = getattr(errors, kind)
        raise error.__new__(error)  # their constructors want the response that went wrong

    monkeypatch.setattr(locate.huggingface_hub, "is_offline_mode", lambda: False)
    monkeypatch.setattr(locate.huggingface_hub.HfApi, "model_info", refuse)
    with pytest.raises(ModelError, match=message):
        load_policy("nobody/nothing")


def test_a_fresh_process_reports_soon_and_in_silence(tmp_path: Path) -> None:
    code = (
        "import time, torch; from paretokit.errors import ModelError; started = time.process_time()\n"
        "from paretokit.models.load import load_policy\n"
        "try: load_policy('nobody/nothing-at-all')\n"
        "except ModelError as error: print(time.process_time() - started); print(error)\n"
        "import sys; print('transformers' in sys.modules)"
    )
    plain = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**plain, "HF_HOME": str(tmp_path)},
        timeout=LONG,
        check=True,
    )
    seconds, message, imported = done.stdout.splitlines()
    assert float(seconds) < 5  # of processor time: nothing heavy is imported
    assert message.startswith("policy 'nobody/nothing-at-all': found no such folder")
    assert imported == "False"
    assert done.stderr == ""


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def rewrite(folder: Path, name: str, **changes: object) -> None:
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**content, **changes}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "model.safetensors").unlink(), r"cannot be read \(OSError.*Expected a transformers folder"),
        (lambda f: (f / "model.safetensors").write_bytes(b"nonsense"), r"cannot be read \(SafetensorError"),
        (lambda f: (f / "config.json").unlink(), r"cannot be read \("),
        (lambda f: (f / "config.json").write_text("{"), r"cannot be read \("),
        (lambda f: rewrite(f, "config.json", num_hidden_layers=3, layer_types=None), r"missing keys \['model.layers.2"),
        (
            lambda f: rewrite(f, "config.json", num_hidden_layers=1, layer_types=None),
            r"unexpected keys \['model.",
        ),
        (lambda f: rewrite(f, "config.json", intermediate_size=50), r"cannot be read \(RuntimeError"),
        (lambda f: rewrite(f, "config.json", model_type="unheard_of"), r"cannot be read \(ValueError"),
        (
            lambda f: (f / "tokenizer.json").unlink(),
            r"tokenizer in .*: found no file with a vocabulary, exp",
        ),
        (lambda f: (f / "tokenizer.json").write_text("{"), r"tokenizer in .*: cannot be read"),
        (lambda f: rewrite(f, "config.json", num_hidden_layers=3), r"cannot be read \(StrictDataclass"),
    ],
)
def test_a_damaged_model_is_not_half_loaded(plain_folder: Path, tmp_path: Path, damage: object, message: str) -> None:
    folder = copied(plain_folder, tmp_path / "damaged")
    damage(folder)  # type: ignore[operator]
    with pytest.raises(ModelError, match=message) as raised:
        load_policy(folder)
    assert "\n" not in str(raised.value)


def test_nothing_is_unpickled(plain_folder: Path, tmp_path: Path) -> None:
    folder = copied(plain_folder, tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"cannot be read \(OSError"):
        load_policy(folder)


def test_code_beside_a_model_is_not_run(plain_folder: Path, tmp_path: Path) -> None:
    folder = copied(plain_folder, tmp_path / "coded")
    code = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    rewrite(folder, "config.json", model_type="own", auto_map=code)
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelError, match=r"cannot be read \(ValueError"):
        load_policy(folder)
    assert not (tmp_path / "ran").exists()


def test_libraries_speak_again_afterwards(plain_folder: Path) -> None:
    from huggingface_hub.utils import are_progress_bars_disabled
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled(), are_progress_bars_disabled()
    load_policy(plain_folder, adapter="none")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled(), are_progress_bars_disabled()) == before


def test_loading_says_nothing(plain_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_policy(plain_folder)
    assert capfd.readouterr() == ("", "")


def test_a_tokenizer_too_large_for_the_model_is_refused(plain_folder: Path, tmp_path: Path) -> None:
    folder = copied(plain_folder, tmp_path / "other")
    content = json.loads((folder / "tokenizer.json").read_text())
    extra = {**content["added_tokens"][0], "id": 259, "content": "<|extra|>"}
    (folder / "tokenizer.json").write_text(json.dumps({**content, "added_tokens": [*content["added_tokens"], extra]}))
    with pytest.raises(ModelError, match=r"its tokenizer has 260 tokens, but its embedding only 259"):
        load_policy(folder)


@pytest.fixture
def hub_cache(tmp_path: Path, plain_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A local Hugging Face cache that holds the model some/model; returns the folder of its snapshot."""
    monkeypatch.setattr(locate.huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    place = tmp_path / "models--some--model"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("a1b2")
    return copied(plain_folder, place / "snapshots" / "a1b2")


def test_a_model_in_the_hub_cache_needs_no_network(hub_cache: Path) -> None:
    policy = load_policy("some/model")
    assert (policy.source, policy.base.name) == ("some/model", "some/model")


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_an_incomplete_snapshot_is_not_used(hub_cache: Path, file: str) -> None:
    (hub_cache / file).unlink()
    with pytest.raises(ModelError, match=r"nor a complete model of that id in the local Hugging Face cache"):
        load_policy("some/model")


def test_a_missing_shard_is_noticed(hub_cache: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (hub_cache / "model.safetensors.index.json").write_text(json.dumps(index))
    (hub_cache / "model.safetensors").rename(hub_cache / "model-1.safetensors")
    with pytest.raises(ModelError, match=r"nor a complete model"):
        load_policy("some/model")
    (hub_cache / "model-2.safetensors").touch()
    assert locate.locate("some/model") == hub_cache
