"""Text to token ids and back: the one place that applies chat templates, adds BOS and the end token, and truncates.

Prompt and response are tokenised apart, so that what is scored is what sampling produces. All text is data: a special
token spelled out inside it ("<|im_end|>") is encoded as plain text, and only the template, BOS and the end token put
special tokens into a sequence. `tokenizer` is a fast tokenizer of transformers, passed in; this module does not import
transformers. Imports: the standard library, `errors` and `prompts`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from paretokit.errors import ConfigError, DataError, ModelError
from paretokit.prompts import Message, Prompt, as_prompt, as_text, is_chat

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
]

_PROBE = "ParetokitProbe"


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
    ends: tuple[int, ...]  # [S], where in `ids` the last token of each step is; of an empty one, that of the text before it


def encode_prompt(tokenizer: Any, prompt: Prompt) -> tuple[int, ...]:
    """Return the prompt's token ids, ready for a response to follow.

    Raw text gets in front what the tokenizer itself puts there (BOS, where it does so) and nothing behind. Chat
    messages go through the template with its generation prompt; a BOS comes from the template or not at all, as the
    model was trained. Special tokens spelled out in the text are text; the two private-use characters with which
    transformers marks them (U+F0000, U+F0001) are left out of messages. An empty raw prompt is BOS if the tokenizer has
    one, else `DataError`. `ModelError` for chat messages and a tokenizer without a chat template.
    """
    prompt = as_prompt(prompt)
    if isinstance(prompt, str):
        ids = _prefix(tokenizer) + _plain(tokenizer, prompt)
        if not prompt and not ids and tokenizer.bos_token_id is not None:
            ids = (tokenizer.bos_token_id,)
        if not ids:
            raise DataError("prompt: found empty text and a tokenizer without BOS; write a prompt of at least one token.")
        return ids
    ids = _apply_template(tokenizer, prompt, tokenize=True)
    if not ids:
        raise DataError("prompt: the chat template turned the messages into nothing; write a prompt with text in it.")
    return tuple(ids)


def encode_response(tokenizer: Any, response: str, *, chat: bool) -> tuple[int, ...]:
    """Return the response's tokens and exactly one end token, `end_token(tokenizer, chat=chat)`.

    The empty response is the end token alone.
    """
    return (*_plain(tokenizer, as_text(response, place="response")), end_token(tokenizer, chat=chat))


def begin_response(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Return the tokens of a response that is still being written: as `encode_response`, without an end token."""
    return _plain(tokenizer, as_text(text, place="response"))


def encode_steps(tokenizer: Any, prompt: Prompt, steps: Sequence[str | Sequence[int]]) -> EncodedSteps:
    """Return prompt and steps as token ids, each step tokenised on its own, or taken as the ids that it is given as.

    So a step has the same tokens whatever follows it, and no end token closes a text that may go on. Raises what
    `encode_prompt` does.
    """
    ids, ends = list(encode_prompt(tokenizer, prompt)), []
    for step in steps:
        ids += begin_response(tokenizer, step) if isinstance(step, str) else map(int, step)
        ends.append(len(ids) - 1)
    return EncodedSteps(tuple(ids), tuple(ends))


def end_token(tokenizer: Any, *, chat: bool) -> int:
    """Return the id of the token that ends a response.

    For chat it is the template's end of turn: the first special token that the template renders after an assistant
    message; text around it, such as a newline, is not part of a response. Where the template renders none, and for raw
    text, it is EOS. Raises `ModelError` where there is no EOS either.
    """
    if chat:
        _require_template(tokenizer)
        end = _end_of_turn(tokenizer, tokenizer.chat_template)
        if end is not None:
            return end
    if tokenizer.eos_token_id is None:
        raise ModelError(
            "tokenizer: found neither an EOS token nor an end of turn in a chat template; set tokenizer.eos_token."
        )
    return tokenizer.eos_token_id


@lru_cache(maxsize=16)
def _end_of_turn(tokenizer: Any, template: Any) -> int | None:
    """The first special token that `template`, the tokenizer's own, renders after an assistant message; rendered once."""
    turn = (Message(role="user", content="Hi"), Message(role="assistant", content=_PROBE))
    _, found, after = _apply_template(tokenizer, turn, tokenize=False).rpartition(_PROBE)
    rendered = tokenizer(after if found else "", add_special_tokens=False, split_special_tokens=False)["input_ids"]
    special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    return next((token for token in rendered if token in special), None)


