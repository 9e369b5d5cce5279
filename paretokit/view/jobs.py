"""Work beside the notebook: jobs that are queued, paused and stopped, and the one thread of a Studio that does them.

Trainings wait in a queue, first in, first out. Requests (a sample, a front to compute again) have a key, and only the
newest of a key is answered: between two trainings, between two steps of one, and while it is paused. Stopping is
cooperative, so nothing is ever left half done. Nothing here knows torch, plotly or widgets.
Imports: the standard library, `errors`.
"""

import threading
import traceback
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Generic, TypeVar

from paretokit.errors import ConfigError

Result = TypeVar("Result")

ACTIVE = ("queued", "running", "paused", "stopping")
ENDED = ("done", "stopped", "failed")
_TURN = threading.Lock()  # one training at a time in a process: two would fight over the same cores


class Job(Generic[Result]):
    """One piece of work: its state, and in the end its result or its exception. Safe to read from any thread.

    States: queued, running, paused, stopping; then done, stopped (its result is what was there) or failed.

    >>> worker = Worker(name="example")
    >>> worker.submit(lambda control: 6 * 7, label="multiply").wait(10).result()
    42
    >>> worker.close()
    """

    def __init__(self, number: int, label: str, *, changed: Callable[["Job[Any]"], None]) -> None:
        self.number = number  # counted from 1 in its worker
        self.label = label
        self.exception: BaseException | None = None
        self.traceback: str | None = None
        self._result: Result | None = None
        self._changed = changed
        self._lock = threading.RLock()
        self._state = "queued"
        self._ended = threading.Event()
        self._stop = threading.Event()
        self._pause = threading.Event()
        self._wake = lambda: None
        self.keeps: Any = None  # what must live until the job has ended, such as the Studio that does it

    @property
    def state(self) -> str:
        """One of `ACTIVE` or `ENDED`."""
        return self._state

    @property
    def paused(self) -> bool:
        """Whether the job rests, or will after its step."""
        return self._pause.is_set() and not self.ended

    @property
    def ended(self) -> bool:
        """Whether the job is done, stopped or failed."""
        return self._ended.is_set()

    def stop(self) -> None:
        """Ask the job to end at its next step or token; what it has done by then is kept."""
        with self._lock:
            if self.ended or self._stop.is_set():
                return
            self._stop.set()
            self._enter("stopping")
        self._wake()

    def pause(self) -> None:
        """Ask the job to rest at its next step."""
        if not self.ended:
            self._pause.set()

    def resume(self) -> None:
        """Let a paused job go on."""
        self._pause.clear()
        self._wake()

    def wait(self, timeout: float | None = None) -> "Job[Result]":
        """Block until the job has ended, or for `timeout` seconds, and return it.

        Ctrl-C stops the job, waits for its end and is raised again. Raises `TimeoutError` when the time is over.
        """
        until = None if timeout is None else monotonic() + timeout
        try:
            while not self._ended.wait(0.1):
                if until is not None and monotonic() > until:
                    raise TimeoutError(f"job {self.label!r}: still {self.state} after {timeout:g} s. Wait longer, or stop it.")
        except KeyboardInterrupt:
            self.stop()
            self._ended.wait()
            raise
        return self

    def result(self) -> Result:
        """Return what the job made, after waiting for it; raises the exception of a job that failed."""
        self.wait()
        if self.exception is not None:
            raise self.exception
        return self._result  # type: ignore[return-value] # a job that ended without an exception has a result

    def _enter(self, state: str) -> None:
        with self._lock:
            if self._state in ENDED or self._state == state or (self._state == "stopping" and state not in ENDED):
                return
            self._state = state
        self._changed(self)

    def _end(self, state: str, *, result: Any = None, exception: BaseException | None = None) -> None:
        text = None if exception is None else "".join(traceback.format_exception(exception))
        if exception is not None:
            _release(exception)
        with self._lock:  # the state last: whoever sees the end sees the rest
            self._result, self.exception, self.traceback = result, exception, text
            self._state = state
        try:
            self._changed(self)
        finally:
            self._ended.set()
            self.keeps = None


