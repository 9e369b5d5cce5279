"""Reference log-probabilities on disk: kept, merged between processes, and worthless when damaged rather than wrong."""

import pytest

from paretokit.experiments.reference_store import ReferenceStore, reference_store
from paretokit.models.tiny import random_policy
from paretokit.preferences.read import read_preferences
from paretokit.training.encode import encode_preferences
from paretokit.training.references import reference_sums, sequence_key

KEY, OTHER = sequence_key([1], [2]), sequence_key([1], [3])


def test_values_are_kept_exactly(tmp_path):
    store = ReferenceStore(tmp_path / "a.safetensors")
    store[KEY] = -0.1234567890123456
    store.flush()
    assert ReferenceStore(tmp_path / "a.safetensors")[KEY] == -0.1234567890123456


def test_two_writers_keep_both_values(tmp_path):
    one, two = (ReferenceStore(tmp_path / "a.safetensors") for _ in range(2))
    one[KEY], two[OTHER] = 1.0, 2.0
    one.flush()
    two.flush()
    assert dict(ReferenceStore(tmp_path / "a.safetensors")) == {KEY: 1.0, OTHER: 2.0}


def test_nothing_new_writes_nothing(tmp_path):
    store = ReferenceStore(tmp_path / "a.safetensors")
    store.flush()
    assert not (tmp_path / "a.safetensors").exists()


def test_a_damaged_file_is_computed_again(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"nonsense")
    assert len(ReferenceStore(tmp_path / "a.safetensors")) == 0


def test_another_base_or_precision_has_another_file():
    first, second = random_policy(seed=0), random_policy(seed=1)
    assert reference_store(first).path != reference_store(second).path
    assert reference_store(first).path == reference_store(random_policy(seed=0)).path


def test_a_known_sequence_is_not_computed_again():
    data = read_preferences([{"prompt": "q", "response_a": "a", "response_b": "b", "labels": {"x": 1}}])
    policy = random_policy(seed=0)
    pairs = encode_preferences(policy, data, max_length=64)
    store = reference_store(policy)
    exact = reference_sums(policy, pairs, store)
    key = sequence_key(pairs[0].prompt, pairs[0].response_a)
    assert store[key] == pytest.approx(float(exact[0, 0]), abs=0)
    store[key] = 123.0  # a planted value: what is stored is what is used
    assert float(reference_sums(policy, pairs, store)[0, 0]) == 123.0
