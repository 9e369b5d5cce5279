"""Floor 0 is pure: no argument is changed, nothing is drawn without a generator, no module keeps state."""

import ast
import importlib
import re
from pathlib import Path

import pytest
import torch
from support.maths_asserts import assert_pure

import paretokit.maths
from paretokit.maths.contraction import layout, slopes_at
from paretokit.maths.faces import Problem
from paretokit.maths.heads import Head

FOLDER = Path(paretokit.maths.__file__).parent
FILES = sorted(FOLDER.glob("*.py"))
MODULES = [path.stem for path in FILES if path.stem != "__init__"]


def _matrix(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def _generator():
    return torch.Generator().manual_seed(0)


def _problem():
    return Problem([[0.85, -0.25, 0.0], [-0.25, 0.1, 0.0], [0.0, 0.0, 0.05]], [0.045, 0.0, 0.015], 0.1, 1e-14)


OWNER, LABELS = torch.tensor([0, 1, -1]), _matrix([1, torch.nan], [-1, 0])


def _layout():
    return layout(OWNER, LABELS)


def _slopes():
    return slopes_at(_layout(), _matrix([-0.1, 0], [0.2, 0]), scales=[1.0, 0.5])


def _two(weight, bias, up, down, up2, down2):
    return [Head(weight, bias, up, down), Head(weight, bias, up2, down2)]


GRAM, WEIGHTS, POINTS = _matrix([17, -5], [-5, 2]), _matrix(0.2, 0.8), _matrix([1, 3], [2, 2], [1, 1])
HEAD = (_matrix([1, 3], [2, 2], [1, 1]), _matrix(1, 2, 3), _matrix([1], [2], [0]), _matrix([1, -1]))
PAIR = (*HEAD, _matrix([0], [1], [1]), _matrix([2, 0]))
CLASSES = (_matrix(2, -1, 0.5), _matrix(1, 0, 0))
CALLS = {
    "calibration.accuracy": lambda f: assert_pure(f, *(part.clone() for part in CLASSES)),
    "calibration.auc": lambda f: assert_pure(f, *(part.clone() for part in CLASSES)),
    "calibration.brier": lambda f: assert_pure(f, _matrix(0.9, 0.2, 0.5), CLASSES[1].clone()),
    "calibration.log_loss": lambda f: assert_pure(f, *(part.clone() for part in CLASSES)),
    "calibration.measure": lambda f: assert_pure(f, *(part.clone() for part in CLASSES), bins=2),
    "calibration.reliability": lambda f: assert_pure(f, _matrix(0.9, 0.2, 0.5), CLASSES[1].clone(), bins=2),
    "calibration.smoothed": lambda f: assert_pure(f, CLASSES[1].clone()),
    "calibration.temperature": lambda f: assert_pure(f, *(part.clone() for part in CLASSES)),
    "contraction.contract": lambda f: assert_pure(f, POINTS.clone(), POINTS.clone(), _layout(), _slopes()),
    "contraction.contract_embedding": lambda f: assert_pure(
        f, POINTS.clone(), torch.tensor([0, 2, 0]), _slopes(), rows=3, ignored=2
    ),
    "contraction.contract_vectors": lambda f: assert_pure(f, POINTS.clone(), _slopes()),
    "contraction.layout": lambda f: assert_pure(f, OWNER.clone(), LABELS.clone()),
    "contraction.slopes_at": lambda f: assert_pure(f, _layout(), _matrix([-0.1, 0], [0.2, 0]), scales=[1.0, 0.5]),
    "faces.evidence": lambda f: assert_pure(f, [0.5, 0.5, 0.0], _problem()),
    "faces.minimise": lambda f: assert_pure(f, _problem()),
    "floats.dot": lambda f: assert_pure(f, [1.0, 2.0], [3.0, 4.0]),
    "floats.times": lambda f: assert_pure(f, [[1.0, 2.0], [0.0, 1.0]], [3.0, 4.0]),
    "fronts.attainment": lambda f: assert_pure(f, POINTS.clone(), torch.tensor([0, 0, 1]), levels=[0.5, 1.0]),
    "fronts.count_outside": lambda f: assert_pure(f, POINTS.clone(), reference=[0, 0]),
    "fronts.distance": lambda f: assert_pure(f, _matrix(0.5, 0.5), [POINTS.clone(), POINTS[:1].clone()]),
    "fronts.hypervolume": lambda f: assert_pure(f, POINTS.clone(), reference=[0, 0]),
    "fronts.knee": lambda f: assert_pure(f, POINTS.clone()),
    "fronts.nondominated": lambda f: assert_pure(f, POINTS.clone()),
    "games.minimax": lambda f: assert_pure(f, POINTS.clone()),
    "gramian.combine": lambda f: assert_pure(f, [POINTS.clone()], _matrix(1, 2, 3)),
    "gramian.cosines": lambda f: assert_pure(f, GRAM.clone()),
    "gramian.gramian": lambda f: assert_pure(f, [POINTS.clone(), POINTS.float()]),
    "gramian.norms": lambda f: assert_pure(f, GRAM.clone()),
    "heads.logits_of": lambda f: assert_pure(lambda *given: f(given[0], Head(*given[1:])), POINTS.clone(), *HEAD[:4]),
    "heads.projected": lambda f: assert_pure(
        lambda *given: f(given[0], Head(*given[2:], cap=2.0), given[1], chunk=2), POINTS.clone(), torch.tensor([0, 2, 1]), *HEAD
    ),
    "heads.projected_logps": lambda f: assert_pure(
        lambda *given: f(given[0], Head(*given[2:], cap=2.0), given[1], chunk=2), POINTS.clone(), torch.tensor([0, 2, 1]), *HEAD
    ),
    "heads.vocabulary_blocks": lambda f: assert_pure(
        lambda *given: list(f(given[0], Head(*given[3:], cap=2.0), *given[1:3])),
        POINTS.clone(),
        torch.tensor([0, 2, 1]),
        _matrix(1, 2, 3),
        *HEAD,
    ),
    "intervals.bootstrap_mean": lambda f: assert_pure(
        f, _matrix(1, 2, 4), torch.tensor([0, 0, 1]), draws=5, generator=_generator()
    ),
    "intervals.finite": lambda f: assert_pure(f, _matrix(1, 2, 4), place="here"),
    "intervals.ranks": lambda f: assert_pure(f, _matrix(3, 1, 3)),
    "intervals.spearman": lambda f: assert_pure(f, _matrix(1, 2, 4), _matrix(2, 1, 3)),
    "logps.sum_by_sequence": lambda f: assert_pure(f, _matrix(-1, -2), torch.tensor([1, 0]), count=2),
    "logps.wide": lambda f: assert_pure(f, torch.bfloat16),
    "logps.token_logps": lambda f: assert_pure(f, POINTS.clone(), torch.tensor([0, 1, 0])),
    "losses.dpo": lambda f: assert_pure(f, _matrix(1, 2), _matrix([1, torch.nan], [-1, 0]), beta=0.1),
    "losses.dpo_slopes": lambda f: assert_pure(f, _matrix(1, 2), _matrix([1, torch.nan], [-1, 0]), beta=0.1),
    "losses.judged": lambda f: assert_pure(f, _matrix([1, torch.nan], [-1, 0])),
    "losses.reduce": lambda f: assert_pure(f, POINTS.clone(), judged=torch.tensor([2, 1, 0])),
    "mixing.fold": lambda f: assert_pure(lambda w, *given: f(_two(*given), w), _matrix(0.2, 0.8), *PAIR),
    "mixing.fold_heads": lambda f: assert_pure(f, POINTS.clone()[None], _matrix(1)),
    "mixing.mix": lambda f: assert_pure(
        lambda x, w, *given: f(x, _two(*given), w), POINTS.clone(), _matrix([1, 0], [0, 1], [0.5, 0.5]), *PAIR
    ),
    "products.is_quick": assert_pure,
    "products.product": lambda f: assert_pure(f, POINTS.clone(), POINTS.clone(), bias=POINTS[:, 0].clone()),
    "products.linear": lambda f: assert_pure(f, POINTS.clone(), POINTS.clone(), bias=POINTS[:, 0].clone()),
    "products.suits": lambda f: assert_pure(f, POINTS.clone(), POINTS.clone()),
    "proportions.wilson": lambda f: assert_pure(f, 0.5, 8, level=0.9),
    "raco.cagrad_coefficients": lambda f: assert_pure(f, GRAM.clone(), WEIGHTS.clone(), c=0.5),
    "raco.clip": lambda f: assert_pure(f, WEIGHTS.flip(0), WEIGHTS.clone()),
    "raco.coefficients": lambda f: assert_pure(f, GRAM.clone(), WEIGHTS.clone(), c=0.5),
    "raco.dual": lambda f: assert_pure(f, GRAM.clone(), WEIGHTS.clone(), c=0.5),
    "reward_losses.bradley_terry": lambda f: assert_pure(f, _matrix([1, 2], [0, 1]), _matrix([1, torch.nan], [-1, 0])),
    "reward_losses.check_classes": lambda f: assert_pure(f, _matrix([1, torch.nan], [0, 0.5])),
    "reward_losses.cross_entropy": lambda f: assert_pure(f, _matrix([1, 2], [0, 1]), _matrix([1, torch.nan], [0, 0.5])),
    "reward_losses.squared_error": lambda f: assert_pure(f, _matrix([1, 2], [0, 1]), _matrix([1, torch.nan], [-1, 0])),
    "rounding.is_zero": lambda f: assert_pure(f, 0.1, [0.5, 0.5], [1.0, 0.1], zero=1e-14),
    "rounding.length": lambda f: assert_pure(f, [0.5, -0.5], [1.0, 0.1]),
    "rounding.limits": lambda f: assert_pure(f, [0.5, 0.5], [1.0, 0.1]),
    "selection.best": lambda f: assert_pure(f, _matrix(1, 3, 3), 2),
    "selection.constrained": lambda f: assert_pure(f, POINTS.clone(), WEIGHTS.clone(), least={0: 1.5}),
    "selection.lexicographic": lambda f: assert_pure(f, POINTS.clone(), WEIGHTS.clone()),
    "selection.minimum": lambda f: assert_pure(f, POINTS.clone(), WEIGHTS.clone()),
    "selection.product": lambda f: assert_pure(f, POINTS / 4, WEIGHTS.clone()),
    "selection.rule": lambda f: assert_pure(f, "constraint", ("a", "b"), least={"a": 0.5}),
    "selection.standardised": lambda f: assert_pure(f, POINTS.clone()),
    "selection.weighted": lambda f: assert_pure(f, POINTS.clone(), WEIGHTS.clone()),
    "simplex.dirichlet": lambda f: assert_pure(f, 3, 2, generator=_generator()),
    "simplex.grid": lambda f: assert_pure(f, 3, resolution=4),
    "simplex.mixture_of": lambda f: assert_pure(f, _matrix(0.4, 0.6), _matrix([0, 1], [0.2, 0.8], [1, 0])),
    "simplex.move": lambda f: assert_pure(f, [0.5, 0.3, 0.2], 0, 0.9, locked=[False, True, False]),
    "simplex.normalise": lambda f: assert_pure(f, _matrix(1, 3)),
    "simplex.resolve": lambda f: assert_pure(f, {"a": 0.25, "b": 0.75}, ["b", "a"]),
    "simplex.validate": lambda f: assert_pure(f, _matrix(0.25, 0.75), names=["a", "b"]),
}


@pytest.mark.parametrize("name", CALLS)
def test_arguments_are_untouched(name):
    module, function = name.split(".")
    CALLS[name](getattr(importlib.import_module(f"paretokit.maths.{module}"), function))


def test_every_public_function_is_called():
    public = {
        f"{stem}.{name}"
        for stem in MODULES
        for module in [importlib.import_module(f"paretokit.maths.{stem}")]
        for name in module.__all__
        if not isinstance(getattr(module, name), type)
    }
    assert public == set(CALLS)


@pytest.mark.parametrize("stem", MODULES)
def test_all_is_sorted_and_complete(stem):
    module = importlib.import_module(f"paretokit.maths.{stem}")
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    assert list(module.__all__) == sorted(name for name in own if not name.startswith("_"))


# what draws, as a function or a method; a call of it must name its generator
DRAWS = re.compile(
    r"^(rand|randn|randint|randperm|multinomial|bernoulli_?|normal_?|poisson|exponential_|uniform_|random_|cauchy_"
    r"|log_normal_|geometric_|rand_like|randn_like|randint_like|dropout\w*|sample|rsample|choice|shuffle)$"
)
SEEDS = {"manual_seed", "seed", "default_rng", "set_rng_state", "initial_seed"}
STATEFUL = {"list", "dict", "set", "defaultdict", "Counter", "deque", "OrderedDict", "bytearray", "Generator", "tensor"}


def random_calls(source: str) -> list[str]:
    """Calls that draw without naming a generator, or touch a seed."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            named = {keyword.arg for keyword in node.keywords}
            if name in SEEDS or (DRAWS.match(name) and "generator" not in named):
                found.append(f"{node.lineno}: {name}")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [f"{node.lineno}: {name}" for name in names if name.split(".")[0] == "random"]
    return found


def module_state(source: str) -> list[str]:
    """Mutable values at module level or as defaults, caches, and names rebound from inside functions."""
    tree, found = ast.parse(source), []
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if [ast.unparse(target) for target in targets] != ["__all__"] and _mutable(node.value):
                found.append(f"{node.lineno}: {ast.unparse(targets[0])}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Global | ast.Nonlocal):
            found.append(f"{node.lineno}: {', '.join(node.names)}")
        if isinstance(node, ast.FunctionDef):
            defaults = [value for value in (*node.args.defaults, *node.args.kw_defaults) if value is not None]
            found += [f"{node.lineno}: default of {node.name}" for value in defaults if _mutable(value)]
            found += [f"{node.lineno}: {node.name}" for mark in node.decorator_list if "cache" in ast.unparse(mark)]
    return found


def _mutable(value: ast.expr) -> bool:
    for node in ast.walk(value):
        if isinstance(node, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp):
            return True
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in STATEFUL:
                return True
    return False


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_is_drawn_without_a_generator(path):
    assert random_calls(path.read_text()) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_module_keeps_state(path):
    assert module_state(path.read_text()) == []


@pytest.mark.parametrize(
    "planted",
    [
        "x = torch.rand(3)",
        "def f(t):\n    return t.exponential_()",
        "torch.manual_seed(0)",
        "import random",
        "from random import shuffle",
        "y = numpy.random.default_rng(0)",
        "z = torch.randperm(4, device='cpu')",
    ],
)
def test_random_check_rejects(planted):
    assert random_calls(planted)


@pytest.mark.parametrize(
    "planted",
    [
        "CACHE = {}",
        "SEEN: list[int] = []",
        "TABLE = dict(a=1)",
        "EYE = torch.tensor([1.0])",
        "PAIR = (1, [2])",
        "def f():\n    global n\n    n = 1",
        "@functools.cache\ndef f(): ...",
        "def f(x, *, seen=[]): ...",
    ],
)
def test_state_check_rejects(planted):
    assert module_state(planted)


def promised_tests(source: str) -> set[str]:
    return set(re.findall(r"`(test_\w+)`", source))


def test_tests_named_in_docstrings_exist():
    promised = {name for path in FILES for name in promised_tests(path.read_text())}
    written = set(re.findall(r"^def (test_\w+)", "\n".join(p.read_text() for p in Path(__file__).parent.glob("*.py")), re.M))
    assert promised
    assert promised - written == set()


def test_promise_check_sees_a_name():
    assert promised_tests('"""Never fails (`test_of_nothing`)."""') == {"test_of_nothing"}
