"""What the tests of a Studio wait for and read from it, without a browser."""

import threading
from typing import Any

from support.view_checks import tags
from support.waits import LONG

from paretokit.view.studio import Studio


def studio_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("paretokit-")]


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
