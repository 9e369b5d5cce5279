"""Jobs beside the notebook: their order, their stop and pause, what fails in them, and what they answer in between."""

import _thread
import gc
import inspect
import sys
import threading
import weakref
from contextlib import contextmanager
from time import monotonic

import pytest
from support.waits import LONG, until

from paretokit.errors import ConfigError
from paretokit.view.jobs import ENDED, Job, Worker


@contextmanager
def worker(**options):
    made = Worker(name="test-worker", **options)
    try:
        yield made
    finally:
        made.close(timeout=LONG)


@contextmanager
def switching(interval):
    """Let threads take turns this often, in seconds."""
    former = sys.getswitchinterval()
    sys.setswitchinterval(interval)
    try:
        yield
    finally:
        sys.setswitchinterval(former)


def stops(job, *, seconds=LONG) -> bool:
    """Ask a job to stop and return whether it has ended `seconds` later."""
    job.stop()
    return until(lambda: job.ended, seconds=seconds)


def steps(control, *, count=10**9, seen=None, begun=None):
    """A training in the small: a step, then a checkpoint."""
    done = 0
    for step in range(1, count + 1):
        done = step
        if seen is not None:
            seen.append(step)
        if begun is not None:
            begun.set()
        if not control.checkpoint():
            break
    return done


def test_jobs_run_in_the_order_of_asking():
    order, gate = [], threading.Event()
    with worker() as made:
        first = made.submit(lambda control: gate.wait(LONG), label="first")
        later = [made.submit(lambda control, n=number: order.append(n), label=str(number)) for number in range(20)]
        assert made.jobs() == (first, *later)
        gate.set()
        later[-1].wait(LONG)
        assert order == list(range(20))
        assert [job.number for job in later] == list(range(2, 22))
        assert {job.state for job in later} == {"done"}


def test_states_are_told_in_order():
    told, begun, gate = [], threading.Event(), threading.Event()
    with worker(changed=lambda job: told.append(job.state) if job.label == "a" else None) as made:
        made.submit(lambda control: gate.wait(LONG), label="before")  # so that the job does not begin before it is told
        job = made.submit(lambda control: steps(control, begun=begun), label="a")
        gate.set()
        assert begun.wait(LONG)
        job.pause()
        assert until(lambda: job.state == "paused")
        job.resume()
        assert until(lambda: job.state == "running")
        job.stop()
        job.wait(LONG)
    assert told == ["queued", "running", "paused", "running", "stopping", "stopped"]


def test_a_result_and_its_wait():
    with worker() as made:
        job = made.submit(lambda control: 6 * 7, label="multiply")
        assert job.wait(LONG) is job
        assert job.result() == 42
        assert (job.state, job.exception, job.traceback, job.ended) == ("done", None, None, True)


def test_waiting_too_short_says_so():
    gate = threading.Event()
    with worker() as made:
        job = made.submit(lambda control: gate.wait(LONG), label="slow")
        with pytest.raises(TimeoutError, match=r"job 'slow': still (queued|running) after 0.01 s\. Wait longer, or stop it\."):
            job.wait(0.01)
        gate.set()
        assert job.result() is True


@pytest.mark.parametrize("interval", [None, 1e-6])
def test_a_running_job_stops_at_its_next_step_and_keeps_what_it_did(interval):
    seen, begun = [], threading.Event()
    with switching(interval or sys.getswitchinterval()), worker() as made:
        job = made.submit(lambda control: steps(control, seen=seen, begun=begun), label="a")
        assert begun.wait(LONG)
        job.stop()
        done = len(seen)
        assert stops(job)
        assert job.state == "stopped"
        assert job.result() == seen[-1] > 0
        assert len(seen) <= done + 1  # the step that was under way


def test_a_paused_job_stops():
    begun = threading.Event()
    with worker() as made:
        job = made.submit(lambda control: steps(control, begun=begun), label="a")
        assert begun.wait(LONG)
        job.pause()
        assert until(lambda: job.state == "paused")
        assert stops(job)
        assert job.state == "stopped"
        assert not job.paused


def test_a_queued_job_that_was_stopped_never_begins():
    ran, gate = [], threading.Event()
    with worker() as made:
        first = made.submit(lambda control: gate.wait(LONG), label="first")
        second = made.submit(lambda control: ran.append(2), label="second")
        third = made.submit(lambda control: ran.append(3), label="third")
        second.stop()
        assert second.state == "stopping"
        gate.set()
        third.wait(LONG)
        assert (first.state, second.state, third.state) == ("done", "stopped", "done")
        assert second.result() is None
        assert ran == [3]


