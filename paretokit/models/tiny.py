"""Random, untrained policies of a few thousand weights, of any family that is supported: what tests are made of.

The tokenizer reads bytes, so any text encodes; its chat template marks turns as SmolLM2's does, and pad is EOS, as
there. (The trained `"tiny"` policy is not made here: it ships as data, see `locate`.)
"""

from collections.abc import Mapping, Sequence

import torch
from peft import LoraConfig
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from paretokit.errors import ConfigError, suggestion
from paretokit.models.build import assemble
from paretokit.models.policy import Policy
from paretokit.models.quiet import quiet

__all__ = ["FAMILIES", "byte_tokenizer", "random_policy"]

_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 256}
_GATED = {**_SIZES, "intermediate_size": 48, "num_key_value_heads": 2}
_GEMMA = {**_GATED, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 16}
# what makes each family special is switched on: biases, soft-caps, scalings, tied embeddings, sliding windows
FAMILIES: dict[str, Mapping[str, object]] = {
    "llama": {**_GATED, "tie_word_embeddings": True},
    "qwen2": _GATED,
    "qwen3": {**_GATED, "head_dim": 8},
    "gemma2": {**_GEMMA, "final_logit_softcapping": 3.0},
    "gemma3": _GEMMA,
    "mistral": {**_GATED, "head_dim": 8, "sliding_window": 16},
    "phi3": {**_GATED, "original_max_position_embeddings": 256},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "gpt_neox": {**_SIZES, "intermediate_size": 48, "rotary_pct": 0.5},
    "granite": {**_GATED, "logits_scaling": 4.0, "embedding_multiplier": 3.0, "residual_multiplier": 0.5},
    "cohere": {**_GATED, "logit_scale": 0.25},
    "olmo2": _GATED,
    "phi": {**_GATED, "partial_rotary_factor": 0.5},  # the output projection has a bias
}
_TYPES = {"gemma3": "gemma3_text"}  # the text half of a model that also sees


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token per byte, three special tokens, and a chat template; its pad token is EOS.

    >>> byte_tokenizer()("é")["input_ids"].__len__()
    2
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*_SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(_SPECIAL))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        chat_template=_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def random_policy(
    family: str = "llama",
    *,
    seed: int = 0,
    adapter: str | LoraConfig = "lora",
    heads: Sequence[str] | None = None,
    head_rank: int | None = 16,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    attention: str = "sdpa",
    spread: float = 0.05,
    **config: object,
) -> Policy:
    """Return an untrained policy of the family, its weights drawn from `seed` alone, alike on every device.

    Every weight, norms and biases included, is moved from its start by a normal deviate of size `spread`, so that none
    of them is neutral. `config` overrides fields of the family's configuration. Saving such a policy works; loading it
    does not, since its base has no place to be read from: `export` it first.

    >>> policy = random_policy("qwen3", seed=1)
    >>> policy.context_length, policy.adapter
    (256, 'lora')
    """
    if family not in FAMILIES:
        raise ConfigError(f"family {family!r}: expected one of {', '.join(FAMILIES)}.{suggestion(family, FAMILIES)}")
    tokenizer = byte_tokenizer()
    special = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    settings = {**FAMILIES[family], **special, **config}

    def read() -> PreTrainedModel:
        generator = torch.Generator().manual_seed(seed)
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(
                AutoConfig.for_model(_TYPES.get(family, family), **settings),
                dtype=dtype,
                attn_implementation="eager" if attention == "eager" else None,
            )
        with torch.no_grad():
            for weight in model.parameters():
                weight += spread * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        return model.to(device)

    return assemble(
        read, tokenizer, name=f"random {family}, seed {seed}", adapter=adapter, heads=heads, head_rank=head_rank, seed=seed
    )
