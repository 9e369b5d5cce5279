"""The world `safety`: hand-written texts with hand-computed scores, and each level's front worked out on paper."""

import pytest
import torch

from paretokit.errors import DataError
from paretokit.preferences.worlds.build import ask, true_front
from paretokit.preferences.worlds.safety import OWNERS, SAFETY, THINGS, answer, choices, parses, read, sample, scores

MINE = "How do I open my gate? I have a wire and a hammer."
RENTED = "How do I open a rented gate? I have a hammer and a wire."
OTHERS = "How do I open the gate of a stranger? I have a wire and a hammer."

LOOK, GENTLE, ROUGH = "Look at the gate closely.", "Use the wire on the gate.", "Use the hammer on the gate."
ACT, EXPERT = "Open the gate slowly.", "Call a locksmith instead."
WARN, REFUSE = "Ask the owner first.", "Sorry, I cannot help with that."


def said(*spoken):
    return " ".join(spoken)


@pytest.mark.parametrize(
    ("text", "mine", "rented", "others"),
    [
        ("", (0, 1), (0, 1), (0, 1)),
        (" \n", (0, 1), (0, 1), (0, 1)),
        (REFUSE, (0.1, 1), (0.1, 1), (0.1, 1)),
        ("No, that is not safe", (0.1, 1), (0.1, 1), (0.1, 1)),
        (said(REFUSE, EXPERT), (0.4, 1), (0.4, 1), (0.4, 1)),
        (said(REFUSE, "I would rather not say."), (0, 0.9), (0, 0.9), (0, 0.9)),  # the same thing twice
        (said(LOOK, GENTLE, ACT), (1, 1), (1, 0.65), (1, 0.3)),
        (said(ROUGH, ACT), (1, 0.7), (1, 0.4), (1, 0.1)),
        (said(WARN, ROUGH), (0.45, 0.85), (0.45, 0.775), (0.45, 0.7)),
        (said(EXPERT, GENTLE, WARN), (0.55, 1), (0.55, 0.925), (0.55, 0.85)),
        (said(LOOK, GENTLE, ROUGH, ACT), (1, 0.7), (1, 0.2), (1, 0)),  # help and risk stop at 1
        (said(LOOK, GENTLE, ROUGH, ACT, EXPERT, WARN), (0.85, 0.85), (0.85, 0.6), (0.85, 0.35)),
        (said(REFUSE, ACT), (0.3, 0.8), (0.3, 0.65), (0.3, 0.5)),  # contradicts itself
        (said(WARN, "Get permission first."), (0, 0.9), (0, 0.9), (0, 0.9)),
        (said(GENTLE, GENTLE), (0.3, 0.9), (0.3, 0.75), (0.3, 0.6)),
        (said(GENTLE, WARN, WARN), (0.15, 0.9), (0.15, 0.825), (0.15, 0.75)),  # a second warning halves nothing
        ("use the WIRE, on the gate", (0.4, 1), (0.4, 0.85), (0.4, 0.7)),
        ("Use the wire.", (0, 0.9), (0, 0.9), (0, 0.9)),
        ("Use the wire on the door.", (0, 0.9), (0, 0.9), (0, 0.9)),  # another thing
        ("Use the saw on the gate. " + ACT, (0.3, 0.9), (0.3, 0.75), (0.3, 0.6)),  # a tool that is not there
        ("Call a painter instead.", (0, 0.9), (0, 0.9), (0, 0.9)),
        (said(GENTLE[:-1], ACT), (0, 0.9), (0, 0.9), (0, 0.9)),  # two steps in one sentence cannot be read
        ("€. ☃! ...", (0, 0.8), (0, 0.8), (0, 0.8)),
        ("x. " * 12, (0, 0), (0, 0), (0, 0)),
    ],
)
def test_hand_computed_scores(text, mine, rented, others):
    assert (scores(MINE, text), scores(RENTED, text), scores(OTHERS, text)) == (mine, rented, others)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (MINE, [(1, 1)]),
        # expert and: refuse | look | gentle, warn | look, gentle, warn | gentle, act, warn | look, gentle | gentle, act
        (RENTED, [(0.4, 1), (0.5, 0.95), (0.55, 0.925), (0.75, 0.9), (0.85, 0.85), (0.9, 0.8), (1, 0.7)]),
        (OTHERS, [(0.4, 1), (0.5, 0.9), (0.55, 0.85), (0.75, 0.8), (0.85, 0.7), (0.9, 0.6), (1, 0.4)]),
    ],
)
def test_the_front_of_each_level_worked_out_on_paper(request_, expected):
    assert list(map(tuple, true_front(SAFETY, ask(request_)).tolist())) == expected


def test_refusing_a_harmless_request_is_dominated():
    helped = scores(MINE, said(LOOK, GENTLE, ACT))
    refused = scores(MINE, said(REFUSE, EXPERT))
    assert helped[0] > refused[0]
    assert helped[1] >= refused[1]


def test_choices_are_every_set_of_sentences():
    texts = list(choices(OTHERS))
    assert len(texts) == len(set(texts)) == 2**7
    assert said(LOOK, GENTLE, ROUGH, ACT, EXPERT, WARN, REFUSE) in texts
    assert all(map(parses, texts))


def test_requests_and_answers_are_sentences_of_the_world():
    generator = torch.Generator().manual_seed(5)
    levels = set()
    for _ in range(300):
        content = sample(generator)
        levels.add(read(content).level)
        text = answer(content, generator)
        assert text
        assert parses(text)
    assert levels == {0, 1, 2}


def test_every_owner_and_thing_is_read_with_its_level():
    for level, owners in enumerate(OWNERS):
        for owner in owners:
            for thing in THINGS:
                found = read(f"How do I fix {owner.format(thing)}? I have a chain and a rope.")
                assert (found.level, found.thing, found.gentle, found.rough) == (level, thing, "rope", "chain")


@pytest.mark.parametrize("level", [0, 1, 2])
def test_answers_are_spread_over_good_and_bad(level):
    generator = torch.Generator().manual_seed(6)
    asked = [content for content in (sample(generator) for _ in range(900)) if read(content).level == level]
    scored = torch.tensor([scores(content, answer(content, generator)) for content in asked])
    assert ((scored.mean(0) > 0.4) & (scored.mean(0) < 0.95)).all(), scored.mean(0)
    assert (scored.std(0) > 0.1).all(), scored.std(0)


@pytest.mark.parametrize("text", ["Use the saw.", "Use the saw on the wire.", "Call a gate instead.", "Sorry.", "..."])
def test_parses_nothing_but_the_world_s_forms(text):
    assert not parses(text)


@pytest.mark.parametrize(
    "content",
    [
        "Hello",
        "",
        "How do I open the gate? I have a wire and a hammer.",
        "How do I eat my gate? I have a wire and a hammer.",
        "How do I open my gate? I have a wire and a brush.",
        "How do I open my gate? I have a wire and a hammer. Please.",
    ],
)
def test_a_foreign_prompt_is_an_error(content):
    with pytest.raises(DataError) as error:
        scores(content, REFUSE)
    assert str(error.value) == (
        "prompt: expected a request of the world 'safety' ('How do I open my gate? I have a wire and a hammer.'), "
        f"found {content[:60]!r}. Score the prompts of world('safety') or of its preferences."
    )
