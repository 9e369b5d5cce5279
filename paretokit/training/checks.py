"""What stops a training: a policy that cannot be trained, numbers that are not finite, too little memory.

Imports: torch, `errors`; `models` and `preferences` by value.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from traceback import clear_frames

import torch

from paretokit.errors import ConfigError, MemoryLimitError, ModelError, suggestion
from paretokit.models.compute import out_of_memory
from paretokit.models.policy import Policy
from paretokit.preferences.pack import Packing
from paretokit.preferences.records import Preferences
from paretokit.shapes import Float, Tensor
from paretokit.training.config import TrainConfig
from paretokit.training.jacobian import OnHost
from paretokit.training.methods import Method, fits

__all__ = ["check", "enough_memory", "not_finite"]


def check(policy: Policy, preferences: Preferences, *, method: Method, config: TrainConfig) -> None:
    """Raise `ConfigError` or `ModelError` where a policy cannot be trained so."""
    fits(method, policy.heads, preferences.objectives)
    if unknown := sorted(set(config.head_betas or ()) - set(policy.heads)):
        raise ConfigError(
            f"head_betas: found {unknown[0]!r}, expected some of the policy's heads "
            f"({', '.join(policy.heads) or 'it has none'}).{suggestion(unknown[0], policy.heads)} Correct or remove the name."
        )
    if config.head_noise and not policy.heads:
        raise ConfigError(
            f"head_noise: found {config.head_noise} for a policy without heads, expected 0. Leave it out, or load the policy "
            f"with heads={list(preferences.objectives)}."
        )
    if config.weight_decay and config.optimizer != "adamw":
        raise ConfigError(
            f"weight_decay: found {config.weight_decay} with optimizer={config.optimizer!r}, which has none, expected 0. "
            "Leave it out, or take optimizer='adamw'."
        )
    devices = sorted({str(weight.device) for weight in policy.model.parameters()})
    if len(devices) > 1:
        raise ConfigError(
            f"policy: found weights on {', '.join(devices)}, expected all on one device. Load the model with device='cuda' or "
            "device='cpu'; a model spread over devices is not supported."
        )
    if policy.model.get_output_embeddings() is None:
        raise ModelError(
            f"policy {policy.source!r}: found no output projection (get_output_embeddings() is None), expected one that maps "
            "hidden states to logits. Use a causal language model."
        )
    if config.compiler is not None and config.compiler not in (known := torch._dynamo.list_backends(exclude_tags=())):
        raise ConfigError(
            f"compiler: found {config.compiler!r}, expected one of {', '.join(known)}.{suggestion(config.compiler, known)} "
            "Change compiler in the TrainConfig or on the command line."
        )
    if config.compiler is not None and not policy.projection.exact:
        raise ConfigError(
            f"compiler: found {config.compiler!r} for a model whose backbone cannot be run by itself "
            f"({policy.projection.reason}), expected no compiler. Leave it out."
        )
    if not policy.trainable:
        raise ConfigError(
            f"policy: found nothing trainable (adapter={policy.adapter!r}), expected an adapter or full fine-tuning. "
            "Load it with adapter='lora' or adapter='full'."
        )
    name = "combine_every" if (config.combine_every or config.pairs_per_step) < config.pairs_per_step else "pairs_per_step"
    together = getattr(config, name)
    if together <= 2 and len(preferences.objectives) > 1 and not policy.heads:
        warnings.warn(
            f"{name}={together}: the gradients of all objectives lie in a space of that many "
            "dimensions, so the combination is degenerate. Take more pairs a step.",
            UserWarning,
            stacklevel=3,
        )


def not_finite(found: OnHost, labels: Float[Tensor, "m P"], chosen: Sequence[int], objectives: Sequence[str]) -> str:
    """Return the first objective whose loss or gradient is not finite, and the pairs that may be why; "" where all are."""
    bad = [pair for pair, margin in zip(chosen, found.margins.tolist(), strict=True) if not math.isfinite(margin)]
    squares = (found.gram.diagonal() + found.own_squares).tolist()
    rows = zip(objectives, found.losses.tolist(), squares, labels.tolist(), strict=True)
    for objective, values, square, verdicts in rows:
        if not math.isfinite(square) or not all(map(math.isfinite, values)):
            where = bad or [pair for pair, verdict in zip(chosen, verdicts, strict=True) if math.isfinite(verdict)]
            return f"objective {objective!r}: found a loss or gradient that is not finite, in the pairs {where}."
    return ""


@contextmanager
def enough_memory(plan: Packing, *, config: TrainConfig, step: int) -> Iterator[None]:
    """Say what would need less memory where there is too little; nothing of the step has been done then."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        longest = max(sum(len(row) for row in one.rows) for one in plan.passes)
        remedies = [] if config.checkpointing else ["checkpointing=True"]
        if longest > 1:
            remedies.append(f"pairs_per_backward={max(1, longest // 2)}")
        remedies.append(f"tokens_per_backward={max(1, config.tokens_per_backward // 2)} or a smaller max_length")
        reason = str(error).split("\n")[0][:160]
        clear_frames(error.__traceback__)  # they hold what the memory is full of
        error.__traceback__ = None
    else:
        return
    raise MemoryLimitError(
        f"step {step}: found too little memory for a pass of {longest} pairs ({reason}), expected to read the step in "
        f"{len(plan.passes)} passes. The policy is as it was before the step. The same update needs less memory with "
        f"{', '.join(remedies)}."
    )
