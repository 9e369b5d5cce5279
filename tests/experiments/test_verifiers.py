"""Mathematical answers: whole objects are compared, and only a complete final answer counts."""

import threading
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretokit.errors import ConfigError, DataError
from paretokit.experiments.answer_text import plain
from paretokit.experiments.verifiers import MathVerifier, final_answer, same_answer

PIECES = (
    *(
        r"\frac",
        r"\sqrt",
        r"\sin",
        r"\pi",
        r"\pm",
        r"\cup",
        r"\{",
        r"\}",
        r"\%",
        r"\text{ cm}",
        r"\infty",
        r"\binom",
        r"\boxed",
    ),
    *("{", "}", "(", ")", "[", "]", "|", "1", "2", "99999", "0.5", "x", "y", "e", "i", "^", "_", "+", "-", "*", "/", ",", ";"),
    *("=", "<", "!", "%", " ", "&", r"\\", r"\begin{pmatrix}", r"\end{pmatrix}", "abc", "$", "9^{9^9}", "й", "\x00"),
)
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
    (r"5\text{ cm}", r"5\text{ kg}"),
    ("12_5", "12_6"),
    ("12_5", "12"),
    ("12_5", "7"),
    (r"\frac{1}{2^{61}}", r"\frac{1}{2^{60}}"),
    ("0.0000001", "0.0000002"),
    (r"\frac{2^{1901}+1}{3 \cdot 2^{1902}}", r"\frac{1}{3 \cdot 2^{1902}}"),
    (r"\{1,2\}", "(1,2)"),
    (r"50\%", "50"),
    ("50 percent", "50"),
    ("0.333", "1/3"),
    ("0.3333333333333333333", "1/3"),
    ("3.14159265358979323846", r"\pi"),
    ("1/0", "2/0"),
    ("9^{9^{9^{9}}}", "3"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}"),
    ("x<5", r"x\le5"),
    ("x<5", "x>5"),
    ("x=5", "x=6"),
    ("x+y=5", "x+y=6"),
    ("3:4", "4:3"),
    (r"\sqrt{2}+10^{-80}", r"\sqrt{2}"),
    (r"\sqrt{x^2}", "x"),
    ("5 cm", "5 kg"),
    ("5 cm", "5"),
    ("5cm^2", "5cm"),
    ("(0,1)", "[0,1]"),
    ("A", "B"),
    ("(A)", "(B)"),
    ("yes", "no"),
    ("1,2", "1,3"),
    ("1,2", "1,2,3"),
    (r"\{1,1,2\}", r"\{1,3\}"),
    ("(1,2)", "1,2"),
    ("10^{1000000}", "10^{1000001}"),
    ("x", "y"),
    ("2^x", "x^2"),
    (r"\pm 2", "2"),
    ("p", "q"),
    ("5 m", "5 k"),
    ("5 square meters", "5 meters"),
    ("5 square meters", "5 cubic meters"),
    (r"5\text{ km/h}", r"5\text{ km}"),
    (r"5\text{ km per hour}", r"5\text{ km hour}"),
    ("5 mph", "5 kph"),
    ("1 hour", "1 minute"),
    ("5 square", "5"),
    ("x²", "x2"),
    ("3:30", "3:31"),
    (r"\infty", "5"),
    (r"\infty", r"-\infty"),
    ("1/3", "0.33"),
    ("9^9^9", "3"),
    ("((((((", "3"),
    (r"\frac", "1"),
    ("1000000!", "1000001!"),
    ("e^{e^{e^{100}}}", "5"),
    ("sin(10^{400})", "0.5"),
    ("x^{9999}", "x^{9998}"),
    (r"\begin{pmatrix}1", "1"),
    ("5 cm", "cm"),
    ("1 cm", "1 Cm"),
    ("2.5", "25"),
    (r"\text{2 cats}", r"\text{3 cats}"),
    ("east", "West"),
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
    (r"10,\!000", "10000"),
    (r"\$5", "5"),
    (r"60^\circ", "60"),
    (r"60^{\circ}", r"60\text{ degrees}"),
    (r"3\frac{1}{2}", "3.5"),
    ("3 1/2", "7/2"),
    (r"-3\frac12", "-3.5"),
    (r"\frac12", "1/2"),
    (r"\frac1{12}", "1/12"),
    (r"\dfrac{a}{b}", "a/b"),
    (r"1\pm\sqrt{2}", r"1-\sqrt2, 1+\sqrt2"),
    (r"\{1,2\}", r"\{2, 1\}"),
    ("1,2", "2,1"),
    (r"\{1,2\}", "1,2"),
    ("x=1, x=2", "1,2"),
    (r"x=1\text{ or }x=2", "2,1"),
    ("1 and 2", "1,2"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix} 1 & 2 \\ 3 & \frac{8}{2} \end{bmatrix}"),
    (r"\text{East}", "east"),
    (r"\text{(A)}", "A"),
    ("(A)", "A"),
    (r"(-\infty, 3)\cup(5,\infty)", r"(5,\infty)\cup(-\infty,3)"),
    (r"\sqrt{8}", r"2\sqrt{2}"),
    (r"\sqrt[3]{27}", "3"),
    ("sqrt(2)/2", r"\frac{1}{\sqrt{2}}"),
    (r"2^{1901}\cdot2", "2^{1902}"),
    (r"0.\overline{3}", "1/3"),
    (r"\pi/2", r"\frac{\pi}{2}"),
    (r"5\text{ cm}", "5 cm"),
    ("5cm", "5 cm"),
    (r"5\text{ cm}^2", r"5\text{ cm}^2"),
    (r"5 \mbox{ cm}^2", r"5\text{ cm}^2"),
    (r"\log_2 8", "3"),
    (r"\sin\frac{\pi}{6}", "1/2"),
    (r"\sin 2x", r"2\sin x\cos x"),
    (r"e^{i\pi}", "-1"),
    ("5!", "120"),
    (r"\binom{5}{2}", "10"),
    ("y=2x+3", "2x+3"),
    ("2x+3y=6", "4x+6y=12"),
    ("x<5", "5>x"),
    ("1<x<2", "2>x>1"),
    (r"x \in [1,2]", "[1,2]"),
    ("3:4", "3 : 4"),
    ("12_5", "12_{5}"),
    ("12_5", r"12_{\text{five}}"),
    ("1e3", "1000"),
    (r"1.5\times10^{3}", "1500"),
    ("f(x)=x^2", "x^2"),
    ("|-3|", "3"),
    (r"-\frac{3}{4}", r"\frac{-3}{4}"),
    (r"(-\infty,0]", r"(-\infty, 0]"),
    (r"\emptyset", r"\{\}"),
    ("x_1", "x_{1}"),
    ("6-5i", "-5i+6"),
    ("50 percent", "0.5"),
    ("7.", "7"),
    (r"\left(\frac12,3\right)", "(0.5,3)"),
    ("xy", "yx"),
    (r"2 \cdot 3", "6"),
    (r"\frac{\sqrt{3}}{3}", r"1/\sqrt{3}"),
    (r"(\sqrt{2}+1)(\sqrt2-1)", "1"),
    ("1 000", "1000"),
    ("-x^2", "-(x^2)"),
    ("2^{-1}", "0.5"),
    (r"\sqrt{-1}", "i"),
    (r"\cos^2 x+\sin^2 x", "1"),
    (r"\tan^{-1} 1", r"\pi/4"),
    ("1000000000000000000000000000001", "1000000000000000000000000000001.0"),
    ("x^{1/2}", r"\sqrt{x}"),
    ("x>=3", r"x\ge 3"),
    (r"3 \text{ and } 4", "3,4"),
    ("5 centimeters", r"5\text{ cm}"),
    (r"3\text{ feet}", "3 ft"),
    ("1 hour", r"1\text{ hours}"),
    (r"12\text{ square inches}", r"12\text{ in}^2"),
    ("12 square meters", r"12\text{ m²}"),
    (r"7\text{ cm squared}", "7 cm²"),
    (r"60\text{ km/h}", "60 kilometers per hour"),
    ("60 mph", r"60\text{ miles per hour}"),
    (r"\frac{10}{3}\text{ m/s}", "10/3 m/s"),
    ("20 degrees Celsius", r"20^\circ\text{C}"),
    ("3 apples", r"3\text{ apple}"),
    (r"\mathbf{5}", "5"),
    (r"\boldsymbol{5}", "5"),
    ("3½", "7/2"),
    ("x² + 10⁻²", "x^2+0.01"),
    (r"7{:}30", "7:30"),
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


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so the largest is $\boxed 2$.", "2"),
        (r"so it is $\boxed{\boxed{3}}$", "3"),
        (r"it is \(\boxed\frac12\).", r"\frac12"),
        (r"it is $\boxed \frac{1 }{2}$ now", r"\frac{1 }{2}"),
        (r"\boxed{\frac{1}{\{2\}}}", r"\frac{1}{\{2\}}"),
        (r"$\boxed\$5$", r"\$5"),
        (r"\fbox{7}", "7"),
        (r"\boxed 12.", "12"),
        (r"\boxedx", None),
        ("So it is.\n\n# Answer\n\n320,000", "320,000"),
        ("# Answer\n\n1\n\n# Answer\n\n2", "2"),
        ("# Answer", None),
        ("Step 2: 2 + 3 = 5. The answer is: 5 ки", "5"),
        ("Step 2: 2 + 3 = 5. The answer is: 5", "5"),
        ("The answer is: ", None),
        ("#### 5 ки", "5"),
    ],
)
def test_endings_of_public_data(text, answer):
    assert final_answer(text) == answer


