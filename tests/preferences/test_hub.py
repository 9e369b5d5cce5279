"""`hub:OWNER/NAME`, with the network replaced by local files: which arguments are passed, what is read, what goes wrong."""

import json
import sys

import datasets
import pytest

from paretokit.errors import ConfigError, DataError, DependencyError
from paretokit.preferences.read import read_preferences

ROWS = [{"prompt": f"p{i}", "response_a": "a", "response_b": "b", "labels": {"kind": 1 - 2 * (i % 2)}} for i in range(6)]
load = datasets.load_dataset


def error_of(call, kind=DataError):
    with pytest.raises(kind) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Stand in for the hub: `load_dataset` of a name streams local files, and what it was asked for is kept."""
    for split, rows in {"train": ROWS, "test": ROWS[:2]}.items():
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    asked = []

    def load_local(name, /, **arguments):
        asked.append((name, arguments))
        files = {split: str(tmp_path / f"{split}.jsonl") for split in ("train", "test")}
        if name == "owner/single":
            files.pop("test")
        return load("json", data_files=files, streaming=arguments["streaming"], split=arguments.get("split"))

    monkeypatch.setattr(datasets, "load_dataset", load_local)
    return asked


def test_a_split_is_streamed(hub):
    value = read_preferences("hub:owner/pairs?split=train")
    assert value == read_preferences(ROWS)
    assert value.source == "hub:owner/pairs?split=train"
    assert hub == [("owner/pairs", {"streaming": True, "split": "train"})]


def test_the_only_split_needs_no_name(hub):
    assert read_preferences("hub:owner/single", limit=4) == read_preferences(ROWS[:4])


def test_options_are_those_of_datasets(hub):
    read_preferences("hub:owner/pairs?config=a%20b&folder=data/x&revision=v1&split=test")
    assert hub == [("owner/pairs", {"streaming": True, "name": "a b", "data_dir": "data/x", "revision": "v1", "split": "test"})]


def test_several_splits_are_named(hub):
    assert error_of(lambda: read_preferences("hub:owner/pairs")) == (
        "source: found the splits 'train', 'test', expected one; name it in the source, for example "
        "hub:owner/pairs?split=train."
    )
    assert error_of(lambda: read_preferences("hub:owner/pairs?config=x")).endswith("hub:owner/pairs?config=x&split=train.")


def test_a_stream_is_read_only_as_far_as_asked(monkeypatch):
    given = []

    def rows():
        for row in ROWS:
            given.append(row)
            yield row

    monkeypatch.setattr(datasets, "load_dataset", lambda name, **_: datasets.IterableDataset.from_generator(rows))
    assert len(read_preferences("hub:owner/pairs", limit=2)) == 2
    assert len(given) == 2


def test_a_stream_that_stops_is_an_error(monkeypatch):
    def rows():
        yield ROWS[0]
        raise TimeoutError("no answer\nfrom the host")

    monkeypatch.setattr(datasets, "load_dataset", lambda name, **_: datasets.IterableDataset.from_generator(rows))
    assert error_of(lambda: read_preferences("hub:owner/pairs")) == (
        "hub:owner/pairs: stopped after 1 rows (no answer from the host); read it again."
    )


def test_what_datasets_says_is_repeated(monkeypatch):
    def refuse(name, **_):
        raise datasets.exceptions.DatasetNotFoundError(f"Dataset '{name}' doesn't exist\non the Hub")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    assert error_of(lambda: read_preferences("hub:owner/pairs")) == (
        "hub:owner/pairs: cannot be read from the hub (Dataset 'owner/pairs' doesn't exist on the Hub); check name and options."
    )


def test_a_local_folder_of_the_name_is_read_as_datasets_does(tmp_path, monkeypatch):
    (tmp_path / "owner" / "pairs").mkdir(parents=True)
    path = tmp_path / "owner" / "pairs" / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert read_preferences("hub:owner/pairs") == read_preferences(ROWS)


def test_code_of_a_data_set_is_not_run(tmp_path, monkeypatch):
    (tmp_path / "owner" / "pairs").mkdir(parents=True)
    (tmp_path / "owner" / "pairs" / "pairs.py").write_text("open('ran', 'w')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert "Dataset scripts are no longer supported" in error_of(lambda: read_preferences("hub:owner/pairs"))
    assert not (tmp_path / "ran").exists()


def test_without_datasets(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert error_of(lambda: read_preferences("hub:owner/pairs"), DependencyError) == (
        "hub:owner/pairs: needs datasets. Install it with: pip install 'paretokit[hub]'"
    )


FORM = "expected hub:OWNER/NAME, with ?split=, config=, folder= or revision= joined by '&'."


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("hub:pairs", DataError, f"source: found 'hub:pairs', {FORM}"),
        ("hub:", DataError, f"source: found 'hub:', {FORM}"),
        ("hub:../pairs", DataError, f"source: found 'hub:../pairs', {FORM}"),
        ("hub:a/b/c", DataError, f"source: found 'hub:a/b/c', {FORM}"),
        ("hub:a/b?split", DataError, f"source: found 'hub:a/b?split', {FORM}"),
        (
            "hub:a/b?spilt=train",
            ConfigError,
            "hub:a/b?spilt=train: found the option 'spilt', expected some of split, config, folder, revision. Did you "
            "mean 'split'?",
        ),
        ("hub:a/b?split=x&split=y", ConfigError, "hub:a/b?split=x&split=y: found an option twice, expected each once."),
    ],
)
def test_names_of_another_form(source, kind, message):
    assert error_of(lambda: read_preferences(source), kind) == message
