"""What a policy with action heads says at any weights, without training: its whole front in one call, as plain values.

Imports: `decoding`, `experiments`, `maths.simplex`, `front_view`.
"""

from collections.abc import Callable, Sequence
from itertools import product

import pandas as pd

from paretokit.decoding.sample import generate
from paretokit.experiments.compare import true_sets
from paretokit.experiments.evaluation import Evaluation, WorldEvaluation
from paretokit.experiments.front import Front
from paretokit.experiments.score import score
from paretokit.maths.simplex import grid
from paretokit.models.policy import Policy
from paretokit.view.events import Texts
from paretokit.view.front_view import HeadsView, front_view

_RESOLUTION = {2: 10, 3: 4}  # 11 weightings of two objectives, 15 of three
_COARSE = 2  # of more


def weightings(count: int) -> list[tuple[float, ...]]:
    """Return the weightings of `count` objectives at which a whole front is decoded, from the last vertex to the first.

    >>> [len(weightings(count)) for count in (2, 3, 4)]
    [11, 15, 10]
    """
    return [tuple(row) for row in grid(count, resolution=_RESOLUTION.get(count, _COARSE)).tolist()]


def no_front(heads: Sequence[str], evaluation: Evaluation | None) -> str:
    """Return why the front of a policy with these heads cannot be drawn and what to do instead; "" where it can."""
    if not isinstance(evaluation, WorldEvaluation):
        return "found data without scorers, expected a world: its scorers judge the texts. Train at several weightings instead."
    if len(heads) < 2:
        return "found one head, expected two or more to weigh. Load the policy with a head for each objective."
    return ""


def whole_front(
    policy: Policy,
    evaluation: WorldEvaluation,
    *,
    name: str,
    run: str,
    seed: int,
    objectives: Sequence[str],
    reference: Sequence[float] | None,
    stop: Callable[[], bool],
) -> Front | None:
    """Return the front of one policy, `name`, over the weightings of its heads: one answer to each prompt at each, scored.

    All are decoded in one call, on the prompts, uniforms and `reference` with which trained policies are measured. None
    where `stop` ended it: half a front would not be one.
    """
    mixes = weightings(len(objectives))
    task = evaluation.world
    asked = list(product(task.prompts[: evaluation.prompts], mixes))
    stopped = False

    def heard() -> bool:
        nonlocal stopped
        stopped = stopped or stop()
        return stopped

    made = generate(
        policy,
        [prompt for prompt, _ in asked],
        weights=[dict(zip(objectives, mix, strict=True)) for _, mix in asked],
        max_new_tokens=evaluation.max_new_tokens,
        temperature=evaluation.temperature,
        seed=evaluation.seed,
        batch_size=256,
        stop=heard,
    )
    if stopped:
        return None
    frame = score(made, task.scorers)
    columns = {f"weight_{axis}": [mix[index] for _, mix in asked] for index, axis in enumerate(evaluation.axes)}
    frame = frame.assign(
        method=f"heads of {name}", run=run, seed=seed, prompt_index=frame["prompt_index"] // len(mixes), **columns
    )
    truth = true_sets(evaluation.to_json())
    return Front.from_scores(frame, by=["method", *columns], objectives=evaluation.axes, truth=truth, reference=reference)


def heads_view(front: Front, *, name: str, method: str, run: str) -> HeadsView:
    """Return what is drawn of a front that `whole_front` made of a run, or with `run` "" of the policy before training."""
    points = front_view(front).points
    if not run:
        points = tuple(point._replace(seeds=(), runs=()) for point in points)
    return HeadsView(name, method, run, points, int(front.points["prompts"].iloc[0]), front.hypervolume(), front.reference)


def decoded_frame(texts: Texts) -> pd.DataFrame:
    """Return the texts at the weights of the sliders as a table: policy, prompt, text, ended, weights and, on a world,
    scores; NaN for a prompt that it does not know."""
    weights = {f"weight_{name}": weight for name, weight in zip(texts.objectives, texts.weights, strict=True)}
    judged = any(answer.scores is not None for _, answer in texts.decoded)
    missing = (float("nan"),) * len(texts.axes)
    rows = [
        {
            "policy": answer.source, "prompt": prompt, "text": answer.text, "ended": answer.ended, **weights,
            **(dict(zip(texts.axes, answer.scores or missing, strict=True)) if judged else {}),
        }
        for prompt, answer in texts.decoded
    ]  # fmt: skip
    return pd.DataFrame(rows)
