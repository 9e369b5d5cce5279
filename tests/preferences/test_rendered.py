"""Texts that were rendered before: counted with what is spelled in them, and told with a remedy."""

import pytest
import torch
from support.toy_tokenizers import ids, toy_tokenizer

from paretokit.preferences.records import Preferences
from paretokit.preferences.rendered import count_rendered
from paretokit.texts import encode_prompt

RENDERED = "<|im_start|>user\nName a tree.<|im_end|>\n<|im_start|>assistant\n"
CHAT = [{"role": "user", "content": "Is <start_of_turn> a word?"}]


def pairs(prompts, a, b):
    labels = torch.ones(1, len(prompts))
    return Preferences(objectives=["kind"], prompts=prompts, responses_a=a, responses_b=b, labels=labels)


def test_prompts_and_responses_are_counted_apart():
    found = count_rendered([RENDERED, "Hi", CHAT], ["Ash.<|im_end|>", "x", "y"], ["Oak.", "<|eot_id|>", "[/INST] z"])
    assert (found.prompts, found.responses) == (2, 3)
    assert found.tokens[:2] == ("<|im_start|>", "<|im_end|>")
    assert set(found.tokens) == {"<|im_start|>", "<|im_end|>", "<start_of_turn>", "<|eot_id|>", "[/INST]"}


@pytest.mark.parametrize(
    "text",
    ["a < b and |c| > d", "<b>bold</b> [INSTALL]", "x<y>z", "<s>struck</s>", "if a <| b |> c", "I <3 you"],
)
def test_ordinary_text_is_not_taken_for_it(text):
    assert count_rendered([text], [text], [text]).tokens == ()


def test_the_tokenizer_knows_special_tokens_of_its_own():
    tokenizer = toy_tokenizer("plain")
    assert count_rendered(["<s>Hi"], ["a</s>"], ["b"], tokenizer=tokenizer)[:2] == (1, 1)
    assert count_rendered(["<s>Hi"], ["a</s>"], ["b"]).tokens == ()


def test_the_report_warns_and_says_what_happens():
    tokenizer = toy_tokenizer("chatml")
    report = pairs([RENDERED, "Hi"], ["Ash.<|im_end|>", "x"], ["Oak.", "y"]).report(tokenizer)
    assert report.rendered == (1, 1, ("<|im_start|>", "<|im_end|>"))
    assert report.rendered.warning in str(report)
    assert report.rendered.warning == (
        "warning: 1 prompts and 1 responses spell special tokens (<|im_start|>, <|im_end|>), as texts do that were rendered "
        "with a chat template before. They are read as plain text, not as special tokens. Pass chat messages, and responses "
        "without them."
    )
    assert report.to_json()["rendered"] == {"prompts": 1, "responses": 1, "tokens": ("<|im_start|>", "<|im_end|>")}
    special = set(ids("chatml", "<|im_start|>", "<|im_end|>"))
    assert not special & set(encode_prompt(tokenizer, RENDERED))  # what the warning says is true


def test_nothing_is_said_where_there_is_nothing():
    report = pairs(["Hi"], ["x"], ["y"]).report()
    assert report.rendered == (0, 0, ())
    assert "special tokens" not in str(report)
