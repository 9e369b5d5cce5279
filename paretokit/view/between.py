"""What to expect between trained points: scores interpolated in the weights, without a model. Imports: `maths.simplex`,
`view.front_view`."""

import torch

from paretokit.maths.simplex import mixture_of
from paretokit.view.front_view import FrontView


def between(view: FrontView, weights: tuple[float, ...], *, method: str) -> tuple[float, ...] | None:
    """Return the scores [m] that lie at `weights` between those of the method's points, linear in the weights.

    None where a point stands at these weights already, and where they are not between the weights of points. It is an
    expectation: nothing was trained or measured there.
    """
    points = [point for point in view.points if point.method == method and point.weights is not None]
    if not points:
        return None
    mixed = mixture_of(torch.tensor(weights, dtype=torch.float64), torch.tensor([point.weights for point in points]))
    if mixed is None or int((mixed > 0).sum()) < 2:
        return None
    scores = torch.tensor([point.scores for point in points], dtype=torch.float64)
    return tuple((mixed @ scores).tolist())
