"""Action heads: an output projection of its own for each objective, on one backbone (MAH-DPO, arXiv 2510.01167, section 3).

A head is low-rank, W0 + A_i B_i with the base's own matrix W0, or full, a matrix W_i of its own (with a bias where the base
has one). Both start as exact copies of the base: A is zero, W_i is W0. The input embedding is never touched, tied or not.
Every head draws its start from its own name, so that adding one leaves the others as they are.
Imports: torch, `maths`, `projection`, `errors`.
"""

import copy
import math
from collections.abc import Sequence
from hashlib import blake2b

import torch

from paretokit.errors import ConfigError, ModelError, suggestion
from paretokit.maths.heads import Head
from paretokit.maths.mixing import fold, mix
from paretokit.models.projection import Projection, Scorer
from paretokit.shapes import Float, Int, Tensor

__all__ = ["PREFIX", "Heads", "RowHead", "check_names"]

PREFIX = "heads."  # of the names of the heads' weights, in `Policy.trainable` and in files


class Heads:
    """The heads of a policy by the names of their objectives, in order. Made by `load_policy(heads=...)`.

    `base` is the output projection that they start from; its tensors are never changed.
    """

    def __init__(self, base: Head, *, rank: int | None, dtype: torch.dtype) -> None:
        self.base = base
        self.rank = rank
        self.dtype = dtype
        self.parts: dict[str, dict[str, torch.nn.Parameter]] = {}
        self.scorers: dict[str, Scorer] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The objectives, in the order of their heads."""
        return tuple(self.parts)

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Return the heads' weights by name: `heads.<objective>.A` and `.B`, or `.weight` and `.bias`."""
        return {f"{PREFIX}{name}.{kind}": part for name, parts in self.parts.items() for kind, part in parts.items()}

    @torch.no_grad()
    def add(self, name: str, *, seed: int) -> None:
        """Add a head that is a copy of the base; B of a low-rank head is drawn from the seed and the name."""
        check_names([*self.names, name])
        base = self.base
        weight = base.weight
        parts: dict[str, Tensor]
        if self.rank is None:
            parts = {"weight": weight.to(self.dtype, copy=True)}
            if base.bias is not None:
                parts["bias"] = base.bias.to(self.dtype, copy=True)
        else:
            parts = {
                "A": torch.zeros(weight.shape[0], self.rank, dtype=self.dtype, device=weight.device),
                "B": _drawn(self.rank, weight.shape[1], seed=seed, name=name).to(weight.device, self.dtype),
            }
        self.parts[name] = {kind: torch.nn.Parameter(part) for kind, part in parts.items()}
        self.scorers[name] = Scorer(lambda: self.head(name), self.parts[name])

    def remove(self, name: str) -> None:
        """Remove a head; raises `ConfigError` where there is none of that name."""
        self.check(name)
        del self.parts[name], self.scorers[name]

    def check(self, name: str) -> None:
        """Raise `ConfigError` where there is no head of that name."""
        if name not in self.parts:
            raise ConfigError(
                f"head {name!r}: found none of that name, expected one of {', '.join(self.names)}."
                f"{suggestion(name, self.names)} Name the objective that the policy was loaded with."
            )

    @torch.no_grad()
    def reset(self, *, seed: int) -> None:
        """Make every head a copy of the base again, in place."""
        base = self.base
        for name, parts in self.parts.items():
            if self.rank is None:
                parts["weight"].copy_(base.weight)
                if base.bias is not None:
                    parts["bias"].copy_(base.bias)
            else:
                parts["A"].zero_()
                parts["B"].copy_(_drawn(*parts["B"].shape, seed=seed, name=name))

    @torch.no_grad()
    def perturb(self, noise: float, *, seed: int) -> None:
        """Add normal numbers to what each head multiplies hidden states with, in place: of standard deviation `noise` in every
        entry, drawn from the seed and the head's name. Of a low-rank head it is A B that gets it, through A."""
        for name, parts in self.parts.items():
            part = parts["weight" if self.rank is None else "A"]
            scale = noise
            if self.rank is not None:
                scale = noise / math.sqrt(self.rank * float(parts["B"].double().square().mean()))
            digest = blake2b(f"{seed}/head noise/{name}".encode(), digest_size=8).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
            drawn = torch.randn(part.shape, generator=generator)
            part.add_((scale * drawn).to(part.device, part.dtype))

    def at_base(self) -> bool:
        """Return whether every head is still a copy of the base."""
        base = self.base
        if self.rank is not None:
            return not any(bool(parts["A"].any()) for parts in self.parts.values())
        return all(
            torch.equal(parts["weight"], base.weight.to(self.dtype))
            and (base.bias is None or torch.equal(parts["bias"], base.bias.to(self.dtype)))
            for parts in self.parts.values()
        )

    def copied(self) -> "Heads":
        """Return heads with weights of their own, equal to these."""
        made = Heads(self.base, rank=self.rank, dtype=self.dtype)
        for name, parts in self.parts.items():
            made.parts[name] = copy.deepcopy(parts)
            made.scorers[name] = Scorer(lambda name=name: made.head(name), made.parts[name])
        return made

    def head(self, name: str) -> Head:
        """Return a head as a value."""
        base, parts = self.base, self.parts[name]
        if self.rank is None:
            return base._replace(weight=parts["weight"], bias=parts.get("bias"))
        return base._replace(up=parts["A"], down=parts["B"])

    @torch.no_grad()
    def folded(self, weights: Float[Tensor, " H"]) -> Head:
        """Return the heads mixed by weights that sum to one as a single head, in the precision of the heads."""
        return fold([self.head(name).to(self.dtype) for name in self.names], weights)

    def logps(
        self, hidden: Float[Tensor, "N D"], targets: Int[Tensor, " N"], *, through: Int[Tensor, " N"]
    ) -> Float[Tensor, " N"]:
        """Return the log-probability of each target through its own head alone; `through`, on the CPU, holds their numbers."""
        found, places = [], []
        for number, scorer in enumerate(self.scorers.values()):
            where = (through == number).nonzero().squeeze(1)
            if len(where):
                here = where.to(hidden.device, non_blocking=True)
                found.append(scorer(hidden[here], targets[here])[0])
                places.append(where)
        back = torch.cat(places).argsort()
        return torch.cat(found)[back.to(hidden.device, non_blocking=True)]


