"""The way to the screen: nothing old is drawn after something new, not too often, and never nothing for ever."""

import sys
import threading
from contextlib import contextmanager
from time import monotonic

import pytest
from support.waits import LONG, until

from paretokit.view import bus
from paretokit.view.bus import MOST, PAUSE, Renderer


@contextmanager
def renderer(draw, **options):
    made = Renderer(draw, name="test-render", **options)
    try:
        yield made
    finally:
        made.close(timeout=LONG)


class Gate:
    """A `draw` that notes what it gets, and holds in its first drawing until it is opened."""

    def __init__(self):
        self.drawn, self.entered, self.open = [], threading.Event(), threading.Event()

    def __call__(self, events):
        self.drawn.append(dict(events))
        self.entered.set()
        self.open.wait(LONG)


def wait_until(condition):
    assert until(condition), "it never came"


def assert_at_most(draws, *, seconds, pause):
    """One drawing at once, then one for each pause; one more may be under way."""
    assert draws <= seconds / pause + 2, f"{draws} drawings in {seconds:.2f} s, one each {pause} s is allowed"


def test_five_drawings_a_second_are_what_a_page_can_take():
    assert MOST == 5
    assert (MOST - 1) * PAUSE >= 1.0


def test_what_a_person_waits_for_is_drawn_at_once_and_takes_the_rest_along():
    drawn = []
    with renderer(drawn.append, pause=600) as made:
        made.put("step", 1)
        wait_until(lambda: drawn == [{"step": 1}])
        made.put("step", 2)
        threading.Event().wait(0.05)
        assert drawn == [{"step": 1}]  # in its turn
        made.put("texts", "a", soon=True)
        wait_until(lambda: drawn == [{"step": 1}, {"step": 2, "texts": "a"}])


def test_hurry_has_a_limit_too():
    times = []  # as the renderer has them: a thread that waits for a core notes its own too late
    with renderer(lambda events: times.append(made._began[-1]), pause=0.1) as made:
        for number in range(150):
            made.put("texts", number, soon=True)
            threading.Event().wait(0.01)
    assert len(times) > MOST
    assert_in_any_four_pauses(times[:-1], pause=0.1)  # the last one may be that of the end


def assert_in_any_four_pauses(times, *, pause):
    for earlier, later in zip(times, times[MOST:], strict=False):
        assert later - earlier >= (MOST - 1) * pause - 0.02, f"{MOST + 1} drawings within {later - earlier:.2f} s"


def test_six_drawings_in_four_pauses_are_seen():
    """The planted failure."""
    with pytest.raises(AssertionError, match=r"6 drawings within 0\.25 s"):
        assert_in_any_four_pauses([0.0, 0.05, 0.1, 0.15, 0.2, 0.25], pause=0.1)


def test_the_newest_of_each_key_is_drawn_and_nothing_older():
    gate = Gate()
    with renderer(gate) as made:
        made.put("first", 0)
        assert gate.entered.wait(LONG)
        for number in range(100):
            made.put("step", number)
            made.put("front", -number)
        gate.open.set()
        assert made.flush(LONG)
        assert gate.drawn == [{"first": 0}, {"step": 99, "front": -99}]


@pytest.mark.parametrize("interval", [None, 1e-6])
def test_many_events_are_few_drawings(interval):
    former = sys.getswitchinterval()
    drawn, pause = [], 0.05
    if interval is not None:
        sys.setswitchinterval(interval)
    try:
        began = monotonic()
        with renderer(drawn.append, pause=pause) as made:
            for number in range(500):
                made.put("step", number)
                threading.Event().wait(0.001)
            seconds = monotonic() - began
            assert_at_most(len(drawn), seconds=seconds, pause=pause)
            assert len(drawn) >= 2  # and yet it was seen to go on
            assert made.flush(LONG)
    finally:
        sys.setswitchinterval(former)
    assert drawn[-1] == {"step": 499}
    assert [events["step"] for events in drawn] == sorted({events["step"] for events in drawn})


def test_a_drawing_for_each_event_is_too_many():
    """The planted failure: what a renderer without a pause would do."""
    with pytest.raises(AssertionError, match="500 drawings in"):
        assert_at_most(500, seconds=1.0, pause=0.05)


