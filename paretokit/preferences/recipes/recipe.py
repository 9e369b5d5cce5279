"""What a recipe is: a public data set's columns, the meaning of its labels, its licence, and the function that reads it.

Imports: the standard library, `errors`, `prompts`, and `files`, `forms` of this floor.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from paretokit.errors import ConfigError, suggestion
from paretokit.preferences.files import Faults, Record
from paretokit.preferences.forms import Pair
from paretokit.prompts import describe

__all__ = ["Asked", "Notes", "Option", "Recipe", "each"]


class Option(NamedTuple):
    """A choice that a recipe leaves to the user: its default, what it does, and the values that it may take."""

    default: Any
    about: str
    choices: tuple[Any, ...] = (False, True)  # empty: a whole number of at least `least`
    least: int = 1

    def checked(self, value: Any, *, place: str) -> Any:
        """Return the value, or raise `ConfigError` naming `place`."""
        if self.choices:
            if any(value is known or (isinstance(value, str) and value == known) for known in self.choices):
                return value
            expected = " or ".join(map(describe, self.choices))
        else:
            if isinstance(value, int) and not isinstance(value, bool) and value >= self.least:
                return value
            expected = f"a whole number of at least {self.least}"
        raise ConfigError(f"{place}: found {describe(value)}, expected {expected} ({self.about}).")


class Notes:
    """What a recipe says about its reading: what it left out by its own rule, and remarks."""

    def __init__(self) -> None:
        self.left_out: list[str] = []
        self._reasons: Counter[str] = Counter()
        self._remarks: dict[str, None] = {}

    def leave_out(self, place: str, reason: str) -> None:
        """Count a record or pair that the rule of the recipe leaves out; `reason` reads on from "12 left out: "."""
        self.left_out.append(f"{place}: left out by the recipe, {reason}.")
        self._reasons[reason] += 1

    def say(self, remark: str) -> None:
        """Keep a remark; one that was made before is not repeated."""
        self._remarks[remark] = None

    def lines(self) -> tuple[str, ...]:
        """Return the remarks, then one line for each reason with its count.

        >>> notes = Notes()
        >>> notes.leave_out("x.jsonl, line 3", "the answer is empty")
        >>> notes.lines()
        ('1 left out: the answer is empty',)
        """
        return (*self._remarks, *(f"{count} left out: {reason}" for reason, count in self._reasons.items()))


class Asked(NamedTuple):
    """What the caller of a reading asked for, as a recipe's `read` gets it."""

    source: str  # the name of what is read: a path, "list", ...
    objectives: tuple[str, ...] | None  # those asked for by name; None: the recipe's own choice
    options: Mapping[str, Any]  # every option of the recipe, defaults filled in
    margin: float  # scores that differ by no more are a tie
    faults: Faults  # `with asked.faults.tolerated():` around each record
    notes: Notes

    def wanted(self, default: Sequence[str]) -> tuple[str, ...]:
        """Return the objectives asked for, else the recipe's own choice."""
        return tuple(default) if self.objectives is None else self.objectives


Read = Callable[[Sequence[Record], Asked], Any]


class Recipe(NamedTuple):
    """How one public data set is read.

    `forms` are the released variants, each as the columns that it must have: a file needs all columns of one form.
    `read(records, asked)` returns the pairs for `kind="pairs"`, and for `kind="steps"` what `read_step_labels` expects of
    it. `knows` recognises a record where columns alone do not tell; None: any form's columns do.

    >>> from paretokit.preferences.recipes.registry import recipes
    >>> recipes()["pku-saferlhf"].objectives
    ('helpfulness', 'harmlessness')
    """

    name: str
    kind: str  # "pairs" or "steps"
    title: str
    source: str  # a hub id, or where the files lie
    objectives: tuple[str, ...]  # read by default, in this order
    forms: tuple[tuple[str, ...], ...]
    rule: str  # the meaning of the labels, in words
    licence: str
    citation: str
    read: Read
    more: tuple[str, ...] = ()  # objectives that are read when they are asked for by name
    open: bool = False  # the caller may name an objective as he likes: a file of the data set is about one
    options: Mapping[str, Option] = {}
    margin: bool = False  # labels are differences of scores, so that margin= applies
    noncommercial: bool = False
    traps: tuple[str, ...] = ()
    knows: Callable[[Mapping[str, Any]], bool] | None = None
    hint: str = ""  # what to say where the columns are others

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the recipe needs, over all its forms, each once."""
        return tuple(dict.fromkeys(name for form in self.forms for name in form))

    def __str__(self) -> str:
        """Return all of it as lines for people."""
        options = [f"{name} (default {option.default}): {option.about}" for name, option in self.options.items()]
        lines = {
            "source": (self.source,),
            "objectives": (", ".join((*self.objectives, *(f"{name} (by name)" for name in self.more))),),
            "columns": tuple(", ".join(form) for form in self.forms),
            "labels": (self.rule,),
            "options": (*options, *(["margin: scores that differ by no more are a tie"] if self.margin else [])),
            "licence": (self.licence,),
            "citation": (self.citation,),
            "mind": self.traps,
        }
        told = (f"  {name}: {line}" for name, found in lines.items() for line in found)
        return "\n".join([f"{self.name}: {self.title}", *told])

    def recognises(self, fields: Mapping[str, Any]) -> bool:
        """Return whether a record has the form of this data set."""
        fits = any(set(form) <= set(fields) for form in self.forms)
        return fits and (self.knows is None or self.knows(fields))

    def with_defaults(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options with their values; `ConfigError` for an option that the recipe does not have."""
        for name in given:
            if name not in self.options:
                known = ", ".join(self.options) or "none"
                raise ConfigError(
                    f"recipe_options: found {name!r}, expected some of the options of {self.name!r}: {known}."
                    f"{suggestion(name, self.options)}"
                )
        return {
            name: option.checked(given[name], place=f"recipe_options, {name!r}") if name in given else option.default
            for name, option in self.options.items()
        }


def each(function: Callable[[Record, Asked], Iterable[Pair]]) -> Read:
    """Return the `read` of a recipe whose records are read one by one, each giving some pairs."""

    def read(records: Sequence[Record], asked: Asked) -> list[Pair]:
        pairs = []
        for row in records:
            with asked.faults.tolerated():
                pairs += function(row, asked)
        return pairs

    return read
