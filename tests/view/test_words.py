"""What a Studio says: its status line, texts, errors, heading and rows; nothing a model or a file wrote is markup."""

import pytest
from support.view_checks import tags
from support.view_data import board, progress, run_value, texts

from paretokit.view import words
from paretokit.view.events import Answer, Trouble, trouble
from paretokit.view.jobs import ACTIVE, ENDED, Job

SCRIPT = "<script>alert('x')</script>"


def job(state: str, *, number: int = 1, label: str = "raco 0.30/0.70") -> Job:
    made = Job(number, label, changed=lambda _: None)
    made._state = state
    if state in ENDED:
        made._ended.set()
    return made


def markup(html: str) -> set[str]:
    return {tag for tag, _ in tags(html)}


def assert_no_script(html: str) -> None:
    """No tag that the texts brought along."""
    assert "alert(" in html, "the planted text is not there at all"
    assert "script" not in markup(html), html
    assert "img" not in markup(html), html


def test_the_check_sees_a_script():
    with pytest.raises(AssertionError):
        assert_no_script(f"<p>{SCRIPT}</p>")
    with pytest.raises(AssertionError, match="not there at all"):
        assert_no_script("<p></p>")


# Status line


def test_before_anything_it_says_what_to_do():
    assert words.status_line(None, None) == "Ready. Set the weights and press Train."


@pytest.mark.parametrize("state", ACTIVE + ENDED)
def test_every_state_has_an_icon_and_a_word(state):
    line = words.status_line(job(state), None)
    assert line == f"{words.ICONS[state]} {state}: raco 0.30/0.70"
    assert words.ICONS[state].strip()


def test_a_training_tells_step_losses_and_time_left():
    line = words.status_line(job("running"), progress(steps=2, of=10, eta=12.4))
    assert line == "▶ running: raco 0.30/0.70 · step 2/10 · loss quality 0.500, conciseness 0.250 · 12 s left"
    assert words.status_line(job("running"), progress(steps=2, of=10, eta=200.0)).endswith("· 3 min left")
    assert words.status_line(job("running"), progress(steps=2, of=10, eta=None)).endswith("conciseness 0.250")


def test_what_is_not_training_is_named():
    early = progress(steps=0, of=10, stage="figures before training")
    assert words.status_line(job("running"), early) == "▶ running: raco 0.30/0.70 · figures before training"
    late = words.status_line(job("running"), progress(steps=10, of=10, stage="figures after training", eta=0.0))
    assert late.endswith("· figures after training")
    assert "left" not in late


@pytest.mark.parametrize("state", ENDED)
def test_what_has_ended_shows_no_step(state):
    assert "step" not in words.status_line(job(state), progress(steps=2, of=10))


def test_the_progress_of_another_job_is_not_shown():
    assert "step" not in words.status_line(job("running", number=2), progress(steps=2, of=10))


def test_what_waits_and_how_long_the_text_took():
    line = words.status_line(job("running"), None, waiting=1, answered=0.1234)
    assert line.endswith("· 1 training waiting · text in 123 ms")
    assert words.status_line(job("paused"), None, waiting=2).endswith("· 2 trainings waiting")


# Texts and errors


def test_answers_stand_side_by_side_with_their_scores():
    html = words.texts_html(texts())
    assert [given.get("class") for tag, given in tags(html) if tag == "div"] == [
        "paretokit-texts", "paretokit-text", "paretokit-text",
    ]  # fmt: skip
    for shown in ("Why not?", "before training", "raco, the selected run", "A dog.", "quality <b>0.500</b>", "0.750"):
        assert shown in html


def test_an_empty_answer_and_a_cut_one_say_so():
    html = words.texts_html(texts(after=Answer("run", "", False, None)))
    assert "(empty answer)" in html
    assert "(cut at the length limit)" in html
    assert "(cut" not in words.texts_html(texts())


def test_no_answer_yet():
    assert markup(words.texts_html(None)) == {"p"}
    assert "No answer was sampled yet." in words.texts_html(None)


def test_model_text_prompts_and_names_are_no_markup():
    planted = Answer(SCRIPT, f"{SCRIPT}<img src=x onerror=alert(1)>", True, (0.5, 0.75))
    assert_no_script(words.texts_html(texts(prompt=SCRIPT, before=planted, after=planted, axes=(SCRIPT, SCRIPT))))


def test_an_error_is_an_alert_with_its_traceback_folded():
    html = words.trouble_html(Trouble("raco 0.30/0.70", "NonFiniteError: step 3", "Traceback: line 1"))
    (outer, *_) = tags(html)
    assert outer == ("div", {"class": "paretokit-error", "role": "alert"})
    assert {"details", "summary", "pre"} <= markup(html)
    assert "NonFiniteError: step 3" in html
    assert words.trouble_html(None) == ""


