"""A Studio with a guide, without a browser: a text is written step by step, at weights that move between the steps."""

import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from support.studios import alert, drawn, journalled, steps_done, studio_threads
from support.view_checks import tags
from support.waits import LONG, until

import paretokit as pk
from paretokit.decoding import search
from paretokit.decoding.guided import iter_guided
from paretokit.errors import ConfigError, DataError, ModelError, WeightsError
from paretokit.experiments.journal import script
from paretokit.models.rewards import new_reward_model
from paretokit.texts import encode_prompt
from paretokit.view import guided_text
from paretokit.view.jobs import Request
from paretokit.view.studio import Studio

CONFIG = pk.TrainConfig(steps=2, pairs_per_step=8, learning_rate=1e-2, max_length=160, threads=1)
NAMES = ("helpfulness", "harmlessness")
LONGER, SHORTER, BETWEEN = (1.0, 0.0), (0.0, 1.0), (0.3, 0.7)
GUIDE = {  # in another order than the preferences
    "harmlessness": lambda prompt, text: -float(len(text)),
    "helpfulness": lambda prompt, text: float(len(text)),
}
MANY = 5000  # steps that no test waits for
Opener = Callable[..., Studio]


@pytest.fixture(scope="module")
def parts() -> tuple[Any, Any]:
    return pk.load_policy("tiny"), pk.read_preferences("world:safety")


@pytest.fixture(scope="module")
def headed() -> Any:
    return pk.load_policy("tiny", heads=list(NAMES))


@pytest.fixture(scope="module")
def stores(parts, headed, tmp_path_factory) -> dict[str, Path]:
    """Stores to copy, each made once: with the start, and with one run of each kind of policy."""
    folder = tmp_path_factory.mktemp("stores")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARETOKIT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        studio = Studio(*parts, store=folder / "trained", config=CONFIG)
        studio.wait(LONG)
        shutil.copytree(folder / "trained", folder / "measured")
        studio.train(weights=BETWEEN).result()
        studio.close()
        studio = Studio(headed, parts[1], store=folder / "heads", config=CONFIG)
        studio.train(weights=BETWEEN, steps=6).result()
        studio.close()
    return {name: folder / name for name in ("measured", "trained", "heads")}


@pytest.fixture
def opened(parts, stores, tmp_path) -> Iterator[Opener]:
    """Open a Studio with a guide on a copy of one of the stores; all are closed at the end."""
    made = []

    def open_studio(kind: str = "measured", *, folder: str = "store", policy: Any = parts[0], **options: Any) -> Studio:
        store = tmp_path / folder
        if not store.exists():
            shutil.copytree(stores[kind], store)
        studio = Studio(policy, parts[1], **{"store": store, "config": CONFIG, "guide": GUIDE, **options})
        made.append(studio)
        return studio

    yield open_studio
    for studio in made:
        studio.close()
    assert studio_threads() == []


def by_name(weights: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(NAMES, weights, strict=True))


def straight(policy: Any, prompt: Any, weights: list[tuple[float, ...]], **options: Any) -> list[Any]:
    """The steps as `iter_guided` gives them, at these weights, as many as there are weights for."""
    room = min(256, policy.context_length - len(encode_prompt(policy.tokenizer, prompt)))
    given = {"reward_model": GUIDE, "candidates": 5, "max_new_tokens": room, "seed": 0, **options}
    steps = iter_guided(policy, [prompt], weights=lambda step: by_name(weights[min(step, len(weights)) - 1]), **given)
    return [step for step, _ in zip(steps, weights, strict=False)]


def chosen(studio: Studio, step: int) -> tuple[float, list[float]]:
    """The length that the text got at a step, and those that it could have got, by the guide's scores."""
    scores = [node.scores[1] for node in studio.written.tree if node.step == step]
    return studio.written.path[step - 1].scores[1], scores


# Weights that move


