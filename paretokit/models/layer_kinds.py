"""How the layers of a model let positions of a row depend on each other, told by its structure.

Attention asks a mask which positions a position sees. A recurrent layer (linear attention, a state-space layer, RWKV, xLSTM)
hands a state from position to position, and a convolution looks at the columns before it: transformers gives neither of them a
mask of ours, without an error. A sparse attention chooses among all positions of its row, which a second response in the row
changes. What a layer is stands in the configuration, and again in the classes and weights of its modules, since not every
configuration tells. Imports: torch.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

__all__ = ["Kinds", "layer_kinds"]

ATTENDING = {"full_attention", "sliding_attention", "chunked_attention", "attention"}
POINTWISE = {"moe", "mlp", "dense", "sparse"}  # one position at a time
CARRYING = {"linear_attention", "hybrid", "hybrid_sliding", "mamba", "mamba2", "recurrent", "conv"}
CHOOSING = {
    "indexed_attention",
    "compressed_sparse_attention",
    "heavily_compressed_attention",
    "minimax_m3_sparse",
    "deepseek_sparse_attention",
    "qwen_sparse_attention",
}
_LETTERS = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}  # of a hybrid_override_pattern
_LISTS = ("layer_types", "layers_block_type", "block_types")
_CARRIES = re.compile(  # of a class name in words with a line between them
    r"(^|_)(x?mamba\d?|ssm|ssd|state_?space|short_?conv|long_?conv|causal_?conv|delta_?net|delta_?rule|lightning|recurren\w*|rwkv\d?"
    r"|x?_?lstm|gru|hyena|retention|retnet|griffin|rg_?lru|linear_?attention|linear_?attn|gated_?linear|kda|s4d?|s5|s6|hgrn)(\d|_|$)"
)
_CHOOSES = re.compile(r"(^|_)(indexer|sparse_attention|compressed_\w*attention|compressor|lsh_\w*attention)(_|$)")
_STATES = re.compile(r"^(A_log|A|dt_bias|dt_proj|x_proj|time_decay|time_mix\w*|decay|slope_rate)$")
_OUTER = re.compile(r"(Model|LM|Layer|Block|Cache|Norm|MLP)$")  # classes that hold or accompany what is meant
_TOWERS = re.compile(r"(^|\.)(vision|visual|audio|image|speech|multi_modal|mm_)\w*", re.IGNORECASE)
_KNOWN = ("torch.", "transformers.", "peft.")


class Kinds(NamedTuple):
    """What the layers of a model were found to be, by name; none of a kind that there is not."""

    carrying: tuple[str, ...]  # what hands a state, or neighbours, along the row past any mask
    choosing: tuple[str, ...]  # what chooses among all positions of the row
    unknown: tuple[str, ...]  # kinds in the configuration of which nothing is known
    foreign: tuple[str, ...]  # classes of modules that are not those of torch, transformers or peft

    @property
    def attends(self) -> bool:
        """Whether positions meet in attention alone, as far as the structure tells."""
        return not any(self)

    @property
    def reason(self) -> str:
        """Why a mask does not keep two responses of a row apart; "" where the structure does not say so.

        >>> Kinds(("conv",), (), (), ()).reason
        'its layers of the kind conv carry what comes before along the row, past any mask'
        """
        if self.carrying:
            return f"its layers of the kind {', '.join(self.carrying)} carry what comes before along the row, past any mask"
        if self.choosing:
            return f"its layers of the kind {', '.join(self.choosing)} choose among all positions of the row"
        if self.unknown:
            return f"its configuration names layers of a kind that is not known ({', '.join(self.unknown)})"
        return ""


def layer_kinds(model: torch.nn.Module, config: Any) -> Kinds:
    """Return how the layers of a model let positions meet; `config` is that of its text model.

    Layers that see no text, those of a vision or audio tower, are left out.
    """
    carrying, choosing, unknown = (dict[str, None]() for _ in range(3))
    for kind in _configured(config):
        if kind in CARRYING:
            carrying[kind] = None
        elif kind in CHOOSING:
            choosing[kind] = None
        elif kind not in ATTENDING | POINTWISE:
            unknown[kind] = None
    foreign, carriers, choosers = (dict[str, None]() for _ in range(3))
    for module in _of_text(model):
        name = type(module).__name__
        words = _words(name)
        if not type(module).__module__.startswith(_KNOWN):
            foreign[name] = None
        if _convolves(module) or isinstance(module, torch.nn.RNNBase) or _CARRIES.search(words) or _has_states(module):
            carriers[name] = None
        elif _CHOOSES.search(words):
            choosers[name] = None
    # where the configuration has said it, by its own name
    found = carrying or _inner(carriers), choosing or _inner(choosers), unknown, foreign
    return Kinds(*map(tuple, found))


def _inner(names: dict[str, None]) -> list[str]:
    """Of these classes those that are meant, the first one of them."""
    return sorted(names, key=lambda name: bool(_OUTER.search(name)))[:1]


def _words(name: str) -> str:
    """A class name in words.

    >>> _words("Lfm2ShortConv"), _words("GptOssModel"), _words("xLSTMBlock")
    ('lfm2_short_conv', 'gpt_oss_model', 'x_lstm_block')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _configured(config: Any) -> list[str]:
    """The kinds of layers that a configuration names, each once."""
    found: dict[str, None] = {}
    for name in _LISTS:
        value = getattr(config, name, None)
        if isinstance(value, (list, tuple)):
            found |= dict.fromkeys(str(kind) for kind in value)
    pattern = getattr(config, "hybrid_override_pattern", None)
    if isinstance(pattern, str):
        found |= dict.fromkeys(_LETTERS.get(letter, letter) for letter in pattern)
    return list(found)


def _of_text(model: torch.nn.Module) -> Iterator[torch.nn.Module]:
    for name, module in model.named_modules():
        if not _TOWERS.search(name):
            yield module


def _convolves(module: torch.nn.Module) -> bool:
    kernel = getattr(module, "kernel_size", (1,))
    return isinstance(module, torch.nn.modules.conv._ConvNd) and max(kernel) > 1


def _has_states(module: torch.nn.Module) -> bool:
    own = (*module._parameters, *module._buffers, *module._modules)
    return any(_STATES.match(name) for name in own)
