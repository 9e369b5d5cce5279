"""Which of several candidates is best on several objectives: rules that turn scores [N, m] into one utility each, [N].

Every rule is a pure function of the scores of the candidates that compete now and of weights on the simplex; larger is
better in and out, and of equal utilities the first candidate wins. What a rule says depends on the order of the scores
alone, or on their scale as its text says, so scores of different kinds are best put through `weighted`, which
standardises them. Imports: torch, `shapes`, `errors`.
"""

from collections.abc import Callable, Mapping, Sequence

import torch

from paretokit.errors import ConfigError, DataError, suggestion
from paretokit.shapes import Float, Float64, Int, Tensor

__all__ = ["best", "constrained", "lexicographic", "minimum", "product", "rule", "standardised", "weighted"]

Rule = Callable[..., Tensor]  # scores [N, m], weights [m] -> utilities [N]


def standardised(scores: Float[Tensor, "N m"]) -> Float64[Tensor, "N m"]:
    """Return the scores with mean 0 and (population) standard deviation 1 in each column; a constant column becomes 0.

    >>> standardised(torch.tensor([[1.0, 5.0], [3.0, 5.0]])).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """
    exact = scores.double()
    centred = exact - exact.mean(dim=0)
    spread = centred.square().mean(dim=0).sqrt()
    nothing = spread <= 1e-12 * exact.abs().amax(dim=0).clamp(min=torch.finfo(torch.float64).tiny)  # of rounding alone
    return torch.where(nothing, 0.0, centred / spread.where(~nothing, 1.0))


def weighted(scores: Float[Tensor, "N m"], weights: Float[Tensor, " m"]) -> Float64[Tensor, " N"]:
    """Return sum_i w_i z_i, with the scores standardised over the candidates, so that no objective wins by its unit.

    >>> weighted(torch.tensor([[0.0, 200.0], [1.0, 100.0]]), torch.tensor([0.75, 0.25])).tolist()
    [-0.5, 0.5]
    """
    return standardised(scores) @ weights.double()


def minimum(scores: Float[Tensor, "N m"], weights: Float[Tensor, " m"]) -> Float64[Tensor, " N"]:
    """Return the lowest score of each candidate over the objectives whose weight is not 0; all need the same scale.

    >>> minimum(torch.tensor([[0.9, 0.25], [0.5, 0.5]]), torch.tensor([0.5, 0.5])).tolist()
    [0.25, 0.5]
    """
    return scores.double()[:, weights > 0].amin(dim=1)


def product(scores: Float[Tensor, "N m"], weights: Float[Tensor, " m"]) -> Float64[Tensor, " N"]:
    """Return the weighted geometric mean prod_i p_i^(w_i) of probabilities; with equal weights it orders as their product.

    An objective of weight 0 does not count, whatever its score. Raises `DataError` for a score outside of [0, 1].

    >>> product(torch.tensor([[0.25, 0.25], [1.0, 0.0]]), torch.tensor([0.5, 0.5])).tolist()
    [0.25, 0.0]
    """
    exact = scores.double()
    outside = ((exact < 0) | (exact > 1)).nonzero()
    if len(outside):
        row, column = outside[0].tolist()
        raise DataError(
            f"product: candidate {row} scores {exact[row, column].item():g} on objective {column}, expected a probability "
            "in [0, 1]. Combine scores of other kinds by 'weighted'."
        )
    counted = weights > 0
    return exact[:, counted].pow(weights.double()[counted]).prod(dim=1)


def lexicographic(scores: Float[Tensor, "N m"], weights: Float[Tensor, " m"]) -> Float64[Tensor, " N"]:
    """Return for each candidate how many it beats, comparing the objective of the largest weight first, then the next.

    Of equal weights the objective that stands first decides first.

    >>> lexicographic(torch.tensor([[1.0, 0.0], [1.0, 2.0], [0.0, 9.0]]), torch.tensor([0.6, 0.4])).tolist()
    [1.0, 2.0, 0.0]
    """
    order = weights.double().argsort(descending=True, stable=True)
    return _beaten(scores.double()[:, order])


def constrained(
    scores: Float[Tensor, "N m"], weights: Float[Tensor, " m"], *, least: Mapping[int, float]
) -> Float64[Tensor, " N"]:
    """Return for each candidate how many it beats: first what reaches `least` (a score by number of objective), then the
    objectives without one, `weighted`.

    Of candidates that miss it, the one that misses by less in sum is better. Where the objectives without a bound have
    no weight at all, they count alike.

    >>> constrained(torch.tensor([[0.9, 0.1], [0.8, 0.7], [0.3, 1.0]]), torch.tensor([0.5, 0.5]), least={0: 0.75}).tolist()
    [1.0, 2.0, 0.0]
    """
    exact = scores.double()
    missing = torch.zeros(len(exact), dtype=torch.float64)
    for column, bound in least.items():
        missing = missing + (bound - exact[:, column]).clamp(min=0)
    free = [column for column in range(exact.shape[1]) if column not in least]
    wanted = weights.double()[free]
    if not bool(wanted.any()):
        wanted = torch.ones_like(wanted)
    return _beaten(torch.stack([-missing, standardised(exact[:, free]) @ wanted], dim=1))


def _beaten(keys: Float64[Tensor, "N c"]) -> Float64[Tensor, " N"]:
    """How many candidates each one beats, compared column by column."""
    listed = keys.tolist()
    return torch.tensor([sum(other < own for other in listed) for own in listed], dtype=torch.float64)


def rule(name: str | Rule, objectives: Sequence[str], *, least: Mapping[str, float] | None = None) -> Rule:
    """Return the rule called `name`, or `name` itself where it is a function; "constraint" needs `least`, by objective.

    Raises `ConfigError` for an unknown name, for `least` with another rule, and for a "constraint" without it or with the
    name of no objective.

    >>> rule("constraint", ("accuracy", "engagement"), least={"accuracy": 0.5})(torch.eye(2), torch.ones(2) / 2).tolist()
    [1.0, 0.0]
    """
    if (name == "constraint") != (least is not None and len(least) > 0):
        raise ConfigError(
            f"combine: found {name!r} {'without' if name == 'constraint' else 'with'} least scores, expected them with "
            "'constraint' and only then. Pass least={'accuracy': 0.8}, say."
        )
    if least:
        for objective in least:
            if objective not in objectives:
                raise ConfigError(
                    f"least: found the objective {objective!r}, expected some of {', '.join(objectives)}."
                    f"{suggestion(objective, objectives)} Name objectives of the reward model."
                )
        bounds = {objectives.index(objective): float(bound) for objective, bound in least.items()}
        return lambda scores, weights: constrained(scores, weights, least=bounds)
    if callable(name):
        return name
    rules = {"weighted": weighted, "minimum": minimum, "product": product, "lexicographic": lexicographic}
    if name not in rules:
        names = (*rules, "constraint")
        raise ConfigError(
            f"combine: found {name!r}, expected one of {', '.join(names)}, or a function of scores and weights."
            f"{suggestion(name, names)}"
        )
    return rules[name]


def best(utilities: Float[Tensor, " N"], count: int) -> Int[Tensor, " k"]:
    """Return the numbers of the `count` best candidates, best first; of equal ones the first.

    >>> best(torch.tensor([1.0, 3.0, 3.0]), 2).tolist()
    [1, 2]
    """
    return utilities.argsort(descending=True, stable=True)[:count]
