"""Run a notebook from top to bottom in a folder of its own, and say what a lesson may not have."""

import ast
import os
from itertools import pairwise
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from support.waits import LONG, processor_seconds_of_children

SECONDS, BYTES = 90, 2_000_000  # of processor time: a busy machine makes no lesson too long


class LessonError(AssertionError):
    """A notebook that does not run as a lesson must."""


def read(path: Path):
    return nbformat.read(path, as_version=4)


def solved(notebook):
    """The notebook with every exercise replaced by the solution in the next cell."""
    cells = notebook.cells
    for exercise, solution in pairwise(cells):
        if "exercise" in exercise.metadata.get("tags", []) and "solution" in solution.metadata.get("tags", []):
            exercise.source = solution.source
    return notebook


def unsolved(notebook):
    """The notebook as a reader who skips the exercises runs it: without the solutions."""
    notebook.cells = [cell for cell in notebook.cells if "solution" not in cell.metadata.get("tags", [])]
    return notebook


def run(notebook, folder: Path):
    """Execute a notebook and return it with its outputs; raises `LessonError` for an error, stderr, size or processor time."""
    os.environ["OMP_NUM_THREADS"] = "1"  # the other core runs other tests: two threads beside them are many times slower
    os.environ.update(HF_HUB_OFFLINE="1", PARETOKIT_CACHE=str(folder / ".cache"), IPYTHONDIR=str(folder / ".ipython"))
    began = processor_seconds_of_children()  # the kernel's, which has ended by then
    client = NotebookClient(
        notebook, timeout=LONG, kernel_name="python3", store_widget_state=False, allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
    )  # fmt: skip
    client.execute()
    seconds = processor_seconds_of_children() - began
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                raise LessonError(f"cell {number}: {output.ename}: {output.evalue}")
            if output.output_type == "stream" and output.name == "stderr":
                raise LessonError(f"cell {number}: printed to stderr: {output.text}")
    if (size := len(nbformat.writes(notebook).encode())) > BYTES:
        raise LessonError(f"the executed notebook has {size} bytes, expected at most {BYTES}")
    if seconds > SECONDS:
        raise LessonError(f"took {seconds:.1f} s of processor time, expected at most {SECONDS}")
    return notebook


def faults(notebook) -> list[str]:
    """What a lesson's file may not have: definitions, stored outputs, a missing id, another kernel."""
    found = []
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("kernelspec is not python3")
    for number, cell in enumerate(notebook.cells):
        if not cell.get("id"):
            found.append(f"cell {number}: no id")
        if cell.cell_type != "code":
            continue
        if cell.outputs or cell.execution_count is not None:
            found.append(f"cell {number}: stored output")
        if any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in ast.walk(ast.parse(cell.source))):
            found.append(f"cell {number}: def or class")
        if len(cell.source.splitlines()) > 15:
            found.append(f"cell {number}: more than 15 lines")
    return found
