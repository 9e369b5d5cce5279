"""What a policy with action heads says at any weights: values first, then every picture of them."""

import json

import pandas as pd
import pytest
from support.view_checks import assert_legend_names_each_once, tags
from support.view_data import METHODS, OBJECTIVES, board, score_frame, texts, truth_sets

import paretokit as pk
from paretokit.decoding.sample import generate
from paretokit.experiments.evaluation import WorldEvaluation
from paretokit.experiments.front import Front
from paretokit.view import words
from paretokit.view.events import Answer
from paretokit.view.front_figure import draw_front
from paretokit.view.front_view import FrontView, bare_view, front_view, with_heads
from paretokit.view.heads import decoded_frame, heads_view, no_front, weightings, whole_front
from paretokit.view.live_figure import LiveFigure
from paretokit.view.live_front import PARTS, columns, point_at, shape, skeleton
from paretokit.view.pace import Looker
from paretokit.view.snapshot import snapshot_html
from paretokit.view.theme import DOMINATED, LINE, method_styles

NAMES = ("helpfulness", "harmlessness")
SCRIPT = "<script>alert(1)</script>"
COUNTS = pytest.mark.parametrize("count", [2, 3, 4])
PANELS = {2: [(0, 1)], 3: [(0, 1), (0, 2), (1, 2)], 4: [(0, 1), (0, 2), (0, 3)]}
AXES = {2: OBJECTIVES[:2], 3: OBJECTIVES, 4: ("a", "b", "c", "d")}


def curve(count: int, *, run: str = "mah-dpo-s0-0123456789", name: str = "mah-dpo 0.50/0.50", text: str = "A kite."):
    """The heads of a made-up run, decoded at the grid."""
    axes = AXES[count]
    frames = []
    for mix in weightings(count):
        labels = {f"weight_{axis}": weight for axis, weight in zip(axes, mix, strict=True)}
        rows = score_frame(mix, objectives=axes, prompts=12, copies=1, text=text, method="mah-dpo")
        frames.append(rows.assign(method=f"heads of {name}", run=run, seed=0, **labels))
    front = Front.from_scores(
        pd.concat(frames, ignore_index=True),
        by=["method", *(f"weight_{axis}" for axis in axes)],
        objectives=axes,
        truth=truth_sets(objectives=count, prompts=12),
    )
    return heads_view(front, name=name, method="mah-dpo" if run else "", run=run)


def view_of(count: int, **options) -> FrontView:
    return with_heads(board(objectives=AXES[count]).view, curve(count, **options))


def part(found, name: str, *, panel: int = 0) -> dict:
    return found[panel * len(PARTS) + PARTS.index(name)]


# Values


@pytest.mark.parametrize(("count", "expected"), [(2, 11), (3, 15), (4, 10), (5, 15)])
def test_the_grid_holds_every_head_alone(count, expected):
    mixes = weightings(count)
    assert len(mixes) == len(set(mixes)) == expected
    assert all(sum(mix) == pytest.approx(1) and min(mix) >= 0 for mix in mixes)
    for head in range(count):
        assert tuple(float(index == head) for index in range(count)) in mixes


def test_no_front_says_what_is_missing():
    known = WorldEvaluation(name="safety")
    assert no_front(NAMES, known) == ""
    assert "found data without scorers, expected a world" in no_front(NAMES, None)
    assert "found one head, expected two or more" in no_front(NAMES[:1], known)


@pytest.fixture(scope="module")
def policy():
    """A policy whose heads say different things: they are trained a little."""
    made = pk.load_policy("tiny", heads=list(NAMES))
    config = pk.TrainConfig(steps=6, pairs_per_step=8, learning_rate=1e-2, max_length=160)
    pk.train(made, pk.read_preferences("world:safety"), method="mah-dpo", weights=(0.5, 0.5), config=config, progress=False)
    return made


EVALUATION = WorldEvaluation(name="safety", prompts=6, copies=1, max_new_tokens=24)


def front_of_heads(policy, *, stop=lambda: False):
    return whole_front(
        policy, EVALUATION, name="mine", run="r1", seed=3, objectives=NAMES, reference=(0.0, 0.0), stop=stop
    )  # fmt: skip


def test_the_whole_front_is_what_each_weighting_gives_alone(policy):
    front = front_of_heads(policy)
    rows = front.points.to_dict("records")
    assert [tuple(row[f"weight_{name}"] for name in NAMES) for row in rows] == weightings(2)
    alone = {}
    for row in (rows[0], rows[4], rows[10]):
        mix = {name: row[f"weight_{name}"] for name in NAMES}
        frame = EVALUATION(policy, references={}, weights=mix)
        alone[tuple(mix.values())] = [frame[name].mean() for name in NAMES]
        assert [row[name] for name in NAMES] == pytest.approx(alone[tuple(mix.values())])
    assert len({tuple(scores) for scores in alone.values()}) > 1  # the planted failure: weights that make no difference
    assert {row["method"] for row in rows} == {"heads of mine"}
    assert {(row["runs"], row["seeds"], row["prompts"]) for row in rows} == {(("r1",), (3,), 6)}
    assert (front.reference, front.reference_origin) == ((0.0, 0.0), "given")
    assert front.truth is not None


