"""Where the files that ship with paretokit lie: `paretokit/_data` in an installed wheel, `data/` in a checkout.

An editable install does not see the wheel's folder, hence the two places. Imports: the standard library and `errors`.
"""

from pathlib import Path

from paretokit.errors import ModelError

_PLACES = (Path(__file__).parent / "_data", Path(__file__).parent.parent / "data")


def data_path(name: str) -> Path:
    """Return the path of a shipped file or folder, such as `"tiny"`.

    Raises `ModelError`, naming both places that were searched, where neither has it.

    >>> data_path("tiny").name
    'tiny'
    """
    for place in _PLACES:
        if (place / name).exists():
            return place / name
    raise ModelError(
        f"shipped data {name!r}: found neither {_PLACES[0] / name} (installed wheel) nor {_PLACES[1] / name} (checkout). "
        "Install paretokit from its wheel, or run from a complete checkout."
    )
