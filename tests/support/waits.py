"""What tests wait for, in one place. A wait ends when it has what it waits for; its bound is what only a hang reaches.

No test may depend on the clock of a loaded machine: nothing here asserts that something was quick (`paretokit bench`
measures that). What must not happen is looked for a moment only, which a loaded machine can make pass, never fail.
"""

import os
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

LONG = 900.0  # seconds: no wait is this long unless it fails; below the limit of pytest-timeout, so that it says what it missed


def until(condition: Callable[[], Any], *, seconds: float = LONG) -> bool:
    """Poll until `condition()` is true, and return whether it became so within `seconds`."""
    end = monotonic() + seconds
    while not condition():
        if monotonic() > end:
            return False
        threading.Event().wait(0.005)
    return True


def processor_seconds_of_children() -> float:
    """Processor time of the child processes of this one that have ended, theirs included: unlike the clock, it hardly
    depends on what else the machine computes."""
    found = os.times()
    return found.children_user + found.children_system
