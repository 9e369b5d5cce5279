"""LoRA adapters through peft: which ones are accepted, how they start, and their names.

Accepted is the plain adapter, W + (alpha / r) B A on linear layers, because it can be switched off, mixed and merged
exactly; so can one on the stacked matrices of experts (`target_parameters`), where each has an A and a B of its own.
Variants that break this (DoRA, rank-stabilised scaling, biases, dropout, embeddings) are refused.
The start is drawn from a generator of its own: A as in peft (Kaiming uniform with a = sqrt 5), B zero.
Imports: torch, peft, transformers (types and its Conv1D), `targets`.
"""

import copy
import dataclasses
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from peft.utils import transformers_weight_conversion
from transformers import PreTrainedModel

from paretokit.errors import ConfigError
from paretokit.models.targets import default_targets, is_plain_linear
from paretokit.shapes import Tensor

__all__ = [
    "ADAPTER",
    "FIELDS",
    "attach",
    "changes",
    "default_config",
    "lora_layers",
    "merged",
    "plain_name",
    "portable_name",
    "reset",
    "switched_off",
    "underneath",
]

ADAPTER = "default"
RANK, ALPHA = 16, 32

# what may be chosen; every other field of LoraConfig has to keep its default
FIELDS = ("r", "lora_alpha", "target_modules", "target_parameters", "exclude_modules", "layers_to_transform")
FIELDS += ("layers_pattern", "rank_pattern", "alpha_pattern", "fan_in_fan_out")
_OF_EXPERTS = ("gate_proj", "up_proj", "down_proj", "gate_up_proj", "w1", "w2", "w3")
_BOOKKEEPING = {"task_type", "peft_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision"}
_BOOKKEEPING |= {"inference_mode"}


