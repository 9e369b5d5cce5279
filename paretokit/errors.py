"""What can go wrong, as exceptions whose one-line message names the place, what was found, what was expected and the remedy.

Everything paretokit raises on purpose derives from `ParetokitError`, so the shell can print the line without a traceback.
Each class also derives from the built-in that a Python user would catch. Imports: the standard library only.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class ParetokitError(Exception):
    """The common ancestor; the message is complete on one line."""


class DataError(ParetokitError, ValueError):
    """A record, file or text that cannot be used; names file, line and field where there is one."""


class WeightsError(ParetokitError, ValueError):
    """Objective weights that are not on the simplex, or do not match the objectives."""


class ConfigError(ParetokitError, ValueError):
    """An option out of range, unknown, or in conflict with another."""


class ShapeError(ParetokitError, ValueError):
    """A tensor whose shape does not fit."""


class NonFiniteError(ParetokitError, ArithmeticError):
    """NaN or infinity where a number was expected; names the objective or row, and the step where there is one."""


class MemoryLimitError(ParetokitError, MemoryError):
    """Too little memory for what was asked; names a setting that needs less."""


class ModelError(ParetokitError, RuntimeError):
    """A model or tokenizer that is missing, damaged, or unfit for what was asked."""


class StoreError(ParetokitError, OSError):
    """A run folder that cannot be read or written."""


class DependencyError(ParetokitError, ImportError):
    """An optional package that is not installed; the message holds the install command."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest known name, or "" where nothing is near.

    >>> suggestion("rako", ["raco", "linear"])
    " Did you mean 'raco'?"
    >>> suggestion("zzz", ["raco", "linear"])
    ''
    """
    near = get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""
