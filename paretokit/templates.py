"""Chat templates: which variables one reads, what they are set to, and which date it prints; all of it in one `ChatFormat`.

Options and date become part of the template's own text (`ChatFormat.template`), so that training, decoding and an exported
folder render one and the same text. How a template frames an answer is in `turns`, tokens are in `texts`.
Imports: the standard library, jinja2, `errors`.
"""

import datetime
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import jinja2
import jinja2.ext
import jinja2.meta
import jinja2.nodes

from paretokit.errors import ConfigError, ModelError, suggestion

__all__ = ["ChatFormat", "as_format", "chat_format", "own_template", "today", "variables", "with_lead_in"]

_CLOCK = "strftime_now"
# what transformers passes to every template, or defines in every one
_TAKEN = ("add_generation_prompt", "continue_final_message", "documents", "messages", "tools", _CLOCK)
_DIRECTIVE = re.compile("%[-_0^#]?[A-Za-z]")
_THINKING = "enable_thinking"  # off by default, where the template knows the name


def today() -> str:
    """Return today's date, as in "2026-11-30"."""
    return datetime.date.today().isoformat()


@dataclass(frozen=True, eq=False)
class ChatFormat:
    """What decides how chat messages become text: a tokenizer's template, its variables and its date; and what ends a response.

    It belongs to a policy (`policy.chat`), is stored with it, and stands wherever `paretokit.texts` takes a tokenizer. Made by
    `chat_format`, which checks it.
    """

    tokenizer: Any
    options: Mapping[str, Any] = field(default_factory=dict)  # template variables that were asked for, JSON values
    date: str | None = None  # what the template prints as today, "2026-11-30"; None: the clock's date at each call
    by_clock: bool = False  # nobody asked for the date: it is that of the day on which the model was loaded
    thoughts: bool = False  # thoughts are part of an answer: what follows the generation prompt is scored, lead-in included
    ends: frozenset[int] = frozenset()  # ids that end a generation, beside EOS and the end of turn

    @property
    def variables(self) -> dict[str, Any]:
        """The template variables that are set: `options`, and `enable_thinking` where the template knows it: False, but True
        where `thoughts` are part of an answer. An exported template has that in its text already.
        """
        own = own_template(self.tokenizer)
        known = own is not None and _THINKING in self.known and _setting(_THINKING) not in own
        return {**({_THINKING: self.thoughts} if known else {}), **self.options}

    @property
    def known(self) -> frozenset[str]:
        """The names of the template variables that may be set."""
        own = own_template(self.tokenizer)
        return frozenset() if own is None else variables(own) - set(self.tokenizer.special_tokens_map)

    @property
    def prints_date(self) -> bool:
        """Whether the template asks for today's date."""
        own = own_template(self.tokenizer)
        return own is not None and _CLOCK in _undeclared(own)

    @property
    def template(self) -> str | None:
        """The chat template with variables and date set in its text; the tokenizer's own where nothing is set, None without."""
        own = own_template(self.tokenizer)
        return None if own is None else _pinned(own, json.dumps(self.variables), self.date if self.prints_date else None)

    def to_json(self) -> dict[str, Any]:
        """Return what `restored` needs, as JSON values; the date only where it is printed."""
        date = self.date if self.prints_date else None
        clock = self.by_clock and date is not None
        return {"options": self.variables, "date": date, "by_clock": clock, "thoughts": self.thoughts}

    def restored(self, data: Mapping[str, Any] | None) -> "ChatFormat":
        """Return the format with the options and the date that `to_json` wrote; as it is for None.

        Raises `ConfigError` for options that do not fit the template, `KeyError` for data of another form.
        """
        if data is None:
            return self
        made = chat_format(
            self.tokenizer, options=data["options"], date=data["date"], thoughts=bool(data["thoughts"]), ends=self.ends
        )
        return replace(made, by_clock=bool(data["by_clock"]), date=data["date"] or self.date)

    def changed(self, *, options: Mapping[str, Any] | None, date: str | None, thoughts: bool | None) -> "ChatFormat":
        """Return the format with what is given set anew, checked as `chat_format` does; None leaves it as it is."""
        made = self
        if options is not None:
            made = replace(made, options=chat_format(self.tokenizer, options=options).options)
        if date is not None:
            made = replace(made, date=chat_format(self.tokenizer, date=date).date, by_clock=False)
        return made if thoughts is None else replace(made, thoughts=thoughts)

    def on(self, date: str) -> "ChatFormat":
        """Return the format with another date, as it was or would have been loaded on that day."""
        return replace(self, date=_checked_date(date))


def chat_format(
    tokenizer: Any,
    *,
    options: Any = None,
    date: str | None = None,
    thoughts: bool = False,
    ends: Iterable[int] = (),
) -> ChatFormat:
    """Return the format of a tokenizer's chats, checked.

    `options` are variables of its chat template with JSON values; a template that knows `enable_thinking` has it off unless
    it stands there. `date` is printed as today's, "2026-11-30". `thoughts` makes thoughts part
    of an answer. `ends` are further ids that end a generation. Raises
    `ConfigError` for a variable that the template does not read or that is set otherwise, a value that is no JSON, and a date
    that is none or is not printed.

    >>> from paretokit.models.tiny import byte_tokenizer
    >>> chat_format(byte_tokenizer(), options={"enable_thinking": True})
    Traceback (most recent call last):
    paretokit.errors.ConfigError: chat_options: found 'enable_thinking', expected a variable that the chat template reads: \
none. Leave it out.
    """
    given = {} if options is None else options
    _check_options(given, tokenizer)
    day = None if date is None else _checked_date(date)
    made = ChatFormat(tokenizer, _json_copy(given), day, thoughts=thoughts, ends=frozenset(ends))
    if date is not None and not made.prints_date:
        raise ConfigError(f"date: found {date!r} for a chat template that prints no date. Leave it out.")
    return made


