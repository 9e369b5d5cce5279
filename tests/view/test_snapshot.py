"""What stays when the kernel is gone: HTML that shows the same as the live view, loads nothing and runs nothing."""

import re

import pytest
from support.view_checks import tags
from support.view_data import OBJECTIVES, board, run_value, start_frame, texts

from paretokit.experiments.spec import example_spec
from paretokit.view.events import Answer, Board
from paretokit.view.front_view import bare_view
from paretokit.view.snapshot import snapshot_html
from paretokit.view.stamp import commit, stamp, stamp_text
from paretokit.view.theme import method_styles
from paretokit.view.words import MARKS, point_rows

SCRIPT = "<script>alert('x')</script>"
ALLOWED = {
    "details", "summary", "p", "div", "span", "b", "i", "h3", "table", "thead", "tbody", "tr", "th", "td", "blockquote", "pre",
    "svg", "path", "polyline", "text",
}  # fmt: skip


def assert_plain(html: str) -> None:
    """Nothing that runs, and nothing that is fetched."""
    for tag, given in tags(html):
        assert tag in ALLOWED, f"a <{tag}> tag"
        handlers = [name for name in given if name.startswith("on")]
        assert not handlers, handlers
        assert not {"src", "href", "xlink:href", "data"} & set(given), given
    assert "http" not in html
    assert "url(" not in html


@pytest.mark.parametrize(
    "html",
    ["<script>1</script>", "<img src='a.png'>", "<p onclick='1'>a</p>", "<p>see http://example.org</p>", "<iframe></iframe>"],
)
def test_what_is_not_plain_is_rejected(html):
    with pytest.raises(AssertionError):
        assert_plain(html)


def numbers(html: str) -> list[tuple[float, float]]:
    """Where the marks of the pictures stand."""
    return [
        (float(given["x"] or ""), float(given["y"] or ""))
        for tag, given in tags(html)
        if tag == "text" and given.get("font-size") == "15"
    ]


@pytest.mark.parametrize("count", [2, 3])
def test_there_is_a_picture_and_nothing_that_runs(count):
    html = snapshot_html(board(objectives=OBJECTIVES[:count]), texts(), stamp="seed: 0")
    assert_plain(html)
    pictures = [given for tag, given in tags(html) if tag == "svg"]
    assert len(pictures) == {2: 1, 3: 3}[count]
    assert all(given["role"] == "img" and given["aria-label"] for given in pictures)
    assert html.startswith("<details><summary>Snapshot: Mean scores of ")
    assert "stays when the kernel is gone" in html


@pytest.mark.parametrize("count", [1, 4])
def test_what_has_no_plane_has_a_table(count):
    shown = board(objectives=("a", "b", "c", "d")[:count])
    html = snapshot_html(shown, None, stamp="")
    assert_plain(html)
    assert len([tag for tag, _ in tags(html) if tag == "tr"]) == len(shown.view.points) + 2


def test_every_point_is_in_the_picture_and_inside_it():
    shown = board()
    html = snapshot_html(shown, None, stamp="")
    found = numbers(html)
    assert len(found) == len(shown.view.points) + 1  # and the start
    (picture,) = [given for tag, given in tags(html) if tag == "svg"]
    for x, y in found:
        assert 0 < x < float(picture["width"] or "")
        assert 0 < y < float(picture["height"] or "")
    for style in method_styles(shown.view.methods).values():
        assert f">{MARKS[style.symbol]}</text>" in html
        assert style.colour in html
    for sign in ("★", "✕", "<polyline"):
        assert sign in html


def test_a_better_score_stands_further_right_and_higher():
    shown = board()
    html = snapshot_html(shown, None, stamp="")
    found = numbers(html)[:-1]  # without the start
    points = sorted(shown.view.points, key=lambda point: point.nondominated)
    for (x, y), point in zip(found, points, strict=True):
        for (other_x, other_y), other in zip(found, points, strict=True):
            if point.scores[0] > other.scores[0] + 0.01:
                assert x > other_x
            if point.scores[1] > other.scores[1] + 0.01:
                assert y < other_y


def test_the_table_texts_and_stamp_are_there():
    shown = board()
    html = snapshot_html(shown, texts(), stamp="seed: 0\nthreads: 1")
    cells = re.findall(r"<td>(.*?)</td>", html)
    assert cells == [cell for row in point_rows(shown.view) for cell in row["cells"]]
    for text in ("A kite.", "A dog.", "Why not?", "<pre>seed: 0\nthreads: 1</pre>", shown.view.subtitle):
        assert text in html


def test_before_any_training_the_start_is_there():
    view = bare_view(OBJECTIVES[:2], start=start_frame(objectives=OBJECTIVES[:2], prompts=12))
    html = snapshot_html(Board(None, view, (), frozenset(), 0), None, stamp="runs: none yet")
    assert_plain(html)
    assert "Snapshot: No trained policy yet" in html
    assert len(numbers(html)) == 1


def test_before_anything_was_measured_it_is_plain_all_the_same():
    html = snapshot_html(Board(None, bare_view(OBJECTIVES[:2]), (), frozenset(), 0), None, stamp="runs: none yet")
    assert_plain(html)
    assert "Nothing was measured yet." in html


def test_what_models_and_people_wrote_is_no_markup():
    shown = board(objectives=(SCRIPT, "b"), text=SCRIPT)
    points = tuple(point._replace(method=SCRIPT, seeds=(SCRIPT,)) for point in shown.view.points)
    planted = shown._replace(view=shown.view._replace(points=points, methods=(SCRIPT,), title=SCRIPT))
    answer = Answer(SCRIPT, SCRIPT, True, None)
    html = snapshot_html(planted, texts(prompt=SCRIPT, before=answer, after=answer), stamp=SCRIPT)
    assert_plain(html)
    assert html.count("alert(") > 10


# Stamp


def test_the_stamp_says_what_is_needed_to_get_the_same_again():
    runs = [run_value("raco", (0.3, 0.7)), run_value("linear", (0.3, 0.7))]
    found = stamp(runs)
    spec = example_spec()
    assert found["runs"] == [run.id for run in runs]
    assert found["seeds"] == [0]
    assert found["paretokit"] == "0.1.0"
    assert found["preferences"] == f"world:safety (sha256 {spec.preferences_hash[:16]})"
    assert found["config"] == runs[0].spec.config.to_json()
    text = stamp_text(found)
    assert len(text.splitlines()) == len(found)
    assert f'runs: ["{runs[0].id}", "{runs[1].id}"]' in text
    assert "device: cpu" in text


def test_the_commit_is_named_in_a_checkout_and_nowhere_else(monkeypatch, tmp_path):
    found = commit()
    assert set(found) <= {"commit"}
    assert all(found.values())
    (tmp_path / "paretokit" / "view").mkdir(parents=True)
    monkeypatch.setattr("paretokit.view.stamp.__file__", str(tmp_path / "paretokit" / "view" / "stamp.py"))
    assert commit() == {}


def test_without_git_there_is_no_commit(monkeypatch):
    def missing(*arguments, **options):
        raise FileNotFoundError("git")

    monkeypatch.setattr("paretokit.view.stamp.subprocess.run", missing)
    assert commit() == {}
