"""Cases, slow twins and an assertion for `paretokit.maths.contraction`: what the sums are, in Python loops."""

from typing import NamedTuple

import torch
from torch import Tensor

from paretokit.maths.contraction import Layout, Slopes, layout, slopes_at
from paretokit.maths.losses import dpo_slopes, judged

KINDS = ("positions", "rows of one", "rows of several")
LABELS = ("any", "one pattern", "agree")


class Case(NamedTuple):
    """One layer's gradients and inputs in float64, the pairs of its positions, and the slopes of DPO."""

    owner: Tensor  # [N] or [R, T]
    labels: Tensor  # [m, P] of +1, -1, 0 and NaN
    gradients: Tensor  # [N, out], 0 where no pair is
    inputs: Tensor  # [N, in]
    slopes: Tensor  # [m, P]
    scales: list[float]

    def at(self) -> tuple[Layout, Slopes]:
        """Return the layout and the slopes at its positions."""
        made = layout(self.owner, self.labels)
        return made, slopes_at(made, self.slopes, scales=self.scales)


def case(*, seed: int, m: int, pairs: int, kind: str, agreement: str, out: int, width: int, longest: int = 9) -> Case:
    """Return a case with ragged lengths of up to `longest` positions, 0 among them where a row is not one pair, and padding."""
    generator = torch.Generator().manual_seed(seed)
    owner = _owner(kind, pairs, longest, generator=generator)
    labels = draw_labels(agreement, m, pairs, generator=generator)
    gradients, inputs, margins = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((owner.numel(), out), (owner.numel(), width), (pairs,))
    )
    scales = [1 / max(1, count) for count in judged(labels).tolist()]
    slopes = dpo_slopes(3 * margins, labels, beta=0.7) * torch.tensor(scales, dtype=torch.float64)[:, None]
    return Case(owner, labels, gradients * (owner.flatten() >= 0)[:, None], inputs, slopes, scales)


def draw_labels(agreement: str, m: int, pairs: int, *, generator: torch.Generator) -> Tensor:
    """Return labels [m, P]: any, the same for all pairs, or the same for all objectives that have one that counts."""
    drawn = torch.tensor([1.0, -1.0, 0.0, torch.nan], dtype=torch.float64)[torch.randint(4, (m, pairs), generator=generator)]
    if agreement == "one pattern":
        return drawn[:, :1].expand(m, pairs).contiguous()
    if agreement == "agree":
        signs = 2.0 * torch.randint(2, (pairs,), generator=generator) - 1
        return torch.where(drawn.nan_to_num().abs() > 0, signs, drawn)
    return drawn


def _owner(kind: str, pairs: int, longest: int, *, generator: torch.Generator) -> Tensor:
    shortest = int(kind == "rows of one")  # a row without a pair is not one of one pair
    lengths = torch.randint(shortest, longest + 1, (2 * pairs,), generator=generator)
    every = (torch.arange(2 * pairs) % pairs).repeat_interleave(lengths)  # both answers of each pair
    if kind == "positions":
        mixed = torch.cat([every, torch.full((3,), -1)])
        return mixed[torch.randperm(len(mixed), generator=generator)]
    if kind == "rows of one":
        real = torch.arange(longest) < lengths[:, None]
        return torch.where(real, (torch.arange(2 * pairs) % pairs)[:, None], -1)
    rows = torch.nn.functional.pad(every, (0, 5 + (-len(every) - 5) % 3), value=-1)
    return rows.view(3, -1)


def contract_twin(gradients: Tensor, inputs: Tensor, owner: Tensor, slopes: Tensor) -> Tensor:
    """sum_n c_i,owner(n) g_n x_n', one position after another."""
    found = gradients.new_zeros(len(slopes), gradients.shape[1], inputs.shape[1])
    for n, pair in enumerate(owner.flatten().tolist()):
        for i in range(len(slopes)):
            if pair >= 0:
                found[i] += slopes[i, pair] * torch.outer(gradients[n], inputs[n])
    return found


def embedding_twin(gradients: Tensor, ids: Tensor, owner: Tensor, slopes: Tensor, *, rows: int, ignored: int | None) -> Tensor:
    """The same where x_n is the one-hot vector of ids[n], without the row that is not trained."""
    inputs = torch.eye(rows, dtype=gradients.dtype)[ids]
    if ignored is not None:
        inputs[:, ignored] = 0
    return contract_twin(gradients, inputs, owner, slopes).mT


def work(made: Layout) -> int:
    """Positions in products, one that stands in two of them twice."""
    return sum(piece.stop - piece.start for piece in made.pieces)


def assert_layout(made: Layout, owner: Tensor, labels: Tensor) -> None:
    """Each position with a label that counts is in the order once, and reaches each such objective by just one piece."""
    pairs, signs = owner.flatten().tolist(), labels.nan_to_num().sign().T.tolist()
    order, marks, members = made.order.tolist(), made.signs.T.tolist(), made.members.tolist()
    assert sorted(order) == [n for n, pair in enumerate(pairs) if pair >= 0 and any(signs[pair])], "positions of the order"
    assert made.owner.tolist() == [len(signs) if pair < 0 else pair for pair in pairs], "owners"
    assert len(marks) == len(members) == len(made.pieces), "a column for each piece"
    reached = [[0] * len(labels) for _ in order]
    for piece, mark, member in zip(made.pieces, marks, members, strict=True):
        for at in range(piece.start, piece.stop):
            sign = signs[pairs[order[at]]]
            if piece.lead is None:
                assert (member, any(mark)) == (pairs[order[at]], False), "a piece of one pair"
                reached[at] = [count + 1 for count in reached[at]]
            else:
                assert member == len(signs), "a piece of several pairs"
                assert mark == [float(other == sign[piece.lead] != 0) for other in sign], "objectives of a label"
                reached[at] = [count + int(one) for count, one in zip(reached[at], mark, strict=True)]
    for at, counts in enumerate(reached):
        wanted = [1 if sign else 0 for sign in signs[pairs[order[at]]]]
        assert [min(count, sign) for count, sign in zip(counts, wanted, strict=True)] == wanted, "an objective is not reached"
        assert max(counts) <= 1, "an objective is reached twice"
