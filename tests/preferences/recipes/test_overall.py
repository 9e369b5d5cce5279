"""One verdict on whole answers: small ranks are good, votes agree with their label, conversations share their beginning."""

import pytest
from support.public_rows import hh, ranked, turn, votes, whole

from paretokit.errors import DataError
from paretokit.preferences.read import read_preferences

# Nectar


def test_rank_one_is_the_best():
    read = read_preferences([ranked(2, 1, 7)], recipe="nectar")
    assert (read.objectives, read.labels.tolist()) == (("overall",), [[-1.0, 1.0, 1.0]])
    assert list(zip(read.responses_a, read.responses_b, strict=True)) == [
        ("Answer 2.", "Answer 1."),
        ("Answer 2.", "Answer 7."),
        ("Answer 1.", "Answer 7."),
    ]
    assert read.prompts[0] == (turn("user", "Name a tree."),)


def test_a_gap_leaves_neighbours_out_and_counts_them():
    read = read_preferences([ranked(1, 2, 3, 4, 5, 6, 7)], recipe="nectar", recipe_options={"gap": 2})
    assert len(read) == 15
    assert read.notes[1:] == ("6 left out: the ranks differ by less than 2",)
    assert read_preferences([ranked(1, 2, 3, 4, 5, 6, 7)], recipe="nectar").labels.tolist() == [[1.0] * 21]


def test_equal_ranks_are_no_pair():
    assert len(read_preferences([ranked(1, 1, 2)], recipe="nectar")) == 2


def test_earlier_turns_are_messages_without_the_blanks_of_the_names():
    read = read_preferences([ranked(1, 2, prompt=hh("Hi ", "Hello! ", "Sing. ") + "\n\nAssistant: ")], recipe="nectar")
    assert read.prompts[0] == (turn("user", "Hi"), turn("assistant", "Hello!"), turn("user", "Sing."))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ranked(1, 2, prompt=hh("Hi")), "field 'prompt': found a dialogue that does not end with '.*Assistant:', expected one"),
        (ranked(1, 2, prompt=hh("Hi", "Hello")), "field 'prompt': found a dialogue that does not end with"),
        (ranked(1, 2, prompt="Name a tree."), "field 'prompt': found 'Name a tree.', expected a dialogue that begins with"),
        (ranked(0, 2), "field 'answers', item 0, 'rank': found 0.0, expected a whole number from 1 to 7."),
        (ranked(1, 8), "field 'answers', item 1, 'rank': found 8.0, expected a whole number from 1 to 7."),
        (ranked(1) | {"answers": [{"answer": "x"}]}, "field 'answers', item 0, 'rank': found null, expected a whole number"),
        (ranked(1) | {"answers": [{"rank": 1}]}, "field 'answers', item 0, 'answer': found null, expected text"),
        (ranked(1) | {"answers": ["x"]}, "field 'answers', item 0: found 'x', expected an object."),
    ],
)
def test_what_does_not_fit_nectar_is_refused(row, message):
    with pytest.raises(DataError, match=f"list, row 0, {message}"):
        read_preferences([row], recipe="nectar")


# Skywork


def test_the_common_start_is_the_prompt():
    start = [turn("system", "Be kind."), turn("user", "Hi"), turn("assistant", "Hello"), turn("user", "Sing.")]
    rows = [{"chosen": [*start, turn("assistant", "La.")], "rejected": [*start, turn("assistant", "No.")], "source": "x"}]
    rows += [{"chosen": whole("Go?", "Yes."), "rejected": whole("Stay?", "No."), "source": "x"}]
    read = read_preferences(rows, recipe="skywork")
    assert (read.prompts, read.responses_a, read.responses_b) == ((tuple(start),), ("La.",), ("No.",))
    assert (read.objectives, read.labels.tolist()) == (("overall",), [[1.0]])
    assert read.notes[1:] == ("1 left out: the conversations differ before the last answer",)


def test_a_conversation_that_ends_with_the_user_is_refused():
    rows = [{"chosen": [turn("user", "Go?")], "rejected": whole("Go?", "No."), "source": "x"}]
    with pytest.raises(DataError, match=r"list, row 0, field 'chosen': found .*, expected messages that end with the"):
        read_preferences(rows, recipe="skywork")


# SHP


def test_a_label_of_one_is_the_first_answer():
    read = read_preferences([votes(1, 9, 2), votes(0, 2, 9), votes(0, 3, 3)], recipe="shp")
    assert (read.objectives, read.labels.tolist()) == (("helpfulness",), [[1.0, -1.0, -1.0]])
    assert (read.prompts[0], read.responses_a[0]) == ((turn("user", "Why did my bread sink?"),), "Too much water.")


def test_scores_may_be_missing_where_nothing_asks_for_them():
    (row,) = [{key: value for key, value in votes(0, 2, 9).items() if not key.startswith("score")}]
    assert read_preferences([row], recipe="shp").labels.tolist() == [[-1.0]]
    with pytest.raises(DataError, match="list, row 0, field 'score_A': missing"):
        read_preferences([row], recipe="shp", recipe_options={"ratio": 2})


def test_a_ratio_leaves_close_votes_out():
    read = read_preferences([votes(1, 9, 2), votes(1, 5, 4)], recipe="shp", recipe_options={"ratio": 2})
    assert len(read) == 1
    assert read.notes[1:] == ("1 left out: one score is less than 2 times the other",)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (votes(0, 9, 2), "field 'labels': found 0 with score_A 9 and score_B 2, expected 1 where A has more votes"),
        (votes(1, 2, 9), "field 'labels': found 1 with score_A 2 and score_B 9, expected 1 where A has more votes"),
        (votes(-1, 2, 9), "field 'labels': found -1, expected 0 or 1."),
        (votes(1, 9, 2) | {"score_B": None}, "field 'score_B': found null, expected a finite number."),
    ],
)
def test_what_does_not_fit_shp_is_refused(row, message):
    with pytest.raises(DataError, match=f"list, row 0, {message}"):
        read_preferences([row], recipe="shp")
