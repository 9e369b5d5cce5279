"""The live curves and conflict: the lines of a run, for any number of objectives and from the first step on."""

import math
from dataclasses import replace

import pytest
from support.view_data import OBJECTIVES, records

from paretokit.view import plot
from paretokit.view.conflict import conflict_view
from paretokit.view.curves import curves_view
from paretokit.view.live_curves import conflict_columns, conflict_skeleton, curves_columns, curves_skeleton
from paretokit.view.live_figure import LiveFigure

NAMES = {1: ("quality",), 2: OBJECTIVES[:2], 3: OBJECTIVES, 4: ("a", "b", "c", "d")}
COUNTS = pytest.mark.parametrize("count", [1, 2, 3, 4])
KINDS = pytest.mark.parametrize(
    ("skeleton", "columns"),
    [(curves_skeleton, curves_columns), (conflict_skeleton, conflict_columns)],
    ids=["curves", "conflict"],
)


def run(count: int, *, steps: int = 20):
    return records(steps=steps, objectives=NAMES[count])


@COUNTS
@KINDS
@pytest.mark.parametrize("steps", [0, 1, 20])
def test_there_are_columns_for_every_line_from_the_first_step_on(skeleton, columns, count, steps):
    objectives = NAMES[count]
    figure = skeleton(objectives)
    found = columns("raco", run(count, steps=20)[:steps], objectives=objectives)
    assert set(found) == set(range(len(figure.data)))
    for values in found.values():
        assert len(values["x"]) == len(values["y"])


@COUNTS
@KINDS
def test_every_state_can_be_drawn_into_the_same_figure(skeleton, columns, count):
    objectives = NAMES[count]
    live = LiveFigure(skeleton(objectives))
    made = run(count)
    for steps in (0, 1, 2, 20, 0):
        found = columns("raco", made[:steps], objectives=objectives)
        live.draw(found, shape={"font_color": "#777777"})
        live.draw_again()
        for number, values in found.items():
            assert list(live.data[number].x or ()) == values["x"]
            assert list(live.data[number].y or ()) == pytest.approx(values["y"], nan_ok=True)


@COUNTS
def test_the_curves_are_those_of_the_records(count):
    made, objectives = run(count), NAMES[count]
    found = curves_columns("raco", made, objectives=objectives)
    steps = [record.step for record in made]
    for index in range(count):
        for place, name in enumerate(("losses", "gradient_norms", "coefficients")):
            values = found[place * count + index]
            assert values["x"] == steps
            assert values["y"] == pytest.approx([getattr(record, name)[index] for record in made])
    assert found[3 * count]["y"] == list(curves_view({"raco": made}).runs[0].margin_mean)
    assert found[3 * count + 1] == {"x": [1, 20], "y": [math.log(2)] * 2}


def test_many_steps_have_no_markers_which_a_page_draws_slowly():
    few, many = (
        curves_columns("raco", [replace(run(2)[0], step=step) for step in range(1, last + 1)], objectives=NAMES[2])
        for last in (60, 61)
    )
    assert {values["mode"] for number, values in few.items() if number < 7} == {"lines+markers"}
    assert {values["mode"] for number, values in many.items() if number < 7} == {"lines"}


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_conflict_is_that_of_the_records(count):
    made, objectives = run(count), NAMES[count]
    found = conflict_columns("raco", made, objectives=objectives)
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    for place, (i, j) in enumerate(pairs):
        assert found[place]["y"] == pytest.approx([record.cosines[i][j] for record in made])
    for index in range(count):
        assert found[len(pairs) + index]["y"] == pytest.approx([record.mixture[index] for record in made])
        assert found[len(pairs) + count + index]["y"] == pytest.approx([record.clipped[index] for record in made])
    assert found[len(pairs) + 2 * count]["y"] == list(conflict_view({"raco": made}).runs[0].correction)


def test_one_objective_has_no_conflict():
    found = conflict_columns("raco", run(1), objectives=NAMES[1])
    assert {(tuple(values["x"]), tuple(values["y"])) for values in found.values()} == {((), ())}


@pytest.mark.parametrize("count", [2, 3])
def test_the_live_curves_show_what_the_plain_figure_shows(count):
    """Each live line is, value by value, one of `plot.curves`."""
    made, objectives = run(count), NAMES[count]
    plain = [tuple(trace.y) for trace in plot.curves(made).data if trace.y is not None]
    for number, values in curves_columns("raco", made, objectives=objectives).items():
        if number < 3 * count:
            assert tuple(values["y"]) in plain


@COUNTS
@KINDS
def test_the_legend_names_each_line_once_and_colour_is_not_all(skeleton, columns, count):
    objectives = NAMES[count]
    figure = skeleton(objectives)
    named = [trace.name for trace in figure.data if trace.showlegend is not False]
    assert len(named) == len(set(named))
    assert set(objectives) <= set(named)
    looks = {trace.name: (trace.line.color, trace.line.dash) for trace in figure.data if trace.name in objectives}
    assert len(set(looks.values())) == len({dash for _, dash in looks.values()}) == count


@KINDS
def test_names_of_people_are_no_markup(skeleton, columns):
    figure = skeleton(("<script>a", "<b>b"))
    shown = [text for trace in figure.data for text in (trace.name, trace.hovertemplate)]
    shown += [note.text for note in figure.layout.annotations]
    assert any("&lt;script&gt;a" in text for text in shown)
    assert not any("<script" in text or "<b>" in text for text in shown)
