"""`read_preferences`: every accepted source and form gives the pairs it should."""

import csv
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from paretokit.preferences.read import read_preferences
from paretokit.preferences.records import Preferences

CHAT = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": 'Hello, "you"\nthere'},
    {"role": "user", "content": "Why, \u2028 — 日本?"},
]
ROWS = [
    {"prompt": CHAT, "response_a": "Because.", "response_b": "", "labels": {"harmless": 1, "concise": -1}},
    {"prompt": "raw \u2028 text", "response_a": "a\n", "response_b": "b", "labels": {"concise": 0, "harmless": None}},
    {"prompt": CHAT, "response_a": " a", "response_b": "b", "labels": {"concise": 1.0}},
]
NAN = math.nan
EXPECTED = Preferences(
    objectives=("harmless", "concise"),
    prompts=[row["prompt"] for row in ROWS],
    responses_a=[row["response_a"] for row in ROWS],
    responses_b=[row["response_b"] for row in ROWS],
    labels=torch.tensor([[1, NAN, NAN], [-1, 0, 1]]),
)
TRL = [
    {"prompt": "p", "chosen": "good", "rejected": "bad", "objective": "helpful"},
    {"prompt": "q", "chosen": "good", "rejected": "bad", "objective": "brief"},
    {"prompt": "p", "chosen": "bad", "rejected": "good", "objective": "brief"},
]


