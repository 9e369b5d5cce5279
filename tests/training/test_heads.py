"""Training of action heads: each head on its own rows, the backbone on all; MAH-DPO and MAH-RACO against slow twins written on
plain logits; data of unequal size, each pair once; and what is refused.

Gradients are compared relative to the largest entry of each weight, in float64 with transformers' float32 islands widened.
"""

import itertools
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from support.heads_cases import head_weights, headed, same, sums_by_hand
from support.models_cases import disturb, wide
from support.training_cases import LABELS, assert_same_rows, pairs, token_pairs

from paretokit.errors import ConfigError, ShapeError
from paretokit.maths import raco
from paretokit.models.compute import Compute
from paretokit.models.tiny import FAMILIES, random_policy
from paretokit.preferences.pack import Pass, packing
from paretokit.preferences.records import Preferences
from paretokit.training import loop
from paretokit.training.config import TrainConfig, learning_rate
from paretokit.training.encode import encode_preferences
from paretokit.training.jacobian import accumulate, batch_for, objective_jacobian, on_host
from paretokit.training.loop import iter_steps, iter_train
from paretokit.training.references import reference_margins
from paretokit.training.sampling import by_head, draw_for, jointly
from paretokit.training.state import TrainState

HEADS = ["first", "second", "third", "silent"]  # of the rows of `LABELS`, of which the last has no label
BETA = 0.7
RANKS = pytest.mark.parametrize("rank", [4, None], ids=["low-rank", "full"])
METHODS = pytest.mark.parametrize("method", ["mah-dpo", "mah-raco"])
KINDS = {
    "lora": {"adapter": "lora"},
    "none": {"adapter": "none"},
    "tied": {"adapter": "full", "tie_word_embeddings": True},
    "untied": {"adapter": "full", "tie_word_embeddings": False},
}
ROWS = [(pair, objective) for objective, pair in (~LABELS.isnan()).nonzero().tolist()]  # every label a row of its own
COUNTS = (~LABELS.isnan()).sum(dim=1)


def moved(family="gpt2", kind="lora", *, rank=4, heads=HEADS, **config):
    """A policy whose heads, and what else is trained, have left their start."""
    return disturb(headed(family, rank=rank, heads=heads, **{**KINDS[kind], **config}), size=0.02)


def made_up(pair):
    """A reference."""
    return torch.linspace(-1, 1, LABELS.shape[1], dtype=torch.float64)[pair]


def row_batch(policy, chosen=ROWS, *, layout="several"):
    """A batch of rows, a label each: all in few table rows, a table row for each pair, or for each response."""
    encoded = [token_pairs()[pair] for pair, _ in chosen]
    if layout == "several":
        [placed] = packing(encoded, allows=policy.sharing.allows, size=len(encoded), budget=4096, rows=(60,)).passes
        assert max(map(len, placed.rows)) > 1
    else:
        placed = Pass(tuple((i,) for i in range(len(encoded))), layout == "single")
    order = [chosen[i] for i in placed.pairs]
    labels = torch.full((len(LABELS), len(order)), torch.nan)
    for place, (pair, objective) in enumerate(order):
        labels[objective, place] = LABELS[objective, pair]
    ids = torch.tensor([pair for pair, _ in order])
    return batch_for(policy, [encoded[i] for i in placed.pairs], labels, made_up(ids), ids, placed=placed)


def jacobian(policy, batch, *, beta=BETA, compute=None, separate=False, objectives=HEADS):
    policy.compute = compute or Compute()
    return objective_jacobian(policy, batch, beta=beta, judged=COUNTS, objectives=objectives, separate=separate)


def slow_losses(policy, family, rows, betas):
    """The mean loss of each objective, from the formula: rows are (pair, name of the head, label, reference)."""
    sequences = [(pair.prompt, pair.response_a) for pair, *_ in rows] + [(pair.prompt, pair.response_b) for pair, *_ in rows]
    sums = sums_by_hand(policy, family, sequences, [row[1] for row in rows] * 2)
    margins = sums[: len(rows)] - sums[len(rows) :] - torch.stack([torch.as_tensor(row[3]) for row in rows])
    losses = {}
    for (_, name, label, _), margin in zip(rows, margins, strict=True):
        losses.setdefault(name, []).append(-torch.nn.functional.logsigmoid(betas[name] * label * margin))
    return {name: torch.stack(each).mean() for name, each in losses.items()}, margins


def slow_gradients(policy, family, *, betas=None):
    """By backward passes of the losses on plain logits: [m, *shape] for each weight, of backbone and heads alike."""
    rows = [(token_pairs()[pair], HEADS[i], float(LABELS[i, pair]), made_up(pair)) for pair, i in ROWS]
    losses, margins = slow_losses(policy, family, rows, betas or dict.fromkeys(HEADS, BETA))
    found = {name: weight.new_zeros((len(HEADS), *weight.shape)) for name, weight in policy.trainable.items()}
    for index, name in enumerate(HEADS):
        if name in losses:
            gradients = torch.autograd.grad(losses[name], list(policy.trainable.values()), retain_graph=True, allow_unused=True)
            for row, gradient in zip(found.values(), gradients, strict=True):
                row[index] = 0 if gradient is None else gradient
    return found, {name: float(loss.detach()) for name, loss in losses.items()}, margins.detach()


