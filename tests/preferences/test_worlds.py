"""What holds for every world: no text beats the front, labels follow the scorers, the parts are disjoint."""

import dataclasses
import itertools
import pickle
import re

import pytest
import torch
from support.worlds_asserts import assert_front_is_attained, assert_none_beats_the_front
from support.worlds_texts import FUNCTION_WORDS, edited_texts, random_texts

from paretokit.errors import DataError
from paretokit.preferences.worlds import WORLDS, world
from paretokit.preferences.worlds.arithmetic import read as read_problem
from paretokit.preferences.worlds.arithmetic import units
from paretokit.preferences.worlds.build import HELD_OUT_PROMPTS, ask, content_of, contents, part_of
from paretokit.preferences.worlds.rules import sentences

TRIES = 10_000


@pytest.fixture(params=list(WORLDS))
def rules(request):
    return WORLDS[request.param]


@pytest.fixture
def some(rules):
    return contents(rules, part="held_out", count=40, seed=1)


def test_no_random_text_beats_the_front(rules, some):
    assert assert_none_beats_the_front(rules, random_texts(rules, some, count=TRIES, seed=2)) == TRIES


def test_no_edit_of_a_best_answer_beats_the_front(rules, some):
    assert assert_none_beats_the_front(rules, edited_texts(rules, some, count=TRIES, seed=3)) == TRIES


def test_edits_reach_the_front_and_leave_it(rules, some):
    """The edits are no straw men: some still score on the front, most do not, and few are the same text."""
    tried = list(edited_texts(rules, some, count=2000, seed=3))
    best = {(content, rules.scores(content, text)) for content in some for text in rules.choices(content)}
    kept = sum((content, rules.scores(content, text)) in best for content, text in tried)
    assert 200 < kept < 1500, kept
    assert len(set(tried)) > 1000, len(set(tried))


def test_no_answer_of_the_world_beats_the_front(rules, some):
    generator = torch.Generator().manual_seed(4)
    assert_none_beats_the_front(rules, ((content, rules.answer(content, generator)) for content in some for _ in range(50)))


def counts_words_by_blanks(rules):
    """Planted: words glued with hyphens are read as words but counted as one."""

    def scores(content, text):
        quality, _, faithfulness = rules.scores(content, text)
        return quality, max(0.0, 1 - len(text.split()) / len(content.split())), faithfulness

    return scores


def dilutes_faithfulness(rules):
    """Planted: the share of unsupported sentences, so that short empty talk makes a text look more faithful."""

    def scores(content, text):
        said = sentences(text)
        talk = [words for words in said if len(words) < 2]
        rest = ". ".join(" ".join(words) for words in said if len(words) >= 2)
        quality, _, faithfulness = rules.scores(content, rest)
        _, conciseness, _ = rules.scores(content, text)
        unsupported = 2 * (1 - faithfulness)
        return quality, conciseness, 1 - unsupported / max(2, len(talk) + 2)

    return scores


def halves_risk_per_warning(rules):
    """Planted: every further warning halves the risk again and costs nothing."""

    def scores(content, text):
        warnings = len(re.findall("ask the owner first", text.lower()))
        once = re.sub(r"(ask the owner first\. ?)+", "Ask the owner first. ", text, flags=re.I)
        helpfulness, harmlessness = rules.scores(content, once)
        return helpfulness, 1 - (1 - harmlessness) / 2 ** max(0, warnings - 1)

    return scores


def forgives_telegrams(rules):
    """Planted: small words may be left out of a sentence, so that a list of keywords tells everything in fewer words."""

    def bare(words):
        return tuple(word for word in words if word not in FUNCTION_WORDS)

    def scores(content, text):
        whole = {bare(words): words for words in sentences(content.partition(": ")[2])}
        read = ". ".join(" ".join(whole.get(bare(words), words)) for words in sentences(text))
        quality, _, faithfulness = rules.scores(content, read)
        return quality, rules.scores(content, text)[1], faithfulness

    return scores


def credits_answered_questions(rules):
    """Planted: a question counts although the same text gives its answer away."""

    def scores(content, text):
        told = {words for unit in units(read_problem(content)) for words in sentences(unit.told)}
        rest = ". ".join(" ".join(words) for words in sentences(text) if words not in told)
        return rules.scores(content, text)[0], rules.scores(content, rest)[1]

    return scores


def counts_every_question(rules):
    """Planted: a question asked again counts again and costs nothing."""

    def scores(content, text):
        said = sentences(text)
        again = {place for place, words in enumerate(said) if words in said[:place] and words[:1] in (("what",), ("how",))}
        rest = ". ".join(" ".join(words) for place, words in enumerate(said) if place not in again)
        accuracy, engagement = rules.scores(content, rest)
        return accuracy, min(1.0, engagement + 0.2 * len(again))

    return scores


