r"""Verifiers of mathematical answers: the final answer of a text, compared as a whole object with the right one.

Parsing and comparing is `math-verify`'s, over sympy. Nothing is compared by its first number: 3\sqrt{2} is not 3\sqrt{13}.
Imports: `score` (for `prompt_text`), `errors`; math_verify on use.
"""

import re
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from time import monotonic
from typing import Any

from paretokit.errors import ConfigError, DataError
from paretokit.experiments.score import prompt_text
from paretokit.prompts import Prompt, describe

__all__ = ["MathVerifier", "final_answer", "same_answer"]

_LONGEST = 400  # characters of an answer that is parsed
_SECONDS = 5  # for parsing, and for comparing, where a limit can be kept
_BOXED = re.compile(r"\\boxed\s*\{")
_AFTER_MARK = re.compile(r"^.*####[ \t]*(\S[^\n]*?)[ \t.]*$", re.MULTILINE)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_DELIMITERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))


def final_answer(text: str) -> str | None:
    r"""Return the final answer of a text, None where it gives none: its last complete `\boxed{...}`, else its last `#### ...`.

    An opening `\boxed{` without its end is no answer.

    >>> final_answer(r"So \boxed{\frac{1}{2}}."), final_answer("She has 40 + 2 = 42 maps.\n#### 42"), final_answer(r"\boxed{4")
    ('\\frac{1}{2}', '42', None)
    """
    boxed = [inside for start in _BOXED.finditer(text) if (inside := _braced(text, start.end())) is not None]
    if boxed:
        return boxed[-1].strip()
    marked = _AFTER_MARK.findall(text)
    return marked[-1] if marked else None


def _braced(text: str, start: int) -> str | None:
    """What stands between a brace that was opened before `start` and the one that closes it; None where none does."""
    depth = 1
    for index in range(start, len(text)):
        escaped = index > 0 and text[index - 1] == "\\"
        depth += 0 if escaped else (text[index] == "{") - (text[index] == "}")
        if depth == 0:
            return text[start:index]
    return None


def same_answer(answer: str, right: str) -> bool:
    r"""Return whether two answers, written in LaTeX or plainly, are the same mathematical object.

    Numbers are equal by value (0.5 and 1/2, 1,234 and 1234), expressions where their difference vanishes, pairs and sets part
    by part; a list without brackets is a set. A comma between digits and exactly three more is a thousands separator, but in
    brackets only where other commas are followed by a blank: (1,000, 2) is (1000, 2), while (3,500) is a pair. Units are part
    of an answer. What cannot be read, is longer than 400 characters, or takes longer than five seconds, is equal to nothing but
    the same text. Time is limited in the main thread alone: elsewhere a tower of powers may take forever.

    >>> same_answer("(3,5)", "(3, 5)"), same_answer("1,234", "1234"), same_answer(r"\frac{1}{2}", "0.5")
    (True, True, True)
    >>> same_answer("3*sqrt(2)", "3*sqrt(13)"), same_answer("2x+3", "2x-7"), same_answer("6-5i", "6+5i")
    (False, False, False)
    """
    first, second = _plain(answer), _plain(right)
    if first == second:
        return bool(first)
    if max(len(first), len(second)) > _LONGEST:
        return False
    from math_verify import verify

    ours, theirs = _parsed(second), _parsed(first)
    if not ours or not theirs:
        return False
    with _alarm_kept():
        return bool(verify(list(ours), list(theirs), timeout_seconds=_limit()))


class MathVerifier:
    r"""A verifier of answers to known problems: `verifier(prompt, text)` is whether the final answer of a text is right.

    `answers` maps each prompt, as one text (a chat prompt as `score.prompt_text` gives it), to its right answer: the answer
    itself, or a whole solution that ends with `\boxed{...}` or `#### ...`, as in MATH and GSM8K. A text without a final answer
    is wrong. Raises `DataError` for a prompt without an answer, `ConfigError` for no answers.

    >>> verifier = MathVerifier({"What is 40 + 2?": "40 + 2 = 42.\n#### 42"})
    >>> verifier("What is 40 + 2?", r"It is \boxed{42}."), verifier("What is 40 + 2?", "42, or so")
    (True, False)
    """

    def __init__(self, answers: Mapping[str, str]) -> None:
        if not answers:
            raise ConfigError(
                "verifier: found no answers, expected a mapping from prompts to right answers. Pass at least one."
            )
        self._answers = {prompt: final_answer(answer) or answer for prompt, answer in answers.items()}

    def __call__(self, prompt: Prompt, text: str) -> bool:
        """Return whether the text ends with the right answer."""
        asked = prompt_text(prompt)
        if asked not in self._answers:
            raise DataError(f"verifier: found no answer for the prompt {describe(asked)}, expected one of each. Add it.")
        given = final_answer(text)
        return given is not None and same_answer(given, self._answers[asked])


def _plain(answer: str) -> str:
    """An answer without mathematical delimiters and thousands separators."""
    text = answer.strip()
    for opening, closing in _DELIMITERS:
        if text.startswith(opening) and text.endswith(closing) and len(text) >= len(opening) + len(closing):
            text = text[len(opening) : len(text) - len(closing)].strip()
            break
    text = text.lstrip("$").strip()  # of money
    bracketed = text[:1] in ("(", "[", "{") or text.startswith("\\{")
    if not bracketed or re.search(r",\s", text):
        text = _THOUSANDS.sub("", text)
    return text


@lru_cache(maxsize=4096)
def _parsed(answer: str) -> tuple[Any, ...]:
    """An answer as sympy objects; none where it cannot be read."""
    from math_verify import LatexExtractionConfig, parse

    with _alarm_kept():
        return tuple(
            parse(
                f"${answer}$",
                [LatexExtractionConfig()],
                fallback_mode="no_fallback",
                parsing_timeout=_limit(),  # type: ignore[arg-type] # None, no limit, is allowed but not annotated
            )
        )


def _limit() -> int | None:
    """Seconds; math-verify keeps a limit by a signal, which only the main thread can receive."""
    return _SECONDS if threading.current_thread() is threading.main_thread() else None


@contextmanager
def _alarm_kept() -> Iterator[None]:
    """Give an alarm that was set before its time back: math-verify uses the same one, and switches it off."""
    if _limit() is None or not hasattr(signal, "setitimer"):
        yield
        return
    began, (left, interval) = monotonic(), signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, left - (monotonic() - began)), interval)
