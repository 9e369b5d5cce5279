"""Label rules: targets against numbers worked by hand, majorities, when early stopping may change a label, agreement."""

import math
from itertools import product
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretokit.errors import ConfigError, DataError
from paretokit.maths.proportions import wilson
from paretokit.preferences.step_labels import StepLabels
from paretokit.training.labels import (
    Agreement,
    Budget,
    agreement,
    discounted,
    hindsight_target,
    majority,
    unit_target,
)

# --- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcomes", "remaining", "score", "published", "unit"),
    [
        # (0.9^2 + 0 + 0.9) / 3 = 1.71 / 3
        ([1, 0, 1], [2, 5, 1], None, 0.57, 0.57),
        # with r = 0.8: 0.8 + 0.57, and half of it
        ([1, 0, 1], [2, 5, 1], 0.8, 1.37, 0.685),
        # the last step of a right answer with r = 1: the top of both ranges
        ([1], [0], 1.0, 2.0, 1.0),
        ([0], [0], 0.0, 0.0, 0.0),
        # r = 0 is a score, none is not: only the first is halved
        ([1], [0], 0.0, 1.0, 0.5),
        ([1], [0], None, 1.0, 1.0),
        # graded outcomes: (0.5 * 0.9 + 0.25) / 2 = 0.35
        ([0.5, 0.25], [1, 0], None, 0.35, 0.35),
    ],
)
def test_targets_by_hand(outcomes, remaining, score, published, unit):
    assert hindsight_target(outcomes, remaining, gamma=0.9, score=score) == pytest.approx(published, abs=1e-12)
    assert unit_target(outcomes, remaining, gamma=0.9, score=score) == pytest.approx(unit, abs=1e-12)


ROLLOUTS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9)), min_size=1, max_size=8)


@given(ROLLOUTS, st.floats(0.01, 1), st.floats(0, 1) | st.none())
def test_ranges_and_the_slow_twin(rollouts, gamma, score):
    outcomes, remaining = zip(*rollouts, strict=True)
    published = hindsight_target(outcomes, remaining, gamma=gamma, score=score)
    terms = [(score or 0.0) + gamma**steps * outcome for outcome, steps in rollouts]
    assert published == pytest.approx(sum(terms) / len(terms), abs=1e-12)
    assert 0 <= published <= 2 + 1e-12
    assert 0 <= unit_target(outcomes, remaining, gamma=gamma, score=score) <= 1 + 1e-12


def test_without_discount_the_target_is_the_share_of_successes():
    assert hindsight_target([1, 0, 1, 1], [3, 1, 0, 2], gamma=1.0) == 0.75
    assert discounted([1, 1], [0, 3], gamma=0.5) == [1, 0.125]


# --- majorities ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "label"),
    [([0.6], 1), ([0.5], 0), ([1, 0], 0), ([1, 1, 0], 1), ([0.51, 0.51, 0.0], 1), ([0.9, 0.4, 0.4], 0)],
)
def test_majority_by_hand(answers, label):
    """Votes are counted, not probabilities averaged; half is no majority."""
    assert majority(answers) == label


def stops_at(budget, answers):
    """How many of the answers a prefix gets to hear."""
    return next(look for look in budget.looks if budget.settles_majority(answers[:look]))


@pytest.mark.parametrize(("rollouts", "every"), [(1, 1), (7, 2), (8, 4), (9, 1)])
def test_at_confidence_one_no_label_changes(rollouts, every):
    budget = Budget(rollouts=rollouts, every=every, confidence=1)
    saved = 0
    for answers in product((0.0, 1.0), repeat=rollouts):
        look = stops_at(budget, answers)
        assert majority(answers[:look]) == majority(answers)
        saved += rollouts - look
    assert saved > 0 or rollouts == 1


def test_a_hastier_rule_would_change_labels():
    """The planted failure: stopping at the first look."""
    changed = [answers for answers in product((0.0, 1.0), repeat=7) if majority(answers[:2]) != majority(answers)]
    assert changed


def changed_share(budget, share):
    """The probability that the settled majority is not that of all rollouts, by enumeration over counts."""
    total, reached, done, changed = budget.rollouts, {0: 1.0}, 0, 0.0
    for look in budget.looks[:-1]:
        fresh = look - done
        spread: dict[int, float] = {}
        for positive, mass in reached.items():
            for more in range(fresh + 1):
                spread[positive + more] = spread.get(positive + more, 0) + mass * binomial(fresh, more, share)
        done, reached = look, {}
        for positive, mass in spread.items():
            answers = [1.0] * positive + [0.0] * (look - positive)
            if not budget.settles_majority(answers):
                reached[positive] = mass
                continue
            left = total - look
            label = majority(answers)
            changed += mass * sum(
                binomial(left, more, share) for more in range(left + 1) if (2 * (positive + more) > total) != label
            )
    return changed


def binomial(trials, successes, share):
    return comb(trials, successes) * share**successes * (1 - share) ** (trials - successes)


