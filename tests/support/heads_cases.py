"""Policies with action heads, and their logits the slow way: from the weights by their names, mixed before scale and cap."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch

from paretokit.models.base import Base
from paretokit.models.policy import Policy
from paretokit.models.projection import backbone
from paretokit.models.tiny import random_policy

NAMES = ["help", "honest", "truth"]
SCALES = {"granite": 0.25, "cohere": 0.25}
CAPS = {"gemma2": 3.0}


def headed(
    family: str = "llama",
    *,
    rank: int | None = 4,
    dtype: torch.dtype = torch.float64,
    adapter: str = "lora",
    heads: Sequence[str] = NAMES,
    **config: object,
) -> Policy:
    """A policy whose heads are still those of the base."""
    return random_policy(family, heads=heads, head_rank=rank, dtype=dtype, adapter=adapter, **config)


@lru_cache(maxsize=4)
def own_projection(base: Base) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Matrix and bias of a base, read from its source once more."""
    linear = base._read().get_output_embeddings()
    return linear.weight.detach(), None if linear.bias is None else linear.bias.detach()


def matrix_of(policy: Policy, name: str) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Matrix and bias of one head, from its weights by their names; differentiable in them."""
    weights: Mapping[str, torch.Tensor] = policy.trainable
    if policy.bank.rank is None:
        return weights[f"heads.{name}.weight"], weights.get(f"heads.{name}.bias")
    matrix, bias = own_projection(policy.base)
    return matrix + weights[f"heads.{name}.A"] @ weights[f"heads.{name}.B"], bias


def raw_logits(policy: Policy, hidden: torch.Tensor, name: str) -> torch.Tensor:
    """Of hidden states [N, D], the raw logits of one head."""
    matrix, bias = matrix_of(policy, name)
    raw = hidden @ matrix.T
    return raw if bias is None else raw + bias


def squashed(family: str, raw: torch.Tensor) -> torch.Tensor:
    """What the family does to raw logits."""
    scaled, cap = raw * SCALES.get(family, 1.0), CAPS.get(family)
    return scaled if cap is None else cap * torch.tanh(scaled / cap)


@torch.no_grad()
def mixed_by_hand(policy: Policy, family: str, ids: torch.Tensor, mixtures: torch.Tensor) -> torch.Tensor:
    """sum_i w_i z_i of each row's last position; then scale and cap, once."""
    hidden = backbone(policy.model)(input_ids=ids).last_hidden_state[:, -1]
    each = torch.stack([raw_logits(policy, hidden, name) for name in policy.heads], dim=1)
    return squashed(family, (mixtures[:, :, None] * each).sum(dim=1))


def sums_by_hand(
    policy: Policy, family: str, sequences: Sequence[tuple[Sequence[int], Sequence[int]]], names: Sequence[str]
) -> torch.Tensor:
    """log-probability of each (prompt, response) through the head of that name, by all its logits; differentiable.

    Sequences are padded on the right, where no position before the padding sees it.
    """
    width = max(len(prompt) + len(response) for prompt, response in sequences)
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    for row, (prompt, response) in zip(ids, sequences, strict=True):
        row[: len(prompt) + len(response)] = torch.tensor([*prompt, *response])
    lengths = torch.tensor([len(prompt) + len(response) for prompt, response in sequences])
    mask = (torch.arange(width) < lengths[:, None]).long()
    hidden = backbone(policy.model)(input_ids=ids, attention_mask=mask).last_hidden_state
    found: dict[int, torch.Tensor] = {}
    for name in set(names):
        chosen = [index for index, other in enumerate(names) if other == name]
        logits = squashed(family, raw_logits(policy, hidden[chosen].flatten(0, 1), name))
        for index, each in zip(chosen, logits.log_softmax(dim=-1).unflatten(0, (len(chosen), width)), strict=True):
            prompt, response = sequences[index]
            start = len(prompt) - 1
            found[index] = each[range(start, start + len(response)), list(response)].sum()
    return torch.stack([found[index] for index in range(len(names))])


def head_weights(policy: Policy) -> dict[str, torch.Tensor]:
    """The trainable weights of the heads by name."""
    return {name: weight for name, weight in policy.trainable.items() if name.startswith("heads.")}


def same(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> bool:
    """Equal names in equal order, and equal bits."""
    return list(found) == list(expected) and all(torch.equal(found[name], expected[name]) for name in expected)
