"""How the Studio looks: pictures in both themes at two widths, beside those that a person has looked at.

Fonts differ between machines, so a difference is reported at the end of the run and fails nothing; what fails is a
picture that shows nothing. New references: `PARETOKIT_LOOK=new pytest tests/browser/test_look.py`, then look at them.
"""

import io
import os
from pathlib import Path

from PIL import Image
from pixelmatch.contrib.PIL import pixelmatch
from support.lab_cells import DARK, LOAD, STUDIO
from support.look import LOOK

REFERENCES = Path(__file__).parent / "look"
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
ENOUGH = 0.005  # share of the pixels


def differing(one: Image.Image, other: Image.Image) -> float:
    """Share of pixels that look different, 1 for pictures of different sizes."""
    if one.size != other.size:
        return 1.0
    return pixelmatch(one, other, threshold=0.1) / (one.width * one.height)


def shades(picture: Image.Image) -> int:
    return len(picture.convert("L").getcolors(256) or ())


def rested(page) -> bytes:
    """A picture of the Studio once two in a row are equal: it was drawn again at its width and in its colours."""
    box, status, shot = page.page.locator(".paretokit-studio"), page.page.locator(".paretokit-status"), b""
    while True:
        page.page.wait_for_timeout(1500)
        former, shot = shot, box.screenshot(mask=[status], mask_color="#808080")
        if shot == former:
            return shot


def test_both_themes_at_two_widths(lab, request):
    page = lab(LOAD.format(store="look", steps=2) + STUDIO.format(store="look"), "studio.train().result(); print('trained')")
    page.run_cell(0)
    page.wait_studio()
    page.run_cell(1)
    page.wait_text(".jp-OutputArea-output pre", "trained")
    for theme in sorted(THEMES, key=lambda name: (name == "dark") == DARK):  # the one that is set comes last
        page.command("apputils:change-theme", arguments={"theme": THEMES[theme]})
        for width in (900, 1900):
            page.page.set_viewport_size({"width": width, "height": 2100})
            shot = rested(page)
            picture = Image.open(io.BytesIO(shot)).convert("RGB")
            assert shades(picture) > 100
            background = picture.convert("L").getpixel((2, 2))
            assert (background < 80) == (theme == "dark")
            reference = REFERENCES / f"{theme}-{width}.png"
            if os.environ.get("PARETOKIT_LOOK") == "new":
                REFERENCES.mkdir(exist_ok=True)
                picture.quantize(64).save(reference, optimize=True)
            share = differing(picture, Image.open(reference).convert("RGB"))
            said = "" if share <= ENOUGH else ": look at it"
            request.config.stash[LOOK].append(f"{reference.name}: {share:.2%} of the pixels differ{said}")
    assert len(request.config.stash[LOOK]) == 4


def test_a_blank_picture_and_another_theme_are_seen():
    """The planted failure."""
    part = (0, 0, 400, 400)
    light, dark = (Image.open(REFERENCES / f"{theme}-900.png").convert("RGB").crop(part) for theme in THEMES)
    assert differing(light, light) == 0
    assert differing(light, dark) > ENOUGH
    assert differing(light, light.crop((0, 0, 300, 300))) == 1
    assert shades(Image.new("RGB", (900, 900), "white")) == 1
