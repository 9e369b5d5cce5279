"""Does a head per objective help? Five ways to serve any weighting, trained on the same pairs of a world and compared.

    python -m paretokit.experiments.mixture_study --world math --seeds 5

sft: the untouched policy. dpo: one policy, one head, DPO on the pairs of all objectives pooled. soup: a DPO policy per
objective, their weights mixed (rewarded soups). mah-dpo, mah-raco: one policy with a head per objective. The last three are
decoded at a grid of weightings. Every method takes the same number of steps; a soup takes them once per objective.
Imports: pandas, `training`, `models`, `preferences`, `mixtures`, `front`, `studies`.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd

from paretokit.decoding.sample import generate
from paretokit.experiments.front import Front
from paretokit.experiments.mixtures import score_mixtures
from paretokit.experiments.presets import preset
from paretokit.experiments.score import score
from paretokit.experiments.studies import over_seeds, print_table, study_arguments
from paretokit.maths.simplex import grid
from paretokit.models.load import load_policy
from paretokit.models.policy import Policy
from paretokit.models.soups import Soup
from paretokit.preferences.worlds import World, world
from paretokit.training.config import TrainConfig
from paretokit.training.loop import iter_train
from paretokit.training.references import References

METHODS = ("sft", "dpo", "soup", "mah-dpo", "mah-raco")
_RESOLUTION = {2: 10, 3: 6}  # of the grid of weightings: 11 points for two objectives, 28 for three; equal weights among them


class Size(NamedTuple):
    """How much is decoded at each weighting."""

    prompts: int = 64
    copies: int = 2
    max_new_tokens: int = 48


SIZE = Size()


def study(
    name: str, *, seeds: Sequence[int], config: TrainConfig, size: Size = SIZE, watch: Callable[[str], None] = print
) -> pd.DataFrame:
    """Return the scores of every method at every weighting and seed: the table of `score_mixtures` with `method` and `seed`.

    `watch` is told what is being done.
    """
    task = world(name)
    weightings = [tuple(row) for row in grid(len(task.scorers), resolution=_RESOLUTION[len(task.scorers)]).tolist()]
    references: References = {}
    frames = [_single(load_policy("tiny"), task, size=size).assign(method="sft", seed=seed) for seed in seeds]
    for seed in seeds:
        for method, policy in _trained(task, config=config.replace(seed=seed), references=references, watch=watch):
            watch(f"{name}, seed {seed}: decoding {method}")
            if method == "dpo":
                frame = _single(policy, task, size=size)
            else:
                options = {"copies": size.copies, "max_new_tokens": size.max_new_tokens, "batch_size": 256}
                frame = score_mixtures(policy, task.prompts[: size.prompts], task.scorers, weights=weightings, **options)
            frames.append(frame.assign(method=method, seed=seed))
    return pd.concat(frames, ignore_index=True)


def _trained(
    task: World, *, config: TrainConfig, references: References, watch: Callable[[str], None]
) -> Iterator[tuple[str, Any]]:
    """The methods' policies of one seed, each when it is trained."""
    names = tuple(task.scorers)
    even = [1 / len(names)] * len(names)
    base = load_policy("tiny", seed=config.seed)
    several = load_policy("tiny", heads=names, seed=config.seed)

    def train(policy: Policy, method: str, weights: Sequence[float], *, objectives: Sequence[str] = names) -> Policy:
        watch(f"{task.name}, seed {config.seed}: training {method} on {', '.join(objectives)}")
        pairs = task.preferences.select(objectives=objectives)
        for _ in iter_train(policy, pairs, method=method, weights=weights, config=config, references=references):
            pass
        return policy

    yield "dpo", train(base.fork(), "linear", even)
    yield "soup", Soup({name: train(base.fork(), "linear", [1.0], objectives=[name]) for name in names})
    yield "mah-dpo", train(several.fork(), "mah-dpo", even)
    yield "mah-raco", train(several.fork(), "mah-raco", even)


def _single(policy: Policy, task: World, *, size: Size) -> pd.DataFrame:
    made = generate(
        policy, task.prompts[: size.prompts], copies=size.copies, max_new_tokens=size.max_new_tokens, batch_size=256
    )
    names = tuple(task.scorers)
    return score(made, task.scorers).assign(**{f"weight_{name}": 1 / len(names) for name in names})


def summary(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return one row per method and figure, with the mean over seeds and a 95 % bootstrap interval over them.

    Figures: the score of each objective at equal weights ("even <objective>") and where it alone is asked for ("alone
    <objective>"); "hypervolume" of the weightings' mean scores above 0; "interference <i> on <j>", how much j falls below
    the untouched policy when i alone is asked for; "control <objective>", Spearman's correlation of its weight and score.
    A method without weights has figures at its one point only.
    """
    task = world(name)
    names = tuple(task.scorers)
    sft = frame.loc[frame["method"] == "sft", list(names)].mean()
    found: dict[tuple[str, str], list[float]] = {}
    for method, of_method in frame.groupby("method", sort=False):
        for _, rows in of_method.groupby("seed", sort=False):
            for figure, value in _figures(rows, names, sft, single=method in ("sft", "dpo")).items():
                found.setdefault((str(method), figure), []).append(value)
    return over_seeds(found)


def _figures(rows: pd.DataFrame, names: tuple[str, ...], sft: pd.Series, *, single: bool) -> dict[str, float]:
    columns = [f"weight_{name}" for name in names]
    front = Front.from_scores(rows.drop(columns=["method"]), by=columns, objectives=names, reference=[0.0] * len(names))
    points = front.points
    figures = {"hypervolume": front.hypervolume()}
    even = points.iloc[(points[columns] - 1 / len(names)).abs().sum(axis=1).argmin()]
    figures |= {f"even {name}": float(even[name]) for name in names}
    if single:
        return figures
    for name, column in zip(names, columns, strict=True):
        corner = points.loc[points[column] == 1.0].iloc[0]
        figures[f"alone {name}"] = float(corner[name])
        for other in names:
            if other != name:
                figures[f"interference {name} on {other}"] = float(sft[other] - corner[other])
    figures |= {f"control {name}": float(value) for name, value in front.correlations().iloc[0].items()}
    return figures


def main() -> None:
    """Run the study from the shell and print its table; with --out, keep every answer's scores as CSV."""
    parser = study_arguments(__doc__, steps=preset("tiny").steps)
    options = parser.parse_args()
    config = preset("tiny").replace(steps=options.steps)
    frame = study(options.world, seeds=range(options.seeds), config=config, watch=lambda text: print(text, flush=True))
    if options.out:
        frame.to_csv(options.out, index=False)
    table = summary(frame, options.world)
    print(json.dumps(config.to_json()))
    print_table(table)


if __name__ == "__main__":
    main()
