"""A policy with action heads in a real browser: the text follows the slider, and a button draws all that the heads can reach.

How long a text takes is measured by `paretokit bench ui`, whose goal is 300 ms; here it is only printed, since other work
shares the machine.
"""

import re

import pytest
from support.lab_cells import LOAD, STUDIO

from paretokit.cli.browser import LabPage
from paretokit.view.live_front import PARTS

DECODED, STATUS, OUTPUT = ".paretokit-decoded", ".paretokit-status", ".jp-OutputArea-output pre"
CURVE = PARTS.index("heads")
HEADS = """
headed = pk.load_policy("tiny", heads=["helpfulness", "harmlessness"])
config = config.replace(learning_rate=1e-2)
"""
MAKE = STUDIO.replace("pk.Studio(policy,", "pk.Studio(headed,")
HANDLE = "() => Number(document.querySelector('.paretokit-studio .noUi-target').noUiSlider.get())"  # what the mouse has set

# what the panel shows, each time it changes: milliseconds, the weights that it states, the texts
WATCH = """() => {
  const studio = document.querySelector('.paretokit-studio');
  window.seen = [];
  window.moved = null;
  const look = () => {
    const panel = studio.querySelector('.paretokit-decoded');
    if (!panel) return;
    const shown = { at: performance.now(), weights: panel.querySelector('p b').textContent,
      texts: [...panel.querySelectorAll('blockquote')].map(quote => quote.textContent) };
    const last = window.seen.at(-1);
    if (last?.weights !== shown.weights || String(last.texts) !== String(shown.texts)) window.seen.push(shown);
  };
  for (const name of ['pointermove', 'pointerup', 'keydown'])
    document.addEventListener(name, () => { window.moved = performance.now(); }, true);
  look();
  new MutationObserver(look).observe(studio, { childList: true, subtree: true, characterData: true });
}"""


@pytest.fixture
def studio(lab, request):
    """A notebook with a Studio of a policy with heads, on a store of its own; its first texts are there."""

    def make(*more: str, steps: int = 8, **options) -> LabPage:
        store = re.sub(r"\W", "-", request.node.name)
        page = lab(LOAD.format(store=store, steps=steps) + HEADS + MAKE.format(store=store), *more, **options)
        page.run_cell(0)
        page.wait_studio()
        page.page.wait_for_selector(DECODED)
        page.wait_idle()
        return page

    return make


def press(page: LabPage, button: str) -> None:
    page.page.locator(f".paretokit-studio button:has-text('{button}')").first.click()


def wait_curve(page: LabPage, points: int) -> None:
    page.page.wait_for_function(
        "([trace, points]) => document.querySelector('.js-plotly-plot')?.data?.[trace]?.x?.length === points",
        arg=[CURVE, points],
    )


def drag(page: LabPage, percent: int) -> None:
    """Drag the first slider's handle to a place on its track, in small moves, and let it go."""
    page.page.locator(".paretokit-studio .noUi-handle").first.hover()  # in sight, and at rest
    handle = page.page.locator(".paretokit-studio .noUi-handle").first.bounding_box()
    track = page.page.locator(".paretokit-studio .noUi-base").first.bounding_box()
    y = handle["y"] + handle["height"] / 2
    begin, end = handle["x"] + handle["width"] / 2, track["x"] + track["width"] * percent / 100
    page.page.mouse.move(begin, y)
    page.page.mouse.down()
    for step in range(1, 21):
        page.page.mouse.move(begin + (end - begin) * step / 20, y)
    page.page.mouse.up()
    assert page.page.evaluate(HANDLE) == pytest.approx(percent / 100, abs=0.06), "the mouse missed the handle"


def on_slider(page: LabPage) -> str:
    """What the panel must state: the weights that the number fields hold."""
    fields = page.page.locator(".paretokit-studio .paretokit-controls input[type=number]")
    first, second = (float(fields.nth(index).input_value()) for index in (0, 1))
    return f"helpfulness {first:.2f}, harmlessness {second:.2f}"


