"""A text that is written step by step in a real browser: sliders move between the steps, text and tree grow."""

import re

import pytest
from support.lab_cells import COMMS, HELD, LOAD, STUDIO

from paretokit.cli.browser import LabPage

TREE = 1  # the figures in the order of the page: front, tree, curves, conflict
STATUS, ERROR, STEPS, OUTPUT = ".paretokit-status", ".paretokit-error", ".paretokit-steps", ".jp-OutputArea-output pre"
GUIDE = """
import threading
broken = threading.Event()
def longer(prompt, text):
    if broken.is_set():
        raise RuntimeError("the judge is out")
    return len(text)
guide = {"harmlessness": lambda prompt, text: -len(text), "helpfulness": longer}
"""
MAKE = STUDIO.replace("config=config)", "config=config, guide=guide)")
CHOSEN = """
made = studio.written
for step, node in enumerate(made.path, start=1):
    lengths = [-other.scores[0] for other in made.tree if other.step == step]
    print("step", step, "longest", -node.scores[0] == max(lengths), "shortest", -node.scores[0] == min(lengths))
print("on the page", [step.strip() or '(nothing more)' for step in made.steps])
"""


@pytest.fixture
def studio(lab, request):
    """A notebook with a Studio with a guide, on a store of its own; its first text is there."""

    def make(*more: str, steps: int = 6, **options) -> LabPage:
        store = re.sub(r"\W", "-", request.node.name)
        page = lab(LOAD.format(store=store, steps=steps) + GUIDE + MAKE.format(store=store), *more, **options)
        page.run_cell(0)
        page.wait_studio()
        page.page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot .main-svg').length >= 4")
        page.wait_text(".paretokit-text .source", "before training")
        page.wait_idle()
        return page

    return make


def press(page: LabPage, button: str) -> None:
    page.page.locator(f".paretokit-studio button:has-text('{button}')").first.click()


def set_slider(page: LabPage, *, to: str) -> None:
    """Put the first slider to its end with the keyboard."""
    page.page.locator(".paretokit-studio .noUi-handle").first.focus()
    page.page.keyboard.press(to)


def wait_steps(page: LabPage, count: int) -> list[str]:
    """Wait until the text has so many steps, and return them."""
    page.page.wait_for_function(
        "count => document.querySelectorAll('.paretokit-steps li').length === count"
        " && [...document.querySelectorAll('.paretokit-studio button')]"
        ".some(b => b.textContent.includes('Next step'))",
        arg=count,
    )
    return page.page.locator(f"{STEPS} li blockquote").all_inner_texts()


def wait_marks(page: LabPage, count: int) -> None:
    """Wait until the tree shows so many candidates in its first panel, in the data and on the page."""
    page.page.wait_for_function(
        "([figure, count]) => { const plot = document.querySelectorAll('.js-plotly-plot')[figure];"
        " const half = plot.data.length / 2;"
        " const held = plot.data.slice(0, half).filter(t => t.mode === 'markers').reduce((n, t) => n + (t.x?.length ?? 0), 0);"
        " return held === count && plot.querySelectorAll('.scatterlayer .point').length === 2 * count; }",
        arg=[TREE, count],
    )


@pytest.mark.matrix
def test_sliders_move_between_the_steps_and_text_and_tree_grow(studio):
    page = studio(CHOSEN)
    page.wait_text(STATUS, "No step yet. Set the weights and press Next step.")
    set_slider(page, to="End")
    press(page, "Next step")
    (first,) = wait_steps(page, 1)
    wait_marks(page, 5)
    page.wait_text(f"{STEPS} li .source", "helpfulness 1.00, harmlessness 0.00")
    set_slider(page, to="Home")
    page.wait_text(STATUS, "step 1, the best of 5 candidates")
    press(page, "Next step")
    texts = wait_steps(page, 2)
    wait_marks(page, 10)
    assert texts[0] == first  # what is kept stays
    assert page.page.locator(f"{STEPS} li .source").all_inner_texts() == [
        "helpfulness 1.00, harmlessness 0.00",
        "helpfulness 0.00, harmlessness 1.00",
    ]
    page.run_cell(1)
    page.wait_text(OUTPUT, "step 1 longest True shortest False")  # the planted failure would be a step at other weights
    page.wait_text(OUTPUT, "step 2 longest False shortest True")
    page.wait_text(OUTPUT, f"on the page {texts}")
    press(page, "Start again")
    page.page.wait_for_function("() => document.querySelector('.paretokit-steps') === null")
    wait_marks(page, 0)
    press(page, "Next step")
    (again,) = wait_steps(page, 1)
    wait_marks(page, 5)
    assert again != first  # the sliders stand elsewhere now


