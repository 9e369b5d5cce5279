"""A Studio on a policy with action heads, without a browser: its texts follow the sliders, also while another run trains."""

import inspect
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.studios import alert, drawn, journalled, points_on_screen, steps_done, studio_threads
from support.waits import LONG, until

import paretokit as pk
from paretokit.decoding.sample import generate
from paretokit.errors import ConfigError, StoreError, WeightsError
from paretokit.experiments.front import Front
from paretokit.experiments.journal import script
from paretokit.view import answers, work
from paretokit.view.heads import weightings
from paretokit.view.jobs import ENDED
from paretokit.view.live_front import PARTS
from paretokit.view.screen import Screen
from paretokit.view.studio import Studio

CONFIG = pk.TrainConfig(steps=6, pairs_per_step=8, learning_rate=1e-2, max_length=160, threads=1)
NAMES = ("helpfulness", "harmlessness")
FIRST, SECOND = (0.3, 0.7), (0.7, 0.3)
MANY = 5000  # steps that no test waits for
Opener = Callable[..., Studio]


@pytest.fixture(scope="module")
def parts() -> tuple[Any, Any]:
    return pk.load_policy("tiny", heads=list(NAMES)), pk.read_preferences("world:safety")


@pytest.fixture(scope="module")
def stores(parts, tmp_path_factory) -> dict[str, Path]:
    """Stores to copy, each made once: with the start, with two runs of heads, with a run of each kind of policy."""
    folder = tmp_path_factory.mktemp("stores")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARETOKIT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        studio = Studio(*parts, store=folder / "trained", config=CONFIG)
        studio.wait(LONG)
        shutil.copytree(folder / "trained", folder / "measured")
        studio.train(weights=FIRST).result()
        shutil.copytree(folder / "trained", folder / "mixed")
        studio.train(weights=SECOND, method="mah-raco").result()
        studio.close()
        plain = Studio(pk.load_policy("tiny"), parts[1], store=folder / "mixed", config=CONFIG.replace(steps=1))
        plain.train(weights=FIRST).result()
        plain.close()
    return {name: folder / name for name in ("measured", "trained", "mixed")}


@pytest.fixture
def opened(parts, stores, tmp_path) -> Iterator[Opener]:
    """Open a Studio on a copy of one of the stores, or on the folder of one opened before; all are closed at the end."""
    made = []

    def open_studio(kind: str = "trained", *, folder: str = "store", policy: Any = parts[0], **options: Any) -> Studio:
        store = tmp_path / folder
        if not store.exists():
            shutil.copytree(stores[kind], store)
        studio = Studio(policy, parts[1], **{"store": store, "config": CONFIG, **options})
        made.append(studio)
        return studio

    yield open_studio
    for studio in made:
        studio.close()
    assert studio_threads() == []


def by_name(weights: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(NAMES, weights, strict=True))


def said(studio: Studio) -> list[str]:
    return [answer.text for _, answer in studio.texts.decoded]


def expected(policy: Any, studio: Studio, weights: tuple[float, ...]) -> list[str]:
    made = generate(policy, studio.session.prompts[:3], weights=by_name(weights), seed=0)
    return [one.text for one in made]


def curve_on_screen(studio: Studio) -> int:
    return len(studio.screen.front.data[PARTS.index("heads")].x or ())


def data_without_scorers() -> Any:
    """Twelve pairs that belong to no world."""
    answer = {"response_a": "It rains.", "response_b": "Ask again.", "labels": {"helpfulness": 1, "harmlessness": -1}}
    return pk.read_preferences([{"prompt": f"Why is it wet on day {day}?", **answer} for day in range(12)])


# What is offered


