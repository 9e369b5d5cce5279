"""Does a process reward model help while decoding, and does it help a policy with heads? Measured by exact scorers.

    python -m paretokit.experiments.guided_study --world math --seeds 5

base: the untouched policy. heads: MAH-DPO, a head per objective, at equal weights. "base + <objective>", "base + all": the
base guided by one output of a reward model, or by all of them at equal weights. "heads + ...": the same with the heads. The
reward model has an output per objective. In `math`, where answers can be verified, its labels come from rollouts of the base,
judged by a verifier (accuracy) and a judge (engagement); in `tutoring`, where a rollout would be a whole dialogue, from judges
of the dialogue so far; elsewhere from the world's pairs, as Bradley-Terry scores. What evaluates are the world's scorers, not
the guide. All methods get the same prompts, limits and numbers to draw from. A step is a sentence, in `tutoring` a whole turn;
there whole dialogues with the simulated student are scored as well.
Imports: pandas, `studies`, `labelling`, `rewards`, `score`, `training`, `decoding`, `models`, `preferences`.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import fmean
from typing import Any, NamedTuple

import pandas as pd

from paretokit.decoding.dialogues import Dialogue, converse
from paretokit.decoding.guided import guided_generate
from paretokit.decoding.sample import generate
from paretokit.experiments.labelling import label_steps
from paretokit.experiments.presets import preset
from paretokit.experiments.rewards import train_reward_model
from paretokit.experiments.score import score
from paretokit.experiments.studies import over_seeds, print_table, study_arguments, weightings
from paretokit.models.load import load_policy
from paretokit.models.policy import Policy
from paretokit.models.rewards import RewardModel
from paretokit.preferences.worlds import World, world
from paretokit.preferences.worlds.build import content_of
from paretokit.preferences.worlds.judges import WorldJudge, math_solved
from paretokit.preferences.worlds.student import effect, rated, read
from paretokit.texts import Prompt
from paretokit.training.config import RewardConfig, TrainConfig
from paretokit.training.loop import iter_train
from paretokit.training.references import References
from paretokit.training.reward_examples import Labels

VERIFIED = "math"  # the world whose answers are checked at their end
REWARD_STEPS = 400
DIALOGUE = ("understood", "engagement of turns")  # what is scored of whole dialogues


class Size(NamedTuple):
    """How much is labelled and decoded."""

    labelled: int = 150  # prompts with pairs whose responses get step labels
    rollouts: int = 8
    judged: int = 6  # answers to each of them that are judged as they are, where rollouts cost too much
    prompts: int = 64
    candidates: int = 5
    max_steps: int = 8
    max_step_tokens: int = 16
    max_turns: int = 3  # of a dialogue


SIZE = Size()


class _Method(NamedTuple):
    """One way to answer."""

    name: str
    respond: Callable[[Sequence[Prompt], int], Sequence[Any]]  # as `converse` wants it


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

    Of a world of dialogues there is a row for each dialogue too, with the figures of `DIALOGUE` instead: the share of the sums
    that the student understood in it without being told, and the mean engagement of its turns. `watch` is told what is being
    done.
    """
    task = world(name)
    watch(f"{name}: labels for the reward model")
    labels = _labels(task, size=size)
    references: References = {}
    prompts = task.prompts[: size.prompts]
    openings = [prompt for prompt in task.prompts if len(prompt) == 1][: size.prompts]
    frames = []
    for seed in seeds:
        watch(f"{name}, seed {seed}: reward model")
        backbone = load_policy("tiny", seed=seed)
        guide = train_reward_model(backbone, labels, config=reward_config.replace(seed=seed), progress=False)
        for kind, policy in _policies(task, config=config.replace(seed=seed), references=references, watch=watch):
            for method in _methods(kind, policy, guide, task, size=size, seed=seed):
                watch(f"{name}, seed {seed}: {method.name}")
                made = score(method.respond(prompts, 1), task.scorers)
                frames.append(made.assign(method=method.name, seed=seed))
                if task.partner is not None:
                    dialogues = converse(method.respond, openings, partner=task.partner, max_turns=size.max_turns)
                    frames.append(_of_dialogues(dialogues).assign(method=method.name, seed=seed))
    return pd.concat(frames, ignore_index=True)


def _methods(kind: str, policy: Policy, guide: RewardModel, task: World, *, size: Size, seed: int) -> Iterator[_Method]:
    """The policy by itself, and guided by each objective and by all."""
    mix = [1 / len(policy.heads)] * len(policy.heads) if policy.heads else None
    tokens = size.max_steps * size.max_step_tokens
    alone = partial(generate, policy, weights=mix, max_new_tokens=tokens, seed=seed)
    yield _Method(kind, lambda prompts, turn: alone(prompts))
    by_turns = {"steps": "turn", "max_steps": 1, "max_step_tokens": tokens}
    by_sentences = {"max_steps": size.max_steps, "max_step_tokens": size.max_step_tokens}
    for what, weights in weightings(tuple(task.scorers)):
        guided = partial(
            guided_generate,
            policy,
            reward_model=guide,
            weights=weights,
            candidates=size.candidates,
            max_new_tokens=tokens,
            head_weights=mix,
            seed=seed,
            batch_size=size.prompts,
            **(by_turns if task.partner else by_sentences),
        )
        yield _Method(f"{kind} + {what}", lambda prompts, turn, guided=guided: guided(prompts))


def _of_dialogues(dialogues: Sequence[Dialogue]) -> pd.DataFrame:
    rows = []
    for place, dialogue in enumerate(dialogues):
        effects = [effect(read(content_of(turn.prompt)), turn.text) for turn in dialogue.turns]
        understood = sum(sum(one.understood) for one in effects) / len(effects[0].understood)
        rows.append((place, understood, fmean(rated(one)[1] for one in effects)))
    return pd.DataFrame(rows, columns=["prompt_index", *DIALOGUE])


def _labels(task: World, *, size: Size) -> Labels:
    if task.name != VERIFIED and task.partner is None:
        return task.preferences
    prompts = list(dict.fromkeys(task.preferences.prompts))[: size.labelled]
    label = partial(
        label_steps, load_policy("tiny", adapter="none"), prompts, max_new_tokens=48, batch_size=256, progress=False
    )
    if task.name == VERIFIED:
        found = label(
            split="sentence",
            verifiers={"accuracy": math_solved},
            judges={"engagement": WorldJudge(world=task.name, objective="engagement", threshold=0.4)},
            gamma=1.0,
            rollouts=size.rollouts,
        )
    else:
        judges = {name: WorldJudge(world=task.name, objective=name) for name in task.scorers}
        found = label(split="turn", copies=size.judged, prefix_judges=judges)
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


def summary(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return one row per method and figure, with its mean over seeds and a 95 % bootstrap interval over them."""
    found: dict[tuple[str, str], list[float]] = {}
    figures = [figure for figure in (*world(name).scorers, *DIALOGUE) if figure in frame]
    for method, of_method in frame.groupby("method", sort=False):
        for _, rows in of_method.groupby("seed", sort=False):
            for figure, value in rows[figures].mean().items():
                found.setdefault((str(method), str(figure)), []).append(float(value))
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
