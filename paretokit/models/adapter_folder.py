"""A folder that peft saved: an adapter on another model. The two merged are a model like any other.

The base is found by the name that stands in `adapter_config.json`, the adapter is read strictly, and both are merged on the
CPU in float32 and rounded once, so that the weights are the same on every machine. An adapter that cannot be merged, or
whose merged model does not give the same logits, is refused. Nothing is unpickled.
Imports: torch, transformers, peft, safetensors, `build`, `locate`, `lora`, `quiet`, `smollm2`, `errors`.
"""

import copy
import json
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel

from paretokit.errors import ModelError
from paretokit.models import build, smollm2
from paretokit.models.locate import locate
from paretokit.models.lora import underneath
from paretokit.models.quiet import quiet
from paretokit.models.targets import is_plain_linear
from paretokit.shapes import Float, Tensor

__all__ = ["CONFIG", "AdapterFolder", "adapter_folder", "read_merged", "tokenizer_folder"]

CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
_POLICY = "policy.json"
_ROWS = 64  # of a matrix that are worked on at a time
_NOISE = 1e-4  # of the spread of the logits; single precision rounds them by less
_REMEDY = "Merge it with peft's merge_and_unload(), save the result as a plain model, and load that."


class AdapterFolder(NamedTuple):
    """An adapter and the model it belongs to."""

    folder: Path
    base: Path  # the folder of the model; may hold an adapter in turn


def adapter_folder(folder: Path, *, above: tuple[Path, ...] = ()) -> AdapterFolder | None:
    """Return what is known of the adapter that peft saved in `folder`, None where there is none, or a policy of ours.

    Raises `ModelError` for a folder that holds a whole model as well, adapters in its sub-folders alone, a pickle, a kind of
    adapter that has no merged form, and a base that is not found. `above` are the adapters on the way here.
    """
    if not (folder / CONFIG).is_file():
        _check_below(folder)
        return None
    if (folder / _POLICY).is_file():
        return None
    whole = sorted(path.name for path in folder.glob("*.safetensors") if path.name != WEIGHTS)
    if (folder / "config.json").is_file() and whole:
        raise ModelError(
            f"model {str(folder)!r}: found a whole model ({whole[0]}) and a peft adapter ({CONFIG}), expected one of them. "
            f"Move {CONFIG} and {WEIGHTS} to a folder of their own to start from the adapter, or remove them to start from "
            "the model."
        )
    content = _content(folder)
    kind = content.get("peft_type")
    if not (folder / WEIGHTS).is_file():
        found = f"{PICKLED}, a pickle, which is never read" if (folder / PICKLED).is_file() else "no weights"
        raise ModelError(
            f"adapter {str(folder)!r}: found {found}; expected {WEIGHTS}. Save the adapter with "
            "save_pretrained(safe_serialization=True)."
        )
    if content.get("alora_invocation_tokens") or kind == "XLORA":
        raise ModelError(
            f"adapter {str(folder)!r}: found an adapter ({kind}) that depends on the text it reads, expected one that can be "
            "merged into the weights. Use its base model, or an adapter of another kind."
        )
    return AdapterFolder(folder, _base(folder, content, above=(*above, folder)))


def tokenizer_folder(found: AdapterFolder) -> Path:
    """Return the folder with the tokenizer: the adapter's own, where it has one, else that of its base."""
    if any((found.folder / name).exists() for name in build.VOCABULARIES):
        return found.folder
    below = adapter_folder(found.base)
    return found.base if below is None else tokenizer_folder(below)


