"""A Studio without a browser: every control pressed in process, what it does read from widgets, store and threads."""

import inspect
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from threading import Barrier, BrokenBarrierError, Thread, current_thread
from time import monotonic
from typing import Any

import pytest
import torch
from support.studios import alert, drawn, journalled, points_on_screen, steps_done, studio_threads
from support.view_checks import tags
from support.waits import LONG, until

import paretokit as pk
from paretokit.errors import ConfigError, DataError, NonFiniteError, StoreError, WeightsError
from paretokit.experiments.journal import Journal, script
from paretokit.view.jobs import ENDED
from paretokit.view.session import LATE
from paretokit.view.shelf import Shelf
from paretokit.view.studio import Studio

CONFIG = pk.TrainConfig(steps=3, pairs_per_step=4, threads=1)
NAMES = ("helpfulness", "harmlessness")
FIRST, SECOND = (0.3, 0.7), (0.7, 0.3)
MANY = 5000  # steps that no test waits for
Opener = Callable[..., Studio]


@pytest.fixture(scope="module")
def parts() -> tuple[Any, Any]:
    return pk.load_policy("tiny"), pk.read_preferences("world:safety")


@pytest.fixture(scope="module")
def stores(parts, tmp_path_factory) -> dict[str, Path]:
    """Two stores to copy: one where the start was measured, one with two runs; each made once."""
    folder = tmp_path_factory.mktemp("stores")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARETOKIT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        studio = Studio(*parts, store=folder / "trained", config=CONFIG)
        studio.wait(LONG)
        shutil.copytree(folder / "trained", folder / "measured")
        studio.train(weights=FIRST).result()
        studio.train(weights=SECOND, method="linear").result()
        studio.close()
    return {name: folder / name for name in ("measured", "trained")}


@pytest.fixture
def opened(parts, stores, tmp_path) -> Iterator[Opener]:
    """Open a Studio on a copy of one of the stores, or on the folder of one opened before; all are closed at the end."""
    made = []

    def open_studio(kind: str = "measured", *, folder: str = "store", **options: Any) -> Studio:
        store = tmp_path / folder
        if kind in stores and not store.exists():
            shutil.copytree(stores[kind], store)
        studio = Studio(*parts, **{"store": store, "config": CONFIG, **options})
        made.append(studio)
        return studio

    yield open_studio
    for studio in made:
        studio.close()
    assert studio_threads() == []


def plain(run: Any) -> list[Any]:
    """Records without times, which differ between equal runs."""
    return [replace(record, wall_time=None, tokens_per_second=None) for record in run.records]


# Buttons


def test_train_trains_at_the_weights_that_are_shown(opened):
    studio = opened()
    studio.screen.weights.sliders[0].value = 0.25
    studio.screen.controls.train.click()
    studio.wait(LONG)
    (run,) = studio.runs
    assert run.spec.weights == (0.25, 0.75)
    assert (run.state["state"], len(run.records)) == ("done", 3)
    assert len(studio.front.points) == 1
    drawn(studio)
    assert studio.screen.status.text.startswith("✓ done: raco 0.25/0.75")
    assert [row["key"] for row in studio.screen.run_list.rows] == [run.id]
    assert points_on_screen(studio) == 1
    assert len(studio.screen.points.rows) == 2  # and the start
    assert studio.screen.controls.bar.value == 1.0
    (noted,) = journalled(studio, "train")
    assert noted["weights"] == {"helpfulness": 0.25, "harmlessness": 0.75}
    assert [entry["outcome"] for entry in journalled(studio, "outcome")] == ["done"]
    assert alert(studio) == ""


