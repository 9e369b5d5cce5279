"""How a policy reads token rows: the model is run once, and its output projection sees the scored positions alone.

They go through it a chunk at a time; where that would not be exact (`Reader.projection`), through the model's own head, which
sees those positions alone as well. Imports: torch, transformers and peft (types), the ground modules, `maths.logps`, `base`,
`compute`, `forking`, `leaks`, `projection`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from paretokit.errors import DataError, ModelError
from paretokit.forks import fork
from paretokit.maths.logps import sum_by_sequence, token_logps
from paretokit.models.base import Base
from paretokit.models.compute import Compute, checkpointed, kernels, repeatable
from paretokit.models.forking import read_forked
from paretokit.models.leaks import along_direction
from paretokit.models.projection import Projection, Scorer, backbone, own_scorer, projection
from paretokit.rows import Rows, additive, alike, pad_rows, visible
from paretokit.shapes import Float, Float64, Int, Tensor

__all__ = ["Reader", "Score", "inputs_of", "scored_only"]

Score = Callable[[Tensor, Tensor], Tensor]  # hidden states [N, D], targets [N] -> their log-probabilities [N]
_UNLIMITED = 2**31 - 1
_READ_AT_ONCE = 4096  # positions in one pass without gradient, which bounds memory; results do not depend on it


class Reader:
    """Log-probabilities from one policy's model, run as `compute` says; what was found out about its base is shared."""

    def __init__(self, model: PreTrainedModel | PeftModel, base: Base) -> None:
        self.model = model
        self.base = base
        self.compute = Compute()
        self._scorer: Scorer | None = None
        self._compiled: dict[str, Any] = {}

    @property
    def context_length(self) -> int:
        """The number of positions that the model was made for; a model that counts none, a recurrent one, has no limit."""
        config = self.model.config.get_text_config()
        return getattr(config, "max_position_embeddings", None) or _UNLIMITED

    @property
    def projection(self) -> Projection:
        """How hidden states become logits, and whether that may be done in chunks; found out once for a base."""
        if self.base.projection is None:
            self.base.projection = projection(self.model)
        return self.base.projection

    def own_scorer(self) -> Scorer:
        """Return the scorer of the model's own output projection; always the same one, so that it can be hooked."""
        if self._scorer is None:
            self._scorer = own_scorer(self.model, self.projection)
        return self._scorer

    def logps(
        self,
        rows: Rows,
        *,
        shared: bool = False,
        forked: bool = False,
        score: Score | None = None,
        model: PreTrainedModel | PeftModel | None = None,
    ) -> Float[Tensor, " N"]:
        """Return the log-probability of each scored token; differentiable. `score` makes them of hidden states (default: the
        output projection); `model` is another one to run, such as the base. `shared`: the rows are those of `shared_rows`, read
        with a mask; `forked`: they are, a pair in each, and what is held after a prompt goes to both responses."""
        run = self.model if model is None else model
        predicting, targets = (part.to(next(run.parameters()).device) for part in (rows.predicting, rows.targets))
        if not self.projection.exact and forked:
            made = fork(_on(rows, next(run.parameters()).device))
            with self._running(run, run, rows=rows) as call:
                before, after = read_forked(call, made)
            return token_logps(made.after(before.logits, after.logits), targets)
        if not self.projection.exact:
            inputs = inputs_of(run, rows, limit=self.context_length, shared=shared)
            with self._running(run, run, rows=rows) as call, scored_only(run, predicting):
                return token_logps(call(**inputs).logits[0], targets)
        hidden = self._forked(rows, run) if forked else self.hidden(rows, predicting, shared=shared, model=run)
        hidden = hidden.to(self.compute.dtype or hidden.dtype)
        if score is not None:
            return score(hidden, targets)
        scorer = self.own_scorer() if run is self.model else own_scorer(run, self.projection)
        return scorer(hidden, targets)[0]

    def trial(self, rows: Rows, *, shared: bool) -> Float[Tensor, " N"]:
        """Return a number for each scored token by which rows are compared, differentiable: its log-probability, or of a model
        without an output projection its hidden state along a fixed random direction."""
        if self.model.get_output_embeddings() is not None:
            return self.logps(rows, shared=shared)
        return along_direction(self.hidden(rows, rows.predicting, shared=shared))

    def hidden(
        self,
        rows: Rows,
        places: Int[Tensor, " N"],
        *,
        shared: bool = False,
        model: PreTrainedModel | PeftModel | None = None,
    ) -> Float[Tensor, "N D"]:
        """Return the backbone's last hidden states, after its final norm, at `places`: flat indices into the rows;
        differentiable. `shared`, `model` as in `logps`."""
        run = self.model if model is None else model
        inputs = inputs_of(run, rows, limit=self.context_length, shared=shared)
        with self._running(run, backbone(run), rows=rows) as call:
            states = call(**inputs).last_hidden_state.flatten(0, 1)
        return states[places.to(states.device)]

    def _forked(self, rows: Rows, run: PreTrainedModel | PeftModel) -> Float[Tensor, "N D"]:
        """The hidden states that predict the scored tokens, of prompts that are read once."""
        made = fork(_on(rows, next(run.parameters()).device))
        with self._running(run, backbone(run), rows=rows) as call:
            before, after = read_forked(call, made)
        return made.after(before.last_hidden_state, after.last_hidden_state)

    @torch.no_grad()
    def sums(
        self,
        prompts: Sequence[Sequence[int]],
        responses: Sequence[Sequence[int]],
        *,
        batch_size: int,
        score: Score | None = None,
        model: PreTrainedModel | PeftModel | None = None,
    ) -> Float64[Tensor, " B"]:
        """Return the summed log-probability of each response after its prompt, on the CPU; `score`, `model` as in `logps`."""
        lengths = [len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True)]
        sums = torch.zeros(len(lengths), dtype=torch.float64)
        for chosen in alike(lengths, size=batch_size, budget=_READ_AT_ONCE):
            rows = pad_rows([prompts[i] for i in chosen], [responses[i] for i in chosen])
            logps = self.logps(rows, score=score, model=model)
            sums[chosen] = sum_by_sequence(logps.double(), rows.sequence.to(logps.device), count=len(chosen)).cpu()
        return sums

    @contextmanager
    def _running(self, model: PreTrainedModel | PeftModel, part: Any, *, rows: Rows) -> Iterator[Callable[..., Any]]:
        """A model or its backbone, to be called as `compute` says."""
        run, how, device = part, self.compute, next(model.parameters()).device
        with ExitStack() as stack:
            if how.dtype is not None:
                stack.enter_context(torch.autocast(device.type, dtype=how.dtype))
            if how.checkpointing and torch.is_grad_enabled():
                stack.enter_context(checkpointed(run))
            elif how.compiler is None:  # a second forward pass, or a compiled one, would not be in this context
                stack.enter_context(kernels(model, how, rows=rows.input_ids))
            if how.compiler is not None and model is self.model:
                stack.enter_context(repeatable(how))
                if how.compiler not in self._compiled:
                    self._compiled[how.compiler] = torch.compile(run, backend=how.compiler, dynamic=True)
                run = self._compiled[how.compiler]
            yield run


