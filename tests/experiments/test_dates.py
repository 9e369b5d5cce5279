"""A run on a template that prints the date: found on another day, resumed with its own date, and told apart where asked."""

import contextlib
import json

import pytest
import torch
from support.templates import DATED, SWITCH
from transformers import AutoTokenizer

import paretokit as pk
from paretokit.errors import ConfigError
from paretokit.experiments.compare import front_of
from paretokit.experiments.evaluation import plan
from paretokit.experiments.spec import RunSpec, example_spec
from paretokit.experiments.store import Store
from paretokit.experiments.sweep import _date as sweep_date
from paretokit.experiments.sweep import sweep
from paretokit.experiments.train import run_steps, start_key, train
from paretokit.experiments.worker import jobs
from paretokit.models.load import load_policy
from paretokit.models.tiny import random_policy
from paretokit.preferences.records import Preferences, native_records
from paretokit.texts import encode_prompt
from paretokit.training.config import TrainConfig

QUESTION = [{"role": "user", "content": "Name a tree."}]
CONFIG = TrainConfig(steps=3, pairs_per_step=4, learning_rate=1e-2, max_length=160)
SETTINGS = {"method": "raco", "weights": (0.4, 0.6), "config": CONFIG}


def chats(count=16):
    signs = [[1.0 if index % 3 else -1.0 for index in range(count)], [1.0 if index % 2 else -1.0 for index in range(count)]]
    return Preferences(
        objectives=["kind", "short"],
        prompts=[[{"role": "user", "content": f"Name tree {index}."}] for index in range(count)],
        responses_a=[f"Ash {index}" for index in range(count)],
        responses_b=[f"An oak, {index}" for index in range(count)],
        labels=torch.tensor(signs),
    )


@pytest.fixture
def base(tmp_path):
    def make(template):
        random_policy(adapter="none").export(tmp_path / "base")
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
        tokenizer.chat_template = template
        tokenizer.save_pretrained(tmp_path / "base")
        return tmp_path / "base"

    return make


def on(monkeypatch, day):
    monkeypatch.setattr("paretokit.models.build.today", lambda: day)
    monkeypatch.setattr("paretokit.experiments.sweep.today", lambda: day)


def run(policy, store, **changes):
    return train(policy, chats(), **{**SETTINGS, **changes}, store=store, heldout=4, progress=False)


def test_a_run_that_is_done_is_found_on_another_day(base, tmp_path, monkeypatch):
    folder = base(DATED)
    on(monkeypatch, "2026-03-05")
    first = run(load_policy(folder), tmp_path / "store")
    assert first.spec.chat == {"options": {}, "date": "2026-03-05", "by_clock": True, "thoughts": False, "lead_in": ""}
    on(monkeypatch, "2026-03-06")
    policy = load_policy(folder)
    again = run(policy, tmp_path / "store")
    assert again.id == first.id
    assert policy.chat.date == "2026-03-05"
    assert again.start is not None
    assert again.start.equals(first.start)
    assert len(Store(tmp_path / "store").ids()) == 1
    asked = run(load_policy(folder, date="2026-03-06"), tmp_path / "store")
    assert asked.id != first.id
    assert asked.spec.chat["date"] == "2026-03-06"
    assert again.load().chat.date == "2026-03-05"
    assert load_policy(str(first.folder / "policy")).chat.date == "2026-03-05"


def test_a_run_goes_on_with_its_own_date(base, tmp_path, monkeypatch):
    folder = base(DATED)
    on(monkeypatch, "2026-03-05")
    straight = run(load_policy(folder), tmp_path / "straight")
    pairs, evaluation = plan(chats(), heldout=4, max_length=CONFIG.max_length)
    events = run_steps(load_policy(folder), pairs, **SETTINGS, evaluation=evaluation, store=Store(tmp_path / "cut"))
    with contextlib.closing(events):
        for event in events:
            if event.record is not None:
                break
    on(monkeypatch, "2026-03-06")
    policy = load_policy(folder)
    resumed = run(policy, tmp_path / "cut")
    assert resumed.id == straight.id
    assert resumed.spec == straight.spec
    assert "05 Mar 2026" in policy.tokenizer.decode(encode_prompt(policy.chat, QUESTION))
    for name, value in straight.policy.trainable_state().items():
        assert torch.equal(policy.trainable_state()[name], value)
    assert resumed.scores.equals(straight.scores)
    assert resumed.start.equals(straight.start)


