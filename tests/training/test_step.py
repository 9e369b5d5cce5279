"""One step of the loop: how often it waits for the device, how it reads its pairs, and what it does when something is wrong."""

import math
from dataclasses import replace

import pytest
import torch
from support.device_waits import Waits
from support.training_cases import exact_policy, moved_policy, pairs

from paretokit.errors import ConfigError, MemoryLimitError, ModelError
from paretokit.models.tiny import random_policy
from paretokit.training import jacobian, loop
from paretokit.training.config import TrainConfig
from paretokit.training.encode import encode_preferences
from paretokit.training.loop import iter_steps, iter_train
from paretokit.training.records import StepRecord
from paretokit.training.references import missing, reference_margins, sequence_key

CONFIG = TrainConfig(steps=4, pairs_per_step=4, learning_rate=1e-2, max_length=128)
WEIGHTS = (0.3, 0.7)


def weights_of(policy):
    return torch.cat([value.flatten() for value in policy.trainable_state().values()])


def run(policy, data, *, config=CONFIG, weights=WEIGHTS):
    return list(iter_train(policy, data, weights=weights, config=config))


@pytest.fixture
def host_copies(monkeypatch):
    """On a CPU the one copy to the host copies nothing: it is counted by its name."""
    calls = []
    plain = loop.on_host
    monkeypatch.setattr(loop, "on_host", lambda found: calls.append(found) or plain(found))
    return calls


@pytest.mark.parametrize("adapter", ["lora", "full"])
@pytest.mark.parametrize("objectives", [2, 3])
def test_a_step_waits_for_the_device_once(adapter, objectives, host_copies):
    policy, data = random_policy(seed=0, adapter=adapter), pairs(objectives=objectives)
    weights = [1 / objectives] * objectives
    references = {}
    reference_margins(policy, encode_preferences(policy, data, max_length=128), references)
    steps = iter_train(policy, data, weights=weights, config=CONFIG, references=references)
    next(steps)  # what is found out once for a model
    host_copies.clear()
    with Waits() as waits:
        next(steps)
    assert sum(waits.count.values()) + len(host_copies) <= 1, waits.count


def test_a_planted_wait_is_counted(monkeypatch):
    plain = loop.descend

    def curious(policy, optimizer, rows, gram, result, **options):
        float(rows[0].sum())
        return plain(policy, optimizer, rows, gram, result, **options)

    policy, data, references = random_policy(seed=0), pairs(), {}
    reference_margins(policy, encode_preferences(policy, data, max_length=128), references)
    steps = iter_train(policy, data, weights=WEIGHTS, config=CONFIG, references=references)
    next(steps)
    monkeypatch.setattr(loop, "descend", curious)
    with Waits() as waits:
        next(steps)
    assert waits.count["_local_scalar_dense"] == 1


@pytest.mark.parametrize(("method", "rank"), [("mah-dpo", 4), ("mah-raco", None)])
def test_a_step_of_heads_waits_for_the_device_once(method, rank, host_copies):
    policy, data, references = random_policy(seed=0, heads=["o0", "o1"], head_rank=rank), pairs(), {}
    reference_margins(policy, encode_preferences(policy, data, max_length=128), references)
    steps = iter_train(policy, data, method=method, weights=WEIGHTS, config=CONFIG, references=references)
    next(steps)  # what is found out once for a model
    host_copies.clear()
    with Waits() as waits:
        next(steps)
    assert sum(waits.count.values()) + len(host_copies) <= 1, waits.count


@pytest.mark.parametrize("method", ["mah-dpo", "mah-raco"])
def test_compiling_changes_no_step_of_heads(method):
    results = []
    for compiler in (None, "eager"):
        policy = random_policy("gpt2", seed=0, heads=["o0", "o1"], head_rank=4, dtype=torch.float64)
        config = replace(CONFIG, steps=2, optimizer="sgd", compiler=compiler)
        records = list(iter_train(policy, pairs(), method=method, weights=WEIGHTS, config=config))
        results.append((records, weights_of(policy)))
    (expected, weights), (found, others) = results
    assert [record.losses for record in found] == [pytest.approx(record.losses, rel=1e-12) for record in expected]
    torch.testing.assert_close(others, weights, rtol=1e-9, atol=1e-11)
    assert [record.backward_passes for record in (*expected, *found)] == [1, 1, 2, 2]


