"""Curves and conflict: what they say, compared as plain values, from hand-made records; then drawn."""

import math
from types import SimpleNamespace

import pytest
from support.view_checks import assert_legend_names_each_once
from support.view_data import OBJECTIVES, records

from paretokit.errors import DataError
from paretokit.training.records import StepRecord, example_json
from paretokit.view import plot
from paretokit.view.conflict import conflict_view, draw_conflict, heading
from paretokit.view.curves import curves_view, draw_curves, named_records


def record(**changes: object) -> StepRecord:
    return StepRecord.from_json({**example_json(), **changes})


TWO = [
    record(),
    record(step=2, losses=[None, 0.6], margins=[1.0, 3.0], mixture=[0.0, 1.0], cosines=[[1, None], [None, 1]]),
]


def test_curves_of_two_steps():
    seen = curves_view(TWO)
    assert seen.objectives == ("helpful", "harmless")
    (run,) = seen.runs
    assert (run.label, run.method, run.steps) == ("raco", "raco", (1, 2))
    assert run.losses == ((0.69, None), (0.7, 0.6))
    assert run.gradient_norms == ((4.123, 4.123), (1.414, 1.414))
    assert run.coefficients == ((0.328, 0.328), (1.211, 1.211))
    assert run.mixture == ((0.356, 0.0), (0.644, 1.0))
    assert run.margin_mean == pytest.approx((-0.05, 2.0))
    assert run.margin_spread == pytest.approx((0.15, 1.0))
    assert seen.title == "raco: 2 training steps"
    assert seen.alt == ("Losses between the first and the last tenth of the steps over the run: harmless from 0.700 to 0.600.")
    assert curves_view(TWO) == seen
    assert curves_view(TWO[:1]) != seen


def test_a_step_without_margins_has_no_mean():
    (run,) = curves_view([record(margins=[])]).runs
    assert (run.margin_mean, run.margin_spread) == ((None,), (None,))


def run_of(label: str, method: str = "raco") -> SimpleNamespace:
    return SimpleNamespace(records=records(steps=5, method=method), spec=SimpleNamespace(label=label))


def test_every_form_of_source():
    five = records(steps=5)
    assert named_records(five) == {"raco": five}
    assert list(named_records(run_of("a"))) == ["a"]
    assert list(named_records([run_of("a"), run_of("b"), run_of("a")])) == ["a", "b", "a #2"]
    assert named_records({"x": five, "y": run_of("b")}) == {"x": five, "y": five}
    assert named_records(iter(five)) == {"raco": five}


@pytest.mark.parametrize("source", [[], {}, {"a": []}, SimpleNamespace(records=())])
def test_no_records(source):
    with pytest.raises(DataError) as error:
        named_records(source)
    assert str(error.value) == ("curves: found a run without step records, expected at least one step. Train before plotting.")


def test_runs_of_other_objectives():
    with pytest.raises(DataError, match=r"^curves: found runs with different objectives"):
        named_records({"a": records(steps=1), "b": [record()]})


def test_curves_are_drawn_from_the_view():
    seen = curves_view({"first": records(), "second": records(method="linear")})
    figure = draw_curves(seen)
    drawn = {tuple(trace.y) for trace in figure.data}
    for run in seen.runs:
        for values in (*run.losses, *run.gradient_norms, *run.coefficients, *run.mixture, run.margin_mean):
            assert values in drawn
    assert_legend_names_each_once(figure)
    assert {trace.name for trace in figure.data if trace.showlegend} == {"raco", "linear"}
    assert figure.layout.shapes[0].y0 == math.log(2)


def test_many_runs_share_a_look_by_method():
    figure = plot.curves([run_of("a"), run_of("b"), run_of("c", "linear"), run_of("d"), run_of("e")])
    assert len({(trace.line.color, trace.line.dash) for trace in figure.data}) == 2
    assert_legend_names_each_once(figure)
    assert not any(trace.fill for trace in figure.data)  # five bands on top of each other say nothing


def test_one_step_is_a_marker():
    assert {trace.mode for trace in plot.curves(records(steps=1)).data} == {"markers", "lines"}


def test_conflict_of_two_steps():
    seen = conflict_view(TWO)
    (run,) = seen.runs
    assert seen.pairs == ("helpful and harmless",)
    assert run.cosines == ((-0.857, None),)
    assert run.mixture == ((0.356, 0.0), (0.644, 1.0))
    assert run.clipped == ((0.2, 0.2), (0.644, 0.644))
    assert run.correction == pytest.approx((0.5, 0.5))
    assert (run.interior, run.vertex) == (0.5, 0.5)
    assert heading(run) == (
        "raco: gradient conflict over 2 steps",
        "mixture of all objectives in 50 % of the steps, of one alone in 50 % (there a clip changes no direction) "
        "· fine dots: the weights",
    )
    assert seen.alt == (
        "Gradients point against each other (helpful and harmless in 100 % of the steps); the mixture is a single "
        "objective, so that a clip changes no direction, for raco in 50 %."
    )


def test_an_edge_is_neither_interior_nor_a_vertex():
    base = records(steps=1)[0].to_json()
    (run,) = conflict_view([StepRecord.from_json({**base, "mixture": [0.5, 0.5, 0.0]})]).runs
    assert (run.interior, run.vertex) == (0.0, 0.0)


def test_no_preferred_gradient_has_no_relative_correction():
    (run,) = conflict_view([record(preferred_norm=0.0)]).runs
    assert run.correction == (None,)


def test_one_objective_conflicts_with_nothing():
    with pytest.raises(DataError) as error:
        conflict_view(records(steps=2, objectives=("kind",)))
    assert str(error.value) == "conflict: found one objective, 'kind'; one alone conflicts with nothing. Use two."


def test_conflict_is_drawn_from_the_view():
    seen = conflict_view(records())
    figure = draw_conflict(seen)
    drawn = [(trace.name, tuple(trace.y)) for trace in figure.data]
    (run,) = seen.runs
    assert all((name, values) in drawn for name, values in zip(seen.pairs, run.cosines, strict=True))
    for parts in (run.mixture, run.clipped):
        assert all((name, values) in drawn for name, values in zip(OBJECTIVES, parts, strict=True))
    assert ("correction", run.correction) in drawn
    assert_legend_names_each_once(figure)
    assert not figure.layout.updatemenus


def test_a_menu_shows_one_run_at_a_time():
    seen = conflict_view({"a": records(steps=4), "b": records(steps=6, method="linear")})
    figure = draw_conflict(seen)
    first, second = figure.layout.updatemenus[0].buttons
    assert [trace.visible for trace in figure.data] == list(first.args[0]["visible"])
    lengths = {len(t.x) for t, shown in zip(figure.data, second.args[0]["visible"], strict=True) if shown}
    assert lengths == {6}
    assert second.args[1]["title.text"] == "b: gradient conflict over 6 steps"
    assert seen.alt.endswith(" for raco in 25 %, linear in 33 %.")
    assert_legend_names_each_once(figure)
