"""HH-RLHF: dialogues as text are cut at the last answer, and the objective comes from the mapping, the folder or the caller."""

import json

import pytest
from support.public_rows import hh, turn

from paretokit.errors import DataError
from paretokit.preferences.read import read_preferences


def pair(chosen, rejected):
    return {"chosen": chosen, "rejected": rejected}


TREE = pair(hh("Name a tree.", "Ash."), hh("Name a tree.", "Rock."))
TAP = pair(hh("A tap drips.", "Where?", "Here.", "Change it."), hh("A tap drips.", "Where?", "Here.", "So what."))
OTHER = pair(hh("Hi", "Hello!", "Sing.", "La."), hh("Hi", "What?", "Never mind.", "Fine."))


def read(rows, **options):
    return read_preferences(rows, recipe="hh-rlhf", **{"objectives": ["helpful"], **options})


def test_the_prompt_is_all_but_the_last_answer():
    found = read([TREE, TAP])
    assert found.prompts == (
        (turn("user", "Name a tree."),),
        (turn("user", "A tap drips."), turn("assistant", "Where?"), turn("user", "Here.")),
    )
    assert list(zip(found.responses_a, found.responses_b, strict=True)) == [("Ash.", "Rock."), ("Change it.", "So what.")]
    assert found.labels.tolist() == [[1.0, 1.0]]


def test_answers_that_begin_alike_are_cut_where_they_begin():
    found = read([pair(hh("Go?", "I think yes."), hh("Go?", "I think no."))])
    assert (found.responses_a, found.responses_b) == (("I think yes.",), ("I think no.",))


def test_an_empty_last_answer_is_an_answer():
    found = read([pair(hh("Name a tree.", "Ash."), "\n\nHuman: Name a tree.\n\nAssistant:")])
    assert (found.responses_a, found.responses_b) == (("Ash.",), ("",))


def test_names_inside_a_line_and_further_blanks_are_text():
    found = read([pair(hh("Say Human: or Assistant:", "  Two\nHuman: lines"), hh("Say Human: or Assistant:", "No. "))])
    assert found.prompts == ((turn("user", "Say Human: or Assistant:"),),)
    assert (found.responses_a, found.responses_b) == ((" " + " Two\nHuman: lines",), ("No. ",))


def test_pairs_that_differ_earlier_are_left_out_and_counted():
    longer = pair(hh("Hi", "Hello!", "Sing.", "La."), hh("Hi", "Hello!"))
    unanswered = pair(hh("Hi", "Hello!", "Sing."), hh("Hi", "No."))
    found = read([OTHER, TREE, longer, unanswered])
    assert len(found) == 1
    assert found.notes[1:] == (
        "2 left out: the dialogues differ before the last answer",
        "1 left out: a dialogue does not end with the assistant's turn",
    )
    assert found.skipped[0] == "list, row 0: left out by the recipe, the dialogues differ before the last answer."


# what a file is about


@pytest.fixture
def folder(tmp_path):
    for name, row in (("harmless-base", TREE), ("helpful-online", TAP), ("elsewhere", TAP), ("helpful-or-not", TREE)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    return tmp_path


def test_the_folder_says_what_the_verdicts_are_about(folder):
    harmless = read_preferences(folder / "harmless-base" / "train.jsonl", recipe="hh-rlhf")
    helpful = read_preferences(folder / "helpful-online" / "train.jsonl", recipe="hh-rlhf")
    assert (harmless.objectives, helpful.objectives) == (("harmless",), ("helpful",))
    with pytest.raises(DataError, match=r"found a file about 'harmless' by its folder, and objectives=\['helpful'\]"):
        read(folder / "harmless-base" / "train.jsonl")


def test_a_mapping_names_the_objectives_and_the_other_is_not_judged(folder):
    paths = {name: folder / part / "train.jsonl" for name, part in (("calm", "harmless-base"), ("useful", "elsewhere"))}
    found = read_preferences(paths, recipe="hh-rlhf")
    assert found.objectives == ("calm", "useful")
    assert found.labels.nan_to_num(9.0).tolist() == [[1.0, 9.0], [9.0, 1.0]]
    assert read_preferences(paths, recipe="hh-rlhf", objectives=["useful"]).responses_a == ("Change it.",)


def test_the_same_pair_in_two_files_is_one_pair_with_two_labels(folder):
    turned = folder / "turned.jsonl"
    turned.write_text(json.dumps(pair(TREE["rejected"], TREE["chosen"])) + "\n", encoding="utf-8")
    found = read_preferences({"calm": folder / "harmless-base" / "train.jsonl", "useful": turned}, recipe="hh-rlhf")
    assert found.labels.tolist() == [[1.0], [-1.0]]


def test_without_any_hint_the_verdict_has_a_neutral_name_and_a_note_says_so(folder):
    for source in ([TREE], folder / "helpful-or-not" / "train.jsonl"):
        found = read_preferences(source, recipe="hh-rlhf")
        assert (found.objectives, found.labels.tolist()) == (("preference",), [[1.0]])
        assert found.notes[1] == (
            "the path does not say what the verdicts are about, so that they are called preference: pass {objective: path}"
        )
    with pytest.raises(
        DataError, match=r"list: found verdicts on one objective, and objectives=\['helpful', 'harmless'\]; pass"
    ):
        read([TREE], objectives=["helpful", "harmless"])


def test_a_mapping_without_the_recipe_names_it(folder):
    with pytest.raises(DataError, match="pass recipe='hh-rlhf'"):
        read_preferences({"calm": folder / "harmless-base" / "train.jsonl"})


@pytest.mark.parametrize("text", ["", "Human: Hi", "\n\nAssistant: Hi", None, 3])
def test_a_dialogue_that_does_not_begin_with_the_human_is_refused(text):
    with pytest.raises(DataError, match=r"list, row 1, field 'rejected': found "):
        read([TREE, pair(TREE["chosen"], text)])
