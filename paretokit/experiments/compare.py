"""Several runs as one front: their figures joined, one point per method and weighting.

Imports: `front`, `store`, `evaluation`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from paretokit.errors import DataError
from paretokit.experiments.front import Front
from paretokit.experiments.store import Run
from paretokit.preferences.worlds import world
from paretokit.shapes import Tensor


def front_of(runs: Sequence[Run]) -> Front:
    """Return the front of runs that measured the same thing: one point per method and weighting, averaged over seeds.

    On a world the true front of the same prompts comes with it. Raises `DataError` where there is no run with figures, or
    where runs measured different things and cannot stand in one chart.
    """
    measured = [run for run in runs if run.scores is not None and run.spec.weights is not None]
    if not measured:
        raise DataError(
            f"runs: found {len(runs)}, none of them with figures, expected at least one. Finish a run on a world, or on data "
            "with held-out pairs."
        )
    kinds = {(run.spec.start, run.spec.objectives) for run in measured}
    if len(kinds) > 1:
        raise DataError(
            f"runs: found {len(kinds)} different starts or evaluations among {len(measured)} runs, expected one. Choose runs "
            "of one policy on one data set, for example with --select."
        )
    spec = measured[0].spec
    frame = pd.concat([labelled(run) for run in measured], ignore_index=True)
    starts = [run.start for run in measured if run.start is not None]
    return Front.from_scores(
        frame,
        by=["method", *(f"weight_{axis}" for axis in spec.axes)],
        objectives=spec.axes,
        start=starts[0] if starts else None,
        truth=true_sets(spec.evaluation),
    )


def labelled(run: Run) -> pd.DataFrame:
    """Return the run's figures with the columns run, method, seed and weight_<axis>, where axis i measures objective i."""
    assert run.scores is not None
    assert run.spec.weights is not None
    weights = {f"weight_{axis}": weight for axis, weight in zip(run.spec.axes, run.spec.weights, strict=True)}
    return run.scores.assign(run=run.id, method=run.spec.method, seed=run.spec.seed, **weights)


def true_sets(evaluation: Mapping[str, Any] | None) -> list[Tensor] | None:
    """Return F(x) of each prompt that a spec's `evaluation` scores, in order; None where no true front is known."""
    if not evaluation or evaluation["kind"] != "world":
        return None
    task = world(evaluation["name"])
    return [task.front(prompt) for prompt in task.prompts[: evaluation["prompts"]]]
