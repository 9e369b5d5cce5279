"""The outputs of a reward model: for each objective a map of its own from a hidden state to one number.

It is linear, or Linear-ReLU-Linear with `width` units between (MAHALO, arXiv 2510.01167: the value head). Weights start as
normal deviates of size 0.02, biases at 0. Every objective draws its start from its own name, so that its output is the same
whichever objectives stand beside it. Imports: torch, `shapes`.
"""

from collections.abc import Sequence
from hashlib import blake2b

import torch

from paretokit.shapes import Float, Tensor

__all__ = ["PREFIX", "Outputs"]

PREFIX = "outputs."  # of the names of the outputs' weights
SPREAD = 0.02


class Outputs:
    """One output for each of the m objectives, by their names, in order; D is `features`. Made by `new_reward_model`."""

    def __init__(
        self,
        names: Sequence[str],
        *,
        features: int,
        width: int | None,
        dtype: torch.dtype,
        device: torch.device,
        seed: int,
    ) -> None:
        self.features = features
        self.width = width
        self.dtype = dtype
        shapes = {"weight": (features,), "bias": ()}
        if width is not None:
            shapes = {"hidden.weight": (width, features), "hidden.bias": (width,), "weight": (width,), "bias": ()}
        self.parts = {
            name: {
                kind: torch.nn.Parameter(_start(shape, seed=seed, name=f"{name}/{kind}").to(device, dtype))
                for kind, shape in shapes.items()
            }
            for name in names
        }

    @property
    def names(self) -> tuple[str, ...]:
        """The objectives, in the order of the outputs."""
        return tuple(self.parts)

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Return the weights by name: `outputs.<objective>.weight`, `.bias` and, with a width, `.hidden.weight` and `.bias`."""
        return {f"{PREFIX}{name}.{kind}": part for name, parts in self.parts.items() for kind, part in parts.items()}

    def __call__(self, hidden: Float[Tensor, "N D"]) -> Float[Tensor, "N m"]:
        """Return the m outputs at each of N hidden states, in the precision of the outputs; differentiable."""
        given = hidden.to(self.dtype)
        return torch.stack([_output(given, parts) for parts in self.parts.values()], dim=1)


def _output(hidden: Float[Tensor, "N D"], parts: dict[str, torch.nn.Parameter]) -> Float[Tensor, " N"]:
    if "hidden.weight" in parts:
        hidden = torch.relu(hidden @ parts["hidden.weight"].T + parts["hidden.bias"])
    return hidden @ parts["weight"] + parts["bias"]


def _start(shape: tuple[int, ...], *, seed: int, name: str) -> Tensor:
    """Normal deviates for a weight, zeros for a bias (the part that is named so), on the CPU."""
    if name.endswith("bias"):
        return torch.zeros(shape)
    digest = blake2b(f"{seed}/output/{name}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
    return SPREAD * torch.randn(shape, generator=generator)