def owner_of(name):
    return HEADS.index(name.split(".")[1])


def split(gradients):
    """The rows of the backbone, and of each head's weight the one of its own objective, as [1, *shape]."""
    rows = [row for name, row in gradients.items() if not name.startswith("heads.")]
    own = [row[owner_of(name)][None] for name, row in gradients.items() if name.startswith("heads.")]
    return rows, own


def assert_gradients(found, expected, *, within=1e-10):
    """Equal rows and own gradients; rounding is 1e-13, what is missed or goes elsewhere 1e-3 or more."""
    rows, own = split(expected)
    assert_same_rows(found.rows, rows, within=within)
    assert_same_rows([part[None] for part in found.own], own, within=within)


# each head from its own rows, the backbone from all


CASES = [  # embeddings tied and not with either kind of heads; both with both where a tied projection has a bias, and has none
    *itertools.product(FAMILIES, ("lora", "none"), (4, None)),
    *((family, "tied", 4) for family in FAMILIES),
    *((family, "untied", None) for family in FAMILIES),
    *((family, *case) for family in ("llama", "phi") for case in (("tied", None), ("untied", 4))),
]


@pytest.mark.parametrize(("family", "kind", "rank"), CASES)
def test_gradients_equal_the_slow_twin(family, kind, rank):
    with wide():
        policy = moved(family, kind, rank=rank)
        assert policy.coverage.exact
        expected, losses, margins = slow_gradients(policy, family)
        for name, rows in expected.items():  # the twin itself: a head has a gradient of its own objective alone
            others = [index for index in range(4) if name.startswith("heads.") and index != owner_of(name)]
            assert not rows[others].any()
        batch = row_batch(policy)
        found = jacobian(policy, batch)
        assert_gradients(found, expected)
        means = (found.losses.sum(dim=1) / COUNTS).tolist()
        assert means[:3] == pytest.approx([losses[name] for name in HEADS[:3]], rel=1e-12)
        owners = batch.labels.isfinite().int().argmax(dim=0).tolist()
        order = [ROWS.index(row) for row in zip(batch.pair_ids.tolist(), owners, strict=True)]
        torch.testing.assert_close(found.margins, margins[order], rtol=0, atol=1e-12)
        assert_gradients(jacobian(policy, batch, separate=True), expected)
        parts = [row_batch(policy, ROWS[:7], layout="single"), row_batch(policy, ROWS[7:], layout="apart")]
        total = None
        for part in parts:  # micro-batches that hold the objectives unequally; layers computed once more
            total = accumulate(total, jacobian(policy, part, compute=Compute(checkpointing=True)))
        assert_gradients(total, expected)


@RANKS
def test_the_comparison_rejects_a_gradient_that_goes_elsewhere(rank):
    policy = moved(rank=rank)
    expected = slow_gradients(policy, "gpt2")[0]
    batch = row_batch(policy)
    right = jacobian(policy, batch)
    assert_gradients(right, expected)
    for wrong in (
        jacobian(policy, batch, objectives=[HEADS[1], HEADS[0], *HEADS[2:]]),  # each row through another's head
        jacobian(policy, batch, beta=[BETA, BETA, 1.01 * BETA, BETA]),
        jacobian(policy, batch._replace(labels=batch.labels.roll(1, dims=1))),
        right._replace(own=right.own[::-1] if rank is None else (right.own[2], *right.own[1:])),
        right._replace(own=tuple(part * (1 + 1e-8) for part in right.own)),
        right._replace(rows=(right.rows[0].flip(0), *right.rows[1:])),
    ):
        with pytest.raises(AssertionError):
            assert_gradients(wrong, expected)


@RANKS
@pytest.mark.parametrize("separate", [False, True])
def test_a_head_hears_of_its_own_rows_alone(rank, separate):
    policy = moved(rank=rank)
    whole = jacobian(policy, row_batch(policy), separate=separate)
    assert whole.owners == tuple(i for i in range(4) for _ in range(2 if rank else 1))
    for objective in range(3):
        chosen = [row for row in ROWS if row[1] == objective]
        alone = jacobian(policy, row_batch(policy, chosen, layout="single"), separate=separate)
        for owner, part, of_all in zip(whole.owners, alone.own, whole.own, strict=True):
            if owner == objective:
                torch.testing.assert_close(part, of_all, rtol=1e-10, atol=1e-14)
                assert part.any()
            else:
                assert not part.any()  # not a bit
        assert not any(row[[i for i in range(4) if i != objective]].any() for row in alone.rows)
    assert not any(part.any() for owner, part in zip(whole.owners, whole.own, strict=True) if owner == 3)
    squares = [
        sum(float(part.square().sum()) for o, part in zip(whole.owners, whole.own, strict=True) if o == i) for i in range(4)
    ]
    assert whole.own_squares.tolist() == pytest.approx(squares, rel=1e-12)
    assert squares[3] == 0 < min(squares[:3])


def test_a_policy_without_backbone_weights_has_an_empty_gramian():
    policy = moved(kind="none")
    found = jacobian(policy, row_batch(policy))
    assert found.rows == ()
    assert found.gram.tolist() == [[0.0] * 4] * 4
    assert float(found.own_squares[0]) > 0


