"""Named properties of vectors, mixtures and pure functions; `tests/maths/test_asserts.py` shows that each can fail."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor


def assert_on_simplex(mixture: Tensor, *, tolerance: float = 1e-12) -> None:
    """Finite, non-negative, sums to one."""
    assert bool(mixture.isfinite().all()), f"not finite: {mixture.tolist()}"
    assert float(mixture.min()) >= 0, f"negative: {mixture.tolist()}"
    assert abs(float(mixture.sum()) - 1) <= tolerance, f"sums to {float(mixture.sum())!r}"


def assert_close(found: Any, expected: Any, *, tolerance: float) -> None:
    """Equal within an absolute tolerance, entry by entry, and of equal shape."""
    left, right = (torch.as_tensor(value, dtype=torch.float64) for value in (found, expected))
    assert left.shape == right.shape, f"shape {tuple(left.shape)}, expected {tuple(right.shape)}"
    difference = float((left - right).abs().max()) if left.numel() else 0.0
    assert difference <= tolerance, f"{left.tolist()} differs from {right.tolist()} by {difference:.3g} > {tolerance:.3g}"


def assert_pure(function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """The call leaves every argument as it was, value and version counter; generators may advance."""
    given = [*args, *kwargs.values()]
    before = deepcopy(given)
    versions = [tensor._version for tensor in _tensors(given)]
    function(*args, **kwargs)
    assert [tensor._version for tensor in _tensors(given)] == versions, f"{function.__name__} wrote into an argument"
    assert all(map(_equal, given, before)), f"{function.__name__} changed an argument"


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        return _tensors(list(value.values()))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [tensor for item in value for tensor in _tensors(item)]
    return []


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, Tensor):
        return left.shape == right.shape and bool(((left == right) | (left.isnan() & right.isnan())).all())
    if isinstance(left, torch.Generator):
        return True
    if isinstance(left, Mapping):
        return list(left) == list(right) and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, Sequence) and not isinstance(left, str):
        return len(left) == len(right) and all(map(_equal, left, right))
    return left == right
