"""`Preferences`: prompts with two responses each and one label per objective, as a value that nobody can change.

Imports: torch, pandas, `errors`, `prompts`, `shapes`, `texts`, and `report`, `splits` of this floor.
"""

import hashlib
import json
import math
import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NoReturn

import pandas as pd
import torch

from paretokit.errors import ConfigError, DataError, ShapeError, suggestion
from paretokit.preferences.rendered import count_rendered
from paretokit.preferences.report import PreferenceReport, count_conflicts, count_labels, count_texts, count_tokens
from paretokit.preferences.splits import held_out_by_prompt
from paretokit.prompts import Prompt, as_prompt, as_text, describe
from paretokit.shapes import Float, Tensor
from paretokit.texts import EncodedPair, encode_pair

__all__ = ["FIELDS", "Preferences"]

FIELDS = ("prompt", "response_a", "response_b", "labels")  # no objective may be called like a field


class Preferences:
    """P immutable pairs with one label for each of m objectives.

    A label is +1 where response a is better, -1 where b is, 0 for a tie (judged, no preference), NaN where nobody
    judged. Every pair is judged on at least one objective. Preferences with equal objectives, texts and labels in equal
    order are equal, wherever they came from.

    >>> preferences = Preferences(
    ...     objectives=("helpful", "brief"),
    ...     prompts=["Why is the sky blue?"],
    ...     responses_a=["Blue light scatters more."],
    ...     responses_b=["Physics."],
    ...     labels=torch.tensor([[1.0], [-1.0]]),
    ... )
    >>> len(preferences), preferences.objectives, preferences.labels.tolist()
    (1, ('helpful', 'brief'), [[1.0], [-1.0]])
    """

    _objectives: tuple[str, ...]
    _prompts: tuple[Prompt, ...]
    _responses_a: tuple[str, ...]
    _responses_b: tuple[str, ...]
    _labels: Tensor
    _source: str
    _skipped: tuple[str, ...]
    _recipe: str | None
    _notes: tuple[str, ...]

    def __init__(
        self,
        *,
        objectives: Sequence[str],
        prompts: Sequence[Prompt],
        responses_a: Sequence[str],
        responses_b: Sequence[str],
        labels: Tensor,
        source: str = "memory",
        skipped: Sequence[str] = (),
        recipe: str | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """Take the pairs over, copying what could be changed later.

        `labels` is [m, P], in the order of `objectives` and of the pairs. Raises `DataError` for a text, prompt, label
        or objective that cannot be used, naming the pair, counted from 0; `ShapeError` for labels of another shape.
        """
        self.__dict__.update(
            _objectives=checked_objectives(objectives, source=source),
            _prompts=tuple(as_prompt(prompt, place=f"pair {index}, prompt") for index, prompt in enumerate(prompts)),
            _responses_a=tuple(as_text(text, place=f"pair {i}, response_a") for i, text in enumerate(responses_a)),
            _responses_b=tuple(as_text(text, place=f"pair {i}, response_b") for i, text in enumerate(responses_b)),
            _labels=labels.detach().to("cpu", torch.float32, copy=True),
            _source=source,
            _skipped=tuple(skipped),
            _recipe=recipe,
            _notes=tuple(notes),
        )
        self._check()

    def _check(self) -> None:
        sizes = {len(self._prompts), len(self._responses_a), len(self._responses_b)}
        if len(sizes) > 1:
            raise DataError(
                f"{self._source}: found {len(self._prompts)} prompts, {len(self._responses_a)} responses a and "
                f"{len(self._responses_b)} responses b; pass one of each per pair."
            )
        if sizes == {0}:
            raise DataError(f"{self._source}: found no pairs, expected at least one.")
        expected = (len(self._objectives), len(self._prompts))
        if tuple(self._labels.shape) != expected:
            raise ShapeError(f"labels: found shape {tuple(self._labels.shape)}, expected [m, P] = {expected}.")
        unjudged = self._labels.isnan()
        wrong = ~(unjudged | (self._labels == 1) | (self._labels == 0) | (self._labels == -1))
        if wrong.any():
            objective, pair = (int(index) for index in wrong.nonzero()[0])
            raise DataError(
                f"pair {pair}, objective {self._objectives[objective]!r}: found label "
                f"{float(self._labels[objective, pair]):g}, expected +1 (a is better), -1 (b), 0 (tie) or NaN (not "
                "judged)."
            )
        if unjudged.all(0).any():
            pair = int(unjudged.all(0).nonzero()[0])
            raise DataError(f"pair {pair}: found no judged objective, expected a label for at least one.")

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"Preferences cannot be changed, so {name!r} cannot be set; make new ones with .select(...).")

    __delattr__ = __setattr__  # type: ignore[assignment] # refuses, whatever it is given

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names of the m objectives, in the order of the labels' rows and of every weight vector."""
        return self._objectives

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The P prompts: raw text, or a tuple of chat messages."""
        return self._prompts

    @property
    def responses_a(self) -> tuple[str, ...]:
        """The P first responses."""
        return self._responses_a

    @property
    def responses_b(self) -> tuple[str, ...]:
        """The P second responses."""
        return self._responses_b

    @property
    def labels(self) -> Float[Tensor, "m P"]:
        """A fresh float32 copy of the labels: +1 a is better, -1 b, 0 tie, NaN not judged."""
        return self._labels.clone()

    @property
    def source(self) -> str:
        """Where the pairs came from: a path, `hub:OWNER/NAME`, `world:NAME`, the kind of table, "list" or "memory"."""
        return self._source

    @property
    def skipped(self) -> tuple[str, ...]:
        """What reading left out with `on_error="skip"`, or by the rule of a recipe: one message per record or pair."""
        return self._skipped

    @property
    def recipe(self) -> str | None:
        """The name of the recipe that the pairs were read with, or None."""
        return self._recipe

    @property
    def notes(self) -> tuple[str, ...]:
        """What the recipe says about its reading: data set and licence, remarks, counts of what it left out."""
        return self._notes

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of objectives, texts and labels, in hexadecimal; independent of the source and the process."""
        digest = hashlib.sha256(_canonical(self._objectives))
        for *texts, labels in zip(self._prompts, self._responses_a, self._responses_b, self._columns(), strict=True):
            digest.update(b"\n" + _canonical([*texts, labels]))
        return digest.hexdigest()

    def _columns(self) -> list[list[int | None]]:
        """Return the labels pair by pair, None where nobody judged."""
        return [[None if math.isnan(label) else int(label) for label in pair] for pair in self._labels.T.tolist()]

    def __len__(self) -> int:
        return len(self._prompts)

    def __eq__(self, other: object) -> bool:
        return self.fingerprint == other.fingerprint if isinstance(other, Preferences) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        left_out = f", {len(self._skipped)} records skipped" if self._skipped else ""
        return f"<Preferences: {len(self)} pairs, objectives {', '.join(self._objectives)}, from {self._source}{left_out}>"

    def named(self, source: str) -> "Preferences":
        """Return the same pairs under another `source`; the fingerprint does not depend on it."""
        return Preferences(
            objectives=self._objectives,
            prompts=self._prompts,
            responses_a=self._responses_a,
            responses_b=self._responses_b,
            labels=self._labels,
            source=source,
            skipped=self._skipped,
            recipe=self._recipe,
            notes=self._notes,
        )

    def select(
        self,
        *,
        objectives: Sequence[str] | None = None,
        indices: Iterable[int] | None = None,
        limit: int | None = None,
    ) -> "Preferences":
        """Return some of the pairs, with some of the objectives, in the order given.

        First `indices` picks pairs (negative ones count from the end), then `objectives` keeps these objectives and the
        pairs that are judged on at least one of them, then `limit` keeps the first pairs. Raises `DataError` for an
        unknown objective, an index out of range and for nothing left; `ConfigError` for a limit below 1.
        """
        if limit is not None and limit < 1:
            raise ConfigError(f"limit: found {limit}, expected at least 1.")
        pairs = list(range(len(self))) if indices is None else [self._index(index) for index in indices]
        rows = list(range(len(self._objectives)))
        if objectives is not None:
            rows = [self._row(name) for name in checked_objectives(objectives, source="objectives")]
            judged = (~self._labels[rows].isnan()).any(0)
            pairs = [pair for pair in pairs if judged[pair]]
        pairs = pairs[:limit]
        if not pairs:
            asked = "" if objectives is None else f" that is judged on {', '.join(objectives)}"
            raise DataError(f"{self._source}: no pair is left{asked}; widen the selection.")
        return Preferences(
            objectives=[self._objectives[row] for row in rows],
            prompts=[self._prompts[pair] for pair in pairs],
            responses_a=[self._responses_a[pair] for pair in pairs],
            responses_b=[self._responses_b[pair] for pair in pairs],
            labels=self._labels[rows][:, pairs],
            source=self._source,
            skipped=self._skipped,
            recipe=self._recipe,
            notes=self._notes,
        )

    def _index(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise DataError(f"indices: found {index}, expected pairs 0 to {len(self) - 1}.")
        return index % len(self)

    def _row(self, name: str) -> int:
        if name not in self._objectives:
            raise DataError(
                f"{self._source}: unknown objective {name!r}, expected some of {', '.join(self._objectives)}."
                f"{suggestion(name, self._objectives)}"
            )
        return self._objectives.index(name)

    def split(self, *, test: float | int, seed: int) -> tuple["Preferences", "Preferences"]:
        """Return (train, test) with no prompt in both.

        Prompts are drawn in a random order that depends on `seed` only, and moved to the test part with all their pairs
        until it holds at least `test` pairs: a number, or a share of all pairs for a float between 0 and 1. Both parts
        keep the order of the pairs. Raises `ConfigError` for a `test` out of range, `DataError` where one part would be
        empty.
        """
        held_out = held_out_by_prompt(self._prompts, test=test, seed=seed, source=self._source, noun="pairs")
        train = [index for index in range(len(self)) if index not in held_out]
        return self.select(indices=train), self.select(indices=sorted(held_out))

    def encode(self, tokenizer: Any, *, max_length: int) -> tuple[EncodedPair, ...]:
        """Return the P pairs as token ids, see `texts.encode_pair`; an error names the pair, counted from 0."""
        encoded = []
        for index, texts in enumerate(zip(self._prompts, self._responses_a, self._responses_b, strict=True)):
            try:
                encoded.append(encode_pair(tokenizer, *texts, max_length=max_length))
            except DataError as error:
                raise DataError(f"{self._source}, pair {index}: {error}") from error
        return tuple(encoded)

    def report(self, tokenizer: Any = None, max_length: int | None = None) -> PreferenceReport:
        """Return counts of pairs, labels and conflicts; with a tokenizer also lengths and what `max_length` cuts.

        `tokenizer` is a tokenizer or a policy's format, `policy.chat`, which knows its chat options too. Special tokens that
        are spelled in the texts are counted, with a warning: the texts were rendered before.

        Raises `ConfigError` for a `max_length` without a tokenizer.
        """
        if tokenizer is None and max_length is not None:
            raise ConfigError("max_length: found no tokenizer to count tokens with; pass tokenizer= too.")
        return PreferenceReport(
            source=self._source,
            fingerprint=self.fingerprint,
            skipped=len(self._skipped),
            recipe=self._recipe,
            notes=self._notes,
            texts=count_texts(self._prompts, self._responses_a, self._responses_b),
            labels=count_labels(self._labels, self._objectives),
            conflicts=count_conflicts(self._labels, self._objectives),
            tokens=None
            if tokenizer is None
            else count_tokens(self.encode(tokenizer, max_length=max_length or sys.maxsize), max_length=max_length),
            rendered=count_rendered(self._prompts, self._responses_a, self._responses_b, tokenizer=tokenizer),
        )

    def to_frame(self) -> pd.DataFrame:
        """Return a DataFrame with the columns prompt, response_a, response_b and one per objective; P rows.

        A chat prompt is a list of dicts. `read_preferences(frame, ties=True)` gives equal preferences.
        """
        prompts = [prompt if isinstance(prompt, str) else [dict(turn) for turn in prompt] for prompt in self._prompts]
        columns = {"prompt": prompts, "response_a": list(self._responses_a), "response_b": list(self._responses_b)}
        return pd.DataFrame({**columns, **dict(zip(self._objectives, self._labels.double().numpy(), strict=True))})


def native_records(preferences: Preferences) -> list[dict[str, Any]]:
    """Return the pairs as JSON values in the native format; `read_preferences(list, ties=True)` gives equal preferences.

    >>> pairs = Preferences(objectives=["kind"], prompts=["Hi"], responses_a=["Hello"], responses_b=["No"],
    ...     labels=torch.tensor([[1.0]]))
    >>> native_records(pairs)
    [{'prompt': 'Hi', 'response_a': 'Hello', 'response_b': 'No', 'labels': {'kind': 1}}]
    """
    columns = [[None if label != label else int(label) for label in row] for row in preferences.labels.tolist()]
    return [
        {
            "prompt": prompt if isinstance(prompt, str) else [dict(turn) for turn in prompt],
            "response_a": a,
            "response_b": b,
            "labels": dict(zip(preferences.objectives, labels, strict=True)),
        }
        for prompt, a, b, labels in zip(
            preferences.prompts,
            preferences.responses_a,
            preferences.responses_b,
            zip(*columns, strict=True),
            strict=True,
        )
    ]


def checked_objectives(objectives: Sequence[str], *, source: str, fields: Sequence[str] = FIELDS) -> tuple[str, ...]:
    """Return the names of objectives, each once, none of them a field of a record; `DataError` for anything else.

    >>> checked_objectives(["helpful", "brief"], source="pairs.jsonl")
    ('helpful', 'brief')
    """
    if isinstance(objectives, str):
        raise DataError(f"{source}: found the text {objectives!r}, expected a list of objectives such as [{objectives!r}].")
    names = tuple(objectives)
    if not names:
        raise DataError(f"{source}: found no objectives, expected at least one name.")
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise DataError(f"{source}: found the objective {describe(name)}, expected a name of at least one character.")
        if name in fields:
            raise DataError(f"{source}: found an objective called {name!r}, which is a field of every record; rename it.")
        if names.count(name) > 1:
            raise DataError(f"{source}: found the objective {name!r} twice, expected each once.")
    return names


def _canonical(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), sort_keys=True).encode()
