"""Prefix: rows that are read block by block, repeated and dropped are those that are read at once."""

import pytest
import torch
from support.models_cases import trained_policy

from paretokit.errors import ModelError
from paretokit.models.prefix import Prefix, hidden_of_last, pad_left
from paretokit.models.projection import backbone
from paretokit.models.tiny import FAMILIES, random_policy

WIDE = {name: {"sliding_window": 64} for name in ("gemma2", "gemma3", "mistral")}  # a window that holds every row here


def policy_of(family):
    return random_policy(family, dtype=torch.float64, **WIDE.get(family, {}))


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "gemma2"])
def test_blocks_give_the_logits_of_the_whole_row(family):
    """Gemma 2 is left out: its eager attention has a float32 softmax, which has no room for the float64 mask value."""
    model = policy_of(family).model
    rows = Prefix(model)
    rows.read([[5, 6, 7, 8], [9, 10]])
    rows.select(torch.tensor([0, 0, 1]))
    rows.read([[3], [4, 5, 6], [7, 8]])
    rows.select(torch.tensor([1, 2, 0]))
    found = rows.read([[11], [], [12, 13]])
    for place, whole in ((0, [5, 6, 7, 8, 4, 5, 6, 11]), (2, [5, 6, 7, 8, 3, 12, 13])):
        with torch.no_grad():
            expected = model(input_ids=torch.tensor([whole])).logits[0, -1]
        torch.testing.assert_close(found[place], expected, rtol=0, atol=1e-12)
    assert rows.lengths == [8, 4, 7]
    assert rows.columns == 4 + 3 + 2  # holes included


def test_an_empty_block_leaves_its_row_as_it_was():
    model = policy_of("llama").model
    rows = Prefix(model)
    rows.read([[5, 6], [7, 8]])
    rows.read([[], [9]])
    found = rows.read([[4], [10]])
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([[5, 6, 4]])).logits[0, -1]
    torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-12)


def test_hidden_states_may_be_asked_for():
    policy = trained_policy("llama", dtype=torch.float64)
    rows = Prefix(backbone(policy.model), last=hidden_of_last)
    rows.read([[5, 6, 7]])
    found = rows.read([[8, 9]])
    with torch.no_grad():
        expected = backbone(policy.model)(input_ids=torch.tensor([[5, 6, 7, 8, 9]])).last_hidden_state[:, -1]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_what_was_read_matters():
    """The comparisons above can fail: another token before is another row."""
    model = policy_of("llama").model
    first, second = Prefix(model), Prefix(model)
    first.read([[5, 6]])
    second.read([[5, 7]])
    assert not torch.allclose(first.read([[8]]), second.read([[8]]), atol=1e-6)


def test_holes_beyond_a_sliding_window_are_refused_and_rows_without_holes_are_not():
    model = random_policy("mistral", dtype=torch.float64).model
    whole = Prefix(model)
    whole.read([list(range(3, 23))])  # longer than the window of 16, without holes
    holes = Prefix(model)
    holes.read([[3, 4], [5, 6]])
    holes.read([[7], [8, 9, 10]])
    with pytest.raises(
        ModelError, match="found rows of 17 columns with holes for a sliding window of 16, which counts columns"
    ):
        holes.read([list(range(3, 15)), list(range(3, 15))])


def test_rows_are_padded_on_the_left():
    ids, mask = pad_left([[5], [6, 7], []])
    assert ids.tolist() == [[0, 5], [6, 7], [0, 0]]
    assert mask.tolist() == [[0, 1], [1, 1], [0, 0]]
