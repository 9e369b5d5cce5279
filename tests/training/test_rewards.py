"""The loop of reward models by equivalence: accumulation, cached features, seeds, one objective alone; and a slow twin."""

import math
import re

import pytest
import torch
from support.models_cases import wide
from support.reward_cases import KINDS, all_labels, mean_by_hand, reward_model, step_labels
from support.training_cases import pairs

from paretokit.errors import ConfigError, NonFiniteError
from paretokit.models.rewards import RewardModel
from paretokit.preferences.step_labels import StepLabels
from paretokit.training import rewards
from paretokit.training.config import BACKBONE_RATE, RewardConfig, learning_rate
from paretokit.training.rewards import RewardRecord, iter_reward_train, live_states, losses_of, prepare

CONFIG = RewardConfig(steps=4, examples_per_step=4, heldout=0.3, learning_rate=0.02)
ADAPTERS = pytest.mark.parametrize("adapter", ["none", "lora", "full"])


def fresh(adapter: str = "none", *, kinds: dict[str, str] | None = None, width: int | None = None) -> RewardModel:
    """GPT-2 has no float32 islands."""
    return reward_model("gpt2", adapter=adapter, kinds=kinds, width=width, moved=False)


def trained(
    adapter: str = "none",
    *,
    labels: object = None,
    kinds: dict[str, str] | None = None,
    width: int | None = None,
    **changes: object,
) -> tuple[RewardModel, list[RewardRecord]]:
    model = fresh(adapter, kinds=kinds, width=width)
    records = list(iter_reward_train(model, labels or all_labels(), config=CONFIG.replace(**changes)))
    return model, records


def apart(one: RewardModel, other: RewardModel) -> float:
    """How far the weights of two models are apart at most."""
    assert list(one.trainable) == list(other.trainable)
    return max(float((part - other.trainable[name]).detach().abs().max()) for name, part in one.trainable.items())


def same_records(one: list[RewardRecord], other: list[RewardRecord], *, within: float) -> None:
    for a, b in zip(one, other, strict=True):
        assert (a.step, a.objectives, a.examples, a.tokens, a.learning_rate) == (
            b.step,
            b.objectives,
            b.examples,
            b.tokens,
            b.learning_rate,
        )
        assert a.losses == pytest.approx(b.losses, abs=within)
        assert a.gradient_norms == pytest.approx(b.gradient_norms, abs=within)
        assert a.backbone_norm == pytest.approx(b.backbone_norm, abs=within)


# equivalences


@ADAPTERS
def test_micro_batches_are_the_whole_batch(adapter: str) -> None:
    whole, records = trained(adapter)
    for changes in ({"examples_per_backward": 1}, {"examples_per_backward": 3}, {"tokens_per_backward": 60}):
        parts, others = trained(adapter, **changes)
        same_records(records, others, within=1e-11)
        assert apart(whole, parts) < 1e-10
    assert apart(whole, fresh(adapter)) > 1e-3  # planted: it has moved


@ADAPTERS
def test_equal_seeds_are_equal_runs_bit_for_bit(adapter: str) -> None:
    state = torch.get_rng_state()
    one, records = trained(adapter)
    other, others = trained(adapter)
    assert records == others
    assert apart(one, other) == 0
    assert torch.equal(state, torch.get_rng_state())
    _, turned = trained(adapter, seed=1)
    assert turned != records


@pytest.mark.parametrize("width", [None, 6])
def test_cached_features_are_those_read_at_every_step(monkeypatch: pytest.MonkeyPatch, width: int | None) -> None:
    cached, records = trained(width=width)
    monkeypatch.setattr(rewards, "cached_states", lambda model, examples, chosen: live_states(model, examples))
    live, others = trained(width=width)
    same_records(records, others, within=1e-11)
    assert apart(cached, live) < 1e-10


def test_a_frozen_backbone_is_read_once() -> None:
    model = fresh()
    read: list[int] = []
    plain = model.policy.reader.hidden

    def counted(rows, places, **options):
        read.append(len(places))
        return plain(rows, places, **options)

    model.policy.reader.hidden = counted
    prepared = prepare(model, all_labels(), config=CONFIG)
    records = list(rewards.reward_steps(model, prepared, config=CONFIG.replace(steps=9)))
    examples = prepared.examples
    assert sum(read) == sum(examples.first[e + 1] - examples.first[e] for e in prepared.split.training)
    assert {record.tokens for record in records} == {0}
    assert {record.backbone_norm for record in records} == {0.0}


