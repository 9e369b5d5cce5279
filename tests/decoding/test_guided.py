"""guided_generate: equal to one candidate at a time without any cache; degenerate limits; ends, limits, ties; messages."""

from inspect import signature
from itertools import pairwise

import pytest
import torch
from support.guided_twin import guided, often
from support.models_cases import disturb, trained_policy
from support.reward_cases import reward_model

import paretokit.decoding.guided
from paretokit.decoding.guided import guided_generate, iter_guided
from paretokit.decoding.sample import generate
from paretokit.decoding.search import Search
from paretokit.decoding.tree import path
from paretokit.errors import ConfigError, DataError, NonFiniteError, WeightsError
from paretokit.maths.selection import rule, weighted
from paretokit.models.load import load_policy
from paretokit.models.rewards import new_reward_model
from paretokit.models.soups import LogitMixture, Soup
from paretokit.models.tiny import random_policy
from paretokit.preferences.steps import by_delimiter, by_sentence, by_turn
from paretokit.preferences.worlds import world
from paretokit.texts import begin_response, decode, end_tokens

PROMPTS = ["hello", ({"role": "user", "content": "hi"},), "The quick brown fox"]
SCORERS = {
    "wide": lambda prompt, text: sum(map(ord, text)) % 97 / 97,
    "short": lambda prompt, text: -float(len(text)),
}
WEIGHTS = (0.7, 0.3)
LIMITS = {"max_steps": 4, "max_step_tokens": 6, "max_new_tokens": 17}


@pytest.fixture
def often_ends(monkeypatch):
    """Every twentieth token ends a text."""
    ends = frozenset(range(0, 259, 20))
    monkeypatch.setattr(paretokit.decoding.guided, "end_tokens", lambda tokenizer: ends)
    return ends


def decoded(policy, prompts=PROMPTS, **options):
    settings = {"reward_model": SCORERS, "weights": WEIGHTS, "candidates": 4, "steps": often(), **LIMITS, **options}
    return guided_generate(policy, prompts, **settings)


def rounded(found):
    """What was decoded, its log-probabilities to twelve decimals: products over more rows round in another order."""
    return [
        made._replace(
            sum_logp=round(made.sum_logp, 12),
            tree=tuple(node._replace(sum_logp=round(node.sum_logp, 12)) for node in made.tree),
        )
        for made in found
    ]


def twin(policy, prompt, **options):
    """What `decoded` should find for a prompt, as slowly as it can be found."""
    weights = torch.tensor(WEIGHTS, dtype=torch.float64)
    return guided(
        policy,
        prompt,
        score=lambda text: [scorer(prompt, text) for scorer in SCORERS.values()],
        utility=lambda scores: weighted(scores, weights),
        candidates=4,
        boundary=often().end,
        **LIMITS,
        **options,
    )


@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3", "cohere", "qwen3", "granite"])
def test_equal_to_one_candidate_at_a_time_without_a_cache(family, often_ends):
    """Texts, scores and tree are those of the slow twin; rows of a batch end their steps and texts at different times."""
    policy = trained_policy(family, dtype=torch.float64)
    found = decoded(policy)
    for made in found:
        response, steps, scored = twin(policy, made.prompt, ends=often_ends)
        assert made.token_ids == response
        assert tuple(node.token_ids for node in made.path) == tuple(steps)
        for number, scores in enumerate(scored, start=1):
            assert [node.scores for node in made.tree if node.step == number] == [tuple(row) for row in scores.tolist()]
    lengths = {len(node.token_ids) for made in found for node in made.tree}
    assert len(lengths) > 2  # steps of different lengths were waited for
    assert {made.reason for made in found} & {"end", "max_steps", "max_new_tokens"}


def test_a_text_does_not_depend_on_its_batch(often_ends):
    policy = trained_policy("llama", dtype=torch.float64)
    together = rounded(decoded(policy))
    alone = [decoded(policy, [prompt])[0]._replace(prompt_index=index) for index, prompt in enumerate(PROMPTS)]
    assert together == rounded(alone) == rounded(decoded(policy, batch_size=2))