def as_format(tokenizer: Any) -> ChatFormat:
    """Return a format as it is, and that of a plain tokenizer, with nothing set by hand."""
    return tokenizer if isinstance(tokenizer, ChatFormat) else _plain_format(tokenizer)


@lru_cache(maxsize=16)
def _plain_format(tokenizer: Any) -> ChatFormat:
    return ChatFormat(tokenizer)


def own_template(tokenizer: Any) -> str | None:
    """Return the text of a tokenizer's chat template, the default one of several; `ModelError` where there is no default."""
    found = tokenizer.chat_template
    if found is None or isinstance(found, str):
        return found
    if "default" not in found:
        raise ModelError(
            f"tokenizer: found the chat templates {', '.join(found)}, expected one called default. Set tokenizer.chat_template."
        )
    return found["default"]


def variables(template: str) -> frozenset[str]:
    """Return the names that a template reads and that may be set: not those that transformers sets itself.

    >>> sorted(variables("{% if thinking is defined %}{{ messages[0].content }}{% endif %}"))
    ['thinking']
    """
    return _undeclared(template) - set(_TAKEN) - set(_environment().globals) - {"raise_exception"}


def with_lead_in(chat: ChatFormat, lead_in: str) -> Any:
    """Return the chat template (or several by name) with options and date in its text, and `lead_in` behind its prompts."""
    text = chat.template
    if text is None:
        return None
    if lead_in:
        shown = "{% if add_generation_prompt %}{{ " + _literal(lead_in) + " }}{% endif %}"
        text = text.removesuffix("\n") + shown  # jinja would leave that newline out
    found = chat.tokenizer.chat_template
    return text if isinstance(found, str) else {**found, "default": text}


@lru_cache(maxsize=64)
def _pinned(template: str, options: str, date: str | None) -> str:
    """The template behind a line that sets what is not set and answers what the date is."""
    lines = [_setting(name) + _literal(value) + " %}{% endif %}" for name, value in json.loads(options).items()]
    if date is not None:
        lines.append(_clock(date, formats=template + options))
    return "".join(lines) + "\n" + template if lines else template  # trim_blocks takes out the newline behind a block


def _setting(name: str) -> str:
    return "{% if " + name + " is not defined %}{% set " + name + " = "


def _clock(date: str, *, formats: str) -> str:
    """A macro that stands in for the clock: each directive of strftime is replaced by what it gives at the start of the day.

    Directives are those that stand anywhere in `formats`.
    """
    moment = datetime.datetime.combine(datetime.date.fromisoformat(date), datetime.time())
    filters = ""
    for directive in sorted(set(_DIRECTIVE.findall(formats))):
        found = moment.strftime(directive)
        if "%" not in found:  # else this platform does not know it
            filters += f" | replace({_literal(directive)}, {_literal(found)})"
    inner = f'replace("%%", "\\u0000"){filters} | replace("\\u0000", "%")'
    return "{% macro " + _CLOCK + "(format) %}{{ format | " + inner + " }}{% endmacro %}"


def _literal(value: Any) -> str:
    """A JSON value as jinja writes it."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


@lru_cache(maxsize=64)
def _undeclared(template: str) -> frozenset[str]:
    """The names that a template reads; none of one that jinja refuses, which is an error where it is rendered."""
    try:
        return frozenset(jinja2.meta.find_undeclared_variables(_environment().parse(template)))
    except jinja2.TemplateError:
        return frozenset()


class _Generation(jinja2.ext.Extension):
    """`{% generation %} ... {% endgeneration %}`, with which templates mark what an assistant writes."""

    tags = {"generation"}  # noqa: RUF012 (jinja2's own form)

    def parse(self, parser: Any) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    return jinja2.Environment(extensions=[_Generation, jinja2.ext.loopcontrols])


def _check_options(options: Any, tokenizer: Any) -> None:
    if not isinstance(options, Mapping):
        raise ConfigError(f"chat_options: found {options!r}, expected variables of the chat template by name, as a dict.")
    if not options:
        return
    own = own_template(tokenizer)
    if own is None:
        raise ConfigError("chat_options: found some for a tokenizer without a chat template, expected none. Leave them out.")
    known = ChatFormat(tokenizer).known
    for name, value in options.items():
        if name in _TAKEN or name in tokenizer.special_tokens_map:
            raise ConfigError(f"chat_options: found {name!r}, which is set for every rendering. Leave it out.")
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise ConfigError(
                f"chat_options: found {name!r}, expected a variable that the chat template reads: {names}."
                f"{suggestion(str(name), known)} {'Correct the name' if known else 'Leave it out'}."
            )
        if not _is_json(value):
            raise ConfigError(
                f"chat_options: {name}: found {type(value).__name__}, expected a JSON value: text, a finite number, true, "
                "false, null, or lists and dicts of them."
            )


def _is_json(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_json, value))
    return value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value))


def _json_copy(options: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(dict(options)))


def _checked_date(date: Any) -> str:
    try:
        return datetime.date.fromisoformat(date).isoformat()
    except (TypeError, ValueError):
        raise ConfigError(f"date: found {date!r}, expected a day as year-month-day, such as '2026-11-30'.") from None