def test_each_step_is_chosen_at_the_weights_of_its_moment(opened, parts):
    studio = opened()
    studio.next_step(weights=LONGER)
    length, lengths = chosen(studio, 1)
    assert length == max(lengths) > min(lengths)
    studio.next_step(weights=SHORTER)
    length, lengths = chosen(studio, 2)
    assert length == min(lengths) < max(lengths)
    assert chosen(studio, 1)[0] == max(chosen(studio, 1)[1])  # what was kept stays
    assert studio.weights == by_name(SHORTER)
    assert alert(studio) == ""
    prompt = studio.session.prompts[0]
    unmoved = straight(parts[0], prompt, [LONGER, LONGER])[-1].generations[0]
    assert unmoved.text != studio.written.text  # the planted failure: weights that are not heard


def test_the_text_is_that_of_iter_guided_at_the_same_weights(opened, parts):
    studio = opened()
    weights = [LONGER, BETWEEN]
    found = [studio.next_step(weights=each) for each in weights]
    expected = straight(parts[0], studio.session.prompts[0], weights)
    assert found == expected
    assert studio.written == expected[-1].generations[0]
    assert studio.written.objectives == ("harmlessness", "helpfulness")
    assert [dict(zip(studio.written.objectives, row, strict=True)) for row in studio.written.guide_weights] == [
        by_name(each) for each in weights
    ]


def test_buttons_write_at_the_sliders_and_what_is_kept_is_not_judged_again(opened):
    judged: list[str] = []
    threads = set()

    def length(prompt: Any, text: str) -> float:
        judged.append(text)
        threads.add(threading.current_thread().name)
        return float(len(text))

    studio = opened(guide={"helpfulness": length, "harmlessness": GUIDE["harmlessness"]})
    panel = studio.screen.steps
    assert panel.line.text == "No step yet. Set the weights and press Next step."
    assert "the prompt that is chosen below" in panel.text.value
    studio.screen.weights.sliders[0].value = 1.0
    panel.next.click()
    studio.wait(LONG)
    assert (len(judged), len(studio.written.steps)) == (5, 1)
    first = studio.written.steps[0]
    assert drawn(studio).screen.steps.line.text == "✓ step 1, the best of 5 candidates"
    assert "helpfulness 1.00, harmlessness 0.00" in panel.text.value
    assert "Written by the policy before training. Judged by the scorers helpfulness, harmlessness." in panel.text.value
    studio.screen.weights.sliders[0].value = 0.2
    studio.wait(LONG)
    assert len(judged) == 5  # a slider computes no step again
    panel.next.click()
    studio.wait(LONG)
    assert len(judged) == 10
    assert studio.written.steps[0] == first
    html = drawn(studio).screen.steps.text.value
    assert html.index("helpfulness 1.00, harmlessness 0.00") < html.index("helpfulness 0.20, harmlessness 0.80")
    assert sum(len(trace.x or ()) for trace in panel.figure.data if trace.mode == "markers") == 2 * 10  # on two objectives
    assert "a text of 2 steps that scores" in panel.reading.value
    assert threads == {"paretokit-worker"}
    panel.again.click()
    studio.wait(LONG)
    assert studio.written is None
    assert drawn(studio).screen.steps.line.text == "No step yet. Set the weights and press Next step."
    assert sum(len(trace.x or ()) for trace in panel.figure.data) == 0
    assert len(judged) == 10
    assert alert(studio) == ""


def test_equal_weights_write_the_same_text_again(opened):
    studio = opened()
    studio.next_step(weights=LONGER)
    former = studio.written
    studio.start_again()
    assert studio.written is None
    studio.next_step()
    assert studio.written == former
    assert studio.tree_figure().layout.title.text == "5 candidates in 1 step"


def test_prompt_and_candidates_are_those_of_the_moment_when_it_begins(opened):
    studio = opened()
    studio.screen.steps.candidates.value = 2
    studio.start_again()
    studio.screen.own_prompt.value = "What is <b>this</b>?"
    studio.screen.steps.next.click()
    studio.wait(LONG)
    assert studio.written.prompt == [{"role": "user", "content": "What is <b>this</b>?"}]
    assert len(studio.written.tree) == 2
    assert "<b>What is &lt;b&gt;this&lt;/b&gt;?</b>" in drawn(studio).screen.steps.text.value
    studio.screen.prompt.value = list(studio.screen.prompts)[2]  # for the next text
    studio.next_step()
    assert studio.written.prompt == [{"role": "user", "content": "What is <b>this</b>?"}]
    studio.start_again(prompt="2 + 2 =", candidates=3)
    assert "The next step begins a text for <b>2 + 2 =</b>." in drawn(studio).screen.steps.text.value
    studio.next_step()
    assert (studio.written.prompt, len(studio.written.tree)) == ("2 + 2 =", 3)
    with pytest.raises(ConfigError, match="start_again: candidates is 0; expected at least 1"):
        studio.start_again(candidates=0)
    assert studio.written.prompt == "2 + 2 ="


