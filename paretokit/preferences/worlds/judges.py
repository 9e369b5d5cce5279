"""Verifiers and judges of the built-in worlds: exact checks of an answer, and a judge as sure or unsure as one likes.

All are pure functions of prompt and text: the same text gets the same answer, in any order, process or batch.
Imports: the worlds, `build`, `errors`, the standard library.
"""

import hashlib
import math
from dataclasses import dataclass
from statistics import NormalDist

from paretokit.errors import ConfigError, DataError, suggestion
from paretokit.preferences.worlds import WORLDS, world
from paretokit.preferences.worlds.arithmetic import solved
from paretokit.preferences.worlds.build import content_of
from paretokit.preferences.worlds.tutoring import understood
from paretokit.prompts import Prompt

__all__ = ["WorldJudge", "math_solved", "tutoring_understood"]


def math_solved(prompt: Prompt, text: str) -> bool:
    """Return whether an answer to a problem of the world `math` tells its result, rightly and no other beside it.

    `arithmetic.solved` for chat prompts: a verifier of outcomes. Raises `DataError` for a prompt of another world.

    >>> ask = [{"role": "user", "content": "Count: Tom has 4 maps. Tom finds 3. Tom loses 2."}]
    >>> math_solved(ask, "4 plus 3 is 8. Tom has 5 maps."), math_solved(ask, "Tom has 6 maps.")
    (True, False)
    """
    return solved(content_of(prompt), text)


def tutoring_understood(prompt: Prompt, text: str) -> bool:
    """Return whether after a tutor's turn in the world `tutoring` every sum is right in the student's next answer, untold.

    `tutoring.understood` for chat prompts: a verifier of outcomes. Raises `DataError` for a prompt of another world.

    >>> ask = [{"role": "user", "content": "Help: 4 plus 3 is not 8."}]
    >>> tutoring_understood(ask, "What is 4 plus 3?"), tutoring_understood(ask, "4 plus 3 is 7.")
    (True, False)
    """
    return understood(content_of(prompt), text)


@dataclass(frozen=True, kw_only=True)
class WorldJudge:
    """A judge of one objective of a world: its exact score in [0, 1], more or less disturbed, as a probability.

    `judge(prompt, text)` returns min(1, max(0, s + 1/2 - threshold + noise e)): s is the exact score, e a standard normal
    number that follows from the seed, the prompt and the text alone. So at the default threshold and without noise it is the
    score; a text is judged positive, above 1/2, where s + noise e is above the threshold.

    Raises `DataError` for an unknown world or objective, and for a prompt of another world; `ConfigError` for options out of
    range.

    >>> judge = WorldJudge(world="math", objective="engagement", threshold=0.4)
    >>> ask = [{"role": "user", "content": "Count: Tom has 4 maps. Tom finds 3. Tom loses 2."}]
    >>> [round(judge(ask, text), 2) for text in ("What is 4 plus 3? You can do it.", "Tom has 5 maps.")]
    [0.57, 0.1]
    """

    world: str
    objective: str
    noise: float = 0.0
    threshold: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        known = world(self.world).scorers
        if self.objective not in known:
            raise DataError(
                f"judge: unknown objective {self.objective!r} of the world {self.world!r}, expected one of "
                f"{', '.join(WORLDS[self.world].objectives)}.{suggestion(self.objective, known)}"
            )
        for name, value, allowed in (("noise", self.noise, self.noise >= 0), ("threshold", self.threshold, True)):
            if not (math.isfinite(value) and allowed):
                low = " of at least 0" if name == "noise" else ""
                raise ConfigError(f"judge: {name} is {value}; expected a finite number{low}.")

    def __call__(self, prompt: Prompt, text: str) -> float:
        """Return how probable it is that the text is good, in [0, 1]."""
        score = world(self.world).scorers[self.objective](prompt, text)
        disturbed = score if self.noise == 0 else score + self.noise * self._normal(content_of(prompt), text)
        return min(1.0, max(0.0, disturbed + (0.5 - self.threshold)))

    def _normal(self, content: str, text: str) -> float:
        parts = (str(self.seed), self.world, self.objective, content, text)
        digest = hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).digest()
        return NormalDist().inv_cdf((int.from_bytes(digest[:6], "big") + 0.5) / 2**48)