@pytest.mark.parametrize("width", [None, 6])
@pytest.mark.parametrize("name", ["worth", "right", "kind"])
def test_an_objective_alone_is_that_objective_among_others(name: str, width: int | None) -> None:
    """Frozen backbone, separate outputs: neither data order, norm clip nor start depends on the company."""
    labels = [step_labels(), pairs(objectives=1, count=8).named("pairs")]
    kinds = {"worth": "value", "right": "class", "o0": "preference"}
    name = "o0" if name == "kind" else name
    mixed, records = trained(labels=labels, kinds=kinds, width=width, max_grad_norm=0.05, heldout=0)
    own = labels[1] if name == "o0" else labels[0].select(objectives=[name])
    alone, others = trained(labels=own, kinds={name: kinds[name]}, width=width, max_grad_norm=0.05, heldout=0)
    place = list(kinds).index(name)
    assert [r.losses[place] for r in records] == pytest.approx([r.losses[0] for r in others], abs=1e-12)
    assert max(r.gradient_norms[place] for r in records) > 0.05  # the clip acts
    for kind, part in alone.outputs.parts[name].items():
        # a preference is blind to its bias, whose gradient is rounding: AdamW divides 1e-17 by its epsilon, 1e-8
        within = 1e-9 if (name, kind) == ("o0", "bias") else 1e-12
        torch.testing.assert_close(mixed.outputs.parts[name][kind], part, rtol=0, atol=within)


def test_equal_objectives_learn_alike_and_a_weight_scales_a_gradient() -> None:
    labels = step_labels(kinds={"a": "class"})
    both = StepLabels(
        kinds={"a": "class", "b": "class"},
        prompts=labels.prompts,
        steps=labels.steps,
        labels=[{"a": row["a"], "b": row["a"]} for row in labels.labels],
    )
    kinds = {"a": "class", "b": "class"}

    def equal_start() -> RewardModel:
        model = fresh("lora", kinds=kinds)
        with torch.no_grad():
            for kind, part in model.outputs.parts["b"].items():
                part.copy_(model.outputs.parts["a"][kind])
        return model

    config = CONFIG.replace(max_grad_norm=1e9, optimizer="sgd")
    plain, scaled = equal_start(), equal_start()
    records = list(iter_reward_train(plain, both, config=config))
    for kind, part in plain.outputs.parts["a"].items():
        torch.testing.assert_close(plain.outputs.parts["b"][kind], part, rtol=0, atol=1e-13)
    first = next(iter(iter_reward_train(scaled, both, config=config.replace(weights={"b": 3.0}))))
    assert first.losses == pytest.approx(records[0].losses)
    assert first.gradient_norms[0] == pytest.approx(records[0].gradient_norms[0])
    assert first.gradient_norms[1] == pytest.approx(3 * records[0].gradient_norms[1])
    assert first.backbone_norm == pytest.approx(2 * records[0].backbone_norm)  # 1 + 3 of two equal ones


def test_leaving_the_loop_keeps_what_was_learnt() -> None:
    model = fresh("lora")
    loop = iter_reward_train(model, all_labels(), config=CONFIG)
    next(loop)
    next(loop)
    loop.close()
    straight = fresh("lora")
    for record, _ in zip(iter_reward_train(straight, all_labels(), config=CONFIG), range(2), strict=False):
        if record.step == 2:
            break
    assert apart(model, straight) == 0
    assert model.policy.compute == straight.policy.compute


