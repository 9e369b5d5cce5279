"""Word problems with a known answer, as GSM8K keeps them: read from a file, asked as a chat, and split by problem.

Imports: `score` (for `prompt_text`), `verifiers`, `preferences`, `prompts`, `errors`.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from paretokit.errors import ConfigError, DataError
from paretokit.experiments.score import prompt_text
from paretokit.experiments.verifiers import MathVerifier, final_answer
from paretokit.preferences.files import Faults, Record, read_records
from paretokit.preferences.splits import held_out_by_prompt
from paretokit.prompts import Message, as_text, describe

__all__ = ["EXAMPLES", "Problem", "read_problems", "split_problems", "verifier_of"]

_SOLVED = (
    (
        "Lena has 3 boxes with 4 pens each. She gives 5 pens to her brother. How many pens does she have left?",
        "Lena has 3 * 4 = 12 pens.\nAfter giving 5 away she has 12 - 5 = 7 pens left.\n#### 7",
    ),
    (
        "A book costs $8 and a pen costs $2. Omar buys 2 books and 5 pens. How much does he pay?",
        "The books cost 2 * 8 = 16 dollars.\nThe pens cost 5 * 2 = 10 dollars.\nHe pays 16 + 10 = 26 dollars.\n#### 26",
    ),
    (
        "Ida reads 20 pages a day. Her book has 180 pages and she has read 60. In how many days is she done?",
        "There are 180 - 60 = 120 pages left.\nShe needs 120 / 20 = 6 days.\n#### 6",
    ),
)
EXAMPLES = tuple(
    Message(role=role, content=text) for pair in _SOLVED for role, text in zip(("user", "assistant"), pair, strict=True)
)
"""Problems of our own with their solutions, which every prompt begins with: they show in which form an answer is read."""


class Problem(NamedTuple):
    """A word problem."""

    number: int  # of its record in the file, counted from 0
    question: str
    answer: str  # the final one, "42"

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The question as it is asked: after the examples.

        >>> Problem(0, "What is 40 + 2?", "42").prompt[-1]["content"]
        'What is 40 + 2?'
        """
        return (*EXAMPLES, Message(role="user", content=self.question))


def read_problems(path: str | os.PathLike[str], *, count: int) -> tuple[Problem, ...]:
    """Return the first `count` problems of a file in the form of GSM8K, JSON lines with `question` and `answer`.

    An `answer` is a solution that ends with `#### 42` or `\\boxed{42}`; other fields are ignored. All lines are checked, also
    those that are not returned. Raises `DataError`, naming file, line and field, for the first one that cannot be used, for a
    question that stands twice and for fewer than `count`; `ConfigError` for a `count` below 2, which could not be split.
    """
    if count < 2:
        raise ConfigError(f"problems: found {count}, expected at least 2, some to train on and some to evaluate on. Raise it.")
    source = Path(path)
    faults = Faults(skip=False, remedy="Correct the record, or remove the line.")
    problems: list[Problem] = []
    places: dict[str, str] = {}
    for row in read_records(source, faults=faults):
        with faults.tolerated():
            problem = _problem(row, number=len(problems))
            first = places.setdefault(problem.question, row.place)
            if first != row.place:
                raise DataError(f"{row.place}, field 'question': found the question of {first} again, expected each once.")
            problems.append(problem)
    if len(problems) < count:
        raise DataError(f"{source}: found {len(problems)} problems, expected at least {count}. Ask for fewer.")
    return tuple(problems[:count])


def _problem(row: Record, *, number: int) -> Problem:
    question, solution = (
        as_text(row.get(name), place=f"{row.place}, field {name!r}").strip() for name in ("question", "answer")
    )
    if not question:
        raise DataError(f"{row.place}, field 'question': found no text, expected a problem.")
    answer = final_answer(solution)
    if answer is None:
        raise DataError(
            f"{row.place}, field 'answer': found {describe(solution)}, expected a solution that ends with a line such as "
            "'#### 42'."
        )
    return Problem(number, question, answer)


def split_problems(problems: Sequence[Problem], *, evaluated: float | int) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Return (training, evaluation), each in the order of the file: `evaluated` problems, or a share of them, only evaluate.

    Which ones they are is drawn, and the same in every call. Raises what `Preferences.split` does.

    >>> four = [Problem(number, f"What is {number} + 1?", str(number + 1)) for number in range(4)]
    >>> training, evaluation = split_problems(four, evaluated=0.5)
    >>> [problem.number for problem in training], [problem.number for problem in evaluation]
    ([2, 3], [0, 1])
    """
    held = held_out_by_prompt(
        [problem.question for problem in problems], test=evaluated, seed=0, source="problems", noun="problems"
    )
    training = tuple(problem for place, problem in enumerate(problems) if place not in held)
    return training, tuple(problem for place, problem in enumerate(problems) if place in held)


def verifier_of(problems: Sequence[Problem]) -> MathVerifier:
    """Return the verifier that knows the answers of these problems.

    >>> problem = Problem(0, "What is 40 + 2?", "42")
    >>> verifier_of([problem])(problem.prompt, "40 + 2 = 42.\\n#### 42")
    True
    """
    return MathVerifier({prompt_text(problem.prompt): problem.answer for problem in problems})
