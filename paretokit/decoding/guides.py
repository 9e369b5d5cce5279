"""What judges a text that is still being written: a reward model with its own cache, or any scorers.

A guide reads the prompts once, then each candidate's new step, and says how good the text so far is, per objective.
Imports: torch, `models`, the ground modules.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch

from paretokit.errors import ConfigError, NonFiniteError
from paretokit.shapes import Float64, Int, Tensor
from paretokit.templates import ChatFormat, as_format
from paretokit.texts import Prompt, begin_response, encode_prompt, is_chat
from paretokit.turns import joint

__all__ = ["Guide", "NewStep", "Reading", "Scorer", "guide_of"]

Scorer = Callable[[Prompt, str], float]


class NewStep(NamedTuple):
    """What a candidate adds to its row."""

    step: str  # the text of the step
    text: str  # of the whole response, this step included
    token_ids: tuple[int, ...]  # of the step, by the policy's tokenizer, without an end token

    @property
    def first(self) -> bool:
        """Whether nothing of the response stands before it."""
        return len(self.text) == len(self.step)


@runtime_checkable
class Reading(Protocol):
    """Rows of text that a guide has read so far."""

    def read(self, steps: Sequence[NewStep]) -> Float64[Tensor, "R m"]:
        """Add a step to each row and return how good its text is now; larger is better."""
        ...

    def select(self, rows: Int[Tensor, " r"]) -> None:
        """Keep these rows, in this order; a row may be kept more than once."""
        ...


@runtime_checkable
class Guide(Protocol):
    """Something that judges texts which are still being written."""

    objectives: tuple[str, ...]
    source: str  # what it is, to be named beside results

    def start(self, prompts: Sequence[Prompt]) -> Reading:
        """Read the prompts, a row each."""
        ...


def guide_of(reward_model: Any, chat: ChatFormat, *, place: str = "reward_model") -> Guide:
    """Return the guide that a reward model is, or a mapping of scorers by objective.

    A reward model reads the very tokens that a policy has sampled where its tokenizer, and the way in which answers join
    its chat prompts, are those of the policy's format `chat`; else its own of the same text.
    Raises `ConfigError`, whose message begins with `place`, for anything else.
    """
    if isinstance(reward_model, Mapping):
        if not reward_model or not all(callable(scorer) for scorer in reward_model.values()):
            raise ConfigError(
                f"{place}: found a mapping that is not one of scorers by objective, expected functions of prompt and text. "
                "Pass world(...).scorers, say."
            )
        return _ScorerGuide(reward_model)
    if not all(hasattr(reward_model, name) for name in ("objectives", "source", "start", "tokenizer")):
        raise ConfigError(
            f"{place}: found {type(reward_model).__name__}, expected a reward model, or scorers by objective. "
            "Train one with train_reward_model, or load one with load_reward_model."
        )
    own = as_format(getattr(reward_model, "chat", reward_model.tokenizer))
    return _ModelGuide(reward_model, own, same=_alike(own.tokenizer, chat.tokenizer) and joint(own) == joint(chat))


def _alike(first: Any, second: Any) -> bool:
    """Whether two tokenizers cut every text alike."""
    if first is second:
        return True
    one, other = (getattr(tokenizer, "backend_tokenizer", None) for tokenizer in (first, second))
    return one is not None and other is not None and one.to_str() == other.to_str()


class _ModelGuide:
    """A reward model that keeps a cache of its own and reads each new step alone."""

    def __init__(self, model: Any, chat: ChatFormat, *, same: bool) -> None:
        self.model = model
        self.chat = chat
        self.objectives: tuple[str, ...] = tuple(model.objectives)
        self.source: str = model.source
        self.same = same

    def start(self, prompts: Sequence[Prompt]) -> "_ModelReading":
        ids = [encode_prompt(self.chat, prompt) for prompt in prompts]
        return _ModelReading(self.model.start(ids), self, [is_chat(prompt) for prompt in prompts])


class _ModelReading:
    def __init__(self, reading: Any, guide: _ModelGuide, chats: list[bool]) -> None:
        self.reading = reading
        self.guide = guide
        self.chats = chats  # of each row: whether its text answers chat messages

    def read(self, steps: Sequence[NewStep]) -> Float64[Tensor, "R m"]:
        blocks = [
            step.token_ids if self.guide.same else begin_response(self.guide.chat, step.step, chat=chat and step.first)
            for step, chat in zip(steps, self.chats, strict=True)
        ]
        return _finite(self.reading.read(blocks).double().cpu(), self.guide)

    def select(self, rows: Int[Tensor, " r"]) -> None:
        self.reading.select(rows)
        self.chats = [self.chats[row] for row in rows.tolist()]


class _ScorerGuide:
    """Scorers, which read the whole text so far."""

    def __init__(self, scorers: Mapping[str, Scorer]) -> None:
        self.scorers = scorers
        self.objectives = tuple(scorers)
        self.source = f"the scorers {', '.join(scorers)}"

    def start(self, prompts: Sequence[Prompt]) -> "_ScorerReading":
        return _ScorerReading(self, list(prompts))


class _ScorerReading:
    def __init__(self, guide: _ScorerGuide, prompts: list[Prompt]) -> None:
        self.guide = guide
        self.prompts = prompts

    def read(self, steps: Sequence[NewStep]) -> Float64[Tensor, "R m"]:
        scorers = self.guide.scorers.values()
        scores = [
            [float(scorer(prompt, step.text)) for scorer in scorers] for prompt, step in zip(self.prompts, steps, strict=True)
        ]
        return _finite(torch.tensor(scores, dtype=torch.float64), self.guide)

    def select(self, rows: Int[Tensor, " r"]) -> None:
        self.prompts = [self.prompts[row] for row in rows.tolist()]


def _finite(scores: Float64[Tensor, "R m"], guide: Guide) -> Float64[Tensor, "R m"]:
    wrong = (~scores.isfinite()).nonzero()
    if len(wrong):
        row, column = wrong[0].tolist()
        raise NonFiniteError(
            f"guided_generate: {guide.source} scored a text with {scores[row, column].item()} on {guide.objectives[column]!r}, "
            "expected a finite number. Look at its weights, or at what it was trained on."
        )
    return scores
