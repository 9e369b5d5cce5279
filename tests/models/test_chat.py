"""A policy owns the format of its chats: options, date and ends, saved, exported and brought back."""

import json

import pytest
import torch
from support.templates import DATED, NO_PREFIX, SWITCH, conversation
from transformers import AutoModelForCausalLM, AutoTokenizer

from paretokit.decoding.sample import generate
from paretokit.errors import ConfigError, DataError, ModelError
from paretokit.models.load import load_policy, load_reward_model
from paretokit.models.quiet import quiet
from paretokit.models.rewards import new_reward_model
from paretokit.models.soups import Soup
from paretokit.models.tiny import random_policy
from paretokit.texts import decode, encode_prompt, encode_response, end_tokens

QUESTION = conversation("Name a tree.")
ANSWER = "Ash."


@pytest.fixture
def folder(tmp_path):
    """Write a plain transformers folder with a chat template, and return it."""

    def make(template, *, eos=None):
        place = tmp_path / f"base-{len(list(tmp_path.iterdir()))}"
        policy = random_policy(adapter="none")
        policy.export(place)
        tokenizer = AutoTokenizer.from_pretrained(place)
        tokenizer.chat_template = template
        tokenizer.save_pretrained(place)
        if eos is not None:
            path = place / "generation_config.json"
            path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "eos_token_id": eos}), encoding="utf-8")
        return place

    return make


def on(monkeypatch, day):
    monkeypatch.setattr("paretokit.models.build.today", lambda: day)


def text(policy):
    return policy.tokenizer.decode(encode_prompt(policy.chat, QUESTION))


def test_options_are_read_everywhere_and_come_back(folder, tmp_path):
    base = folder(SWITCH)
    off, thinking = load_policy(base), load_policy(base, chat_options={"enable_thinking": True})
    assert off.chat.variables == {"enable_thinking": False}
    assert text(off).endswith("<think></think>")
    assert text(thinking) == text(off)  # the lead-in is the same block, here
    off.save(tmp_path / "off")
    thinking.save(tmp_path / "on")
    assert load_policy(tmp_path / "off").chat.to_json() == off.chat.to_json()
    assert load_policy(tmp_path / "on").chat.variables == {"enable_thinking": True}
    changed = load_policy(tmp_path / "on", chat_options={"enable_thinking": False})
    assert changed.chat.template == off.chat.template
    assert thinking.fork().chat is thinking.chat
    with pytest.raises(ConfigError, match="Did you mean 'enable_thinking'"):
        load_policy(base, chat_options={"enable_thinkng": True})
    with pytest.raises(ConfigError, match="chat_options: found 'x'"):
        load_policy(tmp_path / "on", chat_options={"x": True})


def test_the_sequences_that_are_scored_are_those_of_the_conversation(folder):
    policy = load_policy(folder(SWITCH))
    messages = [*QUESTION, {"role": "assistant", "content": ANSWER}]
    whole = policy.tokenizer.apply_chat_template(messages, enable_thinking=False, return_dict=False)
    prompt, response = encode_prompt(policy.chat, QUESTION), encode_response(policy.chat, ANSWER, chat=True)
    assert list(prompt + response) == whole[: len(prompt + response)]
    assert torch.equal(policy.sequence_logps([QUESTION], [ANSWER]), policy.ids_logps([prompt], [response]))
    assert torch.equal(policy.reference_logps([QUESTION], [ANSWER]), policy.ids_logps([prompt], [response], reference=True))
    (made,) = generate(policy, [QUESTION], max_new_tokens=6)
    assert made.sum_logp == pytest.approx(float(policy.ids_logps([prompt], [made.token_ids])), abs=1e-6)


@pytest.mark.parametrize("template", [SWITCH, DATED])
def test_an_exported_folder_renders_the_same_with_plain_transformers(folder, tmp_path, template, monkeypatch):
    on(monkeypatch, "2026-03-05")
    options = {"enable_thinking": True} if template == SWITCH else None
    policy = load_policy(folder(template), chat_options=options)
    policy.export(tmp_path / "plain")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "plain")
    expected = encode_prompt(policy.chat, QUESTION)
    assert tuple(tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_dict=False)) == expected
    on(monkeypatch, "2027-01-01")
    again = load_policy(tmp_path / "plain")
    assert encode_prompt(again.chat, QUESTION) == expected
    with quiet():
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    with torch.no_grad():
        logits = plain(torch.tensor([expected])).logits
    assert torch.allclose(logits, policy.merged()(torch.tensor([expected])).logits, atol=1e-5)
    assert policy.tokenizer.chat_template == template  # the export left it alone


