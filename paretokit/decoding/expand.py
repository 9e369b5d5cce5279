"""One step of every row at once: from what a policy has read, token by token, until each row has reached its boundary.

Rows that are done wait, masked, until all are; so every row's cache stays with it, and the rows that are kept go on from
there without being read again. Imports: torch, `draw`, `models.prefix`, `errors`, `texts`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from paretokit.decoding.draw import draw, uniforms
from paretokit.decoding.stops import Stop, find_stop
from paretokit.errors import NonFiniteError
from paretokit.models.prefix import Prefix
from paretokit.shapes import Float, Tensor
from paretokit.templates import ChatFormat
from paretokit.texts import decode

__all__ = ["Sampling", "Step", "expand"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are chosen, and what ends a step."""

    format: ChatFormat  # of the policy
    ends: frozenset[int]  # tokens that end a response
    boundary: Callable[..., int | None]  # `Splitter.end`: the text of a step so far -> where its end is, or None
    temperature: float
    top_k: int
    top_p: float
    seed: int
    counted: bool = False  # it asks how many tokens the beginning of a step has
    stop_strings: tuple[str, ...] = ()


@dataclass
class Step:
    """A step of one row as it grows."""

    prefix: tuple[int, ...]  # of the prompt and the response so far
    response: tuple[int, ...]  # the part of `prefix` that is the response
    number: int  # of the candidate: which stream of random numbers it draws from
    room: int  # tokens it may have at most
    chat: bool  # the response answers chat messages
    token_ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    text: str = ""  # of the whole response, this step included
    added: str = ""  # of the step: what the response's text is longer by
    lengths: list[int] = field(default_factory=list)  # of `added`, after each token
    ended: bool = False  # with an end token or at a stop string
    stopped: Stop | None = None  # the stop string, and its place in the text of the whole response
    closed: bool = False  # at its boundary
    capped: bool = False  # by its room

    def count(self, text: str) -> int:
        """Return after how many tokens the step began with `text`."""
        return next((place for place, length in enumerate(self.lengths, start=1) if length >= len(text)), len(self.lengths))

    @property
    def done(self) -> bool:
        """Whether nothing is added any more."""
        return self.ended or self.closed or self.capped


def expand(
    policy: Prefix, logits: Float[Tensor, "R V"], steps: Sequence[Step], sampling: Sampling, *, stop: Callable[[], bool]
) -> Float[Tensor, "R V"] | None:
    """Extend every step, in place, to its boundary, an end token or its limit; `logits` follow what each row has read.

    A row draws the numbers that `generate` draws for the same prefix and copy number, so its text is the beginning of that
    response. Returns the logits that follow each row's step, which an ended row has no use for; None once `stop` is true.
    """
    device = logits.device
    count = max(step.room for step in steps)
    uniform = torch.stack([uniforms(step.prefix, copy=step.number, seed=sampling.seed, count=count) for step in steps]).to(
        device
    )
    before = [decode(sampling.format, step.response, chat=step.chat) for step in steps]
    after = logits
    for place in range(count + 1):  # once more than there are tokens, to see that all are done
        grown = [not step.done for step in steps]
        if not any(grown):
            return after
        if stop():
            return None
        drawn = draw(after, uniform[:, place], temperature=sampling.temperature, top_k=sampling.top_k, top_p=sampling.top_p)
        blocks: list[tuple[int, ...]] = []
        for row, (step, token, logp) in enumerate(zip(steps, drawn.tokens.tolist(), drawn.logps.tolist(), strict=True)):
            if grown[row]:
                _add(step, token, logp, before[row], sampling)
            blocks.append((token,) if grown[row] and not step.ended else ())
        if not any(blocks):
            continue
        fresh = policy.read(blocks)
        if all(blocks):
            after = fresh
        else:
            chosen = torch.tensor([bool(block) for block in blocks], device=device)
            after = torch.where(chosen[:, None], fresh, after)
    return after


def _add(step: Step, token: int, logp: float, before: str, sampling: Sampling) -> None:
    if not math.isfinite(logp):
        raise NonFiniteError(
            f"guided_generate: candidate {step.number}, token {len(step.token_ids)} of its step: the policy's logits are not "
            "finite. Its weights are damaged or training diverged; load the policy again, or train with a lower learning rate."
        )
    step.token_ids.append(token)
    step.logps.append(logp)
    step.ended = token in sampling.ends
    step.text = decode(sampling.format, (*step.response, *step.token_ids), chat=step.chat)
    if sampling.stop_strings and not step.ended:
        longest = max(map(len, sampling.stop_strings))  # it may have begun in the step before
        step.stopped = find_stop(step.text, sampling.stop_strings, start=max(0, len(before) - longest + 1))
        if step.stopped is not None:
            step.ended, step.text = True, step.text[: step.stopped.at]
    step.added = step.text[len(before) :]
    step.lengths.append(len(step.added))
    step.closed = not step.ended and _closed(step, sampling)
    step.capped = not step.done and len(step.token_ids) >= step.room


def _closed(step: Step, sampling: Sampling) -> bool:
    found = sampling.boundary(step.added, count=step.count) if sampling.counted else sampling.boundary(step.added)
    return found is not None
