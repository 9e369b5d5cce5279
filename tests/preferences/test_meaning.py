"""Nothing is read with another meaning: what is refused, with which remedy, and what stands close to it and is read."""

import json

import pandas as pd
import pytest

from paretokit.errors import ConfigError, DataError
from paretokit.preferences.fields import chosen_texts
from paretokit.preferences.files import Record
from paretokit.preferences.read import read_preferences
from paretokit.preferences.records import native_records

REMEDY = " Correct the record, or leave such records out with on_error='skip'."


def error_of(call, kind=DataError):
    with pytest.raises(kind) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def native(*labels, name="kind"):
    return [
        {"prompt": f"p{i}", "response_a": "a", "response_b": "b", "labels": {name: value}} for i, value in enumerate(labels)
    ]


def columns(*labels, name="kind", **more):
    return [{"prompt": f"p{i}", "response_a": "a", "response_b": "b", name: value, **more} for i, value in enumerate(labels)]


# --- labels of 0 and 1 ---------------------------------------------------------------------------------------------

ZERO = (
    "found label 0, and no -1 in any record: 0 is a tie here, and numbers that are 0 or 1 mostly say which response is "
    "better, or yes and no. Write +1 where response_a is better and -1 where response_b is. Pass recipe=NAME for a public "
    "data set. If 0 is a tie, pass ties=True."
)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("values", [(1, 0), (1, 0, None, 1), (0,), (0.0, 1.0)])
@pytest.mark.parametrize("make", [native, columns])
def test_zero_and_one_without_minus_one_are_no_labels(make, values, on_error):
    index = values.index(0)
    assert error_of(lambda: read_preferences(make(*values), on_error=on_error)) == (
        f"list, row {index}, objective 'kind': {ZERO}"
    )


@pytest.mark.parametrize("values", [(1, 1), (1, 0, -1), (-1, 0), (-1, -1), (1.0, -1.0)])
@pytest.mark.parametrize("make", [native, columns])
def test_signs_are_labels(make, values):
    assert read_preferences(make(*values)).labels.tolist() == [list(values)]


@pytest.mark.parametrize("values", [("0", "1"), ("0.0", "1.0"), (" 0 ", "")])
def test_numbers_as_text_are_numbers(tmp_path, values):
    pd.DataFrame(columns(*values)).to_csv(tmp_path / "a.csv", index=False)
    assert error_of(lambda: read_preferences(tmp_path / "a.csv")).endswith(ZERO)
    assert error_of(lambda: read_preferences(columns(*values))).endswith(ZERO)


def test_every_objective_is_looked_at_alone():
    rows = [{**row, "labels": {**row["labels"], "brief": sign}} for row, sign in zip(native(1, 0), (1, -1), strict=True)]
    assert "objective 'kind'" in error_of(lambda: read_preferences(rows))
    assert read_preferences(rows, objectives=["brief"]).labels.tolist() == [[1, -1]]


def test_ties_may_be_stated():
    assert read_preferences(native(1, 0), ties=True).labels.tolist() == [[1, 0]]
    assert read_preferences(columns(0, 0), ties=True).labels.tolist() == [[0, 0]]


def test_what_we_write_is_read_with_ties():
    value = read_preferences(native(1, 0), ties=True)
    assert read_preferences(native_records(value), ties=True) == value
    assert read_preferences(value.to_frame(), ties=True) == value


@pytest.mark.parametrize(
    ("source", "options", "why"),
    [
        ([{"prompt": "p", "chosen": "a", "rejected": "b", "objective": "x"}], {}, "only pairs with labels state ties by 0"),
        ([{"prompt": "p", "response": "a", "x": 1}] * 2, {"margin": 0.0}, "only pairs with labels state ties by 0"),
        ("world:safety", {}, "the labels of a world are known"),
    ],
)
def test_ties_that_would_be_ignored_are_refused(source, options, why):
    message = error_of(lambda: read_preferences(source, ties=True, **options), ConfigError)
    assert message == f"ties: found True, but {why}; leave it out."


