"""How much memory a training takes, known before it starts: measured on short passes and scaled to the largest of the run.

Imports: torch, `pass_memory`, `reading`, `training`, `models` and `preferences`.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import NamedTuple, cast

import torch

from paretokit.experiments.pass_memory import PassCosts, Shape, shape_of
from paretokit.experiments.reading import PackedStep, packed, packed_steps
from paretokit.maths import contraction, heads
from paretokit.models.policy import Policy
from paretokit.preferences.pack import PASS
from paretokit.preferences.records import Preferences
from paretokit.shapes import Tensor
from paretokit.texts import EncodedPair
from paretokit.training.config import TrainConfig
from paretokit.training.encode import encode_preferences
from paretokit.training.loop import compute_of
from paretokit.training.sampling import counted
from paretokit.training.update import MOMENTS

__all__ = ["MemoryEstimate", "memory_estimate", "size"]

_LOGITS = 3  # of a chunk at a time: as they come, in float32, and their exponentials
_READING = (16, 4096)  # rows and positions of a pass without gradient, see `models.policy`


class MemoryEstimate(NamedTuple):
    """Bytes that a training needs at its peak, by what they are for, on the device of the policy."""

    weights: int  # of the model, and its buffers; they are there already
    gradients: int  # of every objective; twice where passes are added up, once more where objectives have passes of their own
    update: int  # the combined gradient
    moments: int  # of the optimizer
    activations: int  # what the largest pass keeps for its backward pass; with checkpointing, the layer that is made again too
    chunk: int  # there for a moment: logits of a chunk, products of one weight, or the gradients that pass through one layer
    reading: int  # log-probabilities without gradient, of the reference and of held-out pairs
    available: int | None  # what is free, and what the weights hold already; None where that is not known
    suggestion: str  # settings under which it fits, the fastest of those that were tried; "" where it does as it is

    @property
    def total(self) -> int:
        """The peak. Not everything is there at once: the update comes after the activations, and reading before the rows."""
        stepping = self.gradients + max(self.activations + self.chunk, self.update)
        return self.weights + self.moments + max(stepping, self.reading)

    @property
    def fits(self) -> bool:
        """Whether there is memory enough, as far as that is known."""
        return self.available is None or self.total <= self.available

    def report(self) -> str:
        """Return one line for people.

        >>> MemoryEstimate(2**30, 2**20, 0, 0, 2**30, 0, 0, 2**31, "checkpointing=True").report()
        '2.0 GiB needed, 2.0 GiB available: too little, it would fit with checkpointing=True'
        """
        there = "what is available is not known" if self.available is None else f"{size(self.available)} available"
        remedy = "" if self.fits else f": too little, it would fit with {self.suggestion}"
        return f"{size(self.total)} needed, {there}{remedy}"


def memory_estimate(
    policy: Policy, preferences: Preferences, *, config: TrainConfig, available: int | None = None
) -> MemoryEstimate:
    """Return what training `policy` on `preferences` would need. The policy is not changed.

    `available` replaces what the device says. The largest pass is that of the steps which the run would make, with their
    packing; beyond 2,048 pairs its first steps and one of the longest pairs. The trial runs as `config` asks for, but is not
    compiled. Counted are tensors. What an allocator holds beside them is not known before: a process on the CPU grew by half
    more in the one step of SmolLM2 that was measured.

    >>> import paretokit as pk
    >>> policy, preferences = pk.load_policy("tiny"), pk.world("safety").preferences
    >>> found = memory_estimate(policy, preferences, config=pk.TrainConfig(), available=2**33)
    >>> found.fits, found.suggestion, found.activations > found.weights
    (True, '', True)
    >>> found.gradients == found.moments  # two objectives, two moments
    True
    """
    config = counted(config, preferences, policy.heads)
    pairs = encode_preferences(policy, preferences, max_length=config.max_length)
    objectives = len(preferences.objectives)
    with _running(policy, config):
        costs = PassCosts(policy, pairs[0])
        steps = _steps(policy, pairs, preferences, config=config)
        found = _needed(policy, steps, pairs, costs, config=config, objectives=objectives)
        found = found._replace(available=_available(policy, found.weights) if available is None else available)
        if found.fits:
            return found
        return found._replace(suggestion=_suggestion(policy, pairs, preferences, costs, found, config=config))


def size(count: int) -> str:
    """Return bytes for people.

    >>> size(3 * 2**29), size(50 * 2**20), size(2**19)
    ('1.5 GiB', '50 MiB', '0.5 MiB')
    """
    if count >= 2**30:
        return f"{count / 2**30:.1f} GiB"
    return f"{count / 2**20:.0f} MiB" if count >= 10 * 2**20 else f"{count / 2**20:.1f} MiB"


@contextmanager
def _running(policy: Policy, config: TrainConfig) -> Iterator[None]:
    """Run the policy as a configuration asks for, but not compiled; afterwards as before."""
    before, policy.compute = policy.compute, compute_of(config)._replace(compiler=None)
    try:
        yield
    finally:
        policy.compute = before


def _steps(policy: Policy, pairs: Sequence[EncodedPair], preferences: Preferences, *, config: TrainConfig) -> list[PackedStep]:
    """The steps of a run or, where these are too many to look at, its first ones and one of the longest pairs."""
    steps = packed_steps(policy, pairs, preferences, config=config)
    if len(steps) < config.steps:
        rows = max(len(step.pairs) for step in steps)
        longest = sorted(pairs, key=lambda pair: -pair.tokens)[:rows]
        steps.append(packed(policy, longest, config=config))
    return steps


def _needed(
    policy: Policy,
    steps: Sequence[PackedStep],
    pairs: Sequence[EncodedPair],
    costs: PassCosts,
    *,
    config: TrainConfig,
    objectives: int,
) -> MemoryEstimate:
    """The parts, with nothing said about what is available."""
    trainable = sum(_bytes(weight) for weight in policy.trainable.values())
    together = config.compiler is None and policy.coverage.exact
    several = any(len(step.plan.passes) > 1 for step in steps)
    own = sum(_bytes(weight) for weight in (policy.bank.parameters() if policy.bank else {}).values())
    gradients = ((trainable - own) * objectives + own) * (2 if several else 1)
    if together:
        gradients += objectives * _tied(policy)
    else:
        gradients += trainable  # of the objective whose turn it is
    passes = {(shape_of(step.pairs, one), one.shared, one.forked) for step in steps for one in step.plan.passes}
    most = max(len(one.pairs) for step in steps for one in step.plan.passes)
    kept = [
        costs.kept(shape, shared=shared, checkpointing=config.checkpointing, forked=forked) for shape, shared, forked in passes
    ]
    layer = max(costs.layer(shape, shared=shared, forked=forked) for shape, shared, forked in passes)
    scored = max(shape.scored for shape, _, _ in passes)
    products = _products(policy, pairs=most) if together else 0
    return MemoryEstimate(
        weights=_held(chain(policy.model.parameters(), policy.model.buffers())),
        gradients=gradients,
        update=trainable * (2 if config.combine_every else 1),  # what is combined already, and the next part
        moments=MOMENTS[config.optimizer] * trainable,
        activations=round(max(kept) + (layer if config.checkpointing else 0)),
        chunk=round(max(_logits(policy, scored=scored), products, layer)),
        reading=round(_reading(policy, pairs, costs)),
        available=None,
        suggestion="",
    )


def _suggestion(
    policy: Policy,
    pairs: Sequence[EncodedPair],
    preferences: Preferences,
    costs: PassCosts,
    found: MemoryEstimate,
    *,
    config: TrainConfig,
) -> str:
    """The changes under which a training fits that does not as it is: of those tried, the ones that cost the least time."""
    tried: list[dict[str, int]] = [{}]
    tried += [{"tokens_per_backward": count} for count in _halves(config.tokens_per_backward)]
    tried += [{"pairs_per_backward": count} for count in _halves(config.pairs_per_backward or config.pairs_per_step)]
    fitting: list[tuple[float, str]] = []
    needs: list[int] = []
    for change in tried:
        steps = _steps(policy, pairs, preferences, config=config.replace(**change))
        time = sum(step.plan.positions + PASS * len(step.plan.passes) for step in steps)
        for checkpointing in {config.checkpointing, config.checkpointing or costs.layered}:
            changes = {"checkpointing": True} if checkpointing and not config.checkpointing else {}
            wanted = config.replace(**change, checkpointing=checkpointing)
            need = _needed(policy, steps, pairs, costs, config=wanted, objectives=len(preferences.objectives))
            needs.append(need.total)
            if need._replace(available=found.available).fits:
                # a checkpointed pass has another forward pass, beside one forward and two backward ones
                fitting.append((time * (4 / 3 if changes else 1), _listed({**changes, **change})))
    if fitting:
        return min(fitting)[1]
    other = "" if policy.adapter == "lora" else " or adapter='lora'"
    return f"a smaller max_length{other} (the settings of a pass save too little: {size(min(needs))} is the least)"


def _halves(count: int) -> list[int]:
    """A number halved again and again, down to 1.

    >>> _halves(8)
    [4, 2, 1]
    """
    return [] if count <= 1 else [count // 2, *_halves(count // 2)]


def _listed(changes: dict[str, int]) -> str:
    return ", ".join(f"{name}={value}" for name, value in changes.items())


def _logits(policy: Policy, *, scored: int) -> float:
    """What exists of logits at a time, in float32: a chunk of them where they are made in chunks."""
    vocabulary = _embedding(policy.model.get_output_embeddings()).shape[0]
    rows = min(scored, max(1, heads._AT_ONCE // vocabulary)) if policy.projection.exact else scored
    return 4.0 * _LOGITS * rows * vocabulary


def _products(policy: Policy, *, pairs: int) -> float:
    """The products of one weight, of which `maths.contraction` makes at most one for each pair."""
    areas = [_bytes(weight) for weight in policy.trainable.values() if weight.ndim == 2]
    return float(max((min(pairs * area, max(area, 4 * contraction._AT_ONCE)) for area in areas), default=0))


def _reading(policy: Policy, pairs: Sequence[EncodedPair], costs: PassCosts) -> float:
    """What a pass without gradient needs: one layer, and logits."""
    rows, positions = _READING
    longest = max(pair.longest for pair in pairs)
    rows = max(1, min(rows, positions // longest, 2 * len(pairs)))
    scored = rows * max(max(len(pair.response_a), len(pair.response_b)) for pair in pairs)
    return costs.layer(Shape(rows, longest, scored), shared=False) + _logits(policy, scored=scored)


def _tied(policy: Policy) -> int:
    """The bytes of a trained embedding that is the output projection too: both uses have rows before they are added."""
    embedding, head = (_embedding(part) for part in (policy.model.get_input_embeddings(), policy.model.get_output_embeddings()))
    trained = any(weight is head for weight in policy.trainable.values())
    return _bytes(head) if trained and embedding is head else 0


def _embedding(module: torch.nn.Module | None) -> Tensor:
    assert module is not None, "the policy's projection was asked for before"
    return cast(Tensor, module.weight)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _held(tensors: Iterable[Tensor]) -> int:
    """The bytes of the distinct storages of tensors."""
    return sum({part.untyped_storage().data_ptr(): part.untyped_storage().nbytes() for part in tensors}.values())


def _available(policy: Policy, weights: int) -> int | None:
    """What is free on the device of a policy, and what its weights hold; None where that cannot be known."""
    free = _free(policy.device)
    return None if free is None else free + weights


def _free(device: torch.device) -> int | None:
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return _free_of_system() if device.type == "cpu" else None


def _free_of_system(*, told: Path = Path("/proc/meminfo")) -> int | None:
    """What the operating system would give to a new program."""
    if told.exists():
        for line in told.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
