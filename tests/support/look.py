"""Where `tests/browser/test_look.py` leaves what is said at the end of the run."""

import pytest

LOOK = pytest.StashKey[list[str]]()