def test_a_job_that_never_looks_up_does_not_stop():
    """The planted failure: what `stops` must see."""
    gate, begun = threading.Event(), threading.Event()

    def deaf(control):
        begun.set()
        gate.wait(LONG)

    with worker() as made:
        job = made.submit(deaf, label="deaf")
        assert begun.wait(LONG)
        assert not stops(job, seconds=0.3)
        assert job.state == "stopping"
        gate.set()
        assert stops(job)


def test_a_paused_job_rests_and_goes_on_where_it_was():
    seen, begun = [], threading.Event()
    with worker() as made:
        job = made.submit(lambda control: steps(control, seen=seen, begun=begun), label="a")
        assert begun.wait(LONG)
        job.pause()
        assert until(lambda: job.state == "paused")
        rested = len(seen)
        made.ask("look", lambda request: None).wait(LONG)  # the worker is awake, and yet
        assert len(seen) == rested
        job.resume()
        assert until(lambda: len(seen) > rested)
        assert job.state == "running"
        job.stop()
        job.wait(LONG)
        assert seen == list(range(1, len(seen) + 1))


def test_pausing_and_stopping_what_has_ended_changes_nothing():
    told = []
    with worker(changed=lambda job: told.append(job.state)) as made:
        job = made.submit(lambda control: 1, label="a").wait(LONG)
        before = list(told)
        job.pause()
        job.stop()
        job.resume()
        assert (job.state, job.paused, told) == ("done", False, before)


def test_a_request_is_answered_between_two_steps():
    seen, begun = [], threading.Event()
    with worker() as made:
        job = made.submit(lambda control: steps(control, seen=seen, begun=begun), label="a")
        assert begun.wait(LONG)
        request = made.ask("sample", lambda request: (threading.current_thread() is made.thread, len(seen)))
        on_worker, step = request.result(LONG)
        assert on_worker
        assert step >= 1
        assert not job.ended
        assert until(lambda: len(seen) > step)


def test_a_request_is_answered_while_the_job_is_paused():
    begun = threading.Event()
    with worker() as made:
        job = made.submit(lambda control: steps(control, begun=begun), label="a")
        assert begun.wait(LONG)
        job.pause()
        assert until(lambda: job.state == "paused")
        assert made.ask("sample", lambda request: "here").result(LONG) == "here"
        assert job.state == "paused"


def test_a_request_is_answered_between_two_tokens():
    gate, begun = threading.Event(), threading.Event()

    def tokens(control):
        begun.set()
        while not control.token() and not gate.is_set():
            pass
        return control.token()

    with worker() as made:
        job = made.submit(tokens, label="a")
        assert begun.wait(LONG)
        assert made.ask("sample", lambda request: 5).result(LONG) == 5
        assert not job.ended
        gate.set()
        assert job.result() is False


def test_only_the_newest_request_of_a_key_is_answered():
    answered, gate = [], threading.Event()
    with worker() as made:
        made.submit(lambda control: gate.wait(LONG), label="busy")
        asked = [made.ask("sample", lambda request, n=number: answered.append(n) or n) for number in range(10)]
        other = made.ask("front", lambda request: "front")
        gate.set()
        assert asked[-1].result(LONG) == 9
        assert other.result(LONG) == "front"
        assert answered == [9]
        assert [request.superseded for request in asked] == [True] * 9 + [False]
        assert [request.result(LONG) for request in asked[:-1]] == [None] * 9


def test_a_request_learns_that_it_was_superseded_while_it_is_answered():
    begun, noticed = threading.Event(), []

    def slow(request):
        begun.set()
        noticed.append(until(lambda: request.superseded))
        return "old"

    with worker() as made:
        old = made.ask("sample", slow)
        assert begun.wait(LONG)
        new = made.ask("sample", lambda request: "new")
        assert new.result(LONG) == "new"
        assert noticed == [True]
        assert old.superseded
        assert until(lambda: made.idle)


def test_a_request_waits_until_the_asking_has_settled():
    answered = []
    with worker() as made:
        for number in range(5):
            last = made.ask("sample", lambda request, n=number: answered.append((n, monotonic())) or n, after=0.2)
        asked = last.asked
        assert last.result(LONG) == 4
        ((number, at),) = answered
        assert number == 4
        assert at >= asked + 0.2


