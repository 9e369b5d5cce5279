"""Caches with room to grow: equal to transformers' own to the last bit, with every token copied rarely."""

import pytest
import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from paretokit.models import growing
from paretokit.models.growing import GrowingLayer, gather, grow, is_growing
from paretokit.models.soups import Caches
from paretokit.models.tiny import FAMILIES, random_policy


def states(*, rows, columns, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, 2, columns, size, generator=generator) for size in (4, 3)]


def walked(layer, *, count=200):
    """A layer after `count` columns, one or three at a time, with rows chosen in between; and everything that it returned."""
    seen = [layer.update(*states(rows=3, columns=5, seed=0))]
    for step in range(count):
        if step % 50 == 20:
            layer.batch_select_indices(torch.tensor([2, 0, 0]))
        seen.append(layer.update(*states(rows=3, columns=1 + 2 * (step % 7 == 0), seed=step + 1)))
    return seen


def with_room(layer):
    layer.update(*states(rows=3, columns=2, seed=9))
    return GrowingLayer(layer)


def test_equal_to_the_layer_of_transformers_all_along():
    plain = DynamicLayer()
    plain.update(*states(rows=3, columns=2, seed=9))
    for ours, theirs in zip(walked(with_room(DynamicLayer())), walked(plain), strict=True):
        for found, expected in zip(ours, theirs, strict=True):
            assert torch.equal(found, expected)


def test_what_was_returned_stays_as_it_was():
    layer = with_room(DynamicLayer())
    first = layer.update(*states(rows=3, columns=5, seed=1))
    kept = [part.clone() for part in first]
    for step in range(200):
        layer.update(*states(rows=3, columns=1, seed=step))
    assert all(torch.equal(a, b) for a, b in zip(first, kept, strict=True))


def test_little_is_copied(monkeypatch):
    """300 tokens more: what is there moves three times, not three hundred."""
    moved = []
    take = GrowingLayer._take
    monkeypatch.setattr(GrowingLayer, "_take", lambda self, *parts, **how: (moved.append(1), take(self, *parts, **how)))
    layer = with_room(DynamicLayer())
    for step in range(300):
        layer.update(*states(rows=1, columns=1, seed=step)) if step else layer.batch_select_indices(torch.tensor([0]))
    assert 2 < len(moved) <= 6
    monkeypatch.setattr(growing, "_LEAST", 0)
    tight = with_room(DynamicLayer())
    before = len(moved)
    for step in range(20):
        tight.update(*states(rows=3, columns=1, seed=step))
    assert len(moved) - before >= 5  # planted: without room it moves often


@pytest.mark.parametrize("family", FAMILIES)
def test_models_give_the_same_logits_to_the_last_bit(family):
    model = random_policy(family).model
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    found = []
    for has_room in (False, True):
        with torch.inference_mode():
            output = model(input_ids=ids, use_cache=True)
            cache = output.past_key_values
            if has_room:
                grow(cache)
            cache.batch_select_indices(torch.tensor([1, 0, 1]))
            logits = [
                model(input_ids=torch.tensor([[token]] * 3), past_key_values=cache, use_cache=True).logits
                for token in range(20)
            ]
        found.append((cache, torch.stack(logits)))
    assert torch.equal(found[0][1], found[1][1])
    kinds = [type(layer) for layer in found[1][0].layers]
    assert all(
        (kind is GrowingLayer) == (type(layer) is DynamicLayer) for kind, layer in zip(kinds, found[0][0].layers, strict=True)
    )
    assert GrowingLayer in kinds or family in ("gemma2", "gemma3", "mistral"), kinds


def test_caches_of_several_models_and_empty_ones():
    one, two, empty = DynamicCache(), DynamicCache(), DynamicCache()
    for cache in (one, two):
        cache.update(*states(rows=1, columns=2, seed=0), 0)
    grow(Caches([one, two]))
    assert [type(cache.layers[0]) for cache in (one, two)] == [GrowingLayer, GrowingLayer]
    kept = one.layers[0]
    grow(one)
    assert one.layers[0] is kept
    assert not is_growing(empty)
    grow(empty)
    grow(object())
    assert empty.layers == []
    assert is_growing(Caches([one, two]))
    assert not is_growing(Caches([one, DynamicCache()]))


def test_rows_and_columns_are_gathered():
    cache = DynamicCache()
    keys, values = states(rows=2, columns=4, seed=0)
    cache.update(keys, values, 0)
    grow(cache)
    gather(Caches([cache]), torch.tensor([1, 0, 1]), torch.tensor([[0, 3], [1, 2], [2, 0]]))
    for found, whole in ((cache.layers[0].keys, keys), (cache.layers[0].values, values)):
        assert found.shape[:3] == (3, 2, 2)
        for row, (source, columns) in enumerate(((1, [0, 3]), (0, [1, 2]), (1, [2, 0]))):
            assert torch.equal(found[row], whole[source][:, columns])
    more = states(rows=3, columns=1, seed=1)
    assert torch.equal(cache.layers[0].update(*more)[0][:, :, 2:], more[0])


def test_columns_before_the_start_are_left_where_they_are():
    cache = DynamicCache()
    keys, values = states(rows=2, columns=6, seed=0)
    cache.update(keys, values, 0)
    grow(cache)
    room = cache.layers[0]._room[0]
    gather(cache, torch.tensor([0, 1]), torch.tensor([[4, 5], [3, 3]]), start=3)
    assert cache.layers[0]._room[0] is room
    for found, whole in ((cache.layers[0].keys, keys), (cache.layers[0].values, values)):
        assert found.shape[2] == cache.get_seq_length() == 5
        for row, columns in enumerate(([0, 1, 2, 4, 5], [0, 1, 2, 3, 3])):
            assert torch.equal(found[row], whole[row][:, columns])
    more = states(rows=2, columns=1, seed=1)
    assert torch.equal(cache.layers[0].update(*more)[0][:, :, 5:], more[0])
