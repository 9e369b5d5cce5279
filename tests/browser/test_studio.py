"""A person can use the Studio: every scenario in a real browser, on the pinned kernel and, in `make test-matrix`, others.

Opening a Studio takes longer than most scenarios, so those that need the same one share a test.
"""

import re

import pytest
from support.lab_cells import COMMS, HELD, LOAD, STUDIO

from paretokit.cli.browser import LabPage

CURVES = 1  # the figures in the order of the page: front, curves, conflict
STATUS, ERROR, AFTER = ".paretokit-status", ".paretokit-error", ".paretokit-text:nth-child(2)"
OUTPUT = ".jp-OutputArea-output pre"


def studio_cell(store: str, *, steps: int = 6) -> str:
    return LOAD.format(store=store, steps=steps) + STUDIO.format(store=store)


def trained(page: LabPage, *, figure: int = 0) -> int:
    """How many trained points the first panel of a front shows, dominated or not."""
    return sum(page.figures()[figure][2:4])


def wait_trained(page: LabPage, count: int) -> None:
    """Wait until the front shows so many trained points; a view that has just come is emptied once, and filled again."""
    page.page.wait_for_function(
        "count => { const data = document.querySelector('.js-plotly-plot')?.data;"
        " return data && (data[2].x?.length ?? 0) + (data[3].x?.length ?? 0) === count; }",
        arg=count,
    )


def wait_points(page: LabPage, trace: int, count: int, *, figure: int = 0) -> None:
    page.page.wait_for_function(
        "([figure, trace, count]) => document.querySelectorAll('.js-plotly-plot')[figure]?.data?.[trace]?.x?.length >= count",
        arg=[figure, trace, count],
    )


def wait_step(page: LabPage, step: int) -> None:
    page.page.wait_for_function(
        "step => Number((document.querySelector('.paretokit-status').textContent.match(/step (\\d+)/) ?? [0, 0])[1]) >= step",
        arg=step,
    )


def press(page: LabPage, button: str) -> None:
    page.page.locator(f".paretokit-studio button:has-text('{button}')").first.click()


def move_slider(page: LabPage, index: int, times: int) -> None:
    page.page.locator(".paretokit-studio .noUi-handle").nth(index).focus()
    for _ in range(abs(times)):
        page.page.keyboard.press("ArrowRight" if times > 0 else "ArrowLeft")


@pytest.fixture
def studio(lab, request):
    """A notebook with a Studio on a store of its own, ready: the start is drawn."""

    def make(*more: str, steps: int = 6, **options) -> LabPage:
        store = re.sub(r"\W", "-", request.node.name)
        page = lab(studio_cell(store, steps=steps), *more, **options)
        page.run_cell(0)
        page.wait_studio()
        wait_points(page, 4, 1)
        page.wait_idle()
        return page

    return make


@pytest.mark.matrix
def test_points_and_curves_appear_while_it_trains_and_stop_keeps_the_run(studio):
    page = studio(
        "run = studio.runs[-1]\nprint('kept', run.state['state'], len(run.records) > 0, run.folder.exists())", steps=300
    )
    press(page, "Train")
    wait_points(page, 6, 1)  # where the training is now
    wait_points(page, 0, 4, figure=CURVES)
    assert "running" in page.text(STATUS)
    assert trained(page) == 0
    press(page, "Pause")
    page.wait_text(STATUS, "paused")
    steps = page.figures()[CURVES][0]
    press(page, "Resume")
    wait_points(page, 0, steps + 2, figure=CURVES)
    press(page, "Stop")
    page.wait_text(STATUS, "stopped")
    page.run_cell(1)
    page.wait_text(OUTPUT, "kept stopped True True")


@pytest.mark.matrix
def test_a_slider_changes_the_text_while_a_training_runs(studio):
    again = "studio.train(weights=[0.95, 0.05], steps=6).result(); studio.train(weights=[0.5, 0.5], steps=4000); print('begun')"
    page = studio(again)
    page.run_cell(1)
    page.wait_text(OUTPUT, "begun")
    page.wait_text(AFTER, "training, after step")
    move_slider(page, 0, 40)
    page.wait_text(AFTER, "raco 0.95/0.05, the run nearest")
    page.wait_text(STATUS, "/400")
    press(page, "Stop")
    page.wait_text(STATUS, "stopped")


