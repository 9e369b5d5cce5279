"""What holds for every source file: documented, keyword-only options, no machine's own paths, quarantines listed."""

import ast
import re
from pathlib import Path

import pytest

import paretokit

PACKAGE = Path(paretokit.__file__).parent
PROJECT = Path(__file__).parents[2]
SOURCES = [path for path in PACKAGE.rglob("*.py") if "_data" not in path.parts]


def public(text: str):
    """The public functions, classes and methods of a source text."""
    for node in ast.parse(text).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from (part for part in node.body if isinstance(part, ast.FunctionDef) and not part.name.startswith("_"))


def undocumented(text: str) -> list[str]:
    missing = [] if ast.get_docstring(ast.parse(text)) or not text.strip() else ["module"]
    return missing + [node.name for node in public(text) if not ast.get_docstring(node)]


def positional_options(text: str) -> list[str]:
    """Arguments that have a default but can be passed by position."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("__"):
            optional = node.args.args[len(node.args.args) - len(node.args.defaults) :]
            found += [f"{node.name}({argument.arg})" for argument in optional]
    return found


# a second reading of the same thing, not an option of a call
POSITIONAL = {
    "main(arguments)",
    "hypervolume(reference)",
    "report(tokenizer)",
    "report(max_length)",
    "bootstrap_mean(groups)",
    "random_policy(family)",
    "wait(timeout)",
    "result(timeout)",
    "sample(prompt)",
    "merged(weights)",
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_public_thing_is_documented(path):
    assert undocumented(path.read_text(encoding="utf-8")) == []


def test_the_check_sees_a_missing_docstring():
    assert undocumented('"""M."""\ndef f(): ...\nclass A:\n    """A."""\n    def g(self): ...') == ["f", "g"]
    assert undocumented("x = 1") == ["module"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_options_are_keyword_only(path):
    assert set(positional_options(path.read_text(encoding="utf-8"))) <= POSITIONAL


def test_the_check_sees_a_positional_option():
    assert positional_options("def f(a, b=1, *, c=2): ...") == ["f(b)"]


MACHINE = re.compile(r"(?<![\w.])/(work|farm|opt/wheels|root|home)/\w")


def test_no_file_names_this_machine():
    listed = [p for p in PROJECT.rglob("*") if p.suffix in {".py", ".md", ".toml", ".txt", ".ipynb"} or p.name == "Makefile"]
    hidden = {".venv", ".git", "node_modules", "build", "dist"}
    for path in listed:
        if not any(part in hidden or part.startswith(".") for part in path.relative_to(PROJECT).parts):
            assert not MACHINE.search(path.read_text(encoding="utf-8")), path


def test_the_check_sees_a_path_of_this_machine():
    assert MACHINE.search("open('/" + "work/main/x')")


SKIPS = re.compile(r"pytest\.(?:mark\.)?(?:skip|skipif|xfail|importorskip)\b")


def test_every_skip_is_listed():
    """`tests/QUARANTINES.md` names each file that skips or expects failures, with the reason and what lifts it."""
    tests = [path for path in (PROJECT / "tests").rglob("*.py") if path != Path(__file__)]
    skipping = {str(p.relative_to(PROJECT)) for p in tests if SKIPS.search(p.read_text(encoding="utf-8"))}
    listed = set(re.findall(r"`(tests/\S+\.py)`", (PROJECT / "tests" / "QUARANTINES.md").read_text(encoding="utf-8")))
    assert skipping == listed
