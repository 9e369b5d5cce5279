"""selection: property, hand numbers, slow twin, degenerate limits, messages."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paretokit.errors import ConfigError, DataError
from paretokit.maths.selection import (
    best,
    constrained,
    lexicographic,
    minimum,
    product,
    rule,
    standardised,
    weighted,
)

FOUR = torch.tensor([[0.9, 0.2], [0.6, 0.6], [0.4, 0.9], [0.9, 0.1]], dtype=torch.float64)
EQUAL = torch.tensor([0.5, 0.5])
RULES = (weighted, minimum, product, lexicographic)
probabilities = st.lists(
    st.lists(st.integers(0, 8).map(lambda eighths: eighths / 8), min_size=3, max_size=3), min_size=1, max_size=7
)
mixes = st.lists(st.integers(0, 4), min_size=3, max_size=3).filter(any)


def numbers(rows):
    return torch.tensor(rows, dtype=torch.float64)


def on_simplex(parts):
    return torch.tensor(parts, dtype=torch.float64) / sum(parts)


@given(probabilities, mixes)
def test_dominating_never_hurts(rows, parts):
    """A candidate that scores at least as much everywhere is at least as useful, by every rule."""
    scores, weights = numbers(rows), on_simplex(parts)
    rules = [*RULES, lambda s, w: constrained(s, w, least={1: 0.5})]
    for apply in rules:
        utilities = apply(scores, weights)
        for first, second in itertools.permutations(range(len(rows)), 2):
            if bool((scores[first] >= scores[second]).all()):
                assert utilities[first] >= utilities[second] - 1e-12


@given(probabilities, mixes)
def test_permuting_candidates_permutes_utilities(rows, parts):
    scores, weights = numbers(rows), on_simplex(parts)
    order = torch.arange(len(rows)).flip(0)
    for apply in RULES:
        torch.testing.assert_close(apply(scores[order], weights), apply(scores, weights)[order])


def test_standardised_by_hand():
    found = standardised(numbers([[1, 7], [2, 7], [3, 7]]))
    torch.testing.assert_close(found, numbers([[-(1.5**0.5), 0], [0, 0], [1.5**0.5, 0]]))


@given(probabilities, st.floats(0.1, 1e6), st.floats(-1e3, 1e3))
def test_weighted_ignores_unit_and_origin(rows, unit, origin):
    scores = numbers(rows)
    moved = torch.cat([scores[:, :1] * unit + origin, scores[:, 1:]], dim=1)
    weights = torch.tensor([0.5, 0.3, 0.2])
    torch.testing.assert_close(weighted(moved, weights), weighted(scores, weights), rtol=1e-6, atol=1e-6)  # of the origin


def test_a_constant_column_counts_for_nothing_whatever_its_rounding():
    scores = numbers([[0.1 + 0.2, 1.0], [0.3, 2.0]])  # the first differ by 6e-17
    assert standardised(scores)[:, 0].tolist() == [0.0, 0.0]


def test_a_column_that_differs_counts():
    assert standardised(numbers([[0.3, 1.0], [0.3 + 1e-9, 2.0]]))[:, 0].abs().min() > 0.9


@pytest.mark.parametrize(
    ("apply", "expected"),
    [
        (minimum, [0.2, 0.6, 0.4, 0.1]),
        (product, [(0.9 * 0.2) ** 0.5, 0.6, (0.4 * 0.9) ** 0.5, 0.3]),
        (lexicographic, [3, 1, 0, 2]),
    ],
)
def test_by_hand(apply, expected):
    torch.testing.assert_close(apply(FOUR, EQUAL), numbers(expected))


def test_minimum_and_product_leave_out_what_has_no_weight():
    one = torch.tensor([1.0, 0.0])
    for apply in (minimum, product):
        torch.testing.assert_close(apply(FOUR, one), FOUR[:, 0])


def test_product_with_equal_weights_orders_as_the_plain_product():
    unequal = FOUR[[0, 1, 3]]  # the product of candidate 2 is that of candidate 1
    assert product(unequal, EQUAL).argsort().tolist() == unequal.prod(dim=1).argsort().tolist()


def test_lexicographic_follows_the_weights():
    assert lexicographic(FOUR, torch.tensor([0.4, 0.6])).tolist() == [1, 2, 3, 0]


@given(probabilities, mixes)
def test_lexicographic_is_the_order_of_tuples(rows, parts):
    scores, weights = numbers(rows), on_simplex(parts)
    order = sorted(range(3), key=lambda column: -parts[column])
    keys = [tuple(row[column] for column in order) for row in rows]
    assert lexicographic(scores, weights).tolist() == [sum(other < key for other in keys) for key in keys]


def test_constraint_first_then_the_other_objective():
    assert constrained(FOUR, EQUAL, least={0: 0.6}).argsort(descending=True).tolist()[:3] == [1, 0, 3]
    assert constrained(FOUR, EQUAL, least={0: 0.95}).tolist()[2] == 0  # of those that miss it, the one that misses most


def test_constraint_without_bounds_is_the_weighted_order():
    found = constrained(FOUR, torch.tensor([0.3, 0.7]), least={})
    assert found.argsort().tolist() == weighted(FOUR, torch.tensor([0.3, 0.7])).argsort().tolist()


def test_constraint_whose_free_objectives_have_no_weight_still_decides():
    assert constrained(FOUR, torch.tensor([1.0, 0.0]), least={0: 0.6}).argmax().item() == 1


def test_one_candidate_wins_by_every_rule():
    for apply in RULES:
        assert best(apply(FOUR[:1], EQUAL), 1).tolist() == [0]


def test_of_equal_candidates_the_first_is_best():
    twins = FOUR[[1, 1, 2]]
    for apply in (minimum, product, lexicographic):
        assert best(apply(twins, EQUAL), 3).tolist()[0] == 0


def test_product_names_what_is_no_probability():
    with pytest.raises(DataError, match=r"product: candidate 1 scores 1.5 on objective 0, expected a probability in \[0, 1\]"):
        product(numbers([[0.5, 0.5], [1.5, 0.5]]), EQUAL)


@pytest.mark.parametrize(
    ("name", "least", "message"),
    [
        ("wieghted", None, r"combine: found 'wieghted', expected one of weighted, .* Did you mean 'weighted'\?"),
        ("constraint", None, r"combine: found 'constraint' without least scores, expected them with 'constraint'"),
        ("constraint", {}, r"combine: found 'constraint' without least scores"),
        ("weighted", {"a": 1}, r"combine: found 'weighted' with least scores, .* only then"),
        ("constraint", {"c": 1}, r"least: found the objective 'c', expected some of a, b"),
    ],
)
def test_rule_messages(name, least, message):
    with pytest.raises(ConfigError, match=message):
        rule(name, ("a", "b"), least=least)


def test_a_function_is_a_rule():
    def last(scores, weights):
        return scores[:, -1]

    assert rule(last, ("a", "b")) is last
