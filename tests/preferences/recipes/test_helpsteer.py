"""HelpSteer: ratings are compared within a prompt, amounts are no merits, and a negative strength means the first is better."""

import pytest
from support.public_rows import graded, steered, strength, turn

from paretokit.errors import DataError
from paretokit.preferences.read import read_preferences

MARKED = "Plan a walk.\n<extra_id_1>Assistant\nHow long?\n<extra_id_1>User\nAn hour."
TURNS = (turn("user", "Plan a walk."), turn("assistant", "How long?"), turn("user", "An hour."))

# ratings


def test_ratings_are_compared_and_less_verbosity_is_conciseness():
    rows = [steered("Why?", "Since it rains.", (4, 3, 2, 1, 4)), steered("Why?", "Rain.", (1, 3, 4, 0, 0))]
    read = read_preferences(rows, recipe="helpsteer2")
    assert read.objectives == ("helpfulness", "correctness", "coherence", "conciseness")
    assert read.labels.T.tolist() == [[1.0, 0.0, -1.0, -1.0]]


def test_amounts_are_read_where_they_are_asked_for():
    rows = [steered("Why?", "Since it rains.", (4, 3, 2, 1, 4)), steered("Why?", "Rain.", (1, 3, 4, 1, 0))]
    read = read_preferences(rows, recipe="helpsteer2", objectives=["verbosity", "complexity", "helpfulness"])
    assert read.objectives == ("verbosity", "complexity", "helpfulness")
    assert read.labels.T.tolist() == [[1.0, 0.0, 1.0]]


def test_a_margin_makes_near_ratings_ties():
    rows = [steered("Why?", "a", (4, 3, 0, 0, 4)), steered("Why?", "b", (3, 1, 4, 0, 3))]
    read = read_preferences(rows, recipe="helpsteer2", margin=1)
    assert read.labels.T.tolist() == [[0.0, 1.0, -1.0, 0.0]]


def test_pairs_are_formed_within_a_prompt_wherever_its_rows_stand():
    rows = [
        steered(prompt, f"{prompt}{n}", (n, 0, 0, 0, 0)) for prompt, n in (("p", 1), ("q", 2), ("p", 3), ("p", 0), ("r", 1))
    ]
    read = read_preferences(rows, recipe="helpsteer2", objectives=["helpfulness"])
    assert list(zip(read.responses_a, read.responses_b, read.labels[0].tolist(), strict=True)) == [
        ("p1", "p3", -1.0),
        ("p1", "p0", 1.0),
        ("p3", "p0", 1.0),
    ]
    assert len(read.skipped) == 2  # q and r have one answer each


def test_an_answer_rated_twice_has_the_mean():
    rows = [steered("p", "x", (n, 0, 0, 0, 0)) for n in (1, 4)] + [steered("p", "y", (3, 0, 0, 0, 0))]
    assert read_preferences(rows, recipe="helpsteer2", objectives=["helpfulness"]).labels.tolist() == [[-1.0]]


@pytest.mark.parametrize(
    ("prompt", "turns"),
    [
        ("Why?", (turn("user", "Why?"),)),
        (MARKED, TURNS),
        (f"<extra_id_1>User\n{MARKED}", TURNS),
        (f"<extra_id_0>System\nBe kind.\n<extra_id_1>User\n{MARKED}", (turn("system", "Be kind."), *TURNS)),
        (f"<extra_id_0>System\n\n<extra_id_1>User\n{MARKED}", TURNS),
        ("What does <extra_id_1> mean in T5?", (turn("user", "What does <extra_id_1> mean in T5?"),)),
    ],
)
def test_marks_in_the_prompt_are_turns(prompt, turns):
    rows = [steered(prompt, text, (n, 0, 0, 0, 0)) for n, text in enumerate("ab")]
    assert read_preferences(rows, recipe="helpsteer2").prompts == (turns,)


def test_a_prompt_that_ends_with_the_assistant_or_an_unknown_speaker_is_refused():
    def error_of(prompt):
        with pytest.raises(DataError) as error:
            read_preferences([steered(prompt, "a", (0, 0, 0, 0, 0))], recipe="helpsteer2")
        return str(error.value)

    assert "field 'prompt': the last message is from the assistant, expected the user" in error_of(
        "Hi\n<extra_id_1>Assistant\nYes?"
    )
    assert "field 'prompt': found a turn of 'Narrator', expected User, Assistant or System." in error_of(
        "Hi\n<extra_id_1>Narrator\nRain."
    )