def write_jsonl(path, rows, *, ensure_ascii=False):
    path.write_text("".join(json.dumps(row, ensure_ascii=ensure_ascii) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def as_cells(row):
    prompt = row["prompt"] if isinstance(row["prompt"], str) else json.dumps(row["prompt"])
    return {**row, "prompt": prompt, "labels": json.dumps(row["labels"])}


def label_columns(row):
    labels = {name: row["labels"].get(name) for name in ("harmless", "concise")}
    return {**{key: value for key, value in as_cells(row).items() if key != "labels"}, **labels}


# --- native --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_jsonl(tmp_path, ensure_ascii):
    path = write_jsonl(tmp_path / "pairs.jsonl", ROWS, ensure_ascii=ensure_ascii)
    value = read_preferences(path)
    assert value == EXPECTED
    assert value.source == str(path)
    assert read_preferences(str(path)) == EXPECTED


def test_jsonl_with_bom_windows_line_ends_and_blank_lines(tmp_path):
    text = "\r\n\r\n".join(json.dumps(row) for row in ROWS)
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n\r\n")
    assert read_preferences(path) == EXPECTED


def test_csv_with_labels_as_json(tmp_path):
    assert read_preferences(write_csv(tmp_path / "pairs.csv", [as_cells(row) for row in ROWS])) == EXPECTED


def test_csv_with_a_column_per_objective(tmp_path):
    path = write_csv(tmp_path / "pairs.csv", [label_columns(row) for row in ROWS])
    assert read_preferences(path) == EXPECTED


@pytest.mark.parametrize(("cell", "label"), [("1", 1), ("+1", 1), ("-1.0", -1), (" 0 ", 0), ("-0", 0), ("", NAN), ("nan", NAN)])
def test_csv_cells_that_are_labels(tmp_path, cell, label):
    path = tmp_path / "pairs.csv"
    path.write_text(f"prompt,response_a,response_b,x,y\np,a,b,{cell},1\nq,a,b,-1,1\n")
    found = read_preferences(path).labels[0, 0].item()
    assert found == label or (math.isnan(found) and math.isnan(label))


def test_csv_text_that_only_looks_like_json_stays_text(tmp_path):
    prompts = ["[1, 2]", "[", "[]", '["role"]', " [x] "]
    path = write_csv(tmp_path / "p.csv", [{"prompt": p, "response_a": "a", "response_b": "b", "x": 1} for p in prompts])
    assert read_preferences(path).prompts == tuple(prompts)


def test_parquet(tmp_path):
    rows = [row for row in ROWS if not isinstance(row["prompt"], str)]
    pd.DataFrame(rows).to_parquet(tmp_path / "pairs.parquet")
    assert read_preferences(tmp_path / "pairs.parquet") == EXPECTED.select(indices=[0, 2])


def test_parquet_with_chats_as_json(tmp_path):
    pd.DataFrame([label_columns(row) for row in ROWS]).to_parquet(tmp_path / "pairs.parquet")
    assert read_preferences(tmp_path / "pairs.parquet") == EXPECTED


def test_list_and_frame():
    assert read_preferences(ROWS) == EXPECTED
    assert read_preferences(ROWS).source == "list"
    assert read_preferences(pd.DataFrame(ROWS)) == EXPECTED
    assert read_preferences(pd.DataFrame(ROWS)).source == "DataFrame"
    assert read_preferences(pd.DataFrame([label_columns(row) for row in ROWS])) == EXPECTED


def test_frame_with_what_numpy_and_pandas_put_into_it():
    frame = pd.DataFrame(
        {
            "prompt": [np.array(CHAT), np.array(CHAT)],
            "response_a": pd.array(["a", "a"], dtype="string"),
            "response_b": ["b", "b"],
            "x": pd.array([1, None], dtype="Int64"),
            "y": np.array([-1, 0], dtype=np.int8),
        }
    )
    value = read_preferences(frame)
    assert value.objectives == ("x", "y")
    assert value.labels[:, 0].tolist() == [1, -1]
    assert value.labels[0, 1].isnan()


def test_reading_changes_nothing_it_was_given():
    rows = json.loads(json.dumps(ROWS))
    frame = pd.DataFrame([label_columns(row) for row in ROWS])
    before = frame.copy(deep=True)
    read_preferences(rows)
    read_preferences(frame)
    assert rows == ROWS
    pd.testing.assert_frame_equal(frame, before)


def test_objectives_select_and_order():
    value = read_preferences(ROWS, objectives=["concise", "harmless"])
    assert value.objectives == ("concise", "harmless")
    assert len(read_preferences(ROWS, objectives=["harmless"])) == 1


def test_objectives_name_label_columns_beside_other_fields():
    rows = [{"prompt": "p", "response_a": "a", "response_b": "b", "id": "x7", "kind": 1, "good": label} for label in (1, None)]
    value = read_preferences(rows, objectives=["good"])
    assert value.objectives == ("good",)
    assert len(value) == 1  # a pair that is judged on none of them is left out


def test_fields_beside_labels_are_ignored():
    assert read_preferences([{**row, "id": index, "note": "x"} for index, row in enumerate(ROWS)]) == EXPECTED


def test_same_content_has_the_same_fingerprint_from_any_source(tmp_path):
    fingerprints = {
        read_preferences(source).fingerprint
        for source in (
            ROWS,
            pd.DataFrame(ROWS),
            write_jsonl(tmp_path / "one.jsonl", ROWS),
            write_jsonl(tmp_path / "two.ndjson", ROWS, ensure_ascii=True),
            write_csv(tmp_path / "three.csv", [label_columns(row) for row in ROWS]),
        )
    }
    assert fingerprints == {EXPECTED.fingerprint}


# --- chosen and rejected -------------------------------------------------------------------------------------------


def test_judgements_of_the_same_responses_become_one_pair():
    value = read_preferences(TRL)
    assert value.objectives == ("helpful", "brief")
    assert value.prompts == ("p", "q")
    assert value.responses_a == ("good", "good")
    assert value.labels[:, 0].tolist() == [1, -1]
    assert value.labels[0, 1].isnan()
    assert value.labels[1, 1] == 1


def test_repeated_judgements_are_pairs_of_their_own():
    again = [TRL[0], TRL[0], {**TRL[0], "chosen": "bad", "rejected": "good"}, TRL[2]]
    value = read_preferences(again)
    assert value.responses_a == ("good", "good", "bad")
    assert value.labels[0].tolist() == [1, 1, 1]
    assert value.labels[1].isnan().tolist() == [False, True, True]


def test_conversational_responses_are_one_assistant_message():
    message = [{"role": "assistant", "content": "good"}]
    rows = [{"prompt": CHAT, "chosen": message, "rejected": "bad", "objective": "x"}]
    value = read_preferences(rows)
    assert (value.responses_a, value.responses_b) == (("good",), ("bad",))
    assert read_preferences(pd.DataFrame(rows)) == value


def test_one_file_per_objective(tmp_path):
    paths = {
        name: write_jsonl(tmp_path / f"{name}.jsonl", [{k: row[k] for k in ("prompt", "chosen", "rejected")} for row in rows])
        for name, rows in {"helpful": TRL[:1], "brief": TRL[1:]}.items()
    }
    value = read_preferences(paths)
    assert value.objectives == ("helpful", "brief")
    assert value.labels[:, 0].tolist() == [1, -1]
    assert value.source == f"{paths['helpful']}, {paths['brief']}"


# --- scored responses ----------------------------------------------------------------------------------------------


def test_scores_become_labels_by_a_stated_margin():
    rows = [
        {"prompt": "p", "response": "one", "good": 1.0, "short": 0.2},
        {"prompt": "q", "response": "x", "good": 0, "short": 1},
        {"prompt": "p", "response": "two", "good": 0.5, "short": 0.3},
        {"prompt": "p", "response": "three", "good": 1.1, "short": None},
        {"prompt": "q", "response": "y", "good": 0, "short": 0},
    ]
    value = read_preferences(rows, margin=0.1)
    pairs = list(zip(value.prompts, value.responses_a, value.responses_b, strict=True))
    assert pairs == [("p", "one", "two"), ("p", "one", "three"), ("p", "two", "three"), ("q", "x", "y")]
    assert value.labels[0].tolist() == [1, -1, -1, 0]
    assert value.labels[1].nan_to_num(9).tolist() == [0, 9, 9, 1]


def test_a_difference_of_exactly_the_margin_is_a_tie():
    rows = [{"prompt": "p", "response": str(score), "x": score} for score in (0.0, 0.25, 0.75)]
    assert read_preferences(rows, margin=0.5).labels.tolist() == [[0, -1, 0]]
    assert read_preferences(rows, margin=0).labels.tolist() == [[-1, -1, -1]]


def test_objectives_name_score_columns(tmp_path):
    path = tmp_path / "scored.csv"
    path.write_text("prompt,response,id,good\np,a,x1,0.5\np,b,x2,\np,c,x3,0.25\n")
    value = read_preferences(path, objectives=["good"], margin=0.0)
    assert (value.responses_a, value.responses_b) == (("a",), ("c",))


# --- worlds --------------------------------------------------------------------------------------------------------


def test_world(monkeypatch):
    from types import SimpleNamespace

    from paretokit.preferences import worlds

    monkeypatch.setattr(worlds, "world", lambda name: SimpleNamespace(preferences=EXPECTED, name=name), raising=False)
    assert read_preferences("world:summaries") is EXPECTED
    assert read_preferences("world:summaries", objectives=["concise"]).objectives == ("concise",)