# --- strengths, ratings, verdicts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize(
    ("values", "place", "label", "share"),
    [
        ((1, -2, 0, 3, -1), "row 1", "-2", "2 of 5"),
        ((5, 4, 1), "row 0", "5", "2 of 3"),
        ((1, 2, 1, 2, 2), "row 1", "2", "3 of 5"),
        ((0.5, 1, -1, 0.25), "row 0", "0.5", "2 of 4"),
    ],
)
def test_strengths_are_no_labels(values, place, label, share, on_error):
    assert error_of(lambda: read_preferences(native(*values), on_error=on_error)) == (
        f"list, {place}, objective 'kind': found label {label}, and {share} labels are neither +1, 0 nor -1: strengths, "
        "ratings and numbers of responses are no labels. Pass recipe=NAME for a public data set. Else write their signs, "
        "+1 where response_a is better (in some data a negative strength says so), or one row for each response with its "
        "scores."
    )


def test_numbers_that_no_float_holds_are_named():
    assert "found label 1000" in error_of(lambda: read_preferences(native(1, 10**400)))
    assert "found label 1000" in error_of(lambda: read_preferences(native(10**400, -(10**401))))
    rows = [{"prompt": "p", "response": text, "kind": score} for text, score in (("a", 1), ("b", 10**400))]
    assert error_of(lambda: read_preferences(rows, margin=0.0)).startswith("list, row 1, field 'kind': found score 1000")


def test_one_wrong_label_is_a_fault_of_its_record():
    assert error_of(lambda: read_preferences(native(1, 2, -1))).startswith(
        "list, row 1, field 'labels', objective 'kind': found"
    )
    assert len(read_preferences(native(1, 2, -1), on_error="skip")) == 2


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("preference_strength", "is a verdict of another kind"),
        ("overall_preference", "is a verdict of another kind"),
        ("winner", "is a verdict of another kind"),
        ("which_is_worse", "is a verdict of another kind"),
        ("worse_response", "is a verdict of another kind"),
        ("bestAnswer", "is a verdict of another kind"),
        ("better_response_id", "counts"),
        ("saferResponseId", "counts"),
        ("human-rank", "counts"),
        ("index", "counts"),
        ("Unnamed: 0", "counts"),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_names_of_columns_that_hold_no_labels(name, what, named):
    options = {"objectives": [name]} if named else {}
    assert error_of(lambda: read_preferences(columns(1, -1, name=name), **options)) == (
        f"list, row 0: found the label column {name!r}, whose name says that it {what}; expected +1 where response_a is "
        "better and -1 where response_b is. Name the label columns with objectives=[...]. Pass recipe=NAME for a public "
        "data set. Rename the column if it holds such labels."
    )


def test_such_columns_beside_those_that_are_named_are_left_alone():
    value = read_preferences(columns(1, -1, id=7, winner="a"), objectives=["kind"])
    assert value.objectives == ("kind",)
    assert read_preferences([{**row, "id": 7, "better_response_id": 1} for row in native(1, -1)]) == value


@pytest.mark.parametrize("name", ["helpful", "harmlessness", "user_preference", "error_free", "identity", "cost"])
def test_other_names_are_objectives(name):
    assert read_preferences(columns(1, -1, name=name)).objectives == (name,)


def scored(name):
    return [{"prompt": "p", "response": text, name: score} for text, score in (("a", 1), ("b", 2))]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("rank", "it counts"),
        ("response_id", "it counts"),
        ("toxicity", "less of it is better"),
        ("severity_level", "less of it is better"),
        ("mean_cost", "less of it is better"),
    ],
)
def test_scores_of_which_less_is_better(name, what):
    assert error_of(lambda: read_preferences(scored(name), margin=0.0)) == (
        f"list, row 0: found the score column {name!r}, whose name says that {what}; expected scores of which the larger "
        "is better. Name the score columns with objectives=[...], or turn the sign and call the column by what is good."
    )


@pytest.mark.parametrize("name", ["verbosity", "num_tokens", "response_length", "wordCount"])
def test_an_amount_is_a_score_only_where_it_is_named(name):
    assert error_of(lambda: read_preferences(scored(name), margin=0.0)) == (
        f"list, row 0: found the score column {name!r}, whose name says that it is an amount, neither good nor bad; expected "
        "scores of which the larger is better. Name the score columns with objectives=[...], this one only if more of it is "
        "better; else turn the sign and call the column by what is good."
    )
    assert read_preferences(scored(name), margin=0.0, objectives=[name]).labels.tolist() == [[-1]]


