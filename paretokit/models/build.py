"""From a folder to a policy: read the model strictly, put it on its device, and mark what may be trained."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from paretokit.errors import ConfigError, ModelError, suggestion
from paretokit.models import heads as action_heads
from paretokit.models import lora, saving
from paretokit.models.bare import beside_classifier, is_bare
from paretokit.models.base import Base
from paretokit.models.heads import Heads
from paretokit.models.policy import Policy
from paretokit.models.projection import own_head, projection
from paretokit.models.quiet import quiet
from paretokit.models.targets import language_parameters
from paretokit.templates import chat_format, today

__all__ = ["assemble", "pick_device", "pick_dtype", "read_model", "read_tokenizer"]

ADAPTERS = ("lora", "full", "none")
ATTENTIONS = ("sdpa", "eager")
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
_TOWERS = re.compile(r"(^|\.)(vision|visual|image|video|audio|speech|multi_modal|multimodal)(_|\.)")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}


def pick_device(device: str | torch.device) -> torch.device:
    """Return the device asked for; `"auto"` is the GPU where CUDA has one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {str(device)!r}: cannot be used here ({reason}). Use 'auto' or 'cpu'.") from error


def pick_dtype(dtype: str | torch.dtype, *, device: torch.device, adapter: str) -> torch.dtype:
    """Return the dtype of the base; `"auto"` is bfloat16 for a base that stays frozen on a GPU, else float32."""
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" and adapter != "full" else torch.float32
    found = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if found is None or found not in DTYPES.values():
        raise ConfigError(f"dtype {dtype!r}: expected 'auto' or one of {', '.join(DTYPES)}.{suggestion(str(dtype), DTYPES)}")
    if adapter == "full" and found == torch.bfloat16:
        raise ConfigError(
            "dtype 'bfloat16' with adapter='full': what is trained has to be float32. Use dtype='float32', or "
            "adapter='lora', whose base may be bfloat16."
        )
    return found


def check_choices(
    *, adapter: str | LoraConfig, attention: str, heads: Sequence[str] | None = None, head_rank: int | None = None
) -> None:
    """Raise `ConfigError` for an adapter or an attention that does not exist, and for heads that cannot be."""
    if not isinstance(adapter, LoraConfig) and adapter not in ADAPTERS:
        raise ConfigError(
            f"adapter {adapter!r}: expected one of {', '.join(ADAPTERS)}, or a peft LoraConfig."
            f"{suggestion(str(adapter), ADAPTERS)}"
        )
    if attention not in ATTENTIONS:
        raise ConfigError(
            f"attention {attention!r}: expected one of {', '.join(ATTENTIONS)}.{suggestion(attention, ATTENTIONS)}"
        )
    if heads is not None:
        action_heads.check_names(heads)
    if head_rank is not None and (isinstance(head_rank, bool) or not isinstance(head_rank, int) or head_rank < 1):
        raise ConfigError(f"head_rank: found {head_rank!r}, expected a whole number >= 1, or None for full heads.")


