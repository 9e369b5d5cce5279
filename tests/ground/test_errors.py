"""`errors`: one family, each also the built-in that a user would catch; near names are suggested."""

import pytest

from paretokit import errors


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.DataError, ValueError),
        (errors.WeightsError, ValueError),
        (errors.ConfigError, ValueError),
        (errors.ShapeError, ValueError),
        (errors.NonFiniteError, ArithmeticError),
        (errors.MemoryLimitError, MemoryError),
        (errors.ModelError, RuntimeError),
        (errors.StoreError, OSError),
        (errors.DependencyError, ImportError),
    ],
)
def test_each_is_of_the_family_and_a_builtin(kind, builtin):
    assert issubclass(kind, errors.ParetokitError)
    assert issubclass(kind, builtin)
    assert str(kind("one line")) == "one line"


def test_the_table_above_is_complete():
    family = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert len(family - {errors.ParetokitError}) == 9


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("harmles", ["harmless", "concise"], " Did you mean 'harmless'?"),
        ("zzz", ["harmless", "concise"], ""),
        ("x", [], ""),
    ],
)
def test_suggestion(name, known, expected):
    assert errors.suggestion(name, iter(known)) == expected
