"""A Studio that has ended leaves nothing in memory: no widget, thread, policy or folder, in a script and in a notebook."""

import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from ipywidgets.widgets import widget as registry
from support.studios import alert, drawn, steps_done, studio_threads
from support.view_checks import tags
from support.waits import LONG, until

import paretokit as pk
from paretokit.errors import ConfigError
from paretokit.experiments.evaluation import WorldEvaluation
from paretokit.view import cells
from paretokit.view.parts import close_widgets
from paretokit.view.session import Session
from paretokit.view.studio import Studio

NAMES = ("helpfulness", "harmlessness")
CONFIG = pk.TrainConfig(steps=1, pairs_per_step=4, max_length=160, threads=1)
GUIDE = {"helpfulness": lambda prompt, text: len(text), "harmlessness": lambda prompt, text: -len(text)}


@pytest.fixture(scope="module")
def pairs() -> pk.Preferences:
    return pk.read_preferences("world:safety")


@pytest.fixture(autouse=True)
def _nothing_measured(monkeypatch) -> None:
    """Few answers are scored, and none before training: figures take seconds, and nothing here depends on them."""
    monkeypatch.setattr(Session, "begin", lambda session: None)
    few = WorldEvaluation(name="safety", prompts=2, copies=1, max_new_tokens=8)
    monkeypatch.setattr("paretokit.view.session.plan", lambda preferences, **options: (preferences, few))


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """Widgets and threads are what they were, whatever the test has done."""
    gc.collect()
    before = set(registry._instances)
    yield
    gc.collect()
    assert set(registry._instances) == before
    assert studio_threads() == []
    assert not cells._SHOWN


def made(pairs: Any, *, heads: bool = False, **options: Any) -> tuple[Studio, weakref.ref]:
    """A Studio and its policy, which nothing else holds."""
    policy = pk.load_policy("tiny", heads=list(NAMES)) if heads else pk.load_policy("tiny")
    return Studio(policy, pairs, config=CONFIG, **options), weakref.ref(policy)


def gone(reference: weakref.ref) -> bool:
    gc.collect()
    return reference() is None


# Closed


@pytest.mark.parametrize("heads", [False, True])
def test_what_is_closed_lets_go_of_everything_though_a_variable_holds_it(pairs, heads):
    before = set(registry._instances)
    studio, policy = made(pairs, heads=heads, guide=GUIDE)
    folder = studio.session.store.path
    studio.train(weights=(0.3, 0.7)).result()
    studio.next_step(weights=(1, 0))
    studio.wait(LONG)
    assert alert(studio) == ""
    assert not gone(policy)
    assert len(set(registry._instances) - before) > 100
    studio.close()
    assert set(registry._instances) == before
    assert gone(policy)
    assert studio_threads() == []
    assert not folder.exists()
    assert studio.closed
    studio.close()


def test_forks_of_trained_runs_go_as_well(pairs):
    studio, _ = made(pairs)
    run = studio.train(weights=(0.3, 0.7)).result()
    fork = weakref.ref(studio.session.policies.of(run))
    assert not gone(fork)
    studio.close()
    assert gone(fork)


def test_a_training_that_is_closed_lets_go_too_and_its_job_may_be_kept(pairs):
    studio, policy = made(pairs)
    job = studio.train(weights=(0.3, 0.7), steps=5000)
    assert until(lambda: steps_done(studio) >= 1)
    studio.close()
    del studio
    assert job.state == "stopped"
    assert gone(policy)


def test_the_guide_of_a_closed_studio_is_let_go(pairs):
    class Judge:
        def __call__(self, prompt: Any, text: str) -> float:
            return float(len(text))

    judge = Judge()
    studio, _ = made(pairs, guide=dict.fromkeys(NAMES, judge))
    studio.next_step(weights=(1, 0))
    judge = weakref.ref(judge)
    studio.close()
    assert studio.written is not None
    assert gone(judge)