def end_tokens(tokenizer: Any) -> frozenset[int]:
    """Return every id that ends a generation: EOS and, where there is a chat template, its end of turn."""
    ends = {end_token(tokenizer, chat=tokenizer.chat_template is not None), tokenizer.eos_token_id}
    return frozenset(ends - {None})


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """Return the text of response ids without end and special tokens, its spaces untouched."""
    ends = end_tokens(tokenizer)
    kept = [int(token) for token in ids if int(token) not in ends]
    return tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def continued(tokenizer: Any, begun: str, ids: Sequence[int]) -> str:
    """Return the text of a response that began with the text `begun` and went on with the tokens `ids`.

    It begins with `begun`, character by character. What follows is read after the tokens of `begun`, since some tokenizers
    leave out the blank of a text's first token.
    """
    if not begun:
        return decode(tokenizer, ids)
    before = begin_response(tokenizer, begun)
    return begun + decode(tokenizer, (*before, *ids))[len(decode(tokenizer, before)) :]


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
    prompt = as_prompt(prompt)
    full = encode_prompt(tokenizer, prompt)
    a, b = (encode_response(tokenizer, response, chat=is_chat(prompt)) for response in (response_a, response_b))
    budget = max(max_length - max(len(a), len(b)), min(len(full), max_length // 2))
    kept, dropped = (full, 0) if len(full) <= budget else _shorten(tokenizer, prompt, budget=budget)
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


def _shorten(tokenizer: Any, prompt: str | tuple[Message, ...], *, budget: int) -> tuple[tuple[int, ...], int]:
    """Return the prompt's ids within the budget, if it can be done, and the number of dropped messages."""
    if isinstance(prompt, str):
        prefix, text = _prefix(tokenizer), _plain(tokenizer, prompt)
        return prefix + text[len(text) - max(0, budget - len(prefix)) :], 0
    start = 1 if prompt[0]["role"] == "system" else 0
    head, turns = prompt[:start], prompt[start:]
    ids = encode_prompt(tokenizer, prompt)
    while len(ids) > budget and len(turns) > 1:
        following = (index for index, turn in enumerate(turns) if index and turn["role"] == "user")
        turns = turns[next(following) :]
        ids = encode_prompt(tokenizer, head + turns)
    if len(ids) > budget:
        ids = _cut_left(tokenizer, head, prompt[-1]["content"], ids, budget=budget)
    return ids, len(prompt) - len(head) - len(turns)


def _cut_left(tokenizer: Any, head: tuple[Message, ...], content: str, ids: tuple[int, ...], *, budget: int) -> tuple[int, ...]:
    """Return the ids with as much of the end of `content` as fits; with none of it where even that is too long."""
    encoding = tokenizer(
        content, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False
    )
    starts = [start for start, _ in encoding["offset_mapping"]]
    cut = 0
    while len(ids) > budget and cut < len(starts):
        cut = min(len(starts), cut + len(ids) - budget)
        rest = content[starts[cut] :] if cut < len(starts) else ""
        ids = encode_prompt(tokenizer, (*head, Message(role="user", content=rest)))
    return ids


def _plain(tokenizer: Any, text: str) -> tuple[int, ...]:
    encoding = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
    return tuple(encoding["input_ids"])


def _prefix(tokenizer: Any) -> tuple[int, ...]:
    """Return what the tokenizer puts before a text by itself; what it puts behind (some add EOS) is left out."""
    text = tokenizer("a", add_special_tokens=False)["input_ids"]
    framed = tokenizer("a", add_special_tokens=True)["input_ids"]
    start = next(start for start in range(len(framed)) if framed[start : start + len(text)] == text)
    return tuple(framed[:start])


def _require_template(tokenizer: Any) -> None:
    if tokenizer.chat_template is None:
        raise ModelError(
            "tokenizer: found chat messages and a tokenizer without a chat template; "
            "use raw text prompts, or set tokenizer.chat_template."
        )


def _apply_template(tokenizer: Any, messages: tuple[Message, ...], *, tokenize: bool) -> Any:
    """Return the rendered ids with the generation prompt, or the rendered text without it.

    `sanitize_control_tokens` has special tokens inside the messages encoded as text.
    """
    _require_template(tokenizer)
    options = {"sanitize_control_tokens": True} if tokenize else {}
    try:
        return tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tokenize=tokenize,
            add_generation_prompt=tokenize,
            return_dict=False,
            **options,
        )
    except Exception as error:  # a template raises what it likes: jinja2's errors, TypeError, ...
        roles = ", ".join(message["role"] for message in messages)
        raise DataError(
            f"prompt: the chat template refused messages with roles {roles}: {' '.join(str(error).split())}; "
            "change the messages to what the model was trained on."
        ) from error
