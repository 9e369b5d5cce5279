"""Whether the two responses of a pair may share their prompt in one row, exactly.

In such a row the second response must not see the first, which asks the model to take a mask and positions of our own. Layers
that carry a state along the row, or convolve along it, take no mask, and say nothing; a sparse attention chooses among all that
is there. So it is decided three times, and each time may say no: by the structure of the model (`layer_kinds`), by a small
random model of its class (`small_twin`), where windows are short and no weight is near zero, and by the model itself. Where the
structure is not known and no small model can be made, responses keep rows of their own.

What is measured is exact. The mask's numbers are so low that softmax gives a hidden position the weight 0, not a small one;
so the derivative of a response's log-probability with respect to the embedding of a token that it must not see is 0, to the
last bit, in any precision, and a leak of any size makes it another number. What is not differentiable (a choice among tokens)
shows where tokens of the other response are exchanged, and what counts positions by itself against rows of their own.

Where one row is not exact, the prompt may still be read once: what the model holds after it goes to both responses (`forking`).
Imports: torch, `compute`, `layer_kinds`, `leaks`, `small_twin`, `rows`.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch

from paretokit.models.compute import out_of_memory
from paretokit.models.layer_kinds import layer_kinds
from paretokit.models.leaks import Pairs, along_direction, drawn_pairs, seen_unasked
from paretokit.models.small_twin import WINDOW, Asked, redraw, small_twin, windows
from paretokit.rows import Rows, additive, visible
from paretokit.shapes import Float, Tensor

__all__ = ["Sharing", "decide", "probe"]

Scores = Callable[[Rows, bool], Float[Tensor, " N"]]  # log-probabilities of rows; the flag: with the mask of shared rows

_NOISE = 0.05  # of what a response that sees the other one changes: below it is rounding, in bfloat16 too
_CLOSE = 1e-4  # in nats, for each nat of the largest log-probability: what float32 rounds in a small model
_DRAWS = ((0, 1.0), (1, 2.0))  # seed and size of a small model's weights
_SHORT = ((5, 6, 10), (1, 3, 1), (7, 2, 9), (2, 14, 3), (12, 4, 4))  # prompt, first and second response: within a window
_LONG = ((60, 40, 50), (3, 70, 30))


class Sharing(NamedTuple):
    """What a model was found to allow."""

    exact: bool
    reason: str  # why not; "" where it is
    window: int | None  # a sequence longer than this sees less than itself, and then needs a row of its own

    def allows(self, longest: int) -> bool:
        """Whether pairs may share their prompt whose longer sequence, prompt and response, has so many tokens."""
        return self.exact and (self.window is None or longest <= self.window)


def decide(model: Any, scores: Scores) -> Sharing:
    """Return what `model` allows; `scores` reads rows with it, as it stands."""
    config = model.config.get_text_config()
    window = min(windows(config).values(), default=None)
    kinds = layer_kinds(model, config)
    if kinds.reason:
        return Sharing(False, kinds.reason, window)
    found = probe(config, scores, model=model)
    if not found.exact:
        return found
    reason = _of_twin(Asked(model))
    if reason is None and kinds.foreign:
        named = ", ".join(kinds.foreign[:3])
        return Sharing(False, f"nothing is known of its modules ({named}), and no small model of its class can be made", window)
    return Sharing(not reason, reason or "", window)


def probe(config: Any, scores: Scores, *, model: Any = None) -> Sharing:
    """Return what the model allows, measured on one pair of a few tokens. `config` is that of its text model.

    The log-probabilities in a shared row must be those of separate rows; what they would be if the second response saw
    the first says how large a difference that is not rounding would be. Where `model` is given, that has the embeddings by
    which derivatives are taken.
    """
    window = min(windows(config).values(), default=None)
    pairs = drawn_pairs([(5, 4, 3)], vocabulary=int(config.vocab_size))
    with torch.no_grad():
        expected = scores(pairs.apart, False)
        try:
            found = scores(pairs.shared(), True)
        except (RuntimeError, ValueError, TypeError, NotImplementedError, AttributeError, IndexError, KeyError) as error:
            if out_of_memory(error):  # which says nothing of the model
                raise
            line = str(error).splitlines()[0] if str(error) else type(error).__name__
            return Sharing(False, f"its attention takes no mask of ours ({line[:120]})", window)
        seen = scores(pairs.shared(), False)
    difference, leak = float((found - expected).abs().max()), float((seen - expected).abs().max())
    if not difference <= _NOISE * leak:
        return Sharing(False, f"log-probabilities in a shared row differ by {difference:.2g}", window)
    slope = 0.0 if model is None else seen_unasked(model, pairs, scores)
    return Sharing(slope == 0.0, "" if slope == 0.0 else _leak(slope), window)


@lru_cache(maxsize=256)
def _of_twin(asked: Asked) -> str | None:
    """What a small random model does that keeps responses from sharing, "" where nothing; None where there is no such model."""
    model = small_twin(asked.taken()).model
    if model is None:
        return None

    def scores(rows: Rows, shared: bool) -> Float[Tensor, " N"]:
        read: dict[str, Any] = {"input_ids": rows.input_ids, "position_ids": rows.position_ids, "use_cache": False}
        if shared:
            read["attention_mask"] = additive(visible(rows.segments), torch.float32)
        else:
            counting = torch.arange(rows.input_ids.shape[1]).expand_as(rows.position_ids)
            read["position_ids"] = torch.where(rows.segments > 0, rows.position_ids, counting)
        output = model(**read)
        if not hasattr(output, "logits"):
            return along_direction(output.last_hidden_state.flatten(0, 1)[rows.predicting])
        logits = output.logits.flatten(0, 1)[rows.predicting]
        return torch.log_softmax(logits.float(), dim=-1).gather(1, rows.targets[:, None])[:, 0]

    config = model.config.get_text_config()
    limited = bool(windows(config))
    lengths = _SHORT if limited else (*_SHORT[:3], *_LONG)
    assert not limited or max(one + max(rest) for one, *rest in lengths) <= WINDOW, "a row of its own would be cut"
    room = getattr(config, "max_position_embeddings", None) or 10**6
    lengths = [each for each in lengths if each[0] + max(each[1:]) <= room]
    for seed, gain in _DRAWS:
        redraw(model, seed=seed, gain=gain)
        pairs = drawn_pairs(lengths, vocabulary=int(config.vocab_size), seed=seed)
        slope = seen_unasked(model, pairs, scores)
        if slope != 0.0:
            return f"in a small model of its class {_leak(slope)}"
        for what, difference, scale in (*_against_own_rows(pairs, scores), *_with_another_response(pairs, scores)):
            if not difference <= _CLOSE * max(1.0, scale):
                return f"log-probabilities of a small model of its class {what} by {difference:.2g}"
    return ""


@torch.no_grad()
def _against_own_rows(pairs: Pairs, scores: Scores) -> list[tuple[str, float, float]]:
    expected, found = scores(pairs.apart, False), scores(pairs.shared(), True)
    return [("differ in a shared row", float((found - expected).abs().max()), float(expected.abs().max()))]


@torch.no_grad()
def _with_another_response(pairs: Pairs, scores: Scores) -> list[tuple[str, float, float]]:
    """What changes of the second responses where the first ones are others."""
    rows, others = pairs.shared(), pairs.with_other_first().shared()
    found, changed = scores(rows, True), scores(others, True)
    second = rows.sequence >= pairs.count
    difference = (found - changed)[second].abs().max()
    return [("change with the other response of a row", float(difference), float(found.abs().max()))]


def _leak(slope: float) -> str:
    return f"a response sees the other one of its row (its log-probability changes by {slope:.2g} with an embedding there)"
