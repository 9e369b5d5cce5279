"""A small random model of the same class and configuration as a given one: few layers, each kind among them, and narrow.

What a class does with masks, positions and states is asked of it in float32 on the CPU, where it costs little, where weights
can be drawn so that nothing hides behind a zero, and where a window is short enough to be passed. Imports: torch,
transformers, `quiet`.
"""

import copy
import json
import math
import re
from itertools import product
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from paretokit.models.compute import out_of_memory
from paretokit.models.quiet import quiet

__all__ = ["WINDOW", "Asked", "Twin", "redraw", "small_twin", "windows"]

WINDOW = 16  # tokens that a layer of a twin sees where its window is limited at all
VOCABULARY = 96
_MOST = 12_000_000  # weights of a twin
_WIDTHS = re.compile(
    r"hidden_size|intermediate_size|heads|n_head|n_embd|n_inner|d_model|d_ssm|ffn|lru_width|^num_query_groups$"
)
_NOT_WIDTHS = re.compile(r"head_dim|layers|per_layer|lora|kernel|hidden_act")
_LISTED = re.compile(r"layer|block|pattern|mode|rope|indices|idxs|ids", re.IGNORECASE)
_WINDOWS = re.compile(
    r"^(sliding_window|sliding_window_size|attention_chunk_size|attention_window_size|window_size|local_attention)$"
)
_DENSE = re.compile(r"intermediate|ffn|n_inner")
_LIMITS = [  # of numbers that are no widths
    (re.compile(r"^(mamba_chunk_size|chunk_size|block_size)$"), 8),
    (re.compile(r"^n(um)?_.*experts$"), 8),
    (re.compile(r"experts_per_tok|router_topk|top_?k$"), 2),
    (re.compile(r"^(mamba_)?n_?groups$|^n_group$|^num_expert_group$|^topk_group$"), 1),
    (re.compile(r"token_id$"), VOCABULARY - 1),
]


_BESIDE = ("dtype", "torch_dtype", "_name_or_path", "architectures", "transformers_version")  # of no matter to a small model


class Asked:
    """A model of which something is asked that its class and configuration decide; equal to others that share them.

    What was found out can be remembered by it: it lets go of the model when that is `taken`.
    """

    def __init__(self, model: Any) -> None:
        whole = model.get_base_model() if hasattr(model, "get_base_model") else model
        told = {name: value for name, value in whole.config.to_dict().items() if name not in _BESIDE}
        self._model: Any = model
        self._key = (type(whole), whole.config._attn_implementation, json.dumps(told, sort_keys=True, default=str))

    def taken(self) -> Any:
        """Return the model, once."""
        model, self._model = self._model, None
        return model

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Asked) and self._key == other._key


class Twin(NamedTuple):
    """A small random model, or why there is none."""

    model: PreTrainedModel | None
    reason: str


def small_twin(model: Any) -> Twin:
    """Return a small random model of the class of `model`, on the CPU in float32, in evaluation mode and not to be trained.

    It has the first layers of the configuration, so many that there is one of each kind; its width is divided as far as heads
    allow, experts are few, and windows are `WINDOW` tokens long. Where the class cannot be made so, the reason is given.
    """
    whole: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    found: Any = whole.config.get_text_config()
    if not isinstance(getattr(found, "num_hidden_layers", None), int):
        return Twin(None, "its configuration does not count layers")
    if getattr(found, "is_heterogeneous", False):
        return Twin(None, "its layers have configurations of their own")
    reason, few = "its class makes no model of a configuration alone", _layers(whole, found)
    more = min(2 * few, found.num_hidden_layers)
    ways = product(dict.fromkeys((few, more)), (True, False), (True, False), _divisors(found))
    for layers, narrow, afresh, divisor in ways:
        try:
            made = _made(whole, _shrunk(found, layers=layers, divisor=divisor, narrow=narrow, afresh=afresh))
        except Exception as error:  # a configuration that a class does not take may fail in any way
            if out_of_memory(error):
                raise
            reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:100]}"
            continue
        if made is not None:
            return Twin(made, "")
        reason = f"it would have more than {_MOST:,} weights"
    return Twin(None, reason)


@torch.no_grad()
def redraw(model: torch.nn.Module, *, seed: int, gain: float = 1.0) -> None:
    """Draw every weight anew, in place, so large that each matters: what starts at zero, or next to it, would hide a leak.

    Matrices are normal with a standard deviation of `gain` by the root of their inputs; vectors and scalars (norms, biases,
    gates, decay rates and step sizes of a state) are moved by a third of a normal deviate from where they start.
    """
    generator = torch.Generator().manual_seed(seed)
    embeddings = {id(part.weight) for part in model.modules() if isinstance(part, torch.nn.Embedding)}
    for weight in model.parameters():
        drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float32).to(weight)
        if weight.ndim < 2:
            weight += drawn / 3
        else:
            weight.copy_(drawn if id(weight) in embeddings else drawn * gain / math.sqrt(weight[0].numel() / _batch(weight)))


