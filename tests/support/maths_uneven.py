"""Write uneven.json: RACO where gradients differ in length by up to 1e4, solved with 60 digits. See ORIGIN.md.

PYTHONPATH=tests python tests/maths/golden/make_uneven.py
"""

import json
from typing import Any

import torch
from mpmath import mp
from support.maths_exact import DIGITS, Exact, cancelled, solve

RATIOS = (100, 1000, 10_000)
KINDS = ("generic", "conflict", "opposed")
WEIGHTS = ("random", "sparse", "uneven")


def cases() -> list[dict[str, Any]]:
    """Return all cases, the named one of raco.md first."""
    made = [_case("short beside long", [[200.0, 0.0], [-1.0, 1.0]], [0.5, 0.5], [0.8, 0.2], c=0.4)]
    for m in range(2, 7):
        for ratio in RATIOS:
            for number, kind in enumerate(KINDS):
                made.append(_drawn(m, ratio, kind, WEIGHTS[(m + number) % 3], c=(0.2, 0.4, 0.7)[(m + ratio) % 3]))
    return made


def _drawn(m: int, ratio: int, kind: str, weighing: str, *, c: float) -> dict[str, Any]:
    """The first draw whose solution does not hang on rounding."""
    for seed in range(1000):
        generator = torch.Generator().manual_seed(1000 * m + 100 * RATIOS.index(ratio) + 10 * KINDS.index(kind) + 7 * seed)
        rows = torch.randint(-40, 41, (m, m + 2), generator=generator, dtype=torch.float64)
        if kind == "conflict":
            rows[1:, 0] = -rows[0, 0].abs()
            rows[0, 0] = rows[0, 0].abs() + 20
        scales = 2.0 ** torch.linspace(0, -torch.tensor(float(ratio)).log2(), m, dtype=torch.float64).round()
        if kind == "opposed":
            rows[-1] = -rows[0]
        weights = torch.randint(1, 33, (m,), generator=generator, dtype=torch.float64)
        if weighing == "sparse":
            weights[0] = 0
        elif weighing == "uneven":
            weights[0] = 64 * m
        order = torch.randperm(m, generator=generator)
        case = _case(
            f"m={m} ratio={ratio} {kind} {weighing}",
            rows[order].tolist(), scales[order].tolist(), (weights / weights.sum())[order].tolist(), c=c,
        )  # fmt: skip
        if case is not None:
            return case
    raise AssertionError("no draw is clear")


def _case(name: str, rows: list[list[float]], scales: list[float], weights: list[float], *, c: float) -> Any:
    rows = [[scale * entry for entry in row] for scale, row in zip(scales, rows, strict=True)]
    found = solve(rows, weights, c=c)
    if not _clear(found, rows, weights):
        return None
    with mp.workdps(DIGITS):
        return {
            "name": name,
            "rows": rows,
            "weights": weights,
            "c": c,
            "p": [float(part) for part in found.mixture],
            "value": float(found.value),
            "coefficients_clipped": [float(part) for part in found.clipped],
            "coefficients_unclipped": [float(part) for part in found.free],
        }


def _clear(found: Exact, rows: list[list[float]], weights: list[float]) -> bool:
    """Whether nothing is nearly but not exactly zero: no mixture, and no component of p beside the vectors it mixes."""
    clipped = [min(part, weight) for part, weight in zip(found.mixture, weights, strict=True)]
    shares = [cancelled(mixture, rows) for mixture in (weights, found.mixture, clipped)]
    if any(0 < share < 1e-4 for share in shares) or shares[0] == 0:
        return False
    with mp.workdps(DIGITS):
        lengths = [mp.norm(row) for row in rows]
        total = mp.fdot(found.mixture, lengths)
        parts = [part * length / total for part, length in zip(found.mixture, lengths, strict=True)]
        return all(part == 0 or (part > 1e-3 and p > 1e-9) for part, p in zip(parts, found.mixture, strict=True))


if __name__ == "__main__":
    print(json.dumps(cases(), indent=1))
