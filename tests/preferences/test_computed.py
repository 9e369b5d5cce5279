"""Objectives computed from the texts: the shorter, functions of two responses, scorers of one; misuse is refused."""

import pytest

import paretokit as pk
from paretokit.errors import ConfigError, DataError
from paretokit.preferences.computed import as_computed, by_score, conciseness
from paretokit.preferences.forms import checked_margin
from paretokit.preferences.read import read_preferences

ROWS = [
    {"prompt": "p", "response_a": "short", "response_b": "much longer", "labels": {"kind": 1}},
    {"prompt": "q", "response_a": "as long", "response_b": "so long", "labels": {"kind": -1}},
    {"prompt": "r", "response_a": "much longer", "response_b": "", "labels": {"kind": 0}},
    {"prompt": "s", "response_a": "  padded \n", "response_b": "padded", "labels": {"kind": 1}},
]


def labels(**computed):
    read = read_preferences(ROWS, computed=computed)
    assert read.objectives == ("kind", *computed)
    assert read.labels[0].tolist() == [1.0, -1.0, 0.0, 1.0]
    return read.labels[1].nan_to_num(9.0).tolist()


def test_conciseness_prefers_the_shorter_text():
    assert labels(conciseness="conciseness") == [1.0, 0.0, -1.0, 0.0]
    assert labels(brief="conciseness") == labels(brief=conciseness) == [1.0, 0.0, -1.0, 0.0]
    assert read_preferences(ROWS, computed=["conciseness"]).objectives == ("kind", "conciseness")


def test_conciseness_counts_characters_where_no_blanks_part_the_words():
    rows = [{"prompt": "p", "response_a": "水は青い", "response_b": "水は光で青い", "labels": {"kind": 1}}]
    assert read_preferences(rows, computed=["conciseness"]).labels[1].tolist() == [1.0]


def test_a_function_of_two_responses_says_which_is_better():
    assert labels(words=lambda a, b: len(a.split()) - len(b.split())) == [-1.0, 0.0, 1.0, 0.0]
    assert labels(some=lambda a, b: None if "long" in a else 0.1 if a < b else -0.1) == [-1.0, 9.0, 9.0, 1.0]


def test_a_scorer_is_compared_by_its_scores():
    assert labels(long=by_score(lambda prompt, text: len(text))) == [-1.0, 0.0, 1.0, 1.0]
    assert labels(long=by_score(lambda prompt, text: len(text), margin=5)) == [-1.0, 0.0, 1.0, 0.0]
    assert labels(p=by_score(lambda prompt, text: len(text) if prompt == "p" else None)) == [-1.0, 9.0, 9.0, 9.0]
    assert labels(p=by_score(lambda prompt, text: len(text) if prompt == "p" else float("nan"))) == [-1.0, 9.0, 9.0, 9.0]


def test_the_scorers_of_a_world_label_pairs_as_the_world_does():
    world = pk.world("safety")
    pairs = world.preferences.select(limit=50)
    rows = [
        {"prompt": p, "response_a": a, "response_b": b, "labels": {"given": 1}}
        for p, a, b in zip(pairs.prompts, pairs.responses_a, pairs.responses_b, strict=True)
    ]
    read = read_preferences(rows, computed={name: pk.by_score(scorer) for name, scorer in world.scorers.items()})
    assert read.select(objectives=pairs.objectives).labels.equal(pairs.labels)


def test_objectives_select_and_order_computed_ones_too():
    read = read_preferences(ROWS, computed=["conciseness"], objectives=["conciseness", "kind"])
    assert (read.objectives, len(read)) == (("conciseness", "kind"), 4)
    assert read_preferences(ROWS, computed=["conciseness"], objectives=["conciseness"]).labels.tolist() == [
        [1.0, 0.0, -1.0, 0.0]
    ]


def test_chosen_and_scored_rows_take_them_too():
    chosen = [{"prompt": "p", "chosen": "long enough", "rejected": "no", "objective": "kind"}]
    assert read_preferences(chosen, computed=["conciseness"]).labels.tolist() == [[1.0], [-1.0]]
    scored = [{"prompt": "p", "response": text, "kind": n} for n, text in enumerate(("long enough", "no"))]
    assert read_preferences(scored, margin=0, computed=["conciseness"]).labels.tolist() == [[-1.0], [-1.0]]


# what is refused


def error_of(computed):
    with pytest.raises((ConfigError, DataError)) as error:
        read_preferences(ROWS, computed=computed)
    return str(error.value)


def test_a_scorer_passed_as_a_comparison_is_found_out():
    assert error_of({"long": lambda prompt, text: len(text)}) == (
        "list, pair 0, computed objective 'long': found 11, and 5 with the responses swapped, expected the opposite sign. "
        "Return a number above 0 where the first response is better; wrap a scorer of one response in by_score(...)."
    )


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda a, b: a < b, "found false, expected a finite number, or None where it is not judged. Correct the function."),
        (lambda a, b: "A", "found 'A', expected a finite number, or None where it is not judged. Correct the function."),
        (lambda a, b: float("inf"), "found inf, expected a finite number, or None where it is not judged."),
        (lambda a, b: 1 / 0, "the function failed (ZeroDivisionError: division by zero); correct it."),
        (by_score(lambda prompt, text: text), "found 'short', expected a finite number"),
    ],
)
def test_what_a_function_may_not_return(function, message):
    assert error_of({"mine": function}).startswith(f"list, pair 0, computed objective 'mine': {message}")


def test_a_name_that_the_data_label_is_refused():
    assert error_of({"kind": "conciseness"}) == (
        "list, pair 0, computed objective 'kind': the data have labels for it too; give the computed one another name."
    )


def test_unknown_names_and_values_are_refused():
    assert error_of(["concisenes"]) == (
        "computed, 'concisenes': found 'concisenes', expected one of conciseness, or a function of the two responses. "
        "Did you mean 'conciseness'?"
    )
    assert error_of({" ": "conciseness"}) == "computed: found the objective ' ', expected a name of at least one character."
    with pytest.raises(ConfigError, match="computed: found 'conciseness', expected a mapping from objectives to functions"):
        as_computed("conciseness")
    with pytest.raises(ConfigError, match="margin: found '1', expected a finite number of at least 0"):
        checked_margin("1")
    with pytest.raises(ConfigError, match="margin: found -1, expected a finite number of at least 0"):
        by_score(len, margin=-1)


def test_a_computed_objective_changes_the_fingerprint():
    assert read_preferences(ROWS, computed=["conciseness"]).fingerprint != read_preferences(ROWS).fingerprint
