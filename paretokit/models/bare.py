"""Backbones without an output projection for tokens: classifiers and reward models, whose own head is not read, and bare ones.

They are good for reward models, which have outputs of their own, and cannot be decoded or scored.
Imports: the standard library.
"""

import json
import re
from pathlib import Path
from typing import Any

__all__ = ["beside_classifier", "is_bare"]

# Token and sequence classifiers of transformers, and what models with code of their own are called: Qwen's process reward
# models are Qwen2ForProcessRewardModel, its reward models Qwen2ForRewardModel.
_CLASSIFIERS = re.compile(r"For(?:Sequence|Token)Classification|Reward|ValueHead")
_OTHERS = ("LMHeadModel", "DoubleHeadsModel")
_HEADS = re.compile(r"(?:score|scores|classifier|lm_head|\w*(?:reward|value|v|rm|regression)_(?:head|layer|model))(?:\.|$)")


def is_bare(folder: Path) -> bool:
    """Return whether `config.json` in `folder` names a classifier, a reward model, or a model without a head (LlamaModel)."""
    try:
        names = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or []
    except (OSError, ValueError, AttributeError):
        return False  # the strict reading says what is wrong
    return any(
        bool(_CLASSIFIERS.search(str(name))) or (str(name).endswith("Model") and not str(name).endswith(_OTHERS))
        for name in names
    )


def beside_classifier(model: Any, names: list[str]) -> list[str]:
    """Return those of the surplus weights that are not of a classifier or another head on top of the backbone."""
    prefix = f"{model.base_model_prefix}."
    return [name for name in names if name.startswith(prefix) or not _HEADS.match(name)]
