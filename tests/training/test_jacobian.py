"""Gradients per objective: against separate backward passes and a slow twin on every family, by finite differences, at the
start in closed form, in micro-batches, in lower precision, and on a device from which nothing can be read.

A row is compared with what `torch.autograd.grad` gives for its objective alone, relative to the largest entry of the
parameter and objective. Float32 islands are widened (`wide`), so that what is left is rounding: 5e-15 where 1e-12 is asked.
"""

import itertools
import math
from unittest import mock

import pytest
import torch
import transformers
from support.models_cases import disturb, plain_logps, wide
from support.training_cases import (
    LABELS,
    LAYOUTS,
    assert_same_rows,
    exact_policy,
    moved_policy,
    pairs,
    token_batch,
    token_pairs,
)

from paretokit.maths.gramian import combine
from paretokit.maths.losses import dpo, judged
from paretokit.models import branches
from paretokit.models.compute import Compute
from paretokit.models.policy import Policy
from paretokit.models.tiny import FAMILIES, random_policy
from paretokit.preferences.pack import Batch, make_batch
from paretokit.training.encode import encode_preferences
from paretokit.training.jacobian import Jacobian, accumulate, batch_for, margins, objective_jacobian, on_host
from paretokit.training.references import reference_margins

BETA = 0.7
KINDS = {"lora": {}, "tied": {"tie_word_embeddings": True}, "untied": {"tie_word_embeddings": False}}


def batch_of(policy, preferences, chosen=None, *, shared=False) -> Batch:
    chosen = list(range(len(preferences))) if chosen is None else chosen
    encoded = encode_preferences(policy, preferences, max_length=128)
    reference = reference_margins(policy, encoded, {})
    ids = torch.tensor(chosen)
    return make_batch([encoded[i] for i in chosen], preferences.labels[:, chosen], reference[chosen], ids, shared=shared)


def policy_of(family, kind, *, dtype=torch.float64) -> Policy:
    """One that has left its reference a little: with LoRA, or all weights trained and the embeddings tied or not."""
    adapter = "lora" if kind == "lora" else "full"
    policy = disturb(random_policy(family, dtype=dtype, adapter=adapter, **KINDS[kind]), size=0.02)
    if kind != "lora":
        assert (policy.model.get_output_embeddings().weight is policy.model.get_input_embeddings().weight) == (kind == "tied")
    return policy


def jacobian(policy, batch, *, compute=None, separate=False) -> Jacobian:
    policy.compute = compute or Compute()
    return objective_jacobian(policy, batch, beta=BETA, judged=judged(LABELS), separate=separate)


def slow_rows(policy, batch) -> tuple[torch.Tensor, ...]:
    """From the formula, on plain logits: a forward pass per response, and a backward pass per objective and pair."""
    parameters = list(policy.trainable.values())
    rows = tuple(parameter.new_zeros((len(batch.labels), *parameter.shape)) for parameter in parameters)
    plain = plain_logps.__wrapped__  # without its no_grad
    for column, index in enumerate(batch.pair_ids.tolist()):
        pair = token_pairs()[index]
        sums = [plain(policy.model, pair.prompt, response).sum() for response in (pair.response_a, pair.response_b)]
        margin = sums[0] - sums[1] - batch.reference[column]
        for objective, label in enumerate(batch.labels[:, column].tolist()):
            if math.isnan(label):
                continue
            loss = -torch.nn.functional.logsigmoid(BETA * label * margin) / int(judged(LABELS)[objective])
            gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            for row, gradient in zip(rows, gradients, strict=True):
                row[objective] += 0 if gradient is None else gradient
    return rows


@pytest.fixture(scope="module", params=itertools.product(FAMILIES, KINDS), ids="-".join)
def policy(request) -> Policy:
    with wide():
        policy = policy_of(*request.param)
        assert policy.coverage.exact, policy.coverage.reason
    return policy


# one backward pass against m


@pytest.fixture(scope="module")
def expected(policy) -> Jacobian:
    """A backward pass per objective, a row per response: every way of reading the same pairs has to give this."""
    with wide():
        return jacobian(policy, token_batch(policy, "apart"), separate=True)


