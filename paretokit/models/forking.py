"""What a model holds after a prompt, given to both responses of a pair; gradients go back through it.

transformers writes a state over the one before it, which autograd forbids where that was read. So after the prompt each layer
has the states of its rows handed out as new tensors, and gives back what it would have kept without keeping it. Whether the
log-probabilities and gradients are then those of separate rows is measured for a class and configuration on a small random
model (`forking`). Imports: torch, `continuing`, `leaks`, `small_twin`, `stepwise`, `forks`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, NamedTuple
from unittest import mock

import torch
from transformers.cache_utils import DynamicCache, LinearAttentionCacheLayerMixin

from paretokit.forks import Fork, fork
from paretokit.models.compute import out_of_memory
from paretokit.models.continuing import cache_of
from paretokit.models.leaks import Pairs, drawn_pairs
from paretokit.models.small_twin import Asked, redraw, small_twin
from paretokit.models.stepwise import chosen_rows
from paretokit.rows import Rows
from paretokit.shapes import Float, Tensor

__all__ = ["Forking", "forking", "read_forked"]

_LENGTHS = ((9, 3, 5), (1, 2, 1), (21, 7, 18), (4, 1, 1))  # beyond the windows and chunks of a small model
_DRAWS = ((0, 1.0), (1, 2.0))
_NOISE = 0.05  # of what another prompt changes: below it is rounding, in bfloat16 too
_CLOSE = 1e-9  # of the largest number: all is in float64


def read_forked(call: Callable[..., Any], made: Fork) -> tuple[Any, Any]:
    """Return the outputs of a model, or a backbone, on the prompts and on the responses; differentiable."""
    before = call(input_ids=made.prompts, position_ids=made.prompt_positions, attention_mask=made.prompt_mask, use_cache=True)
    name, cache = cache_of(before)
    if type(cache) is not DynamicCache:
        raise TypeError(f"its cache is {'none' if cache is None else f'a {type(cache).__name__}'}")
    both = torch.arange(len(made.prompts), device=made.prompts.device).repeat(2)
    held = chosen_rows(cache, both)
    for layer in held.layers:
        if isinstance(layer, LinearAttentionCacheLayerMixin):
            setattr(layer, "update_conv_state", partial(_joined, layer))  # noqa: B010 (in place of a method)
            setattr(layer, "update_recurrent_state", _as_it_is)  # noqa: B010
    mask = torch.cat([made.prompt_mask.repeat(2, 1), torch.ones_like(made.responses)], dim=1)
    after = call(
        input_ids=made.responses,
        position_ids=made.response_positions,
        attention_mask=mask,
        use_cache=True,
        **{name: held},
    )
    return before, after


def _joined(layer: Any, conv_states: Tensor, state_idx: int, **how: Any) -> Tensor:
    """What a convolution sees: the columns before, and the new ones."""
    return torch.cat([layer.conv_states[state_idx], conv_states], dim=-1)


def _as_it_is(recurrent_states: Tensor, state_idx: int, **how: Any) -> Tensor:
    return recurrent_states


class Forking(NamedTuple):
    """Whether what a model holds after a prompt may be given to both responses."""

    exact: bool
    reason: str  # why not; "" where it may


def forking(
    model: Any, scores: Callable[[Rows], Float[Tensor, " N"]], forked: Callable[[Rows], Float[Tensor, " N"]]
) -> Forking:
    """Return whether a model gives what it holds after a prompt to both responses, exactly.

    A small model of its class decides it, in float64; then the model itself is looked at, whose log-probabilities are `scores`,
    and `forked` for rows that are read in two parts.
    """
    reason = _of_twin(Asked(model)) or _forked_otherwise(model.config.get_text_config(), scores, forked)
    return Forking(not reason, reason)


@torch.no_grad()
def _forked_otherwise(
    config: Any, scores: Callable[[Rows], Float[Tensor, " N"]], forked: Callable[[Rows], Float[Tensor, " N"]]
) -> str:
    """What the loaded model does with forked prompts that it does not with separate rows; "" where nothing."""
    pairs = drawn_pairs([(6, 4, 3), (5, 2, 5)], vocabulary=int(config.vocab_size))
    others = drawn_pairs([(6, 4, 3), (5, 2, 5)], vocabulary=int(config.vocab_size), seed=1)
    try:
        found = forked(pairs.shared(together=False))
    except (RuntimeError, ValueError, TypeError, NotImplementedError, AttributeError, IndexError, KeyError) as error:
        if out_of_memory(error):
            raise
        return f"it does not go on from what it holds ({(str(error).splitlines() or [''])[0][:120]})"
    expected = scores(pairs.apart)
    unseen = scores(pairs._replace(prompts=others.prompts).apart)  # as if what it holds were another prompt's
    difference, scale = float((found - expected).abs().max()), float((unseen - expected).abs().max())
    return "" if difference <= _NOISE * scale else f"log-probabilities after a forked prompt differ by {difference:.2g}"


@lru_cache(maxsize=256)
def _of_twin(asked: Asked) -> str:
    model = small_twin(asked.taken()).model
    if model is None:
        return "no small model of its class can be made, which would show whether that is exact"
    config = model.config.get_text_config()
    room = getattr(config, "max_position_embeddings", None) or 10**6
    lengths = [each for each in _LENGTHS if each[0] + max(each[1:]) <= room]
    with _wide():
        model.double()
        for seed, gain in _DRAWS:
            redraw(model, seed=seed, gain=gain)
            model.requires_grad_(True)
            pairs = drawn_pairs(lengths, vocabulary=int(config.vocab_size), seed=seed)
            try:
                reason = _differs(model, pairs)
            except Exception as error:  # a layer that was not made for it may fail in any way
                if out_of_memory(error):
                    raise
                line = (str(error).strip().splitlines() or [type(error).__name__])[0]
                return f"it does not go on from the state after a prompt ({line[:120]})"
            finally:
                model.requires_grad_(False)
            if reason:
                return reason
    return ""


def _differs(model: Any, pairs: Pairs) -> str:
    """What of forked rows is not that of separate ones."""
    weights = list(model.parameters())
    generator = torch.Generator().manual_seed(5)
    found = []
    for scores in (_apart(model, pairs), _forked(model, pairs)):
        slopes = torch.randn(scores.shape, generator=generator.manual_seed(5), dtype=scores.dtype)
        found.append((scores.detach(), torch.autograd.grad((scores * slopes).sum(), weights, allow_unused=True)))
    (expected, plain), (logps, forked) = found
    far = float((logps - expected).abs().max())
    if not far <= _CLOSE * max(1.0, float(expected.abs().max())):
        return f"log-probabilities after a forked prompt differ by {far:.2g} in a small model of its class"
    largest = max(float(part.abs().max()) for part in plain if part is not None)
    for one, other in zip(plain, forked, strict=True):
        part = 0.0 if one is None and other is None else _distance(one, other)
        if not part <= _CLOSE * max(1.0, largest):
            return f"gradients through a forked prompt differ by {part:.2g} in a small model of its class"
    return ""


def _distance(one: Tensor | None, other: Tensor | None) -> float:
    if one is None or other is None:
        lone = one if other is None else other
        return 0.0 if lone is None else float(lone.abs().max())
    return float((one - other).abs().max())


def _apart(model: Any, pairs: Pairs) -> Float[Tensor, " N"]:
    rows = pairs.apart
    counting = torch.arange(rows.input_ids.shape[1]).expand_as(rows.position_ids)
    logits = model(input_ids=rows.input_ids, position_ids=counting, use_cache=False).logits.flatten(0, 1)
    return _picked(logits[rows.predicting], rows)


def _forked(model: Any, pairs: Pairs) -> Float[Tensor, " N"]:
    rows = pairs.shared(together=False)
    made = fork(rows)
    before, after = read_forked(model, made)
    return _picked(made.after(before.logits, after.logits), rows)


def _picked(logits: Float[Tensor, "N V"], rows: Rows) -> Float[Tensor, " N"]:
    return torch.log_softmax(logits, dim=-1).gather(1, rows.targets[:, None])[:, 0]


@contextmanager
def _wide() -> Iterator[None]:
    """Float32 is float64, in the norms, softmaxes and recurrences that transformers computes in float32 in any model: so that
    what is left between two ways is no rounding, but a difference."""
    names = mock.patch.multiple(torch, float32=torch.float64, float=torch.float64)
    with names, mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
        yield