def test_only_methods_that_fit_are_offered(opened):
    studio = opened()
    assert studio.screen.controls.method.options == ("mah-dpo", "mah-raco")
    plain = opened(policy=pk.load_policy("tiny"))
    assert plain.screen.controls.method.options == ("cagrad", "linear", "raco")
    assert plain.screen.heads is None
    with pytest.raises(ConfigError, match="found a policy with the heads"):
        studio.train(method="raco")
    with pytest.raises(ConfigError, match="found a policy without heads"):
        plain.train(method="mah-dpo")
    for refused in (plain.decode, plain.draw_whole_front):
        with pytest.raises(ConfigError, match=r"found a policy without heads, expected a head per objective. Load it with"):
            refused()


def test_heads_of_other_objectives_are_refused(parts, tmp_path):
    with pytest.raises(ConfigError, match="heads: found quality, speed for the objectives helpfulness, harmlessness"):
        Studio(pk.load_policy("tiny", heads=["quality", "speed"]), parts[1], store=tmp_path / "store", config=CONFIG)
    assert studio_threads() == []


# The sliders


def test_a_slider_decodes_what_the_newest_run_says_at_its_weights(opened):
    studio = opened()
    run = studio.runs[-1]
    policy = run.load()
    found = {}
    for weights in ((0.0, 1.0), (1.0, 0.0)):
        studio.screen.weights.sliders[0].value = weights[0]
        studio.wait(LONG)
        found[weights] = said(studio)
        assert found[weights] == expected(policy, studio, weights)
        assert studio.texts.weights == weights
        html = drawn(studio).screen.heads.texts.value
        assert f"helpfulness {weights[0]:.2f}, harmlessness {weights[1]:.2f}" in html
        assert "mah-raco 0.70/0.30, the newest run" in html
        scorers = studio.session.evaluation.world.scorers.values()
        for prompt, (_, answer) in zip(studio.session.prompts, studio.texts.decoded, strict=False):
            assert answer.scores == tuple(scorer(prompt, answer.text) for scorer in scorers)
    assert found[(0.0, 1.0)] != found[(1.0, 0.0)]  # the planted failure: weights that are not heard
    assert drawn(studio).screen.stale.value == ""  # nothing has to be trained for them
    assert alert(studio) == ""


def test_before_training_the_policy_itself_is_decoded(opened, parts):
    studio = opened("measured")
    studio.set_weights(FIRST).result(LONG)
    assert said(studio) == expected(parts[0], studio, FIRST)
    assert {answer.source for _, answer in studio.texts.decoded} == {"before training"}


def test_the_selected_run_stays_selected_while_a_slider_moves(opened):
    studio = opened()
    first = studio.runs[0]
    studio.select(first)
    studio.screen.weights.sliders[0].value = 0.85
    studio.wait(LONG)
    assert studio.session.shelf.selected == first.id
    assert said(studio) == expected(first.load(), studio, (0.85, 0.15000000000000002))
    assert {answer.source for _, answer in studio.texts.decoded} == {"mah-dpo 0.30/0.70, the selected run"}


def test_decode_returns_what_is_shown(opened):
    studio = opened()
    frame = studio.decode(weights=FIRST)
    assert frame["text"].tolist() == said(studio) == expected(studio.runs[-1].load(), studio, FIRST)
    assert frame["weight_helpfulness"].tolist() == [0.3] * 3
    assert [tuple(row) for row in frame[list(NAMES)].to_numpy()] == [a.scores for _, a in studio.texts.decoded]
    assert studio.weights == by_name(FIRST)
    assert drawn(studio).screen.weights.sliders[0].value == 0.3
    assert "helpfulness 0.30" in studio.screen.heads.texts.value
    assert journalled(studio, "decode")[-1]["weights"] == by_name(FIRST)
    assert studio.decode()["text"].tolist() == frame["text"].tolist()
    with pytest.raises(WeightsError, match=r"found the sum 1\.1"):
        studio.decode(weights=(0.5, 0.6))
    with pytest.raises(WeightsError, match="expected a finite number >= 0"):
        studio.decode(weights=(1.5, -0.5))  # outside of the simplex nothing is decoded here
    assert studio.weights == by_name(FIRST)


