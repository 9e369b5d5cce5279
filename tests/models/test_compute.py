"""How a model is run changes what is kept and how long it takes, not what is computed."""

from unittest import mock

import pytest
import torch
from support.models_cases import disturb, ragged_pairs, trained_policy
from support.training_cases import LABELS, assert_same_rows, token_batch
from transformers.modeling_layers import GradientCheckpointingLayer

from paretokit.errors import ModelError
from paretokit.maths import products
from paretokit.maths.losses import judged
from paretokit.models import compute
from paretokit.models.compute import Compute, checkpointed, kernels, out_of_memory, quick, repeatable
from paretokit.models.policy import Policy
from paretokit.models.tiny import FAMILIES, random_policy
from paretokit.rows import pad_rows
from paretokit.training.jacobian import objective_jacobian


def layers(policy: Policy) -> list[torch.nn.Module]:
    return [part for part in policy.model.modules() if isinstance(part, GradientCheckpointingLayer)]


def scored(policy: Policy, compute: Compute) -> torch.Tensor:
    policy.compute = compute
    return policy.token_logps(pad_rows(*ragged_pairs()))


def jacobian(policy: Policy, compute: Compute):
    policy.compute = compute
    return objective_jacobian(policy, token_batch(policy), beta=0.7, judged=judged(LABELS))


def calls_of_layers(policy: Policy, compute: Compute) -> int:
    """How often a layer's attention is called in a forward and backward pass; the layer itself is called once."""
    count = 0

    def called(*inputs):
        nonlocal count
        count += 1

    names = ("self_attn", "attn", "attention")
    attentions = [next(getattr(layer, name) for name in names if hasattr(layer, name)) for layer in layers(policy)]
    handles = [attention.register_forward_pre_hook(called) for attention in attentions]
    try:
        jacobian(policy, compute)
    finally:
        for handle in handles:
            handle.remove()
    return count


def kept(policy: Policy, compute: Compute) -> int:
    """Numbers that a forward pass keeps for the backward one, weights aside."""
    weights = {parameter.data_ptr() for parameter in policy.model.parameters()}
    sizes = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in weights:
            sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        scored(policy, compute)
    return sum(sizes)


# checkpointing


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointing_computes_the_layers_once_more_and_keeps_less(family):
    policy = trained_policy(family)
    assert policy.coverage.exact  # their own passes are not counted
    assert policy.sharing.exact
    plain, again = Compute(), Compute(checkpointing=True)
    assert len(layers(policy)) == 2
    assert calls_of_layers(policy, plain) == 2
    assert calls_of_layers(policy, again) == 4
    assert kept(policy, again) < 0.2 * kept(policy, plain)
    assert scored(policy, again).equal(scored(policy, plain))
    assert not policy.model.training  # transformers' own checkpointing asks for that, and switches dropout on


def test_without_gradients_nothing_is_computed_again_nor_wrapped():
    policy = trained_policy()
    with torch.no_grad(), mock.patch("paretokit.models.reading.checkpointed", side_effect=AssertionError):
        scored(policy, Compute(checkpointing=True))
    with pytest.raises(AssertionError), mock.patch("paretokit.models.reading.checkpointed", side_effect=AssertionError):
        scored(policy, Compute(checkpointing=True))  # planted: with gradients it is


def test_the_layers_are_what_they_were():
    policy = trained_policy()
    before = [layer.forward for layer in layers(policy)]
    with checkpointed(policy.model):
        assert all("forward" in vars(layer) for layer in layers(policy))
    assert [layer.forward for layer in layers(policy)] == before
    assert not any("forward" in vars(layer) for layer in layers(policy))

    with pytest.raises(RuntimeError, match="planted"), checkpointed(policy.model):
        raise RuntimeError("planted")
    assert not any("forward" in vars(layer) for layer in layers(policy))


def test_a_model_without_such_layers_is_refused():
    with pytest.raises(ModelError) as error, checkpointed(torch.nn.Sequential(torch.nn.Linear(2, 2))):
        pass
    assert str(error.value) == (
        "Sequential: found no layers that can be computed once more (GradientCheckpointingLayer), expected some. "
        "Set checkpointing=False."
    )


# precision and compilation


def test_autocast_is_what_torch_makes_of_it():
    policy = trained_policy(dtype=torch.float32)
    exact, low = scored(policy, Compute()), scored(policy, Compute(autocast="bfloat16"))
    assert Compute(autocast="bfloat16").dtype == torch.bfloat16
    assert Compute().dtype is None
    assert low.dtype == torch.float32  # log-probabilities are float32 or better
    assert 1e-4 < (low - exact).abs().max() < 0.1  # 2^-9 of logits of up to 8, through two layers: 0.02
    half = trained_policy(dtype=torch.bfloat16)
    with torch.no_grad():
        for one, other in zip(half.model.parameters(), policy.model.parameters(), strict=True):
            one.copy_(other)
    assert (low - scored(half, Compute())).abs().max() < 0.1


