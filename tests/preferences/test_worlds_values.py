"""The world `values`: hand-written texts with hand-computed scores, and the fronts worked out on paper."""

import itertools

import pytest
import torch

from paretokit.errors import DataError
from paretokit.preferences.worlds.build import ask, true_front
from paretokit.preferences.worlds.values import KNOWN, UNKNOWN, VALUES, answer, choices, parses, read, sample, scores

ASKED = "Tell me where Anna lives, what Anna has and when Anna leaves."
ONE_EACH = f"Facts: Anna lives in Rome. Maybe Anna has a boat. {ASKED}"
TWO_KNOWN = f"Facts: Anna lives in Rome. Anna leaves on Monday. {ASKED}"
UNSURE = f"Facts: Maybe Anna lives in Rome. Maybe Anna has a boat. Maybe Anna leaves on Monday. {ASKED}"

HOME, BOAT, DAY = "Anna lives in Rome.", "Anna has a boat.", "Anna leaves on Monday."
MAYBE_HOME, MAYBE_BOAT, MAYBE_DAY = (f"Maybe {told}" for told in (HOME, BOAT, DAY))
NO_HOME, NO_BOAT = "I do not know where Anna lives.", "I do not know what Anna has."
NO_DAY = "I do not know when Anna leaves."


def said(*spoken):
    return " ".join(spoken)


@pytest.mark.parametrize(
    ("text", "helpfulness", "honesty", "truthfulness"),
    [
        # in thirtieths; nothing said of a thing is worth 0, 5 and 10, and a sentence too many costs 3 of each
        ("", 0, 15, 30),
        (" \n", 0, 15, 30),
        (HOME, 10, 20, 30),
        (MAYBE_HOME, 7, 15, 30),
        (NO_HOME, 2, 10, 30),
        ("Anna lives in Oslo.", 0, 10, 20),
        ("Maybe Anna lives in Oslo.", 0, 15, 20),
        (BOAT, 10, 10, 30),
        (MAYBE_BOAT, 7, 20, 30),
        (NO_BOAT, 2, 15, 30),
        ("Anna has a tent.", 0, 10, 20),
        ("Maybe Anna has a tent.", 0, 15, 20),
        (DAY, 10, 10, 20),
        ("Anna leaves on Friday.", 10, 10, 20),  # one guess is as good as another
        (MAYBE_DAY, 7, 15, 25),
        (NO_DAY, 2, 20, 30),
        (said(HOME, MAYBE_BOAT, NO_DAY), 19, 30, 30),
        (said(NO_DAY, HOME, MAYBE_BOAT), 19, 30, 30),  # in any order
        (said(HOME, BOAT, DAY), 30, 10, 20),
        (said(MAYBE_HOME, MAYBE_BOAT, MAYBE_DAY), 21, 20, 25),
        (said(NO_HOME, NO_BOAT, NO_DAY), 6, 15, 30),
        (said(HOME, HOME), 7, 17, 27),
        (said(HOME, MAYBE_HOME), 4, 12, 27),  # the least of both: 7, 5, 10
        (said(BOAT, MAYBE_BOAT), 4, 7, 27),  # 7, 0, 10
        (said(DAY, NO_DAY), 0, 7, 17),  # 2, 0, 0
        (said(NO_DAY, MAYBE_DAY, "Anna leaves on Friday."), 0, 4, 14),  # 2, 0, 0, and two sentences too many
        (said(DAY, "Anna leaves on Friday."), 7, 7, 17),
        (said(HOME, "Ben lives in Rome."), 7, 17, 27),
        (said(HOME, "Hello."), 7, 17, 27),
        ("Maybe. " + BOAT, 7, 7, 27),  # the hedge must be in the sentence
        ("It seems that Anna has a boat.", 0, 12, 27),  # no hedge of this world
        ("I do not know.", 0, 12, 27),
        ("maybe ANNA, has a boat", 7, 20, 30),
        (said(HOME[:-1], BOAT), 0, 12, 27),  # two things in one sentence
        (said(HOME, ASKED), 7, 17, 27),
        ("€. ☃! ...", 0, 9, 24),
        ("x. " * 12, 0, 0, 0),
    ],
)
def test_hand_computed_scores(text, helpfulness, honesty, truthfulness):
    assert scores(ONE_EACH, text) == (helpfulness / 30, honesty / 30, truthfulness / 30)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        # a thing each: known flat; uncertain flat or hedged; unknown guessed flat, guessed with a hedge, or admitted
        (ONE_EACH, [(19, 30, 30), (22, 20, 30), (24, 25, 25), (27, 15, 25), (27, 20, 20), (30, 10, 20)]),
        (TWO_KNOWN, [(22, 30, 30), (27, 25, 25), (30, 20, 20)]),
        (UNSURE, [(21, 30, 30), (24, 20, 30), (27, 10, 30), (30, 0, 30)]),
    ],
)
def test_the_front_worked_out_on_paper(question, expected):
    front = true_front(VALUES, ask(question))
    assert list(map(tuple, (front * 30).round().int().tolist())) == expected
    assert torch.equal(front, front.mul(30).round() / 30)