def test_a_verifier_reads_the_endings_it_is_told():
    text = "The answer is: 5 ки"
    assert MathVerifier({"q": "5"})("q", text)
    assert not MathVerifier({"q": "5"}, endings=["boxed", "####"])("q", text)
    assert MathVerifier({"q": "5"}, endings="The answer is:")("q", r"\boxed{4} The answer is: 5")
    assert MathVerifier({"q": "So 5.\n\n# Answer\n\n5"})("q", r"\boxed{5}")  # a whole solution as the right answer
    with pytest.raises(ConfigError, match=r"verifier: found the ending 'boxd', expected some of boxed, .*Did you mean 'boxed'"):
        MathVerifier({"q": "5"}, endings=["boxd"])
    with pytest.raises(ConfigError, match="verifier: found no endings, expected some of boxed"):
        MathVerifier({"q": "5"}, endings=[])


def test_it_works_outside_of_the_main_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append((same_answer("2/4", "1/2"), same_answer("2/5", "1/2"))))
    thread.start()
    thread.join()
    assert found == [(True, False)]


BEYOND = [
    "9^{9^{9^{9}}}",
    "9**9**9**9",
    "e^{e^{e^{100}}}",
    "(1000000!)!",
    "2^" * 150 + "2",
    "(" * 150 + "1" + ")" * 150,
    "sin" * 100 + "1",
    "*".join(["2^{65000}"] * 40),
    "1e9999" * 60,
    r"\sqrt" * 70 + "2",
    r"\frac" * 70,
    "-" * 300,
    r"\begin{pmatrix} 1 &",
    r"\log_1 5",
    "0^{-1}",
    "\x00\ud83d",
    "x" * 300 + "1",
]


