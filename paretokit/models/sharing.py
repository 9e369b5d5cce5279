"""Whether the two responses of a pair may share their prompt in one row, exactly.

In such a row the second response must not see the first, which asks the model to take a mask and positions of our own.
Most families do; a sliding window, a state-space layer, positions counted by the model itself or an attention that takes
no mask do not. No list of families decides that, but the model: it is asked once, on a few tokens.
Imports: torch, `compute`, `rows`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from paretokit.models.compute import out_of_memory
from paretokit.rows import Rows, pad_rows, shared_rows
from paretokit.shapes import Float, Tensor

__all__ = ["Sharing", "probe"]

Scores = Callable[[Rows, bool], Float[Tensor, " N"]]  # log-probabilities of rows; the flag: with the mask of shared rows

_NOISE = 0.05  # of what a response that sees the other one changes: below it is rounding, in bfloat16 too


class Sharing(NamedTuple):
    """What a model was found to allow."""

    exact: bool
    reason: str  # why not; "" where it is
    window: int | None  # a sequence longer than this sees less than itself, and then needs a row of its own

    def allows(self, longest: int) -> bool:
        """Whether pairs may share their prompt whose longer sequence, prompt and response, has so many tokens."""
        return self.exact and (self.window is None or longest <= self.window)


def probe(config: object, scores: Scores) -> Sharing:
    """Return what the model allows, measured on one pair of a few tokens. `config` is that of its text model.

    The log-probabilities in a shared row must be those of separate rows; what they would be if the second response saw
    the first says how large a difference that is not rounding would be.
    """
    window = _window(config)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, int(getattr(config, "vocab_size")), (12,), generator=generator).tolist()  # noqa: B009 (any config)
    prompt, first, second = ids[:5], ids[5:9], ids[9:]
    shared = shared_rows([prompt], [first], [second])
    with torch.no_grad():
        expected = scores(pad_rows([prompt] * 2, [first, second]), False)
        try:
            found = scores(shared, True)
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            if out_of_memory(error):  # which says nothing of the model
                raise
            line = str(error).splitlines()[0] if str(error) else type(error).__name__
            return Sharing(False, f"its attention takes no mask of ours ({line[:120]})", window)
        seen = scores(shared, False)
    difference, leak = float((found - expected).abs().max()), float((seen - expected).abs().max())
    if not difference <= _NOISE * leak:
        return Sharing(False, f"log-probabilities in a shared row differ by {difference:.2g}", window)
    return Sharing(True, "", window)


def _window(config: object) -> int | None:
    """The shortest stretch of tokens that some layer sees, None where all see everything."""
    if getattr(config, "use_sliding_window", True) is False:
        return None
    found = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min((length for length in found if length), default=None)
