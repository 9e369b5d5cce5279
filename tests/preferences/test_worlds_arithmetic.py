"""The world `math`: hand-written texts with hand-computed scores, and the fronts worked out on paper."""

import itertools
import re

import pytest
import torch

from paretokit.errors import DataError
from paretokit.preferences.worlds.arithmetic import (
    CHEERS,
    MATH,
    TOTALS,
    answer,
    choices,
    parses,
    read,
    sample,
    scores,
    solved,
    units,
)
from paretokit.preferences.worlds.build import ask, true_front

ONE = "Count: Tom has 4 maps. Tom gets 3."
TWO = "Count: Tom has 4 maps. Tom finds 3. Tom loses 2."
THREE = "Count: Mia has 9 cars. Mia sells 4. Mia buys 5. Mia breaks 1."

FIRST, SECOND, RESULT = "4 plus 3 is 7.", "7 minus 2 is 5.", "Tom has 5 maps."
FIRST_ASKED, SECOND_ASKED, RESULT_ASKED = "What is 4 plus 3?", "What is 7 minus 2?", "How many maps has Tom?"
CHEER, OTHER_CHEER = "You can do it.", "Take your time."


def said(*spoken):
    return " ".join(spoken)


@pytest.mark.parametrize(
    ("text", "accuracy", "engagement"),
    [
        ("", 0, 0),
        (" \n", 0, 0),
        # in sixtieths: each of the two calculations told 15, the result told 30; each of the three units asked 16, a cheer 12
        (FIRST, 15, 0),
        (said(FIRST, SECOND), 30, 0),
        (RESULT, 30, 0),
        (said(FIRST, SECOND, RESULT), 60, 0),
        (said(RESULT, SECOND, FIRST), 60, 0),  # in any order
        (FIRST_ASKED, 0, 16),
        (said(FIRST_ASKED, SECOND_ASKED, RESULT_ASKED), 0, 48),
        (said(FIRST_ASKED, SECOND_ASKED, RESULT_ASKED, CHEER), 0, 60),
        (said(CHEER, FIRST_ASKED, SECOND, RESULT), 45, 28),
        (said(FIRST_ASKED, FIRST), 15, 0),  # a question whose answer is given away
        (said(FIRST, FIRST_ASKED, SECOND_ASKED), 15, 16),
        (said(RESULT_ASKED, RESULT, CHEER), 30, 12),
        (CHEER, 0, 12),
        (said(CHEER, CHEER), 0, 6),
        (said(CHEER, FIRST, OTHER_CHEER), 0, 6),  # the second cheer was said before, and costs 15 of accuracy
        (said(FIRST, FIRST), 0, 0),
        (said(RESULT, RESULT), 15, 0),
        (said(FIRST_ASKED, FIRST_ASKED), 0, 10),
        ("4 plus 3 is 8.", 0, 0),
        (said("4 plus 3 is 8.", SECOND, RESULT), 30, 0),
        (said("4 plus 3 is 8.", FIRST_ASKED), 0, 10),  # a wrong number gives nothing away, but is false
        (said(FIRST, "7 minus 2 is 4.", "Tom has 4 maps."), 0, 0),
        (said(RESULT, "Tom has 6 maps."), 15, 0),
        (said(RESULT, "5 plus 0 is 5."), 15, 0),  # true, but no calculation of the problem
        (said(RESULT, "3 plus 4 is 7."), 15, 0),
        (said(RESULT, "4 minus 2 is 2."), 15, 0),  # true, and in another order than the problem's
        (said(RESULT, "Tom has 4 maps."), 15, 0),  # true at first
        (said(RESULT, "Ben has 5 maps."), 15, 0),
        (said(RESULT, "Tom has 5 cars."), 15, 0),
        (said(RESULT, "Hello."), 15, 0),
        (said(FIRST_ASKED, "What is 4 plus 4?"), 0, 10),
        ("4 PLUS 3, is 7", 15, 0),
        ("What is 4 plus 3", 0, 16),
        ("4 + 3 = 7", 0, 0),
        ("4 plus 3 is 07.", 0, 0),
        (said(FIRST[:-1], RESULT), 0, 0),  # two things in one sentence
        (said(FIRST, SECOND, RESULT, "€. ☃!"), 30, 0),
        (said(CHEER, FIRST_ASKED, "---"), 0, 22),
        ("x. " * 12, 0, 0),
    ],
)
def test_hand_computed_scores(text, accuracy, engagement):
    assert scores(TWO, text) == (accuracy / 60, engagement / 60)


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (ONE, [(0, 1), (0.5, 0.6), (1, 0.2)]),
        (TWO, [(0, 1), (0.5, 44 / 60), (0.75, 28 / 60), (1, 0.2)]),  # all asked | result told | and one calculation | all
        (THREE, [(0, 1), (0.5, 0.8), (40 / 60, 0.6), (50 / 60, 0.4), (1, 0.2)]),
    ],
)
def test_the_front_of_each_length_worked_out_on_paper(problem, expected):
    assert list(map(tuple, true_front(MATH, ask(problem)).tolist())) == expected


