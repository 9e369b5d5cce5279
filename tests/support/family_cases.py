"""A tiny random model for every family in `models.families`, and for some that are not listed: two layers, one of each kind.

What makes a family special is switched on: experts, shared experts, linear attention, state-space and convolution layers,
sliding windows, per-layer embeddings, scalings and caps of the logits.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedModel

from paretokit.models.quiet import quiet
from paretokit.models.tiny import byte_tokenizer

_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 256}
_GATED = {**_SIZES, "intermediate_size": 48, "num_key_value_heads": 2}
_HEADED = {**_GATED, "head_dim": 8}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
_ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_SHARED = {**_EXPERTS, "shared_expert_intermediate_size": 16}
_DELTA = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_conv_kernel_dim": 4,
    "layer_types": ["linear_attention", "full_attention"],
}
_MAMBA = {
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_d_state": 8,
    "mamba_n_groups": 1,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "mamba_chunk_size": 16,
}
_LATENT = {
    **_GATED,
    "num_key_value_heads": 4,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "n_group": 1,
    "topk_group": 1,
    **_ROUTED,
}
_WINDOW = {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
_PER_LAYER = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 259}
_CAPPED = {"final_logit_softcapping": 3.0}

TEXT: dict[str, Mapping[str, Any]] = {  # by model type, with a word behind it where a type has two forms
    "llama": {**_GATED, "tie_word_embeddings": True},
    "llama4_text": {
        **_HEADED,
        "intermediate_size_mlp": 48,
        "num_local_experts": 4,
        "num_experts_per_tok": 1,
        "interleave_moe_layer_step": 2,
        "attention_chunk_size": 16,
        "no_rope_layers": [1, 0],
    },
    "qwen2": _GATED,
    "qwen2_moe": {**_GATED, **_SHARED},
    "qwen3": _HEADED,
    "qwen3_moe": {**_HEADED, **_EXPERTS, "mlp_only_layers": [1]},
    "qwen3_next": {**_HEADED, **_SHARED, **_DELTA},
    "qwen3_5_text": {**_HEADED, **_DELTA},
    "qwen3_5_moe_text": {**_HEADED, **_SHARED, **_DELTA},
    "gemma": _HEADED,
    "gemma2": {**_HEADED, **_WINDOW, **_CAPPED, "query_pre_attn_scalar": 8},
    "gemma3_text": {**_HEADED, **_WINDOW, "query_pre_attn_scalar": 8},
    "gemma3n_text": {
        **_HEADED,
        **_WINDOW,
        **_CAPPED,
        **_PER_LAYER,
        "num_kv_shared_layers": 0,
        "laurel_rank": 4,
        "activation_sparsity_pattern": [0.0, 0.0],
    },
    "gemma4_text": {
        **_HEADED,
        **_CAPPED,
        **_PER_LAYER,
        "num_hidden_layers": 3,
        "sliding_window": 16,
        "layer_types": ["sliding_attention", "full_attention", "full_attention"],
        "global_head_dim": 8,
        "num_kv_shared_layers": 1,
    },
    "gemma4_text experts": {
        **_HEADED,
        **_WINDOW,
        **_CAPPED,
        "hidden_size_per_layer_input": 0,
        "enable_moe_block": True,
        "num_experts": 4,
        "top_k_experts": 2,
        "moe_intermediate_size": 16,
        "global_head_dim": 8,
    },
    "mistral": {**_HEADED, "sliding_window": 16},
    "ministral3": _HEADED,
    "mixtral": {**_HEADED, **_LOCAL},
    "phi3": {**_GATED, "original_max_position_embeddings": 256},
    "phi": {**_GATED, "partial_rotary_factor": 0.5},
    "phimoe": {**_GATED, **_LOCAL},
    "granite": {**_GATED, "logits_scaling": 4.0, "embedding_multiplier": 3.0, "residual_multiplier": 0.5},
    "granitemoe": {**_GATED, **_LOCAL, "logits_scaling": 4.0},
    "granitemoehybrid": {
        **_GATED,
        **_MAMBA,
        **_LOCAL,
        "layer_types": ["mamba", "attention"],
        "shared_intermediate_size": 16,
        "logits_scaling": 4.0,
    },
    "cohere": {**_GATED, "logit_scale": 0.25},
    "cohere2": {**_HEADED, **_WINDOW, "logit_scale": 0.25},
    "olmo2": _GATED,
    "olmo3": {**_GATED, **_WINDOW},
    "olmo_hybrid": {**_GATED, **_DELTA},
    "olmoe": {**_GATED, "num_experts": 4, "num_experts_per_tok": 2},
    "smollm3": {**_GATED, "no_rope_layers": [1, 0]},
    "gpt_oss": {**_HEADED, **_LOCAL, "sliding_window": 16},
    "glm4": _HEADED,
    "glm4_moe": {**_HEADED, **_ROUTED, "n_shared_experts": 1, "first_k_dense_replace": 1},
    "glm4_moe_lite": {**_LATENT, "mlp_layer_types": ["dense", "sparse"]},
    "deepseek_v3": {**_LATENT, "first_k_dense_replace": 1},
    "lfm2": {**_GATED, "layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    "lfm2_moe": {**_GATED, **_EXPERTS, "num_dense_layers": 1, "layer_types": ["conv", "full_attention"]},
    "falcon_h1": {**_HEADED, **_MAMBA, "mamba_d_ssm": 64, "lm_head_multiplier": 0.5},
    "nemotron_h": {
        **_HEADED,
        **_ROUTED,
        "num_hidden_layers": 4,
        "layers_block_type": ["mamba", "attention", "mlp", "moe"],
        "ssm_state_size": 8,
        "mamba_num_heads": 4,
        "mamba_head_dim": 16,
        "n_groups": 1,
        "chunk_size": 16,
        "moe_shared_expert_intermediate_size": 16,
    },
    "bamba": {**_GATED, **_MAMBA, "attn_layer_indices": [1]},
    "stablelm": _GATED,
    "starcoder2": _GATED,
    "ernie4_5": _HEADED,
    "seed_oss": _HEADED,
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "gpt_neo": {
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 16,
        "max_position_embeddings": 256,
    },
    "gpt_neox": {**_SIZES, "intermediate_size": 48, "rotary_pct": 0.5},
    "opt": {**_SIZES, "ffn_dim": 48, "word_embed_proj_dim": 32},
}
UNLISTED: dict[str, Mapping[str, Any]] = {  # families that `models.families` does not name
    "falcon": {**_SIZES, "new_decoder_architecture": True, "num_kv_heads": 2, "alibi": False},
    "granite_swa": {**_GATED, "sliding_window": 16},
    "deepseek_v2": {**_LATENT, "first_k_dense_replace": 1},
    "jamba": {
        **_GATED,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
    },
    "nanochat": _GATED,
    "minimax_m2": {**_HEADED, **_LOCAL},
    "mamba2": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_heads": 4,
        "head_dim": 16,
        "state_size": 8,
        "n_groups": 1,
        "expand": 2,
        "chunk_size": 16,
    },
    "recurrent_gemma": {
        **_HEADED,
        "num_hidden_layers": 3,
        "num_key_value_heads": 1,
        "lru_width": 32,
        "attention_window_size": 16,
    },
    "exaone4": {**_GATED, **_WINDOW},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},  # takes no mask of ours
    "hunyuan_v1_moe": {**_HEADED, "num_experts": 4, "moe_topk": 2},
}

_VISION = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
_PATCHES = {"image_size": 16, "patch_size": 8}
_QWEN_EYE = {
    "depth": 1,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_heads": 2,
    "patch_size": 8,
    "out_hidden_size": 32,
    "num_position_embeddings": 16,
}
SEEING: dict[str, Mapping[str, Any]] = {  # published models that also see: the text model of a type above and a tiny tower
    "gemma3": {
        "text_config": TEXT["gemma3_text"],
        "vision_config": {**_VISION, **_PATCHES},
        "mm_tokens_per_image": 4,
        "image_token_index": 200,
        "boi_token_index": 201,
        "eoi_token_index": 202,
    },
    "gemma4": {
        "text_config": TEXT["gemma4_text"],
        "vision_config": {**_VISION, "num_key_value_heads": 2, "head_dim": 8, "patch_size": 4},
        "audio_config": None,
        "image_token_id": 200,
    },
    "mistral3": {
        "text_config": {"model_type": "mistral", **_HEADED},
        "vision_config": {"model_type": "pixtral", **_VISION, **_PATCHES, "head_dim": 8},
        "image_token_index": 200,
    },
    "qwen3_5": {"text_config": TEXT["qwen3_5_text"], "vision_config": _QWEN_EYE, "image_token_id": 200, "video_token_id": 201},
    "llama4": {
        "text_config": TEXT["llama4_text"],
        "vision_config": {
            **_VISION,
            **_PATCHES,
            "intermediate_size": 64,
            "vision_output_dim": 32,
            "projector_input_dim": 32,
            "projector_output_dim": 32,
        },
        "image_token_index": 200,
        "boi_token_index": 201,
        "eoi_token_index": 202,
    },
    "qwen3_vl": {
        "text_config": _HEADED,
        "vision_config": {**_QWEN_EYE, "deepstack_visual_indexes": [0]},
        "image_token_id": 200,
        "video_token_id": 201,
    },
}
CASES = {**TEXT, **UNLISTED, **SEEING}


def tiny_model(case: str, *, seed: int = 0, spread: float = 0.05) -> PreTrainedModel:
    """A random model of the case, with every weight moved from its start so that none of them is neutral."""
    tokenizer = byte_tokenizer()
    special: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    settings = dict(CASES[case])
    if case in SEEING:
        settings["text_config"] = {**settings["text_config"], **special}
        auto: Any = AutoModelForImageTextToText
    else:
        settings |= special
        auto = AutoModelForCausalLM
    generator = torch.Generator().manual_seed(seed)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = auto.from_config(AutoConfig.for_model(case.split()[0], **settings))
    with torch.no_grad():
        for weight in model.parameters():
            weight += spread * torch.randn(weight.shape, generator=generator)
    return model.eval()


def write_model(folder: Path, case: str, *, seed: int = 0) -> Path:
    """A random model of the case and its tokenizer as a plain transformers folder."""
    with quiet():
        tiny_model(case, seed=seed).save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
    return folder