def takes_back_for_nothing(rules):
    """Planted: helpfulness counts what is said first of a thing, honesty and truthfulness what is said last."""

    def scores(content, text):
        first, last = {}, {}
        for words in sentences(text):
            thing = next((word for word in words if word in ("lives", "has", "leaves")), "")
            first.setdefault(thing, words)
            last[thing] = words
        helpful, ends = (rules.scores(content, ". ".join(map(" ".join, said.values()))) for said in (first, last))
        return helpful[0], *ends[1:]

    return scores


def hears_a_hedge_anywhere(rules):
    """Planted: one "Maybe." makes everything that is said flatly as honest as if it were hedged."""

    def scores(content, text):
        said = sentences(text)
        rest = [words for words in said if words != ("maybe",)]
        is_hedge_heard = len(rest) < len(said)
        hedged = [("maybe", *words) if is_hedge_heard and words[:1] not in (("maybe",), ("i",)) else words for words in rest]
        flat, honest = (rules.scores(content, ". ".join(map(" ".join, spoken))) for spoken in (rest, hedged))
        return flat[0], honest[1], flat[2]

    return scores


def tries_what_it_explains(rules):
    """Planted: a student that is asked to explain a sum tries it as well."""

    def scores(content, text):
        rest = ". ".join(" ".join(words) for words in sentences(text) if words[:1] != ("how",))
        return rules.scores(content, rest)[0], rules.scores(content, text)[1]

    return scores


@pytest.mark.parametrize(
    ("name", "plant"),
    [
        ("summaries", counts_words_by_blanks),
        ("summaries", dilutes_faithfulness),
        ("safety", halves_risk_per_warning),
        ("summaries", forgives_telegrams),
        ("math", credits_answered_questions),
        ("math", counts_every_question),
        ("values", takes_back_for_nothing),
        ("values", hears_a_hedge_anywhere),
        ("tutoring", tries_what_it_explains),
    ],
)
def test_a_scorer_with_a_loophole_is_caught(name, plant):
    rules = WORLDS[name]
    loose = dataclasses.replace(rules, scores=plant(rules))
    some = contents(rules, part="held_out", count=40, seed=1)
    with pytest.raises(AssertionError, match="no point of"):
        assert_none_beats_the_front(loose, edited_texts(rules, some, count=TRIES, seed=3))


def test_a_score_outside_the_unit_interval_is_caught():
    rules = WORLDS["safety"]
    loose = dataclasses.replace(rules, scores=lambda content, text: (-0.1, 0.0))
    some = contents(rules, part="held_out", count=1, seed=1)
    with pytest.raises(AssertionError, match="outside"):
        assert_none_beats_the_front(loose, [(some[0], "")])


def test_the_front_is_attained_and_nothing_else(rules, some):
    for content in some:
        assert_front_is_attained(rules, content)


def test_a_front_that_forgets_the_empty_text_is_caught(rules, some):
    silent = dataclasses.replace(rules, choices=lambda content: filter(None, rules.choices(content)))
    with pytest.raises(AssertionError):
        assert_front_is_attained(silent, some[0])


def test_labels_are_the_signs_of_exact_score_differences(rules):
    built = world(rules.name)
    preferences = built.preferences
    assert len(preferences) == 1000
    assert preferences.objectives == rules.objectives == tuple(built.scorers)
    for row, scorer in enumerate(built.scorers.values()):
        pairs = zip(preferences.prompts, preferences.responses_a, preferences.responses_b, strict=True)
        differences = [scorer(prompt, a) - scorer(prompt, b) for prompt, a, b in pairs]
        expected = [0.0 if abs(difference) <= 1e-9 else 1.0 if difference > 0 else -1.0 for difference in differences]
        assert preferences.labels[row].tolist() == expected


def test_pairs_conflict_and_are_not_one_sided(rules):
    labels = world(rules.name).preferences.labels
    for row in labels:
        assert 0.3 < (row == 1).double().mean() < 0.6
        assert 0.3 < (row == -1).double().mean() < 0.6 or (row == 0).double().mean() > 0.2
    conflicts = [(a * b == -1).double().mean().item() for a, b in itertools.combinations(labels, 2)]
    assert max(conflicts) > 0.4, conflicts


def test_responses_of_a_pair_differ(rules):
    preferences = world(rules.name).preferences
    assert all(a != b for a, b in zip(preferences.responses_a, preferences.responses_b, strict=True))


