"""The shell in process: each command does its work, speaks JSON, and fails in one line."""

import json
import re

import pytest
from support.shell import caught, folder_with_a_run

import paretokit as pk
from paretokit.cli import COMMANDS, parser
from paretokit.cli.demo import weightings

TRAIN = ["train", "--preferences", "pairs.jsonl", "--method", "raco", "--weights", "0.4,0.6", "--steps", "2"]
TRAIN += ["--pairs-per-step", "4", "--heldout", "8"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with pairs and one run, made by the command."""
    return folder_with_a_run(tmp_path_factory.mktemp("shell"), *TRAIN)


@pytest.fixture
def shell(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    return caught(capsys)


def test_train_reports_data_estimate_figures_and_how_to_go_on(shell):
    status, out, err = shell(*TRAIN, "--seed", "1")
    assert status == 0
    assert "60 pairs" in err
    assert "estimate: " in err
    assert "2 steps of 4 pairs" in err
    assert "helpfulness accuracy" in out
    assert "margin" in out
    assert "decode: paretokit decode --store runs --run raco-s1-" in out
    assert "plot:   paretokit report --store runs --run raco-s1-" in out


def test_train_speaks_json(shell):
    status, out, _ = shell(*TRAIN, "--json")
    found = json.loads(out)
    assert status == 0
    assert found["spec"]["weights"] == [0.4, 0.6]
    assert found["last"]["step"] == 2
    assert [row["figure"] for row in found["figures"]] == [
        "helpfulness accuracy",
        "harmlessness accuracy",
        "helpfulness margin accuracy",
        "harmlessness margin accuracy",
    ]
    assert [row["before"] is None for row in found["figures"]] == [False, False, True, True]
    assert all(row["low"] <= row["after"] <= row["high"] for row in found["figures"])


def test_runs_lists_and_speaks_json(shell):
    _, out, _ = shell("runs")
    assert "raco-s0-" in out
    _, out, _ = shell("runs", "--json")
    assert all(run["state"] == "done" for run in json.loads(out))
    _, out, _ = shell("runs", "--store", "nothing-here")
    assert out == "no runs in nothing-here\n"


def test_decode_shows_the_texts_of_a_run_beside_its_start(shell):
    prompt = pk.world("safety").prompts[0][0]["content"]
    status, out, _ = shell("decode", "--run", "raco-s0", "--prompt", prompt, "--compare", "--copies", "2")
    assert status == 0
    assert out.count("before: ") == 2
    assert out.count("after: ") == 2
    _, out, _ = shell("decode", "--policy", "tiny", "--prompt", prompt, "--json", "--seed", "3")
    (one,) = json.loads(out)[""]
    again = pk.generate(pk.load_policy("tiny", adapter="none"), [[{"role": "user", "content": prompt}]], seed=3)
    assert one["text"] == again[0].text


def test_report_writes_a_page(shell, trained):
    status, out, _ = shell("report", "--run", "raco-s0", "--out", "page.html")
    assert status == 0
    assert str(trained / "page.html") in out
    page = (trained / "page.html").read_text(encoding="utf-8")
    assert "<!DOCTYPE html>" in page
    assert "raco-s0-" in page


def test_sweep_makes_a_front(shell, trained):
    words = [
        "sweep",
        "--preferences",
        "pairs.jsonl",
        "--methods",
        "linear",
        "--weights",
        "0.3,0.7",
        "--weights",
        "0.7,0.3",
    ]
    words += ["--steps", "1", "--heldout", "8", "--workers", "1", "--store", "swept", "--json"]
    status, out, err = shell(*words)
    found = json.loads(out)
    assert status == 0
    assert len(found["points"]) == 2
    assert "linear" in err
    assert (trained / "front.html").exists()


def test_doctor_finds_everything(shell):
    status, out, _ = shell("doctor", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["policy tiny"]["fine"]
    assert found["world summaries"]["fine"]
    assert re.search(r"\d+ GiB", found["memory"]["found"])


def test_demo_weightings_lie_on_the_simplex():
    for objectives in (2, 3):
        points = weightings(objectives)
        assert len(points) == 5
        assert all(sum(point) == pytest.approx(1) and len(point) == objectives for point in points)


# help and failure


@pytest.mark.parametrize("command", COMMANDS)
def test_help_holds_an_example_that_parses(command, capsys):
    with pytest.raises(SystemExit) as left:
        parser().parse_args([command, "--help"])
    text = capsys.readouterr().out
    assert left.value.code == 0
    example = re.search(rf"^    paretokit ({command}\b(?:.*\\\n)*.*)$", text, flags=re.MULTILINE)
    assert example is not None
    words = example.group(1).replace("\\\n", " ").replace('"', " ").split()
    if command != "decode":  # whose prompt has blanks
        assert parser().parse_args(words).command == command


BAD = [
    (["--weights", "0.5,0.6"], "--weights: "),
    (["--weights=-0.5,1.5"], "--weights: "),
    (["--weights", "nan,1"], "--weights: "),
    (["--weights", "1.0"], "--weights: "),
    (["--weights", "helpfulness=0.5,harmless=0.5"], "Did you mean"),
    (["--weights", "half,half"], "expected numbers such as 0.5,0.5"),
    (["--method", "rako"], "Did you mean 'raco'?"),
    (["--objectives", "helpfulness,harmlesness"], "Did you mean 'harmlessness'?"),
    (["--preferences", "missing.jsonl"], "missing.jsonl"),
    (["--policy", "tinny"], "Did you mean 'tiny'?"),
    (["--policy", "no-such-org/no-such-model"], "no-such-org/no-such-model"),
    (["--max-length", "100000"], "max_length: found 100000"),
    (["--steps", "0"], "steps: found 0"),
    (["--c", "1"], "c: found 1.0"),
    (["--store", "pairs.jsonl"], "found a file, expected a folder"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=lambda value: value if isinstance(value, str) else " ".join(value))
def test_bad_input_is_one_line_and_writes_nothing(shell, trained, words, message):
    before = sorted(trained.rglob("*"))
    status, out, err = shell(*TRAIN, *words)
    assert status == 1
    assert out == ""
    last = err.strip().splitlines()[-1]
    assert last.startswith("paretokit train: ")
    assert message in last
    assert "Traceback" not in err
    assert sorted(trained.rglob("*")) == before


FILES = {
    "empty.jsonl": (b"", "empty.jsonl"),
    "broken.jsonl": (
        b'{"prompt": "a", "response_a": "b", "response_b": "c", "labels": {"x": 1}}\n{"prompt": \n',
        "line 2",
    ),
    "field.jsonl": (b'{"prompt": "a", "response_a": "b", "labels": {"x": 1}}\n', "response_b"),
    "label.jsonl": (b'{"prompt": "a", "response_a": "b", "response_b": "c", "labels": {"x": 2}}\n', "'x'"),
    "latin.jsonl": (
        '{"prompt": "é", "response_a": "b", "response_b": "c", "labels": {"x": 1}}\n'.encode("latin-1"),
        "UTF-8",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_files_are_one_line_that_names_the_place(shell, trained, name):
    content, message = FILES[name]
    (trained / name).write_bytes(content)
    status, _, err = shell("train", "--preferences", name, "--weights", "1.0")
    last = err.strip().splitlines()[-1]
    assert status == 1
    assert name in last
    assert message in last


def test_debug_shows_where_an_error_came_from(shell):
    with pytest.raises(pk.ParetokitError):
        shell(*TRAIN, "--weights", "0.5,0.6", "--debug")


def test_an_interrupt_is_one_line(shell, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("paretokit.experiments.store.Store.runs", interrupt)
    status, _, err = shell("runs")
    assert status == 130
    assert "interrupted; finished steps are kept" in err


def test_a_full_disk_is_one_line(shell, trained, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("paretokit.experiments.store.save_file", full)
    status, _, err = shell(*TRAIN, "--seed", "9")
    assert status == 1
    assert "No space left on device" in err.strip().splitlines()[-1]


def test_decode_of_an_unknown_run_says_how_to_list_them(shell):
    status, _, err = shell("decode", "--run", "zzz", "--prompt", "Hi")
    assert status == 1
    assert "List the runs with `paretokit runs --store FOLDER`" in err


def test_report_without_runs_says_so(shell):
    status, _, err = shell("report", "--store", "nothing-here")
    assert status == 1
    assert "found 0 runs, none of them with figures" in err
