"""Gradients and preferences by mathematical class, in float64, for tests of what sees only their Gramian."""

import torch
from torch import Tensor

KINDS = (
    "generic",
    "conflict",
    "rankdef",
    "uneven",
    "zero row",
    "opposed",
    "equal rows",
    "near equal",
    "integers",
    "kink at a vertex",
    "kink on an edge",
)


def jacobian(kind: str, m: int, *, generator: torch.Generator) -> Tensor:
    """Return m gradients of the kind, [m, n] with n > m."""
    rows = _normal(m, m + 2, generator=generator)
    index = int(torch.randint(m, (1,), generator=generator))
    if kind == "conflict":
        rows = rows - 0.97 * rows.mean(dim=0)
    elif kind == "rankdef":
        rows[:, max(1, m // 3) :] = 0
    elif kind == "uneven":
        rows = rows * 10 ** (3 * torch.rand(m, 1, generator=generator, dtype=torch.float64) - 1.5)
    elif kind == "zero row":
        rows[index] = 0
    elif kind == "opposed":
        rows[0] = -2 * rows[-1]
    elif kind == "equal rows":
        rows[0] = rows[-1]
    elif kind == "near equal":
        rows[0] = rows[-1] + 1e-6 * rows[0]
    elif kind == "integers":
        rows = torch.randint(-3, 4, (m, 3), generator=generator).to(torch.float64)
    elif kind == "kink at a vertex":  # one objective without a gradient, the others agree
        rows[:, 0] += 1.5
        rows[index] = 0
    elif kind == "kink on an edge":  # an opposed pair across the direction the others agree on
        rows[:, 0] = 0
        rows[:, 1] = rows[:, 1].abs() + 0.5
        if m > 2:
            rows[0] = torch.eye(m + 2, dtype=torch.float64)[0]
            rows[1] = -2 * rows[0]
    elif kind != "generic":
        raise ValueError(kind)
    return rows


def preference(kind: str, m: int, *, generator: torch.Generator) -> Tensor:
    """Return weights on the simplex: "inner", "uniform", "sparse" (a zero entry) or "one-hot"."""
    index = int(torch.randint(m, (1,), generator=generator))
    weights = torch.empty(m, dtype=torch.float64).exponential_(generator=generator) + 0.01
    if kind == "uniform":
        weights = torch.ones(m, dtype=torch.float64)
    elif kind == "sparse" and m > 1:
        weights[index] = 0
    elif kind == "one-hot":
        weights = torch.eye(m, dtype=torch.float64)[index]
    return weights / weights.sum()


def _normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)
