"""Shapes in signatures: one import for the annotations that pytest turns into checks.

Letters: m objectives, n parameters, P pairs, B sequences, T positions, N scored tokens, V vocabulary, D hidden, H heads,
K candidates, k points. A single axis is written with a leading blank, as in `Float[Tensor, " m"]`.
At run time the annotations cost nothing; `tests/conftest.py` switches the checks on for this package.
"""

from jaxtyping import Bool, Float, Float32, Float64, Int
from torch import Tensor

__all__ = ["Bool", "Float", "Float32", "Float64", "Int", "Tensor"]
