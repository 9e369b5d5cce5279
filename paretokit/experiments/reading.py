"""How the pairs of a run are read: in which passes and rows, and what the policy allows.

Imports: `training`, `models` and `preferences`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from paretokit.models.forking import Forking
from paretokit.models.policy import Policy
from paretokit.models.projection import Projection
from paretokit.models.sharing import Sharing
from paretokit.models.taps import Coverage
from paretokit.preferences.pack import Packing
from paretokit.preferences.records import Preferences
from paretokit.texts import EncodedPair
from paretokit.training.config import TrainConfig
from paretokit.training.encode import encode_preferences
from paretokit.training.loop import compute_of, plan_of
from paretokit.training.sampling import counted, draw_for

__all__ = ["PackedStep", "Reading", "how_read", "packed", "packed_steps", "shared_prompts"]

_LOOKED_AT = 2048  # pairs whose steps are packed; a longer run is taken to be like its beginning


class PackedStep(NamedTuple):
    """The pairs of one optimizer step, and how they are read."""

    pairs: tuple[EncodedPair, ...]
    plan: Packing


class Reading(NamedTuple):
    """How the pairs of a run are read, and what the policy allows."""

    plan: Packing  # of the step in the middle, by positions
    sharing: Sharing  # whether the responses of a pair share their prompt
    projection: Projection  # whether logits are made a chunk at a time
    coverage: Coverage  # whether one backward pass serves all objectives
    apart: int  # pairs of the data whose responses do not share their prompt in a row
    pairs: int  # of the data
    forking: Forking = Forking(False, "")  # whether prompts not shared in a row are read once; asked where there are some

    @property
    def shared_prompts(self) -> str:
        """Whether prompts are read once: yes, no, or forked, and why."""
        return shared_prompts(self.sharing, self.forking, longer=bool(self.apart))

    @property
    def reasons(self) -> tuple[str, ...]:
        """What is read in a slower way, which gives the same numbers, and why."""
        told = []
        if self.apart:
            window = f"longer than the {self.sharing.window} tokens that a layer sees"
            why = self.sharing.reason or window
            forked = f"; nor are they forked: {self.forking.reason}" if self.forking.reason else ""
            told.append(f"{self.apart} of {self.pairs} pairs do not share their prompt in one row: {why}{forked}")
        if not self.coverage.exact:
            told.append(f"each objective has a backward pass of its own: {self.coverage.reason}")
        if not self.projection.exact:
            told.append(f"the logits of a pass are made all at once: {self.projection.reason}")
        return tuple(told)

    def report(self) -> str:
        """Return one line for people."""
        return "; ".join([self.plan.report(), *self.reasons])


def how_read(policy: Policy, preferences: Preferences, *, config: TrainConfig) -> Reading:
    """Return how a run would read its pairs. The policy is not changed.

    >>> import paretokit as pk
    >>> found = how_read(pk.load_policy("tiny"), pk.world("safety").preferences, config=pk.TrainConfig(pairs_per_step=2))
    >>> found.report()
    '2 pairs in 1 row, 1 pass: 0 of them apart, ... tokens saved by shared prompts, 0 % padding'
    """
    pairs = encode_preferences(policy, preferences, max_length=config.max_length)
    steps = sorted(packed_steps(policy, pairs, preferences, config=config), key=lambda step: step.plan.positions)
    sharing = policy.sharing
    apart = sum(not sharing.allows(pair.longest) for pair in pairs)
    before, policy.compute = policy.compute, compute_of(config)
    try:
        forking = policy.forking if apart else Forking(False, "")
        return Reading(steps[len(steps) // 2].plan, sharing, policy.projection, policy.coverage, apart, len(pairs), forking)
    finally:
        policy.compute = before


def packed_steps(
    policy: Policy, pairs: Sequence[EncodedPair], preferences: Preferences, *, config: TrainConfig
) -> list[PackedStep]:
    """Return the steps that a run would make, as `training.loop` packs them; of more than 2,048 pairs the first ones.

    `pairs` are those of `preferences`, encoded.
    """
    config = counted(config, preferences, policy.heads)
    draw, count = draw_for(policy.heads, preferences, config), min(config.steps, max(1, _LOOKED_AT // config.pairs_per_step))
    return [packed(policy, [pairs[index] for index in draw(step).pairs], config=config) for step in range(1, count + 1)]


def packed(policy: Policy, pairs: Sequence[EncodedPair], *, config: TrainConfig) -> PackedStep:
    """Return a step of these pairs, with its passes."""
    return PackedStep(tuple(pairs), plan_of(policy, pairs, config))


def shared_prompts(sharing: Sharing, forking: Forking, *, longer: bool) -> str:
    """Return in words whether prompts are read once: yes, no, or forked, and why. `longer`: some pairs exceed the window.

    >>> shared_prompts(Sharing(True, "", 512), Forking(False, ""), longer=False)
    'yes, up to 512 tokens of prompt and response'
    """
    within = "" if sharing.window is None else f"yes, up to {sharing.window} tokens of prompt and response"
    if sharing.exact and not (longer and within):
        return within or "yes"
    before = f"{within}; longer ones " if sharing.exact else ""
    if forking.exact:
        why = f" ({sharing.reason})" if sharing.reason else ""
        return f"{before}forked: a prompt is read once, and what the model holds then goes to both responses{why}"
    why = "; ".join(filter(None, [sharing.reason, forking.reason and f"nor forked: {forking.reason}"]))
    return f"{before}no: {why}"