def read_model(folder: Path, *, device: torch.device, dtype: torch.dtype, attention: str) -> PreTrainedModel:
    """Return the model in `folder`, complete and exact; `ModelError` where it is not.

    Of a classifier or a model without a head the backbone is read, which has no output projection. `attention="sdpa"` becomes
    eager attention where the family cannot do without (Gemma 2, for its soft-capping). A model that also sees or hears is read
    whole, or, where its family has a class for text alone, without its towers.
    """
    bare = is_bare(folder)
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            config: Any = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            kind = AutoModel if bare else _class_for(config)
            loaded: Any = kind.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                attn_implementation="eager" if attention == "eager" else None,  # None: sdpa where the family has it
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except Exception as error:  # the libraries raise many kinds; each means that the model is unfit
        raise ModelError(
            f"model {str(folder)!r}: cannot be read ({_first_line(error)}). Expected a transformers folder of a causal "
            "language model with config.json and safetensors weights."
        ) from error
    model, info = loaded
    problems = {kind: sorted(map(str, info[kind])) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if bare:
        problems["unexpected_keys"] = beside_classifier(model, problems["unexpected_keys"])
    elif config.get_text_config() is not config and model.config.get_text_config() is model.config:  # the text half alone
        problems["unexpected_keys"] = [name for name in problems["unexpected_keys"] if not _TOWERS.search(name)]
    if any(problems.values()):
        listed = "; ".join(f"{kind.replace('_', ' ')} {names[:3]}" for kind, names in problems.items() if names)
        raise ModelError(
            f"model {str(folder)!r}: weights and configuration do not fit each other: {listed}. "
            "Expected exactly the weights of the model that config.json describes."
        )
    return model.to(device)


def _class_for(config: Any) -> Any:
    """The class that reads a model of this configuration: for text, or else for text beside images."""
    seeing = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING and type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING
    return AutoModelForImageTextToText if seeing else AutoModelForCausalLM


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the fast tokenizer in `folder`; `ModelError` where there is none."""
    if not any((folder / name).exists() for name in VOCABULARIES):  # transformers would make one that knows no token
        raise ModelError(
            f"tokenizer in {str(folder)!r}: found no file with a vocabulary, expected tokenizer.json. "
            "Save the tokenizer beside the model."
        )
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # as above
        raise ModelError(f"tokenizer in {str(folder)!r}: cannot be read ({_first_line(error)}).") from error
    if not tokenizer.is_fast:
        raise ModelError(
            f"tokenizer in {str(folder)!r}: found {type(tokenizer).__name__}, expected a fast one. "
            "Save it once with AutoTokenizer so that the folder holds tokenizer.json."
        )
    return tokenizer


def assemble(
    read: Callable[[], PreTrainedModel],
    tokenizer: PreTrainedTokenizerBase,
    *,
    name: str,
    description: str | None = None,
    source: str | None = None,
    adapter: str | LoraConfig,
    heads: Sequence[str] | None = None,
    head_rank: int | None = 16,
    seed: int,
    chat_options: Mapping[str, Any] | None = None,
    date: str | None = None,
    thoughts: bool = False,
) -> Policy:
    """Return a policy on the model that `read` gives: the base called `name`, with what `adapter` says trainable, and a head
    for each of `heads`. `chat_options`, `date` and `thoughts` are those of
    `load_policy`."""
    chat = chat_format(tokenizer, options=chat_options, date=date, thoughts=thoughts)
    base = Base(name, read, description=description or name)
    model = read().eval().requires_grad_(False)
    if adapter == "full":
        for weight in language_parameters(model).values():
            weight.requires_grad_(True)
    rows = cast(torch.nn.Embedding, model.get_input_embeddings()).weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(
            f"model {name!r}: its tokenizer has {len(tokenizer)} tokens, but its embedding only {rows}. "
            "Use the tokenizer that belongs to the model."
        )
    trained = torch.float64 if model.dtype == torch.float64 else torch.float32
    bank = None if heads is None else _heads(model, heads, rank=head_rank, dtype=trained, seed=seed, base=base)
    kind = "lora" if isinstance(adapter, LoraConfig) else adapter
    if kind == "lora":
        config = adapter if isinstance(adapter, LoraConfig) else lora.default_config()
        model = lora.attach(model, config, dtype=trained, generator=torch.Generator().manual_seed(seed))
    pinned = replace(chat, date=date or today(), by_clock=date is None, ends=_ends(model))
    return Policy(model, tokenizer, chat=pinned, base=base, source=source or name, adapter=kind, heads=bank)


def _ends(model: Any) -> frozenset[int]:
    """The ids at which the model's own generation_config says that a text ends."""
    found = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return frozenset() if found is None else frozenset(found if isinstance(found, (list, tuple)) else [found])


def _heads(
    model: PreTrainedModel, names: Sequence[str], *, rank: int | None, dtype: torch.dtype, seed: int, base: Base
) -> Heads:
    """Heads on the model's output projection, which is frozen; where it is tied to a trainable embedding, on a copy of it."""
    base.projection = projection(model)
    action_heads.check_projection(base.projection, name=base.name)
    own = own_head(model, base.projection).detach()
    embedding = cast(torch.nn.Embedding, model.get_input_embeddings()).weight
    for part in cast(torch.nn.Module, model.get_output_embeddings()).parameters():
        if part is not embedding:  # also the bias of a tied one
            part.requires_grad_(False)
        elif part.requires_grad:
            own = own._replace(weight=own.weight.clone())
    made = Heads(own, rank=rank, dtype=dtype)
    for name in names:
        made.add(name, seed=seed)
    return made


def restore(policy: Policy, *, folder: Path, saved: saving.SavedPolicy) -> Policy:
    """Return the policy with the trained weights that were saved in `folder`."""
    state = saving.read_state(folder, saved)
    saving.check_state(state, policy.trainable, place=str(folder))
    policy.load_trainable_state(state)
    return policy


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
