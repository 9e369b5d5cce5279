"""Byte-level BPE tokenizers of about 300 pieces, built in a moment, one per family of chat templates.

A tokenizer is a function of its name, so tests can state exact ids through `ids`.
"""

import json
from functools import cache

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = ["the cat sat on the mat, and the other cat said hello there", "user assistant system hello the world"] * 4

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
PLAIN = (
    "{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content }}\n{% else %}[{{ m.content }}]{% endif %}{% endfor %}"
)

# name: special tokens, BOS, EOS, template, frame that the tokenizer itself puts around a text
FAMILIES = {
    "chatml": (["<|endoftext|>", "<|im_start|>", "<|im_end|>"], None, "<|im_end|>", CHATML, "$A"),
    "chatml-eos": (["<|endoftext|>", "<|im_start|>", "<|im_end|>"], None, "<|endoftext|>", CHATML, "$A"),
    "llama3": (
        ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        "<|begin_of_text|>",
        "<|end_of_text|>",
        LLAMA3,
        "<|begin_of_text|> $A",
    ),
    "gemma": (["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"], "<bos>", "<eos>", GEMMA, "<bos> $A"),
    "plain": (["<s>", "</s>"], "<s>", "</s>", PLAIN, "<s> $A </s>"),  # no generation prompt; EOS behind every text
    "bos-unused": (["<s>", "</s>"], "<s>", "</s>", None, "$A"),
    "eos-only": (["</s>"], None, "</s>", None, "$A </s>"),
    "bare": (["<pad>"], None, None, None, "$A"),
}


@cache
def toy_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """Return the tokenizer of a family of `FAMILIES`; tests must not change it."""
    special, bos, eos, template, frame = FAMILIES[family]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    backend.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=frame, special_tokens=[(token, backend.token_to_id(token)) for token in special]
            ),
        ]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=bos, eos_token=eos)
    tokenizer.chat_template = template
    return tokenizer


def ids(family: str, *parts: str) -> tuple[int, ...]:
    """Return the ids of parts, each either a special token of the family or plain text, tokenised apart."""
    tokenizer = toy_tokenizer(family)
    result: list[int] = []
    for part in parts:
        if part in FAMILIES[family][0]:
            result.append(tokenizer.convert_tokens_to_ids(part))
        else:
            result += _text_ids(tokenizer, part)
    return tuple(result)


def _text_ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    backend = tokenizer.backend_tokenizer
    splits = backend.pre_tokenizer.pre_tokenize_str(text)
    return [token.id for split, _ in splits for token in backend.model.tokenize(split)]


ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}{{ ' ' + m.content | trim + ' ' + eos_token }}"
    "{% else %}{{ '[INST] ' + m.content + ' [/INST]' }}{% endif %}{% endfor %}"
)
MARKED = (
    "{{ bos_token }}{% for m in messages %}{{ '<sep>' + m.content + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<sep>' }}{% endif %}"
)
BLANKS = ("prepend", "always", "first", "bytes")


@cache
def blank_tokenizer(kind: str, template: str | None = None) -> PreTrainedTokenizerFast:
    """Return a tokenizer that puts a blank in front of a text read alone, by a way of `BLANKS`; with merges over blanks.

    `prepend` is how Llama 2 does it, with bytes for unknown signs; `always` and `first` are those of a Metaspace; `bytes` is
    a byte-level tokenizer with a blank in front.
    """
    special = [AddedToken(token, special=True, normalized=False) for token in ("<unk>", "<s>", "</s>", "<sep>")]
    if kind == "bytes":
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        backend = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        alphabet = sorted(set("".join(CORPUS) + "▁.,!?0123456789[]/INST<|>"))
        strip = decoders.Strip(" ", 1, 0)
        backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), strip])
    if kind == "prepend":
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    elif kind != "bytes":
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=kind, split=kind == "always")
    trainer = trainers.BpeTrainer(
        vocab_size=340 if kind == "bytes" else 100,
        special_tokens=special,
        initial_alphabet=alphabet,
        show_progress=False,
        max_token_length=8,
    )
    words = [word for line in CORPUS for word in line.split()]
    backend.train_from_iterator(words, trainer)
    if kind != "bytes":
        _add_bytes(backend)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.chat_template = template
    return tokenizer


def _add_bytes(backend: Tokenizer) -> None:
    """Give the model tokens for the bytes of signs that it does not know."""
    trained = json.loads(backend.to_str())["model"]
    vocab = dict(trained["vocab"])
    for byte in range(256):
        vocab[f"<0x{byte:02X}>"] = len(vocab)
    merges = [tuple(merge) for merge in trained["merges"]]
    backend.model = models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
