"""LoRA adapters through peft: which ones are accepted, how they start, and their names.

Accepted is the plain adapter, W + (alpha / r) B A on linear layers, because it can be switched off, mixed and merged
exactly. Variants that break this (DoRA, rank-stabilised scaling, biases, dropout, embeddings) are refused.
The start is drawn from a generator of its own: A as in peft (Kaiming uniform with a = sqrt 5), B zero.
Imports: torch, peft, transformers (types and its Conv1D).
"""

import copy
import dataclasses
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from paretokit.errors import ConfigError

__all__ = ["ADAPTER", "FIELDS", "attach", "default_config", "lora_layers", "merged", "portable_name", "reset", "switched_off"]

ADAPTER = "default"
RANK, ALPHA = 16, 32

# what may be chosen; every other field of LoraConfig has to keep its default
FIELDS = ("r", "lora_alpha", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern")
FIELDS += ("rank_pattern", "alpha_pattern", "fan_in_fan_out")
_BOOKKEEPING = {"task_type", "peft_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision"}
_BOOKKEEPING |= {"inference_mode"}


def default_config() -> LoraConfig:
    """Return rank 16, alpha 32, all linear layers but the output projection, no dropout."""
    return LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", lora_dropout=0.0, bias="none")


def check_config(config: LoraConfig) -> None:
    """Raise `ConfigError` for a setting with which switching off, mixing or merging would not be exact."""
    plain = LoraConfig()
    for field in dataclasses.fields(LoraConfig):
        if field.name in FIELDS or field.name in _BOOKKEEPING:
            continue
        found, expected = getattr(config, field.name), getattr(plain, field.name)
        if found != expected:
            raise ConfigError(
                f"adapter: LoraConfig({field.name}={found!r}) is not supported, because the adapter could then not be "
                f"switched off, mixed and merged exactly; expected {field.name}={expected!r}. Leave the field out."
            )


def attach(model: PreTrainedModel, config: LoraConfig, *, dtype: torch.dtype, generator: torch.Generator) -> PeftModel:
    """Return the model with LoRA layers of `dtype` in it, drawn from `generator`; all that was there is frozen.

    The global random state is left as it was. Raises `ConfigError` where `config` is unfit or targets no linear layer.
    """
    check_config(config)
    output = model.get_output_embeddings()
    config = dataclasses.replace(config, target_modules=config.target_modules or "all-linear")
    kind = TaskType.CAUSAL_LM if output is not None else TaskType.FEATURE_EXTRACTION  # a backbone alone cannot generate
    config.task_type, config.inference_mode = kind, False
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():  # peft draws a start that `reset` replaces
        warnings.simplefilter("ignore")  # Conv1D: fan_in_fan_out is settled by peft itself
        try:
            wrapped = get_peft_model(model, config, adapter_name=ADAPTER)
        except ValueError as error:
            raise ConfigError(f"adapter: peft refuses this LoraConfig: {' '.join(str(error).split())}") from error
    for name, layer in lora_layers(wrapped):
        if not isinstance(layer.base_layer, torch.nn.Linear | Conv1D) or layer.base_layer is output:
            raise ConfigError(
                f"adapter: LoRA on {name!r} ({type(layer.base_layer).__name__}) is not supported; expected linear "
                "layers other than the output projection. Use target_modules='all-linear'."
            )
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
    reset(wrapped, generator=generator)
    return wrapped.eval()


def lora_layers(model: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield every `LoraLayer` of peft with its name, in the order of the model."""
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module


@torch.no_grad()
def reset(model: torch.nn.Module, *, generator: torch.Generator) -> None:
    """Draw every adapter anew: A uniform on (-1/sqrt(in), 1/sqrt(in)) and B zero, so that the policy is its base."""
    for _, layer in lora_layers(model):
        down, up = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
        bound = 1 / math.sqrt(down.shape[1])  # kaiming_uniform with a = sqrt(5) on [r, in]
        drawn = torch.rand(down.shape, generator=generator, dtype=torch.float32)  # on CPU: equal on every device
        down.copy_((2 * drawn - 1) * bound)
        up.zero_()


@contextmanager
def switched_off(model: PeftModel) -> Iterator[None]:
    """Run the model without its adapter: what PeftModel.disable_adapter does, without its look at the whole model's state."""
    adapters = cast(Any, model.base_model)
    adapters.disable_adapter_layers()
    try:
        yield
    finally:
        adapters.enable_adapter_layers()


def portable_name(name: str) -> str:
    """Return the name that peft gives a parameter in files.

    >>> portable_name("base_model.model.q_proj.lora_A.default.weight")
    'base_model.model.q_proj.lora_A.weight'
    """
    return name.replace(f".{ADAPTER}.", ".")


@torch.no_grad()
def merged(model: PeftModel) -> PreTrainedModel:
    """Return a plain model with new weights W + (alpha / r) B A in place of W, in the wider of their precisions.

    All other tensors are those of `model`, which is left as it is.
    """
    return cast(PreTrainedModel, _twin(model.get_base_model()))


def _twin(module: Any) -> torch.nn.Module:
    if isinstance(module, LoraLayer):
        twin = copy.copy(module.base_layer)
        delta = cast(Any, module).get_delta_weight(ADAPTER)
        twin._parameters = {**twin._parameters, "weight": torch.nn.Parameter(twin.weight + delta, requires_grad=False)}
        return twin
    twin = copy.copy(module)
    twin._modules = {name: None if child is None else _twin(child) for name, child in module._modules.items()}
    return twin