def test_a_prompt_of_ones_own_is_answered_at_the_weights_and_is_no_markup(opened):
    studio = opened()
    studio.screen.own_prompt.value = "What is  <b>this</b>?"
    studio.wait(LONG)
    assert studio.texts.prompt == "What is <b>this</b>?"
    assert studio.texts.after.scores is None
    assert "&lt;b&gt;this" in drawn(studio).screen.text.value
    assert len(said(studio)) == 3
    assert alert(studio) == ""


# The newest wins


class Gate:
    """In place of `generate`: begins when asked, says which weights, and goes on only when it is let through."""

    def __init__(self) -> None:
        self.begun: list[float] = []
        self.closed = False
        self.open = threading.Semaphore(0)

    def __call__(self, policy: Any, prompts: Any, *, weights: Any, stop: Callable[[], bool], **options: Any) -> list[Any]:
        self.begun.append(weights["helpfulness"])
        while not self.open.acquire(timeout=0.005):
            if stop() or self.closed:
                break
        return generate(policy, prompts, weights=weights, stop=stop, **options)


@pytest.fixture
def gated(opened, monkeypatch):
    """A Studio at rest, the gate that its decodings go through, and the weights of the texts that it publishes."""
    studio = opened()
    studio.wait(LONG)
    studio.decode(weights=FIRST)
    studio.decode(weights=SECOND)
    gate, told = Gate(), []
    monkeypatch.setattr(answers, "generate", gate)
    put = studio._renderer.put

    def publish(key: str, value: Any, **options: Any) -> None:
        if key == "texts":
            told.append(value.weights[0])
        put(key, value, **options)

    studio._renderer.put = publish
    yield studio, gate, told
    gate.closed = True


def test_of_what_waits_only_the_newest_is_decoded(gated, monkeypatch):
    monkeypatch.setattr(answers, "GRACE", 600.0)
    studio, gate, told = gated
    running = studio.set_weights((0.11, 0.89))
    assert until(lambda: gate.begun == [0.11])
    waiting = [studio.set_weights((first, 1 - first)) for first in (0.12, 0.13, 0.14)]
    assert [request.superseded for request in (running, *waiting)] == [True, True, True, False]
    gate.open.release()
    assert until(lambda: gate.begun == [0.11, 0.14])  # those between were dropped
    assert told == [0.11]  # a text on the way, before the newest: it overwrites none
    gate.open.release()
    assert waiting[-1].result(LONG).weights[0] == 0.14
    assert told == [0.11, 0.14]


def test_what_runs_is_stopped_by_a_newer_move_and_not_shown(gated, monkeypatch):
    monkeypatch.setattr(answers, "GRACE", 0.0)
    studio, gate, told = gated
    studio.set_weights((0.11, 0.89))
    assert until(lambda: gate.begun == [0.11])
    newest = studio.set_weights((0.12, 0.88))
    assert until(lambda: gate.begun == [0.11, 0.12])  # nobody let the first one through
    gate.open.release()
    assert newest.result(LONG).weights[0] == 0.12
    assert told == [0.12]
    assert [entry["weights"]["helpfulness"] for entry in journalled(studio, "set_weights")][-1] == 0.12


def test_a_late_result_never_overwrites_a_newer_one(gated, monkeypatch):
    monkeypatch.setattr(answers, "GRACE", 600.0)
    studio, gate, told = gated
    late = studio.set_weights((0.11, 0.89))
    assert until(lambda: gate.begun == [0.11])
    studio.set_weights(FIRST)  # decoded before, so it is there at once
    assert told == [0.3]
    gate.open.release()
    assert late.wait(LONG)
    studio.wait(LONG)
    assert told == [0.3]
    assert studio.texts.weights == FIRST


def test_the_check_sees_a_result_that_comes_too_late(gated):
    """The planted failure: the same texts with the number of a newer question are shown."""
    studio, _, told = gated
    texts = studio.texts._replace(weights=(0.11, 0.89))
    newest, _ = studio.session.answers.told
    assert studio.session.answers.tell(texts, newest - 1) is texts
    assert told == []
    studio.session.answers.tell(texts, newest + 1)
    assert told == [0.11]


