"""Any container of the same records gives the same preferences: files, gzip, JSON lists, tables of every library."""

import bz2
import gzip
import json
from decimal import Decimal

import datasets
import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from paretokit.errors import ConfigError, DataError
from paretokit.preferences.files import Faults
from paretokit.preferences.read import read_preferences
from paretokit.preferences.sources import read_source

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why, \u2028 — 日本?"}]
ROWS = [
    {"prompt": CHAT, "response_a": "Because.", "response_b": "", "kind": 1, "brief": -1},
    {"prompt": CHAT, "response_a": "a\n", "response_b": "b", "kind": -1, "brief": None},
    {"prompt": CHAT, "response_a": "c", "response_b": "d", "kind": 0, "brief": 1},
]
EXPECTED = read_preferences(ROWS)
CELLS = [{**row, "prompt": json.dumps(CHAT)} for row in ROWS]
TABLE = pa.Table.from_pylist(ROWS)


def error_of(call):
    with pytest.raises((DataError, ConfigError)) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder, so that messages name files without a folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- files ---------------------------------------------------------------------------------------------------------


def file_bytes(kind):
    if kind == ".csv":
        return pd.DataFrame(CELLS).to_csv(index=False).encode()
    if kind == ".json":
        return json.dumps(ROWS, indent=2).encode()
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


@pytest.mark.parametrize("kind", [".jsonl", ".ndjson", ".json", ".csv"])
@pytest.mark.parametrize("packed", [False, True])
def test_files_and_their_gzip(here, kind, packed):
    name = f"pairs{kind}.gz" if packed else f"pairs{kind}"
    (here / name).write_bytes(gzip.compress(file_bytes(kind)) if packed else file_bytes(kind))
    value = read_preferences(name)
    assert value == EXPECTED
    assert value.source == name


@pytest.mark.parametrize("name", ["pairs.json", "pairs.jsonl", "PAIRS.JSON"])
@pytest.mark.parametrize("text", [json.dumps(ROWS), "\ufeff\r\n " + json.dumps(ROWS, indent=1), file_bytes(".jsonl").decode()])
def test_a_list_and_lines_are_told_apart_by_what_they_begin_with(here, name, text):
    (here / name).write_text(text, encoding="utf-8")
    assert read_preferences(name) == EXPECTED


def test_messages_as_python_writes_them_in_csv(here):
    pd.DataFrame(ROWS).to_csv("pairs.csv", index=False)  # str() of each list
    assert "'role'" in (here / "pairs.csv").read_text(encoding="utf-8")
    assert read_preferences("pairs.csv") == EXPECTED


@pytest.mark.parametrize("write", [str, json.dumps])
def test_labels_as_text_in_csv(here, write):
    rows = [{**CELLS[0], "labels": write({"kind": sign, "brief": None})} for sign in (1, -1)]
    pd.DataFrame(rows).to_csv("pairs.csv", index=False)
    assert read_preferences("pairs.csv", objectives=["kind"]).labels.tolist() == [[1, -1]]


@pytest.mark.parametrize("cell", ["{'kind': nan}", "{'kind'", "{'kind'}"])
def test_labels_that_cannot_be_read(here, cell):
    pd.DataFrame([{"prompt": "p", "response_a": "a", "response_b": "b", "labels": cell}]).to_csv("pairs.csv", index=False)
    assert error_of(lambda: read_preferences("pairs.csv")).startswith(
        "pairs.csv, line 2, field 'labels': broken JSON at column 2 ("
    )


def test_the_index_of_pandas_is_no_column(here):
    frame = pd.DataFrame(CELLS, index=[3, 5, 8])
    frame.to_csv("pairs.csv")
    frame.to_parquet("pairs.parquet")
    assert "__index_level_0__" in pq.read_table("pairs.parquet").column_names
    assert read_preferences("pairs.csv") == EXPECTED
    assert read_preferences("pairs.parquet") == EXPECTED
    assert read_preferences(frame) == EXPECTED
    assert error_of(lambda: read_preferences(frame.set_index("prompt"))) == (
        "DataFrame: found 'prompt' in the index, expected it as a column; call reset_index() first."
    )