@pytest.mark.parametrize("change", [{"checkpointing": True}, {"compiler": "eager"}])
def test_how_the_model_is_run_changes_no_step(change):
    plain, other, config = exact_policy(), exact_policy(), replace(CONFIG, steps=2)
    expected, found = run(plain, pairs(), config=config), run(other, pairs(), config=replace(config, **change))
    for one, another in zip(expected, found, strict=True):
        assert another.losses == pytest.approx(one.losses, rel=1e-12)
    torch.testing.assert_close(weights_of(other), weights_of(plain), rtol=1e-9, atol=1e-11)
    assert {record.backward_passes for record in expected} == {1}
    assert {record.backward_passes for record in found} == {2 if "compiler" in change else 1}


def test_autocast_stays_near_and_asks_the_reference_alike():
    plain, half = random_policy(seed=0), random_policy(seed=0)
    expected, found = run(plain, pairs()), run(half, pairs(), config=replace(CONFIG, autocast="bfloat16"))
    # fresh adapters add nothing, so margins are zero up to the rounding of bfloat16, which depends on the rows that a
    # sequence shares; read in another precision, the reference would be off by some tenths
    assert found[0].margins == pytest.approx([0.0] * 4, abs=1e-2)
    assert found[-1].losses == pytest.approx(expected[-1].losses, rel=0.05)  # bfloat16 has 8 bits
    assert found[-1].losses != expected[-1].losses
    assert all(weight.dtype == torch.float32 for weight in half.trainable.values())


def test_a_step_says_what_it_computed():
    (record, *_) = run(random_policy(seed=0), pairs(count=8))
    assert record.positions is not None
    assert record.positions < record.tokens  # shared prompts are read once
    assert not record.skipped
    assert StepRecord.from_json(record.to_json()) == record


def spoilt(policy, data, *, bad):
    """References in which that of one pair is no number."""
    encoded = encode_preferences(policy, data, max_length=CONFIG.max_length)
    references = {sequence_key(*sequence): 0.0 for sequence in missing(encoded, {})}
    references[sequence_key(encoded[bad].prompt, encoded[bad].response_a)] = math.nan
    return references


def test_a_step_that_is_not_finite_is_skipped_where_that_is_asked_for():
    policy, data = moved_policy(), pairs(count=8)
    config = replace(CONFIG, steps=2, pairs_per_step=4, on_non_finite="skip")
    before, seen = weights_of(policy), []
    for record, state in iter_steps(policy, data, weights=WEIGHTS, config=config, references=spoilt(policy, data, bad=5)):
        seen.append((record.skipped, torch.equal(weights_of(policy), before), len(state.optimizer) > 0))
        before = weights_of(policy)
        if record.skipped:
            assert record.coefficients == (0.0, 0.0)
            assert (record.update_norm, record.norm_scale) == (0.0, 0.0)
            assert StepRecord.from_json(record.to_json()).to_json() == record.to_json()
    # the pair stands in one of the two steps: that one changes nothing, the other one does
    assert sorted(seen)[0][:2] == (False, False)
    assert sorted(seen)[1][:2] == (True, True)


def _fails(monkeypatch, error):
    def none(*arguments, **options):
        raise error

    monkeypatch.setattr(loop, "objective_jacobian", none)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: you tried to"),
    ],
)
def test_too_little_memory_names_what_needs_less_and_changes_nothing(monkeypatch, error):
    policy = random_policy(seed=0)
    before = weights_of(policy)
    steps = iter_train(policy, pairs(), weights=WEIGHTS, config=CONFIG)
    _fails(monkeypatch, error)
    with pytest.raises(MemoryLimitError) as caught:
        next(steps)
    line = str(error).split("\n")[0]
    assert str(caught.value) == (
        f"step 1: found too little memory for a pass of 4 pairs ({line}), expected to read the step in 1 passes. The policy is "
        "as it was before the step. The same update needs less memory with checkpointing=True, pairs_per_backward=2, "
        "tokens_per_backward=1024 or a smaller max_length."
    )
    assert torch.equal(before, weights_of(policy))
    assert caught.value.__context__ is error
    assert error.__traceback__ is None  # its frames would hold what the memory is full of
    monkeypatch.undo()
    smaller = replace(CONFIG, pairs_per_backward=2, checkpointing=True)
    assert len(run(policy, pairs(), config=smaller)) == CONFIG.steps  # the policy is as good as before


