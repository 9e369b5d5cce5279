"""The label factory against enumeration on a toy policy; resumed, cached and stopped early without a label that changes."""

import math
import os

import pytest
import torch
from support.judge_server import serving
from support.models_cases import disturb, trained_policy
from support.walks import LONGEST, Walk, continuations, expected, steps_of, up

import paretokit as pk
from paretokit.errors import ConfigError, DataError
from paretokit.experiments.content_cache import ContentCache, content_key
from paretokit.experiments.judges import EndpointJudge, JudgeError
from paretokit.experiments.labelling import label_steps
from paretokit.experiments.rollouts import PolicySampler, Rollout, Start
from paretokit.models.tiny import random_policy
from paretokit.preferences.worlds.judges import WorldJudge, math_solved
from paretokit.texts import encode_prompt
from paretokit.training.labels import agreement, hindsight_target, unit_target

RESPONSES = ["Start. Up. Down.", "Start. Up. Up. Down.", "Start. Down.", "Start."]
PROMPTS = [f"p{index}" for index in range(len(RESPONSES))]


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("PARETOKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


def label(sampler, *, responses=RESPONSES, prompts=PROMPTS, **options):
    options = {"split": "sentence", "verifiers": {"up": up}, "progress": False, **options}
    return label_steps(sampler, prompts, responses=responses, **options)


def kept(*, cache_key="walk", **options):
    """A walk whose rollouts are kept on disk; those of a plain one are not."""
    return Walk(cache_key=cache_key, **options)


def calm(prompt, text):
    """A judge: few downs are calm."""
    return 0.9 if text.count("Down") < 2 else 0.2


def is_calm(prompt, text):
    return calm(prompt, text) > 0.5


# --- against enumeration -------------------------------------------------------------------------------------------


def assert_near(found, exact, *, rollouts, size=1.0):
    """Within 4.5 standard errors of a mean of numbers between 0 and `size`, whose deviation is at most size / 2."""
    for value, truth in zip(found, exact, strict=True):
        assert abs(value - truth) < 4.5 * size / 2 / math.sqrt(rollouts)


def test_the_toy_policy_is_a_policy():
    for text in ("Start.", "Start. Up. Down."):
        assert sum(mass for _, mass, _ in continuations(text)) == pytest.approx(1)
        assert all(len(steps_of(whole)) <= LONGEST for whole, _, _ in continuations(text))


@pytest.mark.parametrize("gamma", [1.0, 0.5])
def test_values_are_those_of_the_toy_policy(gamma):
    made = label(Walk(), rollouts=1600, every=1600, gamma=gamma)
    for steps, labels in zip(made.labels.steps, made.labels.labels, strict=True):
        prefixes = ["".join(steps[: count + 1]) for count in range(len(steps))]
        exact = [expected(prefix, gamma=gamma) for prefix in prefixes[:-1]]
        assert_near(labels["up"][:-1], exact, rollouts=1600)
        assert labels["up"][-1] == up("", prefixes[-1])  # the response itself: nothing is left to chance


def test_the_check_rejects_a_discount_that_is_one_step_off():
    made = label(Walk(), rollouts=1600, every=1600, gamma=0.5)
    wrong = [0.5 * expected("".join(RESPONSES[1][: len("Start. Up.")]), gamma=0.5)]
    with pytest.raises(AssertionError):
        assert_near(made.labels.labels[1]["up"][1:2], wrong, rollouts=1600)


def test_step_scores_and_the_scaled_target():
    scores = {"up": lambda prompt, prefix: 0.25 * len(steps_of(prefix))}
    plain, published, unit = (
        label(Walk(), step_scores=given, target=target).labels.labels[1]["up"]
        for given, target in ((None, unit_target), (scores, hindsight_target), (scores, unit_target))
    )
    for step, (value, with_score, scaled) in enumerate(zip(plain, published, unit, strict=True)):
        assert with_score == pytest.approx(0.25 * (step + 1) + value)
        assert scaled == pytest.approx(with_score / 2)


def test_majorities_are_on_the_likelier_side():
    made = label(Walk(), verifiers={}, judges={"calm": calm}, rollouts=400, confidence=1)
    seen = 0
    for prompt, steps, labels in zip(made.labels.prompts, made.labels.steps, made.labels.labels, strict=True):
        for count, found in enumerate(labels["calm"][:-1], start=1):
            share = expected("".join(steps[:count]), gamma=1.0, outcome=is_calm)
            if abs(share - 0.5) > 0.12:  # 4.8 standard errors
                assert found == (share > 0.5)
                seen += 1
        assert labels["calm"][-1] == is_calm(prompt, "".join(steps))
    assert seen >= 4
    assert made.labels.kinds == {"calm": "class"}


def test_prefix_judges_need_no_rollouts():
    walk = Walk()
    made = label(walk, verifiers={}, prefix_judges={"calm": calm})
    assert made.labels.labels[1]["calm"] == (0.9, 0.9, 0.9, 0.9)
    assert label(walk, verifiers={}, prefix_judges={"calm": lambda p, t: 0.3}).labels.labels[0]["calm"] == (0.3, 0.3, 0.3)
    assert walk.calls == []
    assert made.evidence.rollouts == made.evidence.saved == 0


def test_a_real_policy_against_its_own_probabilities():
    """One token ahead, the probability of any set of tokens can be read off the logits."""
    policy = trained_policy()
    begun = ["ab.", "cd. ef."]
    decoded = [policy.tokenizer.decode([token]) for token in range(len(policy.tokenizer))]
    letters = {text for text in decoded if len(text) == 1 and text.isascii() and text.isalpha()}
    alphabet = [token for token, text in enumerate(decoded) if text in letters]
    made = label(
        policy,
        prompts=["x"] * 2,
        responses=[f"{text} more" for text in begun],
        verifiers={"letter": lambda prompt, text: text[-1:] in letters},
        gamma=1.0,
        rollouts=600,
        confidence=None,
        max_new_tokens=1,
        batch_size=600,
    )
    for text, labels in zip(begun, made.labels.labels, strict=True):
        ids = encode_prompt(policy.tokenizer, "x") + tuple(policy.tokenizer(text)["input_ids"])
        with torch.no_grad():
            probabilities = policy.model(torch.tensor([ids])).logits[0, -1].softmax(dim=-1)
        assert_near(labels["letter"][-2:-1], [float(probabilities[alphabet].sum())], rollouts=600)


# --- early stopping ------------------------------------------------------------------------------------------------


def test_stopping_where_nothing_can_change_changes_nothing():
    all_made = label(Walk(), verifiers={}, judges={"calm": calm}, rollouts=16, confidence=None)
    early = label(Walk(), verifiers={}, judges={"calm": calm}, rollouts=16, confidence=1)
    assert early.labels == all_made.labels
    assert all_made.evidence.saved == 0
    assert early.evidence.saved > 0
    assert early.evidence.rollouts + early.evidence.saved == all_made.evidence.rollouts


def test_a_label_that_was_certain_stands_with_more_rollouts():
    """A settled majority rests on the first rollouts of those that a larger budget would make."""
    few = label(Walk(), verifiers={}, judges={"calm": lambda prompt, text: "Start" in text}, rollouts=16)
    many = label(Walk(), verifiers={}, judges={"calm": lambda prompt, text: "Start" in text}, rollouts=64, confidence=None)
    assert few.labels == many.labels
    assert few.evidence.saving == 0.75  # four of sixteen
    assert few.evidence.agreement == {"calm": 1.0}


def test_labels_do_not_depend_on_what_else_is_labelled():
    both = label(Walk(), judges={"calm": calm}, rollouts=16)
    for name, alone in (
        ("up", label(Walk(), rollouts=16)),
        ("calm", label(Walk(), verifiers={}, judges={"calm": calm}, rollouts=16)),
    ):
        assert both.labels.select(objectives=[name]) == alone.labels
    assert both.evidence.rollouts >= alone.evidence.rollouts


# --- cache and resume ----------------------------------------------------------------------------------------------


def test_a_second_call_makes_no_rollouts(tmp_path):
    first, second = kept(), kept()
    made = label(first, cache=tmp_path)
    again = label(second, cache=tmp_path)
    assert again.labels == made.labels
    assert (first.made, second.made) == (made.evidence.made, 0)
    assert made.evidence.made == made.evidence.rollouts > 0
    assert (again.evidence.made, again.evidence.rollouts) == (0, made.evidence.rollouts)
    more = kept()
    larger = label(more, cache=tmp_path, rollouts=24, confidence=None)
    assert more.made == larger.evidence.rollouts - made.evidence.rollouts  # only what is missing
    assert larger.labels == label(kept(), rollouts=24, confidence=None, cache=tmp_path / "other").labels


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"prompts": [f"q{index}" for index in range(4)]}, {"key": "another walk"}],
)
def test_other_content_is_not_found(tmp_path, change):
    label(kept(), cache=tmp_path)
    other = kept(cache_key=change.pop("key", "walk"))
    label(other, cache=tmp_path, **change)
    assert other.made > 0


