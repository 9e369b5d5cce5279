"""A policy: a causal language model with the weights that may be trained, its tokenizer, and its untouched reference.

Everything that reads a model for its log-probabilities goes through `Policy.token_logps`, which runs the model once on
a table of rows and lets the output projection see only the positions that are scored, a chunk at a time. Where that would
not be exact (`Policy.projection`), the model's own head is used, which sees those positions alone as well.
Imports: torch, transformers, peft, the ground modules, `maths.logps`, `projection`, `sharing`.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from paretokit.errors import DataError, ModelError
from paretokit.maths.logps import sum_by_sequence, token_logps
from paretokit.models import lora, saving, taps
from paretokit.models.base import Base, checksum, named_weights, weights_hash
from paretokit.models.compute import Compute, attending, checkpointed, repeatable
from paretokit.models.projection import Projection, Scorer, backbone, projection
from paretokit.models.sharing import Sharing, probe
from paretokit.rows import Rows, alike, pad_rows, visible
from paretokit.shapes import Bool, Float, Float64, Int, Tensor
from paretokit.texts import Prompt, encode_prompt, encode_response, is_chat

__all__ = ["Policy"]


_READ_AT_ONCE = 4096  # positions in one pass without gradient, which bounds memory; results do not depend on it


class Policy:
    """A model to align; made by `load_policy`. The model stays in evaluation mode: dropout is off, also in training."""

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        base: Base,
        source: str,
        adapter: str,
        at_base: bool = True,
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.base = base
        self.source = source
        self.adapter = adapter
        self.compute = Compute()
        self.heads: tuple[str, ...] = ()
        self.trainable = {lora.portable_name(n): p for n, p in model.named_parameters() if p.requires_grad}
        self._stamps = self._stamp() if at_base else None
        self._scorer: Scorer | None = None
        self._compiled: dict[str, Any] = {}

    @property
    def description(self) -> str:
        """What to print beside results: the name of the base, and how its weights came about where that matters."""
        return self.base.description

    @property
    def device(self) -> torch.device:
        """The device of the model's weights."""
        return next(self.model.parameters()).device

    @property
    def context_length(self) -> int:
        """The number of positions that the model was made for."""
        return self.model.config.get_text_config().max_position_embeddings

    @property
    def lora_config(self) -> LoraConfig | None:
        """The adapter's configuration, or None for a policy without adapter."""
        if not isinstance(self.model, PeftModel):
            return None
        return cast(LoraConfig, self.model.peft_config[lora.ADAPTER])

    @property
    def base_hash(self) -> str:
        """SHA-256 over names, dtypes, shapes and bytes of the base weights; computed once, and shared by all forks."""
        if self.base.hash is None:
            self.base.hash = weights_hash(named_weights(self.model if self._intact() else self.base.model()))
        return self.base.hash

    @property
    def sharing(self) -> Sharing:
        """Whether the two responses of a pair may share their prompt in one row; found out once for all forks."""
        if self.base.sharing is None:
            config = self.model.config.get_text_config()
            self.base.sharing = probe(config, lambda rows, shared: self._scored(self.model, rows, shared=shared))
        return self.base.sharing

    @property
    def projection(self) -> Projection:
        """How hidden states become logits, and whether that may be done in chunks; found out once for all forks."""
        if self.base.projection is None:
            self.base.projection = projection(self.model)
        return self.base.projection

    @property
    def coverage(self) -> taps.Coverage:
        """Whether one backward pass gives the gradients of every objective; found out once for all forks."""
        if self.compute.compiler is not None:
            return taps.Coverage(False, "the model is compiled, and its modules cannot be listened to", {})
        if not self.trainable:
            return taps.Coverage(True, "", {})
        if self.base.coverage is None:
            plain, self.compute = self.compute, Compute()  # what modules use which weights does not depend on it
            try:
                self.base.coverage = taps.probe(
                    self.model,
                    self.trainable,
                    lambda rows: self.token_logps(rows, shared=True),
                    self.tapped,
                    config=self.model.config.get_text_config(),
                    device=self.device,
                )
            finally:
                self.compute = plain
        return self.base.coverage

    def tapped(self, listening: taps.Taps) -> AbstractContextManager[None]:
        """Return the context in which `listening` hears of every use of the trainable weights."""
        scorer = self._own_scorer() if self.projection.exact else None
        return taps.tapped(self.model, scorer, listening)

    def token_logps(self, rows: Rows, *, shared: bool = False) -> Float[Tensor, " N"]:
        """Return log p(target | what precedes it) in nats for each scored token; differentiable, float32 or better.

        `shared`: the rows are those of `shared_rows`, which `sharing` must allow. Raises `DataError` where a sequence is
        longer than `context_length`.
        """
        return self._scored(self.model, rows, shared=shared)

    def ids_logps(
        self,
        prompts: Sequence[Sequence[int]],
        responses: Sequence[Sequence[int]],
        *,
        reference: bool = False,
        batch_size: int = 16,
    ) -> Float64[Tensor, " B"]:
        """Return the summed log-probability of each response after its prompt, both as token ids; no gradient.

        `reference` asks the base instead: the adapter switched off or, for a policy whose own weights were trained, the
        base read again from its source. Batches are made of responses of like length; the order is that of the input.
        """
        if reference and isinstance(self.model, PeftModel):
            with lora.switched_off(self.model):
                return self._summed(self.model, prompts, responses, batch_size=batch_size)
        model = self.base.model() if reference and not self._intact() else self.model
        return self._summed(model, prompts, responses, batch_size=batch_size)

    def sequence_logps(
        self, prompts: Sequence[Prompt], responses: Sequence[str], *, batch_size: int = 16
    ) -> Float64[Tensor, " B"]:
        """Return log p(response | prompt) in nats, summed over the response's tokens and its end token; no gradient."""
        return self.ids_logps(*self._encode(prompts, responses), batch_size=batch_size)

    def reference_logps(
        self, prompts: Sequence[Prompt], responses: Sequence[str], *, batch_size: int = 16
    ) -> Float64[Tensor, " B"]:
        """Return what `sequence_logps` would give on the base: the policy before any training."""
        return self.ids_logps(*self._encode(prompts, responses), reference=True, batch_size=batch_size)

    def fork(self, *, seed: int | None = None) -> "Policy":
        """Return a policy on the same base, with its own copy of the trainable weights.

        With `seed` the trainable weights start afresh: a LoRA adapter is drawn anew, a fully trainable model gets the
        base's weights. What is frozen is shared, not copied, and so is the tokenizer.
        """
        model = self._copy()
        forked = Policy(
            model,
            self.tokenizer,
            base=self.base,
            source=self.source,
            adapter=self.adapter,
            at_base=self._intact(),
        )
        if seed is not None and self.adapter == "lora":
            lora.reset(model, generator=torch.Generator().manual_seed(seed))
        if seed is not None and self.adapter == "full" and not self._intact():
            forked.load_trainable_state(dict(self.base.model().named_parameters()))
            forked._stamps = forked._stamp()
        return forked

    def at_base(self) -> bool:
        """Return whether the policy answers like its base: nothing was trained, or the adapter adds nothing yet."""
        if self.adapter != "lora":
            return self._intact()
        return not any(bool(p.any()) for name, p in self.trainable.items() if "lora_B" in name)

    def merged(self) -> PreTrainedModel | PeftModel:
        """Return the model to decode with: without the adapter's extra work, where merging it in costs no precision.

        For LoRA on a base in float32 (or float64) that is a plain model of its own, which shares every weight that the
        adapter leaves alone, and does not follow later training. Otherwise it is `model` itself.
        """
        if isinstance(self.model, PeftModel) and self.model.dtype == next(iter(self.trainable.values())).dtype:
            return lora.merged(self.model)
        return self.model

    def trainable_state(self) -> dict[str, Tensor]:
        """Return a copy of the trainable weights by name, detached."""
        return {name: parameter.detach().clone() for name, parameter in self.trainable.items()}

    @torch.no_grad()
    def load_trainable_state(self, state: Mapping[str, Tensor]) -> None:
        """Set the trainable weights to those of `state`, in place.

        Raises `ModelError`, and changes nothing, where a name is missing or unexpected or a shape differs.
        """
        saving.check_state(state, self.trainable, place="load_trainable_state")
        for name, parameter in self.trainable.items():
            parameter.copy_(state[name])

    def save(self, folder: str | Path) -> None:
        """Write what was trained, and the name and hash of the base, to a new folder that `load_policy` reads."""
        saving.save(self, Path(folder))

    def export(self, folder: str | Path) -> None:
        """Write a plain transformers folder, the adapter merged in, that `AutoModelForCausalLM` reads alone."""
        saving.export(self, Path(folder))

    def _copy(self) -> PreTrainedModel | PeftModel:
        """Return a model with its own copy of what is trainable; what is frozen is the same tensor in both."""
        frozen = [*self.model.buffers(), *(p for p in self.model.parameters() if not p.requires_grad)]
        return copy.deepcopy(self.model, {id(tensor): tensor for tensor in frozen})

    def _encode(
        self, prompts: Sequence[Prompt], responses: Sequence[str]
    ) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        if len(prompts) != len(responses):
            raise DataError(
                f"sequence_logps: found {len(prompts)} prompts and {len(responses)} responses; pass one response per prompt."
            )
        prompt_ids = [encode_prompt(self.tokenizer, prompt) for prompt in prompts]
        pairs = zip(prompts, responses, strict=True)
        return prompt_ids, [encode_response(self.tokenizer, text, chat=is_chat(prompt)) for prompt, text in pairs]

    @torch.no_grad()
    def _summed(
        self,
        model: PreTrainedModel | PeftModel,
        prompts: Sequence[Sequence[int]],
        responses: Sequence[Sequence[int]],
        *,
        batch_size: int,
    ) -> Float64[Tensor, " B"]:
        lengths = [len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True)]
        sums = torch.zeros(len(lengths), dtype=torch.float64)
        for chosen in alike(lengths, size=batch_size, budget=_READ_AT_ONCE):
            rows = pad_rows([prompts[i] for i in chosen], [responses[i] for i in chosen])
            logps = self._scored(model, rows)
            sums[chosen] = sum_by_sequence(logps.double(), rows.sequence.to(logps.device), count=len(chosen)).cpu()
        return sums

    def _scored(self, model: PreTrainedModel | PeftModel, rows: Rows, *, shared: bool = False) -> Float[Tensor, " N"]:
        inputs = _inputs(model, rows, limit=self.context_length, shared=shared)
        predicting, targets = (part.to(inputs["input_ids"].device) for part in (rows.predicting, rows.targets))
        width = rows.input_ids.shape[1]
        if not self.projection.exact:
            with self._running(model, model, width=width) as run, _only(model, predicting):
                return token_logps(run(**inputs).logits[0], targets)
        with self._running(model, backbone(model), width=width) as run:
            hidden = run(**inputs).last_hidden_state.flatten(0, 1)[predicting]
        scorer = self._own_scorer() if model is self.model else Scorer(_head(model), self.projection)
        return scorer(hidden.to(self.compute.dtype or hidden.dtype), targets)[0]

    @contextmanager
    def _running(self, model: PreTrainedModel | PeftModel, part: Any, *, width: int) -> Iterator[Callable[..., Any]]:
        """A model or its backbone, to be called as `compute` says."""
        run = part
        how = self.compute
        with ExitStack() as stack:
            if how.dtype is not None:
                stack.enter_context(torch.autocast(self.device.type, dtype=how.dtype))
            again = how.checkpointing and torch.is_grad_enabled()
            if again:
                stack.enter_context(checkpointed(run))
            elif how.compiler is None:  # a second forward pass, or a compiled one, would not be in this context
                stack.enter_context(attending(self.device, how.dtype or model.dtype, width=width))
            if how.compiler is not None and model is self.model:
                stack.enter_context(repeatable(how))
                if how.compiler not in self._compiled:
                    self._compiled[how.compiler] = torch.compile(run, backend=how.compiler, dynamic=True)
                run = self._compiled[how.compiler]
            yield run

    def _own_scorer(self) -> Scorer:
        if self._scorer is None:
            self._scorer = Scorer(_head(self.model), self.projection)
        return self._scorer

    def _stamp(self) -> list[int]:
        """What fully trainable weights are recognised by; torch's version counters would miss fused optimisers."""
        return [checksum(p) for p in self.trainable.values()] if self.adapter == "full" else []

    def _intact(self) -> bool:
        """Whether the model without its adapter is still the base."""
        return self._stamps == self._stamp()


