"""From the name of a model to the folder that holds it, quickly and without transformers.

This module is imported before transformers (which takes seconds), so that a missing model is reported at once.
A hub model that is not in the local cache is asked for once, with a short timeout, before any download begins.
Imports: the standard library, huggingface_hub and `errors`, `resources`.
"""

import json
import re
import threading
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

from paretokit.errors import ModelError, suggestion
from paretokit.resources import data_path

__all__ = ["BUILT_IN", "locate"]

BUILT_IN = ("smollm2", "tiny")
PATIENCE = 3.0  # seconds to wait for the hub's first answer; name resolution included

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_WANTED = ["*.json", "*.safetensors", "*.jinja", "*.txt", "tokenizer.model"]
_REMEDY = "Pass 'tiny', 'smollm2', a folder, or the id of a Hugging Face model."


def locate(name: str) -> Path | None:
    """Return the folder of the model called `name`; None for `"smollm2"`, whose folder is made on demand.

    Looked for are, in this order: the built-in names, a folder, a hub model in the local cache, a hub model on the
    network. Raises `ModelError` where there is none, within five seconds.

    >>> locate("smollm2")
    >>> locate("tinny")
    Traceback (most recent call last):
    ...
    paretokit.errors.ModelError: policy 'tinny': found no such folder, ... Did you mean 'tiny'? ...
    """
    if name == "smollm2":
        return None
    if name == "tiny":
        return data_path("tiny")
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder.absolute()
    if folder.exists():
        raise ModelError(f"policy {name!r}: found a file, expected a folder. {_REMEDY}")
    if not _HUB_ID.fullmatch(name):
        raise ModelError(f"policy {name!r}: found no such folder.{suggestion(name, BUILT_IN)} {_REMEDY}")
    return _cached(name) or _fetched(name)


def _cached(name: str) -> Path | None:
    """Return the snapshot in the hub's local cache if it is complete."""
    try:
        folder = Path(huggingface_hub.snapshot_download(name, local_files_only=True, allow_patterns=_WANTED))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    index = folder / "model.safetensors.index.json"
    if index.exists():
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    else:
        shards = {"model.safetensors"}
    complete = (folder / "config.json").exists() and all((folder / shard).exists() for shard in shards)
    adapter = all((folder / name).exists() for name in ("adapter_config.json", "adapter_model.safetensors"))
    return folder if complete or adapter else None


def _fetched(name: str) -> Path:
    start = f"policy {name!r}: found no such folder, nor a complete model of that id in the local Hugging Face cache"
    if huggingface_hub.is_offline_mode():
        raise ModelError(f"{start}, and HF_HUB_OFFLINE is set.{suggestion(name, BUILT_IN)} {_REMEDY}")
    failure = _ask(name)
    if isinstance(failure, GatedRepoError):
        raise ModelError(f"{start}; on the hub it is gated. Ask for access there and set HF_TOKEN.") from None
    if isinstance(failure, RepositoryNotFoundError):
        raise ModelError(f"{start}, nor on the hub.{suggestion(name, BUILT_IN)} {_REMEDY}") from None
    if failure is not None:
        raise ModelError(
            f"{start}, and the hub did not answer ({type(failure).__name__}).{suggestion(name, BUILT_IN)} "
            f"Check the network, or: {_REMEDY[0].lower()}{_REMEDY[1:]}"
        ) from None
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=_WANTED))
    except Exception as error:  # the hub's client raises many kinds; each means that the model is not here
        raise ModelError(f"{start}, and its download failed: {' '.join(str(error).split())}") from error


def _ask(name: str) -> Exception | None:
    """Return why the hub does not have the model, or None if it does; waits no longer than `PATIENCE`."""
    answer: list[Exception | None] = [TimeoutError("no answer")]

    def ask() -> None:
        try:
            huggingface_hub.HfApi().model_info(name, timeout=PATIENCE)
            answer[0] = None
        except Exception as error:
            answer[0] = error

    asking = threading.Thread(target=ask, daemon=True)  # resolving a name cannot be interrupted; so it is left behind
    asking.start()
    asking.join(PATIENCE)
    return answer[0]
