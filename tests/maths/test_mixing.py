"""Mixed heads: property, closed form, slow twin, degenerate limits; the geometric mixture of the heads, not the arithmetic."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.maths_asserts import assert_close

from paretokit.maths.heads import Head, logits_of
from paretokit.maths.mixing import fold, fold_heads, mix

WIDTH, VOCABULARY, RANK = 5, 7, 2
KINDS = pytest.mark.parametrize("kind", ["full", "full, bias", "low-rank", "low-rank, bias"])


def made_heads(kind: str, *, count: int = 3, seed: int = 0, scale: float = 1.0, cap: float | None = None) -> list[Head]:
    """Heads as a policy has them: with matrices of their own, or thin ones on a common matrix; with a bias or without."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    common, bias = drawn(VOCABULARY, WIDTH), drawn(VOCABULARY)
    found = []
    for _ in range(count):
        if kind.startswith("full"):
            found.append(Head(drawn(VOCABULARY, WIDTH), drawn(VOCABULARY) if "bias" in kind else None, scale=scale, cap=cap))
        else:
            thin = drawn(VOCABULARY, RANK), drawn(RANK, WIDTH)
            found.append(Head(common, bias if "bias" in kind else None, *thin, scale=scale, cap=cap))
    return found


def states(count: int = 4, *, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def raw(hidden: torch.Tensor, head: Head) -> torch.Tensor:
    """The slow twin: raw logits of one state and one vocabulary entry after another, in Python's own numbers."""
    matrix = head.weight if head.up is None else head.weight + head.up @ head.down
    rows = [
        [
            math.fsum(w * x for w, x in zip(row, state, strict=True)) + (0.0 if head.bias is None else float(head.bias[v]))
            for v, row in enumerate(matrix.tolist())
        ]
        for state in hidden.tolist()
    ]
    return torch.tensor(rows, dtype=torch.float64).reshape(len(hidden), VOCABULARY)


def summed(hidden: torch.Tensor, heads: list[Head], weights: list[float]) -> torch.Tensor:
    return sum(weight * raw(hidden, head) for weight, head in zip(weights, heads, strict=True))


def vector(*weights: float) -> torch.Tensor:
    return torch.tensor(weights, dtype=torch.float64)


@st.composite
def weightings(draw: st.DrawFn, *, low: float = -2.0) -> list[float]:
    """One to five weights that sum to one, in general off the simplex; on it for `low` = 0."""
    others = draw(st.lists(st.floats(low, 2.0), max_size=4))
    if low < 0:
        return [*others, 1 - math.fsum(others)]
    total = math.fsum([*others, 1.0])
    return [value / total for value in (*others, 1.0)]


# property: linear, so folded, mixed by row and summed are the same


@KINDS
@given(weights=st.one_of(weightings(), weightings(low=0.0)), seed=st.integers(0, 99))
def test_folded_equals_mixed_equals_the_explicit_sum(kind, weights, seed):
    heads, hidden = made_heads(kind, count=len(weights), seed=seed), states(seed=seed + 1)
    expected = summed(hidden, heads, weights)
    size = max(map(abs, weights)) * len(weights)  # what the rounding of terms of that size leaves
    assert_close(raw(hidden, fold(heads, vector(*weights))), expected, tolerance=1e-12 * max(1.0, size))
    by_row = mix(hidden, heads, vector(*weights).expand(len(hidden), -1))
    assert_close(by_row, expected, tolerance=1e-12 * max(1.0, size))


@KINDS
def test_every_row_has_weights_of_its_own(kind):
    heads, hidden = made_heads(kind), states(4)
    weights = [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5], [1.5, -1.0, 0.5]]
    found = mix(hidden, heads, torch.tensor(weights, dtype=torch.float64))
    expected = torch.cat([summed(hidden[n : n + 1], heads, row) for n, row in enumerate(weights)])
    assert_close(found, expected, tolerance=1e-12)
    with pytest.raises(AssertionError):  # planted: the weights of another row
        assert_close(mix(hidden, heads, torch.tensor(weights[::-1], dtype=torch.float64)), expected, tolerance=1e-3)