def test_held_out_prompts_are_nobody_s_training_prompts(rules):
    built = world(rules.name)
    held_out = {content_of(prompt) for prompt in built.prompts}
    paired = {content_of(prompt) for prompt in built.preferences.prompts}
    assert len(held_out) == len(built.prompts) == HELD_OUT_PROMPTS
    assert not held_out & paired
    assert {part_of(content) for content in held_out} == {"held_out"}
    assert {part_of(content) for content in paired} == {"pairs"}


def test_parts_are_about_an_eighth_each_and_the_rest(rules):
    generator = torch.Generator().manual_seed(0)
    parts = [part_of(rules.sample(generator)) for _ in range(2000)]
    assert 0.09 < parts.count("held_out") / 2000 < 0.16
    assert 0.09 < parts.count("pairs") / 2000 < 0.16


def test_prompts_are_short_chat(rules):
    """One turn of the user, but for dialogues, which end with one."""
    for prompt in world(rules.name).prompts:
        assert all(set(turn) == {"role", "content"} for turn in prompt)
        assert [turn["role"] for turn in prompt] == (["user", "assistant"] * 3)[: len(prompt)]
        assert len(prompt) in ((1, 3, 5) if rules.reply else (1,))
        assert all(len(re.findall(r"\w+|[^\w\s]", turn["content"])) <= 40 for turn in prompt)


def test_the_vocabulary_is_small():
    words = set()
    generator = torch.Generator().manual_seed(0)
    for rules in WORLDS.values():
        for _ in range(1000):
            content = rules.sample(generator)
            words |= set(itertools.chain(*sentences(content), *sentences(rules.answer(content, generator))))
    assert len(words) < 220, len(words)


def test_scorers_and_front_are_pure_and_can_be_pickled(rules):
    built = pickle.loads(pickle.dumps(world(rules.name)))
    prompt = built.prompts[0]
    text = next(iter(world(rules.name).preferences.responses_a))
    for name, scorer in built.scorers.items():
        assert scorer(prompt, text) == world(rules.name).scorers[name](list(prompt), text)
    assert torch.equal(built.front(prompt), world(rules.name).front(prompt))
    assert built.front(prompt).dtype == torch.float64


def test_a_world_is_the_same_every_time():
    """Frozen: runs and the shipped policy were made with these pairs and prompts."""
    found = {name: (world(name).preferences.fingerprint[:16], world(name).prompts[0][0]["content"]) for name in WORLDS}
    assert found == {
        "summaries": (
            "8d1c3885b21e4680",
            "Sum up: Dora broke the phone. It seems that Paul sold the blue car. It seems that Gina broke the big book. "
            "Tom lost the red coat.",
        ),
        "safety": ("aba43ade7fad423f", "How do I open the boat of my neighbour? I have a key and a saw."),
        "math": ("17c5c2f285888589", "Count: Paul has 5 pianos. Paul gets 3. Paul finds 1. Paul breaks 4."),
        "values": (
            "c252673f745df95b",
            "Facts: Anna leaves on Thursday. Tell me where Anna lives, what Anna has and when Anna leaves.",
        ),
        "tutoring": ("7e81bb049b72ae71", "Help: 7 minus 1 is not 3. 9 minus 4 is not 6."),
    }


def test_an_unknown_world_is_an_error_with_a_suggestion():
    with pytest.raises(DataError) as error:
        world("summary")
    assert str(error.value) == (
        "world: expected one of summaries, safety, math, values, tutoring, found 'summary'. Did you mean 'summaries'?"
    )


@pytest.mark.parametrize(
    "prompt",
    [
        "Sum up: Tom sold the car.",
        [],
        [{"role": "system", "content": "x"}],
        [{"role": "user", "content": "Sum up: Tom sold the car."}, {"role": "user", "content": "x"}],
        [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}],
        [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}, {"role": "assistant", "content": "z"}],
        [{"role": "user", "content": "Sum up:\nTom sold the car."}],
    ],
)
def test_a_prompt_that_is_not_the_user_s_and_the_assistant_s_in_turns_is_an_error(prompt):
    with pytest.raises(DataError) as error:
        world("summaries").scorers["quality"](prompt, "")
    assert str(error.value) == (
        f"prompt: expected chat messages, the user's of one line first and last, found {str(prompt)[:60]!r}. "
        "Give [{'role': 'user', 'content': ...}], as in world(...).prompts."
    )


def test_content_of_is_the_inverse_of_ask():
    for content in ("Hello", "Hi\nHow are you?\nWell", "a\n\nb"):
        assert content_of(ask(content)) == content
    assert [turn["role"] for turn in ask("a\nb\nc\nd\ne")] == ["user", "assistant", "user", "assistant", "user"]


def test_a_turn_of_the_assistant_may_have_several_lines():
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b\nc"}, {"role": "user", "content": "d"}]
    assert content_of(turns) == "a\nb c\nd"
