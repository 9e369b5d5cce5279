"""What the front figure says, compared as plain values; then drawn, and looked through for what must be in it."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from support.view_checks import assert_legend_names_each_once
from support.view_data import METHODS, OBJECTIVES, WEIGHTINGS, demo_front, sweep_frame

from paretokit.errors import ConfigError
from paretokit.experiments.front import Front
from paretokit.view import plot
from paretokit.view.front_figure import draw_front
from paretokit.view.front_points import hover
from paretokit.view.front_view import FrontView, PanelView, PointView, front_view
from paretokit.view.projection import boundary
from paretokit.view.theme import DOMINATED, method_styles

ROWS = pd.DataFrame(
    {
        "method": ["raco", "raco", "mine", "mine"],
        "weight_kind": 0.25,
        "weight_short": 0.75,
        "seed": 3,
        "run": ["r1", "r1", "m1", "m1"],
        "prompt_index": [0, 1, 0, 1],
        "prompt": "Q",
        "text": ["A", "B", "<b>C</b>", "D"],
        "kind": [0.5, 0.5, 0.25, 0.25],
        "short": [0.5, 0.5, 0.25, 0.25],
    }
)
TRUTH = [torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double()] * 2
START = ROWS.head(2).assign(kind=0.125, short=0.125, text="S")


def small_front(**options: object) -> Front:
    given = {
        "by": ["method", "weight_kind", "weight_short"],
        "objectives": ["kind", "short"],
        "start": START,
        **options,
    }
    return Front.from_scores(ROWS, **given)


@pytest.fixture(scope="module")
def view() -> FrontView:
    return front_view(demo_front())


def test_every_value_of_a_small_front():
    seen = front_view(small_front(truth=TRUTH))
    points = tuple(point._replace(distance=round(point.distance, 12)) for point in seen.points)
    assert seen._replace(points=points) == FrontView(
        objectives=("kind", "short"),
        methods=("raco", "mine"),
        points=(
            PointView("raco", (0.25, 0.75), (0.5, 0.5), (0.5, 0.5), (0.5, 0.5), True, 0.0, ("3",), ("r1",), "Q", "A"),
            PointView(
                "mine",
                (0.25, 0.75),
                (0.25, 0.25),
                (0.25, 0.25),
                (0.25, 0.25),
                False,
                0.25,
                ("3",),
                ("m1",),
                "Q",
                "<b>C</b>",
            ),
        ),
        start=PointView("start", None, (0.125, 0.125), (0.125, 0.125), (0.125, 0.125), False, 0.375, (), (), "Q", "S"),
        panels=(PanelView(0, 1, ((0.0, 1.0), (1.0, 0.0))),),
        best=(1.0, 1.0),
        reference=(0.0, 0.0),
        title="Mean scores of 2 policies (2 methods x 1 weighting)",
        subtitle="1 seed: training noise is not shown · 2 prompts · bars: 95 % intervals over prompts · "
        "hypervolume reference (0, 0)",
        caption=seen.caption,
        alt="Of 2 points, 1 is not dominated; hypervolume raco 0.250, mine 0.062; nearest to the true front is raco at "
        "weights 0.25 0.75, at a distance of 0.000; 4 of 4 scores differ from the start by more than their interval.",
    )
    assert seen == front_view(small_front(truth=TRUTH))
    assert seen != front_view(small_front())


def test_without_truth_start_weights_or_texts():
    rows = ROWS[["method", "prompt_index", "kind", "short"]]
    seen = front_view(Front.from_scores(rows, by=["method"], objectives=["kind", "short"]))
    assert seen.start is None
    assert seen.best is None
    assert seen.panels == (PanelView(0, 1, None),)
    assert [(point.weights, point.distance, point.runs, point.text) for point in seen.points] == [(None, None, (), "")] * 2
    assert "true front" not in seen.alt + seen.caption
    draw_front(seen)


def test_one_prompt_has_no_bars():
    rows = ROWS[ROWS["prompt_index"] == 0]
    seen = front_view(Front.from_scores(rows, by=["method"], objectives=["kind", "short"]))
    assert {(point.low, point.high) for point in seen.points} == {(None, None)}
    assert all(trace.error_x.array is None for trace in draw_front(seen).data)


def test_three_objectives_are_seen_in_three_projections(view):
    front = demo_front()
    assert [(panel.x, panel.y) for panel in view.panels] == [(0, 1), (0, 2), (1, 2)]
    assert view.panels[1].boundary == boundary(front.truth, x=0, y=2)
    assert [point.nondominated for point in view.points] == front.nondominated.tolist()
    assert "among all 3 objectives, not in the projection" in view.caption
    assert "exact attainable set" in view.caption
    assert view.methods == METHODS
    assert view.points[1].weights == WEIGHTINGS[1]


def test_several_seeds_lose_the_badge():
    seen = front_view(demo_front(seeds=(0, 1, 2), truth=False))
    assert seen.subtitle.startswith("3 seeds · 24 prompts · bars: 95 % intervals over prompts and seeds")
    assert {point.seeds for point in seen.points} == {("0", "1", "2")}


def test_axes_choose_the_panels():
    seen = front_view(demo_front(), axes=[("faithfulness", "quality")])
    assert [(panel.x, panel.y) for panel in seen.panels] == [(2, 0)]
    with pytest.raises(ConfigError) as error:
        front_view(demo_front(), axes=[("quallity", "quality")])
    assert str(error.value) == (
        "axes: found 'quallity', expected one of quality, conciseness, faithfulness. Did you mean 'quality'? "
        "Pass pairs of objective names."
    )


def drawn(figure, axis: str = "x") -> dict[str, list[tuple[float, float]]]:
    """The points on one pair of axes, by the name of their trace."""
    found: dict[str, list[tuple[float, float]]] = {}
    for trace in figure.data:
        if (trace.xaxis or "x") == axis and trace.x[0] is not None and trace.mode == "markers":
            found.setdefault(trace.name, []).extend(zip(trace.x, trace.y, strict=True))
    return found


def test_every_panel_shows_every_point_the_start_and_the_reference(view):
    figure = draw_front(view)
    for number, (x, y) in enumerate([(0, 1), (0, 2), (1, 2)], start=1):
        found = drawn(figure, f"x{number}" if number > 1 else "x")
        for method in METHODS:
            expected = {(point.scores[x], point.scores[y]) for point in view.points if point.method == method}
            assert set(found[method]) == expected
        assert found["before training"] == [(view.start.scores[x], view.start.scores[y])]
        assert found["hypervolume reference"] == [(0.0, 0.0)]
        assert figure.layout[f"xaxis{number if number > 1 else ''}"].title.text == OBJECTIVES[x]
        assert figure.layout[f"yaxis{number if number > 1 else ''}"].title.text == OBJECTIVES[y]


def test_points_without_methods_are_all_drawn():
    rows = ROWS.assign(run=["a", "a", "b", "b"])
    figure = plot.front(Front.from_scores(rows, by=["run"], objectives=["kind", "short"]))
    assert drawn(figure)["a"] == [(0.5, 0.5)]
    assert drawn(figure)["b"] == [(0.25, 0.25)]


def test_the_boundary_is_drawn_out_to_the_edges(view):
    lines = [trace for trace in draw_front(view).data if trace.mode == "lines"]
    assert len(lines) == 3
    for line, panel in zip(lines, view.panels, strict=True):
        assert tuple(zip(line.x, line.y, strict=True))[1:-1] == panel.boundary
        assert line.y[0] == line.y[1]
        assert line.x[-1] == line.x[-2]


def test_dominated_points_are_grey_with_the_shape_of_their_method(view):
    figure = draw_front(view)
    styles = method_styles(METHODS)
    shown = [trace for trace in figure.data if trace.name in METHODS and trace.x[0] is not None]
    assert any(trace.marker.color == DOMINATED for trace in shown)
    for trace in shown:
        style = styles[trace.name]
        assert trace.marker.symbol == style.symbol
        assert trace.marker.line.color == style.colour
        assert trace.marker.color in (style.colour, DOMINATED)
        assert trace.marker.opacity >= 0.7
    grey = sum(len(trace.x) for trace in shown if trace.marker.color == DOMINATED)
    assert grey == 3 * sum(not point.nondominated for point in view.points)


def test_bars_end_where_the_interval_ends(view):
    figure = draw_front(view)
    by_scores = {point.scores[:2]: point for point in [*view.points, view.start]}
    checked = 0
    for trace in figure.data:
        if (trace.xaxis or "x") == "x" and trace.error_x.array is not None:
            for place, (x, y) in enumerate(zip(trace.x, trace.y, strict=True)):
                point = by_scores[x, y]
                assert x + trace.error_x.array[place] == pytest.approx(point.high[0])
                assert y - trace.error_y.arrayminus[place] == pytest.approx(point.low[1])
                checked += 1
    assert checked == len(view.points) + 1


def test_one_legend_entry_each(view):
    figure = draw_front(view)
    assert_legend_names_each_once(figure)
    named = {trace.name for trace in figure.data if trace.showlegend}
    assert named == {*METHODS, "dominated", "before training", "hypervolume reference", "best attainable"}


def test_the_close_up_holds_all_points_and_says_where_the_reference_lies(view):
    figure = draw_front(view)
    near, whole = (button.args[0] for button in figure.layout.updatemenus[0].buttons)
    for place, panel in enumerate(view.panels):
        suffix = "" if place == 0 else str(place + 1)
        for axis, index in (("x", panel.x), ("y", panel.y)):
            low, high = near[f"{axis}axis{suffix}.range"]
            assert all(low < point.low[index] and point.high[index] < high for point in view.points)
            assert high > view.best[index]
            assert list(figure.layout[f"{axis}axis{suffix}"].range) == [low, high]
            assert whole[f"{axis}axis{suffix}.range"][0] < 0 < low
    assert [note.text for note in figure.layout.annotations] == ["↙ reference (0, 0)"] * 3
    assert whole["annotations[0].visible"] is False


def test_a_reference_close_by_needs_no_close_up():
    figure = plot.front(small_front(truth=TRUTH, reference=[0.1, 0.1]))
    assert not figure.layout.updatemenus
    assert figure.layout.xaxis.range[0] < 0.1


def test_hover_holds_everything_and_escapes_the_text():
    seen = front_view(small_front(truth=TRUTH))
    label = hover(seen, seen.points[1])
    assert label == (
        "<b>mine</b><br>weights: kind 0.25, short 0.75<br>kind <b>0.250</b> [0.250, 0.250]<br>"
        "short <b>0.250</b> [0.250, 0.250]<br>distance to the true front 0.250<br>seed 3 · dominated<br>run m1<br>"
        "<i>Q</i><br>&lt;b&gt;C&lt;/b&gt;"
    )
    assert "(empty answer)" in hover(seen, seen.points[1]._replace(text=""))


def test_names_of_people_are_no_markup():
    rows = ROWS.assign(method="<lambda>", run="<i>").rename(columns={"kind": "<b>kind", "weight_kind": "weight_<b>kind"})
    front = Front.from_scores(rows, by=["method", "run", "weight_<b>kind", "weight_short"], objectives=["<b>kind", "short"])
    figure = plot.front(front)
    labels = [label for trace in figure.data for label in trace.hovertext or ()]
    shown = "".join([*labels, *(trace.name for trace in figure.data), figure.layout.xaxis.title.text])
    assert "<b>&lt;lambda&gt;</b>" in shown
    assert "<lambda>" not in shown
    assert "<b>kind" not in shown
    assert "<i>" not in shown.replace("<i>Q</i>", "")


def test_one_objective_is_a_strip():
    seen = front_view(demo_front(objectives=("kind",)))
    assert seen.panels == ()
    figure = draw_front(seen)
    assert set(drawn(figure)) == {*METHODS, "before training"}
    assert {shape.x0 for shape in figure.layout.shapes} == {0.0, seen.best[0]}
    assert_legend_names_each_once(figure)


def test_four_objectives_are_parallel_coordinates():
    seen = front_view(demo_front(objectives=("a", "b", "c", "d")))
    figure = draw_front(seen)
    lines = [trace for trace in figure.data if trace.x[0] is not None and not trace.showlegend and trace.name in METHODS]
    assert {tuple(line.y) for line in lines} == {point.scores for point in seen.points}
    named = {trace.name: tuple(trace.y) for trace in figure.data if trace.name not in METHODS}
    assert named["before training"] == seen.start.scores
    assert named["hypervolume reference"] == (0.0,) * 4
    assert named["best attainable alone"] == seen.best
    assert_legend_names_each_once(figure)


@pytest.mark.parametrize("objectives", [("a",), ("a", "b"), OBJECTIVES, ("a", "b", "c", "d")])
@pytest.mark.parametrize("truth", [True, False])
def test_every_number_of_objectives_is_drawn_from_what_was_computed(objectives, truth):
    seen = front_view(demo_front(objectives=objectives, truth=truth))
    assert seen.alt.endswith(".")
    assert seen.alt.count(". ") == 0  # one sentence
    assert draw_front(seen).layout.title.text == seen.title


def test_themes_change_only_the_ink(view):
    light, dark = draw_front(view, theme="light").to_dict(), draw_front(view, theme="dark").to_dict()
    assert light["data"] == dark["data"]
    assert light["layout"]["font"]["color"] != dark["layout"]["font"]["color"]


def test_scores_outside_the_unit_interval_say_so():
    rows = sweep_frame(methods=("raco",), prompts=4)
    rows[list(OBJECTIVES)] *= 10
    front = Front.from_scores(rows, by=["method"], objectives=OBJECTIVES)
    assert front_view(front).subtitle.endswith("chosen from these scores")
    assert all(math.isfinite(value) for value in front.reference)
    assert np.all(np.array(front.reference) < front.points[list(OBJECTIVES)].to_numpy() + 1e-9)
