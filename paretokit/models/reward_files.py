"""Reward models on disk: `reward.json`, the outputs' weights, and the backbone as a saved policy in a folder of its own.

Written beside their place and moved there when complete, as saved policies are. Reading is strict, and nothing is unpickled.
Imports: torch, safetensors, `saving`, `reward_report`, `errors`.
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file

from paretokit.errors import ModelError
from paretokit.models import saving
from paretokit.models.reward_report import KINDS, RewardReport

if TYPE_CHECKING:
    import paretokit.models.policy
    import paretokit.models.rewards

__all__ = ["BACKBONE", "REWARD_FILE", "SavedReward", "read_reward_file", "restore", "save"]

REWARD_FILE = "reward.json"
OUTPUTS_FILE = "outputs.safetensors"
BACKBONE = "backbone"  # a folder that `load_policy` reads, with `policy.json`


@dataclasses.dataclass(frozen=True)
class SavedReward:
    """What `reward.json` says."""

    base: str  # name or folder of the base, as given to `load_policy`
    base_hash: str
    adapter: str  # "none": the backbone is the base
    objectives: tuple[str, ...]
    kinds: dict[str, str]  # by objective
    temperatures: dict[str, float]  # by objective
    features: int  # D, the size of a hidden state
    width: int | None  # units between hidden state and output; None: linear outputs
    report: RewardReport | None
    step_token: str | None = None  # behind each step, where scores are read; None: at the step's last token
    format: int = saving.FORMAT


def save(model: "paretokit.models.rewards.RewardModel", folder: Path) -> None:
    """Write the reward model to `folder`; an earlier one there is replaced, anything else is left alone."""
    policy = model.policy
    saved = SavedReward(
        base=policy.base.name,
        base_hash=policy.base_hash,
        adapter=policy.adapter,
        objectives=model.objectives,
        kinds=model.kinds,
        temperatures=model.temperatures,
        features=model.outputs.features,
        width=model.outputs.width,
        report=None,
        step_token=model.step_token,
    )
    content = dataclasses.asdict(saved) | {"report": None if model.report is None else model.report.to_json()}
    state = {name: weight.detach().contiguous() for name, weight in model.outputs.parameters().items()}
    with saving.new_folder(folder, replaces=REWARD_FILE) as place:
        (place / BACKBONE).mkdir()
        saving.write(policy, place / BACKBONE)
        save_file(state, place / OUTPUTS_FILE, metadata={"format": "pt"})
        (place / REWARD_FILE).write_text(saving.as_json(content), encoding="utf-8")


def read_reward_file(folder: Path) -> SavedReward:
    """Return what the `reward.json` in `folder` says; `ModelError` where it is damaged, or is not of the backbone beside it."""
    path = folder / REWARD_FILE
    saved = saving.read_description(path, _saved, remedy="Save the reward model again.")
    beside = saving.read_policy_file(folder / BACKBONE)
    if (saved.base_hash, saved.adapter) != (beside.base_hash, beside.adapter):
        raise ModelError(
            f"{path}: the backbone beside it is another one (adapter {beside.adapter!r} on a base with hash "
            f"{beside.base_hash[:12]}, expected {saved.adapter!r} on {saved.base_hash[:12]}). Save the reward model again."
        )
    return saved


def restore(
    policy: "paretokit.models.policy.Policy", *, folder: Path, saved: SavedReward
) -> "paretokit.models.rewards.RewardModel":
    """Return the reward model on its backbone with the outputs that were saved; all of them, or `ModelError`."""
    from paretokit.models.rewards import RewardModel, new_reward_model

    made = new_reward_model(policy, kinds=saved.kinds, width=saved.width, step_token=saved.step_token)
    path = folder / OUTPUTS_FILE
    if made.outputs.features != saved.features:
        raise ModelError(
            f"{folder / REWARD_FILE}: found outputs for hidden states of size {saved.features}, expected "
            f"{made.outputs.features}, that of the backbone. Save the reward model again."
        )
    state, expected = saving.read_tensors(path), made.outputs.parameters()
    saving.check_state(state, expected, place=str(path), owner="reward model")
    for name, weight in expected.items():
        weight.data.copy_(state[name])
    return RewardModel(
        policy,
        made.outputs,
        kinds=saved.kinds,
        temperatures=saved.temperatures,
        report=saved.report,
        step_token=saved.step_token,
    )


def _saved(content: Mapping[str, Any]) -> SavedReward:
    report = content["report"]
    saved = SavedReward(
        **{
            **content,
            "objectives": tuple(content["objectives"]),
            "report": None if report is None else RewardReport.from_json(report),
        }
    )
    for field, names in (("kinds", saved.kinds), ("temperatures", saved.temperatures)):
        if list(names) != list(saved.objectives):
            raise ValueError(f"{field} of {', '.join(names)}, but the objectives are {', '.join(saved.objectives)}")
    if unknown := sorted(set(saved.kinds.values()) - set(KINDS)):
        raise ValueError(f"kind {unknown[0]!r}, but kinds are {', '.join(KINDS)}")
    if not all(isinstance(t, float) and 0 < t < math.inf for t in saved.temperatures.values()):
        raise ValueError(f"temperatures {saved.temperatures}, but they must be numbers > 0")
    return saved
