"""What this machine's processor calls itself. Imports: the standard library."""

import platform
from functools import cache
from pathlib import Path

__all__ = ["processor"]

_LISTED = Path("/proc/cpuinfo")


def processor() -> str:
    """Return the name of the processor as its maker gives it, such as "AMD EPYC"; of its kind where the system says no more.

    >>> processor() != ""
    True
    """
    return _named(_LISTED) or platform.processor() or platform.machine()


@cache
def _named(listed: Path) -> str:
    """The name in the system's list, which is read once: it is asked for at every decoded token."""
    if listed.exists():
        for line in listed.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return ""
