r"""Verifiers of mathematical answers: the final answer of a text, compared as a whole object with the right one.

Nothing is compared by its first number: 3\sqrt{2} is not 3\sqrt{13}. Comparing is exact for rational numbers, and its work is
bounded without a clock, so it is the same in every thread and on every machine.
Imports: `answer_text`, `answer_nodes`, `answer_syntax`, `answer_values`, `score` (for `prompt_text`), `errors`.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from paretokit.errors import ConfigError, DataError, suggestion
from paretokit.experiments.answer_nodes import Node, Unreadable
from paretokit.experiments.answer_syntax import read_answer
from paretokit.experiments.answer_text import ENDINGS, final_answer, plain
from paretokit.experiments.score import prompt_text
from paretokit.prompts import Prompt, describe

__all__ = ["MathVerifier", "final_answer", "same_answer"]

_LONGEST = 400  # characters of an answer that is read


def same_answer(answer: str, right: str) -> bool:
    r"""Return whether two answers, written in LaTeX or plainly, are the same mathematical object.

    - Numbers are equal by value, exactly: 0.5 and 1/2, 1,234 and 1234, 3\frac{1}{2} and 7/2, 50\% and 1/2 (not 50), but not
      0.333 and 1/3. Signs of money and degrees are notation and may be missing; any other unit is part of an answer, as in
      5 cm, 5 kg and 5. It may be written out, in the plural, and with "per" and "square": 5 km/h is 5 kilometers per hour.
      A numeral in a base, as in 12_5, is the same as that numeral in that base alone.
    - Formulas are equal where their values are; so are equations that differ by a factor or their sides, and "x = 5" and 5.
    - Pairs, intervals, vectors, matrices and ratios are compared part by part, with their brackets: (1, 2) is neither [1, 2]
      nor \{1, 2\}. The order of a set and of a union does not count; a list without brackets and a value with \pm are sets.
    - A comma between digits and exactly three more is a thousands separator, but in brackets only where other commas are
      followed by a blank: (1,000, 2) is (1000, 2), while (3,500) is a pair.
    - Words are equal whatever their case.

    What cannot be read, is longer than 400 characters, or has a value beyond all bounds, as a tower of powers has, is equal to
    nothing but the same text.

    >>> same_answer("(3,5)", "(3, 5)"), same_answer("1,234", "1234"), same_answer(r"\frac{1}{2}", "0.5")
    (True, True, True)
    >>> same_answer("3*sqrt(2)", "3*sqrt(13)"), same_answer("2x+3", "2x-7"), same_answer("6-5i", "6+5i")
    (False, False, False)
    >>> same_answer(r"5\text{ cm}", r"5\text{ kg}"), same_answer("12_5", "12_6"), same_answer(r"\{1,2\}", "(1,2)")
    (False, False, False)
    """
    first, second = plain(answer), plain(right)
    if first == second:
        return bool(first)
    if max(len(first), len(second)) > _LONGEST:
        return False
    from paretokit.experiments.answer_values import equal

    ours, theirs = _parsed(first), _parsed(second)
    if ours is None or theirs is None:
        return "".join(first.split()) == "".join(second.split())
    try:
        return equal(ours, theirs)
    except Unreadable:
        return ours == theirs


@lru_cache(maxsize=4096)
def _parsed(answer: str) -> Node | None:
    """An answer as an object; None where it cannot be read."""
    try:
        return read_answer(answer)
    except (Unreadable, RecursionError):
        return None


class MathVerifier:
    r"""A verifier of answers to known problems: `verifier(prompt, text)` is whether the final answer of a text is right.

    `answers` maps each prompt, as one text (a chat prompt as `score.prompt_text` gives it), to its right answer: the answer
    itself, or a whole solution that ends with its answer. `endings` says how texts give their answers (`answer_text.ENDINGS`):
    "boxed" (MATH), "####" (GSM8K), "# Answer" (PRM800K), "The answer is:" (Math-Shepherd); of those that are in a text the
    first one counts. A text without a final answer is wrong. Answers are compared by `same_answer`. Raises `DataError` for a
    prompt without an answer, `ConfigError` for no answers and unknown endings.

    >>> verifier = MathVerifier({"What is 40 + 2?": "40 + 2 = 42.\n#### 42"})
    >>> verifier("What is 40 + 2?", r"It is \boxed{42}."), verifier("What is 40 + 2?", "42, or so")
    (True, False)
    """

    def __init__(self, answers: Mapping[str, str], *, endings: Sequence[str] = ENDINGS) -> None:
        if not answers:
            raise ConfigError(
                "verifier: found no answers, expected a mapping from prompts to right answers. Pass at least one."
            )
        for ending in (endings,) if isinstance(endings, str) else endings:
            if ending not in ENDINGS:
                raise ConfigError(
                    f"verifier: found the ending {describe(ending)}, expected some of {', '.join(ENDINGS)}."
                    f"{suggestion(str(ending), ENDINGS)}"
                )
        self._endings = (endings,) if isinstance(endings, str) else tuple(endings)
        if not self._endings:
            raise ConfigError(f"verifier: found no endings, expected some of {', '.join(ENDINGS)}. Name one.")
        self._answers = {prompt: final_answer(answer) or answer for prompt, answer in answers.items()}

    def __call__(self, prompt: Prompt, text: str) -> bool:
        """Return whether the text ends with the right answer."""
        asked = prompt_text(prompt)
        if asked not in self._answers:
            raise DataError(f"verifier: found no answer for the prompt {describe(asked)}, expected one of each. Add it.")
        given = final_answer(text, endings=self._endings)
        return given is not None and same_answer(given, self._answers[asked])