def test_what_was_done_can_be_read_after_the_end(pairs, tmp_path):
    studio, _ = made(pairs, guide=GUIDE, store=tmp_path / "store")
    run = studio.train(weights=(0.3, 0.7)).result()
    studio.next_step(weights=(1, 0))
    studio.wait(LONG)
    read = {
        "weights": lambda: studio.weights, "runs": lambda: [run.id for run in studio.runs],
        "front": lambda: studio.front.points.to_json(), "texts": lambda: studio.texts, "written": lambda: studio.written,
        "front_figure": lambda: studio.front_figure().to_json(), "curves": lambda: studio.curves_figure().to_json(),
        "conflict": lambda: studio.conflict_figure().to_json(), "tree": lambda: studio.tree_figure().to_json(),
        "text_table": studio.text_table, "export": lambda: studio.export(tmp_path / "page.html").exists(),
    }  # fmt: skip
    before = {name: look() for name, look in read.items()}
    studio.close()
    assert {name: look() for name, look in read.items()} == before
    assert before["runs"] == [run.id]
    assert run.load() is not None


def test_what_would_do_something_says_that_the_studio_is_closed(pairs):
    studio, _ = made(pairs, heads=True, guide=GUIDE)
    run = studio.train(weights=(0.3, 0.7)).result()
    studio.close()
    assert studio.wait(LONG) is studio  # nothing is left to wait for
    entries = {
        "set_weights": lambda: studio.set_weights((1, 0)), "train": studio.train, "pause": studio.pause,
        "resume": studio.resume, "stop": studio.stop, "sample": studio.sample, "decode": studio.decode,
        "next_step": studio.next_step, "start_again": studio.start_again, "draw_whole_front": studio.draw_whole_front,
        "hide": lambda: studio.hide(run), "restore": lambda: studio.restore(run), "select": lambda: studio.select(run),
    }  # fmt: skip
    for name, act in entries.items():
        with pytest.raises(ConfigError, match=rf"^{name}: the Studio is closed\. Make a new one on the same store\.$"):
            act()
    with pytest.raises(ConfigError, match=r"^policy: the Studio is closed"):
        _ = studio.session.policy


def test_all_widgets_of_a_box_are_closed_and_one_left_open_is_seen(pairs):
    """The planted failure: what ipywidgets' own `close` does."""
    before = set(registry._instances)
    studio, _ = made(pairs)
    studio.screen.box.close()
    assert len(set(registry._instances) - before) > 100
    close_widgets(studio.screen.box)  # from one that is closed already, too
    assert set(registry._instances) == before
    studio.close()


# Forgotten


def test_a_studio_that_nobody_holds_ends_at_once(pairs):
    studio, policy = made(pairs)
    folder, threads = studio.session.store.path, studio_threads()
    assert sorted(threads) == ["paretokit-render", "paretokit-worker"]
    gc.disable()
    try:
        del studio  # it is in no cycle: no collection is needed
        assert studio_threads() == []
    finally:
        gc.enable()
    assert gone(policy)
    assert not folder.exists()


def test_one_that_is_waited_for_lives_until_the_work_is_done(pairs, tmp_path):
    job = made(pairs, store=tmp_path)[0].train(weights=(0.3, 0.7), steps=3)
    gc.collect()
    assert job.result().state["state"] == "done"
    assert until(lambda: studio_threads() == [])


def test_a_question_is_answered_though_nobody_holds_the_studio(pairs):
    asked = made(pairs)[0].sample()
    gc.collect()
    assert asked.result(LONG).after.text
    assert until(lambda: studio_threads() == [])


def test_one_that_is_held_in_a_cycle_is_collected(pairs):
    studio, policy = made(pairs)
    holder = {"studio": studio}
    holder["self"] = holder
    studio.wait(LONG)
    del studio, holder
    assert gone(policy)


def test_arguments_that_are_refused_leave_nothing(pairs):
    with pytest.raises(ConfigError, match="guide: found the objectives"):
        made(pairs, guide={"length": lambda prompt, text: 0.0})


# In a notebook


@pytest.fixture
def shell(monkeypatch) -> Iterator[InteractiveShell]:
    """A shell of its own, as a notebook has one, without a front end."""
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: shell)
    monkeypatch.setattr(cells, "get_ipython", lambda: shell)
    shell.push({"pk": pk, "config": CONFIG, "weakref": weakref, "seen": []})
    shell.run_cell("pairs = pk.read_preferences('world:safety')").raise_error()
    yield shell
    for studio in [*cells._SHOWN, *(value for value in shell.user_ns.values() if isinstance(value, Studio))]:
        studio.close()
    shell.reset()
    InteractiveShell.clear_instance()


MAKE = "policy = pk.load_policy('tiny')\nseen.append(weakref.ref(policy))\nstudio = pk.Studio(policy, pairs, config=config)"