@pytest.mark.parametrize("value", [5, -1, 2.5, None, "", "high", True])
def test_a_rating_outside_of_0_to_4_is_refused(value):
    rows = [steered("p", "a", (1, 1, 1, 1, 1)), steered("p", "b", (1, 1, 1, 1, 1)) | {"coherence": value}]
    with pytest.raises(DataError, match=r"list, row 1, field 'coherence': found .*, expected a whole number from 0 to 4\."):
        read_preferences(rows, recipe="helpsteer2")


# strengths


@pytest.mark.parametrize("made", [strength, graded])
def test_a_negative_strength_means_that_the_first_is_better(made):
    name = "helpsteer2-preference" if made is strength else "helpsteer3"
    rows = [made(value) for value in (-3, -1, 0, 1, 3)]
    assert read_preferences(rows, recipe=name).labels.tolist() == [[1.0, 1.0, 0.0, -1.0, -1.0]]
    assert read_preferences(rows, recipe=name, margin=1).labels.tolist() == [[1.0, 0.0, 0.0, 0.0, -1.0]]
    assert read_preferences(rows, recipe=name).objectives == ("overall",)


@pytest.mark.parametrize("value", [4, -100, None, 0.5, "A", False])
@pytest.mark.parametrize("made", [strength, graded])
def test_a_strength_outside_of_minus_3_to_3_is_refused(made, value):
    name = "helpsteer2-preference" if made is strength else "helpsteer3"
    with pytest.raises(DataError, match=r"preference.*': found .*, expected a whole number from -3 to 3\."):
        read_preferences([made(value)], recipe=name)


def test_the_split_of_the_one_file_can_be_chosen():
    rows = [strength(-1), strength(1, split="val"), strength(2, split="validation")]
    chosen = {part: read_preferences(rows, recipe="helpsteer2-preference", recipe_options={"split": part}) for part in SPLITS}
    assert [read.labels.tolist() for read in chosen.values()] == [[[1.0, -1.0, -1.0]], [[1.0]], [[-1.0, -1.0]]]
    assert "2 left out: it is of the split validation" in chosen["train"].notes
    with pytest.raises(DataError, match=r"list, row 0, field 'split': found 'dev', expected 'train', 'val' or 'validation'\."):
        read_preferences([strength(1, split="dev")], recipe="helpsteer2-preference")


SPLITS = ("all", "train", "validation")


def test_a_file_without_its_split_is_read_whole():
    (row,) = [{key: value for key, value in strength(-1).items() if key != "split"}]
    assert read_preferences([row], recipe="helpsteer2-preference").labels.tolist() == [[1.0]]
    with pytest.raises(DataError, match="list, row 0, field 'split': missing"):
        read_preferences([row], recipe="helpsteer2-preference", recipe_options={"split": "train"})


def test_the_responses_keep_their_order_and_marks_are_turns():
    read = read_preferences([strength(-1, prompt=MARKED)], recipe="helpsteer2-preference")
    assert (read.prompts[0], read.responses_a[0], read.responses_b[0]) == (TURNS, "The Oder.", "Some river.")


def test_a_context_is_messages_or_one_question():
    read = read_preferences([graded(1), graded(1, context="Why?")], recipe="helpsteer3")
    assert read.prompts == (TURNS, (turn("user", "Why?"),))
    with pytest.raises(DataError, match="list, row 0, field 'context': the last message is from the assistant"):
        read_preferences([graded(1, context=list(TURNS[:2]))], recipe="helpsteer3")
    with pytest.raises(DataError, match="list, row 0, field 'context', message 0: found role 'human', expected one of"):
        read_preferences([graded(1, context=[turn("human", "Hi")])], recipe="helpsteer3")


def test_one_verdict_becomes_two_objectives_with_a_computed_one():
    read = read_preferences([graded(-1), graded(2)], recipe="helpsteer3", computed={"conciseness": "conciseness"})
    assert read.objectives == ("overall", "conciseness")
    assert read.labels.tolist() == [[1.0, -1.0], [-1.0, -1.0]]
