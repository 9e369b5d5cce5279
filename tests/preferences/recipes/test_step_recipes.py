"""Public step labels: what each recipe makes of its columns, what it leaves out, and what it refuses."""

import json

import pandas as pd
import pytest

from paretokit.errors import ConfigError, DataError
from paretokit.preferences.read import read_preferences
from paretokit.preferences.read_steps import read_step_labels
from paretokit.preferences.recipes.registry import recipes
from paretokit.preferences.recipes.step_recipes import STEP_RECIPES as ALL

STEP_RECIPES = {recipe.name: recipe for recipe in ALL}
MARK = "ки"


def completion(text, rating):
    return {"text": text, "rating": rating, "flagged": None}


def prm800k(stages, **changes):
    parts = {
        "labeler": "x",
        "is_quality_control_question": False,
        "is_initial_screening_question": False,
        "question": {"problem": "What is 6 * 7?", "ground_truth_answer": "42"},
        "label": {"steps": stages, "total_time": 1, "finish_reason": "solution"},
    }
    return {**parts, **changes}


def stage(*completions, chosen=None, human=None):
    return {"completions": [completion(*one) for one in completions], "human_completion": human, "chosen_completion": chosen}


FOLLOWED = prm800k(
    [
        stage(("Multiply.", 1), ("Add.", -1), ("Look.", 0), chosen=0),
        stage(("6 * 7 is 41.", -1), chosen=None, human=completion("6 * 7 is 42.", None)),
        stage(("So 42.\n\n# Answer\n\n42", 1), chosen=0),
    ]
)
SHEPHERD = {
    "input": f"Ann has 4 hats. She buys 2. How many? Step 1: 4 + 2 = 6. {MARK}\nStep 2: The answer is: 6 {MARK}",
    "label": "Ann has 4 hats. She buys 2. How many? Step 1: 4 + 2 = 6. +\nStep 2: The answer is: 6 -",
    "task": "GSM8K",
}
STEPWISE = {"prompt": "8 / 2?", "completions": ["Halve it.", " It is 3."], "labels": [True, False]}
BENCH = {
    "id": "a-1",
    "generator": "m",
    "problem": "8 / 2?",
    "steps": ["Halve it. ", "It is 3. ", "So 3."],
    "final_answer_correct": False,
    "label": 1,
}
VALUE = {"question": "8 / 2?", "response_steps": ["Halve it. ", "It is 4."], "step_value": [0.9, 1.62]}
SAMPLES = {
    "prm800k": FOLLOWED,
    "math-shepherd": SHEPHERD,
    "trl-stepwise": STEPWISE,
    "processbench": BENCH,
    "mahalo-value": VALUE,
}


def read(record, name, **options):
    return read_step_labels([record] if isinstance(record, dict) else record, recipe=name, separator="", **options)


def asked(words):
    return ({"role": "user", "content": words},)


def test_there_is_a_sample_of_every_recipe():
    assert set(SAMPLES) == set(STEP_RECIPES)


@pytest.mark.parametrize("name", STEP_RECIPES)
def test_a_recipe_says_where_it_comes_from(name):
    recipe = recipes()[name]
    assert recipe.name == name
    assert recipe.kind == "steps"
    assert all((recipe.title, recipe.source, recipe.columns, recipe.rule, recipe.licence, recipe.citation))
    assert set(recipe.columns) <= set(SAMPLES[name])


@pytest.mark.parametrize("name", STEP_RECIPES)
def test_a_public_form_is_recognised(name):
    assert [recipe.name for recipe in recipes().values() if recipe.recognises(SAMPLES[name])] == [name]
    with pytest.raises(DataError) as error:
        read_step_labels([SAMPLES[name]])
    assert f"list, row 0: found the columns of {recipes()[name].source} ({', '.join(SAMPLES[name])})" in str(error.value)
    assert f"pass recipe={name!r}." in str(error.value)


