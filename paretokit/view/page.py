"""One HTML file that holds figures, tables and a stamp, and needs nothing else: no network, no server, no kernel.

plotly.js is embedded once; a content security policy forbids every request. Imports: plotly, `experiments.files`.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import plotly.graph_objects as go

from paretokit.experiments.files import write_text
from paretokit.view.stamp import stamp_text
from paretokit.view.tables import Table
from paretokit.view.theme import CONFIG, INK, PAPER


class Picture(NamedTuple):
    """A figure with the sentence that states its finding, and how to read it."""

    figure: go.Figure
    alt: str
    caption: str = ""


def write_page(
    path: str | Path, figures: Sequence[Picture], tables: Sequence[Table], stamp: Mapping[str, Any], *, title: str
) -> Path:
    """Write the page, whole or not at all, and return its path. All texts are escaped; `stamp` is shown with a button.

    Text and tables follow the reader's light or dark setting, also inside the figures. Raises `StoreError` where the
    file cannot be written.
    """
    path = Path(path)
    write_text(path, page(figures, tables, stamp, title=title))
    return path


def page(figures: Sequence[Picture], tables: Sequence[Table], stamp: Mapping[str, Any], *, title: str) -> str:
    """Return the page as text; the same arguments give the same text."""
    body = [f"<h1>{escape(title)}</h1>"]
    body += [_figure(picture, index=index) for index, picture in enumerate(figures)]
    body += [_table(table) for table in tables]
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + f"\n</main>\n{_footer(stamp)}\n</body>\n</html>\n"
    )


def _figure(picture: Picture, *, index: int) -> str:
    plot = picture.figure.to_html(full_html=False, include_plotlyjs=index == 0, config=CONFIG, div_id=f"figure-{index}")
    reading = f" {escape(picture.caption)}" if picture.caption else ""
    return (
        f'<figure aria-labelledby="caption-{index}">{plot}'
        f'<figcaption id="caption-{index}"><strong>{escape(picture.alt)}</strong>{reading}</figcaption></figure>'
    )


def _table(table: Table) -> str:
    kinds = [' class="n"' if numeric else "" for numeric in table.numeric]
    head = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in zip(table.columns, kinds, strict=True))
    rows = "".join(
        "<tr>" + "".join(f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>\n"
        for row in table.rows
    )
    note = f"<p>{escape(table.note)}</p>" if table.note else ""
    return (
        f'<section><h2>{escape(table.title)}</h2><div class="wide" tabindex="0"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{rows}</tbody></table></div>{note}</section>"
    )


def _footer(stamp: Mapping[str, Any]) -> str:
    lines = stamp_text(stamp)
    return (
        '<footer><h2>How this was made</h2><button type="button" id="copy">Copy</button>'
        f'<pre id="stamp" tabindex="0">{escape(lines)}</pre></footer>\n<script>{_COPY}</script>'
    )


_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
    "connect-src data: blob:"
)

_STYLE = f"""
:root {{ color-scheme: light dark;
  --ink: {INK["light"]}; --soft: #57606a; --paper: {PAPER["light"]}; --card: #f6f8fa; --line: #8c959f; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: {INK["dark"]}; --soft: #9da7b3; --paper: {PAPER["dark"]}; --card: #1c2128; --line: #6e7681; }}
}}
body {{ margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }}
main, footer {{ max-width: 1680px; margin: 0 auto; padding: 0 24px; }}
h1 {{ font-size: 1.5rem; margin: 24px 0 8px; }} h2 {{ font-size: 1.1rem; margin: 32px 0 8px; }}
figure {{ margin: 24px 0 40px; }}
figcaption, section p {{ max-width: 100ch; color: var(--soft); margin: 8px 0; }}
figcaption strong {{ color: var(--ink); }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; padding: 4px 14px 4px 0; vertical-align: top; white-space: pre-wrap; }}
th {{ border-bottom: 1px solid var(--line); }} tbody tr:hover {{ background: var(--card); }}
.n {{ text-align: right; white-space: nowrap; }} td:not(.n) {{ max-width: 44ch; overflow-wrap: anywhere; }}
footer {{ border-top: 1px solid var(--line); margin-top: 40px; padding-bottom: 40px; }}
pre {{ background: var(--card); padding: 12px; overflow-x: auto; font-size: 13px; }}
button {{ font: inherit; color: var(--ink); background: var(--card); border: 1px solid var(--line); border-radius: 4px;
  padding: 2px 12px; cursor: pointer; }}
:focus-visible {{ outline: 2px solid #56b4e9; outline-offset: 2px; }}
.js-plotly-plot text {{ fill: var(--ink) !important; }}
.js-plotly-plot .hoverlayer path {{ fill: var(--card) !important; stroke: var(--line) !important; }}
.js-plotly-plot .updatemenu-item-rect {{
  fill: var(--card) !important; fill-opacity: 1 !important; stroke: var(--line) !important; }}
.js-plotly-plot .modebar-group {{ background: transparent !important; }}
.js-plotly-plot .modebar-btn path {{ fill: var(--soft) !important; }}
"""

_COPY = """
document.getElementById("copy").addEventListener("click", async (event) => {
  const stamp = document.getElementById("stamp");
  try {
    await navigator.clipboard.writeText(stamp.textContent);
    event.target.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(stamp);
    event.target.textContent = "Selected: press Ctrl+C";
  }
});
"""
