"""The live front: a fixed set of traces for any number of objectives, and everything of a board in them."""

import json

import pytest
import torch
from support.view_data import METHODS, OBJECTIVES, demo_front, start_frame, truth_sets

from paretokit.view.between import between
from paretokit.view.front_points import hover
from paretokit.view.front_view import FrontView, bare_view, front_view
from paretokit.view.live_figure import LiveFigure
from paretokit.view.live_front import PARTS, Now, between_columns, columns, point_at, shape, skeleton
from paretokit.view.theme import DOMINATED, INK, method_styles

NAMES = {1: ("quality",), 2: OBJECTIVES[:2], 3: OBJECTIVES, 4: ("a", "b", "c", "d")}
PANELS = {1: [(0, 0)], 2: [(0, 1)], 3: [(0, 1), (0, 2), (1, 2)], 4: [(0, 1), (0, 2), (0, 3)]}
COUNTS = pytest.mark.parametrize("count", [1, 2, 3, 4])


def view_of(count: int, *, truth: bool = True) -> FrontView:
    return front_view(demo_front(objectives=NAMES[count], truth=truth, prompts=12))


def bare(count: int, *, start: bool) -> FrontView:
    frame = start_frame(objectives=NAMES[count], prompts=12) if start else None
    return bare_view(NAMES[count], start=frame, truth=truth_sets(objectives=count, prompts=12))


def now_of(count: int, *, looks: int = 2) -> Now:
    steps = tuple(4 * (look + 1) for look in range(looks))
    return Now("raco 0.30 0.70", "raco", steps, tuple((0.5 + 0.1 * look,) * count for look in range(looks)))


def part(found, name: str, *, panel: int = 0) -> dict:
    return found[panel * len(PARTS) + PARTS.index(name)]


def places(values: dict) -> list[tuple[float, float]]:
    return list(zip(values["x"], values["y"], strict=True))


def at(point, pair) -> tuple[float, float]:
    x, y = pair
    return point.scores[x], 0.0 if x == y else point.scores[y]


@COUNTS
@pytest.mark.parametrize("kind", ["front", "start", "nothing"])
def test_the_number_of_traces_depends_on_objectives_and_methods_alone(count, kind):
    view = view_of(count) if kind == "front" else bare(count, start=kind == "start")
    drawn = skeleton(view, METHODS)
    assert len(drawn.data) == len(PANELS[count]) * len(PARTS) + len(METHODS)
    for now in (None, now_of(count)):
        for selected in (None, "raco-s0-0000000000"):
            assert set(columns(view, methods=METHODS, now=now, selected=selected)) == set(range(len(drawn.data)))


@COUNTS
@pytest.mark.parametrize("kind", ["front", "start", "nothing"])
def test_every_state_can_be_drawn_into_the_same_figure(count, kind):
    """A Studio begins with nothing, and its figure must hold whatever comes."""
    live = LiveFigure(skeleton(bare(count, start=False), METHODS))
    view = view_of(count) if kind == "front" else bare(count, start=kind == "start")
    for now in (None, now_of(count, looks=0), now_of(count), None):
        found = columns(view, methods=METHODS, now=now, selected="raco-s0-0000000000")
        live.draw(found, shape=shape(view, now=now, theme="dark"))
        live.draw_again()
        for number, values in found.items():
            held = live.data[number].to_plotly_json()
            assert list(held.get("x") or []) == list(values["x"]) if "x" in values else held["visible"] is values["visible"]
    assert live.layout.font.color == INK["dark"]


@COUNTS
def test_every_point_is_there_dominated_ones_in_grey(count):
    view = view_of(count)
    found = columns(view, methods=METHODS, now=None, selected=None)
    assert any(not point.nondominated for point in view.points)
    for panel, pair in enumerate(PANELS[count]):
        good, poor = (part(found, name, panel=panel) for name in ("nondominated", "dominated"))
        assert places(good) == [at(point, pair) for point in view.points if point.nondominated]
        assert places(poor) == [at(point, pair) for point in view.points if not point.nondominated]
    grey = skeleton(view, METHODS).data[PARTS.index("dominated")].marker.color
    assert grey == DOMINATED


@COUNTS
def test_colour_and_shape_tell_the_method(count):
    view = view_of(count)
    styles = method_styles(METHODS)
    found = columns(view, methods=METHODS, now=None, selected=None)
    for name, nondominated in (("nondominated", True), ("dominated", False)):
        shown = [styles[point.method] for point in view.points if point.nondominated is nondominated]
        assert part(found, name)["marker_symbol"] == [style.symbol for style in shown]
        assert part(found, name)["marker_line_color"] == [style.colour for style in shown]
    assert part(found, "nondominated")["marker_color"] == part(found, "nondominated")["marker_line_color"]
    assert "marker_color" not in part(found, "dominated")


