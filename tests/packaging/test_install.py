"""Both ways of installing, each into a fresh environment and used from an empty folder, away from the checkout.

The fresh environment sees the dependencies of the one that runs the tests through a `.pth` file. Such a file is not
followed any further, so an editable install of paretokit beside them stays out of sight. Nothing here uses a network.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from support.waits import LONG

from paretokit.experiments.store import Store

PROJECT = Path(__file__).parents[2]
TREE = ("paretokit", "data", "tests", "notebooks", "pyproject.toml", "README.md", "LICENSE", ".gitignore")
VERSION = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
DIST_INFO = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")


def call(*words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with an environment that holds nothing of the tests'."""
    clean = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder.parent),
        "LANG": "C.UTF-8",
        "HF_HUB_OFFLINE": "1",
        "PARETOKIT_CACHE": str(folder.parent / "cache"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
    }
    return subprocess.run(words, cwd=folder, env=clean, capture_output=True, text=True, encoding="utf-8", timeout=LONG)


def output(*words: str | Path, folder: Path) -> str:
    """The standard output of a command that has to succeed."""
    done = call(*words, folder=folder)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Environment:
    """A fresh virtual environment, without pip (the tests' own pip installs into it)."""

    def __init__(self, root: Path) -> None:
        venv.create(root, symlinks=os.name != "nt")
        paths = sysconfig.get_paths("venv", vars={"base": str(root), "platbase": str(root)})
        self.site, self.scripts = Path(paths["purelib"]), Path(paths["scripts"])
        self.python, self.paretokit = self.scripts / "python", self.scripts / "paretokit"

    def see_dependencies(self) -> None:
        """Put the packages of the environment that runs the tests behind this one's own."""
        places = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
        (self.site / "dependencies.pth").write_text("\n".join(places), encoding="utf-8")

    def install(self, *words: str | Path, folder: Path) -> None:
        output(sys.executable, "-m", "pip", "--python", self.python, "install", "--no-deps", *words, folder=folder)

    def package(self, *, folder: Path) -> Path:
        """The folder that `import paretokit` finds."""
        return Path(output(self.python, "-c", "import paretokit; print(paretokit.__file__)", folder=folder).strip()).parent


@pytest.fixture
def empty(tmp_path):
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the checkout, with bytecode lying about as after use."""
    root = tmp_path_factory.mktemp("tree")
    for name in TREE:
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (PROJECT / name).exists():
            shutil.copy2(PROJECT / name, root / name)
    for folder in ("paretokit", "data/tiny"):
        (root / folder / "__pycache__").mkdir()
        (root / folder / "__pycache__" / "litter.cpython-311.pyc").write_bytes(b"")
    return root


@pytest.fixture(scope="module")
def wheel(tree, tmp_path_factory):
    """The wheel, built from the copy with the tests' own hatchling."""
    folder = tmp_path_factory.mktemp("dist")
    output(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, tree, folder=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    environment = Environment(tmp_path_factory.mktemp("wheel"))
    environment.install(wheel, folder=wheel.parent)
    environment.see_dependencies()
    return environment


def files(folder: Path) -> set[str]:
    """The files below a folder but for bytecode, relative to it."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if "__pycache__" not in path.parts}


def test_the_wheel_holds_package_data_and_licence_and_nothing_else(wheel, tree):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"paretokit/cli/demo.py", "paretokit/_data/tiny/model.safetensors", "paretokit/_data/tiny/tokenizer.json"} <= names
    assert {"paretokit/_notebooks/00_tour.ipynb", "paretokit/view/static/probe.js", "paretokit/view/static/studio.css"} <= names
    assert names == {
        *(f"paretokit/{name}" for name in files(tree / "paretokit")),
        *(f"paretokit/_data/{name}" for name in files(tree / "data")),
        *(f"paretokit/_notebooks/{path.name}" for path in (tree / "notebooks").glob("*.ipynb")),
        *(f"paretokit-{VERSION}.dist-info/{name}" for name in DIST_INFO),
    }


def test_the_wheel_holds_the_tiny_policy_bit_for_bit(wheel):
    sums = (PROJECT / "data" / "tiny" / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    expected = {name: digest for digest, name in (line.split() for line in sums)}
    assert "model.safetensors" in expected
    with zipfile.ZipFile(wheel) as archive:
        found = {name: hashlib.sha256(archive.read(f"paretokit/_data/tiny/{name}")).hexdigest() for name in expected}
    assert found == expected


@pytest.mark.slow
def test_the_wheel_does_the_main_job_in_an_empty_folder(installed, empty):
    assert installed.package(folder=empty) == installed.site / "paretokit"
    assert "paretokit demo" in output(installed.python, "-m", "paretokit", "--help", folder=empty)

    found = json.loads(output(installed.paretokit, "doctor", "--json", folder=empty))
    assert found["version of paretokit"] == {"found": VERSION, "fine": True}
    assert all(entry["fine"] for entry in found.values())
    assert list(empty.iterdir()) == []

    table = output(installed.paretokit, "demo", "--steps", "1", "--workers", "2", folder=empty)
    assert "Scores (larger is better)" in table
    assert all(table.count(f"\n{method} ") >= 5 for method in ("raco", "cagrad", "linear"))
    assert "15 points in" in table
    assert str(empty / "front.html") in table
    assert sorted(path.name for path in empty.iterdir()) == ["demo-runs", "front.html"]
    runs = Store(empty / "demo-runs").runs()
    assert [run.state["state"] for run in runs] == ["done"] * 15
    page = (empty / "front.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert len(page) > 1_000_000  # plotly is inside, so that the page needs no network
    assert all(run.id in page for run in runs)


def test_the_wheel_copies_its_lesson_and_would_open_it(installed, empty):
    said = json.loads(output(installed.paretokit, "lab", "--json", folder=empty))
    assert said["copied"] == ["00_tour.ipynb", "01_heads.ipynb", "02_guided.ipynb"]
    lesson = (empty / "paretokit-notebooks" / "00_tour.ipynb").read_bytes()
    assert lesson == (PROJECT / "notebooks" / "00_tour.ipynb").read_bytes()


@pytest.mark.slow
def test_a_wheel_without_its_data_says_where_it_looked(installed, empty):
    """The planted failure: the test above cannot pass on the checkout's data."""
    data = installed.site / "paretokit" / "_data"
    data.rename(empty.parent / "_data")
    try:
        done = call(installed.paretokit, "decode", "--policy", "tiny", "--prompt", "Hi", folder=empty)
    finally:
        (empty.parent / "_data").rename(data)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .startswith(
            f"paretokit decode: shipped data 'tiny': found neither {data / 'tiny'} (installed wheel) nor "
            f"{installed.site / 'data' / 'tiny'} (checkout). "
        )
    )


@pytest.mark.slow
def test_an_editable_install_runs_the_checkout(tree, empty, tmp_path):
    environment = Environment(tmp_path / "environment")
    environment.see_dependencies()  # first: its Python builds, with hatchling
    environment.install("--no-build-isolation", "--editable", tree, folder=empty)
    assert environment.package(folder=empty) == tree / "paretokit"
    assert not (tree / "paretokit" / "_data").exists()
    assert output(environment.paretokit, "--version", folder=empty) == f"paretokit {VERSION}\n"
    words = ("decode", "--policy", "tiny", "--prompt", "How do I bake bread?", "--json")
    (one,) = json.loads(output(environment.paretokit, *words, folder=empty))[""]
    assert one["text"]
    assert one["ended"]
    assert list(empty.iterdir()) == []
