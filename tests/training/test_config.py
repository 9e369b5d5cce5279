"""The configuration: checked when built, carried by JSON, and a schedule with known values."""

import json
from dataclasses import fields
from typing import get_args

import pytest
from support.training_cases import pairs as training_pairs

from paretokit.errors import ConfigError
from paretokit.preferences.records import Preferences
from paretokit.training.config import RewardConfig, TrainConfig, learning_rate
from paretokit.training.sampling import counted, order


def test_json_gives_the_same_value_back():
    config = TrainConfig(steps=7, pairs_per_backward=2, c=0.25, optimizer="sgd", threads=1, head_betas={"o0": 0.3})
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    reward = RewardConfig(steps=7, width=3, weights={"right": 2.0}, heldout=0, backbone_learning_rate=1e-5)
    assert RewardConfig.from_json(json.loads(json.dumps(reward.to_json()))) == reward


@pytest.mark.parametrize("kind", [TrainConfig, RewardConfig])
def test_every_field_is_documented_and_checked(kind):
    for item in fields(kind):
        assert item.metadata["help"]
        assert item.metadata["expected"]
        if item.type is bool:  # what is none is stopped by the type checker of the tests already
            assert not item.metadata["check"](-1)
            continue
        bad = "no such choice" if str in (item.type, *get_args(item.type)) else -1
        bad = "" if item.name in ("compiler", "step_token") else bad
        bad = {"o0": -1.0} if item.name in ("head_betas", "weights") else bad
        with pytest.raises(ConfigError, match=f"^{item.name}: found "):
            kind(**{item.name: bad})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("c", 1.0, "c: found 1.0, expected 0 <= c < 1."),
        ("c", -0.1, "c: found -0.1, expected 0 <= c < 1."),
        ("steps", 0, "steps: found 0, expected a whole number >= 1."),
        ("steps", True, "steps: found True, expected a whole number >= 1."),
        ("beta", 0, "beta: found 0, expected a number > 0."),
        ("head_betas", {"o0": 0}, "head_betas: found {'o0': 0}, expected numbers > 0 by objective, or nothing."),
        ("learning_rate", float("nan"), "learning_rate: found nan, expected a number > 0."),
        ("learning_rate", float("inf"), "learning_rate: found inf, expected a number > 0."),
        ("optimizer", "adam", "optimizer: found 'adam', expected one of adamw, sgd, rmsprop."),
        ("schedule", "step", "schedule: found 'step', expected one of cosine, linear, constant."),
        ("autocast", "float8", "autocast: found 'float8', expected one of bfloat16, float16, or nothing."),
        ("compiler", "", "compiler: found '', expected the name of a backend, or nothing."),
        ("on_non_finite", "ignore", "on_non_finite: found 'ignore', expected one of stop, skip."),
        ("warmup", 1.0, "warmup: found 1.0, expected 0 <= warmup < 1."),
    ],
)
def test_a_bad_value_names_field_finding_and_remedy(field, value, message):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**{field: value})
    assert str(caught.value) == f"{message} Change {field} in the TrainConfig or on the command line."


def test_fields_of_a_reward_model_are_those_of_training_with_their_own_defaults():
    ours, theirs = ({item.name: item for item in fields(kind)} for kind in (RewardConfig, TrainConfig))
    for name in ("steps", "learning_rate", "max_grad_norm", "schedule"):
        assert ours[name].metadata["check"] is theirs[name].metadata["check"]
    assert (RewardConfig().steps, TrainConfig().steps) == (200, 40)
    assert ours["learning_rate"].metadata["help"] == "peak learning rate of the outputs"
    with pytest.raises(ConfigError) as caught:
        RewardConfig(width=0)
    assert str(caught.value) == "width: found 0, expected a whole number >= 1, or nothing. Change width in the RewardConfig."
    with pytest.raises(ConfigError, match=r"RewardConfig: found the unknown field 'widht'.*Did you mean 'width'\?"):
        RewardConfig.from_json({"widht": 4})