@RANKS
def test_nothing_of_a_head_carries_a_graph_and_own_gradients_can_be_added_to(rank):
    policy = moved(rank=rank)
    for separate in (False, True):
        found = jacobian(policy, row_batch(policy), separate=separate)
        assert not any(part.requires_grad for part in (*found.rows, *found.own, found.losses, found.margins))
        before = [part.clone() for part in found.own]
        for part in found.own:
            part.add_(1)
        assert all(part.equal(old + 1) for part, old in zip(found.own, before, strict=True))
    assert all(weight.grad is None for weight in policy.trainable.values())
    hooks = [hook for scorer in policy.bank.scorers.values() for hook in scorer._forward_hooks]
    assert hooks == []
    assert not any(scorer.heard for scorer in policy.bank.scorers.values())


def test_the_host_gets_everything_in_one_piece():
    policy = moved()
    found = jacobian(policy, row_batch(policy))
    losses, margins, gram, squares = on_host(found)
    assert losses.equal(found.losses)
    assert margins.equal(found.margins)
    assert gram.equal(found.gram)
    assert squares.equal(found.own_squares)


@RANKS
@pytest.mark.parametrize("family", ["llama", "gemma2", "phi"])
def test_half_precision_stays_near(family, rank):
    """Entries differ by what bfloat16 rounds, a few hundredths of the largest; a head that is missed differs by all of it."""
    exact = moved(family, rank=rank, dtype=torch.float32)
    batch = row_batch(exact)
    expected = jacobian(exact, batch)
    found = jacobian(exact, batch, compute=Compute(autocast="bfloat16"))
    assert {part.dtype for part in (*found.rows, *found.own)} == {torch.float32}
    heard = [(one, other) for owner, one, other in zip(found.owners, found.own, expected.own, strict=True) if owner < 3]

    def near(one, other):
        return 0 < (one - other).norm() <= 0.06 * other.norm()

    assert all(near(one, other) for one, other in heard)
    assert not any(near(0.9 * one, other) for one, other in heard)  # planted


# steps of the loop against the formula


CONFIG = TrainConfig(
    steps=3, pairs_per_step=4, learning_rate=1e-2, schedule="constant", warmup=0, max_length=128, max_grad_norm=1e6
)
SGD = replace(CONFIG, optimizer="sgd")
WEIGHTS = (0.3, 0.7)


def run(policy, data, *, method="mah-dpo", weights=WEIGHTS, config=SGD):
    return list(iter_train(policy, data, method=method, weights=weights, config=config))


def loop_policy(*, rank=4, kind="lora", heads=("o0", "o1"), **config):
    return moved("gpt2", kind, rank=rank, heads=list(heads), **config)


def rows_of(policy, data, step, config, references):
    """What the twin trains on at a step: the loop's rows, with their head by name."""
    encoded = encode_preferences(policy, data, max_length=config.max_length)
    drawn = draw_for(policy.heads, data, config)(step)
    found = []
    for place, pair in enumerate(drawn.pairs):
        [objective] = (~drawn.labels[:, place].isnan()).nonzero().flatten().tolist()
        label = float(drawn.labels[objective, place])
        found.append((encoded[pair], data.objectives[objective], label, references[pair]))
    return found


def references_of(policy, data, config):
    return reference_margins(policy, encode_preferences(policy, data, max_length=config.max_length), {})


def step_gradients(policy, data, config, *, betas=None):
    """The losses of the first step and their gradients by name; zeros where a loss does not reach."""
    rows = rows_of(policy, data, 1, config, references_of(policy, data, config))
    losses, _ = slow_losses(policy, "gpt2", rows, betas or dict.fromkeys(data.objectives, config.beta))
    found = {}
    for name, loss in losses.items():
        gradients = torch.autograd.grad(loss, list(policy.trainable.values()), retain_graph=True, allow_unused=True)
        found[name] = {
            weight: torch.zeros_like(value) if part is None else part
            for (weight, value), part in zip(policy.trainable.items(), gradients, strict=True)
        }
    return losses, found


def change(policy, before):
    return {name: weight.detach() - before[name] for name, weight in policy.trainable.items()}


def assert_change(found, expected, *, within=1e-10):
    for name, part in expected.items():
        torch.testing.assert_close(found[name], part, rtol=1e-8, atol=within, msg=lambda text, name=name: f"{name}: {text}")


def norm(parts):
    return math.sqrt(sum(float(part.square().sum()) for part in parts))


@RANKS
@pytest.mark.parametrize("kind", ["lora", "tied", "none"])
@pytest.mark.parametrize("max_grad_norm", [1e6, 0.05])
def test_mah_dpo_steps_along_the_gradient_of_the_weighted_sum(kind, rank, max_grad_norm):
    policy, data, config = loop_policy(rank=rank, kind=kind), pairs(), replace(SGD, steps=1, max_grad_norm=max_grad_norm)
    losses, gradients = step_gradients(policy, data, config)
    before = policy.trainable_state()
    total = {name: sum(w * gradients[f"o{i}"][name] for i, w in enumerate(WEIGHTS)) for name in before}
    [record] = run(policy, data, config=config)
    size = norm(total.values())
    assert record.losses == pytest.approx([losses["o0"].item(), losses["o1"].item()], rel=1e-10)
    assert record.update_norm == pytest.approx(size, rel=1e-9)
    assert record.norm_scale == pytest.approx(min(1.0, max_grad_norm / size), rel=1e-9)
    assert (record.norm_scale < 1) is (max_grad_norm < 1)
    rate = config.learning_rate * record.norm_scale
    assert_change(change(policy, before), {name: -rate * part for name, part in total.items()})
    unweighted = {n: -rate * gradients[n.split(".")[1]][n] for n in before if n.startswith("heads.")}
    with pytest.raises(AssertionError):  # planted: heads take their gradients as they are
        assert_change(change(policy, before), unweighted)


