"""Policies trained apart, one per objective, mixed where they answer: what multi-head policies are compared with.

`Soup` mixes weights (rewarded soups, arXiv 2306.04488): W + sum_i w_i D_i with the whole change D_i of each policy, never an
average of adapters' factors, whose product would be another matrix. `LogitMixture` runs all policies and mixes their logits
(multi-objective decoding, arXiv 2406.18853). Both answer `generate(..., weights=...)` as a policy with heads does.
Imports: torch, `maths.simplex`, `lora`, `merging`, `policy`, `saving`, `sharing`, `stepwise`, `errors`.
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from peft.tuners.lora import LoraLayer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from paretokit.errors import ConfigError, ModelError
from paretokit.maths.simplex import Weights, resolve
from paretokit.models import lora, saving
from paretokit.models.policy import Policy
from paretokit.models.sharing import Sharing
from paretokit.models.stepwise import stepwise
from paretokit.shapes import Float, Int, Tensor
from paretokit.templates import ChatFormat

__all__ = ["LogitMixture", "Soup"]


class _Apart:
    """Policies on one base, one per objective."""

    def __init__(self, policies: Mapping[str, Policy]) -> None:
        _check(policies)
        self.policies = dict(policies)
        self._any = next(iter(self.policies.values()))

    @property
    def heads(self) -> tuple[str, ...]:
        """The objectives, in order: one policy each."""
        return tuple(self.policies)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer that the policies share."""
        return self._any.tokenizer

    @property
    def chat(self) -> ChatFormat:
        """How texts become ids; the same for all policies."""
        return self._any.chat

    @property
    def device(self) -> torch.device:
        """The device of the policies."""
        return self._any.device

    @property
    def context_length(self) -> int:
        """The number of positions that the models were made for."""
        return self._any.context_length

    @property
    def sharing(self) -> Sharing:
        """What the models allow, see `Policy.sharing`: the same for all, since they share a base."""
        return self._any.sharing

    def mixture(self, weights: Weights | None, *, extrapolate: bool = False, place: str = "weights") -> tuple[float, ...]:
        """Return the weights, checked, in the order of `heads`; see `Policy.mixture`."""
        if weights is None:
            raise ConfigError(
                f"{place}: found none for the policies {', '.join(self.heads)}, expected one weight for each. "
                "Pass weights that sum to 1."
            )
        return resolve(weights, self.heads, place=place, extrapolate=extrapolate)


class Soup(_Apart):
    """One model from several policies: their weights mixed. The policies share a base and are all LoRA or all full.

    Raises `ConfigError` for policies that cannot be mixed.

    >>> from paretokit.models.tiny import random_policy
    >>> soup = Soup({"kind": random_policy(), "short": random_policy().fork(seed=1)})
    >>> soup.heads, type(soup.merged([0.5, 0.5])).__name__
    (('kind', 'short'), 'LlamaForCausalLM')
    """

    def merged(self, weights: Weights | None = None, *, extrapolate: bool = False) -> PreTrainedModel:
        """Return the mixture by weights that sum to one as a plain model; what is frozen is shared with the policies."""
        mixture = self.mixture(weights, extrapolate=extrapolate)
        models: list[Any] = [policy.model for policy in self.policies.values()]
        if self._any.adapter == "lora":
            models = [model.get_base_model() for model in models]
        return cast(PreTrainedModel, _mixed(models, mixture, {}))

    def export(self, folder: str | Path, *, weights: Weights, extrapolate: bool = False) -> None:
        """Write the mixture as a plain transformers folder that `AutoModelForCausalLM` reads alone."""
        saving.export_model(self.merged(weights, extrapolate=extrapolate), self.chat, Path(folder))


class LogitMixture(_Apart):
    """Several policies that answer together: each runs, and their logits are mixed. It costs what all of them cost.

    Raises `ConfigError` for policies that cannot be mixed.
    """

    def merged(self, weights: Weights | None = None, *, extrapolate: bool = False) -> "Together":
        """Return the mixture by weights that sum to one as something to decode with; a policy of weight 0 does not run."""
        mixture = self.mixture(weights, extrapolate=extrapolate)
        models = [policy.merged() for policy, weight in zip(self.policies.values(), mixture, strict=True) if weight]
        return Together(models, torch.tensor([[weight for weight in mixture if weight]]).to(self.device))

    def by_row(self, weights: Float[Tensor, "B H"]) -> "tuple[Together, Together]":
        """Return what decodes B rows, each by weights of its own; see `Policy.by_row`."""
        made = Together([policy.merged() for policy in self.policies.values()], weights.float().to(self.device))
        return made, made


