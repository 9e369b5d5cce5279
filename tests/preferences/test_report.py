"""The report: each count against a hand-counted example, its text, and its JSON."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.toy_tokenizers import toy_tokenizer

from paretokit.errors import ConfigError, DataError
from paretokit.preferences.records import Preferences
from paretokit.preferences.report import Conflict, LabelCounts, count_conflicts, count_texts
from paretokit.texts import encode_prompt

NAN = math.nan
CHAT = [{"role": "user", "content": "hello"}]


def example():
    return Preferences(
        objectives=("helpful", "harmless", "brief"),
        prompts=["p", "p", "q", "q", CHAT],
        responses_a=["yes", "no", "same", "", "the cat"],
        responses_b=["no", "yes", "same", "b", "sat"],
        labels=torch.tensor(
            [
                [1, 1, 0, -1, NAN],
                [-1, 1, 0, -1, 1],
                [NAN, NAN, NAN, NAN, 0],
            ]
        ),
        source="test",
        skipped=["line 3: bad"],
    )


def test_texts_are_counted():
    texts = example().report().texts
    assert texts._asdict() == {"pairs": 5, "prompts": 3, "chats": 1, "duplicates": 1, "identical": 1, "empty": 1}


def test_duplicates_need_the_same_prompt():
    assert count_texts(["p", "q"], ["a", "a"], ["b", "b"]).duplicates == 0
    assert count_texts(["p", "p", "p"], ["a", "b", "a"], ["b", "a", "b"]).duplicates == 2


def test_labels_are_counted():
    assert example().report().labels == (
        LabelCounts("helpful", a=2, b=1, ties=1, unjudged=1),
        LabelCounts("harmless", a=2, b=2, ties=1, unjudged=0),
        LabelCounts("brief", a=0, b=0, ties=1, unjudged=4),
    )
    assert [counts.judged for counts in example().report().labels] == [4, 5, 1]


def test_conflicts_are_counted_where_both_have_a_verdict():
    conflicts = example().report().conflicts
    assert conflicts.between == (
        Conflict("helpful", "harmless", both=3, agree=2),
        Conflict("helpful", "brief", both=0, agree=0),
        Conflict("harmless", "brief", both=0, agree=0),
    )
    assert [pair.conflict for pair in conflicts.between] == [1, 0, 0]
    assert conflicts.between[0].share == pytest.approx(1 / 3)
    assert conflicts.between[1].share is None
    assert conflicts[1:] == (1, 2, 1, 1)  # conflicting, one-sided, single, tied


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from([1.0, -1.0, 0.0, NAN]), min_size=3, max_size=3), min_size=1, max_size=9))
def test_every_pair_is_of_one_kind_and_conflicts_equal_a_slow_count(columns):
    labels = torch.tensor(columns).T
    counts = count_conflicts(labels, ("x", "y", "z"))
    assert counts.conflicting + counts.one_sided + counts.single + counts.tied == len(columns)
    slow = [(a, b) for a, b, _ in columns if abs(a) == 1 and abs(b) == 1]
    assert counts.between[0] == Conflict("x", "y", both=len(slow), agree=sum(a == b for a, b in slow))
    assert counts.conflicting == sum(1.0 in column and -1.0 in column for column in columns)


def test_report_of_swapped_responses_is_the_same_with_sides_exchanged():
    value = example()
    swapped = Preferences(
        objectives=value.objectives,
        prompts=value.prompts,
        responses_a=value.responses_b,
        responses_b=value.responses_a,
        labels=-value.labels,
    )
    assert swapped.report().conflicts == value.report().conflicts
    assert swapped.report().texts == value.report().texts
    assert [(c.a, c.b) for c in swapped.report().labels] == [(c.b, c.a) for c in value.report().labels]


def test_one_objective_has_no_conflicts():
    conflicts = example().select(objectives=["helpful"]).report().conflicts
    assert conflicts == ((), 0, 0, 3, 1)


def test_text_of_the_report():
    assert str(example().report()) == "\n".join(
        [
            "5 pairs on 3 prompts (1 chat) from test; 1 records skipped",
            "1 duplicate, 1 with equal responses, 1 with an empty response",
            "",
            "objective  judged  a better  b better  tie  not judged",
            "helpful         4         2         1    1           1",
            "harmless        5         2         2    1           0",
            "brief           1         0         0    1           4",
            "",
            "1 pairs in conflict, 2 one-sided, 1 with a single verdict, 1 with ties only",
            "",
            "objectives          both judged  agree  conflict  share",
            "helpful / harmless            3      2         1  33.3%",
            "helpful / brief               0      0         0      -",
            "harmless / brief              0      0         0      -",
        ]
    )


def test_json_holds_every_count():
    report = example().report(toy_tokenizer("plain"), 30)
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert data["texts"]["duplicates"] == 1
    assert data["labels"][0] == {"objective": "helpful", "a": 2, "b": 1, "ties": 1, "unjudged": 1, "judged": 4}
    assert data["conflicts"]["between"][1]["share"] is None
    assert data["conflicts"]["between"][0]["conflict"] == 1
    assert data["tokens"]["max_length"] == 30
    assert (data["source"], data["skipped"], data["fingerprint"]) == ("test", 1, example().fingerprint)


# --- tokens --------------------------------------------------------------------------------------------------------


def long_pairs():
    return Preferences(
        objectives=["x"],
        prompts=[" cat" * 9, "the", [*CHAT, {"role": "assistant", "content": "the cat"}, *CHAT]],
        responses_a=["the", " cat" * 19, "the"],
        responses_b=["the", "the", "cat"],
        labels=torch.ones(1, 3),
    )


def test_lengths_without_a_limit():
    tokens = long_pairs().report(toy_tokenizer("llama3")).tokens
    assert tokens.max_length is None
    assert tokens.longest_prompt == len(encode_prompt(toy_tokenizer("llama3"), long_pairs().prompts[2]))
    assert tokens.longest_response == 20
    assert tokens[5:] == (0, 0, 0, 0, 0)


def test_truncation_is_counted():
    report = long_pairs().report(toy_tokenizer("llama3"), max_length=20)
    tokens = report.tokens
    pairs = long_pairs().encode(toy_tokenizer("llama3"), max_length=20)
    assert [any(pair[3:]) for pair in pairs] == [False, True, True]
    assert tokens.truncated_pairs == 2
    assert tokens.shortened_prompts == 1
    assert tokens.dropped_turns == 2
    assert tokens.cut_responses == 1
    assert tokens.cut_tokens == sum(pair.cut_prompt_tokens + pair.cut_a + pair.cut_b for pair in pairs)
    full = long_pairs().report(toy_tokenizer("llama3")).tokens
    assert tokens[1:5] == full[1:5]  # lengths are those before truncation
    last = str(report).splitlines()[-1]
    assert last == (
        f"max_length 20: 2 of 3 pairs truncated (1 prompts, 2 turns dropped, 1 responses cut, {tokens.cut_tokens} tokens)"
    )


def test_a_limit_without_a_tokenizer_is_refused():
    with pytest.raises(ConfigError) as error:
        example().report(max_length=20)
    assert str(error.value) == "max_length: found no tokenizer to count tokens with; pass tokenizer= too."


def test_a_pair_that_cannot_be_encoded_is_named():
    value = Preferences(
        objectives=["x"],
        prompts=["p", [{"role": "system", "content": "s"}, *CHAT]],
        responses_a=["a", "a"],
        responses_b=["b", "b"],
        labels=torch.ones(1, 2),
        source="pairs.jsonl",
    )
    with pytest.raises(DataError) as error:
        value.encode(toy_tokenizer("gemma"), max_length=100)
    assert str(error.value).startswith("pairs.jsonl, pair 1: prompt: the chat template refused messages with roles system")