@pytest.mark.parametrize(
    "name", ["helpfulness", "conciseness", "number_of_facts", "score", "error_free", "harmlessness", "winner"]
)
def test_other_scores_are_read(name):
    assert read_preferences(scored(name), margin=0.0).labels.tolist() == [[-1]]


# --- chosen does not mean better -----------------------------------------------------------------------------------

JUDGED = {"prompt": "p", "chosen": "a", "rejected": "b", "objective": "kind"}


@pytest.mark.parametrize(
    ("first", "second"),
    [("score_chosen", "score_rejected"), ("chosen_rating", "rejected_rating"), ("chosenReward", "rejectedReward")],
)
@pytest.mark.parametrize("value", [2, "2", 2.0])
def test_scores_against_the_choice(first, second, value):
    rows = [JUDGED, {**JUDGED, "prompt": "q", first: value, second: 5}]
    shown = "2" if value == 2 and isinstance(value, int) else "2.0"
    assert error_of(lambda: read_preferences(rows)) == (
        f"list, row 1, field {first!r}: found {shown}, and 5 in {second!r}, so 'chosen' does not mean better. Pass "
        f"recipe=NAME for a public data set. Else exchange the two responses, or take both fields out.{REMEDY}"
    )
    assert len(read_preferences(rows, on_error="skip")) == 1


def test_ranks_against_the_choice():
    ranks = {"chosen_rank": 1, "rejected_rank": 3}
    assert read_preferences([{**JUDGED, **ranks}]).labels.tolist() == [[1]]
    assert error_of(lambda: read_preferences([{**JUDGED, "chosen_rank": 3, "rejected_rank": 1}])).startswith(
        "list, row 0, field 'chosen_rank': found 3, and 1 in 'rejected_rank', so 'chosen' does not mean better."
    )


@pytest.mark.parametrize("name", ["margin", "score_diff", "rewardGap"])
def test_a_negative_margin(name):
    assert error_of(lambda: read_preferences([{**JUDGED, name: -0.5}])) == (
        f"list, row 0, field {name!r}: found -0.5, so 'chosen' does not mean better. Exchange the two responses, or take "
        f"the field out.{REMEDY}"
    )


@pytest.mark.parametrize(
    "more",
    [
        {"score_chosen": 5, "score_rejected": 2},
        {"score_chosen": 5, "score_rejected": 5},
        {"score_chosen": None, "score_rejected": 5},
        {"score_chosen": 1},
        {"chosen_length": 3, "rejected_length": 30},
        {"length_difference": -27},
        {"score_diff": 0.5},
        {"chosen_logps": -30.0, "rejected_logps": -3.0},
        {"margin": 0.5},
        {"id": 3, "source": "web", "turns": 1, "preference_type": "human"},
        {"label": None},
    ],
)
def test_fields_that_agree_or_say_nothing(more):
    assert read_preferences([{**JUDGED, **more}]).labels.tolist() == [[1]]


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize(
    ("name", "values", "shown", "recipe"),
    [
        ("raco_s_verbosity", (1.0, 1.0), "1.0", "'raco-tldr'"),
        ("raco_s_faithfulness", (None, -1), "-1", "'raco-tldr'"),
        ("quality", (1, -1), "1", "NAME for a public data set"),
        ("quality", ("1", "-1"), "'1'", "NAME for a public data set"),
        ("preference", (1, 0), "1", "NAME for a public data set"),
        ("label", (True, False), "true", "NAME for a public data set"),
        ("better", ("A", "tie"), "'A'", "NAME for a public data set"),
        ("safer_choice", ("rejected", "b"), "'rejected'", "NAME for a public data set"),
        ("labels", ({"kind": 1}, {"kind": 1}), "{'kind': 1}", "NAME for a public data set"),
    ],
)
def test_verdicts_beside_chosen_and_rejected(name, values, shown, recipe, on_error):
    rows = [{**JUDGED, "prompt": f"p{i}", name: value} for i, value in enumerate(values)]
    place = 0 if values[0] is not None else 1
    assert error_of(lambda: read_preferences(rows, on_error=on_error)) == (
        f"list, row {place}, field {name!r}: found {shown} beside 'chosen' and 'rejected': the field says for itself which "
        f"response is better, and 'chosen' may not mean better. Pass recipe={recipe}. Else rename the two to response_a "
        "and response_b if the field holds their labels, or take it out."
    )