def test_pause_rests_resume_goes_on_stop_keeps_what_was_learnt(opened):
    studio = opened()
    controls = studio.screen.controls
    controls.steps.value = MANY
    controls.train.click()
    (job,) = studio.session.worker.jobs()
    assert until(lambda: steps_done(studio) >= 1)
    assert drawn(studio).screen.controls.train.disabled
    controls.train.click()  # a second click under way asks for nothing
    assert studio.session.worker.jobs() == (job,)
    controls.pause.click()
    assert until(lambda: job.state == "paused")
    assert until(lambda: drawn(studio).screen.controls.pause.description == "Resume")
    assert studio.screen.status.text.startswith("⏸ paused: raco 0.50/0.50")
    rested = steps_done(studio)
    assert studio.sample().result(LONG) is not None  # sliders stay live
    assert steps_done(drawn(studio)) == rested
    controls.pause.click()
    assert until(lambda: steps_done(studio) > rested)
    assert until(lambda: drawn(studio).screen.controls.pause.description == "Pause")
    live = studio.session.policies.live.records[-1].step
    controls.stop.click()
    assert until(lambda: job.ended)
    assert job.state == "stopped"
    run = job.result()
    assert len(run.records) <= live + 2  # the step that was under way, and one that may have ended before the click
    assert (run.state["state"], len(run.records) > rested) == ("stopped", True)
    assert run.scores is None
    studio.wait(LONG)
    assert not drawn(studio).screen.controls.train.disabled
    assert [row["cells"][-1] for row in studio.screen.run_list.rows] == ["◼ stopped"]
    noted = [entry["action"] for entry in studio.session.journal.entries()]
    assert [action for action in noted if action in ("pause", "resume", "stop")] == ["pause", "resume", "stop"]
    assert alert(studio) == ""


def test_a_stopped_training_goes_on_as_if_nothing_had_happened(opened):
    studio, straight = opened(), opened(folder="straight")
    config = {"weights": FIRST, "steps": 16}
    whole = straight.train(**config).result()
    job = studio.train(**config)
    assert until(lambda: steps_done(studio) >= 1 or job.ended)
    studio.stop()
    stopped = job.result()
    assert 1 <= len(stopped.records) < 16
    assert plain(stopped) == plain(whole)[: len(stopped.records)]
    again = studio.train(**config).result()
    assert again.id == stopped.id
    assert plain(again) == plain(whole)
    assert again.scores.equals(whole.scores)


def test_stop_ends_what_waits_too(opened):
    studio = opened()
    jobs = [studio.train(weights=FIRST, steps=MANY), studio.train(weights=SECOND, steps=MANY)]
    assert until(lambda: steps_done(studio) >= 1)
    assert "1 training waiting" in drawn(studio).screen.status.text
    studio.screen.controls.stop.click()
    assert [job.wait(LONG).state for job in jobs] == ["stopped", "stopped"]
    assert jobs[1].result() is None
    studio.wait(LONG)
    assert len(studio.runs) == 1


def test_hide_and_restore_are_buttons_of_the_selected_run(opened):
    studio = opened("trained")
    first, second = studio.runs
    studio.wait(LONG)
    assert points_on_screen(drawn(studio)) == 2
    studio.screen.run_list.selected = first.id
    assert studio.session.shelf.selected == first.id
    studio.screen.hide.click()
    studio.wait(LONG)
    assert studio.session.shelf.hidden == {first.id}
    assert [point.runs for point in studio.session.shelf.board.view.points] == [(second.id,)]
    assert points_on_screen(drawn(studio)) == 1
    assert "1 hidden" in studio.screen.heading.value
    assert len(studio.runs) == 2  # nothing is deleted
    studio.screen.restore.click()
    studio.wait(LONG)
    assert studio.session.shelf.hidden == frozenset()
    assert points_on_screen(drawn(studio)) == 2
    assert "hidden" not in studio.screen.heading.value
    assert alert(studio) == ""


def test_everything_hidden_is_as_before_training(opened):
    studio = opened("trained")
    for run in studio.runs:
        studio.hide(run)
    studio.wait(LONG)
    assert studio.front is None
    assert points_on_screen(drawn(studio)) == 0
    assert "No trained policy yet" in studio.screen.heading.value
    assert "2 hidden" in studio.screen.heading.value
    with pytest.raises(DataError, match="found no visible run"):
        studio.curves_figure()