# a slow twin of the first step


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_the_first_step_by_hand(adapter: str) -> None:
    """Losses from the scores of the start, text by text; the outputs after plain gradient descent on them."""
    model, twin = fresh(adapter), fresh(adapter)
    config = CONFIG.replace(optimizer="sgd", steps=1, max_grad_norm=1e9, heldout=0, examples_per_step=5)
    prepared = prepare(model, all_labels(), config=config)
    examples = prepared.examples
    drawn = rewards.draw_for(examples, prepared.split.training, size=5, seed=0)(1)
    [record] = rewards.reward_steps(model, prepared, config=config)
    losses: list[torch.Tensor] = []
    for row, kind in enumerate(KINDS.values()):
        by_example = []
        for column, example in enumerate(drawn.examples):
            count = round(5 * float(drawn.shares[row, column]))
            if not count:
                continue
            raw = [twin.outputs(twin.hidden([text]))[:, row] for text in examples.texts[example]]
            wanted = examples.labels[row, examples.first[example] : examples.first[example + 1]]
            if kind == "preference":
                terms = [-torch.nn.functional.logsigmoid(wanted[0] * (raw[0][0] - raw[1][0]))]
            elif kind == "value":
                terms = [(z - y) ** 2 for z, y in zip(raw[0], wanted, strict=False) if not y.isnan()]
            else:
                terms = [
                    -torch.nn.functional.logsigmoid(z if y else -z) for z, y in zip(raw[0], wanted, strict=False) if y == y
                ]
            by_example += [sum(terms) / len(terms)] * count
        assert len(by_example) == 5
        losses.append(sum(by_example) / 5)
    assert record.losses == pytest.approx([float(loss.detach()) for loss in losses], abs=1e-12)
    assert record.examples == len(drawn.examples)
    parameters = twin.outputs.parameters()
    gradients = torch.autograd.grad(sum(losses), list(parameters.values()))
    rate = learning_rate(config, step=1)
    for (name, part), gradient in zip(parameters.items(), gradients, strict=True):
        torch.testing.assert_close(model.trainable[name], part - rate * gradient, rtol=0, atol=1e-12)


def test_losses_by_kind() -> None:
    scores = torch.tensor([[1.0, 3.0, 5.0]] * 3, dtype=torch.float64)
    nan = float("nan")
    labels = torch.tensor([[2.0, nan, 5.0], [1.0, nan, 0.0], [nan, -1.0, nan]], dtype=torch.float64)
    found = losses_of(list(KINDS.values()), scores, labels)
    expected = [[1, 0, 0], [math.log1p(math.exp(-1)), 0, 5 + math.log1p(math.exp(-5))], [0, math.log1p(math.exp(-2)), 0]]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)
    assert mean_by_hand([[1.0, 3.0], [4.0]]) == 3.0


def test_missing_labels_are_not_counted() -> None:
    """A label that is taken away changes the mean as if it had never been there; a record without labels is not drawn."""
    kinds = {"a": "value"}

    def loss_of(labels: list[list[float | None]]) -> float:
        data = StepLabels(
            kinds=kinds,
            prompts=[f"p{i}" for i in range(len(labels))],
            steps=[["x", "y"]] * len(labels),
            labels=[{"a": row} for row in labels],
        )
        model = fresh(kinds=kinds)
        with torch.no_grad():
            for part in model.outputs.parameters().values():
                part.zero_()
        config = CONFIG.replace(heldout=0, examples_per_step=len([row for row in labels if any(x is not None for x in row)]))
        return next(iter(iter_reward_train(model, data, config=config))).losses[0]

    assert loss_of([[2.0, None], [1.0, 3.0]]) == pytest.approx((4 + (1 + 9) / 2) / 2)
    assert loss_of([[2.0, None], [None, None], [1.0, 3.0]]) == pytest.approx((4 + 5) / 2)


# what a step does


@ADAPTERS
def test_training_learns_and_says_what_it_read(adapter: str) -> None:
    model, records = trained(adapter, steps=30, learning_rate=0.1, warmup=0.0, heldout=0)
    assert [record.step for record in records] == list(range(1, 31))
    for place in range(3):
        assert sum(r.losses[place] for r in records[-5:]) < sum(r.losses[place] for r in records[:5])
    assert all((record.tokens > 0) is (adapter != "none") for record in records)
    assert all((record.backbone_norm > 0) is (adapter != "none") for record in records)
    assert not model.policy.model.training


def test_learning_rates_of_backbone_and_outputs() -> None:
    frozen = fresh("lora")
    before = frozen.policy.trainable_state()
    config = CONFIG.replace(optimizer="sgd", steps=1, heldout=0)
    slow, fast = fresh("lora"), fresh("lora")
    list(iter_reward_train(slow, all_labels(), config=config))
    list(iter_reward_train(fast, all_labels(), config=config.replace(backbone_learning_rate=10 * BACKBONE_RATE)))
    for name, start in before.items():
        one, ten = (model.trainable[name].detach() - start for model in (slow, fast))
        torch.testing.assert_close(ten, 10 * one, rtol=1e-6, atol=1e-15)
    assert all(torch.equal(slow.trainable[name], part) for name, part in fast.outputs.parameters().items())


