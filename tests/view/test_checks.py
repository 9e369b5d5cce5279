"""The shared assertions of the view tests reject what they must."""

import plotly.graph_objects as go
import pytest
from support.view_checks import assert_asks_for_nothing, assert_legend_names_each_once, assert_tell_apart, contrast
from support.view_data import falls, support_at

POLICY = "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'\">"


@pytest.mark.parametrize(
    "page",
    [
        "<p>no policy</p>",
        f'{POLICY}<script src="https://cdn.plot.ly/plotly.js"></script>',
        f'{POLICY}<link rel="stylesheet" href="//fonts.example/a.css">',
        f'{POLICY}<img src="http://example.org/pixel.gif">',
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; connect-src https:\">",
    ],
)
def test_pages_that_ask_for_something_are_rejected(page):
    with pytest.raises(AssertionError):
        assert_asks_for_nothing(page)


def test_a_quiet_page_is_accepted():
    assert_asks_for_nothing(f"{POLICY}<p>https://example.org is only text</p>")


def test_red_and_green_of_equal_brightness_are_rejected():
    with pytest.raises(AssertionError, match="apart"):
        assert_tell_apart(["#c04040", "#c04540"], seen=((1, 0, 0), (0, 1, 0), (0, 0, 1)), least=20)


def test_a_repeated_legend_entry_is_rejected():
    with pytest.raises(AssertionError, match="repeats"):
        assert_legend_names_each_once(go.Figure([go.Scatter(name="a"), go.Scatter(name="a")]))


def test_contrast_of_black_on_white():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#777777") == pytest.approx(1)


def test_chains_that_rise_or_bend_inwards_are_rejected():
    assert falls(((0.0, 1.0), (0.6, 0.6), (1.0, 0.0)))
    assert not falls(((0.0, 1.0), (0.4, 0.4), (1.0, 0.0)))
    assert not falls(((0.0, 1.0), (1.0, 1.2)))
    assert support_at(((0.0, 1.0), (1.0, 0.0)), (2.0, 1.0)) == 2.0
