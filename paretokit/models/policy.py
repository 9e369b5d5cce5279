"""A policy: a causal language model with the weights that may be trained, its tokenizer, and its untouched reference.

How it reads token rows is in `reading`. A policy with action heads (`heads`) has an output projection for each objective
in place of its model's, and mixes them by weights where it answers.
Imports: torch, transformers, peft, the ground modules, `maths`, the other modules of this floor.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig, PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from paretokit.errors import ConfigError, DataError
from paretokit.maths.simplex import Weights, resolve
from paretokit.models import branches, lora, merging, saving, taps
from paretokit.models.base import Base, checksum, named_weights, weights_hash
from paretokit.models.compute import Compute
from paretokit.models.forking import Forking, forking
from paretokit.models.heads import Heads, RowHead
from paretokit.models.projection import Projection, Scorer
from paretokit.models.reading import Reader, Score
from paretokit.models.sharing import Sharing, decide
from paretokit.rows import Rows
from paretokit.shapes import Float, Float64, Int, Tensor
from paretokit.templates import ChatFormat
from paretokit.texts import Prompt, encode_prompt, encode_response, is_chat

__all__ = ["Policy"]


class Policy:
    """A model to align; made by `load_policy`. The model stays in evaluation mode: dropout is off, also in training."""

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        chat: ChatFormat | None = None,
        base: Base,
        source: str,
        adapter: str,
        heads: Heads | None = None,
        at_base: bool = True,
    ) -> None:
        self.model = model.eval()
        self.chat = ChatFormat(tokenizer) if chat is None else chat  # how texts become ids; `texts` takes it
        self.base = base
        self.source = source
        self.adapter = adapter
        self.reader = Reader(model, base)
        self.bank = heads
        self._backbone = {lora.portable_name(n): p for n, p in model.named_parameters() if p.requires_grad}
        self._stamps = self._stamp() if at_base else None
        self._plain: tuple[list[int], PreTrainedModel] | None = None
        self._trained_at: taps.Places | None = None

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, as transformers has it. Encode with `chat`, which knows the options, the date and the ends too."""
        return self.chat.tokenizer

    @property
    def trainable(self) -> dict[str, Tensor]:
        """The weights that may be trained, by name: those of the backbone, then those of the heads."""
        return {**self._backbone, **({} if self.bank is None else self.bank.parameters())}

    @property
    def heads(self) -> tuple[str, ...]:
        """The objectives that have an action head of their own; none for a policy with one output projection."""
        return () if self.bank is None else self.bank.names

    @property
    def compute(self) -> Compute:
        """How the model is run: its precision, compiled or not, what is kept for the backward pass."""
        return self.reader.compute

    @compute.setter
    def compute(self, how: Compute) -> None:
        """Run the model so from now on."""
        self.reader.compute = how

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
        return self.reader.context_length

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
            with self._looked_at():
                self.base.sharing = decide(self.model, lambda rows, shared: self.reader.trial(rows, shared=shared))
        return self.base.sharing

    @property
    def forking(self) -> Forking:
        """Whether a prompt may be read once, and what the model holds then be given to both responses of a pair: what is done
        where `sharing` does not allow one row. Found out once for all forks; not while layers are computed twice.

        A layer that is computed once more for its backward pass would go on from its own state, and a compiled model has no
        cache that it may hand out.
        """
        if self.compute.compiler is not None:
            return Forking(False, "the model is compiled, and hands out no cache")
        if self.compute.checkpointing:
            return Forking(False, "with checkpointing a layer is computed once more, which would go on from its own state")
        if self.base.forking is None:
            with self._looked_at():
                self.base.forking = forking(self.model, self.reader.logps, lambda rows: self.reader.logps(rows, forked=True))
        return self.base.forking

    @property
    def projection(self) -> Projection:
        """How hidden states become logits, and whether that may be done in chunks; found out once for all forks."""
        return self.reader.projection

    @property
    def coverage(self) -> taps.Coverage:
        """Whether one backward pass gives the gradients of every objective; found out once for all forks."""
        if self.compute.compiler is not None:
            return taps.Coverage(False, "the model is compiled, and its modules cannot be listened to", {})
        if self.model.get_output_embeddings() is None:
            return taps.Coverage(False, self.projection.reason, {})
        if not self._backbone:
            return taps.Coverage(True, "", {})
        if self.base.coverage is None:
            masked = self.sharing.exact  # else a model may refuse our masks, as Bloom does
            with self._looked_at():
                self.base.coverage = taps.probe(
                    self.model,
                    self._backbone,
                    lambda rows: self.reader.logps(rows, shared=masked),
                    self.tapped,
                    self.in_one_piece(),
                    config=self.model.config.get_text_config(),
                    device=self.device,
                )
        return self.base.coverage

    @contextmanager
    def _looked_at(self) -> Iterator[None]:
        """Find something out about the model by derivatives: run as it is, and also where a caller wants none (decoding)."""
        how, self.compute = self.compute, Compute()  # what is found out does not depend on it
        try:
            with torch.inference_mode(False):
                yield
        finally:
            self.compute = how

    def tapped(self, listening: taps.Taps) -> AbstractContextManager[None]:
        """Return the context in which `listening` hears of every use of the trainable weights."""
        scorers = [] if self.bank is None else list(self.bank.scorers.values())
        listened = [*scorers, self.reader.own_scorer()] if self.projection.exact else []
        return taps.tapped(self.model, self._places(), listened, listening)

    def in_one_piece(self) -> AbstractContextManager[None]:
        """Return the context in which LoRA's branches are run in one piece, for a pass forward and back through one loss."""
        return branches.in_one_piece([] if self.compute.compiler is not None else self._places().layers)

    def token_logps(
        self, rows: Rows, *, shared: bool = False, forked: bool = False, through: Int[Tensor, " N"] | None = None
    ) -> Float[Tensor, " N"]:
        """Return log p(target | what precedes it) in nats for each scored token; differentiable, float32 or better.

        `shared`: the rows are those of `shared_rows`, which `sharing` must allow. `forked`: they are those, a pair in each, and
        each prompt is read once before its responses, which `forking` must allow. `through` holds, on the CPU, the number of
        the head that each scored token goes through: needed where there are heads. Raises `DataError` where a sequence is
        longer than `context_length`.
        """
        if (self.bank is None) != (through is None):
            raise ConfigError(
                f"token_logps: found {'no' if through is None else 'numbers of'} heads for a policy with "
                f"{len(self.heads)} heads. Pass `through` for a policy that has heads, and only then."
            )
        return self.reader.logps(rows, shared=shared and not forked, forked=forked, score=self._through(through))

    def ids_logps(
        self,
        prompts: Sequence[Sequence[int]],
        responses: Sequence[Sequence[int]],
        *,
        reference: bool = False,
        head: str | None = None,
        weights: Weights | None = None,
        extrapolate: bool = False,
        batch_size: int = 16,
    ) -> Float64[Tensor, " B"]:
        """Return the summed log-probability of each response after its prompt, both as token ids; no gradient.

        `reference` asks the base instead: the adapter switched off or, for a policy whose own weights were trained, the
        base read again from its source. Otherwise a policy with heads needs `head`, the name of one, or `weights` to mix
        them by. Batches are made of responses of like length; the order is that of the input.
        """
        if reference and (head is not None or weights is not None):
            raise ConfigError(
                "reference: found a head or weights as well, expected neither: the base has no heads. Leave them out."
            )
        if reference and isinstance(self.model, PeftModel):
            with lora.switched_off(self.model):
                return self.reader.sums(prompts, responses, batch_size=batch_size)
        if reference:
            model = self.model if self._intact() else self.base.model()
            return self.reader.sums(prompts, responses, batch_size=batch_size, model=model)
        score = self._mixed(head=head, weights=weights, extrapolate=extrapolate)
        return self.reader.sums(prompts, responses, batch_size=batch_size, score=score)

    def sequence_logps(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        *,
        head: str | None = None,
        weights: Weights | None = None,
        extrapolate: bool = False,
        batch_size: int = 16,
    ) -> Float64[Tensor, " B"]:
        """Return log p(response | prompt) in nats, summed over the response's tokens and its end token; no gradient.

        A policy with heads answers through one, `head`, or through their mixture by `weights`, which sum to one and are not
        negative unless `extrapolate`.
        """
        encoded = self._encode(prompts, responses)
        return self.ids_logps(*encoded, head=head, weights=weights, extrapolate=extrapolate, batch_size=batch_size)

    def reference_logps(
        self, prompts: Sequence[Prompt], responses: Sequence[str], *, batch_size: int = 16
    ) -> Float64[Tensor, " B"]:
        """Return what `sequence_logps` would give on the base: the policy before any training."""
        return self.ids_logps(*self._encode(prompts, responses), reference=True, batch_size=batch_size)

    def add_head(self, name: str, *, seed: int = 0) -> None:
        """Add an action head for a further objective, a copy of the base; the other heads stay as they are."""
        self._heads().add(name, seed=seed)

    def remove_head(self, name: str) -> None:
        """Remove the action head of an objective; the other heads stay as they are. The last one cannot be removed."""
        bank = self._heads()
        bank.check(name)
        if len(bank.names) == 1:
            raise ConfigError(
                f"head {name!r}: found no other head, expected one to stay. Load the policy without heads instead."
            )
        bank.remove(name)

    def fork(self, *, seed: int | None = None) -> "Policy":
        """Return a policy on the same base, with its own copy of the trainable weights.

        With `seed` the trainable weights start afresh: a LoRA adapter is drawn anew, a fully trainable model gets the
        base's weights. What is frozen is shared, not copied, and so are the tokenizer and its
        chat format.
        """
        model = self._copy()
        heads = None if self.bank is None else self.bank.copied()
        forked = Policy(
            model,
            self.tokenizer,
            chat=self.chat,
            base=self.base,
            source=self.source,
            adapter=self.adapter,
            heads=heads,
            at_base=self._intact(),
        )
        if seed is not None and self.adapter == "lora":
            lora.reset(model, generator=torch.Generator().manual_seed(seed))
        if seed is not None and heads is not None:
            heads.reset(seed=seed)
        if seed is not None and self.adapter == "full" and not self._intact():
            base = dict(self.base.model().named_parameters())
            _assign(forked._backbone, {name: base[name] for name in forked._backbone})
            forked._stamps = forked._stamp()
        return forked

    def at_base(self) -> bool:
        """Return whether the policy answers like its base: nothing was trained, or what was added adds nothing yet."""
        if self.bank is not None and not self.bank.at_base():
            return False
        if self.adapter != "lora":
            return self._intact()
        return not any(bool(p.any()) for name, p in self._backbone.items() if "lora_B" in name)

    def mixture(self, weights: Weights | None, *, extrapolate: bool = False, place: str = "weights") -> tuple[float, ...]:
        """Return the weights by which the heads are mixed, checked, in the order of `heads`; () for a policy without heads.

        They sum to one and are not negative unless `extrapolate`. Raises `ConfigError` for weights on a policy without heads
        and for none on one with heads, `WeightsError` for unfit ones.
        """
        if self.bank is None:
            if weights is not None:
                raise ConfigError(
                    f"{place}: found weights for a policy that has no heads to weigh, expected none. Leave them out, load the "
                    "policy with heads=[...], or train one policy per weighting."
                )
            return ()
        if weights is None:
            raise ConfigError(
                f"{place}: found none for a policy with the heads {', '.join(self.heads)}, expected one weight for each. "
                "Pass weights that sum to 1."
            )
        return resolve(weights, self.heads, place=place, extrapolate=extrapolate)

    def merged(self, weights: Weights | None = None, *, extrapolate: bool = False) -> PreTrainedModel | PeftModel:
        """Return the model to decode with: without the adapter's extra work, where merging it in costs no precision.

        For LoRA on a base in float32 (or float64) that is a plain model of its own, which shares every weight that the
        adapter leaves alone, and does not follow later training. Otherwise it is `model` itself. Heads are folded to one
        output projection by `weights`, see `mixture`.
        """
        mixture = self.mixture(weights, extrapolate=extrapolate)
        if self.bank is None:
            return self._without_adapter()
        head = self.bank.folded(torch.tensor(mixture, dtype=torch.float64))
        return merging.with_head(self._without_adapter(), merging.linear(head.to(self.model.dtype)))

    def by_row(self, weights: Float[Tensor, "B H"]) -> tuple[PreTrainedModel | PeftModel, RowHead]:
        """Return the model to decode B rows with, each by weights of its own that sum to one, and its output projection."""
        bank = self._heads()
        dtype = self.model.dtype
        head = RowHead([bank.head(name).to(dtype) for name in bank.names], weights.to(self.device, dtype))
        return merging.with_head(self._without_adapter(), head), head

    def trainable_state(self) -> dict[str, Tensor]:
        """Return a copy of the trainable weights by name, detached."""
        return {name: parameter.detach().clone() for name, parameter in self.trainable.items()}

    @torch.no_grad()
    def load_trainable_state(self, state: Mapping[str, Tensor]) -> None:
        """Set the trainable weights to those of `state`, in place.

        Raises `ModelError`, and changes nothing, where a name is missing or unexpected or a shape differs.
        """
        saving.check_state(state, self.trainable, place="load_trainable_state")
        _assign(self.trainable, state)

    def save(self, folder: str | Path) -> None:
        """Write what was trained, and the name and hash of the base, to a new folder that `load_policy` reads."""
        saving.save(self, Path(folder))

    def export(self, folder: str | Path, *, weights: Weights | None = None, extrapolate: bool = False) -> None:
        """Write a plain transformers folder that `AutoModelForCausalLM` reads alone: the adapter merged in, and the heads
        folded to one output projection by `weights`, see `mixture`; a tied one is untied then."""
        saving.export(self, Path(folder), mixture=self.mixture(weights, extrapolate=extrapolate))

    def _places(self) -> taps.Places:
        """Where the backbone is trained, found once."""
        if self._trained_at is None:
            self._trained_at = taps.places(self.model)
        return self._trained_at

    def _heads(self) -> Heads:
        if self.bank is None:
            raise ConfigError("policy: found no heads, expected some. Load it with load_policy(..., heads=[...]).")
        return self.bank

    def _without_adapter(self) -> PreTrainedModel | PeftModel:
        """The model with its adapter merged in, where that costs no precision. For heads, which are mixed again and again, it
        is kept until the adapter changes."""
        if not isinstance(self.model, PeftModel) or self.model.dtype != next(iter(self._backbone.values())).dtype:
            return self.model
        if self.bank is None:
            return lora.merged(self.model)
        stamps = [checksum(weight) for weight in self._backbone.values()]
        if self._plain is None or self._plain[0] != stamps:
            self._plain = (stamps, lora.merged(self.model))
        return self._plain[1]

    def _through(self, through: Int[Tensor, " N"] | None) -> Score | None:
        if self.bank is None or through is None:
            return None
        bank = self.bank
        return lambda hidden, targets: bank.logps(hidden, targets, through=through)

    def _mixed(self, *, head: str | None, weights: Weights | None, extrapolate: bool) -> Score | None:
        """How positions are scored by one head or by a mixture."""
        if head is not None and weights is not None:
            raise ConfigError(f"head: found {head!r} and weights as well, expected one of them. Leave one out.")
        if head is None:
            mixture = self.mixture(weights, extrapolate=extrapolate)
            if self.bank is None:
                return None
            folded = self.bank.folded(torch.tensor(mixture, dtype=torch.float64))
            scorer = Scorer(lambda: folded, {})
        else:
            bank = self._heads()
            bank.check(head)
            scorer = bank.scorers[head]
        return lambda hidden, targets: scorer(hidden, targets)[0]

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
        prompt_ids = [encode_prompt(self.chat, prompt) for prompt in prompts]
        pairs = zip(prompts, responses, strict=True)
        return prompt_ids, [encode_response(self.chat, text, chat=is_chat(prompt)) for prompt, text in pairs]

    def _stamp(self) -> list[int]:
        """What fully trainable weights are recognised by; torch's version counters would miss fused optimisers."""
        return [checksum(p) for p in self._backbone.values()] if self.adapter == "full" else []

    def _intact(self) -> bool:
        """Whether the model without its adapter is still the base."""
        return self._stamps == self._stamp()


@torch.no_grad()
def _assign(weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    for name, weight in weights.items():
        weight.copy_(state[name])