def test_responses_as_messages_in_csv(here):
    rows = [
        {**row, **{key: str([{"role": "assistant", "content": row[key]}]) for key in ("response_a", "response_b")}}
        for row in ROWS
    ]
    pd.DataFrame(rows).to_csv("pairs.csv", index=False)
    assert read_preferences("pairs.csv") == EXPECTED


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl.gz", b"plain", "a.jsonl.gz: broken gzip (Not a gzipped file (b'pl')); pack the file again."),
        (
            "a.jsonl.gz",
            gzip.compress(b"{}" * 999, mtime=0)[:-9],
            "a.jsonl.gz: broken gzip (Compressed file ended before the end-of-stream marker was reached); pack the file again.",
        ),
        (
            "a.jsonl",
            gzip.compress(b"{}", mtime=0),
            "a.jsonl: found compressed bytes, expected .jsonl; end its name in .jsonl.gz, or unpack it.",
        ),
        (
            "a.parquet.gz",
            b"",
            "a.parquet.gz: found the file type '.parquet.gz', expected one of .jsonl, .ndjson, .json, .csv, each also as "
            ".gz, or .parquet; convert it.",
        ),
        (
            "a.gz",
            b"",
            "a.gz: found the file type '.gz', expected one of .jsonl, .ndjson, .json, .csv, each also as .gz, or "
            ".parquet; convert it.",
        ),
        (
            "a.jsonl.bz2",
            bz2.compress(b"{}"),
            "a.jsonl.bz2: found the file type '.bz2', expected one of .jsonl, .ndjson, .json, .csv, each also as .gz, or "
            ".parquet; convert it.",
        ),
        (
            "a.json",
            b'[{"prompt": "p"},\n {"prompt"}]',
            "a.json: broken JSON at line 2, column 11 (Expecting ':' delimiter), expected a list of objects.",
        ),
        (
            "a.json",
            b'[\n  {"prompt": "p", "prompt": "q"}\n]',
            "a.json: found the key 'prompt' twice in one object, expected each once.",
        ),
        ("a.json", b"[]", "a.json: found no records, expected at least one."),
        (
            "a.json",
            json.dumps([ROWS[0], 7]).encode(),
            "a.json, item 1: found 7, expected an object with fields such as 'prompt'. Correct the record, or leave such "
            "records out with on_error='skip'.",
        ),
        (
            "a.json",
            json.dumps({"version": 1, "data": ROWS}, indent=1).encode(),
            "a.json: found one object with the fields version, data, expected a list of objects or one object on each "
            "line. Save the records as a list (in pandas: orient='records').",
        ),
        (
            "a.json",
            pd.DataFrame(CELLS).to_json().encode(),
            "a.json: found one object with the fields prompt, response_a, response_b, kind, brief, expected a list of "
            "objects or one object on each line. Save the records as a list (in pandas: orient='records').",
        ),
        (
            "a.csv",
            b"prompt,response_a,response_b,kind\nnan,a,b,1\n",
            "a.csv, line 2, field 'prompt': found the text 'nan', which is how a missing value is written; expected text. "
            "Leave the row out, or use JSONL if the text is meant. Correct the record, or leave such records out with "
            "on_error='skip'.",
        ),
    ],
)
def test_files_that_cannot_be_read(here, name, content, message):
    (here / name).write_bytes(content)
    assert error_of(lambda: read_preferences(name)) == message


def test_a_broken_line_of_a_json_file_is_named(here):
    (here / "a.json").write_text("{\n" + json.dumps(ROWS[0]), encoding="utf-8")
    assert error_of(lambda: read_preferences("a.json")).startswith("a.json, line 1: broken JSON at column 2 (")
    assert len(read_preferences("a.json", on_error="skip")) == 1


# --- tables --------------------------------------------------------------------------------------------------------


def polars_frame(rows=ROWS):
    return polars.DataFrame(rows)


def formatted(kind):
    return datasets.Dataset.from_list(ROWS).with_format(kind)


