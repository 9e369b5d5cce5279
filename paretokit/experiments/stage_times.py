"""How long the stages of a study took, all calls together: a study that is interrupted and resumed has several.

Imports: `files`, the standard library; reads the clock.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from paretokit.experiments.files import append_line, read_lines

__all__ = ["seconds_of", "timed"]


@contextmanager
def timed(path: Path, *, study: str, stage: str) -> Iterator[None]:
    """Append to a file how long the block takes, also where it ends with an exception or an interrupt; a kill loses it.

    Raises `StoreError` where the file cannot be written.
    """
    began = perf_counter()
    try:
        yield
    finally:
        append_line(path, {"study": study, "stage": stage, "seconds": perf_counter() - began})


def seconds_of(path: Path, *, study: str) -> dict[str, float]:
    """Return the seconds of each stage of a study, in the order in which they first came; {} where there is no file.

    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / "times.jsonl"
    >>> for stage in ("labels", "labels", "decoding"):
    ...     with timed(place, study="one", stage=stage):
    ...         pass
    >>> list(seconds_of(place, study="one")), seconds_of(place, study="two")
    (['labels', 'decoding'], {})
    """
    total: dict[str, float] = {}
    for line in read_lines(path):
        if line["study"] == study:
            total[line["stage"]] = total.get(line["stage"], 0.0) + line["seconds"]
    return total