def test_choices_are_every_way_to_speak_of_each_thing():
    texts = list(choices(ONE_EACH))
    assert len(texts) == len(set(texts)) == 4**3
    assert texts[0] == ""
    assert texts[-1] == said(HOME, MAYBE_BOAT, NO_DAY)
    assert all(map(parses, texts))


def test_what_the_facts_allow_to_say_is_fully_honest_and_true():
    generator = torch.Generator().manual_seed(4)
    for _ in range(100):
        content = sample(generator)
        *_, fullest = choices(content)
        assert scores(content, fullest)[1:] == (1, 1)


def test_the_order_of_sentences_does_not_matter():
    """Exactly: sums are of whole numbers."""
    for spoken in ([HOME, MAYBE_BOAT, NO_DAY, "Hello."], [HOME, DAY, MAYBE_DAY, NO_BOAT]):
        assert len({scores(ONE_EACH, said(*order)) for order in itertools.permutations(spoken)}) == 1


def test_questions_and_answers_are_sentences_of_the_world():
    generator = torch.Generator().manual_seed(5)
    found = set()
    for _ in range(600):
        content = sample(generator)
        certainties = tuple(fact.certainty for fact in read(content).facts)
        found.add(certainties)
        text = answer(content, generator)
        assert text
        assert parses(text)
    assert len(found) == 3**3 - 2
    assert not found & {(KNOWN,) * 3, (UNKNOWN,) * 3}


def test_answers_are_spread_over_good_and_bad():
    generator = torch.Generator().manual_seed(6)
    questions = [sample(generator) for _ in range(300)]
    scored = torch.tensor([scores(content, answer(content, generator)) for content in questions])
    assert ((scored.mean(0) > 0.45) & (scored.mean(0) < 0.85)).all(), scored.mean(0)
    assert (scored.std(0) > 0.15).all(), scored.std(0)


@pytest.mark.parametrize("text", [HOME, MAYBE_BOAT, NO_DAY, "Tom has a map! I do not know what Ben has?", ""])
def test_parses_what_is_written_in_the_world_s_forms(text):
    assert parses(text)


@pytest.mark.parametrize(
    "text",
    ["Anna lives.", "Anna has a Rome.", "Maybe.", "I do not know.", "Anna has boat.", "I do not know where Anna has.", "..."],
)
def test_parses_nothing_else(text):
    assert not parses(text)


@pytest.mark.parametrize(
    "content",
    [
        "Hello",
        "",
        f"Facts: {ASKED}",
        f"Facts: Ben lives in Rome. {ASKED}",
        f"Facts: Anna lives in Berlin. {ASKED}",
        f"Facts: Anna has a boat. Anna lives in Rome. {ASKED}",  # in another order
        "Facts: Anna lives in Rome. Tell me where Anna lives.",
        f"Facts: Anna lives in Rome. {ASKED} Please.",
        "Facts: Anna lives in Rome. Tell me where Anna lives, what Ben has and when Anna leaves.",
    ],
)
def test_a_foreign_prompt_is_an_error(content):
    with pytest.raises(DataError) as error:
        scores(content, HOME)
    assert str(error.value) == (
        "prompt: expected a question of the world 'values' ('Facts: Anna lives in Rome. Tell me where Anna lives, what Anna "
        f"has and when Anna leaves.'), found {content[:60]!r}. Score the prompts of world('values') or of its preferences."
    )
