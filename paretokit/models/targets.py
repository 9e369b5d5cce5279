"""Which linear layers of a model LoRA adapts by default: those of the decoder's attention and of its dense MLP.

A family in `families` lists them; for any other model they are found by structure, and by the same rule, so that the list
and the structure say the same of every family that is listed (which is tested). Left out are routers and gates of experts,
the experts themselves, state-space and convolution layers, per-layer embeddings, the output projection, and all that lies
outside of the language model, such as vision and audio towers.
Imports: torch, transformers and peft (their layers), `errors`, `families`.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from paretokit.errors import ConfigError
from paretokit.models.families import Family, family_of

__all__ = ["Targets", "adapted", "default_targets", "is_plain_linear", "language_model", "language_parameters"]

_ROUTER = re.compile(r"(^|_)(router|indexer)$")
_GATE = re.compile(r"(^|_)(gate|gating)$")  # a router where experts stand beside it, else a projection of attention or MLP
_NOT_DENSE = re.compile(r"^(experts|altup|laurel)$|per_layer|hyper_connection|^mtp")
_OUTSIDE, _ROUTERS, _EXPERTS = "outside of the decoder's layers", "router or gate", "experts"
_MAMBA, _CONVOLUTION, _OTHER = "state-space layer", "convolution layer", "not attention or MLP"
_TOWER, _OUTPUT = "vision or audio tower", "output projection"
_STACKED = "stacked experts"
_CUSTOM = "its output is not input times weight"


class Targets(NamedTuple):
    """The linear layers that an adapter goes on, and those that it leaves alone."""

    names: tuple[str, ...]  # full names, in the order of the model
    kinds: Mapping[str, int]  # by place in a layer, such as "self_attn.q_proj": in how many layers
    left_out: Mapping[str, tuple[str, ...]]  # by reason: the places of linear layers that get no adapter
    family: Family | None  # None: not in the list, targets by structure

    def report(self) -> str:
        """Return one line: the places and in how many layers each is.

        >>> Targets(("a.0.mlp.up",), {"mlp.up": 1}, {}, None).report()
        'mlp.up (1)'
        """
        return ", ".join(f"{kind} ({count})" for kind, count in self.kinds.items())


class _Linear(NamedTuple):
    name: str  # in the model
    place: str  # in its layer, without numbers
    reason: str  # why it gets no adapter; "" where it gets one
    recurrent: bool  # the input side of a state-space or convolution layer


def default_targets(model: PreTrainedModel) -> Targets:
    """Return the linear layers of a model that LoRA adapts where nothing else was asked for.

    For a family in the list they are those that it names, else those of attention and MLP by structure. A model that has
    neither (Mamba) is adapted on the input projections of its layers. Raises `ConfigError` where there is no linear layer.
    """
    found, family = list(_linears(model)), family_of(model.config)
    if family is not None and family.targets:
        chosen = [part for part in found if _listed(part, family)]
    else:
        chosen = [part for part in found if not part.reason]
    chosen = chosen or [part for part in found if part.recurrent]
    if not chosen:
        raise ConfigError(
            f"adapter: found no linear layer of attention or MLP in {type(model).__name__}, expected some. Name the layers in "
            "a LoraConfig(target_modules=[...]), or use adapter='full'."
        )
    return _told(model, [part.name for part in chosen], found, family)


def adapted(model: torch.nn.Module) -> Targets:
    """Return where a model wears adapters of peft: those that were asked for, or the default ones; none for a plain model."""
    whole: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    worn = [name for name, part in whole.named_modules() if isinstance(part, LoraLayer) and ".base_layer" not in name]
    return _told(whole, worn, list(_linears(whole)), family_of(whole.config))


def _told(model: PreTrainedModel, names: list[str], found: list["_Linear"], family: Family | None) -> Targets:
    left: dict[str, dict[str, None]] = {}
    for part in found:
        if part.name not in names:
            left.setdefault(part.reason or "not asked for", {})[part.place] = None
    for name in _stacked(model):
        if not any(name.startswith(f"{wrapped}.") for wrapped in names):
            left.setdefault(_STACKED, {})[_place(name, _layer_of(name, model))] = None
    kinds = Counter(_place(name, _layer_of(name, model)) for name in names)
    return Targets(tuple(names), kinds, {reason: tuple(places) for reason, places in left.items()}, family)


def _stacked(model: PreTrainedModel) -> list[str]:
    """The names of parameters that hold a matrix for each expert."""
    named = ((re.sub(r"\.(base_layer\.)+", ".", name), weight) for name, weight in model.named_parameters())
    return [name for name, weight in named if weight.ndim == 3 and "experts." in name]


def language_model(model: PreTrainedModel) -> torch.nn.Module:
    """Return the part of a model that reads text: its decoder, without towers for images or sound."""
    return model.get_decoder()


def language_parameters(model: PreTrainedModel) -> dict[str, torch.nn.Parameter]:
    """Return the parameters of the language model and of its output projection, by name; all of them for a text model."""
    parts = [language_model(model), model.get_output_embeddings()]
    own = {id(weight) for part in parts if part is not None for weight in part.parameters()}
    return {name: weight for name, weight in model.named_parameters() if id(weight) in own}


def is_plain_linear(module: torch.nn.Module) -> bool:
    """Return whether a module gives x W' + b for an input x, so that an adapter can be merged into W exactly.

    A subclass of `torch.nn.Linear` may do something else with its weight (a router returns a tuple): it is tried.
    """
    if type(module) in (torch.nn.Linear, Conv1D):
        return True
    if not isinstance(module, torch.nn.Linear | Conv1D):
        return False
    weight: Any = module.weight
    width = weight.shape[0] if isinstance(module, Conv1D) else weight.shape[1]
    generator = torch.Generator().manual_seed(0)
    given = torch.randn(1, 3, width, generator=generator).to(weight.device, weight.dtype)
    matrix = weight if isinstance(module, Conv1D) else weight.T
    with torch.no_grad():
        expected = given @ matrix + (0 if module.bias is None else module.bias)
        try:
            found = module(given)
        except (RuntimeError, TypeError, ValueError, IndexError):
            return False
    same = isinstance(found, torch.Tensor) and found.shape == expected.shape
    return same and bool((found - expected).abs().max() <= 1e-2 * expected.abs().max())


def _linears(model: PreTrainedModel) -> Iterator[_Linear]:
    """Every linear layer of the model, with what speaks against an adapter on it."""
    output, decoder = model.get_output_embeddings(), language_model(model)
    inside = {id(part) for part in decoder.modules()}
    parents = dict(model.named_modules())
    for name, found in parents.items():
        if isinstance(found, LoraLayer):
            module: Any = found.get_base_layer()
        elif isinstance(found, torch.nn.Linear | Conv1D):
            module = found
        else:
            continue
        above = _ancestors(name, parents)
        if not isinstance(module, torch.nn.Linear | Conv1D) or any(isinstance(part, LoraLayer) for _, part in above):
            continue  # stacked experts with an adapter, or what belongs to an adapter
        layer = _layer(above)
        place = _place(name, layer)
        if module is output:
            yield _Linear(name, _place(name, None), _OUTPUT, False)
        elif id(module) not in inside:
            yield _Linear(name, _place(name, None), _TOWER, False)
        elif layer is None:
            yield _Linear(name, place, _OUTSIDE, False)
        else:
            within = [(path.rpartition(".")[2], part) for path, part in above if len(path) > len(layer)]
            reason = _reason(module, name.rpartition(".")[2], within)
            yield _Linear(name, place, reason, reason in (_MAMBA, _CONVOLUTION) and place.endswith("in_proj"))


def _reason(module: Any, name: str, within: list[tuple[str, torch.nn.Module]]) -> str:
    """Why a linear layer of a decoder layer gets no adapter; `within` are the modules between that layer and it, by name."""
    parts = [part for part, _ in within] + [name]
    if any(_NOT_DENSE.search(part) for part in parts):
        return _EXPERTS if "experts" in parts else _OTHER
    classes = [type(part).__name__ for _, part in within] + [type(module).__name__]
    if any("Router" in kind for kind in classes) or any(_ROUTER.search(part) for part in parts):
        return _ROUTERS
    rows = module.weight.shape[1] if isinstance(module, Conv1D) else module.weight.shape[0]
    if _GATE.search(name) and rows == 1:
        return _ROUTERS
    for (_, above), own in zip(within, parts[1:], strict=True):  # a gate may also be a module that holds the linear layer
        if _GATE.search(own) and any("expert" in beside for beside, _ in above.named_children()):
            return _ROUTERS
    for _, part in within:
        if kind := _mixer(part):
            return kind
    return "" if is_plain_linear(module) else _CUSTOM


def _mixer(module: torch.nn.Module) -> str:
    """What a module is that mixes positions otherwise than by attention or linear attention; "" where it is not."""
    own = {name for name, _ in module.named_parameters(recurse=False)}
    convolves = any(isinstance(child, torch.nn.Conv1d) for child in module.children())
    if {"A_log", "D"} <= own or "mamba" in type(module).__name__.lower():
        return _MAMBA
    return _CONVOLUTION if convolves and "A_log" not in own and "dt_bias" not in own else ""


def _layer_of(name: str, model: torch.nn.Module) -> str | None:
    return _layer(_ancestors(name, dict(model.named_modules())))


def _ancestors(name: str, modules: Mapping[str, torch.nn.Module]) -> list[tuple[str, torch.nn.Module]]:
    parts = name.split(".")
    return [(path, modules[path]) for size in range(1, len(parts)) if (path := ".".join(parts[:size])) in modules]


def _layer(above: list[tuple[str, torch.nn.Module]]) -> str | None:
    """The name of the decoder layer that a module lies in: the first item of a list of modules, unless it is the module."""
    for (_, outer), (path, _) in pairwise(above):
        if isinstance(outer, torch.nn.ModuleList):
            return path
    return None


def _place(name: str, layer: str | None) -> str:
    rest = name if layer is None else name[len(layer) + 1 :]
    return ".".join(part for part in rest.split(".") if not part.isdigit())


def _listed(part: _Linear, family: Family) -> bool:
    return part.reason not in (_TOWER, _OUTPUT, _OUTSIDE) and part.place in family.targets