def _head(model: PreTrainedModel | PeftModel) -> torch.nn.Linear:
    return cast(torch.nn.Linear, model.get_output_embeddings())


def _inputs(model: PreTrainedModel | PeftModel, rows: Rows, *, limit: int, shared: bool) -> dict[str, Any]:
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
        return {**read, "position_ids": position_ids, "attention_mask": _additive(visible(segments), model.dtype)}
    # Padding lies to the right, so that no real position sees it through the causal mask. Its count goes on, because
    # a count that starts again is how transformers recognises another sequence in the row, which it keeps apart.
    counting = torch.arange(width, device=device).expand_as(position_ids)
    return {**read, "position_ids": torch.where(segments > 0, position_ids, counting)}


def _additive(seen: Bool[Tensor, "R 1 T T"], dtype: torch.dtype) -> Float[Tensor, "R 1 T T"]:
    """What is added to attention scores: 0 where something is seen. All attention functions take that, not all a bool."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)


@contextmanager
def _only(model: PreTrainedModel | PeftModel, predicting: Int[Tensor, " N"]) -> Iterator[None]:
    """Let the output projection see the scored positions alone: [1, N, D] instead of [R, T, D], in their order.

    What a family does to its logits afterwards (scaling, soft-capping) is elementwise and so still right.
    """

    def gather(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0].flatten(0, 1)[predicting][None], *inputs[1:])

    head = model.get_output_embeddings()
    if head is None:
        raise ModelError(
            f"{type(model).__name__}: found no output projection (get_output_embeddings() is None), expected one that maps "
            "hidden states to logits. Use a causal language model."
        )
    hook = head.register_forward_pre_hook(gather)
    try:
        yield
    finally:
        hook.remove()