def test_a_request_that_is_hurried_is_answered_at_once_and_an_unknown_one_is_nothing():
    with worker() as made:
        request = made.ask("text", lambda request: "made", after=600.0)
        made.hurry("front")
        assert not request._ended.wait(0.2)
        made.hurry("text")
        assert request.result(LONG) == "made"
        made.hurry("text")  # answered already


def test_a_later_request_does_not_hold_up_one_that_is_due():
    with worker() as made:
        late = made.ask("late", lambda request: "late", after=600)
        assert made.ask("soon", lambda request: "soon").result(LONG) == "soon"
        assert not late.superseded
        with pytest.raises(TimeoutError, match=r"request 'late': not answered after 0\.01 s"):
            late.result(0.01)
        assert not made.idle


def test_a_request_is_not_answered_inside_another():
    depth = []
    with worker() as made:

        def inner(request):
            depth.append("inner")

        def outer(request):
            depth.append("outer begins")
            made.ask("inner", inner)
            made.answer()
            depth.append("outer ends")

        made.ask("outer", outer).wait(LONG)
        assert until(lambda: made.idle)
        assert depth == ["outer begins", "outer ends", "inner"]


class Large:
    """Something that an exception's frames hold."""


def test_an_exception_is_a_value_and_lets_go_of_its_frames():
    held = []

    def fail(control):
        large = Large()
        held.append(weakref.ref(large))
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("the loss exploded") from error

    with worker() as made:
        job = made.submit(fail, label="a").wait(LONG)
        assert job.state == "failed"
        assert isinstance(job.exception, ValueError)
        assert "the loss exploded" in job.traceback
        assert "KeyError: 'inner'" in job.traceback
        assert "in fail" in job.traceback
        gc.collect()
        assert held[0]() is None
        with pytest.raises(ValueError, match="the loss exploded"):
            job.result()
        assert made.submit(lambda control: "alive", label="b").result() == "alive"


def test_an_exception_after_stop_is_still_a_failure():
    begun = threading.Event()

    def fail(control):
        begun.set()
        until(lambda: control.stopped)
        raise OSError("disk full")

    with worker() as made:
        job = made.submit(fail, label="a")
        assert begun.wait(LONG)
        job.stop()
        job.wait(LONG)
        assert (job.state, str(job.exception)) == ("failed", "disk full")


def test_a_failed_request_is_reported_and_ends_no_job():
    reported, begun = [], threading.Event()
    with worker(failed=lambda key, error: reported.append((key, str(error)))) as made:
        job = made.submit(lambda control: steps(control, begun=begun), label="a")
        assert begun.wait(LONG)

        def fail(request):
            raise ValueError("no such prompt")

        request = made.ask("sample", fail)
        with pytest.raises(ValueError, match="no such prompt"):
            request.result(LONG)
        assert until(lambda: reported == [("sample", "no such prompt")])
        assert made.ask("sample", lambda request: "next").result(LONG) == "next"
        assert job.state == "running"
        assert stops(job)
        assert (job.state, job.exception) == ("stopped", None)


def test_a_request_that_fails_because_it_was_superseded_is_not_reported():
    reported, begun = [], threading.Event()

    def slow(request):
        begun.set()
        until(lambda: request.superseded)
        raise RuntimeError("cut short")

    with worker(failed=lambda key, error: reported.append(key)) as made:
        made.ask("sample", slow)
        assert begun.wait(LONG)
        assert made.ask("sample", lambda request: "new").result(LONG) == "new"
        assert reported == []


@pytest.mark.parametrize("busy", ["idle", "running", "paused", "queued", "asked"])
def test_closing_leaves_no_thread_and_no_one_waiting(busy):
    begun = threading.Event()
    made = Worker(name="test-closing")
    jobs, requests = [], []
    if busy in ("running", "paused", "queued"):
        jobs.append(made.submit(lambda control: steps(control, begun=begun), label="a"))
        assert begun.wait(LONG)
    if busy == "paused":
        jobs[0].pause()
        assert until(lambda: jobs[0].state == "paused")
    if busy == "queued":
        jobs += [made.submit(lambda control: 1, label="b"), made.submit(lambda control: 2, label="c")]
    if busy == "asked":
        requests.append(made.ask("late", lambda request: "late", after=600))
    made.close(timeout=LONG)
    made.close(timeout=LONG)
    assert not made.thread.is_alive()
    assert "test-closing" not in [thread.name for thread in threading.enumerate()]
    assert [job.wait(LONG).state for job in jobs] == ["stopped"] * len(jobs)
    assert [request.result(LONG) for request in requests] == [None] * len(requests)
    with pytest.raises(ConfigError, match=r"job 'd': the Studio is closed\. Make a new one on the same store\."):
        made.submit(lambda control: 3, label="d")
    with pytest.raises(ConfigError, match="request 'e': the Studio is closed"):
        made.ask("e", lambda request: None)