def test_half_a_front_is_none(policy):
    asked = []
    assert front_of_heads(policy, stop=lambda: asked.append(1) or len(asked) > 3) is None
    assert len(asked) == 4  # nothing is decoded once it was heard


def test_the_curve_keeps_the_order_of_the_grid_and_every_point():
    heads = curve(2)
    assert [point.weights for point in heads.points] == weightings(2)
    assert {point.nondominated for point in heads.points} == {True, False}
    assert all(point.low is not None and point.high is not None for point in heads.points)
    assert heads.prompts == 12
    assert heads.legend == "heads of mah-dpo 0.50/0.50, decoded at 11 weightings"
    before = curve(2, run="", name="the policy before training")
    assert {(point.runs, point.seeds) for point in before.points} == {((), ())}
    assert before.method == ""


def test_the_reading_states_what_was_decoded_and_the_reference():
    plain, view = board().view, view_of(2)
    assert view.caption.startswith(plain.caption)
    said = view.caption.removeprefix(plain.caption)
    good = sum(point.nondominated for point in view.heads.points)
    assert "one policy, mah-dpo 0.50/0.50, decoded at 11 weightings of its heads without training in between" in said
    assert "one answer to each of 12 prompts, bars: 95 % intervals over prompts" in said
    assert f"{good} of them" in said
    assert f"hypervolume above (0, 0) is {view.heads.hypervolume:.3f}" in said
    assert view.points == plain.points  # the front of the runs is what it was


def test_decoded_texts_are_a_table():
    said = (("Why?", Answer("mah-dpo, the newest run", "So.", True, (0.25, 1.0))), ("Eh?", Answer("mah-dpo", "", False, None)))
    frame = decoded_frame(texts(decoded=said, objectives=NAMES, axes=NAMES))
    assert frame.columns.tolist() == [
        "policy", "prompt", "text", "ended", "weight_helpfulness", "weight_harmlessness", *NAMES,
    ]  # fmt: skip
    first, second = frame.to_dict("records")
    assert (first["prompt"], first["text"], first["weight_helpfulness"], first["helpfulness"]) == ("Why?", "So.", 0.3, 0.25)
    assert (second["ended"], pd.isna(second["harmlessness"])) == (False, True)
    unjudged = decoded_frame(texts(decoded=said[1:], objectives=NAMES, axes=("a", "b")))
    assert not {"a", "b"} & set(unjudged.columns)


def test_a_look_mixes_the_heads_by_the_weights_of_the_run(policy):
    weights = {"helpfulness": 1.0, "harmlessness": 0.0}
    found = Looker(EVALUATION, weights=weights).look(policy, references={}, stop=lambda: False)
    frame = EVALUATION.quick()(policy, references={}, weights=weights)
    assert found == tuple(frame[list(NAMES)].mean())
    with pytest.raises(ValueError, match="found none for a policy with the heads"):
        Looker(EVALUATION).look(policy, references={}, stop=lambda: False)


# Pictures


@COUNTS
def test_the_live_curve_is_all_points_open_and_dominated_ones_grey(count):
    view = view_of(count)
    methods = (*METHODS, "mah-dpo")
    style = method_styles(methods)["mah-dpo"]
    figure = skeleton(view, methods)
    found = columns(view, methods=methods, now=None, selected=None)
    for panel, (x, y) in enumerate(PANELS[count]):
        values = part(found, "heads", panel=panel)
        assert list(zip(values["x"], values["y"], strict=True)) == [(p.scores[x], p.scores[y]) for p in view.heads.points]
        assert values["marker_symbol"] == [f"{style.symbol}-open"] * len(view.heads.points)
        assert values["marker_color"] == [style.colour if p.nondominated else DOMINATED for p in view.heads.points]
        for place, point in enumerate(view.heads.points):
            assert values["x"][place] + values["error_x_array"][place] == pytest.approx(point.high[x])
            assert values["y"][place] - values["error_y_arrayminus"][place] == pytest.approx(point.low[y])
            for name, weight in zip(view.objectives, point.weights, strict=True):
                assert f"{name} {weight:.2f}" in values["hovertext"][place]
        assert values["showlegend"] is (panel == 0)
        assert figure.data[panel * len(PARTS) + PARTS.index("heads")].mode == ("lines+markers" if count == 2 else "markers")
    assert part(found, "heads")["name"] == view.heads.legend
    live = LiveFigure(figure)
    live.draw(found, shape=shape(view, now=None, theme="dark"))
    live.draw_again()
    assert_legend_names_each_once(live)
    layout = shape(view, now=None, theme="light")
    low, high = layout["xaxis_range"]
    assert all(low < point.low[0] and point.high[0] < high for point in view.heads.points)


@COUNTS
def test_without_a_curve_there_is_none(count):
    """The planted failure: a curve that stays when its run is hidden."""
    plain = board(objectives=AXES[count]).view
    live = LiveFigure(skeleton(plain, ("mah-dpo",)))
    number = PARTS.index("heads")
    for view, points in ((view_of(count), len(weightings(count))), (plain, 0), (bare_view(AXES[count]), 0)):
        live.draw(columns(view, methods=("mah-dpo",), now=None, selected=None), shape=shape(view, now=None, theme="auto"))
        assert len(live.data[number].x) == points
        assert live.data[number].showlegend is (points > 0)


def test_a_click_on_the_curve_selects_no_run():
    view = view_of(2)
    assert point_at(view, PARTS.index("heads"), 0) is None
    assert point_at(view, PARTS.index("nondominated"), 0) is not None


@COUNTS
def test_the_plain_figure_holds_the_curve_too(count):
    view = view_of(count)
    named = [trace for trace in draw_front(view).data if trace.name == view.heads.legend]
    assert len(named) == {2: 1, 3: 3, 4: 10}[count]
    if count < 4:
        assert [len(trace.x) for trace in named] == [len(view.heads.points)] * len(named)
    assert all("-open" in trace.marker.symbol for trace in named)
    assert sum(trace.showlegend is not False for trace in named) == 1
    assert not [trace for trace in draw_front(board(objectives=AXES[count]).view).data if "decoded" in (trace.name or "")]


def test_before_training_the_curve_is_grey():
    view = with_heads(bare_view(OBJECTIVES[:2]), curve(2, run="", name="the policy before training"))
    assert part(columns(view, methods=("mah-dpo",), now=None, selected=None), "heads")["line_color"] == LINE
    assert [row["cells"][0] for row in words.point_rows(view)] == ["heads before training"] * 11
    draw_front(view)


@pytest.mark.parametrize("count", [2, 3])
def test_the_snapshot_holds_the_curve_inside_its_picture(count):
    view = view_of(count)
    html = snapshot_html(board()._replace(view=view), None, stamp="")
    assert view.heads.legend in html
    assert html.count(f">{words.OPEN}</text>") == len(view.panels) * len(view.heads.points)
    (width, *_) = [float(given["width"] or 0) for tag, given in tags(html) if tag == "svg"]
    marks = [given for tag, given in tags(html) if tag == "text" and given.get("font-size") == "15"]
    assert all(0 < float(given["x"] or 0) < width for given in marks)
    assert "<script" not in html


def test_the_table_has_a_row_for_every_weighting():
    view = view_of(2)
    rows = words.point_rows(view)[1 + len(view.points) :]
    assert [row["cells"][1] for row in rows] == [f"{a:.2f} {b:.2f}".replace("0.", ".") for a, b in weightings(2)]
    assert {(row["cells"][0], row["mark"], row["key"]) for row in rows} == {("heads of mah-dpo", words.OPEN, "")}
    assert [row["muted"] for row in rows] == [not point.nondominated for point in view.heads.points]
    assert {len(row["cells"]) for row in rows} == {len(words.point_columns(view))}


def test_decoded_texts_state_their_weights_and_are_no_markup():
    said = ((SCRIPT, Answer(SCRIPT, SCRIPT, True, (0.25, 1.0))), ("Eh?", Answer("mah-dpo", "", False, None)))
    html = words.decoded_html(texts(decoded=said, objectives=(SCRIPT, "harmlessness"), axes=(SCRIPT, "b")))
    assert "harmlessness 0.70" in html
    assert html.count("alert(1)") == 5
    assert {tag for tag, _ in tags(html)} <= {"div", "p", "b", "br", "span", "blockquote", "i"}
    assert "(empty answer)" in html
    assert "cut at the length limit" in html
    assert "0.250" in html
    assert words.decoded_html(texts()) == words.decoded_html(None) == ""


def test_what_a_model_wrote_is_no_markup_in_any_picture():
    view = view_of(2, name=SCRIPT, text=SCRIPT)
    found = columns(view, methods=("mah-dpo",), now=None, selected=None)
    for shown in (json.dumps(found), draw_front(view).to_json(), snapshot_html(board()._replace(view=view), None, stamp="")):
        assert "alert(1)" in shown
        assert "<script" not in shown.replace("\\u003c", "<")


def test_the_heads_front_is_a_front_like_any_other(policy):
    front = front_of_heads(policy)
    assert front_view(front).points[0].weights == (0.0, 1.0)
    (alone,) = generate(policy, EVALUATION.world.prompts[:1], weights=(0.0, 1.0), max_new_tokens=24)
    assert front_view(front).points[0].text == " ".join(alone.text.split())