def test_an_error_is_no_markup():
    try:
        raise ValueError(SCRIPT)
    except ValueError as error:
        html = words.trouble_html(trouble(SCRIPT, error))
    assert_no_script(html)
    assert "ValueError: &lt;script&gt;" in html


# Heading


def test_the_heading_counts_seeds():
    assert '<span class="paretokit-badge">1 seed</span>' in words.heading_html(board(seeds=(0,)))
    assert '<span class="paretokit-badge">2 seeds</span>' in words.heading_html(board(seeds=(0, 1)))
    assert "1 to 2 seeds" in words.heading_html(board(seeds=(0, 1), uneven=True))


def test_the_heading_counts_what_is_not_shown():
    html = words.heading_html(board(hidden=("a", "b"), foreign=1))
    assert '<span class="paretokit-badge">2 hidden</span>' in html
    assert '<span class="paretokit-badge">1 run of other data not shown</span>' in html
    assert "3 runs of other data" in words.heading_html(board(foreign=3))
    plain = words.heading_html(board())
    assert "hidden" not in plain
    assert "other data" not in plain


def test_heading_and_reading_are_no_markup():
    shown = board()
    planted = shown._replace(view=shown.view._replace(title=SCRIPT, subtitle=SCRIPT, alt=SCRIPT, caption=SCRIPT))
    assert_no_script(words.heading_html(planted))
    assert_no_script(words.reading_html(planted.view))


# Stale weights


def test_weights_that_no_run_has_are_said_to_be_stale():
    shown = board(runs=(run_value("a", (0.3, 0.7)), run_value("b", (0.5, 0.5))))
    stale = "weights differ from every run: press Train to see what they give"
    assert words.stale_text((0.2, 0.8), shown) == stale
    assert words.stale_text((0.3, 0.7), shown) == ""
    assert words.stale_text((0.304, 0.696), shown) == ""  # the same to two decimals
    assert words.stale_text((0.5, 0.5), shown) == ""
    assert words.stale_text((0.5, 0.5), shown._replace(hidden=frozenset({shown.runs[1].id}))) == stale
    assert words.stale_text((0.2, 0.8), board(runs=())) == ""


def test_runs_whose_weights_changed_by_step_make_nothing_stale():
    assert words.stale_text((0.2, 0.8), board(runs=(run_value("a", None),))) == ""


# Rows


def test_a_row_for_each_point_below_that_of_the_start():
    view = board(seeds=(0, 1)).view
    rows = words.point_rows(view)
    assert len(rows) == len(view.points) + 1
    assert rows[0]["cells"][0] == "before training"
    assert rows[0]["mark"] == "★"
    assert {len(row["cells"]) for row in rows} == {len(words.point_columns(view))}
    for row, point in zip(rows[1:], view.points, strict=True):
        assert row["key"] == point.runs[-1]
        assert row["muted"] is not point.nondominated
        assert row["cells"][0] == point.method
        assert row["cells"][2].startswith(f"{point.scores[0]:.3f} [{point.low[0]:.2f}, ")
        assert row["cells"][-1] == ", ".join(point.seeds)
    assert any(row["muted"] for row in rows)
    assert len({(row["mark"], row["colour"]) for row in rows[1:]}) == len(view.methods)


def test_rows_hold_plain_values_only():
    for row in (*words.point_rows(board().view), *words.run_rows(board(runs=(run_value("a", (0.3, 0.7)),)))):
        assert all(type(cell) is str for cell in row["cells"])
        assert {key: type(row[key]) for key in ("key", "muted", "mark", "colour")} == {
            "key": str, "muted": bool, "mark": str, "colour": str,
        }  # fmt: skip


def test_runs_are_listed_newest_first_hidden_ones_too():
    made = (run_value("raco", (0.3, 0.7)), run_value("linear", None, steps=2, state="stopped"))
    rows = words.run_rows(board(runs=made, hidden=(made[0].id,)))
    assert [row["key"] for row in rows] == [made[1].id, made[0].id]
    assert rows[0]["cells"] == [made[1].id, "by step", "2/3", "◼ stopped"]
    assert rows[1]["cells"][2:] == ["3/3", "✓ done, hidden"]
    assert [row["muted"] for row in rows] == [False, True]
    assert {len(row["cells"]) for row in rows} == {len(words.RUN_COLUMNS)}


def test_a_run_in_a_state_of_another_version_is_listed_all_the_same():
    (row,) = words.run_rows(board(runs=(run_value("raco", (0.3, 0.7), state="running"),)))
    assert row["cells"][-1] == "▶ running"
    (row,) = words.run_rows(board(runs=(run_value("raco", (0.3, 0.7), state="archived"),)))
    assert row["cells"][-1].strip() == "archived"
