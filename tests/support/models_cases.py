"""What the tests of models and decoding share: ragged pairs, policies that look trained, log-probs the plain way."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest import mock

import pytest
import torch

from paretokit.models.policy import Policy
from paretokit.models.tiny import random_policy

VOCABULARY = 259
ON_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that CUDA runs on")


@contextmanager
def wide() -> Iterator[None]:
    """Float32 is float64: in the norms, softmaxes and rotations that transformers computes in float32 in a float64 model, and
    in the log-softmax of TRL."""
    with mock.patch.object(torch, "float32", torch.float64), mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
        yield


def ragged_pairs(*, seed: int = 0) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts of 1 to 40 tokens and responses of 1 to 20, beyond the sliding windows of the random families.

    Among the tokens are 0 (what rows are padded with) and 2 (pad and EOS of the tokenizer).
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(length: int) -> list[int]:
        return torch.randint(0, VOCABULARY, (length,), generator=generator).tolist()

    prompts = [draw(5), [1], [2, 0, 2], draw(40), draw(17)]
    return prompts, [draw(1), draw(4), [0, 2], draw(12), draw(20)]


@torch.no_grad()
def disturb(policy: Policy, *, size: float = 0.1, seed: int = 5) -> Policy:
    """Move every trainable weight in place, as training does; returns the policy."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in policy.trainable.values():
        parameter += size * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype).to(parameter.device)
    return policy


def trained_policy(
    family: str = "llama", *, dtype: torch.dtype = torch.float64, adapter: str = "lora", device: str = "cpu"
) -> Policy:
    """A random policy whose adapter does something, alike on every device."""
    return disturb(random_policy(family, dtype=dtype, adapter=adapter, device=device))


@torch.no_grad()
def plain_logps(model: torch.nn.Module, prompt: Sequence[int], response: Sequence[int]) -> torch.Tensor:
    """The slow twin: one sequence, alone, all logits, log_softmax, one number per response token."""
    logits = model(input_ids=torch.tensor([[*prompt, *response]])).logits[0]
    start = len(prompt) - 1
    return logits.log_softmax(dim=-1)[range(start, start + len(response)), list(response)]
