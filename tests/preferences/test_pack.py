"""`make_batch`: every token of every pair where it belongs, labels beside it, and fast enough not to be seen."""

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paretokit.errors import DataError, ShapeError
from paretokit.preferences.pack import Packing, make_batch, packing
from paretokit.rows import pad_rows
from paretokit.texts import EncodedPair

TOKENS = st.lists(st.integers(0, 9), min_size=1, max_size=7).map(tuple)
PAIRS = st.lists(st.builds(EncodedPair, TOKENS, TOKENS, TOKENS), min_size=1, max_size=5)


def batch_of(pairs):
    count = len(pairs)
    return make_batch(pairs, torch.ones(2, count), torch.arange(float(count)), torch.arange(count) + 100)


def assert_holds(batch, pairs):
    """Each response is scored whole and once, in its own row behind its prompt; no other token is in the batch."""
    width = batch.input_ids.shape[1]
    for index, pair in enumerate(pairs):
        for number, response in ((index, pair.response_a), (index + len(pairs), pair.response_b)):
            mine = batch.sequence == number
            assert batch.targets[mine].tolist() == list(response)
            rows = (batch.predicting[mine] // width).unique()
            assert len(rows) == 1
            real = batch.segments[rows[0]] > 0
            assert batch.input_ids[rows[0]][real].tolist() == [*pair.prompt, *response]
    assert batch.tokens == sum(2 * len(pair.prompt) + len(pair.response_a) + len(pair.response_b) for pair in pairs)
    assert len(batch.targets) == sum(len(pair.response_a) + len(pair.response_b) for pair in pairs)


@settings(deadline=None)
@given(PAIRS)
def test_each_token_belongs_to_exactly_one_response_of_one_pair(pairs):
    assert_holds(batch_of(pairs), pairs)


def test_the_check_rejects_exchanged_responses_and_padding_counted_as_text():
    pair = EncodedPair((1,), (2, 3), (4,))
    exchanged = pair._replace(response_a=pair.response_b, response_b=pair.response_a)
    with pytest.raises(AssertionError):
        assert_holds(batch_of([pair]), [exchanged])
    batch = batch_of([pair])
    with pytest.raises(AssertionError):
        assert_holds(batch._replace(segments=torch.ones_like(batch.segments)), [pair])


@settings(deadline=None)
@given(PAIRS)
def test_rows_are_those_of_pad_rows(pairs):
    batch = batch_of(pairs)
    prompts = [pair.prompt for pair in pairs]
    rows = pad_rows(prompts + prompts, [pair.response_a for pair in pairs] + [pair.response_b for pair in pairs])
    rows = rows._replace(owner=torch.where(rows.owner < 0, -1, rows.owner % len(pairs)))  # both rows belong to the pair
    for found, expected in zip(batch.rows, rows, strict=True):
        assert torch.equal(found, expected)


@settings(deadline=None)
@given(PAIRS, PAIRS)
def test_a_pair_does_not_depend_on_its_neighbours(pairs, others):
    together = batch_of([*pairs, *others])
    for index, pair in enumerate(pairs):
        alone = batch_of([pair])
        for number, response in ((index, 0), (index + len(pairs) + len(others), 1)):
            targets = together.targets[together.sequence == number]
            assert torch.equal(targets, alone.targets[alone.sequence == response])
            width = alone.input_ids.shape[1]
            real = alone.segments[response] > 0
            for name in ("input_ids", "position_ids", "segments"):
                padded = torch.nn.functional.pad(getattr(together, name)[number], (0, width))[:width]
                assert torch.equal(padded[real], getattr(alone, name)[response][real])


def test_labels_reference_and_ids_are_passed_on():
    pairs = [EncodedPair((1,), (2,), (3,)), EncodedPair((4,), (5,), (6,))]
    labels = torch.tensor([[1.0, float("nan")], [0.0, -1.0]])
    batch = make_batch(pairs, labels, torch.tensor([0.5, -0.5], dtype=torch.float64), torch.tensor([7, 3]))
    torch.testing.assert_close(batch.labels, labels, equal_nan=True, rtol=0, atol=0)
    assert batch.reference.tolist() == [0.5, -0.5]
    assert batch.pair_ids.tolist() == [7, 3]


@pytest.mark.parametrize(
    ("pairs", "labels", "reference", "kind", "message"),
    [
        ([], torch.ones(1, 0), torch.ones(0), DataError, "batch: found no pairs, expected at least one."),
        (
            [EncodedPair((1,), (2,), (3,))],
            torch.ones(2, 3),
            torch.ones(3),
            ShapeError,
            "batch, labels: found 3 pairs, expected 1 as encoded.",
        ),
    ],
)
def test_refused_batches(pairs, labels, reference, kind, message):
    with pytest.raises(kind) as error:
        make_batch(pairs, labels, reference, torch.arange(len(reference)))
    assert str(error.value) == message


def test_sixteen_pairs_are_packed_in_a_moment():
    pairs = [EncodedPair(tuple(range(100)), tuple(range(50)), tuple(range(40)))] * 16
    arguments = (pairs, torch.ones(3, 16), torch.zeros(16), torch.arange(16))
    times = []
    for _ in range(20):
        start = time.thread_time()
        make_batch(*arguments)
        times.append(time.thread_time() - start)
    assert min(times) < 0.01  # of processor time; about 0.7 ms, and the type checks of the test suite


LENGTHS = st.lists(st.tuples(*[st.integers(1, 90)] * 3), min_size=1, max_size=20)


def pairs_of(lengths):
    return [EncodedPair((1,) * prompt, (2,) * first, (3,) * second) for prompt, first, second in lengths]


def assert_packed(found: Packing, pairs, *, size, budget):
    """Every pair once; no pass above its bounds, if not for a single pair; tokens and positions are those of the batches."""
    assert sorted(index for one in found.passes for index in one.pairs) == list(range(len(pairs)))
    tokens = positions = 0
    for one in found.passes:
        members = [pairs[index] for index in one.pairs]
        starts = [sum(map(len, one.rows[:row])) for row in range(len(one.rows))]
        rows = [range(start, start + len(row)) for start, row in zip(starts, one.rows, strict=True)] if one.shared else None
        count = len(members)
        batch = make_batch(members, torch.ones(1, count), torch.zeros(count), torch.arange(count), shared=one.shared, rows=rows)
        assert len(members) <= size
        assert batch.input_ids.numel() <= budget or len(members) == 1
        tokens += batch.tokens
        positions += batch.input_ids.numel()
    assert (found.tokens, found.positions) == (tokens, positions)


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 9), st.integers(50, 1500), st.integers(0, 200), st.sampled_from([None, 64, 256]))
def test_every_pair_is_read_once_within_the_bounds(lengths, size, budget, window, row):
    pairs = pairs_of(lengths)
    found = packing(pairs, allows=lambda longest: longest <= window, size=size, budget=budget, rows=(row,))
    assert_packed(found, pairs, size=size, budget=budget)
    assert found.apart == sum(pair.longest > window for pair in pairs)
    assert {one.shared for one in found.passes for index in one.pairs if pairs[index].longest > window} <= {False}


