"""The BeaverTails family: verdicts are numbers of responses, single answers are compared within their prompt."""

import pytest
from support.public_rows import SINGLE, judged, pku, signs

from paretokit.errors import DataError
from paretokit.preferences.read import read_preferences

# PKU-SafeRLHF


def test_a_verdict_names_the_better_response():
    read = read_preferences([pku(0, 0), pku(1, 0), pku(0, 1), pku(1, 1)], recipe="pku-saferlhf")
    assert read.objectives == ("helpfulness", "harmlessness")
    assert read.labels.tolist() == [[1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0]]
    assert read.prompts[0] == ({"role": "user", "content": "How do I strip a floor?"},)
    assert (read.responses_a[0], read.responses_b[0]) == ("With a sander.", "With acid.")


def test_safe_ties_are_ties_in_harmlessness_only_where_both_are_safe():
    rows = [pku(1, 1, safe=safe) for safe in ((True, True), (True, False), (False, False))]
    read = read_preferences(rows, recipe="pku-saferlhf", recipe_options={"safe_ties": True})
    assert read.labels.tolist() == [[-1.0, -1.0, -1.0], [0.0, -1.0, -1.0]]
    assert read_preferences(rows, recipe="pku-saferlhf").labels.tolist() == [[-1.0] * 3] * 2


def test_the_prompt_may_be_raw_text_and_an_answer_empty():
    rows = [pku(1, 1, response_0="")]
    read = read_preferences(rows, recipe="pku-saferlhf", recipe_options={"chat": False}, objectives=["harmlessness"])
    assert (read.prompts[0], read.responses_a[0], read.objectives) == ("How do I strip a floor?", "", ("harmlessness",))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"better_response_id": 2}, "field 'better_response_id': found 2, expected 0 or 1."),
        ({"better_response_id": -1}, "field 'better_response_id': found -1, expected 0 or 1."),
        ({"better_response_id": 0.5}, "field 'better_response_id': found 0.5, expected 0 or 1."),
        ({"better_response_id": True}, "field 'better_response_id': found true, expected 0 or 1."),
        ({"safer_response_id": None}, "field 'safer_response_id': found null, expected 0 or 1."),
        ({"safer_response_id": "one"}, "field 'safer_response_id': found 'one', expected 0 or 1."),
        ({"safer_response_id": ""}, "field 'safer_response_id': found '', expected 0 or 1."),
        ({"is_response_1_safe": "maybe"}, "field 'is_response_1_safe': found 'maybe', expected true or false."),
        ({"is_response_1_safe": 1}, "field 'is_response_1_safe': found 1, expected true or false."),
        ({"response_0": None}, "field 'response_0': found null, expected text (may be empty)."),
        ({"prompt": ["x"]}, "field 'prompt': found ['x'], expected text (may be empty)."),
    ],
)
def test_a_value_that_the_set_does_not_have_is_refused(changed, message):
    with pytest.raises(DataError) as error:
        read_preferences([pku(0, 0), pku(0, 1) | changed], recipe="pku-saferlhf")
    assert str(error.value) == (f"list, row 1, {message} Correct the record, or leave such records out with on_error='skip'.")


# BeaverTails


def test_answers_are_compared_within_their_prompt():
    rows = [
        judged("With a live trap.", True),
        judged("Knit.", True, prompt="Name a hobby."),
        judged("With glue.", False),
        judged("Arson.", False, prompt="Name a hobby."),
        judged("With poison.", False),
    ]
    read = read_preferences(rows, recipe="beavertails")
    assert read.objectives == ("harmlessness",)
    assert list(zip(read.responses_a, read.responses_b, read.labels[0].tolist(), strict=True)) == [
        ("With a live trap.", "With glue.", 1.0),
        ("With a live trap.", "With poison.", 1.0),
        ("With glue.", "With poison.", 0.0),
        ("Knit.", "Arson.", 1.0),
    ]


def test_an_answer_judged_by_several_people_has_the_verdict_of_most():
    votes = [("Trap.", (True, True, False)), ("Glue.", (False,)), ("Cat.", (True, False))]
    rows = [judged(text, safe) for text, verdicts in votes for safe in verdicts]
    read = read_preferences(rows, recipe="beavertails")
    assert (read.responses_a, read.responses_b, read.labels.tolist()) == (("Trap.",), ("Glue.",), [[1.0]])
    assert "an answer that stands several times under its prompt is read as one" in read.notes
    assert "2 left out: it is judged on none of the objectives" in read.notes  # the even vote against both others


def test_an_answer_alone_is_left_out_and_counted():
    rows = [judged("Trap.", True), judged("Glue.", False), judged("Knit.", True, prompt="Name a hobby.")]
    read = read_preferences(rows, recipe="beavertails")
    assert len(read) == 1
    assert read.skipped == ("list, row 2: left out by the recipe, it is the only answer to its prompt.",)
    assert "1 left out: it is the only answer to its prompt" in read.notes


def test_the_single_dimension_set_has_an_overall_verdict_and_minus_one_is_no_index():
    rows = [{**SINGLE, "better_response_id": value} for value in (0, -1, 1)]
    read = read_preferences(rows, recipe="beavertails")
    assert (read.objectives, read.labels.tolist()) == (("overall",), [[1.0, -1.0]])
    with_length = read_preferences(rows, recipe="beavertails", computed=["conciseness"])
    assert with_length.objectives == ("overall", "conciseness")
    assert with_length.labels.nan_to_num(9).tolist() == [[1.0, 9.0, -1.0], [-1.0, -1.0, -1.0]]


def test_the_single_verdict_is_not_read_as_harmlessness():
    with pytest.raises(DataError, match="list, row 0: the verdict of the single-dimension set is overall, expected"):
        read_preferences([{**SINGLE, "better_response_id": 0}], recipe="beavertails", objectives=["harmlessness"])
    with pytest.raises(DataError, match="list, row 0: the verdict on a single answer is harmlessness, expected"):
        read_preferences([judged("Trap.", True)], recipe="beavertails", objectives=["overall"])


def test_prompts_alone_point_to_the_pairs():
    with pytest.raises(DataError, match="BeaverTails-Evaluation holds prompts only"):
        read_preferences([{"prompt": "p", "category": "x"}], recipe="beavertails")


# RACO's set


def test_racos_set_is_read_by_the_columns_it_has():
    assert read_preferences([pku(0, 1)], recipe="raco-saferlhf").labels.tolist() == [[1.0], [-1.0]]
    row = {key: value for key, value in signs(0, 0).items() if not key.startswith("raco")}
    row |= {"raco_s_helpfulness": -1.0, "raco_s_harmlessness": 1.0}
    read = read_preferences([row], recipe="raco-saferlhf")
    assert (read.objectives, read.labels.tolist()) == (("helpfulness", "harmlessness"), [[-1.0], [1.0]])
    assert "not for commercial use" in read.notes[0]
    with pytest.raises(DataError, match="pass recipe='raco-saferlhf'"):
        read_preferences([row])


def test_racos_set_under_the_columns_of_the_summaries_is_not_guessed():
    with pytest.raises(DataError, match=r"The card of the data set states no columns\. Rename the two verdicts to raco_s_help"):
        read_preferences([signs(1.0, -1.0)], recipe="raco-saferlhf")