@pytest.mark.parametrize("guarded", [True, False])  # planted: without the lock one of two is forgotten
def test_runs_that_two_threads_hide_at_once_are_both_hidden(opened, monkeypatch, guarded):
    studio = opened("trained")
    shelf, both, value = studio.session.shelf, Barrier(2), [frozenset[str]()]

    def read(_: Shelf) -> frozenset[str]:
        found = value[0]
        if current_thread() in threads:  # the worker looks as well
            with suppress(BrokenBarrierError):  # who waits for the other in vain was let in alone
                both.wait(0.5)
        return found

    threads = [Thread(target=shelf.hide, args=(run.id,)) for run in studio.runs]
    monkeypatch.setattr(Shelf, "hidden", property(read, lambda _, new: value.__setitem__(0, new)), raising=False)
    if not guarded:
        monkeypatch.setattr(shelf, "_hiding", nullcontext())
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert len(value[0]) == (2 if guarded else 1)


def test_a_click_on_a_point_selects_its_run(opened):
    studio = opened("trained")
    studio.wait(LONG)
    point = next(point for point in studio.session.shelf.board.view.points if point.nondominated)
    studio.pressed.point_clicked(3, [0])
    assert studio.session.shelf.selected == point.runs[-1]
    studio.wait(LONG)
    assert drawn(studio).screen.run_list.selected == point.runs[-1]
    assert "the selected run" in studio.texts.after.source
    studio.screen.weights.sliders[0].value = 0.11  # the weights speak again
    assert studio.session.shelf.selected is None
    studio.wait(LONG)
    assert "nearest to these weights" in studio.texts.after.source


def test_tabs_and_prompts_are_wired(opened):
    studio = opened("trained")
    studio.wait(LONG)
    screen = studio.screen
    screen.tab.value = "Runs"
    assert [box.layout.display for box in screen._tabs.values()] == ["none", "none", ""]
    screen.prompt.value = list(screen.prompts)[2]
    studio.wait(LONG)
    assert studio.texts.prompt == list(screen.prompts)[2]
    assert studio.texts.after.scores is not None
    screen.own_prompt.value = "What is  <b>this</b>?"
    studio.wait(LONG)
    assert studio.texts.prompt == "What is <b>this</b>?"
    assert studio.texts.after.scores is None  # no world knows it
    assert "&lt;b&gt;this" in drawn(studio).screen.text.value
    assert alert(studio) == ""


# Errors


def test_a_handler_that_raises_shows_it(opened, monkeypatch):
    studio = opened()
    studio.screen.hide.click()
    assert "DataError: runs: found no selected run, expected one. Select a row of the list first." in alert(studio)

    def refuse(**arguments: Any) -> None:
        raise ValueError("<script>alert(1)</script>")

    monkeypatch.setattr(studio.session, "train", refuse)
    studio.screen.controls.train.click()
    html = alert(studio)
    assert "ValueError: &lt;script&gt;" in html
    assert "script" not in {tag for tag, _ in tags(html)}
    assert "in refuse" in html  # the traceback, folded


def test_a_slider_whose_handler_raises_shows_it(opened, monkeypatch):
    studio = opened()

    def refuse(*arguments: Any, **options: Any) -> None:
        raise ValueError("no such weights")

    monkeypatch.setattr(studio.session, "sample", refuse)
    studio.screen.weights.sliders[0].value = 0.9
    assert "ValueError: no such weights" in alert(studio)


def test_a_training_that_fails_is_red_and_the_next_one_is_not(opened, monkeypatch):
    studio = opened()

    def fail(*arguments: Any, **options: Any) -> Iterator[Any]:
        raise NonFiniteError("step 2: loss of helpfulness is nan")
        yield

    monkeypatch.setattr("paretokit.view.work.run_steps", fail)
    job = studio.train(weights=FIRST)
    with pytest.raises(NonFiniteError, match="step 2"):
        job.result()
    assert (job.state, "in fail" in job.traceback) == ("failed", True)
    html = alert(studio)
    assert "raco 0.30/0.70" in html
    assert "NonFiniteError: step 2: loss of helpfulness is nan" in html
    assert drawn(studio).screen.status.text.startswith("✗ failed: raco 0.30/0.70")
    assert not studio.screen.controls.train.disabled
    assert journalled(studio, "outcome")[-1]["outcome"] == "failed"
    monkeypatch.undo()
    assert studio.train(weights=FIRST).result().state["state"] == "done"
    assert alert(studio) == ""