def _on(rows: Rows, device: torch.device) -> Rows:
    return Rows(*(part.to(device) for part in rows))


def inputs_of(model: PreTrainedModel | PeftModel, rows: Rows, *, limit: int, shared: bool) -> dict[str, Any]:
    """What a model is called with to read rows."""
    width = rows.input_ids.shape[1]
    if width > limit and not shared:  # a shared row is longer than its sequences
        raise DataError(
            f"log-probabilities: a row holds {width} positions, but the model was made for {limit}; "
            "shorten prompt and response, or set max_length."
        )
    device = next(model.parameters()).device
    input_ids, position_ids, segments = (part.to(device) for part in rows[:3])
    read = {"input_ids": input_ids, "use_cache": False}
    if shared:
        return {**read, "position_ids": position_ids, "attention_mask": additive(visible(segments), model.dtype)}
    # Padding lies to the right, so that no real position sees it through the causal mask. Its count goes on, because
    # a count that starts again is how transformers recognises another sequence in the row, which it keeps apart.
    counting = torch.arange(width, device=device).expand_as(position_ids)
    return {**read, "position_ids": torch.where(segments > 0, position_ids, counting)}


@contextmanager
def scored_only(model: PreTrainedModel | PeftModel, predicting: Int[Tensor, " N"]) -> Iterator[None]:
    """Let the output projection see the scored positions alone: [1, N, D] instead of [R, T, D], in their order.

    What a family does to its logits afterwards (scaling, soft-capping) is elementwise and so still right.
    """

    def gather(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0].flatten(0, 1)[predicting][None], *inputs[1:])

    head = model.get_output_embeddings()
    if head is None:
        raise ModelError(
            f"{type(model).__name__}: found no output projection (get_output_embeddings() is None), expected one that maps "
            "hidden states to logits. Use a causal language model; this one can be the backbone of a reward model alone."
        )
    hook = head.register_forward_pre_hook(gather)
    try:
        yield
    finally:
        hook.remove()