def _batch(weight: torch.Tensor) -> int:
    """Of a stack of matrices, [experts, in, out], how many numbers of a slice belong to other inputs."""
    return min(weight.shape[1:]) if weight.ndim == 3 and weight.shape[1] > 1 else 1


def windows(config: Any) -> dict[str, int]:
    """Return what limits how far a layer of the configuration sees, by name."""
    if getattr(config, "is_heterogeneous", False):
        each = [windows(layer) for layer in config.per_layer_config]
        return {name: min(one[name] for one in each if name in one) for found in each for name in found}
    if getattr(config, "use_sliding_window", True) is False:
        return {}
    kinds = getattr(config, "layer_types", None)
    if isinstance(kinds, (list, tuple)) and set(kinds) <= {"full_attention", "attention", "mlp", "moe"}:
        return {}
    listed = {name: value for name, value in _values(config).items() if _WINDOWS.match(name)}
    return {name: value for name, value in listed.items() if isinstance(value, int) and value > 0}


def _values(config: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(config).items() if not name.startswith("_")}


def _divisors(config: Any) -> list[int]:
    """By what widths may be divided, the largest first: two heads are left where there are two."""
    values = _values(config)
    heads = next((values[name] for name in ("num_attention_heads", "n_head", "num_heads") if values.get(name)), None)
    if heads is None:
        return [32, 8, 1]
    whole = [divisor for divisor in range(1, heads + 1) if heads % divisor == 0 and heads // divisor >= min(heads, 2)]
    return sorted({max(whole), *whole[len(whole) // 2 : len(whole) // 2 + 1], 1}, reverse=True)


def _layers(model: Any, config: Any) -> int:
    """How many of the first layers hold one of each kind."""
    count = config.num_hidden_layers
    stacks = [part for part in model.modules() if isinstance(part, torch.nn.ModuleList) and len(part) == count]
    shapes = [tuple(type(inner).__name__ for inner in layer.modules()) for layer in stacks[0]] if stacks else [()] * count
    kinds: list[Any] = list(shapes)
    for value in _values(config).values():
        if isinstance(value, (list, tuple)) and len(value) == count:
            kinds = [(*before, str(one)) for before, one in zip(kinds, value, strict=True)]
    return max(min(count, 2), 1 + max(kinds.index(kind) for kind in kinds))


def _shrunk(config: Any, *, layers: int, divisor: int, narrow: bool, afresh: bool) -> Any:
    """A copy of the configuration with fewer layers, and widths that are divided alike.

    `narrow`: dense layers have a width of their own, which need not be that of others divided. `afresh`: what a configuration
    computes of the given values is computed again.
    """
    small, count, limits = copy.deepcopy(config), config.num_hidden_layers, windows(config)
    for name, value in _values(config).items():
        if name in limits:
            _set(small, name, min(value, WINDOW))
        elif isinstance(value, (list, tuple)):
            if len(value) == count:
                _set(small, name, value[:layers])
            elif value and all(isinstance(one, int) for one in value) and _LISTED.search(name):
                _set(small, name, [one for one in value if one < layers])
        elif isinstance(value, int) and not isinstance(value, bool):
            _set(small, name, _smaller(name, value, divisor=divisor, narrow=narrow))
    _set(small, "num_hidden_layers", layers)
    return type(small)(**small.to_dict()) if afresh else small


def _smaller(name: str, value: int, *, divisor: int, narrow: bool) -> int:
    """A number of a configuration, in a small one."""
    if narrow and _DENSE.search(name):
        return min(value, 64)
    if _WIDTHS.search(name) and not _NOT_WIDTHS.search(name):
        return max(value // divisor, min(value, 1))
    if name.startswith("vocab_size"):
        return min(value, VOCABULARY)
    limit = next((limit for pattern, limit in _LIMITS if pattern.search(name)), value)
    return min(value, limit)


def _set(config: Any, name: str, value: Any) -> None:
    try:
        setattr(config, name, value)
    except AttributeError:  # it is computed from others
        return


def _made(whole: Any, config: Any) -> PreTrainedModel | None:
    """A model of this configuration, checked on two tokens; None where it is too large."""
    config.dtype = torch.float32
    single = whole.config.get_text_config() is whole.config
    chosen = whole.config._attn_implementation

    def build() -> PreTrainedModel:
        if single:
            return type(whole)(config)
        return AutoModelForCausalLM.from_config(config, attn_implementation=chosen)

    config._attn_implementation = chosen
    config._experts_implementation = "eager"  # torch has no grouped product in float64
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        with torch.device("meta"):
            weights = sum(weight.numel() for weight in build().parameters())
        if weights > _MOST:
            return None
        model = build().float().eval().requires_grad_(False)
        with torch.no_grad():
            model(input_ids=torch.tensor([[1, 2, 3]]), use_cache=False)
    return model