def read_merged(found: AdapterFolder, *, device: torch.device, dtype: torch.dtype, attention: str) -> PreTrainedModel:
    """Return the base with the adapter merged into its weights; `ModelError` where the two do not fit each other."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    cpu = torch.device("cpu")
    below = adapter_folder(found.base, above=(found.folder,))
    if below is None:
        base = build.read_model(found.base, device=cpu, dtype=wide, attention=attention)
    else:
        base = read_merged(below, device=cpu, dtype=wide, attention=attention)
    with quiet(), torch.random.fork_rng(devices=[]), torch.no_grad():
        _prepare(base, found.folder)
        wrapped = _wrapped(base, found.folder)
        ids = _tokens(base)
        expected = wrapped(input_ids=ids, use_cache=False).logits
        for layer in [module for module in wrapped.modules() if isinstance(module, LoraLayer)]:
            _merge_in_order(layer)
        try:
            merged = cast(PreTrainedModel, cast(Any, wrapped).merge_and_unload(safe_merge=True))
        except Exception as error:  # each kind of adapter has errors of its own
            raise ModelError(f"adapter {str(found.folder)!r}: cannot be merged ({_line(error)}). {_REMEDY}") from error
        logits = merged(input_ids=ids, use_cache=False).logits
    if logits.shape != expected.shape or not bool((logits - expected).abs().max() <= _NOISE * expected.std()):
        raise ModelError(
            f"adapter {str(found.folder)!r}: cannot be merged exactly: the merged model gives other logits than base and "
            f"adapter do. {_REMEDY}"
        )
    return cast(Any, merged).to(device=device, dtype=dtype).eval()


def _content(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"found a {type(content).__name__}")
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path}: damaged ({_line(error)}), expected the JSON that peft wrote. Save the adapter again."
        ) from error
    return content


def _check_below(folder: Path) -> None:
    """Raise `ModelError` for a folder that is no model, but holds adapters in its sub-folders."""
    if (folder / "config.json").exists() or (folder / _POLICY).exists():
        return
    below = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
    if below:
        raise ModelError(
            f"model {str(folder)!r}: found no model, but adapters in its sub-folders {', '.join(below[:5])}; expected one "
            f"adapter. Pass {str(folder / below[0])!r}, for example."
        )


def _base(folder: Path, content: dict[str, Any], *, above: tuple[Path, ...]) -> Path:
    """The folder of the model that the adapter belongs to."""
    name, start = content.get("base_model_name_or_path"), f"adapter {str(folder)!r}: its base"
    remedy = f"Write the place of the base into base_model_name_or_path in {CONFIG}."
    if not isinstance(name, str) or not name:
        raise ModelError(f"{start} is not named (base_model_name_or_path is {name!r}), expected a folder or a hub id. {remedy}")
    given, beside = Path(name).expanduser(), folder / name
    revision = content.get("revision")
    if given.is_dir():
        base = given
    elif beside.is_dir():
        base = beside
    elif revision not in (None, "main"):
        raise ModelError(
            f"{start} {name!r} is wanted in the revision {revision!r}, expected the main one. Download that revision. {remedy}"
        )
    else:
        try:
            base = locate(name) or smollm2.folder()
        except ModelError as error:
            raise ModelError(
                f"{start} {name!r} is not found, neither from here nor beside the adapter. {error} {remedy}"
            ) from error
    base = base.resolve()
    if (base / _POLICY).is_file():
        raise ModelError(
            f"{start} {str(base)!r} is a saved policy, expected a plain model. Export that policy with Policy.export. {remedy}"
        )
    if any(base == other.resolve() for other in above):
        raise ModelError(f"{start} {str(base)!r} is the adapter itself, or one on the way to it; expected a model. {remedy}")
    return base


def _wrapped(base: PreTrainedModel, folder: Path) -> PeftModel:
    """The base with the adapter on it, all of whose weights were read."""
    try:
        config = PeftConfig.from_pretrained(str(folder))
        if config.is_prompt_learning:
            raise ModelError(
                f"adapter {str(folder)!r}: found {config.peft_type}, which adds to the prompt, expected an adapter that can be "
                "merged into the weights. Use its base model, or an adapter of another kind."
            )
        config.inference_mode = True
        wrapped = get_peft_model(base, config, adapter_name="default")
        result = wrapped.load_adapter(str(folder), adapter_name="default", torch_device="cpu")
    except ModelError:
        raise
    except Exception as error:  # the libraries raise many kinds; each means that the adapter does not fit
        raise ModelError(
            f"adapter {str(folder)!r}: does not fit its base ({_line(error)}). Expected the adapter of the model that "
            f"base_model_name_or_path in {CONFIG} names."
        ) from error
    missing, unexpected = list(result.missing_keys), _not_repeated(list(result.unexpected_keys), folder)
    if missing or unexpected:
        listed = "; ".join(f"{what} {keys[:3]}" for what, keys in (("missing", missing), ("unexpected", unexpected)) if keys)
        raise ModelError(
            f"adapter {str(folder)!r}: its weights do not fit its base: {listed}. Expected the adapter of the model that "
            f"base_model_name_or_path in {CONFIG} names."
        )
    return cast(PeftModel, wrapped.eval())


def _not_repeated(keys: list[str], folder: Path) -> list[str]:
    """The keys but those that peft writes twice: a module that is saved whole and is an embedding as well."""
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        held = set(file.keys())

        def repeated(key: str) -> bool:
            plain = key.replace(".modules_to_save.", ".")
            return plain != key and {key, plain} <= held and torch.equal(file.get_tensor(key), file.get_tensor(plain))

        return [key for key in keys if not repeated(key)]


def _prepare(base: PreTrainedModel, folder: Path) -> None:
    """Give the base as many rows of embeddings as the adapter brings, and part tied ones where it adapts one of them."""
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{folder / WEIGHTS}: cannot be read ({_line(error)}). Save the adapter again.") from error
    ends: dict[str, Any] = {"input": base.get_input_embeddings()}
    if (output := base.get_output_embeddings()) is not None:
        ends["output"] = output
    names = {kind: next(name for name, module in base.named_modules() if module is part) for kind, part in ends.items()}
    brought = {
        kind: shape[0]
        for kind, name in names.items()
        for key, shape in shapes.items()
        if key.endswith((f".{name}.weight", f".{name}.base_layer.weight"))
    }
    rows = ends["input"].weight.shape[0]
    tied = "output" in ends and ends["output"].weight is ends["input"].weight
    if wanted := set(brought.values()) - {rows}:
        needed = {"input"} if tied else set(ends)
        if len(set(brought.values())) > 1 or not needed <= set(brought):
            found, expected = (" and ".join(sorted(each)) for each in (brought, needed))
            raise ModelError(
                f"adapter {str(folder)!r}: found embeddings of {sorted(wanted)[0]} rows for the {found} alone, expected all "
                f"that its base with {rows} rows needs ({expected}). Save the adapter with save_embedding_layers=True."
            )
        base.resize_token_embeddings(wanted.pop(), mean_resizing=False)
    adapted = any(f".{name}." in key for name in names.values() for key in shapes)
    content = _content(folder)
    if tied and adapted and not (content.get("ensure_weight_tying") or content.get("trainable_token_indices")):
        apart: Any = base.get_output_embeddings()
        apart.weight = torch.nn.Parameter(apart.weight.detach().clone(), requires_grad=False)
        base.config = copy.deepcopy(base.config)
        base.config.get_text_config().tie_word_embeddings = base.config.tie_word_embeddings = False


def _merge_in_order(layer: Any) -> None:
    """Merge a plain LoRA layer, adding up in an order that is the same on every machine; others are left to peft."""
    (name,) = layer.active_adapters
    module, stacked = underneath(layer), isinstance(layer, ParamWrapper)
    weight: Any
    if stacked:
        weight = layer.get_param()
    elif name in layer.lora_A and is_plain_linear(module) and name not in layer.lora_variant and not layer.lora_bias[name]:
        weight = module.weight
    else:
        return
    down, up = layer.lora_A[name].weight.to(weight.dtype), layer.lora_B[name].weight.to(weight.dtype) * layer.scaling[name]
    if stacked and layer.num_experts > 1:
        downs, ups = down.unflatten(0, (layer.num_experts, -1)), up.unflatten(1, (-1, layer.num_experts)).permute(2, 0, 1)
        targets = weight.data if layer._did_swap_in_out_features else weight.data.transpose(1, 2)
        parts = list(zip(targets, ups, downs, strict=True))
    else:
        parts = [(weight.data.T if layer.fan_in_fan_out else weight.data, up, down)]
    for target, left, right in parts:
        _add_product(target, left, right)
    layer.lora_B[name].weight.zero_()


def _add_product(target: Float[Tensor, "o i"], up: Float[Tensor, "o r"], down: Float[Tensor, "r i"]) -> None:
    """target += up down, with the sum over the rank taken in order: matrix products differ from machine to machine."""
    for start in range(0, target.shape[0], _ROWS):
        block = slice(start, start + _ROWS)
        total = torch.zeros_like(target[block], memory_format=torch.contiguous_format)
        for column, row in zip(up[block].unbind(1), down.unbind(0), strict=True):
            total += column[:, None] * row
        target[block] += total


def _tokens(model: PreTrainedModel) -> Tensor:
    rows = int(cast(Any, model.get_input_embeddings()).weight.shape[0])
    return torch.randint(0, rows, (1, 12), generator=torch.Generator().manual_seed(0))


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