@RANKS
@pytest.mark.parametrize("kind", ["lora", "tied"])
@pytest.mark.parametrize("max_grad_norm", [1e6, 0.05])
def test_mah_raco_combines_the_backbone_and_leaves_heads_their_own(kind, rank, max_grad_norm):
    policy, data, config = loop_policy(rank=rank, kind=kind), pairs(), replace(SGD, steps=1, max_grad_norm=max_grad_norm)
    _, gradients = step_gradients(policy, data, config)
    before = policy.trainable_state()
    backbone = [name for name in before if not name.startswith("heads.")]
    flat = torch.stack([torch.cat([gradients[f"o{i}"][name].flatten() for name in backbone]) for i in range(2)])
    result = raco.coefficients(flat @ flat.T, torch.tensor(WEIGHTS, dtype=torch.float64), c=config.c)
    a = result.coefficients.tolist()
    assert a != pytest.approx(WEIGHTS, rel=1e-3)  # the correction acts, or else this would be linear
    expected = {name: sum(a[i] * gradients[f"o{i}"][name] for i in range(2)) for name in backbone}
    expected |= {name: gradients[name.split(".")[1]][name] for name in before if name not in expected}
    [record] = run(policy, data, method="mah-raco", config=config)
    assert record.coefficients == pytest.approx(a, rel=1e-9)
    assert record.gradient_norms == pytest.approx(flat.norm(dim=1).tolist(), rel=1e-9)
    assert record.update_norm == pytest.approx(norm(expected.values()), rel=1e-9)
    rate = config.learning_rate * min(1.0, max_grad_norm / norm(expected.values()))
    found = change(policy, before)
    assert_change(found, {name: -rate * part for name, part in expected.items()})
    linear = {name: -rate * sum(WEIGHTS[i] * gradients[f"o{i}"][name] for i in range(2)) for name in backbone}
    with pytest.raises(AssertionError):  # planted: the backbone of mah-dpo
        assert_change(found, linear)
    with_heads = torch.stack([torch.cat([part.flatten() for part in gradients[f"o{i}"].values()]) for i in range(2)])
    other = raco.coefficients(with_heads @ with_heads.T, torch.tensor(WEIGHTS, dtype=torch.float64), c=config.c)
    assert other.coefficients.tolist() != pytest.approx(a, rel=1e-6)  # planted: a Gramian that counts the heads


@RANKS
def test_a_frozen_backbone_trains_heads_alone(rank):
    for method in ("mah-dpo", "mah-raco"):
        policy = loop_policy(rank=rank, kind="none")
        before = {name: weight.clone() for name, weight in policy.model.named_parameters()}
        heads = policy.trainable_state()
        records = run(policy, pairs(), method=method, config=CONFIG)
        assert all(torch.equal(weight, before[name]) for name, weight in policy.model.named_parameters())
        assert not any(torch.equal(policy.trainable[name], kept) for name, kept in heads.items())
        assert records[0].gradient_norms == (0.0, 0.0)
        assert records[0].update_norm > 0


def plain_dpo(policy, data, *, config):
    """DPO as anyone would write it: one loss, `backward`, torch's clip and AdamW, on plain logits."""
    references = references_of(policy, data, config)
    parameters = list(policy.trainable.values())
    optimizer = torch.optim.AdamW(parameters, lr=1.0, weight_decay=config.weight_decay)
    seen = []
    for step in range(1, config.steps + 1):
        losses, _ = slow_losses(policy, "gpt2", rows_of(policy, data, step, config, references), {"o0": config.beta})
        optimizer.zero_grad()
        losses["o0"].backward()
        torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
        optimizer.param_groups[0]["lr"] = learning_rate(config, step=step)
        optimizer.step()
        seen.append(float(losses["o0"].detach()))
    return seen


@RANKS
@pytest.mark.parametrize(("kind", "max_grad_norm"), [*((kind, 1e6) for kind in KINDS), ("lora", 0.05)])
def test_one_head_is_plain_dpo_step_for_step(kind, rank, max_grad_norm):
    config = replace(CONFIG, max_grad_norm=max_grad_norm, weight_decay=0.1, schedule="cosine")
    data = pairs(objectives=1, count=8)
    ours, plain = (loop_policy(rank=rank, kind=kind, heads=("o0",)) for _ in range(2))
    records = run(ours, data, weights=(1.0,), config=config)
    losses = plain_dpo(plain, data, config=config)
    assert [record.losses[0] for record in records] == pytest.approx(losses, rel=1e-6)
    for name, weight in ours.trainable.items():
        # clip_grad_norm_ divides by norm + 1e-6, and AdamW by gradients of any size: 1e-5 of a step of 1e-2
        torch.testing.assert_close(weight, plain.trainable[name], rtol=1e-4, atol=1e-6)
    other = loop_policy(rank=rank, kind=kind, heads=("o0",))
    plain_dpo(other, data, config=replace(config, steps=1, beta=1.1 * config.beta, learning_rate=0.9e-2))
    apart = [(weight - other.trainable[name]).abs().max() for name, weight in ours.trainable.items()]
    assert max(apart) > 1e-4  # planted: another beta and rate


