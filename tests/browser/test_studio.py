"""A person can use the Studio: every scenario in a real browser, on the pinned kernel and, in `make test-matrix`, others."""

import re

import pytest
from support.lab_cells import COMMS, LOAD, STUDIO

from paretokit.cli.browser import LabPage

FRONT, CURVES = 0, 1  # figures in the order of the page
STATUS, ERROR, AFTER = ".paretokit-status", ".paretokit-error", ".paretokit-text:nth-child(2)"


def studio_cell(store: str, *, steps: int = 6) -> str:
    return LOAD.format(store=store, steps=steps) + STUDIO.format(store=store)


def trained(page: LabPage, figure: int = FRONT) -> int:
    """How many trained points the first panel of the front shows."""
    return sum(page.figures()[figure][2:4])


def press(page: LabPage, button: str) -> None:
    page.page.locator(f".paretokit-studio button:has-text('{button}')").first.click()


def move_slider(page: LabPage, index: int, times: int) -> None:
    page.page.locator(".paretokit-studio .noUi-handle").nth(index).focus()
    for _ in range(abs(times)):
        page.page.keyboard.press("ArrowRight" if times > 0 else "ArrowLeft")


@pytest.fixture
def studio(lab, request):
    """A notebook with a Studio on a store of its own, ready: the start is measured."""

    def make(*more: str, steps: int = 6, **options) -> LabPage:
        store = request.node.name.replace("[", "-").replace("]", "")
        page = lab(studio_cell(store, steps=steps), *more, **options)
        page.run_cell(0)
        page.wait_studio()
        page.page.wait_for_function("() => document.querySelector('.js-plotly-plot').data[4].x?.length === 1")
        page.wait_idle()
        return page

    return make


def test_points_and_curves_appear_while_it_trains(studio):
    page = studio(steps=60)
    press(page, "Train")
    # the path of the training on the front, and its losses
    page.page.wait_for_function(
        "() => { const [front, curves] = document.querySelectorAll('.js-plotly-plot');"
        " return front.data[6].x?.length === 1 && curves.data[0].x?.length > 3; }"
    )
    assert "running" in page.text(STATUS)
    assert trained(page) == 0
    press(page, "Stop")
    page.wait_text(STATUS, "stopped")


def test_stop_stops_within_two_seconds_and_keeps_the_run(studio):
    page = studio(
        "run = studio.runs[-1]\nprint('kept', run.state['state'], len(run.records) > 0, run.folder.exists())", steps=200
    )
    press(page, "Train")
    page.wait_text(STATUS, "step 3/200")
    press(page, "Stop")
    page.wait_text(STATUS, "stopped", timeout=2.0)
    page.run_cell(1)
    page.wait_text(".jp-OutputArea-output pre", "kept stopped True True")


def test_a_slider_changes_the_text_while_a_training_runs(studio):
    again = "studio.train(weights=[0.95, 0.05], steps=24).result(); studio.train(weights=[0.5, 0.5], steps=300); print('begun')"
    page = studio(again)
    page.run_cell(1)
    page.wait_text(".jp-OutputArea-output pre", "begun")
    page.wait_text(STATUS, "/300")
    page.wait_text(AFTER, "training, after step")
    move_slider(page, 0, 40)
    page.wait_text(AFTER, "raco 0.95/0.05, the run nearest", timeout=5.0)
    assert "/300" in page.text(STATUS)
    press(page, "Stop")
    page.wait_text(STATUS, "stopped")


def test_a_slider_is_heard_while_a_cell_runs(studio):
    page = studio("import time\ntime.sleep(5)\nprint('slept')")
    asked = page.text(STATUS)
    page.run_cell(1)
    page.page.wait_for_timeout(300)
    move_slider(page, 0, 12)
    if COMMS == "disabled":  # no subshells: heard when the cell has ended
        page.wait_text(".jp-OutputArea-output pre", "slept")
    page.wait_text(".paretokit-badge, .widget-html", "", timeout=1.0)
    page.page.wait_for_function("() => [...document.querySelectorAll('.paretokit-studio input[type=number]')][0].value > 0.55")
    page.page.wait_for_function("before => document.querySelector('.paretokit-status').textContent !== before", arg=asked)
    if COMMS != "disabled":
        assert not page.page.locator(".jp-OutputArea-output pre:has-text('slept')").count()


