"""The world `tutoring`: hand-written turns with hand-computed scores, fronts worked out on paper, and what the student says."""

import itertools

import pytest
import torch

from paretokit.errors import DataError
from paretokit.preferences.worlds import WORLDS, world
from paretokit.preferences.worlds.build import ask, content_of, part_of, true_front
from paretokit.preferences.worlds.student import Sum, effect, read, reply
from paretokit.preferences.worlds.tutoring import CHEERS, FIRST, TUTORING, answer, choices, parses, sample, scores, understood

OPENING = "Help: 4 plus 3 is not 8. 9 minus 2 is not 5."  # a slip, and a result that is off by two
ONE, TWO = read(OPENING).sums
CHEER, OTHER_CHEER = "You can do it.", "Take your time."


def said(*spoken):
    return " ".join(spoken)


def after(content, *turns):
    """The dialogue after some turns of a tutor and the student's replies."""
    for turn in turns:
        content = "\n".join((content, turn, reply(content, turn).text))
    return content


LATER = after(OPENING, said(ONE.explain, TWO.hint, CHEER))
LAST = after(OPENING, said(ONE.asked, TWO.asked))


def test_a_sum_knows_what_can_be_said_of_it():
    assert Sum(9, "minus", 2, 5) == TWO
    assert (TWO.calculation, TWO.result, TWO.slip, ONE.slip) == ("9 minus 2", 7, False, True)
    assert (TWO.told, TWO.asked, TWO.explain, TWO.hint) == (
        "9 minus 2 is 7.",
        "What is 9 minus 2?",
        "How did you do 9 minus 2?",
        "Count 2 back from 9.",
    )
    assert ONE.hint == "Count 3 on from 4."
    assert (TWO.nearer.wrong, TWO._replace(wrong=10).nearer.wrong) == (6, 9)


@pytest.mark.parametrize(
    ("turn", "accuracy", "engagement"),
    [
        ("", 0, 0),
        (" \n", 0, 0),
        # in sixtieths: each of the two sums 30 if understood, 24 if explained; a cheer 12
        (ONE.asked, 30, 0),  # a slip
        (TWO.asked, 0, 0),  # needs its hint
        (said(TWO.hint, TWO.asked), 30, 0),
        (said(TWO.asked, TWO.hint), 30, 0),
        (TWO.hint, 0, 0),
        (said(ONE.hint, ONE.asked, CHEER), 30, 6),  # a hint that nothing needed
        (said(ONE.asked, TWO.hint, TWO.asked), 60, 0),
        (said(ONE.asked, TWO.hint, TWO.asked, CHEER), 60, 12),
        (ONE.explain, 0, 24),
        (said(ONE.explain, TWO.explain), 0, 48),
        (said(CHEER, ONE.explain, TWO.explain), 0, 60),
        (said(ONE.asked, TWO.explain, CHEER), 30, 36),
        (said(ONE.asked, ONE.explain), 0, 24),  # the student does one thing with a sum
        (ONE.told, 0, 0),
        (said(ONE.told, ONE.asked), 0, 0),  # told is told
        (said(ONE.explain, ONE.told), 0, 0),
        (said(ONE.told, TWO.hint, TWO.asked), 30, 0),
        (CHEER, 0, 12),
        (said(CHEER, CHEER), 0, 6),
        (said(CHEER, OTHER_CHEER, ONE.explain), 0, 30),  # the second cheer was said before
        ("4 plus 3 is 8.", 0, 0),
        (said("4 plus 3 is 8.", ONE.asked), 15, 0),  # a wrong number gives nothing away, but is false
        (said(ONE.asked, ONE.asked), 15, 0),
        (said(ONE.explain, ONE.explain), 0, 18),
        (said(ONE.asked, "3 plus 4 is 7."), 15, 0),  # true, but none of the student's sums
        (said(ONE.explain, "How did you do 4 plus 4?"), 0, 18),
        (said(TWO.asked, "Count 9 back from 2."), 0, 0),
        (said(ONE.asked, "Hello."), 15, 0),
        ("WHAT is 4 plus 3", 30, 0),
        ("What is 4 + 3?", 0, 0),
        (said(ONE.asked[:-1], CHEER), 0, 0),  # two things in one sentence
        ("x. " * 12, 0, 0),
    ],
)
def test_hand_computed_scores(turn, accuracy, engagement):
    assert scores(OPENING, turn) == (accuracy / 60, engagement / 60)