def assert_same(found: Jacobian, expected: Jacobian, batch: Batch | None = None) -> None:
    """Equal Jacobians; those found of the pairs in the order of a batch."""
    order = slice(None) if batch is None else batch.pair_ids
    assert_same_rows(found.rows, expected.rows)
    torch.testing.assert_close(found.losses, expected.losses[:, order], rtol=1e-12, atol=0)
    torch.testing.assert_close(found.margins, expected.margins[order], rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(found.gram, expected.gram, rtol=1e-10, atol=1e-12 * float(expected.gram.max()))


def test_rows_equal_separate_backward_passes(policy, expected):
    """Here rows hold several pairs, and activations are kept."""
    with wide():
        batch = token_batch(policy, "several")
        assert_same(jacobian(policy, batch), expected, batch)


def test_checkpointed_micro_batches_add_up_to_the_separate_passes_of_the_whole(policy, expected):
    """In the first one rows hold a pair, in the second a response; neither has labels of every kind."""
    with wide():
        parts = [token_batch(policy, "single", chosen=[0, 1, 2, 3]), token_batch(policy, "apart", chosen=[4, 5, 6])]
        total = None
        for batch in parts:
            total = accumulate(total, jacobian(policy, batch, compute=Compute(checkpointing=True)))
        assert_same(total, expected)


def test_the_comparison_rejects_a_weight_an_objective_or_a_pair_that_is_off():
    """Planted failures beside the shared assertion, all far from its tolerance."""
    policy = moved_policy(adapter="full")
    batch = token_batch(policy)
    right = jacobian(policy, batch).rows
    assert_same_rows(right, [row.clone() for row in right])
    for wrong in (
        [right[0] * (1 + 1e-9), *right[1:]],
        [*right[:-1], right[-1].flip(0)],
        [*right[:-1], torch.zeros_like(right[-1])],
        [*right[:-1], right[-1] * torch.nan],
        jacobian(policy, batch._replace(owner=batch.owner.where(batch.owner != 2, 3))).rows,  # contracted as another pair
        jacobian(policy, batch._replace(labels=batch.labels.nan_to_num(1.0))).rows,
    ):
        with pytest.raises(AssertionError, match="rows differ by"):
            assert_same_rows(wrong, right)
    with pytest.raises(AssertionError, match="rows differ by inf"):
        assert_same_rows([row + 1e-30 for row in right], right)  # the row of an objective without labels is 0


@pytest.mark.parametrize(("family", "kind"), [("llama", "lora"), ("llama", "tied"), ("gemma2", "untied"), ("gpt2", "lora")])
def test_rows_equal_the_slow_twin(family, kind):
    with wide():
        policy = policy_of(family, kind)
        expected = slow_rows(policy, token_batch(policy, "apart"))
        for layout, checkpointing in zip(LAYOUTS, (True, False, True, False), strict=True):
            found = jacobian(policy, token_batch(policy, layout), compute=Compute(checkpointing=checkpointing))
            assert_same_rows(found.rows, expected)
        assert_same_rows(jacobian(policy, token_batch(policy), separate=True).rows, expected)


@pytest.mark.parametrize(("family", "kind"), [("llama", "tied"), ("llama", "untied"), ("gemma2", "lora"), ("cohere", "tied")])
def test_rows_are_right_where_the_models_own_head_makes_the_logits(family, kind):
    with wide():
        policy = policy_of(family, kind)
        policy.base.projection = policy.projection._replace(exact=False)
        assert policy.coverage.exact
        batch = token_batch(policy)
        assert_same_rows(jacobian(policy, batch).rows, jacobian(policy, batch, separate=True).rows)


def test_the_labels_are_of_every_kind():
    """So that nothing above holds for want of cases."""
    patterns = [tuple(column) for column in LABELS.nan_to_num(9).T.tolist()]
    assert any(0 in pattern for pattern in patterns)  # a tie
    assert judged(LABELS).tolist() == [6, 5, 6, 0]  # an objective without any label
    assert (9, 9, 9, 9) in patterns  # a pair that nobody judged
    assert (1, 1, -1, 9) in patterns  # objectives that agree, and that do not
    assert (-1, -1, 1, 9) in patterns
    owners = token_batch(moved_policy()).owner
    assert [len({pair for pair in row if pair >= 0}) for row in owners.tolist()] == [3, 4]  # several pairs in a row


# what the rows are


def test_rows_are_the_derivative_of_the_losses():
    policy = moved_policy()
    data = pairs()
    batch = batch_of(policy, data)
    found = objective_jacobian(policy, batch, beta=BETA, judged=judged(data.labels))
    generator = torch.Generator().manual_seed(3)
    directions = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in policy.trainable.values()]
    expected = sum((row * d).flatten(1).sum(1) for row, d in zip(found.rows, directions, strict=True))

    h = 1e-6
    with torch.no_grad():
        plus, minus = _losses_at(policy, batch, data, directions, h), _losses_at(policy, batch, data, directions, -h)
    torch.testing.assert_close((plus - minus) / (2 * h), expected, rtol=1e-6, atol=1e-8)