@pytest.mark.parametrize("call", range(6))
def test_resumed_is_uninterrupted(tmp_path, call):
    whole = kept()
    expected_labels = label(whole, cache=tmp_path / "whole", batch_size=8, judges={"calm": calm}).labels
    broken, rest = kept(fails_at=call), kept()
    with pytest.raises(KeyboardInterrupt):
        label(broken, cache=tmp_path / "parts", batch_size=8, judges={"calm": calm})
    found = label(rest, cache=tmp_path / "parts", batch_size=8, judges={"calm": calm})
    assert found.labels == expected_labels
    assert broken.made + rest.made == whole.made  # nothing was made twice
    assert len(broken.calls) == call


def test_batches_change_no_label():
    sizes = [label(Walk(), batch_size=size) for size in (1, 7, 500)]
    assert sizes[0].labels == sizes[1].labels == sizes[2].labels
    walk = Walk()
    label(walk, batch_size=16)
    assert max(count * len(copies) for count, copies in walk.calls) == 16


def test_responses_are_sampled_where_none_are_given(tmp_path):
    walk = kept()
    made = label(walk, responses=None, copies=3, cache=tmp_path)
    assert len(made.labels) == 12
    assert made.evidence.sampled == 12
    assert len({("".join(steps)) for steps in made.labels.steps}) > 3
    longest = [(steps, labels) for steps, labels in rows(made) if len(steps) == LONGEST]  # from where none goes on
    assert longest
    assert all(labels["up"][-1] == steps[-1].endswith("Up.") for steps, labels in longest)
    again = label(kept(), responses=None, copies=3, cache=tmp_path)
    assert again.labels == made.labels
    assert (again.evidence.sampled, again.evidence.made) == (0, 0)


