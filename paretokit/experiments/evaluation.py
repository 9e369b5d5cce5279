"""What is measured before and after a run: samples scored exactly on a world, or held-out pairs where there are no scorers.

Both give a frame with one row per sample or pair, a `prompt_index`, and one column per axis of the front; larger is better.
Imports: `score`, `training`, `decoding`, `models` and `preferences`.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd
import torch

from paretokit.decoding.sample import generate
from paretokit.errors import ConfigError, DataError
from paretokit.experiments.score import score
from paretokit.maths.simplex import Weights
from paretokit.models.policy import Policy
from paretokit.preferences.records import Preferences
from paretokit.preferences.worlds import World, world
from paretokit.training.encode import encode_preferences
from paretokit.training.references import References, reference_sums

Stop = Callable[[], bool]


@dataclass(frozen=True, kw_only=True)
class WorldEvaluation:
    """Samples on a world's held-out prompts, scored by its exact scorers. The seed is fixed across runs, so that two
    policies are compared on the same uniforms."""

    name: str
    prompts: int = 64
    copies: int = 4
    temperature: float = 1.0
    max_new_tokens: int = 64
    seed: int = 0

    @property
    def world(self) -> World:
        """The world itself."""
        return world(self.name)

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes of the front: the world's objectives."""
        return tuple(self.world.scorers)

    def to_json(self) -> dict[str, Any]:
        """Return what was measured, for the run's spec."""
        return {"kind": "world", "axes": list(self.axes), **asdict(self)}

    def quick(self) -> "WorldEvaluation":
        """Return the same with one answer to each prompt: what a look in the middle of a run can afford."""
        return replace(self, copies=1)

    def __call__(
        self, policy: Policy, *, references: References, weights: Weights | None = None, stop: Stop | None = None
    ) -> pd.DataFrame:
        """Return one row per sample: prompt_index, copy, prompt, text, tokens, ended, and the score of each objective.

        `weights` mix the heads of a policy that has some.
        """
        task = self.world
        generations = generate(
            policy,
            task.prompts[: self.prompts],
            weights=weights,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            seed=self.seed,
            copies=self.copies,
            batch_size=256,
            stop=stop,
        )
        return score(generations, task.scorers)


@dataclass(frozen=True, kw_only=True)
class HeldOutEvaluation:
    """Accuracies on held-out pairs, for data without scorers (design section 4).

    Per objective, on its judged and untied pairs: "<objective> accuracy", whether the policy's `sum_logps` difference has
    the label's sign, and "<objective> margin accuracy", the same for the difference minus the reference's. A difference of
    exactly zero counts one half; pairs that are not judged, or tied, are NaN.
    """

    pairs: Preferences
    max_length: int | None

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes of the front: the accuracy per objective."""
        return tuple(f"{objective} accuracy" for objective in self.pairs.objectives)

    @property
    def unjudged(self) -> tuple[str, ...]:
        """The objectives on which no held-out pair is judged and untied: they have no figure."""
        known = (self.pairs.labels.abs() == 1).any(dim=1).tolist()
        return tuple(name for name, judged in zip(self.pairs.objectives, known, strict=True) if not judged)

    def to_json(self) -> dict[str, Any]:
        """Return what was measured, for the run's spec."""
        return {
            "kind": "heldout",
            "axes": list(self.axes),
            "pairs": len(self.pairs),
            "fingerprint": self.pairs.fingerprint,
            "max_length": self.max_length,
        }

    def __call__(
        self, policy: Policy, *, references: References, weights: Weights | None = None, stop: Stop | None = None
    ) -> pd.DataFrame:
        """Return one row per held-out pair: prompt_index, pair, and two accuracies (1, 0, one half, NaN) per objective.

        `weights` mix the heads of a policy that has some. `stop` is for samples, token by token; here it is not asked.
        """
        encoded = encode_preferences(policy, self.pairs, max_length=self.max_length)
        prompts = [pair.prompt for pair in encoded for _ in range(2)]
        responses = [response for pair in encoded for response in (pair.response_a, pair.response_b)]
        base = reference_sums(policy, encoded, references)
        same = policy.at_base()  # then its figures are already there
        sums = base if same else policy.ids_logps(prompts, responses, weights=weights).to(torch.float64).reshape(-1, 2)
        difference = sums[:, 0] - sums[:, 1]
        margin = difference - (base[:, 0] - base[:, 1])
        numbers = {prompt: index for index, prompt in enumerate(dict.fromkeys(map(str, self.pairs.prompts)))}
        frame = pd.DataFrame(
            {"prompt_index": [numbers[str(prompt)] for prompt in self.pairs.prompts], "pair": range(len(encoded))}
        )
        for index, objective in enumerate(self.pairs.objectives):
            labels = self.pairs.labels[index].to(torch.float64)
            for name, value in ((f"{objective} accuracy", difference), (f"{objective} margin accuracy", margin)):
                hits = (torch.sign(value) * labels + 1) / 2
                frame[name] = torch.where(labels.abs() == 1, hits, torch.nan).tolist()
        return frame


Evaluation = WorldEvaluation | HeldOutEvaluation


def plan(preferences: Preferences, *, heldout: int, max_length: int | None) -> tuple[Preferences, Evaluation | None]:
    """Return the pairs to train on and what to measure: on a world its own held-out prompts; on other data up to `heldout`
    pairs, at most a fifth, split off by prompt with a fixed seed; nothing where `heldout` is 0 or there are fewer than five
    pairs. Raises `ConfigError` for a negative `heldout`, `DataError` for pairs of a single prompt, which cannot be split."""
    if heldout < 0:
        raise ConfigError(f"heldout: found {heldout}, expected a number of pairs, or 0 for no figures.")
    if preferences.source.startswith("world:"):
        return preferences, WorldEvaluation(name=preferences.source.removeprefix("world:"))
    count = min(heldout, len(preferences) // 5)
    if count == 0:
        return preferences, None
    if len(set(preferences.prompts)) == 1:
        raise DataError(
            f"heldout: found {len(preferences)} pairs of one prompt, expected two prompts or more, since figures are about "
            "prompts that are not trained on. Bring more prompts, or set heldout=0."
        )
    train, test = preferences.split(test=count, seed=0)
    return train, HeldOutEvaluation(pairs=test, max_length=max_length)
