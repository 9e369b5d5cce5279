"""What the policy says, before and after: texts side by side, with their scores.

Imports: pandas, plotly, `experiments.score`, `view.theme`.
"""

from collections.abc import Sequence
from textwrap import wrap
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from paretokit.errors import DataError, suggestion
from paretokit.experiments.score import score_columns
from paretokit.view.front_view import number, plural
from paretokit.view.theme import GRID, INK, LINE, Theme, layout, plain


class SampleView(NamedTuple):
    """One prompt with an answer, and the answer of the start where there is one."""

    prompt: str
    label: str  # run or method, "" where the table names none
    before: str | None
    after: str
    before_scores: tuple[float, ...] | None  # [m]
    after_scores: tuple[float, ...]  # [m]


class SamplesView(NamedTuple):
    """What the table of samples shows."""

    objectives: tuple[str, ...]
    samples: tuple[SampleView, ...]
    title: str
    subtitle: str
    alt: str


def samples_view(
    frame: pd.DataFrame,
    *,
    start: pd.DataFrame | None = None,
    objectives: Sequence[str] | None = None,
    limit: int = 6,
) -> SamplesView:
    """Return the first answers of a table made by `score`: the lowest copy of the first prompts, `limit` in all.

    Where the table holds several runs, a prompt appears once for each. `start` holds the answers of the policy before
    training to the same prompts. Raises `DataError` for a table without texts, or without the named scores.
    """
    names = score_columns(frame) if objectives is None else tuple(objectives)
    tables = [("samples", frame), *([] if start is None else [("start", start)])]
    for place, table in tables:
        for name in ("prompt_index", "prompt", "text", *names):
            if name not in table.columns:
                raise DataError(
                    f"{place}: found no column {name!r}; there are {', '.join(map(str, table.columns)) or 'none'}."
                    f"{suggestion(name, map(str, table.columns))} Pass the table that paretokit.score returns."
                )
    if frame.empty:
        raise DataError("samples: found no rows. Score at least one answer.")
    labels = next(([name] for name in ("run", "method") if name in frame.columns), [])
    firsts = frame.sort_values("prompt_index", kind="stable").drop_duplicates(["prompt_index", *labels]).head(limit)
    befores = {} if start is None else _by_prompt(start)
    samples = tuple(
        _sample(row, befores.get(row["prompt_index"]), names=names, labels=labels) for row in firsts.to_dict("records")
    )
    compared = [sample for sample in samples if sample.before_scores is not None]
    return SamplesView(
        objectives=names,
        samples=samples,
        title="Answers before and after training" if compared else "Answers",
        subtitle=f"the first {plural(len(samples), 'answer')}, not selected by score · scores: larger is better",
        alt=_alt(names, samples, compared),
    )


def draw_samples(view: SamplesView, *, theme: Theme = "auto") -> go.Figure:
    """Return the samples as a plotly table; texts are shown as they stand."""
    titles, rows = samples_rows(view)
    columns = [[plain(cell).replace("\n", "<br>") for cell in column] for column in zip(*rows, strict=True)]
    if "run" in titles:  # a name has no blanks at which plotly would break it
        names = [row[titles.index("run")] for row in rows]
        columns[titles.index("run")] = ["<br>".join(map(plain, wrap(name, 12))) for name in names]
    wide = {"prompt": 2.6, "run": 1.7, "before": 2.6, "after": 2.6}
    letters = {"prompt": 24, "run": 14, "before": 24, "after": 24}  # that surely fit on a line, 900 pixels wide
    lines = [max(-(-len(cell) // letters.get(title, 10)) for cell, title in zip(row, titles, strict=True)) for row in rows]
    look = {"align": "left", "line_color": GRID, "fill_color": "rgba(0,0,0,0)", "font": {"color": INK[theme]}}
    table = go.Table(
        columnwidth=[wide.get(title, 1.5) for title in titles],
        header={**look, "values": [f"<b>{plain(title)}</b>" for title in titles], "line_color": LINE},
        cells={**look, "values": columns, "height": 22},
    )
    height = 150 + sum(20 * count + 10 for count in lines)
    shared = layout(theme=theme, height=height, title=view.title, subtitle=view.subtitle, bottom=10)
    return go.Figure(table, layout=shared).update_layout(margin={"l": 12, "r": 12})


def samples_rows(view: SamplesView) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return column titles and rows of text: prompt, run, before, after and one per objective, as "0.2 → 0.4"."""
    named, compared = (
        any(sample.label for sample in view.samples),
        any(sample.before is not None for sample in view.samples),
    )
    titles = ("prompt", *(("run",) if named else ()), *(("before",) if compared else ()), "after", *view.objectives)
    rows = []
    for sample in view.samples:
        before = ((sample.before or "(none)"),) if compared else ()
        scores = [number(score) for score in sample.after_scores]
        if sample.before_scores is not None:
            scores = [f"{number(old)} → {new}" for old, new in zip(sample.before_scores, scores, strict=True)]
        label = (sample.label,) if named else ()
        rows.append((sample.prompt, *label, *before, sample.after or "(empty)", *scores))
    return titles, tuple(rows)


def _by_prompt(start: pd.DataFrame) -> dict[Any, dict[str, Any]]:
    firsts = start.sort_values("prompt_index", kind="stable").drop_duplicates("prompt_index")
    return {row["prompt_index"]: row for row in firsts.to_dict("records")}


def _sample(row: dict[str, Any], before: dict[str, Any] | None, *, names: tuple[str, ...], labels: list[str]) -> SampleView:
    return SampleView(
        prompt=str(row["prompt"]),
        label=" ".join(str(row[name]) for name in labels),
        before=None if before is None else str(before["text"]),
        after=str(row["text"]),
        before_scores=None if before is None else tuple(float(before[name]) for name in names),
        after_scores=tuple(float(row[name]) for name in names),
    )


def _alt(names: tuple[str, ...], samples: tuple[SampleView, ...], compared: list[SampleView]) -> str:
    if not compared:
        return f"{plural(len(samples), 'answer')} with scores."
    risen = [
        f"{name} rose in {sum(s.after_scores[i] > (s.before_scores or ())[i] for s in compared)}"
        for i, name in enumerate(names)
    ]
    return f"Of {plural(len(compared), 'answer')} compared with the answer before training: {', '.join(risen)}."
