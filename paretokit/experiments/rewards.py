"""`train_reward_model`: labels in, a calibrated reward model out. Imports: torch, `training`, `models`, `progress`."""

import torch

from paretokit.experiments.progress import losses_bar
from paretokit.models.policy import Policy
from paretokit.models.rewards import RewardModel, new_reward_model
from paretokit.training.config import RewardConfig
from paretokit.training.reward_calibration import calibrate
from paretokit.training.reward_examples import Labels, kinds_of
from paretokit.training.rewards import prepare, reward_steps

__all__ = ["train_reward_model"]


def train_reward_model(
    policy: Policy, labels: Labels, *, config: RewardConfig | None = None, progress: bool = True
) -> RewardModel:
    """Return a process reward model on the backbone of `policy`, trained on `labels`, with an output per objective.

    `labels` are `StepLabels` (objectives of the kinds value and class), `Preferences` (of the kind preference), or a list of
    both whose objectives differ; the order of objectives is theirs. The adapter of the policy says what is trained beside the
    outputs: "none" nothing (the backbone is then read once), "lora" or "full" the backbone, which is changed; the model keeps
    the policy. On held-out prompts temperatures are fitted and figures measured, see `RewardModel.report`; with `heldout=0` in
    the config there are none. Losses: mean squared error, cross-entropy, Bradley-Terry (MAHALO, arXiv 2510.01167, section 2;
    there one output serves all objectives, here each has its own, so that they can differ on a text).

    Raises `ConfigError`, `DataError` and `NonFiniteError` as `iter_reward_train` does, which is the loop a step at a time.

    >>> import paretokit as pk
    >>> pairs = pk.read_preferences("world:safety").select(limit=20)
    >>> backbone = pk.load_policy("tiny", adapter="none")
    >>> model = pk.train_reward_model(backbone, pairs, config=pk.RewardConfig(steps=5), progress=False)
    >>> model.objectives, model.report.objectives["helpfulness"].judged > 0
    (('helpfulness', 'harmlessness'), True)
    >>> model.step_scores(["Hi"], [["Hello", " there."]]).shape
    torch.Size([1, 2, 2])
    """
    config = config or RewardConfig()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    kinds = kinds_of(labels)
    model = new_reward_model(policy, kinds=kinds, width=config.width, step_token=config.step_token, seed=config.seed)
    prepared = prepare(model, labels, config=config)
    with losses_bar(config.steps, shown=progress) as show:
        show("training", None)
        for record in reward_steps(model, prepared, config=config):
            show("", record)
        show("figures on held-out prompts", None)
        calibrate(model, prepared, config=config)
    return model