def test_a_reward_model_guides(opened, parts):
    kinds = {"harmlessness": "preference", "helpfulness": "preference"}
    model = new_reward_model(pk.load_policy("tiny", adapter="none"), kinds=kinds)
    studio = opened(guide=model)
    found = [studio.next_step(weights=BETWEEN), studio.next_step(weights=LONGER)]
    assert found == straight(parts[0], studio.session.prompts[0], [BETWEEN, LONGER], reward_model=model)
    assert f"Judged by {model.source}." in drawn(studio).screen.steps.text.value


# The end


def shorter_texts(monkeypatch: pytest.MonkeyPatch, **limits: Any) -> None:
    monkeypatch.setattr(guided_text, "iter_guided", partial(iter_guided, **limits))


def write_to_the_end(studio: Studio) -> None:
    studio.next_step(weights=SHORTER)
    while studio.written.reason == "stopped":
        studio.next_step()


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("end", "The text ended by itself."),
        ("max_steps", "Cut off after the most steps allowed."),
        ("max_new_tokens", "Cut off after the most tokens allowed."),
    ],
)
def test_an_ended_text_says_why_and_can_only_be_begun_again(opened, monkeypatch, reason, said):
    if reason == "max_steps":
        shorter_texts(monkeypatch, max_steps=1)
    if reason == "max_new_tokens":
        monkeypatch.setattr(guided_text, "_LONGEST", 3)
    studio = opened()
    write_to_the_end(studio)
    assert studio.written.reason == reason
    panel = drawn(studio).screen.steps
    assert f"{said} Start again for another one." in panel.line.text
    assert panel.next.disabled
    ended = studio.written
    with pytest.raises(
        ConfigError,
        match=rf"next_step: found a text that has ended \({reason}\), expected one that can go on. Begin another one with",
    ):
        studio.next_step()
    assert "next_step: found a text that has ended" in alert(studio)
    assert studio.written == ended
    assert drawn(studio).screen.steps.next.disabled
    panel.again.click()
    assert not drawn(studio).screen.steps.next.disabled
    write_to_the_end(studio)
    assert studio.written == ended
    assert alert(studio) == ""


# Stop


class Hold:
    """While it is `shut`, a step waits before its first token until it is stopped."""

    def __init__(self) -> None:
        self.shut = self.begun = False
        self.real = search.expand

    def __call__(self, *arguments: Any, stop: Callable[[], bool]) -> Any:
        self.begun = True
        until(lambda: not self.shut or stop())
        return self.real(*arguments, stop=stop)

    def stopped(self, studio: Studio) -> None:
        """Have a step begun and stopped."""
        self.shut, self.begun = True, False
        request = studio.session.steps.next_step(SHORTER)
        assert until(lambda: self.begun)
        studio.stop()
        assert request.result(LONG) is None
        self.shut = False


@pytest.fixture
def held(monkeypatch) -> Iterator[Hold]:
    hold = Hold()
    monkeypatch.setattr(search, "expand", hold)
    yield hold
    hold.shut = False


