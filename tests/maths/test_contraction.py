"""One backward pass for m objectives: products of gradients and inputs, summed with every objective's slopes."""

from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.maths_asserts import assert_close
from support.maths_contraction import (
    KINDS,
    LABELS,
    assert_layout,
    case,
    contract_twin,
    draw_labels,
    embedding_twin,
    work,
)

from paretokit.maths import contraction
from paretokit.maths.contraction import (
    MOVED,
    Piece,
    contract,
    contract_embedding,
    contract_vectors,
    layout,
    slopes_at,
)
from paretokit.maths.logps import sum_by_sequence, token_logps
from paretokit.maths.losses import dpo, dpo_slopes, judged, reduce

NAN = float("nan")
WAYS = ("_by_objective", "_by_piece", "_by_row")
quick = settings(deadline=None, max_examples=60, derandomize=True)
cases = st.builds(
    case,
    seed=st.integers(0, 10**6),
    m=st.integers(1, 5),
    pairs=st.integers(1, 6),
    kind=st.sampled_from(KINDS),
    agreement=st.sampled_from(LABELS),
    out=st.sampled_from([1, 3, 8]),
    width=st.sampled_from([1, 4, 7]),
)


def _labels(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def _normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Slow twins


@quick
@given(cases)
def test_slow_twin(given_case):
    made, slopes = given_case.at()
    expected = contract_twin(given_case.gradients, given_case.inputs, given_case.owner, given_case.slopes)
    assert_close(contract(given_case.gradients, given_case.inputs, made, slopes), expected, tolerance=1e-12)


@pytest.mark.parametrize(("way", "large"), [*((way, 2**16) for way in WAYS), ("_by_piece", 1), ("_by_row", 1)])
@quick
@given(cases)
def test_each_way_equals_the_slow_twin(way, large, given_case):
    made, slopes = given_case.at()
    if way != "_by_row" or made.rows is not None:
        with patch.object(contraction, "_LARGE", large):  # 1: each product is added at once, and none kept to be mixed
            found = getattr(contraction, way)(given_case.gradients, given_case.inputs, made, slopes)
        expected = contract_twin(given_case.gradients, given_case.inputs, given_case.owner, given_case.slopes)
        assert_close(found, expected, tolerance=1e-12)


def test_the_slow_twin_tells_a_wrong_owner_and_a_wrong_slope():
    given_case = case(seed=0, m=2, pairs=3, kind="positions", agreement="agree", out=2, width=3)
    made, slopes = given_case.at()
    found = contract(given_case.gradients, given_case.inputs, made, slopes)
    for owner, c in ((given_case.owner.flip(0), given_case.slopes), (given_case.owner, given_case.slopes.flip(0))):
        with pytest.raises(AssertionError):
            assert_close(found, contract_twin(given_case.gradients, given_case.inputs, owner, c), tolerance=1e-6)


@quick
@given(cases)
def test_slow_twin_of_vectors(given_case):
    _, slopes = given_case.at()
    ones = torch.ones(len(given_case.gradients), 1, dtype=torch.float64)
    expected = contract_twin(given_case.gradients, ones, given_case.owner, given_case.slopes).squeeze(2)
    assert_close(contract_vectors(given_case.gradients, slopes), expected, tolerance=1e-12)


@quick
@given(cases, st.sampled_from([None, 0, 3]))
def test_slow_twin_of_an_embedding(given_case, ignored):
    _, slopes = given_case.at()
    generator = torch.Generator().manual_seed(len(given_case.gradients))
    ids = torch.randint(4, (len(given_case.gradients),), generator=generator)  # fewer rows than positions: ids come again
    found = contract_embedding(given_case.gradients, ids, slopes, rows=5, ignored=ignored)
    expected = embedding_twin(given_case.gradients, ids, given_case.owner, given_case.slopes, rows=5, ignored=ignored)
    assert_close(found, expected, tolerance=1e-12)
    if ignored is not None:
        assert not found[:, ignored].any()


@pytest.mark.parametrize("way", ["_by_objective", "_by_piece"])
def test_positions_of_no_pair_add_nothing_whatever_stands_there(way):
    given_case = case(seed=3, m=3, pairs=4, kind="rows of several", agreement="any", out=2, width=3)
    made, slopes = given_case.at()
    empty = (given_case.owner.flatten() < 0)[:, None]
    found = getattr(contraction, way)(given_case.gradients + 7.0 * empty, given_case.inputs, made, slopes)
    assert_close(
        found, contract_twin(given_case.gradients, given_case.inputs, given_case.owner, given_case.slopes), tolerance=1e-12
    )
    assert bool(empty.any())


def test_products_of_rows_ask_for_gradients_of_zero_on_padding():
    made = layout(torch.tensor([[0, -1]]), _labels([1.0]))
    slopes = slopes_at(made, _labels([2.0]), scales=[1.0])
    inputs = torch.ones(2, 1, dtype=torch.float64)
    assert contraction._by_row(_labels([1.0], [0.0]), inputs, made, slopes).tolist() == [[[2.0]]]
    assert contraction._by_row(_labels([1.0], [1.0]), inputs, made, slopes).tolist() == [[[4.0]]]  # planted: padding is read


# The layout


@quick
@given(cases)
def test_every_counting_position_reaches_its_objectives_once(given_case):
    assert_layout(layout(given_case.owner, given_case.labels), given_case.owner, given_case.labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda made: {"order": made.order[1:]}, "positions of the order"),
        (lambda made: {"order": made.order.clone().fill_(0)}, "positions of the order"),
        (lambda made: {"owner": made.owner - 1}, "owners"),
        (lambda made: {"pieces": made.pieces[1:]}, "a column for each piece"),
        (lambda made: {"pieces": (made.pieces[0],) * len(made.pieces)}, "a piece of one pair"),
        (lambda made: {"members": made.members.flip(0)}, "a piece of one pair"),
        (lambda made: {"pieces": (made.pieces[0]._replace(stop=1), *made.pieces[1:])}, "an objective is not reached"),
        (lambda made: {"signs": 1 - made.signs}, "a piece of one pair"),
    ],
)
def test_layout_assertion_rejects(change, message):
    owner, labels = torch.tensor([0, 0, 1, -1, 1]), _labels([1, 1], [-1, -1])
    made = layout(owner, labels)
    assert_layout(made, owner, labels)
    with pytest.raises(AssertionError, match=message):
        assert_layout(made._replace(**change(made)), owner, labels)


