"""Byte-level BPE tokenizers of about 300 pieces, built in a moment, one per family of chat templates.

A tokenizer is a function of its name, so tests can state exact ids through `ids`.
"""

from functools import cache

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
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
