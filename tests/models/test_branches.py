"""LoRA branches in one piece: what peft's own layers give, forward and back, in every precision; nothing stays behind."""

import pytest
import torch
from support.models_cases import disturb, trained_policy

from paretokit.models import branches
from paretokit.models.compute import Compute
from paretokit.models.lora import lora_layers
from paretokit.models.tiny import FAMILIES, random_policy
from paretokit.rows import pad_rows

ROWS = pad_rows([[5, 6, 7], [8]], [[9, 10], [11, 12, 13, 14]])


def loss_and_gradients(policy, *, pieces):
    """The sum of some log-probabilities, and its gradients at all trainable weights."""
    with torch.enable_grad():
        if pieces:
            with policy.in_one_piece():
                loss = policy.token_logps(ROWS).sum()
                found = torch.autograd.grad(loss, list(policy.trainable.values()))
        else:
            loss = policy.token_logps(ROWS).sum()
            found = torch.autograd.grad(loss, list(policy.trainable.values()))
    return loss.detach(), found


def alike(found, expected, *, within):
    (loss, gradients), (other, others) = found, expected
    torch.testing.assert_close(loss, other, rtol=within, atol=0)
    for one, two in zip(gradients, others, strict=True):
        assert one.dtype == two.dtype
        assert float((one - two).abs().max()) <= within * float(two.abs().max())


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_equal_to_the_layers_of_peft(family, checkpointing):
    policy = trained_policy(family)
    policy.compute = Compute(checkpointing=checkpointing)
    alike(loss_and_gradients(policy, pieces=True), loss_and_gradients(policy, pieces=False), within=1e-6)
    # the float32 islands of a float64 model round at 1e-7; GPT-2 has none
    if family == "gpt2":
        alike(loss_and_gradients(policy, pieces=True), loss_and_gradients(policy, pieces=False), within=1e-12)


@pytest.mark.parametrize(
    ("dtype", "autocast"), [(torch.float32, None), (torch.bfloat16, None), (torch.float32, "bfloat16")], ids=str
)
def test_half_precision_rounds_no_more_than_the_layers_of_peft(dtype, autocast):
    """Both are compared with float64: ours may be off by what peft's are, and a little."""
    exact = loss_and_gradients(disturb(random_policy(dtype=torch.float64)), pieces=False)[1]
    policy = disturb(random_policy(dtype=dtype))
    policy.compute = Compute(autocast=autocast)
    errors = []
    for pieces in (True, False):
        found = loss_and_gradients(policy, pieces=pieces)[1]
        assert {part.dtype for part in found} == {torch.float32}
        errors.append(
            sum(float((one - two).square().sum()) for one, two in zip(found, exact, strict=True))
            / sum(float(two.square().sum()) for two in exact)
        )
    assert errors[0] <= 1.5 * errors[1]
    assert errors[1] > 0


def test_inputs_are_widened_once_for_the_layers_that_read_them(monkeypatch):
    """Seven layers of a block read four tensors: queries, keys and values one, gate and up another."""
    seen, plain = [], branches._Reads.widened
    monkeypatch.setattr(branches._Reads, "widened", lambda *given: seen.append(plain(*given)) or seen[-1])
    loss_and_gradients(random_policy(dtype=torch.bfloat16), pieces=True)
    assert {read.dtype for read in seen} == {torch.float32}
    assert len({id(read) for read in seen}) * 7 == len(seen) * 4


def test_nothing_stays_behind_and_the_layers_are_left_as_they_were():
    policy = trained_policy()
    layers = [layer for _, layer in lora_layers(policy.model)]
    with policy.in_one_piece():
        assert all("forward" in vars(layer) for layer in layers)
    assert not any("forward" in vars(layer) for layer in layers)
    with pytest.raises(RuntimeError, match="planted"), policy.in_one_piece():
        raise RuntimeError("planted")
    assert not any("forward" in vars(layer) for layer in layers)


def test_a_wrong_scale_would_be_seen():
    """The comparison above can fail."""
    policy = trained_policy()
    expected = loss_and_gradients(policy, pieces=False)
    for _, layer in lora_layers(policy.model):
        layer.scaling["default"] *= 1.01
    with pytest.raises(AssertionError):
        alike(loss_and_gradients(policy, pieces=True), expected, within=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("shape", [(5, 1, 3), (40, 16, 24), (3, 64, 7)], ids=str)
def test_factors_in_halves_have_the_product_of_float32(shape, scale):
    """Within 2^-16 of the terms' sizes. Planted: without the smaller halves it is off by what bfloat16 rounds."""
    rows, rank, width = shape
    generator = torch.Generator().manual_seed(rows)
    left = scale * torch.randn(rows, rank, generator=generator)
    right = torch.randn(rank, width, generator=generator)
    exact, sizes = left.double() @ right.double(), left.double().abs() @ right.double().abs()
    first, second = branches._in_halves(left, right)
    assert {first.dtype, second.dtype} == {torch.bfloat16}
    assert bool(((first.double() @ second.double() - exact).abs() <= 2**-16 * sizes).all())
    coarse = first[:, :rank].double() @ second[:rank].double()
    assert bool(((coarse - exact).abs() > 2**-16 * sizes).any())


def test_a_branch_is_added_to_bfloat16_and_rounded_once():
    base, thin, wide = torch.full((1, 1), 256.0).bfloat16(), torch.tensor([[1.0, 2.0**-9]]), torch.tensor([[1.0], [1.0]])
    # 257.00195 lies above the middle of 256 and 258; the branch by itself, in bfloat16, would be 1, and the middle goes to 256
    assert branches._plus(base.clone(), thin, wide, fresh=True).item() == 258.0
    assert (base + torch.tensor([[1.0 + 2.0**-9]]).bfloat16()).item() == 256.0