def test_stop_is_heard_while_a_cell_runs(studio):
    if COMMS == "disabled":
        pytest.skip("without subshells a click waits for the cell, in every program")
    page = studio("import time\nstudio.train(steps=400)\ntime.sleep(12)\nprint('slept')")
    page.run_cell(1)
    page.wait_text(STATUS, "step 2/400")
    press(page, "Stop")
    page.wait_text(STATUS, "stopped", timeout=2.0)
    assert not page.page.locator(".jp-OutputArea-output pre:has-text('slept')").count()


def test_pause_and_resume(studio):
    page = studio(steps=60)
    press(page, "Train")
    page.wait_text(STATUS, "step 2/60")
    press(page, "Pause")
    page.wait_text(STATUS, "paused")
    before = page.figures()[CURVES][0]
    move_slider(page, 0, 5)  # sliders stay live
    page.wait_text(".paretokit-badge", "weights differ") if trained(page) else None
    press(page, "Resume")
    page.page.wait_for_function(f"() => document.querySelectorAll('.js-plotly-plot')[1].data[0].x?.length > {before}")
    press(page, "Stop")
    page.wait_text(STATUS, "stopped")


def test_an_exception_in_a_job_is_seen_in_red_and_the_studio_goes_on(studio):
    broken = "studio.session.pairs = None\nstudio.train()\nprint('begun')"
    mended = "studio.session.pairs = pairs\nstudio.train(steps=1).wait()\nprint('mended')"
    page = studio(broken, mended)
    page.run_cell(1)
    page.wait_text(ERROR, "AttributeError")
    colour = page.page.locator(f"{ERROR} strong").first.evaluate("e => getComputedStyle(e).color")
    red, green, blue = map(int, re.findall(r"\d+", colour)[:3])
    assert red > 1.5 * max(green, blue)
    assert "failed" in page.text(STATUS)
    page.run_cell(2)
    page.wait_text(".jp-OutputArea-output pre", "mended")
    assert page.page.locator(ERROR).count() == 0


def test_reloading_the_page_keeps_points_and_text(studio):
    page = studio(steps=2)
    press(page, "Train")
    page.wait_text(STATUS, "done: raco")
    page.page.wait_for_function("() => document.querySelector('.js-plotly-plot').data[3].x?.length === 1")
    page.wait_text(AFTER, "the run nearest")
    figures, text = page.figures()[:2], page.text(AFTER)
    page.reload()
    page.wait_studio()
    page.page.wait_for_function("() => document.querySelector('.js-plotly-plot').data[3].x?.length === 1")
    page.page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot')[1].data[0].x?.length === 2")
    assert page.figures()[:2] == figures
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
    page.run_cell(0)
    page.run_cell(1)
    page.page.wait_for_function("() => document.querySelector('.js-plotly-plot')?.data?.[3]?.x?.length === 1", timeout=120_000)
    assert trained(page) == 1


def test_running_the_cell_twice_leaves_one_worker(studio):
    count = "import threading\nprint('workers', sum(t.name == 'paretokit-worker' for t in threading.enumerate()))"
    page = studio(count)
    page.run_cell(0)
    page.wait_idle()
    page.wait_studio()
    page.run_cell(1)
    page.wait_text(".jp-OutputArea-output pre", "workers 1")


def test_two_studios_work_beside_each_other(studio):
    page = studio(
        "other = pk.Studio(policy, pairs, config=config)\nother",
        "a = studio.train(); b = other.train()\na.wait(); b.wait()\nprint('both', a.state, b.state)",
    )
    page.run_cell(1)
    page.wait_studio(count=2)
    page.run_cell(2)
    page.wait_text(".jp-OutputArea-output pre", "both done done")
    page.page.wait_for_function(
        "() => [0, 3].every(i => document.querySelectorAll('.js-plotly-plot')[i].data[3].x?.length === 1)"
    )


