"""Labels of every kind in one table: what is read where, what is cut, which prompts are held out, what a step draws."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.reward_cases import all_labels, mean_by_hand, step_labels

from paretokit.errors import ConfigError, DataError
from paretokit.models.tiny import random_policy
from paretokit.preferences.records import Preferences
from paretokit.preferences.step_labels import StepLabels
from paretokit.texts import encode_prompt, encode_steps
from paretokit.training.reward_examples import draw_for, encode_labels, kinds_of, means_of, places_of, split

POLICY = random_policy(adapter="none")
NAN = float("nan")


def pair(prompt: str, a: str, b: str, label: float = 1.0) -> Preferences:
    return Preferences(
        objectives=["kind"], prompts=[prompt], responses_a=[a], responses_b=[b], labels=torch.tensor([[label]]), source="pairs"
    )


def test_every_kind_stands_in_one_table() -> None:
    labels = StepLabels(
        kinds={"worth": "value", "right": "class"},
        prompts=["p", "q"],
        steps=[["a", "bc"], ["d"]],
        labels=[{"worth": [0.5, None], "right": [0, 1]}, {"right": [1]}],
    )
    found = encode_labels(POLICY, [labels, pair("p", "yes", "no", -1.0)], max_length=None)
    assert found.objectives == ("worth", "right", "kind")
    assert found.prompts == ("p", "q", "p")
    assert found.first == (0, 2, 3, 5)
    expected = [[0.5, NAN, NAN, NAN, NAN], [0, 1, 1, NAN, NAN], [NAN, NAN, NAN, -1, NAN]]
    torch.testing.assert_close(found.labels, torch.tensor(expected, dtype=torch.float64), equal_nan=True, rtol=0, atol=0)
    assert found.texts[0] == (encode_steps(POLICY.tokenizer, "p", ["a", "bc"]),)
    assert found.texts[2] == tuple(encode_steps(POLICY.tokenizer, "p", [text]) for text in ("yes", "no"))
    assert (found.cut_steps, found.cut_texts) == (0, 0)
    places, owner = places_of(found, [2, 0])
    assert (places.tolist(), owner.tolist()) == ([3, 4, 0, 1], [0, 0, 1, 1])


def test_kinds_follow_the_sources() -> None:
    assert kinds_of(all_labels()) == {"worth": "value", "right": "class", "kind": "preference"}
    assert list(kinds_of(all_labels()[::-1])) == ["kind", "worth", "right"]


def test_responses_of_pairs_have_no_end_token() -> None:
    found = encode_labels(POLICY, pair("p", "yes", ""), max_length=None)
    assert POLICY.tokenizer.eos_token_id not in [*found.texts[0][0].ids, *found.texts[0][1].ids]
    assert found.texts[0][1].ids == encode_prompt(POLICY.tokenizer, "p")  # the empty response: the prompt's last token is read
    assert found.texts[0][1].ends == (0,)


def test_what_does_not_fit_is_left_out_and_counted() -> None:
    labels = StepLabels(
        kinds={"right": "class"},
        prompts=["pp"] * 2,
        steps=[["abc", "def", "ghi", "jkl"], ["a"]],
        labels=[{"right": [1, 0, None, 1]}, {"right": [1]}],
    )
    found = encode_labels(POLICY, labels, max_length=8)  # exactly two steps
    assert found.texts[0] == (encode_steps(POLICY.tokenizer, "pp", ["abc", "def"]),)
    assert found.labels.tolist() == [[1, 0, 1]]
    assert found.cut_steps == 1
    assert encode_labels(POLICY, labels, max_length=7).texts[0][0].ids == encode_steps(POLICY.tokenizer, "pp", ["abc"]).ids
    for limit, cut, ids in ((5, 0, "pabcd"), (4, 1, "pabc"), (3, 1, "pab")):
        of_pair = encode_labels(POLICY, pair("p", "abcd", "xy"), max_length=limit)
        assert of_pair.cut_texts == cut
        assert POLICY.tokenizer.decode(of_pair.texts[0][0].ids) == ids
        assert POLICY.tokenizer.decode(of_pair.texts[0][1].ids) == "pxy"


def test_records_that_nobody_judged_are_no_examples() -> None:
    labels = StepLabels(
        kinds={"right": "class"}, prompts=["p", "q"], steps=[["a"], ["b"]], labels=[{"right": [None]}, {"right": [1]}]
    )
    assert encode_labels(POLICY, labels, max_length=None).prompts == ("q",)


def test_no_prompt_is_in_two_parts() -> None:
    examples = encode_labels(POLICY, all_labels(count=20), max_length=None)
    for seed in range(5):
        parts = split(examples, heldout=0.3, seed=seed)
        assert sorted(parts.training + parts.fitting + parts.measuring) == list(range(len(examples.prompts)))
        assert all(parts)
        sides = [{examples.prompts[e] for e in part} for part in parts]
        assert not (sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2])
        assert parts == split(examples, heldout=0.3, seed=seed)
    both = [e for e, prompt in enumerate(examples.prompts) if prompt == "prompt 1"]
    assert {len(examples.texts[e]) for e in both} == {1, 2}  # planted: one prompt has steps and pairs
    assert split(examples, heldout=0.3, seed=0) != split(examples, heldout=0.3, seed=1)
    assert split(examples, heldout=0, seed=0) == (list(range(len(examples.prompts))), [], [])


def test_the_split_does_not_depend_on_which_objectives_are_looked_at() -> None:
    labels = step_labels(count=12, kinds={"a": "class", "b": "value"})
    whole, alone = (encode_labels(POLICY, one, max_length=None) for one in (labels, labels.select(objectives=["a"])))
    assert split(whole, heldout=0.4, seed=0) == split(alone, heldout=0.4, seed=0)


def test_every_objective_goes_through_its_own_examples() -> None:
    examples = encode_labels(POLICY, all_labels(count=10), max_length=None)
    chosen = [e for e in range(len(examples.prompts)) if e % 4]
    draw = draw_for(examples, chosen, size=3, seed=0)
    places = {e: range(examples.first[e], examples.first[e + 1]) for e in chosen}
    pools = [[e for e in chosen if not row[list(places[e])].isnan().all()] for row in examples.labels]
    for row, pool in enumerate(pools):
        seen: list[int] = []
        for step in range(1, len(pool) + 1):  # three times through
            drawn = draw(step)
            seen += [
                e for e, share in zip(drawn.examples, drawn.shares[row].tolist(), strict=True) for _ in range(round(3 * share))
            ]
        assert sorted(seen) == sorted(pool * 3)
    assert draw(2).examples == draw(2).examples
    assert draw(1).examples != draw_for(examples, chosen, size=3, seed=1)(1).examples


def test_objectives_with_equal_examples_read_them_once() -> None:
    examples = encode_labels(
        POLICY, step_labels(count=8, kinds={"a": "class", "b": "class"}).select(indices=[0, 2, 3, 4]), max_length=None
    )
    drawn = draw_for(examples, range(4), size=2, seed=0)(1)
    assert len(drawn.examples) == 2
    assert torch.equal(drawn.shares, torch.full((2, 2), 0.5, dtype=torch.float64))


@settings(max_examples=25)
@given(st.lists(st.lists(st.sampled_from([None, 0.0, 1.0, 2.5]), min_size=1, max_size=4), min_size=1, max_size=5), st.data())
def test_means_of_a_slow_twin(rows: list[list[float | None]], data: st.DataObject) -> None:
    """The mean of an example's judged steps, then of the drawn examples, one drawn twice counted twice."""
    judged = [i for i, row in enumerate(rows) if any(x is not None for x in row)]
    if not judged:
        return
    drawn = data.draw(st.lists(st.sampled_from(judged), min_size=1, max_size=6))
    owner = torch.tensor([i for i, row in enumerate(rows) for _ in row])
    labels = torch.tensor([[NAN if x is None else x for row in rows for x in row]], dtype=torch.float64)
    shares = torch.tensor([[drawn.count(i) / len(drawn) for i in range(len(rows))]], dtype=torch.float64)
    factors = means_of(labels, owner, shares)
    expected = mean_by_hand([[x for x in rows[i] if x is not None] for i in drawn])
    assert math.isclose(float((factors * labels.nan_to_num(7.0)).sum()), expected, abs_tol=1e-12)
    assert math.isclose(float(factors.sum()), 1.0)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: kinds_of([step_labels(), step_labels()]),
            ConfigError,
            "labels: found the objective 'worth' in two of them, expected it in one. Rename it, or put its labels together.",
        ),
        (lambda: kinds_of([]), ConfigError, "labels: found none, expected StepLabels, Preferences, or a list of them."),
        (
            lambda: encode_labels(POLICY, step_labels(), max_length=9),
            DataError,
            "memory, record 0: found no labelled step within 9 tokens, expected one. Raise max_length, or leave the "
            "record out.",
        ),
        (
            lambda: encode_labels(POLICY, step_labels(), max_length=1000),
            ConfigError,
            "max_length: found 1000, expected at most 256, the context of random llama, seed 0. Lower max_length.",
        ),
        (
            lambda: split(encode_labels(POLICY, step_labels(count=4), max_length=None), heldout=0.5, seed=0),
            DataError,
            "heldout: found one prompt among the 2 examples held out of 4, expected two or more: some to fit temperatures, "
            "some to measure. Raise heldout, bring labels on more prompts, or set heldout=0.",
        ),
        (
            lambda: split(encode_labels(POLICY, step_labels(count=2), max_length=None), heldout=0.5, seed=0),
            DataError,
            "labels: 2 examples on 1 prompts leave none to train on with test=0.5; ask for less, or bring examples on more "
            "prompts.",
        ),
        (
            lambda: draw_for(encode_labels(POLICY, all_labels(), max_length=None), [0, 1], size=2, seed=0),
            DataError,
            "objective 'kind': found no label on the 2 examples to train on, expected some. Leave the objective out, bring "
            "more labels, or hold out fewer.",
        ),
    ],
)
def test_messages(call, kind, message) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message


def test_labels_that_are_all_null_are_one_clear_error() -> None:
    kinds = {"right": "class", "worth": "value"}
    empty = StepLabels(kinds=kinds, prompts=["p", "q"], steps=[["a", "b"], ["c"]], labels=[{}, {"right": [None]}])
    for labels in (empty, [empty]):
        with pytest.raises(DataError) as error:
            encode_labels(POLICY, labels, max_length=None)
        assert str(error.value) == (
            "labels: found no label on the 2 responses of right, worth, expected some. Label some steps, or leave the data out."
        )
