"""From the worker to the screen: the newest event of each key, drawn by one thread, at most five times a second.

However fast a worker reports, the page gets a bounded number of messages and sees the newest state. One thread writes
all outputs, so nothing is written by two at once. Imports: the standard library.
"""

import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

PAUSE = 0.2  # seconds between two drawings: the page must never fall behind


class Renderer:
    """A bus with its reader: `put` from any thread; `draw(events)` is called on one daemon thread of its own.

    `failed(exception)` is told what `draw` raised; the thread goes on.

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
        draw: Callable[[Mapping[str, Any]], None],
        *,
        name: str,
        pause: float = PAUSE,
        failed: Callable[[Exception], None] = lambda exception: None,
    ) -> None:
        self._draw, self._pause, self._failed = draw, pause, failed
        self._events: dict[str, Any] = {}
        self._news = threading.Condition()
        self._drawing = False
        self._hurry = False
        self._closed = False
        self.thread = threading.Thread(target=self._work, name=name, daemon=True)
        self.thread.start()

    def put(self, key: str, value: Any) -> None:
        """Leave an event; it replaces an older one of the same key that was not drawn yet. Returns at once."""
        with self._news:
            self._events[key] = value
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
        if self.thread is not threading.current_thread():
            self.thread.join(timeout)

    def _work(self) -> None:
        while True:
            with self._news:
                while not self._events and not self._closed:
                    self._hurry = False
                    self._news.wait()
                if not self._events:
                    return
                events, self._events = self._events, {}
                self._drawing = True
            began = monotonic()
            try:
                self._draw(events)
            except Exception as error:  # a drawing that fails must not end all drawing
                self._failed(error)
            with self._news:
                self._drawing = False
                self._news.notify_all()
                while not self._closed and not self._hurry and (left := began + self._pause - monotonic()) > 0:
                    self._news.wait(left)
