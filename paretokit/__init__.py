"""paretokit: align language models to several, conflicting objectives at once, and look at the Pareto front.

The public names are below; each is loaded when it is first used, so that importing paretokit costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paretokit.decoding.sample import Generation, generate
    from paretokit.errors import ParetokitError
    from paretokit.experiments.front import Front
    from paretokit.experiments.mixtures import score_mixtures
    from paretokit.experiments.score import score
    from paretokit.experiments.store import Run, Store
    from paretokit.experiments.sweep import sweep
    from paretokit.experiments.train import train
    from paretokit.models.load import load_policy
    from paretokit.models.policy import Policy
    from paretokit.models.soups import LogitMixture, Soup
    from paretokit.preferences.pack import Batch
    from paretokit.preferences.read import read_preferences
    from paretokit.preferences.records import Preferences
    from paretokit.preferences.worlds import World, world
    from paretokit.training.config import TrainConfig
    from paretokit.training.loop import iter_train
    from paretokit.training.methods import methods
    from paretokit.training.records import StepRecord
    from paretokit.view import plot
    from paretokit.view.studio import Studio

_HOMES = {
    "Batch": "preferences.pack",
    "Front": "experiments.front",
    "Generation": "decoding.sample",
    "LogitMixture": "models.soups",
    "ParetokitError": "errors",
    "Policy": "models.policy",
    "Preferences": "preferences.records",
    "Run": "experiments.store",
    "Soup": "models.soups",
    "StepRecord": "training.records",
    "Store": "experiments.store",
    "Studio": "view.studio",
    "TrainConfig": "training.config",
    "World": "preferences.worlds",
    "generate": "decoding.sample",
    "iter_train": "training.loop",
    "load_policy": "models.load",
    "methods": "training.methods",
    "plot": "view.plot",
    "read_preferences": "preferences.read",
    "score": "experiments.score",
    "score_mixtures": "experiments.mixtures",
    "sweep": "experiments.sweep",
    "train": "experiments.train",
    "world": "preferences.worlds",
}

__all__ = [
    "Batch",
    "Front",
    "Generation",
    "LogitMixture",
    "ParetokitError",
    "Policy",
    "Preferences",
    "Run",
    "Soup",
    "StepRecord",
    "Store",
    "Studio",
    "TrainConfig",
    "World",
    "generate",
    "iter_train",
    "load_policy",
    "methods",
    "plot",
    "read_preferences",
    "score",
    "score_mixtures",
    "sweep",
    "train",
    "world",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'paretokit' has no attribute {name!r}")
    home = import_module(f"paretokit.{_HOMES[name]}")
    return home if name == "plot" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
