"""From the worker to the screen: the newest event of each key, drawn by one thread, at most five times a second.

However fast a worker reports, the page gets a bounded number of messages and sees the newest state. Four of the five
are for what goes on by itself; one is kept for what a person waits for, which is then drawn at once. A page that tells
what it has shown gets no more than it can show: on a slow one, messages would queue up and everything be late. One
thread writes all outputs, so nothing is written by two at once. Imports: the standard library.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

PAUSE = 0.25  # seconds between two drawings, `MOST` of them in any four pauses: the page must never fall behind
MOST = 5
PATIENCE = 2.0  # seconds to wait for a page that does not tell any more: it was closed


class Renderer:
    """A bus with its reader: `put` from any thread; `draw(events)` is called on one daemon thread of its own.

    `failed(exception)` is told what `draw` raised; the thread goes on. Without `draw` there is no thread until `begin`, and
    what is put before waits for it.

    >>> drawn = []
    >>> renderer = Renderer(drawn.append, name="example")
    >>> renderer.put("step", 1)
    >>> renderer.flush(10)
    True
    >>> renderer.close()
    >>> drawn
    [{'step': 1}]
    """

    def __init__(
        self,
        draw: Callable[[Mapping[str, Any]], None] | None = None,
        *,
        name: str,
        pause: float = PAUSE,
        failed: Callable[[Exception], None] = lambda exception: None,
    ) -> None:
        self._pause = pause
        self._events: dict[str, Any] = {}
        self._soon = False
        self._began: deque[float] = deque(maxlen=MOST)
        self._tells = False  # whether the page tells what it has shown
        self._shown = True  # whether it has shown what was drawn last
        self._news = threading.Condition()
        self._drawing = False
        self._hurry = False
        self._closed = False
        self.thread = threading.Thread(target=self._work, name=name, daemon=True)
        if draw is not None:
            self.begin(draw, failed=failed)

    def begin(
        self, draw: Callable[[Mapping[str, Any]], None], *, failed: Callable[[Exception], None] = lambda exception: None
    ) -> None:
        """Start to draw with `draw`; once."""
        self._draw, self._failed = draw, failed
        self.thread.start()

    def put(self, key: str, value: Any, *, soon: bool = False) -> None:
        """Leave an event; it replaces an older one of the same key that was not drawn yet. Returns at once.

        With `soon` it does not wait for the pause, unless the drawings of the last four pauses were too many. A closed
        renderer takes nothing.
        """
        with self._news:
            if self._closed:
                return
            self._events[key] = value
            self._soon |= soon
            self._news.notify_all()

    def shown(self) -> None:
        """The page has shown what was drawn last."""
        with self._news:
            self._tells = self._shown = True
            self._news.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until everything is drawn; return False when the time is over first, or on the drawing thread itself."""
        if threading.current_thread() is self.thread:
            return False
        until = monotonic() + timeout
        with self._news:
            self._hurry = True
            self._news.notify_all()
            while (self._events or self._drawing) and not self._closed:
                if not self._news.wait(until - monotonic()):
                    return False
        return True

    def close(self, *, timeout: float = 10.0) -> None:
        """Draw what is left, end the thread and wait for it. Closing twice is harmless."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        if self.thread.is_alive() and self.thread is not threading.current_thread():
            self.thread.join(timeout)

    def _left(self) -> float | None:
        """Seconds until the next drawing is due; None where there is nothing to draw. Under the lock."""
        if not self._events:
            return None
        if not self._began or self._closed or self._hurry:
            return 0.0
        due = self._began[-1] + (0.0 if self._soon else self._pause)
        if len(self._began) == MOST:
            due = max(due, self._began[0] + (MOST - 1) * self._pause)
        if self._tells and not self._shown:
            due = max(due, self._began[-1] + PATIENCE)
        return max(due - monotonic(), 0.0)

    def _work(self) -> None:
        while True:
            with self._news:
                while (left := self._left()) != 0.0 and not (self._closed and left is None):
                    if left is None:
                        self._hurry = False
                    self._news.wait(left)
                if not self._events:
                    return
                events, self._events, self._soon = self._events, {}, False
                self._drawing = True
                self._tells &= self._shown
                self._shown = False
                self._began.append(monotonic())
            try:
                self._draw(events)
            except Exception as error:  # a drawing that fails must not end all drawing
                self._failed(error)
            with self._news:
                self._drawing = False
                self._news.notify_all()
