"""Reading a scalar from a tensor waits for its device; finding the coefficients does so nowhere."""

import pytest
import torch
from support.maths_samplers import jacobian, preference
from torch.utils._python_dispatch import TorchDispatchMode

from paretokit.maths.raco import cagrad_coefficients, coefficients, dual


class ScalarReads(TorchDispatchMode):
    """Counts what float(tensor), bool(tensor) and .item() come down to."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("function", [coefficients, cagrad_coefficients, dual])
@pytest.mark.parametrize("m", [1, 2, 8])
@pytest.mark.parametrize("kind", ["conflict", "kink on an edge", "equal rows"])
def test_no_scalar_is_read_from_a_tensor(function, m, kind):
    generator = torch.Generator().manual_seed(m)
    rows, weights = jacobian(kind, m, generator=generator), preference("inner", m, generator=generator)
    gram = rows @ rows.T
    with ScalarReads() as reads:
        function(gram, weights, c=0.4)
    assert reads.count == 0


def test_the_count_sees_a_planted_read():
    gram = torch.eye(2)
    with ScalarReads() as reads:
        float(gram[0, 0])
        bool(gram[0, 0] > 0)
    assert reads.count == 2