def test_one_candidate_that_takes_one_step_is_plain_sampling():
    policy = random_policy(dtype=torch.float64)
    made = decoded(policy, candidates=1, steps=by_turn(), max_step_tokens=17)
    plain = generate(policy, PROMPTS, max_new_tokens=17)
    assert [one.token_ids for one in made] == [one.token_ids for one in plain]
    assert [one.sum_logp for one in made] == pytest.approx([one.sum_logp for one in plain], abs=1e-12)


def test_one_step_is_best_of_n():
    policy = random_policy(dtype=torch.float64)
    made = decoded(policy, steps=by_turn(), max_step_tokens=17, weights=(1, 0))
    copies = generate(policy, PROMPTS, max_new_tokens=17, copies=4)
    for one in made:
        mine = [copy for copy in copies if copy.prompt_index == one.prompt_index]
        assert one.text == max(mine, key=lambda copy: SCORERS["wide"](copy.prompt, copy.text)).text


def test_the_first_step_begins_the_copy_of_the_same_number():
    policy = random_policy(dtype=torch.float64)
    made = decoded(policy)
    copies = generate(policy, PROMPTS, max_new_tokens=17, copies=4)
    for one in made:
        for node in (node for node in one.tree if node.step == 1):
            copy = copies[one.prompt_index * 4 + node.number]
            assert copy.token_ids[: len(node.token_ids)] == node.token_ids


def test_weights_choose(often_ends):
    """With all weight on one objective, the chosen candidate of each step is the best of its step on it."""
    policy = random_policy()
    for place, weights in enumerate([(1, 0), (0, 1)]):
        for one in decoded(policy, weights=weights):
            for kept in one.path:
                rivals = [node.scores[place] for node in one.tree if node.step == kept.step]
                assert kept.scores[place] == max(rivals)


def test_weights_that_move_are_asked_before_each_step():
    asked = []

    def moving(step):
        asked.append(step)
        return (1, 0) if step % 2 else (0, 1)

    made = decoded(random_policy(), weights=moving, max_steps=3)
    assert asked == [1, 1, 2, 3]  # once to see that they are weights, then before each step
    assert {one.guide_weights for one in made} <= {((1.0, 0.0), (0.0, 1.0), (1.0, 0.0))}
    for one in made:
        for kept in one.path:
            place = (kept.step + 1) % 2
            assert kept.scores[place] == max(node.scores[place] for node in one.tree if node.step == kept.step)


def test_the_first_of_equal_candidates_stays():
    made = decoded(random_policy(), reward_model={"same": lambda prompt, text: 0.0}, weights=(1,))
    assert {node.number for one in made for node in one.tree if node.kept} == {0}


def test_an_end_token_alone_ends_a_text(monkeypatch):
    monkeypatch.setattr(paretokit.decoding.guided, "end_tokens", lambda tokenizer: frozenset(range(1000)))
    made = decoded(random_policy())
    for one in made:  # all candidates are empty
        assert (one.reason, one.ended, len(one.steps), len(one.token_ids)) == ("end", True, 1, 1)
        assert len(one.tree) == 4
        assert one.last == 0


def test_a_boundary_inside_a_token_takes_the_whole_token():
    """Pieces of several characters: the step goes to the end of the token that its boundary falls into."""
    from paretokit.models.load import load_policy  # the shipped tokenizer has such pieces

    policy = load_policy("tiny", adapter="none")
    made = guided_generate(
        policy, ["Once"], reward_model=SCORERS, weights=WEIGHTS, steps=by_delimiter(delimiter="o"), max_steps=6
    )[0]
    whole = [node for node in made.tree if "o" in node.text.rstrip("o")]
    assert whole  # something stands behind the delimiter
    for node in whole:
        *before, last = node.token_ids
        assert "o" not in decode(policy.tokenizer, before)
        assert "o" in decode(policy.tokenizer, [last])
    assert "".join(made.steps) == made.text


