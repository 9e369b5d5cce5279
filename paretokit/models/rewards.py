"""A process reward model: a backbone that reads a text once, and an output per objective at the end of every step.

A step's score is read from the last hidden state, after the final norm, at the step's last token: it is that of the text so
far, and what follows cannot change it. No end token closes a text that may go on. Kinds of objectives: "value", a number as
it was labelled; "class", a probability; "preference", a Bradley-Terry score, which is known up to a constant.
Imports: torch, `maths`, the ground modules, the other modules of this floor.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from paretokit.errors import ConfigError, DataError, ModelError, suggestion
from paretokit.models import reward_files
from paretokit.models.base import weights_hash
from paretokit.models.outputs import Outputs
from paretokit.models.policy import Policy
from paretokit.models.prefix import Prefix, hidden_of
from paretokit.models.projection import backbone
from paretokit.models.reward_report import KINDS, RewardReport
from paretokit.rows import alike, text_rows
from paretokit.shapes import Float, Int, Tensor
from paretokit.templates import ChatFormat
from paretokit.texts import EncodedSteps, Prompt, encode_steps, mark_token

__all__ = ["RewardModel", "RewardReading", "RewardScorer", "check_kinds", "new_reward_model"]

_READ_AT_ONCE = 4096  # positions in one pass without gradient, which bounds memory; results do not depend on it


class RewardModel:
    """Scores of partial texts, one per objective; larger is better. Made by `train_reward_model` or `load_reward_model`.

    `policy` is the backbone with what may be trained of it; its own output projection is not used. `temperatures` divide
    the outputs of classes and preferences; `report` says how well they predict, on prompts that were held out. With a
    `step_token` that token, whose id is `mark`, is put behind every step, and the step's score is read there (as of the PRMs of
    Qwen and Math-Shepherd); without one it is read at the step's own last token.
    """

    def __init__(
        self,
        policy: Policy,
        outputs: Outputs,
        *,
        kinds: Mapping[str, str],
        temperatures: Mapping[str, float] | None = None,
        report: RewardReport | None = None,
        step_token: str | None = None,
    ) -> None:
        self.policy = policy
        self.outputs = outputs
        self.kinds = dict(kinds)
        self.temperatures = dict.fromkeys(kinds, 1.0) | dict(temperatures or {})
        self.report = report
        self.step_token = step_token
        self.mark = None if step_token is None else mark_token(policy.tokenizer, step_token)

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names of the m objectives, in the order of the scores."""
        return tuple(self.kinds)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the backbone."""
        return self.policy.tokenizer

    @property
    def chat(self) -> ChatFormat:
        """How texts become ids: the format of the backbone."""
        return self.policy.chat

    @property
    def trainable(self) -> dict[str, Tensor]:
        """The weights that may be trained, by name: those of the backbone, then those of the outputs."""
        return {**self.policy.trainable, **self.outputs.parameters()}

    @property
    def frozen(self) -> bool:
        """Whether the backbone stays as it is, so that its hidden states need to be read once."""
        return not self.policy.trainable

    @property
    def fingerprint(self) -> str:
        """SHA-256 over base, weights, kinds and temperatures: equal for a model and its saved copy, whatever their place."""
        policy = self.policy
        base = "" if policy.adapter == "full" else policy.base_hash  # all its weights are among the trainable ones
        parts = [base, self.kinds, self.temperatures, weights_hash(self.trainable)]
        described = json.dumps(parts if self.step_token is None else [*parts, self.step_token])
        return hashlib.sha256(described.encode()).hexdigest()

    @property
    def source(self) -> str:
        """Which model it is, to be named beside results; another text for another model."""
        return f"reward model {self.fingerprint[:12]} on {self.policy.base.name} ({', '.join(self.objectives)})"

    def encode(self, prompts: Sequence[Prompt], steps: Sequence[Sequence[str | Sequence[int]]]) -> list[EncodedSteps]:
        """Return texts as token ids, see `texts.encode_steps`; raises `DataError` for one longer than the model's context."""
        if len(prompts) != len(steps):
            raise DataError(f"step_scores: found {len(prompts)} prompts and {len(steps)} lists of steps; pass one per prompt.")
        texts = []
        for row, (prompt, own) in enumerate(zip(prompts, steps, strict=True)):
            if isinstance(own, str):
                raise DataError(f"step_scores: row {row}: found the text {own[:40]!r}, expected a list of steps; pass [text].")
            texts.append(encode_steps(self.chat, prompt, own, mark=self.mark))
            self._check_length(len(texts[-1].ids), place=f"step_scores: row {row}")
        return texts

    def hidden(self, texts: Sequence[EncodedSteps]) -> Float[Tensor, "N D"]:
        """Return the hidden states at the ends of all steps, text after text, read in one pass; differentiable."""
        rows = text_rows([text.ids for text in texts])
        width = rows.input_ids.shape[1]
        places = [row * width + end for row, text in enumerate(texts) for end in text.ends]
        return self.policy.reader.hidden(rows, torch.tensor(places, dtype=torch.int64))

    @torch.no_grad()
    def features(self, texts: Sequence[EncodedSteps], *, batch_size: int = 16) -> Float[Tensor, "N D"]:
        """Return what `hidden` does, without gradient, on the CPU; read in batches of texts of like length."""
        counts = [len(text.ends) for text in texts]
        found: list[Tensor] = [torch.zeros(0)] * len(texts)
        for chosen in alike([len(text.ids) for text in texts], size=batch_size, budget=_READ_AT_ONCE):
            states = self.hidden([texts[i] for i in chosen]).to("cpu", self.outputs.dtype)
            for index, part in zip(chosen, states.split([counts[i] for i in chosen]), strict=True):
                found[index] = part.clone()  # not a view that keeps its whole batch
        return torch.cat([torch.zeros(0, self.outputs.features, dtype=self.outputs.dtype), *found])

    def scored(self, raw: Float[Tensor, "N m"]) -> Float[Tensor, "N m"]:
        """Return the scores that outputs stand for: divided by their temperature, and for a class its probability."""
        columns = []
        for (name, kind), column in zip(self.kinds.items(), raw.unbind(dim=1), strict=True):
            tempered = column if kind == "value" else column / self.temperatures[name]
            columns.append(torch.sigmoid(tempered) if kind == "class" else tempered)
        return torch.stack(columns, dim=1)

    @torch.no_grad()
    def step_scores(
        self, prompts: Sequence[Prompt], steps: Sequence[Sequence[str | Sequence[int]]], *, batch_size: int = 16
    ) -> Float[Tensor, "B S m"]:
        """Return how good each text is after each of its steps, in the order of `objectives`; larger is better.

        A step is text, or its token ids. Scores of row b stand at [b, :len(steps[b])], after them is NaN. A value is the
        number that its labels would have, in their unit; a class the probability of class 1, in (0, 1); a preference a score
        of any size, in nats, whose differences between texts of one prompt count. An empty step has the score of the text
        before it. Every text is read in one pass, and a score does not depend on later steps or on the other texts.

        Float32 (float64 if the model is), on the CPU, no gradient. Raises `DataError` where the lists do not match or a text
        is longer than the model's context. MAHALO, arXiv 2510.01167, section 2, with an output for each objective.

        >>> from paretokit.models.tiny import random_policy
        >>> model = new_reward_model(random_policy(adapter="none"), kinds={"right": "class", "kind": "preference"})
        >>> scores = model.step_scores(["2 + 2 ="], [["Two and two.", " That is 4."]])
        >>> scores.shape, bool((scores[..., 0] > 0).all() and (scores[..., 0] < 1).all())
        (torch.Size([1, 2, 2]), True)
        """
        texts = self.encode(prompts, steps)
        states = self.features(texts, batch_size=batch_size)
        found = self.scored(self.outputs(states.to(self.policy.device))).cpu()
        counts = [len(text.ends) for text in texts]
        scores = torch.full((len(texts), max(counts, default=0), len(self.objectives)), math.nan, dtype=found.dtype)
        for row, part in enumerate(found.split(counts)):
            scores[row, : len(part)] = part
        return scores

    def start(self, prompt_ids: Sequence[Sequence[int]]) -> "RewardReading":
        """Return the reading of prompts, a row each, that steps can be read after: see `RewardReading`.

        >>> from paretokit.models.tiny import random_policy
        >>> model = new_reward_model(random_policy(adapter="none"), kinds={"right": "value"})
        >>> reading = model.start([[5, 6, 7]])
        >>> reading.select(torch.tensor([0, 0]))
        >>> reading.read([[8, 9], [10]]).shape
        torch.Size([2, 1])
        """
        return RewardReading(self, prompt_ids)

    def scorers(self) -> dict[str, "RewardScorer"]:
        """Return a scorer for each objective, (prompt, text) -> the score of the whole text, read as one step.

        >>> from paretokit.models.tiny import random_policy
        >>> model = new_reward_model(random_policy(adapter="none"), kinds={"right": "class"})
        >>> 0 < model.scorers()["right"]("2 + 2 =", "4") < 1
        True
        """
        return {name: RewardScorer(self, place, self.source) for place, name in enumerate(self.objectives)}

    def save(self, folder: str | Path) -> None:
        """Write the model to a new folder that `load_reward_model` reads; of a frozen backbone, the base's name and hash."""
        reward_files.save(self, Path(folder))

    def _check_length(self, length: int, *, place: str) -> None:
        if length > self.policy.context_length:
            raise DataError(
                f"{place}: found {length} tokens, expected at most {self.policy.context_length}, the context of "
                f"{self.policy.base.name}. Shorten the prompt or the steps."
            )