def test_another_error_is_not_taken_for_one_of_memory(monkeypatch):
    steps = iter_train(random_policy(seed=0), pairs(), weights=WEIGHTS, config=CONFIG)
    _fails(monkeypatch, RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        next(steps)


def test_weights_on_two_devices_are_refused():
    policy = random_policy(seed=0)
    policy.model.get_output_embeddings().to("meta")
    with pytest.raises(ConfigError, match=r"policy: found weights on cpu, meta, expected all on one device\. Load the model"):
        iter_train(policy, pairs(), weights=WEIGHTS, config=CONFIG)


def test_a_model_without_an_output_projection_is_refused(monkeypatch):
    policy = random_policy(seed=0)
    monkeypatch.setattr(policy.model.get_base_model(), "get_output_embeddings", lambda: None)
    with pytest.raises(ModelError, match=r"found no output projection .* expected one that maps hidden states to logits"):
        iter_train(policy, pairs(), weights=WEIGHTS, config=CONFIG)


def test_an_unknown_compiler_is_refused():
    with pytest.raises(ConfigError, match=r"compiler: found 'inducter', .*Did you mean 'inductor'\?"):
        iter_train(random_policy(seed=0), pairs(), weights=WEIGHTS, config=replace(CONFIG, compiler="inducter"))


def test_a_model_that_cannot_be_taken_apart_is_not_compiled():
    policy = random_policy(seed=0)
    policy.base.projection = policy.projection._replace(exact=False, reason="its output projection is a Mystery")
    with pytest.raises(ConfigError, match=r"backbone cannot be run by itself \(its output projection is a Mystery\)"):
        iter_train(policy, pairs(), weights=WEIGHTS, config=replace(CONFIG, compiler="eager"))


def test_the_models_own_head_is_run_as_asked_too(monkeypatch):
    plain, own = exact_policy(), exact_policy()
    own.base.projection = own.projection._replace(exact=False, reason="planted")
    found = run(own, pairs(), config=replace(CONFIG, steps=2, checkpointing=True))
    expected = run(plain, pairs(), config=replace(CONFIG, steps=2))
    assert found[-1].losses == pytest.approx(expected[-1].losses, rel=1e-10)
    assert found[-1].backward_passes == 1
    half = run(own, pairs(), config=replace(CONFIG, steps=1, autocast="bfloat16"))
    assert half[0].gradient_norms != pytest.approx(expected[0].gradient_norms, rel=1e-6)  # it acts


def test_rows_padded_beyond_the_context_of_learnt_positions_are_read():
    """GPT-2 has 256 learnt positions; a shared row may be longer, its sequences are not."""
    data = pairs(count=6)
    policy = exact_policy()
    encoded = encode_preferences(policy, data, max_length=128)
    longest = encoded[0]._replace(prompt=encoded[0].prompt * 3, response_a=(5,) * 180, response_b=(6,) * 180)
    assert longest.longest <= policy.context_length < len(longest.prompt) + 360
    labels, zeros = data.labels[:, :2], torch.zeros(2)
    batch = jacobian.batch_for(policy, [longest, encoded[1]], labels, zeros, torch.arange(2))
    assert batch.shared
    alone = [jacobian.batch_for(policy, [pair], labels[:, :1], zeros[:1], torch.arange(1)) for pair in (longest, encoded[1])]
    expected = torch.cat([jacobian.margins(policy, one) for one in alone])
    torch.testing.assert_close(jacobian.margins(policy, batch), expected, rtol=0, atol=1e-10)


def test_micro_batches_reuse_the_rows_of_the_first():
    part = jacobian.Jacobian(torch.ones(1, 2), torch.ones(2), (torch.ones(1, 3),))
    total = jacobian.accumulate(jacobian.accumulate(None, part), part._replace(rows=(torch.ones(1, 3),)))
    assert total.rows[0].tolist() == [[2.0, 2.0, 2.0]]
    assert total.rows[0] is part.rows[0]
    assert (total.losses.shape, total.margins.shape) == ((1, 4), (4,))
