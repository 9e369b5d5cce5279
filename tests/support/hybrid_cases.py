"""Tiny random models of families with recurrent or convolving layers, and of families with attention alone."""

from collections.abc import Mapping, Sequence

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from paretokit.models.build import assemble
from paretokit.models.policy import Policy
from paretokit.models.quiet import quiet
from paretokit.models.tiny import byte_tokenizer

WINDOW = 16  # tokens that a layer with a sliding window or a chunk sees

_BASE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 512}
_GATED = {**_BASE, "intermediate_size": 48, "num_key_value_heads": 2}
_MAMBA = {
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_d_state": 8,
    "mamba_d_conv": 4,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 8,
}
_DELTA = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_conv_kernel_dim": 4,
    "layer_types": ["linear_attention", "full_attention"],
    "head_dim": 8,
}
_MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16}
_LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8}

HYBRIDS: dict[str, Mapping[str, object]] = {
    "lfm2": {**_GATED, "layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    "lfm2_moe": {
        **_GATED,
        "layer_types": ["conv", "full_attention"],
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "num_dense_layers": 1,
    },
    "lfm3": {
        **_GATED,
        "num_hidden_layers": 3,
        "layer_types": ["conv", "sliding_attention", "full_attention"],
        "sliding_window": WINDOW,
    },
    "falcon_h1": {**_GATED, **_MAMBA, "mamba_d_ssm": 64, "head_dim": 8},
    "qwen3_next": {**_GATED, **_DELTA, **_MOE},
    "qwen3_5_text": {**_GATED, **_DELTA},
    "qwen3_5_moe_text": {**_GATED, **_DELTA, **_MOE},
    "granitemoehybrid": {
        **_GATED,
        **_MAMBA,
        "layer_types": ["mamba", "attention"],
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "shared_intermediate_size": 16,
        "position_embedding_type": None,
    },
    "nemotron_h": {
        **_GATED,
        "layers_block_type": ["mamba", "attention", "mlp", "moe"],
        "num_hidden_layers": 4,
        "ssm_state_size": 8,
        "mamba_num_heads": 8,
        "mamba_head_dim": 8,
        "n_groups": 1,
        "chunk_size": 8,
        "head_dim": 8,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "moe_shared_expert_intermediate_size": 16,
    },
    "bamba": {**_GATED, **_MAMBA, "attn_layer_indices": [1]},
    "jamba": {
        **_GATED,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "num_experts": 4,
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
        "use_mamba_kernels": False,
    },
    "zamba": {
        **_GATED,
        "num_hidden_layers": 5,
        "num_key_value_heads": 4,
        "layers_block_type": ["mamba", "mamba", "hybrid", "mamba", "hybrid"],
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
        "n_mamba_heads": 2,
        "use_mamba_kernels": False,
    },
    "zamba2": {
        **_GATED,
        "num_hidden_layers": 3,
        "num_key_value_heads": 4,
        "layers_block_type": ["mamba", "mamba", "hybrid"],
        "mamba_d_state": 8,
        "n_mamba_heads": 8,
        "mamba_ngroups": 1,
        "chunk_size": 8,
        "use_mamba_kernels": False,
    },
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "time_step_rank": 4},
    "falcon_mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "time_step_rank": 4},
    "mamba2": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "state_size": 8,
        "num_heads": 8,
        "head_dim": 8,
        "n_groups": 1,
        "chunk_size": 8,
    },
    "olmo_hybrid": {**_GATED, **_DELTA},
    "kimi_linear": {
        **_BASE,
        "num_key_value_heads": 4,
        "intermediate_size": 48,
        "moe_intermediate_size": 16,
        "num_experts": 4,
        "num_experts_per_token": 2,
        "head_dim": 8,
        **_LATENT,
        "layer_types": ["linear_attention", "full_attention"],
        "linear_attn_config": {
            "short_conv_kernel_size": 4,
            "head_dim": 8,
            "num_heads": 4,
            "kda_layers": [1],
            "full_attn_layers": [2],
        },
    },
    "bailing_hybrid": {
        **_BASE,
        **_LATENT,
        "num_key_value_heads": 4,
        "intermediate_size": 48,
        "moe_intermediate_size": 16,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "n_group": 1,
        "topk_group": 1,
        "head_dim": 8,
        "layer_group_size": 2,
        "first_k_dense_replace": 1,
    },
    "minimax": {
        **_GATED,
        "layer_types": ["linear_attention", "full_attention"],
        "block_size": 8,
        "head_dim": 8,
        "num_local_experts": 4,
    },
    "recurrent_gemma": {
        **_GATED,
        "num_hidden_layers": 3,
        "lru_width": 32,
        "attention_window_size": WINDOW,
        "block_types": ["recurrent", "recurrent", "attention"],
    },
    "rwkv": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "attention_hidden_size": 32,
        "intermediate_size": 48,
        "context_length": 512,
    },
    "zaya": {**_GATED, "head_dim": 8, "num_experts": 4, "moe_router_topk": 1},
}

ATTENDING: dict[str, tuple[Mapping[str, object], int | None]] = {  # and the window
    "llama": (_GATED, None),
    "qwen3": ({**_GATED, "head_dim": 8}, None),
    "gemma3_text": (
        {**_GATED, "head_dim": 8, "sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
        WINDOW,
    ),
    "gpt_oss": (
        {
            **_GATED,
            "head_dim": 8,
            "sliding_window": WINDOW,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        WINDOW,
    ),
    "llama4_text": (
        {
            **_GATED,
            "head_dim": 8,
            "attention_chunk_size": WINDOW,
            "intermediate_size_mlp": 48,
            "num_local_experts": 4,
            "interleave_moe_layer_step": 2,
            "layer_types": ["chunked_attention", "full_attention"],
            "no_rope_layers": [1, 0],
        },
        WINDOW,
    ),
    "cohere2": (
        {**_GATED, "sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
        WINDOW,
    ),
    "olmo3": ({**_GATED, "sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}, WINDOW),
    "mistral": ({**_GATED, "sliding_window": WINDOW}, WINDOW),
    "smollm3": ({**_GATED, "no_rope_layers": [1, 0]}, None),
    "qwen3_moe": ({**_GATED, **_MOE, "head_dim": 8}, None),
    "glm4_moe": (
        {
            **_GATED,
            "head_dim": 8,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "first_k_dense_replace": 1,
        },
        None,
    ),
}


def settings(family: str) -> Mapping[str, object]:
    """The configuration of a family."""
    return HYBRIDS[family] if family in HYBRIDS else ATTENDING[family][0]


def hybrid_policy(
    family: str,
    *,
    seed: int = 0,
    spread: float = 0.05,
    dtype: torch.dtype = torch.float32,
    adapter: str = "full",
    heads: Sequence[str] | None = None,
    **config: object,
) -> Policy:
    """An untrained policy of the family, every weight moved from its start by a normal deviate of size `spread`."""
    tokenizer = byte_tokenizer()
    special = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }

    def read():
        generator = torch.Generator().manual_seed(seed)
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            made = AutoConfig.for_model(family, **{**settings(family), **special, **config})
            model = AutoModelForCausalLM.from_config(made, dtype=dtype)
        with torch.no_grad():
            for weight in model.parameters():
                weight += spread * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        return model

    return assemble(read, tokenizer, name=f"random {family}, seed {seed}", adapter=adapter, heads=heads, seed=seed)
