"""The input panels: weights that sum to one whatever is moved, and buttons that call what they should once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretokit.maths.simplex import move, resolve
from paretokit.view.panels import ControlPanel, WeightPanel

NAMES = ("quality", "conciseness", "faithfulness", "kindness")


def panel(weights, changed=lambda weights: None) -> WeightPanel:
    return WeightPanel(NAMES[: len(weights)], tuple(weights), changed=changed)


def assert_shows(made: WeightPanel) -> None:
    """Sliders and numbers show the weights, which are weights."""
    assert resolve(made.weights, made.objectives) == made.weights
    assert [slider.value for slider in made.sliders] == pytest.approx(made.weights, abs=0.0051)
    assert [number.value for number in made.numbers] == pytest.approx(made.weights, abs=0.00051)


def test_what_does_not_sum_to_one_is_seen():
    made = panel((0.5, 0.5))
    made.weights = (0.5, 0.6)
    with pytest.raises(ValueError, match=r"found the sum 1\.1"):
        assert_shows(made)


moves = st.lists(
    st.one_of(
        st.tuples(st.just("slider"), st.integers(0, 3), st.integers(0, 100).map(lambda percent: percent / 100)),
        st.tuples(st.just("number"), st.integers(0, 3), st.floats(0, 1)),
        st.tuples(st.just("lock"), st.integers(0, 3), st.booleans()),
    ),
    max_size=12,
)


@settings(max_examples=60)
@given(st.integers(1, 4), moves)
def test_whatever_is_moved_the_weights_sum_to_one_and_the_locked_stay(count, given_moves):
    told = []
    made = panel([1 / count] * count, told.append)
    for kind, index, value in given_moves:
        index %= count
        before, calls = made.weights, len(told)
        locked = [lock.value for lock in made.locks]
        getattr(made, f"{kind}s")[index].value = value
        assert_shows(made)
        if kind == "lock":
            assert made.weights == before
            assert len(told) == calls
            continue
        assert len(told) - calls in (0, 1)
        assert [made.weights[i] for i in range(count) if locked[i] and i != index] == [
            before[i] for i in range(count) if locked[i] and i != index
        ]
        assert not told or told[-1] == made.weights


def test_moving_one_rescales_the_others():
    told = []
    made = panel((0.5, 0.3, 0.2), told.append)
    made.sliders[0].value = 0.0
    assert told == [pytest.approx((0.0, 0.6, 0.4))]
    made.numbers[1].value = 0.3
    assert told[1:] == [pytest.approx((0.0, 0.3, 0.7))]  # the first has no share of what is left
    assert_shows(made)


def test_a_locked_weight_stays_and_limits_the_others():
    told = []
    made = panel((0.5, 0.3, 0.2), told.append)
    made.locks[1].value = True
    assert made.locks[1].icon == "lock"
    made.sliders[0].value = 1.0
    assert told == [pytest.approx((0.7, 0.3, 0.0))]
    assert made.sliders[0].value == pytest.approx(0.7)  # it jumps back to what is possible
    made.locks[1].value = False
    assert made.locks[1].icon == "unlock"
    made.sliders[0].value = 1.0
    assert made.weights == (1.0, 0.0, 0.0)


def test_where_all_others_are_locked_the_slider_jumps_back():
    made = panel((0.5, 0.5))
    made.locks[1].value = True
    made.sliders[0].value = 0.9
    assert made.weights == (0.5, 0.5)
    assert_shows(made)


def test_two_objectives_mirror_each_other():
    made = panel((0.3, 0.7))
    made.sliders[1].value = 0.25
    assert made.weights == (0.75, 0.25)
    assert_shows(made)


def test_what_the_browser_rounds_and_sends_back_changes_nothing():
    """ipywidgets sends every value back, and the page shows a third as 0.33."""
    told = []
    made = panel((1 / 3, 1 / 3, 1 / 3), told.append)
    for slider, number in zip(made.sliders, made.numbers, strict=True):
        slider.value = 0.33
        number.value = 0.333
    assert told == []
    assert made.weights == (1 / 3, 1 / 3, 1 / 3)
    made.sliders[0].value = 0.34  # a step of the slider is no echo
    assert len(told) == 1
    assert made.weights[0] == 0.34


@settings(max_examples=60)
@given(st.lists(st.integers(0, 20), min_size=2, max_size=4).filter(any))
def test_no_echo_of_any_weights_changes_them(numbers):
    told = []
    weights = tuple(number / sum(numbers) for number in numbers)
    made = panel(weights, told.append)
    for index, weight in enumerate(weights):
        made.sliders[index].value = round(weight, 2)
        made.numbers[index].value = round(weight, 3)
    assert told == []
    assert made.weights == weights


def echoes(told: list[float], step: float = 0.01) -> list[float]:
    """What the browser's slider sends back of the values that it is told: those that it had to round, late."""
    return [round(round(value / step) * step, 7) for value in told if value != round(round(value / step) * step, 7)]


