"""The splitter: nothing is lost, steps end where they should, and a text that is being written is cut as it will be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretokit.errors import ConfigError
from paretokit.preferences.steps import Splitter, as_splitter, by_delimiter, by_sentence, by_turn

SPLITTERS = [by_delimiter(), by_delimiter(delimiter="\n- "), by_delimiter(delimiter="<s>"), by_sentence(), by_turn()]
PIECES = [
    "Tom",
    " goes",
    "a",
    ".",
    ". ",
    "!",
    "?",
    '."',
    ".) ",
    "\n",
    "\n\n",
    " ",
    "\r\n",
    "1.",
    "\n2. ",
    "3.14",
    "Dr. ",
    "e.g.",
]
TEXTS = st.lists(st.sampled_from([*PIECES, "<s>", "\n- ", "é", "...", "\u2028"]), max_size=12).map("".join) | st.text(
    max_size=20
)


def assert_nothing_is_lost(steps, text):
    assert "".join(steps) == text
    assert all(steps)


@given(st.sampled_from(SPLITTERS), TEXTS)
def test_the_steps_joined_are_the_text(splitter, text):
    steps = splitter.split(text)
    assert_nothing_is_lost(steps, text)
    if text.strip() and splitter.delimiter != "<s>":
        assert all(step.strip() for step in steps)
    assert bool(steps) == bool(text)


@pytest.mark.parametrize("steps", [("a.", "b."), ("a. ", "", "b.")])
def test_the_check_rejects_what_is_lost(steps):
    with pytest.raises(AssertionError):
        assert_nothing_is_lost(steps, "a. b.")


@given(st.sampled_from(SPLITTERS), TEXTS)
def test_the_end_is_where_the_first_step_ends(splitter, text):
    steps = splitter.split(text)
    if len(steps) > 1:
        assert splitter.end(text) == len(steps[0])
        rest = text[len(steps[0]) :]
        assert splitter.split(rest) == steps[1:]  # a step is cut without regard to those before it


@given(st.sampled_from(SPLITTERS), TEXTS, st.integers(0, 20))
def test_an_end_that_was_seen_stays_unless_it_was_the_end_of_the_text(splitter, text, cut):
    before, after = splitter.end(text[:cut]), splitter.end(text)
    if before is not None and before < len(text[:cut].rstrip()):
        assert after == before
    if before is not None and after is not None:
        assert after >= before


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("One. Two! Three? Four", ["One.", " Two!", " Three?", " Four"]),
        ("4 plus 3 is 7. 7 minus 2 is 5.", ["4 plus 3 is 7.", " 7 minus 2 is 5."]),
        ("It costs 3.50 now. Fine.", ["It costs 3.50 now.", " Fine."]),
        ('He said "Go." She went.', ['He said "Go."', " She went."]),
        ("(It rains.) We stay.", ["(It rains.)", " We stay."]),
        ("Well... Yes.", ["Well...", " Yes."]),
        ("Really?! Yes.", ["Really?!", " Yes."]),
        ("Dr. Who came, e.g. by car. Mr. X", ["Dr. Who came, e.g. by car.", " Mr. X"]),
        ("1. Add them.\n2. Halve it. Done.", ["1. Add them.", "\n2. Halve it.", " Done."]),
        ("a. Add them.\n(b. no) c", ["a. Add them.", "\n(b. no) c"]),
        ("The answer:\n5.\nSo it is.", ["The answer:\n5.", "\nSo it is."]),
        ("A title\n\nA text. End", ["A title", "\n\nA text.", " End"]),
        ("Dr.\n\nWho", ["Dr.", "\n\nWho"]),
        ("A title \r\n \r\nA text", ["A title", " \r\n \r\nA text"]),
        ("One.  ", ["One.  "]),
        ("  One.", ["  One."]),
        ("  ", ["  "]),
        ("www.example.org and v1.2.3", ["www.example.org and v1.2.3"]),
    ],
)
def test_sentences(text, steps):
    assert by_sentence().split(text) == tuple(steps)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("One\n\nTwo\n\n", ["One\n\n", "Two\n\n"]),
        ("\n\nOne\n\n\n\nTwo", ["\n\nOne\n\n", "\n\nTwo"]),
        ("One\nTwo", ["One\nTwo"]),
        ("One\n\n \n\n", ["One\n\n \n\n"]),
    ],
)
def test_blank_lines(text, steps):
    assert by_delimiter().split(text) == tuple(steps)


@pytest.mark.parametrize(
    ("splitter", "text", "end"),
    [
        (by_sentence(), "", None),
        (by_sentence(), " 7 minus", None),
        (by_sentence(), " 7 minus 2 is 5.", 16),
        (by_sentence(), " 7 minus 2 is 5. T", 16),
        (by_sentence(), "It is 3.", 8),  # the end for now
        (by_sentence(), "It is 3.1", None),
        (by_sentence(), "2.", None),
        (by_sentence(), "2. Add", None),
        (by_sentence(), "e.g.", None),
        (by_sentence(), "A title\n", None),
        (by_sentence(), "A title\n\n", 7),
        (by_delimiter(), "x = 1\n", None),
        (by_delimiter(), "x = 1\n\ny", 7),
        (by_delimiter(), "\n\n", None),
        (by_turn(), "All. Of it.\n\n", None),
    ],
)
def test_the_end_of_what_is_being_written(splitter, text, end):
    assert splitter.end(text) == end


def test_a_splitter_is_a_value():
    assert by_sentence() == Splitter("sentence") == as_splitter("sentence")
    assert as_splitter("delimiter") == by_delimiter()
    assert as_splitter(by_turn()) is not by_sentence()
    assert len({by_sentence(), by_sentence(), by_turn()}) == 2
    with pytest.raises(AttributeError):
        by_sentence().kind = "turn"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Splitter("sentences"),
            "splitter: found the kind 'sentences', expected one of delimiter, sentence, turn. Did you mean 'sentence'?",
        ),
        (
            lambda: by_delimiter(delimiter=""),
            r"splitter: found an empty delimiter, expected a text such as '\n\n'. Name one.",
        ),
        (
            lambda: Splitter("turn", ";"),
            "splitter: found the delimiter ';' for the kind 'turn', which has none. Leave it out.",
        ),
    ],
)
def test_messages(make, message):
    with pytest.raises(ConfigError) as error:
        make()
    assert str(error.value) == message


def words(text):
    return len(text.split())


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("Oh. He goes on. Then he is there.", ["Oh. He goes on.", " Then he is there."]),
        ("One two three. Four.", ["One two three.", " Four."]),
        ("Oh. Ah.", ["Oh. Ah."]),
        ("", []),
    ],
)
def test_a_sentence_step_has_at_least_so_many_tokens(text, steps):
    assert by_sentence(min_tokens=3).split(text, count=words) == tuple(steps)


def test_a_number_of_tokens_needs_a_tokenizer_and_sentences():
    assert by_sentence(min_tokens=0) == by_sentence()
    with pytest.raises(ConfigError, match="found min_tokens=8 and no tokenizer to count with, expected one"):
        by_sentence(min_tokens=8).split("A. B.")
    with pytest.raises(ConfigError, match="found min_tokens=8 for the kind 'turn', expected a number >= 0, and 0 for all"):
        Splitter("turn", min_tokens=8)
    with pytest.raises(ConfigError, match="found min_tokens=-1 for the kind 'sentence'"):
        by_sentence(min_tokens=-1)