def test_layout_assertion_rejects_what_is_summed_twice_or_for_others():
    owner, labels = torch.tensor([0, 1]), _labels([1, 1], [0, 0])
    made = layout(owner, labels)
    assert_layout(made, owner, labels)
    twice = made._replace(pieces=made.pieces * 2, signs=made.signs.repeat(1, 2), members=made.members.repeat(2))
    with pytest.raises(AssertionError, match="reached twice"):
        assert_layout(twice, owner, labels)
    with pytest.raises(AssertionError, match="objectives of a label"):
        assert_layout(made._replace(signs=torch.ones_like(made.signs)), owner, labels)


@quick
@given(cases)
def test_at_most_two_units_of_work(given_case):
    made = layout(given_case.owner, given_case.labels)
    assert len(made.order) <= work(made) <= 2 * len(made.order)


@quick
@given(cases)
def test_one_unit_of_work_where_the_labels_agree(given_case):
    generator = torch.Generator().manual_seed(given_case.owner.numel())
    labels = draw_labels("agree", *given_case.labels.shape, generator=generator)
    made = layout(given_case.owner, labels)
    assert work(made) == len(made.order)
    assert all(piece.lead is not None for piece in made.pieces)


def test_two_units_of_work_are_reached():
    made = layout(torch.arange(6), _labels([1] * 6, [-1] * 6))
    assert work(made) == 2 * len(made.order) == 12


@pytest.mark.parametrize(("longer", "leads"), [(0, [1, 0]), (1, [None] * 3)])
def test_a_group_becomes_pairs_as_soon_as_they_are_less_work(longer, leads):
    total = 2 * MOVED * (3 - 2) + longer  # of three pairs with both signs: 2 (total + 2 MOVED) against total + 3 * 2 MOVED
    owner = torch.tensor([0, 1] + [2] * (total - 2))
    assert [piece.lead for piece in layout(owner, _labels([1, 1, 1], [-1, -1, -1])).pieces] == leads


def test_one_pair_with_equal_labels_is_one_piece():
    made = layout(torch.tensor([-1, 0, 0]), _labels([-1], [-1], [-1]))
    assert (made.order.tolist(), made.pieces) == ([1, 2], (Piece(0, 2, 0),))
    assert (made.signs.tolist(), made.members.tolist()) == ([[1.0]] * 3, [1])


