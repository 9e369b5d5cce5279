"""The page: one file, no request, everything escaped, the same numbers as the tables, whole or not at all."""

import plotly.graph_objects as go
import pytest
from support.view_checks import assert_asks_for_nothing, contrast, tags
from support.view_data import demo_front

from paretokit.errors import StoreError
from paretokit.view import plot
from paretokit.view.page import Picture, page, write_page
from paretokit.view.tables import Table, front_table
from paretokit.view.theme import INK, PAPER

EVIL = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'
TABLE = Table(EVIL, (EVIL, "n"), ((EVIL, "1.000"),), (False, True), EVIL)


@pytest.fixture(scope="module")
def html() -> str:
    front = demo_front()
    figure = plot.front(front)
    evil = go.Figure(go.Scatter(x=[1], y=[1], name=EVIL, hovertext=EVIL), layout={"title": EVIL})
    stamp = {"version": "1", "seed": 3, "note": EVIL, "config": {"steps": 2}}
    return page(
        [Picture(figure, "A finding.", "How to read."), Picture(evil, EVIL)],
        [front_table(front), TABLE],
        stamp,
        title=EVIL,
    )


def test_it_asks_for_nothing(html):
    assert_asks_for_nothing(html)


def test_plotly_is_embedded_once(html):
    assert html.count("plotly.js v") == 1
    assert len(html) < 8_000_000


def test_no_upload_button(html):
    assert html.count('"modeBarButtonsToRemove": ["sendChartToCloud"]') == 2
    assert html.count('"displaylogo": false') == 2


def test_texts_are_escaped_everywhere(html):
    assert EVIL not in html
    assert "alert(1)>" not in html
    assert not [tag for tag, given in tags(html) if "onerror" in given or tag == "img"]
    scripts = [tag for tag, _ in tags(html)].count("script")
    clean = page([Picture(go.Figure(), "a"), Picture(go.Figure(), "b")], [], {}, title="t")
    assert scripts == [tag for tag, _ in tags(clean)].count("script")


def test_tables_hold_the_numbers_of_the_front(html):
    for row in front_table(demo_front()).rows:
        cells = "".join(f">{cell}</td>" for cell in row[2:3])
        assert cells in html


def test_figures_are_described_by_their_captions(html):
    figures = [given for tag, given in tags(html) if tag == "figure"]
    captions = [given["id"] for tag, given in tags(html) if tag == "figcaption"]
    assert [given["aria-labelledby"] for given in figures] == captions == ["caption-0", "caption-1"]
    assert "<strong>A finding.</strong> How to read." in html


def test_stamp_is_text_with_a_button(html):
    assert "version: 1\nseed: 3\nnote: &lt;/script&gt;" in html
    assert "config: {&quot;steps&quot;: 2}" in html
    assert [given.get("id") for tag, given in tags(html) if tag == "button"] == ["copy"]


def test_equal_input_gives_an_equal_page(html):
    figure = plot.front(demo_front())
    pages = [page([Picture(figure, "a")], [], {"seed": 1}, title="t") for _ in range(2)]
    assert pages[0] == pages[1]


def test_both_themes_are_readable(html):
    assert "prefers-color-scheme: dark" in html
    assert contrast("#57606a", PAPER["light"]) >= 4.5  # --soft, light
    assert contrast("#9da7b3", PAPER["dark"]) >= 4.5  # --soft, dark
    assert all(f"--ink: {INK[theme]}" in html for theme in PAPER)
    assert ".js-plotly-plot text { fill: var(--ink) !important; }" in html


def test_it_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "front.html"
    assert write_page(path, [], [TABLE], {"seed": 1}, title="t") == path
    before = path.read_text(encoding="utf-8")
    assert before.startswith("<!DOCTYPE html>")
    with pytest.raises(UnicodeEncodeError):
        write_page(path, [], [], {}, title="\ud800")
    assert path.read_text(encoding="utf-8") == before
    assert [entry.name for entry in path.parent.iterdir()] == ["front.html"]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"front\.html"):
        write_page(tmp_path / "file" / "front.html", [], [], {}, title="t")
