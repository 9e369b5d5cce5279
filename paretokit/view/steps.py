"""What a Studio says of a text that is written step by step, as plain strings. What comes from a model is escaped.

Imports: `events`, `front_view`, `tree`.
"""

from collections.abc import Sequence
from html import escape

from paretokit.decoding.tree import GuidedGeneration
from paretokit.view.events import Written
from paretokit.view.front_view import number, plural
from paretokit.view.tree import ending, tree_view


def steps_line(written: Written) -> str:
    """Return the line under the buttons: what was written last, what can be done now.

    >>> steps_line(Written("Hi", "", "the scorers kind, short", ("kind", "short"), None, "new"))
    'No step yet. Set the weights and press Next step.'
    """
    made = written.made
    done = 0 if made is None else len(made.steps)
    if written.state == "writing":
        return f"▶ writing step {done + 1}"
    if written.state == "stopped":
        return f"◼ stopped: step {done + 1} was dropped. Next step writes it again, at the weights of then."
    if written.state == "failed":
        return f"✗ failed: step {done + 1} was dropped, for the reason above. Next step tries again."
    if made is None:
        return "No step yet. Set the weights and press Next step."
    chosen = f"step {done}, the best of {plural(_last(made), 'candidate')}"
    if written.state == "ended":
        return f"✓ {chosen}. {_sentence(ending(made.reason))} Start again for another one."
    return f"✓ {chosen}"


def steps_html(written: Written) -> str:
    """Return the text so far: each step under the weights that chose it, then what the guide says of the whole."""
    made = written.made
    if made is None:
        prompt = f"<b>{escape(written.prompt)}</b>" if written.prompt else "the prompt that is chosen below"
        return f"<p>The next step begins a text for {prompt}.</p>"
    weights = [dict(zip(made.objectives, row, strict=True)) for row in made.guide_weights]
    items = "".join(
        f'<li><span class="source">{_weights(row, written.objectives)}</span><blockquote>{_step(step)}</blockquote></li>'
        for row, step in zip(weights, made.steps, strict=True)
    )
    said = dict(zip(made.objectives, made.scores, strict=True))
    scores = " · ".join(f"{escape(name)} <b>{number(said[name])}</b>" for name in written.objectives)
    return (
        f'<div class="paretokit-steps"><p><b>{escape(written.prompt)}</b></p><ol>{items}</ol>'
        f"<p>The text so far: {scores}</p>"
        f'<p class="source">Written by {escape(written.source)}. Judged by {escape(written.guide)}.</p></div>'
    )


def tree_html(written: Written) -> str:
    """Return the sentence that reads the tree, and how to read it."""
    how = (
        "Each mark is a candidate, by what the guide says of the text that it would make. Filled and joined: the text. "
        "Hollow: not taken, at the weights of then."
    )
    read = "No step yet." if written.made is None else tree_view(written.made).alt
    return f"<p><b>{escape(read)}</b> {how}</p>"


def _last(made: GuidedGeneration) -> int:
    """How many candidates the last step had."""
    return sum(node.step == len(made.steps) for node in made.tree)


def _weights(weights: dict[str, float], names: Sequence[str]) -> str:
    return ", ".join(f"{escape(name)} {weights[name]:.2f}" for name in names)


def _step(text: str) -> str:
    return escape(text.strip()) or "<i>(nothing more)</i>"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
