"""The front of one policy that mixes: its answers at many weightings, decoded together and scored.

Imports: pandas, `decoding`, `maths.simplex`, `score`.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from paretokit.decoding.sample import generate
from paretokit.experiments.score import Scorer, score
from paretokit.maths.simplex import Weights
from paretokit.models.policy import Policy
from paretokit.models.soups import LogitMixture, Soup
from paretokit.texts import Prompt

__all__ = ["score_mixtures"]


def score_mixtures(
    policy: Policy | Soup | LogitMixture,
    prompts: Sequence[Prompt],
    scorers: Mapping[str, Scorer],
    *,
    weights: Sequence[Weights],
    **options: object,
) -> pd.DataFrame:
    """Return the scores of a policy's answers to all prompts at all weightings, decoded by one call of `generate`.

    The table is that of `score`, with the columns `weight_<head>` added: `Front.from_scores` takes it with
    `by=[those columns]`. `options` are those of `generate`. Every weighting answers with the same random numbers.

    >>> import paretokit as pk
    >>> world, policy = pk.world("safety"), pk.load_policy("tiny", heads=["helpfulness", "harmlessness"])
    >>> grid = [(1.0, 0.0), (0.0, 1.0)]
    >>> frame = pk.score_mixtures(policy, world.prompts[:2], world.scorers, weights=grid, max_new_tokens=4)
    >>> frame["weight_helpfulness"].tolist(), len(frame)
    ([1.0, 1.0, 0.0, 0.0], 4)
    """
    names = policy.heads
    mixtures = [policy.mixture(one, place=f"weighting {index}") for index, one in enumerate(weights)]
    repeated = [prompt for _ in mixtures for prompt in prompts]
    each = [mixture for mixture in mixtures for _ in prompts]
    frame = score(generate(policy, repeated, weights=each, **options), scorers)  # type: ignore[arg-type] # generate checks them
    asked = frame["prompt_index"]
    columns = {f"weight_{name}": [each[index][place] for index in asked] for place, name in enumerate(names)}
    return frame.assign(prompt_index=asked % len(prompts), **columns)
