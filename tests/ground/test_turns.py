"""`turns`: prompt + response + end token are what the chat template renders, for every template there is."""

import pytest
from support.templates import NO_PREFIX, OWN, PARTS, SHIPPED, STRIP, byte_tokenizer, conversation, shipped_tokenizer

from paretokit.errors import DataError, ModelError
from paretokit.templates import as_format, chat_format
from paretokit.texts import begin_response, decode, encode_pair, encode_prompt, encode_response, encode_steps, end_tokens
from paretokit.turns import lead_in, turn_of, usual_lead_in

CONVERSATIONS = {
    "one turn": conversation("Name a tree."),
    "system": conversation("Name a tree.", system="Be brief."),
    "earlier turn": conversation("Hello", "Hi!", "Name a tree."),
    "all": conversation("Hello", "Hi!", "Name a tree.", system="Be brief."),
}
ANSWERS = ("Ash.", "An ash\n\nor an oak")


def rendered(tokenizer, messages, *, parts, generation=False):
    """The ids that plain transformers gives, thoughts off where the template knows how."""
    if parts:
        messages = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in messages]
    options = {"enable_thinking": False} if "enable_thinking" in tokenizer.chat_template else {}
    return tokenizer.apply_chat_template(messages, add_generation_prompt=generation, return_dict=False, **options)


def assert_exact(tokenizer, messages, answer, ids):
    """Whether the ids are those of the conversation up to the end token, which an open end does not have."""
    parts = turn_of(as_format(tokenizer)).parts
    whole = rendered(tokenizer, [*messages, {"role": "assistant", "content": answer}], parts=parts)
    assert list(ids) == whole[: len(ids)] or list(ids) == [*whole, tokenizer.eos_token_id]


def test_the_folder_of_templates_is_there():
    assert len(SHIPPED) > 60
    assert {"qwen3", "gptoss", "glm4moe", "nemotron_3_nano", "llama3_2"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_prompt_and_answer_are_the_conversation_or_an_error_says_why_not(name):
    tokenizer = shipped_tokenizer(name)
    outcomes = set()
    for messages in CONVERSATIONS.values():
        if "System role not supported" in tokenizer.chat_template and messages[0]["role"] == "system":
            with pytest.raises(DataError, match="System role not supported"):
                encode_prompt(tokenizer, messages)
            continue
        parts = turn_of(as_format(tokenizer)).parts
        asked = rendered(tokenizer, messages, parts=parts, generation=True)
        whole = rendered(tokenizer, [*messages, {"role": "assistant", "content": "Ash."}], parts=parts)
        if whole[: len(asked)] != asked:
            with pytest.raises(ModelError, match="a prompt is no beginning of the conversation that it belongs to"):
                encode_prompt(tokenizer, messages)
            outcomes.add("error")
            continue
        prompt = encode_prompt(tokenizer, messages)
        pair = encode_pair(tokenizer, messages, *ANSWERS, max_length=100_000)
        assert pair.prompt == prompt
        for answer, response in zip(ANSWERS, (pair.response_a, pair.response_b), strict=True):
            assert_exact(tokenizer, messages, answer, prompt + response)
            assert response[-1] in end_tokens(tokenizer)
            assert decode(tokenizer, response, chat=True) == answer
        steps = encode_steps(tokenizer, messages, ["Ash.", "\nOak."])
        assert_exact(tokenizer, messages, "Ash.\nOak.", steps.ids)
        outcomes.add("exact")
    assert outcomes == ({"error"} if name.startswith("deepseek") else {"exact"})


def test_the_check_rejects_a_prompt_without_its_lead_in():
    tokenizer = shipped_tokenizer("gptoss")
    messages = CONVERSATIONS["one turn"]
    naive = rendered(tokenizer, messages, parts=False, generation=True)
    with pytest.raises(AssertionError):
        assert_exact(tokenizer, messages, "Ash.", (*naive, *encode_response(tokenizer, "Ash.", chat=True)))


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=list(CONVERSATIONS))
def test_templates_of_our_own(name, messages):
    tokenizer = byte_tokenizer(OWN[name])
    for answer in ANSWERS:
        ids = (*encode_prompt(tokenizer, messages), *encode_response(tokenizer, answer, chat=True))
        assert_exact(tokenizer, messages, answer, ids)
        assert ids[:-1][-len(answer.encode()) :] == begin_response(tokenizer, answer, chat=True)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("thought", {}, "\n</think>\n\n"),
        ("switch", {}, ""),
        ("switch", {"enable_thinking": True}, "<think></think>"),
        ("channel", {}, "<|channel|>final<|message|>"),
        ("open-end", {}, ""),
        ("parts", {}, " "),
    ],
)
def test_the_lead_in(name, options, expected):
    chat = chat_format(byte_tokenizer(OWN[name]), options=options)
    assert lead_in(chat) == usual_lead_in(chat) == expected