@pytest.mark.parametrize("value", [0.0, NAN])
def test_pairs_without_a_label_that_counts_stand_in_no_piece(value):
    owner, labels = torch.tensor([0, 1, 1, 2]), _labels([1, value, -1], [-1, value, 1])
    made = layout(owner, labels)
    assert made.order.tolist() == [0, 3]
    assert 1 not in made.members
    slopes = slopes_at(made, dpo_slopes(_normal(3), labels, beta=0.5), scales=[1.0, 1.0])
    gradients, inputs = _normal(4, 2), _normal(4, 3)
    louder = gradients * _labels([1, 1e3, 1e3, 1]).T
    assert_close(contract(louder, inputs, made, slopes), contract(gradients, inputs, made, slopes), tolerance=0)


def test_rows_are_known_where_each_holds_one_pair():
    labels = _labels([1, 1])
    assert layout(torch.tensor([[1, 1], [0, -1], [-1, 1]]), labels).rows.tolist() == [1, 0, 1]
    for owner in ([[0, 0], [0, 1]], [[0, 0], [-1, -1]], [0, 1]):
        assert layout(torch.tensor(owner), labels).rows is None


# Which way is taken

AGREE, DISAGREE = [[1.0] * 8] * 3, [[1.0] * 8, [-1.0] * 8, [1.0] * 8]
ROWS, PACKED = torch.arange(8)[:, None].expand(8, 32), torch.arange(8).repeat_interleave(32)


@pytest.mark.parametrize(
    ("owner", "labels", "out", "width", "expected"),
    [
        pytest.param(PACKED, AGREE[:1], 64, 64, "_by_objective", id="one objective"),
        pytest.param(PACKED, AGREE, 2, 64, "_by_objective", id="thin"),
        pytest.param(PACKED, AGREE, 64, 2, "_by_objective", id="thin on the other side"),
        pytest.param(ROWS, DISAGREE, 32, 32, "_by_row", id="rows of one pair"),
        pytest.param(PACKED, DISAGREE, 256, 256, "_by_piece", id="wide, several pairs in a row"),
        pytest.param(ROWS, AGREE, 512, 512, "_by_piece", id="wide, equal labels"),
    ],
)
def test_the_cheapest_way_is_taken(monkeypatch, owner, labels, out, width, expected):
    taken = []
    for way in WAYS:
        real = getattr(contraction, way)
        monkeypatch.setattr(contraction, way, lambda *args, way=way, real=real: taken.append(way) or real(*args))
    made = layout(owner, _labels(*labels))
    slopes = slopes_at(made, dpo_slopes(_normal(8), _labels(*labels), beta=0.5), scales=[1.0] * len(labels))
    contract(_normal(256, out), _normal(256, width), made, slopes)
    assert taken == [expected]


# Closed forms and limits


def test_closed_form_of_one_position():
    made = layout(torch.tensor([0]), _labels([1], [-1], [0]))
    slopes = slopes_at(made, _labels([-3], [5], [0]), scales=[1.0, 1.0, 1.0])
    for way in WAYS[:2]:
        found = getattr(contraction, way)(_labels([1, 2]), _labels([10, 20, 30]), made, slopes)
        outer = torch.tensor([[10.0, 20, 30], [20, 40, 60]])
        assert_close(found, torch.stack([-3 * outer, 5 * outer, 0 * outer]), tolerance=1e-12)


@pytest.mark.parametrize("owner", [torch.tensor([0, 0, 1, -1]), torch.tensor([[0, 0], [1, -1]])], ids=["1-D", "rows"])
@pytest.mark.parametrize("way", ["contract", *WAYS])
def test_an_objective_without_positions_gets_zeros(owner, way):
    labels = _labels([NAN, 0, 1], [1, -1, NAN])  # the third pair has no position, and the first objective no other
    made = layout(owner, labels)
    slopes = slopes_at(made, dpo_slopes(_normal(3), labels, beta=0.5), scales=[0.5, 0.5])
    if way != "_by_row" or made.rows is not None:
        found = getattr(contraction, way)(_normal(4, 2) * (owner.flatten() >= 0)[:, None], _normal(4, 3), made, slopes)
        assert not found[0].any()
        assert bool(found[1].all())


@pytest.mark.parametrize("way", ["contract", "_by_objective", "_by_piece"])
@pytest.mark.parametrize("labels", [[[0.0, NAN]], [[1.0, 1.0], [-1.0, 1.0]]], ids=["no label counts", "no positions"])
def test_nothing_gives_zeros(way, labels):
    count = 3 if len(labels) == 1 else 0
    made = layout(torch.zeros(count, dtype=torch.int64), _labels(*labels))
    slopes = slopes_at(made, dpo_slopes(_normal(2), _labels(*labels), beta=0.5), scales=[1.0] * len(labels))
    found = getattr(contraction, way)(_normal(count, 2), _normal(count, 4), made, slopes)
    assert_close(found, torch.zeros(len(labels), 2, 4), tolerance=0)


