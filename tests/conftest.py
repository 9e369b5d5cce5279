"""Shape and type checks for the one package under test, and one thread so that numbers do not depend on the machine."""

import os

import hypothesis
import pytest
import support.checks  # noqa: F401 (the hook finds it by name)
import torch
from jaxtyping import install_import_hook

# before any test module imports the package, or transformers
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
install_import_hook("paretokit", "support.checks.typechecker")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _cache_in_tmp(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("PARETOKIT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


# no deadline, and no check that drawing examples is quick: both go by the clock
slow = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("paretokit", deadline=None, derandomize=True, suppress_health_check=slow)
hypothesis.settings.load_profile("paretokit")
