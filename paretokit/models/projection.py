"""The output projection of a model, taken out of it: what turns hidden states into logits.

Families differ in what they do to their logits afterwards: Cohere and Falcon-H1 multiply, Granite divides, Gemma soft-caps.
It is read from the configuration and then checked against the model's own logits on a few tokens; where they differ, the
model's own head is used. Imports: torch, transformers, peft (types only).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from paretokit.maths.heads import Head, projected
from paretokit.shapes import Float, Int, Tensor

__all__ = ["Projection", "Scorer", "backbone", "own_head", "own_scorer", "projection"]

_NOISE, _NOISE_HALF = 1e-4, 1e-2  # of the spread of the logits; single and half precision round them by less
_MULTIPLIERS = ("logit_scale", "lm_head_multiplier", "output_multiplier")  # Cohere, Falcon-H1, Muse Glimmer
_DIVISORS = ("logits_scaling",)  # Granite
_CAPS = ("final_logit_softcapping", "logits_soft_cap")  # Gemma, RecurrentGemma


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
    whole: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    if whole.base_model is not whole:
        return whole.base_model
    if whole.get_output_embeddings() is None:
        return whole  # a model without a head
    embedding = whole.get_input_embeddings()  # Llama 4's text class names its base otherwise than its model holds it
    return next((part for part in whole.children() if any(inner is embedding for inner in part.modules())), whole)


def projection(model: PreTrainedModel | PeftModel) -> Projection:
    """Return how a model makes logits of hidden states, checked on 8 tokens."""
    config: Any = model.config.get_text_config()
    (scale, cap), *others = _readings(config)
    head = model.get_output_embeddings()
    if head is None:
        return Projection(False, "it has no output projection, and can be the backbone of a reward model alone", scale, cap)
    if not isinstance(head, torch.nn.Linear):
        return Projection(False, f"its output projection is a {type(head).__name__}", scale, cap)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, int(config.vocab_size), (1, 8), generator=generator).to(head.weight.device)
    with torch.no_grad():
        expected = model(input_ids=ids, use_cache=False).logits
        hidden = getattr(backbone(model)(input_ids=ids, use_cache=False), "last_hidden_state", None)
        if hidden is None or backbone(model) is model:
            return Projection(False, "it returns no hidden states", scale, cap)
        raw = head(hidden)
        for scale_, cap_ in [(scale, cap), *others]:
            found = raw * scale_
            found = found if cap_ is None else cap_ * torch.tanh(found / cap_)
            if found.shape == expected.shape and _near(found, expected):
                return Projection(True, "", scale_, cap_)
    return Projection(False, "its logits are not those of its hidden states", scale, cap)


def _readings(config: Any) -> list[tuple[float, float | None]]:
    """What a configuration may say of scale and cap, the usual reading first: HyperCLOVA multiplies where Granite divides."""

    def product(names: tuple[str, ...]) -> float:
        return math.prod(float(getattr(config, name, None) or 1.0) for name in names)

    cap = next((found for name in _CAPS if (found := getattr(config, name, None))), None)
    multiplied, divided = product(_MULTIPLIERS), product(_DIVISORS)
    return [(scale, cap) for scale in dict.fromkeys([multiplied / divided, multiplied * divided])]


def _near(found: Tensor, expected: Tensor) -> bool:
    noise = _NOISE_HALF if found.dtype in (torch.bfloat16, torch.float16) else _NOISE
    return bool((found - expected).abs().max() <= noise * expected.float().std())
