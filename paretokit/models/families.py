"""The families of models that paretokit is tested on, and which of their linear layers LoRA adapts by default.

The list is a record, not a fence: a model of any other family is adapted by structure (`targets`). Each entry is tested on
a tiny random model: it is loaded, trained for a step, saved, read again and exported, with equal log-probabilities.
Imports: the standard library.
"""

from typing import Any, NamedTuple

__all__ = ["FAMILIES", "Family", "family_of", "table"]


class Family(NamedTuple):
    """What is known of a family of models.

    `targets` are places inside a decoder layer, without layer numbers, such as `self_attn.q_proj`.
    """

    name: str
    model_types: tuple[str, ...]  # as in config.json; of the text model, too, where the published one also sees or hears
    example: str  # a checkpoint on the hub
    targets: tuple[str, ...]
    note: str = ""  # what is special: layers that get no adapter, how logits are made, what is loaded


def _under(place: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{place}.{name}" for name in names)


_QKVO = _under("self_attn", "q_proj", "k_proj", "v_proj", "o_proj")
_GATED = ("gate_proj", "up_proj", "down_proj")
_MLP = _under("mlp", *_GATED)
_PLAIN = (*_QKVO, *_MLP)
_DELTA = _under("linear_attn", "in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj")
_LATENT = _under("self_attn", "q_proj", "q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj")
_SHARED = _under("mlp.shared_expert", *_GATED)
_SHARED_MANY = _under("mlp.shared_experts", *_GATED)
_LFM = (*_under("self_attn", "q_proj", "k_proj", "v_proj", "out_proj"), *_under("feed_forward", "w1", "w2", "w3"))
_EXPERTS = "routed experts and their router are left alone"
_SEES = "its vision tower is frozen"

FAMILIES = (
    Family("Llama 2 and 3", ("llama",), "meta-llama/Llama-3.2-1B-Instruct", _PLAIN),
    Family(
        "Llama 4",
        ("llama4_text", "llama4"),
        "meta-llama/Llama-4-Scout-17B-16E-Instruct",
        (*_QKVO, *_under("feed_forward", *_GATED), *_under("feed_forward.shared_expert", *_GATED)),
        f"{_EXPERTS}; of the published model the text half is loaded",
    ),
    Family("Qwen2", ("qwen2",), "Qwen/Qwen2.5-1.5B-Instruct", _PLAIN),
    Family("Qwen2 MoE", ("qwen2_moe",), "Qwen/Qwen1.5-MoE-A2.7B-Chat", (*_PLAIN, *_SHARED), _EXPERTS),
    Family("Qwen3", ("qwen3",), "Qwen/Qwen3-0.6B", _PLAIN),
    Family("Qwen3 MoE", ("qwen3_moe",), "Qwen/Qwen3-30B-A3B", _PLAIN, _EXPERTS),
    Family(
        "Qwen3-Next",
        ("qwen3_next",),
        "Qwen/Qwen3-Next-80B-A3B-Instruct",
        (*_PLAIN, *_under("linear_attn", "in_proj_qkvz", "in_proj_ba", "out_proj"), *_SHARED),
        f"linear attention in most layers; {_EXPERTS}",
    ),
    Family(
        "Qwen3.5 and later",
        ("qwen3_5_text", "qwen3_5"),
        "Qwen/Qwen3.5-4B",
        (*_PLAIN, *_DELTA),
        "linear attention in most layers; of the published model the text half is loaded",
    ),
    Family(
        "Qwen3.5 MoE",
        ("qwen3_5_moe_text", "qwen3_5_moe"),
        "Qwen/Qwen3.6-35B-A3B",
        (*_QKVO, *_DELTA, *_SHARED),
        f"linear attention in most layers; {_EXPERTS}; of the published model the text half is loaded",
    ),
    Family("Gemma", ("gemma",), "google/gemma-2b-it", _PLAIN),
    Family("Gemma 2", ("gemma2",), "google/gemma-2-2b-it", _PLAIN, "logits are soft-capped"),
    Family("Gemma 3", ("gemma3_text", "gemma3"), "google/gemma-3-1b-it", _PLAIN, f"where it sees, {_SEES}"),
    Family(
        "Gemma 3n",
        ("gemma3n_text", "gemma3n"),
        "google/gemma-3n-E2B-it",
        _PLAIN,
        "logits are soft-capped; per-layer embeddings, AltUp and LAuReL are left alone",
    ),
    Family(
        "Gemma 4",
        ("gemma4_text", "gemma4"),
        "google/gemma-4-E2B-it",
        _PLAIN,
        f"logits are soft-capped; per-layer embeddings and routed experts are left alone; {_SEES}",
    ),
    Family("Mistral", ("mistral",), "mistralai/Mistral-7B-Instruct-v0.3", _PLAIN),
    Family("Ministral 3", ("ministral3",), "mistralai/Ministral-3-3B-Instruct-2512", _PLAIN),
    Family("Mistral Small 3", ("mistral3",), "mistralai/Mistral-Small-3.1-24B-Instruct-2503", _PLAIN, f"sees; {_SEES}"),
    Family("Mixtral", ("mixtral",), "mistralai/Mixtral-8x7B-Instruct-v0.1", _QKVO, _EXPERTS),
    Family(
        "Phi 3 and 4",
        ("phi3",),
        "microsoft/Phi-4-mini-instruct",
        (*_under("self_attn", "qkv_proj", "o_proj"), *_under("mlp", "gate_up_proj", "down_proj")),
    ),
    Family(
        "Phi",
        ("phi",),
        "microsoft/phi-2",
        (*_under("self_attn", "q_proj", "k_proj", "v_proj", "dense"), *_under("mlp", "fc1", "fc2")),
    ),
    Family("Phi 3.5 MoE", ("phimoe",), "microsoft/Phi-3.5-MoE-instruct", _QKVO, _EXPERTS),
    Family("Granite 3", ("granite",), "ibm-granite/granite-3.3-2b-instruct", _PLAIN, "logits are divided"),
    Family(
        "Granite 3 MoE", ("granitemoe",), "ibm-granite/granite-3.1-1b-a400m-instruct", _QKVO, f"logits are divided; {_EXPERTS}"
    ),
    Family(
        "Granite 4",
        ("granitemoehybrid",),
        "ibm-granite/granite-4.0-h-micro",
        (*_QKVO, *_under("shared_mlp", "input_linear", "output_linear")),
        f"logits are divided; Mamba layers are left alone; {_EXPERTS}",
    ),
    Family("Cohere", ("cohere",), "CohereLabs/c4ai-command-r-v01", _PLAIN, "logits are multiplied"),
    Family("Cohere 2", ("cohere2",), "CohereLabs/c4ai-command-r7b-12-2024", _PLAIN, "logits are multiplied"),
    Family("OLMo 2", ("olmo2",), "allenai/OLMo-2-0425-1B-Instruct", _PLAIN),
    Family("OLMo 3", ("olmo3",), "allenai/Olmo-3-7B-Instruct", _PLAIN),
    Family(
        "OLMo hybrid",
        ("olmo_hybrid",),
        "allenai/Olmo-Hybrid-7B",
        (*_PLAIN, *_under("linear_attn", "q_proj", "k_proj", "v_proj", "a_proj", "b_proj", "g_proj", "o_proj")),
        "linear attention in most layers",
    ),
    Family("OLMoE", ("olmoe",), "allenai/OLMoE-1B-7B-0125-Instruct", _QKVO, _EXPERTS),
    Family("SmolLM3", ("smollm3",), "HuggingFaceTB/SmolLM3-3B", _PLAIN),
    Family("gpt-oss", ("gpt_oss",), "openai/gpt-oss-20b", _QKVO, f"attention sinks; {_EXPERTS}"),
    Family("GLM-4", ("glm4",), "zai-org/GLM-4-9B-0414", (*_QKVO, *_under("mlp", "gate_up_proj", "down_proj"))),
    Family("GLM-4 MoE", ("glm4_moe",), "zai-org/GLM-4.5-Air", (*_PLAIN, *_SHARED_MANY), _EXPERTS),
    Family(
        "GLM-4.7-Flash",
        ("glm4_moe_lite",),
        "zai-org/GLM-4.7-Flash",
        (*_LATENT, *_MLP, *_SHARED_MANY),
        f"latent attention; {_EXPERTS}",
    ),
    Family(
        "DeepSeek V3",
        ("deepseek_v3",),
        "deepseek-ai/DeepSeek-V3",
        (*_LATENT, *_MLP, *_SHARED_MANY),
        f"latent attention; {_EXPERTS}",
    ),
    Family(
        "LFM2",
        ("lfm2",),
        "LiquidAI/LFM2-1.2B",
        _LFM,
        "convolution layers are left alone",
    ),
    Family("LFM2 MoE", ("lfm2_moe",), "LiquidAI/LFM2-8B-A1B", _LFM, f"convolution layers are left alone; {_EXPERTS}"),
    Family(
        "Falcon-H1",
        ("falcon_h1",),
        "tiiuae/Falcon-H1-0.5B-Instruct",
        (*_QKVO, *_under("feed_forward", *_GATED)),
        "Mamba branches are left alone; logits are multiplied",
    ),
    Family(
        "Nemotron 3",
        ("nemotron_h",),
        "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
        (
            *_under("mixer", "q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"),
            *_under("mixer.shared_experts", "up_proj", "down_proj"),
        ),
        f"Mamba layers are left alone; {_EXPERTS}",
    ),
    Family(
        "Bamba",
        ("bamba",),
        "ibm-ai-platform/Bamba-9B-v2",
        (*_QKVO, *_under("feed_forward", *_GATED)),
        "Mamba layers are left alone",
    ),
    Family("StableLM", ("stablelm",), "stabilityai/stablelm-2-1_6b-chat", _PLAIN),
    Family(
        "StarCoder2",
        ("starcoder2",),
        "bigcode/starcoder2-3b",
        (*_QKVO, *_under("mlp", "c_fc", "c_proj")),
    ),
    Family("ERNIE 4.5", ("ernie4_5",), "baidu/ERNIE-4.5-0.3B-PT", _PLAIN),
    Family("Seed-OSS", ("seed_oss",), "ByteDance-Seed/Seed-OSS-36B-Instruct", _PLAIN),
    Family(
        "GPT-2", ("gpt2",), "openai-community/gpt2", (*_under("attn", "c_attn", "c_proj"), *_under("mlp", "c_fc", "c_proj"))
    ),
    Family(
        "GPT-Neo",
        ("gpt_neo",),
        "EleutherAI/gpt-neo-125m",
        (*_under("attn.attention", "q_proj", "k_proj", "v_proj", "out_proj"), *_under("mlp", "c_fc", "c_proj")),
    ),
    Family(
        "GPT-NeoX and Pythia",
        ("gpt_neox",),
        "EleutherAI/pythia-160m",
        (*_under("attention", "query_key_value", "dense"), *_under("mlp", "dense_h_to_4h", "dense_4h_to_h")),
    ),
    Family(
        "OPT",
        ("opt",),
        "facebook/opt-125m",
        (*_under("self_attn", "q_proj", "k_proj", "v_proj", "out_proj"), "fc1", "fc2"),
    ),
)

_BY_TYPE = {kind: family for family in FAMILIES for kind in family.model_types}


def family_of(config: Any) -> Family | None:
    """Return the family of a model by its configuration, or that of its text model; None where it is not in the list."""
    found = _BY_TYPE.get(config.model_type)
    return found if found is not None else _BY_TYPE.get(config.get_text_config().model_type)


def table() -> str:
    """Return the list as a table in Markdown, as docs/families.md shows it.

    >>> print(table().splitlines()[2])
    | Llama 2 and 3 | meta-llama/Llama-3.2-1B-Instruct | self_attn: q_proj, k_proj, v_proj, o_proj; mlp: gate_proj, ... |  |
    """
    lines = ["| family | for example | LoRA by default on | note |", "|---|---|---|---|"]
    return "\n".join(
        [*lines, *(f"| {each.name} | {each.example} | {_grouped(each.targets)} | {each.note} |" for each in FAMILIES)]
    )


def _grouped(targets: tuple[str, ...]) -> str:
    groups: dict[str, list[str]] = {}
    for target in targets:
        place, _, name = target.rpartition(".")
        groups.setdefault(place, []).append(name)
    return "; ".join(f"{place}: {', '.join(names)}" if place else ", ".join(names) for place, names in groups.items())