# While it trains


def test_a_slider_is_answered_from_the_finished_run_while_another_trains(opened):
    studio = opened()
    finished = studio.runs[-1]
    happened: list[str] = []
    put = studio._renderer.put

    def publish(key: str, value: Any, **options: Any) -> None:
        if key == "texts":
            happened.append(f"texts {value.weights[0]:.2f}")
        if key.startswith("job ") and value.state in ENDED:
            happened.append(value.state)
        put(key, value, **options)

    studio._renderer.put = publish
    job = studio.train(weights=(0.5, 0.5), steps=MANY)
    assert until(lambda: steps_done(studio) >= 1)
    assert until(lambda: "texts 0.50" in happened)  # where the training put the sliders
    studio.screen.weights.sliders[0].value = 0.42
    assert until(lambda: "texts 0.42" in happened)
    assert not job.ended
    frame = studio.decode(weights=(0.1, 0.9))  # from code as well
    assert not job.ended
    assert frame["text"].tolist() == expected(finished.load(), studio, (0.1, 0.9))
    assert set(frame["policy"]) == {"mah-raco 0.70/0.30, the newest run"}
    studio.pause()
    assert until(lambda: job.state == "paused")
    rested = steps_done(drawn(studio))
    assert studio.set_weights((0.15, 0.85)).result(LONG).weights == (0.15, 0.85)
    assert steps_done(drawn(studio)) == rested
    studio.resume()
    assert until(lambda: steps_done(studio) > rested)
    studio.stop()
    run = job.wait(LONG).result()
    assert happened.index("texts 0.42") < happened.index("stopped")
    assert (run.state["state"], run.scores) == ("stopped", None)
    studio.wait(LONG)
    frame = studio.decode(weights=(0.1, 0.9))  # what was learnt is kept, and now it is the newest
    assert set(frame["policy"]) == {"mah-dpo 0.50/0.50, the newest run"}
    assert frame["text"].tolist() == expected(studio.session.policies.of(run), studio, (0.1, 0.9))
    assert alert(studio) == ""


def plain(run: Any) -> list[Any]:
    return [replace(record, wall_time=None, tokens_per_second=None) for record in run.records]


def test_decoding_changes_no_training_and_a_stopped_one_goes_on(opened, parts):
    quiet, busy = opened("measured", folder="quiet"), opened("measured", folder="busy")
    whole = quiet.train(weights=FIRST, steps=10).result()
    job = busy.train(weights=FIRST, steps=10)
    assert until(lambda: steps_done(busy) >= 1 or job.ended)
    for percent in range(20, 30):
        busy.screen.weights.sliders[0].value = percent / 100
    busy.decode()
    busy.stop()
    stopped = job.wait(LONG).result()
    again = busy.train(weights=FIRST, steps=10).result()
    assert again.id == stopped.id
    assert plain(again) == plain(whole)
    assert again.scores.equals(whole.scores)
    other = parts[0].fork(seed=CONFIG.seed)
    alone = pk.train(
        other, parts[1], method="mah-dpo", weights=FIRST, config=CONFIG.replace(steps=10), progress=False
    )  # fmt: skip
    assert plain(whole) == plain(alone)
    assert whole.scores.equals(alone.scores)


# The whole front


