"""OpenAI's summaries: a choice is the number of the better one, prompts end with TL;DR:, ratings are compared within a text."""

import pytest
from support.public_rows import rated, summaries, turn

from paretokit.errors import DataError
from paretokit.preferences.read import read_preferences

PROMPT = "SUBREDDIT: r/DIY\n\nTITLE: Tap\n\nPOST: The tap drips.\n\nTL;DR:"
NEWS = {"post": None, "subreddit": None, "title": "Rain", "article": "Rain came.", "site": "cnndm"}


def test_a_choice_names_the_better_summary():
    read = read_preferences([summaries(0), summaries(1)], recipe="tldr")
    assert (read.objectives, read.labels.tolist()) == (("quality",), [[1.0, -1.0]])
    assert (read.prompts[0], read.responses_a[0], read.responses_b[0]) == (PROMPT, " tap drips", " it drips, help")


def test_a_pair_judged_by_several_people_is_as_many_pairs():
    assert read_preferences([summaries(0), summaries(1), summaries(0)], recipe="tldr").labels.tolist() == [[1.0, -1.0, 1.0]]


def test_a_chat_prompt_drops_the_blank_before_a_summary():
    read = read_preferences([summaries(0)], recipe="tldr", recipe_options={"chat": True})
    assert (read.prompts[0], read.responses_a[0]) == ((turn("user", PROMPT),), "tap drips")


def test_posts_and_articles_can_be_told_apart():
    rows = [summaries(0), summaries(1, **NEWS), summaries(1, **NEWS, batch="cnndm0") | {"split": "valid1"}]
    by_part = {part: read_preferences(rows, recipe="tldr", recipe_options={"part": part}) for part in ("all", "reddit", "news")}
    assert [read.labels.tolist() for read in by_part.values()] == [[[1.0, -1.0, -1.0]], [[1.0]], [[-1.0, -1.0]]]
    assert by_part["news"].prompts[0] == "TITLE: Rain\n\nRain came.\n\nTL;DR:"
    assert by_part["reddit"].notes[1:] == ("2 left out: it is of the part news",)


def test_keys_that_are_missing_or_null_are_left_out_of_the_prompt():
    (row,) = [summaries(0, title=None)]
    assert read_preferences([row], recipe="tldr").prompts[0] == "SUBREDDIT: r/DIY\n\nPOST: The tap drips.\n\nTL;DR:"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"choice": 2}, "field 'choice': found 2, expected 0 or 1."),
        ({"choice": -1}, "field 'choice': found -1, expected 0 or 1."),
        ({"choice": None}, "field 'choice': found null, expected 0 or 1."),
        ({"summaries": [{"text": " a"}]}, "field 'summaries': found 1 summaries, expected 2."),
        ({"summaries": [{"text": " a"}, {"policy": "x"}]}, "field 'summaries', item 1, 'text': found null, expected text"),
        ({"summaries": [" a", " b"]}, "field 'summaries', item 0: found ' a', expected an object."),
        ({"info": {"id": "x"}}, "field 'info': found the keys id without a post or an article, expected one of them."),
        ({"info": None}, "field 'info': found null, expected an object."),
        ({"info": {"post": 3}}, "field 'info': found 3, expected text"),
    ],
)
def test_what_does_not_fit_is_refused(changed, message):
    with pytest.raises(DataError, match=f"list, row 1, {message}"):
        read_preferences([summaries(0), summaries(1) | changed], recipe="tldr")


# ratings


def test_ratings_are_compared_within_a_text():
    rows = [rated(" a", 6, 7, 5, 7), rated(" b", 2, 7, None, 7), rated(" c", 7, 1, 1, 1, post="Rain."), rated(" d", *[3] * 4)]
    read = read_preferences(rows, recipe="tldr-axis")
    assert read.objectives == ("overall", "accuracy", "coverage", "coherence")
    assert list(zip(read.responses_a, read.responses_b, strict=True)) == [(" a", " b"), (" a", " d"), (" b", " d")]
    assert read.labels.nan_to_num(9.0).tolist() == [
        [1.0, 1.0, -1.0],
        [0.0, 1.0, 1.0],
        [9.0, 1.0, 9.0],
        [0.0, 1.0, 1.0],
    ]
    assert read.notes[1:] == ("1 left out: it is the only answer to its prompt",)


def test_a_summary_rated_by_two_people_has_the_mean():
    rows = [rated(" a", 6, 7, 5, 7), rated(" a", 3, 7, 5, 7), rated(" b", 5, 7, 5, 7)]
    assert read_preferences(rows, recipe="tldr-axis", objectives=["overall"]).labels.tolist() == [[-1.0]]
    assert read_preferences(rows, recipe="tldr-axis", objectives=["overall"], margin=0.5).labels.tolist() == [[0.0]]


@pytest.mark.parametrize("value", [0, 8, "good", 6.5])
def test_a_rating_outside_of_1_to_7_is_refused(value):
    with pytest.raises(DataError, match=r"field 'summary', 'axes.accuracy': found .*, expected a whole number from 1 to 7\."):
        read_preferences([rated(" a", 6, value, 5, 7)], recipe="tldr-axis")


def test_a_missing_axis_shows_those_found():
    row = rated(" a", 6, 7, 5, 7)
    row["summary"]["axes"] = {"overall": 6}
    with pytest.raises(DataError, match=r"'axes.accuracy': missing; found the axes 'overall'"):
        read_preferences([row], recipe="tldr-axis")
