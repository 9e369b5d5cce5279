"""Open the lessons in JupyterLab, on this machine only.

The notebooks are copied to a folder of yours; what is there already is left as it is. Example:

    paretokit lab --folder my-lessons
"""

import argparse
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from paretokit.cache import cache_folder
from paretokit.cli import options as shared
from paretokit.errors import DependencyError
from paretokit.experiments.files import storing, write_json
from paretokit.resources import notebooks

FIRST = "00_tour.ipynb"


def add(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    command.add_argument(
        "--folder", default="paretokit-notebooks", help="where the notebooks are put (default: paretokit-notebooks)"
    )
    command.add_argument("--fresh", action="store_true", help="replace notebooks that are there already")
    command.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    command.add_argument("--port", type=int, default=8888, help="port on this machine (default: 8888, or the next free one)")


def run(options: argparse.Namespace) -> None:
    """Copy the notebooks and run JupyterLab until it is ended; with --json say what would run, and run nothing."""
    if importlib.util.find_spec("jupyterlab") is None or importlib.util.find_spec("ipykernel") is None:
        raise DependencyError("JupyterLab: not installed. Install it with: pip install 'paretokit[lab]'")
    folder = Path(options.folder).resolve()
    copied, kept = copy_notebooks(folder, fresh=options.fresh)
    command = server_command(folder, port=options.port, open_browser=not options.no_browser)
    own = server_environment()
    if options.json:
        shared.print_json({"command": command, "environment": own, "copied": copied, "kept": kept})
        return
    write_settings(Path(own["JUPYTERLAB_SETTINGS_DIR"]))
    for verb, names in (("copied", copied), ("kept as it is", kept)):
        if names:
            shared.messages().print(f"{verb}: {', '.join(names)} in {folder}", soft_wrap=True)
    serve(command, {**os.environ, **own}, folder=folder)


def copy_notebooks(folder: Path, *, fresh: bool) -> tuple[list[str], list[str]]:
    """Copy the shipped notebooks into a folder; return the names of those copied and of those that were there already.

    With `fresh`, those are replaced. Notebooks that already lie in the folder, as in a checkout, are themselves.
    """
    copied, kept = [], []
    for source in notebooks():
        target = folder / source.name
        same = target.exists() and target.samefile(source)
        if target.exists() and (same or not fresh):
            kept.append(source.name)
            continue
        with storing(target):
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        copied.append(source.name)
    return copied, kept


def server_command(folder: Path, *, port: int, open_browser: bool) -> list[str]:
    """Return the command: loopback only, its token kept."""
    command = [sys.executable, "-m", "jupyterlab", "--ip=127.0.0.1", f"--port={port}", f"--notebook-dir={folder}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    if not open_browser:
        command.append("--no-browser")
    return [*command, f"--LabApp.default_url=/lab/tree/{FIRST}"]


def server_environment() -> dict[str, str]:
    """Return what is added to the environment: settings and workspaces of our own, and this interpreter's kernel first."""
    own = cache_folder() / "lab"
    found = os.environ.get("JUPYTER_PATH")
    here = str(Path(sys.prefix) / "share" / "jupyter")
    return {
        "JUPYTERLAB_SETTINGS_DIR": str(own / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(own / "workspaces"),
        "JUPYTER_PATH": os.pathsep.join([here, *([found] if found else [])]),
    }


def write_settings(folder: Path) -> None:
    """Turn off JupyterLab's questions about news and updates, unless the user has set them in our settings."""
    path = folder / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    if not path.exists():
        write_json(path, {"fetchNews": "false", "checkForUpdates": False})


def serve(command: list[str], environment: dict[str, str], *, folder: Path) -> None:
    """Run the server until it ends; Ctrl-C ends it without its question whether one is sure.

    Raises `DependencyError` with its exit status where it fails.
    """
    server = subprocess.Popen(command, env=environment, cwd=folder, start_new_session=True)  # Ctrl-C reaches us alone
    ended = signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    try:
        status = server.wait()
    except KeyboardInterrupt:
        server.terminate()
        server.wait()
        return
    finally:
        signal.signal(signal.SIGTERM, ended)
    if status not in (0, -signal.SIGTERM):
        raise DependencyError(f"JupyterLab: ended with status {status}, see its output above. Try: {' '.join(command)}")
