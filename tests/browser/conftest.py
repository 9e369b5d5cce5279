"""One browser and one JupyterLab for all tests of this folder, on the kernel and settings that the environment names."""

import os
import re
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from time import sleep

import pytest
from support.lab_cells import CLEAN, COMMS, DARK, KERNEL_PATH, PREPARE
from support.look import LOOK
from support.waits import LONG

from paretokit.cli.browser import LabPage, browser, lab_server, post, write_notebook


def needs_chromium():
    if shutil.which("chromium") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed, and CI=true: install Debian's chromium")
        pytest.skip("chromium is not installed (apt-get install chromium)")


@pytest.fixture(scope="session")
def launched():
    needs_chromium()
    with browser() as found:
        yield found


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """A folder and the address of a JupyterLab that serves it."""
    needs_chromium()
    folder = tmp_path_factory.mktemp("served")
    paths = [KERNEL_PATH] if KERNEL_PATH else []
    environment = {"PARETOKIT_CACHE": str(folder / ".cache"), "OMP_NUM_THREADS": "2"}
    if paths:
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(path).resolve()) for path in paths])
    with lab_server(folder, comms=COMMS, dark=DARK, environment=environment, patience=LONG) as address:
        yield folder, address


def prepare(launched, served, kernel: str) -> None:
    """Load what all tests use into a kernel."""
    folder, address = served
    write_notebook(folder / "prepare.ipynb", [PREPARE])
    page = LabPage(launched, address, patience=LONG).open("prepare.ipynb", kernel=kernel)
    page.run_cell(0)
    page.wait_text(".jp-OutputArea-output pre", "prepared")
    heard = page.text(".jp-OutputArea-output pre")
    assert not KERNEL_PATH or heard.strip().endswith(Path(KERNEL_PATH).name), (
        "the tests run on another kernel than was asked for"
    )
    page.close()


@pytest.fixture(scope="session")
def kernel(launched, served):
    """A kernel for all tests that need none of their own: loading torch takes longer than most of them."""
    found = post(f"{served[1]}/api/kernels", {"name": "python3"})["id"]
    prepare(launched, served, found)
    return found


@pytest.fixture
def release(served):
    """Return a function that lets a `HELD` cell end, which must still run, and waits until it has."""

    def end(page: LabPage) -> None:
        ended = f"{page_output}:has-text('released')"
        assert page.page.locator(ended).count() == 0, "the cell has ended before"
        (served[0] / "released").touch()
        page.wait_text(page_output, "released")

    page_output = ".jp-OutputArea-output pre"
    (served[0] / "released").unlink(missing_ok=True)  # of a test that failed
    return end


FAILED = pytest.StashKey[bool]()


def pytest_configure(config):
    config.stash[LOOK] = []


def pytest_terminal_summary(terminalreporter, config):
    if config.stash[LOOK]:
        terminalreporter.section("look")
        terminalreporter.write_line("\n".join(config.stash[LOOK]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


def evidence(page: LabPage, stacks: Path) -> str:
    """What can be known after a failure: what the page shows and heard, and where every thread of the kernel stands."""
    for pid in re.findall(r"pid (\d+)", stacks.read_text()):
        with suppress(ProcessLookupError):  # a kernel of an earlier failure
            os.kill(int(pid), signal.SIGUSR1)
    sleep(1.0)
    threads = [re.findall(r'/([^/]+)", line (\d+) in (\S+)', thread) for thread in stacks.read_text().split("hread 0x")]
    lines = [" < ".join(f"{file}:{line} {name}" for file, line, name in thread[:6]) for thread in threads[1:]]
    return "\n".join([f"console: {page.faults}", f"page: {page.outline()}", "threads of the kernel:", *lines])


@pytest.fixture
def lab(launched, served, kernel, request):
    """Return a function that opens a new notebook of these cells; afterwards nothing may have left or gone wrong.

    A test that failed prints what its page and kernel do, and leaves the next one a kernel that was started anew.
    """
    folder, address = served
    opened: list[tuple[LabPage, int]] = []

    def open_notebook(*cells: str, own_kernel: bool = False, width: int = 1400, height: int = 1500) -> LabPage:
        name = f"{request.node.name.replace('[', '-').replace(']', '')}-{len(opened)}.ipynb"
        write_notebook(folder / name, [*([PREPARE] if own_kernel else []), *cells, CLEAN])
        page = LabPage(launched, address, width=width, height=height, patience=LONG)
        opened.append((page, len(cells) + own_kernel))
        page.open(name, kernel=None if own_kernel else kernel)
        if own_kernel:
            page.run_cell(0)
            page.wait_text(".jp-OutputArea-output pre", "prepared")
        return page

    yield open_notebook
    if request.node.stash.get(FAILED, False):
        for page, _ in opened:
            print(evidence(page, folder / "stacks.txt"))
            page.close()
        post(f"{address}/api/kernels/{kernel}/restart", {})
        prepare(launched, served, kernel)
        return
    strays, faults = [page.strays for page, _ in opened], [list(page.faults) for page, _ in opened]
    for page, clean in opened:  # widgets that are closed while they are shown complain, which is not ours to judge
        page.run_cell(clean)
        page.wait_text(".jp-OutputArea-output pre", "cleaned")
        page.close()
    assert strays == [[]] * len(opened), "a request left the machine"
    assert faults == [[]] * len(opened), "the console holds errors"