class RewardScorer(NamedTuple):
    """One output of a reward model as a scorer of whole texts. `source` says which model it is."""

    model: RewardModel
    place: int  # of the objective
    source: str

    def __call__(self, prompt: Prompt, text: str) -> float:
        """Return the score of a text after its prompt."""
        return self.model.step_scores([prompt], [[text]])[0, -1, self.place].item()


class RewardReading:
    """R rows of text that a reward model has read so far, with its cache: only what is new is read.

    Scores are those that `RewardModel.step_scores` gives after the same tokens, up to rounding.
    """

    def __init__(self, model: RewardModel, prompt_ids: Sequence[Sequence[int]]) -> None:
        for row, ids in enumerate(prompt_ids):
            if not len(ids):
                raise DataError(f"reward model: row {row}: found a prompt without tokens. Encode it with texts.encode_prompt.")
        self.model = model
        self._prefix = Prefix(backbone(model.policy.model), wanted=hidden_of, sharing=model.policy.sharing)
        self._scores = torch.zeros(len(prompt_ids), len(model.objectives), dtype=model.outputs.dtype)
        self._read(prompt_ids)

    @torch.no_grad()
    def read(self, blocks: Sequence[Sequence[int]]) -> Float[Tensor, "R m"]:
        """Read a block of token ids, a step, more in each row and return the scores of its text so far, on the CPU.

        A row whose block is empty keeps its score; behind any other the model's step token is read, if it has one. Raises
        `DataError` for another number of blocks than rows and for a text longer than the model's context, `ModelError` as
        `Prefix.read` does.
        """
        mark = self.model.mark
        return self._read(blocks if mark is None else [(*block, mark) if len(block) else block for block in blocks])

    @torch.no_grad()
    def _read(self, blocks: Sequence[Sequence[int]]) -> Float[Tensor, "R m"]:
        if len(blocks) != len(self._scores):
            raise DataError(f"reward model: found {len(blocks)} blocks for {len(self._scores)} rows; pass one block per row.")
        lengths = self._prefix.lengths or [0] * len(blocks)
        for row, (length, block) in enumerate(zip(lengths, blocks, strict=True)):
            self.model._check_length(length + len(block), place=f"reward model: row {row}")
        fresh = torch.tensor([len(block) > 0 for block in blocks])
        if fresh.any():
            raw = self.model.outputs(self._prefix.read(blocks))
            self._scores = torch.where(fresh[:, None], self.model.scored(raw).cpu(), self._scores)
        return self._scores.clone()

    def select(self, rows: Int[Tensor, " r"]) -> None:
        """Keep these rows, in this order; a row may be kept more than once."""
        self._prefix.select(rows.to(self.model.policy.device))
        self._scores = self._scores[rows.cpu()]