def test_stop_drops_the_step_and_the_text_goes_on_as_if_nothing_had_happened(opened, parts, held):
    studio = opened()
    panel = studio.screen.steps
    studio.next_step(weights=LONGER)
    kept = studio.written
    held.shut, held.begun = True, False
    panel.next.click()
    assert until(lambda: held.begun)
    assert until(lambda: drawn(studio).screen.steps.line.text == "▶ writing step 2")
    assert panel.next.disabled
    panel.next.click()  # a second click under way asks for nothing
    waiting = studio.session.steps.next_step(SHORTER)
    studio.screen.controls.stop.click()
    assert waiting.result(LONG) is None
    studio.wait(LONG)
    assert studio.written == kept
    assert drawn(studio).screen.steps.line.text.startswith("◼ stopped: step 2 was dropped.")
    assert not panel.next.disabled
    held.shut = False
    studio.next_step(weights=SHORTER)
    assert studio.written == straight(parts[0], studio.session.prompts[0], [LONGER, SHORTER])[-1].generations[0]
    assert [entry["weights"] for entry in journalled(studio, "next_step")] == [by_name(LONGER), by_name(SHORTER)]
    assert alert(studio) == ""


def test_a_text_that_was_stopped_is_written_again_and_that_may_be_stopped(opened, held):
    studio = opened()
    studio.next_step(weights=LONGER)
    kept = studio.written
    for _ in range(2):  # the second time while the first step is being written once more
        held.stopped(studio)
        assert studio.written == kept
    assert studio.next_step().step == 2


def test_starting_again_drops_the_step_that_is_being_written(opened, held):
    studio = opened()
    held.shut = True
    request = studio.session.steps.next_step(LONGER)
    studio.screen.steps.again.click()
    assert request.result(LONG) is None
    studio.wait(LONG)
    assert studio.written is None
    assert drawn(studio).screen.steps.line.text == "No step yet. Set the weights and press Next step."
    held.shut = False
    assert studio.next_step(weights=SHORTER).step == 1
    assert journalled(studio, "next_step")[0]["weights"] == by_name(SHORTER)


def test_closing_stops_a_step_and_whoever_waits_for_it_hears_so(opened, held):
    studio = opened()
    held.shut = True
    heard: list[BaseException] = []

    def ask() -> None:
        try:
            studio.next_step()
        except ConfigError as error:
            heard.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert until(lambda: studio.session.steps.written.state == "writing")
    studio.close()
    thread.join(LONG)
    assert "next_step: the Studio was closed meanwhile" in str(heard[0])
    with pytest.raises(ConfigError, match=r"next_step: the Studio is closed\. Make a new one on the same store"):
        studio.next_step()


def test_waiting_too_short_says_so_and_the_step_is_written(opened, held):
    studio = opened()
    held.shut = True
    with pytest.raises(TimeoutError, match=r"request 'next step 1': not answered after 0\.05 s"):
        studio.next_step(timeout=0.05)
    held.shut = False
    studio.wait(LONG)
    assert len(studio.written.steps) == 1


def test_an_interrupt_stops_the_step(opened, held):
    studio = opened()
    held.shut = True

    def interrupt(*arguments: Any) -> None:
        assert until(lambda: held.begun)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Request, "result", interrupt)
        with pytest.raises(KeyboardInterrupt):
            studio.next_step()
    studio.wait(LONG)
    assert drawn(studio).screen.steps.line.text.startswith("◼ stopped: step 1 was dropped.")
    held.shut = False
    assert studio.next_step().step == 1


# Errors


def test_an_error_of_the_guide_is_red_and_the_text_goes_on(opened, parts):
    broken = threading.Event()

    def refuse(prompt: Any, text: str) -> float:
        if broken.is_set():
            raise RuntimeError("<script>alert('judge')</script>")
        return float(len(text))

    studio = opened(guide={**GUIDE, "helpfulness": refuse})
    studio.next_step(weights=LONGER)
    kept = studio.written
    broken.set()
    with pytest.raises(RuntimeError, match="judge"):
        studio.next_step(weights=SHORTER)
    html = alert(studio)
    assert "next step" in html
    assert "RuntimeError: &lt;script&gt;alert" in html
    assert "script" not in {tag for tag, _ in tags(html)}
    assert studio.written == kept
    panel = drawn(studio).screen.steps
    assert panel.line.text == "✗ failed: step 2 was dropped, for the reason above. Next step tries again."
    assert not panel.next.disabled
    assert studio.sample().result(LONG) is not None  # all else works
    broken.clear()
    panel.next.click()
    studio.wait(LONG)
    assert studio.written == straight(parts[0], studio.session.prompts[0], [LONGER, SHORTER])[-1].generations[0]
    assert alert(studio) == ""