def test_one_objective_is_the_plain_weighted_sum():
    given_case = case(seed=1, m=1, pairs=4, kind="rows of one", agreement="agree", out=3, width=2)
    made, slopes = given_case.at()
    weights = torch.nn.functional.pad(given_case.slopes[0], (0, 1))[given_case.owner.flatten()]  # -1 reads the 0 at the end
    expected = ((weights[:, None] * given_case.gradients).T @ given_case.inputs)[None]
    for way in ("contract", *WAYS):
        assert_close(
            getattr(contraction, way)(given_case.gradients, given_case.inputs, made, slopes), expected, tolerance=1e-12
        )


def test_equal_objectives_get_equal_rows():
    given_case = case(seed=2, m=1, pairs=5, kind="positions", agreement="any", out=3, width=2)
    made = layout(given_case.owner, given_case.labels.repeat(3, 1))
    slopes = slopes_at(made, given_case.slopes.repeat(3, 1), scales=given_case.scales * 3)
    for way in WAYS[:2]:
        first, second, third = getattr(contraction, way)(given_case.gradients, given_case.inputs, made, slopes)
        assert_close(first, second, tolerance=1e-14)
        assert_close(first, third, tolerance=1e-14)


@pytest.mark.parametrize(
    "sizes", [{"_AT_ONCE": 1}, {"_AT_ONCE": 2 * 3 * 4}, {"_HELD": 1, "_LARGE": 1}, {"_HELD": 8, "_LARGE": 1}]
)
@pytest.mark.parametrize("agreement", LABELS)
@pytest.mark.parametrize("way", ["_by_piece", "_by_row"])
def test_chunks_change_nothing(monkeypatch, sizes, agreement, way):
    given_case = case(seed=5, m=3, pairs=6, kind="rows of one", agreement=agreement, out=3, width=4)
    made, slopes = given_case.at()
    whole = getattr(contraction, way)(given_case.gradients, given_case.inputs, made, slopes)
    for name, size in sizes.items():
        monkeypatch.setattr(contraction, name, size)
    assert_close(getattr(contraction, way)(given_case.gradients, given_case.inputs, made, slopes), whole, tolerance=1e-12)


@pytest.mark.parametrize(
    ("count", "area", "added"), [(2, 2**16, True), (12, 2**16, True), (13, 2**16, False), (2, 2**16 - 1, False)]
)
def test_large_products_for_a_few_objectives_are_added_at_once(count, area, added):
    assert contraction._is_added(torch.zeros(1), count, area) is added
    assert not contraction._is_added(torch.zeros(1, device="meta"), count, area)  # a CPU's way alone
    assert not contraction._is_added(torch.zeros(1, dtype=torch.bfloat16), count, area)  # it would round on the way


def test_a_product_is_added_to_the_objectives_that_want_it_alone():
    factors = [(_labels([1.0]), _labels([2.0])), (_labels([1.0]), _labels([NAN]))]
    assert contraction._added(factors, _labels([3.0, 0.0]), (1, 1)).tolist() == [[[6.0]]]
    assert contraction._added(factors, _labels([3.0, 1.0]), (1, 1)).isnan().all()  # planted: it is wanted


# The derivative


def _losses(weight, bias, table, given_case, ids, targets):
    """Every objective's mean DPO loss of an embedding, a nonlinear layer and log-probabilities; and y, before its bias."""
    read = torch.nn.functional.embedding(ids, table)
    y = read @ weight.T
    owner = given_case.owner.flatten()
    here = (owner >= 0).nonzero().squeeze(1)
    scored = token_logps(3 * torch.tanh(y + bias), targets)
    margins = sum_by_sequence(scored[here], owner[here], count=given_case.labels.shape[1])
    return margins, read, y, reduce(dpo(margins, given_case.labels, beta=0.7), judged=judged(given_case.labels))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("agreement", LABELS)