@pytest.mark.parametrize(
    ("text", "is_solved"),
    [
        (RESULT, True),
        (said("4 plus 3 is 9.", RESULT), True),
        (said(RESULT, RESULT), True),
        (said("€€.", RESULT, CHEER), True),
        ("", False),
        (said(FIRST, SECOND), False),
        ("Tom has 6 maps.", False),
        (said("Tom has 6 maps.", RESULT), False),
        (said(RESULT, "Ben has 5 maps."), False),
        (RESULT_ASKED, False),
        ("Tom has 5 cars.", False),
    ],
)
def test_solved_is_to_tell_the_result_and_no_other(text, is_solved):
    assert solved(TWO, text) is is_solved


def test_naming_every_number_solves_nothing():
    every = " ".join(f"Tom has {number} maps." for number in range(20))
    assert not solved(TWO, every)
    assert scores(TWO, every) == (0, 0)


def test_the_units_of_a_problem():
    assert [(unit.told, unit.asked) for unit in units(read(THREE))] == [
        ("9 minus 4 is 5.", "What is 9 minus 4?"),
        ("5 plus 5 is 10.", "What is 5 plus 5?"),
        ("10 minus 1 is 9.", "What is 10 minus 1?"),
        ("Mia has 9 cars.", "How many cars has Mia?"),
    ]


@pytest.mark.parametrize(("problem", "number"), [(ONE, 2), (TWO, 3), (THREE, 4)])
def test_choices_are_every_way_to_leave_out_ask_or_tell(problem, number):
    texts = list(choices(problem))
    assert len(texts) == len(set(texts)) == 3**number * 2
    assert texts[0] == ""
    assert scores(problem, texts[-1]) == (1, 0.2)
    assert all(map(parses, texts))


def test_the_order_of_sentences_does_not_matter():
    """Exactly: sums are of whole numbers."""
    for spoken in ([FIRST, SECOND_ASKED, RESULT, CHEER], [FIRST, "4 plus 3 is 6.", SECOND_ASKED, CHEER]):
        assert len({scores(TWO, said(*order)) for order in itertools.permutations(spoken)}) == 1


def test_problems_and_answers_are_sentences_of_the_world():
    generator = torch.Generator().manual_seed(5)
    lengths = set()
    for _ in range(300):
        content = sample(generator)
        problem = read(content)
        lengths.add(len(problem.steps))
        assert {unit.number for unit in units(problem)} <= set(TOTALS)
        text = answer(content, generator)
        assert text
        assert parses(text)
    assert lengths == {2, 3}


@pytest.mark.parametrize("number", [2, 3])
def test_answers_are_spread_over_good_and_bad(number):
    generator = torch.Generator().manual_seed(6)
    problems = [content for content in (sample(generator) for _ in range(600)) if len(read(content).steps) == number]
    scored = torch.tensor([scores(content, answer(content, generator)) for content in problems])
    assert ((scored.mean(0) > 0.3) & (scored.mean(0) < 0.6)).all(), scored.mean(0)
    assert (scored.std(0) > 0.25).all(), scored.std(0)


def test_answers_that_ask_more_cheer_more():
    generator = torch.Generator().manual_seed(7)
    answers = [answer(TWO, generator) for _ in range(2000)]
    ends = tuple(CHEERS)
    asking = [text.endswith(ends) for text in answers if text.count("?") == 3]
    telling = [text.endswith(ends) for text in answers if "?" not in text]
    assert sum(asking) / len(asking) > 0.5 > 0.45 > sum(telling) / len(telling)
    assert all(len(re.findall("|".join(ends), text)) <= 1 for text in answers)


@pytest.mark.parametrize(
    "text", ["4 plus 3 is 9.", "What is 14 minus 5?", "Ben has 0 tents.", "How many rings has Ines?", *CHEERS, ""]
)
def test_parses_what_is_written_in_the_world_s_forms(text):
    assert parses(text)


@pytest.mark.parametrize(
    "text", ["4 plus 3.", "What is 4?", "Tom has maps.", "Tom has 5 Monday.", "How many has Tom?", "You can.", "..."]
)
def test_parses_nothing_else(text):
    assert not parses(text)


@pytest.mark.parametrize(
    "content",
    [
        "Hello",
        "",
        "Count: Tom has 4 maps.",
        "Count: Tom has 4 maps. Ben finds 3.",
        "Count: Tom has 4 maps. Tom finds 3",
        "Count: Tom has 4 maps. Tom finds 0.",
        "Count: Tom has 4 maps. Tom finds ٣.",  # a digit, but not one of this world
        "Count: Tom has 4 maps. Tom eats 3.",
        "Count: Tom has 4 maps. Tom loses 5.",  # more than there is
        "Count: Tom has 4 maps. Tom gets 3. Tom loses 3. Tom finds 3.",  # the same calculation twice
        "Count: Tom has 4 maps. Tom gets 1. Tom gets 2. Tom gets 3. Tom gets 4.",
    ],
)
def test_a_foreign_prompt_is_an_error(content):
    with pytest.raises(DataError) as error:
        scores(content, RESULT)
    assert str(error.value) == (
        "prompt: expected a problem of the world 'math' ('Count: Tom has 4 maps. Tom finds 3. Tom loses 2.'), "
        f"found {content[:60]!r}. Score the prompts of world('math') or of its preferences."
    )
