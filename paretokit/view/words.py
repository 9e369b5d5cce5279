"""What a Studio says: its status line, its texts and its errors, as plain strings computed from plain values.

Whatever comes from a model or a file is escaped.
Imports: `events`, `jobs`, `front_points`, `front_view`, `tables`, `theme`.
"""

from collections.abc import Sequence
from html import escape

from paretokit.view.events import Answer, Board, Progress, Texts, Trouble
from paretokit.view.front_points import heads_look
from paretokit.view.front_view import FrontView, PointView, number, plural
from paretokit.view.jobs import Job
from paretokit.view.tables import weights_short
from paretokit.view.theme import DOMINATED, method_styles

ICONS = {
    "queued": "…",
    "running": "▶",
    "paused": "⏸",
    "stopping": "◼",
    "done": "✓",
    "stopped": "◼",
    "failed": "✗",
}
MARKS = {
    "circle": "●", "square": "■", "diamond": "◆", "triangle-up": "▲", "triangle-down": "▼", "cross": "✚",
    "pentagon": "⬟", "hexagram": "✶",
}  # fmt: skip
OPEN = "○"  # of a policy's heads


def status_line(job: Job | None, progress: Progress | None, *, waiting: int = 0, answered: float | None = None) -> str:
    """Return the line under the buttons: state, step, losses, time left, how long the last text took.

    >>> status_line(None, None)
    'Ready. Set the weights and press Train.'
    """
    if job is None:
        parts = ["Ready. Set the weights and press Train."]
    else:
        parts = [f"{ICONS[job.state]} {job.state}: {job.label}"]
        if progress is not None and progress.job == job.number and not job.ended:
            parts += _progress_words(progress)
    if waiting:
        parts.append(f"{plural(waiting, 'training')} waiting")
    if answered is not None:
        parts.append(f"text in {1000 * answered:.0f} ms")
    return " · ".join(parts)


def _progress_words(progress: Progress) -> list[str]:
    if not progress.records:
        return [progress.stage]
    last = progress.records[-1]
    losses = ", ".join(f"{name} {loss:.3f}" for name, loss in zip(last.objectives, last.losses, strict=True))
    words = [f"step {last.step}/{progress.steps}", f"loss {losses}"]
    if progress.stage != "training":
        return [*words, progress.stage]
    return words if progress.eta is None else [*words, f"{_duration(progress.eta)} left"]


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def texts_html(texts: Texts | None) -> str:
    """Return the answers before and after, side by side, with their scores."""
    if texts is None:
        return '<p class="paretokit-text">No answer was sampled yet.</p>'
    prompt = f"<p><b>{escape(texts.prompt)}</b></p>"
    cards = _card("before training", texts.before, texts.axes) + _card(texts.after.source, texts.after, texts.axes)
    return f'{prompt}<div class="paretokit-texts">{cards}</div>'


def _card(title: str, answer: Answer, axes: Sequence[str]) -> str:
    text = escape(answer.text) or "<i>(empty answer)</i>"
    cut = "" if answer.ended else " <i>(cut at the length limit)</i>"
    scores = ""
    if answer.scores is not None:
        pairs = zip(axes, answer.scores, strict=True)
        scores = " · ".join(f"{escape(name)} <b>{number(score)}</b>" for name, score in pairs)
    return (
        f'<div class="paretokit-text"><span class="source">{escape(title)}</span>'
        f"<blockquote>{text}{cut}</blockquote>{scores}</div>"
    )


def decoded_html(texts: Texts | None) -> str:
    """Return what a policy with heads says to a few prompts, under the weights that it belongs to; "" where nothing was."""
    if texts is None or not texts.decoded:
        return ""
    weights = ", ".join(f"{escape(name)} {weight:.2f}" for name, weight in zip(texts.objectives, texts.weights, strict=True))
    cards = "".join(_card(prompt, answer, texts.axes) for prompt, answer in texts.decoded)
    source = escape(texts.decoded[0][1].source)
    return f'<div class="paretokit-decoded"><p><b>{weights}</b><br>{source}</p>{cards}</div>'


