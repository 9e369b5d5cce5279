"""The tree of guided decoding: what it says, compared as plain values, from a hand-made response; then drawn."""

import pytest

from paretokit.decoding.tree import Candidate, GuidedGeneration, path
from paretokit.errors import DataError
from paretokit.view import plot
from paretokit.view.tree import draw_tree, tree_view


def candidate(step, parent, number, text, scores, **changes):
    usual = {
        "token_ids": (step, number), "utility": scores[0], "sum_logp": -1.0, "kept": False, "ended": False, "capped": False
    }  # fmt: skip
    return Candidate(step=step, parent=parent, number=number, text=text, scores=scores, **{**usual, **changes})


TREE = (
    candidate(1, -1, 0, "One.", (0.25, 1.0), kept=True),
    candidate(1, -1, 1, "<b>Two</b>.", (0.5, 0.5), kept=True),
    candidate(2, 0, 0, " Three.", (0.75, 0.5), kept=True, ended=True),
    candidate(2, 1, 1, " Four", (0.625, 0.25), capped=True),
)


def made(**changes):
    usual = {
        "prompt": ({"role": "user", "content": "Go on"},), "text": "One. Three.", "token_ids": (1, 0, 2, 0), "ended": True,
        "copy": 0, "prompt_index": 0, "sum_logp": -2.0, "weights": (), "reason": "end", "steps": ("One.", " Three."),
        "objectives": ("kind", "short"), "guide": "reward model 12ab", "guide_weights": ((0.5, 0.5), (0.75, 0.25)),
        "scores": (0.75, 0.5), "tree": TREE, "last": 2,
    }  # fmt: skip
    return GuidedGeneration(**{**usual, **changes})


def test_the_path_goes_from_the_prompt_to_the_last_step():
    assert [node.text for node in path(TREE, 2)] == ["One.", " Three."]
    assert made().path == path(TREE, 2)
    assert path(TREE, -1) == ()
    assert made().capped_steps == 0


def test_the_view():
    seen = tree_view(made())
    assert [node.kind for node in seen.nodes] == ["the text", "kept for a while", "the text", "not taken"]
    assert [node.parent for node in seen.nodes] == [-1, -1, 0, 1]
    assert seen.title == "4 candidates in 2 steps"
    assert seen.subtitle == (
        "guided by reward model 12ab · weights at the last step kind 0.75, short 0.25 · the text ended by itself"
    )
    assert seen.alt == "Guided decoding of 'Go on': a text of 2 steps that scores kind 0.75, short 0.50."
    assert seen.nodes[1].hover == (
        "&lt;b&gt;Two&lt;/b&gt;.<br>kind 0.500<br>short 0.500<br>utility 0.500<br>step 1, candidate 2"
    )
    assert seen.nodes[2].hover.endswith("step 2, candidate 1 · ends the text")
    assert seen.nodes[3].hover.endswith("step 2, candidate 2 · cut off")


def test_weights_that_stayed_are_not_said_to_have_moved():
    assert " · weights kind 0.50, short 0.50 · " in tree_view(made(guide_weights=((0.5, 0.5), (0.5, 0.5)))).subtitle


@pytest.mark.parametrize(
    ("reason", "said"),
    [("max_steps", "the most steps"), ("max_new_tokens", "the most tokens"), ("stopped", "stopped before its end")],
)
def test_how_the_text_ended(reason, said):
    assert said in tree_view(made(reason=reason)).subtitle


def test_an_empty_candidate_is_shown():
    tree = (candidate(1, -1, 0, "", (0.0, 0.0), kept=True, ended=True),)
    assert tree_view(made(tree=tree, last=0, steps=("",))).nodes[0].hover.startswith("(nothing)<br>")


def test_the_figure_is_drawn_from_the_view():
    figure = draw_tree(tree_view(made()))
    assert [figure.layout.yaxis.title.text, figure.layout.yaxis2.title.text] == [
        "kind, of the text so far",
        "short, of the text so far",
    ]
    points = {(trace.name, trace.yaxis): trace for trace in figure.data if trace.mode == "markers"}
    assert list(points["the text", "y"].y) == [0.25, 0.75]
    assert list(points["the text", "y2"].y) == [1.0, 0.5]
    assert list(points["not taken", "y"].x) == [2]
    lines = {(trace.name, trace.yaxis): trace for trace in figure.data if trace.mode == "lines"}
    assert list(lines["the text", "y"].y) == [0.25, 0.75, None]  # from a candidate to the one that goes on from it
    assert list(lines["not taken", "y2"].y) == [0.5, 0.25, None]
    named = [trace.name for trace in figure.data if trace.showlegend]
    assert sorted(named) == ["kept for a while", "not taken", "the text"]
    assert points["the text", "y"].marker.symbol != points["not taken", "y"].marker.symbol  # never by colour alone


def test_the_public_figure_is_that_of_the_view():
    assert plot.tree(made()).to_dict() == draw_tree(tree_view(made())).to_dict()


def test_a_response_without_steps_cannot_be_drawn():
    with pytest.raises(DataError, match="tree: found a response without any step, expected one that was decoded"):
        tree_view(made(tree=(), steps=(), last=-1))