def test_scores_that_are_no_numbers_are_red(opened):
    studio = opened(guide={**GUIDE, "helpfulness": lambda prompt, text: float("nan")})
    studio.screen.steps.next.click()
    studio.wait(LONG)
    assert "scored a text with nan on &#x27;helpfulness&#x27;, expected a finite number" in alert(studio)
    assert studio.written is None
    assert drawn(studio).screen.steps.line.text.startswith("✗ failed: step 1 was dropped")


def test_a_prompt_without_room_is_red_and_another_one_is_answered(opened):
    studio = opened()
    studio.start_again()
    studio.screen.own_prompt.value = "word " * 2000
    studio.wait(LONG)
    with pytest.raises(DataError, match=r"prompt 0 has \d+ tokens"):
        studio.next_step()
    assert "tokens" in alert(studio)
    studio.screen.prompt.value = list(studio.screen.prompts)[1]
    assert studio.next_step().step == 1
    assert studio.written.prompt == studio.session.prompts[1]
    assert alert(studio) == ""


def test_a_guide_that_judges_differently_each_time_is_found_out(opened, held):
    signs = {"now": 1.0}

    def fickle(prompt: Any, text: str) -> float:
        return signs["now"] * len(text)

    studio = opened(guide={**GUIDE, "helpfulness": fickle})
    studio.next_step(weights=LONGER)
    kept = studio.written
    held.stopped(studio)
    signs["now"] = -1.0
    with pytest.raises(ModelError, match=r"next_step: step 1, written once more .*, found .*, expected .* as before"):
        studio.next_step()
    assert studio.written == kept
    studio.start_again()
    assert studio.next_step().step == 1


@pytest.mark.parametrize(
    ("guide", "message"),
    [
        (
            {"helpfulness": len, "kindness": len},
            "guide: found the objectives helpfulness, kindness, expected those of the preferences, in any order: "
            "helpfulness, harmlessness. Train the reward model on them, or pass a scorer for each.",
        ),
        ({"helpfulness": len}, "guide: found the objectives helpfulness, expected those"),
        ({"helpfulness": 3}, "guide: found a mapping that is not one of scorers by objective"),
        (7, "guide: found int, expected a reward model, or scorers by objective."),
    ],
)
def test_a_guide_that_does_not_fit_is_refused(parts, tmp_path, guide, message):
    with pytest.raises(ConfigError) as caught:
        Studio(*parts, store=tmp_path / "store", config=CONFIG, guide=guide)
    assert str(caught.value).startswith(message)
    assert studio_threads() == []


def test_unfit_weights_change_nothing(opened):
    studio = opened()
    studio.wait(LONG)
    before = studio.weights
    with pytest.raises(WeightsError, match=r"found the sum 1\.1"):
        studio.next_step(weights=(0.5, 0.6))
    assert (studio.weights, studio.written) == (before, None)
    assert studio.session.worker.idle


def test_without_a_guide_nothing_is_there(opened):
    studio = opened(guide=None)
    studio.wait(LONG)
    assert studio.screen.steps is None
    assert studio.screen.probe.figures == 3
    shown = [child.value for child in studio.screen.box.children if hasattr(child, "value")]
    assert not any("Candidates" in str(value) for value in shown)
    for name, refused in (
        ("next_step", studio.next_step), ("start_again", studio.start_again), ("tree_figure", studio.tree_figure),
        ("written", lambda: studio.written),
    ):  # fmt: skip
        with pytest.raises(
            ConfigError, match=rf"{name}: found a Studio without a guide, expected one that judges the steps. Make"
        ):
            refused()
    studio.close()
    guided = opened()
    assert guided.screen.probe.figures == 4
    with pytest.raises(DataError, match=r"tree_figure: found no text, expected one with a step. Call next_step\(\) first"):
        guided.tree_figure()


# Which policy writes


