"""Who may import whom, as one table; what importing paretokit loads and does; the public names."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import paretokit

ROOT = Path(paretokit.__file__).parent
FLOORS = {  # floor -> paretokit modules it may import, besides itself and the ground
    "maths": set(),
    "models": {"maths"},
    "preferences": {"maths"},
    "training": {"maths", "models", "preferences"},
    "decoding": {"maths", "models", "preferences"},
    "experiments": {"maths", "models", "preferences", "training", "decoding"},
    "view": {"maths", "models", "preferences", "training", "decoding", "experiments"},
    "cli": {"maths", "models", "preferences", "training", "decoding", "experiments", "view"},
}
GROUND = {"cache", "errors", "forks", "processor", "prompts", "resources", "rows", "shapes", "templates", "texts", "turns"}
THIRD_PARTY = {  # floor -> what it may import beside the standard library
    "ground": {"jaxtyping", "torch", "platformdirs", "jinja2"},
    "maths": {"torch", "moocore", "numpy"},
    "models": {"torch", "transformers", "peft", "safetensors", "tokenizers", "huggingface_hub", "numpy"},
    "preferences": {"torch", "numpy", "pandas", "pyarrow", "datasets"},
    "training": {"torch"},
    "decoding": {"torch", "transformers", "numpy"},
    "experiments": {"torch", "numpy", "pandas", "safetensors", "rich", "mpmath"},
    "view": {"torch", "numpy", "pandas", "plotly", "rich", "ipywidgets", "anywidget", "traitlets", "IPython"},
    "cli": {"torch", "pandas", "rich", "playwright", "jupyterlab", "trl", "torchjd", "datasets", "peft", "huggingface_hub"},
}


def sources():
    return [path for path in ROOT.rglob("*.py") if "_data" not in path.parts]


def floor_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0] if len(parts) > 1 else "ground"


def imported(text: str) -> list[str]:
    """All modules that a source text names in its import statements, wherever they stand; relative ones as "."."""
    names = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                names.append(".")
            elif node.module == "paretokit":
                names += [f"paretokit.{alias.name}" for alias in node.names]
            else:
                names.append(node.module or "")
    return names


def faults(floor: str, text: str) -> list[str]:
    """What in a module of the floor breaks the table."""
    found = []
    for name in imported(text):
        head, *rest = name.split(".")
        if head == "":
            found.append("relative import")
        elif head == "paretokit":
            target = rest[0] if rest else ""
            allowed = GROUND | (set() if floor == "ground" else FLOORS[floor] | {floor})
            if target not in allowed:
                found.append(f"paretokit.{target}")
        elif head not in sys.stdlib_module_names and head not in THIRD_PARTY[floor]:
            found.append(head)
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    if path.parent == ROOT and path.name in ("__init__.py", "__main__.py"):
        return  # the door: it names every floor
    assert faults(floor_of(path), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("floor", "text", "fault"),
    [
        ("maths", "from paretokit.models.policy import Policy", "paretokit.models"),
        ("preferences", "import paretokit.models.load", "paretokit.models"),
        ("training", "def f():\n    from paretokit.decoding.sample import generate", "paretokit.decoding"),
        ("maths", "import transformers", "transformers"),
        ("experiments", "import plotly.express", "plotly"),
        ("maths", "from .raco import dual", "relative import"),
        ("ground", "from paretokit.maths import raco", "paretokit.maths"),
    ],
)
def test_the_check_sees_a_planted_import(floor, text, fault):
    assert faults(floor, text) == [fault]


def loaded_by(statement: str) -> dict:
    code = (
        "import sys, json, random; before = random.getstate(); "
        f"{statement}; import os; "
        "print(json.dumps({'modules': sorted(sys.modules), 'seeded': random.getstate() != before}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {**json.loads(run.stdout), "stderr": run.stderr}


def test_importing_paretokit_loads_nothing_heavy_and_says_nothing():
    seen = loaded_by("import paretokit")
    heavy = {"torch", "transformers", "peft", "plotly", "pandas", "moocore", "rich"}
    assert not heavy & set(seen["modules"])
    assert seen["stderr"] == ""
    assert not seen["seeded"]


def test_the_check_would_see_a_heavy_import():
    assert "pandas" in loaded_by("import paretokit; paretokit.score")["modules"]


def test_training_loads_no_plotting():
    modules = loaded_by("import paretokit; paretokit.train, paretokit.sweep")["modules"]
    assert "plotly" not in modules


def test_the_public_names_are_sorted_and_there():
    assert sorted(paretokit.__all__) == paretokit.__all__
    assert set(paretokit.__all__) == set(paretokit._HOMES)
    for name in paretokit.__all__:
        assert getattr(paretokit, name) is not None
    assert set(paretokit.__all__) <= set(dir(paretokit))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'paretokit' has no attribute 'trane'"):
        paretokit.trane  # noqa: B018 (the access is the test)
