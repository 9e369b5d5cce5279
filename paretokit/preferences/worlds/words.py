"""Words that several worlds share: people, things, places, days and cheers, and how such words are written and read.

Imports: `rules` and the standard library.
"""

from types import MappingProxyType

from paretokit.preferences.worlds.rules import sentence

NAMES = (
    "Anna",
    "Ben",
    "Carl",
    "Dora",
    "Emma",
    "Finn",
    "Gina",
    "Hugo",
    "Ines",
    "Jack",
    "Lena",
    "Mia",
    "Nora",
    "Paul",
    "Rosa",
    "Tom",
)
THINGS = ("car", "ring", "bike", "boat", "phone", "lamp", "book", "coat", "clock", "piano", "tent", "map")
"""All take the article "a" and get an "s" where they are several."""
PLACES = ("Rome", "Paris", "Oslo", "Lima", "Cairo", "Delhi", "Kyoto", "Bonn")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
CHEERS = ("Well done so far.", "You can do it.", "Take your time.")

Words = tuple[str, ...]

_PROPER = MappingProxyType({word.lower(): word for word in ("I", *NAMES, *PLACES, *DAYS)})


def written(words: Words) -> str:
    """Return lower-cased words as a written sentence, with the capitals of English.

    >>> written(("it", "seems", "that", "tom", "went", "to", "oslo"))
    'It seems that Tom went to Oslo.'
    """
    return sentence(" ".join(_PROPER.get(word, word) for word in words))


def any_of(words: Words) -> str:
    """Return a regular expression for one of the words.

    >>> any_of(("Rome", "Oslo"))
    '(?:Rome|Oslo)'
    """
    return f"(?:{'|'.join(words)})"
