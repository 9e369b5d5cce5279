"""Prefix: rows that are read block by block, repeated and dropped are those that are read at once, in lines of their own and in
lines that they share."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.models_cases import trained_policy

from paretokit.errors import ModelError
from paretokit.models import prefix
from paretokit.models.growing import is_growing
from paretokit.models.prefix import Prefix, hidden_of, pad_left
from paretokit.models.projection import backbone
from paretokit.models.tiny import FAMILIES, random_policy

WIDE = {name: {"sliding_window": 64} for name in ("gemma2", "gemma3", "mistral")}  # a window that holds every row here


def policy_of(family):
    return random_policy(family, dtype=torch.float64, **WIDE.get(family, {}))


def after(model, whole):
    """The logits after a row that is read at once, alone."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([whole])).logits[0, -1]


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
        torch.testing.assert_close(found[place], after(model, whole), rtol=0, atol=1e-12)
    assert rows.lengths == [8, 4, 7]
    assert rows.columns == 4 + 3 + 2  # holes included


def test_an_empty_block_leaves_its_row_as_it_was():
    model = policy_of("llama").model
    rows = Prefix(model)
    rows.read([[5, 6], [7, 8]])
    rows.read([[], [9]])
    found = rows.read([[4], [10]])
    torch.testing.assert_close(found[0], after(model, [5, 6, 4]), rtol=0, atol=1e-12)


def test_hidden_states_may_be_asked_for():
    policy = trained_policy("llama", dtype=torch.float64)
    rows = Prefix(backbone(policy.model), wanted=hidden_of)
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


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in WIDE])
def test_rows_that_share_a_line_give_the_logits_of_the_whole_row(family):
    """Copies of a row take no room of their own, read blocks of unequal length, none at all, and part again."""
    policy = policy_of(family)
    model = policy.model
    rows = Prefix(model, sharing=policy.sharing)
    rows.read([[5, 6, 7, 8], [9, 10]])
    rows.select(torch.tensor([0, 0, 1, 1, 1]))
    assert (rows.lines, rows.columns) == (2, 4)
    first = rows.read([[3], [4], [11], [], [12]])
    second = rows.read([[13, 14], [], [15], [3], [16, 17, 18]])
    begun = [[5, 6, 7, 8]] * 2 + [[9, 10]] * 3
    for found, added in (
        (first, [[3], [4], [11], None, [12]]),
        (second, [[3, 13, 14], None, [11, 15], [3], [12, 16, 17, 18]]),
    ):
        for row, (before, more) in enumerate(zip(begun, added, strict=True)):
            if more is not None:
                torch.testing.assert_close(found[row], after(model, before + more), rtol=0, atol=1e-12)
    assert rows.lengths == [7, 5, 4, 3, 6]
    rows.select(torch.tensor([4, 2, 0]))  # two of them in one line before
    assert (rows.lines, rows.columns, rows.lengths) == (3, 7, [6, 4, 7])
    found = rows.read([[20], [21], [22]])
    for row, whole in enumerate([[9, 10, 12, 16, 17, 18, 20], [9, 10, 11, 15, 21], [5, 6, 7, 8, 3, 13, 14, 22]]):
        torch.testing.assert_close(found[row], after(model, whole), rtol=0, atol=1e-12)


def test_only_what_was_read_since_is_copied_where_every_text_goes_on(monkeypatch):
    """One candidate of each text stays, of unequal length: the texts before are left where they are, and one gets a hole."""
    policy = policy_of("llama")
    copied = []
    plain = prefix.gather
    monkeypatch.setattr(prefix, "gather", lambda *given, start: copied.append(start) or plain(*given, start=start))
    rows = Prefix(policy.model, sharing=policy.sharing)
    texts = [list(range(3, 23)), list(range(30, 42))]
    rows.read(texts)
    for step in range(3):
        rows.select(torch.tensor([0, 0, 1, 1]))
        blocks = [[50 + step], [60, 61 + step], [70 + step], [80]]
        rows.read(blocks)
        rows.select(torch.tensor([1, 2]))
        texts = [texts[0] + blocks[1], texts[1] + blocks[2]]
    assert copied == [20, 22, 24]
    assert (rows.columns, rows.lengths) == (26, [26, 15])
    found = rows.read([[90], [91]])
    for row, last in enumerate((90, 91)):
        torch.testing.assert_close(found[row], after(policy.model, [*texts[row], last]), rtol=0, atol=1e-12)