class Control:
    """What the function of a job sees of the outside; it calls `checkpoint` as often as it wants to be heard."""

    def __init__(self, job: Job[Any], worker: "Worker") -> None:
        self.job = job
        self._worker = worker

    @property
    def stopped(self) -> bool:
        """Whether the job was asked to stop."""
        return self.job._stop.is_set()

    def checkpoint(self) -> bool:
        """Answer what is due, rest while the job is paused, and return whether the job should go on."""
        self._worker.answer()
        while self.job._pause.is_set() and not self.stopped:
            self.job._enter("paused")
            self._worker.rest(0.1)
            self._worker.answer()
        if not self.stopped:
            self.job._enter("running")
        return not self.stopped

    def token(self) -> bool:
        """Answer what is due and return whether the job was asked to stop: for work between two tokens."""
        self._worker.answer()
        return self.stopped


class Request(Generic[Result]):
    """One question with a key; a newer one of the same key takes its place, even while it is being answered."""

    def __init__(self, key: str, answer: Callable[["Request[Result]"], Result | None], *, due: float) -> None:
        self.key = key
        self.due = due
        self.asked = monotonic()
        self.exception: BaseException | None = None
        self._answer = answer
        self._value: Result | None = None
        self._superseded = threading.Event()
        self._ended = threading.Event()
        self.keeps: Any = None  # what must live until the request is answered or superseded

    @property
    def ended(self) -> bool:
        """Whether the request is answered or superseded."""
        return self._ended.is_set()

    @property
    def superseded(self) -> bool:
        """Whether a newer request of the key has come: the answer is no longer wanted."""
        return self._superseded.is_set()

    def wait(self, timeout: float | None = None) -> "Request[Result]":
        """Block until the request is answered or superseded, and return it. Raises `TimeoutError` after `timeout` seconds."""
        if not self._ended.wait(timeout):
            raise TimeoutError(f"request {self.key!r}: not answered after {timeout:g} s. Wait longer.")
        return self

    def result(self, timeout: float | None = None) -> Result | None:
        """Return the answer, after waiting for it; None where a newer request took its place. Raises what it raised."""
        self.wait(timeout)
        if self.exception is not None:
            raise self.exception
        return self._value

    def _supersede(self) -> None:
        self._superseded.set()
        self._end()

    def _end(self) -> None:
        self._ended.set()
        self.keeps = None