def test_two_forms_in_one_record():
    assert error_of(lambda: read_preferences([{**native(1)[0], "chosen": "a"}])) == (
        "list, row 0: found the fields 'response_a' and 'chosen', which say twice what the responses are; expected one of "
        f"them. Take the other out.{REMEDY}"
    )


# --- the prompt inside chosen and rejected -------------------------------------------------------------------------

ASKED = [{"role": "user", "content": "Name a tree."}]


def said(text):
    return [{"role": "assistant", "content": text}]


IMPLICIT = {"chosen": [*ASKED, *said("Ash.")], "rejected": [*ASKED, *said("Rock.")], "objective": "kind"}
EXPLICIT = {"prompt": ASKED, "chosen": "Ash.", "rejected": "Rock.", "objective": "kind"}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"prompt": None},
        {"prompt": "Name a tree."},
        {"prompt": ASKED},
        {"prompt": ASKED, "chosen": said("Ash."), "rejected": "Rock."},
    ],
)
def test_conversations_with_and_without_their_prompt(more, tmp_path):
    expected = read_preferences([EXPLICIT])
    assert read_preferences([{**IMPLICIT, **more}]) == expected
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({**IMPLICIT, **more}), encoding="utf-8")
    assert read_preferences(path) == expected
    assert read_preferences(pd.DataFrame([{**IMPLICIT, **more}])) == expected


def test_conversations_by_objective():
    row = {key: IMPLICIT[key] for key in ("chosen", "rejected")}
    assert read_preferences({"kind": [row]}) == read_preferences([EXPLICIT])


def test_judgements_of_the_same_conversations_become_one_pair():
    turned = {"chosen": IMPLICIT["rejected"], "rejected": IMPLICIT["chosen"], "objective": "brief"}
    assert read_preferences([IMPLICIT, turned]).labels.tolist() == [[1], [-1]]


def test_dialogues_as_text_are_for_a_recipe():
    row = Record("row", {"chosen": "\n\nHuman: Hi\n\nAssistant: Ho", "rejected": "\n\nHuman: Hi\n\nAssistant:"})
    assert error_of(lambda: chosen_texts(row)) == (
        "row, field 'prompt': missing, and chosen and rejected are text. Pass recipe='hh-rlhf', which splits such dialogues."
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"chosen": "Trees: ash", "rejected": "Trees: rock", "objective": "kind"},
            "field 'prompt': missing, and chosen and rejected are text. Add the prompt, or make them messages.",
        ),
        (
            {**IMPLICIT, "prompt": "Name a bird."},
            "field 'prompt': found 'Name a bird.', which is no message of the user at the start of 'chosen' and "
            "'rejected', so it would be lost; take the field out, or add the message.",
        ),
        (
            {**IMPLICIT, "prompt": [{"role": "system", "content": "Be kind."}, *ASKED]},
            "fields 'chosen' and 'rejected': found conversations that begin with other messages than 'prompt', expected "
            "the same or answers only; take 'prompt' out, or cut the conversations.",
        ),
        (
            {**IMPLICIT, "chosen": "Ash."},
            "field 'prompt': missing; found the fields chosen, rejected, objective.",
        ),
        (
            {**IMPLICIT, "chosen": [*IMPLICIT["chosen"], *ASKED, *said("Oak.")]},
            "fields 'chosen' and 'rejected': 'chosen' goes on for 3 messages after the 1 that both begin with, expected "
            "one answer of the assistant after a common start. Cut both after the first answer that differs.",
        ),
    ],
)
def test_conversations_that_are_refused(row, message):
    assert error_of(lambda: read_preferences([row])) == f"list, row 0, {message}{REMEDY}"


