"""What the doctor says of a model's family and of where its adapter goes: for people and as JSON.

Imports: `models.targets`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paretokit.models.targets import Targets

__all__ = ["adapter_facts", "adapter_rows"]

_SHOWN = 6  # places of one reason


def adapter_rows(found: "Targets") -> list[tuple[str, str]]:
    """Return name and finding of each row to print: the family, the layers with an adapter, and those without and why."""
    family = "not in the list; adapter targets by structure" if found.family is None else found.family.name
    note = "" if found.family is None or not found.family.note else f" ({found.family.note})"
    told = [("family", family + note), ("adapter targets", found.report() or "none: no adapter")]
    if found.names:
        told += [("no adapter on", f"{reason}: {_few(places)}") for reason, places in found.left_out.items()]
    return told


def adapter_facts(found: "Targets") -> dict[str, Any]:
    """Return the same as a value for JSON: the family or null, layers with an adapter by place, and the others by reason."""
    return {
        "family": None if found.family is None else found.family.name,
        "targets": dict(found.kinds),
        "left out": {reason: list(places) for reason, places in found.left_out.items()} if found.names else {},
    }


def _few(places: tuple[str, ...]) -> str:
    more = len(places) - _SHOWN
    return ", ".join(places[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