@pytest.mark.matrix
def test_moves_faster_than_the_page_end_where_the_last_one_ended(studio):
    """The page must not answer what it is told with moves of its own: they come late, and would undo newer ones."""
    moved = """
import time
told = []
studio.screen.weights.sliders[1].observe(told.append, "value")
for percent in range(20, 80):
    studio.set_weights([percent / 100, 1 - percent / 100])
    time.sleep(0.005)
sent = len(told)
"""
    page = studio(moved, "print('ended', studio.weights['helpfulness'], sent, len(told) - sent)")
    page.run_cell(1)
    page.page.wait_for_function(
        "() => Number(document.querySelectorAll('.paretokit-studio input[type=number]')[0].value) === 0.79"
    )
    page.page.wait_for_timeout(500)
    page.run_cell(2)
    page.wait_text(OUTPUT, "ended 0.79 60 0")


@pytest.mark.matrix
def test_slider_and_stop_are_heard_while_a_cell_runs(studio, release):
    page = studio("studio.train(steps=4000)\n" + HELD)
    page.run_cell(1)
    wait_step(page, 2)
    move_slider(page, 0, 12)
    if COMMS == "disabled":  # without subshells they are heard after the cell
        release(page)
    page.page.wait_for_function(
        "() => Number(document.querySelectorAll('.paretokit-studio input[type=number]')[1].value) < 0.45"
    )
    press(page, "Stop")
    page.wait_text(STATUS, "stopped")
    if COMMS != "disabled":
        release(page)


def test_an_exception_in_a_job_is_seen_in_red_and_the_studio_goes_on(studio):
    broken = "studio.session.pairs = None\nstudio.train()\nprint('begun')"
    mended = "studio.session.pairs = pairs\nstudio.train(steps=1).wait()\nprint('mended')"
    page = studio(broken, mended)
    page.run_cell(1)
    page.wait_text(ERROR, "AttributeError")
    colour = page.page.locator(f"{ERROR} strong").first.evaluate("e => getComputedStyle(e).color")
    red, green, blue = map(int, re.findall(r"\d+", colour)[:3])
    assert red > 1.5 * max(green, blue)
    page.wait_text(STATUS, "failed")
    page.run_cell(2)
    page.wait_text(OUTPUT, "mended")
    page.page.wait_for_function("() => !document.querySelector('.paretokit-error')")


def test_a_point_is_selected_and_a_reload_keeps_points_and_text(studio):
    page = studio(steps=2)
    press(page, "Train")
    page.wait_text(STATUS, "done: raco")
    wait_points(page, 3, 1)
    page.wait_text(AFTER, "the run nearest")
    point = page.page.evaluate_handle(
        "() => [...document.querySelector('.js-plotly-plot').querySelectorAll('.scatterlayer .trace')]"
        ".find(trace => trace.__data__[0].trace.index === 3).querySelector('.point')"
    )
    point.as_element().click(force=True)
    page.page.wait_for_function("() => document.querySelector('.paretokit-table tr[aria-selected=true]') !== null")
    page.wait_text(AFTER, "the selected run")
    wait_points(page, 7, 1)  # the ring
    figures, text = page.figures()[:2], page.text(AFTER)
    page.reload()
    page.wait_studio()
    page.page.wait_for_function(
        "figures => JSON.stringify([...document.querySelectorAll('.js-plotly-plot')].slice(0, 2)"
        ".map(g => g.data.map(t => t.x?.length ?? 0))) === JSON.stringify(figures)",
        arg=figures,
    )
    assert page.text(AFTER) == text


def test_a_restarted_kernel_leaves_the_snapshot_and_the_store_brings_the_points_back(lab):
    page = lab(studio_cell("store-restarted", steps=2), own_kernel=True)
    page.run_cell(1)
    page.wait_studio()
    press(page, "Train")
    page.wait_text(STATUS, "done: raco")
    page.wait_text("details summary", "Snapshot: Mean scores of 1 policy")
    page.restart_kernel()
    assert page.page.locator("details:has(svg) table").count() == 1
    assert page.page.locator("details:has(summary:has-text('Snapshot')) td:has-text('raco')").count() == 1
    page.faults.clear()  # widgets on the page have lost their kernel, and some of JupyterLab's say so
    page.run_cell(0)
    page.run_cell(1)
    page.wait_studio()
    wait_trained(page, 1)