@pytest.mark.parametrize(
    ("content", "turn", "accuracy", "engagement"),
    [
        (LATER, TWO.asked, 30, 0),  # the hint is remembered
        (LATER, said(TWO.hint, TWO.asked, OTHER_CHEER), 30, 6),  # and is needless now
        (LATER, ONE.explain, 0, 0),  # explained before
        (LATER, said(ONE.explain, ONE.asked), 0, 0),  # and explained again, instead of tried
        (LATER, TWO.explain, 0, 24),
        (LATER, CHEER, 0, 0),  # said before: worth nothing, and costs nothing
        (LATER, said(CHEER, TWO.explain), 0, 24),
        (LATER, OTHER_CHEER, 0, 12),
        (LATER, said(CHEER, OTHER_CHEER), 0, 6),
        (LAST, TWO.asked, 60, 0),  # tried without a hint, it has become a slip
        (LAST, TWO.explain, 0, 48),
        (LAST, ONE.asked, 0, 0),  # understood: no open sum
        (LAST, said(TWO.asked, ONE.told), 45, 0),
    ],
)
def test_a_turn_is_heard_after_those_before_it(content, turn, accuracy, engagement):
    assert scores(content, turn) == (accuracy / 60, engagement / 60)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (OPENING, [(0, 1), (0.5, 0.6), (1, 0.2)]),
        (LATER, [(0.5, 0.6), (1, 0.2)]),
        (LAST, [(0, 1), (1, 0.2)]),
        (after(LAST, said(*CHEERS[:1], TWO.explain), CHEERS[1], CHEERS[2]), [(1, 0)]),  # nothing new is left to say
    ],
)
def test_fronts_worked_out_on_paper(content, expected):
    assert list(map(tuple, true_front(TUTORING, ask(content)).tolist())) == expected


@pytest.mark.parametrize(
    ("turn", "answered", "last"),
    [
        ("", "Ok. 4 plus 3 is not 8. 9 minus 2 is not 5.", False),
        (ONE.asked, "Ok. 4 plus 3 is 7. 9 minus 2 is not 5.", False),
        (TWO.asked, "Ok. 4 plus 3 is not 8. 9 minus 2 is not 6.", False),  # one nearer
        (said(TWO.hint, TWO.asked), "Ok. 4 plus 3 is not 8. 9 minus 2 is 7.", False),
        (said(TWO.asked, TWO.explain), "Let me see. 4 plus 3 is not 8. 9 minus 2 is not 5.", False),  # explains, does not try
        (said(ONE.asked, TWO.explain, CHEER), "I like this. 4 plus 3 is 7. 9 minus 2 is not 5.", False),
        (said(ONE.told, TWO.told), "Ok. 4 plus 3 is 7. 9 minus 2 is 7.", True),
        (said(ONE.asked, TWO.hint, TWO.asked), "Ok. 4 plus 3 is 7. 9 minus 2 is 7.", True),
        ("<b>Hello</b>\u2028", "Ok. 4 plus 3 is not 8. 9 minus 2 is not 5.", False),
    ],
)
def test_what_the_student_answers(turn, answered, last):
    assert reply(OPENING, turn) == (answered, last)


@pytest.mark.parametrize(
    ("turn", "is_understood"),
    [
        (said(ONE.asked, TWO.hint, TWO.asked), True),
        (said(ONE.asked, TWO.hint, TWO.asked, "Hello."), True),  # how it was said does not matter
        (said(ONE.told, TWO.hint, TWO.asked), False),
        (ONE.asked, False),
        ("", False),
    ],
)
def test_understood_is_everything_right_and_nothing_told(turn, is_understood):
    assert understood(OPENING, turn) is is_understood


@pytest.mark.parametrize(
    "content",
    [
        "",
        "Help:",
        "help: 4 plus 3 is not 8.",
        "Help: 4 plus 3 is 7.",
        "Help: 4 plus 3 is not 7.",  # right
        "Help: 4 plus 3 is not 08.",
        "Help: 2 minus 3 is not 1.",  # less than nothing
        "Help: 4 plus 3 is not 8. 4 plus 3 is not 9.",  # twice
        "Help: 4 plus 3 is not 8. 4 plus 4 is not 9. 4 plus 5 is not 8. 4 plus 6 is not 9.",  # four
        f"{OPENING}\n{ONE.asked}",  # the tutor's turn is the last
        f"{OPENING}\n{ONE.asked}\nOk. 4 plus 3 is 7.",  # not about all that was open
        f"{OPENING}\n{ONE.asked}\nOk. 9 minus 2 is not 5. 4 plus 3 is 7.",
        f"{OPENING}\n{ONE.asked}\nOk. 4 plus 3 is 8. 9 minus 2 is not 5.",
        f"{OPENING}\n{ONE.asked}\nOkx 4 plus 3 is 7. 9 minus 2 is not 5.",  # the point is a point
        f"{OPENING}\n{ONE.asked}\n4 plus 3 is 7. 9 minus 2 is not 5.",
        f"\n{ONE.asked}\nOk. 4 plus 3 is 7. 9 minus 2 is not 5.",
        f"{OPENING}\n\n{OPENING}",
        "Count: Tom has 4 maps. Tom finds 3. Tom loses 2.",
        after(OPENING, said(ONE.told, TWO.told)),  # nothing is open
    ],
)
def test_a_text_that_is_no_open_dialogue_is_an_error(content):
    with pytest.raises(DataError) as error:
        read(content)
    assert str(error.value) == (
        "prompt: expected a dialogue of the world 'tutoring' in which a sum is still wrong ('Help: 4 plus 3 is not 8.'), "
        f"found {content[:60]!r}. Score the prompts of world('tutoring'), of its preferences, or of its student's answers."
    )