def test_closing_from_its_own_thread_does_not_wait_for_itself():
    made = Worker(name="test-closing-itself")
    job = made.submit(lambda control: made.close(), label="a").wait(LONG)
    assert job.state == "stopped"
    assert until(lambda: not made.thread.is_alive())


def waits(thread_id) -> bool:
    """Whether a thread is inside `Job.wait` by now, and asleep there."""
    frame, called = sys._current_frames()[thread_id], []
    while frame is not None:
        called.append(frame.f_code)
        frame = frame.f_back
    return inspect.unwrap(Job.wait).__code__ in called and threading.Condition.wait.__code__ in called


def test_an_interrupt_while_waiting_stops_the_job_and_is_raised_again():
    waiter = threading.get_ident()

    def interrupting(control):
        asleep = until(lambda: waits(waiter))
        _thread.interrupt_main()
        return asleep, steps(control)

    with worker() as made:
        job = made.submit(interrupting, label="a")
        with pytest.raises(KeyboardInterrupt):
            job.wait(LONG)
        assert job.state == "stopped"
        asleep, done = job.result()
        assert asleep
        assert done >= 1


def test_two_workers_take_turns():
    inside, most, turns = [], [], []
    lock = threading.Lock()

    def training(control, name):
        with lock:
            inside.append(name)
            most.append(len(inside))
        for _ in range(20):
            control.checkpoint()
        with lock:
            inside.remove(name)
            turns.append(name)

    with worker() as first, worker() as second:
        jobs = [made.submit(lambda control, n=name: training(control, n), label=name)
                for _ in range(5) for made, name in ((first, "a"), (second, "b"))]  # fmt: skip
        for job in jobs:
            job.wait(LONG)
        assert {job.state for job in jobs} == {"done"}
        assert max(most) == 1
        assert sorted(turns) == ["a"] * 5 + ["b"] * 5


def test_who_waits_for_its_turn_still_answers_and_stops():
    begun, ran = threading.Event(), []
    with worker() as first, worker() as second:
        running = first.submit(lambda control: steps(control, begun=begun), label="a")
        assert begun.wait(LONG)
        waiting = second.submit(lambda control: ran.append(1), label="b")
        assert second.ask("sample", lambda request: "here").result(LONG) == "here"
        assert waiting.state == "queued"
        assert stops(waiting)
        assert (waiting.state, ran) == ("stopped", [])
        assert stops(running)


@pytest.mark.parametrize("round_", range(3))
def test_under_stress_every_job_ends_and_every_newest_request_is_answered(round_):
    told = {}

    def changed(job):
        told.setdefault(job.number, []).append(job.state)

    with switching(1e-6), worker(changed=changed) as made:
        jobs, requests, errors = [], [], []

        def train(place):
            try:
                for number in range(8):
                    job = made.submit(lambda control: steps(control, count=30), label=f"{place} {number}")
                    jobs.append(job)
                    if number % 3 == round_:
                        job.pause()
                    if number % 4 == 1:
                        job.stop()
                    job.resume()
            except BaseException as error:
                errors.append(error)

        def ask(place):
            try:
                for number in range(60):
                    requests.append(made.ask(f"key {place}", lambda request, n=number: n))
                assert requests
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=target, args=(place,)) for place in range(2) for target in (train, ask)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
        assert errors == []
        for job in jobs:
            job.wait(LONG)
        for request in requests:
            request.wait(LONG)
        assert until(lambda: made.idle)
    assert len(jobs) == 16
    for job in jobs:
        assert job.state in ENDED
        assert job.exception is None
        assert job.state in told[job.number]
        assert len(set(told[job.number]) & set(ENDED)) == 1
        if job.state == "done":
            assert job.result() == 30
    answers = {request.key: request.result(LONG) for request in requests}  # the last of each key
    assert answers == {"key 0": 59, "key 1": 59}
