"""The README is executed: its Python blocks run, its shell lines parse, its JSON line is read, its make targets exist."""

import re
import shlex
from pathlib import Path

import pytest

import paretokit as pk
from paretokit.cli import parser

PROJECT = Path(__file__).parents[2]
TEXT = (PROJECT / "README.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = TEXT) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [body for name, body in fenced if name == language]


def commands(text: str = TEXT) -> list[list[str]]:
    """The words of every paretokit command in the plain blocks, continuation lines joined."""
    lines = "\n".join(blocks("", text)).replace("\\\n", " ").splitlines()
    split = [shlex.split(line, comments=True) for line in lines]
    return [words[1:] for words in split if words and words[0].endswith("paretokit")]


def test_the_python_blocks_run(capsys):
    assert len(blocks("python")) >= 1
    for block in blocks("python"):
        names: dict = {}
        exec(compile(block, "README.md", "exec"), names)
        if "studio" in names:
            names["studio"].close()
    assert "helpfulness" in capsys.readouterr().out


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_shell_lines_parse(words):
    assert parser().parse_args(words).command == words[0]


def test_the_check_sees_a_wrong_option():
    (words,) = commands("```\nparetokit train --wieghts 0.5,0.5\n```\n")
    with pytest.raises(SystemExit):
        parser().parse_args(words)


def test_the_json_line_is_a_pair(tmp_path):
    (line,) = blocks("json")
    (tmp_path / "pairs.jsonl").write_text(line, encoding="utf-8")
    assert pk.read_preferences(str(tmp_path / "pairs.jsonl")).objectives == ("harmless", "concise")


def test_the_make_targets_exist():
    targets = set(re.findall(r"^([a-z0-9-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z0-9-]+)", TEXT))
    assert named
    assert named <= targets


def test_every_public_name_is_in_the_readme_or_its_table_row():
    words = set(re.findall(r"[A-Za-z_]+", TEXT))
    quiet = {"Batch", "Generation", "ParetokitError", "StepRecord", "World"}  # values that the others return or raise
    assert set(pk.__all__) - quiet <= words


def unnamed(names) -> list[str]:
    return [name for name in names if f"`{name}`" not in TEXT]


def test_every_recipe_for_pairs_is_named():
    assert unnamed(name for name, recipe in pk.recipes().items() if recipe.kind == "pairs") == []


def test_the_check_sees_a_recipe_that_is_not_named():
    assert unnamed(["tldr", "no-such-recipe"]) == ["no-such-recipe"]
