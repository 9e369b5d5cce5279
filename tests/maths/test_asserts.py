"""The shared assertions can fail."""

import pytest
import torch
from support.maths_asserts import assert_close, assert_on_simplex, assert_pure


@pytest.mark.parametrize("bad", [[0.5, 0.6], [1.5, -0.5], [float("nan"), 1.0], [0.5, 0.5 - 1e-9]])
def test_simplex_assertion_rejects(bad):
    with pytest.raises(AssertionError):
        assert_on_simplex(torch.tensor(bad, dtype=torch.float64))


def test_simplex_assertion_accepts_a_vertex():
    assert_on_simplex(torch.tensor([0.0, 1.0], dtype=torch.float64))


@pytest.mark.parametrize("bad", [[1.0, 2.1], [1.0], [1.0, float("nan")]])
def test_close_assertion_rejects(bad):
    with pytest.raises(AssertionError):
        assert_close(bad, [1.0, 2.0], tolerance=0.01)


def _writes(tensor):
    tensor += 1


def _writes_the_same(tensor):
    tensor.copy_(tensor.clone())


def _writes_through_data(tensor):
    tensor.data.numpy()[0] = 7.0


def _reorders(items):
    items.reverse()


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (_writes, torch.zeros(2)),
        (_writes_the_same, torch.zeros(2)),
        (_writes_through_data, torch.zeros(2)),
        (_reorders, [1, 2]),
        (lambda rows: rows[0].zero_(), [torch.ones(2)]),
        (lambda named: named.update(a=2), {"a": 1}),
    ],
)
def test_pure_assertion_rejects(function, argument):
    with pytest.raises(AssertionError):
        assert_pure(function, argument)