def test_figures_before_training_are_those_of_the_date(base, monkeypatch):
    folder = base(DATED)
    on(monkeypatch, "2026-03-05")
    first = start_key(load_policy(folder), None)
    assert first.endswith("-2026-03-05")
    on(monkeypatch, "2026-03-06")
    other = start_key(load_policy(folder), None)
    assert other == first.replace("-05", "-06")
    assert "-" not in start_key(random_policy(), None)


def test_a_sweep_has_one_date_and_keeps_it_on_another_day(base, tmp_path, monkeypatch):
    folder, store = str(base(DATED)), Store(tmp_path / "store")
    on(monkeypatch, "2026-03-05")
    assert sweep_date(folder, store) == "2026-03-05"
    run(load_policy(folder), store)
    on(monkeypatch, "2026-03-06")
    date = sweep_date(folder, store)
    assert date == "2026-03-05"
    assert sweep_date("another", store) == "2026-03-06"
    (tmp_path / "pairs.jsonl").write_text("\n".join(json.dumps(one) for one in native_records(chats())), encoding="utf-8")
    setup = {
        **{"policy": folder, "adapter": "lora", "head_rank": 16, "methods": ["linear"], "objectives": ["kind", "short"]},
        "chat_options": None,
        **{"preferences": str(tmp_path / "pairs.jsonl"), "source": chats().source, "heldout": 4, "date": date},
        **{"config": CONFIG.replace(threads=1).to_json(), "store": str(store.path)},
    }
    work = [{"job": 0, "start": True}, {"job": 1, "method": "linear", "weights": [0.5, 0.5], "seed": 0}]
    assert [event["kind"] for event in jobs(setup, iter(work))][-1] == "run"
    assert [one.spec.chat["date"] for one in store.runs()] == ["2026-03-05"] * 2
    assert front_of(store.runs()).start is not None  # they started alike, and are compared


def test_options_are_part_of_the_run(base, tmp_path):
    folder = base(SWITCH)
    runs = [run(load_policy(folder, chat_options={"enable_thinking": on}), tmp_path / "store") for on in (False, True)]
    assert len({one.id for one in runs}) == 2
    assert len({one.spec.start for one in runs}) == 2
    assert runs[0].spec.chat["options"] == {"enable_thinking": False}


def test_runs_of_plain_templates_keep_their_names():
    spec = example_spec()
    assert spec.chat is None
    written = spec.to_json()
    old = {key: value for key, value in written.items() if key != "chat"}
    assert RunSpec.from_json(old).id == spec.id
    chat = {"options": {}, "date": "2026-03-05", "by_clock": True, "thoughts": False, "lead_in": ""}
    dated = spec.replace(chat=chat, start="2222-2026-03-05")
    other = dated.replace(chat={**dated.chat, "date": "2026-03-06"}, start="2222-2026-03-06")
    assert dated.id == other.id != spec.id
    asked = dated.replace(chat={**dated.chat, "by_clock": False})
    assert len({asked.id, other.replace(chat={**other.chat, "by_clock": False}).id, dated.id}) == 3


def test_a_run_written_before_is_read(tmp_path):
    kept = train(random_policy(seed=0), chats(), **SETTINGS, store=tmp_path, heldout=4, progress=False)
    path = kept.folder / "spec.json"
    content = json.loads(path.read_text("utf-8"))
    assert content.pop("chat") is None
    path.write_text(json.dumps(content), encoding="utf-8")
    again = train(random_policy(seed=0), chats(), **SETTINGS, store=tmp_path, heldout=4, progress=False)
    assert again.id == kept.id
    assert pk.Store(tmp_path).runs()[0].spec.chat is None


def test_a_sweep_sets_options_of_the_template(base, tmp_path):
    folder, store = str(base(SWITCH)), Store(tmp_path / "store")
    made = sweep(
        folder,
        chats(),
        methods=["linear"],
        weights=[[0.5, 0.5]],
        config=CONFIG,
        store=store,
        heldout=4,
        workers=1,
        chat_options={"enable_thinking": True},
    )
    assert len(made.points) == 1
    assert [one.spec.chat["options"] for one in store.runs()] == [{"enable_thinking": True}]


def test_a_sweep_of_a_policy_in_memory_takes_no_options(base):
    with pytest.raises(ConfigError, match="sweep: found chat_options for a policy in memory, which has its own"):
        sweep(load_policy(base(SWITCH)), chats(), weights=[[0.5, 0.5]], chat_options={"enable_thinking": True})