def test_the_button_draws_the_front_of_the_newest_run(opened):
    studio = opened()
    studio.wait(LONG)
    button = studio.screen.heads.draw
    assert not button.disabled
    button.click()
    studio.wait(LONG)
    run = studio.runs[-1]
    heads = studio.session.shelf.board.view.heads
    assert (heads.run, len(heads.points)) == (run.id, 11)
    assert heads.legend == "heads of mah-raco 0.70/0.30, decoded at 11 weightings"
    assert curve_on_screen(drawn(studio)) == 11
    assert points_on_screen(studio) == 2  # the runs are what they were
    assert [row["cells"][0] for row in studio.screen.points.rows].count("heads of mah-raco") == 11
    assert "decoded at 11 weightings" in studio.screen.reading.value
    assert "✓ done: whole front of mah-raco 0.70/0.30" in studio.screen.status.text
    assert [entry["run"] for entry in journalled(studio, "draw_whole_front")] == [run.id]
    assert heads.legend in studio.snapshot()
    assert heads.legend in [trace.name for trace in studio.front_figure().data]
    assert alert(studio) == ""


def test_its_result_is_a_front_with_the_scores_of_each_weighting(opened):
    studio = opened()
    front = studio.draw_whole_front(run=studio.runs[0]).result()
    assert isinstance(front, Front)
    assert [tuple(row) for row in front.points[[f"weight_{name}" for name in NAMES]].to_numpy()] == weightings(2)
    policy, evaluation = studio.runs[0].load(), studio.session.evaluation.quick()
    frame = evaluation(policy, references={}, weights=by_name((0.3, 0.7)))
    assert front.points.loc[3, list(NAMES)].tolist() == pytest.approx(frame[list(NAMES)].mean().tolist())
    assert front.points["nondominated"].any()


def test_a_front_is_stopped_within_a_token_and_a_slider_is_answered_meanwhile(opened, monkeypatch):
    studio = opened()
    studio.wait(LONG)
    begun = threading.Event()
    real = work.whole_front

    def slow(*arguments: Any, stop: Callable[[], bool], **options: Any) -> Any:
        begun.set()
        until(stop)
        return real(*arguments, stop=stop, **options)

    monkeypatch.setattr(work, "whole_front", slow)
    job = studio.draw_whole_front()
    assert begun.wait(LONG)
    assert until(lambda: drawn(studio).screen.heads.draw.disabled)
    studio.screen.heads.draw.click()  # a second click under way asks for nothing
    assert studio.session.worker.jobs() == (job,)
    assert not studio.screen.controls.train.disabled
    assert "waiting" not in studio.screen.status.text
    assert studio.set_weights((0.21, 0.79)).result(LONG).weights == (0.21, 0.79)
    studio.stop()
    assert job.wait(LONG).state == "stopped"
    assert job.result() is None
    studio.wait(LONG)
    assert studio.session.shelf.board.view.heads is None
    assert curve_on_screen(drawn(studio)) == 0
    assert until(lambda: not drawn(studio).screen.heads.draw.disabled)


def test_the_curve_goes_with_its_run(opened):
    studio = opened()
    run = studio.runs[0]
    studio.draw_whole_front(run=run.id).result()
    studio.hide(run)
    studio.wait(LONG)
    assert curve_on_screen(drawn(studio)) == 0
    with pytest.raises(ConfigError, match="found no trained heads that are visible in run"):
        studio.draw_whole_front(run=run)
    studio.restore(run)
    studio.wait(LONG)
    assert curve_on_screen(drawn(studio)) == 11
    studio.train(weights=SECOND, method="mah-raco").result()  # another one changes nothing
    studio.wait(LONG)
    assert curve_on_screen(drawn(studio)) == 11
    studio.train(weights=FIRST).result()  # the same one may have learnt more
    studio.wait(LONG)
    assert curve_on_screen(drawn(studio)) == 0
    with pytest.raises(StoreError, match="found no run 'nobody' in this Studio"):
        studio.draw_whole_front(run="nobody")


def test_before_training_all_weightings_say_the_same(opened):
    studio = opened("measured")
    front = studio.draw_whole_front().result()
    assert len(front.points[list(NAMES)].drop_duplicates()) == 1
    assert studio.session.shelf.board.view.heads.legend == "heads of the policy before training, decoded at 11 weightings"
    assert curve_on_screen(drawn(studio)) == 11