def default_config() -> LoraConfig:
    """Return rank 16, alpha 32, no dropout, on the layers that `targets.default_targets` names for a model."""
    return LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, bias="none")


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

    A `config` without `target_modules` gets the default targets of the model's family; `target_modules=[]` beside
    `target_parameters` adapts those parameters alone. The global random state is left as it was. Raises `ConfigError` where
    `config` is unfit, targets a layer that is not linear, or names parameters that are not there.
    """
    check_config(config)
    config = _with_targets(config, model)
    output = model.get_output_embeddings()
    kind = TaskType.CAUSAL_LM if output is not None else TaskType.FEATURE_EXTRACTION  # a backbone alone cannot generate
    config.task_type, config.inference_mode = kind, False
    with torch.random.fork_rng(devices=[]), _names_as_they_are(), warnings.catch_warnings():  # `reset` draws another start
        warnings.simplefilter("ignore")  # Conv1D: fan_in_fan_out is settled by peft itself
        try:
            wrapped = get_peft_model(model, config, adapter_name=ADAPTER)
        except (ValueError, TypeError, AttributeError) as error:
            raise ConfigError(f"adapter: peft refuses this LoraConfig: {' '.join(str(error).split())}") from error
    for name, layer in lora_layers(wrapped):
        if reason := _unfit(layer, output=output):
            raise ConfigError(
                f"adapter: LoRA on {name!r} ({type(underneath(layer)).__name__}) is not supported{reason}; expected linear "
                "layers other than the output projection. Leave target_modules out for those of attention and MLP."
            )
    _check_experts(wrapped, config)
    for _, layer in lora_layers(wrapped):
        if isinstance(layer, ParamWrapper):
            layer.register_forward_hook(partial(_in_order, list(underneath(layer)._parameters)), always_call=True)
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
    reset(wrapped, generator=generator)
    return wrapped.eval()


@contextmanager
def _names_as_they_are() -> Iterator[None]:
    """Keep peft from reading the names of linear layers as those of experts.

    For families whose experts once were linear layers it takes `gate_proj`, also that of a dense or shared MLP, to mean the
    stacked experts of today, and leaves the layers of that name out.
    """
    convert = transformers_weight_conversion.convert_peft_config_for_transformers
    transformers_weight_conversion.convert_peft_config_for_transformers = lambda *_, **__: None
    try:
        yield
    finally:
        transformers_weight_conversion.convert_peft_config_for_transformers = convert


def _check_experts(model: PeftModel, config: LoraConfig) -> None:
    """Raise `ConfigError` for a target that nothing has: a parameter, or a layer with a name of stacked experts."""
    layers = list(lora_layers(model))
    reached = [f".{_parameter_of(name, layer)}" for name, layer in layers]
    stacked = [f".{plain_name(name)}" for name, weight in model.named_parameters() if weight.ndim == 3 and "experts." in name]
    example = f", whose experts are stacked in parameters such as {stacked[0][1:]!r}" if stacked else ""
    what = type(model.get_base_model()).__name__
    for target in sorted(config.target_parameters or ()):
        if not any(place.endswith(f".{target}") for place in reached):
            raise ConfigError(
                f"adapter: found no parameter {target!r} in {what}{example}. Pass target_parameters=[...] with ends of names."
            )
    wanted = () if isinstance(config.target_modules, str) else sorted(config.target_modules or ())
    for target in wanted:
        last = target.rsplit(".", 1)[-1]
        if stacked and last in _OF_EXPERTS and not any(place.endswith(f".{target}") for place in reached):
            raise ConfigError(
                f"adapter: found no linear layer {target!r} in {what}{example}. Leave the name out, or pass "
                "target_parameters=[...] to adapt every expert."
            )


def _parameter_of(name: str, layer: Any) -> str:
    """The name of what a LoRA layer adapts: a layer, or a parameter of one."""
    return f"{plain_name(name)}.{layer.parameter_name}" if isinstance(layer, ParamWrapper) else plain_name(name)


def _in_order(names: list[str], layer: Any, *_: object) -> None:
    """Put the parameters of the module under a layer in their order again, which peft changes whenever it runs the layer."""
    own = underneath(layer)._parameters
    for name in names:
        if name in own:  # not where an outer layer of peft's still has it elsewhere; that one comes here after this one
            own[name] = own.pop(name)


def _with_targets(config: LoraConfig, model: PreTrainedModel) -> LoraConfig:
    """A copy of a configuration, with the default targets where it names none."""
    if config.target_modules or (config.target_modules is not None and config.target_parameters):
        return dataclasses.replace(config)
    names = default_targets(model).names
    if config.layers_to_transform is not None:  # peft would pass over it for layers that are named in full
        kept = config.layers_to_transform
        kept = {kept} if isinstance(kept, int) else set(kept)
        names = tuple(name for name in names if _number(name, config.layers_pattern) in kept)
    return dataclasses.replace(config, target_modules=list(names))


def _number(name: str, patterns: list[str] | str | None) -> int | None:
    """The number of the layer that a module lies in, where the list of layers has one of the names in `patterns`."""
    wanted = [patterns] if isinstance(patterns, str) else patterns
    found = re.match(rf"(?:.*?\.)??(?:{'|'.join(map(re.escape, wanted)) if wanted else '[^.]*'})\.(\d+)\.", name)
    return int(found[1]) if found else None


def _unfit(layer: Any, *, output: torch.nn.Module | None) -> str:
    """Why an adapter could not be switched off, mixed and merged exactly; "" where it can."""
    if isinstance(layer, ParamWrapper):
        many, shape = layer.num_experts, tuple(layer.get_param().shape)
        sides = {(layer.in_features, layer.out_features), (layer.out_features, layer.in_features)}
        fit = shape[-2:] in sides and shape[:-2] == ((many,) if many > 1 else ())
        return "" if fit else f", because its parameter {layer.parameter_name!r} has the shape {shape}"
    module = underneath(layer)
    if module is output:
        return ", because it is the output projection"
    return "" if is_plain_linear(module) else ", because its output is not input times weight"


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


def plain_name(name: str) -> str:
    """Return the name that a module or parameter of the base has without the adapters around it.

    >>> plain_name("base_model.model.mlp.experts.base_layer.base_layer.down_proj")
    'mlp.experts.down_proj'
    """
    return re.sub(r"\.base_layer\b", "", name.removeprefix("base_model.model."))


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
        twin = copy.copy(_twin_of_children(underneath(module)))
        own = {name: twin._parameters[name] + change for name, change in changes(module).items()}
        twin._parameters = {
            **twin._parameters,
            **{name: torch.nn.Parameter(weight, requires_grad=False) for name, weight in own.items()},
        }
        return twin
    return _twin_of_children(module)


def _twin_of_children(module: Any) -> Any:
    twin = copy.copy(module)
    twin._modules = {name: None if child is None else _twin(child) for name, child in module._modules.items()}
    return twin


def underneath(layer: Any) -> Any:
    """Return the module that a LoRA layer wraps; the stacked matrices of one module may be wrapped one in the other."""
    while isinstance(layer, LoraLayer):
        layer = layer.base_layer
    return layer


@torch.no_grad()
def changes(layer: Any) -> dict[str, Tensor]:
    """Return what a LoRA layer adds to the parameters of the module underneath, by their names, in the adapter's precision.

    That is (alpha / r) B A for each matrix; shapes are those of the parameters.
    """
    found = {}
    while isinstance(layer, LoraLayer):
        each: Any = layer
        down, up = each.lora_A[ADAPTER].weight, each.lora_B[ADAPTER].weight
        if isinstance(each, ParamWrapper) and each.num_experts > 1:
            down, up = down.unflatten(0, (each.num_experts, -1)), up.unflatten(1, (-1, each.num_experts))
            change = torch.einsum("ore,eri->eoi", up, down)
            change = change if each._did_swap_in_out_features else change.transpose(1, 2)
        else:
            change = up @ down
            change = change.T if each.fan_in_fan_out else change
        found[each.parameter_name if isinstance(each, ParamWrapper) else "weight"] = change * each.scaling[ADAPTER]
        layer = each.base_layer
    return found
