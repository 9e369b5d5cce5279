"""`templates`: variables and dates become part of a chat template's text, and only what it reads may be set."""

import datetime
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.templates import DATED, OWN, SHIPPED, byte_tokenizer, conversation, shipped_tokenizer
from transformers.utils import chat_template_utils

from paretokit.errors import ConfigError, ModelError
from paretokit.templates import ChatFormat, as_format, chat_format, own_template, variables
from paretokit.texts import encode_prompt
from paretokit.turns import exported

MESSAGES = conversation("Hello", "Hi!", "Name a tree.", system="Be brief.")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def clock(monkeypatch, day):
    """Set the clock of transformers."""

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(*map(int, day.split("-")))

    monkeypatch.setattr(chat_template_utils, "datetime", Clock)


def text(chat, messages=MESSAGES, **options):
    return chat.tokenizer.apply_chat_template(messages, tokenize=False, chat_template=chat.template, **options)


# --- variables ---------------------------------------------------------------------------------------------------


def test_which_variables_a_template_reads():
    assert variables(OWN["switch"]) == {"enable_thinking"}
    assert variables("{{ messages }}{{ bos_token }}{{ namespace() }}{{ strftime_now('%d') }}{{ tools }}") == {"bos_token"}
    assert as_format(byte_tokenizer("{{ bos_token }}{{ x }}{% generation %}{{ y }}{% endgeneration %}")).known == {"x", "y"}
    assert "reasoning_effort" in variables(own_template(shipped_tokenizer("gptoss")))


THINKING = [name for name, path in SHIPPED.items() if re.search(r"{%[^%]*enable_thinking", path.read_text("utf-8"))]


@pytest.mark.parametrize("name", THINKING)
def test_thinking_is_off_unless_asked_for(name):
    tokenizer = shipped_tokenizer(name)
    for value, chat in (
        (False, as_format(tokenizer)),
        (False, chat_format(tokenizer, options={"enable_thinking": False})),
        (True, chat_format(tokenizer, options={"enable_thinking": True})),
    ):
        assert chat.variables == {"enable_thinking": value}
        for prompt in (True, False):
            expected = tokenizer.apply_chat_template(
                MESSAGES, tokenize=False, add_generation_prompt=prompt, enable_thinking=value
            )
            assert text(chat, add_generation_prompt=prompt) == expected


@settings(deadline=None)
@given(JSON)
def test_any_json_value_can_be_set(value):
    tokenizer = byte_tokenizer("{{ x | tojson }} {{ x is none }}{% for m in messages %}{{ m.content }}{% endfor %}")
    expected = tokenizer.apply_chat_template(MESSAGES, tokenize=False, x=value)
    assert text(chat_format(tokenizer, options={"x": value})) == expected


@pytest.mark.parametrize("start", ["", "\n", "\n\n", "  ", "\n  {%- if true %}y{% endif %}", "  {% if true %}\ny{% endif %}"])
def test_the_rest_of_the_template_is_left_alone(start):
    for end in ("", "\n", "\n\n"):
        tokenizer = byte_tokenizer(start + "{% for m in messages %}{{ m.content }}\n{% endfor %}{{ x }}" + end)
        expected = tokenizer.apply_chat_template(MESSAGES, tokenize=False, x=1)
        assert text(chat_format(tokenizer, options={"x": 1})) == expected
        tokenizer.chat_template = exported(chat_format(tokenizer, options={"x": 1}))
        assert tokenizer.apply_chat_template(MESSAGES, tokenize=False) == expected


def test_nothing_to_set_leaves_the_text_as_it_is():
    tokenizer = byte_tokenizer(OWN["channel"])
    assert as_format(tokenizer).template == tokenizer.chat_template
    assert as_format(tokenizer).to_json() == {"options": {}, "date": None, "by_clock": False, "thoughts": False}


def test_a_template_set_later_is_followed():
    tokenizer = byte_tokenizer(OWN["channel"])
    chat = chat_format(tokenizer)
    before = encode_prompt(chat, MESSAGES)
    tokenizer.chat_template = OWN["open-end"]
    assert encode_prompt(chat, MESSAGES) != before


def test_the_default_of_several_templates_is_taken():
    tokenizer = byte_tokenizer(OWN["channel"])
    single = encode_prompt(tokenizer, MESSAGES)
    tokenizer.chat_template = {"default": OWN["channel"], "tool_use": "{{ messages }}"}
    assert encode_prompt(tokenizer, MESSAGES) == single
    assert exported(as_format(tokenizer))["tool_use"] == "{{ messages }}"
    tokenizer.chat_template = {"tool_use": "{{ messages }}"}
    with pytest.raises(ModelError, match="found the chat templates tool_use, expected one called default"):
        encode_prompt(tokenizer, MESSAGES)