def test_how_often_the_default_budget_changes_a_majority():
    """What the docstring of `Budget` says: at most 1.8 %, near one half."""
    shares = [changed_share(Budget(), step / 100) for step in range(101)]
    assert max(shares) < 0.018
    assert max(shares) > 0.015  # the check sees something
    assert shares.index(max(shares)) in range(40, 61)
    assert changed_share(Budget(confidence=1), 0.5) == 0


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=16), st.sampled_from([0.8, 0.95, 0.99]))
def test_a_certain_majority_has_its_interval_on_one_side(answers, confidence):
    budget = Budget(confidence=confidence)
    positive = sum(answers)
    _, low, high = wilson(positive / len(answers), len(answers), level=confidence)
    certain = low > 0.5 or high < 0.5
    fixed = positive > 8 or len(answers) - positive >= 8
    assert budget.settles_majority(answers) == (certain or fixed or len(answers) == 16)


def test_values_settle_where_their_interval_is_short():
    budget = Budget(rollouts=64, width=0.25)
    assert not budget.settles_value([0.0] * 8)
    assert budget.settles_value([0.0] * 12)  # 0 to 0.2425
    assert not budget.settles_value([0.0, 1.0] * 8)
    assert budget.settles_value([0.0, 1.0] * 32)
    assert not Budget(rollouts=64, confidence=1).settles_value([0.0] * 63)


def test_without_confidence_all_rollouts_are_made():
    budget = Budget(rollouts=10, every=4, confidence=None)
    assert budget.looks == (4, 8, 10)
    assert not budget.settles_majority([1.0] * 9)
    assert not budget.settles_value([1.0] * 9)
    assert budget.settles_majority([1.0] * 10)
    assert budget.settles_value([1.0] * 10)
    assert Budget(rollouts=3, every=4).looks == (3,)


# --- agreement -----------------------------------------------------------------------------------------------------


def labelled(row, *, text="A."):
    steps = [text] + ["x"] * (len(row) - 1)
    return StepLabels(kinds={"calm": "class"}, prompts=["p"], steps=[steps], labels=[{"calm": row}])


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        # observed 3/4, by chance 1/2 * 1/4 + 1/2 * 3/4 = 1/2: kappa (3/4 - 1/2) / (1/2)
        ([1, 1, 0, 0], [1, 0, 0, 0], Agreement(0.75, 0.5, 4)),
        ([1, 0], [0, 1], Agreement(0.0, -1.0, 2)),
        ([1, 0, None], [0.9, 0.1, 1], Agreement(1.0, 1.0, 2)),
    ],
)
def test_agreement_by_hand(one, two, expected):
    assert agreement(labelled(one), labelled(two), objective="calm") == pytest.approx(expected)


def test_kappa_is_undefined_without_variation():
    assert math.isnan(agreement(labelled([1, 1]), labelled([1, 1]), objective="calm").kappa)


# --- messages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: discounted([1], [0], gamma=0),
            ConfigError,
            "gamma: found 0, expected a number above 0, at most 1 (no discount).",
        ),
        (
            lambda: discounted([1, 0], [0], gamma=0.9),
            DataError,
            "rollouts: found 2 outcomes and 1 numbers of steps, expected one of each for at least one rollout.",
        ),
        (
            lambda: hindsight_target([1, 2], [0, 1], gamma=0.9),
            DataError,
            "rollout 1: found the outcome 2 after 1 steps, expected an outcome in [0, 1] and at least 0 steps. Scale what the "
            "verifier returns.",
        ),
        (
            lambda: hindsight_target([1], [0], gamma=0.9, score=math.inf),
            DataError,
            "step score: found inf, expected a finite number. Correct what gives the scores.",
        ),
        (
            lambda: unit_target([1], [0], gamma=0.9, score=1.5),
            DataError,
            "step score: found 1.5, expected a number in [0, 1]. Scale it, or take hindsight_target.",
        ),
        (lambda: majority([]), DataError, "majority: found no answers, expected at least one rollout that was judged."),
        (lambda: Budget(rollouts=0), ConfigError, "budget: rollouts is 0; expected at least 1."),
        (lambda: Budget(every=0), ConfigError, "budget: every is 0; expected at least 1."),
        (
            lambda: Budget(confidence=95.0),
            ConfigError,
            "budget: confidence is 95.0; expected a number above 0, at most 1 (stop where nothing can change), or None (all "
            "rollouts).",
        ),
        (lambda: Budget(width=1.0), ConfigError, "budget: width is 1.0; expected a number between 0 and 1."),
        (
            lambda: agreement(labelled([1]), labelled([1], text="B."), objective="calm"),
            DataError,
            "agreement: found different prompts or steps, expected two labellings of the same responses, in order.",
        ),
        (
            lambda: agreement(labelled([1]), labelled([None]), objective="calm"),
            DataError,
            "agreement: found no step that both have labelled for 'calm', expected at least one.",
        ),
    ],
)
def test_messages(call, kind, message):
    with pytest.raises(kind) as error:
        call()
    assert str(error.value) == message