def test_the_norm_clip_acts_on_each_part_by_itself() -> None:
    config = CONFIG.replace(optimizer="sgd", steps=1, heldout=0, max_grad_norm=1e-3, warmup=0.0, schedule="constant")
    model = fresh("lora")
    before = {name: part.detach().clone() for name, part in model.trainable.items()}
    [record] = iter_reward_train(model, all_labels(), config=config)
    assert min(record.gradient_norms) > 1e-3
    for name in KINDS:
        moved = [part - before[f"outputs.{name}.{kind}"] for kind, part in model.outputs.parts[name].items()]
        norm = math.sqrt(sum(float(part.detach().square().sum()) for part in moved))
        assert norm == pytest.approx(1e-3 * 0.02, rel=1e-6)


@pytest.mark.parametrize("changes", [{"checkpointing": True}, {"autocast": "bfloat16"}])
def test_how_the_backbone_is_run(changes: dict[str, object]) -> None:
    with wide():
        plain, records = trained("lora")
        other, others = trained("lora", **changes)
    exact = "checkpointing" in changes
    assert others[0].losses == pytest.approx(records[0].losses, abs=1e-11 if exact else 0.05)
    assert apart(plain, other) < (1e-10 if exact else 0.2)
    assert (others[0].losses == records[0].losses) is exact
    assert other.policy.compute == plain.policy.compute  # scores are read as the model is


# errors


def test_a_step_that_is_not_finite_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the objective whose output is at fault, although the backbone's gradient is not finite either."""
    model = fresh("lora")
    with torch.no_grad():
        model.outputs.parts["right"]["bias"].fill_(math.nan)
    before = {name: part.detach().clone() for name, part in model.trainable.items()}
    with pytest.raises(NonFiniteError) as caught:
        list(iter_reward_train(model, all_labels(), config=CONFIG))
    assert re.fullmatch(
        r"step 1, objective 'right': found a loss of nan and, of its output, a gradient of norm nan, expected finite ones. The "
        r"step was not taken. Lower learning_rate, or look at the examples \[[\d, ]+\]\.",
        str(caught.value),
    )
    after = model.trainable.items()
    assert all(torch.equal(part.nan_to_num(9), before[name].nan_to_num(9)) and part.grad is None for name, part in after)
    model.outputs.parts["right"]["bias"].data.zero_()
    own = set(map(id, model.policy.trainable.values()))
    plain = rewards.norm_of
    monkeypatch.setattr(rewards, "norm_of", lambda parts: math.inf if id(parts[0]) in own else plain(parts))
    with pytest.raises(NonFiniteError, match="step 1, the backbone: found a gradient of norm inf, expected finite ones"):
        next(iter_reward_train(model, all_labels(), config=CONFIG))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: iter_reward_train(fresh(kinds={"worth": "value"}), step_labels()),
            "labels: found the objectives worth (value), right (class), expected worth (value), those of the reward model. "
            "Make it with new_reward_model(policy, kinds=kinds_of(labels)).",
        ),
        (
            lambda: iter_reward_train(fresh(), all_labels(), config=CONFIG.replace(weights={"wort": 1.0})),
            "weights: found 'wort', expected some of worth, right, kind. Did you mean 'worth'? Correct or remove the name.",
        ),
        (
            lambda: iter_reward_train(fresh(), all_labels(), config=CONFIG.replace(backbone_learning_rate=1e-4)),
            "backbone_learning_rate: found 0.0001 for a frozen backbone (adapter='none'), expected nothing: it is read once, "
            "and not trained. Leave it out, or load the policy with adapter='lora'.",
        ),
        (
            lambda: iter_reward_train(fresh(), all_labels(), config=CONFIG.replace(checkpointing=True)),
            "checkpointing: found True for a frozen backbone (adapter='none'), expected nothing: it is read once, and not "
            "trained. Leave it out, or load the policy with adapter='lora'.",
        ),
    ],
)
def test_messages_come_before_the_first_step(call, message) -> None:
    with pytest.raises(ConfigError) as caught:
        call()
    assert str(caught.value) == message
