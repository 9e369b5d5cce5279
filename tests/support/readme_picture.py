"""Make the README's picture: `python tests/support/readme_picture.py`, from the project's root. A person looks at it.

With a folder as argument it makes one for each theme and two widths there instead.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from paretokit.cli.browser import LabPage, browser, lab_server, write_notebook

CELL = """
import paretokit as pk
config = pk.TrainConfig(steps=24, pairs_per_step=8, learning_rate=3e-3, max_length=160, threads=1)
studio = pk.Studio(pk.load_policy("tiny"), pk.read_preferences("world:summaries"), config=config)
studio
"""
RUNS = """
for weights in ([0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.34, 0.33, 0.33]):
    for method in ("raco", "linear"):
        studio.train(weights=weights, method=method).result()
studio.wait()
print("trained")
"""


def picture(path: Path, *, width: int, dark: bool) -> None:
    """Write a PNG of a Studio with six trained policies and a seventh in training."""
    with TemporaryDirectory() as folder, browser() as launched:
        write_notebook(
            Path(folder) / "studio.ipynb", [CELL, RUNS, "studio.train(weights=[0.45, 0.45, 0.1], steps=60)\nprint('on')"]
        )
        with lab_server(Path(folder), dark=dark, environment={"PARETOKIT_CACHE": folder}) as address:
            page = LabPage(launched, address, width=width, height=1700).open("studio.ipynb")
            page.run_cell(0)
            page.wait_studio()
            page.run_cell(1)
            page.wait_text(".jp-OutputArea-output pre", "trained", timeout=180)
            page.run_cell(2)
            page.page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot')[1].data[0].x?.length >= 30")
            page.page.locator(".paretokit-studio").screenshot(path=str(path))
            page.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        for width in (900, 1900):
            for dark in (False, True):
                picture(Path(sys.argv[1]) / f"studio-{width}-{'dark' if dark else 'light'}.png", width=width, dark=dark)
    else:
        picture(Path("notebooks/studio.png"), width=1400, dark=False)
