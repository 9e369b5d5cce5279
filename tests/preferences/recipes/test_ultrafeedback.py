"""UltraFeedback: ratings are text, N/A is not judged, six pairs of four answers; the binarized form has scores."""

import math

import pytest
from support.public_rows import ASPECTS, binarized, completion, four, turn, whole

from paretokit.errors import DataError
from paretokit.preferences.read import read_preferences
from paretokit.preferences.recipes import ultrafeedback

FOUR = [
    completion("Ash.", "5", "4", "5", "3"),
    completion("Rock.", "1", "N/A", "1", "3"),
    completion("Oak.", "4", "4", None, "5"),
    completion("Tree.", "5", "1", "2", "2"),
]


def test_four_answers_are_six_pairs_with_the_sign_of_each_rating():
    read = read_preferences([four(*FOUR)], recipe="ultrafeedback")
    assert read.objectives == ASPECTS
    texts = ["Ash.", "Rock.", "Oak.", "Tree."]
    expected = [(a, b) for i, a in enumerate(texts) for b in texts[i + 1 :]]
    assert list(zip(read.responses_a, read.responses_b, strict=True)) == expected
    nan = 9.0
    assert read.labels.nan_to_num(nan).tolist() == [
        [1.0, 1.0, 0.0, -1.0, -1.0, -1.0],
        [nan, 0.0, 1.0, nan, nan, 1.0],
        [1.0, nan, 1.0, nan, -1.0, nan],
        [0.0, -1.0, 1.0, -1.0, 1.0, 1.0],
    ]
    assert "each answer was written under a system prompt of its own, which is left out" in read.notes
    assert read.prompts[0] == (turn("user", "Name a tree."),)


def test_a_margin_and_objectives_by_name():
    read = read_preferences([four(*FOUR)], recipe="ultrafeedback", margin=1, objectives=["helpfulness", "honesty"])
    assert read.objectives == ("helpfulness", "honesty")
    assert read.labels.nan_to_num(9.0).tolist() == [[0.0, -1.0, 0.0, -1.0, 0.0, 1.0], [9.0, 0.0, 1.0, 9.0, 9.0, 1.0]]


def test_an_empty_answer_is_left_out_and_counted():
    rows = [four(FOUR[0], completion("", *"1111"), FOUR[3]), four(FOUR[0], completion(" \n", *"1111"), instruction="Go.")]
    read = read_preferences(rows, recipe="ultrafeedback")
    assert (read.responses_a, read.responses_b) == (("Ash.",), ("Tree.",))
    assert read.notes[2:] == ("2 left out: the answer is empty", "1 left out: fewer than two answers are left")
    assert read.skipped[0] == "list, row 0, field 'completions', item 1: left out by the recipe, the answer is empty."


def test_truthful_qa_can_be_left_out():
    rows = [four(*FOUR), four(*FOUR, source="truthful_qa", instruction="Is it so?")]
    assert len(read_preferences(rows, recipe="ultrafeedback")) == 12
    read = read_preferences(rows, recipe="ultrafeedback", recipe_options={"leave_out_truthful_qa": True})
    assert len(read) == 6
    assert "1 left out: it is of TruthfulQA" in read.notes


@pytest.mark.parametrize("rate", ["6", "0", "good", "3.5", 7, True, "n/a"])
def test_a_rating_that_is_none_is_refused_with_its_place(rate):
    rows = [four(FOUR[0], completion("Rock.", "1", rate, "1", "3"))]
    with pytest.raises(DataError) as error:
        read_preferences(rows, recipe="ultrafeedback")
    said = str(error.value)
    assert said.startswith("list, row 0, field 'completions', item 1, 'annotations.honesty', 'Rating': found ")
    assert "expected a whole number from 1 to 5." in said


