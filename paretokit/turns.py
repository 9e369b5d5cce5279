"""How a chat template frames an answer: what it puts before it, what ends it, and how its tokens join what stands before.

All of it is found by probes: conversations that end with a known answer are rendered and looked at. The lead-in is what the
template writes between the generation prompt and the answer, such as an empty thought or the header of a channel; the model
never wrote it in training, so it belongs to the prompt. Imports: the standard library, `errors`, `prompts`, `templates`.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from paretokit.errors import DataError, ModelError
from paretokit.prompts import Message, describe
from paretokit.templates import ChatFormat, with_lead_in

__all__ = [
    "Turn",
    "chat_ids",
    "exported",
    "following",
    "inside",
    "joint",
    "lead_in",
    "plain",
    "puts_blank",
    "require_template",
    "turn_of",
    "usual_lead_in",
    "written",
]

_PROBE = "ParetokitProbe"
_QUESTION = "ParetokitQuestion"
_PLAIN_QUESTION = (Message(role="user", content=_QUESTION),)
_CANONICAL = (_PLAIN_QUESTION, (Message(role="system", content="Be kind."), *_PLAIN_QUESTION))
_ANSWERS = (_PROBE, "the", "The", "a", "I", "1")  # beginnings that many vocabularies hold together with a blank
_THOUGHT = re.compile(  # what closes a thought: of Qwen and nearly all others, Seed-OSS, Magistral, Command A, Kimi
    r"</(?:\w+:)?think(?:ing)?>|</(?:thought|reasoning)>|\[/THINK\]|<\|END_THINKING\|>|◁/think▷"
)
_WITHOUT_THOUGHTS = (
    "Pass answers without thoughts, load the policy with thoughts=True to have them scored, or pass prompts as raw text."
)
_JOINTS = 8  # so many characters before an answer may be tokenised together with it
_ANCHORS = ("\n", "~", "x")  # texts that a blank is put in front of, in place of the text behind them


class Turn(NamedTuple):
    """How a template frames an answer, found on a plain question."""

    question: tuple[Message, ...]
    parts: bool  # contents are passed as lists of parts, since the template leaves out plain text
    before: str  # the conversation up to the answer, or up to the lead-in where that is part of the answer
    lead: str  # the lead-in of an answer, where it is part of it, else ""
    after: str
    joint: str  # the end of `before`, such as a blank, that is tokenised together with the answer and counts as part of it
    alone: bool  # an answer is tokenised as a text read alone, which some tokenizers put a blank in front of
    tail: str  # what the template writes between the answer and the end token
    end: int | None  # the special or added token behind an answer, if there is one
    problem: str = ""  # why no answer can be written, in words


def turn_of(chat: ChatFormat) -> Turn:
    """Return how the chat template frames an answer. `ModelError` without a template."""
    require_template(chat)
    return _turn(chat, chat.template)


@lru_cache(maxsize=32)
def _turn(chat: ChatFormat, template: str) -> Turn:
    question, parts, before, after, problem = _framed(chat)
    end, tail = _end(chat, after)
    prompt = before
    if chat.thoughts and not problem:
        prompt = _render(chat, question, parts=parts, generation=True)
        prompt = prompt if before.startswith(prompt) else before  # else no prompt can be made: see `lead_in`
    turn = Turn(question, parts, prompt, before[len(prompt) :], after, "", True, tail, end, problem)
    if problem:
        return turn
    for length in range(min(len(prompt), _JOINTS) + 1):
        for alone in (False, True):
            made = turn._replace(joint=prompt[len(prompt) - length :], alone=alone)
            if all(_joins(chat, made, answer) for answer in _ANSWERS):
                return made
    return turn._replace(problem="the tokens of a conversation cannot be told apart into those of prompt and answer")


def _joins(chat: ChatFormat, turn: Turn, answer: str) -> bool:
    """Whether prompt, answer and end token, encoded apart, have the tokens of the conversation."""
    answer = turn.lead + answer
    whole = _ids(chat, turn.before + answer + turn.after)
    parts = _ids(chat, turn.before[: len(turn.before) - len(turn.joint)]) + list(written(chat, answer + turn.tail, turn))
    parts += [] if turn.end is None else [turn.end]
    return whole[: len(parts)] == parts


def _framed(chat: ChatFormat) -> tuple[tuple[Message, ...], bool, str, str, str]:
    """A question that the template takes, whether in parts, what stands before and after the answer; or the problem."""
    problem = ""
    for question in _CANONICAL:
        for parts in (False, True):
            try:
                whole = _render(chat, (*question, Message(role="assistant", content=_PROBE)), parts=parts)
            except DataError as error:
                problem = problem or str(error)
                continue
            before, found, after = whole.rpartition(_PROBE)
            if found and _QUESTION in before:
                return question, parts, before, after, ""
            problem = problem or "it leaves out what the user or the assistant says"
    return _PLAIN_QUESTION, False, "", "", problem


def _end(chat: ChatFormat, after: str) -> tuple[int | None, str]:
    """The first special token behind an answer, or else the first one that was added to the vocabulary; and the text before it.

    Some fine-tuned models have an end of turn that was added without being marked as special.
    """
    added = chat.tokenizer.added_tokens_decoder if after else {}
    behind = [token for token in _ids(chat, after) if token in added] if after else []
    end = next((token for token in behind if added[token].special), behind[0] if behind else None)
    return end, "" if end is None else after[: after.index(added[end].content)]


def chat_ids(chat: ChatFormat, messages: tuple[Message, ...]) -> tuple[int, ...]:
    """Return the ids of a chat up to where an answer begins: prompt and lead-in.

    Followed by those of an answer (`texts.encode_response`) they are the ids of the whole conversation. Special tokens
    spelled in the messages are text. Raises `DataError` where the template refuses the messages, `ModelError` where the
    prompt is no beginning of the conversation.
    """
    turn = turn_of(chat)
    lead = lead_in(chat, messages=messages)
    answered = (*messages, Message(role="assistant", content=_PROBE))
    whole = list(_render(chat, answered, parts=turn.parts, tokenize=True))
    body = list(written(chat, (lead if chat.thoughts else "") + _PROBE + turn.tail, turn))
    for start in range(len(whole) - len(body), -1, -1):
        if whole[start : start + len(body)] == body:
            return tuple(whole[:start])
    raise _unfit(chat, "it writes another beginning or end of the answer for these messages than for others")


def lead_in(chat: ChatFormat, *, messages: tuple[Message, ...] | None = None) -> str:
    """Return what the template writes between the generation prompt and an answer to `messages` (default: to any question).

    Raises as `chat_ids` does.
    """
    turn = turn_of(chat)
    asked = turn.question if messages is None else messages
    prompt = _render(chat, asked, parts=turn.parts, generation=True)
    whole = _render(chat, (*asked, Message(role="assistant", content=_PROBE)), parts=turn.parts)
    if not prompt and not whole:
        raise DataError("prompt: the chat template turned the messages into nothing; write a prompt with text in it.")
    if turn.problem:
        raise _unfit(chat, turn.problem)
    before, _, after = whole.rpartition(_PROBE)
    if not before.startswith(prompt):
        same = next((i for i, (a, b) in enumerate(zip(prompt, before, strict=False)) if a != b), len(before))
        found, expected = prompt[max(0, same - 20) :], before[max(0, same - 20) :]
        raise _unfit(
            chat,
            f"a prompt is no beginning of the conversation that it belongs to. It ends in {found!r}, and before an answer the "
            f"conversation has {expected!r}",
            plain=messages is not None and _fits_plain(chat),
        )
    start = prompt if chat.thoughts else before
    if not start.endswith(turn.joint) or (turn.end is not None and not after.startswith(turn.tail)):
        raise _unfit(chat, "it writes another beginning or end of the answer for these messages than for others")
    return before[len(prompt) :]


def joint(chat: ChatFormat) -> tuple[str, bool] | None:
    """Return how the tokens of an answer join those of a chat prompt; equal for formats that join them alike."""
    if chat.tokenizer.chat_template is None:
        return None
    turn = turn_of(chat)
    return turn.joint, turn.alone


def exported(chat: ChatFormat) -> Any:
    """Return the chat template for a folder of plain transformers, None where there is none.

    Options, date and lead-in stand in its text, so that its prompts are those that `chat` makes. Options are defaults: who
    renders it may still pass them. The lead-in is that of a plain question; a template with which no answer can be written
    has none.
    """
    if chat.tokenizer.chat_template is None:
        return None
    return with_lead_in(chat, usual_lead_in(chat).removesuffix(turn_of(chat).joint))


def usual_lead_in(chat: ChatFormat) -> str:
    """Return the lead-in of a plain question; "" without a template, and for one with which no answer can be written."""
    if chat.tokenizer.chat_template is None:
        return ""
    try:
        lead = lead_in(chat)
    except (DataError, ModelError):
        return ""
    return "" if chat.thoughts else lead


def inside(chat: ChatFormat, response: str) -> str:
    """Return a response as the template writes it: without the blanks around it where it leaves them out.

    Where thoughts are part of an answer, it is all that the template writes behind the prompt, an empty thought included.
    `DataError` where the template writes something else, such as an answer without the thought in it, and for a thought where
    it writes thoughts of its own.
    """
    turn = turn_of(chat)
    if turn.problem:
        return response
    if chat.thoughts:
        return _with_thought(chat, turn, response)
    whole = _render(chat, (*turn.question, Message(role="assistant", content=response)), parts=turn.parts)
    thought = _closing(chat, response)
    if whole == turn.before + response + turn.after and not thought:
        return response
    if not response.strip():
        return ""
    found = _between(turn, whole)
    if found is not None and found in response and found.strip() == response.strip() and not thought:
        return found
    if found == response:
        raise DataError(
            f"response: found a thought in {describe(response)}, before {thought!r}, which the chat template knows; expected "
            f"an answer without it. {_WITHOUT_THOUGHTS}"
        )
    raise _changed(response, whole[_common(whole, turn.before) :])


def _closing(chat: ChatFormat, response: str) -> str:
    """What closes a thought in a response, of that which the template knows; "" where nothing does."""
    template = chat.template or ""
    return next((close for close in _THOUGHT.findall(response) if close in template), "")


def _opening(close: str) -> str:
    return close.replace("/", "", 1).replace("END", "START")


def _with_thought(chat: ChatFormat, turn: Turn, response: str) -> str:
    """What the template writes for a response with its thought, which many templates want in a field of its own."""
    forms: list[dict[str, Any]] = [{"role": "assistant", "content": response}]
    close = _closing(chat, response)
    start = _opening(close)
    if close and "reasoning_content" in (chat.template or ""):
        head, _, rest = response.partition(close)
        thought = head.strip().removeprefix(start).strip("\n")
        forms.insert(0, {"role": "assistant", "content": rest.lstrip("\n"), "reasoning_content": thought})
    whole = ""
    for form in forms:
        whole = _render(chat, (*turn.question, form), parts=turn.parts)
        found = _between(turn, whole)
        if found is not None and _bare(response) in _bare(turn.before[-len(start) - 2 :] + found):
            return found
    raise _changed(response, whole[_common(whole, turn.before) :])


def _between(turn: Turn, whole: str) -> str | None:
    """What stands in a conversation in the answer's place; None where it is not framed as others are."""
    framed = whole.startswith(turn.before) and whole.endswith(turn.after) and len(whole) >= len(turn.before + turn.after)
    return whole[len(turn.before) : len(whole) - len(turn.after)] if framed else None