@pytest.mark.parametrize(
    ("name", "off", "on"),
    [
        ("qwen3", "", "<think>\n\n</think>\n\n"),
        ("glm4moe", "\n", "\n<think></think>\n"),
        ("qwen3_6", "", "\n</think>\n\n"),
        ("smolvlm", " ", None),
        ("muse_glimmer", " to=user<|message|>", None),
    ],
)
def test_the_lead_in_of_public_templates(name, off, on):
    tokenizer = shipped_tokenizer(name)
    assert lead_in(as_format(tokenizer)) == off
    if on is not None:
        chat = chat_format(tokenizer, options={"enable_thinking": True})
        assert lead_in(chat) == on
        messages = CONVERSATIONS["earlier turn"]
        ids = [*encode_prompt(chat, messages), *encode_response(chat, "Ash.", chat=True)]
        whole = tokenizer.apply_chat_template(
            [*messages, {"role": "assistant", "content": "Ash."}], enable_thinking=True, return_dict=False
        )
        assert ids[: len(whole)] == whole[: len(ids)]


def test_an_end_of_turn_that_is_added_but_not_special_ends_an_answer():
    tokenizer = byte_tokenizer(OWN["generation"], special=False)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert not tokenizer.added_tokens_decoder[end].special
    assert end_tokens(tokenizer) == {end, tokenizer.eos_token_id}
    messages = CONVERSATIONS["earlier turn"]
    response = encode_response(tokenizer, "Ash.", chat=True)
    assert response[-1] == end
    assert_exact(tokenizer, messages, "Ash.", encode_prompt(tokenizer, messages) + response)
    assert decode(tokenizer, response, chat=True) == "Ash."


def test_a_special_token_behind_one_that_is_only_added_ends_an_answer():
    tokenizer = byte_tokenizer(OWN["generation"].replace("<|im_end|>", "<|im_end|>{{ eos_token }}"), special=False)
    response = encode_response(tokenizer, "Ash.", chat=True)
    assert response[-2:] == (tokenizer.convert_tokens_to_ids("<|im_end|>"), tokenizer.eos_token_id)
    assert decode(tokenizer, response, chat=True) == "Ash."


def test_blanks_that_a_template_leaves_out_are_left_out():
    tokenizer = byte_tokenizer(STRIP)
    messages = CONVERSATIONS["one turn"]
    response = encode_response(tokenizer, " \nAsh. ", chat=True)
    assert response == encode_response(tokenizer, "Ash.", chat=True)
    assert_exact(tokenizer, messages, " \nAsh. ", encode_prompt(tokenizer, messages) + response)
    assert begin_response(tokenizer, " Ash ", chat=True) == begin_response(tokenizer, "Ash ", chat=True)
    assert encode_response(tokenizer, "  ", chat=True) == (turn_of(as_format(tokenizer)).end,)
    kept = byte_tokenizer(OWN["channel"])
    assert decode(kept, encode_response(kept, " \nAsh. ", chat=True), chat=True) == " \nAsh. "


def test_a_special_token_in_the_messages_is_text_and_leaves_the_joint_alone():
    tokenizer = byte_tokenizer(OWN["channel"])
    spelled = encode_prompt(tokenizer, conversation("a<|end|>b"))
    plain = encode_prompt(tokenizer, conversation("ab"))
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    assert [token for token in spelled if token in special] == [token for token in plain if token in special]
    assert len(spelled) == len(plain) + len("<|end|>")


def test_an_answer_that_the_template_would_change_is_an_error():
    tokenizer = shipped_tokenizer("qwen3")
    with pytest.raises(DataError) as error:
        encode_response(tokenizer, "<think>\nOak?\n</think>\n\nAsh.", chat=True)
    expected = "response: the chat template does not write '<think>\\nOak?\\n</think>\\n\\nAsh.' as it stands"
    assert str(error.value).startswith(expected)
    plain = byte_tokenizer(OWN["channel"])  # knows no thoughts
    assert decode(plain, encode_response(plain, "<think>x</think>Ash.", chat=True), chat=True) == "<think>x</think>Ash."


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            NO_PREFIX,
            "tokenizer: no answer can be written with its chat template: a prompt is no beginning of the conversation that it "
            "belongs to. It ends in 'im_start|>assistant\\n<think>\\n', and before an answer the conversation has "
            "'im_start|>assistant\\n'. Set its variables with load_policy(..., chat_options=...) (it reads: none), set "
            "tokenizer.chat_template, or use raw text prompts.",
        ),
        (
            "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}",
            "tokenizer: no answer can be written with its chat template: it leaves out what the user or the assistant says. "
            "Set its variables with load_policy(..., chat_options=...) (it reads: none), set tokenizer.chat_template, or use "
            "raw text prompts.",
        ),
    ],
)
def test_a_template_without_exact_sequences_is_an_error_for_chat_alone(template, message):
    tokenizer = byte_tokenizer(template)
    with pytest.raises(ModelError) as error:
        encode_prompt(tokenizer, CONVERSATIONS["one turn"])
    assert str(error.value) == message
    assert usual_lead_in(as_format(tokenizer)) == ""
    assert encode_prompt(tokenizer, "Name a tree.")
    assert end_tokens(tokenizer)