def test_without_scorers_the_button_says_why_it_is_off(parts, tmp_path):
    studio = Studio(parts[0], data_without_scorers(), store=tmp_path / "store", config=CONFIG.replace(steps=1))
    try:
        assert studio.screen.heads.draw.disabled
        reason = "found data without scorers, expected a world"
        assert reason in studio.screen.heads.draw.tooltip
        assert reason in studio.screen.heads.reason.value
        with pytest.raises(ConfigError, match=f"draw_whole_front: {reason}"):
            studio.draw_whole_front()
        run = studio.train(weights=FIRST).result()  # all else works
        assert run.scores is not None
        frame = studio.decode(weights=SECOND)
        assert "helpfulness" not in frame.columns
        assert len(frame) == len(studio.session.prompts[:3])
        studio.wait(LONG)
        assert drawn(studio).screen.heads.draw.disabled
        assert alert(studio) == ""
    finally:
        studio.close()


# Opened again


def test_a_second_studio_says_what_the_first_one_said(opened):
    studio = opened()
    studio.decode(weights=(0.2, 0.8))
    texts, points = said(studio), studio.front.points
    studio.close()
    again = opened()
    again.wait(LONG)
    assert again.weights == by_name((0.2, 0.8))
    assert again.front.points.equals(points)
    assert said(again) == texts
    again.train(weights=FIRST).result()  # one that is done is returned
    assert len(again.runs) == 2
    assert alert(again) == ""


def test_what_was_decoded_is_there_before_it_is_drawn(opened, monkeypatch):
    may_draw, plain = threading.Event(), Screen.draw
    may_draw.set()
    monkeypatch.setattr(Screen, "draw", lambda screen, events: may_draw.wait(LONG) and plain(screen, events))
    studio = opened()
    studio.wait(LONG)
    may_draw.clear()
    try:
        studio.decode(weights=(0.2, 0.8))
        assert studio.texts.weights == (0.2, 0.8)
        assert studio.screen.texts is None or studio.screen.texts.weights != (0.2, 0.8)
    finally:
        may_draw.set()


def test_runs_of_the_other_kind_of_policy_are_seen_and_not_decoded(opened):
    studio = opened("mixed")
    (heads, raco) = studio.runs
    assert [run.spec.method for run in studio.runs] == ["mah-dpo", "raco"]
    assert set(studio.decode(weights=FIRST)["policy"]) == {"mah-dpo 0.30/0.70, the newest run"}
    studio.select(raco)
    assert set(studio.decode(weights=FIRST)["policy"]) == {"mah-dpo 0.30/0.70, the newest run"}
    assert studio.draw_whole_front().result() is not None
    assert studio.session.shelf.board.view.heads.run == heads.id
    assert len(studio.front.points) == 2
    assert alert(studio) == ""
    studio.close()
    plain = opened("mixed", policy=pk.load_policy("tiny"))
    texts = plain.set_weights(FIRST).result(LONG)
    assert texts.after.source == "raco 0.30/0.70, the run nearest to these weights"
    assert texts.decoded == ()
    assert alert(plain) == ""


def test_the_journal_replays_on_a_studio(opened):
    studio = opened()
    studio.decode(weights=FIRST)
    studio.draw_whole_front(run=studio.runs[0]).result()
    studio.hide(studio.runs[0])
    called = []

    class Checked:
        def __getattr__(self, name: str) -> Callable[..., None]:
            def call(*arguments: Any, **options: Any) -> None:
                inspect.signature(getattr(Studio, name)).bind(studio, *arguments, **options)
                called.append(name)

            return call

    exec(script(studio.session.journal.entries()), {"studio": Checked()})
    assert {"decode", "draw_whole_front", "train", "hide"} <= set(called)


def test_the_policy_that_was_given_is_not_changed(opened, parts):
    studio = opened("measured")
    studio.train(weights=FIRST, steps=1).result()
    studio.decode(weights=SECOND)
    studio.draw_whole_front().result()
    assert parts[0].at_base()