def _losses_at(policy, batch, data, directions, step):
    for parameter, direction in zip(policy.trainable.values(), directions, strict=True):
        parameter += step * direction
    losses = dpo(margins(policy, batch), batch.labels.double(), beta=BETA).sum(1) / judged(data.labels)
    for parameter, direction in zip(policy.trainable.values(), directions, strict=True):
        parameter -= step * direction
    return losses


def test_at_the_start_losses_are_log_two_and_gradients_have_a_closed_form():
    policy = exact_policy(seed=1)
    data = pairs(objectives=2)
    batch = batch_of(policy, data)
    counts = judged(data.labels)
    found = objective_jacobian(policy, batch, beta=0.3, judged=counts)
    known = data.labels.isfinite()
    assert found.losses[known].tolist() == pytest.approx([math.log(2)] * int(known.sum()), abs=1e-12)
    parameters = list(policy.trainable.values())
    delta = margins(policy, batch)
    for index in range(2):
        signs = torch.nan_to_num(data.labels[index].double(), nan=0.0)
        expected = torch.autograd.grad((signs * delta).sum() * (-0.3 / 2) / counts[index], parameters, retain_graph=True)
        for row, gradient in zip(found.rows, expected, strict=True):
            torch.testing.assert_close(row[index], gradient, rtol=1e-9, atol=1e-15)


def test_adding_gramians_of_micro_batches_is_another_quantity():
    policy = moved_policy()
    whole = jacobian(policy, token_batch(policy))
    parts = [jacobian(policy, token_batch(policy, "single", chosen=chosen)) for chosen in ([0], [1, 2, 3], [4, 5, 6])]
    sum_of_gramians = sum(part.gram for part in parts)
    total = accumulate(accumulate(parts[0], parts[1]), parts[2])
    torch.testing.assert_close(total.gram, whole.gram, rtol=1e-10, atol=1e-14)
    assert not torch.allclose(sum_of_gramians, whole.gram, rtol=1e-3)


@pytest.mark.parametrize("separate", [False, True])
def test_an_objective_without_judged_pairs_gets_a_zero_row(separate):
    policy = moved_policy()
    found = jacobian(policy, token_batch(policy), separate=separate)
    assert float(found.gram[3].abs().max()) == 0.0
    assert float(found.losses[3].abs().max()) == 0.0
    assert (found.gram.diagonal()[:3] > 0).all()
    assert bool(found.gram.isfinite().all())


def test_a_batch_that_nobody_judged_has_no_gradient():
    policy = moved_policy(adapter="full")
    found = jacobian(policy, token_batch(policy, "single", chosen=[5]))
    assert all(not row.any() and row.shape[0] == 4 for row in found.rows)


def test_a_weight_that_nothing_reads_gets_zeros():
    policy = moved_policy()
    unused = torch.nn.Parameter(torch.ones(2, 3, dtype=torch.float64))
    policy._backbone["unused"] = unused
    assert list(policy.trainable)[-1] == "unused"
    for separate in (False, True):
        row = jacobian(policy, token_batch(policy), separate=separate).rows[-1]
        assert row.tolist() == torch.zeros(4, 2, 3).tolist()


@pytest.mark.parametrize("compute", [Compute(), Compute(checkpointing=True)])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("kind", ["lora", "tied"])
def test_nothing_in_a_jacobian_carries_a_graph(kind, separate, compute):
    policy = policy_of("gpt2", kind)
    before = {name: (value.clone(), value._version) for name, value in policy.trainable.items()}
    found = jacobian(policy, token_batch(policy), separate=separate, compute=compute)
    for tensor in (found.losses, found.margins, *found.rows):
        assert not tensor.requires_grad
        assert tensor.grad_fn is None
    for name, value in policy.trainable.items():
        assert value.grad is None
        assert value.equal(before[name][0])
        assert value._version == before[name][1]
    assert all(parameter.grad is None for parameter in policy.model.parameters())
    assert margins(policy, token_batch(policy)).grad_fn is not None  # planted: what does carry one


