"""Tables: the numbers of the front, readable in a terminal of 80 columns, without markup."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console
from support.view_data import OBJECTIVES, demo_front, records, start_frame, sweep_frame

from paretokit.training.records import StepRecord, example_json
from paretokit.view.samples import samples_view
from paretokit.view.tables import (
    Table,
    front_table,
    moves_table,
    runs_table,
    samples_table,
    step_line,
    summary_table,
    to_rich,
)


def printed(table: Table, *, width: int = 80) -> str:
    """What a terminal of that width shows."""
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(to_rich(table))
    return console.file.getvalue()


def run(index: int) -> SimpleNamespace:
    spec = SimpleNamespace(
        id=f"raco-s{index}-0123456789", method="raco", weights=(1 / 3, 1 / 3, 1 / 3), seed=index, objectives=OBJECTIVES
    )
    return SimpleNamespace(spec=spec, records=records(steps=20))


FRONT = demo_front()
TABLES = {
    "front": front_table(FRONT),
    "summary": summary_table(FRONT),
    "moves": moves_table(FRONT),
    "runs": runs_table([run(0), run(1)]),
}


@pytest.mark.parametrize("name", TABLES)
def test_rows_stay_on_one_line_in_80_columns(name):
    table = TABLES[name]
    lines = printed(table).splitlines()
    assert max(map(len, lines)) <= 80
    for row in table.rows:
        assert any(all(cell.strip() in line for cell in row) for line in lines), row


def test_a_row_too_wide_for_one_line_is_noticed():
    table = Table("wide", ("a", "b"), (("x" * 60, "y" * 60),), (False, False))
    assert not any("x" * 60 in line and "y" * 60 in line for line in printed(table).splitlines())


def test_front_table_holds_the_points_and_the_start():
    table = TABLES["front"]
    assert table.columns == ("method", "weights", *OBJECTIVES, "dist.", "")
    assert len(table.rows) == 16
    point, start = FRONT.points.iloc[0], FRONT.start.iloc[0]
    low, high = (f"{point[f'quality_{end}']:.2f}".removeprefix("0") for end in ("low", "high"))
    assert table.rows[1][:3] == ("raco", ".33 .33 .33", f"{point['quality']:.3f} [{low} {high}]")
    assert table.rows[0][0] == "start"
    assert table.rows[0][2].startswith(f"{start['quality']:.3f}")
    marks = [row[-1] for row in table.rows[1:]]
    assert [mark == "*" for mark in marks] == FRONT.nondominated.tolist()
    assert "one seed: training noise is not shown" in table.note


def test_front_table_of_several_seeds_says_so():
    note = front_table(demo_front(seeds=(0, 1), truth=False)).note
    assert note.startswith("* not dominated. [95 % intervals over 24 prompts and seeds], 2 seeds.")
    assert "dist." not in note


def test_summary_table_holds_the_summary():
    table = TABLES["summary"]
    summary = FRONT.summary().set_index("method")
    assert table.columns[:5] == ("method", "front", "hypervolume", "mean dist.", "nearest")
    for row in table.rows:
        assert row[2] == f"{summary.loc[row[0], 'hypervolume']:.3f}"
        assert row[5] == f"{summary.loc[row[0], 'rank_correlation_quality']:+.2f}"
    assert "Hypervolume above (0, 0, 0)" in table.note


def test_moves_table_marks_what_moved():
    table = TABLES["moves"]
    moves = FRONT.moves()
    cells = [cell for row in table.rows for cell in row[2:]]
    assert [cell.endswith("*") for cell in cells] == moves["moved"].tolist()
    assert cells[0] == f"{moves['difference'][0]:+.3f}*"
    assert f"{int(moves['moved'].sum())} of 45" in table.note


def test_runs_table_takes_the_last_tenth():
    row = TABLES["runs"].rows[0]
    last = records(steps=20)[-2:]
    assert row[:3] == ("raco-s0-0123456789", ".33 .33 .33", "20")
    assert row[3] == f"{(last[0].losses[0] + last[1].losses[0]) / 2:.3f}"


def test_a_run_whose_weights_follow_the_step():
    changing = run(0)
    changing.spec.weights = None
    assert runs_table([changing]).rows[0][1] == "by step"


def test_markup_in_texts_is_shown_as_it_stands():
    table = Table("[red]t[/red]", ("[b]a[/b]",), (("[bold]x[/bold] :smile:",),), (False,), "[i]n[/i]")
    text = printed(table)
    assert all(part in text for part in ("[red]t[/red]", "[b]a[/b]", "[bold]x[/bold] :smile:", "[i]n[/i]"))


def test_samples_table_has_the_texts():
    view = samples_view(sweep_frame(prompts=2), start=start_frame(prompts=2), limit=2)
    table = samples_table(view)
    assert table.columns == ("prompt", "run", "before", "after", *OBJECTIVES)
    assert table.numeric == (False, False, False, False, True, True, True)
    assert table.rows[0][3] == "Mia found a red kite in the park."


def test_step_line():
    record = StepRecord.from_json({**example_json(), "losses": [None, 0.7], "tokens_per_second": 1234.5})
    assert step_line(record) == "step 1  loss helpful - harmless 0.700  cos -0.86  margin -0.05  1234 tokens/s"
    alone = StepRecord.from_json({**example_json(), "cosines": [[1, None], [None, 1]], "margins": []})
    assert step_line(alone, steps=100) == "step   1/100  loss helpful 0.690 harmless 0.700"