@pytest.mark.parametrize(
    ("template", "options", "message"),
    [
        (
            OWN["switch"],
            {"enable_thinkin": True},
            "chat_options: found 'enable_thinkin', expected a variable that the chat template reads: enable_thinking. Did you "
            "mean 'enable_thinking'? Correct the name.",
        ),
        (
            OWN["channel"],
            {"x": True},
            "chat_options: found 'x', expected a variable that the chat template reads: none. Leave it out.",
        ),
        (
            OWN["switch"],
            {"messages": []},
            "chat_options: found 'messages', which is set for every rendering. Leave it out.",
        ),
        (
            OWN["switch"] + "{{ eos_token }}",
            {"eos_token": "x"},
            "chat_options: found 'eos_token', which is set for every rendering. Leave it out.",
        ),
        (
            OWN["switch"],
            {"enable_thinking": {1, 2}},
            "chat_options: enable_thinking: found set, expected a JSON value: text, a finite number, true, false, null, or "
            "lists and dicts of them.",
        ),
        (
            OWN["switch"],
            {"enable_thinking": float("nan")},
            "chat_options: enable_thinking: found float, expected a JSON value: text, a finite number, true, false, null, or "
            "lists and dicts of them.",
        ),
        (
            OWN["switch"],
            ["enable_thinking"],
            "chat_options: found ['enable_thinking'], expected variables of the chat template by name, as a dict.",
        ),
        (
            None,
            {"x": 1},
            "chat_options: found some for a tokenizer without a chat template, expected none. Leave them out.",
        ),
    ],
)
def test_options_that_do_not_fit(template, options, message):
    tokenizer = byte_tokenizer(template or "")
    tokenizer.chat_template = template
    with pytest.raises(ConfigError) as error:
        chat_format(tokenizer, options=options)
    assert str(error.value) == message


# --- dates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n, path in SHIPPED.items() if "strftime_now" in path.read_text("utf-8")])
def test_the_date_of_public_templates_is_pinned(name, monkeypatch):
    tokenizer = shipped_tokenizer(name)
    chat = chat_format(tokenizer, date="2026-03-05")
    free = as_format(tokenizer)
    assert chat.prints_date
    messages = conversation("Hello")
    clock(monkeypatch, "2026-03-05")
    expected, prompt = text(free, messages), encode_prompt(free, messages)
    clock(monkeypatch, "2027-01-01")
    assert text(free, messages) != expected  # the clock is heard
    assert text(chat, messages) == expected
    assert encode_prompt(chat, messages) == prompt


@pytest.mark.parametrize("form", ["%d %b %Y", "%Y-%m-%d", "%A, %-d. %B %y", "%%d %d%%", "%j %U %H:%M:%S %p %F %D", "%c", "%q"])
@pytest.mark.parametrize("day", ["2024-02-29", "2026-11-05"])
def test_every_format_is_that_of_the_clock(form, day, monkeypatch):
    tokenizer = byte_tokenizer(f"{{{{ strftime_now({form!r}) }}}}" + OWN["channel"])
    clock(monkeypatch, day)
    assert text(chat_format(tokenizer, date=day)) == text(as_format(tokenizer))


def test_a_template_may_ask_whether_there_is_a_clock():
    tokenizer = byte_tokenizer("{% if strftime_now is defined %}{{ strftime_now(form) }}{% endif %}" + OWN["channel"])
    chat = chat_format(tokenizer, options={"form": "%B"}, date="2026-11-30")
    assert text(chat).startswith("November<|start|>")


@pytest.mark.parametrize(
    ("template", "date", "message"),
    [
        (DATED, "30 Nov 2026", "date: found '30 Nov 2026', expected a day as year-month-day, such as '2026-11-30'."),
        (DATED, "2026-02-30", "date: found '2026-02-30', expected a day as year-month-day, such as '2026-11-30'."),
        (OWN["channel"], "2026-11-30", "date: found '2026-11-30' for a chat template that prints no date. Leave it out."),
    ],
)
def test_dates_that_do_not_fit(template, date, message):
    with pytest.raises(ConfigError) as error:
        chat_format(byte_tokenizer(template), date=date)
    assert str(error.value) == message


# --- kept and exported -------------------------------------------------------------------------------------------


def test_a_format_comes_back_from_json():
    tokenizer = byte_tokenizer(DATED + "{{ x }}")
    chat = chat_format(tokenizer, options={"x": [1, {"a": None}]}, date="2026-03-05", ends=[7])
    back = as_format(tokenizer).restored(chat.to_json())
    assert (back.template, back.by_clock, back.date) == (chat.template, False, "2026-03-05")
    assert ChatFormat(tokenizer, ends=frozenset([7])).restored(None).ends == {7}
    assert chat.on("2026-04-01").date == "2026-04-01"
    changed = chat.changed(options={"x": 2}, date=None, thoughts=None)
    assert (changed.variables, changed.date, changed.ends) == ({"x": 2}, "2026-03-05", {7})


@pytest.mark.parametrize("name", [*OWN, "qwen3", "gptoss", "muse_glimmer", "glm4moe", "llama3_2", "qwen3_8"])
def test_an_exported_template_gives_the_prompts_that_are_trained_on(name):
    tokenizer = byte_tokenizer(OWN[name] if name in OWN else SHIPPED[name].read_text("utf-8"))
    chat = chat_format(tokenizer, date="2026-03-05" if as_format(tokenizer).prints_date else None)
    messages = conversation("Hello", "Hi!", "Name a tree.")
    expected = list(encode_prompt(chat, messages))
    tokenizer.chat_template = exported(chat)
    given = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in messages] if name == "parts" else messages
    assert tokenizer.apply_chat_template(given, add_generation_prompt=True, return_dict=False) == expected
    assert list(encode_prompt(tokenizer, messages)) == expected  # and loaded again it stays so