def test_a_training_that_really_diverges_is_red(opened):
    studio = opened(config=CONFIG.replace(learning_rate=1e30))
    job = studio.train(weights=FIRST)
    assert job.wait(LONG).state == "failed"
    assert isinstance(job.exception, NonFiniteError)
    assert "NonFiniteError" in alert(studio)
    assert not studio.screen.controls.train.disabled
    assert studio.sample().result(LONG) is not None
    assert [run.state["state"] for run in studio.wait(LONG).runs] == ["failed"]  # listed, and not on the front
    assert studio.front is None


def test_a_sample_that_fails_is_red_and_ends_no_training(opened, monkeypatch):
    studio = opened()
    job = studio.train(weights=FIRST, steps=MANY)
    assert until(lambda: steps_done(studio) >= 1)

    def refuse(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("no room for the answer")

    monkeypatch.setattr("paretokit.view.answers.generate", refuse)
    request = studio.sample("another prompt")
    with pytest.raises(RuntimeError, match="no room"):
        request.result(LONG)
    assert until(lambda: "RuntimeError: no room for the answer" in alert(studio))
    at = steps_done(studio)
    assert until(lambda: steps_done(studio) > at)
    assert job.state == "running"
    studio.stop()


def test_drawing_that_fails_is_red(opened, monkeypatch):
    studio = opened()
    studio.wait(LONG)

    def refuse(*arguments: Any, **options: Any) -> None:
        raise ValueError("no such trace")

    monkeypatch.setattr(studio.screen, "_draw_tables", refuse)
    studio.session.refresh()
    assert until(lambda: "ValueError: no such trace" in alert(studio))
    monkeypatch.undo()
    assert studio.train(weights=FIRST).result().state["state"] == "done"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"weights": {"helpfullness": 1.0, "harmlessness": 0.0}}, WeightsError, "Did you mean 'helpfulness'"),
        ({"weights": (0.5, 0.6)}, WeightsError, r"found the sum 1\.1"),
        ({"method": "rako"}, ConfigError, "Did you mean 'raco'"),
        ({"steps": 0}, ConfigError, "steps: found 0"),
        ({"seed": -1}, ConfigError, "seed: found -1"),
    ],
)
def test_what_cannot_be_trained_is_refused_at_once(opened, arguments, error, message):
    studio = opened()
    studio.wait(LONG)
    before = (studio.weights, len(studio.session.journal.entries()), studio.session.answers.weights)
    with pytest.raises(error, match=message):
        studio.train(**arguments)
    with pytest.raises(WeightsError):
        studio.set_weights({"helpfulness": 1.0})
    with pytest.raises(StoreError, match="found no run 'raco-s1' in this Studio"):
        studio.hide("raco-s1")
    assert (studio.weights, len(studio.session.journal.entries()), studio.session.answers.weights) == before
    assert studio.session.worker.jobs() == ()
    assert studio.runs == ()


def test_a_file_is_no_store(parts, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="found a file, expected a folder"):
        Studio(*parts, store=tmp_path / "file", config=CONFIG)
    assert studio_threads() == []


def test_a_policy_with_nothing_to_train_is_refused(parts, tmp_path):
    with pytest.raises(ConfigError, match="nothing to train"):
        Studio(pk.load_policy("tiny", adapter="none"), parts[1], store=tmp_path / "store", config=CONFIG)
    assert studio_threads() == []


