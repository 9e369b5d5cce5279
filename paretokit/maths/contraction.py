"""The gradients of m objectives with respect to one layer, from a single backward pass.

A DPO-type loss sees a pair only through its margin, so g_i = sum_b c_ib h_b with the slope c_ib = dL_i / d margin_b and
h_b = grad margin_b, the same for all objectives. In a layer y = x W' one backward pass of the sum of all margins gives the
gradient of every output, and h_b is the product of outputs' gradients and inputs over the positions of pair b. What is left
is to sum these products with the objectives' slopes, in the cheapest of three ways that give the same numbers (`contract`).
Imports: torch, `shapes`. Source: RACO (arXiv 2602.02495); how one backward pass serves all objectives is our own.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch

from paretokit.maths.products import product
from paretokit.shapes import Float, Int, Tensor

__all__ = ["Layout", "Piece", "Slopes", "contract", "contract_embedding", "contract_vectors", "layout", "slopes_at"]

MOVED = 20  # multiplications and additions in the time in which one number is written or read: about that of a CPU
_AT_ONCE = 2**25  # numbers of products that exist at a time
_LARGE, _FEW = 2**16, 12  # numbers of a product, and objectives, from and up to which a CPU adds faster than it mixes
_ADDED = 12  # multiplications and additions in the time in which a number of a product is added to an objective's sum
_HELD = 2**20  # numbers of a product that a CPU's caches hold beside those that it is added to


class Layout(NamedTuple):
    """N positions and the pair that each belongs to, ordered so that pairs with equal labels stand together."""

    owner: Int[Tensor, " N"]  # the pair of each position; P where it belongs to none
    order: Int[Tensor, " n"]  # the positions that belong to a pair with a label that counts, by labels, then by pair
    pieces: tuple["Piece", ...]  # products that are enough to make those of every objective
    signs: Float[Tensor, "m K"]  # 1 where an objective has the piece's label; 0 for a piece that is a pair
    members: Int[Tensor, " K"]  # the pair that a piece is; P for a piece of several pairs
    rows: Int[Tensor, " R"] | None  # the pair of each row, where the positions are rows that hold one pair each
    worked: int  # positions in all pieces together


class Piece(NamedTuple):
    """Positions whose products are summed: with weight 1, or with the slopes of objective `lead`."""

    start: int  # in `order`
    stop: int
    lead: int | None


class Slopes(NamedTuple):
    """c_ib of m objectives at the positions of a layout."""

    by_pair: Float[Tensor, "m P1"]  # a column of zeros behind that of the last pair
    scales: tuple[float, ...]  # c_ib / scales[i] depends on the label of the pair, and not otherwise on i
    by_position: Float[Tensor, "m N"]
    mixture: Float[Tensor, "m K"]  # objectives from pieces


def layout(owner: Int[Tensor, " N"] | Int[Tensor, "R T"], labels: Float[Tensor, "m P"]) -> Layout:
    """Return the layout of positions whose pair is `owner` (-1: none), for pairs with these labels; on the CPU.

    The positions may be in rows; then N = R T, row after row.

    Pairs with equal labels form a group. Its products are needed once per sign that occurs in it, at most twice, or once
    per pair: whichever is less work, where a piece more costs as much as 2 * MOVED positions more.

    >>> made = layout(torch.tensor([0, 1, 1, -1]), torch.tensor([[1.0, 1.0], [1.0, 1.0]]))
    >>> made.order.tolist(), made.pieces, made.signs.tolist()
    ([0, 1, 2], (Piece(start=0, stop=3, lead=0),), [[1.0], [1.0]])
    """
    count = labels.shape[1]
    groups: dict[tuple[float, ...], list[int]] = {}
    for pair, pattern in enumerate(torch.nan_to_num(labels, nan=0.0).sign().T.tolist()):
        if any(pattern):
            groups.setdefault(tuple(pattern), []).append(pair)
    ranked = [pair for members in groups.values() for pair in members]
    ranks = [count] * (count + 1)
    for rank, pair in enumerate(ranked):
        ranks[pair] = rank
    pair_of = torch.where(owner < 0, count, owner).flatten()
    place = torch.tensor(ranks)[pair_of]
    sizes = torch.bincount(place, minlength=count + 1).tolist()[:count]  # positions of the pairs, as ranked
    pieces, columns, members = _pieces(groups, sizes, none=count)
    return Layout(
        owner=pair_of,
        order=place.argsort(stable=True)[: sum(sizes)],
        pieces=tuple(pieces),
        signs=torch.tensor(columns).reshape(-1, len(labels)).T.contiguous(),
        members=torch.tensor(members, dtype=torch.int64),
        rows=_single(owner),
        worked=sum(piece.stop - piece.start for piece in pieces),
    )


def _pieces(
    groups: Mapping[tuple[float, ...], Sequence[int]], sizes: Sequence[int], *, none: int
) -> tuple[list[Piece], list[list[float]], list[int]]:
    """The pieces of groups of pairs by their labels, with the column of `signs` and the member of each."""
    pieces, columns, members, start, rank = [], [], [], 0, 0
    for pattern, pairs in groups.items():
        lengths = sizes[rank : rank + len(pairs)]
        total, used = sum(lengths), sorted({sign for sign in pattern if sign})
        if len(used) * (total + 2 * MOVED) <= total + 2 * MOVED * len(pairs):
            for sign in used:
                pieces.append(Piece(start, start + total, pattern.index(sign)))
                columns.append([float(other == sign) for other in pattern])
                members.append(none)
        else:
            stops = list(accumulate(lengths, initial=start))
            pieces += [Piece(first, stop, None) for first, stop in pairwise(stops)]
            columns += [[0.0] * len(pattern)] * len(pairs)
            members += pairs
        start, rank = start + total, rank + len(pairs)
    return pieces, columns, members


def _single(owner: Tensor) -> Int[Tensor, " R"] | None:
    """The pair of each row; None where there are no rows, or some hold several pairs or none."""
    if owner.ndim != 2:
        return None
    most = owner.amax(dim=1)
    alone = ((owner == most[:, None]) | (owner < 0)).all() & (most >= 0).all()
    return most if alone.tolist() else None


def slopes_at(made: Layout, slopes: Float[Tensor, "m P"], *, scales: Sequence[float]) -> Slopes:
    """Return the slopes at the positions of a layout, which must be on their device.

    `slopes[i, b] / scales[i]` must be the same for all objectives that give pair b the same label, and 0 where the label is
    0 or NaN: so it is with DPO, where scales[i] is 1 / (number of pairs judged on i).
    """
    by_pair = torch.nn.functional.pad(slopes, (0, 1))
    # by Python's numbers, since a vector of them would have to be sent to the device
    scaled = torch.stack([row * scale for row, scale in zip(made.signs.to(slopes), scales, strict=True)])
    return Slopes(by_pair, tuple(scales), by_pair[:, made.owner], scaled + by_pair[:, made.members])


def contract(
    gradients: Float[Tensor, "N out"], inputs: Float[Tensor, "N in"], made: Layout, slopes: Slopes
) -> Float[Tensor, "m out in"]:
    """Return sum_n c_i,owner(n) gradients_n inputs_n' for every objective i, in the precision of `gradients`.

    Three ways to the same sums, of which the cheapest is taken: a product over all positions for each objective, with the
    slopes on the narrower side (thin matrices, few objectives); one for each row, where rows hold one pair each, or one for
    each piece of the layout, added up or mixed (at most two units of work whatever m is, `test_at_most_two_units_of_work`).
    Where rows hold one pair each, `gradients` must be 0 at positions of no pair: as on padding, which no score reads.

    >>> made = layout(torch.tensor([0, 1]), torch.tensor([[1.0, -1.0]]))
    >>> slopes = slopes_at(made, torch.tensor([[-2.0, 3.0]]), scales=[1.0])
    >>> contract(torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]), made, slopes)
    tensor([[[-2.,  3.]]])
    """
    (positions, out), read, count = gradients.shape, inputs.shape[1], slopes.by_pair.shape[0]
    area = out * read
    mixing = area * (_ADDED * count if _is_added(gradients, count, area) else 2 * MOVED)
    costs = [
        (count * positions * (area + 2 * MOVED * min(out, read)), 0),
        (made.worked * area + len(made.pieces) * mixing + 3 * MOVED * made.order.shape[0] * (out + read), 1),
    ]
    if made.rows is not None:
        costs.append((positions * area + made.rows.shape[0] * mixing, 2))
    return (_by_objective, _by_piece, _by_row)[min(costs)[1]](gradients, inputs, made, slopes)


def contract_vectors(gradients: Float[Tensor, "N D"], slopes: Slopes) -> Float[Tensor, "m D"]:
    """Return sum_n c_i,owner(n) gradients_n: what a bias gets, or a weight that is multiplied elementwise."""
    return slopes.by_position.to(gradients.dtype) @ gradients


def contract_embedding(
    gradients: Float[Tensor, "N D"], ids: Int[Tensor, " N"], slopes: Slopes, *, rows: int, ignored: int | None
) -> Float[Tensor, "m V D"]:
    """Return, for each of `rows` rows of an embedding, the sum of c_i,owner(n) gradients_n over the positions that read it.

    `ignored` is a row that is not trained (`padding_idx`).
    """
    count = len(slopes.by_position)
    weights = slopes.by_position if ignored is None else slopes.by_position * (ids != ignored)
    found = gradients.new_zeros(count, rows, gradients.shape[1])
    for row, weight in zip(found, weights.to(gradients.dtype), strict=True):
        row.index_add_(0, ids, weight[:, None] * gradients)
    return found


def _by_objective(
    gradients: Float[Tensor, "N out"], inputs: Float[Tensor, "N in"], made: Layout, slopes: Slopes
) -> Float[Tensor, "m out in"]:
    narrow, wide = (gradients, inputs) if gradients.shape[1] <= inputs.shape[1] else (inputs, gradients)
    weights = slopes.by_position.to(narrow.dtype).T  # [N, m]
    found = product((weights[:, :, None] * narrow[:, None, :]).flatten(1).T, wide.T)  # [m * narrow, wide]
    found = found.view(weights.shape[1], narrow.shape[1], wide.shape[1])
    return found if narrow is gradients else found.transpose(1, 2)


def _by_piece(
    gradients: Float[Tensor, "N out"], inputs: Float[Tensor, "N in"], made: Layout, slopes: Slopes
) -> Float[Tensor, "m out in"]:
    ordered, read = gradients[made.order], inputs[made.order]

    def factors(piece: Piece) -> tuple[Tensor, Tensor]:
        part = slice(piece.start, piece.stop)
        left, right = ordered[part], read[part]
        if piece.lead is None:
            return left, right
        pair = made.owner[made.order[part]]
        weights = (slopes.by_pair[piece.lead] / slopes.scales[piece.lead])[pair].to(left.dtype)[:, None]
        return (weights * left, right) if left.shape[1] <= right.shape[1] else (left, weights * right)

    shape, mixture = (gradients.shape[1], inputs.shape[1]), slopes.mixture.to(gradients.dtype)
    count, area = len(mixture), shape[0] * shape[1]
    if _is_added(gradients, count, area):
        return _added(map(factors, made.pieces), mixture, shape)
    found = gradients.new_zeros(count, area)
    at_once = max(1, _AT_ONCE // area)
    for first in range(0, len(made.pieces), at_once):
        pieces = made.pieces[first : first + at_once]
        products = gradients.new_empty(len(pieces), *shape)
        for place, (left, right) in zip(products, map(factors, pieces), strict=True):
            torch.mm(left.T, right, out=place)
        found.addmm_(mixture[:, first : first + at_once], products.flatten(1))
    return found.view(-1, *shape)


def _by_row(
    gradients: Float[Tensor, "N out"], inputs: Float[Tensor, "N in"], made: Layout, slopes: Slopes
) -> Float[Tensor, "m out in"]:
    assert made.rows is not None, "asked for with rows of one pair each"
    left, right = (part.view(len(made.rows), -1, part.shape[1]) for part in (gradients, inputs))
    shape, mixture = (left.shape[2], right.shape[2]), slopes.by_pair[:, made.rows].to(gradients.dtype)
    count, area = len(mixture), shape[0] * shape[1]
    if _is_added(gradients, count, area):
        return _added(zip(left, right, strict=True), mixture, shape)
    at_once = max(1, _AT_ONCE // area)
    if at_once >= len(made.rows):
        found = mixture @ torch.bmm(left.mT, right).flatten(1)
    else:
        found = gradients.new_zeros(count, area)
        for first in range(0, len(made.rows), at_once):
            rows = slice(first, first + at_once)
            found.addmm_(mixture[:, rows], torch.bmm(left[rows].mT, right[rows]).flatten(1))
    return found.view(-1, *shape)


def _is_added(gradients: Tensor, count: int, area: int) -> bool:
    """Whether `_added` is the faster way to mix: on a CPU, where products are large and objectives few; not in half precision,
    which would round every sum on the way."""
    return gradients.is_cpu and gradients.dtype.itemsize >= 4 and area >= _LARGE and count <= _FEW


def _added(
    factors: Iterable[tuple[Float[Tensor, "n out"], Float[Tensor, "n in"]]],
    mixture: Float[Tensor, "m K"],
    shape: tuple[int, int],
) -> Float[Tensor, "m out in"]:
    """sum_k mixture_ik left_k' right_k: block by block, so that a product and what it is added to stay in a cache."""
    found = mixture.new_zeros(len(mixture), *shape)
    weighted = list(zip(factors, mixture.T.tolist(), strict=True))
    size = max(1, _HELD // shape[1])
    for start in range(0, shape[0], size):
        block = slice(start, start + size)
        totals = found[:, block].unbind()
        for (left, right), weights in weighted:
            each = product(left[:, block].contiguous().T, right.T)  # a block of columns is turned slowly, a whole fast
            for total, weight in zip(totals, weights, strict=True):
                if weight:
                    total.add_(each, alpha=weight)
    return found