class Worker:
    """One daemon thread that does jobs in order and answers requests in between; see the module's text.

    `changed(job)` is told every change of a job's state, and `failed(key, exception)` of a request that could not be
    answered; both are called on the thread where it happens, and must return at once.
    """

    def __init__(
        self,
        *,
        name: str,
        changed: Callable[[Job[Any]], None] = lambda job: None,
        failed: Callable[[str, BaseException], None] = lambda key, exception: None,
    ) -> None:
        self._changed, self._failed = changed, failed
        self._jobs: deque[tuple[Job[Any], Callable[[Control], Any]]] = deque()
        self._requests: dict[str, Request[Any]] = {}
        self._news = threading.Condition()
        self._closed = False
        self._count = 0
        self._answering = False
        self.current: Job[Any] | None = None
        self.thread = threading.Thread(target=self._work, name=name, daemon=True)
        self.thread.start()

    def submit(self, function: Callable[[Control], Result], *, label: str) -> Job[Result]:
        """Queue a job and return it; `function(control)` runs on the worker's thread, and its value is the job's result."""
        with self._news:
            if self._closed:
                raise ConfigError(f"job {label!r}: the Studio is closed. Make a new one on the same store.")
            self._count += 1
            job: Job[Result] = Job(self._count, label, changed=self._changed)
            job._wake = self._wake
            self._jobs.append((job, function))
            self._news.notify_all()
        self._changed(job)
        return job

    def ask(self, key: str, answer: Callable[[Request[Result]], Result | None], *, after: float = 0.0) -> Request[Result]:
        """Ask for `answer(request)` on the worker's thread, `after` seconds from now unless the key is asked again."""
        with self._news:
            if self._closed:
                raise ConfigError(f"request {key!r}: the Studio is closed. Make a new one on the same store.")
            former = self._requests.get(key)
            request = Request(key, answer, due=monotonic() + after)
            self._requests[key] = request
            self._news.notify_all()
        if former is not None:
            former._supersede()  # outside the lock, as in `close`: what it kept may close this worker
        return request

    def hurry(self, key: str) -> None:
        """Answer the request of a key, if there is one, without waiting until it is due."""
        with self._news:
            if (request := self._requests.get(key)) is not None:
                request.due = min(request.due, monotonic())
                self._news.notify_all()

    def jobs(self) -> tuple[Job[Any], ...]:
        """Return the job that runs and those that wait, in order."""
        with self._news:
            running = [] if self.current is None else [self.current]
            return (*running, *(job for job, _ in self._jobs))

    @property
    def idle(self) -> bool:
        """Whether nothing runs, waits or is asked."""
        with self._news:
            return self.current is None and not self._jobs and not self._requests

    def answer(self) -> None:
        """Answer the requests that are due, on the calling thread, which is the worker's; never one inside another."""
        if self._answering:
            return
        while (request := self._due()) is not None:
            self._answering = True
            try:
                request._value = request._answer(request)
            except Exception as error:  # a failed answer never ends the training that it interrupted
                request.exception = error
                if not request.superseded:
                    self._failed(request.key, error)
            finally:
                self._answering = False
                with self._news:
                    if self._requests.get(request.key) is request:
                        del self._requests[request.key]
                    self._news.notify_all()
                request._end()

    def rest(self, seconds: float) -> None:
        """Sleep until there is news, at most `seconds`."""
        with self._news:
            if not any(request.due <= monotonic() for request in self._requests.values()):
                self._news.wait(seconds)

    def close(self, *, timeout: float = 10.0) -> None:
        """Stop everything, end the thread and wait for it. Closing twice is harmless."""
        with self._news:
            self._closed = True
            waiting = [job for job, _ in self._jobs]
            self._jobs.clear()
            asked = list(self._requests.values())
            self._requests.clear()
            self._news.notify_all()
            running = self.current
        for request in asked:
            request._supersede()
        for job in waiting:
            job._end("stopped")
        if running is not None:
            running.stop()
        if self.thread is not threading.current_thread():
            self.thread.join(timeout)

    def _due(self) -> Request[Any] | None:
        with self._news:
            found = [r for r in self._requests.values() if r.due <= monotonic() and not self._closed]
            return min(found, key=lambda request: request.due, default=None)

    def _wake(self) -> None:
        with self._news:
            self._news.notify_all()

    def _work(self) -> None:
        while not self._closed:
            self.answer()
            with self._news:
                if self._closed:
                    return
                if not self._jobs:
                    due = min((request.due for request in self._requests.values()), default=None)
                    if due is None or due > monotonic():
                        self._news.wait(None if due is None else due - monotonic())
                    continue
                job, function = self._jobs.popleft()
                self.current = job
            self._do(job, function)
            with self._news:
                self.current = None
                self._news.notify_all()

    def _do(self, job: Job[Any], function: Callable[[Control], Any]) -> None:
        control = Control(job, self)
        while not (turn := _TURN.acquire(timeout=0.1)) and not control.stopped:
            self.answer()
        try:
            if control.stopped:  # before it began
                job._end("stopped")
                return
            job._enter("running")
            result = function(control)
        except Exception as error:
            job._end("failed", exception=error)
        else:
            job._end("stopped" if control.stopped else "done", result=result)
        finally:
            if turn:
                _TURN.release()


def _release(exception: BaseException) -> None:
    """Forget the frames of an exception whose text is kept: after an out-of-memory error they hold the memory."""
    seen: BaseException | None = exception
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__
