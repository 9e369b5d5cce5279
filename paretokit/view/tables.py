"""Tables: plain values first, then rich for the terminal (readable at 80 columns) or HTML for a page.

Imports: rich, `experiments.front`, `training.records`, `view.front_view`.
"""

import math
from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import Any, NamedTuple

import rich.box
import rich.table
from rich.text import Text

from paretokit.experiments.front import Front
from paretokit.training.records import StepRecord
from paretokit.view.front_view import has_weights, number, plural, reference_text
from paretokit.view.samples import SamplesView, samples_rows


class Table(NamedTuple):
    """A table as text. `numeric` columns are set flush right; `note` stands below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    note: str = ""


def to_rich(table: Table) -> rich.table.Table:
    """Return the table for a terminal; cells are shown as they stand, without markup."""
    made = rich.table.Table(
        title=Text(table.title, style="bold"), title_justify="left",
        caption=Text(table.note, style="dim") if table.note else None, caption_justify="left",
        box=rich.box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False,
    )  # fmt: skip
    for name, numeric in zip(table.columns, table.numeric, strict=True):
        cells = [row[len(made.columns)] for row in table.rows]
        room = max(map(len, [*cells, *name.split()]), default=0)  # numbers never wrap, their titles may
        header = Text("\n".join(wrap(name, room)) if numeric and name else name)
        made.add_column(header, justify="right" if numeric else "left", overflow="fold", no_wrap=numeric)
    for row in table.rows:
        made.add_row(*map(Text, row))
    return made


def front_table(front: Front) -> Table:
    """Return the points: scores with intervals, distance to the true front; the start first, "*" marks the front."""
    weights = has_weights(front)
    keys = [name for name in front.by if not (weights and name.startswith("weight_"))]
    distance = front.truth is not None
    rows = []
    records = [] if front.start is None else [{**dict.fromkeys(keys, ""), keys[0]: "start", **front.start.iloc[0].to_dict()}]
    for row in records + front.points.to_dict("records"):
        given = [row.get(f"weight_{name}") for name in front.objectives] if weights else []
        cells = [str(row[name]) for name in keys]
        cells += [weights_short(given)] if weights else []
        cells += [_with_interval(row, name) for name in front.objectives]
        cells += [number(row["distance"])] if distance else []
        rows.append((*cells, "*" if row.get("nondominated") else ""))
    names = (*keys, *(["weights"] if weights else []), *front.objectives, *(["dist."] if distance else []), "")
    text = len(keys) + weights
    seeds = sorted({len(found) for found in front.points["seeds"]})
    over = "one seed" if seeds == [1] else f"{seeds[0]} to {seeds[-1]} seeds" if len(seeds) > 1 else f"{seeds[0]} seeds"
    note = f"* not dominated. [95 % intervals over {plural(int(front.points['prompts'].iloc[0]), 'prompt')}"
    note += "]; one seed: training noise is not shown." if seeds == [1] else f" and seeds], {over}."
    note += f" weights: {' '.join(front.objectives)}." if weights else ""
    note += " dist.: to the true front." if distance else ""
    return Table(
        "Scores (larger is better)",
        names,
        tuple(rows),
        (*[False] * text, *[True] * (len(names) - text - 1), False),
        note,
    )


def summary_table(front: Front) -> Table:
    """Return one row per method: points on the front, hypervolume, distances, rank correlation of weight and score."""
    rows = []
    correlated = has_weights(front)
    for row in front.summary().to_dict("records"):
        cells = [str(row["method"]), f"{row['nondominated']}/{row['points']}", number(row["hypervolume"])]
        cells += [number(row["distance"]), number(row["nearest"])] if front.truth is not None else []
        cells += [_signed(row[f"rank_correlation_{name}"]) for name in front.objectives] if correlated else []
        rows.append(tuple(cells))
    names = ["method", "front", "hypervolume", *(["mean dist.", "nearest"] if front.truth is not None else [])]
    names += [f"rho {name}" for name in front.objectives] if correlated else []
    note = f"front: points that nothing dominates. Hypervolume above {reference_text(front)}."
    note += " dist.: to the true front, 0 is best." if front.truth is not None else ""
    note += " rho: rank correlation of an objective's weight and score." if correlated else ""
    return Table("Methods", tuple(names), tuple(rows), (False, *[True] * (len(names) - 1)), note)


def moves_table(front: Front) -> Table:
    """Return how far each score moved from the start, "*" where the paired interval excludes 0."""
    weights = has_weights(front)
    keys = [name for name in front.by if not (weights and name.startswith("weight_"))]
    rows = []
    moves = front.moves()
    records = moves.to_dict("records")
    for place in range(0, len(records), len(front.objectives)):  # one record per point and objective, in order
        part = records[place : place + len(front.objectives)]
        cells = [str(part[0][name]) for name in keys]
        cells += [weights_short([part[0][f"weight_{name}"] for name in front.objectives])] if weights else []
        cells += [f"{row['difference']:+.3f}{'*' if row['moved'] else ' '}" for row in part]
        rows.append(tuple(cells))
    names = (*keys, *(["weights"] if weights else []), *front.objectives)
    text = len(keys) + weights
    moved = f"{moves['moved'].tolist().count(True)} of {len(moves)}"
    note = f"* the 95 % interval of the difference, over the same prompts, excludes 0: {moved}."
    return Table("Moved from the start", names, tuple(rows), (*[False] * text, *[True] * (len(names) - text)), note)


def runs_table(runs: Sequence[Any]) -> Table:
    """Return one row per run: id, weights, steps and the mean losses of the last tenth of its steps.

    A run is anything with `spec` (id, weights, objectives) and `records`; its id names method and seed.
    """
    objectives = list(dict.fromkeys(name for run in runs for name in run.spec.objectives))
    rows = []
    for run in runs:
        last = run.records[-max(1, len(run.records) // 10) :]
        losses = {name: _mean(record.losses[i] for record in last) for i, name in enumerate(run.spec.objectives)}
        weights = "by step" if run.spec.weights is None else weights_short(run.spec.weights)
        rows.append((str(run.spec.id), weights, str(len(run.records)), *(number(losses.get(name)) for name in objectives)))
    names = ("run", "weights", "steps", *(f"loss {name}" for name in objectives))
    numeric = (False, False, *[True] * (len(names) - 2))
    return Table("Runs", names, tuple(rows), numeric, "loss: mean over the last tenth of the steps; smaller is better.")


def samples_table(view: SamplesView) -> Table:
    """Return the samples as a table of text."""
    titles, rows = samples_rows(view)
    return Table(view.title, titles, rows, tuple(title in view.objectives for title in titles), view.subtitle)


def weights_short(weights: Sequence[float | None]) -> str:
    """Return weights as two decimals without the leading zero.

    >>> weights_short((0.25, 0.75))
    '.25 .75'
    """
    return " ".join("" if weight is None else _short(weight) for weight in weights).strip()


def step_line(record: StepRecord, *, steps: int | None = None) -> str:
    """Return a step as one line: number, losses, how far gradients disagree, speed.

    >>> from paretokit.training.records import example_json
    >>> step_line(StepRecord.from_json(example_json()), steps=60)
    'step  1/60  loss helpful 0.690 harmless 0.700  cos -0.86  margin -0.05'
    """
    total = "" if steps is None else f"/{steps}"
    width = 0 if steps is None else len(str(steps))
    losses = " ".join(f"{name} {number(loss)}" for name, loss in zip(record.objectives, record.losses, strict=True))
    line = f"step {record.step:>{width}}{total}  loss {losses}"
    count = len(record.objectives)
    cosines = [record.cosines[i][j] for i in range(count) for j in range(i)]
    if known := [value for value in cosines if math.isfinite(value)]:
        line += f"  cos {min(known):+.2f}"
    if record.margins:
        line += f"  margin {_mean(record.margins):+.2f}"
    if record.tokens_per_second is not None:
        line += f"  {record.tokens_per_second:.0f} tokens/s"
    return line


def _with_interval(row: dict[str, Any], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if math.isnan(low) or math.isnan(high):
        return f"{row[name]:.3f}"
    return f"{row[name]:.3f} [{_short(low)} {_short(high)}]"


def _short(value: float) -> str:
    return f"{value:.2f}".removeprefix("0")


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.2f}"


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan
