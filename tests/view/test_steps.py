"""A text that is written step by step: what is said of it, and its live tree, compared as plain values."""

import pytest
from support.view_checks import tags

from paretokit.decoding.tree import Candidate, GuidedGeneration
from paretokit.view.events import Written
from paretokit.view.live_tree import tree_columns, tree_shape, tree_skeleton
from paretokit.view.plot import tree
from paretokit.view.steps import steps_html, steps_line, tree_html
from paretokit.view.theme import INK

SCRIPT = "<script>alert('x')</script>"
SHOWN = ("short", "kind")  # the order of the sliders; the guide has the other one


def candidate(step: int, parent: int, number: int, text: str, scores: tuple[float, ...], *, kept: bool) -> Candidate:
    return Candidate(step, parent, number, text, (step, number), scores, scores[0], -1.0, kept, False, False)


TREE = (
    candidate(1, -1, 0, "One.", (0.25, 1.0), kept=True),
    candidate(1, -1, 1, "Two.", (0.5, 0.5), kept=False),
    candidate(2, 0, 0, " Three.", (0.75, 0.25), kept=True),
)


def made(**changes) -> GuidedGeneration:
    usual = {
        "prompt": "Go on", "text": "One. Three.", "token_ids": (1, 0, 2, 0), "ended": False, "copy": 0, "prompt_index": 0,
        "sum_logp": -2.0, "weights": (), "reason": "stopped", "steps": ("One.", " Three."), "objectives": ("kind", "short"),
        "guide": "the scorers kind, short", "guide_weights": ((0.25, 0.75), (1.0, 0.0)), "scores": (0.75, 0.25),
        "tree": TREE, "last": 2,
    }  # fmt: skip
    return GuidedGeneration(**{**usual, **changes})


def written(state: str = "open", *, text: GuidedGeneration | None = None, **changes) -> Written:
    usual = {
        "prompt": "Go on", "source": "the policy before training", "guide": "the scorers kind, short", "objectives": SHOWN,
        "made": made() if text is None else text, "state": state,
    }  # fmt: skip
    return Written(**{**usual, **changes})


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (written("new", made=None), "No step yet. Set the weights and press Next step."),
        (written("writing", made=None), "▶ writing step 1"),
        (written("open"), "✓ step 2, the best of 1 candidate"),
        (written("writing"), "▶ writing step 3"),
        (written("stopped"), "◼ stopped: step 3 was dropped. Next step writes it again, at the weights of then."),
        (written("failed", made=None), "✗ failed: step 1 was dropped, for the reason above. Next step tries again."),
        (
            written("ended", text=made(reason="max_steps")),
            "✓ step 2, the best of 1 candidate. Cut off after the most steps allowed. Start again for another one.",
        ),
    ],
)
def test_the_line_says_how_it_stands(value, line):
    assert steps_line(value) == line


def test_each_step_stands_under_the_weights_that_chose_it_in_the_order_of_the_sliders():
    html = steps_html(written())
    first, second = html.index("short 0.75, kind 0.25"), html.index("short 0.00, kind 1.00")
    assert first < html.index("One.") < second < html.index("Three.")
    assert "The text so far: short <b>0.250</b> · kind <b>0.750</b>" in html
    assert "Written by the policy before training. Judged by the scorers kind, short." in html
    assert [tag for tag, _ in tags(html)].count("li") == 2


def test_a_step_that_only_ends_the_text_is_shown():
    text = made(steps=("One.", ""), tree=(*TREE[:2], TREE[2]._replace(text="", ended=True)), reason="end")
    assert "<blockquote><i>(nothing more)</i></blockquote>" in steps_html(written("ended", text=text))


def test_nothing_that_a_model_or_a_file_wrote_is_markup():
    names = (f"kind{SCRIPT}", "short")
    text = made(prompt=SCRIPT, steps=(SCRIPT, f" {SCRIPT}"), objectives=names, guide=SCRIPT)
    value = written(text=text, prompt=SCRIPT, source=SCRIPT, guide=SCRIPT, objectives=names[::-1])
    for html in (steps_html(value), tree_html(value)):
        assert "alert(" in html, "the planted text is not there at all"
        assert "script" not in {tag for tag, _ in tags(html)}
    columns = tree_columns(made(tree=tuple(node._replace(text=SCRIPT) for node in TREE)), objectives=SHOWN)
    hovers = [hover for column in columns.values() for hover in column.get("hovertext", ())]
    assert hovers
    assert not any("<script" in hover for hover in hovers)


def test_the_check_sees_a_script():
    assert "script" in {tag for tag, _ in tags(f"<p>{SCRIPT}</p>")}


def test_the_tree_is_read_in_a_sentence():
    assert tree_html(written("new", made=None)).startswith("<p><b>No step yet.</b> Each mark is a candidate")
    assert "<b>Guided decoding of &#x27;Go on&#x27;: a text of 2 steps that scores kind 0.75, short 0.25.</b>" in tree_html(
        written()
    )


# The live tree


def test_the_live_tree_shows_what_the_public_figure_shows_in_the_order_of_the_sliders():
    columns, figure = tree_columns(made(), objectives=SHOWN), tree(made())
    half = len(figure.data) // 2
    for number, trace in enumerate([*figure.data[half:], *figure.data[:half]]):  # short stands first
        assert columns[number]["x"] == list(trace.x or ())
        assert columns[number]["y"] == list(trace.y or ())
    assert tree_columns(made(), objectives=("kind", "short")) != columns  # the planted failure: the guide's order


def test_the_skeleton_has_a_trace_for_each_column_and_draws_nothing():
    skeleton = tree_skeleton(SHOWN)
    empty = tree_columns(None, objectives=SHOWN)
    assert set(tree_columns(made(), objectives=SHOWN)) == set(empty) == set(range(len(skeleton.data)))
    assert all(column["x"] == column["y"] == [] for column in empty.values())
    assert not any(column.get("showlegend") for column in empty.values())
    assert not any(len(trace.x or ()) for trace in skeleton.data)
    assert [skeleton.layout.yaxis.title.text, skeleton.layout.yaxis2.title.text] == ["short", "kind"]
    for column, trace in zip(tree_columns(made(), objectives=SHOWN).values(), skeleton.data, strict=True):
        trace.update(column)  # every name is one that plotly knows


def test_there_is_room_for_the_steps_and_the_scores():
    assert tree_shape(None, objectives=SHOWN, theme="dark") == {
        "font_color": INK["dark"], "xaxis_range": [0.5, 4.5], "xaxis2_range": [0.5, 4.5],
        "yaxis_range": [0.0, 1.0], "yaxis2_range": [0.0, 1.0],
    }  # fmt: skip
    many = made(tree=(*TREE, candidate(6, 2, 0, " Six.", (1.0, 1.0), kept=True)))
    shape = tree_shape(many, objectives=SHOWN, theme="light")
    assert shape["xaxis2_range"] == [0.5, 6.5]
    assert shape["yaxis_range"] == pytest.approx([0.175, 1.075])  # short, from 0.25 to 1
    assert shape["yaxis2_range"] == pytest.approx([0.175, 1.075])  # kind, likewise
    for scores, ends in (((-4.0, 0.0), [-4.4, -3.6]), ((0.0, 0.0), [-0.1, 0.1])):
        alone = made(tree=(candidate(1, -1, 0, "One.", scores, kept=True),))
        assert tree_shape(alone, objectives=("kind",), theme="light")["yaxis_range"] == pytest.approx(ends)
