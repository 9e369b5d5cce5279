"""The shell with a head per objective: train, decode and export at any weighting, sweep beside plain methods."""

import json

import pytest
import torch
from support.shell import caught, folder_with_a_run
from transformers import AutoModelForCausalLM

import paretokit as pk

TRAIN = ["train", "--preferences", "pairs.jsonl", "--method", "mah-dpo", "--weights", "0.5,0.5", "--steps", "2"]
TRAIN += ["--pairs-per-step", "2", "--heldout", "8"]
DECODE = ["decode", "--prompt", "How do I fix my car?", "--max-new-tokens", "6", "--json"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with pairs and one run with heads, made by the command."""
    return folder_with_a_run(tmp_path_factory.mktemp("heads"), *TRAIN, "--learning-rate", "0.01", "--head-rank", "4")


@pytest.fixture
def shell(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    return caught(capsys)


def run_of(folder):
    return pk.Store(folder / "runs").run(next(iter(pk.Store(folder / "runs").ids())))


def test_a_run_with_heads_comes_back_from_the_store(trained, monkeypatch):
    monkeypatch.chdir(trained)
    policy = run_of(trained).load()
    assert policy.heads == ("helpfulness", "harmlessness")
    assert policy.trainable["heads.helpfulness.A"].shape[1] == 4
    assert not policy.at_base()


def test_decode_takes_the_weights_of_the_run_or_others(shell):
    def decode(*more):
        status, out, err = shell(*DECODE, "--run", "mah-dpo", *more)
        assert status == 0, err
        return json.loads(out)

    assert decode() == decode("--weights", "0.5,0.5")
    status, _, err = shell(*DECODE, "--run", "mah-dpo", "--weights", "0.5,0.6")
    assert (status, "found the sum 1.1, expected 1" in err) == (1, True)
    status, _, err = shell(*DECODE, "--policy", "tiny", "--weights", "0.5,0.5")
    assert (status, "no heads to weigh" in err) == (1, True)


def test_export_folds_the_heads(shell, trained):
    status, out, err = shell("export", "--run", "mah-dpo", "--weights", "helpfulness=0.25,harmlessness=0.75", "served")
    assert (status, "written: served" in out) == (0, True), err
    loaded = AutoModelForCausalLM.from_pretrained(trained / "served")
    expected = run_of(trained).load().merged([0.25, 0.75])
    ids = torch.tensor([[5, 9, 13]])
    with torch.no_grad():
        torch.testing.assert_close(loaded(input_ids=ids).logits, expected(input_ids=ids).logits, rtol=0, atol=1e-5)
    assert not torch.equal(loaded.lm_head.weight, loaded.get_input_embeddings().weight)
    status, _, err = shell("export", "--run", "mah-dpo", "served")
    assert (status, "exists and is not empty" in err) == (1, True)


def test_a_sweep_mixes_methods_with_and_without_heads(shell):
    words = ["sweep", "--preferences", "pairs.jsonl", "--methods", "raco,mah-raco", "--weights", "0.3,0.7", "--steps", "1"]
    status, out, err = shell(*words, "--pairs-per-step", "4", "--heldout", "8", "--workers", "1", "--json")
    assert status == 0, err
    assert [point["method"] for point in json.loads(out)["points"]] == ["raco", "mah-raco"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--head-rank", "-1"], "head_rank: found -1, expected a whole number >= 1"),
        (["--head-betas", "kind=0.3"], "head_betas: found 'kind', expected some of the policy's heads"),
        (["--head-betas", "helpfulness=-1"], "head_betas: found {'helpfulness': -1.0}, expected numbers > 0"),
    ],
)
def test_bad_options_of_heads_are_one_line(shell, words, message):
    status, _, err = shell(*TRAIN, *words)
    assert status == 1
    assert message in err


def test_doctor_knows_what_heads_need(shell):
    status, out, err = shell("doctor", "--policy", "tiny", "--preferences", "pairs.jsonl", "--method", "mah-dpo", "--json")
    assert status == 0, err
    memory = json.loads(out)["training"]["memory"]
    assert memory["gradients"] > 0