@KINDS
def test_the_sum_tells_the_order_of_the_weights_and_a_lost_bias(kind):
    heads, hidden = made_heads(kind), states()
    right = summed(hidden, heads, [0.2, 0.3, 0.5])
    planted = [fold(heads, vector(0.5, 0.3, 0.2))]
    if "bias" in kind:
        planted.append(fold(heads, vector(0.2, 0.3, 0.5))._replace(bias=None))
    if "low" in kind:
        planted.append(heads[0]._replace(up=None, down=None))
    for wrong in planted:
        with pytest.raises(AssertionError):
            assert_close(raw(hidden, wrong), right, tolerance=1e-3)


@given(weights=weightings(), seed=st.integers(0, 99))
def test_fold_heads_is_the_sum_of_matrices_and_of_biases(weights, seed):
    generator = torch.Generator().manual_seed(seed)
    stacked = torch.randn(len(weights), VOCABULARY, WIDTH, generator=generator, dtype=torch.float64)
    size = 1e-12 * max(1.0, max(map(abs, weights)) * len(weights))
    for part in (stacked, stacked[:, :, 0]):
        if part.ndim == 3:
            expected = sum(weight * matrix for weight, matrix in zip(weights, part, strict=True))
            assert_close(fold_heads(part, vector(*weights)), expected, tolerance=size)
            heads = [Head(matrix) for matrix in part]
            assert_close(fold(heads, vector(*weights)).weight, expected, tolerance=size)


# what the mixture is


@pytest.mark.parametrize("scale", [1.0, 0.25])
@KINDS
@given(weights=st.one_of(weightings(), weightings(low=0.0)))
def test_the_mixture_is_the_normalised_geometric_one(kind, scale, weights):
    heads, hidden = made_heads(kind, count=len(weights), scale=scale), states()
    found = logits_of(hidden, fold(heads, vector(*weights))).log_softmax(dim=-1)
    parts = [logits_of(hidden, head).log_softmax(dim=-1) for head in heads]
    product = sum(weight * part for weight, part in zip(weights, parts, strict=True))
    expected = product - product.logsumexp(dim=-1, keepdim=True)
    assert_close(found, expected, tolerance=1e-12 * max(1.0, max(map(abs, weights)) * len(weights) * 4))


def total_variation(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().sum(dim=-1).max()) / 2


@KINDS
def test_the_mixture_is_not_the_arithmetic_one(kind):
    heads, hidden = made_heads(kind), states()
    weights = [0.5, 0.25, 0.25]
    probabilities = [logits_of(hidden, head).softmax(dim=-1) for head in heads]
    arithmetic = sum(weight * part for weight, part in zip(weights, probabilities, strict=True))
    folded = logits_of(hidden, fold(heads, vector(*weights))).softmax(dim=-1)
    assert total_variation(folded, arithmetic) > 0.1


def test_two_opposite_heads_in_closed_form():
    """One says e^2 : 1, the other 1 : e^2. Half of each: even, geometrically; so would arithmetic; a quarter: e^-1 : 1."""
    heads = [Head(vector(2.0, 0.0)[:, None]), Head(vector(0.0, 2.0)[:, None])]
    one = torch.ones(1, 1, dtype=torch.float64)
    for weights, first in (((0.5, 0.5), 0.5), ((0.25, 0.75), 1 / (1 + math.e)), ((2.0, -1.0), 1 / (1 + math.exp(-6)))):
        found = logits_of(one, fold(heads, vector(*weights))).softmax(dim=-1)
        assert_close(found, [[first, 1 - first]], tolerance=1e-15)
    quarter = 0.25 / (1 + math.exp(-2)) + 0.75 / (1 + math.exp(2))  # the arithmetic mixture
    assert abs(quarter - 1 / (1 + math.e)) > 0.03