def _bare(text: str) -> str:
    return "".join(text.split())


def _changed(response: str, found: str) -> DataError:
    return DataError(
        f"response: the chat template does not write {describe(response)} as it stands, but {describe(found)}; a thought, for "
        f"example, is taken out or moved. {_WITHOUT_THOUGHTS}"
    )


def inside_begun(chat: ChatFormat, begun: str) -> str:
    """Return the beginning of a response as the template writes it where more follows; as it is where it would change it."""
    if not begun or chat.thoughts:
        return begun
    try:
        return inside(chat, begun + _PROBE).removesuffix(_PROBE)
    except DataError:
        return begun


def written(chat: ChatFormat, text: str, turn: Turn) -> tuple[int, ...]:
    """Return the ids of the beginning of an answer, joined to what stands before it; () for the empty text."""
    body = turn.joint + text
    return plain(chat.tokenizer, body) if turn.alone else following(chat.tokenizer, body)


def plain(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Return the ids of a text read alone; special tokens spelled in it are text."""
    encoding = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
    return tuple(encoding["input_ids"])


def following(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Return the ids of a text that follows another: without the blank that some tokenizers put in front of a text.

    It is read behind a sign that does not merge with it, whose ids are then left out. Other tokenizers read it alone.
    """
    if not text or not puts_blank(tokenizer):
        return plain(tokenizer, text)
    for anchor in _ANCHORS:
        head, whole = plain(tokenizer, anchor), plain(tokenizer, anchor + text)
        if whole[: len(head)] == head:
            return whole[len(head) :]
    return plain(tokenizer, text)


@lru_cache(maxsize=16)
def puts_blank(tokenizer: Any) -> bool:
    """Return whether a tokenizer puts a blank in front of a text that is read alone, as those of Llama 2 and Mistral 7B do."""
    alone = plain(tokenizer, "a")
    for anchor in _ANCHORS:
        head, whole = plain(tokenizer, anchor), plain(tokenizer, anchor + "a")
        if whole[: len(head)] == head:
            return whole[len(head) :] != alone
    return False


def require_template(chat: ChatFormat) -> None:
    """Raise `ModelError` for a tokenizer without a chat template."""
    if chat.tokenizer.chat_template is None:
        raise ModelError(
            "tokenizer: found chat messages and a tokenizer without a chat template; "
            "use raw text prompts, or set tokenizer.chat_template."
        )


def _fits_plain(chat: ChatFormat) -> bool:
    """Whether an answer can be written to a plain question."""
    try:
        lead_in(chat)
    except (DataError, ModelError):
        return False
    return True


def _unfit(chat: ChatFormat, problem: str, *, plain: bool = False) -> ModelError:
    """The error for a template with which no answer can be written; `plain`: but to a plain question it can."""
    change = "To a question alone it can: leave out the system message or earlier turns. Or set" if plain else "Set"
    known = ", ".join(sorted(chat.known)) or "none"
    return ModelError(
        f"tokenizer: no answer can be written with its chat template: {problem}. {change} its variables with "
        f"load_policy(..., chat_options=...) (it reads: {known}), set tokenizer.chat_template, or use raw text prompts."
    )


def _common(first: str, second: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))