@METHODS
@RANKS
@pytest.mark.parametrize(("family", "kind"), [("llama", "lora"), ("phi", "tied"), ("gemma2", "none")])
@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_margins_are_zero_at_the_start(family, kind, rank, method, dtype, within):
    policy = headed(family, rank=rank, heads=["o0", "o1"], dtype=dtype, **KINDS[kind])
    records = run(policy, pairs(), method=method, config=replace(CONFIG, steps=2))
    assert max(map(abs, records[0].margins)) <= within
    assert records[0].losses == pytest.approx([math.log(2)] * 2, abs=1e-4)
    assert max(map(abs, records[1].margins)) > 1e-3  # planted: it has moved by then


# which rows


def unequal(*sizes):
    """Pairs of which each objective judged as many of its own, in this order; labels of every kind."""
    count = sum(sizes)
    labels = torch.full((len(sizes), count), torch.nan)
    start = 0
    for objective, size in enumerate(sizes):
        labels[objective, start : start + size] = torch.tensor([1.0, -1.0, 0.0])[torch.arange(size) % 3]
        start += size
    texts = pairs(objectives=1, count=count)
    return Preferences(
        prompts=texts.prompts,
        responses_a=texts.responses_a,
        responses_b=texts.responses_b,
        labels=labels,
        objectives=[f"o{i}" for i in range(len(sizes))],
    )


def seen_by(draw, steps, count):
    """The pairs of each objective over some steps, in order."""
    found = [[] for _ in range(count)]
    for step in range(1, steps + 1):
        drawn = draw(step)
        judged = ~drawn.labels.isnan()
        assert (judged.sum(dim=0) == 1).all()
        for pair, objective in zip(drawn.pairs, judged.int().argmax(dim=0).tolist(), strict=True):
            found[objective].append(pair)
    return found


def once_per_epoch(seen, pool):
    epochs = [seen[start : start + len(pool)] for start in range(0, len(seen) - len(seen) % len(pool), len(pool))]
    return len(epochs) > 1 and all(sorted(epoch) == pool for epoch in epochs) and len(set(map(tuple, epochs))) > 1


@pytest.mark.parametrize("size", [2, 4, 5])
def test_every_pair_of_every_objective_is_read_once_per_its_own_epoch(size):
    sizes = (5, 3, 11)
    data = unequal(*sizes)
    pools = [row.isfinite().nonzero().flatten().tolist() for row in data.labels]
    assert [len(pool) for pool in pools] == list(sizes)
    seen = seen_by(by_head(data, size=size, seed=3), 30, 3)
    assert [len(part) for part in seen] == [30 * size] * 3
    assert all(once_per_epoch(part, pool) for part, pool in zip(seen, pools, strict=True))
    assert {pair for part in seen for pair in part} == set(range(19))  # nothing is discarded
    cut = [[pair for pair in part if pair in pool[:3]] for part, pool in zip(seen, pools, strict=True)]
    assert not once_per_epoch(cut[2], pools[2])  # planted: all cut to the smallest set
    labels = by_head(data, size=size, seed=3)(1)
    assert all(
        float(data.labels[o, pair]) == float(labels.labels[o, place])
        for place, pair in enumerate(labels.pairs)
        for o in labels.labels[:, place].isfinite().nonzero().flatten().tolist()
    )


def test_objectives_that_judged_the_same_pairs_draw_the_same():
    data = pairs(objectives=3, count=8)  # o0 is not judged on one pair
    seen = seen_by(by_head(data, size=4, seed=1), 6, 3)
    assert seen[1] == seen[2]
    assert seen[0] != seen[1]
    assert seen[1] == [pair for step in range(1, 7) for pair in jointly(data, size=4, seed=1)(step).pairs]


def test_draws_follow_from_step_and_seed_alone():
    data = unequal(5, 3)
    one, other, seeded = by_head(data, size=4, seed=0), by_head(data, size=4, seed=0), by_head(data, size=4, seed=1)
    drawn = [one(step).pairs for step in (3, 1, 2)]
    assert drawn == [other(step).pairs for step in (3, 1, 2)]
    assert drawn != [seeded(step).pairs for step in (3, 1, 2)]
    config = TrainConfig(pairs_per_step=4, seed=1)
    assert draw_for(["o0", "o1"], data, config)(2).pairs == seeded(2).pairs
    assert draw_for([], data, config)(2).pairs == jointly(data, size=4, seed=1)(2).pairs