def test_a_journal_that_cannot_be_written_is_named_and_training_goes_on(opened, monkeypatch):
    studio = opened()
    studio.wait(LONG)

    def refuse(path: Path, value: Any) -> None:
        raise StoreError(f"{path}: cannot be written: No space left on device.")

    monkeypatch.setattr("paretokit.experiments.journal.append_line", refuse)
    run = studio.train(weights=FIRST).result()
    assert (run.state["state"], len(run.records)) == ("done", 3)
    studio.wait(LONG)
    html = alert(studio)
    assert "journal.jsonl: cannot be written: No space left on device." in html
    assert len(studio.front.points) == 1
    assert "done" in studio.screen.status.text


# Opened again


def test_a_second_studio_shows_what_the_first_one_left(opened):
    studio = opened("trained")
    studio.set_weights({"helpfulness": 0.2, "harmlessness": 0.8}).result(LONG)
    studio.wait(LONG)
    points, curves = studio.front.points, studio.curves_figure().to_json()
    studio.close()
    again = opened("trained")
    assert again.weights == {"helpfulness": 0.2, "harmlessness": 0.8}
    assert [slider.value for slider in again.screen.weights.sliders] == pytest.approx([0.2, 0.8])
    assert again.front.points.equals(points)
    assert again.curves_figure().to_json() == curves
    again.wait(LONG)
    assert points_on_screen(drawn(again)) == 2
    assert [row["cells"][-1] for row in again.screen.run_list.rows] == ["✓ done", "✓ done"]
    assert again.texts.after.text == studio.texts.after.text
    assert alert(again) == ""


def test_what_was_hidden_stays_hidden_and_what_was_restored_does_not(opened):
    studio = opened("trained")
    first, second = studio.runs
    studio.hide(first)
    studio.hide(second)
    studio.restore(second)
    studio.close()
    again = opened("trained")
    assert again.session.shelf.hidden == {first.id}
    assert [point.runs for point in again.session.shelf.board.view.points] == [(second.id,)]
    again.train(weights=FIRST).result()  # asked for once more, it is seen once more
    assert again.session.shelf.hidden == frozenset()
    again.close()
    assert opened("trained").session.shelf.hidden == frozenset()


def test_a_done_run_is_not_trained_twice(opened):
    studio = opened("trained")
    first = studio.runs[0]
    run = studio.train(weights=FIRST).result()
    assert run.id == first.id
    assert run.records == first.records  # to the second it took
    assert sorted(run.id for run in studio.runs) == sorted([first.id, studio.runs[0].id])


def test_a_run_of_another_version_is_named(opened, stores, tmp_path):
    shutil.copytree(stores["trained"], tmp_path / "store")
    run_id = sorted(path.name for path in (tmp_path / "store" / "runs").iterdir())[0]
    path = tmp_path / "store" / "runs" / run_id / "spec.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    studio = opened("trained")
    assert len(studio.runs) == 1
    html = alert(studio)
    assert f"run {run_id}" in html
    assert "found format 99" in html
    studio.wait(LONG)
    assert points_on_screen(drawn(studio)) == 1


def test_a_broken_journal_is_named_and_nothing_else_breaks(opened, stores, tmp_path):
    shutil.copytree(stores["trained"], tmp_path / "store")
    (tmp_path / "store" / "journal.jsonl").write_text("{broken\n")
    studio = opened("trained")
    assert "journal.jsonl, line 1: found broken JSON" in alert(studio)
    assert len(studio.runs) == 2
    assert studio.weights == dict(zip(NAMES, SECOND, strict=True))  # of the newest run
    assert studio.train(weights=FIRST).result().state["state"] == "done"


def test_runs_of_other_data_are_counted_and_not_shown(opened, parts):
    studio = opened("trained", heldout=100)
    studio.close()
    other = Studio(parts[0], pk.read_preferences("world:summaries"), store=studio.session.store, config=CONFIG)
    try:
        other.stop()
        assert other.runs == ()
        assert other.front is None
        assert until(lambda: "2 runs of other data not shown" in drawn(other).screen.heading.value)
        assert other.weights == dict.fromkeys(other.session.objectives, 1 / len(other.session.objectives))
    finally:
        other.close()


