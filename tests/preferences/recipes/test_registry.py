"""What holds for every recipe: it is recognised, complete, and reads the same from any container; schemas are compared."""

import json

import pandas as pd
import pytest
from support.public_rows import PUBLIC, completion, four, pku

from paretokit.errors import ConfigError, DataError
from paretokit.preferences.files import Record
from paretokit.preferences.forms import Pair
from paretokit.preferences.read import read_preferences, recipe_of
from paretokit.preferences.recipes.recipe import Option, Recipe, each
from paretokit.preferences.recipes.registry import find, recipes, recognise, refuse_public

NAMES = [
    "beavertails",
    "helpsteer2",
    "helpsteer2-preference",
    "helpsteer3",
    "hh-rlhf",
    "nectar",
    "pku-saferlhf",
    "raco-saferlhf",
    "raco-tldr",
    "shp",
    "skywork",
    "tldr",
    "tldr-axis",
    "ultrafeedback",
    "ultrafeedback-binarized",
]
HELPFUL = {"hh-rlhf": {"objectives": ["helpful"]}}  # what the source does not say
each_form = pytest.mark.parametrize(("name", "form", "rows"), PUBLIC, ids=[f"{name}, {form}" for name, form, _ in PUBLIC])


def read(source, name, **options):
    return read_preferences(source, recipe=name, **HELPFUL.get(name, {}), **options)


def test_the_recipes_for_pairs_are_these():
    assert [name for name, recipe in recipes().items() if recipe.kind == "pairs"] == NAMES
    assert {name for name, _, _ in PUBLIC} == {*NAMES} - {"raco-saferlhf"}  # which has the columns of others


@pytest.mark.parametrize("recipe", recipes().values(), ids=lambda recipe: recipe.name)
def test_a_recipe_says_everything_about_its_data(recipe):
    texts = (recipe.title, recipe.source, recipe.rule, recipe.licence, recipe.citation)
    assert all(text and text == text.strip() for text in texts)
    assert recipe.kind in ("pairs", "steps")
    assert recipe.objectives
    assert recipe.traps
    assert recipe.forms
    assert all(len(set(form)) == len(form) for form in recipe.forms)
    assert recipe.noncommercial == recipe.licence.startswith("CC-BY-NC")
    for option in recipe.options.values():
        assert option.checked(option.default, place="") == option.default


def test_a_recipe_prints_what_a_reader_needs():
    assert str(recipes()["helpsteer3"]).splitlines() == [
        "helpsteer3: HelpSteer3-Preference, one graded preference on a pair",
        "  source: nvidia/HelpSteer3",
        "  objectives: overall",
        "  columns: context, response1, response2, overall_preference",
        f"  labels: {recipes()['helpsteer3'].rule}",
        "  options: margin: scores that differ by no more are a tie",
        "  licence: CC-BY-4.0",
        "  citation: Wang et al. 2025 (arXiv 2505.11475)",
        *(f"  mind: {trap}" for trap in recipes()["helpsteer3"].traps),
    ]
    said = str(recipes()["beavertails"])
    assert "  objectives: harmlessness, overall (by name)\n" in said
    assert said.count("  columns: ") == 2
    assert "  options: chat (default True): the prompt is a user's message" in said
    assert recipes()["beavertails"].columns == (
        "prompt",
        "response",
        "is_safe",
        "response_0",
        "response_1",
        "better_response_id",
    )


@each_form
def test_a_public_schema_is_recognised_and_the_error_names_the_recipe(name, form, rows):
    assert recipe_of(rows) == name
    with pytest.raises(DataError) as error:
        read_preferences(rows, **({"margin": 0.0} if name == "helpsteer2" else {}))
    assert str(error.value).startswith("list, row 0: found the columns of ")
    assert f"pass recipe={name!r} (in the shell: --recipe {name}). If the data are others, " in str(error.value)
    assert read(rows, name).recipe == name


@each_form
def test_the_reader_of_step_labels_names_the_other_reader(name, form, rows):
    records = [Record(f"list, row {index}", row) for index, row in enumerate(rows)]
    with pytest.raises(DataError, match=f"pass recipe='{name}' to read_preferences"):
        refuse_public(records, kind="steps")


OWN = [
    {"prompt": "p", "response_a": "a", "response_b": "b", "labels": {"good": 1, "brief": -1}},
    {"prompt": "p", "response_a": "a", "response_b": "b", "good": 1},
    {"prompt": "p", "chosen": "a", "rejected": "b", "objective": "good"},
    {"prompt": "p", "chosen": "a", "rejected": "b", "objective": "good", "score_chosen": 1.0, "score_rejected": 2.0},
    {"prompt": "p", "chosen": "a", "rejected": "b", "objective": "good", "source": "x"},
    {"prompt": "p", "response": "a", "helpfulness": 1, "correctness": 2},
]


@pytest.mark.parametrize("row", OWN, ids=lambda row: ", ".join(row))
def test_forms_of_our_own_are_no_public_schema(row):
    assert recognise([Record("list, row 0", row)]) is None