@COUNTS
def test_start_reference_and_true_front_are_there(count):
    view = view_of(count)
    found = columns(view, methods=METHODS, now=None, selected=None)
    for panel, pair in enumerate(PANELS[count]):
        assert places(part(found, "start", panel=panel)) == [at(view.start, pair)]
        reference = (view.reference[pair[0]], 0.0 if pair[0] == pair[1] else view.reference[pair[1]])
        assert places(part(found, "reference", panel=panel)) == [reference]
        boundary = places(part(found, "truth", panel=panel))
        if count in (2, 3):
            assert tuple(boundary[1:-1]) == view.panels[panel].boundary
            assert boundary[0][0] == view.reference[pair[0]]
            assert boundary[-1][1] == view.reference[pair[1]]
        else:
            assert boundary == []
    without = columns(view_of(count, truth=False), methods=METHODS, now=None, selected=None)
    assert places(part(without, "truth")) == []


@COUNTS
def test_the_start_stands_before_anything_was_trained(count):
    view = bare(count, start=True)
    found = columns(view, methods=METHODS, now=None, selected=None)
    assert len(places(part(found, "start"))) == 1
    assert places(part(found, "dominated")) == places(part(found, "nondominated")) == []
    assert [found[len(PANELS[count]) * len(PARTS) + index]["visible"] for index in range(len(METHODS))] == [False] * 3


def test_bars_end_where_the_interval_ends():
    view = view_of(2)
    found = columns(view, methods=METHODS, now=None, selected=None)
    checked = 0
    for name, nondominated in (("nondominated", True), ("dominated", False)):
        values = part(found, name)
        points = [point for point in view.points if point.nondominated is nondominated]
        for place, point in enumerate(points):
            assert values["x"][place] + values["error_x_array"][place] == pytest.approx(point.high[0])
            assert values["y"][place] - values["error_y_arrayminus"][place] == pytest.approx(point.low[1])
            checked += 1
    assert checked == len(view.points)


def test_a_strip_has_no_bars_across():
    found = columns(view_of(1), methods=METHODS, now=None, selected=None)
    for name in ("nondominated", "dominated"):
        assert set(part(found, name)["error_y_array"]) <= {0}
        assert set(part(found, name)["error_y_arrayminus"]) <= {0}
    assert any(part(found, "nondominated")["error_x_array"])


@COUNTS
def test_the_training_that_runs_is_a_path_from_the_start(count):
    view, now = view_of(count), now_of(count, looks=3)
    found = columns(view, methods=METHODS, now=now, selected=None)
    pair = PANELS[count][0]
    path = places(part(found, "path"))
    assert path[0] == at(view.start, pair)
    assert len(path) == 4
    assert places(part(found, "now")) == path[-1:]
    (label,) = part(found, "now")["hovertext"]
    assert "after step 12" in label
    assert places(part(columns(view, methods=METHODS, now=None, selected=None), "path")) == []
    early = columns(view, methods=METHODS, now=now_of(count, looks=0), selected=None)
    assert places(part(early, "path")) == places(part(early, "now")) == []


def test_a_method_enters_the_legend_with_its_first_point_or_training():
    view = bare(2, start=True)
    place = len(PARTS) + METHODS.index("raco")
    assert not columns(view, methods=METHODS, now=None, selected=None)[place]["visible"]
    assert columns(view, methods=METHODS, now=now_of(2), selected=None)[place]["visible"]
    assert columns(view_of(2), methods=METHODS, now=None, selected=None)[place]["visible"]


def test_a_method_that_the_figure_was_not_made_for_is_drawn_all_the_same():
    view = view_of(2)
    found = columns(view, methods=("raco",), now=None, selected=None)
    assert len(found) == len(PARTS) + 1
    assert sum(len(part(found, name)["x"]) for name in ("dominated", "nondominated")) == len(view.points)
    symbols = {symbol for name in ("dominated", "nondominated") for symbol in part(found, name)["marker_symbol"]}
    assert len(symbols) > 1


@COUNTS
def test_the_selected_run_is_ringed_in_every_panel(count):
    view = view_of(count)
    point = view.points[-1]
    found = columns(view, methods=METHODS, now=None, selected=point.runs[0])
    for panel, pair in enumerate(PANELS[count]):
        assert places(part(found, "selected", panel=panel)) == [at(point, pair)]
    for nobody in (None, "no such run"):
        assert places(part(columns(view, methods=METHODS, now=None, selected=nobody), "selected")) == []


