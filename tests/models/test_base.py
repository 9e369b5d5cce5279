"""The hash of a base: equal for equal weights, whatever is trained on top; different for any other."""

import pytest
import torch
from support.models_cases import disturb

from paretokit.models.base import checksum, named_weights, weights_hash
from paretokit.models.tiny import random_policy


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_hash_belongs_to_the_base_and_not_to_what_is_trained(family: str) -> None:
    hashes = {random_policy(family, adapter=adapter).base_hash for adapter in ("lora", "full", "none")}
    assert len(hashes) == 1
    assert disturb(random_policy(family)).base_hash in hashes


def test_names_are_the_published_ones() -> None:
    plain, adapted = random_policy(adapter="none"), random_policy()
    assert list(named_weights(adapted.model)) == list(named_weights(plain.model))
    assert "lm_head.weight" not in named_weights(plain.model)  # tied to the embedding, which is there
    assert set(named_weights(plain.model)) == {name for name, _ in plain.model.named_parameters()}


def test_hash_sees_names_dtypes_shapes_and_values() -> None:
    weights = {"a": torch.zeros(2, 2), "b": torch.ones(3)}
    others = [
        {"a": torch.zeros(2, 2), "c": torch.ones(3)},
        {"a": torch.zeros(4), "b": torch.ones(3)},
        {"a": torch.zeros(2, 2, dtype=torch.int32), "b": torch.ones(3)},
        {"a": torch.zeros(2, 2), "b": torch.tensor([1.0, 1.0, 1.0 + 2**-23])},
    ]
    assert weights_hash(weights) == weights_hash({name: tensor.clone() for name, tensor in weights.items()})
    assert len({weights_hash(other) for other in [weights, *others]}) == 5


def test_hash_reads_the_values_and_not_the_memory_layout() -> None:
    square = torch.arange(6.0).reshape(2, 3)
    assert weights_hash({"a": square.T.contiguous().T}) == weights_hash({"a": square})


@pytest.mark.parametrize("count", [1, 2, 7, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_checksum_sees_every_bit(count: int, dtype: torch.dtype) -> None:
    whole = torch.rand(count + 1).to(dtype)
    for values in (whole[:count], whole[1:]):  # the second does not begin at a multiple of eight bytes
        before = checksum(values)
        for index in range(count):
            changed = values.clone()
            changed.view(torch.uint8)[index * values.element_size()] ^= 1
            assert checksum(changed) != before


def test_hash_is_computed_once_for_all_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = random_policy()
    fork = policy.fork(seed=1)
    found = policy.base_hash
    monkeypatch.setattr("paretokit.models.policy.weights_hash", lambda weights: "computed again")
    assert fork.base_hash == found
    assert random_policy().base_hash == "computed again"  # the patch would show it
    assert fork.base is policy.base