def rows(made):
    return list(zip(made.labels.steps, made.labels.labels, strict=True))


def test_stop_keeps_what_is_known(tmp_path):
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > 9

    whole = label(kept(), batch_size=8, cache=tmp_path / "whole")
    part = label(kept(), batch_size=8, cache=tmp_path / "parts", stop=stop)
    assert part.evidence.stopped
    assert part.evidence.labelled["up"] < whole.evidence.labelled["up"]
    assert part.labels.steps == whole.labels.steps
    for (_, found), (_, expected_row) in zip(rows(part), rows(whole), strict=True):
        for one, other in zip(found["up"], expected_row["up"], strict=True):
            assert one is None or one == other
    rest = label(kept(), batch_size=8, cache=tmp_path / "parts")
    assert rest.labels == whole.labels
    assert rest.evidence.made + part.evidence.made == whole.evidence.made
    nothing = label(kept(), responses=None, stop=lambda: True, cache=tmp_path / "none")
    assert nothing.labels is None
    assert nothing.evidence.stopped


def test_a_policy_is_known_by_its_weights_and_options(tmp_path):
    options = {"verifiers": {"even": lambda prompt, text: len(text) % 2 == 0}, "max_new_tokens": 4, "cache": tmp_path}
    policy = random_policy()

    def made(policy, **more):
        return label(policy, **{**options, **more}).evidence.made

    assert made(policy) > 0
    assert made(policy) == made(random_policy()) == made(policy.fork()) == 0
    assert made(policy, temperature=0.5) > 0
    assert made(policy, max_new_tokens=5) > 0
    disturb(policy)
    assert made(policy) > 0
    assert made(policy, batch_size=3) == 0


