"""`make test` and what CI runs: every part runs, whichever fails, and one that failed is not forgotten."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.waits import LONG

PROJECT = Path(__file__).parents[2]
UNIT, BROWSER = "python -m pytest --numprocesses 2 --dist loadfile --ignore tests/browser", "python -m pytest tests/browser"
PARTS = ["ruff check .", "ruff format --check .", "basedpyright", UNIT, BROWSER]
MATRIX = ["python -m pip", *["python -m pytest tests/browser -m matrix"] * 3]

# in place of a program: notes how it was called, says so, and fails where the call begins with $FAILING
STUB = """#!/bin/sh
call="$(basename "$0")${*:+ $*}"
echo "$call" >> "$CALLS"
echo "output of $call"
case "$call" in "$FAILING"*) exit 3 ;; esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The Makefile and what it calls, with stubs for an environment that is up to date."""
    for name in ("Makefile", ".ci/run", "tests/each.sh", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / name)
        os.utime(tmp_path / name, (0, 0))
    for name in ("python", "ruff", "basedpyright", "make", "chromium"):
        path = tmp_path / ("bin" if name in ("make", "chromium") else ".venv/bin") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STUB)
        path.chmod(0o755)
        os.utime(path, (0, 0))
    for name in (".run", ".dev"):
        (tmp_path / ".venv" / name).touch()
    return tmp_path


def call(project: Path, *words: str, failing: str = "nothing", stubs: bool = False) -> tuple[int, list[str], str]:
    """The exit status, the calls of the stubs in order, and the output."""
    calls = project / "calls"
    path = f"{project / 'bin'}{os.pathsep}{os.environ['PATH']}" if stubs else os.environ["PATH"]
    clean = {"PATH": path, "CALLS": str(calls), "FAILING": failing}
    done = subprocess.run(words, cwd=project, env=clean, capture_output=True, text=True, timeout=LONG, check=False)
    return done.returncode, calls.read_text().splitlines(), done.stdout


def test_every_part_of_make_test_runs_and_passes(project):
    status, calls, output = call(project, "make", "test")
    assert (status, calls) == (0, PARTS)
    assert output.count("passed: ") == len(PARTS)
    assert all(f"output of {part}" in output for part in PARTS)  # pytest's own lines are seen
    assert "FAILED" not in output


@pytest.mark.parametrize("failing", PARTS)
def test_a_part_that_fails_hides_no_other_and_fails_the_whole(project, failing):
    status, calls, output = call(project, "make", "test", failing=failing)
    assert status != 0
    assert calls == PARTS
    assert f"FAILED with 3: .venv/bin/{failing}" in output
    assert output.count("passed: ") == len(PARTS) - 1


@pytest.mark.parametrize(
    ("target", "failing", "expected"), [("lint", "ruff check", PARTS[:3]), ("test-matrix", MATRIX[1], MATRIX)]
)
def test_the_other_targets_go_on_as_well(project, target, failing, expected):
    status, calls, _ = call(project, "make", target, failing=failing)
    assert status != 0
    assert [found.startswith(part) for found, part in zip(calls, expected, strict=True)] == [True] * len(expected)


@pytest.mark.parametrize("failing", ["nothing", "make test", "make test-matrix"])
def test_ci_runs_both_targets(project, failing):
    status, calls, _ = call(project, "bash", ".ci/run", failing=failing, stubs=True)
    assert calls == ["make test", "make test-matrix"]
    assert (status == 0) == (failing == "nothing")


def test_a_target_that_stops_at_the_first_failure_is_seen(project):
    """The planted failure: what the Makefile did before."""
    makefile = project / "Makefile"
    text = makefile.read_text()
    assert "EACH := sh tests/each.sh\n" in text
    makefile.write_text(text.replace("sh tests/each.sh", """sh -c 'for c in "$$@"; do $$c || exit 1; done' each"""))
    status, calls, _ = call(project, "make", "test", failing=UNIT)
    assert status != 0
    assert calls == PARTS[:4]
