"""A model with another output projection: a plain model that shares all other weights with the one it was made of.

Imports: torch, transformers, peft, `maths.heads`.
"""

import copy
from typing import Any, cast

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from paretokit.maths.heads import Head

__all__ = ["linear", "with_head"]


def linear(head: Head) -> torch.nn.Linear:
    """Return a full head's matrix and bias as a module; scale and cap belong to the model around it."""
    rows, width = head.weight.shape
    made = torch.nn.Linear(width, rows, bias=head.bias is not None, device="meta")
    made.weight = torch.nn.Parameter(head.weight, requires_grad=False)
    if head.bias is not None:
        made.bias = torch.nn.Parameter(head.bias, requires_grad=False)
    return made


def with_head(model: PreTrainedModel | PeftModel, head: torch.nn.Module) -> PreTrainedModel:
    """Return a model that ends with `head` in place of its own output projection, its embeddings no longer tied to it.

    `model` is left as it is; all its modules but the outermost are those of both. Adapters stay where they are.
    """
    whole: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    twin = copy.copy(whole)
    twin._modules = dict(whole._modules)
    twin.set_output_embeddings(head)
    twin.config = copy.deepcopy(whole.config)
    text: Any = twin.config.get_text_config()
    text.tie_word_embeddings = twin.config.tie_word_embeddings = False
    return cast(PreTrainedModel, twin)
