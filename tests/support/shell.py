"""The shell in process: a folder with pairs and one run, and commands whose output is caught."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import paretokit as pk
from paretokit.cli import main
from paretokit.preferences.records import native_records


def folder_with_a_run(folder: Path, *words: str) -> Path:
    """The folder, with 60 pairs of `safety` in pairs.jsonl and what the command makes of them."""
    pairs = pk.world("safety").preferences.select(limit=60)
    (folder / "pairs.jsonl").write_text("".join(json.dumps(one) + "\n" for one in native_records(pairs)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PARETOKIT_CACHE", str(folder / "cache"))
        assert main(list(words)) == 0
    return folder


def caught(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """A function that runs a command and returns its exit status, standard output and standard error."""
    capsys.readouterr()

    def run(*words: str) -> tuple[int, str, str]:
        status = main(list(words))
        out, err = capsys.readouterr()
        return status, out, err

    return run