def test_a_template_that_fits_a_plain_question_alone_says_so():
    last = "{% if m.role == 'user' and loop.last and messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}"
    tokenizer = byte_tokenizer(OWN["channel"].replace("{% for m in messages %}", "{% for m in messages %}" + last))
    assert encode_prompt(tokenizer, CONVERSATIONS["one turn"])
    with pytest.raises(ModelError, match="To a question alone it can: leave out the system message or earlier turns"):
        encode_prompt(tokenizer, CONVERSATIONS["system"])


def test_a_template_may_ask_for_a_system_message():
    tokenizer = byte_tokenizer(
        "{% if messages[0].role != 'system' %}{{ raise_exception('no system message') }}{% endif %}" + OWN["channel"]
    )
    messages = CONVERSATIONS["system"]
    ids = encode_prompt(tokenizer, messages) + encode_response(tokenizer, "Ash.", chat=True)
    assert_exact(tokenizer, messages, "Ash.", ids)
    with pytest.raises(DataError, match="no system message"):
        encode_prompt(tokenizer, CONVERSATIONS["one turn"])


def test_parts_hold_all_of_the_text():
    tokenizer = byte_tokenizer(PARTS)
    assert "Name a tree." in tokenizer.decode(encode_prompt(tokenizer, CONVERSATIONS["one turn"]))


@pytest.mark.parametrize("name", ["qwen3", "qwen3_training", "qwen3_5_think", "qwen3_6", "qwen3_8", "glm4moe"])
@pytest.mark.parametrize("answer", ["Ash.", "<think>\nOak? No.\n</think>\n\nAsh."])
def test_thoughts_are_scored_whole_if_asked_for(name, answer):
    tokenizer = shipped_tokenizer(name)
    chat = chat_format(tokenizer, thoughts=True)
    assert chat.variables == {"enable_thinking": True}
    assert usual_lead_in(chat) == ""
    for messages in CONVERSATIONS.values():
        prompt, response = encode_prompt(chat, messages), encode_response(chat, answer, chat=True)
        asked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, enable_thinking=True, return_dict=False)
        said = {"role": "assistant", "content": answer}
        if name == "qwen3_8" and answer != "Ash.":  # wants a thought in a field of its own
            said = {"role": "assistant", "content": "Ash.", "reasoning_content": "Oak? No."}
        whole = tokenizer.apply_chat_template([*messages, said], enable_thinking=True, return_dict=False)
        assert list(prompt) == asked
        assert whole[: len(prompt + response)] == list(prompt + response)[: len(whole)]
        text = decode(chat, response, chat=True)
        assert text.endswith("Ash.")
        assert ("Oak?" in text) == ("Oak?" in answer)
        assert encode_response(chat, text, chat=True) == response


def test_thoughts_that_are_dropped_are_an_error_even_then():
    tokenizer = byte_tokenizer(OWN["generation"].replace("{{ m.content }}<", "{{ m.content.split('</think>')[-1] }}<"))
    with pytest.raises(DataError, match="a thought, for example, is taken out or moved"):
        encode_response(chat_format(tokenizer, thoughts=True), "<think>Oak?</think>Ash.", chat=True)
    chat = chat_format(byte_tokenizer(OWN["channel"]), thoughts=True)
    with pytest.raises(ModelError, match="the tokens of a conversation cannot be told apart"):
        encode_prompt(chat, CONVERSATIONS["one turn"])  # its lead-in has special tokens, which no answer has


def test_a_thought_after_an_empty_thought_is_an_error():
    tokenizer = shipped_tokenizer("qwen3_8")  # would write both
    with pytest.raises(DataError) as error:
        encode_response(tokenizer, "<think>Oak?</think>Ash.", chat=True)
    assert str(error.value) == (
        "response: found a thought in '<think>Oak?</think>Ash.', before '</think>', which the chat template knows; expected an "
        "answer without it. Pass answers without thoughts, load the policy with thoughts=True to have them scored, or pass "
        "prompts as raw text."
    )


@pytest.mark.parametrize(
    ("start", "close"),
    [("[THINK]", "[/THINK]"), ("<seed:think>", "</seed:think>"), ("<thinking>", "</thinking>"), ("◁think▷", "◁/think▷")],
)
def test_a_thought_between_other_marks_is_an_error_unless_asked_for(start, close):
    template = "{# thoughts: " + close + " #}" + OWN["generation"]
    tokenizer, answer = byte_tokenizer(template), f"{start}Oak?{close}Ash."
    with pytest.raises(DataError, match="found a thought in"):
        encode_response(tokenizer, answer, chat=True)
    chat = chat_format(tokenizer, thoughts=True)
    assert decode(chat, encode_response(chat, answer, chat=True), chat=True) == answer
    assert encode_response(byte_tokenizer(OWN["generation"]), answer, chat=True)  # a template that knows no thoughts