def test_the_run_that_answers_writes_and_goes_on_when_another_one_answers(opened, parts):
    studio = opened("trained")
    (run,) = studio.runs
    studio.next_step(weights=LONGER)
    words = "Written by raco 0.30/0.70, the run nearest to these weights when the text began."
    assert words in drawn(studio).screen.steps.text.value
    studio.hide(run)  # then the policy before training would answer
    studio.next_step(weights=SHORTER)
    expected = straight(run.load(), studio.session.prompts[0], [LONGER, SHORTER])
    assert studio.written == expected[-1].generations[0]
    studio.start_again()
    studio.next_step(weights=LONGER)
    assert studio.written == straight(parts[0], studio.session.prompts[0], [LONGER])[-1].generations[0]


def test_heads_are_mixed_at_the_weights_of_each_step(opened, headed):
    studio = opened("heads", policy=headed)
    studio.next_step(weights=SHORTER)
    studio.next_step(weights=LONGER)
    policy, prompt = studio.runs[0].load(), studio.session.prompts[0]
    asked = [SHORTER, LONGER]
    expected = straight(policy, prompt, asked, head_weights=lambda step: by_name(asked[min(step, 2) - 1]))
    assert studio.written == expected[-1].generations[0]
    assert studio.written.head_weights == (SHORTER, LONGER)
    html = drawn(studio).screen.steps.text.value
    assert "the newest run when the text began, its heads mixed at each step&#x27;s weights." in html
    studio.wait(LONG)
    assert studio.texts.weights == LONGER  # the other texts follow the sliders
    other = straight(policy, prompt, asked, head_weights=by_name(SHORTER))
    assert other[-1].generations[0] != studio.written  # the planted failure: heads that stay as they were write something else


def plain(run: Any) -> list[Any]:
    return [replace(record, wall_time=None, tokens_per_second=None) for record in run.records]


def test_a_step_is_written_while_a_training_runs_and_changes_nothing_of_it(opened):
    quiet, busy = opened(folder="quiet"), opened(folder="busy")
    whole = quiet.train(weights=BETWEEN, steps=8).result()
    job = busy.train(weights=BETWEEN, steps=8)
    assert until(lambda: steps_done(busy) >= 1 or job.ended)
    for weights in (LONGER, SHORTER):
        busy.next_step(weights=weights)
    run = job.wait(LONG).result()
    assert plain(run) == plain(whole)
    assert run.scores.equals(whole.scores)
    assert len(busy.written.steps) == 2
    assert alert(busy) == ""


def test_a_policy_that_trains_writes_as_it_was_when_the_text_began(opened):
    studio = opened()
    job = studio.train(weights=BETWEEN, steps=MANY)
    assert until(lambda: steps_done(studio) >= 2)
    studio.pause()
    assert until(lambda: job.state == "paused")
    live = studio.session.policies.live.policy
    copy = live.fork()
    at = studio.session.policies.live.records[-1].step
    studio.next_step(weights=LONGER)
    assert f"training, after step {at} when the text began" in drawn(studio).screen.steps.text.value
    studio.resume()
    assert until(lambda: steps_done(studio) > at + 2)
    studio.next_step(weights=SHORTER)
    assert not job.ended
    assert studio.written == straight(copy, studio.session.prompts[0], [LONGER, SHORTER])[-1].generations[0]
    state = copy.trainable_state()
    assert not all(torch.equal(live.trainable_state()[name], value) for name, value in state.items())  # it has moved on
    studio.stop()
    job.wait(LONG)


# The journal


def test_the_journal_writes_the_text_again(opened):
    studio = opened()
    studio.start_again(prompt=studio.session.prompts[3], candidates=4)
    studio.next_step(weights=LONGER)
    studio.next_step(weights=BETWEEN)
    entries = studio.session.journal.entries()
    assert [entry["action"] for entry in entries][-3:] == ["start_again", "next_step", "next_step"]
    other = opened(folder="other")
    exec(script(entries[-3:]), {"studio": other})
    assert [dict(message) for message in studio.written.prompt] == other.written.prompt  # as JSON has it
    assert other.written == studio.written._replace(prompt=other.written.prompt)
    studio.close()
    assert opened().weights == by_name(BETWEEN)  # where the sliders were


def test_the_policy_that_was_given_is_not_changed(opened, parts):
    studio = opened()
    studio.next_step(weights=LONGER)
    studio.next_step(weights=SHORTER)
    assert parts[0].at_base()