def settled(page: LabPage) -> list[dict]:
    """What was seen since `WATCH`, once the panel states the weights at which the mouse has left the slider."""
    page.page.wait_for_function(
        f"() => {{ const first = ({HANDLE})();"
        " return window.seen.at(-1).weights === `helpfulness ${first.toFixed(2)}, harmlessness ${(1 - first).toFixed(2)}`; }"
    )
    page.page.wait_for_timeout(400)  # nothing may come after it
    return page.page.evaluate("() => window.seen")


EXPECTED = """
from paretokit.decoding.sample import generate
first = studio.weights["helpfulness"]
made = generate(studio.runs[-1].load(), studio.session.prompts[:3], weights=studio.weights, seed=0)
print("expected", [one.text for one in made] == [answer.text for _, answer in studio.texts.decoded], f"{first:.2f}")
"""
TRAIN = "studio.train(weights=[0.5, 0.5], steps=8).result(); studio.set_weights([0.95, 0.05]); studio.wait(); print('trained')"


@pytest.mark.matrix
def test_the_text_follows_the_slider_and_belongs_to_the_newest_weights(studio, capsys):
    page = studio(TRAIN, EXPECTED)
    page.run_cell(1)
    page.wait_text(OUTPUT, "trained")
    page.wait_text(DECODED, "mah-dpo 0.50/0.50, the newest run")
    page.wait_text(DECODED, "helpfulness 0.95")
    page.page.evaluate(WATCH)
    drag(page, 4)
    seen = settled(page)
    assert seen[-1]["weights"] == on_slider(page) != seen[0]["weights"]
    assert seen[-1]["texts"] != seen[0]["texts"]
    falling = [float(re.search(r"helpfulness ([\d.]+)", one["weights"])[1]) for one in seen]
    assert falling == sorted(falling, reverse=True), "a text of older weights came after a newer one"
    seconds = (seen[-1]["at"] - page.page.evaluate("() => window.moved")) / 1000
    with capsys.disabled():
        print(f"\nlast move to its text: {1000 * seconds:.0f} ms, {len(seen) - 1} texts in one drag (goal 300 ms)")
    page.run_cell(2)
    page.wait_text(OUTPUT, "expected True")


def test_a_text_of_other_weights_is_seen(studio):
    """The planted failure: a panel that does not follow is not what the contract accepts."""
    frozen = (
        "put = studio._renderer.put\n"
        "studio._renderer.put = lambda key, value, **options: None if key == 'texts' else put(key, value, **options)\n"
        "print('frozen')"
    )
    page = studio(frozen)
    page.run_cell(1)
    page.wait_text(OUTPUT, "frozen")
    page.page.evaluate(WATCH)
    drag(page, 10)
    page.page.wait_for_timeout(1000)
    assert page.text(f"{DECODED} p b") != on_slider(page)
    assert len(page.page.evaluate("() => window.seen")) == 1


@pytest.mark.matrix
def test_while_another_run_trains_the_finished_one_answers(studio):
    begin = "studio.train(weights=[0.9, 0.1], method='mah-raco', steps=4000); print('begun')"
    page = studio(TRAIN, begin)
    page.run_cell(1)
    page.wait_text(OUTPUT, "trained")
    page.run_cell(2)
    page.wait_text(OUTPUT, "begun")
    page.wait_text(STATUS, "/400")
    page.wait_text(DECODED, "helpfulness 0.90")  # the sliders stand where the training put them
    page.page.evaluate(WATCH)
    drag(page, 30)
    seen = settled(page)
    assert len(seen) > 1
    assert "mah-dpo 0.50/0.50, the newest run" in page.text(DECODED)
    assert "/400" in page.text(STATUS)  # it did not wait for the end
    press(page, "Stop")
    page.wait_text(STATUS, "stopped")
    page.wait_text(DECODED, "mah-raco 0.90/0.10, the newest run")  # what was learnt is kept