class RowHead(torch.nn.Module):
    """In place of a model's output projection: the heads mixed for each row by weights of its own.

    `spread`, where it is set, says which row of the hidden states each row of the logits reads: so the rows of several
    weightings share the reading of their prompt.
    """

    def __init__(self, heads: Sequence[Head], weights: Float[Tensor, "B H"]) -> None:
        super().__init__()
        self.heads = list(heads)
        self.weights = weights
        self.spread: Int[Tensor, " B"] | None = None

    def select(self, rows: Int[Tensor, " b"]) -> None:
        """Keep some of the rows, in this order."""
        self.weights = self.weights[rows]

    def forward(self, hidden: Float[Tensor, "R T D"]) -> Float[Tensor, "B 1 V"]:
        """Return raw logits of the last position of each row; R is B where nothing is spread."""
        last = hidden[:, -1] if self.spread is None else hidden[self.spread, -1]
        return mix(last, self.heads, self.weights)[:, None]


def check_names(names: Sequence[str]) -> None:
    """Raise `ConfigError` where heads have no, equal or empty names."""
    if isinstance(names, str) or not names or not all(isinstance(name, str) and name for name in names):
        raise ConfigError(f"heads: found {names!r}, expected a list of objective names. Pass one name per head.")
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise ConfigError(f"heads: found {twice[0]!r} twice, expected different names. Name each objective once.")


def check_projection(how: Projection, *, name: str) -> None:
    """Raise `ModelError` for a model whose output projection cannot be copied."""
    if not how.exact:
        raise ModelError(
            f"model {name!r}: its output projection cannot be copied for the heads: {how.reason}. Expected logits that are a "
            "linear map of the last hidden states. Load it without heads."
        )


def _drawn(rank: int, width: int, *, seed: int, name: str) -> Float[Tensor, "r D"]:
    """Uniform on (-1/sqrt(D), 1/sqrt(D)), as LoRA's A."""
    digest = blake2b(f"{seed}/head/{name}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
    return (2 * torch.rand(rank, width, generator=generator) - 1) / math.sqrt(width)
