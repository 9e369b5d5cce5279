"""The study of word problems, whole and small: every method answers, nothing is made twice, nothing leaks over the split."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest

from paretokit.errors import ConfigError, DataError, StoreError
from paretokit.experiments import answering, problem_study, rollouts
from paretokit.experiments.answering import Decoding
from paretokit.experiments.gsm8k_study import main
from paretokit.experiments.problem_study import PLAN, Study, concise, study
from paretokit.experiments.problems import Problem
from paretokit.preferences.read_steps import read_step_labels
from paretokit.preferences.steps import by_delimiter
from paretokit.training.config import RewardConfig

PROBLEMS = [
    Problem(number, f"Tom has {number} maps and finds 3 more. How many has he?", str(number + 3)) for number in range(6)
]
SMALL = PLAN._replace(
    policy="tiny",
    evaluated=1 / 3,
    steps=by_delimiter(delimiter=" "),  # lines are not what tiny writes
    rollouts=2,
    every=1,
    decoding=Decoding(candidates=2, max_steps=4, max_step_tokens=3, max_new_tokens=6, temperature=1.5, batch_size=1),
    reward=RewardConfig(steps=2, examples_per_step=2, heldout=0.5),
)
GUIDED = ["guided + accuracy", "guided + concise", "guided + all"]
CHOSEN = ["majority", "best + accuracy", "best + concise", "best + all", "any (oracle)"]


def even(prompt, text):
    """A planted verifier: right is what has an even number of characters."""
    return len(text) % 2 == 0


def studied(folder, **options) -> Study:
    return study(PROBLEMS, **{"verifier": even, "folder": folder, "plan": SMALL, "watch": lambda text: None, **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, studied(folder, seeds=(0, 1))


def test_every_method_answers_every_problem_at_every_seed(whole):
    _, made = whole
    assert list(made.answers["method"].unique()) == ["plain", *GUIDED, *CHOSEN]
    for _, rows in made.answers.groupby(["method", "seed"]):
        assert sorted(rows["prompt_index"]) == made.facts["evaluation"]
    assert len(made.samples) == 2 * 2 * SMALL.decoding.candidates


def test_scores_are_those_of_verifier_and_rule(whole):
    _, made = whole
    for frame in (made.answers, made.samples):
        assert list(frame["accuracy"]) == [float(even("", text)) for text in frame["text"]]
        assert list(frame["concise"]) == [float(concise("", text)) for text in frame["text"]]
        assert list(frame["stated"]) == [float("####" in text) for text in frame["text"]]
        assert list(frame["capped"]) == [float(not ended) for ended in frame["ended"]]
    assert 0 < made.samples["accuracy"].mean() < 1


def test_choices_are_among_the_samples_and_the_first_is_the_plain_one(whole):
    _, made = whole
    one = ["seed", "prompt_index"]
    first = made.samples[made.samples["copy"] == 0].set_index(one)["text"]
    plain = made.answers[made.answers["method"] == "plain"].set_index(one)["text"]
    pd.testing.assert_series_equal(first, plain)
    groups = made.samples.groupby(one)
    for method, column in (("best + accuracy", "guide_accuracy"), ("best + concise", "guide_concise")):
        rows = made.answers[made.answers["method"] == method].set_index(one)
        pd.testing.assert_series_equal(rows[column], groups[column].max())
        pd.testing.assert_series_equal(rows["drawn"], groups["tokens"].sum(), check_names=False)
    oracle = made.answers[made.answers["method"] == "any (oracle)"].set_index(one)
    pd.testing.assert_series_equal(oracle["accuracy"], groups["accuracy"].max())


def test_guided_answers_cost_their_dropped_candidates(whole):
    _, made = whole
    guided = made.answers[made.answers["method"].isin(GUIDED)]
    assert (guided["drawn"] > guided["tokens"]).all()
    assert (guided["tokens"] <= SMALL.decoding.max_new_tokens).all()


def test_the_split_is_by_problem(whole):
    folder, made = whole
    training, evaluation = made.facts["training"], made.facts["evaluation"]
    assert sorted([*training, *evaluation]) == list(range(6))
    for seed in (0, 1):
        asked = {prompt[-1]["content"] for prompt in read_step_labels(folder / f"labels-{seed}.jsonl").prompts}
        assert asked <= {PROBLEMS[number].question for number in training}
    assert set(made.answers["prompt_index"]) == set(evaluation)


def test_facts_tell_what_the_figures_rest_on(whole):
    folder, made = whole
    found = made.facts["seeds"]["1"]
    labels = read_step_labels(folder / "labels-1.jsonl")
    assert labels.kinds == {"accuracy": "value", "concise": "class"}
    positive = sum(label > 0 for row in labels.labels for label in row["accuracy"])
    assert found["labels"]["labels_above_zero"]["accuracy"] == positive
    assert found["labels"]["rollouts"] + found["labels"]["saved"] == 2 * (
        found["labels"]["prefixes"] - found["labels"]["whole"]
    )
    parts = [found["reward"][part] for part in ("trained", "fitted", "measured")]
    assert sum(parts) == len(set(labels.prompts))
    assert min(parts) > 0
    assert found["reward"]["objectives"]["accuracy"]["kind"] == "value"
    assert list(made.facts["seconds"]) == ["labels", "reward model", "plain", "samples", *GUIDED]


def test_a_second_call_makes_nothing_and_says_the_same(whole, monkeypatch):
    folder, made = whole

    def refuse(*given, **options):
        raise AssertionError("made again")

    for module, name in ((rollouts, "generate"), (answering, "generate"), (answering, "guided_generate")):
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(problem_study, "train_reward_model", refuse)
    again = studied(folder, seeds=(0, 1))
    pd.testing.assert_frame_equal(again.answers, made.answers)
    pd.testing.assert_frame_equal(again.samples, made.samples)
    assert again.facts["seeds"]["0"]["labels"]["made"] == again.facts["seeds"]["0"]["labels"]["sampled"] == 0
    assert again.facts["seeds"]["0"]["reward"] == made.facts["seeds"]["0"]["reward"]
    assert all(again.facts["seconds"][stage] > seconds for stage, seconds in made.facts["seconds"].items())


class Breaking:
    """A function that counts its calls, and is interrupted at one of them."""

    def __init__(self, function, *, at):
        self.function, self.at, self.calls = function, at, 0

    def __call__(self, *given, **options):
        if self.calls == self.at:
            raise KeyboardInterrupt
        self.calls += 1
        return self.function(*given, **options)


@pytest.mark.parametrize(("module", "name"), [(rollouts, "generate"), (answering, "guided_generate")])
def test_resumed_is_uninterrupted(tmp_path, monkeypatch, module, name):
    counts = []
    for folder, at in (("whole", None), ("parts", 3), ("parts", None)):
        breaking = Breaking(getattr(module, name), at=at)
        with monkeypatch.context() as patch:
            patch.setattr(module, name, breaking)
            if at is None:
                made = studied(tmp_path / folder, plan=SMALL._replace(batch_size=2))
                counts.append((breaking.calls, made.answers))
            else:
                with pytest.raises(KeyboardInterrupt):
                    studied(tmp_path / folder, plan=SMALL._replace(batch_size=2))
    (calls, answers), (rest, resumed) = counts
    assert rest == calls - 3  # nothing was made twice
    pd.testing.assert_frame_equal(resumed, answers)


def test_what_is_told_has_the_time_left(tmp_path):
    told = []
    studied(tmp_path, watch=told.append)
    assert told[0] == "seed 0: labels on 4 problems"
    assert "seed 0: reward model, 2 steps" in told
    assert [line.split(",")[0] for line in told if line.startswith("guided + all")] == [
        "guided + all: 1 of 2 problems",
        "guided + all: 2 of 2 problems",
    ]
    assert told[-1].endswith("about 0 s left")


def test_no_seed_and_no_text(tmp_path, monkeypatch):
    with pytest.raises(ConfigError) as error:
        studied(tmp_path, seeds=())
    assert str(error.value) == "seeds: found none, expected at least one. Name some."
    monkeypatch.setattr(problem_study, "label_steps", lambda *given, **options: SimpleNamespace(labels=None))
    with pytest.raises(DataError) as error:
        studied(tmp_path)
    assert str(error.value).startswith("labels: found 4 answers of tiny")
    assert str(error.value).endswith("and no text in them, expected some. Take another policy or seed.")


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file/out: cannot be written"):
        studied(tmp_path / "file" / "out")


def test_from_the_shell(tmp_path, capsys):
    path = tmp_path / "problems.jsonl"
    lines = [json.dumps({"question": p.question, "answer": f"Add them.\n#### {p.answer}"}) for p in PROBLEMS]
    path.write_text("\n".join(lines), encoding="utf-8")
    arguments = [str(path), "--policy", "tiny", "--tokens", "8", "--reward-steps", "2", "--folder", str(tmp_path / "out")]
    main([*arguments, "--problems", "4", "--heldout", "0"])
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["plan"]["decoding"]["max_new_tokens"] == 8
    assert (report["plan"]["reward"]["steps"], report["plan"]["reward"]["heldout"]) == (2, 0)
    assert report["plan"]["steps"] == {"kind": "delimiter", "delimiter": "\n", "min_tokens": 0}
    assert set(report["versions"]) == {"python", "paretokit", "torch", "transformers", "peft"}
    found = {(row["method"], row["figure"]): row for row in report["figures"]}
    assert found[("plain", "accuracy")]["answers"] == len(report["evaluation"]) == 2
    assert {("guided + all", "accuracy - plain"), ("majority", "drawn"), ("plain", "capped")} <= set(found)
    for name in (*report["kept"], *report["seeds"]["0"]["kept"]):
        assert (tmp_path / name).exists()
    printed = capsys.readouterr().out
    assert "tiny" in printed
    assert "accuracy - plain\n" in printed
    with pytest.raises(SystemExit) as error:
        main([*arguments, "--problems", "7"])
    assert str(error.value) == f"gsm8k_study: {path}: found 6 problems, expected at least 7. Ask for fewer."
