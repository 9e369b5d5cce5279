"""Scores: one row per generation, one column per scorer, and clear errors for scorers that misbehave."""

import math
from typing import Any, NamedTuple

import pytest

from paretokit.errors import DataError
from paretokit.experiments.score import prompt_text, score, score_columns


class Made(NamedTuple):
    prompt: Any
    text: str
    token_ids: tuple[int, ...] = (1, 2)
    ended: bool = True
    copy: int = 0
    prompt_index: int = 0


CHAT = ({"role": "user", "content": "Why?"},)


def test_one_row_per_generation_in_order():
    made = [Made(CHAT, "b", copy=0), Made(CHAT, "", (), copy=1, ended=False), Made("raw", "c", prompt_index=1)]
    frame = score(made, {"long": lambda prompt, text: len(text), "zero": lambda prompt, text: 0})
    assert list(frame.columns) == ["prompt_index", "copy", "prompt", "text", "tokens", "ended", "long", "zero"]
    assert frame["text"].tolist() == ["b", "", "c"]
    assert frame["prompt"].tolist() == ["Why?", "Why?", "raw"]
    assert frame["tokens"].tolist() == [2, 0, 2]
    assert frame["ended"].tolist() == [True, False, True]
    assert frame["long"].tolist() == [1.0, 0.0, 1.0]
    assert score_columns(frame) == ("long", "zero")


def test_scorers_see_the_prompt_as_it_was_given():
    seen = []
    score([Made(CHAT, "x")], {"any": lambda prompt, text: seen.append(prompt) or 1.0})
    assert seen == [CHAT]


def test_nan_is_kept_as_not_judged():
    assert math.isnan(score([Made("p", "x")], {"none": lambda prompt, text: math.nan})["none"][0])


@pytest.mark.parametrize("found", [math.inf, -math.inf, None, "good"])
def test_what_is_no_finite_number_is_refused(found):
    with pytest.raises(DataError) as error:
        score([Made("p", "x", copy=3, prompt_index=7)], {"odd": lambda prompt, text: found})
    assert str(error.value) == (
        f"scorer 'odd', prompt 7, copy 3: found {found!r}, expected a finite number, or NaN for a text that is not "
        "judged. Correct the scorer."
    )


def test_nothing_to_score():
    with pytest.raises(DataError, match=r"^generations: found none, expected at least one\."):
        score([], {"any": lambda prompt, text: 1.0})
    with pytest.raises(DataError, match=r"^scorers: found none, expected at least one\."):
        score([Made("p", "x")], {})


def test_scorer_named_like_a_column():
    with pytest.raises(DataError, match=r"^scorers: found the name 'text', which is a column of its own"):
        score([Made("p", "x")], {"text": lambda prompt, text: 1.0})


def test_prompt_text_names_roles_where_there_are_several():
    assert prompt_text(({"role": "system", "content": "s"}, *CHAT)) == "system: s\nuser: Why?"
