"""The world `summaries`: hand-written texts with hand-computed scores, and the front of a post worked out on paper."""

import pytest
import torch

from paretokit.errors import DataError
from paretokit.preferences.worlds.build import ask, true_front
from paretokit.preferences.worlds.summaries import FACTS, SUMMARIES, answer, choices, parses, read, sample, scores

FULL = "Tom sold the red car. It seems that Anna moved to Rome. Ben leaves on Monday. They say that Mia lost the ring."
POST = f"Sum up: {FULL}"
# 5 + 7 + 4 + 7 words
BUDGET = 23


@pytest.mark.parametrize(
    ("text", "told", "words", "faithfulness"),
    [
        ("", 0, 0, 1),
        ("   \n\t ", 0, 0, 1),
        (FULL, 4, 23, 1),
        ("Tom sold the red car. Anna moved to Rome. Ben leaves on Monday. Mia lost the ring.", 4, 17, 0),
        ("Tom sold the red car. Anna moved to Rome. Ben leaves on Monday.", 3, 13, 0.5),
        ("Ben leaves on Monday", 1, 4, 1),
        ("BEN, leaves - on 'monday'!", 1, 4, 1),
        ("I hear that Anna moved to Rome?", 1, 7, 1),
        ("I hear that Ben leaves on Monday.", 1, 7, 1),  # a certain fact as hearsay claims less
        ("Ben leaves on Monday. Ben leaves on Monday.", 1, 8, 1),  # repeating only costs words
        ("Anna moved to Rome. Anna moved to Rome.", 1, 8, 0),  # and counts again where it is unsupported
        ("Anna moved to Rome. It seems that Anna moved to Rome.", 1, 11, 0.5),
        ("Ben leaves on Sunday.", 0, 4, 0.5),  # wrong day
        ("Ben moved to Rome.", 0, 4, 0.5),  # wrong name
        ("Tom sold the car.", 0, 4, 0.5),  # a word less is not the fact
        ("Tom sold the red car, Ben leaves on Monday.", 0, 9, 0.5),  # one sentence that is no single fact
        ("Tom sold the red car Ben leaves on Monday", 0, 9, 0.5),
        ("Tom red car. Ben Monday.", 0, 5, 0),  # telegraphic
        ("Ben-leaves-on-Monday", 1, 4, 1),  # signs are ignored, words are counted all the same
        ("Ben_leaves_on_Monday", 0, 1, 0.5),  # one word, and no fact
        ("It seems that. Anna moved to Rome.", 1, 7, 0),  # the hedge must be in the sentence
        ("Maybe Anna moved to Rome.", 0, 5, 0.5),  # no hedge of this world
        ("...", 0, 0, 0.5),
        ("€€€", 0, 0, 0.5),
        ("Ben leaves on Monday. €. ☃!", 1, 4, 0),
        ("Ben leaves on Monday. " * 6, 1, 24, 1),  # longer than the post: no conciseness
    ],
)
def test_hand_computed_scores(text, told, words, faithfulness):
    assert scores(POST, text) == (told / 4, max(0.0, 1 - words / BUDGET), faithfulness)


def test_the_front_of_a_post_worked_out_on_paper():
    """The certain fact has 4 words, the hearsay 4 + 3; hearsay alone is dominated by the certain fact alone."""
    post = "Sum up: Tom sold the car. I hear that Ben went to Oslo."
    expected = {
        (0.0, 1.0, 1.0),  # nothing
        (0.5, 1 - 4 / 11, 1.0),  # the certain fact
        (1.0, 1 - 8 / 11, 0.5),  # both, flatly
        (1.0, 0.0, 1.0),  # both, as the post has them
    }
    assert set(map(tuple, true_front(SUMMARIES, ask(post)).tolist())) == expected


def test_choices_are_every_way_to_tell_each_fact():
    texts = list(choices(POST))
    assert len(texts) == len(set(texts)) == 2 * 3 * 2 * 3
    assert FULL in texts
    assert all(map(parses, texts))


def test_posts_and_answers_are_sentences_of_the_world():
    generator = torch.Generator().manual_seed(5)
    for _ in range(200):
        post = sample(generator)
        assert len(read(post)) == FACTS
        text = answer(post, generator)
        assert text
        assert parses(text)


def test_answers_are_spread_over_good_and_bad():
    """Half the hearsay is said flatly and one fact in twelve is wrong, so no objective is at its end."""
    generator = torch.Generator().manual_seed(6)
    posts = [sample(generator) for _ in range(300)]
    mean = torch.tensor([scores(post, answer(post, generator)) for post in posts]).mean(0)
    assert ((mean > 0.35) & (mean < 0.75)).all(), mean


@pytest.mark.parametrize(
    "text",
    ["Tom sold the red car.", "It seems that Mia lost the ring. Ben leaves on Monday", "Paul drove to Lima!", ""],
)
def test_parses_what_is_written_in_the_world_s_forms(text):
    assert parses(text)


@pytest.mark.parametrize(
    "text",
    [
        "Tom sold.",
        "Tom sold the Monday.",
        "It seems Mia lost the ring.",
        "...",
        "Tom sold the car Ben leaves on Monday.",
    ],
)
def test_parses_nothing_else(text):
    assert not parses(text)


@pytest.mark.parametrize(
    "content",
    ["Hello", "", "Sum up: ", "Sum up: Hello.", "Tom sold the car.", "Sum up: Tom sold the car. Tom sold the car."],
)
def test_a_foreign_prompt_is_an_error(content):
    with pytest.raises(DataError) as error:
        scores(content, "Tom sold the car.")
    assert str(error.value) == (
        "prompt: expected a post of the world 'summaries' ('Sum up: ' and its facts, one sentence each), "
        f"found {content[:60]!r}. Score the prompts of world('summaries') or of its preferences."
    )
