"""`paretokit doctor` with a policy and preferences, and what `paretokit train` says before it starts."""

import json
import re

import pytest
from support.hybrid_cases import hybrid_policy
from support.templates import DATED, NO_PREFIX, SWITCH

import paretokit as pk
from paretokit.cli import main
from paretokit.cli.model_rows import chat_rows, start_row
from paretokit.experiments import memory
from paretokit.models.tiny import random_policy
from paretokit.preferences.records import native_records

GLM_LIKE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + ('\\n<think></think>' if m.role == 'assistant' else '') + m.content }}"
    "{{ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant' }}{% endif %}"
)
PARTS = {"weights", "gradients", "update", "moments", "activations", "chunk", "reading"}


@pytest.fixture
def shell(tmp_path, monkeypatch, capsys):
    data = pk.world("safety").preferences.select(limit=40)
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(one) + "\n" for one in native_records(data)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr("paretokit.cli.doctor.checks", lambda: [("policy tiny", "looked at elsewhere", True)])

    def run(*words):
        status = main(list(words))
        out, err = capsys.readouterr()
        return status, out, err

    return run


TRAIN = ["--preferences", "pairs.jsonl", "--steps", "2", "--pairs-per-step", "4", "--heldout", "8"]


def test_the_text_says_what_is_needed(shell, tmp_path):
    status, out, _ = shell("doctor", "--policy", "tiny", *TRAIN)
    assert status == 0
    assert out.index("looked at elsewhere") < out.index("Training tiny on pairs.jsonl")
    rows = dict(line.strip().split("  ", 1) for line in out.splitlines() if "  " in line.strip())
    said = {name: found.strip() for name, found in rows.items()}
    assert [said[name] for name in ("shared prompts", "logits in chunks", "one backward pass for all objectives")] == [
        "yes"
    ] * 3
    assert said["a step"].startswith("4 pairs in ")
    assert re.fullmatch(r"\d+ of \d+ in the cache", said["reference log-probabilities"])  # other tests fill it too
    assert said["memory, in all"].endswith(" available")
    assert "2 steps of 4 pairs" in said["time"]
    assert len([name for name in said if name.startswith("memory, ")]) == len(PARTS) + 1
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_json_holds_all_of_it(shell):
    status, out, _ = shell("doctor", "--policy", "tiny", *TRAIN, "--json")
    found = json.loads(out)
    assert status == 0
    assert found["policy tiny"]["fine"]
    training = found["training"]
    assert training["config"]["steps"] == 2
    assert training["allows"] == {
        "shared prompts": {"exact": True, "reason": "", "window": None},
        "forked prompts": None,
        "logits in chunks": {"exact": True, "reason": ""},
        "one backward pass": {"exact": True, "reason": ""},
    }
    assert training["step"]["apart"] == 0
    assert training["step"]["report"].startswith("4 pairs in ")
    assert training["reasons"] == []
    assert training["references"]["cached"] <= training["references"]["needed"]
    assert set(training["memory"]) >= {*PARTS, "total", "available", "fits", "suggestion"}
    assert training["memory"]["fits"]
    assert set(training["seconds"]) == {"training", "references", "figures", "total"}


def test_a_policy_alone_is_looked_at(shell, tmp_path):
    base = random_policy(adapter="none")
    base.tokenizer.chat_template = GLM_LIKE
    base.export(tmp_path / "model")
    status, out, _ = shell("doctor", "--policy", "model")
    assert status == 0
    rows = dict(line.strip().split("  ", 1) for line in out.splitlines() if "  " in line.strip())
    said = {name: found.strip() for name, found in rows.items()}
    assert said["chat template"] == "yes"
    assert said["lead-in of an answer"] == "none"  # an exported prompt has it
    assert said["chat options"] == "none"
    assert said["date"] == "not printed by the template"
    assert said["a generation ends at"] == "<|im_end|>"
    assert said["shared prompts"] == "yes"
    found = json.loads(shell("doctor", "--policy", "model", "--json")[1])["policy"]
    facts = {"template": True, "problem": "", "lead_in": "", "options": {}, "thoughts": False, "date": None}
    assert found["chat"] == {**facts, "ends": ["<|im_end|>"]}
    assert found["shared prompts"]["exact"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (GLM_LIKE, {"lead-in of an answer": "'\\n<think></think>'", "chat options": "none"}),
        (SWITCH, {"lead-in of an answer": "none", "chat options": "enable_thinking=False"}),
        (DATED, {"date": "2026-03-05, pinned"}),
        (
            NO_PREFIX,
            {"chat template": "no: tokenizer: no answer can be written with its chat template: a prompt is no beginning"},
        ),
        (None, {"chat template": "none: prompts are raw text"}),
    ],
)
def test_what_is_decided_about_chats_is_said(template, expected, monkeypatch):
    monkeypatch.setattr("paretokit.models.build.today", lambda: "2026-03-05")
    policy = random_policy(adapter="none")
    policy.tokenizer.chat_template = template
    rows = dict(chat_rows(policy))
    for name, found in expected.items():
        assert rows[name].startswith(found)


