"""Every lesson runs, unsolved and solved; the checks reject what they should."""

from pathlib import Path

import nbformat
import pytest
from support import notebooks

LESSONS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def planted(*sources: str):
    made = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    made.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    return made


def test_there_is_a_lesson():
    assert [path.name for path in LESSONS] == ["00_tour.ipynb", "01_heads.ipynb", "02_guided.ipynb"]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.name)
def test_a_lesson_is_stripped_and_short(path):
    assert notebooks.faults(notebooks.read(path)) == []


@pytest.mark.slow
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.name)
def test_a_lesson_runs_with_its_exercises_unsolved(path, tmp_path):
    made = notebooks.run(notebooks.unsolved(notebooks.read(path)), tmp_path)
    assert any("not solved yet" in str(cell.get("outputs", "")) for cell in made.cells)


@pytest.mark.slow
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.name)
def test_a_lesson_runs_solved(path, tmp_path):
    made = notebooks.run(notebooks.solved(notebooks.read(path)), tmp_path)
    assert any("right:" in str(cell.get("outputs", "")) for cell in made.cells)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import sys; print('x', file=sys.stderr)", "stderr"),
        ("print('x' * 2_100_000)", "bytes"),
    ],
)
def test_the_runner_rejects(source, message, tmp_path):
    with pytest.raises(notebooks.LessonError, match=message):
        notebooks.run(planted(source), tmp_path)


SPENT = "import time\nwhile time.process_time() < 6: pass"  # what a kernel needs to start is well below


def test_the_runner_rejects_a_notebook_that_computes_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "SECONDS", 5)
    with pytest.raises(notebooks.LessonError, match=r"took (6|7)\.\d s of processor time, expected at most 5"):
        notebooks.run(planted(SPENT), tmp_path)


def test_a_notebook_that_only_waits_is_not_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "SECONDS", 5)
    notebooks.run(planted("import time; time.sleep(6)"), tmp_path)


def test_the_file_checks_reject():
    made = planted("def f(): pass", "\n" * 20 + "x = 1")
    made.cells[1].execution_count = 3
    made.metadata.kernelspec.name = "other"
    found = " ".join(notebooks.faults(made))
    assert all(text in found for text in ("def or class", "stored output", "more than 15 lines", "kernelspec"))