def new_reward_model(
    policy: Policy, *, kinds: Mapping[str, str], width: int | None = None, step_token: str | None = None, seed: int = 0
) -> RewardModel:
    """Return an untrained reward model on the backbone of `policy`, with an output for each objective of `kinds`.

    The adapter of the policy says what of the backbone will be trained: nothing ("none"), LoRA, or all. Outputs are linear,
    or have `width` units between; they are drawn from `seed` and the objective's name. `step_token` is the token behind each
    step at which scores are read, see `RewardModel`. The backbone may be a model without an output projection. Raises
    `ConfigError` for a policy with heads, an unknown kind, a width below 1 and a step token that is no single token,
    `ModelError` for a model that gives no hidden states.

    >>> from paretokit.models.tiny import random_policy
    >>> model = new_reward_model(random_policy(adapter="none"), kinds={"right": "value"})
    >>> model.objectives, model.frozen, sorted(model.trainable)
    (('right',), True, ['outputs.right.bias', 'outputs.right.weight'])
    """
    check_kinds(kinds)
    if policy.heads:
        raise ConfigError(
            f"reward model: found a policy with the heads {', '.join(policy.heads)}, expected one without: a reward model has "
            "outputs of its own. Load it without heads."
        )
    if width is not None and (isinstance(width, bool) or width < 1):
        raise ConfigError(f"width: found {width!r}, expected a whole number >= 1, or None for linear outputs.")
    bare = policy.model.get_output_embeddings() is None
    if not bare and not policy.projection.exact:
        raise ModelError(
            f"reward model: the hidden states of {policy.base.name!r} cannot be read: {policy.projection.reason}. Expected a "
            "causal language model whose backbone returns last_hidden_state."
        )
    embedding: Any = policy.model.get_output_embeddings()
    config: Any = policy.model.config.get_text_config()
    dtype = torch.float64 if policy.model.dtype == torch.float64 else torch.float32
    outputs = Outputs(
        list(kinds),
        features=int(config.hidden_size if bare else embedding.weight.shape[1]),
        width=width,
        dtype=dtype,
        device=policy.device,
        seed=seed,
    )
    return RewardModel(policy, outputs, kinds=kinds, step_token=step_token)


def check_kinds(kinds: Mapping[str, str]) -> None:
    """Raise `ConfigError` where there is no objective, one without a name, or a kind that does not exist."""
    if not kinds or not all(isinstance(name, str) and name for name in kinds):
        raise ConfigError(f"kinds: found {dict(kinds)!r}, expected a kind for each objective. Name at least one objective.")
    for name, kind in kinds.items():
        if kind not in KINDS:
            raise ConfigError(
                f"objective {name!r}: found the kind {kind!r}, expected one of {', '.join(KINDS)}, as its labels are."
                f"{suggestion(str(kind), KINDS)} Correct the kind."
            )