def test_limits_are_reported():
    policy = random_policy()
    steps = decoded(policy, max_steps=2, max_step_tokens=3, steps=by_turn())
    for one in steps:
        assert (one.reason, one.ended, len(one.token_ids), one.capped_steps) == ("max_steps", False, 6, 2)
    tokens = decoded(policy, max_steps=9, max_step_tokens=3, max_new_tokens=7, steps=by_turn())
    for one in tokens:
        assert (one.reason, one.ended, len(one.token_ids)) == ("max_new_tokens", False, 7)
        assert [len(node.token_ids) for node in one.path] == [3, 3, 1]


def test_a_single_step_with_a_limit_of_one():
    for one in decoded(random_policy(), max_steps=1, beams=2):
        assert one.reason in ("max_steps", "end")
        assert sum(node.kept for node in one.tree) == 2


def test_stop_keeps_what_is_complete():
    calls = 0

    def stop():
        nonlocal calls
        calls += 1
        return calls > 9

    whole = decoded(random_policy(), steps=by_turn(), max_step_tokens=4)
    cut = decoded(random_policy(), steps=by_turn(), max_step_tokens=4, stop=stop)
    for one, other in zip(whole, cut, strict=True):
        assert (other.reason, other.ended, len(other.steps)) == ("stopped", False, 2)
        assert one.steps[:2] == other.steps
    nothing = decoded(random_policy(), stop=lambda: True)
    assert [(one.text, one.reason, one.tree, one.last, one.scores) for one in nothing] == [("", "stopped", (), -1, ())] * 3


def test_more_beams_keep_more_lines_and_one_of_identical_ones(often_ends):
    policy = trained_policy("llama", dtype=torch.float64)
    for one in decoded(policy, beams=3):
        for step in {node.step for node in one.tree}:
            kept = [node for node in one.tree if node.step == step and node.kept]
            assert 1 <= len(kept) <= 3
            assert len({(node.parent, node.token_ids) for node in kept}) == len(kept)
        for node in one.tree:
            assert node.parent == -1 or (one.tree[node.parent].kept and one.tree[node.parent].step == node.step - 1)
        assert "".join(one.steps) == one.text


def test_identical_candidates_take_one_beam():
    made = decoded(random_policy(), temperature=0.0, beams=3)
    for one in made:  # greedy candidates are all the same
        assert {sum(node.kept for node in one.tree if node.step == step) for step in {node.step for node in one.tree}} == {1}


def test_beams_find_what_one_line_misses():
    """The second step decides, and only what scores low at first can reach it: one line loses it, two keep it."""
    policy = random_policy()
    first = decoded(policy, ["hello"], max_steps=1)[0]
    low = min((node for node in first.tree), key=lambda node: (SCORERS["wide"]("hello", node.text), node.number))

    def late(prompt, text):
        return SCORERS["wide"](prompt, text) if len(text) <= 6 else 10.0 * text.startswith(low.text)

    options = {"reward_model": {"late": late}, "weights": (1,), "steps": by_turn(), "max_step_tokens": 5, "max_steps": 2}
    narrow = decoded(policy, ["hello"], **options)[0]
    broad = decoded(policy, ["hello"], beams=4, **options)[0]
    assert broad.scores >= narrow.scores


def test_a_finished_line_competes_with_those_that_go_on(often_ends):
    """With beams, the best finished text stays, whatever longer ones come to."""
    policy = random_policy()
    for one in decoded(policy, beams=4, reward_model={"short": SCORERS["short"]}, weights=(1,)):
        ended = [node for node in one.tree if node.ended and node.kept]
        if ended:
            assert one.ended
            assert one.scores[0] == max(node.scores[0] for node in ended)


@pytest.mark.parametrize("name", ["weighted", "minimum", "lexicographic"])
def test_rules_by_name(name, often_ends):
    policy = random_policy()
    chosen = rule(name, tuple(SCORERS))
    for one in decoded(policy, combine=name):
        for step in {node.step for node in one.tree}:
            nodes = [node for node in one.tree if node.step == step]
            found = chosen(torch.tensor([node.scores for node in nodes], dtype=torch.float64), torch.tensor(WEIGHTS))
            assert [node.utility for node in nodes] == pytest.approx(found.tolist(), abs=1e-6)  # the weights are float32 here
            assert nodes[found.argmax()].kept