def test_the_journal_replays_on_a_studio(opened):
    """Every call of the script is one that a Studio has, with these arguments."""
    studio = opened("trained")
    first = studio.runs[0]
    studio.set_weights(SECOND).result(LONG)
    studio.hide(first)
    studio.restore(first)
    studio.pause()
    studio.resume()
    studio.stop()
    studio.wait(LONG)
    called = []

    class Checked:
        def __getattr__(self, name: str) -> Callable[..., None]:
            def call(*arguments: Any, **options: Any) -> None:
                inspect.signature(getattr(Studio, name)).bind(studio, *arguments, **options)
                called.append(name)

            return call

    exec(script(studio.session.journal.entries()), {"studio": Checked()})
    assert {"train", "set_weights", "hide", "restore", "pause", "resume", "stop"} <= set(called)


# Values


def test_a_run_is_that_of_train(opened, parts):
    """Bit for bit: the panel adds nothing to a training."""
    run = opened().train(weights=FIRST).result()
    policy = parts[0].fork(seed=CONFIG.seed)
    other = pk.train(policy, parts[1], weights=FIRST, config=CONFIG, progress=False)
    assert [record.losses for record in run.records] == [record.losses for record in other.records]
    assert plain(run) == plain(other)
    assert run.id == other.id
    assert run.scores.equals(other.scores)


def test_looking_and_sampling_change_no_training(opened, stores):
    """A run whose training was interrupted by samples and by pauses is the run that nobody touched."""
    quiet, busy = opened(folder="quiet"), opened(folder="busy")
    expected = quiet.train(weights=FIRST, steps=8).result()
    job = busy.train(weights=FIRST, steps=8)
    answered = 0
    while not job.ended and answered < 5:
        busy.sample(f"prompt {answered}").wait(LONG)
        answered += not job.ended
    assert answered >= 2
    busy.pause()
    busy.resume()
    job.wait(LONG)
    assert plain(job.result()) == plain(expected)
    assert job.result().scores.equals(expected.scores)


def test_a_sampled_answer_is_that_of_generate(opened, parts):
    studio = opened("trained")
    run = studio.runs[0]
    studio.set_weights(FIRST).result(LONG)
    texts = studio.sample().result(LONG)
    prompt = studio.session.answers.prompt
    (before,) = pk.generate(parts[0], [prompt], seed=0)
    assert (texts.before.text, texts.before.ended) == (before.text, before.ended)
    (after,) = pk.generate(run.load(), [prompt], seed=0)
    assert (texts.after.text, texts.after.ended) == (after.text, after.ended)
    assert texts.axes == studio.session.axes
    scorers = studio.session.evaluation.world.scorers.values()
    assert texts.after.scores == tuple(scorer(prompt, after.text) for scorer in scorers)


def test_a_slider_is_answered_while_a_training_runs(opened):
    studio = opened()
    happened: list[str] = []
    put = studio._renderer.put

    def publish(key: str, value: Any, **options: Any) -> None:
        if key == "texts":
            happened.append(f"texts {value.weights[0]:.2f}")
        if key.startswith("job ") and value.state in ENDED:
            happened.append(value.state)
        put(key, value, **options)

    studio._renderer.put = publish
    job = studio.train(weights=FIRST, steps=MANY)
    assert until(lambda: steps_done(studio) >= 1)
    for percent in (31, 35, 40):  # a drag
        studio.screen.weights.sliders[0].value = percent / 100
    assert until(lambda: "texts 0.40" in happened)
    assert not job.ended
    assert not {"texts 0.31", "texts 0.35"} & set(happened)
    assert "training, after step" in studio.session.policies.at((0.4, 0.6)).words
    studio.stop()
    job.wait(LONG)
    assert happened.index("texts 0.40") < happened.index("stopped")
    assert until(lambda: "weights differ from every run" in drawn(studio).screen.stale.value)