@pytest.mark.parametrize("name", STEP_RECIPES)
def test_a_changed_schema_is_an_error_that_shows_the_columns(name):
    changed = {f"new_{key}": value for key, value in SAMPLES[name].items()}
    with pytest.raises(DataError) as error:
        read(changed, name)
    assert f"found the columns {', '.join(changed)}, expected {', '.join(STEP_RECIPES[name].columns)}" in str(error.value)
    assert "missing: " in str(error.value)


def test_the_wrong_recipe_names_the_right_one():
    with pytest.raises(DataError, match="These are the columns of recipe='processbench'"):
        read(BENCH, "mahalo-value")
    with pytest.raises(ConfigError, match="which is for steps; expected one for pairs"):
        read_preferences([BENCH], recipe="processbench")
    with pytest.raises(DataError, match="pass recipe='processbench' to read_step_labels"):
        read_preferences([BENCH])


def test_an_unknown_recipe():
    with pytest.raises(ConfigError) as error:
        read_step_labels([STEPWISE], recipe="prm80k")
    assert str(error.value).startswith("recipe: found 'prm80k', expected one of mahalo-value, math-shepherd")
    assert "Did you mean 'prm800k'?" in str(error.value)


def test_prm800k_has_a_response_for_each_alternative_and_three_classes():
    found = read(FOLLOWED, "prm800k")
    assert found.kinds == {"correctness": "value"}
    assert [prompt[0]["content"] for prompt in found.prompts] == ["What is 6 * 7?"] * 4
    assert {steps: labels["correctness"] for steps, labels in zip(found.steps, found.labels, strict=True)} == {
        ("Add.",): (-1.0,),
        ("Look.",): (0.0,),
        ("Multiply.", "6 * 7 is 41."): (1.0, -1.0),
        ("Multiply.", "6 * 7 is 42.", "So 42.\n\n# Answer\n\n42"): (1.0, None, 1.0),
    }


def test_prm800k_ends_where_nothing_was_chosen():
    """In the second phase a wrong step ends the labelling: the path up to it is the beginning of a longer response."""
    found = read(prm800k([stage(("A.", 1), chosen=0), stage(("B.", -1))]), "prm800k")
    assert found.steps == (("A.", "B."),)
    assert found.labels[0]["correctness"] == (1.0, -1.0)
    rest = read(prm800k([stage(("A.", 1)), stage(("B.", 1), chosen=0)]), "prm800k")
    assert rest.steps == (("A.",),)
    assert rest.left_out == {"steps after one that no completion was chosen for": 1}


def test_prm800k_leaves_out_what_was_not_meant_as_data():
    rows = [
        FOLLOWED,
        prm800k([stage(("A.", 1), chosen=0)], is_quality_control_question=True),
        prm800k([stage(("A.", 1), chosen=0)], is_initial_screening_question=True),
        prm800k([], label={"steps": [stage(("A.", 1), chosen=0)], "finish_reason": "bad_problem"}),
        prm800k([stage(("A.", None), chosen=0)]),
        prm800k([], label={"steps": [stage(("Hm.", 0), chosen=0)], "finish_reason": "give_up"}),
    ]
    found = read(rows, "prm800k")
    assert found.left_out == {
        "quality-control questions": 1,
        "screening questions": 1,
        "bad problems": 1,
        "responses without a rating": 1,
    }
    assert ("Hm.",) in found.steps
    assert "left out: 1 screening questions" in str(found.report())


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([stage(("A.", 2), chosen=0)], "step 0, completion 0, 'rating': found 2, expected -1, 0, 1 or null."),
        ([stage(("A.", True), chosen=0)], "step 0, completion 0, 'rating': found true, expected -1, 0, 1 or null."),
        ([stage(("A.", 1), chosen="x")], "step 0, 'chosen_completion': found 'x', expected null or a number from 0 to 0."),
        ([stage(("A.", 1), chosen=[0])], "step 0, 'chosen_completion': found [0], expected null or a number from 0 to 0."),
        ([stage(("A.", 1), chosen=3)], "step 0, 'chosen_completion': found 3, expected null or a number from 0 to 0."),
        ([stage((None, 1), chosen=0)], "step 0, completion 0, 'text': found null, expected text"),
        ([{"completions": [{"text": "A."}]}], "completion 0: 'rating' is missing; found text."),
        ([7], "step 0: found 7, expected an object with 'completions'."),
        (7, "'steps': found 7, expected a list."),
    ],
)
def test_prm800k_refuses(stages, message):
    with pytest.raises(DataError) as error:
        read(prm800k(stages), "prm800k")
    assert message in str(error.value)
    assert str(error.value).startswith("list, row 0, field 'label'")


