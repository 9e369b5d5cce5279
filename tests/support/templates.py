"""Chat templates: those that TRL ships, some of our own, and a byte tokenizer that knows the special tokens of each."""

import re
from functools import cache
from pathlib import Path

import trl
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SHIPPED = {path.stem: path for path in sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))}
_SPECIAL = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|<\uff5c[^\uff5c<>]{1,40}\uff5c>|<\|?[a-z_]+_of_(?:turn|utterance)>|<\|turn>|<turn\|>|<\|channel>"
    r"|<channel\|>|<sop>|\[gMASK\]|</s>"
)

# an answer has an empty thought before it, a prompt ends inside an open one
THOUGHT = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}{{ '<think>\n\n</think>\n\n' }}"
    "{% endif %}{{ m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)
# thoughts of earlier turns are left out, so the lead-in depends on where an answer stands; a switch turns them off
SWITCH = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.last %}{{ '<think></think>' }}{% endif %}"
    "{{ m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think></think>' }}{% endif %}{% endif %}"
)
CHANNEL = (
    "{% for m in messages %}{{ '<|start|>' + m.role + ('<|channel|>final' if m.role == 'assistant' else '') + '<|message|>'"
    " + m.content + '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)
STRIP = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content | trim + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
OPEN_END = (
    "{% for m in messages %}{{ '<|user|>\n' if m.role == 'user' else '<|assistant|>\n' }}{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
GENERATION = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PARTS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}: {% for part in m.content %}{{ part.text }}{% endfor %}<|im_end|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant:{% endif %}"
)
NO_PREFIX = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)
DATED = (
    "{{ '<|im_start|>system\nToday: ' + strftime_now('%d %b %Y') + '<|im_end|>\n' }}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
OWN = {
    "thought": THOUGHT,
    "switch": SWITCH,
    "channel": CHANNEL,
    "strip": STRIP,
    "open-end": OPEN_END,
    "generation": GENERATION,
    "parts": PARTS,
    "dated": DATED,
}


def byte_tokenizer(template: str, *, special: bool = True) -> PreTrainedTokenizerFast:
    """Return a tokenizer of bytes that knows the special tokens that a template spells; `special`: as what they are added."""
    vocabulary = {sign: index for index, sign in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    spelled = sorted(set(_SPECIAL.findall(template)))
    backend.add_tokens([AddedToken(token, special=special, normalized=False) for token in spelled])
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in ("<BOS>", "<EOS>")])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<BOS>", eos_token="<EOS>")
    tokenizer.chat_template = template
    return tokenizer


@cache
def shipped_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """Return the byte tokenizer of a template that TRL ships; tests must not change it."""
    return byte_tokenizer(SHIPPED[name].read_text(encoding="utf-8"))


def conversation(*contents: str, system: str | None = None) -> list[dict[str, str]]:
    """Return messages that alternate between user and assistant, the user first."""
    roles = ("user", "assistant")
    turns = [{"role": roles[index % 2], "content": content} for index, content in enumerate(contents)]
    return [*([] if system is None else [{"role": "system", "content": system}]), *turns]
