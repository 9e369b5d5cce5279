"""The cache folder: the environment's, else the platform's; never one inside the working directory by accident."""

from pathlib import Path

import platformdirs
import pytest

from paretokit.cache import cache_folder


def test_the_environment_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARETOKIT_CACHE", str(tmp_path / "elsewhere"))
    assert cache_folder() == tmp_path / "elsewhere"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARETOKIT_CACHE", "relative")
    assert cache_folder() == tmp_path / "relative"


@pytest.mark.parametrize("unset", ["", None])
def test_else_the_platform_does(unset: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if unset is None:
        monkeypatch.delenv("PARETOKIT_CACHE")
    else:
        monkeypatch.setenv("PARETOKIT_CACHE", unset)
    assert cache_folder() == Path(platformdirs.user_cache_dir("paretokit", appauthor=False))
    assert not cache_folder().exists() or cache_folder().is_dir()
