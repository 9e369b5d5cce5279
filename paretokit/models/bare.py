"""Backbones without an output projection for tokens: classifiers, whose own classifier is not read, and bare models.

They are good for reward models, which have outputs of their own, and cannot be decoded or scored.
Imports: the standard library.
"""

import json
from pathlib import Path
from typing import Any

__all__ = ["beside_classifier", "is_bare"]

_CLASSIFIERS = ("ForSequenceClassification", "ForTokenClassification")
_OTHERS = ("LMHeadModel", "DoubleHeadsModel")


def is_bare(folder: Path) -> bool:
    """Return whether the `config.json` in `folder` names a classifier, or a model without any head, such as LlamaModel."""
    try:
        names = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or []
    except (OSError, ValueError, AttributeError):
        return False  # the strict reading says what is wrong
    return any(
        str(name).endswith(_CLASSIFIERS) or (str(name).endswith("Model") and not str(name).endswith(_OTHERS)) for name in names
    )


def beside_classifier(model: Any, names: list[str]) -> list[str]:
    """Return those of the surplus weights that are not of a classifier on top of the backbone."""
    prefix = f"{model.base_model_prefix}."
    return [name for name in names if name.startswith(prefix) or name.split(".")[0] not in ("score", "classifier")]
