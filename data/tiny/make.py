"""Make the `tiny` language model: a byte-level BPE and a small Llama, trained on what the built-in worlds say.

    python data/tiny/make.py                    # about half an hour on one core; writes beside this file
    python data/tiny/make.py --steps 5 --out x  # the first five steps, as the test repeats them

Everything is drawn from one seed. The prompts are those of the worlds' part `sft`, so none is a held-out prompt and
none has pairs. A small model learns to copy late, and forgets it where it has to learn something else at once. So it is
taught in two rounds, each with a learning rate that falls to nothing. The first is rehearsal: answers that tell some of
what is right, in its order, of prompts that may be cut short; mostly of the world that is hardest to copy. In the second,
rehearsal gives way little by little to the worlds' own answers, good and bad. Two answers share their prompt in a row;
the loss is the mean cross-entropy over answer tokens, the end token included. On another kind of machine sums are ordered
differently and the bits of the weights differ.
"""

import argparse
import hashlib
import json
import platform
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from torch.optim.lr_scheduler import LambdaLR
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from paretokit.preferences.worlds.arithmetic import MATH
from paretokit.preferences.worlds.build import ask, part_of
from paretokit.preferences.worlds.rules import Rules, draw
from paretokit.preferences.worlds.safety import SAFETY
from paretokit.preferences.worlds.summaries import SUMMARIES
from paretokit.preferences.worlds.tutoring import TUTORING
from paretokit.preferences.worlds.values import VALUES
from paretokit.rows import shared_rows, visible
from paretokit.texts import encode_prompt

