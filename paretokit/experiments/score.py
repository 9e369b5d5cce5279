"""From generated texts to a table of scores: one row per generation, one column per scorer, larger is better.

A scorer is a pure function (prompt, text) -> number; NaN means that it does not judge this text. Imports: pandas.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from paretokit.errors import DataError

Scorer = Callable[[Any, str], float]

COLUMNS = ("prompt_index", "copy", "prompt", "text", "tokens", "ended")  # what `score` writes beside the scores
LABELS = ("run", "method", "seed")  # what experiments add when frames of several runs are joined


def prompt_text(prompt: str | Iterable[Mapping[str, str]]) -> str:
    """Return a prompt as one text: itself, or its chat messages, one a line, with roles where there are several.

    >>> prompt_text([{"role": "user", "content": "Why?"}])
    'Why?'
    >>> prompt_text([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}])
    'system: Be brief.\\nuser: Why?'
    """
    if isinstance(prompt, str):
        return prompt
    messages = list(prompt)
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)


def score(generations: Iterable[Any], scorers: Mapping[str, Scorer]) -> pd.DataFrame:
    """Return a DataFrame with one row per generation, in their order, and one float column per scorer, in its order.

    The columns before the scores are `prompt_index`, `copy`, `prompt` (as one text), `text`, `tokens` (a number) and
    `ended` (False: the text stopped at the cap). `generations` are what `paretokit.generate` returns. Scores: larger is
    better; NaN means not judged. Texts of `paretokit.guided_generate` that are scored by the very reward model that guided
    them are worth a warning: a guide is best at pleasing itself. Raises `DataError` where there is nothing to score, where a
    scorer takes the name of another column, and where it returns something that is not a number, or is infinite.

    >>> from types import SimpleNamespace
    >>> made = SimpleNamespace(prompt="Hi", text="Hello you", token_ids=(7, 8), ended=True, copy=0, prompt_index=0)
    >>> score([made], {"words": lambda prompt, text: len(text.split())})[["prompt", "text", "tokens", "words"]]
      prompt       text  tokens  words
    0     Hi  Hello you       2    2.0
    """
    if not scorers:
        raise DataError("scorers: found none, expected at least one. Pass a mapping such as world.scorers.")
    if taken := sorted(set(scorers) & {*COLUMNS, *LABELS}):
        raise DataError(f"scorers: found the name {taken[0]!r}, which is a column of its own. Rename the scorer.")
    generations = list(generations)
    _check_judge(generations, scorers)
    rows = [
        {
            "prompt_index": made.prompt_index,
            "copy": made.copy,
            "prompt": prompt_text(made.prompt),
            "text": made.text,
            "tokens": len(made.token_ids),
            "ended": made.ended,
            **{name: _judge(name, scorer, made) for name, scorer in scorers.items()},
        }
        for made in generations
    ]
    if not rows:
        raise DataError("generations: found none, expected at least one. Generate answers before scoring them.")
    return pd.DataFrame(rows)


def _check_judge(generations: Sequence[Any], scorers: Mapping[str, Scorer]) -> None:
    """Warn where the model that guided a text is the model that evaluates it."""
    guides = {getattr(made, "guide", None) for made in generations} - {None}
    for name, scorer in scorers.items():
        source = getattr(scorer, "source", None)
        if source in guides:
            warnings.warn(
                f"score: {name!r} is judged by {source}, which also guided these texts. What it says of them is not evidence: "
                "score them by a model of its own, by rules, or by people.",
                stacklevel=3,
            )


def score_columns(frame: pd.DataFrame) -> tuple[str, ...]:
    """Return the names of the score columns of a frame made by `score`: the numeric ones that are not labels.

    >>> score_columns(pd.DataFrame({"prompt_index": [0], "run": ["a"], "weight_short": [1.0], "short": [0.5]}))
    ('short',)
    """
    return tuple(
        str(name)
        for name in frame.columns
        if name not in (*COLUMNS, *LABELS)
        and not str(name).startswith("weight_")
        and pd.api.types.is_numeric_dtype(frame[name])
    )


def _judge(name: str, scorer: Scorer, made: Any) -> float:
    found = scorer(made.prompt, made.text)
    try:
        value = float(found)
    except (TypeError, ValueError):
        value = math.inf
    if math.isinf(value):
        raise DataError(
            f"scorer {name!r}, prompt {made.prompt_index}, copy {made.copy}: found {found!r}, expected a finite "
            "number, or NaN for a text that is not judged. Correct the scorer."
        )
    return value