def trouble_html(trouble: Trouble | None) -> str:
    """Return the red panel of an error, with its traceback folded; "" for none."""
    if trouble is None:
        return ""
    return (
        f'<div class="paretokit-error" role="alert"><strong>✗ {escape(trouble.what)}</strong>: {escape(trouble.message)}'
        f"<details><summary>Traceback</summary><pre>{escape(trouble.traceback)}</pre></details></div>"
    )


def heading_html(board: Board) -> str:
    """Return title, seeds badge and what is hidden, above the front."""
    view = board.view
    seeds = sorted({len(point.seeds) for point in view.points})
    badge = "" if not seeds else plural(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    badges = [badge, f"{len(board.hidden)} hidden" if board.hidden else ""]
    badges.append(f"{plural(board.foreign, 'run')} of other data not shown" if board.foreign else "")
    shown = " ".join(f'<span class="paretokit-badge">{escape(text)}</span>' for text in badges if text)
    return f"<h3>{escape(view.title)} {shown}</h3><p>{escape(view.subtitle)}</p>"


def reading_html(view: FrontView) -> str:
    """Return the sentence that reads the front, and how to read it."""
    return f"<p><b>{escape(view.alt)}</b> {escape(view.caption)}</p>"


def stale_text(weights: Sequence[float], board: Board) -> str:
    """Return what to say where no run was trained at these weights, or ""."""
    trained = [run.spec.weights for run in board.runs if run.id not in board.hidden and run.spec.weights is not None]
    if not trained or any(max(abs(a - b) for a, b in zip(weights, w, strict=True)) < 0.005 for w in trained):
        return ""
    return "weights differ from every run: press Train to see what they give"


def point_rows(view: FrontView) -> list[dict]:
    """Return the rows of the table beside the front: the start, every point with a run's id as key, those of the heads."""
    styles = method_styles(view.methods)
    rows = []
    if view.start is not None:
        cells = ["before training", "", *(number(value) for value in view.start.scores), number(view.start.distance), ""]
        rows.append({"key": "", "cells": cells, "muted": False, "mark": "★", "colour": DOMINATED})
    for point in view.points:
        style = styles[point.method]
        mark = {"key": point.runs[-1] if point.runs else "", "mark": MARKS[style.symbol], "colour": style.colour}
        rows.append({**mark, "cells": _point_cells(point), "muted": not point.nondominated})
    if view.heads is not None:
        look, _ = heads_look(view.heads, styles)
        mark = {"key": "", "mark": OPEN, "colour": look.colour}
        short = f"heads of {view.heads.method}" if view.heads.method else "heads before training"  # the legend says more
        for point in view.heads.points:
            cells = [short, *_point_cells(point)[1:]]
            rows.append({**mark, "cells": cells, "muted": not point.nondominated})
    return rows


def _point_cells(point: PointView) -> list[str]:
    scores = [number(score) for score in point.scores]
    if point.low is not None and point.high is not None:
        ends = zip(scores, point.low, point.high, strict=True)
        scores = [f"{score} [{low:.2f}, {high:.2f}]" for score, low, high in ends]
    weights = "" if point.weights is None else weights_short(point.weights)
    return [point.method, weights, *scores, number(point.distance), ", ".join(point.seeds)]


def point_columns(view: FrontView) -> list[str]:
    """Return the titles of `point_rows`."""
    return ["policy", "weights", *view.objectives, "distance", "seeds"]


def run_rows(board: Board) -> list[dict]:
    """Return the rows of the list of runs, newest first, hidden ones too."""
    styles = method_styles(run.spec.method for run in board.runs)
    rows = []
    for run in reversed(board.runs):
        state = str(run.state["state"])
        hidden = run.id in board.hidden
        weights = "by step" if run.spec.weights is None else weights_short(run.spec.weights)
        shown = f"{ICONS.get(state, '')} {state}" + (", hidden" if hidden else "")
        cells = [run.id, weights, f"{len(run.records)}/{run.spec.config.steps}", shown]
        style = styles[run.spec.method]
        rows.append({"key": run.id, "cells": cells, "muted": hidden, "mark": MARKS[style.symbol], "colour": style.colour})
    return rows


RUN_COLUMNS = ["run", "weights", "steps", "state"]
