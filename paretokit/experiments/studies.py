"""What studies share: figures over seeds with their interval, the table that is printed, weights, the arguments of the shell.

Imports: pandas, torch, `maths.intervals`.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd
import torch

from paretokit.maths.intervals import bootstrap_mean

__all__ = ["over_seeds", "print_table", "study_arguments", "weightings"]


def over_seeds(found: Mapping[tuple[str, str], Sequence[float]]) -> pd.DataFrame:
    """Return one row per (method, figure): its mean over the values of the seeds, with a 95 % bootstrap interval.

    >>> over_seeds({("sft", "score"): [0.5, 0.5]}).to_dict("records")
    [{'method': 'sft', 'figure': 'score', 'seeds': 2, 'mean': 0.5, 'low': 0.5, 'high': 0.5}]
    """
    rows = []
    for (method, figure), values in found.items():
        generator = torch.Generator().manual_seed(0)
        interval = bootstrap_mean(torch.tensor(values, dtype=torch.float64), generator=generator)
        rows.append({"method": method, "figure": figure, "seeds": len(values), **interval._asdict()})
    return pd.DataFrame(rows)


def print_table(table: pd.DataFrame) -> None:
    """Print what `over_seeds` returns, figure by figure."""
    width = max(map(len, table["method"]))
    for figure, rows in table.groupby("figure", sort=False):
        print(figure)
        for method, mean, low, high in zip(*(rows[name] for name in ("method", "mean", "low", "high")), strict=True):
            print(f"  {method:{width}} {mean:.3f} [{low:.3f} {high:.3f}]")


def weightings(objectives: Sequence[str]) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the weights that a guide is asked for, by name: each objective alone, then "all" at equal weights.

    >>> list(weightings(["calm", "right"]))
    [('calm', {'calm': 1.0, 'right': 0.0}), ('right', {'calm': 0.0, 'right': 1.0}), ('all', {'calm': 0.5, 'right': 0.5})]
    """
    for one in objectives:
        yield one, {name: float(name == one) for name in objectives}
    yield "all", {name: 1 / len(objectives) for name in objectives}


def study_arguments(description: str | None, *, steps: int) -> argparse.ArgumentParser:
    """Return a parser of what every study is asked for: world, seeds, training steps, and a file for the scores."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--out", help="a CSV file to write")
    return parser
