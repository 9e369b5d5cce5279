"""60 cases with values that were computed with 60 digits; see golden/ORIGIN.md for the tolerances."""

import json
from pathlib import Path

import pytest
import torch
from support.maths_asserts import assert_close, assert_on_simplex

from paretokit.maths import faces, raco
from paretokit.maths.raco import cagrad_coefficients, coefficients, dual

CASES = json.loads((Path(__file__).parent / "golden" / "raco.json").read_text())
TOLERANCE = 1e-9
PAIRS = [case for case in CASES if len(case["weights"]) == 2]
cases = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])


def _input(case):
    return (
        torch.tensor(case["gram"], dtype=torch.float64),
        torch.tensor(case["weights"], dtype=torch.float64),
        case["c"],
    )


def check(case, *, scale=1.0, order=None):
    """The solution of the case, its gradients scaled and its objectives permuted, is the stored one."""
    gram, weights, c = _input(case)
    order = torch.arange(len(weights)) if order is None else order
    gram, weights = scale**2 * gram[order][:, order], weights[order]
    trace = float(gram.trace()) or 1.0
    found, free = coefficients(gram, weights, c=c), cagrad_coefficients(gram, weights, c=c)
    assert_on_simplex(found.mixture)
    if case["p"] is not None:
        assert_close(found.mixture, torch.tensor(case["p"], dtype=torch.float64)[order], tolerance=TOLERANCE)
    assert_close(found.value, scale**2 * case["value"], tolerance=TOLERANCE * trace)
    for result, name in ((found, "coefficients_clipped"), (free, "coefficients_unclipped")):
        expected = torch.tensor(case[name], dtype=torch.float64)[order]
        assert_close(result.coefficients, expected, tolerance=TOLERANCE * max(1.0, float(expected.abs().max())))
    square = found.coefficients @ gram @ found.coefficients
    norm = torch.where(square > 1.4e-14 * trace, square, 0.0).sqrt()  # zero in the sense of the module
    assert_close(norm, scale * case["combined_norm"], tolerance=TOLERANCE * trace**0.5)


def test_there_are_60_cases():
    assert len(CASES) == 60
    assert {len(case["weights"]) for case in CASES} == {2, 3, 4, 5, 6}


@cases
def test_golden(case):
    check(case)


@pytest.mark.parametrize("case", PAIRS, ids=[case["name"] for case in PAIRS])
def test_golden_two_objectives_by_the_walk(case, monkeypatch):
    monkeypatch.setattr(raco, "_two", lambda task, weights, *, same: faces.minimise(task).mixture)
    check(case)


@cases
def test_golden_scaled_and_permuted(case):
    for scale in (1e-6, 1e6):
        check(case, scale=scale)
    check(case, order=torch.arange(len(case["weights"])).flip(0))


@cases
def test_golden_gap(case):
    gram, weights, c = _input(case)
    if case["p"] is not None:
        assert 0 <= dual(gram, weights, c=c).gap <= 1e-9 * gram.trace()


@pytest.mark.parametrize("name", ["p", "value", "coefficients_clipped", "coefficients_unclipped", "combined_norm"])
def test_golden_check_rejects_a_wrong_answer(name):
    case = CASES[0]
    wrong = [value + 1e-6 for value in case[name]] if isinstance(case[name], list) else case[name] * (1 + 1e-3)
    with pytest.raises(AssertionError):
        check({**case, name: wrong})
