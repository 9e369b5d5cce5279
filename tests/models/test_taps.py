"""One backward pass hears of every use of every trainable weight, or says which it misses; and leaves no trace.

Rows are compared with those of separate backward passes, as in tests/training/test_jacobian.py.
"""

from unittest import mock

import pytest
import torch
from support.models_cases import disturb, wide
from support.training_cases import LABELS, assert_same_rows, difference, token_batch

from paretokit.maths.contraction import layout
from paretokit.maths.losses import judged
from paretokit.models import taps
from paretokit.models.policy import Policy
from paretokit.models.tiny import FAMILIES, random_policy
from paretokit.preferences.pack import make_batch
from paretokit.texts import EncodedPair
from paretokit.training.jacobian import objective_jacobian


def policy_of(family, *, adapter="full", **config) -> Policy:
    return disturb(random_policy(family, dtype=torch.float64, adapter=adapter, **config), size=0.02)


def on(policy, *, parts=None) -> Policy:
    """A policy on the same model, changed since, that trains the weights whose name ends with one of `parts` (all)."""
    for name, parameter in policy.model.named_parameters():
        parameter.requires_grad_(parts is None or name.endswith(tuple(parts)))
    policy.base.coverage = None
    return Policy(policy.model, policy.tokenizer, base=policy.base, source="changed", adapter="full")


def rows(policy, *, separate=False, batch=None):
    batch = token_batch(policy) if batch is None else batch
    counts = judged(batch.labels)
    return objective_jacobian(policy, batch, beta=0.7, judged=counts, separate=separate).rows


def trusted(policy):
    """The rows of one pass though `coverage` says that it misses something: what must not be returned."""
    honest = policy.coverage
    policy.base.coverage = honest._replace(exact=True)
    try:
        return rows(policy)
    finally:
        policy.base.coverage = honest


def layers(policy):
    return policy.model.get_base_model().model.layers if policy.adapter == "lora" else policy.model.model.layers


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_covered(family, dtype):
    """In float64 too, for LoRA and all weights, see test_jacobian.py."""
    policy = random_policy(family, dtype=dtype)
    assert (policy.coverage.exact, policy.coverage.reason) == (True, "")
    assert policy.fork(seed=1).coverage is policy.coverage  # found out once


# weights of every kind, alone


@pytest.mark.parametrize(
    ("family", "part"),
    [
        ("qwen2", "q_proj.bias"),  # linear
        ("qwen2", "q_proj.weight"),
        ("gpt2", "c_attn.bias"),  # Conv1D
        ("gpt2", "c_proj.weight"),
        ("gpt2", "ln_1.weight"),  # LayerNorm
        ("gpt2", "ln_f.bias"),
        ("gpt2", "wpe.weight"),  # an embedding of positions, which are one row for all
        ("gpt2", "wte.weight"),  # tied
        ("llama", "embed_tokens.weight"),
        ("qwen2", "embed_tokens.weight"),  # not tied
        ("qwen2", "lm_head.weight"),
        ("qwen3", "q_norm.weight"),  # RMSNorm of a head
        ("olmo2", "q_norm.weight"),  # of all heads together
        ("gemma3", "k_norm.weight"),  # with heads before positions
        ("cohere", "input_layernorm.weight"),
    ],
)
def test_one_kind_of_weights_alone(family, part):
    with wide():
        policy = on(policy_of(family), parts=[part])
        assert policy.trainable
        assert all(name.endswith(part) for name in policy.trainable)
        assert policy.coverage.exact
        found = rows(policy)
        assert_same_rows(found, rows(policy, separate=True))
        assert all(row[:3].any() for row in found)


def test_an_embedding_ignores_the_row_it_is_told_to_ignore():
    with wide():
        policy = on(policy_of("qwen2"), parts=["embed_tokens.weight"])
        ignored = policy.model.get_input_embeddings().padding_idx
        batch = token_batch(policy)
        assert ((batch.input_ids == ignored) & (batch.segments > 0)).any()
        [found] = rows(policy, batch=batch)
        assert not found[:, ignored].any()
        policy.model.get_input_embeddings().padding_idx = None
        [found] = rows(policy, batch=batch)
        assert found[:, ignored].any()  # planted: the same model without one
        assert_same_rows([found], rows(policy, separate=True, batch=batch))


def test_a_head_with_a_bias():
    with wide():
        policy = on(policy_of("phi"), parts=["lm_head.weight", "lm_head.bias"])
        assert policy.projection.exact
        assert list(policy.trainable) == ["lm_head.weight", "lm_head.bias"]
        assert_same_rows(rows(policy), rows(policy, separate=True))
        policy.base.projection = policy.projection._replace(exact=False)
        assert_same_rows(rows(policy), rows(policy, separate=True))


# planted models