@KINDS
def test_scale_and_cap_are_kept_and_act_once_after_mixing(kind):
    heads, hidden = made_heads(kind, scale=0.5, cap=2.0), states()
    folded = fold(heads, vector(0.2, 0.3, 0.5))
    assert (folded.scale, folded.cap, folded.up, folded.down) == (0.5, 2.0, None, None)
    expected = 2.0 * torch.tanh(0.5 * summed(hidden, heads, [0.2, 0.3, 0.5]) / 2.0)
    assert_close(logits_of(hidden, folded), expected, tolerance=1e-12)
    assert_close(
        2.0 * torch.tanh(0.5 * mix(hidden, heads, vector(0.2, 0.3, 0.5).expand(4, -1)) / 2.0), expected, tolerance=1e-12
    )
    capped = sum(w * logits_of(hidden, head) for w, head in zip((0.2, 0.3, 0.5), heads, strict=True))
    assert float((capped - expected).abs().max()) > 1e-2  # planted: the cap before mixing is another mixture


# degenerate limits


@KINDS
@pytest.mark.parametrize("index", range(3))
def test_one_hot_weights_give_that_head(kind, index):
    heads, hidden = made_heads(kind), states()
    weights = torch.eye(3, dtype=torch.float64)[index]
    folded, head = fold(heads, weights), heads[index]
    if head.up is None:
        assert torch.equal(folded.weight, head.weight)
    else:  # one product of [V, 3 r], of which the zeros may change the order of its sums
        assert_close(folded.weight, head.weight + head.up @ head.down, tolerance=1e-14)
    assert (folded.bias is None) is (head.bias is None)
    assert head.bias is None or torch.equal(folded.bias, head.bias)
    assert_close(mix(hidden, heads, weights.expand(len(hidden), -1)), raw(hidden, head), tolerance=1e-13)


@KINDS
@given(weights=weightings())
def test_equal_heads_mix_to_themselves(kind, weights):
    head = made_heads(kind, count=1)[0]
    folded = fold([head] * len(weights), vector(*weights))
    expected = head.weight if head.up is None else head.weight + head.up @ head.down
    assert_close(folded.weight, expected, tolerance=1e-12)


@KINDS
def test_nothing_to_mix_is_nothing(kind):
    found = mix(states(0), made_heads(kind), torch.zeros(0, 3, dtype=torch.float64))
    assert found.shape == (0, VOCABULARY)


@pytest.mark.parametrize("low_rank", [False, True])
def test_weights_of_another_precision_are_taken_in_that_of_the_heads(low_rank):
    heads = [head.to(torch.float32) for head in made_heads("low-rank" if low_rank else "full")]
    weights = vector(0.2, 0.3, 0.5)
    assert fold(heads, weights).weight.dtype == torch.float32
    assert mix(states().float(), heads, weights.expand(4, -1)).dtype == torch.float32
    expected = summed(states(), made_heads("low-rank" if low_rank else "full"), weights.tolist())
    assert_close(mix(states().float(), heads, weights.expand(4, -1)), expected, tolerance=1e-5)  # float32


def test_a_sum_by_hand():
    """Full: 0.25 (1 2 + 2 1 + 1) + 0.75 (3 2 - 1 1 - 1) = 4.25; thin: 1 2 + 2 1 + 0.25 (2 (2 - 1)) + 0.75 (-1 (3 1)) = 2.25."""
    hidden = vector(2.0, 1.0)[None]
    full = [Head(vector(1.0, 2.0)[None], vector(1.0)), Head(vector(3.0, -1.0)[None], vector(-1.0))]
    thin = [
        Head(vector(1.0, 2.0)[None], None, vector(2.0)[None], vector(1.0, -1.0)[None]),
        Head(vector(1.0, 2.0)[None], None, vector(-1.0)[None], vector(0.0, 3.0)[None]),
    ]
    for heads, expected in ((full, 4.25), (thin, 2.25)):
        assert mix(hidden, heads, vector(0.25, 0.75)[None]).tolist() == [[expected]]
        assert logits_of(hidden, fold(heads, vector(0.25, 0.75))).tolist() == [[expected]]