@pytest.mark.parametrize("way", ["contract", *WAYS])
def test_contraction_is_the_gradient_of_every_objective(kind, agreement, way):
    given_case = case(seed=7, m=3, pairs=4, kind=kind, agreement=agreement, out=5, width=4)
    labels, count = given_case.labels, given_case.owner.numel()
    generator = torch.Generator().manual_seed(8)
    ids, targets = (torch.randint(5, (count,), generator=generator) for _ in range(2))
    weights = [_normal(*shape, seed=9).requires_grad_() for shape in ((5, 4), (5,), (5, 4))]
    margins, read, y, losses = _losses(*weights, given_case, ids, targets)
    to_y, to_read = torch.autograd.grad(margins.sum(), [y, read], retain_graph=True)
    expected = [torch.autograd.grad(loss, weights, retain_graph=True) for loss in losses if not loss.isnan()]
    present = (~losses.isnan()).nonzero().squeeze(1)
    assert len(present)
    made = layout(given_case.owner, labels)
    outer = dpo_slopes(margins.detach(), labels, beta=0.7) * torch.tensor(given_case.scales, dtype=torch.float64)[:, None]
    slopes = slopes_at(made, outer, scales=given_case.scales)
    if way != "_by_row" or made.rows is not None:
        found = (
            getattr(contraction, way)(to_y, read.detach(), made, slopes),
            contract_vectors(to_y, slopes),
            contract_embedding(to_read, ids, slopes, rows=5, ignored=None),
        )
        for ours, plain in zip(found, zip(*expected, strict=True), strict=True):
            assert_close(ours[present], torch.stack(plain), tolerance=1e-12)


def test_an_ignored_row_is_that_of_padding_idx():
    table, ids, owner = _normal(4, 3).requires_grad_(), torch.tensor([2, 0, 2, 1, 0]), torch.tensor([0, 0, 1, 1, 1])
    c = _labels([0.5, -2.0])
    made = layout(owner, _labels([1, -1]))
    read = torch.nn.functional.embedding(ids, table, padding_idx=0)
    cotangent = _normal(5, 3, seed=1)
    (expected,) = torch.autograd.grad((read * cotangent * c[0, owner][:, None]).sum(), table)
    found = contract_embedding(cotangent, ids, slopes_at(made, c, scales=[1.0]), rows=4, ignored=0)
    assert_close(found[0], expected, tolerance=1e-14)


# Precision


@pytest.mark.parametrize("agreement", LABELS)
@pytest.mark.parametrize("way", ["contract", *WAYS])
def test_float32_is_within_its_noise_of_float64(way, agreement):
    given_case = case(seed=11, m=3, pairs=6, kind="rows of one", agreement=agreement, out=6, width=5, longest=40)
    exact = contract_twin(given_case.gradients, given_case.inputs, given_case.owner, given_case.slopes)
    made = layout(given_case.owner, given_case.labels.float())
    slopes = slopes_at(made, given_case.slopes.float(), scales=given_case.scales)
    found = getattr(contraction, way)(given_case.gradients.float(), given_case.inputs.float(), made, slopes)
    assert found.dtype == torch.float32
    size = contract_twin(given_case.gradients.abs(), given_case.inputs.abs(), given_case.owner, given_case.slopes.abs())
    noise = 10 * torch.finfo(torch.float32).eps  # of rounded factors and sums, relative to the sum of the terms' sizes
    assert_close(found / size.clamp(min=1e-30), exact / size.clamp(min=1e-30), tolerance=noise)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_precision_is_that_of_the_gradients(dtype):
    given_case = case(seed=12, m=2, pairs=3, kind="rows of one", agreement="any", out=2, width=3)
    made = layout(given_case.owner, given_case.labels)
    slopes = slopes_at(made, given_case.slopes.float(), scales=given_case.scales)
    gradients, inputs = given_case.gradients.to(dtype), given_case.inputs.to(dtype)
    found = [getattr(contraction, way)(gradients, inputs, made, slopes) for way in ("contract", *WAYS)]
    ids = torch.zeros(len(inputs), dtype=torch.int64)
    found += [contract_vectors(gradients, slopes), contract_embedding(gradients, ids, slopes, rows=1, ignored=None)]
    assert {part.dtype for part in found} == {dtype}


def test_frozen_value():
    made = layout(torch.tensor([0, 0, 1]), _labels([1, -1], [1, 1]))
    c = dpo_slopes(_labels([0.3, -1.2])[0], _labels([1, -1], [1, 1]), beta=0.5) / 2
    slopes = slopes_at(made, c, scales=[0.5, 0.5])
    found = contract(_labels([1, 0], [0, 2], [1, 1]), _labels([1], [2], [3]), made, slopes)
    frozen = [[[0.1501152316665908], [-0.19681238432559706]], [[-0.5998847683334092], [-0.946812384325597]]]
    assert_close(found, frozen, tolerance=1e-15)
