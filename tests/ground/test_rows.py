"""`rows`: every token once, scored tokens are the response tokens, padding has no meaning."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paretokit.errors import DataError
from paretokit.rows import alike, pad_rows, shared_rows, text_rows, visible

TOKENS = st.lists(st.integers(0, 50), min_size=1, max_size=9)
SEQUENCES = st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=6)


@settings(deadline=None)
@given(SEQUENCES)
def test_rows_hold_prompt_then_response_and_nothing_else(sequences):
    rows = pad_rows(*zip(*sequences, strict=True))
    for (prompt, response), ids, segments, positions in zip(
        sequences, rows.input_ids, rows.segments, rows.position_ids, strict=True
    ):
        assert ids[segments > 0].tolist() == prompt + response
        assert positions[segments > 0].tolist() == list(range(len(prompt) + len(response)))


@settings(deadline=None)
@given(SEQUENCES)
def test_scored_tokens_are_the_response_tokens_of_each_sequence(sequences):
    rows = pad_rows(*zip(*sequences, strict=True))
    for index, (_, response) in enumerate(sequences):
        assert rows.targets[rows.sequence == index].tolist() == response


@settings(deadline=None)
@given(SEQUENCES)
def test_each_scored_token_follows_its_predicting_position_in_its_own_row(sequences):
    rows = pad_rows(*zip(*sequences, strict=True))
    width = rows.input_ids.shape[1]
    assert torch.equal(rows.input_ids.flatten()[rows.predicting + 1], rows.targets)
    assert torch.equal(rows.predicting // width, rows.sequence)
    assert torch.equal((rows.predicting + 1) // width, rows.sequence)
    assert len(rows.predicting.unique()) == len(rows.predicting)


@settings(deadline=None)
@given(SEQUENCES, TOKENS)
def test_a_longer_neighbour_changes_only_the_padding(sequences, response):
    alone = pad_rows(*zip(*sequences, strict=True))
    padded = pad_rows(*zip(*sequences, ([1] * 30, response), strict=True))
    width = alone.input_ids.shape[1]
    count = len(alone.targets)
    for name in ("input_ids", "segments", "position_ids"):
        long, short = getattr(padded, name)[:-1], getattr(alone, name)
        assert torch.equal(long[:, :width], short)
        assert not long[:, width:].any()
    assert torch.equal(padded.targets[:count], alone.targets)
    assert torch.equal(padded.sequence[:count], alone.sequence)


def test_token_zero_is_a_real_token_and_pad_is_told_by_segments():
    rows = pad_rows([[0], [1, 2]], [[0], [0, 0]])
    assert rows.segments.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert rows.targets.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("prompts", "responses", "message"),
    [
        ([[1]], [], "rows: found 1 prompts and 0 responses; pass one response per prompt."),
        ([], [], "rows: found no sequences; pass at least one prompt with its response."),
        (
            [[1], []],
            [[2], [3]],
            "rows: prompt 1 holds no tokens; encode it with paretokit.texts, which adds BOS or the end token.",
        ),
        (
            [[1], [2]],
            [[], [3]],
            "rows: response 0 holds no tokens; encode it with paretokit.texts, which adds BOS or the end token.",
        ),
    ],
)
def test_refused_rows_say_which_and_why(prompts, responses, message):
    with pytest.raises(DataError) as error:
        pad_rows(prompts, responses)
    assert str(error.value) == message


@given(
    st.lists(st.integers(1, 600), min_size=1, max_size=40),
    st.integers(1, 9),
    st.integers(1, 3000),
)
def test_groups_of_like_length_hold_every_index_once_within_their_bounds(lengths, size, budget):
    groups = alike(lengths, size=size, budget=budget)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        longest = max(lengths[index] for index in group)
        assert len(group) <= size
        assert len(group) == 1 or len(group) * longest <= budget
        assert sum(lengths[index] for index in group) >= 0.75 * len(group) * longest


sequences = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=7), min_size=1, max_size=5)


def read_off(rows, seen, *, number):
    """The slow twin: the sequence that each scored token of a sequence ends, by the mask and the positions."""
    found = []
    for at in rows.predicting[rows.sequence == number].tolist():
        row, place = divmod(at, rows.input_ids.shape[1])
        before = seen[row, 0, place].nonzero().flatten()
        assert rows.position_ids[row, before].tolist() == list(range(len(before)))
        found.append((row, rows.input_ids[row, before].tolist(), set(rows.owner[row, before].tolist())))
    return found


@given(sequences, st.randoms(use_true_random=False), st.booleans())
def test_each_sequence_of_a_shared_row_is_found_again_in_what_its_last_token_sees(prompts, random, several):
    first, second = ([[random.randrange(10) for _ in range(random.randint(1, 6))] for _ in prompts] for _ in range(2))
    where = [[index] for index in range(len(prompts))]
    if several:
        order = random.sample(range(len(prompts)), len(prompts))
        cut = random.randint(1, len(prompts))
        where = [order[:cut], *([order[cut:]] if order[cut:] else [])]
    rows = shared_rows(prompts, first, second, rows=where)
    seen = visible(rows.segments)
    for index, prompt in enumerate(prompts):
        home = next(row for row, members in enumerate(where) if index in members)
        for part, response in enumerate((first[index], second[index])):
            number = part * len(prompts) + index
            assert rows.targets[rows.sequence == number].tolist() == response
            expected = [(home, [*prompt, *response[:count]], {index}) for count in range(len(response))]
            assert read_off(rows, seen, number=number) == expected


def test_a_pair_that_saw_its_neighbour_would_be_noticed():
    rows = shared_rows([[1], [2]], [[3, 3], [4]], [[5], [6]], rows=[[0, 1]])
    expected = [(0, [2], {1})]
    assert read_off(rows, visible(rows.segments), number=1) == expected
    leaking = torch.ones_like(visible(rows.segments)).tril()
    with pytest.raises(AssertionError):
        assert read_off(rows, leaking, number=1) == expected


@pytest.mark.parametrize("where", [[[0]], [[0, 1], [1]], [[0, 2]]])
def test_every_pair_stands_in_exactly_one_row(where):
    with pytest.raises((DataError, IndexError)) as caught:
        shared_rows([[1], [2]], [[3], [4]], [[5], [6]], rows=where)
    assert str(caught.value) == f"rows: found the pairs {where}, expected each of 2 in exactly one row."


def test_padding_of_shared_rows_is_seen_by_no_token():
    rows = shared_rows([[1], [1, 2]], [[3], [4, 5]], [[6], [7]])
    assert rows.segments.tolist() == [[1, 2, 3, 0, 0], [1, 1, 2, 2, 3]]
    seen = visible(rows.segments)[0, 0]
    assert not seen[:3, 3:].any()
    assert seen.any(dim=1).all()  # an attention over nothing has no value


def test_shared_rows_refuse_what_rows_refuse():
    with pytest.raises(DataError, match="rows: response 1 holds no tokens"):
        shared_rows([[1], [2]], [[3], [4]], [[5], []])
    with pytest.raises(DataError, match="found 1 prompts and 2 responses"):
        shared_rows([[1]], [[3]], [[5], [6]])


@settings(deadline=None)
@given(st.lists(TOKENS, min_size=1, max_size=6))
def test_texts_that_are_only_read_stand_as_others_do(texts):
    """As prompt and response would together, of which nothing is scored."""
    rows = text_rows(texts)
    whole = pad_rows(texts, [[1]] * len(texts))
    width = rows.input_ids.shape[1]
    assert torch.equal(rows.segments.sum(dim=1), torch.tensor([len(text) for text in texts]))
    for index, text in enumerate(texts):
        assert rows.input_ids[index, : len(text)].tolist() == text
        assert not rows.input_ids[index, len(text) :].any()
        assert torch.equal(rows.position_ids[index, : len(text)], whole.position_ids[index, : len(text)])
        assert rows.owner[index].tolist() == [index] * len(text) + [-1] * (width - len(text))
    assert [len(part) for part in (rows.predicting, rows.targets, rows.sequence)] == [0, 0, 0]


@pytest.mark.parametrize("texts", [[], [[1], []]])
def test_texts_without_tokens_are_refused(texts):
    with pytest.raises(DataError, match=r"rows: (found no sequences|prompt 1 holds no tokens)"):
        text_rows(texts)
