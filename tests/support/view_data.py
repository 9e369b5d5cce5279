"""Small, seeded data in the shape the view floor gets: score tables of a made-up world, step records of a toy run."""

import math
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch

from paretokit.experiments.front import Front
from paretokit.experiments.spec import example_spec
from paretokit.experiments.store import Run
from paretokit.training.config import TrainConfig
from paretokit.training.records import StepRecord, example_json
from paretokit.view.events import Answer, Board, Progress, Texts
from paretokit.view.front_view import front_view

OBJECTIVES = ("quality", "conciseness", "faithfulness")
WEIGHTINGS = ((1 / 3, 1 / 3, 1 / 3), (0.6, 0.2, 0.2), (0.2, 0.6, 0.2), (0.2, 0.2, 0.6), (0.45, 0.45, 0.1))
METHODS = ("raco", "cagrad", "linear")


def truth_sets(*, prompts: int = 64, objectives: int = 3, seed: int = 5) -> list[torch.Tensor]:
    """F(x) per prompt: points between the corners of the simplex and (0.9, ..., 0.9), dominated ones included."""
    generator = np.random.default_rng(seed)
    sets = []
    for _ in range(prompts):
        mixes = generator.dirichlet(np.ones(objectives), size=8)
        sets.append(torch.tensor(np.clip(0.35 + 0.6 * mixes ** generator.uniform(0.3, 0.6), 0, 1)))
    return sets


def score_frame(
    weights: tuple[float, ...],
    *,
    method: str = "raco",
    run: str = "raco-s0-0123456789",
    seed: int = 0,
    strength: float = 0.25,
    prompts: int = 64,
    copies: int = 4,
    objectives: tuple[str, ...] = OBJECTIVES,
    text: str = "Mia found a red kite in the park.",
) -> pd.DataFrame:
    """Scores whose mean rises with the weight of the objective; noise is that of the prompt, the copy and the run."""
    generator = np.random.default_rng([seed, METHODS.index(method) if method in METHODS else 9, *map(_bits, weights)])
    easy = np.random.default_rng(1).normal(0, 0.12, (prompts, 1, len(objectives)))
    centre = 0.4 + strength * np.asarray(weights) + 0.02 * generator.normal(size=len(objectives))
    noise = 0.15 * generator.normal(size=(prompts, copies, len(objectives)))
    scores = np.clip(centre + easy + noise, 0, 1).reshape(prompts * copies, -1)
    index = np.repeat(np.arange(prompts), copies)
    frame = pd.DataFrame(
        {
            "prompt_index": index,
            "copy": np.tile(np.arange(copies), prompts),
            "prompt": [f"Post {i}: Mia walked the dog. She found a red kite. Summarise it." for i in index],
            "text": text,
            "tokens": 9,
            "ended": True,
        }
    )
    return frame.assign(**dict(zip(objectives, scores.T, strict=True)))


def sweep_frame(
    *,
    methods: tuple[str, ...] = METHODS,
    weightings: tuple[tuple[float, ...], ...] = WEIGHTINGS,
    seeds: tuple[int, ...] = (0,),
    objectives: tuple[str, ...] = OBJECTIVES,
    **options: Any,
) -> pd.DataFrame:
    """The joined scores of a grid of runs, with the columns that experiments add."""
    strengths = {"raco": 0.4, "cagrad": 0.33, "linear": 0.28}
    parts = []
    for method in methods:
        for place, weights in enumerate(weightings):
            for seed in seeds:
                run = f"{method}-s{seed}-{place:010d}"
                rows = score_frame(
                    weights,
                    method=method,
                    seed=seed,
                    strength=strengths.get(method, 0.3),
                    objectives=objectives,
                    **options,
                )
                labels = {f"weight_{name}": weight for name, weight in zip(objectives, weights, strict=True)}
                parts.append(rows.assign(run=run, method=method, seed=seed, **labels))
    return pd.concat(parts, ignore_index=True)


def start_frame(*, objectives: tuple[str, ...] = OBJECTIVES, **options: Any) -> pd.DataFrame:
    """The scores of the untouched policy."""
    return score_frame((0.0,) * len(objectives), objectives=objectives, text="A dog.", **options)


@cache
def demo_front(
    *, objectives: tuple[str, ...] = OBJECTIVES, seeds: tuple[int, ...] = (0,), truth: bool = True, prompts: int = 24
) -> Front:
    """A front as of the demo: 3 methods x 5 weightings, a start, a true front. Made once; not to be changed."""
    count = len(objectives)
    return Front.from_scores(
        sweep_frame(weightings=_weightings(count), objectives=objectives, seeds=seeds, prompts=prompts),
        by=["method", *(f"weight_{name}" for name in objectives)],
        objectives=objectives,
        start=start_frame(objectives=objectives, prompts=prompts),
        truth=truth_sets(objectives=count, prompts=prompts) if truth else None,
    )


