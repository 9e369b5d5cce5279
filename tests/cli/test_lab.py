"""`paretokit lab`: notebooks are copied with care, and the server stays on this machine with its token kept."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys

import pytest

from paretokit.cli import main
from paretokit.cli.lab import copy_notebooks, server_command, server_environment, write_settings
from paretokit.resources import notebooks


def test_notebooks_are_copied_once_and_kept(tmp_path):
    names = [path.name for path in notebooks()]
    assert copy_notebooks(tmp_path / "mine", fresh=False) == (names, [])
    changed = tmp_path / "mine" / names[0]
    changed.write_text("my notes")
    assert copy_notebooks(tmp_path / "mine", fresh=False) == ([], names)
    assert changed.read_text() == "my notes"
    assert copy_notebooks(tmp_path / "mine", fresh=True) == (names, [])
    assert changed.read_bytes() == notebooks()[0].read_bytes()


def test_the_checkouts_own_notebooks_are_left_alone():
    folder = notebooks()[0].parent
    before = notebooks()[0].read_bytes()
    assert copy_notebooks(folder, fresh=True) == ([], [path.name for path in notebooks()])
    assert notebooks()[0].read_bytes() == before


def test_the_server_is_on_loopback_and_keeps_its_token(tmp_path):
    command = server_command(tmp_path, port=8899, open_browser=False)
    assert "--ip=127.0.0.1" in command
    assert "--no-browser" in command
    assert not any("token" in part or "password" in part for part in command)
    assert "--no-browser" not in server_command(tmp_path, port=8899, open_browser=True)


def test_this_interpreters_kernel_comes_first_and_subshells_are_not_forced(monkeypatch, tmp_path):
    monkeypatch.setenv("JUPYTER_PATH", "elsewhere")
    own = server_environment()
    assert own["JUPYTER_PATH"].startswith(sys.prefix)
    assert own["JUPYTER_PATH"].endswith("elsewhere")
    write_settings(tmp_path)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [json.loads(path.read_text()) for path in written] == [{"fetchNews": "false", "checkForUpdates": False}]


def test_json_says_what_would_run_and_runs_nothing(tmp_path, capsys):
    assert main(["lab", "--folder", str(tmp_path / "mine"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["copied"] == ["00_tour.ipynb", "01_heads.ipynb", "02_guided.ipynb"]
    assert said["command"][1:3] == ["-m", "jupyterlab"]


def test_a_missing_jupyterlab_names_the_remedy(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["lab"]) == 1
    assert capsys.readouterr().err == (
        "paretokit lab: JupyterLab: not installed. Install it with: pip install 'paretokit[lab]'\n"
    )


@pytest.mark.slow
def test_it_starts_and_ends_with_its_server(tmp_path):
    clean = {**os.environ, "PARETOKIT_CACHE": str(tmp_path / "cache"), "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")}
    command = [sys.executable, "-m", "paretokit", "lab", "--folder", str(tmp_path / "mine"), "--no-browser", "--port", "8871"]
    started = subprocess.Popen(command, env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert started.stdout is not None
    try:
        heard = ""
        for line in started.stdout:
            heard += line
            if found := re.search(r"http://127\.0\.0\.1:\d+/lab/tree/00_tour\.ipynb\?token=\w{20,}", heard):
                break
        assert found, heard
        children = subprocess.run(["pgrep", "-P", str(started.pid)], capture_output=True, text=True, check=False).stdout.split()
        assert len(children) == 1
        started.send_signal(signal.SIGINT)
        started.stdout.read()
        assert started.wait(20) == 0
        alive = subprocess.run(["kill", "-0", children[0]], capture_output=True, check=False).returncode == 0
        assert not alive
    finally:
        started.kill()
        started.stdout.close()
        started.wait()
