"""Step labels in our own form from any source, and the joints of their steps."""

import json
import warnings

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretokit.errors import DataError
from paretokit.preferences.joints import bare_joints, separated
from paretokit.preferences.read_steps import read_step_labels
from paretokit.preferences.step_labels import StepLabels
from paretokit.preferences.steps import by_delimiter, by_sentence

RECORD = {"prompt": "p", "steps": ["A.", " B."], "labels": {"calm": [1, None]}, "kind": {"calm": "class"}}
BARE = {**RECORD, "steps": ["Add.", "It is 5."]}


def test_a_list_and_a_table_are_read_as_a_file_is(tmp_path):
    expected = StepLabels(kinds={"calm": "class"}, prompts=["p"], steps=[["A.", " B."]], labels=[{"calm": [1, None]}])
    spelled = {name: value if isinstance(value, str) else json.dumps(value) for name, value in RECORD.items()}
    pd.DataFrame([spelled]).to_csv(tmp_path / "rows.csv", index=False)
    for source in ([RECORD], pd.DataFrame([RECORD]), pd.DataFrame([spelled]), tmp_path / "rows.csv"):
        assert read_step_labels(source) == expected
    assert read_step_labels([RECORD]).source == "list"


def test_lists_as_python_prints_them_are_refused():
    with pytest.raises(DataError, match=r"field 'steps': found the text .*spelled as JSON \(not as Python prints it\)"):
        read_step_labels([{**RECORD, "steps": "['A.', ' B.']"}])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "list: found no records, expected at least one."),
        ([7], "list, row 0: found 7, expected an object"),
        (7, "source: found int"),
    ],
)
def test_sources_that_hold_nothing(source, message):
    with pytest.raises(DataError) as error:
        read_step_labels(source)
    assert str(error.value).startswith(message)


def test_steps_that_meet_without_a_blank_are_warned_of():
    with pytest.warns(UserWarning, match="meet without a blank") as seen:
        found = read_step_labels([RECORD, BARE])
    assert found.steps[1] == ("Add.", "It is 5.")
    assert str(seen[0].message) == (
        "list, row 1: found steps that meet without a blank, such as 'Add.It is 5.', 1 in 1 of 2 responses; a model reads them "
        "as one text. Pass separator=' ' or another text to put between them, or separator='' to take them as they are."
    )
    assert found.report().joints == 1
    assert "1 steps follow the one before without a blank" in str(found.report())


def test_a_recipe_knows_what_its_authors_put_there():
    rows = [{"question": "q", "response_steps": ["Add.", "It is 5."], "step_value": [1, 0]}]
    with pytest.warns(UserWarning, match=r"put between them \(usual here: '\\n\\n'\)"):
        read_step_labels(rows, recipe="mahalo-value")


def test_a_separator_is_put_where_nothing_is():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_step_labels([RECORD, BARE], separator=" ")
        assert found.steps == (("A.", " B."), ("Add.", " It is 5."))
        assert read_step_labels([BARE], separator="\n\n").steps == (("Add.\n\n", "It is 5."),)
        assert read_step_labels([BARE], separator="").steps == (("Add.", "It is 5."),)
        assert read_step_labels([RECORD]).steps == (("A.", " B."),)
    assert found == StepLabels(**made(found)).separated(" ") == found.separated("\n")


def made(labels):
    return {"kinds": labels.kinds, "prompts": labels.prompts, "steps": labels.steps, "labels": labels.labels}


@pytest.mark.parametrize(
    ("steps", "bare"),
    [
        (["Add.", "It is 5."], (1,)),
        (["Add. ", "It is 5."], ()),
        (["Add.", "\nIt is 5."], ()),
        (["1+1", "=2", "!"], (1, 2)),
        (["先加。", "等于五。"], ()),
        (["one"], ()),
    ],
)
def test_bare_joints(steps, bare):
    assert bare_joints(steps) == bare


@given(st.lists(st.text("a.\n ", min_size=1), min_size=1, max_size=6), st.sampled_from([" ", "\n", "\n\n", ";\n"]))
def test_separated_steps_have_no_bare_joint_and_lose_nothing(steps, separator):
    found = separated(steps, separator)
    assert bare_joints(found) == ()
    assert len(found) == len(steps)
    assert len("".join(found)) == len("".join(steps)) + len(separator) * len(bare_joints(steps))
    assert separated(found, separator) == found


def test_a_separator_stands_where_a_splitter_leaves_it():
    assert separated(["Add.", "It is 5."], " ") == by_sentence().split("Add. It is 5.")
    assert separated(["Add.", "It is 5."], "\n\n") == by_delimiter().split("Add.\n\nIt is 5.")


def test_the_report():
    found = StepLabels(
        kinds={"right": "class", "worth": "value", "none": "class"},
        prompts=["p", "p", "q"],
        steps=[["A.", "B."], ["C."], ["D."]],
        labels=[{"right": [1, 1], "worth": [0.5, None]}, {"right": [1], "worth": [1.5]}, {}],
    ).report()
    assert found[2:7] == (3, 2, 4, 1, 1)
    right, worth, none = found.objectives
    assert (right.labelled, right.unlabelled, right.constant) == (3, 1, True)
    assert (worth.least, worth.mean, worth.most, worth.constant) == (0.5, 1.0, 1.5, False)
    assert (none.labelled, none.mean, none.constant) == (0, None, True)
    assert json.loads(json.dumps(found.to_json()))["objectives"][1]["mean"] == 1.0
    assert "right (class): 3 steps labelled, 1 not; mean 1, from 1 to 1, all equal" in str(found)
    assert "none (class): no labels" in str(found)
    assert "1 responses without a label" in str(found)


def test_records_of_which_none_can_be_used_are_not_called_none():
    row = {"question": {"problem": "2 + 3?"}, "label": {"steps": [], "finish_reason": "solution"}}
    with pytest.raises(DataError, match="list: found no usable records, expected at least one"):
        read_step_labels([row], recipe="prm800k")