def test_the_end_is_said_and_a_reload_keeps_text_and_tree(studio):
    page = studio()
    set_slider(page, to="Home")
    button = page.page.locator(".paretokit-studio button:has-text('Next step')")
    for count in range(1, 20):
        press(page, "Next step")
        wait_steps(page, count)
        page.page.wait_for_function(
            "() => [...document.querySelectorAll('.paretokit-status')].some(e => /step \\d+, the best of/.test(e.textContent))"
        )
        if "Start again for another one" in page.page.locator(STATUS).nth(1).inner_text():
            break
    assert "The text ended by itself. Start again for another one." in page.page.locator(STATUS).nth(1).inner_text()
    assert button.is_disabled()
    text = page.text(STEPS)
    page.reload()
    page.wait_studio()
    wait_marks(page, 5 * count)
    assert page.text(STEPS) == text
    assert button.is_disabled()
    press(page, "Start again")
    page.page.wait_for_function("() => document.querySelector('.paretokit-steps') === null")
    assert button.is_enabled()


HOLD = """
from paretokit.decoding import search
real = search.expand
def hold(*arguments, stop):
    while not stop():
        threading.Event().wait(0.01)
    return real(*arguments, stop=stop)
search.expand = hold
print("held")
"""


def test_stop_drops_a_step_and_an_error_is_red_and_both_can_be_gone_on_from(studio):
    free = "search.expand = real; broken.set(); print('free')"
    mend = "broken.clear(); print('mended')"
    page = studio(HOLD, free, mend)
    press(page, "Next step")
    (first,) = wait_steps(page, 1)
    page.run_cell(1)
    page.wait_text(OUTPUT, "held")
    press(page, "Next step")
    page.wait_text(STATUS, "writing step 2")
    press(page, "Stop")
    page.wait_text(STATUS, "stopped: step 2 was dropped")
    page.run_cell(2)
    page.wait_text(OUTPUT, "free")
    press(page, "Next step")
    page.wait_text(ERROR, "RuntimeError: the judge is out")
    page.wait_text(STATUS, "failed: step 2 was dropped")
    assert wait_steps(page, 1) == [first]
    page.run_cell(3)
    page.wait_text(OUTPUT, "mended")
    press(page, "Next step")
    assert wait_steps(page, 2)[0] == first
    page.page.wait_for_function("() => !document.querySelector('.paretokit-error')")


@pytest.mark.matrix
def test_a_step_is_written_while_a_training_runs_and_a_cell_too(studio, release):
    page = studio("studio.train(steps=4000)\n" + HELD)
    page.run_cell(1)
    page.wait_text(STATUS, "/400")
    press(page, "Next step")
    if COMMS == "disabled":  # without subshells it is heard after the cell
        release(page)
    wait_steps(page, 1)
    if COMMS != "disabled":
        release(page)
    assert "/400" in page.text(STATUS)
    press(page, "Stop")
    page.wait_text(STATUS, "stopped")


def test_the_keyboard_is_enough_and_it_has_labels_and_fits_in_both_themes(studio):
    from axe_playwright_python.sync_playwright import Axe

    page = studio()
    keys = page.page.keyboard
    page.page.locator(".paretokit-studio .noUi-handle").first.focus()
    keys.press("End")
    reached: list[str] = []
    while "Next step" not in reached and len(reached) < 40:
        keys.press("Tab")
        reached.append(page.page.evaluate("() => document.activeElement.textContent.trim().slice(0, 20)"))
    assert reached[-1] == "Next step"
    assert reached.index("Train") < len(reached) - 1
    keys.press("Enter")
    wait_steps(page, 1)
    wait_marks(page, 5)
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        page.command("apputils:change-theme", arguments={"theme": theme})
        for width in (900, 1400):
            page.page.set_viewport_size({"width": width, "height": 1500})
            page.page.wait_for_function(
                "figure => { const all = document.querySelector('.paretokit-studio');"
                " const plot = document.querySelectorAll('.js-plotly-plot')[figure];"
                " return all.scrollWidth - all.clientWidth <= 1"
                " && Math.abs(plot._fullLayout.width - document.querySelector('.paretokit-probe').clientWidth) < 3; }",
                arg=TREE,
            )
            cut = page.page.evaluate(
                "() => [...document.querySelectorAll('.paretokit-steps, .paretokit-steps *, .paretokit-controls button')]"
                ".filter(e => e.scrollWidth - e.clientWidth > 1 && getComputedStyle(e).display !== 'inline')"
                ".map(e => e.outerHTML)"
            )
            assert cut == []
        found = Axe().run(page.page, context=".paretokit-studio").response["violations"]
        assert [
            (rule["id"], rule["nodes"][0]["html"][:160]) for rule in found if rule["impact"] in ("serious", "critical")
        ] == []