def test_rows_are_owned_and_can_be_added_to():
    """`accumulate` adds in place, so no two objectives, nor two weights, may share memory."""
    for kind in KINDS:
        policy = policy_of("llama", kind, dtype=torch.float32)
        rows = jacobian(policy, token_batch(policy, "single", chosen=[0])).rows
        assert len({row.untyped_storage().data_ptr() for row in rows}) == len(rows)
        before = [row.clone() for row in rows]
        for row in rows:
            row.add_(1)
        for row, old in zip(rows, before, strict=True):
            assert row.equal(old + 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shared_prompt_changes_no_margin_and_no_gradient(family):
    with wide():
        policy = policy_of(family, "lora")
        data = pairs(objectives=3)
        apart, shared = (batch_of(policy, data, shared=flag) for flag in (False, True))
        assert (apart.shared, shared.shared) == (False, True)
        assert shared.tokens < apart.tokens
        encoded = encode_preferences(policy, data, max_length=128)
        found = batch_for(policy, encoded, data.labels, shared.reference, shared.pair_ids)
        assert found.shared == (family not in ("gemma2", "gemma3", "mistral"))
        if not found.shared:  # longer than their window of 16 tokens
            assert max(pair.longest for pair in encoded) > 16
            assert (margins(policy, apart) - margins(policy, shared)).abs().max() > 1e-5
            return
        torch.testing.assert_close(margins(policy, apart), margins(policy, shared), rtol=0, atol=1e-12)
        if family in ("llama", "gpt2"):  # the others have shorter pairs above
            one, other = (objective_jacobian(policy, batch, beta=BETA, judged=judged(data.labels)) for batch in (apart, shared))
            assert_same_rows(one.rows, other.rows)


# in lower precision


def distance(found, expected) -> float:
    """Of the gradients of all parameters together: the largest relative distance of an objective."""
    one, other = (torch.cat([row.double().flatten(1) for row in rows], dim=1)[:3] for rows in (found, expected))
    return float(((one - other).norm(dim=1) / other.norm(dim=1)).max())


def assert_within_bfloat16(found, separate, exact) -> None:
    """Products are rounded to 2^-9, a layer after another: entries of both ways differ by up to 0.023 of a parameter's largest
    one. One pass must not be further from float32 than separate passes are, which are 0.003 to 0.031 (norms) from it."""
    largest = [row.flatten(1).abs().amax() for row in separate]
    apart = [(one - other).abs().max() / size for one, other, size in zip(found, separate, largest, strict=True)]
    assert max(apart) <= 0.05
    assert 0 < distance(separate, exact) <= 0.05
    assert distance(found, exact) <= 1.5 * distance(separate, exact)


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2", "olmo2"])
def test_a_base_in_bfloat16_with_trainables_in_float32(family):
    policy = policy_of(family, "lora", dtype=torch.bfloat16)
    assert {weight.dtype for weight in policy.trainable.values()} == {torch.float32}
    exact = random_policy(family, dtype=torch.float32)
    weights = dict(policy.model.named_parameters())
    with torch.no_grad():
        for name, weight in exact.model.named_parameters():
            weight.copy_(weights[name])
    batch = token_batch(policy)
    found, separate = (jacobian(policy, batch, separate=flag).rows for flag in (False, True))
    assert {row.dtype for row in found} == {torch.float32}
    assert_within_bfloat16(found, separate, jacobian(exact, batch, separate=True).rows)


@pytest.mark.parametrize(("family", "kind"), [("llama", "lora"), ("llama", "untied"), ("gemma2", "tied"), ("gpt2", "tied")])
def test_autocast_to_bfloat16(family, kind):
    policy = policy_of(family, kind, dtype=torch.float32)
    batch, low = token_batch(policy), Compute(autocast="bfloat16")
    found, separate = (jacobian(policy, batch, separate=flag, compute=low).rows for flag in (False, True))
    again = jacobian(policy, batch, compute=low._replace(checkpointing=True)).rows
    assert {row.dtype for row in found} == {torch.float32}
    exact = jacobian(policy, batch, separate=True).rows
    assert_within_bfloat16(found, separate, exact)
    assert_within_bfloat16(again, separate, exact)


def test_what_bfloat16_may_not_do_is_noticed():
    policy = policy_of("llama", "untied", dtype=torch.float32)
    batch = token_batch(policy)
    exact = jacobian(policy, batch, separate=True).rows
    low = [row.bfloat16().float() for row in exact]
    assert_within_bfloat16(low, low, exact)
    for wrong in ([row * 0.9 for row in low], [*low[:-1], low[-1].roll(1, dims=0)]):
        with pytest.raises(AssertionError):
            assert_within_bfloat16(wrong, low, exact)


# on a device


@pytest.fixture
def unread(monkeypatch):
    """transformers looks at the values of positions (are they of several sequences?) and, in GPT-2, of tokens (padding?) where
    it is given no mask: a wait for the device that rows of one sequence cannot avoid. Ours are then to be the only ones."""
    monkeypatch.setattr(transformers.masking_utils, "find_packed_sequence_indices", lambda position_ids: None)
    monkeypatch.setattr(transformers.PreTrainedModel, "warn_if_padding_and_no_attention_mask", lambda *inputs: None)


def on_meta(family, kind) -> Policy:
    """A policy on a device whose values do not exist, with what was measured before."""
    policy = policy_of(family, kind, dtype=torch.float32)
    assert policy.sharing.exact
    assert policy.coverage.exact
    assert policy.projection.exact
    model = policy.model.to("meta")
    return Policy(model, policy.tokenizer, base=policy.base, source="meta", adapter=policy.adapter, at_base=False)


@pytest.mark.parametrize(
    ("family", "kind"), [("llama", "lora"), ("llama", "tied"), ("gemma2", "tied"), ("gemma3", "lora"), ("gpt2", "tied")]
)
def test_nothing_is_read_from_the_device_nor_made_elsewhere(family, kind, unread):
    """On the meta device .item(), bool(tensor), nonzero() and copies to the host raise, and so does a tensor of the CPU."""
    policy = on_meta(family, kind)
    assert policy.device.type == "meta"
    shapes = [(4, *parameter.shape) for parameter in policy.trainable.values()]
    for layout, checkpointing in (("apart", True), ("several", False)):
        batch = token_batch(policy, layout)
        found = jacobian(policy, batch, separate=True)
        total = accumulate(found, jacobian(policy, batch, compute=Compute(checkpointing=checkpointing)))
        direction = combine(total.rows, total.gram[0])
        assert [tuple(row.shape) for row in total.rows] == shapes
        assert [tuple(part.shape) for part in direction] == [shape[1:] for shape in shapes]
        assert (total.gram.shape, total.losses.shape, total.margins.shape) == ((4, 4), (4, 14), (14,))
        everything = (*total.rows, *direction, total.gram, total.losses, total.margins)
        assert {tensor.device.type for tensor in everything} == {"meta"}


@pytest.mark.parametrize("kind", ["lora", "tied"])
def test_rows_with_a_shared_prompt_are_read_without_any_wait(kind):
    """Here transformers is as it is; see `unread`."""
    policy = on_meta("llama", kind)
    for layout in ("single", "packed", "several"):
        assert jacobian(policy, token_batch(policy, layout)).gram.device.type == "meta"
    with pytest.raises(RuntimeError, match=r"item\(\) cannot be called on meta tensors"):
        jacobian(policy, token_batch(policy, "apart"))


def test_a_wait_for_the_device_is_noticed(unread):
    policy = on_meta("llama", "lora")
    found = jacobian(policy, token_batch(policy))
    for look in (float, bool, int):
        with pytest.raises(RuntimeError, match="meta tensors"):
            look(found.gram[0, 0])
    with pytest.raises((RuntimeError, NotImplementedError)):
        found.margins.nonzero()
    with pytest.raises(NotImplementedError, match="no data"):
        on_host(found)  # the one copy, which is the loop's to make
    plain = branches.product
    on_cpu = mock.patch.object(branches, "product", lambda *given, **how: plain(*given, **how) + torch.ones(1, 1))
    with on_cpu, pytest.raises(RuntimeError, match="device"):  # planted: something that is made on the CPU
        jacobian(policy, token_batch(policy))


def test_all_that_the_host_needs_comes_in_one_copy():
    policy = moved_policy()
    found = jacobian(policy, token_batch(policy))
    plain, copies = torch.Tensor.cpu, []
    with mock.patch.object(torch.Tensor, "cpu", lambda tensor: copies.append(tensor.shape) or plain(tensor)):
        losses, deltas, gram, own_squares = on_host(found)
    assert copies == [(4 * 7 + 7 + 4 * 4 + 4,)]
    assert losses.equal(found.losses)
    assert deltas.equal(found.margins)
    assert gram.equal(found.gram)
    assert own_squares.tolist() == [0.0] * 4  # it has no heads, see test_heads.py
