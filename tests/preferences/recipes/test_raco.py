"""RACO's summaries: chosen does not mean better; letters, signs and numbers by value; verbosity prefers the shorter."""

import pytest
from support.public_rows import letters, signs, turn, whole

from paretokit.errors import DataError
from paretokit.preferences.read import read_preferences

VALUES = [(-1.0, 1.0), (1.0, 0.0), (0, -1), (None, -1.0), (1.0, None)]
EXPECTED = [[-1.0, 1.0, 0.0, 9.0, 1.0], [1.0, 0.0, -1.0, -1.0, 9.0]]


def test_signs_say_which_is_better_whatever_was_chosen():
    read = read_preferences([signs(*pair) for pair in VALUES], recipe="raco-tldr")
    assert read.objectives == ("quality", "conciseness")
    assert read.labels.nan_to_num(9.0).tolist() == EXPECTED
    assert (read.prompts[0], read.responses_a[0]) == ((turn("user", "Sum up: the tap drips."),), "Tap drips.")
    assert read.responses_b[0] == "The tap in my house drips."


@pytest.mark.parametrize(
    "spelled",
    [
        {-1: "B", 1: "A", 0: "tie", None: None},
        {-1: "b", 1: " a ", 0: "Tie", None: ""},
        {-1: "-1", 1: "1", 0: "0", None: None},
        {-1: "-1.0", 1: "1.0", 0: "0.0", None: ""},
        {-1: -1, 1: 1, 0: 0, None: None},
    ],
)
def test_letters_and_numbers_mean_the_same(spelled):
    rows = [letters(spelled[quality], spelled[verbosity]) for quality, verbosity in VALUES]
    assert read_preferences(rows, recipe="raco-tldr").labels.nan_to_num(9.0).tolist() == EXPECTED


def test_the_shorter_summary_is_the_more_concise():
    """A verbosity of 1 prefers chosen, which is the shorter one in the sample, as the lengths themselves say."""
    read = read_preferences([signs(1.0, 1.0)], recipe="raco-tldr", computed={"shorter": "conciseness"})
    assert read.objectives == ("quality", "conciseness", "shorter")
    assert read.labels.tolist() == [[1.0], [1.0], [1.0]]


@pytest.mark.parametrize("value", [2, "2", "C", "A>B", 0.5, True, "unknown", [1]])
def test_another_value_is_refused(value):
    for row, name in ((signs(1.0, value), "raco_s_verbosity"), (letters("A", value), "Verbosity")):
        with pytest.raises(DataError) as error:
            read_preferences([signs(1.0, 1.0) if name[0] == "r" else letters("A", "A"), row], recipe="raco-tldr")
        assert f"list, row 1, field {name!r}: found " in str(error.value)
        assert "expected 'A', 'B', 'tie', 1, -1, 0 or null." in str(error.value)


def test_faithfulness_is_read_where_its_column_is_there():
    rows = [signs(1.0, 1.0, raco_s_faithfulness=-1.0, chosen_faithful_logit=0.2), signs(1.0, 1.0, raco_s_faithfulness=0.0)]
    read = read_preferences(rows, recipe="raco-tldr")
    assert (read.objectives, read.labels.tolist()[2]) == (("quality", "conciseness", "faithfulness"), [-1.0, 0.0])
    with pytest.raises(DataError, match="list, row 0, field 'raco_s_faithfulness': missing"):
        read_preferences([signs(1.0, 1.0)], recipe="raco-tldr", objectives=["faithfulness"])


def test_without_verbosity_a_note_says_how_lengths_are_compared():
    row = {key: value for key, value in signs(1.0, 0.0).items() if key != "raco_s_verbosity"}
    read = read_preferences([row], recipe="raco-tldr")
    assert read.objectives == ("quality",)
    assert "no column for conciseness; computed={'conciseness': 'conciseness'} compares lengths" in read.notes
    added = read_preferences([row], recipe="raco-tldr", computed={"conciseness": "conciseness"})
    assert (added.objectives, added.labels.tolist()) == (("quality", "conciseness"), [[1.0], [1.0]])


def test_a_prompt_may_stand_beside_the_answers():
    answers = {"chosen": [turn("assistant", "Short.")], "rejected": "Long and long."}
    read = read_preferences([{**signs(-1.0, 1.0), "prompt": [turn("user", "Go.")], **answers}], recipe="raco-tldr")
    assert (read.prompts, read.responses_a, read.responses_b) == (((turn("user", "Go."),),), ("Short.",), ("Long and long.",))
    assert read.labels.tolist() == [[-1.0], [1.0]]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"rejected": whole("Sum up: rain.", "Rain.")},
            "fields 'chosen' and 'rejected': 'chosen' goes on for 2 messages after the 0",
        ),
        ({"rejected": [turn("assistant", "Rain.")]}, "fields 'chosen' and 'rejected': 'chosen' goes on for 2 messages"),
        ({"chosen": "Tap drips."}, "field 'prompt': missing"),
        ({"prompt": "Go."}, "field 'prompt': found 'Go.', which is no message of the user at the start of 'chosen'"),
    ],
)
def test_what_does_not_fit_is_refused(changed, message):
    with pytest.raises(DataError, match=f"list, row 0.*{message}"):
        read_preferences([signs(1.0, 1.0) | changed], recipe="raco-tldr")


def test_letters_whose_conversations_differ_name_the_columns():
    row = letters("A", "B") | {"Summary_B": whole("Sum up: rain.", "Rain.")}
    with pytest.raises(
        DataError, match="list, row 0, fields 'Summary_A' and 'Summary_B' as chosen and rejected: 'chosen' goes"
    ):
        read_preferences([row], recipe="raco-tldr")
    with pytest.raises(DataError, match=r"list, row 0, field 'Summary_B': found 'Rain.', expected a list\."):
        read_preferences([letters("A", "B") | {"Summary_B": "Rain."}], recipe="raco-tldr")
