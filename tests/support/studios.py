"""What the tests of a Studio wait for and read from it, without a browser."""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from support.view_checks import tags

from paretokit.view.studio import Studio

LONG = 120.0  # seconds: no test waits this long unless it fails


def studio_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("paretokit-")]


def until(condition: Callable[[], Any]) -> bool:
    """Poll until `condition()` is true; False when it took too long."""
    end = monotonic() + LONG
    while not condition():
        if monotonic() > end:
            return False
        threading.Event().wait(0.005)
    return True


def drawn(studio: Studio) -> Studio:
    """Wait until what was published is on the widgets."""
    assert studio._renderer.flush(LONG)
    return studio


def alert(studio: Studio) -> str:
    """The red panel: "" where there is none, else its HTML, checked to be one alert."""
    html = drawn(studio).screen.error.value
    if html:
        assert tags(html)[0] == ("div", {"class": "paretokit-error", "role": "alert"})
    return html


def steps_done(studio: Studio) -> int:
    progress = studio.screen._progress
    return 0 if progress is None or progress.ended else len(progress.records)


def journalled(studio: Studio, action: str) -> list[dict[str, Any]]:
    return [entry for entry in studio.session.journal.entries() if entry["action"] == action]


def points_on_screen(studio: Studio) -> int:
    """Points of the live front, as its figure holds them."""
    return sum(len(studio.screen.front.data[trace].x or ()) for trace in (2, 3))
