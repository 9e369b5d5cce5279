"""Does a process reward model help while decoding, and does it help a policy with heads? Measured by exact scorers.

    python -m paretokit.experiments.guided_study --world math --seeds 5

base: the untouched policy. heads: MAH-DPO, a head per objective, at equal weights. "base + <objective>", "base + all": the
base guided by one output of a reward model, or by all of them at equal weights. "heads + ...": the same with the heads. The
reward model has an output per objective. In `math`, where answers can be verified, its labels come from rollouts of the base,
judged by a verifier (accuracy) and a judge (engagement); elsewhere from the world's pairs, as Bradley-Terry scores. What
evaluates are the world's scorers, not the guide. All methods get the same prompts, limits and numbers to draw from.
Imports: pandas, `studies`, `labelling`, `rewards`, `score`, `training`, `decoding`, `models`, `preferences`.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from paretokit.decoding.guided import guided_generate
from paretokit.decoding.sample import generate
from paretokit.experiments.labelling import label_steps
from paretokit.experiments.presets import preset
from paretokit.experiments.rewards import train_reward_model
from paretokit.experiments.score import score
from paretokit.experiments.studies import over_seeds, print_table, study_arguments
from paretokit.models.load import load_policy
from paretokit.models.policy import Policy
from paretokit.preferences.worlds import World, world
from paretokit.preferences.worlds.judges import WorldJudge, math_solved
from paretokit.training.config import RewardConfig, TrainConfig
from paretokit.training.loop import iter_train
from paretokit.training.references import References
from paretokit.training.reward_examples import Labels

VERIFIED = "math"  # the world whose answers are checked at their end
REWARD_STEPS = 400


class Size(NamedTuple):
    """How much is labelled and decoded."""

    labelled: int = 150  # prompts with pairs whose responses get step labels
    rollouts: int = 8
    prompts: int = 64
    candidates: int = 5
    max_steps: int = 8
    max_step_tokens: int = 16


SIZE = Size()


def study(
    name: str,
    *,
    seeds: Sequence[int],
    config: TrainConfig,
    reward_config: RewardConfig,
    size: Size = SIZE,
    watch: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Return the exact scores of every method's answer to each prompt at each seed: the table of `score` with both.

    `watch` is told what is being done.
    """
    task = world(name)
    objectives = tuple(task.scorers)
    watch(f"{name}: labels for the reward model")
    labels = _labels(task, size=size)
    references: References = {}
    frames = []
    for seed in seeds:
        watch(f"{name}, seed {seed}: reward model")
        backbone = load_policy("tiny", seed=seed)
        guide = train_reward_model(backbone, labels, config=reward_config.replace(seed=seed), progress=False)
        for kind, policy in _policies(task, config=config.replace(seed=seed), references=references, watch=watch):
            mix = [1 / len(objectives)] * len(objectives) if policy.heads else None
            prompts = task.prompts[: size.prompts]
            tokens = size.max_steps * size.max_step_tokens
            made = generate(policy, prompts, weights=mix, max_new_tokens=tokens, seed=seed)
            frames.append(score(made, task.scorers).assign(method=kind, seed=seed))
            for what, weights in _weightings(objectives):
                watch(f"{name}, seed {seed}: decoding {kind} + {what}")
                guided = guided_generate(
                    policy,
                    prompts,
                    reward_model=guide,
                    weights=weights,
                    candidates=size.candidates,
                    max_steps=size.max_steps,
                    max_step_tokens=size.max_step_tokens,
                    max_new_tokens=tokens,
                    head_weights=mix,
                    seed=seed,
                    batch_size=len(prompts),
                )
                frames.append(score(guided, task.scorers).assign(method=f"{kind} + {what}", seed=seed))
    return pd.concat(frames, ignore_index=True)


def _labels(task: World, *, size: Size) -> Labels:
    if task.name != VERIFIED:
        return task.preferences
    prompts = list(dict.fromkeys(task.preferences.prompts))[: size.labelled]
    found = label_steps(
        load_policy("tiny", adapter="none"),
        prompts,
        split="sentence",
        verifiers={"accuracy": math_solved},
        judges={"engagement": WorldJudge(world=task.name, objective="engagement", threshold=0.4)},
        gamma=1.0,
        rollouts=size.rollouts,
        max_new_tokens=48,
        batch_size=256,
        progress=False,
    )
    assert found.labels is not None, "nothing stops it"
    return found.labels


def _policies(
    task: World, *, config: TrainConfig, references: References, watch: Callable[[str], None]
) -> Iterator[tuple[str, Policy]]:
    yield "base", load_policy("tiny", adapter="none")
    names = tuple(task.scorers)
    watch(f"{task.name}, seed {config.seed}: training the heads")
    policy = load_policy("tiny", heads=names, seed=config.seed)
    even = [1 / len(names)] * len(names)
    for _ in iter_train(policy, task.preferences, method="mah-dpo", weights=even, config=config, references=references):
        pass
    yield "heads", policy


def _weightings(objectives: Sequence[str]) -> Iterator[tuple[str, dict[str, float]]]:
    for one in objectives:
        yield one, {name: float(name == one) for name in objectives}
    yield "all", {name: 1 / len(objectives) for name in objectives}


def summary(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return one row per method and objective, with the mean score over seeds and a 95 % bootstrap interval over them."""
    found: dict[tuple[str, str], list[float]] = {}
    objectives = list(world(name).scorers)
    for method, of_method in frame.groupby("method", sort=False):
        for _, rows in of_method.groupby("seed", sort=False):
            for objective, value in rows[objectives].mean().items():
                found.setdefault((str(method), str(objective)), []).append(float(value))
    return over_seeds(found)


def main() -> None:
    """Run the study from the shell and print its table; with --out, keep every answer's scores as CSV."""
    options = study_arguments(__doc__, steps=preset("tiny").steps).parse_args()
    config = preset("tiny").replace(steps=options.steps)
    reward_config = RewardConfig(steps=REWARD_STEPS)
    frame = study(
        options.world,
        seeds=range(options.seeds),
        config=config,
        reward_config=reward_config,
        watch=lambda text: print(text, flush=True),
    )
    if options.out:
        frame.to_csv(options.out, index=False)
    print(json.dumps({"train": config.to_json(), "reward": reward_config.to_json(), "size": SIZE._asdict()}))
    print_table(summary(frame, options.world))


if __name__ == "__main__":
    main()
