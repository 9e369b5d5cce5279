"""What configurations are made of: frozen values whose every field is documented, checked and written as JSON.

The line that documents a field is also its help in the shell. Imports: the standard library and `errors`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, ClassVar, TypeVar

from paretokit.errors import ConfigError, suggestion

__all__ = ["Checked", "numbers_by_name", "option", "optional", "real", "same_as", "whole"]

Check = Callable[[Any], bool]
Config = TypeVar("Config", bound="Checked")


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """The common ancestor of configurations; raises `ConfigError`, naming the field, for a value out of range."""

    where: ClassVar[str] = "the configuration"  # where a field is changed, for the messages

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is None and getattr(self, item.metadata.get("or_else", ""), None) is not None:
                continue  # the other field says it
            if not item.metadata["check"](value):
                raise ConfigError(
                    f"{item.name}: found {value!r}, expected {item.metadata['expected']}. Change {item.name} in {self.where}."
                )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    def identity(self) -> dict[str, Any]:
        """Return the fields as JSON values, without those that came later and stand at their default: what names are made of.

        So a run keeps the name that it had before there were such fields.
        """
        later = {item.name: item.default for item in fields(self) if item.metadata.get("later")}
        return {name: value for name, value in self.to_json().items() if name not in later or value != later[name]}

    @classmethod
    def from_json(cls: type[Config], data: Mapping[str, Any]) -> Config:
        """Return the config that `to_json` wrote; fields that are absent keep their default, unknown ones are an error."""
        names = [item.name for item in fields(cls)]
        for name in data:
            if name not in names:
                raise ConfigError(
                    f"{cls.__name__}: found the unknown field {name!r}, expected some of {', '.join(names)}."
                    f"{suggestion(name, names)} Remove it, or correct its name."
                )
        return cls(**data)

    def replace(self: Config, **changes: Any) -> Config:
        """Return a copy with some fields changed; checked like a new one."""
        return replace(self, **changes)


def option(default: Any, description: str, *, check: Check, expected: str, or_else: str = "", later: bool = False) -> Any:
    """Return a field with its default, its help, what it may be, and that in words.

    The field may be None where the one that `or_else` names is given in its place. `later`: it came after configurations had
    been written to files, and says nothing at its default (see `Checked.identity`).
    """
    metadata = {"help": description, "check": check, "expected": expected, "or_else": or_else, "later": later}
    return field(default=default, metadata=metadata)


def same_as(config: type[Checked], name: str, **changes: Any) -> Any:
    """Return a field like that of another configuration, with another `default` or `help`."""
    [item] = [item for item in fields(config) if item.name == name]
    default = changes.pop("default", item.default)
    return field(default=default, metadata={**item.metadata, **changes})


def whole(low: int) -> Check:
    """Return the check for a whole number from `low` on.

    >>> whole(1)(2), whole(1)(True), whole(1)(0)
    (True, False, False)
    """
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= low


def real(low: float, high: float, *, low_open: bool = False) -> Check:
    """Return the check for a finite number from `low` on (or above it) and below `high`.

    >>> real(0, 1)(0), real(0, 1)(1), real(0, 1, low_open=True)(0)
    (True, False, False)
    """

    def check(value: Any) -> bool:
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        return number and (low < value if low_open else low <= value) and value < high

    return check


def optional(check: Check) -> Check:
    """Return the check for None, or what `check` allows.

    >>> optional(whole(1))(None), optional(whole(1))(0)
    (True, False)
    """
    return lambda value: value is None or check(value)


def numbers_by_name(value: Any) -> bool:
    """Return whether a value is a dict from names to numbers > 0.

    >>> numbers_by_name({"kind": 0.5}), numbers_by_name({"kind": 0})
    (True, False)
    """
    positive = real(0, math.inf, low_open=True)
    return isinstance(value, dict) and all(isinstance(name, str) and positive(number) for name, number in value.items())