def test_constraint():
    for one in decoded(random_policy(), combine="constraint", least={"short": -4.0}, steps=by_turn(), max_steps=1):
        kept = next(node for node in one.tree if node.kept)
        fit = [node for node in one.tree if node.scores[1] >= -4.0]
        if fit:
            assert kept.scores[0] == max(node.scores[0] for node in fit)


def test_heads_are_mixed_and_guided(often_ends):
    policy = _mixed("heads")
    one, other = (decoded(policy, head_weights=mix) for mix in [(1, 0), (0, 1)])
    assert [made.text for made in one] != [made.text for made in other]
    assert {made.weights for made in one} == {(1.0, 0.0)}
    alone = decoded(policy, PROMPTS[:1], head_weights=(1, 0))
    assert rounded(alone) == rounded(one[:1])


def _mixed(kind):
    """What answers by weights: a policy with heads, or two policies that are mixed."""
    if kind == "heads":
        policy = random_policy(heads=["wide", "short"], dtype=torch.float64)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in policy.bank.parameters().values():
                parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
        return policy
    first = trained_policy(dtype=torch.float64)
    policies = {"wide": first, "short": first.fork(seed=3)}
    disturb(policies["short"], seed=9)
    return kind(policies)


@pytest.mark.parametrize("kind", ["heads", Soup, LogitMixture], ids=["heads", "soup", "logits"])
def test_heads_that_move_between_steps_equal_reading_everything_again(kind, often_ends):
    """The slow twin mixes anew at every step. Planted: heads that stay as they were at the first step write something else."""
    policy = _mixed(kind)
    mixes = [(1.0, 0.0), (0.0, 1.0), (0.0, 1.0), (0.5, 0.5)]
    found = decoded(policy, head_weights=lambda step: mixes[step - 1])
    for made in found:
        response, steps, scored = twin(policy, made.prompt, ends=often_ends, head_weights=lambda step: mixes[step - 1])
        assert made.token_ids == response
        assert tuple(node.token_ids for node in made.path) == tuple(steps)
        assert made.head_weights == tuple(mixes[: len(scored)])
        assert made.weights == made.head_weights[-1]
    assert max(len(made.head_weights) for made in found) > 2
    assert [made.text for made in decoded(policy, head_weights=mixes[0])] != [made.text for made in found]


def test_heads_that_do_not_move_are_read_once(monkeypatch, often_ends):
    policy, asked = _mixed("heads"), []

    def still(step):
        asked.append(step)
        return (0.3, 0.7)

    reads = []
    monkeypatch.setattr(
        Search, "go_on_with", lambda *given, real=Search.go_on_with, **how: reads.append(1) or real(*given, **how)
    )
    assert decoded(policy, head_weights=still, max_steps=3) == decoded(policy, head_weights=(0.3, 0.7), max_steps=3)
    assert asked == [1, 1, 2, 3]  # once to see that they are weights, then before each step
    assert len(reads) == 2  # once each


def test_the_weights_of_heads_are_told_with_each_step():
    mixes = [(1.0, 0.0), (0.0, 1.0)]
    steps = iter_guided(
        _mixed("heads"),
        PROMPTS[:1],
        reward_model=SCORERS,
        weights=WEIGHTS,
        head_weights=lambda step: mixes[step - 1],
        max_steps=2,
        max_step_tokens=3,
        max_new_tokens=9,
    )
    assert [step.head_weights for step in steps] == mixes
    plain = iter_guided(random_policy(), PROMPTS[:1], reward_model=SCORERS, weights=WEIGHTS, max_steps=1, max_new_tokens=9)
    assert [(step.head_weights, step.generations[0].head_weights) for step in plain] == [((), ())]


def test_policies_whose_logits_are_mixed_are_guided(often_ends):
    """All weight on one of them: its own texts; half on each: others, and those do not depend on the batch."""
    policies = {"wide": trained_policy(), "short": trained_policy().fork(seed=3)}
    disturb(policies["short"], seed=9)
    mixed = LogitMixture(policies)
    for name, mix in (("wide", (1, 0)), ("short", (0, 1))):
        expected = rounded(decoded(policies[name]))
        assert [made._replace(weights=(), head_weights=()) for made in rounded(decoded(mixed, head_weights=mix))] == expected
    even = rounded(decoded(mixed, head_weights=(0.5, 0.5)))
    assert even[:1] == rounded(decoded(mixed, PROMPTS[:1], head_weights=(0.5, 0.5)))
    assert even != rounded(decoded(mixed, head_weights=(0.4, 0.6)))