def test_a_module_that_is_called_twice_adds_up():
    for adapter in ("lora", "full"):
        with wide():
            policy = policy_of("llama", adapter=adapter)
            before = rows(policy, separate=True)
            layer = layers(policy)[0]
            plain = layer.mlp.forward
            layer.mlp.forward = lambda x, plain=plain, layer=layer: plain(x) + layer.self_attn.o_proj(x)
            assert policy.coverage.exact
            expected = rows(policy, separate=True)
            assert_same_rows(rows(policy), expected)
            assert difference(before, expected) > 1e-3  # planted: the second call matters


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_a_weight_that_is_used_outside_of_its_module_is_noticed(adapter):
    with wide():
        policy = policy_of("llama", adapter=adapter)
        layer = layers(policy)[1]
        plain = layer.mlp.forward
        if adapter == "full":
            weight, name = layer.self_attn.o_proj.weight, "model.layers.1.self_attn.o_proj.weight"
            layer.mlp.forward = lambda x: plain(x) + torch.nn.functional.linear(x, weight)
        else:
            weight = layer.self_attn.o_proj.lora_A.default.weight
            name = "base_model.model.model.layers.1.self_attn.o_proj.lora_A.weight"
            layer.mlp.forward = lambda x: plain(x) + torch.nn.functional.linear(x, weight).mean(-1, keepdim=True)
        count = len(policy.trainable)
        assert policy.coverage.exact is False
        assert policy.coverage.reason == f"1 of {count} weights are used outside of their modules ({name})"
        expected = rows(policy, separate=True)
        # it is the same way, but for LoRA's branches, which are in one piece
        assert_same_rows(rows(policy), expected, **({"within": 0.0} if adapter == "full" else {}))
        assert difference(trusted(policy), expected) > 1e-3


def test_many_missed_weights_are_not_all_listed():
    policy = policy_of("llama")
    for layer in layers(policy):
        for linear in (layer.self_attn.q_proj, layer.self_attn.o_proj):
            linear.forward = lambda x, linear=linear: torch.nn.functional.linear(x, linear.weight * 1.0)  # through the module
    assert policy.coverage.exact
    policy = policy_of("llama")
    for layer in layers(policy):
        layer.mlp.forward = lambda x, mlp=layer.mlp: torch.nn.functional.linear(
            torch.nn.functional.linear(x, mlp.gate_proj.weight) * torch.nn.functional.linear(x, mlp.up_proj.weight),
            mlp.down_proj.weight,
        )
    assert policy.coverage.reason.startswith(
        "6 of 20 weights are used outside of their modules (model.layers.0.mlp.gate_proj.weight"
    )
    assert policy.coverage.reason.endswith("down_proj.weight, ...)")
    with wide():
        assert_same_rows(rows(policy), rows(policy, separate=True), within=0.0)


class OwnLayerNorm(torch.nn.LayerNorm):
    """Has no rule, since a subclass may do anything."""


class Scale(torch.nn.Module):
    """One number for all."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


class Centred(torch.nn.Module):
    """Multiplies by weights less their mean: of the right shape, but not elementwise."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(0, 2, 32, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (1 + self.weight - self.weight.sum())


@pytest.mark.parametrize(
    "norm", [lambda: torch.nn.RMSNorm(32, eps=1e-5), lambda: OwnLayerNorm(32), Scale], ids=["RMSNorm", "LayerNorm", "Scale"]
)
def test_a_norm_that_refuses_weights_of_another_shape_has_a_pass_per_objective(norm):
    with wide():
        policy = policy_of("qwen2")
        layers(policy)[1].input_layernorm = norm().double()
        policy = on(policy)
        assert policy.coverage.exact
        passes = []
        local = taps._local

        def counted(module, *inputs):
            passes.append(type(module))
            return local(module, *inputs)

        with mock.patch.object(taps, "_local", counted):
            found = rows(policy)
        assert_same_rows(found, rows(policy, separate=True))
        kind = type(layers(policy)[1].input_layernorm)
        assert passes.count(kind) == (4 if kind is Scale else 5)  # four objectives; and the one that was refused
        [plain] = {kind for kind in passes if kind.__name__ == "Qwen2RMSNorm"}
        assert passes.count(plain) == 4  # of the other four norms, one each


def test_memory_that_runs_out_is_not_taken_for_a_refusal():
    policy = policy_of("qwen2")
    assert policy.coverage.exact
    full = mock.patch.object(taps, "_local", side_effect=torch.OutOfMemoryError("planted"))
    with full, pytest.raises(torch.OutOfMemoryError, match="planted"):
        rows(policy)


def test_weights_that_are_mixed_before_they_multiply_are_noticed():
    with wide():
        policy = policy_of("qwen2")
        layers(policy)[1].input_layernorm = Centred()
        policy = on(policy)
        assert not policy.coverage.exact
        assert "model.layers.1.input_layernorm.weight" in policy.coverage.reason
        assert difference(trusted(policy), rows(policy, separate=True)) > 1e-3


