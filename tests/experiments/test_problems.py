"""Word problems: a file that cannot be used is named with its line, and a problem is on one side of the split."""

import json

import pytest

from paretokit.errors import ConfigError, DataError
from paretokit.experiments.problems import EXAMPLES, Problem, read_problems, split_problems, verifier_of

GOOD = [
    {"question": "Tom has 4 maps and finds 3. How many has he?", "answer": "4 + 3 = <<4+3=7>>7\n#### 7"},
    {"question": " Ann buys 2 pens at $1,000 each. What does she pay? ", "answer": "2 * 1,000 = 2,000\n#### 2,000"},
    {"question": "What is a half?", "answer": r"It is \boxed{\frac{1}{2}}.", "source": "ours"},
]


def written(folder, records):
    path = folder / "problems.jsonl"
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in records), encoding="utf-8")
    return path


def test_the_first_problems_of_a_file(tmp_path):
    found = read_problems(written(tmp_path, GOOD), count=2)
    assert found == (
        Problem(0, "Tom has 4 maps and finds 3. How many has he?", "7"),
        Problem(1, "Ann buys 2 pens at $1,000 each. What does she pay?", "2,000"),
    )


def test_a_problem_is_asked_after_the_examples():
    prompt = Problem(0, "What is 40 + 2?", "42").prompt
    assert prompt[:-1] == EXAMPLES
    assert prompt[-1] == {"role": "user", "content": "What is 40 + 2?"}


def test_the_examples_are_right_in_their_own_form():
    texts = [turn["content"] for turn in EXAMPLES]
    for question, solution, right in zip(texts[::2], texts[1::2], ("7", "26", "6"), strict=True):
        problem = Problem(0, question, right)
        assert verifier_of([problem])(problem.prompt, solution)


def test_the_verifier_knows_each_answer(tmp_path):
    problems = read_problems(written(tmp_path, GOOD), count=3)
    verifier = verifier_of(problems)
    assert [verifier(problem.prompt, "#### 7") for problem in problems] == [True, False, False]
    assert verifier(problems[1].prompt, "She pays $2000.\n#### $2000")
    assert verifier(problems[2].prompt, "#### 0.5")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": ', "broken JSON at column 14 (Expecting value), expected one complete object."),
        ("[1]", "found [1], expected an object with fields such as 'prompt'."),
        ({"answer": "#### 1"}, "field 'question': missing; found the fields answer."),
        ({"question": "Why?"}, "field 'answer': missing; found the fields question."),
        ({"question": 3, "answer": "#### 1"}, "field 'question': found 3, expected text (may be empty)."),
        ({"question": " ", "answer": "#### 1"}, "field 'question': found no text, expected a problem."),
        (
            {"question": "Why?", "answer": "It is 42."},
            "field 'answer': found 'It is 42.', expected a solution that ends with a line such as '#### 42'.",
        ),
        (GOOD[0], "field 'question': found the question of {path}, line 1 again, expected each once."),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path, line, message):
    path = written(tmp_path, [*GOOD, line])
    with pytest.raises(DataError) as error:
        read_problems(path, count=2)
    _, _, found = str(error.value).partition("line 4")
    assert str(error.value).startswith(f"{path}, line 4")
    assert found.lstrip(":, ") == f"{message.format(path=path)} Correct the record, or remove the line."


def test_too_few_problems(tmp_path):
    path = written(tmp_path, GOOD)
    with pytest.raises(DataError) as error:
        read_problems(path, count=4)
    assert str(error.value) == f"{path}: found 3 problems, expected at least 4. Ask for fewer."
    with pytest.raises(ConfigError) as error:
        read_problems(path, count=1)
    assert str(error.value) == ("problems: found 1, expected at least 2, some to train on and some to evaluate on. Raise it.")


def test_every_problem_is_on_one_side():
    problems = [Problem(number, f"What is {number} + 1?", str(number + 1)) for number in range(11)]
    for evaluated, count in ((0.5, 6), (0.2, 3), (1, 1)):
        training, evaluation = split_problems(problems, evaluated=evaluated)
        assert len(evaluation) == count
        assert sorted((*training, *evaluation)) == problems
        assert (training, evaluation) == split_problems(problems, evaluated=evaluated)
    with pytest.raises(DataError, match="problems: 11 problems on 11 prompts leave none to train on with test=11"):
        split_problems(problems, evaluated=11)