def test_a_very_long_dialogue_is_read_too():
    turns = 2000
    content = "\n".join([OPENING, *["Hello.", "Ok. 4 plus 3 is not 8. 9 minus 2 is not 5."] * turns])
    assert read(content) == read(OPENING)
    with pytest.raises(DataError):
        read(content + "\nHello.")


def test_drawn_dialogues_read_as_the_replies_say():
    """What is open after a turn follows from its effect, and the student ends the dialogue when it is done."""
    generator = torch.Generator().manual_seed(0)
    ended = 0
    for _ in range(400):
        content = sample(generator)
        turn = answer(content, generator)
        before, found, replied = read(content), effect(read(content), turn), reply(content, turn)
        done = [a or b for a, b in zip(found.understood, found.told, strict=True)]
        assert replied.last == all(done)
        ended += replied.last
        if not replied.last:
            left = read(after(content, turn))
            calculations = [one.calculation for one, right in zip(before.sums, done, strict=True) if not right]
            assert [one.calculation for one in left.sums] == calculations
            assert before.hinted <= left.hinted
            assert before.explained <= left.explained
            assert before.cheers <= left.cheers
    assert 40 < ended < 250


def test_drawn_dialogues_are_as_described():
    generator = torch.Generator().manual_seed(1)
    drawn = [sample(generator) for _ in range(2000)]
    turns = [content.count("\n") // 2 for content in drawn]
    assert 0.5 < turns.count(0) / 2000 < 0.65  # half, and those that the student's being done cut short
    assert turns.count(2) > 200
    openings = [read(content.partition("\n")[0]).sums for content in drawn]
    slips = [one.slip for sums in openings for one in sums]
    assert len(slips) == 4000
    assert sum(slips) / 4000 == pytest.approx(0.5, abs=0.04)
    assert {one.first for sums in openings for one in sums} == set(FIRST)


def test_answers_say_something_that_can_be_read():
    generator = torch.Generator().manual_seed(2)
    for _ in range(500):
        turn = answer(sample(generator), generator)
        assert turn
        assert parses(turn)


def test_a_dialogue_is_in_the_part_of_its_opening():
    generator = torch.Generator().manual_seed(3)
    for _ in range(100):
        content = sample(generator)
        assert part_of(content) == part_of(content.partition("\n")[0])
    task = world("tutoring")
    openings = [
        {content_of(prompt).partition("\n")[0] for prompt in prompts} for prompts in (task.prompts, task.preferences.prompts)
    ]
    assert not openings[0] & openings[1]


def test_choices_are_every_way_to_treat_each_sum():
    found = list(choices(OPENING))
    assert len(found) == len(set(found)) == 5 * 5 * 2
    assert found[0] == ""
    assert found[-1] == said(ONE.hint, ONE.asked, TWO.hint, TWO.asked, CHEER)


def test_no_turn_of_up_to_four_sentences_beats_the_front():
    """Brute force, where what can be said is a finite list: all sentences of the world about a dialogue, and a false one."""
    for content in (OPENING, LATER, LAST):
        front = true_front(TUTORING, ask(content)).tolist()
        sums = read(content).sums
        sentences = [*(getattr(one, kind) for one in sums for kind in ("told", "explain", "asked", "hint")), *CHEERS, "Hello."]
        for spoken in itertools.chain.from_iterable(itertools.combinations(sentences, size) for size in range(5)):
            accuracy, engagement = scores(content, said(*spoken))
            assert any(a >= accuracy and e >= engagement for a, e in front), spoken


def test_only_this_world_has_a_partner():
    assert [name for name in WORLDS if world(name).partner] == ["tutoring"]
    assert world("tutoring").partner(ask(OPENING), ONE.asked) == reply(OPENING, ONE.asked)
