"""Text to token ids and back: the one place that encodes prompts and responses, adds BOS and the end token, and truncates.

For chat, prompt + response are token for token what the chat template renders for the whole conversation, up to the end
token. After raw text they are the tokens of the text that begins with the prompt and goes on with the response, where a
token would not reach across the joint: prompt and response are tokenised apart, so that what is scored is what sampling
produces, and no tokenizer puts a blank between them that is not there. All text is data: a special token spelled out inside
it ("<|im_end|>") is encoded as plain text, and only the template, BOS and the end token put special tokens into a sequence.

`tokenizer` is a policy's format (`policy.chat`), or a fast tokenizer of transformers, whose template then has its defaults.
This module does not import transformers. Imports: the standard library, `errors`, `prompts`, `templates` and `turns`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from paretokit.errors import ConfigError, DataError, ModelError
from paretokit.prompts import Message, Prompt, as_prompt, as_text, is_chat
from paretokit.templates import ChatFormat, as_format
from paretokit.turns import chat_ids, following, inside, inside_begun, plain, puts_blank, turn_of, written

__all__ = [
    "EncodedPair",
    "EncodedSteps",
    "Prompt",
    "begin_response",
    "continued",
    "decode",
    "encode_pair",
    "encode_prompt",
    "encode_response",
    "encode_steps",
    "end_token",
    "end_tokens",
    "is_chat",
    "mark_token",
]


class EncodedPair(NamedTuple):
    """A prompt with two responses as token ids, and what truncation took away (zeros where everything fits).

    `len(prompt) + len(response)` is at most the `max_length` asked for. Full lengths are sums of kept and cut tokens.
    """

    prompt: tuple[int, ...]
    response_a: tuple[int, ...]  # ends with the end token unless cut
    response_b: tuple[int, ...]
    dropped_turns: int = 0  # messages left out, the oldest ones
    cut_prompt_tokens: int = 0  # prompt tokens left out, those of dropped messages included
    cut_a: int = 0  # response tokens left out at the end, the end token included
    cut_b: int = 0

    @property
    def longest(self) -> int:
        """How many tokens the prompt and the longer response have together."""
        return len(self.prompt) + max(len(self.response_a), len(self.response_b))

    @property
    def tokens(self) -> int:
        """How many tokens a policy reads for the pair: the prompt once per response."""
        return 2 * len(self.prompt) + len(self.response_a) + len(self.response_b)


class EncodedSteps(NamedTuple):
    """A prompt and the S steps written after it as one row of token ids, without an end token."""

    ids: tuple[int, ...]
    ends: tuple[int, ...]
    """[S], where in `ids` the last token of each step is, or its mark; of an empty step, that of the text before it."""


def encode_prompt(tokenizer: Any, prompt: Prompt) -> tuple[int, ...]:
    """Return the prompt's token ids, ready for a response to follow.

    Raw text gets in front what the tokenizer itself puts there (BOS, where it does so) and nothing behind. Chat
    messages go through the template with its generation prompt and its lead-in (`turns.lead_in`), what it writes between
    that and an answer; a BOS comes from the template or not at all, as the model was trained. Special tokens spelled out in
    the text are text; the two private-use characters with which transformers marks them (U+F0000, U+F0001) are left out of
    messages. An empty raw prompt is BOS if the tokenizer has one, else `DataError`. `ModelError` for chat messages and a
    tokenizer without a chat template, or with one whose prompts are no beginnings of its conversations.
    """
    prompt, chat = as_prompt(prompt), as_format(tokenizer)
    if isinstance(prompt, str):
        tokenizer = chat.tokenizer
        ids = _prefix(tokenizer) + plain(tokenizer, prompt)
        if not prompt and not ids and tokenizer.bos_token_id is not None:
            ids = (tokenizer.bos_token_id,)
        if not ids:
            raise DataError("prompt: found empty text and a tokenizer without BOS; write a prompt of at least one token.")
        return ids
    ids = chat_ids(chat, prompt)
    if not ids:
        raise DataError("prompt: the chat template turned the messages into nothing; write a prompt with text in it.")
    return ids


def encode_response(tokenizer: Any, response: str, *, chat: bool) -> tuple[int, ...]:
    """Return the response's tokens and exactly one end token, `end_token(tokenizer, chat=chat)`.

    For chat they are the tokens that the template's conversation has behind the prompt, up to the end token: a template that
    leaves out blanks around an answer leaves them out here, and one that writes a blank before the end token has it here.
    `DataError` for an answer that the template writes otherwise, such as one whose thought it takes out. After raw text they
    are those of a text that follows another: no blank is put in front. An empty response is the end token alone.
    """
    text, own = as_text(response, place="response"), as_format(tokenizer)
    end = end_token(own, chat=chat)
    if not chat:
        return (*following(own.tokenizer, text), end)
    turn, text = turn_of(own), inside(own, text)
    return (*written(own, text + turn.tail, turn), end) if text else (end,)


def begin_response(tokenizer: Any, text: str, *, chat: bool = False) -> tuple[int, ...]:
    """Return the tokens of a response that is still being written: as `encode_response`, without an end token.

    For chat, blanks in front that the template leaves out are left out; a beginning that it would write otherwise, such as
    a thought, is taken as it stands.
    """
    text, own = as_text(text, place="response"), as_format(tokenizer)
    if not chat:
        return following(own.tokenizer, text)
    text = inside_begun(own, text)
    return written(own, text, turn_of(own)) if text else ()


def encode_steps(
    tokenizer: Any, prompt: Prompt, steps: Sequence[str | Sequence[int]], *, mark: int | None = None
) -> EncodedSteps:
    """Return prompt and steps as token ids, each step tokenised on its own, or taken as the ids that it is given as.

    So a step has the same tokens whatever follows it, and no end token closes a text that may go on. The first is joined to
    the prompt as a response is, the others to what stands before them as in one text. `mark` is a token that is put behind
    every step that has tokens. Raises what `encode_prompt` does.
    """
    chat = as_format(tokenizer)
    ids, ends = list(encode_prompt(chat, prompt)), []
    start = len(ids)
    for step in steps:
        if isinstance(step, str):
            own = begin_response(chat, step, chat=len(ids) == start and is_chat(prompt))
        else:
            own = tuple(map(int, step))
        ids += own if mark is None or not own else (*own, mark)
        ends.append(len(ids) - 1)
    return EncodedSteps(tuple(ids), tuple(ends))


def mark_token(tokenizer: Any, text: str) -> int:
    """Return the id of the one token that `text` is, such as "<extra_0>" or "ки"; `ConfigError` where it is none or several."""
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        found = f"{len(ids)} tokens" if len(ids) != 1 else "the token for what is unknown"
        raise ConfigError(
            f"step_token: found {found} for {text!r}, expected one of the tokenizer's tokens. Name a token that it has, or add "
            "one and train its embedding."
        )
    return int(ids[0])


def end_token(tokenizer: Any, *, chat: bool) -> int:
    """Return the id of the token that ends a response.

    For chat it is the template's end of turn: the first special token that the template renders after an assistant
    message, or, where none is special, the first one that was added to the vocabulary; text behind it, such as a newline, is
    not part of a response. Where the template renders none, and for raw text, it is EOS. Raises `ModelError` where there is
    no EOS either.
    """
    own = as_format(tokenizer)
    if chat:
        end = turn_of(own).end
        if end is not None:
            return end
    if own.tokenizer.eos_token_id is None:
        raise ModelError(
            "tokenizer: found neither an EOS token nor an end of turn in a chat template; set tokenizer.eos_token."
        )
    return own.tokenizer.eos_token_id


def end_tokens(tokenizer: Any) -> frozenset[int]:
    """Return every id that ends a generation: EOS, the end of turn of a chat template, and `ChatFormat.ends`, which a policy
    has from its model's generation_config."""
    own = as_format(tokenizer)
    if own.ends and own.tokenizer.chat_template is None and own.tokenizer.eos_token_id is None:
        return own.ends
    ends = {end_token(own, chat=own.tokenizer.chat_template is not None), own.tokenizer.eos_token_id}
    return frozenset(ends - {None}) | own.ends