# --- messages as text ----------------------------------------------------------------------------------------------

FORMS = {
    "prompt": native(1)[0],
    "response_a": native(1)[0],
    "response_b": native(1)[0],
    "chosen": JUDGED,
    "rejected": JUDGED,
    "response": {"prompt": "p", "response": "a", "kind": 1},
}


@pytest.mark.parametrize("write", [json.dumps, str])
@pytest.mark.parametrize("field", FORMS)
def test_messages_as_text_are_refused_in_lists(field, write):
    text = write(ASKED)
    options = {"margin": 0.0} if field == "response" else {}
    assert error_of(lambda: read_preferences([{**FORMS[field], field: text}], **options)) == (
        f"list, row 0, field {field!r}: found chat messages as text, {text!r}; expected text or a list of messages. Read "
        f"the text with json.loads, or ast.literal_eval where it is Python's, and write the messages.{REMEDY}"
    )


def test_text_about_messages_is_text():
    text = json.dumps(ASKED) + " What does this request ask for?"
    rows = [{**native(1)[0], "prompt": text, "response_a": '{"role": "admin"}', "response_b": "[1]"}]
    value = read_preferences(rows)
    assert (value.prompts, value.responses_a, value.responses_b) == ((text,), ('{"role": "admin"}',), ("[1]",))


def test_messages_in_a_text_column_of_a_table_are_read():
    row = {"prompt": str(ASKED), "chosen": json.dumps(said("Ash.")), "rejected": "Rock.", "objective": "kind"}
    assert read_preferences(pd.DataFrame([row])) == read_preferences([EXPLICIT])
    row = {"chosen": str(IMPLICIT["chosen"]), "rejected": json.dumps(IMPLICIT["rejected"]), "objective": "kind"}
    assert read_preferences(pd.DataFrame([row])) == read_preferences([EXPLICIT])


def test_speakers_by_from_and_value():
    row = {**EXPLICIT, "prompt": [{"from": "human", "value": "Name a tree."}]}
    assert error_of(lambda: read_preferences([row])) == (
        "list, row 0, field 'prompt', message 0: found the keys 'from' and 'value', expected 'role' and 'content'; rename "
        f"them, and the speakers human to user and gpt to assistant.{REMEDY}"
    )


# --- what would be lost --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("images", ["stone.png"], "images"),
        ("image", {"path": "stone.png"}, "images"),
        ("image", b"\x89PNG", "images"),
        ("image", object(), "images"),
        ("videos", ["a.mp4"], "videos"),
        ("audio", {"array": [0.0]}, "sound"),
        ("tools", [{"type": "function"}], "tools that the model may call"),
        ("tools", '[{"type": "function"}]', "tools that the model may call"),
        ("history", [["Hi", "Hello"]], "more of what was asked"),
        ("context", "The tap drips.", "more of what was asked"),
        ("input", "The tap drips.", "more of what was asked"),
        ("article", "The tap drips.", "more of what was asked"),
        ("chat_template_kwargs", {"enable_thinking": True}, "settings of the chat template"),
    ],
)
@pytest.mark.parametrize("form", ["response_a", "chosen", "response"])
def test_fields_that_would_be_lost(form, name, value, what):
    options = {"margin": 0.0} if form == "response" else {}
    row = {**FORMS[form], name: value}
    assert error_of(lambda: read_preferences([row], objectives=["kind"], **options)) == (
        f"list, row 0, field {name!r}: found {what}, which would be lost; expected all that is asked in 'prompt'. Write it "
        f"into 'prompt' as text, or take the field out if the answers do not depend on it.{REMEDY}"
    )


def test_a_system_text_has_its_place():
    assert error_of(lambda: read_preferences([{**JUDGED, "system": "Be kind."}])) == (
        "list, row 0, field 'system': found a system text, which would be lost; expected all that is asked in 'prompt'. "
        f"Put it into 'prompt', as its first message, or take the field out if the answers do not depend on it.{REMEDY}"
    )


