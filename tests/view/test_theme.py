"""Looks: readable on white and black, apart for colour-blind readers, the same for a method in every figure."""

import numpy as np
import pytest
from support.view_checks import DEUTERANOPIA, PROTANOPIA, assert_tell_apart, contrast

from paretokit.view.theme import CONFIG, INK, LINE, PAPER, folded, layout, method_styles, nth_style, plain, transparent

FIRST_FOUR = [nth_style(index).colour for index in range(4)]


@pytest.mark.parametrize("seen", [np.eye(3), DEUTERANOPIA, PROTANOPIA], ids=["all cones", "deuteranopia", "protanopia"])
def test_method_colours_stay_apart(seen):
    assert_tell_apart(FIRST_FOUR[:3], seen=seen, least=35)
    assert_tell_apart(FIRST_FOUR, seen=seen, least=15)


@pytest.mark.parametrize("paper", PAPER.values())
def test_marks_stand_out_on_both_papers(paper):
    assert all(contrast(colour, paper) >= 3 for colour in [*FIRST_FOUR, LINE])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_is_readable(theme):
    assert contrast(INK[theme], PAPER[theme]) >= 4.5


@pytest.mark.parametrize("paper", PAPER.values())
def test_text_of_no_theme_is_bearable_on_both(paper):
    assert contrast(INK["auto"], paper) >= 4.2  # no grey reaches 4.5 on white and on this black


def test_looks_differ_in_more_than_colour():
    looks = [nth_style(index) for index in range(56)]
    assert len({(look.colour, look.symbol) for look in looks}) == 56
    assert len({look.symbol for look in looks[:8]}) == 8
    assert len({look.dash for look in looks[:6]}) == 6


def test_known_methods_keep_their_look_beside_unknown_ones():
    alone = method_styles(["linear"])["linear"]
    styles = method_styles(["mine", "yours", "linear", "mine"])
    assert styles["linear"] == alone
    assert len(set(styles.values())) == 3


def test_text_is_shown_as_it_stands():
    assert plain("<a href='https://x'>&amp;") == "&lt;a href='https://x'&gt;&amp;amp;"
    assert folded("word " * 100).count("word") < 40
    assert "<br>" in folded("word " * 100)
    assert transparent("#ff8000", 0.5) == "rgba(255,128,0,0.5)"


def test_layout_is_transparent_and_has_no_width():
    made = layout(theme="auto", height=300, title="a<b", subtitle="c")
    assert (made.paper_bgcolor, made.plot_bgcolor, made.width) == ("rgba(0,0,0,0)", "rgba(0,0,0,0)", None)
    assert made.title.text == "a&lt;b"
    assert "sendChartToCloud" in CONFIG["modeBarButtonsToRemove"]