def full_scores(model, made):
    """What a reward model says of each candidate of a tree, its text read from the first token."""
    for place in range(len(made.tree)):
        ends = end_tokens(model.tokenizer)
        steps = [[token for token in node.token_ids if token not in ends] for node in path(made.tree, place)]
        yield model.step_scores([made.prompt], [steps])[0, -1].tolist()


@pytest.mark.parametrize("heads", [None, ["right", "kind"]], ids=["plain", "heads"])
def test_a_reward_model_reads_new_steps_alone_and_scores_the_whole_text(heads):
    policy = random_policy(heads=heads, dtype=torch.float64)
    guide = reward_model(kinds={"right": "class", "kind": "preference"})
    mix = None if heads is None else (0.25, 0.75)
    found = decoded(policy, reward_model=guide, beams=2, head_weights=mix)
    for made in found:
        assert (made.guide, made.objectives) == (guide.source, ("right", "kind"))
        for node, scores in zip(made.tree, full_scores(guide, made), strict=True):
            assert node.scores == pytest.approx(scores, abs=1e-12)


def test_a_reward_model_with_another_tokenizer_reads_its_own_tokens():
    from paretokit.models.load import load_policy

    guide = new_reward_model(load_policy("tiny", adapter="none", dtype="float64"), kinds={"right": "class"})
    policy = random_policy(dtype=torch.float64)
    for made in decoded(policy, ["hello"], reward_model=guide, weights=(1,), steps=by_turn(), max_step_tokens=5):
        for place, node in enumerate(made.tree):
            texts = [step.text for step in path(made.tree, place)]
            assert node.scores == pytest.approx(guide.step_scores([made.prompt], [texts])[0, -1].tolist(), abs=1e-12)


def test_what_was_read_before_matters_to_the_scores():
    """The comparison above can fail: another reward model says something else."""
    policy = random_policy(dtype=torch.float64)
    kinds = {"right": "class", "kind": "preference"}
    made = decoded(policy, PROMPTS[:1], reward_model=reward_model(kinds=kinds))[0]
    other = list(full_scores(reward_model(kinds=kinds, seed=1), made))
    assert made.tree[0].scores != pytest.approx(other[0], abs=1e-3)


def test_an_iterator_gives_the_text_as_it_grows():
    settings = {"reward_model": SCORERS, "weights": WEIGHTS, "steps": often(), "candidates": 4, **LIMITS}
    found = list(iter_guided(random_policy(), PROMPTS, **settings))
    assert [step.step for step in found] == list(range(1, len(found) + 1))
    for before, after in pairwise(found):
        for one, longer in zip(before.generations, after.generations, strict=True):
            assert longer.steps[: len(one.steps)] == one.steps
            assert longer.tree[: len(one.tree)] == one.tree
    assert list(found[-1].generations) == guided_generate(random_policy(), PROMPTS, **settings)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"candidates": 0}, ConfigError, "guided_generate: candidates is 0; expected at least 1"),
        ({"beams": 0}, ConfigError, "guided_generate: beams is 0; expected at least 1"),
        ({"max_steps": 0}, ConfigError, "guided_generate: max_steps is 0; expected at least 1"),
        ({"max_step_tokens": 0}, ConfigError, "guided_generate: max_step_tokens is 0; expected at least 1"),
        ({"max_new_tokens": 0}, ConfigError, "guided_generate: max_new_tokens is 0; expected at least 1"),
        ({"batch_size": 0}, ConfigError, "guided_generate: batch_size is 0; expected at least 1"),
        ({"temperature": -1.0}, ConfigError, "guided_generate: temperature is -1.0; expected a finite number"),
        ({"combine": "best"}, ConfigError, "combine: found 'best', expected one of weighted, minimum"),
        ({"weights": (0.5, 0.6)}, WeightsError, "guided_generate: weights: found the sum 1.1, expected 1"),
        ({"weights": lambda step: (1,)}, WeightsError, "guided_generate: weights at step 1"),
        ({"head_weights": (1, 0)}, ConfigError, "guided_generate: head_weights: found weights for a policy that has no heads"),
        (
            {"head_weights": lambda step: (1,)},
            ConfigError,
            "guided_generate: head_weights at step 1: found weights for a policy",
        ),
        ({"reward_model": 3}, ConfigError, "reward_model: found int, expected a reward model, or scorers by objective"),
        ({"reward_model": {}}, ConfigError, "reward_model: found a mapping that is not one of scorers"),
        ({"reward_model": {"a": 1.0}}, ConfigError, "reward_model: found a mapping that is not one of scorers"),
        ({"max_new_tokens": 400}, DataError, "guided_generate: prompt 0 has .* exceeds the model's context of 256"),
        (
            {"reward_model": {"a": lambda prompt, text: float("nan")}, "weights": (1,)},
            NonFiniteError,
            "guided_generate: the scorers a scored a text with nan on 'a', expected a finite number",
        ),
    ],
)
def test_messages(options, error, message):
    with pytest.raises(error, match=message):
        decoded(random_policy(), **options)