def test_an_answer_that_was_sampled_before_is_shown_while_the_slider_still_moves(opened):
    studio = opened("trained")
    first = studio.set_weights(FIRST).result(LONG)
    studio.set_weights(SECOND).result(LONG)
    told: list[Any] = []
    studio._renderer.put = lambda key, value, **_: told.append(value) if key == "texts" else None
    request = studio.set_weights(FIRST)
    (shown,) = told  # by then, and without the worker
    assert not request._ended.is_set()
    assert shown._replace(seconds=0.0) == first._replace(seconds=0.0)
    assert request.result(LONG) is shown  # which is not published again
    assert told == [shown]


def test_letting_go_of_a_slider_ends_the_rest_that_a_drag_waits_for(opened):
    studio = opened("trained")
    studio.wait(LONG)
    session = studio.session
    request = session.sample(FIRST, prompt="one", after=600.0)
    assert not request._ended.wait(0.3)
    studio.pressed.probed({"released": True})
    assert request.result(LONG).prompt == "one"
    studio.pressed.probed({"released": True})
    request = session.sample(FIRST, prompt="two", after=600.0)  # the slider's own message may come second
    assert request.result(LONG).prompt == "two"
    assert until(lambda: monotonic() - session._let_go > LATE)
    request = session.sample(FIRST, prompt="three", after=600.0)  # the next drag
    assert not request._ended.wait(0.3)


def test_the_page_says_which_drawing_it_has_shown(opened):
    studio = opened("trained")
    studio.wait(LONG)
    frame = studio.screen.probe.frame
    assert frame > 0
    said: list[str] = []
    studio._renderer.shown = lambda: said.append("shown")
    studio.pressed.probed({"drawn": frame - 1})  # an older one
    assert said == []
    studio.pressed.probed({"drawn": frame})
    assert said == ["shown"]


def test_figures_out_of_sight_are_drawn_when_they_come_into_sight(opened):
    studio = drawn(opened("trained"))
    curves, conflict = studio.screen.curves.data[0], studio.screen.conflict.data[0]
    studio.wait(LONG)
    assert len(curves.x) > 0
    assert len(conflict.x or ()) == 0
    studio.screen.tab.value = "Gradient conflict"
    studio.wait(LONG)
    assert len(conflict.x) > 0


def test_the_policy_that_was_given_is_not_changed(opened, parts):
    policy = parts[0]
    before = {name: value.clone() for name, value in policy.trainable_state().items()}
    studio = opened()
    studio.train(weights=FIRST).result()
    studio.set_weights(SECOND).result(LONG)
    studio.wait(LONG)
    after = policy.trainable_state()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert policy.at_base()
    changed = studio.session.policies.of(studio.runs[0]).trainable_state()
    assert not all(torch.equal(changed[name], value) for name, value in before.items())


def test_trainings_wait_in_line(opened):
    studio = opened()
    jobs = [studio.train(weights=weights, steps=1) for weights in (FIRST, SECOND, (0.5, 0.5))]
    studio.wait(LONG)
    assert [job.state for job in jobs] == ["done"] * 3
    assert [run.spec.weights for run in studio.runs] == [FIRST, SECOND, (0.5, 0.5)]
    assert len(studio.front.points) == 3
    assert studio.weights == {"helpfulness": 0.5, "harmlessness": 0.5}


def test_the_start_is_measured_first_and_may_be_stopped(parts, tmp_path):
    studio = Studio(*parts, store=tmp_path / "store", config=CONFIG)
    try:
        (job,) = studio.session.worker.jobs()
        studio.stop()
        assert job.wait(LONG).state in ("stopped", "done")
        assert (studio.session.store.start(studio.session.shelf.start_key) is None) == (job.state == "stopped")
        run = studio.train(weights=FIRST, steps=1).result()
        assert run.start is not None  # measured with the training, since it was missing
        studio.wait(LONG)
        assert studio.session.shelf.board.view.start is not None
    finally:
        studio.close()
    assert studio_threads() == []


