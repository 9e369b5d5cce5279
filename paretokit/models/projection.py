"""The output projection of a model, taken out of it: what turns hidden states into logits.

Families differ in what they do to their logits afterwards: Cohere multiplies, Granite divides, Gemma 2 soft-caps. It is
read from the configuration and then checked against the model's own logits on a few tokens; where they differ, the model's
own head is used. Imports: torch, transformers, peft (types only).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from paretokit.maths.heads import Head, projected
from paretokit.shapes import Float, Int, Tensor

__all__ = ["Projection", "Scorer", "backbone", "own_head", "own_scorer", "projection"]

_NOISE = 1e-2  # of the spread of the logits; half precision rounds them by less


class Projection(NamedTuple):
    """logits = soft-capped scale (hidden weight' + bias), see `maths.heads.Head`."""

    exact: bool
    reason: str  # why the model's own head is used instead; "" where it is not
    scale: float
    cap: float | None


class Scorer(torch.nn.Module):
    """Log-probabilities of targets from hidden states through a head; a module, so that it can be hooked.

    `read` gives the head's value, `own` the parameters in it that are the head's own. While it is `heard`, a hook takes their
    gradients, and autograd is spared them.
    """

    def __init__(self, read: Callable[[], Head], own: Mapping[str, torch.nn.Parameter]) -> None:
        super().__init__()
        self._read = read
        self.own = dict(own)  # a plain dict: these parameters belong to the model
        self.heard = False

    def head(self, hidden: Float[Tensor, "N D"]) -> Head:
        """Return the head in the precision in which it meets the hidden states: the lowest one of all."""
        found = self._read()
        parts = [hidden, *(part for part in found[:4] if part is not None)]
        return found.to(min((part.dtype for part in parts), key=lambda dtype: dtype.itemsize))

    def forward(
        self, hidden: Float[Tensor, "N D"], targets: Int[Tensor, " N"]
    ) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
        """Return what `maths.heads.projected` does."""
        head = self.head(hidden)
        return projected(hidden.to(head.weight.dtype), head.detach() if self.heard else head, targets)


def own_head(model: PreTrainedModel | PeftModel, how: Projection) -> Head:
    """Return the value of a model's own output projection."""
    linear: Any = model.get_output_embeddings()
    return Head(linear.weight, linear.bias, scale=how.scale, cap=how.cap)


def own_scorer(model: PreTrainedModel | PeftModel, how: Projection) -> Scorer:
    """Return the scorer of a model's own output projection."""
    linear: Any = model.get_output_embeddings()
    return Scorer(lambda: own_head(model, how), dict(linear.named_parameters(recurse=False)))


def backbone(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """Return the part of a model that ends with the hidden states its output projection reads, adapters included."""
    whole = model.get_base_model() if isinstance(model, PeftModel) else model
    return whole.base_model  # type: ignore[return-value] # a causal model's base is a model


def projection(model: PreTrainedModel | PeftModel) -> Projection:
    """Return how a model makes logits of hidden states, checked on 8 tokens."""
    config: Any = model.config.get_text_config()
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    head = model.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear):
        return Projection(False, f"its output projection is a {type(head).__name__}", scale, cap)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, int(config.vocab_size), (1, 8), generator=generator).to(head.weight.device)
    with torch.no_grad():
        expected = model(input_ids=ids, use_cache=False).logits
        hidden = getattr(backbone(model)(input_ids=ids, use_cache=False), "last_hidden_state", None)
        if hidden is None or backbone(model) is model:
            return Projection(False, "it returns no hidden states", scale, cap)
        found = head(hidden) * scale
        found = found if cap is None else cap * torch.tanh(found / cap)
    if found.shape != expected.shape or not _near(found, expected):
        return Projection(False, "its logits are not those of its hidden states", scale, cap)
    return Projection(True, "", scale, cap)


def _near(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() <= _NOISE * expected.float().std())
