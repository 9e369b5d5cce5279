"""Judges of the worlds: exact without noise, as noisy as asked, and the same for the same text."""

import statistics

import pytest

from paretokit.errors import ConfigError, DataError
from paretokit.preferences.worlds import world
from paretokit.preferences.worlds.arithmetic import choices, solved
from paretokit.preferences.worlds.build import content_of
from paretokit.preferences.worlds.judges import WorldJudge, math_solved, tutoring_understood
from paretokit.preferences.worlds.tutoring import TUTORING

MATH = world("math")
PROMPTS = MATH.prompts[:40]
ANSWERS = [(prompt, text) for prompt in PROMPTS for text in list(choices(content_of(prompt)))[::7]]


def test_without_noise_the_judge_is_the_scorer():
    judge = WorldJudge(world="math", objective="engagement")
    assert [judge(*answer) for answer in ANSWERS] == [MATH.scorers["engagement"](*answer) for answer in ANSWERS]


def test_the_threshold_moves_what_is_positive():
    low, high = (WorldJudge(world="math", objective="accuracy", threshold=threshold) for threshold in (0.2, 0.8))
    scores = [MATH.scorers["accuracy"](*answer) for answer in ANSWERS]
    assert [low(*answer) > 0.5 for answer in ANSWERS] == [score > 0.2 + 1e-12 for score in scores]
    assert sum(high(*answer) > 0.5 for answer in ANSWERS) < sum(low(*answer) > 0.5 for answer in ANSWERS)


def noise_of(judge):
    """What the judge adds where nothing is cut off."""
    exact = WorldJudge(world=judge.world, objective=judge.objective)
    pairs = [(exact(*answer), judge(*answer)) for answer in ANSWERS]
    return [noisy - score for score, noisy in pairs if 0.3 < score < 0.7]


def test_noise_has_the_size_asked_for_and_follows_from_the_text():
    judge = WorldJudge(world="math", objective="engagement", noise=0.05)
    noise = noise_of(judge)
    assert len(noise) > 50
    assert abs(statistics.mean(noise)) < 0.02
    assert statistics.stdev(noise) == pytest.approx(0.05, rel=0.25)
    assert noise == noise_of(WorldJudge(world="math", objective="engagement", noise=0.05))
    assert noise != noise_of(WorldJudge(world="math", objective="engagement", noise=0.05, seed=1))
    wild = WorldJudge(world="math", objective="engagement", noise=5.0)
    assert {min(1, max(0, round(wild(*answer)))) for answer in ANSWERS} == {0, 1}
    assert all(0 <= wild(*answer) <= 1 for answer in ANSWERS)


def test_the_verifier_is_the_exact_check():
    found = [math_solved(*answer) for answer in ANSWERS]
    assert found == [solved(content_of(prompt), text) for prompt, text in ANSWERS]
    assert set(found) == {True, False}


def test_the_verifier_of_dialogues_is_full_accuracy():
    """Where nothing false was said: the score of accuracy is 1 exactly where everything is understood, untold."""
    task = world("tutoring")
    turns = [(prompt, text) for prompt in task.prompts[:40] for text in TUTORING.choices(content_of(prompt))]
    found = [tutoring_understood(*turn) for turn in turns]
    assert found == [task.scorers["accuracy"](*turn) == 1 for turn in turns]
    assert set(found) == {True, False}


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: WorldJudge(world="maths", objective="accuracy"), DataError, "Did you mean 'math'?"),
        (
            lambda: WorldJudge(world="math", objective="acuracy"),
            DataError,
            "judge: unknown objective 'acuracy' of the world 'math', expected one of accuracy, engagement. Did you "
            "mean 'accuracy'?",
        ),
        (
            lambda: WorldJudge(world="math", objective="accuracy", noise=-1.0),
            ConfigError,
            "judge: noise is -1.0; expected a finite number of at least 0.",
        ),
        (
            lambda: WorldJudge(world="math", objective="accuracy", threshold=float("nan")),
            ConfigError,
            "judge: threshold is nan; expected a finite number.",
        ),
        (
            lambda: math_solved("Count", "x"),
            DataError,
            "prompt: expected chat messages, the user's of one line first and last, found 'Count'",
        ),
    ],
)
def test_messages(call, kind, message):
    with pytest.raises(kind) as error:
        call()
    assert message in str(error.value)
