"""Policies on disk: saved ones (what was trained, and which base it belongs to) and exported ones (a plain model).

A saved policy is a folder with `policy.json` and `adapter_model.safetensors` (LoRA, peft's names, with peft's own
`adapter_config.json` beside it) or `model.safetensors` (full), and `heads.safetensors` where it has action heads. Folders
are written beside their place and moved there when complete. Reading is strict, and nothing is unpickled.
"""

import copy
import dataclasses
import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from peft import LoraConfig, PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from paretokit.errors import ModelError, StoreError
from paretokit.models import heads, lora, merging
from paretokit.models.quiet import quiet
from paretokit.shapes import Tensor
from paretokit.templates import ChatFormat
from paretokit.turns import exported

if TYPE_CHECKING:
    import paretokit.models.policy

__all__ = [
    "SavedPolicy",
    "as_json",
    "check_state",
    "export",
    "export_model",
    "new_folder",
    "read_description",
    "read_policy_file",
    "read_state",
    "read_tensors",
    "save",
    "write",
]

T = TypeVar("T")

FORMAT = 1
POLICY_FILE = "policy.json"
HEADS_FILE = "heads.safetensors"


@dataclasses.dataclass(frozen=True)
class SavedPolicy:
    """What `policy.json` says."""

    base: str  # name or folder of the base, as given to `load_policy`
    base_hash: str
    base_dtype: str  # the hash holds for this dtype
    adapter: str
    lora: dict[str, Any] | None
    objectives: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    head_rank: int | None = None  # None: full heads
    chat: dict[str, Any] | None = None  # see `ChatFormat.to_json`; None: written before there was one
    format: int = FORMAT

    @property
    def weights_file(self) -> str:
        """The file beside `policy.json` that holds the trained weights."""
        return "adapter_model.safetensors" if self.adapter == "lora" else "model.safetensors"

    def lora_config(self) -> LoraConfig | None:
        """The adapter's configuration."""
        return None if self.lora is None else LoraConfig(**self.lora)


def save(policy: "paretokit.models.policy.Policy", folder: Path) -> None:
    """Write the policy to `folder`; an earlier saved policy there is replaced, anything else is left alone."""
    with new_folder(folder, replaces=POLICY_FILE) as place:
        write(policy, place)


def write(policy: "paretokit.models.policy.Policy", place: Path) -> None:
    """Write the files of a saved policy into a folder that exists."""
    config = policy.lora_config
    saved = SavedPolicy(
        base=policy.base.name,
        base_hash=policy.base_hash,
        base_dtype=str(policy.model.dtype).removeprefix("torch."),
        adapter=policy.adapter,
        lora=None if config is None else {name: _plain(getattr(config, name)) for name in lora.FIELDS},
        heads=policy.heads,
        head_rank=None if policy.bank is None else policy.bank.rank,
        chat=policy.chat.to_json(),
    )
    state = {name: tensor.contiguous() for name, tensor in policy.trainable_state().items()}
    own = {name: tensor for name, tensor in state.items() if name.startswith(heads.PREFIX)}
    files = {saved.weights_file: {name: state[name] for name in state if name not in own}, HEADS_FILE: own}
    for name, part in files.items():
        if part:
            save_file(part, place / name, metadata={"format": "pt"})
    if config is not None:
        content = {name: _plain(value) for name, value in config.to_dict().items()}
        (place / "adapter_config.json").write_text(as_json(content), encoding="utf-8")
    (place / POLICY_FILE).write_text(as_json(dataclasses.asdict(saved)), encoding="utf-8")


def export(policy: "paretokit.models.policy.Policy", folder: Path, *, mixture: Sequence[float]) -> None:
    """Write the model with its adapter merged in and its heads mixed, and the tokenizer, to a folder that did not exist or
    was empty.

    The file has the precision of the trained weights, so merging loses nothing even where the base is held in bf16.
    """
    model: Any = policy.model
    if isinstance(policy.model, PeftModel):
        model = lora.merged(policy.model)
        trained = next(iter(policy.trainable.values())).dtype
        if policy.model.dtype != trained:
            model = copy.deepcopy(model).to(trained)
    if policy.bank is not None:
        folded = policy.bank.folded(torch.tensor(mixture, dtype=torch.float64))
        wide = model if model.dtype == policy.bank.dtype else copy.deepcopy(model).to(policy.bank.dtype)
        model = merging.with_head(wide, merging.linear(folded))
    export_model(model, policy.chat, folder)