def test_rendered_texts_are_said(shell, tmp_path):
    records = native_records(pk.world("safety").preferences.select(limit=40))
    lines = [json.dumps({**one, "prompt": "<|im_start|>user\nHi<|im_end|>"}) for one in records[:3]]
    (tmp_path / "pairs.jsonl").write_text("\n".join([*lines, *map(json.dumps, records[3:])]), encoding="utf-8")
    _, out, _ = shell("doctor", "--policy", "tiny", *TRAIN, "--heldout", "0")
    assert "warning: 3 prompts and 0 responses spell special tokens (<|im_start|>, <|im_end|>)" in out
    _, out, _ = shell("doctor", "--policy", "tiny", *TRAIN, "--heldout", "0", "--json")
    assert json.loads(out)["training"]["rendered"]["prompts"] == 3
    assert json.loads(out)["training"]["chat"]["template"]


def test_without_the_options_it_is_as_before(shell):
    status, out, _ = shell("doctor", "--json")
    assert status == 0
    assert json.loads(out) == {"policy tiny": {"found": "looked at elsewhere", "fine": True}}


def test_the_cache_of_references_is_seen(shell):
    assert shell("train", *TRAIN, "--weights", "0.5,0.5", "--seed", "3")[0] == 0
    _, out, _ = shell("doctor", "--policy", "tiny", *TRAIN, "--seed", "3", "--json")
    references = json.loads(out)["training"]["references"]
    assert references["cached"] == references["needed"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--preferences", "pairs.jsonl"],
            "--policy: found --preferences alone, expected both. Give both to see what a training needs, --policy alone to "
            "look at a model, or neither to look at the installation.",
        ),
        (["--policy", "tinny", "--preferences", "pairs.jsonl"], "Did you mean 'tiny'?"),
        (["--policy", "tiny", "--preferences", "missing.jsonl"], "missing.jsonl"),
        (["--policy", "tiny", "--preferences", "pairs.jsonl", "--objectives", "helpfulnes"], "Did you mean 'helpfulness'?"),
        (["--policy", "tiny", "--preferences", "pairs.jsonl", "--steps", "0"], "steps: found 0"),
    ],
    ids=" ".join,
)
def test_an_error_is_one_line(shell, words, message):
    status, out, err = shell("doctor", *words)
    assert status == 1
    assert out == ""
    last = err.strip().splitlines()[-1]
    assert last.startswith("paretokit doctor: ")
    assert message in last


def test_a_policy_with_a_window_is_said_to_fork_long_pairs(shell, tmp_path):
    random_policy("gemma3").export(tmp_path / "windowed")
    _, out, _ = shell("doctor", "--policy", "windowed", *TRAIN, "--max-length", "200")
    said = " ".join(out.split())
    assert "yes, up to 16 tokens of prompt and response; longer ones forked: a prompt is read once" in said
    assert "pairs do not share their prompt in one row: longer than the 16 tokens that a layer sees" in said
    _, _, err = shell("train", "--policy", "windowed", *TRAIN, "--max-length", "200", "--weights", "0.5,0.5")
    assert "pairs do not share their prompt in one row: longer than the 16 tokens that a layer sees" in " ".join(err.split())


def test_a_policy_that_carries_a_state_is_said_to_fork_its_prompts(shell, tmp_path):
    hybrid_policy("lfm2", tie_word_embeddings=True).export(tmp_path / "hybrid")
    _, out, _ = shell("doctor", "--policy", "hybrid", "--adapter", "full", *TRAIN, "--max-length", "200")
    said = " ".join(out.split())
    assert "forked: a prompt is read once, and what the model holds then goes to both responses" in said
    assert "(its layers of the kind conv carry what comes before along the row, past any mask)" in said
    _, out, _ = shell("doctor", "--policy", "hybrid", "--adapter", "full", *TRAIN, "--max-length", "200", "--json")
    training = json.loads(out)["training"]
    assert training["allows"]["forked prompts"] == {"exact": True, "reason": ""}
    assert training["allows"]["shared prompts"]["reason"].startswith("its layers of the kind conv carry what comes before")


def test_train_says_how_it_reads_and_what_it_needs(shell):
    status, _, err = shell("train", *TRAIN, "--weights", "0.5,0.5", "--seed", "4")
    assert status == 0
    assert "a step: 4 pairs in " in err
    assert " available" in err
    assert "warning" not in err


def test_train_warns_where_it_will_not_fit_and_goes_on(shell, monkeypatch):
    monkeypatch.setattr(memory, "_free", lambda device: 8 * 2**20)
    status, _, err = shell("train", *TRAIN, "--weights", "0.5,0.5", "--seed", "5")
    assert status == 0
    assert "warning: memory: " in err
    assert "too little, it would fit with " in err


def test_what_a_policy_starts_from_is_said(tmp_path):
    from peft import LoraConfig, get_peft_model

    from paretokit.models.load import load_policy
    from paretokit.models.quiet import quiet

    policy = load_policy("tiny")
    assert start_row(policy) == ("reference", "tiny, also the start")
    next(weight for name, weight in policy.trainable.items() if "lora_B" in name).data.add_(1.0)
    assert start_row(policy)[1] == "tiny, the start is what was trained and saved"
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    load_policy("tiny", adapter="none").export(base)
    plain = load_policy(base, adapter="none").model
    plain.name_or_path = str(base)
    with quiet():
        get_peft_model(plain, LoraConfig(target_modules=["q_proj"], init_lora_weights=False)).save_pretrained(adapter)
    assert start_row(load_policy(adapter)) == (
        "reference",
        f"{adapter}: an adapter of peft, merged with its base {base}, also the start",
    )