@pytest.mark.parametrize(("part", "width"), [("q_norm", 8), ("k_norm", 4)])
def test_heads_before_positions_where_a_row_is_as_wide_as_there_are_heads(part, width):
    """Gemma 3 normalises queries and keys [R, heads, T, size]; here 8 and 4 heads."""
    with wide():
        policy = on(policy_of("gemma3", num_attention_heads=8, num_key_value_heads=4), parts=[f"{part}.weight"])
        assert {name.rsplit(".", 1)[1]: axis for name, axis in policy.coverage.axes.items()} == {"q_norm": 2, "k_norm": 2}
        if part == "q_norm":  # two pairs in a row
            pairs = [EncodedPair((5 + i, 6), (40 + i,), (90 + i,)) for i in range(6)]
            places = {"shared": True, "rows": [[0, 1], [2, 3], [4, 5]]}
        else:  # a row for each response, with and without padding
            pairs = [EncodedPair((5 + i, 6, 7)[: 2 + i % 2], (40 + i,), (90 + i,)) for i in range(6)]
            places = {"shared": False}
        batch = make_batch(pairs, LABELS[:, :6], torch.linspace(-1, 1, 6).double(), torch.arange(6), **places)
        assert batch.input_ids.shape[1] == width
        expected = rows(policy, separate=True, batch=batch)
        assert_same_rows(rows(policy, batch=batch), expected)
        policy.base.coverage = policy.coverage._replace(axes={})  # planted: positions are taken to lie along axis 1
        assert difference(rows(policy, batch=batch), expected) > 1e-3


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "cohere"])
def test_half_precision_does_not_hide_what_is_covered(family, monkeypatch):
    """Slopes of the probe are powers of two, which bfloat16 takes without rounding: what is left is far below its bound. With
    other ones the rounding of many layers reached it, and SmolLM2 in bfloat16 took a pass per objective."""
    found = []
    plain = taps._near

    def near(one, other):
        if other is not None and bool(other.any()):
            found.append(float((one - other).abs().max() / other.abs().max()))
        return plain(one, other)

    monkeypatch.setattr(taps, "_near", near)
    policy = disturb(random_policy(family, dtype=torch.bfloat16, num_hidden_layers=6))
    assert policy.coverage.exact
    assert max(found) < 1e-3
    count = len(found)
    slopes = taps.torch.tensor
    monkeypatch.setattr(
        taps.torch,
        "tensor",
        lambda data, **how: slopes([[0.5, 0.3], [0.5, -0.7]] if data == [[0.5, 0.25], [0.5, -1.0]] else data, **how),
    )
    policy.base.coverage = None
    assert policy.coverage is not None
    assert max(found[count:]) > 1e-3  # planted


# no trace


def hooks(policy) -> int:
    modules = [*policy.model.modules(), policy.reader.own_scorer()]
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    replaced = sum("forward" in vars(module) for module in modules)
    return replaced + sum(len(getattr(module, kind)) for module in modules for kind in kinds)


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_no_hook_stays_behind(adapter):
    policy = policy_of("gemma3", adapter=adapter)
    assert hooks(policy) == 0
    assert policy.coverage.exact
    rows(policy)
    assert hooks(policy) == 0

    def fail(*inputs):
        assert hooks(policy) > 10  # what is counted does count
        raise RuntimeError("planted")

    with mock.patch.object(layers(policy)[1].mlp, "forward", fail), pytest.raises(RuntimeError, match="planted"):
        rows(policy)
    assert hooks(policy) == 0
    with mock.patch.object(taps.Taps, "at", fail), pytest.raises(RuntimeError, match="planted"):  # in the backward pass
        rows(policy)
    assert hooks(policy) == 0
    policy.base.coverage = None
    with mock.patch.object(layers(policy)[1].mlp, "forward", fail):
        policy.compute = policy.compute._replace(checkpointing=True)
        with pytest.raises((RuntimeError, AssertionError)):  # while it is measured
            _ = policy.coverage
    assert hooks(policy) == 0
    assert policy.compute.checkpointing
    policy.compute = policy.compute._replace(checkpointing=False)
    with wide():
        assert_same_rows(rows(policy), rows(policy, separate=True))  # and it still works


def test_tapping_changes_no_log_probability():
    policy = policy_of("llama")
    batch = token_batch(policy)
    expected = policy.token_logps(batch.rows, shared=True)
    read, scored = (layout(owner, batch.labels) for owner in (batch.owner, batch.sequence % batch.labels.shape[1]))
    listening = taps.Taps(list(policy.trainable.values()), read=read, scored=scored, count=4, axes={})
    with policy.tapped(listening):
        assert policy.token_logps(batch.rows, shared=True).equal(expected)
        with torch.no_grad():
            found = policy.token_logps(batch.rows, shared=True)
        assert found.equal(expected)
        assert found.grad_fn is None