def test_events_from_many_threads_all_arrive():
    seen = {}
    with renderer(seen.update, pause=0.001) as made:

        def put(place):
            for number in range(200):
                made.put(f"key {place}", number)

        threads = [threading.Thread(target=put, args=(place,)) for place in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
        assert made.flush(LONG)
    assert seen == {f"key {place}": 199 for place in range(4)}


def test_a_page_that_tells_gets_nothing_more_before_it_has_shown_the_last():
    drawn = []
    with renderer(drawn.append, pause=0.001) as made:
        made.put("step", 1)
        wait_until(lambda: len(drawn) == 1)
        made.shown()
        made.put("step", 2)
        wait_until(lambda: len(drawn) == 2)
        for number in (3, 4):
            made.put("step", number, soon=True)
        threading.Event().wait(0.1)
        assert len(drawn) == 2  # the page is slow
        made.shown()
        wait_until(lambda: drawn[2:] == [{"step": 4}])


def test_a_page_that_does_not_tell_any_more_is_not_waited_for_twice(monkeypatch):
    monkeypatch.setattr(bus, "PATIENCE", 0.3)
    drawn = []
    with renderer(lambda events: drawn.append(made._began[-1]), pause=0.001) as made:
        made.shown()
        for number in range(2):
            made.put("step", number)
            wait_until(lambda wanted=number + 1: len(drawn) == wanted)
        monkeypatch.setattr(bus, "PATIENCE", 10 * LONG)  # a wait for the page would never end
        for number in range(2, 4):
            made.put("step", number)
            wait_until(lambda wanted=number + 1: len(drawn) == wanted)
    assert drawn[1] - drawn[0] >= 0.29


def test_flush_waits_for_the_drawing_and_says_when_it_took_too_long():
    gate = Gate()
    with renderer(gate) as made:
        made.put("step", 1)
        assert gate.entered.wait(LONG)
        assert not made.flush(0.01)
        gate.open.set()
        assert made.flush(LONG)
        assert made.flush(0.0)  # nothing is left


def test_flush_does_not_wait_out_the_pause():
    drawn = []
    with renderer(drawn.append, pause=600) as made:
        made.put("step", 1)
        assert made.flush(LONG)
        made.put("step", 2)
        assert made.flush(LONG)
        assert drawn == [{"step": 1}, {"step": 2}]


def test_flush_on_the_drawing_thread_does_not_wait_for_itself():
    answers = []
    with renderer(lambda events: answers.append(made.flush(LONG))) as made:
        made.put("step", 1)
        assert made.flush(LONG)
        assert answers == [False]


def test_a_drawing_that_fails_is_reported_and_drawing_goes_on():
    drawn, reported = [], []

    def draw(events):
        if events.get("step") == 1:
            raise ValueError("no such trace")
        drawn.append(events)

    with renderer(draw, failed=reported.append, pause=0.001) as made:
        made.put("step", 1)
        assert made.flush(LONG)
        made.put("step", 2)
        assert made.flush(LONG)
        assert [str(error) for error in reported] == ["no such trace"]
        assert drawn == [{"step": 2}]


def test_all_drawings_are_on_one_thread_of_its_own():
    threads = set()
    with renderer(lambda events: threads.add(threading.current_thread()), pause=0.001) as made:
        for number in range(5):
            made.put("step", number)
            assert made.flush(LONG)
        assert threads == {made.thread}
        assert made.thread.daemon


def test_closing_draws_what_is_left_and_leaves_no_thread():
    drawn = []
    made = Renderer(drawn.append, name="test-closing-render", pause=600)
    made.put("step", 1)
    assert made.flush(LONG)
    made.put("step", 2)
    made.close(timeout=LONG)
    made.close(timeout=LONG)
    assert not made.thread.is_alive()
    assert "test-closing-render" not in [thread.name for thread in threading.enumerate()]
    assert drawn == [{"step": 1}, {"step": 2}]


def test_what_is_put_after_closing_is_not_waited_for():
    made = Renderer(lambda events: None, name="test-closed")
    made.close(timeout=LONG)
    made.put("step", 1)
    assert made.flush(LONG)
