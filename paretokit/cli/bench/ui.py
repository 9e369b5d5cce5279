"""Measure the interface in a real browser: how soon a slider is answered, what a callback costs, what memory grows.

Needs JupyterLab, playwright and Debian's chromium. Figures depend on the machine and are never asserted. Example:

    paretokit bench ui --moves 500
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

from paretokit.cli import options as shared
from paretokit.cli.browser import LabPage, browser, lab_server, write_notebook
from paretokit.errors import ModelError

_MAKE = """
import json, time, paretokit as pk
config = pk.TrainConfig(steps=8, pairs_per_step=8, learning_rate=3e-3, max_length=160, threads=1)
studio = pk.Studio(pk.load_policy("tiny"), pk.read_preferences("world:safety"), config=config)
studio
"""
_TRAIN = """
for first in (0.9, 0.1):
    studio.train(weights=[first, 1 - first]).result()
studio.wait()
print("trained")
"""
_PROMPTS = """
from paretokit.view.events import prompt_line
print("prompts", json.dumps([prompt_line(prompt) for prompt in studio.session.evaluation.world.prompts]))
"""
_HEADS = """
studio.close()
heads = pk.load_policy("tiny", heads=["helpfulness", "harmlessness"])
studio = pk.Studio(heads, pk.read_preferences("world:safety"), config=config.replace(steps=32))
studio
"""
_TRAIN_HEADS = "studio.train(weights=[0.5, 0.5]).result()\nstudio.set_weights([0.9, 0.1])\nstudio.wait()\nprint('headed')"
_LONG = "studio.train(weights=[0.5, 0.5], steps=2000)\nprint('begun')"
_MOVES = """
from pathlib import Path
memory = lambda: int(next(l for l in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in l).split()[1]) / 1024
slider, took = studio.screen.weights.sliders[0], []
for move in range(40):  # caches and allocators fill up first
    slider.value = 0.2 + 0.01 * (move % 60)
    time.sleep(0.02)
studio.wait()
before = memory()
for move in range({moves}):
    began = time.perf_counter()
    slider.value = 0.2 + 0.01 * (move % 60)
    took.append(1000 * (time.perf_counter() - began))
    time.sleep(0.02)
    if move % 25 == 24:
        studio.wait()