def read_rows(monkeypatch, config, data):
    """What the passes of each step read: (pair, objective, label), and how the losses are divided."""
    seen, plain = [], loop.objective_jacobian

    def spy(policy, batch, *, judged, **how):
        seen.append((batch.pair_ids.tolist(), batch.labels.clone(), judged.tolist()))
        return plain(policy, batch, judged=judged, **how)

    monkeypatch.setattr(loop, "objective_jacobian", spy)
    records = run(random_policy("gpt2", heads=data.objectives, head_rank=4), data, weights=[0.2, 0.3, 0.5], config=config)
    monkeypatch.undo()
    return seen, records


@pytest.mark.parametrize(
    "limits", [{}, {"pairs_per_backward": 1}, {"pairs_per_backward": 2}, {"pairs_per_backward": 5}, {"tokens_per_backward": 90}]
)
def test_each_row_is_read_once_with_equal_weight_whatever_the_passes(monkeypatch, limits):
    data, config = unequal(5, 3, 7), replace(CONFIG, steps=2, **limits)
    seen, records = read_rows(monkeypatch, config, data)
    draw = by_head(data, size=config.pairs_per_step, seed=config.seed)
    passes = iter(seen)
    for record in records:
        drawn = draw(record.step)
        found, counted = Counter(), 0
        for _ in range(record.backward_passes):
            ids, labels, judged = next(passes)
            assert judged == [4, 4, 4]  # of the step, not of the pass
            for place, pair in enumerate(ids):
                [objective] = labels[:, place].isfinite().nonzero().flatten().tolist()
                found[pair, objective, float(labels[objective, place])] += 1
                counted += 1
        expected = Counter(
            (pair, o, float(drawn.labels[o, place]))
            for place, pair in enumerate(drawn.pairs)
            for o in drawn.labels[:, place].isfinite().nonzero().flatten().tolist()
        )
        assert found == expected
        assert counted == record.pairs == 12
        assert record.judged == (4, 4, 4)
    assert next(passes, None) is None
    assert len(seen) == 2 if not limits else len(seen) > 2


@RANKS
@METHODS
@pytest.mark.parametrize("limits", [{"pairs_per_backward": 1}, {"tokens_per_backward": 90}])
def test_micro_batches_equal_the_big_batch(method, rank, limits):
    data = unequal(5, 3, 7)
    whole, small = (loop_policy(rank=rank, heads=data.objectives) for _ in range(2))
    config = replace(SGD, steps=2)
    expected = run(whole, data, method=method, weights=[0.2, 0.3, 0.5], config=config)
    found = run(small, data, method=method, weights=[0.2, 0.3, 0.5], config=replace(config, **limits))
    for one, other in zip(expected, found, strict=True):
        assert other.losses == pytest.approx(one.losses, rel=1e-9)
        assert other.coefficients == pytest.approx(one.coefficients, rel=1e-6)
        assert other.update_norm == pytest.approx(one.update_norm, rel=1e-9)
    for name, weight in whole.trainable.items():
        torch.testing.assert_close(small.trainable[name], weight, rtol=1e-8, atol=1e-11)


@METHODS
@pytest.mark.parametrize("rank", [4, None])
def test_an_objective_without_a_judged_pair_leaves_its_head_bit_for_bit(method, rank):
    data = pairs(objectives=3, count=8)
    labels = data.labels
    labels[1] = torch.nan
    data = Preferences(
        prompts=data.prompts,
        responses_a=data.responses_a,
        responses_b=data.responses_b,
        labels=labels,
        objectives=data.objectives,
    )
    policy = loop_policy(rank=rank, heads=data.objectives)
    before = policy.trainable_state()
    config = replace(CONFIG, weight_decay=0.1)  # which would move a weight without any gradient
    for record, state in iter_steps(policy, data, method=method, weights=[0.2, 0.3, 0.5], config=config):
        assert record.judged == (4, 0, 4)
        assert math.isnan(record.losses[1])
        assert not any(name.startswith("heads.o1.") for name in state.optimizer)
    for name, kept in before.items():
        assert torch.equal(policy.trainable[name], kept) is name.startswith("heads.o1."), name


def test_weight_decay_would_move_a_head_that_has_pairs():
    """Planted for the test above: with pairs, a head moves even where its weight is zero."""
    policy, data = loop_policy(), pairs()
    before = policy.trainable_state()
    run(policy, data, weights=(1.0, 0.0), config=replace(CONFIG, weight_decay=0.1))
    assert not torch.equal(policy.trainable["heads.o1.A"], before["heads.o1.A"])
    still = loop_policy()
    run(still, data, weights=(1.0, 0.0), config=SGD)
    assert torch.equal(still.trainable["heads.o1.A"], before["heads.o1.A"])
    assert not torch.equal(still.trainable["heads.o0.A"], before["heads.o0.A"])


# equal runs


