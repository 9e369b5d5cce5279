"""What one forward pass keeps for its backward pass, by its shape: measured on four short passes.

What autograd keeps of a pass is a sum over its tensors, whose sizes are products of few numbers: rows R, width T and scored
tokens N. So its bytes are f + p R T + s N + q R T^2, and four short forward passes give f, p, s and q; no weight of the model
and no family is looked at. Imports: torch, `training`, `models` and `preferences`.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import chain
from typing import NamedTuple

import torch

from paretokit.models import compute
from paretokit.models.policy import Policy
from paretokit.preferences.pack import Pass, make_batch
from paretokit.shapes import Float64, Tensor
from paretokit.texts import EncodedPair
from paretokit.training.jacobian import margins, routing, taps_for

__all__ = ["PassCosts", "Shape", "shape_of"]


class Shape(NamedTuple):
    """What the memory of a pass depends on."""

    rows: int
    width: int
    scored: int

    @property
    def features(self) -> tuple[float, float, float, float]:
        """What its bytes are a weighted sum of: 1, R T, N and R T^2."""
        positions = self.rows * self.width
        return 1.0, positions, self.scored, positions * self.width


class PassCosts:
    """Bytes that passes keep, from trials that are made when they are first asked for."""

    def __init__(self, policy: Policy, pair: EncodedPair) -> None:
        self._policy = policy
        self._tokens = [*pair.prompt, *pair.response_a, *pair.response_b]
        self._found: dict[tuple[bool, bool, bool], Float64[Tensor, "4 2"]] = {}

    @property
    def layered(self) -> bool:
        """Whether the model has layers that can be computed once more."""
        return any(isinstance(part, compute.GradientCheckpointingLayer) for part in self._policy.model.modules())

    def kept(self, shape: Shape, *, shared: bool, checkpointing: bool, forked: bool = False) -> float:
        """What a pass keeps until its backward pass."""
        return self._scaled(shape, shared, checkpointing, forked, column=0)

    def layer(self, shape: Shape, *, shared: bool, forked: bool = False) -> float:
        """What the layer with the most of it keeps, without checkpointing; all, where layers cannot be told apart."""
        return self._scaled(shape, shared, False, forked, column=1 if self.layered else 0)

    def _scaled(self, shape: Shape, shared: bool, checkpointing: bool, forked: bool, *, column: int) -> float:
        key = (shared, checkpointing, forked)
        if key not in self._found:
            self._found[key] = self._fit(shared=shared, checkpointing=checkpointing, forked=forked)
        features = torch.tensor(shape.features, dtype=torch.float64)
        return max(0.0, float(features @ self._found[key][:, column]))

    def _fit(self, *, shared: bool, checkpointing: bool, forked: bool) -> Float64[Tensor, "4 2"]:
        """The bytes of a pass and of its largest layer for each feature: fixed, per position, per scored token, per square."""
        long = min(128, self._policy.context_length)
        short = max(long // 4, 3)
        trials = [  # in pairs: how many, how long, scored tokens of each
            self._pairs(1, short, short // 2),
            self._pairs(1, long, long // 2),
            self._pairs(1, short, 2),
            self._pairs(4, short, short // 2),
        ]
        measured, features = [], []
        before = self._policy.compute
        self._policy.compute = before._replace(checkpointing=checkpointing)
        try:
            for pairs in trials:
                whole = Pass(tuple((index,) for index in range(len(pairs))), shared, forked)
                measured.append(_trial(self._policy, pairs, shared=shared, forked=forked))
                features.append(shape_of(pairs, whole).features)
        finally:
            self._policy.compute = before
        return torch.linalg.solve(
            torch.tensor(features, dtype=torch.float64), torch.tensor(measured, dtype=torch.float64)
        ).clamp(min=0)

    def _pairs(self, count: int, length: int, scored: int) -> list[EncodedPair]:
        """Pairs of tokens of the data: in a shared row `length` of them, in one for each response a few less."""
        tokens = (self._tokens * (length // len(self._tokens) + 1))[:length]
        first = max(1, scored // 2)
        prompt = length - 2 * first
        pair = EncodedPair(tuple(tokens[:prompt]), tuple(tokens[prompt : prompt + first]), tuple(tokens[prompt + first :]))
        return [pair] * count


def shape_of(pairs: Sequence[EncodedPair], one: Pass) -> Shape:
    """The shape of a pass, whose pairs are those of a step by number."""
    members = [pairs[index] for index in one.pairs]
    scored = sum(len(pair.response_a) + len(pair.response_b) for pair in members)
    if not one.shared:
        return Shape(2 * len(members), max(pair.longest for pair in members), scored)
    if one.forked:  # a prompt and both responses, each padded
        width = max(len(pair.prompt) for pair in members) + 2 * max(max(len(p.response_a), len(p.response_b)) for p in members)
        return Shape(len(members), width, scored)
    widths = [sum(pairs[index].tokens - len(pairs[index].prompt) for index in row) for row in one.rows]
    return Shape(len(one.rows), max(widths), scored)


class _Kept:
    """What autograd has been given to keep: the bytes of distinct storages that are not those of the model."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._seen = {part.untyped_storage().data_ptr() for part in chain(model.parameters(), model.buffers())}
        self._alive: list[Tensor] = []  # so that no other storage takes an address
        self.bytes = 0

    def __call__(self, tensor: Tensor) -> Tensor:
        storage, kept = tensor.untyped_storage(), tensor.detach()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self._alive.append(kept)
            self.bytes += storage.nbytes()
        return kept


def _trial(policy: Policy, pairs: Sequence[EncodedPair], *, shared: bool, forked: bool) -> tuple[float, float]:
    """The bytes that a forward pass keeps, and those that the largest layer adds to what was there before it."""
    numbers = torch.arange(len(pairs))
    labels = torch.ones(1, len(pairs))
    if policy.heads:  # as many of each
        labels = torch.full((len(policy.heads), len(pairs)), torch.nan)
        labels[numbers % len(policy.heads), numbers] = 1.0
    batch = make_batch(pairs, labels, torch.zeros(len(pairs)), numbers, shared=shared, forked=forked)
    routes = routing(policy, labels, policy.heads)
    kept, added, before = _Kept(policy.model), [0], [0]

    def enter(module: torch.nn.Module, inputs: object) -> None:
        before[0] = kept.bytes

    def leave(module: torch.nn.Module, inputs: object, output: object) -> None:
        added.append(kept.bytes - before[0])

    layers = [part for part in policy.model.modules() if isinstance(part, compute.GradientCheckpointingLayer)]
    hooks = [hook for one in layers for hook in (one.register_forward_pre_hook(enter), one.register_forward_hook(leave))]
    tapped = policy.tapped(taps_for(policy, batch, routes)) if policy.coverage.exact else nullcontext()
    try:
        with torch.enable_grad(), tapped, torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor):
            margins(policy, batch.to(policy.device), through=None if routes is None else routes.heads(batch))
    finally:
        for hook in hooks:
            hook.remove()
    return float(kept.bytes), float(max(added))
