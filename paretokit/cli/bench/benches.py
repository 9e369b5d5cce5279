"""The benches by name: each yields the rows that it measured. Sizes are those of the goals, or with `quick` tiny ones.

Imports: torch, `maths`, `models` and `preferences` (types), `training`, the other modules of this package.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from paretokit.cli.bench import baselines, memory
from paretokit.cli.bench.guided import guided
from paretokit.cli.bench.heads import heads
from paretokit.cli.bench.report import Goal, Row, has_bf16
from paretokit.cli.bench.settings import Settings
from paretokit.cli.bench.steps import Sizes, Task, random_labels, take_step, task
from paretokit.errors import ConfigError
from paretokit.maths import raco
from paretokit.maths.gramian import gramian
from paretokit.models.policy import Policy
from paretokit.preferences.pack import Batch
from paretokit.training.config import TrainConfig
from paretokit.training.jacobian import Jacobian, objective_jacobian

_FULL_SIZES = Sizes(pairs=32, prompt=53, response=28)
_SIZES = Sizes(pairs=8, prompt=53, response=28)
_LONG = Sizes(pairs=4, prompt=512, response=64)


def dpo(settings: Settings) -> Iterator[Row]:
    """One objective's step beside TRL's `DPOTrainer`, in float32 and, if asked for, bfloat16."""
    baselines.check_trl()
    sizes = settings.sizes(_SIZES)
    for dtype in _dtypes(settings):
        what = f"DPO step, {settings.title}, LoRA, {dtype}"
        with TemporaryDirectory(prefix="paretokit-bench-") as folder:
            ours = task(settings.name, sizes, dtype=dtype, device=settings.device)
            theirs = baselines.trl_step(ours, Path(folder), bf16=dtype == "bfloat16")
            found = settings.compare(what, _step(settings, ours, 1, method="linear"), settings.timed(theirs))
        yield Row("dpo", what, "TRL DPOTrainer", Goal("faster", 2.5, aim=3), found, "s", str(sizes), settings.comparable)


def several(settings: Settings) -> Iterator[Row]:
    """RACO's step for several objectives beside the step for one of them, in float32 and, if asked for, bfloat16."""
    sizes = settings.sizes(_SIZES)
    for dtype in _dtypes(settings):
        made = task(settings.name, sizes, dtype=dtype, device=settings.device)
        for count, goal in ((2, 1.1), (4, 1.2), (8, 1.3)):
            what = f"RACO step, m = {count}, {settings.title}, LoRA, {dtype}"
            found = settings.compare(
                what, _step(settings, made, count, method="raco"), _step(settings, made, 1, method="linear")
            )
            against = "our step for one objective"
            yield Row("raco", what, against, Goal("cost", goal), found, "s", str(sizes), settings.comparable)


def passes(settings: Settings) -> Iterator[Row]:
    """RACO's step for four objectives beside the same with four backward passes: peft's and autograd's, then our own."""
    sizes = settings.sizes(_SIZES)
    made = task(settings.name, sizes, device=settings.device)
    yield _beside_passes("passes", settings, made, 4, goal=Goal("faster", 3), sizes=sizes, gradients=baselines.passes_of_peft)
    yield _beside_passes("passes", settings, made, 4, goal=Goal("faster"), sizes=sizes, gradients=_our_passes)


def full(settings: Settings) -> Iterator[Row]:
    """Full fine-tuning by RACO beside the same with one backward pass per objective: autograd's, then our own."""
    sizes = settings.sizes(_FULL_SIZES)
    made = task(settings.name, sizes, adapter="full", device=settings.device)
    for count, value in ((2, 1.2), (4, 2), (8, 3)):
        goal = Goal("faster", value)
        for gradients in (baselines.passes_of_peft, _our_passes):
            yield _beside_passes("full", settings, made, count, goal=goal, sizes=sizes, gradients=gradients, kind="full")