@RANKS
@pytest.mark.parametrize(
    ("method", "optimizer"), [("mah-dpo", "adamw"), ("mah-raco", "adamw"), ("mah-dpo", "sgd"), ("mah-dpo", "rmsprop")]
)
def test_resumed_equals_uninterrupted_bit_for_bit(optimizer, method, rank):
    config, data = replace(CONFIG, steps=3, optimizer=optimizer, warmup=0.25), unequal(5, 3)

    def fresh():
        return random_policy(heads=data.objectives, head_rank=rank)

    arguments = {"method": method, "weights": WEIGHTS, "config": config, "references": {}}  # kept, see test_loop.py
    straight, stopped, resumed, forgetful = fresh(), fresh(), fresh(), fresh()
    expected = [record for record, _ in iter_steps(straight, data, **arguments)]
    for record, state in iter_steps(stopped, data, **arguments):
        if record.step == 1:
            kept = TrainState(state.step, {name: value.clone() for name, value in state.optimizer.items()})
            break
    assert any(name.startswith("heads.") for name in kept.optimizer) is (optimizer != "sgd")
    resumed.load_trainable_state(stopped.trainable_state())
    assert [record for record, _ in iter_steps(resumed, data, **arguments, resume=kept)] == expected[1:]
    assert same(resumed.trainable_state(), straight.trainable_state())
    if optimizer != "sgd":  # planted: a resume that forgets the heads' moments
        forgetful.load_trainable_state(stopped.trainable_state())
        poor = {name: value for name, value in kept.optimizer.items() if not name.startswith("heads.")}
        list(iter_steps(forgetful, data, **arguments, resume=TrainState(1, poor)))
        assert not same(head_weights(forgetful), head_weights(straight))


@METHODS
def test_how_gradients_are_made_changes_no_step(method):
    """Layers computed once more, and a backward pass per objective; compiled models stand in test_step.py."""
    plain, again, apart = loop_policy(), loop_policy(), loop_policy()
    apart.base.coverage = apart.coverage._replace(exact=False)
    expected = run(plain, pairs(), method=method)
    others = [run(again, pairs(), method=method, config=replace(SGD, checkpointing=True)), run(apart, pairs(), method=method)]
    for policy, found, passes in zip((again, apart), others, (1, 2), strict=True):
        for one, another in zip(expected, found, strict=True):
            assert another.losses == pytest.approx(one.losses, rel=1e-12)
        for name, weight in plain.trainable.items():
            torch.testing.assert_close(policy.trainable[name], weight, rtol=1e-9, atol=1e-12)
        assert {record.backward_passes for record in found} == {passes}


@RANKS
@METHODS
def test_the_order_of_heads_and_objectives_changes_nothing(method, rank):
    """In float64 with SGD: rows are packed in another order, and sums round otherwise."""
    data, weights = pairs(count=8), {"o0": 0.3, "o1": 0.7}
    turned = data.select(objectives=["o1", "o0"])
    assert turned.objectives == ("o1", "o0")
    state = loop_policy(rank=rank).trainable_state()
    results = []
    for names, given in ((["o0", "o1"], data), (["o1", "o0"], data), (["o0", "o1"], turned)):
        policy = headed("gpt2", rank=rank, heads=names)
        policy.load_trainable_state(state)
        records = run(policy, given, method=method, weights=weights)
        assert records[-1].objectives == given.objectives
        results.append((policy.trainable_state(), dict(zip(given.objectives, records[-1].losses, strict=True))))
    for trained, losses in results[1:]:
        assert losses == pytest.approx(results[0][1], rel=1e-9)
        for name, weight in results[0][0].items():
            torch.testing.assert_close(trained[name], weight, rtol=1e-8, atol=1e-11)
    swapped = headed("gpt2", rank=rank, heads=["o0", "o1"])
    swapped.load_trainable_state(state)
    run(swapped, data, method=method, weights={"o1": 0.3, "o0": 0.7})
    part = "heads.o0.A" if rank else "heads.o0.weight"
    if method == "mah-dpo":  # planted: the weights in another order; mah-raco leaves heads their own gradients
        assert (swapped.trainable[part] - results[0][0][part]).abs().max() > 1e-5
    else:
        name = next(iter(state))
        assert (swapped.trainable[name] - results[0][0][name]).abs().max() > 1e-7


def test_a_function_of_the_users_own_combines_the_backbone():
    def only_first(gram, weights, *, generator):
        return torch.tensor([1.0, 0.0], dtype=torch.float64)

    policy, twin, config = loop_policy(), loop_policy(), replace(SGD, steps=1)
    before = policy.trainable_state()
    _, gradients = step_gradients(twin, pairs(), config)
    [record] = run(policy, pairs(), method=only_first, config=config)
    assert record.method == "only_first"
    expected = {
        name: -config.learning_rate * gradients[name.split(".")[1] if name.startswith("heads.") else "o0"][name]
        for name in before
    }
    assert_change(change(policy, before), expected)


# a beta of its own


@METHODS
def test_a_beta_that_is_the_same_changes_nothing(method):
    results = []
    for config in (SGD, replace(SGD, head_betas={"o0": SGD.beta, "o1": SGD.beta}), replace(SGD, head_betas={})):
        policy = loop_policy()
        records = run(policy, pairs(), method=method, config=config)
        results.append((records[-1].losses, policy.trainable_state()))
    for losses, state in results[1:]:
        assert losses == pytest.approx(results[0][0], rel=1e-12)
        for name, weight in results[0][1].items():
            torch.testing.assert_close(state[name], weight, rtol=0, atol=1e-12)


