"""A JupyterLab server and a real browser on it, for `paretokit bench ui`, the tests and the picture of the README.

Everything runs on this machine: requests to any other host are refused and recorded. The server has no protection and
must not be used for anything else. Imports: playwright and jupyter, on use.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from paretokit.errors import DependencyError, ModelError

_LOOPBACK = ("127.0.0.1", "localhost", "")
_FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run",
)  # fmt: skip
_FOLDERS = ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")


def write_notebook(path: Path, cells: Sequence[str]) -> Path:
    """Write a notebook of code cells and return its path. It names its kernel, else a dialog would block everything."""
    made = [
        {"cell_type": "code", "id": f"cell-{number}", "metadata": {}, "execution_count": None, "outputs": [], "source": text}
        for number, text in enumerate(cells)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.write_text(json.dumps({"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}))
    return path


@contextmanager
def lab_server(
    folder: Path,
    *,
    comms: str = "perCommTarget",
    dark: bool = False,
    environment: Mapping[str, str] | None = None,
    patience: float = 60.0,
) -> Iterator[str]:
    """Yield the address of a JupyterLab that serves `folder`, with settings of its own, and end it afterwards.

    `comms` is JupyterLab's commsOverSubshells: "perCommTarget" or "disabled". `environment` is added to the server's.
    Raises `DependencyError` without JupyterLab and `ModelError` where it does not answer within `patience` seconds.
    """
    try:
        import jupyterlab  # noqa: F401 (is it there?)
    except ImportError as error:
        raise DependencyError("JupyterLab: not installed. Install it with: pip install 'paretokit[lab]'") from error
    with TemporaryDirectory(prefix="paretokit-lab-") as private:
        port = _free_port()
        own = {name: str(Path(private) / name.lower()) for name in _FOLDERS}
        apputils = Path(own["JUPYTERLAB_SETTINGS_DIR"]) / "@jupyterlab" / "apputils-extension"
        _settings(apputils / "notification.jupyterlab-settings", {"fetchNews": "false", "checkForUpdates": False})
        _settings(apputils / "kernels-settings.jupyterlab-settings", {"commsOverSubshells": comms})
        if dark:
            _settings(apputils / "themes.jupyterlab-settings", {"theme": "JupyterLab Dark"})
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root",
            "--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly",
            "--ServerApp.disable_check_xsrf=True",
        ]  # fmt: skip
        log = Path(private) / "server.log"
        surroundings = {**os.environ, "HF_HUB_OFFLINE": "1", **own, **(environment or {})}
        with log.open("w") as output:
            server = subprocess.Popen(command, cwd=folder, env=surroundings, stdout=output, stderr=subprocess.STDOUT)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_until_it_answers(address, server, log, patience)
            yield address
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


@contextmanager
def browser() -> Iterator[Any]:
    """Yield Debian's Chromium under playwright. Raises `DependencyError` where one of them is missing."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise DependencyError("playwright: not installed. Install it with: pip install playwright") from error
    executable = shutil.which("chromium")
    if executable is None:
        raise DependencyError("chromium: not found on the PATH. Install it, on Debian with: apt-get install -y chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=list(_FLAGS))
        try:
            yield launched
        finally:
            launched.close()


class LabPage:
    """One notebook in one browser window; `strays` and `faults` hold what must stay empty.

    `patience`: seconds after which a wait for the page fails, where it is given no time of its own.
    """

    def __init__(self, launched: Any, address: str, *, width: int = 1400, height: int = 1000, patience: float = 60.0) -> None:
        self.page = launched.new_context(viewport={"width": width, "height": height}).new_page()
        self.page.set_default_timeout(1000 * patience)
        self.patience = patience
        self.address = address
        self.strays: list[str] = []  # requests to other hosts
        self.faults: list[str] = []  # console errors and uncaught exceptions
        self.page.route("**/*", self._guard)
        self.page.on("console", lambda message: self._heard(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self._heard(str(error)))

    def open(self, name: str, *, kernel: str | None = None) -> "LabPage":
        """Open a notebook of the served folder, on a running `kernel` by its id or a new one, and wait for it."""
        if kernel is not None:
            post(f"{self.address}/api/sessions", {"path": name, "name": name, "type": "notebook", "kernel": {"id": kernel}})
        for _ in range(3):
            self.page.goto(f"{self.address}/lab/tree/{name}?reset")  # without the tabs of an earlier page
            self.page.wait_for_selector(".jp-Notebook .jp-Cell")
            self.page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
            if self._is_connected():
                return self
        raise ModelError(f"JupyterLab: opened {name} three times, and its kernel heard nothing of it. {self.outline()}")

    def _is_connected(self) -> bool:
        """Whether the kernel does what this page asks for.

        About one page in a hundred says that its kernel is connected, and yet nothing that it sends arrives: its cells
        stay pending while the kernel rests and hears every other page.
        """
        try:
            self.wait_idle(timeout=max(25.0, self.patience / 10))
        except Exception as error:
            if type(error).__name__ != "TimeoutError":
                raise
            return False
        return self.page.evaluate(
            "wait => { const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;"
            " const done = kernel.requestExecute({ code: '', silent: true, store_history: false }).done;"
            " return Promise.race([done.then(() => true), new Promise(end => setTimeout(() => end(false), wait))]); }",
            1000 * max(20.0, self.patience / 10),
        )

    def wait_idle(self, *, timeout: float | None = None) -> None:
        """Wait until the notebook has its kernel, the kernel has told it what it is, and nothing runs.

        Idle alone is not enough: another page of the same kernel makes it so, and a cell that is run before the
        connection is ready stays pending for ever (jupyterlab/jupyterlab#8490).
        """
        self.page.wait_for_function(
            "() => { const context = window.jupyterapp.shell.currentWidget?.sessionContext;"
            " const kernel = context?.session?.kernel;"
            " return context?.isReady && kernel?.connectionStatus === 'connected' && kernel.status === 'idle'"
            " && kernel.info.then(() => true); }",
            timeout=1000 * (self.patience if timeout is None else timeout),
        )

    def command(self, name: str, *, arguments: Mapping[str, Any] | None = None) -> None:
        """Start a command of JupyterLab; its promise is not awaited, since some wait for a person."""
        self.page.evaluate(
            "([name, args]) => { window.jupyterapp.commands.execute(name, args); }", [name, dict(arguments or {})]
        )

    def run_cell(self, index: int) -> None:
        """Run a cell; does not wait for its end."""
        self.page.evaluate(
            "index => { const panel = window.jupyterapp.shell.currentWidget; panel.content.activeCellIndex = index;"
            " panel.content.deselectAll(); window.jupyterapp.commands.execute('notebook:run-cell'); }",
            index,
        )

    def run_all_above(self, index: int) -> None:
        """Run all cells above one, at once, as "Run all" does; does not wait for their end."""
        self.page.evaluate(
            "index => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = index;"
            " window.jupyterapp.commands.execute('notebook:run-all-above'); }",
            index,
        )

    def wait_studio(self, *, count: int = 1) -> None:
        """Wait until `count` Studios are drawn, with their figures."""
        self.page.wait_for_function(
            "count => { const all = [...document.querySelectorAll('.paretokit-studio')].filter(s => s.clientWidth > 0);"
            " return all.length >= count && all.every(s => s.querySelector('.js-plotly-plot .main-svg')); }",
            arg=count,
        )

    def figures(self) -> list[list[int]]:
        """Return the number of points of every trace of every figure."""
        return self.page.evaluate(
            "() => [...document.querySelectorAll('.js-plotly-plot')].map(g => g.data.map(t => t.x?.length ?? 0))"
        )

    def restart_kernel(self) -> None:
        """Restart the kernel without the dialog that asks."""
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
        self.wait_idle()

    def save(self) -> None:
        """Save the notebook and wait until it is."""
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.context.save()")

    def reload(self) -> None:
        """Save, and load the page again."""
        self.save()
        for _ in range(3):
            heard = len(self.faults)
            self.page.reload()
            del self.faults[heard:]  # what the page that is left says while it is taken down
            self.page.wait_for_selector(".jp-Notebook .jp-Cell")
            if self._is_connected():
                return
        raise ModelError(f"JupyterLab: loaded a page three times, and its kernel heard nothing of it. {self.outline()}")

    def text(self, selector: str) -> str:
        """Return the text of the first element."""
        return self.page.locator(selector).first.inner_text()

    def wait_text(self, selector: str, text: str, *, timeout: float | None = None) -> None:
        """Wait until an element of the selector holds a text."""
        self.page.wait_for_function(
            "([selector, text]) => [...document.querySelectorAll(selector)].some(e => e.textContent.includes(text))",
            arg=[selector, text],
            timeout=1000 * (self.patience if timeout is None else timeout),
        )

    def outline(self) -> str:
        """Return what the page shows, as text, and the state of its kernel: evidence of what went wrong."""
        try:
            found = self.page.wait_for_function(
                "() => { const session = window.jupyterapp?.shell.currentWidget?.sessionContext?.session;"
                " const kernel = session?.kernel;"
                " return `kernel ${kernel?.status}, ${kernel?.connectionStatus}, socket ${kernel?._ws?.readyState},"
                " ${kernel?._pendingMessages?.length} messages held back: ` + document.body.innerText; }",
                timeout=5_000,
            )
            return found.json_value()[:4000]
        except Exception as error:  # the page may hang, or be gone: that is evidence too
            return f"no answer: {error}"

    def close(self) -> None:
        """Close the window."""
        self.page.context.close()

    def _guard(self, route: Any) -> None:
        if urlsplit(route.request.url).hostname in (*_LOOPBACK, None):
            route.continue_()
        else:
            self.strays.append(route.request.url)
            route.abort()

    def _heard(self, text: str) -> None:
        self.faults.append(text)


def post(address: str, value: Mapping[str, Any]) -> Any:
    """Send JSON to the server and return the JSON that it answers."""
    request = Request(address, data=json.dumps(value).encode(), headers={"Content-Type": "application/json"}, method="POST")
    with urlopen(request, timeout=30) as answer:
        return json.load(answer)


def _settings(path: Path, values: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def _wait_until_it_answers(address: str, server: subprocess.Popen, log: Path, patience: float) -> None:
    until = monotonic() + patience
    while monotonic() < until and server.poll() is None:
        try:
            with urlopen(f"{address}/api/status", timeout=5):
                return
        except (URLError, OSError):
            sleep(0.1)
    raise ModelError(f"JupyterLab: no answer at {address} within {patience:g} s. Its output ends: {log.read_text()[-600:]}")