def test_rows_that_have_little_in_common_any_more_get_lines_of_their_own():
    """Twelve copies of two tokens: what each reads soon outweighs what they share, and attention would look at all of it."""
    policy = policy_of("llama")
    rows = Prefix(policy.model, sharing=policy.sharing)
    rows.read([[5, 6]])
    rows.select(torch.zeros(12, dtype=torch.int64))
    widths = []
    for step in range(8):
        found = rows.read([[10 + row + step] for row in range(12)])
        widths.append((rows.lines, rows.columns))
    assert widths[0] == (1, 2 + 12)
    assert widths[-1] == (12, 2 + 8)
    assert max(columns for _, columns in widths) <= prefix._MOST * (2 + 8)
    for row in range(12):
        whole = [5, 6, *(10 + row + step for step in range(8))]
        torch.testing.assert_close(found[row], after(policy.model, whole), rtol=0, atol=1e-12)


def test_rows_that_share_a_line_do_not_see_each_other(monkeypatch):
    """The comparison above can fail: with a mask that hides nothing but what comes later, a row sees its neighbour."""
    policy = policy_of("llama")

    def found():
        rows = Prefix(policy.model, sharing=policy.sharing)
        rows.read([[5, 6]])
        rows.select(torch.tensor([0, 0]))
        return rows.read([[3], [4]])[1]

    expected = after(policy.model, [5, 6, 4])
    torch.testing.assert_close(found(), expected, rtol=0, atol=1e-12)
    shown = prefix._visible
    monkeypatch.setattr(prefix, "_visible", lambda seen, owner: shown(torch.ones_like(seen), owner))
    assert not torch.allclose(found(), expected, atol=1e-6)


BLOCKS = st.lists(st.lists(st.integers(3, 200), max_size=3), min_size=6, max_size=6)
PLANS = st.lists(st.tuples(BLOCKS, st.lists(st.integers(0, 5), min_size=1, max_size=6)), min_size=1, max_size=5)


@given(PLANS)
@settings(max_examples=40, deadline=None)
def test_any_blocks_and_any_choice_of_rows(plan):
    policy = policy_of("llama")
    rows = Prefix(policy.model, sharing=policy.sharing)
    texts = [[5, 6, 7], [8]]
    rows.read(texts)
    for blocks, chosen in plan:
        chosen = [row % len(texts) for row in chosen]
        rows.select(torch.tensor(chosen))
        texts = [texts[row] for row in chosen]
        assert len({tuple(text) for text in texts}) <= rows.lines <= len(texts)
        assert rows.columns <= prefix._HOLES * max(map(len, texts))  # little is kept that nobody sees
        blocks = blocks[: len(texts)]
        if not any(blocks):
            continue
        found = rows.read(blocks)
        texts = [text + block for text, block in zip(texts, blocks, strict=True)]
        assert rows.lengths == [len(text) for text in texts]
        for row, block in enumerate(blocks):
            if block:
                torch.testing.assert_close(found[row], after(policy.model, texts[row]), rtol=0, atol=1e-12)


def test_hidden_states_of_rows_that_share_a_line():
    policy = trained_policy("llama", dtype=torch.float64)
    model = backbone(policy.model)
    rows = Prefix(model, wanted=hidden_of, sharing=policy.sharing)
    rows.read([[5, 6, 7]])
    rows.select(torch.tensor([0, 0]))
    found = rows.read([[8, 9], [10]])
    assert rows.lines == 1
    for row, whole in enumerate(([5, 6, 7, 8, 9], [5, 6, 7, 10])):
        with torch.no_grad():
            expected = model(input_ids=torch.tensor([whole])).last_hidden_state[0, -1]
        torch.testing.assert_close(found[row], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("family", WIDE)
def test_a_sliding_window_shares_nothing(family):
    policy = policy_of(family)
    rows = Prefix(policy.model, sharing=policy.sharing)
    rows.read([[5, 6]])
    rows.select(torch.tensor([0, 0]))
    assert rows.lines == 2
    assert not is_growing(rows.cache)


def test_rows_are_padded_on_the_left():
    ids, mask = pad_left([[5], [6, 7], []])
    assert ids.tolist() == [[0, 5], [6, 7], [0, 0]]
    assert mask.tolist() == [[0, 1], [1, 1], [0, 0]]