def solver(settings: Settings) -> Iterator[Row]:
    """RACO's coefficients beside TorchJD's CAGrad, on Gramians of random gradients that conflict, at equal weights."""
    c = TrainConfig().c
    theirs = baselines.torchjd_cagrad(c=c)
    draws = 2 if settings.quick else 20
    for count, goal in ((2, 50), (8, 20)):
        what = f"solver, m = {count}"
        generator = torch.Generator().manual_seed(0)
        grams = [gramian([torch.empty(count, 2 * count).normal_(generator=generator)]) for _ in range(draws)]
        weights = torch.full((count,), 1 / count, dtype=torch.float64)
        ours = partial(_each, partial(raco.coefficients, weights=weights, c=c), grams)
        found = settings.compare(
            what, settings.timed(ours, per=draws), settings.timed(partial(_each, theirs, grams), per=draws)
        )
        sizes = f"{draws} Gramians of {count} gradients with {2 * count} parameters"
        goals = Goal("faster", goal)
        yield Row("solver", what, "TorchJD CAGradWeighting", goals, found.in_ms(), "ms", sizes, not settings.quick)


def head(settings: Settings) -> Iterator[Row]:
    """Peak memory of log-probabilities and their gradient beside plain logits; a process of its own for each figure."""
    full_size = memory.Head(positions=2048, hidden=1024, vocabulary=151_936)
    sizes = memory.Head(positions=512, hidden=32, vocabulary=32_768) if settings.quick else full_size
    what = f"memory of log-probabilities, V = {sizes.vocabulary:,}, D = {sizes.hidden}, {sizes.positions:,} positions"
    sides = memory.grown("projected", sizes), memory.grown("plain", sizes)
    found = settings.compare(what, *sides, repeats=3, warmup=0)
    goal, shape = Goal("cost", 0.25), f"hidden [{sizes.positions}, {sizes.hidden}], weight [{sizes.vocabulary}, {sizes.hidden}]"
    yield Row("memory", what, "logits and log_softmax", goal, found, "MiB", shape, not settings.quick)


def prefix(settings: Settings) -> Iterator[Row]:
    """A step on pairs that share a long prompt in one row beside the same on a row for each response."""
    sizes = settings.sizes(_LONG)
    made = task(settings.name, sizes, device=settings.device)
    sharing = made.policy.sharing
    if not sharing.allows(sizes.prompt + sizes.response):
        raise ConfigError(
            f"prefix: the policy {settings.name!r} does not share prompts ({sharing}), expected one that does. "
            "Choose another --policy."
        )
    what = f"RACO step, m = 2, {settings.title}, LoRA, prompts of {sizes.prompt} and responses of {sizes.response} tokens"
    found = settings.compare(
        what, _step(settings, made, 2, method="raco"), _step(settings, made, 2, method="raco", shared=False)
    )
    goal = Goal("faster", 1.6)
    yield Row("prefix", what, "a row for each response", goal, found, "s", str(sizes), settings.comparable)


BENCHES: dict[str, Callable[[Settings], Iterator[Row]]] = {
    "dpo": dpo,
    "raco": several,
    "passes": passes,
    "full": full,
    "solver": solver,
    "memory": head,
    "prefix": prefix,
    "heads": heads,
    "guided": guided,
}


def _dtypes(settings: Settings) -> Iterator[str]:
    """The precisions of the base, in turn."""
    yield "float32"
    if settings.bf16:
        if settings.device.type == "cpu" and not has_bf16():
            settings.say("this processor has no bfloat16 instructions: both sides will be extremely slow")
        yield "bfloat16"


def _our_passes(policy: Policy, batch: Batch, **how: Any) -> Jacobian:
    """The way that is taken where one pass would miss a weight."""
    with policy.in_one_piece():
        return objective_jacobian(policy, batch, separate=True, **how)


def _beside_passes(
    name: str,
    settings: Settings,
    made: Task,
    count: int,
    *,
    goal: Goal,
    sizes: Sizes,
    gradients: Callable[..., Jacobian],
    kind: str = "LoRA",
) -> Row:
    what = f"RACO step, m = {count}, {settings.title}, {kind}"
    against = f"{count} backward passes, " + ("our products" if gradients is _our_passes else "plain autograd")
    theirs = _step(settings, made, count, method="raco", gradients=gradients)
    found = settings.compare(what, _step(settings, made, count, method="raco"), theirs)
    return Row(name, what, against, goal, found, "s", str(sizes), settings.comparable)


def _step(settings: Settings, made: Task, count: int, **how: Any) -> Callable[[], float]:
    """Time one step with so many objectives. Both sides of a comparison train one policy: what a step costs does not depend
    on the weights, and there is memory for one of them."""
    labels = random_labels(count, pairs=len(made.pairs))
    return settings.timed(partial(take_step, made, labels, **how))


def _each(function: Callable[[Any], object], values: list[Any]) -> None:
    for value in values:
        function(value)