def decode(tokenizer: Any, ids: Sequence[int], *, chat: bool = False) -> str:
    """Return the text of response ids without end and special tokens, its spaces untouched.

    `chat`: the response answers chat messages; what the template itself writes around an answer is then left out.
    """
    own = as_format(tokenizer)
    ends = end_tokens(own)
    kept = [int(token) for token in ids if int(token) not in ends]
    blank = puts_blank(own.tokenizer)
    before = plain(own.tokenizer, "a") if blank else ()  # a decoder may leave out the blank of a text's first token
    skipped = len(_decoded(own.tokenizer, before)) if blank else 0
    text = _decoded(own.tokenizer, (*before, *kept))[skipped:]
    if not chat:
        return text
    turn = turn_of(own)
    text = text.removeprefix(" " if blank and turn.alone else turn.joint)
    return text.removesuffix(turn.tail) if len(kept) < len(ids) else text


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)


def continued(tokenizer: Any, begun: str, ids: Sequence[int], *, chat: bool = False) -> str:
    """Return the text of a response that began with the text `begun` and went on with the tokens `ids`.

    It begins with `begun`, character by character. What follows is read after the tokens of `begun`, since some tokenizers
    leave out the blank of a text's first token.
    """
    if not begun:
        return decode(tokenizer, ids, chat=chat)
    before = begin_response(tokenizer, begun, chat=chat)
    return begun + decode(tokenizer, (*before, *ids), chat=chat)[len(decode(tokenizer, before, chat=chat)) :]


