"""Units in answers: symbols of their own, but for money and degrees, which are notation as their signs are.

Imports: the standard library and `answer_nodes`.
"""

import re

from paretokit.experiments.answer_nodes import Node, number

__all__ = ["UNITS", "unit"]

UNITS = frozenset(
    re.findall(
        r"\w+",
        "mm cm dm km in ft yd mi mg kg lb lbs oz ml mL cl dl kl ms sec min hr hrs kW kWh MW Hz kHz MHz GHz Pa kPa mph kph rpm "
        "cc amu mol kJ eV",
    )
)
_MONEY_AND_DEGREES = frozenset({"dollar", "dollars", "degree", "degrees"})


def unit(word: str) -> Node:
    """Return a word as a symbol; money and degrees are notation, as their signs are."""
    name = word.strip(".,")
    if name.casefold() in _MONEY_AND_DEGREES:
        return number(1)
    power = {"²": 2, "³": 3}.get(name[-1:])
    symbol = Node("symbol", name if len(name) < 3 else name.casefold())
    if power is None:
        return symbol
    return Node("power", None, (unit(name[:-1]), number(power)))