def test_heads_are_weighed(tmp_path):
    policy = random_policy(heads=["a", "b"])
    options = {"verifiers": {"even": lambda prompt, text: len(text) % 2 == 0}, "max_new_tokens": 3, "cache": tmp_path}
    assert label(policy, weights=[0.5, 0.5], **options).evidence.made > 0
    assert label(policy, weights=[0.5, 0.5], **options).evidence.made == 0
    assert label(policy, weights=[0.2, 0.8], **options).evidence.made > 0
    with pytest.raises(ConfigError, match="label_steps: weights: found none for a policy with the heads a, b"):
        label(policy, **options)


def test_a_torn_or_damaged_cache_costs_rollouts_alone(tmp_path):
    made = label(kept(), cache=tmp_path)
    (path,) = (tmp_path / "rollouts").rglob("*.jsonl")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    (path.parent / "other.jsonl").write_text("[1]\nnonsense\n")
    rest = kept()
    assert label(rest, cache=tmp_path).labels == made.labels
    assert 0 < rest.made < made.evidence.made


def test_the_cache_folder_is_the_default(monkeypatch, tmp_path):
    monkeypatch.setenv("PARETOKIT_CACHE", str(tmp_path))
    label(kept())
    assert len(list((tmp_path / "labels" / "rollouts").rglob("*.jsonl"))) == 1
    label(Walk())
    assert len(list(tmp_path.rglob("*.jsonl"))) == 1  # without a key nothing is written


# --- judges --------------------------------------------------------------------------------------------------------

QUESTION = "{prompt} {text} Calm?"


def answer(content):
    return "NO" if content.count("Down") > 1 else "YES"


def endpoint(stub, **options):
    return EndpointJudge(base_url=stub.url, model="m", question=QUESTION, sleep=lambda seconds: None, attempts=2, **options)


@pytest.mark.parametrize("threads", [1, 3])
def test_answers_of_an_endpoint_are_kept_and_nothing_is_lost(tmp_path, monkeypatch, threads):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("JUDGE_KEY", "sk-very-secret-123")
    options = {"verifiers": {}, "cache": tmp_path}
    with serving(answer) as stub:
        exact = label(kept(), verifiers={}, judges={"calm": lambda p, t: answer(t) == "YES"}, cache=tmp_path / "exact").labels
        broken = [0]

        def breaks(content):
            broken[0] += 1
            return 503 if broken[0] > 12 else answer(content)

        stub.replies = [breaks]
        judge = endpoint(stub, threads=threads, key_variable="JUDGE_KEY")
        with pytest.raises(JudgeError, match=r"found status 503 at the last of 2 attempts.*answers given so far are kept"):
            label(kept(), judges={"calm": judge}, **options)
        known = sum(len(ContentCache(path)) for path in (tmp_path / "answers").iterdir())
        assert known == 12  # every answer that was given
        before = len(stub.requests)
        stub.replies = [answer]
        found = label(kept(), judges={"calm": judge}, **options)
        assert found.labels == exact
        questions = {request["messages"][0]["content"] for request in stub.requests}
        assert found.evidence.questions == len(stub.requests) - before == len(questions) - known
        label(kept(), judges={"calm": judge}, **options)
        assert len(stub.requests) - before == found.evidence.questions
    written = "".join(path.read_text() for path in tmp_path.rglob("*.jsonl"))
    assert "sk-very" not in written


def test_two_judges_can_be_compared_on_the_same_rollouts(tmp_path):
    walk = kept()
    one = label(walk, verifiers={}, judges={"calm": calm}, cache=tmp_path)
    before = walk.made
    two = label(walk, verifiers={}, judges={"calm": lambda p, t: 1 - calm(p, t)}, cache=tmp_path)
    assert walk.made == before
    assert agreement(one.labels, one.labels, objective="calm").share == 1
    assert agreement(one.labels, two.labels, objective="calm").share < 0.5