def heard(slider) -> list[float]:
    found = [slider.value]
    slider.observe(lambda change: found.append(change["new"]), "value")
    return found


@settings(max_examples=60)
@given(st.lists(st.integers(0, 20), min_size=2, max_size=4).filter(any), moves)
def test_the_browser_sends_nothing_back_of_what_it_is_told(numbers, given_moves):
    """An echo that is late would undo newer moves, whose own echoes undo it: for ever, in a browser that was watched."""
    made = panel([number / sum(numbers) for number in numbers])
    told = [heard(slider) for slider in made.sliders]
    for kind, index, value in given_moves:
        index %= len(numbers)
        if kind == "number":
            made.numbers[index].value = value
        elif kind == "slider":
            made.set(move(made.weights, index, value / 3))
    assert [echoes(values) for values in told] == [[]] * len(numbers)


def test_an_echo_of_a_slider_told_more_than_it_can_show_is_seen():
    assert echoes([0.5, 1 / 3, 0.57]) == [0.33]


def test_setting_weights_shows_them_and_calls_nobody():
    told = []
    made = panel((0.5, 0.3, 0.2), told.append)
    made.set((0.1, 0.2, 0.7))
    assert told == []
    assert made.weights == (0.1, 0.2, 0.7)
    assert_shows(made)


def test_a_listener_that_raises_leaves_the_panel_usable():
    made = panel((0.5, 0.5), lambda weights: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made.sliders[0].value = 0.25
    assert_shows(made)
    with pytest.raises(ZeroDivisionError):
        made.sliders[0].value = 0.75
    assert made.weights == (0.75, 0.25)
    assert_shows(made)


def test_every_control_has_a_name_that_can_be_read_out():
    controls, _ = control_panel()
    weights = panel((0.5, 0.3, 0.2))
    for widget in (*weights.sliders, *weights.numbers, *weights.locks):
        assert widget.tooltip
    for widget in (controls.method, controls.steps, controls.seed, controls.train, controls.pause, controls.stop):
        assert widget.tooltip
        assert widget.description


# Controls


def control_panel(methods=("linear", "raco")):
    called = []
    controls = ControlPanel(
        methods=methods, steps=30, seed=7, train=lambda: called.append("train"), pause=lambda: called.append("pause"),
        stop=lambda: called.append("stop"),
    )  # fmt: skip
    return controls, called


def test_buttons_call_what_they_say_once():
    controls, called = control_panel()
    for button in (controls.train, controls.pause, controls.stop):
        button.click()
    assert called == ["train", "pause", "stop"]
    assert [button.description for button in (controls.train, controls.pause, controls.stop)] == ["Train", "Pause", "Stop"]


def test_settings_are_what_is_shown():
    controls, _ = control_panel()
    assert controls.settings == {"method": "raco", "steps": 30, "seed": 7}
    controls.method.value, controls.steps.value, controls.seed.value = "linear", 5, 0
    assert controls.settings == {"method": "linear", "steps": 5, "seed": 0}
    controls.steps.value = -3
    assert controls.settings["steps"] == 1


def test_without_raco_the_first_method_is_chosen():
    controls, _ = control_panel(methods=("linear", "mgda"))
    assert controls.settings["method"] == "linear"
