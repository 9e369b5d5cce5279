"""A reward model that guided texts should not be what evaluates them: `score` warns, and only then."""

import warnings

import pytest
import torch
from support.reward_cases import reward_model

from paretokit.decoding.guided import guided_generate
from paretokit.decoding.sample import generate
from paretokit.experiments.score import score
from paretokit.models.tiny import random_policy

KINDS = {"right": "class"}


@pytest.fixture(scope="module")
def made():
    policy = random_policy(dtype=torch.float64)
    return guided_generate(
        policy, ["hello"], reward_model=reward_model(kinds=KINDS), weights=[1], candidates=2, max_new_tokens=6
    )


def test_the_guide_as_judge_is_warned_of(made):
    with pytest.warns(UserWarning, match=r"score: 'right' is judged by reward model .* which also guided these texts"):
        frame = score(made, reward_model(kinds=KINDS).scorers())
    assert frame["right"].between(0, 1).all()


def test_another_judge_and_unguided_texts_are_not(made):
    plain = generate(random_policy(dtype=torch.float64), ["hello"], max_new_tokens=6)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        score(made, reward_model(kinds=KINDS, seed=1).scorers())
        score(made, {"right": lambda prompt, text: 1.0})
        score(plain, reward_model(kinds=KINDS).scorers())
    assert not heard


def test_a_scorer_says_what_the_model_says_of_the_whole_text():
    model = reward_model(kinds={"right": "class", "kind": "preference"})
    for place, scorer in enumerate(model.scorers().values()):
        assert scorer("2 + 2 =", "That is 4.") == model.step_scores(["2 + 2 ="], [["That is 4."]])[0, 0, place].item()