def test_waiting_too_short_says_so(opened):
    studio = opened()
    studio.train(weights=FIRST, steps=MANY)
    with pytest.raises(TimeoutError):
        studio.wait(0.05)
    studio.stop()
    assert studio.wait(LONG) is studio


# What it returns, and its end


def test_plain_twins_of_what_is_shown(opened):
    studio = opened("trained")
    studio.wait(LONG)
    assert studio.front_figure().layout.title.text == studio.session.shelf.board.view.title
    assert len(studio.curves_figure().data) > 0
    assert len(studio.conflict_figure().data) > 0
    assert studio.texts.after.text.split()[0] in studio.text_table()
    html = studio.snapshot()
    assert "<svg" in html
    assert "<script" not in html
    assert all(run.id in html for run in studio.runs)  # in the stamp


def test_before_training_there_is_nothing_to_draw_or_export(opened, tmp_path):
    studio = opened()
    for ask in (studio.curves_figure, studio.conflict_figure, lambda: studio.export(tmp_path / "page.html")):
        with pytest.raises(DataError, match="Train first"):
            ask()
    assert not (tmp_path / "page.html").exists()
    assert studio.front_figure().layout.title.text == "No trained policy yet"
    assert "none yet" in studio.snapshot()


def test_export_writes_one_file(opened, tmp_path):
    studio = opened("trained")
    (tmp_path / "out").mkdir()
    path = studio.export(tmp_path / "out" / "page.html")
    assert [found.name for found in (tmp_path / "out").iterdir()] == ["page.html"]
    assert path == (tmp_path / "out" / "page.html").resolve()
    page = path.read_text()
    assert all(run.id in page for run in studio.runs)
    assert "Content-Security-Policy" in page


def test_export_leaves_hidden_runs_out(opened, tmp_path):
    studio = opened("trained")
    first, second = studio.runs
    studio.hide(first)
    studio.wait(LONG)
    page = studio.export(tmp_path / "page.html").read_text()
    assert second.id in page
    assert first.id not in page


def test_closing_ends_both_threads_and_may_be_repeated(opened):
    assert studio_threads() == []
    studio = opened()
    assert sorted(studio_threads()) == ["paretokit-render", "paretokit-worker"]
    job = studio.train(weights=FIRST, steps=MANY)
    assert until(lambda: steps_done(studio) >= 1)
    studio.close()
    assert studio_threads() == []
    assert job.state == "stopped"
    assert job.result().state["state"] == "stopped"
    studio.close()
    with pytest.raises(ConfigError, match="the Studio is closed"):
        studio.train(weights=FIRST)


def test_the_widgets_of_a_closed_studio_raise_nothing(opened):
    """They are still on the page, and nobody would see what they raise."""
    studio = opened("trained")
    studio.close()
    studio.screen.weights.sliders[0].value = 0.9
    studio.screen.controls.train.click()
    studio.screen.hide.click()
    studio.screen.prompt.value = list(studio.screen.prompts)[1]
    studio.screen.run_list.selected = studio.runs[0].id


def test_without_a_store_runs_live_until_close(parts):
    studio = Studio(*parts, config=CONFIG)
    try:
        folder = studio.session.store.path
        studio.stop()
        assert studio.train(weights=FIRST, steps=1).result().state["state"] == "done"
        assert any(folder.glob("runs/*/spec.json"))
    finally:
        studio.close()
    assert not folder.exists()


def test_two_studios_on_one_store_keep_one_journal(opened):
    first, second = opened(), opened()
    one, other = first.train(weights=FIRST), second.train(weights=SECOND)
    assert [one.result().state["state"], other.result().state["state"]] == ["done", "done"]
    entries = Journal(first.session.store.path / "journal.jsonl", studio="reader").entries()
    assert {entry["studio"] for entry in entries if entry["action"] == "outcome"} == {
        first.session.journal.studio, second.session.journal.studio,
    }  # fmt: skip
    first.close()
    second.close()
    assert len(opened().runs) == 2
