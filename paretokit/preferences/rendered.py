"""Texts that were rendered before they came here: special tokens of a chat template spelled in prompts and responses.

They are text here, not special tokens, so a model reads another sequence than the one that was meant. Imports: `prompts`,
`templates`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from paretokit.prompts import Prompt
from paretokit.templates import as_format

__all__ = ["RenderedCounts", "count_rendered"]

# marks of turns that no text has by chance, whatever the tokenizer: <|im_start|>, [INST], <start_of_turn>, ...
_MARKS = (
    r"<\|[A-Za-z][\w▁]*\|>",
    "<\uff5c[^\uff5c<>\\s]{1,40}\uff5c>",
    r"\[/?INST\]",
    r"<</?SYS>>",
    r"<(?:start|end)_of_turn>",
    r"<\|turn>|<turn\|>",
    r"<extra_id_1>",
    r"<\|(?:START|END)_OF_TURN_TOKEN\|>",
)


class RenderedCounts(NamedTuple):
    """How many of P pairs' texts spell special tokens."""

    prompts: int  # of P; chat prompts with one in any message
    responses: int  # of 2 P
    tokens: tuple[str, ...]  # which, the most frequent first

    @property
    def warning(self) -> str:
        """What happens with them and what to do, as one sentence or two; "" where there are none."""
        if not self.tokens:
            return ""
        shown = ", ".join(self.tokens[:4]) + (", ..." if len(self.tokens) > 4 else "")
        return (
            f"warning: {self.prompts} prompts and {self.responses} responses spell special tokens ({shown}), as texts do that "
            "were rendered with a chat template before. They are read as plain text, not as special tokens. Pass chat "
            "messages, and responses without them."
        )


def count_rendered(
    prompts: Sequence[Prompt], responses_a: Sequence[str], responses_b: Sequence[str], *, tokenizer: Any = None
) -> RenderedCounts:
    """Return how many prompts and responses spell special tokens: marks of known chat templates and, with a tokenizer or a
    policy's format, the special tokens of its own.

    >>> count_rendered(["<|im_start|>user", "Hi"], ["Yes.", "a < b"], ["No.<|im_end|>", ""])
    RenderedCounts(prompts=1, responses=1, tokens=('<|im_start|>', '<|im_end|>'))
    """
    own = [] if tokenizer is None else _special(as_format(tokenizer).tokenizer)
    pattern = re.compile("|".join([*(re.escape(token) for token in sorted(own, key=len, reverse=True)), *_MARKS]))
    counts: Counter[str] = Counter()
    spelled = [
        sum(_count(texts, pattern, counts) for texts in group)
        for group in (map(_contents, prompts), ([text] for text in (*responses_a, *responses_b)))
    ]
    return RenderedCounts(spelled[0], spelled[1], tuple(token for token, _ in counts.most_common()))


def _count(texts: Iterable[str], pattern: re.Pattern[str], counts: Counter[str]) -> bool:
    found = [token for text in texts for token in pattern.findall(text)]
    counts.update(found)
    return bool(found)


def _contents(prompt: Prompt) -> list[str]:
    return [prompt] if isinstance(prompt, str) else [message["content"] for message in prompt]


def _special(tokenizer: Any) -> list[str]:
    return [token.content for token in tokenizer.added_tokens_decoder.values() if token.special and token.content.strip()]
