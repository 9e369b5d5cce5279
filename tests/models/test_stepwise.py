"""Models that carry a state, called as those that attend are: rows go on from their own tokens, whatever stands beside them."""

import pytest
import torch
from support.hybrid_cases import HYBRIDS, hybrid_policy

from paretokit.models.continuing import Continuing, answer_of, continuing
from paretokit.models.prefix import Prefix, hidden_of
from paretokit.models.projection import backbone
from paretokit.models.stepwise import Stepwise, chosen_rows, stepwise
from paretokit.models.tiny import random_policy

# what transformers 5.23 can hand on: several tokens at once, one at a time
ONE_BY_ONE = {"jamba", "zamba", "mamba", "falcon_mamba"}  # a block forgets the state
NOT_AT_ALL = {"recurrent_gemma", "rwkv", "minimax"}  # no cache is given back, or one of their own that loses rows
# Nemotron-H and Zamba 2 clamp step sizes in their rule for several tokens alone
TOLERANCE = {"nemotron_h": 3e-3, "zamba2": 3e-2}


def after(model, whole):
    """The answer after a row that is read at once, alone."""
    with torch.no_grad():
        return answer_of(model(input_ids=torch.tensor([whole]), use_cache=False))[0, -1]


def close(found, expected, family):
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE.get(family, 2e-5))


@pytest.mark.parametrize("family", HYBRIDS)
def test_how_a_family_goes_on(family):
    expected = Continuing(True, family not in ONE_BY_ONE | NOT_AT_ALL, family not in NOT_AT_ALL)
    assert continuing(hybrid_policy(family).model) == expected


def test_a_model_that_attends_alone_is_left_as_it_is():
    model = random_policy("llama").model
    assert continuing(model) == Continuing(False, True, True)
    assert stepwise(model) is model


@pytest.mark.parametrize("family", HYBRIDS)
def test_blocks_of_unequal_length_give_the_answer_of_the_whole_row(family):
    """Rows of unequal length that are repeated, go on with unequal blocks, with nothing, and are chosen again."""
    model = hybrid_policy(family, spread=0.2).model
    rows = Prefix(model)
    first = rows.read([[5, 6, 7, 8], [9, 10]])
    for found, whole in zip(first, ([5, 6, 7, 8], [9, 10]), strict=True):
        close(found, after(model, whole), family)
    rows.select(torch.tensor([0, 0, 1]))
    rows.read([[3], [4, 5, 6], [7, 8]])
    rows.select(torch.tensor([1, 2, 0]))
    found = rows.read([[11], [], [12, 13]])
    for place, whole in ((0, [5, 6, 7, 8, 4, 5, 6, 11]), (2, [5, 6, 7, 8, 3, 12, 13])):
        close(found[place], after(model, whole), family)
    last = rows.read([[21], [22], [23]])
    whole = ([5, 6, 7, 8, 4, 5, 6, 11, 21], [9, 10, 7, 8, 22], [5, 6, 7, 8, 3, 12, 13, 23])
    for found, expected in zip(last, whole, strict=True):
        close(found, after(model, expected), family)


def test_what_was_read_matters():
    """The comparisons above can fail: another token before is another answer."""
    model = hybrid_policy("lfm2", spread=0.2).model
    first, second = Prefix(model), Prefix(model)
    first.read([[5, 6]])
    second.read([[5, 7]])
    assert (first.read([[8]]) - second.read([[8]])).abs().max() > 1e-3


def test_hidden_states_may_be_asked_for():
    policy = hybrid_policy("falcon_h1", spread=0.2)
    rows = Prefix(backbone(policy.model), wanted=hidden_of)
    rows.read([[5, 6, 7], [4]])
    found = rows.read([[8, 9], [3]])
    close(found[1], after(backbone(policy.model), [4, 3]), "falcon_h1")
    close(found[0], after(backbone(policy.model), [5, 6, 7, 8, 9]), "falcon_h1")


@pytest.mark.parametrize("family", ["lfm2", "falcon_h1", "qwen3_next", "kimi_linear"])
def test_chosen_rows_hold_states_as_well_as_keys(family):
    """transformers' own choice leaves the states of a hybrid layer where they were."""
    model = hybrid_policy(family, spread=0.2).model
    with torch.no_grad():
        cache = model(input_ids=torch.tensor([[5, 6, 7], [8, 9, 10]]), use_cache=True).past_key_values
        chosen = chosen_rows(cache, torch.tensor([1, 1, 0]))
        ids, positions = torch.tensor([[11], [12], [13]]), torch.full((3, 1), 3)
        found = model(input_ids=ids, position_ids=positions, past_key_values=chosen, use_cache=True).logits[:, -1]
    for row, whole in zip(found, ([8, 9, 10, 11], [8, 9, 10, 12], [5, 6, 7, 13]), strict=True):
        close(row, after(model, whole), family)


def test_a_sliding_window_beside_a_state_is_passed():
    model = hybrid_policy("lfm3", spread=0.2).model
    rows = Prefix(model)
    begun = [list(range(3, 23)), [30, 31]]
    rows.read(begun)
    rows.read([[40], list(range(50, 70))])
    found = rows.read([[41, 42], [43]])
    for row, whole in zip(found, ([*begun[0], 40, 41, 42], [*begun[1], *range(50, 70), 43]), strict=True):
        close(row, after(model, whole), "lfm3")


def test_a_model_that_carries_a_state_is_wrapped_once():
    wrapped = stepwise(hybrid_policy("lfm2").model)
    assert isinstance(wrapped, Stepwise)
    assert stepwise(wrapped) is wrapped
    assert wrapped.how.report == "its layers carry a state, which goes on with any number of tokens"
