"""paretokit: align language models to several, conflicting objectives at once, and look at the Pareto front.

The public names are below; each is loaded when it is first used, so that importing paretokit costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paretokit.decoding.dialogues import Dialogue, converse, iter_converse
    from paretokit.decoding.guided import guided_generate, iter_guided
    from paretokit.decoding.sample import Generation, generate
    from paretokit.decoding.tree import GuidedGeneration
    from paretokit.errors import ParetokitError
    from paretokit.experiments.front import Front
    from paretokit.experiments.judges import EndpointJudge
    from paretokit.experiments.labelling import label_steps
    from paretokit.experiments.mixtures import score_mixtures
    from paretokit.experiments.rewards import train_reward_model
    from paretokit.experiments.score import score
    from paretokit.experiments.step_files import write_step_labels
    from paretokit.experiments.store import Run, Store
    from paretokit.experiments.sweep import sweep
    from paretokit.experiments.train import train
    from paretokit.experiments.verifiers import MathVerifier
    from paretokit.models.load import load_policy, load_reward_model
    from paretokit.models.policy import Policy
    from paretokit.models.rewards import RewardModel
    from paretokit.models.soups import LogitMixture, Soup
    from paretokit.preferences.computed import by_score
    from paretokit.preferences.pack import Batch
    from paretokit.preferences.read import read_preferences
    from paretokit.preferences.read_steps import read_step_labels
    from paretokit.preferences.recipes.recipe import Recipe
    from paretokit.preferences.recipes.registry import recipes
    from paretokit.preferences.records import Preferences
    from paretokit.preferences.step_labels import StepLabels
    from paretokit.preferences.worlds import World, world
    from paretokit.training.config import RewardConfig, TrainConfig
    from paretokit.training.loop import iter_train
    from paretokit.training.methods import methods
    from paretokit.training.records import StepRecord
    from paretokit.view import plot
    from paretokit.view.studio import Studio

_HOMES = {
    "Batch": "preferences.pack",
    "Dialogue": "decoding.dialogues",
    "EndpointJudge": "experiments.judges",
    "Front": "experiments.front",
    "Generation": "decoding.sample",
    "GuidedGeneration": "decoding.tree",
    "LogitMixture": "models.soups",
    "MathVerifier": "experiments.verifiers",
    "ParetokitError": "errors",
    "Policy": "models.policy",
    "Preferences": "preferences.records",
    "Recipe": "preferences.recipes.recipe",
    "RewardConfig": "training.config",
    "RewardModel": "models.rewards",
    "Run": "experiments.store",
    "Soup": "models.soups",
    "StepLabels": "preferences.step_labels",
    "StepRecord": "training.records",
    "Store": "experiments.store",
    "Studio": "view.studio",
    "TrainConfig": "training.config",
    "World": "preferences.worlds",
    "by_score": "preferences.computed",
    "converse": "decoding.dialogues",
    "generate": "decoding.sample",
    "guided_generate": "decoding.guided",
    "iter_converse": "decoding.dialogues",
    "iter_guided": "decoding.guided",
    "iter_train": "training.loop",
    "label_steps": "experiments.labelling",
    "load_policy": "models.load",
    "load_reward_model": "models.load",
    "methods": "training.methods",
    "plot": "view.plot",
    "read_preferences": "preferences.read",
    "read_step_labels": "preferences.read_steps",
    "recipes": "preferences.recipes.registry",
    "score": "experiments.score",
    "score_mixtures": "experiments.mixtures",
    "sweep": "experiments.sweep",
    "train": "experiments.train",
    "train_reward_model": "experiments.rewards",
    "world": "preferences.worlds",
    "write_step_labels": "experiments.step_files",
}

__all__ = [
    "Batch",
    "Dialogue",
    "EndpointJudge",
    "Front",
    "Generation",
    "GuidedGeneration",
    "LogitMixture",
    "MathVerifier",
    "ParetokitError",
    "Policy",
    "Preferences",
    "Recipe",
    "RewardConfig",
    "RewardModel",
    "Run",
    "Soup",
    "StepLabels",
    "StepRecord",
    "Store",
    "Studio",
    "TrainConfig",
    "World",
    "by_score",
    "converse",
    "generate",
    "guided_generate",
    "iter_converse",
    "iter_guided",
    "iter_train",
    "label_steps",
    "load_policy",
    "load_reward_model",
    "methods",
    "plot",
    "read_preferences",
    "read_step_labels",
    "recipes",
    "score",
    "score_mixtures",
    "sweep",
    "train",
    "train_reward_model",
    "world",
    "write_step_labels",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'paretokit' has no attribute {name!r}")
    home = import_module(f"paretokit.{_HOMES[name]}")
    return home if name == "plot" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
