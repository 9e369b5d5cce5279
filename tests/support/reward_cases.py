"""Step labels, pairs and reward models for tests: small, of every kind, with labels that are missing."""

from collections.abc import Sequence

import torch
from support.models_cases import disturb
from support.training_cases import pairs

from paretokit.models.rewards import RewardModel, new_reward_model
from paretokit.models.tiny import random_policy
from paretokit.preferences.records import Preferences
from paretokit.preferences.step_labels import StepLabels

KINDS = {"worth": "value", "right": "class", "kind": "preference"}
PROMPTS = ["2 + 2 =", [{"role": "user", "content": "Why?"}], "x", "a longer prompt than the others, by far"]
STEPS = [["Two and two.", " That is 4.", "\n\nDone."], ["Because."], [], [" Yes", "", " and no", " and yes again."]]


def reward_model(
    family: str = "llama",
    *,
    kinds: dict[str, str] | None = None,
    adapter: str = "lora",
    dtype: torch.dtype = torch.float64,
    width: int | None = None,
    device: str = "cpu",
    moved: bool = True,
    seed: int = 0,
) -> RewardModel:
    """A reward model on a random backbone whose weights, adapter and outputs, are those of a trained one, if `moved`."""
    policy = random_policy(family, adapter=adapter, dtype=dtype, device=device)
    model = new_reward_model(policy, kinds=kinds or KINDS, width=width, seed=seed)
    if moved:
        disturb(policy, size=0.05)
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for part in model.outputs.parameters().values():
                part += 0.3 * torch.randn(part.shape, generator=generator, dtype=part.dtype).to(part.device)
        model.temperatures = {name: 1.0 if kind == "value" else 1.5 for name, kind in model.kinds.items()}
    return model


def step_labels(*, count: int = 10, kinds: dict[str, str] | None = None) -> StepLabels:
    """Responses of one to four steps on half as many prompts; some labels are missing, and a record has one objective alone."""
    kinds = {"worth": "value", "right": "class"} if kinds is None else kinds
    steps = [[f"step {j} of {i}. " * (1 + (i + j) % 2) for j in range(1 + i % 4)] for i in range(count)]
    labels: list[dict[str, list[float | None]]] = []
    for i, own in enumerate(steps):
        row: dict[str, list[float | None]] = {}
        for k, (name, kind) in enumerate(kinds.items()):
            numbers = [(3 * i + 5 * j + k) % 7 / 7 if kind == "value" else (i + j + k) % 2 for j in range(len(own))]
            row[name] = [None if j and (i + j + k) % 3 == 0 else number for j, number in enumerate(numbers)]
        labels.append(row)
    if len(kinds) > 1:
        labels[1] = {next(iter(kinds)): labels[1][next(iter(kinds))]}
    return StepLabels(kinds=kinds, prompts=[f"prompt {i // 2}" for i in range(count)], steps=steps, labels=labels)


def all_labels(*, count: int = 10) -> list[StepLabels | Preferences]:
    """Labels of the three kinds; two prompts have both steps and pairs."""
    drawn = pairs(objectives=1, count=count)
    shared = Preferences(
        objectives=["kind"],
        prompts=[f"prompt {i}" if i < 2 else prompt for i, prompt in enumerate(drawn.prompts)],
        responses_a=drawn.responses_a,
        responses_b=drawn.responses_b,
        labels=drawn.labels,
    )
    return [step_labels(count=count), shared]


def mean_by_hand(losses: Sequence[Sequence[float]]) -> float:
    """The mean of each example's mean."""
    means = [sum(own) / len(own) for own in losses]
    return sum(means) / len(means)