def test_the_check_rejects_a_pair_that_is_read_twice():
    pairs = pairs_of([(3, 2, 2), (3, 2, 2)])
    found = packing(pairs, allows=lambda longest: True, size=8, budget=100)
    twice = found._replace(passes=(found.passes[0]._replace(rows=((0,), (0,))),))
    with pytest.raises(AssertionError):
        assert_packed(twice, pairs, size=8, budget=100)


@settings(deadline=None)
@given(LENGTHS, st.integers(100, 1500))
def test_the_rows_that_are_taken_cost_no_more_than_one_pair_a_row(lengths, budget):
    pairs = pairs_of(lengths)
    single, chosen = (
        packing(pairs, allows=lambda longest: True, size=20, budget=budget, **how) for how in ({"rows": (None,)}, {})
    )
    # attention aside, which can only speak for short rows: what is saved is padding or passes
    assert chosen.positions <= 1.05 * single.positions + 100 * (len(single.passes) - len(chosen.passes))


def test_short_pairs_of_unequal_length_are_joined():
    pairs = pairs_of([(40, 30, 30), (20, 8, 8), (20, 10, 12), (10, 6, 6), (3, 2, 2)] * 2)
    single = packing(pairs, allows=lambda longest: True, size=20, budget=2048, rows=(None,))
    found = packing(pairs, allows=lambda longest: True, size=20, budget=2048)
    assert max(len(row) for one in found.passes for row in one.rows) > 1
    assert found.positions <= single.positions
    assert (found.positions, len(found.passes)) != (single.positions, len(single.passes))


def test_a_report_says_how_pairs_are_read():
    pairs = pairs_of([(10, 5, 5), (10, 5, 5), (30, 5, 5)])
    found = packing(pairs, allows=lambda longest: longest < 20, size=8, budget=512)
    assert found.report() == "3 pairs in 4 rows, 2 passes: 1 of them apart, 20 tokens saved by shared prompts, 0 % padding"


def test_a_batch_goes_to_a_device_whole():
    batch = batch_of(pairs_of([(3, 2, 2)]))
    moved = batch.to(torch.device("meta"))
    for name in batch._fields[:-1]:
        before, after = getattr(batch, name), getattr(moved, name)
        assert (after.device.type, after.shape, after.dtype) == ("meta", before.shape, before.dtype)
    assert batch.to(torch.device("cpu")) is batch