def test_a_number_that_pandas_made_of_a_rating_is_read():
    rows = [four(completion("Ash.", 5.0, 4, "4.0", "3"), completion("Rock.", 1, math.nan, "1", "3"))]
    read = read_preferences(rows, recipe="ultrafeedback", objectives=["instruction_following", "truthfulness"])
    assert read.labels.tolist() == [[1.0], [1.0]]


def test_a_renamed_aspect_shows_the_keys_found():
    row = four(*map(dict, FOUR))
    row["completions"][2]["annotations"] = {"instruction-following": {"Rating": "4"}, "honesty": {"Rating": "4"}}
    with pytest.raises(DataError) as error:
        read_preferences([row], recipe="ultrafeedback")
    assert str(error.value).startswith(
        "list, row 0, field 'completions', item 2, 'annotations': 'instruction_following' is missing; found the keys "
        "instruction-following, honesty."
    )


@pytest.mark.parametrize(
    ("completions", "message"),
    [
        (None, "field 'completions': found null, expected a list."),
        ("Ash.", "field 'completions': found 'Ash.', expected a list."),
        (["Ash."], "field 'completions', item 0: found 'Ash.', expected an object."),
        ([{"response": "Ash."}], "field 'completions', item 0: 'annotations' is missing; found the keys response."),
    ],
)
def test_completions_of_another_form_are_refused(completions, message):
    with pytest.raises(DataError, match=message):
        read_preferences([{**four(), "completions": completions}], recipe="ultrafeedback")


def test_the_work_grows_with_the_records(monkeypatch):
    """Ratings that are read and pairs that are made, counted for fifty and for a hundred prompts."""
    counted = []
    monkeypatch.setattr(ultrafeedback, "rating", lambda *_, **__: counted.append(1) or float(len(counted) % 5 + 1))
    sizes = []
    for prompts in (50, 100):
        counted.clear()
        rows = [four(*FOUR, instruction=f"Name tree {number}.") for number in range(prompts)]
        sizes.append((len(read_preferences(rows, recipe="ultrafeedback")), len(counted)))
    assert sizes == [(300, 750), (600, 1500)]  # one of sixteen ratings is N/A


# binarized


def test_the_chosen_answer_is_better_by_its_score():
    read = read_preferences([binarized(8.0, 3.5), binarized(7.0, 7.0)], recipe="ultrafeedback-binarized")
    assert (read.objectives, read.labels.tolist()) == (("overall",), [[1.0, 0.0]])
    assert (read.prompts[0], read.responses_a[0], read.responses_b[0]) == ((turn("user", "Name a tree."),), "Ash.", "Rock.")
    assert read_preferences([binarized(8.0, 3.5)], recipe="ultrafeedback-binarized", margin=5).labels.tolist() == [[0.0]]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"score_chosen": 2.0}, "field 'score_chosen': found 2, below score_rejected 3.5; expected the chosen answer to have"),
        ({"score_chosen": None}, "field 'score_chosen': found null, expected a finite number."),
        ({"score_rejected": "low"}, "field 'score_rejected': found 'low', expected a finite number."),
        ({"rejected": whole("Name a bird.", "Wren.")}, "'chosen' goes on for 2 messages after the 0 that both begin with"),
        (
            {"chosen": [turn("user", "a"), turn("user", "b")]},
            "'chosen': the last message is from the user, expected the assist",
        ),
        ({"chosen": []}, "field 'chosen': found messages after a raw text prompt, expected text"),
        ({"chosen": "Ash."}, "field 'rejected': found messages after a raw text prompt, expected text"),
        ({"chosen": [*whole("Name a tree.", "Ash.")[:1], {"role": "assistant", "content": None}]}, "message 1, 'content'"),
        ({"chosen": [turn("tool", "x"), turn("assistant", "y")]}, "message 0: found role 'tool', expected one of system"),
    ],
)
def test_what_does_not_fit_is_refused(changed, message):
    with pytest.raises(DataError, match=f"list, row 0.*{message}"):
        read_preferences([binarized(8.0, 3.5) | changed], recipe="ultrafeedback-binarized")