@pytest.fixture
def compiled():
    yield
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "family", "adapter", "within"),
    [
        ("aot_eager", "gpt2", "full", 1e-12),
        ("eager", "llama", "lora", 1e-6),  # RMSNorm computes in float32, in another order
    ],
)
def test_a_compiled_model_takes_separate_passes_and_gives_the_same_rows(backend, family, adapter, within, compiled):
    """aot_eager because its graph, like inductor's, refuses a second backward pass unless it is `repeatable`."""
    depth = {"n_layer": 1} if family == "gpt2" else {"num_hidden_layers": 1}
    policy = disturb(random_policy(family, dtype=torch.float64, adapter=adapter, **depth), size=0.02)
    plain = jacobian(policy, Compute())
    assert policy.coverage.exact
    found = jacobian(policy, Compute(compiler=backend))
    assert list(policy.reader._compiled) == [backend]
    assert (policy.coverage.exact, policy.coverage.reason) == (
        False,
        "the model is compiled, and its modules cannot be listened to",
    )
    assert_same_rows(found.rows, plain.rows, within=within)
    jacobian(policy, Compute())
    assert policy.coverage.exact  # what was found out is kept
    if backend == "aot_eager":
        policy.compute = Compute(compiler=backend)
        logps = policy.token_logps(token_batch(policy).rows, shared=True)
        weights = list(policy.trainable.values())
        with pytest.raises(RuntimeError, match="retain_graph=False"):  # planted: outside of `repeatable`
            torch.autograd.grad(logps.sum(), weights, retain_graph=True)
        with repeatable(policy.compute):
            torch.autograd.grad(logps.sum(), weights, retain_graph=True)


# memory


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried ..."), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:115] DefaultCPUAllocator: not enough memory: you tried ..."), True),
        (RuntimeError("expected scalar type Float but found Double"), False),
        (ValueError("can't allocate memory"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_errors_that_say_that_memory_ran_out(error, expected):
    assert out_of_memory(error) is expected


def test_the_error_that_the_cpu_raises_is_recognised():
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**50, dtype=torch.float64)
    assert out_of_memory(error.value)


WIDE = {"hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}


def taken_by(policy, monkeypatch, *, pairs=8) -> set[str]:
    """Which of our ways a policy computes by, forward and back, and that this changes nothing but rounding."""
    seen = set()
    for name in ("linear", "attend"):
        plain = getattr(compute, name)
        monkeypatch.setattr(compute, name, lambda *given, _n=name, _f=plain, **how: seen.add(_n) or _f(*given, **how))
    rows = pad_rows([[5, 6, 7, 8]] * pairs, [[9, 10, 11, 12]] * pairs)

    def gradients():
        logps = policy.token_logps(rows)
        return [logps.detach(), *torch.autograd.grad(logps.sum(), list(policy.trainable.values()))]

    found = gradients()
    ways = set(seen)
    with monkeypatch.context() as patch:
        patch.setattr(compute, "_WIDE", 10**9)  # no model is wide
        seen.clear()
        expected = gradients()
        assert seen == set()
    noise = 0.05 if policy.model.dtype == torch.bfloat16 else 1e-5  # what two ways of rounding to 8 bits make of a gradient
    for one, other in zip(found, expected, strict=True):
        assert float((one - other).norm()) <= noise * float(other.norm())
    return ways


@pytest.mark.parametrize(
    ("dtype", "config", "how", "ways"),
    [
        (torch.float32, WIDE, Compute(), {"linear"}),
        (torch.float32, {}, Compute(), set()),
        (torch.bfloat16, WIDE, Compute(), {"attend"}),
        (torch.bfloat16, {}, Compute(), set()),
        (torch.float32, WIDE, Compute(autocast="bfloat16"), set()),
        (torch.float64, WIDE, Compute(), set()),
    ],
)
def test_wide_models_compute_by_the_faster_ways_and_by_nothing_else(dtype, config, how, ways, monkeypatch):
    monkeypatch.setattr(products, "_QUICK", products._HAS)
    monkeypatch.setattr(compute, "is_quick", lambda: products._HAS)
    monkeypatch.setattr(products, "FEWEST", 1)
    policy = disturb(random_policy(dtype=dtype, **config))
    policy.compute = how
    assert taken_by(policy, monkeypatch) == (ways if products._HAS else ways - {"linear"})


def test_long_rows_in_half_precision_are_torchs():
    policy = random_policy(dtype=torch.bfloat16, **WIDE)
    long = torch.zeros(1, 257, dtype=torch.int64)
    assert type(kernels(policy.model, Compute(), rows=long[:, 1:])).__name__ == "_Instead"
    assert type(kernels(policy.model, Compute(), rows=long)).__name__ == "nullcontext"


def test_few_positions_are_torchs(monkeypatch):
    monkeypatch.setattr(compute, "is_quick", lambda: True)
    model = random_policy(**WIDE).model
    assert type(quick(model, positions=32)).__name__ == "_Instead"
    assert type(quick(model, positions=31)).__name__ == "nullcontext"


def test_the_faster_ways_end_with_their_context(monkeypatch):
    monkeypatch.setattr(compute, "is_quick", lambda: True)
    model, linear = random_policy(**WIDE).model, mock.Mock(return_value=None)
    monkeypatch.setattr(compute, "linear", linear)
    monkeypatch.setattr(compute, "suits", lambda inputs, weight: True)
    one = torch.ones(2, 2)
    with quick(model, positions=10**6):
        torch.nn.functional.linear(one, one)
    torch.nn.functional.linear(one, one)
    assert linear.call_count == 1