def test_math_shepherd_takes_the_marks_out():
    found = read(SHEPHERD, "math-shepherd")
    assert found.kinds == {"correctness": "class"}
    assert found.prompts == (asked("Ann has 4 hats. She buys 2. How many?"),)
    assert found.steps == (("Step 1: 4 + 2 = 6.", "\nStep 2: The answer is: 6"),)
    assert found.labels[0]["correctness"] == (1.0, 0.0)
    assert found.left_out == {}


def test_math_shepherd_with_the_sign_behind_the_mark():
    behind = SHEPHERD["input"].replace(f"6. {MARK}", f"6. {MARK} +").replace(f"6 {MARK}", f"6 {MARK} -")
    assert read({**SHEPHERD, "label": behind}, "math-shepherd") == read(SHEPHERD, "math-shepherd")


def test_math_shepherd_with_a_mark_inside_the_question():
    stray = {key: SHEPHERD[key].replace("hats.", f"hats. {put}") for key, put in (("input", MARK), ("label", "+"))}
    found = read(stray, "math-shepherd")
    assert found.left_out == {"marks inside the question": 1}
    assert found.steps == read(SHEPHERD, "math-shepherd").steps
    assert found.labels == read(SHEPHERD, "math-shepherd").labels
    assert MARK not in found.prompts[0][0]["content"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": "Why? Step 1: So."}, f"field 'input': found no mark {MARK!r}, expected one after each step."),
        ({"input": f"Why? So. {MARK}", "label": "Why? So. +"}, "field 'input': found no 'Step 1:', expected it where"),
        ({"label": SHEPHERD["label"].replace("-", "?")}, "field 'label': found '?' at mark 2, expected '+' or '-'."),
        ({"label": SHEPHERD["label"].replace("hats", "cats")}, "field 'label': found another text than in 'input'"),
        ({"label": None}, "field 'label': found null, expected text"),
    ],
)
def test_math_shepherd_refuses(changes, message):
    with pytest.raises(DataError) as error:
        read({**SHEPHERD, **changes}, "math-shepherd")
    assert message in str(error.value)


def test_trl_stepwise():
    found = read(STEPWISE, "trl-stepwise")
    assert (found.kinds, found.prompts, found.steps) == (
        {"correctness": "class"},
        (asked("8 / 2?"),),
        (("Halve it.", " It is 3."),),
    )
    assert found.labels[0]["correctness"] == (1.0, 0.0)
    numbers = read({**STEPWISE, "labels": [1, 0]}, "trl-stepwise")
    assert numbers == found
    empty = read({"prompt": "p", "completions": ["a", "", " b"], "labels": [True, True, False]}, "trl-stepwise")
    assert (empty.steps, empty.labels[0]["correctness"]) == ((("a", " b"),), (1.0, 0.0))
    assert empty.left_out == {"empty step texts": 1}


