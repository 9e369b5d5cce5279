"""What action heads cost: decoding at any weighting, a front in one batch, a training step, memory.

Imports: torch, `models`, `decoding`, the other modules of this package.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch

from paretokit.cli.bench.report import Goal, Row
from paretokit.cli.bench.settings import Settings
from paretokit.cli.bench.steps import Sizes, labels_by_head, random_labels, take_step, task
from paretokit.decoding.sample import generate
from paretokit.maths.simplex import dirichlet
from paretokit.models.load import load_policy
from paretokit.models.policy import Policy
from paretokit.preferences.worlds import world

HEADS = ("first", "second", "third", "fourth")
_SIZES = Sizes(pairs=8, prompt=53, response=28)
_TOKENS, _PROMPTS, _WEIGHTINGS = 48, 8, 8


def heads(settings: Settings) -> Iterator[Row]:
    """Decoding and training with four low-rank heads beside the same without heads, and their memory beside full heads."""
    yield from _decoding(settings)
    yield from _training(settings)
    yield _memory(settings)


def _decoding(settings: Settings) -> Iterator[Row]:
    plain, several = (
        load_policy(settings.name, adapter="none", heads=names, device=settings.device) for names in (None, HEADS)
    )
    _move(several)
    count = 4 if settings.quick else _TOKENS
    prompts = list(world("safety").prompts[:_PROMPTS])
    even = [1 / len(HEADS)] * len(HEADS)
    what = f"decoding at one weighting of {len(HEADS)} heads, {settings.title}, per token"
    ours = _per_token(settings, lambda: generate(several, prompts, weights=even, max_new_tokens=count, temperature=0))
    theirs = _per_token(settings, lambda: generate(plain, prompts, max_new_tokens=count, temperature=0))
    found = settings.compare(what, ours, theirs).in_ms()
    sizes = f"{len(prompts)} prompts, up to {count} tokens each, folding included"
    yield Row("heads", what, "the plain model", Goal("cost", 1.05), found, "ms", sizes, settings.comparable)

    grid = dirichlet(len(HEADS), _WEIGHTINGS, generator=torch.Generator().manual_seed(0)).tolist()
    what = f"{_WEIGHTINGS} weightings of one prompt in one batch, {settings.title}"
    together = partial(generate, several, prompts[:1] * len(grid), weights=grid, max_new_tokens=count, temperature=0)
    apart = partial(_apart, several, prompts[:1], grid, count)
    found = settings.compare(what, settings.timed(together), settings.timed(apart))
    against, sizes = f"{_WEIGHTINGS} calls", f"1 prompt, up to {count} tokens"
    yield Row("heads", what, against, Goal("faster", 4), found, "s", sizes, settings.comparable)


def _training(settings: Settings) -> Iterator[Row]:
    sizes = settings.sizes(_SIZES)
    single = task(settings.name, sizes, device=settings.device)
    several = task(settings.name, sizes, heads=HEADS, device=settings.device)
    theirs = settings.timed(partial(take_step, single, random_labels(1, pairs=sizes.pairs), method="linear"))
    labels = labels_by_head(len(HEADS), pairs=sizes.pairs)
    distinct = several.pairs[: sizes.pairs // len(HEADS)]
    repeated = several._replace(
        pairs=[pair for pair in distinct for _ in HEADS],
        references=several.references[: len(distinct)].repeat_interleave(len(HEADS), dim=0),
    )
    for name, made in (("", several), (", pairs judged by all", repeated)):
        what = f"MAH-DPO step, {len(HEADS)} heads{name}, {settings.title}, LoRA"
        found = settings.compare(what, settings.timed(partial(take_step, made, labels, method="mah-dpo")), theirs)
        against = f"a DPO step with one head on {sizes.pairs} rows"
        yield Row("heads", what, against, Goal("cost", 1.2), found, "s", str(sizes), settings.comparable)


def _memory(settings: Settings) -> Row:
    """Bytes of weights: the same in every turn."""
    what = f"memory of {len(HEADS)} low-rank heads, {settings.title}"
    found = settings.compare(what, partial(_size, settings.name, 16), partial(_size, settings.name, None), repeats=1, warmup=0)
    return Row("heads", what, "full heads", Goal("cost", 1), found, "MiB", "rank 16", settings.comparable)


def _size(name: str, rank: int | None) -> float:
    policy = load_policy(name, adapter="none", heads=HEADS, head_rank=rank, device="cpu")
    return sum(weight.numel() * weight.element_size() for weight in policy.trainable.values()) / 2**20


def _move(policy: Policy) -> None:
    """Let the heads differ a little."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in policy.trainable.items():
            if name.endswith(".A"):
                weight.copy_(0.01 * torch.randn(weight.shape, generator=generator))


def _per_token(settings: Settings, decode: Callable[[], list]) -> Callable[[], float]:
    def measure() -> float:
        made: list = []
        seconds = settings.timed(lambda: made.extend(decode()))()
        return seconds / sum(len(one.token_ids) for one in made)

    return measure


def _apart(policy: Policy, prompts: list, grid: list[list[float]], count: int) -> None:
    for weights in grid:
        generate(policy, prompts, weights=weights, max_new_tokens=count, temperature=0)