@each_form
def test_any_container_gives_the_same_pairs(name, form, rows, tmp_path):
    expected = read(rows, name)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    frame = pd.DataFrame(rows)
    frame.to_parquet(tmp_path / "rows.parquet")
    frame.to_csv(tmp_path / "python.csv", index=False)  # nested cells as Python spells them
    as_json = [{key: json.dumps(v) if isinstance(v, (list, dict)) else v for key, v in row.items()} for row in rows]
    pd.DataFrame(as_json).to_csv(tmp_path / "json.csv", index=False)
    sources = [frame, *(tmp_path / file for file in ("rows.jsonl", "rows.parquet", "python.csv", "json.csv"))]
    for source in sources:
        assert read(source, name).fingerprint == expected.fingerprint, source


@each_form
def test_a_missing_column_is_an_error_that_shows_both(name, form, rows):
    recipe = recipes()[name]
    fitting = [need for need in recipe.forms if set(need) <= set(rows[0])]
    for column in fitting[0]:
        renamed = [{("is_" + key if key == column else key): value for key, value in row.items()} for row in rows]
        with pytest.raises(DataError) as error:
            read(renamed, name)
        assert f"recipe {name!r} found the columns {', '.join(renamed[0])}, expected " in str(error.value)
        assert f"missing: {column}" in str(error.value)


def test_columns_of_another_data_set_are_named():
    with pytest.raises(DataError, match=r"missing: info, summaries, choice\. These are the columns of recipe='pku-saferlhf'\."):
        read_preferences([pku(0, 1)], recipe="tldr")


def test_a_recipe_whose_columns_are_among_those_of_another_data_set_is_refused():
    sides = {side: [{"role": "user", "content": "Sum up."}, {"role": "assistant", "content": side}] for side in ("a", "b")}
    raco = {"chosen": sides["a"], "rejected": sides["b"], "raco_s_quality": -1, "source": "reddit"}  # chosen is not better
    with pytest.raises(DataError, match=r"recipe 'skywork' found the columns of RACOo/.*; pass recipe='raco-tldr'\."):
        read_preferences([raco], recipe="skywork")
    with pytest.raises(DataError, match=r"recipe 'beavertails' found the columns of PKU-.*; pass recipe='pku-saferlhf'\."):
        read_preferences([pku(0, 1)], recipe="beavertails")
    assert read_preferences([pku(0, 1)], recipe="raco-saferlhf").labels.tolist() == [[1.0], [-1.0]]  # a form of both


def test_two_verdicts_of_which_one_was_renamed_are_not_the_single_one_of_beavertails():
    renamed = {("safest_id" if name == "safer_response_id" else name): value for name, value in pku(0, 1).items()}
    assert recipe_of([renamed]) is None
    with pytest.raises(DataError, match="Compare the file with PKU-Alignment/PKU-SafeRLHF; its columns may have been renamed"):
        read_preferences([renamed], recipe="pku-saferlhf")


def test_the_first_rows_may_lack_a_column_that_is_null():
    rows = [pku(0, 0), pku(1, 1)]
    del rows[0]["better_response_id"]
    with pytest.raises(DataError, match="list, row 0, field 'better_response_id': missing"):
        read_preferences(rows, recipe="pku-saferlhf")


# names, options, recipes of one's own


def error_of(**options):
    with pytest.raises((ConfigError, DataError)) as error:
        read_preferences([pku(0, 1)], **options)
    return str(error.value)


def test_an_unknown_recipe_names_the_nearest():
    said = error_of(recipe="pku-safe-rlhf")
    assert said.startswith("recipe: found 'pku-safe-rlhf', expected one of beavertails, helpsteer2, ")
    assert "Did you mean 'pku-saferlhf'? Choose a name from paretokit.recipes(), or pass a Recipe of your own." in said


def test_an_unknown_option_or_value_is_named():
    assert error_of(recipe="pku-saferlhf", recipe_options={"safe_tie": True}) == (
        "recipe_options: found 'safe_tie', expected some of the options of 'pku-saferlhf': safe_ties, chat. "
        "Did you mean 'safe_ties'?"
    )
    assert error_of(recipe="pku-saferlhf", recipe_options={"safe_ties": 1}) == (
        "recipe_options, 'safe_ties': found 1, expected false or true (a tie in harmlessness where both answers are safe)."
    )
    assert error_of(recipe_options={"safe_ties": True}) == (
        "recipe_options: found no recipe that they could belong to; pass recipe= too."
    )
    assert error_of(recipe="pku-saferlhf", objectives=["safety"]) == (
        "recipe 'pku-saferlhf': unknown objective 'safety', expected some of helpfulness, harmlessness."
    )


@pytest.mark.parametrize("value", [0, 1.5, True, "2", None])
def test_a_number_option_takes_whole_numbers(value):
    with pytest.raises(ConfigError, match=r"'gap': found .*, expected a whole number of at least 1 \(the least"):
        Option(1, "the least difference", (), 1).checked(value, place="recipe_options, 'gap'")


