"""The page of a front, with the curves, conflicts and samples of its runs and the stamp that says how it was made.

Imports: `view`, `experiments`.
"""

from collections.abc import Sequence
from pathlib import Path

from paretokit.experiments.front import Front
from paretokit.experiments.store import Run
from paretokit.view import plot, tables
from paretokit.view.conflict import conflict_view
from paretokit.view.curves import curves_view
from paretokit.view.front_view import front_view
from paretokit.view.page import Picture, write_page
from paretokit.view.samples import samples_view
from paretokit.view.stamp import stamp


def write_front(front: Front, *, runs: Sequence[Run], path: Path, title: str) -> Path:
    """Write the page of a front, with the curves, conflicts and samples of its runs; return its absolute path."""
    seen = front_view(front)
    figures = [Picture(plot.front(front), seen.alt, seen.caption)]
    curves = curves_view(runs)
    figures.append(Picture(plot.curves(runs), curves.alt))
    if len(runs[0].spec.objectives) > 1:
        conflict = conflict_view(runs)
        figures.append(Picture(plot.conflict(runs), conflict.alt))
    shown = [tables.summary_table(front), tables.front_table(front)]
    if front.start is not None:
        shown.append(tables.moves_table(front))
    last = runs[-1]
    if last.scores is not None and "text" in last.scores.columns:
        shown.append(tables.samples_table(samples_view(last.scores, start=last.start)))
    shown.append(tables.runs_table(runs))
    return write_page(path, figures, shown, stamp(runs), title=title).resolve()
