"""The Gramian of m gradients that are spread over several parameters, what can be read from it, and sums of gradients.

Gradients come as rows: per trainable parameter one tensor [m, *shape], whose slice i is that parameter's part of the
gradient of objective i. Everything is about one global vector per objective, over all parameters together. Imports:
torch, `shapes`, `errors`.
"""

from collections.abc import Sequence

import torch

from paretokit.errors import ShapeError
from paretokit.shapes import Float, Float64, Tensor

__all__ = ["combine", "cosines", "gramian", "norms"]

_PIECE = 4096  # entries of a gradient whose products are added up in the gradient's own precision


def gramian(rows: Sequence[Tensor]) -> Float[Tensor, "m m"]:
    """Return G with G_ij = <g_i, g_j>, summed over all parameters; symmetric, positive semi-definite up to rounding.

    `rows` holds one [m, *shape] per parameter. Half-precision rows are widened first, so the result is float32, or
    float64 where all rows are: a Gramian accumulated in bfloat16 is off by several percent. Its dtype says how precise
    it is, and `raco` reads it. Rows on sharded parameters: add up the shards' Gramians.

    Guarantees. |error of G_ij| <= 8 eps |g_i| |g_j| with the eps of the dtype, however many entries the gradients have and
    however different their norms are (`test_long_float32_gradients_keep_their_precision`): products are taken in pieces of
    4096 entries, which are added up in float64. One product over ten million float32 entries was off by 2200 eps. So cosines
    are exact to some eps, and a short gradient is known as well beside a long one as alone.

    Raises `ShapeError` where there are no rows, or they disagree on m.

    >>> gramian([torch.tensor([[1.0], [-1.0]]), torch.tensor([[[-4.0]], [[1.0]]])])
    tensor([[17., -5.],
            [-5.,  2.]])
    """
    _check(rows)
    parts = [_flat(_wide(row.detach())) for row in rows]
    exact = all(part.dtype == torch.float64 for part in parts)
    gram = torch.stack([_products(part) for part in parts]).sum(dim=0)
    return ((gram + gram.T) / 2).to(torch.float64 if exact else torch.float32)


def norms(gram: Float[Tensor, "m m"]) -> Float[Tensor, " m"]:
    """Return the gradients' Euclidean norms, the root of the Gramian's diagonal.

    >>> norms(torch.tensor([[9.0, 0.0], [0.0, 4.0]]))
    tensor([3., 2.])
    """
    return gram.diagonal().clamp(min=0).sqrt()


def cosines(gram: Float[Tensor, "m m"]) -> Float[Tensor, "m m"]:
    """Return the cosines between the gradients, in [-1, 1]; NaN in the row and column of a gradient that is zero.

    >>> cosines(torch.tensor([[4.0, -3.0], [-3.0, 9.0]]))
    tensor([[ 1.0000, -0.5000],
            [-0.5000,  1.0000]])
    """
    lengths = norms(gram)
    # one norm at a time: the product of two could underflow
    return (gram / lengths[:, None] / lengths).clamp(-1, 1)


def combine(rows: Sequence[Tensor], coefficients: Float[Tensor, " m"]) -> list[Tensor]:
    """Return sum_i a_i g_i, one tensor [*shape] per parameter, in the rows' order, dtype and device.

    Raises `ShapeError` where the number of coefficients is not m.

    >>> combine([torch.tensor([[1.0, -4.0], [-1.0, 1.0]])], torch.tensor([0.5, 1.0]))
    [tensor([-0.5000, -1.0000])]
    """
    _check(rows)
    if len(coefficients) != len(rows[0]):
        raise ShapeError(
            f"combine: found {len(coefficients)} coefficients for rows of {len(rows[0])} objectives, expected as many. "
            "Pass the coefficients computed from these rows' Gramian."
        )
    moved: dict[tuple[torch.device, torch.dtype], Tensor] = {}  # once, not for each parameter: a device would be waited for
    for row in rows:
        place = (row.device, row.dtype)
        if place not in moved:
            moved[place] = coefficients.to(*place, non_blocking=True)
    return [(moved[row.device, row.dtype] @ _flat(row)).view(row.shape[1:]) for row in rows]


def _products(part: Float[Tensor, "m n"]) -> Float64[Tensor, "m m"]:
    """The products of the rows, in pieces: a long sum in float32 would lose what a short gradient adds."""
    whole = part.shape[1] // _PIECE * _PIECE
    rest = part[:, whole:]
    found = (rest @ rest.T).to(torch.float64)
    if not whole:
        return found
    pieces = part[:, :whole].unflatten(1, (-1, _PIECE)).transpose(0, 1)
    return found + torch.bmm(pieces, pieces.mT).sum(dim=0, dtype=torch.float64)


def _wide(row: Tensor) -> Tensor:
    return row if row.dtype == torch.float64 else row.to(torch.float32)


def _flat(row: Tensor) -> Float[Tensor, "m n"]:
    return row.reshape(row.shape[0], -1)


def _check(rows: Sequence[Tensor]) -> None:
    if not rows:
        raise ShapeError("rows: found none, expected one [m, *shape] per trainable parameter. Pass the Jacobian's rows.")
    sizes = {tuple(row.shape[:1]) for row in rows}
    if len(sizes) > 1 or () in sizes:
        raise ShapeError(
            f"rows: found leading sizes {sorted(sizes)}, expected the same m for all. Pass [m, *shape] per parameter."
        )
