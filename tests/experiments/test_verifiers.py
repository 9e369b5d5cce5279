"""Mathematical answers: whole objects are compared, and only a complete final answer counts."""

import signal
import threading

import pytest
from support.waits import until

from paretokit.errors import ConfigError, DataError
from paretokit.experiments.verifiers import MathVerifier, final_answer, same_answer

UNEQUAL = [  # the first five: pitfall 13 of the method's notes
    ("3*sqrt(2)", "3*sqrt(13)"),
    ("2x+3", "2x-7"),
    ("(3,5)", "(3,9)"),
    ("6-5i", "6+5i"),
    ("sqrt(2)", "2"),
    (r"3\sqrt{2}", r"3\sqrt{13}"),
    ("(3,500)", "3500"),
    ("(1,5)", "(5,1)"),
    ("-5", "5"),
    ("[0,1)", "[0,1]"),
    ("5 maps", "5"),
    (r"\text{east}", r"\text{west}"),
    ("12", "2"),
    ("x", ""),
    ("", ""),
]
EQUAL = [
    ("(3,5)", "(3, 5)"),
    ("1,234", "1234"),
    ("12,345,678", "12345678"),
    ("(1,000, 2)", "(1000, 2)"),
    ("$1,000.50", "1000.5"),
    ("1{,}000", "1000"),
    (r"\frac{1}{2}", "0.5"),
    ("1/2", r"\frac{2}{4}"),
    ("$42$", "42"),
    (r"\(x=5\)", "5"),
    ("(x+1)^2", "x^2+2x+1"),
    (r"50\%", "0.5"),
    ("no number at all }{", "no number at all }{"),
]


@pytest.mark.parametrize(("one", "other"), UNEQUAL)
def test_unequal(one, other):
    assert not same_answer(one, other)
    assert not same_answer(other, one)


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal(one, other):
    assert same_answer(one, other)
    assert same_answer(other, one)


def test_the_first_number_alone_would_get_them_wrong():
    """The planted failure: what comparing by the first number says."""
    import re

    def first_number(text):
        found = re.search(r"-?\d+", text)
        return found and found.group()

    assert any(first_number(one) == first_number(other) for one, other in UNEQUAL[:5])


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"So \boxed{3\sqrt{2}}.", r"3\sqrt{2}"),
        (r"\boxed{1} or rather \boxed{2}", "2"),
        (r"\boxed {\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{4", None),
        (r"\boxed{5} and then \boxed{6", "5"),
        ("48 / 2 = 24\n#### 72", "72"),
        ("#### 1\n#### $1,000.50.", "$1,000.50"),
        ("#### ", None),
        ("It is 7.", None),
        (r"#### 1 \boxed{2}", "2"),
        ("", None),
    ],
)
def test_final_answers(text, answer):
    assert final_answer(text) == answer


def test_the_verifier():
    chat = ({"role": "user", "content": "How many?"},)
    verifier = MathVerifier({"How many?": "48 / 2 = 24 and 24 + 48 = 72.\n#### 72", "Roots?": r"\boxed{(3,5)}"})
    assert verifier("How many?", "It is 70 + 2.\n#### 72.0")
    assert verifier(chat, r"\boxed{72}")
    assert not verifier(chat, "72")
    assert not verifier("How many?", "#### 24")
    assert verifier("Roots?", r"Hence \boxed{(3, 5)}.")
    with pytest.raises(DataError) as error:
        verifier("Why?", "x")
    assert str(error.value) == "verifier: found no answer for the prompt 'Why?', expected one of each. Add it."
    with pytest.raises(ConfigError, match="found no answers, expected a mapping from prompts to right answers"):
        MathVerifier({})


def test_it_works_outside_of_the_main_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append((same_answer("2/4", "1/2"), same_answer("2/5", "1/2"))))
    thread.start()
    thread.join()
    assert found == [(True, False)]


def test_an_alarm_that_was_set_still_rings():
    rung = []
    before, left = signal.signal(signal.SIGALRM, lambda *_: rung.append(True)), signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        assert same_answer("7/9", "14/18")
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0 or rung
        assert until(lambda: rung)
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *left)


def test_what_takes_too_long_is_unequal(monkeypatch, caplog):
    monkeypatch.setattr("paretokit.experiments.verifiers._SECONDS", 1)
    assert not same_answer("9^{9^{9^{9}}}", "3")  # without a limit, hours
    assert not same_answer("1+" * 300 + "1", "301")