def test_run_all_and_out_of_sight_and_back(lab, request):
    cells = [
        studio_cell(f"store-{request.node.name}", steps=2),
        "job = studio.train(); job.wait()",
        *["print('x\\n' * 60)"] * 3,
    ]
    page = lab(*cells)
    page.run_all_above(len(cells))
    page.wait_text(".jp-OutputArea-output pre", "x")
    page.wait_studio()
    page.page.wait_for_function("() => document.querySelector('.js-plotly-plot').data[3].x?.length === 1")
    scroll = "down => { const w = document.querySelector('.jp-WindowedPanel-outer'); w.scrollTop = down ? w.scrollHeight : 0; }"
    page.page.evaluate(scroll, True)
    page.page.evaluate(scroll, False)
    page.page.locator(".js-plotly-plot .main-svg").first.wait_for()
    assert trained(page) == 1


def test_the_keyboard_is_enough(studio):
    page = studio(steps=2)
    keys = page.page.keyboard
    page.page.locator(".paretokit-studio .noUi-handle").first.focus()
    keys.press("ArrowRight")
    reached = []
    for _ in range(40):
        keys.press("Tab")
        reached.append(page.page.evaluate("() => document.activeElement.textContent.trim().slice(0, 20)"))
        if reached[-1] == "Train":
            break
    assert reached[-1] == "Train"
    keys.press("Enter")
    page.wait_text(STATUS, "done: raco")
    row = page.page.locator(".paretokit-table tbody tr")
    row.first.focus()
    keys.press("ArrowDown")
    keys.press("Enter")
    page.page.wait_for_function("() => document.querySelector('.paretokit-table tr[aria-selected=true]') !== null")
    page.page.wait_for_function("() => document.querySelector('.js-plotly-plot').data[7].x?.length === 1")  # the ring
    outline = page.page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"  # focus is visible


def test_a_click_on_a_point_selects_its_run(studio):
    page = studio(steps=2)
    press(page, "Train")
    page.wait_text(STATUS, "done: raco")
    page.page.wait_for_function("() => document.querySelector('.js-plotly-plot').data[3].x?.length === 1")
    box = page.page.locator(".js-plotly-plot").first.locator(".scatterlayer .trace").nth(3).locator(".point").first
    box.click(force=True)
    page.page.wait_for_function("() => document.querySelector('.paretokit-table tr[aria-selected=true]') !== null")


@pytest.mark.parametrize("width", [900, 1900])
def test_figures_fill_their_place_at_every_width(studio, width):
    page = studio(width=width)
    page.page.wait_for_function(
        "() => { const g = document.querySelector('.js-plotly-plot'); const box = document.querySelector('.paretokit-probe');"
        " return Math.abs(g._fullLayout.width - box.clientWidth) < 3; }"
    )
    wider = page.page.evaluate(
        "() => { const s = document.querySelector('.paretokit-studio'); return s.scrollWidth - s.clientWidth; }"
    )
    assert wider <= 1


def test_a_theme_that_changes_is_followed(studio):
    page = studio()
    ink = "() => document.querySelector('.js-plotly-plot')._fullLayout.font.color"
    before = page.page.evaluate(ink)
    dark = page.page.evaluate("() => document.body.dataset.jpThemeLight") == "false"
    page.command("apputils:change-theme", arguments={"theme": "JupyterLab Light" if dark else "JupyterLab Dark"})
    page.page.wait_for_function(f"before => ({ink})() !== before", arg=before)
    page.command("apputils:change-theme", arguments={"theme": "JupyterLab Dark" if dark else "JupyterLab Light"})
    page.page.wait_for_function(f"before => ({ink})() === before", arg=before)


def test_nothing_that_axe_calls_serious(studio):
    from axe_playwright_python.sync_playwright import Axe

    page = studio()
    found = Axe().run(page.page, context=".paretokit-studio").response["violations"]
    bad = [(rule["id"], rule["nodes"][0]["html"][:160]) for rule in found if rule["impact"] in ("serious", "critical")]
    assert bad == []