def test_a_world_with_the_tiny_policy(tmp_path):
    world, policy = pk.world("math"), random_policy()
    prompts = world.prompts[:2]
    made = label_steps(
        policy,
        prompts,
        responses=["4 plus 3 is 7. You can do it.", "Take your time."],
        split="sentence",
        verifiers={"accuracy": math_solved},
        judges={"engagement": WorldJudge(world="math", objective="engagement", noise=0.1)},
        prefix_judges={"cheer": WorldJudge(world="math", objective="engagement")},
        rollouts=4,
        max_new_tokens=4,
        progress=False,
        cache=tmp_path,
    )
    assert made.labels.objectives == ("accuracy", "engagement", "cheer")
    assert made.labels.kinds == {"accuracy": "value", "engagement": "class", "cheer": "class"}
    assert made.labels.labels[1]["cheer"] == (0.2,)
    pk.write_step_labels(made.labels, tmp_path / "labels.jsonl")
    assert pk.read_step_labels(tmp_path / "labels.jsonl") == made.labels


# --- evidence and progress -----------------------------------------------------------------------------------------


def test_evidence_adds_up():
    made = label(Walk(), judges={"calm": calm}, responses=[*RESPONSES[:3], ""])
    evidence = made.evidence
    assert (evidence.responses, evidence.empty) == (3, 1)
    assert evidence.prefixes == 3 + 4 + 2
    assert evidence.whole == 3
    assert evidence.rollouts + evidence.saved == 16 * (9 - 3)
    assert evidence.labelled == {"up": 9, "calm": 9}
    for name in ("up", "calm"):
        values = [value for labels in made.labels.labels for value in labels[name]]
        assert evidence.balance[name] == pytest.approx(sum(values) / len(values))
    assert 0.5 <= evidence.agreement["calm"] <= 1
    assert "1 empty responses left out" in evidence.report()
    assert evidence.truncated == 0


def test_equal_prefixes_are_labelled_once():
    walk = Walk()
    made = label(walk, prompts=["p", "p"], responses=["Start. Up. Down.", "Start. Up."], confidence=None)
    # "Start." is in both, and where one response ends the other goes on: so that is no end
    assert made.evidence.prefixes == 3
    assert walk.made == 2 * 16
    assert made.labels.labels[0]["up"][:2] == made.labels.labels[1]["up"]


def test_rollouts_that_were_cut_off_are_counted():
    made = label(random_policy(), verifiers={"long": lambda p, t: True}, rollouts=4, max_new_tokens=2)
    assert made.evidence.truncated > 0.8 * made.evidence.rollouts


def test_progress_has_a_time_left_and_ends_settled(capsys):
    seen = []
    label(Walk(), responses=None, copies=2, progress=seen.append, batch_size=8)
    assert {one.stage for one in seen} == {"responses", "rollouts"}
    assert seen[-1].settled == seen[-1].prefixes > 0
    assert seen[-1].left == 0
    assert any(one.left for one in seen)
    for stage in ("responses", "rollouts"):
        counts = [one.rollouts for one in seen if one.stage == stage]
        assert counts == sorted(counts)
    assert "left" not in capsys.readouterr().err
    label(Walk(), progress=True)
    assert "rollouts" in capsys.readouterr().err


# --- messages ------------------------------------------------------------------------------------------------------


