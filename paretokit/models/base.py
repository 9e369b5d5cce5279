"""The base of a policy: the model as it was published, read again when needed, and known by the hash of its weights.

A policy and its forks share one `Base`. It holds no weights itself unless full fine-tuning changed those of the policy:
then the reference has to be read from its source once more. Imports: torch, transformers (types only), `lora`.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from transformers import PreTrainedModel

from paretokit.models.forking import Forking
from paretokit.models.lora import plain_name
from paretokit.models.projection import Projection
from paretokit.models.sharing import Sharing
from paretokit.models.taps import Coverage
from paretokit.shapes import Tensor

__all__ = ["Base", "checksum", "named_weights", "weights_hash"]


class Base:
    """Where a policy's base comes from: its `name`, and how to `read` it again (same device, dtype and attention).

    `description` is what to print beside results; `hash`, `sharing`, `forking`, `projection` and `coverage` are filled in by
    the policy that first asks for them.
    """

    def __init__(self, name: str, read: Callable[[], PreTrainedModel], *, description: str) -> None:
        self.name = name
        self.description = description
        self._read = read
        self._model: PreTrainedModel | None = None
        self.hash: str | None = None
        self.sharing: Sharing | None = None
        self.forking: Forking | None = None
        self.projection: Projection | None = None
        self.coverage: Coverage | None = None

    def model(self) -> PreTrainedModel:
        """Return the untouched base model, frozen; read from its source at the first call and kept after that."""
        if self._model is None:
            self._model = self._read().eval().requires_grad_(False)
        return self._model


def named_weights(model: torch.nn.Module) -> dict[str, Tensor]:
    """Return the base weights of a model by their published names: parameters and saved buffers, tied ones once.

    LoRA layers are looked through: their own matrices are left out, and the layer underneath has its plain name.
    """
    return dict(_walk(model.state_dict(keep_vars=True)))


def _walk(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    seen: set[int] = set()
    for name, tensor in state.items():
        if ".lora_" in name or id(tensor) in seen:
            continue
        seen.add(id(tensor))
        yield plain_name(name), tensor


def weights_hash(weights: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 over names, dtypes, shapes and bytes; equal for equal weights on any device.

    >>> found = weights_hash({"w": torch.zeros(2, 3)})
    >>> found == weights_hash({"w": torch.zeros(2, 3)}), found == weights_hash({"w": torch.zeros(3, 2)})
    (True, False)
    """
    with ThreadPoolExecutor(max_workers=4) as pool:  # hashlib lets go of the interpreter lock
        digests = list(pool.map(_digest, weights.values()))
    whole = hashlib.sha256()
    for (name, tensor), digest in zip(weights.items(), digests, strict=True):
        whole.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        whole.update(digest)
    return whole.hexdigest()


def checksum(tensor: Tensor) -> int:
    """Return the sum of the bits of a tensor, read as integers: fast, and changed by any change of a single value.

    >>> checksum(torch.zeros(3)), checksum(torch.tensor([0.0, 0.0, 1e-45]))
    (0, 1)
    """
    bits = tensor.detach().reshape(-1).view(torch.uint8)
    if bits.storage_offset() % 8:
        bits = bits.clone()  # to be readable eight bytes at a time, which is 15 times faster than four
    whole = len(bits) - len(bits) % 8
    return int(bits[:whole].view(torch.int64).sum()) + int(bits[whole:].sum())


def _digest(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return hashlib.sha256(flat.view(torch.uint8).numpy().data).digest()
