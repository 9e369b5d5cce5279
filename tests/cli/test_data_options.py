"""The options of the commands that read pairs: recipe, margin, computed objectives, several files; what doctor says of them."""

import json
from pathlib import Path

import pytest
from support.public_rows import completion, four, hh, pku
from support.shell import caught

from paretokit.cli import options as shared
from paretokit.cli import parser
from paretokit.errors import ConfigError, DataError

COMMANDS = ("train", "sweep", "doctor")


@pytest.fixture
def shell(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr("paretokit.cli.doctor.checks", lambda: [("policy tiny", "looked at elsewhere", True)])
    rows = [pku(n % 2, n % 3 // 2, prompt=f"How do I strip floor {n}?") for n in range(20)]
    write("pku.jsonl", rows)
    return caught(capsys)


def write(name, rows):
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def options(command, *words):
    needed = {"train": ["--weights", "0.5,0.5"], "sweep": ["--grid", "2"], "doctor": ["--policy", "tiny"]}[command]
    return parser().parse_args([command, *needed, *words])


# what is read


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_reads_with_a_recipe(command, shell):
    words = ["--preferences", "pku.jsonl", "--recipe", "pku-saferlhf", "--recipe-options", "safe_ties=true,chat=false"]
    read = shared.read(options(command, *words, "--computed", "conciseness", "--objectives", "conciseness,helpfulness"))
    assert (read.objectives, read.recipe, len(read)) == (("conciseness", "helpfulness"), "pku-saferlhf", 20)
    assert read.prompts[0] == "How do I strip floor 0?"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_a_margin(command, shell):
    write("uf.jsonl", [four(completion("Ash.", *"5432"), completion("Oak.", *"4433"))])
    words = ["--preferences", "uf.jsonl", "--recipe", "ultrafeedback"]
    assert shared.read(options(command, *words)).labels.T.tolist() == [[1.0, 0.0, 0.0, -1.0]]
    assert shared.read(options(command, *words, "--margin", "1")).labels.T.tolist() == [[0.0] * 4]
    scored = [{"prompt": "p", "response": text, "kind": n} for n, text in enumerate("ab")]
    write("scored.jsonl", scored)
    assert shared.read(options(command, "--preferences", "scored.jsonl", "--margin", "0")).labels.tolist() == [[-1.0]]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_a_file_for_each_objective(command, shell):
    write("a.jsonl", [{"chosen": hh("Go?", "Yes."), "rejected": hh("Go?", "No.")}])
    write("b,c.jsonl", [{"chosen": hh("Hi", "Hello!"), "rejected": hh("Hi", "What?")}])
    read = shared.read(options(command, "--preferences", "calm=a.jsonl,useful=b,c.jsonl", "--recipe", "hh-rlhf"))
    assert (read.objectives, read.source) == (("calm", "useful"), "a.jsonl, b,c.jsonl")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_ties_and_a_limit(command, shell):
    label = [1, 0, 0]
    write("ties.jsonl", [{"prompt": "p", "response_a": "a", "response_b": "b", "labels": {"kind": one}} for one in label])
    assert shared.read(options(command, "--preferences", "ties.jsonl", "--ties")).labels.tolist() == [[1.0, 0.0, 0.0]]
    assert shared.read(options(command, "--preferences", "ties.jsonl", "--limit", "1")).labels.tolist() == [[1.0]]
    with pytest.raises(DataError, match="pass ties=True"):
        shared.read(options(command, "--preferences", "ties.jsonl"))


def test_a_file_that_exists_is_a_file_whatever_its_name(shell):
    write("kind=a.jsonl,b=c.jsonl", [{"prompt": "p", "response_a": "a", "response_b": "b", "labels": {"kind": -1}}])
    assert shared.source("kind=a.jsonl,b=c.jsonl") == "kind=a.jsonl,b=c.jsonl"
    assert shared.read(options("train", "--preferences", "kind=a.jsonl,b=c.jsonl")).objectives == ("kind",)
    assert shared.source("kind=a.jsonl") == {"kind": "a.jsonl"}
    assert shared.source("kind = a.jsonl, b = part=1/c.jsonl") == {"kind": "a.jsonl", "b": "part=1/c.jsonl"}
    assert shared.source("world:safety") == "world:safety"
    assert shared.source("x=" * 3000) == {"x": ("x=" * 3000)[2:]}  # longer than a file name may be


@pytest.mark.parametrize("text", ["kind=a.jsonl,kind=b.jsonl", "=a.jsonl", "kind=", "kind=a.jsonl,b="])
def test_a_mapping_that_is_none_is_refused(text):
    with pytest.raises(DataError, match=r"--preferences: found '.*', which is no file; expected objective=path pairs, each"):
        shared.source(text)


def test_choices_are_values_of_json_or_words():
    assert shared.choices("gap=2,part=news,chat=false") == {"gap": 2, "part": "news", "chat": False}
    with pytest.raises(ConfigError, match="--recipe-options: found 'safe_ties', expected name=value such as safe_ties=true"):
        shared.choices("safe_ties")


def test_an_unknown_recipe_is_one_line(shell):
    status, _, err = shell("train", "--preferences", "pku.jsonl", "--recipe", "pku", "--weights", "0.5,0.5")
    assert status == 1
    assert "recipe: found 'pku', expected one of beavertails, " in err
    status, _, err = shell("train", "--preferences", "pku.jsonl", "--weights", "0.5,0.5")
    assert status == 1
    assert "found the columns of PKU-Alignment/PKU-SafeRLHF" in err
    assert "pass recipe='pku-saferlhf' (in the shell: --recipe pku-saferlhf)" in err


# what is said


def test_train_says_recipe_and_licence(shell):
    words = ["--preferences", "pku.jsonl", "--recipe", "pku-saferlhf", "--weights", "0.5,0.5"]
    status, _, err = shell("train", *words, "--steps", "1", "--pairs-per-step", "3", "--heldout", "2")
    assert status == 0
    assert "recipe pku-saferlhf: PKU-SafeRLHF, two verdicts on one pair" in err
    assert "not for commercial use" in err


DOCTOR = ["doctor", "--policy", "tiny", "--preferences", "pku.jsonl", "--steps", "1", "--pairs-per-step", "3", "--heldout", "2"]


def rows(out):
    return [(name.strip(), found.strip()) for name, _, found in (line.strip().partition("  ") for line in out.splitlines())]


def test_doctor_says_which_recipe_was_used(shell):
    status, out, _ = shell(*DOCTOR, "--recipe", "pku-saferlhf")
    assert status == 0
    assert ("recipe", "pku-saferlhf") in rows(out)
    assert any(name == "data" and found.endswith("CC-BY-NC-4.0: not for commercial use") for name, found in rows(out))


def test_doctor_recognises_a_recipe_that_was_not_passed(shell):
    status, out, _ = shell(*DOCTOR)
    assert status == 0
    assert ("recipe", "pku-saferlhf, recognised but not passed: train with --recipe pku-saferlhf") in rows(out)
    _, out, _ = shell(*DOCTOR, "--json")
    data = json.loads(out)["training"]["data"]
    assert (data["recipe"], data["passed"]) == ("pku-saferlhf", False)


def test_doctor_says_that_a_file_needs_none(shell):
    own = [{"prompt": f"p{n}", "response_a": "a", "response_b": "b", "labels": {"kind": 1, "brief": -1}} for n in range(12)]
    write("pku.jsonl", own)
    _, out, _ = shell(*DOCTOR)
    assert ("recipe", "none: the file has a form of paretokit's own") in rows(out)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_sets_variables_of_the_chat_template(command):
    given = options(command, "--preferences", "world:safety", "--chat-options", "enable_thinking=true, effort=low")
    assert shared.chat_options(given) == {"enable_thinking": True, "effort": "low"}
    assert shared.chat_options(options(command, "--preferences", "world:safety")) is None


@pytest.mark.parametrize(
    ("flag", "found"),
    [
        ("--chat-options", "expected name=value such as enable_thinking=true"),
        ("--recipe-options", "expected name=value such as safe_ties=true"),
    ],
)
def test_an_option_without_a_value_is_one_line(shell, flag, found):
    words = ["--preferences", "pku.jsonl", "--recipe", "pku-saferlhf", "--weights", "0.5,0.5", flag, "thinking"]
    status, _, err = shell("train", *words)
    assert status == 1
    assert f"{flag}: found 'thinking', {found}" in " ".join(err.split())