def test_a_single_prompt_is_refused():
    with pytest.raises(DataError, match="guided_generate: found a single prompt, expected a list of prompts"):
        decoded(random_policy(), "hello")


def test_damaged_weights_are_named():
    policy = random_policy(adapter="none")
    with torch.no_grad():
        policy.model.get_output_embeddings().weight.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="candidate 0, token 0 of its step: the policy's logits are not finite"):
        decoded(policy)


def test_a_window_that_counts_columns_is_refused():
    """Steps of unequal length leave holes, and rows longer than a sliding window would be read wrongly."""
    from paretokit.errors import ModelError

    policy = random_policy("mistral", dtype=torch.float64)
    with pytest.raises(ModelError, match="columns with holes for a sliding window of 16, which counts columns"):
        decoded(policy, ["hello there"], max_steps=8, max_new_tokens=60)


def test_the_twin_can_disagree():
    """The comparison above can fail: another seed is another text."""
    policy = random_policy(dtype=torch.float64)
    made = decoded(policy, PROMPTS[:1], seed=1)[0]
    response, _, _ = twin(policy, PROMPTS[0], ends=frozenset())
    assert made.token_ids != response


def test_both_ways_to_decode_take_the_same_options():
    together, stepwise = (signature(function).parameters for function in (guided_generate, iter_guided))
    assert {name: one.default for name, one in together.items() if name != "batch_size"} == {
        name: one.default for name, one in stepwise.items()
    }


def test_steps_may_be_named_by_their_kind():
    policy = random_policy()
    assert decoded(policy, steps="turn") == decoded(policy, steps=by_turn())
    with pytest.raises(ConfigError, match="splitter: found the kind 'turns', expected one of delimiter, sentence, turn"):
        decoded(policy, steps="turns")


def test_a_sentence_step_of_at_least_so_many_tokens():
    """The steps are those into which the text is split with the same count of tokens, and the rule acts."""
    policy = load_policy("tiny", adapter="none")
    options = {
        "reward_model": SCORERS,
        "weights": WEIGHTS,
        "candidates": 2,
        "max_new_tokens": 40,
        "max_step_tokens": 40,
        "seed": 3,
    }
    prompts = world("values").prompts[:4]
    short = {}
    for least in (0, 12):
        splitter = by_sentence(min_tokens=least)
        found = guided_generate(policy, prompts, steps=splitter, **options)
        for made in found:
            sizes = [len(begin_response(policy.tokenizer, step)) for step in made.steps]
            assert all(size >= least for size in sizes[:-1])
        short[least] = sum(size < 12 for made in found for size in _sizes(policy, made))
    assert short[0] > short[12]


def _sizes(policy, made):
    return [len(begin_response(policy.tokenizer, step)) for step in made.steps[:-1]]
