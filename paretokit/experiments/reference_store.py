"""Reference log-probabilities on disk: one file per base model and precision, shared by all runs on it.

The file is a safetensors of two arrays, keys and values. Processes that write at the same time each merge what they find,
and replace the file in one move; at worst an entry is computed twice. Imports: `files`, `cache`; torch, safetensors.
"""

from collections.abc import Iterator, MutableMapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from paretokit.cache import cache_folder
from paretokit.experiments.files import write_atomically
from paretokit.models.policy import Policy


class ReferenceStore(MutableMapping[str, float]):
    """A mapping from the key of a sequence to its reference log-probability; `flush` writes what is new."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._values = _read(path)
        self._new = 0

    def __getitem__(self, key: str) -> float:
        return self._values[key]

    def __setitem__(self, key: str, value: float) -> None:
        self._values[key] = value
        self._new += 1

    def __delitem__(self, key: str) -> None:
        del self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def flush(self) -> None:
        """Write what is new, together with what other processes have written since; nothing new writes nothing."""
        if not self._new:
            return
        self._values = {**_read(self.path), **self._values}
        keys = torch.tensor([list(bytes.fromhex(key)) for key in self._values], dtype=torch.uint8)
        values = torch.tensor(list(self._values.values()), dtype=torch.float64)
        write_atomically(self.path, lambda path: save_file({"keys": keys, "values": values}, str(path)))
        self._new = 0


def reference_store(policy: Policy) -> ReferenceStore:
    """Return the stored reference log-probabilities of the policy's base model, under the cache folder.

    What they depend on besides the tokens of a sequence, by which they are found, is in the file's name: the base's weights,
    its precision and attention, and the precision that `policy.compute` asks for.
    """
    precision = str(policy.model.dtype).removeprefix("torch.")
    attention = policy.model.config._attn_implementation or "none"
    parts = [policy.base_hash, precision, attention, *([policy.compute.autocast] if policy.compute.autocast else [])]
    return ReferenceStore(cache_folder() / "references" / f"{'-'.join(parts)}.safetensors")


def _read(path: Path) -> dict[str, float]:
    if not path.exists():
        return {}
    try:
        tensors = load_file(str(path))
        keys = [bytes(row).hex() for row in tensors["keys"].tolist()]
        return dict(zip(keys, tensors["values"].tolist(), strict=True))
    except (SafetensorError, KeyError, ValueError):
        return {}  # a damaged cache is only a cache: everything in it can be computed again
