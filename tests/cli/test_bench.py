"""`paretokit bench ui`: what it needs is named; its figures are measured, never asserted."""

import pytest

from paretokit.cli import browser, main
from paretokit.errors import DependencyError


def test_a_missing_browser_names_the_remedy(monkeypatch, capsys):
    monkeypatch.setattr(browser.shutil, "which", lambda name: None)
    assert main(["bench", "ui"]) == 1
    assert capsys.readouterr().err == (
        "paretokit bench: chromium: not found on the PATH. Install it, on Debian with: apt-get install -y chromium\n"
    )


def test_what_is_measured_must_be_named(capsys):
    with pytest.raises(SystemExit):
        main(["bench", "nothing"])
    assert "invalid choice: 'nothing'" in capsys.readouterr().err


def test_a_server_that_dies_is_reported_with_its_output(tmp_path, monkeypatch):
    monkeypatch.setattr(browser.sys, "executable", "/bin/false")
    with (
        pytest.raises((DependencyError, browser.ModelError), match="no answer at"),
        browser.lab_server(tmp_path),
    ):
        pass