def test_the_date_is_that_of_the_day_of_loading_and_stays(folder, tmp_path, monkeypatch):
    base = folder(DATED)
    on(monkeypatch, "2026-03-05")
    policy = load_policy(base)
    before = encode_prompt(policy.chat, QUESTION)
    assert "Today: 05 Mar 2026" in text(policy)
    policy.save(tmp_path / "saved")
    new_reward_model(policy, kinds={"right": "class"}).save(tmp_path / "judge")
    on(monkeypatch, "2026-03-06")
    assert "Today: 06 Mar 2026" in text(load_policy(base))
    assert "Today: 01 Jan 2020" in text(load_policy(base, date="2020-01-01"))
    back = load_policy(tmp_path / "saved")
    assert encode_prompt(back.chat, QUESTION) == before
    assert torch.equal(back.sequence_logps([QUESTION], [ANSWER]), policy.sequence_logps([QUESTION], [ANSWER]))
    judge = load_reward_model(tmp_path / "judge")
    assert encode_prompt(judge.chat, QUESTION) == before
    assert "Today: 01 Jan 2020" in text(load_policy(tmp_path / "saved", date="2020-01-01"))


def test_a_policy_saved_before_there_were_formats_is_read(folder, tmp_path, monkeypatch):
    on(monkeypatch, "2026-03-05")
    load_policy(folder(DATED)).save(tmp_path / "saved")
    path = tmp_path / "saved" / "policy.json"
    content = json.loads(path.read_text("utf-8"))
    assert content.pop("chat") == {"options": {}, "date": "2026-03-05", "by_clock": True, "thoughts": False}
    path.write_text(json.dumps(content), encoding="utf-8")
    on(monkeypatch, "2026-03-06")
    assert "Today: 06 Mar 2026" in text(load_policy(tmp_path / "saved"))


def test_options_that_no_longer_fit_the_base_are_an_error(folder, tmp_path):
    load_policy(folder(SWITCH)).save(tmp_path / "saved")
    path = tmp_path / "saved" / "policy.json"
    content = json.loads(path.read_text("utf-8"))
    for chat in ({**content["chat"], "options": {"gone": 1}}, {"options": {}, "date": None}):
        path.write_text(json.dumps({**content, "chat": chat}), encoding="utf-8")
        with pytest.raises(ModelError, match="its chat options do not fit the chat template of its base"):
            load_policy(tmp_path / "saved")


def test_generation_stops_at_every_end_that_the_model_names(folder):
    base = folder(SWITCH, eos=[7, 9])
    policy = load_policy(base)
    assert {7, 9, policy.tokenizer.eos_token_id} <= end_tokens(policy.chat)
    assert end_tokens(policy.chat) == policy.chat.ends | end_tokens(policy.tokenizer)
    made = generate(policy, ["Name a tree."], copies=40, max_new_tokens=60, temperature=3.0)
    last = {one.token_ids[-1] for one in made if one.ended}
    assert {7, 9} <= last <= end_tokens(policy.chat)
    assert not any({7, 9} & set(one.token_ids[:-1]) for one in made)
    for one in made:
        assert one.text == decode(policy.chat, one.token_ids)
        assert one.text == decode(policy.chat, [token for token in one.token_ids if token not in (7, 9)])
    assert load_policy(folder(SWITCH, eos=7)).chat.ends == {7}


def test_a_template_without_exact_sequences_still_serves_raw_text(folder):
    policy = load_policy(folder(NO_PREFIX))
    assert generate(policy, ["Name a tree."], max_new_tokens=3)
    with pytest.raises(ModelError, match="a prompt is no beginning of the conversation that it belongs to"):
        policy.sequence_logps([QUESTION], [ANSWER])
    with pytest.raises(ModelError, match="a prompt is no beginning of the conversation that it belongs to"):
        generate(policy, [QUESTION], max_new_tokens=3)


def test_policies_on_other_dates_are_not_mixed(folder):
    base = folder(DATED)
    policies = {name: load_policy(base, date=f"2026-03-0{index}") for index, name in enumerate(("kind", "short"), start=1)}
    with pytest.raises(ConfigError, match="chat templates have other options or dates"):
        Soup(policies)
    same = {name: load_policy(base, date="2026-03-01") for name in ("kind", "short")}
    assert Soup(same).chat is same["kind"].chat


def test_an_answer_that_would_be_changed_is_named(folder):
    policy = load_policy(folder(SWITCH.replace("{{ m.content", "{{ m.content.split('</think>')[-1]")))
    with pytest.raises(DataError, match="a thought, for example, is taken out or moved"):
        policy.sequence_logps([QUESTION], ["<think>Oak?</think>Ash."])
