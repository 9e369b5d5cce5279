"""The study of guided decoding: every method is there with every seed, and the figures are those of the answers."""

from types import SimpleNamespace

import pytest

from paretokit.decoding.dialogues import converse
from paretokit.experiments import guided_study
from paretokit.experiments.guided_study import DIALOGUE, Size, study, summary
from paretokit.experiments.presets import preset
from paretokit.experiments.studies import over_seeds, print_table, study_arguments
from paretokit.preferences.worlds import world
from paretokit.preferences.worlds.build import ask
from paretokit.training.config import RewardConfig

SMALL = Size(labelled=3, rollouts=2, judged=2, prompts=2, candidates=2, max_steps=2, max_step_tokens=6, max_turns=2)


@pytest.fixture(scope="module", params=["safety", "math", "tutoring"])
def studied(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARETOKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        frame = study(
            request.param,
            seeds=(0, 1),
            config=preset("tiny").replace(steps=1),
            reward_config=RewardConfig(steps=2, heldout=0.0),
            size=SMALL,
            watch=lambda text: None,
        )
    return request.param, frame


def test_every_method_answers_every_prompt_at_every_seed(studied):
    name, frame = studied
    objectives = list(world(name).scorers)
    methods = [kind + more for kind in ("base", "heads") for more in ("", *(f" + {one}" for one in objectives), " + all")]
    assert sorted(frame["method"].unique()) == sorted(methods)
    dialogues = frame[DIALOGUE[0]].notna() if world(name).partner else frame["seed"] < 0
    for rows in (frame[~dialogues], *([frame[dialogues]] if world(name).partner else [])):
        assert (rows.groupby(["method", "seed"]).size() == SMALL.prompts).all()
        assert rows["method"].nunique() == len(methods)


def test_scores_are_those_of_the_world(studied):
    name, frame = studied
    task = world(name)
    frame = frame[frame["text"].notna()]
    for prompt_index, text, value in zip(frame["prompt_index"], frame["text"], frame[next(iter(task.scorers))], strict=True):
        assert value == next(iter(task.scorers.values()))(task.prompts[prompt_index], text)


def test_the_summary_averages_prompts_then_seeds(studied):
    name, frame = studied
    objective = next(iter(world(name).scorers))
    table = summary(frame, name).set_index(["method", "figure"])
    found = table.loc[("base + all", objective)]
    own = frame[frame["method"] == "base + all"].groupby("seed")[objective].mean()
    assert found["mean"] == pytest.approx(own.mean())
    assert found["low"] <= found["mean"] <= found["high"]
    assert found["seeds"] == 2


def test_labels_come_from_rollouts_judges_or_pairs(monkeypatch, tmp_path):
    monkeypatch.setenv("PARETOKIT_CACHE", str(tmp_path))
    assert guided_study._labels(world("safety"), size=SMALL) is world("safety").preferences
    labels = guided_study._labels(world("math"), size=SMALL)
    assert labels.kinds == {"accuracy": "value", "engagement": "class"}
    judged = guided_study._labels(world("tutoring"), size=SMALL)
    assert judged.kinds == {"accuracy": "class", "engagement": "class"}
    assert len(judged) == SMALL.labelled * SMALL.judged
    assert {len(steps) for steps in judged.steps} == {1}


def test_a_dialogue_is_scored_by_what_was_understood_in_it():
    opening = ask("Help: 4 plus 3 is not 8. 9 minus 2 is not 5.")
    said = ["What is 4 plus 3? How did you do 9 minus 2?", "9 minus 2 is 7. You can do it."]
    (dialogue,) = converse(
        lambda prompts, turn: [SimpleNamespace(prompt=prompts[0], text=said[turn - 1])],
        [opening],
        partner=world("tutoring").partner,
    )
    frame = guided_study._of_dialogues([dialogue])
    assert frame.loc[0].tolist() == pytest.approx([0, 0.5, (0.4 + 0.2) / 2])  # the second sum was told


def test_the_table_is_printed_by_figure(capsys):
    print_table(over_seeds({("sft", "score"): [0.25, 0.25], ("mah-dpo", "score"): [0.5, 0.5]}))
    assert capsys.readouterr().out == "score\n  sft     0.250 [0.250 0.250]\n  mah-dpo 0.500 [0.500 0.500]\n"


def test_the_arguments_of_a_study():
    options = study_arguments("text", steps=7).parse_args(["--world", "math", "--seeds", "2"])
    assert (options.world, options.seeds, options.steps, options.out) == ("math", 2, 7, None)
