"""Configurations that suit the built-in policies; what a call leaves open is taken from here, and shown.

Imports: `training.config`.
"""

from paretokit.training.config import TrainConfig

_PRESETS = {
    # measured on the built-in worlds, see notebooks/LOG.md: fewer or smaller steps do not leave the start's interval
    "tiny": TrainConfig(steps=32, pairs_per_step=8, learning_rate=3e-3, max_length=160),
    # 8 pairs of human dialogue a step; 512 tokens hold most of them
    "smollm2": TrainConfig(steps=20, pairs_per_step=8, learning_rate=2e-4, max_length=512),
}


def preset(policy: str) -> TrainConfig:
    """Return the default configuration for a policy by its name; for any other policy, `TrainConfig()`.

    >>> preset("smollm2").steps, preset("my/model") == TrainConfig()
    (20, True)
    """
    return _PRESETS.get(policy, TrainConfig())
