"""What commands print at the end: tables for people, one JSON object for programs.

Imports: `view`, `experiments`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from paretokit.cli import options as shared
from paretokit.decoding.sample import Generation
from paretokit.experiments.compare import front_of, labelled
from paretokit.experiments.front import Front
from paretokit.experiments.store import Run, Store
from paretokit.preferences.records import Preferences
from paretokit.view import tables
from paretokit.view.front_view import number, plural


def print_front(front: Front, *, page: Path, as_json: bool, seconds: float | None, note: str = "") -> None:
    """Print the tables of a front, a note, and where its page lies."""
    if as_json:
        shared.print_json(
            {
                "points": front.to_frame().to_dict("records"),
                "start": None if front.start is None else front.start.iloc[0].to_dict(),
                "summary": front.summary().to_dict("records"),
                "reference": list(front.reference),
                "page": str(page),
                "seconds": seconds,
            }
        )
        return
    console = shared.output()
    shown = [tables.front_table(front), *([tables.moves_table(front)] if front.start is not None else [])]
    for table in (*shown, tables.summary_table(front)):
        console.print(tables.to_rich(table), "")
    if note:
        console.print(Text(note), "")
    took = "" if seconds is None else f" in {seconds:.0f} s"
    console.print(Text(f"{plural(len(front.points), 'point')}{took}. The front: {page}", overflow="fold"), soft_wrap=True)


def rank_note(front: Front, preferences: Preferences) -> str:
    """Return why a rank correlation may be low although the weights act, or "" where all are at least 0.8.

    Objectives that mostly agree move together: weight on one raises the other's score as well, so the order of the scores
    is not that of one weight alone.
    """
    correlations = front.correlations()
    low = [name for name in front.objectives if any(value < 0.8 for value in correlations[name].tolist())]
    allies = [pair for pair in preferences.report().conflicts.between if pair.both and pair.agree > pair.conflict]
    told = [
        f"{pair.first} and {pair.second} agree on {pair.agree / pair.both:.0%} of the pairs that both judge, so the weight of "
        "one also raises the other"
        for pair in allies
        if pair.first in low or pair.second in low
    ]
    return f"Why a rho is below 0.8: {'; '.join(told)}." if told else ""


def figures_of(run: Run) -> list[dict[str, Any]]:
    """Return the run's figures before and after, one dict each: mean and 95 % interval, and the paired difference.

    The difference is between the same prompts or pairs; its interval excludes zero where the run moved more than chance
    over prompts explains. Without figures before training those entries are None. On held-out pairs the accuracies of the
    implicit-reward margin follow; before training every margin is zero, so they have no figure of that time.
    """
    assert run.scores is not None
    judged = [axis for axis in run.spec.axes if bool(run.scores[axis].notna().to_numpy().any())]
    front = front_of([run]) if len(judged) == len(run.spec.axes) else _front(run, judged)
    unjudged = [_no_figure(axis) for axis in run.spec.axes if axis not in judged]
    return [*_figures(front), *unjudged, *_figures(margins_of(run))]


def margins_of(run: Run) -> Front | None:
    """Return the accuracies of the margins of a run on held-out pairs as a front of one point; None on a world."""
    assert run.scores is not None
    names = [str(name) for name in run.scores.columns if str(name).endswith(" margin accuracy")]
    return _front(run, [name for name in names if bool(run.scores[name].notna().to_numpy().any())])


def _no_figure(axis: str) -> dict[str, Any]:
    """The row of a figure that no held-out pair gives, since none is judged and untied."""
    return dict.fromkeys(("figure", "before", "after", "low", "high", *_DIFFERENCE)) | {"figure": axis}


def _front(run: Run, names: Sequence[str]) -> Front | None:
    return Front.from_scores(labelled(run), by=["method"], objectives=names) if names else None


def _figures(front: Front | None) -> list[dict[str, Any]]:
    if front is None:
        return []
    after = front.points.iloc[0]
    before = {} if front.start is None else front.start.iloc[0].to_dict()
    moves = {} if front.start is None else {row["objective"]: row for row in front.moves().to_dict("records")}
    return [
        {
            "figure": axis,
            "before": before.get(axis),
            "after": after[axis],
            "low": after[f"{axis}_low"],
            "high": after[f"{axis}_high"],
            **{name: moves.get(axis, {}).get(found) for name, found in _DIFFERENCE.items()},
        }
        for axis in front.objectives
    ]


_DIFFERENCE = {"difference": "difference", "difference_low": "low", "difference_high": "high"}


def print_run(run: Run, *, as_json: bool) -> None:
    """Print what a run changed, and how to go on."""
    figures = None if run.scores is None else figures_of(run)
    last = run.records[-1]
    if as_json:
        shared.print_json(
            {
                "run": run.id,
                "folder": str(run.folder),
                "spec": run.spec.to_json(),
                "last": last.to_json(),
                "figures": figures,
            }
        )
        return
    console = shared.output()
    console.print(Text(tables.step_line(last, steps=run.spec.config.steps)))
    if figures is not None:
        console.print(tables.to_rich(_figures_table(figures)))
    console.print(Text(f"run {run.id} in {run.folder}"), soft_wrap=True)
    store = Path("runs") if run.folder is None else run.folder.parent.parent
    console.print(Text(f'decode: paretokit decode --store {store} --run {run.id} --compare --prompt "..."'), soft_wrap=True)
    console.print(Text(f"plot:   paretokit report --store {store} --run {run.id}"), soft_wrap=True)


def _figures_table(figures: Sequence[Mapping[str, Any]]) -> tables.Table:
    rows = tuple(
        (
            str(row["figure"]),
            number(row["before"]),
            "not judged" if row["after"] is None else f"{number(row['after'])} [{number(row['low'])} {number(row['high'])}]",
            ""
            if row["difference"] is None
            else f"{row['difference']:+.3f} [{row['difference_low']:+.3f} {row['difference_high']:+.3f}]",
        )
        for row in figures
    )
    return tables.Table(
        "Figures before and after (larger is better)",
        ("", "before", "after", "difference"),
        rows,
        (False, True, True, True),
        "[95 % bootstrap intervals over prompts; the difference is between the same prompts.]",
    )


def print_runs(store: Store, *, as_json: bool) -> None:
    """Print the runs of a store."""
    runs = store.runs()
    if as_json:
        shared.print_json([{"run": run.id, **run.state, "spec": run.spec.to_json()} for run in runs])
        return
    console = shared.output()
    if not runs:
        console.print(Text(f"no runs in {store.path}"))
        return
    console.print(tables.to_rich(tables.runs_table(runs)))
    for run in runs:
        if run.state.get("state") != "done":
            console.print(Text(f"{run.id}: {run.state.get('state')} {run.state.get('reason', '')}".rstrip()))


def print_generations(made: Mapping[str, Sequence[Generation]], *, as_json: bool) -> None:
    """Print the texts, prompt by prompt; what hit the cap is marked."""
    if as_json:
        shared.print_json({label: [one._asdict() for one in generations] for label, generations in made.items()})
        return
    console = shared.output()
    for rows in zip(*made.values(), strict=True):
        prompt = rows[0].prompt if isinstance(rows[0].prompt, str) else rows[0].prompt[-1]["content"]
        console.print(Text(f"> {prompt}", style="bold"))
        for label, one in zip(made, rows, strict=True):
            mark = "" if one.ended else f" [cut after {len(one.token_ids)} tokens]"
            console.print(Text(f"{label + ': ' if label else ''}{one.text}{mark}"))
        console.print()