def bad_sampler(result):
    return lambda prompts, begun, *, copies, seed: result(begun, copies)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: label(Walk(), prompts=[], responses=[]), DataError, "label_steps: found no prompts, expected at least one."),
        (
            lambda: label(Walk(), verifiers={}),
            ConfigError,
            "label_steps: found no objective, expected some in verifiers, judges or prefix_judges. Name one.",
        ),
        (
            lambda: label(Walk(), judges={"up": calm}),
            ConfigError,
            "label_steps: found the objective 'up' twice, expected it in one of the mappings. Rename one.",
        ),
        (
            lambda: label(Walk(), step_scores={"calm": calm}),
            ConfigError,
            "label_steps: step_scores: found 'calm', expected objectives that verifiers names. Leave the others out.",
        ),
        (
            lambda: label(Walk(), responses=["a"]),
            DataError,
            "label_steps: responses: found 1 texts for 4 prompts, expected a list of one for each.",
        ),
        (
            lambda: label(Walk(), copies=2),
            ConfigError,
            "label_steps: copies is 2, but the responses are given; leave it out, or repeat prompts.",
        ),
        (lambda: label(Walk(), responses=None, copies=0), ConfigError, "label_steps: copies is 0; expected at least 1."),
        (lambda: label(Walk(), batch_size=0), ConfigError, "label_steps: batch_size is 0; expected at least 1."),
        (
            lambda: label(Walk(), gamma=1.5),
            ConfigError,
            "gamma: found 1.5, expected a number above 0, at most 1 (no discount).",
        ),
        (
            lambda: label(Walk(), temperature=1.0),
            ConfigError,
            "label_steps: found temperature for a sampler that is a function, expected none: they are for policies. Leave them "
            "out.",
        ),
        (
            lambda: label(Walk(), cache="x"),
            ConfigError,
            "label_steps: cache: found a sampler without a cache_key, whose rollouts cannot be kept. Give it one.",
        ),
        (
            lambda: label(random_policy(), max_new_tokens=0),
            ConfigError,
            "label_steps: max_new_tokens is 0; expected at least 1.",
        ),
        (
            lambda: label(random_policy(), max_new_tokens=250),
            DataError,
            "response 0, step 0: label_steps: prompt 0 and what is begun have 8 tokens; with max_new_tokens=250 that exceeds",
        ),
        (
            lambda: label(Walk(), verifiers={"up": lambda p, t: 2}),
            DataError,
            "verifier 'up': found the answer 2 to the text 'Start. Up. Down.', expected a bool or a number in [0, 1]. Correct "
            "the function.",
        ),
        (
            lambda: label(Walk(), prefix_judges={"x": lambda p, t: "YES"}),
            DataError,
            "prefix judge 'x': found the answer 'YES' to the text 'Start.'",
        ),
        (
            lambda: label(bad_sampler(lambda begun, copies: [[Rollout("x")] for _ in begun])),
            DataError,
            "sampler: found 6 lists of 1 rollouts, expected 6 lists of 4. Return a list for each prompt, with a rollout",
        ),
        (
            lambda: label(bad_sampler(lambda begun, copies: [[Rollout("x") for _ in copies] for _ in begun])),
            DataError,
            "sampler: found the text 'x', expected one that begins with 'Start.'. Return the whole response",
        ),
    ],
)
def test_messages(call, kind, message):
    with pytest.raises(kind) as error:
        call()
    assert str(error.value).startswith(message)


def test_nothing_is_sampled_before_the_arguments_are_checked():
    walk = Walk()
    for options in ({"gamma": 0.0}, {"rollouts": 0}, {"width": 2.0}, {"split": "sentences"}):
        with pytest.raises(ConfigError):
            label(walk, responses=None, **options)
    assert walk.calls == []


def test_policy_sampler_is_a_sampler():
    policy = random_policy()
    sampler = PolicySampler(policy=policy, max_new_tokens=3)
    found = sampler(["a", "b"], ["x", ""], copies=range(2, 5), seed=3)
    made = pk.generate(policy, ["a", "b"], begun=["x", ""], copies=5, max_new_tokens=3, seed=3)
    assert found == [[Rollout(one.text, one.ended) for one in made if one.prompt_index == i and one.copy > 1] for i in (0, 1)]
    sampler.check([Start("a", "x")])


def test_keys_depend_on_content_alone():
    assert content_key({"a": 1, "b": [2]}) == content_key({"b": [2], "a": 1})
    assert content_key("a", 1) != content_key("a", "1")
    assert os.environ.get("PYTHONHASHSEED") is None or content_key("a") == content_key("a")