@pytest.mark.parametrize(
    ("name", "record", "message"),
    [
        ("trl-stepwise", {**STEPWISE, "labels": [True]}, "field 'labels': found 1 labels for 2 steps, expected one for each."),
        (
            "trl-stepwise",
            {**STEPWISE, "labels": [True, -1]},
            "field 'labels', step 1: found -1, expected true (right) or false",
        ),
        ("trl-stepwise", {**STEPWISE, "labels": [True, "false"]}, "field 'labels', step 1: found 'false', expected true"),
        ("trl-stepwise", {**STEPWISE, "completions": "a"}, "field 'completions': found 'a', expected a list"),
        ("processbench", {**BENCH, "label": 3}, "field 'label': found 3, expected -1 (no wrong step) or the index"),
        ("processbench", {**BENCH, "label": -2}, "field 'label': found -2, expected -1 (no wrong step) or the index"),
        ("processbench", {**BENCH, "label": True}, "field 'label': found true, expected -1 (no wrong step) or the index"),
        ("processbench", {**BENCH, "label": -1}, "found 'label' -1 (no wrong step) and 'final_answer_correct' false"),
        ("mahalo-value", {**VALUE, "step_value": [0.1]}, "field 'step_value': found 1 labels for 2 steps"),
        ("mahalo-value", {**VALUE, "step_value": [0.1, "1"]}, "field 'step_value', step 1: found '1', expected a number"),
        ("mahalo-value", {**VALUE, "step_value": [0.1, True]}, "field 'step_value', step 1: found true, expected a number"),
    ],
)
def test_lists_of_steps_refuse(name, record, message):
    with pytest.raises(DataError) as error:
        read(record, name)
    assert str(error.value).startswith(f"list, row 0{',' if message.startswith('field') else ':'} {message}")
    assert str(error.value).endswith(" Correct the record, or leave such records out with on_error='skip'.")


def test_processbench_labels_nothing_after_the_first_wrong_step():
    assert read(BENCH, "processbench").labels[0]["correctness"] == (1.0, 0.0, None)
    right = {**BENCH, "label": -1, "final_answer_correct": True}
    assert read(right, "processbench").labels[0]["correctness"] == (1.0, 1.0, 1.0)
    lucky = {**BENCH, "label": 0, "final_answer_correct": True}  # a right answer after a wrong step
    assert read(lucky, "processbench").labels[0]["correctness"] == (0.0, None, None)


def test_mahalo_values_stay_as_they_are():
    found = read(VALUE, "mahalo-value")
    assert (found.kinds, found.labels[0]["accuracy"]) == ({"accuracy": "value"}, (0.9, 1.62))


@pytest.mark.parametrize("name", STEP_RECIPES)
def test_files_tables_and_lists_give_the_same(name, tmp_path):
    record = SAMPLES[name]
    (tmp_path / "rows.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    frame = pd.DataFrame([record])
    frame.to_parquet(tmp_path / "rows.parquet")
    spelled = frame.map(lambda cell: json.dumps(cell) if isinstance(cell, (list, dict)) else cell)
    spelled.to_csv(tmp_path / "rows.csv", index=False)
    expected = read(record, name)
    for source in (tmp_path / "rows.jsonl", tmp_path / "rows.parquet", tmp_path / "rows.csv", frame, spelled):
        assert read_step_labels(source, recipe=name, separator="") == expected


def test_false_in_a_csv_file_is_false(tmp_path):
    frame = pd.DataFrame([{**BENCH, "steps": json.dumps(BENCH["steps"]), "label": -1}])
    frame.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(DataError, match="'final_answer_correct' false"):
        read_step_labels(tmp_path / "rows.csv", recipe="processbench")


def test_records_that_cannot_be_used_can_be_skipped():
    found = read([STEPWISE, {**STEPWISE, "labels": [1]}, {"prompt": "p"}], "trl-stepwise", on_error="skip")
    assert len(found) == 1
    assert [message.partition(":")[0] for message in found.skipped] == [
        "list, row 1, field 'labels'",
        "list, row 2, field 'completions'",
    ]
    assert found.report().skipped == 2
    with pytest.raises(ConfigError, match=r"on_error: found 'skp', expected 'raise' or 'skip'\. Did you mean 'skip'"):
        read(STEPWISE, "trl-stepwise", on_error="skp")


def test_nothing_usable_says_why():
    with pytest.raises(DataError) as error:
        read(prm800k([stage(("A.", None), chosen=0)]), "prm800k")
    assert str(error.value) == ("list: found no usable records, expected at least one. Left out: 1 responses without a rating.")
