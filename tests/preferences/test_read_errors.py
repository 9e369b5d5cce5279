"""What `read_preferences` refuses: one message each, with place, found, expected and remedy; `skip` lists the same."""

import csv
import json

import pandas as pd
import pytest

from paretokit.errors import ConfigError, DataError
from paretokit.preferences.read import read_preferences

GOOD = {"prompt": "p", "response_a": "a", "response_b": "b", "labels": {"helpful": 1, "brief": -1}}
REMEDY = " Correct the record, or leave such records out with on_error='skip'."


def error_of(call):
    with pytest.raises((DataError, ConfigError)) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a file into the current folder, so that messages name it without a folder."""
    monkeypatch.chdir(tmp_path)

    def write(name, content):
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(data)
        return name

    return write


# --- one record ----------------------------------------------------------------------------------------------------


def without(name):
    return {key: value for key, value in GOOD.items() if key != name}


BAD_RECORDS = {
    "broken": (
        '{"prompt": "p"',
        "line 2: broken JSON at column 15 (Expecting ',' delimiter), expected one complete object.",
    ),
    "list": ("[1]", "line 2: found [1], expected an object with fields such as 'prompt'."),
    "twice": (
        '{"prompt": "p", "response_a": "a", "response_b": "b", "labels": {"helpful": 1, "helpful": -1}}',
        "line 2: found the key 'helpful' twice in one object, expected each once.",
    ),
    "deep": ("[" * 100_000, "line 2: broken JSON (nested too deeply), expected one complete object."),
    "digits": (
        '{"prompt": "p", "response_a": "a", "response_b": "b", "labels": {"helpful": %s}}' % ("1" * 5000),
        "line 2: broken JSON (a number of too many digits), expected one complete object.",
    ),
    "no prompt": (
        without("prompt"),
        "line 2, field 'prompt': missing; found the fields response_a, response_b, labels.",
    ),
    "no response": (
        without("response_b"),
        "line 2, field 'response_b': missing; found the fields prompt, response_a, labels.",
    ),
    "no labels": (
        without("labels"),
        "line 2, field 'labels': missing; found the fields prompt, response_a, response_b.",
    ),
    "nothing": ({}, "line 2, field 'labels': missing; found the fields none."),
    "labels no object": (
        {**GOOD, "labels": [1, -1]},
        "line 2, field 'labels': found [1, -1], expected an object like {'helpful': 1}.",
    ),
    "unjudged": (
        {**GOOD, "labels": {"helpful": None}},
        "line 2: no objective is judged, expected +1, 0 or -1 for at least one.",
    ),
    "no label": ({**GOOD, "labels": {}}, "line 2: no objective is judged, expected +1, 0 or -1 for at least one."),
    "response": ({**GOOD, "response_a": None}, "line 2, field 'response_a': found null, expected text (may be empty)."),
    "number": ({**GOOD, "response_b": 7}, "line 2, field 'response_b': found 7, expected text (may be empty)."),
    "role": (
        {**GOOD, "prompt": [{"role": "human", "content": "x"}]},
        "line 2, field 'prompt', message 0: found role 'human', expected one of system, user, assistant.",
    ),
    "last role": (
        {**GOOD, "prompt": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
        "line 2, field 'prompt': the last message is from the assistant, expected the user; put the answer into the response.",
    ),
    "surrogate": (
        '{"prompt": "p", "response_a": "a\\ud83d", "response_b": "b", "labels": {"helpful": 1}}',
        "line 2, field 'response_a': found half of a surrogate pair (U+D83D) at character 1; write the whole "
        "character, or remove it.",
    ),
    **{
        f"label {value!r}": (
            {**GOOD, "labels": {"helpful": value}},
            f"line 2, field 'labels', objective 'helpful': found label {shown}, expected +1 (a is better), -1 (b), "
            "0 (tie) or null (not judged).",
        )
        for value, shown in [
            (2, "2"),
            (0.5, "0.5"),
            (True, "true"),
            (False, "false"),
            ("1", "'1'"),
            ("a", "'a'"),
            ([1], "[1]"),
            (float("inf"), "inf"),
            (10**30, str(10**30)),
        ]
    },
}


@pytest.mark.parametrize("bad", BAD_RECORDS)
def test_a_record_that_cannot_be_used_is_named_or_skipped(write, bad):
    content, message = BAD_RECORDS[bad]
    line = content if isinstance(content, str) else json.dumps(content)
    path = write("pairs.jsonl", f"{json.dumps(GOOD)}\n{line}\n{json.dumps(GOOD)}\n")
    assert error_of(lambda: read_preferences(path)) == f"pairs.jsonl, {message}{REMEDY}"
    value = read_preferences(path, on_error="skip")
    assert len(value) == 2
    assert value.skipped == (f"pairs.jsonl, {message}",)


def test_good_records_are_not_skipped(write):
    path = write("pairs.jsonl", f"{json.dumps(GOOD)}\n" * 3)
    assert read_preferences(path, on_error="skip").skipped == ()


def test_lists_and_frames_name_the_row():
    bad = {**GOOD, "response_a": None}
    message = "row 1, field 'response_a': found null, expected text (may be empty)."
    assert error_of(lambda: read_preferences([GOOD, bad])) == f"list, {message}{REMEDY}"
    assert error_of(lambda: read_preferences(pd.DataFrame([GOOD, bad]))) == f"DataFrame, {message}{REMEDY}"
    assert error_of(lambda: read_preferences([GOOD, "x"])) == (
        f"list, row 1: found 'x', expected an object with fields such as 'prompt'.{REMEDY}"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "prompt,response_a,response_b,x\np,a,b,better\n",
            "pairs.csv, line 2, field 'x': found label 'better', expected +1 (a is better), -1 (b), 0 (tie) or null "
            f"(not judged). Name the label columns with objectives=[...].{REMEDY}",
        ),
        (
            "prompt,response_a,response_b,x\np,a,b\n",
            f"pairs.csv, line 2: found 3 cells, expected 4 as in the header.{REMEDY}",
        ),
        (
            'prompt,response_a,response_b,x\n"p\nq",a,b,1\n\n"p\nq",a,b,2\n',
            "pairs.csv, line 5, field 'x': found label 2.0, expected +1 (a is better), -1 (b), 0 (tie) or null (not "
            f"judged). Name the label columns with objectives=[...].{REMEDY}",
        ),
        (
            "prompt,response_a,response_b,labels\np,a,b,{x:1}\n",
            "pairs.csv, line 2, field 'labels': broken JSON at column 2 (Expecting property name enclosed in double "
            f"quotes), expected one complete object.{REMEDY}",
        ),
        (
            "prompt,response_a,response_b,labels\np,a,b,\n",
            "pairs.csv, line 2, field 'labels': broken JSON at column 1 (Expecting value), expected one complete "
            f"object.{REMEDY}",
        ),
        (
            "prompt,response_a,response_b,x,x\n",
            "pairs.csv, line 1: found the column 'x' twice, expected each once; rename one.",
        ),
        (
            'prompt,response_a,response_b,x\np,a,b,1\n"p,a,b,1\n',
            "pairs.csv, line 3: broken CSV (unexpected end of data); quote the texts, or use JSONL.",
        ),
        ("prompt,response_a,response_b,x\n", "pairs.csv: found no records, expected at least one."),
        (
            "prompt;response_a;response_b;x\np;a;b;1\n",
            "pairs.csv, line 1: found columns parted by ';', expected commas; save the file with commas.",
        ),
    ],
)
def test_csv(write, text, message):
    path = write("pairs.csv", text)
    assert error_of(lambda: read_preferences(path)) == message


def test_a_text_in_csv_may_be_long(write):
    limit = csv.field_size_limit()
    path = write("pairs.csv", f"prompt,response_a,response_b,x\n{'p' * (limit + 10)},a,b,1\n")
    assert len(read_preferences(path).prompts[0]) == limit + 10
    assert csv.field_size_limit() == limit


# --- chosen and rejected, scored -----------------------------------------------------------------------------------

JUDGED = {"prompt": "p", "chosen": "a", "rejected": "b", "objective": "helpful"}
CHAT = [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": "p", "chosen": "a", "rejected": "b"},
            "field 'objective': missing; name what the judgement is about, or pass {objective: source} for sources of one "
            "objective each.",
        ),
        ({**JUDGED, "objective": None}, "field 'objective': found null, expected a name."),
        ({"prompt": "p", "chosen": "a"}, "field 'rejected': missing; found the fields prompt, chosen."),
        (
            {**JUDGED, "chosen": [{"role": "assistant", "content": "a"}]},
            "field 'chosen': found messages after a raw text prompt, expected text; make the prompt messages too.",
        ),
        (
            {**JUDGED, "prompt": CHAT, "chosen": CHAT},
            "field 'chosen': found [{'role': 'user', 'content': 'x'}], expected text or one assistant message; put the "
            "rest into 'prompt'.",
        ),
    ],
)
def test_judgements(row, message):
    assert error_of(lambda: read_preferences([JUDGED, row])) == f"list, row 1, {message}{REMEDY}"


SCORED = [{"prompt": "p", "response": text, "x": 1.0} for text in ("a", "b")]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (
            SCORED,
            {},
            "list, row 0: found scored responses; state margin=, the difference up to which two scores are a tie, for "
            "example margin=0.0.",
        ),
        (SCORED, {"margin": -1.0}, "margin: found -1.0, expected a finite number of at least 0."),
        (SCORED, {"margin": float("nan")}, "margin: found nan, expected a finite number of at least 0."),
        ([GOOD], {"margin": 0.0}, "margin: found 0.0, but only scored responses have a margin; leave it out."),
        (
            [*SCORED, {"prompt": "q", "response": "c", "x": 1.0}],
            {"margin": 0.0},
            f"list, row 2: found the only response to its prompt, expected two to compare.{REMEDY}",
        ),
        (
            [*SCORED, {"prompt": "p", "response": "c", "x": None}],
            {"margin": 0.0},
            f"list, row 2: found no objective that is scored here and at list, row 0, expected one.{REMEDY}",
        ),
        (
            [*SCORED, {"prompt": "p", "response": "c", "x": "good"}],
            {"margin": 0.0},
            "list, row 2, field 'x': found score 'good', expected a finite number or null. Name the score columns with "
            f"objectives=[...].{REMEDY}",
        ),
        (
            [*SCORED, {"prompt": "p", "response": "c", "x": float("inf")}],
            {"margin": 0.0},
            "list, row 2, field 'x': found score inf, expected a finite number or null. Name the score columns with "
            f"objectives=[...].{REMEDY}",
        ),
        (
            SCORED,
            {"margin": 0.0, "objectives": ["y"]},
            "list, row 0: unknown objective 'y', expected some of x.",
        ),
    ],
)
def test_scores(rows, options, message):
    assert error_of(lambda: read_preferences(rows, **options)) == message


# --- the whole source ----------------------------------------------------------------------------------------------


def test_unknown_objective_gets_a_suggestion():
    message = "list: unknown objective 'helpfull', expected some of helpful, brief. Did you mean 'helpful'?"
    assert error_of(lambda: read_preferences([GOOD], objectives=["helpfull"])) == message
    columns = [{"prompt": "p", "response_a": "a", "response_b": "b", "helpful": 1}]
    message = "list, row 0: unknown objective 'helpfull', expected some of helpful. Did you mean 'helpful'?"
    assert error_of(lambda: read_preferences(columns, objectives=["helpfull"])) == message


def test_objective_without_any_label():
    rows = [{**GOOD, "labels": {"helpful": 1, "brief": None}}]
    assert error_of(lambda: read_preferences(rows)) == (
        "list: objective 'brief' is judged in no record; leave it out, or name others in objectives=."
    )
    assert read_preferences(rows, objectives=["helpful"]).objectives == ("helpful",)


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_empty_file(write, content):
    path = write("pairs.jsonl", content)
    assert error_of(lambda: read_preferences(path)) == "pairs.jsonl: found no records, expected at least one."
    assert error_of(lambda: read_preferences([])) == "list: found no records, expected at least one."
    assert error_of(lambda: read_preferences(path, on_error="skip")) == (
        "pairs.jsonl: found no records, expected at least one."
    )


def test_skipping_everything_is_an_error(write):
    path = write("pairs.jsonl", "x\ny\n")
    first = "pairs.jsonl, line 1: broken JSON at column 1 (Expecting value), expected one complete object."
    assert error_of(lambda: read_preferences(path, on_error="skip")) == (
        f"pairs.jsonl: found no usable records, expected at least one. The first of 2 problems: {first}"
    )
    path = write("pairs.jsonl", json.dumps({**GOOD, "labels": 3}))
    problem = "pairs.jsonl, line 1, field 'labels': found 3, expected an object like {'helpful': 1}."
    assert error_of(lambda: read_preferences(path, on_error="skip")) == (
        f"pairs.jsonl: found no usable records, expected at least one. The first of 1 problems: {problem}"
    )


def test_unknown_form():
    assert error_of(lambda: read_preferences([{"question": "x", "answer": "y"}])) == (
        "list, row 0: found the fields question, answer, expected prompt, response_a, response_b, labels; or prompt, "
        "chosen, rejected, objective; or prompt, response and a score per objective; rename the fields."
    )


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_file_that_is_not_utf8(write, encoding):
    first = json.dumps(GOOD).encode() + b"\n"
    path = write("pairs.jsonl", first + '{"prompt": "café"'.encode(encoding))
    expected = f"pairs.jsonl, line 2: found byte 0xe9 at offset {len(first) + 15}, which is not UTF-8; save the file as UTF-8."
    assert error_of(lambda: read_preferences(path)) == expected
    assert error_of(lambda: read_preferences(path, on_error="skip")) == expected


def test_file_in_utf16(write):
    path = write("pairs.csv", "prompt,x\n".encode("utf-16"))
    assert error_of(lambda: read_preferences(path)) == (
        "pairs.csv, line 1: found byte 0xff at offset 0, which is not UTF-8; save the file as UTF-8."
    )


def test_missing_file_folder_and_type(write, tmp_path):
    assert error_of(lambda: read_preferences("pears.jsonl")) == (
        f"pears.jsonl: there is no such file (looked in {tmp_path}); check the path."
    )
    (tmp_path / "folder").mkdir()
    types = ".jsonl, .ndjson, .json, .csv, each also as .gz, or .parquet"
    assert error_of(lambda: read_preferences("folder")) == f"folder: found a folder, expected a file ({types})."
    path = write("pairs.txt", "x")
    assert error_of(lambda: read_preferences(path)) == (
        f"pairs.txt: found the file type '.txt', expected one of {types}; convert it."
    )


@pytest.mark.parametrize("source", ["Anthropic/hh-rlhf", "summaries", "worlds:summaries", "x" * 5000, "a\0b"])
def test_neither_file_nor_world(source):
    shown = repr(source) if len(source) < 60 else repr(source)[:57] + "..."
    hint = f" A data set of the hub is read with 'hub:{source}'." if "/" in source else ""
    assert error_of(lambda: read_preferences(source)) == (
        f"source: found {shown}, which is no file; expected a path (.jsonl, .ndjson, .json, .csv, each also as .gz, or "
        f".parquet), 'hub:OWNER/NAME', a mapping from objectives to sources or 'world:NAME'.{hint}"
    )


def test_broken_parquet(write):
    path = write("pairs.parquet", b"no parquet")
    message = error_of(lambda: read_preferences(path))
    assert message.startswith("pairs.parquet: broken Parquet (")
    assert message.endswith("); write the file again.")


def test_other_kinds_of_source():
    assert error_of(lambda: read_preferences(3)) == (
        "source: found int, expected a path, 'hub:OWNER/NAME', a DataFrame or another table, a list of dicts, a mapping from "
        "objectives to sources or 'world:NAME'."
    )


def test_one_file_per_objective(write):
    path = write("helpful.jsonl", json.dumps({**JUDGED, "objective": "brief"}))
    assert error_of(lambda: read_preferences({"helpful": path})) == (
        f"helpful.jsonl, line 1, field 'objective': found 'brief' in the file for 'helpful'.{REMEDY}"
    )
    path = write("pairs.jsonl", json.dumps(GOOD))
    assert error_of(lambda: read_preferences({"helpful": path})) == (
        f"pairs.jsonl, line 1, field 'chosen': missing; found the fields prompt, response_a, response_b, labels.{REMEDY}"
    )
    assert error_of(lambda: read_preferences({"helpful": write("empty.jsonl", "")})) == (
        "empty.jsonl: found no records, expected at least one."
    )
    assert error_of(lambda: read_preferences({"helpful": 3})) == (
        "source, objective 'helpful': found int, expected a path, 'hub:OWNER/NAME', a DataFrame or another table or a list of "
        "dicts."
    )


def test_unknown_error_mode():
    assert error_of(lambda: read_preferences([GOOD], on_error="skipp")) == (
        "on_error: found 'skipp', expected 'raise' or 'skip'. Did you mean 'skip'?"
    )


def test_the_message_check_rejects_what_does_not_fail():
    with pytest.raises(pytest.fail.Exception):
        error_of(lambda: read_preferences([GOOD]))