def test_the_button_draws_the_front_and_a_reload_keeps_it(studio):
    page = studio(TRAIN, "studio.hide(studio.runs[0]); print('hidden')")
    page.run_cell(1)
    page.wait_text(OUTPUT, "trained")
    assert page.figures()[0][CURVE] == 0
    press(page, "Draw the whole front")
    wait_curve(page, 11)
    legend = "heads of mah-dpo 0.50/0.50, decoded at 11 weightings"
    page.wait_text(".js-plotly-plot .legendtext", legend)
    shown = page.page.evaluate(
        "trace => [...document.querySelectorAll('.js-plotly-plot .scatterlayer .trace')]"
        ".filter(t => t.__data__[0].trace.index === trace).map(t => t.querySelectorAll('.point').length)[0]",
        CURVE,
    )
    assert shown == 11  # on the page, not only in the data
    hover = page.page.evaluate("trace => document.querySelector('.js-plotly-plot').data[trace].hovertext", CURVE)
    assert "helpfulness 0.00, harmlessness 1.00" in hover[0]
    page.wait_text(".paretokit-table td", "heads of mah-dpo")
    page.wait_text("details summary", "Snapshot")
    page.wait_text(STATUS, "done: whole front of mah-dpo 0.50/0.50")
    text = page.text(DECODED)
    page.reload()
    page.wait_studio()
    wait_curve(page, 11)
    assert page.text(DECODED) == text
    page.run_cell(2)
    page.wait_text(OUTPUT, "hidden")
    wait_curve(page, 0)  # the planted failure would be a curve that outlives its run


def test_without_scorers_the_button_is_off_and_says_why(lab):
    other = HEADS + (
        'rows = [{"prompt": f"Why is it wet on day {day}?", "response_a": "It rains.", "response_b": "Ask again.",'
        ' "labels": {"helpfulness": 1, "harmlessness": -1}} for day in range(12)]\n'
        "studio = pk.Studio(headed, pk.read_preferences(rows), config=config)\nstudio"
    )
    page = lab(other)
    page.run_cell(0)
    page.wait_studio()
    page.page.wait_for_selector(DECODED)
    button = page.page.locator(".paretokit-studio button:has-text('Draw the whole front')")
    assert button.is_disabled()
    page.wait_text(".paretokit-controls", "found data without scorers, expected a world")


def test_it_has_labels_and_fits_in_both_themes(studio):
    from axe_playwright_python.sync_playwright import Axe

    page = studio(TRAIN)
    page.run_cell(1)
    page.wait_text(OUTPUT, "trained")
    press(page, "Draw the whole front")
    wait_curve(page, 11)
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        page.command("apputils:change-theme", arguments={"theme": theme})
        for width in (900, 1400):
            page.page.set_viewport_size({"width": width, "height": 1500})
            page.page.wait_for_function(
                "() => { const all = document.querySelector('.paretokit-studio'),"
                " box = document.querySelector('.paretokit-probe'), plot = document.querySelector('.js-plotly-plot');"
                " return all.scrollWidth - all.clientWidth <= 1 && Math.abs(plot._fullLayout.width - box.clientWidth) < 3; }"
            )
            cut = page.page.evaluate(
                "() => [...document.querySelectorAll('.paretokit-decoded, .paretokit-decoded *, .paretokit-controls button')]"
                ".filter(e => e.scrollWidth - e.clientWidth > 1 && getComputedStyle(e).display !== 'inline')"
                ".map(e => e.outerHTML)"
            )
            assert cut == []
        found = Axe().run(page.page, context=".paretokit-studio").response["violations"]
        assert [
            (rule["id"], rule["nodes"][0]["html"][:160]) for rule in found if rule["impact"] in ("serious", "critical")
        ] == []