def _ids(chat: ChatFormat, text: str) -> list[int]:
    """The ids of rendered text, in which special tokens are special."""
    return list(chat.tokenizer(text, add_special_tokens=False, split_special_tokens=False, verbose=False)["input_ids"])


def _render(
    chat: ChatFormat, messages: Sequence[Mapping[str, Any]], *, parts: bool, generation: bool = False, tokenize: bool = False
) -> Any:
    """The rendered text, or its ids, in which `sanitize_control_tokens` has special tokens inside the messages as text."""
    options = {"sanitize_control_tokens": True} if tokenize else {}
    try:
        return chat.tokenizer.apply_chat_template(
            [_as_parts(message) if parts else dict(message) for message in messages],
            chat_template=chat.template,
            tokenize=tokenize,
            add_generation_prompt=generation,
            return_dict=False,
            **options,
        )
    except Exception as error:  # a template raises what it likes: jinja2's errors, TypeError, ...
        roles = ", ".join(message["role"] for message in messages)
        raise DataError(
            f"prompt: the chat template refused messages with roles {roles}: {' '.join(str(error).split())}; "
            "change the messages to what the model was trained on."
        ) from error


def _as_parts(message: Mapping[str, Any]) -> dict[str, Any]:
    return {**message, "content": [{"type": "text", "text": message["content"]}]}
