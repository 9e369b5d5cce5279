"""The parts of a Studio: put together, and ended together. None of them knows the `Studio`, so that it can be collected.

Imports: `session`, `pressed`, `screen`, `bus`.
"""

from typing import Any, NamedTuple

from paretokit.models.policy import Policy
from paretokit.preferences.records import Preferences
from paretokit.view.bus import Renderer
from paretokit.view.pressed import Pressed
from paretokit.view.screen import Screen
from paretokit.view.session import Session

_SOON = ("texts", "steps", "trouble", "job", "asked")  # what a person waits for is drawn at once, the rest in its turn


class Assembly(NamedTuple):
    """What does the work, what hears the page, what is on it, and what draws there."""

    session: Session
    pressed: Pressed
    screen: Screen
    renderer: Renderer


def assemble(policy: Policy, preferences: Preferences, **options: Any) -> Assembly:
    """Return the parts, with both threads running. `options` are those of `Session`, whose errors are raised."""
    renderer = Renderer(name="paretokit-render")  # keeps what is published before there is anything to draw on
    session = Session(
        policy,
        preferences,
        publish=lambda key, value: renderer.put(key, value, soon=key.split()[0] in _SOON),
        **options,
    )
    pressed = Pressed(session, shown=lambda: renderer.shown())
    try:
        screen = Screen(session, pressed.handlers, weights=session.shelf.last_weights())
    except BaseException:
        session.close()
        raise
    pressed.wire(screen)
    session.publish("front", session.shelf.board)
    renderer.begin(screen.draw, failed=screen.failed)
    return Assembly(session, pressed, screen, renderer)


def end(parts: Assembly, *, widgets: bool) -> None:
    """Stop the work, draw what is left, end both threads and let go of policies; with `widgets`, take them off the page."""
    parts.session.close()
    parts.renderer.close()
    if widgets:
        parts.screen.close()