@COUNTS
def test_what_is_expected_between_runs_is_marked_and_says_that_it_is_not_trained(count):
    view, scores = view_of(count), tuple(0.5 + 0.01 * place for place in range(count))
    found = columns(view, methods=METHODS, now=None, selected=None, between=scores)
    for panel, (x, y) in enumerate(PANELS[count]):
        assert places(part(found, "between", panel=panel)) == [(scores[x], 0.0 if x == y else scores[y])]
    few = between_columns(view, scores)
    assert few == {trace: found[trace] for trace in few}
    assert len(few) == len(PANELS[count])
    (label,) = part(found, "between")["hovertext"]
    assert "not trained" in label
    assert "not trained" in skeleton(view, METHODS).data[PARTS.index("between")].name
    assert places(part(columns(view, methods=METHODS, now=None, selected=None), "between")) == []


def test_between_two_points_the_scores_are_those_of_the_line():
    view = view_of(2)
    one, two = [point for point in view.points if point.method == "raco"][:2]
    middle = tuple((a + b) / 2 for a, b in zip(one.weights, two.weights, strict=True))
    near = view._replace(points=(one, two))
    expected = [(a + b) / 2 for a, b in zip(one.scores, two.scores, strict=True)]
    assert between(near, middle, method="raco") == pytest.approx(expected)
    assert between(near, one.weights, method="raco") is None  # there is a point
    assert between(near, middle, method="cagrad") is None
    assert between(near, (1.0, 0.0), method="raco") is None  # beyond both
    assert between(near._replace(points=(one._replace(weights=None),)), middle, method="raco") is None


@COUNTS
def test_a_click_on_a_point_means_that_point(count):
    view = view_of(count)
    found = columns(view, methods=METHODS, now=None, selected=None)
    meant = []
    for panel, pair in enumerate(PANELS[count]):
        for index, name in enumerate(PARTS):
            trace = panel * len(PARTS) + index
            for item, place in enumerate(places(found[trace])):
                point = point_at(view, trace, item)
                if name in ("dominated", "nondominated"):
                    assert at(point, pair) == place
                    meant.append(point)
                else:
                    assert point is None
    assert sorted(meant) == sorted(view.points * len(PANELS[count]))
    for legend in range(len(METHODS)):
        assert point_at(view, len(PANELS[count]) * len(PARTS) + legend, 0) is None


@COUNTS
@pytest.mark.parametrize("far", [-3.0, 5.0])
def test_the_ranges_hold_everything(count, far):
    view = view_of(count)
    now = Now("raco", "raco", (4,), ((far,) * count,))
    layout = shape(view, now=now, theme="light")
    found = columns(view, methods=METHODS, now=now, selected=None)
    for panel, (x, y) in enumerate(PANELS[count]):
        suffix = "" if panel == 0 else str(panel + 1)
        for axis, index in (("x", x), ("y", y)):
            if x == y and axis == "y":
                assert f"yaxis{suffix}_range" not in layout
                continue
            low, high = layout[f"{axis}axis{suffix}_range"]
            for name in PARTS:
                assert all(low < value < high for value in part(found, name, panel=panel)[axis])
            assert all(low < point.low[index] and point.high[index] < high for point in view.points)
            assert low < view.start.low[index]
            assert view.start.high[index] < high
            assert low < view.reference[index] < high
            assert low < view.best[index] < high


def test_one_value_everywhere_still_has_a_range():
    view = bare_view(("a", "b"), truth=[torch.zeros(1, 2).double()])
    low, high = shape(view, now=None, theme="auto")["xaxis_range"]
    assert low < 0 < high


def test_what_models_and_people_wrote_is_no_markup():
    view = view_of(2)
    text = "<script>alert(1)</script>"
    planted = view._replace(points=tuple(p._replace(text=text, prompt=text, method=text, runs=(text,)) for p in view.points))
    now = Now(text, text, (1,), ((0.5, 0.5),))
    found = columns(planted, methods=[text], now=now, selected=None)
    figure = skeleton(planted._replace(objectives=(text, text)), [text])
    for shown in (json.dumps(found), figure.to_json()):
        assert "alert(1)" in shown
        assert "<script" not in shown.replace("\\u003c", "<")
    assert part(found, "dominated")["hovertext"] == [hover(planted, p) for p in planted.points if not p.nondominated]


def test_the_figure_is_made_for_being_filled():
    figure = skeleton(view_of(3), METHODS)
    assert figure.layout.uirevision == "kept"
    assert figure.layout.height == 400
    assert figure.layout.width == 700
    assert not figure.layout.shapes  # a page that is open would not redraw them
    assert {trace.type for trace in figure.data} == {"scatter"}
    named = [trace.name for trace in figure.data if trace.showlegend is not False]
    assert len(named) == len(set(named))
