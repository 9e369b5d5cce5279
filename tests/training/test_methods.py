"""Methods are functions from a Gramian to coefficients; names, a user's own function, and what is refused."""

import pytest
import torch

from paretokit.errors import ConfigError, NonFiniteError, ShapeError
from paretokit.maths import raco
from paretokit.training.config import TrainConfig
from paretokit.training.methods import combine, fits, linear_coefficients, methods, resolve

GRAM = torch.tensor([[17.0, -5.0], [-5.0, 2.0]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.2, 0.8], dtype=torch.float64)


def run(name, *, c=0.5):
    return combine(resolve(name).build(TrainConfig(c=c)), GRAM, WEIGHTS, generator=torch.Generator())


def test_raco_clips_and_cagrad_does_not():
    assert run("raco").coefficients.tolist() == pytest.approx([0.327519, 1.210518], abs=1e-6)
    assert run("cagrad").coefficients.tolist() == pytest.approx([0.328410, 1.032145], abs=1e-6)


def test_linear_is_both_at_radius_zero():
    expected = linear_coefficients(GRAM, WEIGHTS).coefficients
    assert torch.equal(expected, WEIGHTS)
    for name in ("raco", "cagrad"):
        assert torch.equal(run(name, c=0.0).coefficients, expected)


def test_linear_value_is_the_dual_objective_at_the_weights():
    at_zero = raco.dual(GRAM, WEIGHTS, c=0.0)
    assert float(linear_coefficients(GRAM, WEIGHTS).value) == pytest.approx(float(WEIGHTS @ GRAM @ WEIGHTS))
    assert float(at_zero.value) <= float(linear_coefficients(GRAM, WEIGHTS).value)


def test_every_method_is_described():
    kinds = {name: (method.kind, method.alpha) for name, method in methods().items()}
    combinations = dict.fromkeys(("cagrad", "linear", "raco"), ("combination", False))
    assert kinds == {**combinations, "mah-dpo": ("heads", True), "mah-raco": ("heads", False)}
    assert list(kinds) == sorted(kinds)
    assert all(method.name == name and method.description for name, method in methods().items())


def test_the_methods_of_heads_combine_the_backbone_as_linear_and_raco_do():
    assert torch.equal(run("mah-dpo").coefficients, run("linear").coefficients)
    assert torch.equal(run("mah-raco").coefficients, run("raco").coefficients)
    assert not torch.equal(run("mah-raco").coefficients, run("mah-raco", c=0.2).coefficients)  # the radius is read


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ConfigError) as caught:
        resolve("cagrd")
    assert str(caught.value) == (
        "method: found 'cagrd', expected one of cagrad, linear, mah-dpo, mah-raco, raco. Did you mean 'cagrad'? Choose a name "
        "from paretokit.methods(), or pass a function of the Gramian and the weights."
    )


def test_a_function_of_the_users_own():
    def greedy(gram, weights, *, generator):
        return torch.eye(len(weights))[int(weights.argmax())]

    method = resolve(greedy)
    result = combine(method.build(TrainConfig()), GRAM, WEIGHTS, generator=torch.Generator())
    assert (method.name, method.kind, method.alpha) == ("greedy", "", False)
    for heads in ((), ("x", "y")):  # it stands for itself, with heads and without
        fits(method, heads, ("x", "y"))
    assert result.coefficients.tolist() == [0.0, 1.0]
    assert bool(result.gap.isnan())


def test_coefficients_of_the_wrong_length_are_refused():
    with pytest.raises(ShapeError, match=r"found coefficients of shape \(3,\), expected \(2,\), one per objective"):
        combine(lambda gram, weights, *, generator: torch.ones(3), GRAM, WEIGHTS, generator=torch.Generator())


def test_coefficients_that_are_not_finite_are_refused():
    with pytest.raises(NonFiniteError, match=r"found the coefficients \[nan, nan\], expected finite numbers"):
        combine(lambda gram, weights, *, generator: weights * torch.nan, GRAM, WEIGHTS, generator=torch.Generator())