def test_a_margin_belongs_to_scores():
    assert error_of(recipe="pku-saferlhf", margin=0) == (
        "margin: found 0, but recipe 'pku-saferlhf' has no scores to compare; leave it out."
    )


@pytest.mark.parametrize("margin", [-1, float("nan"), float("inf"), True])
def test_a_margin_is_a_number_of_at_least_zero(margin):
    rows = next(rows for name, _, rows in PUBLIC if name == "helpsteer2")
    with pytest.raises(ConfigError, match="expected a finite number of at least 0"):
        read_preferences(rows, recipe="helpsteer2", margin=margin)


def test_a_recipe_of_ones_own_reads_its_records():
    def pair(row, asked):
        label = {"left": 1.0, "right": -1.0, "none": None}[row.get("winner")]
        yield Pair(row.get("q"), row.get("left"), row.get("right"), dict.fromkeys(asked.wanted(("taste",)), label))

    mine = Recipe(
        name="mine",
        kind="pairs",
        title="Votes on soup",
        source="a kitchen",
        objectives=("taste",),
        forms=(("q", "left", "right", "winner"),),
        rule="the winner is better",
        licence="our own",
        citation="none",
        read=each(pair),
    )
    rows = [{"q": "Soup?", "left": "Pea.", "right": "Tar.", "winner": winner} for winner in ("left", "right", "none")]
    found = read_preferences(rows, recipe=mine)
    assert found.labels.tolist() == [[1.0, -1.0]]
    assert found.recipe == "mine"
    assert found.notes == (
        "recipe mine: Votes on soup (a kitchen), licence our own",
        "1 left out: it is judged on none of the objectives",
    )
    assert found.skipped == ("list, pair 2: left out by the recipe, it is judged on none of the objectives.",)
    with pytest.raises(ConfigError, match=r"recipe: found 'mine', which is for pairs; expected one for steps\. Use read_pref"):
        find(mine, kind="steps")


# what reading keeps


def test_the_report_says_recipe_and_licence_and_a_selection_keeps_them():
    found = read_preferences([pku(0, 0), pku(1, 0)], recipe="pku-saferlhf")
    line = (
        "recipe pku-saferlhf: PKU-SafeRLHF, two verdicts on one pair (PKU-Alignment/PKU-SafeRLHF), licence CC-BY-NC-4.0: not "
        "for commercial use"
    )
    for one in (found, found.select(limit=1), found.named("elsewhere"), found.select(objectives=["harmlessness"])):
        assert (one.recipe, one.notes) == ("pku-saferlhf", (line,))
        assert line in str(one.report()).splitlines()
        assert one.report().to_json()["recipe"] == "pku-saferlhf"
    own = read_preferences([OWN[0]])
    assert (own.recipe, own.notes, own.report().to_json()["notes"]) == (None, (), [])


def test_the_fingerprint_is_that_of_what_was_read():
    ties = read_preferences([pku(0, 0, safe=(True, True))], recipe="pku-saferlhf", recipe_options={"safe_ties": True})
    plain = read_preferences([pku(0, 0, safe=(True, True))], recipe="pku-saferlhf")
    assert ties.fingerprint != plain.fingerprint


def test_skipping_lists_the_records_that_a_recipe_refuses():
    found = read_preferences([pku(0, 0), pku(2, 0), pku(0, 1)], recipe="pku-saferlhf", on_error="skip")
    assert len(found) == 2
    assert found.skipped == ("list, row 1, field 'better_response_id': found 2, expected 0 or 1.",)


def test_an_objective_that_nobody_judged_is_left_out_unless_it_was_asked_for():
    rows = [four(completion("Ash.", "5", "N/A", "3", "3"), completion("Rock.", "1", "4", "3", "2"))]
    found = read_preferences(rows, recipe="ultrafeedback")
    assert found.objectives == ("instruction_following", "truthfulness", "helpfulness")
    assert "the objective honesty is judged in no pair, and left out" in found.notes
    with pytest.raises(DataError, match="list: objective 'honesty' is judged in no record"):
        read_preferences(rows, recipe="ultrafeedback", objectives=["honesty", "helpfulness"])


def test_nothing_usable_says_what_was_left_out():
    rows = [{"prompt": "p", "response_0": "a", "response_1": "b", "better_response_id": -1}]
    with pytest.raises(DataError, match=r"found no usable records, .* 1 left out: it is judged on none of the objectives\."):
        read_preferences(rows, recipe="beavertails")


def test_worlds_take_no_recipe():
    with pytest.raises(ConfigError, match=r"source: found 'world:safety', whose labels are exact; leave recipe= and"):
        read_preferences("world:safety", recipe="tldr")


def test_a_mapping_is_for_recipes_whose_files_are_about_one_objective(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(pku(0, 0)) + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"found a mapping, but recipe 'pku-saferlhf' has objectives of its own; pass"):
        read_preferences({"helpful": tmp_path / "a.jsonl"}, recipe="pku-saferlhf")
