"""What this machine's processor calls itself. Imports: the standard library."""

import platform
from pathlib import Path

__all__ = ["processor"]

_LISTED = Path("/proc/cpuinfo")


def processor() -> str:
    """Return the name of the processor as its maker gives it, such as "AMD EPYC"; of its kind where the system says no more.

    >>> processor() != ""
    True
    """
    if _LISTED.exists():
        for line in _LISTED.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
