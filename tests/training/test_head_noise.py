"""Noise on copies of heads at the start, as MAHALO's release adds it."""

from dataclasses import replace

import pytest
import torch
from support.heads_cases import head_weights, same
from support.training_cases import pairs

from paretokit.errors import ConfigError
from paretokit.models.tiny import random_policy
from paretokit.training.config import TrainConfig
from paretokit.training.loop import iter_steps, iter_train
from paretokit.training.state import TrainState

RANKS = pytest.mark.parametrize("rank", [4, None], ids=["low-rank", "full"])
CONFIG = TrainConfig(
    steps=3, pairs_per_step=4, learning_rate=1e-2, schedule="constant", warmup=0, max_length=128, max_grad_norm=1e6
)
SGD = replace(CONFIG, optimizer="sgd")
WEIGHTS = (0.3, 0.7)


def run(policy, data, *, method="mah-dpo", weights=WEIGHTS, config=SGD):
    return list(iter_train(policy, data, method=method, weights=weights, config=config))


@RANKS
def test_noise_is_added_to_the_heads_before_the_first_step_and_not_to_the_reference(rank):
    data = pairs()
    policy = random_policy("gpt2", heads=data.objectives, head_rank=rank, dtype=torch.float64)
    base = policy.bank.base.weight
    config = replace(SGD, steps=1, learning_rate=1e-12, head_noise=0.01)
    [record] = run(policy, data, config=config)
    heads = [policy.bank.head(name) for name in data.objectives]
    moved = [(head.weight - base if rank is None else head.up @ head.down).detach() for head in heads]
    for noise in moved:
        assert float(noise.std()) == pytest.approx(0.01, rel=0.15)  # some thousand entries, of a rank of 4 or more
        assert abs(float(noise.mean())) < 0.002
    assert float((moved[0] - moved[1]).abs().max()) > 0.01  # another seed for each head, the first one perturbed too
    assert max(map(abs, record.margins)) > 1e-6  # the reference is that of the policy without noise
    quiet = random_policy("gpt2", heads=data.objectives, head_rank=rank, dtype=torch.float64)
    assert max(map(abs, run(quiet, data, config=replace(config, head_noise=0.0))[0].margins)) <= 1e-12


@RANKS
def test_noise_follows_the_seed_and_a_resumed_run_does_not_add_it_again(rank):
    data, config = pairs(), replace(CONFIG, steps=2, head_noise=0.01)

    def fresh():
        return random_policy(heads=data.objectives, head_rank=rank)

    arguments = {"method": "mah-dpo", "weights": WEIGHTS, "config": config, "references": {}}
    straight, stopped, resumed, other = fresh(), fresh(), fresh(), fresh()
    expected = [record for record, _ in iter_steps(straight, data, **arguments)]
    for record, state in iter_steps(stopped, data, **arguments):
        assert record == expected[0]
        kept = TrainState(state.step, {name: value.clone() for name, value in state.optimizer.items()})
        break
    resumed.load_trainable_state(stopped.trainable_state())
    assert [record for record, _ in iter_steps(resumed, data, **arguments, resume=kept)] == expected[1:]
    assert same(resumed.trainable_state(), straight.trainable_state())
    run(other, data, config=replace(config, seed=1, steps=1, learning_rate=1e-12))
    assert not same(head_weights(other), head_weights(stopped))


def test_noise_is_for_heads():
    with pytest.raises(ConfigError) as caught:
        iter_train(random_policy(), pairs(), weights=WEIGHTS, config=replace(CONFIG, head_noise=0.001))
    assert str(caught.value) == (
        "head_noise: found 0.001 for a policy without heads, expected 0. Leave it out, or load the policy with "
        "heads=['o0', 'o1']."
    )