TABLES = {
    "pandas": (lambda: pd.DataFrame(ROWS), "DataFrame"),
    "pandas, Arrow inside": (lambda: TABLE.to_pandas(types_mapper=pd.ArrowDtype), "DataFrame"),
    "pandas, categories": (lambda: pd.DataFrame(ROWS).astype({"response_a": "category", "kind": "category"}), "DataFrame"),
    "polars": (polars_frame, "DataFrame"),
    "polars, lazy": (lambda: polars_frame().lazy(), "DataFrame"),
    "polars, JSON cells": (lambda: polars_frame(CELLS), "DataFrame"),
    "Arrow": (lambda: TABLE, "Table"),
    "Arrow batch": (lambda: TABLE.to_batches()[0], "Table"),
    "Arrow reader": (lambda: TABLE.to_reader(), "Table"),
    "Arrow stream": (lambda: type("Relation", (), {"__arrow_c_stream__": TABLE.__arrow_c_stream__})(), "Table"),
    "Arrow data set": (lambda: pyarrow.dataset.dataset(TABLE), "Table"),
    "datasets": (lambda: datasets.Dataset.from_list(ROWS), "Dataset"),
    "datasets, chosen rows": (lambda: datasets.Dataset.from_list(ROWS[::-1]).select([2, 1, 0]), "Dataset"),
    "datasets, torch": (lambda: formatted("torch"), "Dataset"),
    "datasets, numpy": (lambda: formatted("numpy"), "Dataset"),
    "datasets, one split": (lambda: datasets.DatasetDict({"train": formatted(None)}), "Dataset"),
    "datasets, stream": (lambda: formatted(None).to_iterable_dataset(), "IterableDataset"),
    "datasets, stream of one split": (
        lambda: datasets.IterableDatasetDict({"test": formatted(None).to_iterable_dataset()}),
        "IterableDataset",
    ),
    "tuple": (lambda: tuple(ROWS), "list"),
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables(kind):
    make, name = TABLES[kind]
    value = read_preferences(make())
    assert value == EXPECTED
    assert value.source == name


@pytest.mark.parametrize("kind", TABLES)
def test_limit_takes_the_first_records(kind):
    make, _ = TABLES[kind]
    assert read_preferences(make(), limit=2) == EXPECTED.select(limit=2)
    assert read_preferences(make(), limit=99) == EXPECTED


@pytest.mark.parametrize("kind", [".jsonl", ".json", ".csv", ".parquet"])
def test_limit_of_files(here, kind):
    if kind == ".parquet":
        pq.write_table(TABLE, "a.parquet")
    else:
        (here / f"a{kind}").write_bytes(file_bytes(kind))
    assert read_preferences(f"a{kind}", limit=2) == EXPECTED.select(limit=2)


def test_limit_of_worlds_and_of_mappings():
    world = read_preferences("world:safety", limit=3)
    assert world == read_preferences("world:safety").select(limit=3)
    judged = [{"prompt": "p", "chosen": text, "rejected": "b"} for text in ("x", "y")]
    value = read_preferences({"kind": judged, "brief": pd.DataFrame(judged[::-1])}, limit=1)
    assert (value.responses_a, value.source) == (("x", "y"), "list, DataFrame")


@pytest.mark.parametrize("limit", [0, -1, True])
def test_limit_is_a_number_of_records(limit):
    message = error_of(lambda: read_preferences(ROWS, limit=limit))
    assert message.startswith("limit: found ")
    assert message.endswith(", expected a whole number of at least 1.")


def test_numbers_and_texts_of_arrow():
    table = pa.table(
        {
            "prompt": pa.array(["p", "q"]).dictionary_encode(),
            "response_a": pa.array(["a", "c"], pa.large_string()),
            "response_b": pa.array(["b", "d"], pa.string_view()),
            "kind": pa.array([Decimal("1.00"), Decimal("-1.00")]),
            "brief": pa.array([1, -1], pa.int8()),
        }
    )
    value = read_preferences(table)
    assert (value.prompts, value.responses_a, value.responses_b) == (("p", "q"), ("a", "c"), ("b", "d"))
    assert value.labels.tolist() == [[1, -1], [1, -1]]


def test_labels_as_a_struct_and_as_a_map():
    rows = [{"prompt": "p", "response_a": "a", "response_b": "b", "labels": {"kind": sign, "brief": None}} for sign in (1, -1)]
    struct = read_preferences(pa.Table.from_pylist(rows), objectives=["kind"])
    pairs = [[("kind", 1)], [("kind", -1)]]
    texts = {key: [row[key] for row in rows] for key in ("prompt", "response_a", "response_b")}
    mapped = read_preferences(pa.table({**texts, "labels": pa.array(pairs, pa.map_(pa.string(), pa.int64()))}))
    assert struct == mapped
    assert mapped.labels.tolist() == [[1, -1]]


def test_numpy_values_in_lists():
    row = {
        **ROWS[0],
        "prompt": np.array(CHAT, dtype=object),
        "response_a": np.str_("a"),
        "kind": np.int8(1),
        "brief": np.float32(-1),
    }
    value = read_preferences([row])
    assert value.labels.tolist() == [[1], [-1]]
    assert value.prompts[0] == EXPECTED.prompts[0]


def test_many_rows_are_read_in_batches():
    rows = [{"prompt": f"p{i}", "response_a": "a", "response_b": "b", "kind": 1} for i in range(2500)]
    table = pa.concat_tables([pa.Table.from_pylist(rows[:1300]), pa.Table.from_pylist(rows[1300:])])
    value = read_preferences(table)
    assert value.prompts == tuple(row["prompt"] for row in rows)
    assert read_preferences(datasets.Dataset(table)) == value


REFUSED = {
    "two splits": (
        lambda: datasets.DatasetDict({"train": formatted(None), "test": formatted(None)}),
        "source: found the splits 'train', 'test', expected one; pass one of them, for example source['train'].",
    ),
    "no splits": (
        lambda: datasets.DatasetDict(),
        "source: found the splits none, expected one; pass one of them, for example source['train'].",
    ),
    "same column twice": (
        lambda: pd.DataFrame([["p", "a", "b", 1, -1]], columns=["prompt", "response_a", "response_b", "kind", "kind"]),
        "DataFrame: found the column 'kind' twice, expected each once; rename one.",
    ),
    "same Arrow column twice": (
        lambda: pa.Table.from_arrays([pa.array(["p"]), pa.array(["q"])], names=["prompt", "prompt"]),
        "Table: found the column 'prompt' twice, expected each once; rename one.",
    ),
    "levels of columns": (
        lambda: pd.DataFrame({("text", "prompt"): ["p"], ("text", "a"): ["a"]}),
        "DataFrame: found the column ('text', 'prompt'), expected columns that are called by a text; flatten them, for "
        "example with frame.columns = frame.columns.map('_'.join).",
    ),
    "numbered columns": (
        lambda: pd.DataFrame([["p", "a", "b"]]),
        "DataFrame: found the column 0, expected columns that are called by a text; rename it.",
    ),
    "empty frame": (pd.DataFrame, "DataFrame: found no records, expected at least one."),
    "frame without rows": (lambda: pd.DataFrame(columns=["prompt"]), "DataFrame: found no records, expected at least one."),
    "empty Arrow table": (lambda: TABLE.slice(0, 0), "Table: found no records, expected at least one."),
    "empty data set": (lambda: datasets.Dataset.from_list([]), "Dataset: found no records, expected at least one."),
    "one column": (
        lambda: pa.chunked_array([[1]]),
        "source: found ChunkedArray, which is no table (Cannot import schema: ArrowSchema describes non-struct type "
        "int64); pass a table.",
    ),
    "pictures": (
        lambda: datasets.Dataset.from_list(
            [{"prompt": "p", "seen": [{"path": "stone.png", "bytes": None}]}],
            features=datasets.Features({"prompt": datasets.Value("string"), "seen": datasets.List(datasets.Image())}),
        ),
        "Dataset: found the column 'seen' of Image values, which a text model does not see; expected text. Take it out "
        "with remove_columns('seen') if the answers do not depend on it.",
    ),
    "columns in a dict": (
        lambda: {"prompt": ["p"], "response_a": ["a"]},
        "source: found a mapping with the keys prompt, response_a, expected one from objectives to sources. A table is "
        "passed as a DataFrame, one record in a list.",
    ),
    "dates": (
        lambda: pd.DataFrame([{**ROWS[0], "kind": pd.Timestamp("2026-01-01")}]),
        "DataFrame, row 0, field 'kind': found label Timestamp('2026-01-01 00:00:00'), expected +1 (a is better), -1 (b), "
        "0 (tie) or null (not judged). Name the label columns with objectives=[...]. Correct the record, or leave such "
        "records out with on_error='skip'.",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_tables_that_cannot_be_read(kind):
    make, message = REFUSED[kind]
    assert error_of(lambda: read_preferences(make())) == message


@pytest.mark.parametrize(
    "make", [lambda: pd.Series([1]), lambda: pa.array([1]), lambda: iter(ROWS), lambda: b"x", lambda: None]
)
def test_what_is_no_source(make):
    source = make()
    assert error_of(lambda: read_source(source, faults=Faults(skip=False), others=["'world:NAME'"])) == (
        f"source: found {type(source).__name__}, expected a path, 'hub:OWNER/NAME', a DataFrame or another table, a list "
        "of dicts or 'world:NAME'."
    )


def test_reading_changes_no_table():
    frame = pd.DataFrame(CELLS)
    before = frame.copy(deep=True)
    data = datasets.Dataset.from_list(ROWS).with_format("numpy")
    read_preferences(frame)
    read_preferences(data)
    pd.testing.assert_frame_equal(frame, before)
    assert data.format["type"] == "numpy"