def run(shell: InteractiveShell, text: str, *, history: bool = True) -> Any:
    done = shell.run_cell(text, store_history=history)
    done.raise_error()
    return done.result


def alive(shell: InteractiveShell) -> list[bool]:
    gc.collect()
    return [reference() is not None for reference in shell.user_ns["seen"]]


@pytest.mark.parametrize(("shown", "history"), [(False, True), (True, True), (True, False)])
def test_a_cell_that_runs_again_replaces_its_studio(shell, capsys, shown, history):
    text = MAKE + ("\nstudio" if shown else "")
    run(shell, text, history=history)
    one = len(registry._instances)
    first = weakref.ref(shell.user_ns["studio"])
    run(shell, text, history=history)
    assert alive(shell) == [False, True]
    assert len(registry._instances) == one
    assert len(studio_threads()) == 2
    assert first() is None or first().closed  # `Out` may hold it


def test_an_edited_cell_is_known_by_its_id(shell, monkeypatch):
    class Kernel:
        cell = "a"

        def get_parent(self, channel: str) -> dict[str, Any]:
            return {"metadata": {"cellId": self.cell}}

    monkeypatch.setattr(shell, "kernel", Kernel(), raising=False)
    run(shell, MAKE + "\nstudio")
    run(shell, MAKE.replace("studio =", "other =") + "\nother")
    assert alive(shell) == [False, True]
    shell.kernel.cell = "b"
    run(shell, MAKE)
    assert alive(shell) == [False, True, True]


def test_one_cell_may_make_many(shell):
    run(shell, f"{MAKE}\nmany = [studio, *(pk.Studio(policy, pairs, config=config) for _ in range(2))]")
    assert [studio.closed for studio in shell.user_ns["many"]] == [False] * 3
    for studio in shell.user_ns["many"]:
        studio.close()


def test_another_cell_replaces_nothing_that_is_shown(shell, capsys):
    run(shell, MAKE + "\nstudio")
    run(shell, MAKE.replace("studio =", "other =") + "\nother")
    assert alive(shell) == [True, True]


def test_what_is_shown_and_held_by_no_variable_lives_until_its_cell_runs_again(shell, capsys):
    text = f"{MAKE}\nfrom IPython.display import display\ndisplay(studio)\ndel studio, policy"
    run(shell, text)
    assert alive(shell) == [True]
    (held,) = cells._SHOWN
    assert not held.closed
    del held
    run(shell, text)
    assert alive(shell) == [False, True]
    assert len(cells._SHOWN) == 1


def test_a_replaced_variable_frees_what_was_not_shown(shell):
    run(shell, MAKE)
    run(shell, "studio = policy = None")
    assert alive(shell) == [False]


def test_out_holds_no_policy_of_a_closed_studio(shell, capsys):
    run(shell, MAKE + "\nstudio")
    run(shell, "studio.close()\ndel studio, policy")
    assert any(isinstance(value, Studio) for value in shell.user_ns["Out"].values())
    assert alive(shell) == [False]


def test_a_closed_studio_shows_its_snapshot_open(shell, monkeypatch):
    shown: list[str] = []
    updated: list[str] = []

    class Handle:
        def update(self, html: Any) -> None:
            updated.append(html.data)

    monkeypatch.setattr(
        "paretokit.view.screen.display", lambda what, **options: shown.append(getattr(what, "data", "box")) or Handle()
    )
    run(shell, MAKE + "\nstudio")
    assert shown[0] == "box"
    assert tags(shown[1])[0] == ("details", {})
    drawn(shell.user_ns["studio"])
    shell.user_ns["studio"].close()
    assert tags(updated[-1])[0] == ("details", {"open": None})
    assert "(the Studio is closed)" in updated[-1]
    shown.clear()
    run(shell, "studio")
    assert [tags(html)[0] for html in shown] == [("details", {"open": None})]  # and no widgets


def test_widgets_of_others_stay(pairs):
    from ipywidgets import HTML

    other = HTML("mine")
    studio, _ = made(pairs)
    studio.close()
    assert other.model_id in registry._instances
    other.close()
    other.layout.close()
    other.style.close()


def test_closing_from_another_thread_is_closing(pairs):
    studio, policy = made(pairs)
    thread = threading.Thread(target=studio.close)
    thread.start()
    thread.join(LONG)
    assert studio.closed
    assert gone(policy)