print("moves", json.dumps({{"took": took, "grown": memory() - before}}))
"""
_AFTER, _DECODED = ".paretokit-texts .paretokit-text:nth-child(2)", ".paretokit-decoded"
# the time from a key on the slider to the text of the run, or at the weights, that is meant, taken in the page
_WATCH = """([selector, expected]) => {
  const text = () => document.querySelector(selector)?.textContent ?? '';
  let began = null;
  document.activeElement.addEventListener('keydown', () => { began = performance.now(); }, { once: true, capture: true });
  window.answered = new Promise((done, failed) => {
    setTimeout(() => failed(new Error('no answer within 10 s')), 10000);
    new MutationObserver((_, observer) => {
      if (began === null || !text().includes(expected)) return;
      observer.disconnect();
      done(performance.now() - began);
    }).observe(document.activeElement.closest('.paretokit-studio'), { childList: true, subtree: true, characterData: true });
  });
}"""


def run(options: argparse.Namespace) -> None:
    """Measure and print the figures beside the goals."""
    found = measure_ui(moves=options.moves, answers=options.answers)
    if options.json:
        shared.print_json(found)
        return
    goals = {
        "slider to text, idle": "median <= 300 ms, p95 <= 600 ms",
        "slider to text, training": "median <= 300 ms, p95 <= 600 ms",
        "slider to remembered text, idle": "-",
        "slider to remembered text, training": "-",
        "slider to text of heads, idle": "median <= 300 ms, p95 <= 600 ms",
        "slider to text of heads, training": "median <= 300 ms, p95 <= 600 ms",
        "callback": "p99 <= 20 ms",
        "memory growth": "<= 20 MB",
        "saved notebook, outputs cleared": "<= 200 KB",
    }
    for name, value in found.items():
        shared.output().print(f"{name:38} {value:28} goal: {goals[name]}", soft_wrap=True)


def measure_ui(*, moves: int, answers: int) -> dict[str, str]:
    """Return what was measured, by name: "median 231 ms, p95 262 ms" and so on."""
    say = shared.messages().print  # what is being done, on standard error
    stop = "studio.stop()\nstudio.wait()\nprint('stopped')"
    with_heads = [_HEADS, _TRAIN_HEADS, _LONG, stop.replace("stopped", "rested")]
    cells = [_MAKE, _TRAIN, _LONG, stop, _MOVES.format(moves=moves), _PROMPTS, *with_heads]
    with TemporaryDirectory(prefix="paretokit-bench-") as folder, browser() as launched:
        path = write_notebook(Path(folder) / "bench.ipynb", cells)
        with lab_server(Path(folder), environment={"PARETOKIT_CACHE": folder}) as address:
            page = LabPage(launched, address, height=1400).open(path.name)
            say("opening the Studio")
            page.run_cell(0)
            page.wait_studio()
            say("training two runs")
            _run(page, 1, "trained")
            prompts = iter(json.loads(_run(page, 5, "prompts ").split("prompts ", 1)[1]))

            def ask() -> None:
                """Type a prompt that was not answered yet, so that the next text has to be sampled."""
                field, prompt = page.page.locator("input[placeholder^='or a prompt']"), next(prompts)
                field.fill(prompt)
                field.press("Enter")
                page.wait_text(".paretokit-studio p b", prompt)

            say("slider to text, idle")
            idle, idle_again = _answers(page, answers, ask=ask), _answers(page, answers)
            say("slider to text, during training")
            _run(page, 2, "begun")
            page.wait_text(".paretokit-status", "/2000")
            busy, busy_again = _answers(page, answers, ask=ask), _answers(page, answers)
            _run(page, 3, "stopped")
            say(f"{moves} slider moves")
            moved = json.loads(_run(page, 4, "moves ").split("moves ", 1)[1])
            say("slider to text of a policy with heads")
            page.run_cell(6)
            page.page.wait_for_selector(".paretokit-decoded")
            _run(page, 7, "headed")
            heads = _decoded(page, answers, first=89)
            say("slider to text of a policy with heads, during training")
            page.run_cell(8)
            page.wait_text(".paretokit-status", "/2000")
            heads_busy = _decoded(page, answers, first=49)  # the training has set the weights
            _run(page, 9, "rested")
            say("saving the notebook")
            page.command("notebook:clear-all-cell-outputs")
            page.page.wait_for_function("() => !document.querySelector('.jp-OutputArea-output')")
            page.save()
            size = path.stat().st_size / 1024
            page.close()
    return {
        "slider to text, idle": _times(idle),
        "slider to text, training": _times(busy),
        "slider to remembered text, idle": _times(idle_again),
        "slider to remembered text, training": _times(busy_again),
        "slider to text of heads, idle": _times(heads),
        "slider to text of heads, training": _times(heads_busy),
        "callback": f"median {median(moved['took']):.1f} ms, p99 {quantiles(moved['took'], n=100)[98]:.1f} ms",
        "memory growth": f"{moved['grown']:+.1f} MB over {moves} moves",
        "saved notebook, outputs cleared": f"{size:.1f} KB",
    }


def _run(page: LabPage, index: int, text: str) -> str:
    """Run a cell and return the line of its output that begins with `text`."""
    page.run_cell(index)
    selector = ".jp-OutputArea-output pre"
    try:
        page.wait_text(selector, text, timeout=120)
    except Exception as error:  # a cell that raised, or was never run: say what the page shows
        raise ModelError(f"bench ui: cell {index} has not printed {text!r} within 120 s. {page.outline()}") from error
    outputs: Sequence[Any] = page.page.locator(selector).all_inner_texts()
    return next(found for found in outputs if text in found)


def _answers(page: LabPage, answers: int, *, ask: Callable[[], None] = lambda: None) -> list[float]:
    """Milliseconds from a key to the text of the run that it goes to; the first two warm up.

    `ask` is called before each; without it, the answers were sampled before.
    """
    found = []
    for turn in range(answers + 2):
        key, expected = (("End", "0.90/0.10"), ("Home", "0.10/0.90"))[turn % 2]
        ask()
        page.page.locator(".paretokit-studio .noUi-handle").first.focus()
        page.page.evaluate(_WATCH, [_AFTER, expected])
        page.page.keyboard.press(key)
        found.append(page.page.evaluate("() => window.answered"))
    return found[2:]


def _decoded(page: LabPage, answers: int, *, first: int) -> list[float]:
    """Milliseconds from a key to the text at its weights, which are new each time: from `first` hundredths of the first
    weight downwards, at most 36; the first two warm up."""
    found = []
    for percent in range(first, first - min(answers, 36) - 2, -1):
        page.page.locator(".paretokit-studio").last.locator(".noUi-handle").first.focus()  # the other Studio is closed
        page.page.evaluate(_WATCH, [_DECODED, f"helpfulness {percent / 100:.2f}"])
        page.page.keyboard.press("ArrowLeft")
        found.append(page.page.evaluate("() => window.answered"))
    return found[2:]


def _times(found: Sequence[float]) -> str:
    return f"median {median(found):.0f} ms, p95 {quantiles(found, n=20)[18]:.0f} ms"
