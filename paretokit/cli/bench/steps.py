"""Optimizer steps on random token ids, made of the training loop's own parts in the loop's own order.

Imports: torch, `maths`, `models`, `preferences`, `training`, `texts`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from paretokit.maths.losses import judged
from paretokit.models.load import load_policy
from paretokit.models.policy import Policy
from paretokit.preferences.pack import make_batch
from paretokit.shapes import Float, Float64, Tensor
from paretokit.texts import EncodedPair
from paretokit.training import methods
from paretokit.training.config import TrainConfig
from paretokit.training.jacobian import Jacobian, objective_jacobian, on_host
from paretokit.training.references import reference_sums
from paretokit.training.update import descend

_SPECIAL = 20  # smaller ids are special tokens in the policies that ship


class Sizes(NamedTuple):
    """How many pairs, and how many tokens a prompt and each of its two responses have."""

    pairs: int
    prompt: int
    response: int

    def __str__(self) -> str:
        return f"{self.pairs} pairs ({self.prompt} prompt + {self.response} + {self.response} tokens)"


class Task(NamedTuple):
    """A policy, what it is trained on, and its optimizer; steps change the policy."""

    policy: Policy
    pairs: list[EncodedPair]
    references: Float64[Tensor, "P 2"]  # log-probabilities of the responses before any step, nats
    optimizer: torch.optim.Optimizer
    config: TrainConfig


def task(
    policy: str,
    sizes: Sizes,
    *,
    adapter: str = "lora",
    dtype: str = "float32",
    heads: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> Task:
    """Return a fresh policy with random pairs; reference log-probabilities are computed here, not in the steps."""
    config = TrainConfig()
    loaded = load_policy(policy, adapter=adapter, heads=heads, device=device, dtype=dtype, seed=seed)
    loaded.model.eval()
    pairs = random_pairs(sizes, vocabulary=loaded.model.config.get_text_config().vocab_size, seed=seed)
    optimizer = torch.optim.AdamW(
        list(loaded.trainable.values()), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    return Task(loaded, pairs, reference_sums(loaded, pairs, {}), optimizer, config)


def random_pairs(sizes: Sizes, *, vocabulary: int, seed: int) -> list[EncodedPair]:
    """Return pairs of tokens drawn evenly from the vocabulary.

    >>> random_pairs(Sizes(pairs=1, prompt=2, response=1), vocabulary=21, seed=0)[0][:3]
    ((20, 20), (20,), (20,))
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(_SPECIAL, vocabulary, (count,), generator=generator).tolist())

    return [EncodedPair(draw(sizes.prompt), draw(sizes.response), draw(sizes.response)) for _ in range(sizes.pairs)]


def random_labels(objectives: int, *, pairs: int, seed: int = 0) -> Float[Tensor, "m P"]:
    """Return independent labels +1 and -1; a single objective prefers the first response of every pair, as in DPO's data.

    >>> random_labels(1, pairs=3).tolist()
    [[1.0, 1.0, 1.0]]
    """
    if objectives == 1:
        return torch.ones(1, pairs)
    generator = torch.Generator().manual_seed(seed)
    return 1.0 - 2.0 * torch.randint(2, (objectives, pairs), generator=generator)


def labels_by_head(heads: int, *, pairs: int) -> Float[Tensor, "m P"]:
    """Return one label for each pair, as many for each head: what a policy with heads is trained on.

    >>> labels_by_head(2, pairs=2).tolist()
    [[1.0, nan], [nan, 1.0]]
    """
    labels = torch.full((heads, pairs), torch.nan)
    numbers = torch.arange(pairs)
    labels[numbers % heads, numbers] = 1.0
    return labels


def take_step(
    task: Task,
    labels: Float[Tensor, "m P"],
    *,
    method: str,
    gradients: Callable[..., Jacobian] = objective_jacobian,
    shared: bool = True,
) -> Float[Tensor, " m"]:
    """Take one optimizer step with equal weights, all pairs in one pass, and return the objectives' losses before it.

    Rows, forward pass, gradients, Gramian, coefficients, combination, norm clip and AdamW, as in `training.loop`. What it
    is compared with: other `gradients`, called as `objective_jacobian` is; or, without `shared`, each response in its own row.
    """
    policy, config = task.policy, task.config
    margins = task.references[:, 0] - task.references[:, 1]
    batch = make_batch(task.pairs, labels, margins, torch.arange(len(task.pairs)), shared=shared)
    counts = judged(labels)
    jacobian = gradients(policy, batch, beta=config.beta, judged=counts, objectives=policy.heads)
    found = on_host(jacobian)
    weights = torch.full((len(labels),), 1 / len(labels), dtype=torch.float64)
    chosen = methods.resolve(method)
    function = chosen.build(config)
    result = methods.combine(function, found.gram, weights, generator=torch.Generator().manual_seed(0))
    descend(
        policy,
        task.optimizer,
        jacobian,
        found,
        result,
        judged=counts.tolist(),
        max_grad_norm=config.max_grad_norm,
        alpha=weights.tolist() if chosen.alpha else None,
    )
    return found.losses.sum(dim=1) / counts