def export_model(model: Any, chat: ChatFormat, folder: Path) -> None:
    """Write a plain model and its tokenizer to a folder that did not exist or was empty.

    The chat template there has the options, the date and the lead-in of `chat` in its text, see `turns.exported`.
    """
    tokenizer = copy.copy(chat.tokenizer)
    tokenizer.chat_template = exported(chat)
    with quiet(), new_folder(folder) as place:
        model.save_pretrained(place)
        tokenizer.save_pretrained(place)


def read_policy_file(folder: Path) -> SavedPolicy:
    """Return what the `policy.json` in `folder` says; `ModelError` where it is damaged or of another format."""
    return read_description(folder / POLICY_FILE, _saved_policy, remedy="Save the policy again.")


def read_description(path: Path, make: Callable[[dict[str, Any]], T], *, remedy: str) -> T:
    """Return what `make` makes of a JSON file of this format; `ModelError` where it is damaged or of another format.

    `make` may raise `ValueError`, `KeyError` or `TypeError` for what it cannot use.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["format"]
        if version != FORMAT:
            raise ModelError(f"{path}: found format {version!r}, expected {FORMAT}. Use the paretokit version that wrote it.")
        return make(content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: damaged ({type(error).__name__}: {error}). {remedy}") from error


def _saved_policy(content: dict[str, Any]) -> SavedPolicy:
    return SavedPolicy(**{**content, "objectives": tuple(content["objectives"]), "heads": tuple(content["heads"])})


def read_state(folder: Path, saved: SavedPolicy) -> dict[str, Tensor]:
    """Return the trained weights that were saved in a folder; `ModelError` where a file is missing or damaged."""
    files = [*([] if saved.adapter == "none" else [saved.weights_file]), *([HEADS_FILE] if saved.heads else [])]
    return {name: tensor for file in files for name, tensor in read_tensors(folder / file).items()}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, on the CPU; `ModelError` where it is missing or damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read ({' '.join(str(error).split())}). Save the policy again.") from error


def check_state(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, place: str, owner: str = "policy") -> None:
    """Raise `ModelError` where names or shapes differ, naming the first few; `owner` is what the weights are of."""
    missing, unexpected = [n for n in expected if n not in state], [n for n in state if n not in expected]
    if missing or unexpected:
        raise ModelError(
            f"{place}: the weights do not fit the {owner}: {_few('missing', missing)}, "
            f"{_few('unexpected', unexpected)}. Use weights saved from a {owner} with the same base and adapter."
        )
    for name, tensor in expected.items():
        if state[name].shape != tensor.shape:
            raise ModelError(
                f"{place}: {name} has shape {tuple(state[name].shape)}, expected {tuple(tensor.shape)}. "
                f"Use weights that were saved from a {owner} with the same base and adapter."
            )


@contextmanager
def new_folder(folder: Path, *, replaces: str | None = None) -> Iterator[Path]:
    """Give a new folder beside `folder` to write in, and move it to `folder` when the block is left without error.

    An existing folder is replaced if it is empty, or holds a file called `replaces`; otherwise `StoreError`. Whatever
    goes wrong, `folder` stays as it was and nothing else is left behind.
    """
    folder = folder.expanduser().absolute()
    if folder.exists() and not _may_replace(folder, marker=replaces):
        raise StoreError(f"{folder}: exists and is not empty; expected a new folder. Choose another name, or remove it.")
    unique = uuid.uuid4().hex[:8]
    place, aside = folder.with_name(f".{folder.name}.{unique}.new"), folder.with_name(f".{folder.name}.{unique}.old")
    try:
        place.mkdir(parents=True)
        yield place
        if folder.exists():
            folder.replace(aside)
        place.replace(folder)
    except (OSError, SafetensorError) as error:
        if aside.exists() and not folder.exists():
            aside.replace(folder)
        reason = " ".join(str(error).split())
        raise StoreError(f"{folder}: cannot be written ({reason}). Free some space or choose another folder.") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(aside, ignore_errors=True)


def _may_replace(folder: Path, *, marker: str | None) -> bool:
    return folder.is_dir() and (not any(folder.iterdir()) or (marker is not None and (folder / marker).is_file()))


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, set) else value


def as_json(content: Mapping[str, object]) -> str:
    """Return JSON text with a line for each field.

    >>> as_json({"format": 1})
    '{\\n  "format": 1\\n}\\n'
    """
    return json.dumps(content, indent=2) + "\n"


def _few(what: str, names: list[str], *, shown: int = 3) -> str:
    if not names:
        return f"none {what}"
    return f"{len(names)} {what} ({', '.join(names[:shown])}{', ...' if len(names) > shown else ''})"