class Together:
    """Models that run side by side on the same tokens, with a cache each; it is called as a model is, and as a `RowHead`."""

    def __init__(self, models: Sequence[Any], weights: Float[Tensor, "B H"]) -> None:
        self.models = [stepwise(model) for model in models]
        self.weights = weights
        self.spread: Int[Tensor, " B"] | None = None

    @property
    def device(self) -> torch.device:
        """The device of the models."""
        return self.models[0].device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the models."""
        return self.models[0].dtype

    @property
    def config(self) -> Any:
        """The configuration that the models share."""
        return self.models[0].config

    def select(self, rows: Int[Tensor, " b"]) -> None:
        """Keep some of the rows, in this order."""
        self.weights = self.weights[rows]

    def __call__(self, *, past_key_values: "Caches | None" = None, **inputs: Any) -> "Answer":
        """Return the mixed logits [B, T, V] and the caches."""
        caches = [None] * len(self.models) if past_key_values is None else past_key_values.parts
        found = [model(**inputs, past_key_values=cache) for model, cache in zip(self.models, caches, strict=True)]
        logits = torch.stack([output.logits for output in found], dim=1)  # [B, H, T, V]
        logits = logits if self.spread is None else logits[self.spread]
        mixed = (self.weights[:, :, None, None].to(logits) * logits).sum(dim=1)
        return Answer(mixed, Caches([output.past_key_values for output in found]))


class Caches:
    """The key-value caches of several models."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = list(parts)

    def batch_select_indices(self, rows: Int[Tensor, " b"]) -> None:
        """Keep some of the rows in every cache, in this order."""
        for part in self.parts:
            part.batch_select_indices(rows)


class Answer(NamedTuple):
    """What a model answers, as far as decoding reads it."""

    logits: Float[Tensor, "B T V"]
    past_key_values: Caches


@torch.no_grad()
def _mixed(modules: Sequence[Any], weights: Sequence[float], made: dict[int, Any]) -> torch.nn.Module:
    """The twin of equal modules with sum_i w_i W_i for each parameter, and the changes by LoRA added up. `made` keeps what
    was mixed, so that tied weights stay tied."""
    first: Any = modules[0]
    if isinstance(first, LoraLayer):
        twin: Any = copy.copy(lora.underneath(first))
        mixed = {name: twin._parameters[name] for name in lora.changes(first)}
        for module, weight in zip(modules, weights, strict=True):
            mixed = {name: mixed[name] + weight * change for name, change in lora.changes(module).items()}
        twin._parameters = {
            **twin._parameters,
            **{name: torch.nn.Parameter(value, requires_grad=False) for name, value in mixed.items()},
        }
        return twin
    twin = copy.copy(first)
    twin._parameters = {
        name: _parameter([module._parameters[name] for module in modules], weights, made) for name in first._parameters
    }
    twin._modules = {
        name: None if child is None else _mixed([module._modules[name] for module in modules], weights, made)
        for name, child in first._modules.items()
    }
    return twin


def _parameter(parts: Sequence[Any], weights: Sequence[float], made: dict[int, Any]) -> Any:
    first = parts[0]
    if first is None or all(part is first for part in parts):
        return first
    if id(first) not in made:
        mixed = torch.zeros_like(first)
        for weight, part in zip(weights, parts, strict=True):
            mixed.add_(part, alpha=weight)
        made[id(first)] = torch.nn.Parameter(mixed, requires_grad=False)
    return made[id(first)]


def _check(policies: Mapping[str, Policy]) -> None:
    if not policies:
        raise ConfigError("policies: found none, expected one per objective. Pass {objective: policy}.")
    first = next(iter(policies.values()))
    for name, policy in policies.items():
        if policy.heads:
            raise ConfigError(
                f"policy {name!r}: found the heads {', '.join(policy.heads)}, expected none. Its heads mix by themselves."
            )
        if policy.adapter != first.adapter or policy.model.dtype != first.model.dtype:
            raise ConfigError(
                f"policy {name!r}: found adapter {policy.adapter!r} in {policy.model.dtype}, expected {first.adapter!r} in "
                f"{first.model.dtype} as in the first one. Load all policies alike."
            )
        if policy.base is not first.base and policy.base_hash != first.base_hash:
            raise ModelError(
                f"policy {name!r}: found another base than that of the first one ({policy.base.name!r} and "
                f"{first.base.name!r}), expected the same weights. Train all policies from one base."
            )
        if policy.chat.template != first.chat.template:
            raise ConfigError(
                f"policy {name!r}: found {policy.chat.to_json()}, expected {first.chat.to_json()} as in the first one: their "
                "chat templates have other options or dates. Load all policies with the same chat_options= and date=."
            )
