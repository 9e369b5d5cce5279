"""Pairs and policies for the tests of loops: small, conflicting, with every kind of label."""

import torch

from paretokit.models.policy import Policy
from paretokit.models.tiny import random_policy
from paretokit.preferences.read import read_preferences
from paretokit.preferences.records import Preferences


def pairs(*, objectives: int = 2, count: int = 6) -> Preferences:
    """Pairs of short texts of unequal length; labels of all kinds, the same for equal arguments."""
    labels = torch.randint(-1, 2, (count, objectives), generator=torch.Generator().manual_seed(5)).tolist()
    labels[0] = [1] * objectives
    labels[1] = [(-1) ** i for i in range(objectives)]
    if objectives > 1:
        labels[2][0] = None
    return read_preferences(
        [
            {
                "prompt": f"question {i} " + "why " * (i % 3),
                "response_a": "because " * (1 + i % 4),
                "response_b": f"no {i}",
                "labels": {f"o{j}": value for j, value in enumerate(row)},
            }
            for i, row in enumerate(labels)
        ]
    )


def exact_policy(*, adapter: str = "lora", seed: int = 0) -> Policy:
    """A random policy in float64 all through: transformers' GPT-2 has no float32 islands, as Llama's RMSNorm is one."""
    return random_policy("gpt2", seed=seed, adapter=adapter, dtype=torch.float64)


def moved_policy(*, adapter: str = "lora", seed: int = 0) -> Policy:
    """An exact policy that has left its reference a little, so that margins and gradients are not at their start."""
    policy = exact_policy(seed=seed, adapter=adapter)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in policy.trainable.values():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return policy
