"""Where the files that ship with paretokit lie: `paretokit/_data` in an installed wheel, `data/` in a checkout; notebooks
in `paretokit/_notebooks` and `notebooks/`.

An editable install does not see the wheel's folder, hence the two places. Imports: the standard library and `errors`.
"""

from pathlib import Path

from paretokit.errors import ModelError

_PACKAGE = Path(__file__).parent
_PLACES = (_PACKAGE / "_data", _PACKAGE.parent / "data")
_NOTEBOOKS = (_PACKAGE / "_notebooks", _PACKAGE.parent / "notebooks")


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


def notebooks() -> list[Path]:
    """Return the paths of the shipped notebooks, in order.

    Raises `ModelError`, naming both places that were searched, where neither has one.

    >>> notebooks()[0].name
    '00_tour.ipynb'
    """
    for place in _NOTEBOOKS:
        if found := sorted(place.glob("*.ipynb")):
            return found
    raise ModelError(
        f"shipped notebooks: found none in {_NOTEBOOKS[0]} (installed wheel) and none in {_NOTEBOOKS[1]} (checkout). "
        "Install paretokit from its wheel, or run from a complete checkout."
    )