def encode_pair(tokenizer: Any, prompt: Prompt, response_a: str, response_b: str, *, max_length: int) -> EncodedPair:
    """Return prompt and responses as token ids, each prompt + response at most `max_length` tokens long.

    Where they do not fit, in this order: the oldest messages of a chat are left out, a user's message together with
    the replies to it (the system message and the last user message stay); then the last message, or a raw text, is cut
    from the left; a response that is too long is cut at its end and so loses its end token. Both responses see the same
    prompt. A response never pushes the prompt below `max_length // 2` tokens, nor the prompt a response below one.
    What was taken away is counted in the result.

    Raises `ConfigError` for a `max_length` below 2, `DataError` where system message and template alone fill it.
    """
    if max_length < 2:
        raise ConfigError(f"max_length: found {max_length}, expected at least 2 (a prompt and a response token).")
    prompt, chat = as_prompt(prompt), as_format(tokenizer)
    full = encode_prompt(chat, prompt)
    a, b = (encode_response(chat, response, chat=is_chat(prompt)) for response in (response_a, response_b))
    budget = max(max_length - max(len(a), len(b)), min(len(full), max_length // 2))
    kept, dropped = (full, 0) if len(full) <= budget else _shorten(chat, prompt, budget=budget)
    room = max_length - len(kept)
    if room < 1:
        raise DataError(
            f"prompt: the system message and the chat template alone take {len(kept)} tokens, and max_length is "
            f"{max_length}; raise it to at least {len(kept) + 1}, or shorten the system message."
        )
    return EncodedPair(
        prompt=kept,
        response_a=a[:room],
        response_b=b[:room],
        dropped_turns=dropped,
        cut_prompt_tokens=len(full) - len(kept),
        cut_a=max(0, len(a) - room),
        cut_b=max(0, len(b) - room),
    )


def _shorten(chat: ChatFormat, prompt: str | tuple[Message, ...], *, budget: int) -> tuple[tuple[int, ...], int]:
    """Return the prompt's ids within the budget, if it can be done, and the number of dropped messages."""
    if isinstance(prompt, str):
        prefix, text = _prefix(chat.tokenizer), plain(chat.tokenizer, prompt)
        return prefix + text[len(text) - max(0, budget - len(prefix)) :], 0
    start = 1 if prompt[0]["role"] == "system" else 0
    head, turns = prompt[:start], prompt[start:]
    ids = encode_prompt(chat, prompt)
    while len(ids) > budget and len(turns) > 1:
        later = (index for index, turn in enumerate(turns) if index and turn["role"] == "user")
        turns = turns[next(later) :]
        ids = encode_prompt(chat, head + turns)
    if len(ids) > budget:
        ids = _cut_left(chat, head, prompt[-1]["content"], ids, budget=budget)
    return ids, len(prompt) - len(head) - len(turns)


def _cut_left(
    chat: ChatFormat, head: tuple[Message, ...], content: str, ids: tuple[int, ...], *, budget: int
) -> tuple[int, ...]:
    """Return the ids with as much of the end of `content` as fits; with none of it where even that is too long."""
    encoding = chat.tokenizer(
        content, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False
    )
    starts = [start for start, _ in encoding["offset_mapping"]]
    cut = 0
    while len(ids) > budget and cut < len(starts):
        cut = min(len(starts), cut + len(ids) - budget)
        rest = content[starts[cut] :] if cut < len(starts) else ""
        ids = encode_prompt(chat, (*head, Message(role="user", content=rest)))
    return ids


def _prefix(tokenizer: Any) -> tuple[int, ...]:
    """Return what the tokenizer puts before a text by itself; what it puts behind (some add EOS) is left out."""
    text = tokenizer("a", add_special_tokens=False)["input_ids"]
    framed = tokenizer("a", add_special_tokens=True)["input_ids"]
    start = next(start for start in range(len(framed)) if framed[start : start + len(text)] == text)
    return tuple(framed[:start])
