"""The public figures, `paretokit.plot`: each computes plain values and draws them as a plotly figure.

Every figure is transparent, with text in a grey that light and dark pages bear; `theme` gives full contrast on one of
them. Imports: `view` only.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from paretokit.decoding.tree import GuidedGeneration
from paretokit.experiments.front import Front
from paretokit.view import conflict as _conflict
from paretokit.view import curves as _curves
from paretokit.view import samples as _samples
from paretokit.view import tree as _tree
from paretokit.view.front_figure import draw_front
from paretokit.view.front_view import front_view
from paretokit.view.theme import CONFIG, Theme

__all__ = ["CONFIG", "conflict", "curves", "front", "samples", "tree"]


def front(front: Front, *, axes: Sequence[tuple[str, str]] | None = None, theme: Theme = "auto") -> go.Figure:
    """Return the front as a figure: the points with 95 % intervals, the start, the true front, the reference point.

    Two objectives share one panel, three give their three pairs; dominance is that of the space of all objectives.
    One objective is a strip, more than three are parallel coordinates; `axes` picks pairs to draw instead.

    >>> scores = pd.DataFrame({"method": ["raco", "linear"] * 2, "prompt_index": [0, 0, 1, 1],
    ...                        "kind": [0.9, 0.5, 0.8, 0.6], "short": [0.2, 0.4, 0.3, 0.5]})
    >>> figure = front(Front.from_scores(scores, by=["method"], objectives=["kind", "short"]))
    >>> figure.layout.xaxis.title.text, figure.layout.yaxis.title.text
    ('kind', 'short')
    """
    return draw_front(front_view(front, axes=axes), theme=theme)


def curves(runs: Any, *, theme: Theme = "auto") -> go.Figure:
    """Return losses, gradient norms, coefficients, mixture and margins over the steps; nothing is smoothed.

    `runs`: the records of a run, a run, several runs, or a mapping from labels to either, all of the same objectives.

    >>> from paretokit.training.records import StepRecord, example_json
    >>> figure = curves([StepRecord.from_json({**example_json(), "step": step}) for step in (1, 2)])
    >>> figure.layout.title.text
    'raco: 2 training steps'
    """
    return _curves.draw_curves(_curves.curves_view(runs), theme=theme)


def conflict(runs: Any, *, theme: Theme = "auto") -> go.Figure:
    """Return how gradients disagree: cosines, mixture before and after the clip, correction; one run at a time.

    `runs` as in `curves`; a menu changes between several. The subtitle says in how many steps the mixture is a single
    objective: there a clip changes no direction.

    >>> from paretokit.training.records import StepRecord, example_json
    >>> figure = conflict([StepRecord.from_json(example_json())])
    >>> figure.layout.title.text
    'raco: gradient conflict over 1 step'
    """
    return _conflict.draw_conflict(_conflict.conflict_view(runs), theme=theme)


def samples(
    frame: pd.DataFrame,
    *,
    start: pd.DataFrame | None = None,
    objectives: Sequence[str] | None = None,
    limit: int = 6,
    theme: Theme = "auto",
) -> go.Figure:
    """Return answers with their scores as a table, beside those of `start`, the policy before training, where given.

    `frame` and `start` come from `paretokit.score`. The first `limit` rows are shown, not the best.

    >>> frame = pd.DataFrame({"prompt_index": [0], "prompt": ["Hi"], "text": ["Hello"], "short": [0.9]})
    >>> [str(title) for title in samples(frame).data[0].header["values"]]
    ['<b>prompt</b>', '<b>after</b>', '<b>short</b>']
    """
    return _samples.draw_samples(_samples.samples_view(frame, start=start, objectives=objectives, limit=limit), theme=theme)


def tree(made: GuidedGeneration, *, theme: Theme = "auto") -> go.Figure:
    """Return all candidates that guided decoding looked at: steps to the right, a panel of scores for each objective.

    What became the text is filled and joined. A candidate's text, scores and utility are in its hover. `made` is one of what
    `paretokit.guided_generate` returns; a text without any step is a `DataError`.

    >>> from paretokit.decoding.guided import guided_generate
    >>> from paretokit.models.tiny import random_policy
    >>> scorers = {"short": lambda prompt, text: -len(text)}
    >>> made = guided_generate(random_policy(), ["Hi"], reward_model=scorers, weights=[1], candidates=3, max_new_tokens=8)
    >>> tree(made[0]).layout.xaxis.title.text
    'step'
    """
    return _tree.draw_tree(_tree.tree_view(made), theme=theme)
