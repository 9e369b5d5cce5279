"""Make the `tiny` language model: a byte-level BPE and a small Llama, trained on what the built-in worlds say.

    python data/tiny/make.py                    # about 20 minutes on one core; writes beside this file
    python data/tiny/make.py --steps 5 --out x  # the first five steps, as the test repeats them

Everything is drawn from one seed. The prompts are those of the worlds' part `sft`, so none is a held-out prompt and
none has pairs. First comes rehearsal: answers that say everything there is to say, in random order, which teaches a
small model to copy far sooner than real answers do. Then the answers are the worlds' own, good and bad. The loss is the
mean cross-entropy over answer tokens, the end token included. On another kind of machine sums are ordered differently
and the bits of the weights differ.
"""

import argparse
import hashlib
import json
import math
import platform
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import count
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from paretokit.preferences.worlds import WORLDS
from paretokit.preferences.worlds.build import ask, part_of
from paretokit.preferences.worlds.rules import Rules, draw, draw_distinct
from paretokit.rows import pad_rows
from paretokit.texts import encode_prompt

BOS, END, PAD = "<|bos|>", "<|end|>", "<|pad|>"
SPECIAL = (PAD, BOS, END, "<|system|>", "<|user|>", "<|assistant|>")
TEMPLATE = (
    "{{ bos_token }}"
    "{% for turn in messages %}{{ '<|' + turn['role'] + '|>' + turn['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
VOCABULARY = 800
COMMON = (
    "the of and to in is you that it he was for on are as with his they I at be this have from or one had by word but "
    "not what all were we when your can said there use an each which she do how their if will up other about out many "
    "then them these so some her would make like him into time has look two more write go see number no way could "
    "people my than first water been call who its now find long down day did get come made may part over new sound "
    "take only little work know place year live me back give most very after thing our just name good man think say "
    "great where help through much before line right too mean old any same tell because why let yes question answer "
    "step"
)
"""Frequent English words, so that text from outside the worlds takes fewer pieces than bytes."""
SEED = 2
REHEARSAL = 800
STEPS = 2600
PROMPTS_PER_STEP = 16
ANSWERS_PER_PROMPT = 4
LEARNING_RATE = 4e-3
WARM_UP = 100
FINAL_RATE = 0.02
POOL = 16


Answer = Callable[[Rules, str, torch.Generator], str]


class Example(NamedTuple):
    """One answer to one prompt, as token ids."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


def make_tokenizer(*, seed: int) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE: any text encodes and comes back, and nearly every word of the worlds is one piece."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(seed=seed), trainer=trainer)
    bos = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, bos)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(SPECIAL[3:]),
        chat_template=TEMPLATE,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


def _corpus(*, seed: int) -> Iterator[str]:
    yield from [COMMON] * 3
    generator = torch.Generator().manual_seed(seed)
    for rules in WORLDS.values():
        for _ in range(3000):
            content = rules.sample(generator)
            yield content
            yield rules.answer(content, generator)


def make_model(tokenizer: PreTrainedTokenizerFast, *, seed: int) -> LlamaForCausalLM:
    """Return the untrained model; its weights are drawn from `seed`."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 200.0},  # wavelengths up to about the context
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.05,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def batches(tokenizer: PreTrainedTokenizerFast, *, seed: int) -> Iterator[list[Example]]:
    """Yield batches without end, drawn in pools that are sorted by length, so that little is padding."""
    generator = torch.Generator().manual_seed(seed)
    size = PROMPTS_PER_STEP * ANSWERS_PER_PROMPT
    for first in count(step=POOL):
        answer = _everything if first < REHEARSAL else _answer
        pool = [found for _ in range(POOL * PROMPTS_PER_STEP) for found in _examples(tokenizer, answer, generator)]
        pool.sort(key=lambda example: len(example.prompt) + len(example.answer))
        for place in torch.randperm(POOL, generator=generator).tolist():
            yield pool[place * size : (place + 1) * size]


def _examples(tokenizer: PreTrainedTokenizerFast, answer: Answer, generator: torch.Generator) -> list[Example]:
    rules = draw(tuple(WORLDS.values()), generator)
    content = rules.sample(generator)
    while part_of(content) != "sft":
        content = rules.sample(generator)
    answers = [answer(rules, content, generator) for _ in range(ANSWERS_PER_PROMPT)]
    prompt = encode_prompt(tokenizer, ask(content))
    pieces = tokenizer(answers, add_special_tokens=False)["input_ids"]
    return [Example(prompt=prompt, answer=(*ids, tokenizer.eos_token_id)) for ids in pieces]


def _answer(rules: Rules, content: str, generator: torch.Generator) -> str:
    return rules.answer(content, generator)


def _everything(rules: Rules, content: str, generator: torch.Generator) -> str:
    """The fullest of the content choices with its sentences in random order."""
    *_, fullest = rules.choices(content)
    said = fullest.removesuffix(".").split(". ")
    return ". ".join(draw_distinct(said, len(said), generator)) + "."


def train(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, *, steps: int, seed: int, total: int = STEPS
) -> Iterator[float]:
    """Yield each step's loss in nats per answer token.

    The learning rate rises over the first steps and falls to a fiftieth along a cosine over `total` steps.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.05)
    for step, batch in zip(range(steps), batches(tokenizer, seed=seed), strict=False):
        fallen = FINAL_RATE + (1 - FINAL_RATE) * (1 + math.cos(math.pi * step / total)) / 2
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min((step + 1) / WARM_UP, fallen)
        rows = pad_rows(*zip(*batch, strict=True))
        hidden = model.model(input_ids=rows.input_ids, position_ids=rows.position_ids).last_hidden_state
        loss = cross_entropy(model.lm_head(hidden.flatten(0, 1)[rows.predicting]), rows.targets)
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        yield loss.item()


def first_losses(number: int) -> list[float]:
    """Return the losses of the first steps of the shipped model's training; a test compares them with `curve.json`."""
    tokenizer = make_tokenizer(seed=SEED)
    return list(train(make_model(tokenizer, seed=SEED), tokenizer, steps=number, seed=SEED))


def save(folder: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, losses: list[float]) -> None:
    """Write model, tokenizer, curve, checksums and origin."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    means = {start: mean(losses[start : start + 100]) for start in range(0, len(losses), 100)}
    (folder / "curve.json").write_text(json.dumps({"first": losses[:5], "mean_of_100": means}, indent=1) + "\n")
    names = sorted(path.name for path in folder.iterdir() if path.suffix in {".json", ".safetensors", ".jinja"})
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    (folder / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    (folder / "ORIGIN.md").write_text(origin(model, losses, sums))


def origin(model: LlamaForCausalLM, losses: list[float], sums: dict[str, str]) -> str:
    """Return the text of ORIGIN.md."""
    size = sum(parameter.numel() for parameter in model.parameters())
    tools = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "tokenizers"))
    table = "\n".join(f"| `{name}` | `{digest}` |" for name, digest in sums.items())
    return f"""# The `tiny` language model

A Llama of {size:,} parameters (embeddings tied) with a byte-level BPE of {model.config.vocab_size} pieces, trained from
random weights by `make.py` beside this file, on text that the project draws itself from its worlds:
{", ".join(WORLDS)}. Licence: Apache-2.0.

- Made on {datetime.now(UTC):%Y-%m-%d} with Python {platform.python_version()}, {tools}, on one thread of a
  {platform.machine()} CPU.
- {len(losses)} steps of {PROMPTS_PER_STEP} prompts with {ANSWERS_PER_PROMPT} answers each, {REHEARSAL} of them rehearsal,
  seed {SEED}; loss at the end {mean(losses[-100:]):.4f} nats per answer token (mean of 100 steps).
- A turn is `<|user|>text{END}`; `{BOS}` opens a text, `{END}` ends a turn and is EOS, `{PAD}` fills rows.

`python data/tiny/make.py` makes it again; on another kind of CPU the bits differ.

| file | sha256 |
|---|---|
{table}
"""


def main() -> None:
    """Train and save, with a line of progress every 50 steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS, help=f"optimizer steps to do (default: all {STEPS})")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write (default: this one)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tokenizer = make_tokenizer(seed=SEED)
    model = make_model(tokenizer, seed=SEED)
    losses: list[float] = []
    start = time.monotonic()
    for loss in train(model, tokenizer, steps=options.steps, seed=SEED):
        losses.append(loss)
        if len(losses) % 50 == 0:
            spent = time.monotonic() - start
            left = spent * (options.steps / len(losses) - 1)
            recent = mean(losses[-50:])
            print(f"step {len(losses)} of {options.steps}: loss {recent:.4f}, {left / 60:.1f} minutes left", flush=True)
    save(options.out, model, tokenizer, losses)


if __name__ == "__main__":
    main()