def records(*, steps: int = 60, method: str = "raco", objectives: tuple[str, ...] = OBJECTIVES) -> tuple[StepRecord, ...]:
    """Step records of a toy run: losses fall, cosines wander, the mixture is now inside and now at a vertex."""
    generator = np.random.default_rng(len(method))
    count = len(objectives)
    weights = tuple((np.arange(count) + 1) / (np.arange(count) + 1).sum())
    made = []
    for step in range(1, steps + 1):
        mixture = np.eye(count)[step % count] if step % 3 == 0 else generator.dirichlet(np.ones(count) * 2)
        gradients = generator.normal(size=(count, 6))
        cosines = np.atleast_2d(np.corrcoef(gradients))
        made.append(
            StepRecord(
                **{
                    **example_json(),
                    "step": step,
                    "method": method,
                    "objectives": objectives,
                    "weights": weights,
                    "losses": tuple(math.log(2) * (0.4 + 0.6 * math.exp(-step / 30)) + 0.03 * generator.normal(size=count)),
                    "judged": (8,) * count,
                    "ties": (0,) * count,
                    "margins": tuple(0.03 * step + generator.normal(size=8)),
                    "gradient_norms": tuple(1 + generator.random(count)),
                    "cosines": tuple(map(tuple, cosines)),
                    "mixture": tuple(mixture),
                    "clipped": tuple(np.minimum(mixture, weights)),
                    "coefficients": tuple(np.asarray(weights) + 0.3 * mixture),
                    "correction_norm": 0.24 + 0.01 * generator.random(),
                    "pairs": 8,
                }
            )
        )
    return tuple(made)


def run_value(
    method: str,
    weights: tuple[float, ...] | None,
    *,
    steps: int = 3,
    state: str = "done",
    objectives: tuple[str, ...] = OBJECTIVES[:2],
) -> Run:
    """A run as it is read from a store: its spec asks for three steps, its records hold `steps` of them."""
    spec = example_spec().replace(method=method, weights=weights, objectives=objectives, config=TrainConfig(steps=3))
    return Run(spec, records(steps=steps, method=method, objectives=objectives), state={"state": state})


def board(
    *,
    objectives: tuple[str, ...] = OBJECTIVES[:2],
    seeds: tuple[int, ...] = (0,),
    uneven: bool = False,
    runs: tuple[Run, ...] = (),
    hidden: tuple[str, ...] = (),
    foreign: int = 0,
    text: str = "Mia found a red kite in the park.",
) -> Board:
    """What a Studio shows of a small sweep; `uneven`: its second method was trained with the first seed alone."""
    options: dict[str, Any] = {
        "weightings": _weightings(len(objectives)),
        "objectives": objectives,
        "prompts": 12,
        "text": text,
    }
    frames = [
        sweep_frame(methods=("raco",), seeds=seeds, **options),
        sweep_frame(methods=("linear",), seeds=seeds[:1] if uneven else seeds, **options),
    ]
    front = Front.from_scores(
        pd.concat(frames, ignore_index=True),
        by=["method", *(f"weight_{name}" for name in objectives)],
        objectives=objectives,
        start=start_frame(objectives=objectives, prompts=12),
        truth=truth_sets(objectives=len(objectives), prompts=12),
    )
    return Board(front, front_view(front), runs, frozenset(hidden), foreign)


def progress(*, steps: int, of: int, stage: str = "training", eta: float | None = None) -> Progress:
    """A training of two objectives after so many steps, with losses of one half and one quarter."""
    names = OBJECTIVES[:2]
    made = tuple(replace(record, losses=(0.5, 0.25)) for record in records(steps=steps, objectives=names))
    return Progress(1, "raco-s0-0123456789", "raco 0.30/0.70", stage, of, made, eta, ())


def texts(**changes: Any) -> Texts:
    """A pair of answers."""
    before, after = (
        Answer("before training", "A dog.", True, (0.25, 0.5)),
        Answer("raco, the selected run", "A kite.", True, (0.5, 0.75)),
    )
    return Texts("Why not?", before, after, (0.3, 0.7), OBJECTIVES[:2], 0.05)._replace(**changes)


def support_at(vertices: tuple[tuple[float, float], ...], direction: tuple[float, float]) -> float:
    """max v.p over the vertices of a boundary."""
    return max(direction[0] * x + direction[1] * y for x, y in vertices)


def falls(vertices: tuple[tuple[float, float], ...]) -> bool:
    """Whether a boundary runs from upper left to lower right, bending outwards."""
    slopes = [(high - low) / (right - left) for (left, high), (right, low) in pairwise(vertices)]
    return all(slope > 0 for slope in slopes) and all(a < b for a, b in pairwise(slopes))


def _bits(weight: float) -> int:
    return round(weight * 10**6)


def _weightings(count: int) -> tuple[tuple[float, ...], ...]:
    if count == 3:
        return WEIGHTINGS
    tilted = [tuple(0.7 if i == j else 0.3 / (count - 1) for i in range(count)) for j in range(count) if count > 1]
    return ((1 / count,) * count, *tilted)