@RANKS
def test_another_beta_is_that_of_its_own_head(rank):
    policy = moved(rank=rank)
    betas = {"first": 0.1, "second": BETA, "third": 2.0, "silent": 1.0}
    found = jacobian(policy, row_batch(policy), beta=list(betas.values()))
    expected, losses, _ = slow_gradients(policy, "gpt2", betas=betas)
    assert_gradients(found, expected)
    assert (found.losses.sum(dim=1) / COUNTS).tolist()[:3] == pytest.approx([losses[name] for name in HEADS[:3]], rel=1e-12)
    assert_gradients(jacobian(policy, row_batch(policy), beta=list(betas.values()), separate=True), expected)
    with pytest.raises(AssertionError):  # planted: one beta for all
        assert_gradients(jacobian(policy, row_batch(policy)), expected)


@pytest.mark.parametrize("named", [{"o0": 0.5}, {"o1": 1.5}, {"o1": 1.5, "o0": 0.05}])
def test_a_step_with_another_beta_by_hand(named):
    policy, data, config = loop_policy(), pairs(), replace(SGD, steps=1, head_betas=named)
    betas = {"o0": config.beta, "o1": config.beta, **named}
    losses, gradients = step_gradients(policy, data, config, betas=betas)
    before = policy.trainable_state()
    total = {name: sum(w * gradients[f"o{i}"][name] for i, w in enumerate(WEIGHTS)) for name in before}
    [record] = run(policy, data, config=config)
    assert record.losses == pytest.approx([losses["o0"].item(), losses["o1"].item()], rel=1e-10)
    assert_change(change(policy, before), {name: -config.learning_rate * part for name, part in total.items()})
    other = loop_policy()
    run(other, data, config=replace(config, head_betas=None))
    with pytest.raises(AssertionError):  # planted: as if it were not read
        assert_change(change(other, before), {name: -config.learning_rate * part for name, part in total.items()})


# what is refused


def refused(policy, data, **options):
    with pytest.raises(ConfigError) as caught:
        iter_train(policy, data, weights=[1 / len(data.objectives)] * len(data.objectives), **{"config": SGD, **options})
    return str(caught.value)


@METHODS
def test_a_policy_without_heads_is_refused(method):
    assert refused(random_policy(), pairs(), method=method) == (
        f"method {method!r}: found a policy without heads, expected one head per objective. Load it with load_policy(..., "
        "heads=['o0', 'o1'])."
    )


@pytest.mark.parametrize("method", ["raco", "cagrad", "linear"])
def test_a_policy_with_heads_is_refused_by_the_other_methods(method):
    assert refused(random_policy(heads=["o0", "o1"]), pairs(), method=method) == (
        f"method {method!r}: found a policy with the heads o0, o1, expected none. Use mah-dpo or mah-raco, or load the policy "
        "without heads."
    )


@pytest.mark.parametrize("method", ["mah-dpo", "mah-raco", lambda gram, weights, *, generator: weights])
@pytest.mark.parametrize("names", [["o0"], ["o0", "o2"], ["o0", "o1", "o2"]])
def test_heads_of_other_names_are_refused(method, names):
    assert refused(random_policy(heads=names), pairs(), method=method) == (
        f"heads: found {', '.join(names)} for the objectives o0, o1, expected the same names. Load the policy with the "
        "objectives' names, or select them with preferences.select(...)."
    )


def test_a_beta_for_a_head_that_is_not_there_is_refused():
    config = replace(SGD, head_betas={"o1": 0.3, "o11": 0.3})
    assert refused(random_policy(heads=["o0", "o1"]), pairs(), method="mah-dpo", config=config) == (
        "head_betas: found 'o11', expected some of the policy's heads (o0, o1). Did you mean 'o1'? Correct or remove the name."
    )
    assert refused(random_policy(), pairs(), method="raco", config=replace(SGD, head_betas={"o0": 0.3})) == (
        "head_betas: found 'o0', expected some of the policy's heads (it has none). Correct or remove the name."
    )


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
def test_weight_decay_that_an_optimizer_lacks_is_refused(optimizer):
    config = replace(SGD, optimizer=optimizer, weight_decay=0.1)
    assert refused(random_policy(), pairs(), method="raco", config=config) == (
        f"weight_decay: found 0.1 with optimizer='{optimizer}', which has none, expected 0. Leave it out, or take "
        "optimizer='adamw'."
    )


@pytest.mark.parametrize("value", [{"o0": 0.0}, {"o0": -1.0}, {"o0": math.inf}, {"o0": math.nan}, {"o0": True}])
def test_betas_that_are_none_are_refused(value):
    with pytest.raises(ConfigError, match=r"head_betas: found \{'o0': .*\}, expected numbers > 0 by objective, or nothing\."):
        TrainConfig(head_betas=value)
    assert TrainConfig.from_json(TrainConfig(head_betas={"o0": 0.3}).to_json()).head_betas == {"o0": 0.3}


@pytest.mark.parametrize("separate", [False, True])
def test_a_pair_with_two_labels_or_none_is_refused(separate):
    policy = moved()
    batch = row_batch(policy, ROWS[:3], layout="single")
    for labels, counts in ((batch.labels.nan_to_num(1.0), [4, 4, 4]), (batch.labels * torch.nan, [0, 0, 0])):
        with pytest.raises(ShapeError) as caught:
            jacobian(policy, batch._replace(labels=labels), separate=separate)
        assert str(caught.value) == (
            f"labels: found {counts} labels per pair for a policy with heads, expected exactly one each. Repeat a pair for "
            "every objective that judged it."
        )