@pytest.mark.parametrize(
    "more", [{"images": []}, {"tools": None}, {"tools": "[]"}, {"system": ""}, {"context": {}}, {"context": 1}]
)
def test_fields_without_content_are_not_lost(more):
    assert read_preferences([{**JUDGED, **more}]) == read_preferences([JUDGED])


@pytest.mark.parametrize("prompt", ["Summarise: The tap drips.", [{"role": "user", "content": "Summarise: The tap drips."}]])
@pytest.mark.parametrize("name", ["input", "question", "context", "article"])
def test_a_text_that_stands_in_the_prompt_is_not_lost(prompt, name):
    row = {**JUDGED, "prompt": prompt}
    assert read_preferences([{**row, name: " The tap drips.\n"}]) == read_preferences([row])


LOST = "which would be lost; expected 'role' and 'content'. Write it into the content as text, or leave the record out."


@pytest.mark.parametrize("field", ["prompt", "chosen"])
@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"tool_calls": [{"function": {"name": "weather"}}]}, f": found the key 'tool_calls', calls of tools, {LOST}"),
        ({"function_call": {"name": "weather"}}, f": found the key 'function_call', a call of a function, {LOST}"),
        ({"reasoning_content": "Hm."}, f": found the key 'reasoning_content', a thought, {LOST}"),
        ({"thinking": "Hm."}, f": found the key 'thinking', a thought, {LOST}"),
        ({"images": ["a.png"]}, f": found the key 'images', images, {LOST}"),
        ({"name": "Ann"}, ": found the key 'name', expected 'role' and 'content'; remove the key."),
        (
            {"content": [{"type": "text", "text": "See"}, {"type": "image"}]},
            ", 'content', part 1: found a part of type 'image', which would be lost; expected text or parts of type "
            "'text' only. Leave the record out, or describe the part in words.",
        ),
        (
            {"content": ["See"]},
            ", 'content', part 0: found 'See', which would be lost; expected text or parts of type 'text' only. Leave the "
            "record out, or describe the part in words.",
        ),
        ({"content": None}, ", 'content': found null, expected text (may be empty)."),
        ({"content": []}, ", 'content': found an empty list, expected text or a list of text parts."),
    ],
)
def test_parts_of_messages_that_would_be_lost(field, more, message):
    row = {**EXPLICIT, "chosen": said("Ash.")}
    row[field] = [{**row[field][0], **more}]
    place = "list, row 0, field 'prompt', message 0" if field == "prompt" else "list, row 0, field 'chosen'"
    assert error_of(lambda: read_preferences([row])) == f"{place}{message}{REMEDY}"


@pytest.mark.parametrize(
    ("role", "remedy"),
    [
        ("tool", "Results of tools are not read: leave the record out."),
        ("function", "Results of functions are not read: leave the record out."),
        ("developer", "Rename it to 'system'."),
    ],
)
def test_roles_that_are_not_read(role, remedy):
    row = {**EXPLICIT, "prompt": [{"role": role, "content": "x"}, *ASKED]}
    assert error_of(lambda: read_preferences([row])) == (
        f"list, row 0, field 'prompt', message 0: found role {role!r}, expected one of system, user, assistant. "
        f"{remedy}{REMEDY}"
    )


def test_text_parts_and_empty_keys_are_read():
    parts = [{"type": "text", "text": "Name "}, {"type": "text", "text": "a tree.", "image": None}]
    prompt = [{"role": "user", "content": parts, "name": None, "tool_calls": []}]
    chosen = [{"role": "assistant", "content": [{"type": "text", "text": "Ash."}], "tool_calls": None, "reasoning_content": ""}]
    assert read_preferences([{**EXPLICIT, "prompt": prompt, "chosen": chosen}]) == read_preferences([EXPLICIT])


def test_responses_of_pairs_may_be_messages_too():
    row = {"prompt": ASKED, "response_a": said("Ash."), "response_b": "Rock.", "labels": {"kind": 1}}
    assert read_preferences([row]) == read_preferences([EXPLICIT])
    scored_rows = [{"prompt": ASKED, "response": answer, "kind": score} for answer, score in ((said("Ash."), 2), ("Rock.", 1))]
    assert read_preferences(scored_rows, margin=0.0) == read_preferences([EXPLICIT])