BOS, END, PAD = "<|bos|>", "<|end|>", "<|pad|>"
SPECIAL = (PAD, BOS, END, "<|system|>", "<|user|>", "<|assistant|>")
TEMPLATE = (
    "{{ bos_token }}"
    "{% for turn in messages %}{{ '<|' + turn['role'] + '|>' + turn['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
VOCABULARY = 800
TAUGHT = (SUMMARIES, SAFETY, MATH, VALUES, TUTORING)
"""The worlds that the model speaks."""
FIRST_SHARES = {SUMMARIES: 7.0, MATH: 2.0, VALUES: 1.0, SAFETY: 1.0, TUTORING: 1.0}
SECOND_SHARES = {SUMMARIES: 5.0, MATH: 3.0, VALUES: 1.0, SAFETY: 1.0, TUTORING: 1.0}
"""How often each world is rehearsed in a round, relative to the others."""
OWN_SHARES = {SUMMARIES: 3.0, MATH: 2.0, VALUES: 1.0, SAFETY: 1.0, TUTORING: 1.5}
"""How often each world's own answers are taught, relative to the others."""
FEWEST = {SUMMARIES: 1, MATH: 2}
"""Rehearsed prompts of these worlds are cut to their first sentences, no fewer than these."""
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
FIRST_ROUND = 4400
STEPS = 11_000
REHEARSAL_ENDS = 8800
SECOND_RATE = 0.5
"""The learning rate at the start of the second round, relative to the first."""
BATCH = 24
MATRIX_RATE = 0.02
OTHER_RATE = 0.004
WARM_UP = 50
POOL = 16

_SENTENCE = re.compile(r"[^. ][^.?!]*[.?!]")


class Example(NamedTuple):
    """Two answers to one prompt, as token ids."""

    prompt: tuple[int, ...]
    first: tuple[int, ...]
    second: tuple[int, ...]


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
    for rules in TAUGHT:
        for _ in range(3000):
            content = rules.sample(generator)
            yield from content.split("\n")
            yield rules.answer(content, generator)


def make_model(tokenizer: PreTrainedTokenizerFast, *, seed: int) -> LlamaForCausalLM:
    """Return the untrained model; its weights are drawn from `seed`."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},  # wavelengths of a few contexts
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.03,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def batches(tokenizer: PreTrainedTokenizerFast, *, seed: int) -> Iterator[list[Example]]:
    """Yield batches without end, drawn in pools that are sorted by length, so that little is padding."""
    generator = torch.Generator().manual_seed(seed)
    for step in count(step=POOL):
        pool: list[Example] = []
        while len(pool) < POOL * BATCH:
            content, answers = _talk(step, generator)
            first, second = (
                (*ids, tokenizer.eos_token_id) for ids in tokenizer(answers, add_special_tokens=False)["input_ids"]
            )
            pool.append(Example(encode_prompt(tokenizer, ask(content)), first, second))
        pool.sort(key=lambda example: sum(map(len, example)))
        for place in torch.randperm(POOL, generator=generator).tolist():
            yield pool[place * BATCH : (place + 1) * BATCH]


def _talk(step: int, generator: torch.Generator) -> tuple[str, list[str]]:
    """A content at some step of the training, and two answers."""
    own = (step - FIRST_ROUND) / (REHEARSAL_ENDS - FIRST_ROUND)  # the share of the worlds' own answers
    if torch.rand((), generator=generator).item() < own:
        return _conversation(generator)
    return _rehearsal(_pick(FIRST_SHARES if step < FIRST_ROUND else SECOND_SHARES, generator), generator)


def _pick(shares: Mapping[Rules, float], generator: torch.Generator) -> Rules:
    """A world, drawn as often as its share says."""
    return tuple(shares)[int(torch.multinomial(torch.tensor(list(shares.values())), 1, generator=generator))]


def _content(rules: Rules, generator: torch.Generator, *, fewest: int | None = None) -> str:
    """A content of the part `sft`; with `fewest` cut to its first sentences, so many of them at least."""
    while True:
        content = rules.sample(generator)
        if fewest is not None:
            invitation, _, said = content.partition(": ")
            sentences = _SENTENCE.findall(said)
            content = f"{invitation}: {' '.join(sentences[: draw(range(fewest, len(sentences) + 1), generator)])}"
        if part_of(content) == "sft":
            return content


def _conversation(generator: torch.Generator) -> tuple[str, list[str]]:
    """A content of some world, and answers to it."""
    rules = _pick(OWN_SHARES, generator)
    content = _content(rules, generator)
    return content, [rules.answer(content, generator) for _ in range(2)]


def _rehearsal(rules: Rules, generator: torch.Generator) -> tuple[str, list[str]]:
    """A content, cut short for some worlds, and two answers that tell some of what is right, in its order."""
    content = _content(rules, generator, fewest=FEWEST.get(rules))
    *_, fullest = rules.choices(content)
    return content, [_some(_SENTENCE.findall(fullest), generator) for _ in range(2)]


def _some(sentences: Sequence[str], generator: torch.Generator) -> str:
    """Some of the sentences, at least one: each with a probability that is drawn first, between 1/4 and 1."""
    completeness = 0.25 + 0.75 * torch.rand((), generator=generator).item()
    told = torch.rand(len(sentences), generator=generator) < completeness
    told[draw(range(len(sentences)), generator)] = True
    return " ".join(sentence for sentence, is_told in zip(sentences, told.tolist(), strict=True) if is_told)


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum 0.95, as torch's, but in float32: torch's orthogonalises in bfloat16, which takes a CPU
    without such instructions eight times as long as all the rest of a step."""

    def __init__(self, matrices: Iterable[torch.nn.Parameter], *, lr: float, weight_decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override] # no closure
        """Move every matrix along the orthogonal factor of its gradient's moving average."""
        for group in self.param_groups:
            for matrix in group["params"]:
                average = self.state[matrix].setdefault("average", torch.zeros_like(matrix)).lerp_(matrix.grad, 0.05)
                taken = _orthogonal(matrix.grad.lerp(average, 0.95))
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(taken, alpha=-group["lr"] * max(1, matrix.shape[0] / matrix.shape[1]) ** 0.5)


def _orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Newton-Schulz, five steps: about the nearest matrix with orthonormal rows or columns."""
    if matrix.shape[0] > matrix.shape[1]:
        return _orthogonal(matrix.T).T
    found = matrix / matrix.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = found @ found.T
        found = torch.addmm(found, torch.addmm(gram, gram, gram, beta=-4.775, alpha=2.0315), found, beta=3.4445)
    return found


def train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, *, steps: int, seed: int) -> Iterator[float]:
    """Yield each step's loss in nats per answer token.

    Muon for the matrices inside the layers, AdamW for the embedding and the norms.
    """
    matrices = [parameter for parameter in model.model.layers.parameters() if parameter.ndim == 2]
    others = [*model.model.embed_tokens.parameters(), *(p for p in model.parameters() if p.ndim == 1)]
    optimizers = (
        Muon(matrices, lr=MATRIX_RATE, weight_decay=0.01),
        torch.optim.AdamW(others, lr=OTHER_RATE, betas=(0.9, 0.98), weight_decay=0.01),
    )
    schedules = [LambdaLR(optimizer, _rate) for optimizer in optimizers]
    for _, batch in zip(range(steps), batches(tokenizer, seed=seed), strict=False):
        rows = shared_rows(*zip(*batch, strict=True))
        seen = visible(rows.segments)
        mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
        inputs = {"input_ids": rows.input_ids, "position_ids": rows.position_ids, "attention_mask": mask}
        hidden = model.model(**inputs, use_cache=False).last_hidden_state
        loss = cross_entropy(model.lm_head(hidden.flatten(0, 1)[rows.predicting]), rows.targets)
        model.zero_grad()
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        yield loss.item()


def _rate(step: int) -> float:
    """The learning rate of a step, relative to the highest: in each round a warm-up, then a linear fall to nothing."""
    start, length, peak = (0, FIRST_ROUND, 1.0) if step < FIRST_ROUND else (FIRST_ROUND, STEPS - FIRST_ROUND, SECOND_RATE)
    return peak * min((step - start + 1) / WARM_UP, 1 - (step - start) / length)


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
{", ".join(rules.name for rules in TAUGHT)}. Licence: Apache-2.0.

- Made on {datetime.now(UTC):%Y-%m-%d} with Python {platform.python_version()}, {tools}, on one thread of a
  {platform.machine()} CPU.
- {len(losses)} steps of {BATCH} prompts with two answers each, the first {FIRST_ROUND} of them rehearsal, which ends with
  step {REHEARSAL_ENDS}; seed {SEED}; at the end the loss was {mean(losses[-100:]):.4f} nats per answer token
  (mean of 100 steps).
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