def test_epochs_stand_in_place_of_steps():
    assert (TrainConfig().steps, TrainConfig().epochs) == (40, None)
    by_epochs = TrainConfig(epochs=2)
    assert (by_epochs.steps, by_epochs.epochs) == (None, 2)
    assert TrainConfig.from_json(json.loads(json.dumps(by_epochs.to_json()))) == by_epochs
    assert by_epochs.replace(seed=3).epochs == 2
    assert by_epochs.replace(steps=5) == TrainConfig(steps=5)
    assert TrainConfig(steps=5, seed=1).replace(epochs=0.5) == TrainConfig(epochs=0.5, seed=1)
    for build in (lambda: TrainConfig(steps=5, epochs=2), lambda: TrainConfig().replace(steps=5, epochs=2)):
        with pytest.raises(ConfigError) as caught:
            build()
        assert str(caught.value) == (
            "epochs: found epochs=2 and steps=5, expected one of them. Leave one out; on a copy of a configuration that has "
            "steps, replace(epochs=...) does."
        )
    with pytest.raises(ConfigError, match=r"^epochs: found 0, expected a number > 0"):
        TrainConfig(epochs=0)


@pytest.mark.parametrize(
    ("epochs", "pairs", "size", "steps"),
    [(1, 8, 4, 2), (1, 9, 4, 3), (2, 9, 4, 5), (0.1, 30, 3, 1), (0.5, 3, 8, 1), (3, 7, 7, 3), (1.5, 10, 5, 3)],
)
def test_epochs_become_steps_that_read_every_pair_so_often(epochs, pairs, size, steps):
    data = training_pairs(count=pairs)
    config = counted(TrainConfig(epochs=epochs, pairs_per_step=size, seed=4), data, ())
    assert config == TrainConfig(steps=steps, pairs_per_step=size, seed=4)
    read = [index for step in range(1, steps + 1) for index in order(pairs, step=step, size=size, seed=4)]
    assert min(read.count(index) for index in range(pairs)) >= int(epochs)
    assert len(read) - size < epochs * pairs <= len(read)  # one step fewer would leave some out


def test_an_epoch_of_heads_is_a_pass_over_the_largest_objective():
    data = training_pairs(count=10)
    labels = data.labels.nan_to_num().clone()
    labels[0, 4:] = float("nan")
    labels[1, :3] = float("nan")  # 4 and 7 of 10 pairs
    cut = Preferences(
        prompts=data.prompts,
        responses_a=data.responses_a,
        responses_b=data.responses_b,
        labels=labels,
        objectives=data.objectives,
    )
    assert counted(TrainConfig(epochs=1, pairs_per_step=2), cut, data.objectives).steps == 4
    assert counted(TrainConfig(epochs=1, pairs_per_step=2), cut, ()).steps == 5
    assert counted(TrainConfig(steps=3), cut, data.objectives).steps == 3


LATER = ("epochs", "combine_every", "head_noise")


def test_fields_that_came_later_do_not_change_names():
    """`identity` names runs: those of before, and those that use the fields."""
    before = {name: value for name, value in TrainConfig().to_json().items() if name not in LATER}
    assert TrainConfig().identity() == before
    assert TrainConfig.from_json(before) == TrainConfig()
    assert TrainConfig(combine_every=2).identity() == {**before, "combine_every": 2}


def test_an_unknown_field_suggests_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown field 'learning_rte'.*Did you mean 'learning_rate'\?"):
        TrainConfig.from_json({"learning_rte": 1.0})


def test_schedules_have_known_values():
    config = TrainConfig(steps=10, warmup=0.2, learning_rate=1.0, schedule="linear")
    rates = [learning_rate(config, step=step) for step in range(1, 11)]
    assert rates == pytest.approx([1 / 3, 2 / 3, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    cosine = [learning_rate(config.replace(schedule="cosine", warmup=0.0), step=step) for step in (1, 6)]
    assert cosine == pytest.approx([1.0, 0.5])
    assert learning_rate(config.replace(schedule="constant"), step=10) == 1.0


def test_the_learning_rate_is_positive_at_every_step():
    for schedule in ("cosine", "linear", "constant"):
        for steps in (1, 2, 3, 17):
            config = TrainConfig(steps=steps, schedule=schedule, warmup=0.5)
            assert all(learning_rate(config, step=step) > 0 for step in range(1, steps + 1))
