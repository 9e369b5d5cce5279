"""What guided decoding returns: the chosen text, and the tree of all candidates with what they scored.

Imports: `texts`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from paretokit.texts import Prompt

__all__ = ["Candidate", "GuidedGeneration", "path"]


class Candidate(NamedTuple):
    """One way to go on that was looked at: a node of the tree."""

    step: int  # counted from 1
    parent: int  # the place in the tree of the candidate that it goes on from; -1: the prompt
    number: int  # among the candidates of its parent, 0 .. K - 1
    text: str  # of this step alone, without an end token
    token_ids: tuple[int, ...]
    scores: tuple[float, ...]  # [m], of the whole text so far, larger is better
    utility: float  # by which it was compared with those of its step
    sum_logp: float  # nats, of its own tokens under the policy itself
    kept: bool  # whether decoding went on from it, or ended with it
    ended: bool  # it closes with an end token or before a stop string
    capped: bool  # a limit cut the step off


class GuidedGeneration(NamedTuple):
    """One guided response, with what was considered on the way."""

    prompt: Prompt
    text: str  # without the end token, or the stop string and what follows it
    token_ids: tuple[int, ...]  # those of the end token or stop string included, if the text ended
    ended: bool  # False: cut off, see `reason`
    copy: int  # always 0
    prompt_index: int
    sum_logp: float  # nats, of `token_ids` under the policy itself (temperature 1, nothing cut off)
    weights: tuple[float, ...]  # by which the policy's heads were mixed, at the last step; () without heads
    reason: str  # why decoding stopped: "end", "stop_string", "max_steps", "max_new_tokens" or "stopped"
    steps: tuple[str, ...]  # of the text, in order; joined they are the text
    objectives: tuple[str, ...]  # that the guide judges
    guide: str  # what guided
    guide_weights: tuple[tuple[float, ...], ...]  # at each step, in the order of `objectives`
    scores: tuple[float, ...]  # [m], the guide's, of the text
    tree: tuple[Candidate, ...]  # every candidate of every step, parents before children
    last: int  # the place in the tree of the candidate that the text closes with; -1: none
    head_weights: tuple[tuple[float, ...], ...] = ()  # `weights` at each step, in the order of the heads; () without heads
    stop_string: str = ""  # that ended it

    @property
    def capped_steps(self) -> int:
        """How many steps of the text a limit cut off."""
        return sum(candidate.capped for candidate in self.path)

    @property
    def path(self) -> tuple[Candidate, ...]:
        """The candidates that the text is made of, in order."""
        return path(self.tree, self.last)


def path(tree: Sequence[Candidate], last: int) -> tuple[Candidate, ...]:
    """Return the candidates from the prompt to the one at place `last` of a tree; none for -1."""
    found: list[Candidate] = []
    while last >= 0:
        found.append(tree[last])
        last = tree[last].parent
    return tuple(reversed(found))