def test_the_cell_run_twice_leaves_one_worker_and_two_studios_work_side_by_side(studio):
    count = "import threading\nprint('workers', sum(t.name == 'paretokit-worker' for t in threading.enumerate()))"
    other = "other = pk.Studio(policy, pairs, config=config.replace(steps=1))\nother"
    both = "a = studio.train(steps=1); b = other.train(steps=1)\na.wait(); b.wait()\nprint('both', a.state, b.state)"
    page = studio(count, other, both)
    page.run_cell(0)
    page.wait_idle()
    page.wait_studio()
    page.run_cell(1)
    page.wait_text(OUTPUT, "workers 1")
    page.run_cell(2)
    page.wait_studio(count=2)
    page.run_cell(3)
    page.wait_text(OUTPUT, "both done done")
    wait_points(page, 3, 1)
    wait_points(page, 3, 1, figure=3)


@pytest.mark.matrix
def test_run_all_and_out_of_sight_and_back(lab):
    cells = [studio_cell("store-all", steps=2), "job = studio.train(); job.wait()", *["print('x\\n' * 60)"] * 3]
    page = lab(*cells)
    page.run_all_above(len(cells))
    page.wait_text(OUTPUT, "x")
    page.wait_studio()
    wait_points(page, 3, 1)
    scroll = "down => { const w = document.querySelector('.jp-WindowedPanel-outer'); w.scrollTop = down ? w.scrollHeight : 0; }"
    page.page.evaluate(scroll, True)
    page.page.evaluate(scroll, False)
    page.page.locator(".js-plotly-plot .main-svg").first.wait_for()
    wait_trained(page, 1)


def test_the_keyboard_is_enough(studio):
    page = studio(steps=2)
    keys = page.page.keyboard
    page.page.locator(".paretokit-studio .noUi-handle").first.focus()
    keys.press("ArrowRight")
    reached = []
    while "Train" not in reached and len(reached) < 40:
        keys.press("Tab")
        reached.append(page.page.evaluate("() => document.activeElement.textContent.trim().slice(0, 20)"))
    assert reached[-1] == "Train"
    keys.press("Enter")
    page.wait_text(STATUS, "done: raco")
    wait_points(page, 3, 1)
    page.page.locator(".paretokit-table tbody tr").first.focus()
    keys.press("ArrowDown")
    keys.press("Enter")
    page.page.wait_for_function("() => document.querySelector('.paretokit-table tr[aria-selected=true]') !== null")
    wait_points(page, 7, 1)
    assert page.page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") != "none"  # focus is visible


def test_it_fills_its_place_follows_the_theme_and_has_labels(studio):
    from axe_playwright_python.sync_playwright import Axe

    page = studio()
    fits = (
        "() => { const plot = document.querySelector('.js-plotly-plot'), box = document.querySelector('.paretokit-probe');"
        " const all = document.querySelector('.paretokit-studio');"
        " return Math.abs(plot._fullLayout.width - box.clientWidth) < 3 && all.scrollWidth - all.clientWidth <= 1; }"
    )
    for width in (900, 1900):
        page.page.set_viewport_size({"width": width, "height": 1500})
        page.page.wait_for_function(fits)
    ink = "() => document.querySelector('.js-plotly-plot')._fullLayout.font.color"
    before = page.page.evaluate(ink)
    dark = page.page.evaluate("() => document.body.dataset.jpThemeLight") == "false"
    names = ("JupyterLab Light", "JupyterLab Dark") if dark else ("JupyterLab Dark", "JupyterLab Light")
    for name, same in zip(names, (False, True), strict=True):
        page.command("apputils:change-theme", arguments={"theme": name})
        page.page.wait_for_function(f"before => (({ink})() === before) === {str(same).lower()}", arg=before)
        found = Axe().run(page.page, context=".paretokit-studio").response["violations"]
        bad = [(rule["id"], rule["nodes"][0]["html"][:160]) for rule in found if rule["impact"] in ("serious", "critical")]
        assert bad == []
