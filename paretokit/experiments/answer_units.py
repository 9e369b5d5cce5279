"""Units in answers: symbols of their own, the same for a name and its short form; money and degrees are notation.

Imports: the standard library and `answer_nodes`.
"""

import re
from collections.abc import Sequence

from paretokit.experiments.answer_nodes import Node, number, product

__all__ = ["POWERS", "UNITS", "unit", "units"]

UNITS = frozenset(
    re.findall(
        r"\w+",
        "mm cm dm km in ft yd mi mg kg lb lbs oz ml mL cl dl kl ms sec min hr hrs kW kWh MW Hz kHz MHz GHz Pa kPa mph kph rpm "
        "cc amu mol kJ eV",
    )
)
_NOTATION = frozenset({"dollar", "degree"})
_SPELLED = {  # units that are written out, each in the singular
    **{"millimeter": "mm", "centimeter": "cm", "decimeter": "dm", "meter": "m", "kilometer": "km"},
    **{"millimetre": "mm", "centimetre": "cm", "decimetre": "dm", "metre": "m", "kilometre": "km"},
    **{"inch": "in", "inche": "in", "foot": "ft", "feet": "ft", "yard": "yd", "mile": "mi"},
    **{"milligram": "mg", "gram": "g", "kilogram": "kg", "pound": "lb", "ounce": "oz", "lbs": "lb"},
    **{"milliliter": "ml", "millilitre": "ml", "mL": "ml", "liter": "L", "litre": "L"},
    **{"second": "s", "sec": "s", "minute": "min", "hour": "h", "hr": "h", "hrs": "h"},
    **{"celsius": "C", "fahrenheit": "F"},
}
_RATES = {"mph": ("mi", "h"), "kph": ("km", "h"), "kmh": ("km", "h")}
POWERS = {"square": 2, "squared": 2, "sq": 2, "cubic": 3, "cubed": 3}
"""Words that raise the unit behind them, or in front of them where they end in -ed, to a power."""


def units(words: Sequence[str]) -> Node:
    """Return words as a product of symbols: "km per h" is km/h, "square cm" and "cm squared" are cm².

    >>> units(["square", "meters"]) == units(["m²"]), units(["miles", "per", "hour"]) == units(["mph"])
    (True, True)
    """
    factors: list[Node] = []
    below, power = False, 1
    for word in words:
        if word in ("per", "/"):
            below = True
        elif word in POWERS and word.endswith("ed") and factors:
            factors[-1] = _power(factors[-1], POWERS[word])
        elif word in POWERS:
            power = POWERS[word]
        else:
            found = _power(unit(word), power)
            factors.append(_power(found, -1) if below else found)
            below, power = False, 1
    if power != 1 or below:  # a word that no unit follows
        factors.append(Node("symbol", words[-1]))
    return product(factors)


def unit(word: str) -> Node:
    """Return a word as a symbol, the same for a plural and for a unit that is written out; 1 for money and degrees.

    >>> unit("centimeters"), unit("apples") == unit("apple"), unit("dollars").value
    (Node(kind='symbol', value='cm', parts=()), True, Fraction(1, 1))
    """
    name = word.strip(".,")
    if power := {"²": 2, "³": 3}.get(name[-1:]):
        return _power(unit(name[:-1]), power)
    if len(name) >= 3 and name not in UNITS:
        name = name.casefold()
    if name in _RATES:
        above, below = _RATES[name]
        return product([Node("symbol", above), _power(Node("symbol", below), -1)])
    if len(name) > 3 and name not in _SPELLED and name.endswith("s") and not name.endswith("ss"):
        name = name.removesuffix("s")
    return number(1) if name in _NOTATION else Node("symbol", _SPELLED.get(name, name))


def _power(node: Node, power: int) -> Node:
    return node if power == 1 else Node("power", None, (node, number(power)))