@pytest.mark.parametrize("text", BEYOND)
def test_what_is_beyond_all_bounds_is_equal_to_the_same_text_alone(text):
    assert same_answer(text, f" {text} ")
    assert not same_answer(text, "3")
    assert not same_answer("3", text)
    assert not same_answer(text, text + "+1")


def test_a_thread_is_as_bounded_as_the_main_one():
    found = []
    thread = threading.Thread(target=lambda: found.append(same_answer("9^{9^{9^{9}}}", "3")))
    thread.start()
    thread.join()
    assert found == [False]


@given(st.lists(st.sampled_from(PIECES), max_size=25), st.lists(st.sampled_from(PIECES), max_size=25))
def test_any_text_has_a_verdict_that_does_not_depend_on_the_order(one, other):
    first, second = "".join(one), "".join(other)
    assert same_answer(first, second) == same_answer(second, first)
    assert same_answer(first, first) == bool(plain(first))
    final_answer(first)


@given(st.fractions(), st.integers(1, 10**12))
def test_fractions_are_exact(number, factor):
    expanded = rf"\frac{{{number.numerator * factor}}}{{{number.denominator * factor}}}"
    assert same_answer(expanded, f"{number.numerator}/{number.denominator}")
    near = number + Fraction(1, 10**40)
    assert not same_answer(expanded, f"{near.numerator}/{near.denominator}")


def test_long_answers_are_compared_as_text():
    assert not same_answer("1+" * 300 + "1", "301")
    assert same_answer("1+" * 300 + "1", "1+" * 300 + "1")
