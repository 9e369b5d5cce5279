"""What a set of preferences holds, as counts: labels and ties, repeated texts, conflicts between objectives, lengths.

Computed first, printed by `PreferenceReport.__str__`, plain values throughout. Imports: torch, `prompts`, `shapes`,
`texts`.
"""

import statistics
from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

from paretokit.preferences.rendered import RenderedCounts
from paretokit.prompts import Prompt, is_chat
from paretokit.shapes import Float, Tensor
from paretokit.texts import EncodedPair

__all__ = [
    "Conflict",
    "ConflictCounts",
    "LabelCounts",
    "PreferenceReport",
    "TextCounts",
    "TokenCounts",
    "count_conflicts",
    "count_labels",
    "count_texts",
    "count_tokens",
]


class TextCounts(NamedTuple):
    """Counts over P pairs, all of them kept."""

    pairs: int
    prompts: int  # distinct prompts
    chats: int  # pairs whose prompt is chat messages
    duplicates: int  # pairs whose prompt and two responses, in either order, stood in an earlier pair
    identical: int  # pairs of two equal responses: nothing can be learnt from them
    empty: int  # pairs with at least one empty response


class LabelCounts(NamedTuple):
    """Counts of one objective's labels."""

    objective: str
    a: int  # a is better
    b: int
    ties: int
    unjudged: int

    @property
    def judged(self) -> int:
        """The number of labels, ties included."""
        return self.a + self.b + self.ties


class Conflict(NamedTuple):
    """Two objectives over the pairs that are judged, and no tie, on both; a label alone cannot conflict."""

    first: str
    second: str
    both: int
    agree: int  # both favour the same response

    @property
    def conflict(self) -> int:
        """The number of pairs on which they favour different responses."""
        return self.both - self.agree

    @property
    def share(self) -> float | None:
        """The share of conflicting pairs, in [0, 1]; None where no pair is judged on both."""
        return self.conflict / self.both if self.both else None


class ConflictCounts(NamedTuple):
    """Conflicts between every two objectives, and pairs by what their labels say together."""

    between: tuple[Conflict, ...]
    conflicting: int  # pairs with labels for both sides
    one_sided: int  # pairs whose labels, two or more without ties, all favour the same response
    single: int  # pairs with exactly one label that is no tie
    tied: int  # pairs with ties only


class TokenCounts(NamedTuple):
    """Lengths in tokens before truncation, and what `max_length` takes away; nothing where it is None."""

    max_length: int | None
    median: float  # of prompt + response, over both responses of every pair
    longest: int
    longest_prompt: int
    longest_response: int  # end token included
    truncated_pairs: int  # pairs with anything taken away
    shortened_prompts: int
    dropped_turns: int
    cut_responses: int  # responses that lost their end, of 2 P
    cut_tokens: int  # prompt tokens count once


class PreferenceReport(NamedTuple):
    """The counts; `str` gives a readable table, `to_json` plain values."""

    source: str
    fingerprint: str
    skipped: int
    texts: TextCounts
    labels: tuple[LabelCounts, ...]
    conflicts: ConflictCounts
    tokens: TokenCounts | None = None
    recipe: str | None = None  # the recipe that the pairs were read with
    notes: tuple[str, ...] = ()  # what it says about the data: licence, remarks, counts of what it left out
    rendered: RenderedCounts | None = None  # special tokens spelled in the texts; None: not looked for

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "source": self.source,
            "fingerprint": self.fingerprint,
            "skipped": self.skipped,
            "recipe": self.recipe,
            "notes": list(self.notes),
            "texts": self.texts._asdict(),
            "labels": [{**counts._asdict(), "judged": counts.judged} for counts in self.labels],
            "conflicts": {
                **self.conflicts._asdict(),
                "between": [
                    {**pair._asdict(), "conflict": pair.conflict, "share": pair.share} for pair in self.conflicts.between
                ],
            },
            "tokens": None if self.tokens is None else self.tokens._asdict(),
            "rendered": None if self.rendered is None else self.rendered._asdict(),
        }

    def __str__(self) -> str:
        texts, conflicts = self.texts, self.conflicts
        lines = [
            f"{texts.pairs} pairs on {texts.prompts} prompts ({texts.chats} chat) from {self.source}"
            + (f"; {self.skipped} records skipped" if self.skipped else ""),
            *self.notes,
            f"{texts.duplicates} duplicate, {texts.identical} with equal responses, {texts.empty} with an empty response",
            "",
            *_table(
                ("objective", "judged", "a better", "b better", "tie", "not judged"),
                [(c.objective, c.judged, c.a, c.b, c.ties, c.unjudged) for c in self.labels],
            ),
            "",
            f"{conflicts.conflicting} pairs in conflict, {conflicts.one_sided} one-sided, "
            f"{conflicts.single} with a single verdict, {conflicts.tied} with ties only",
        ]
        if conflicts.between:
            rows = [
                (f"{c.first} / {c.second}", c.both, c.agree, c.conflict, "-" if c.share is None else f"{c.share:.1%}")
                for c in conflicts.between
            ]
            lines += ["", *_table(("objectives", "both judged", "agree", "conflict", "share"), rows)]
        if self.tokens is not None:
            lines += ["", *_token_lines(self.tokens, pairs=texts.pairs)]
        if self.rendered is not None and self.rendered.warning:
            lines += ["", self.rendered.warning]
        return "\n".join(lines)


def _token_lines(tokens: TokenCounts, *, pairs: int) -> list[str]:
    lines = [
        f"tokens: prompt + response median {tokens.median:g}, longest {tokens.longest} "
        f"(prompt {tokens.longest_prompt}, response {tokens.longest_response})"
    ]
    if tokens.max_length is not None:
        lines.append(
            f"max_length {tokens.max_length}: {tokens.truncated_pairs} of {pairs} pairs truncated "
            f"({tokens.shortened_prompts} prompts, {tokens.dropped_turns} turns dropped, "
            f"{tokens.cut_responses} responses cut, {tokens.cut_tokens} tokens)"
        )
    return lines


def _table(header: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> list[str]:
    """Return the lines of a table: the first column to the left, numbers to the right."""
    cells = [header, *(tuple(str(cell) for cell in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])
        for row in cells
    ]


def count_texts(prompts: Sequence[Prompt], responses_a: Sequence[str], responses_b: Sequence[str]) -> TextCounts:
    """Return what the texts of P pairs have in common.

    >>> count_texts(["x", "x"], ["yes", "no"], ["no", "yes"])
    TextCounts(pairs=2, prompts=1, chats=0, duplicates=1, identical=0, empty=0)
    """
    sides = list(zip(responses_a, responses_b, strict=True))
    return TextCounts(
        pairs=len(prompts),
        prompts=len(set(prompts)),
        chats=sum(map(is_chat, prompts)),
        duplicates=len(prompts) - len({(prompt, *sorted(pair)) for prompt, pair in zip(prompts, sides, strict=True)}),
        identical=sum(a == b for a, b in sides),
        empty=sum(not a or not b for a, b in sides),
    )


def count_labels(labels: Float[Tensor, "m P"], objectives: Sequence[str]) -> tuple[LabelCounts, ...]:
    """Return each objective's labels, counted: +1 a, -1 b, 0 tie, NaN not judged."""
    counts = [[int((row == value).sum()) for value in (1, -1, 0)] + [int(row.isnan().sum())] for row in labels]
    return tuple(LabelCounts(name, *row) for name, row in zip(objectives, counts, strict=True))


def count_conflicts(labels: Float[Tensor, "m P"], objectives: Sequence[str]) -> ConflictCounts:
    """Return how far the objectives agree on the pairs they judge without a tie.

    >>> import torch
    >>> count_conflicts(torch.tensor([[1.0, 1.0, 0.0], [-1.0, 1.0, 1.0]]), ["helpful", "brief"]).between
    (Conflict(first='helpful', second='brief', both=2, agree=1),)
    """
    untied = labels.nan_to_num(0.0)  # ties and what nobody judged alike: no verdict
    between = tuple(
        Conflict(
            objectives[first],
            objectives[second],
            both=int((untied[first] * untied[second] != 0).sum()),
            agree=int((untied[first] * untied[second] > 0).sum()),
        )
        for first, second in combinations(range(len(objectives)), 2)
    )
    for_a, for_b = (untied > 0).sum(0), (untied < 0).sum(0)
    return ConflictCounts(
        between=between,
        conflicting=int(((for_a > 0) & (for_b > 0)).sum()),
        one_sided=int((((for_a > 1) & (for_b == 0)) | ((for_b > 1) & (for_a == 0))).sum()),
        single=int((for_a + for_b == 1).sum()),
        tied=int((for_a + for_b == 0).sum()),
    )


def count_tokens(pairs: Sequence[EncodedPair], *, max_length: int | None) -> TokenCounts:
    """Return the lengths of pairs that were encoded for `max_length`, before truncation, and what it took away."""
    prompts = [len(pair.prompt) + pair.cut_prompt_tokens for pair in pairs]
    responses = [(len(pair.response_a) + pair.cut_a, len(pair.response_b) + pair.cut_b) for pair in pairs]
    totals = [prompt + response for prompt, sides in zip(prompts, responses, strict=True) for response in sides]
    return TokenCounts(
        max_length=max_length,
        median=statistics.median(totals),
        longest=max(totals),
        longest_prompt=max(prompts),
        longest_response=max(map(max, responses)),
        truncated_pairs=sum(any(pair[3:]) for pair in pairs),
        shortened_prompts=sum(pair.cut_prompt_tokens > 0 for pair in pairs),
        dropped_turns=sum(pair.dropped_turns for pair in pairs),
        cut_responses=sum((pair.cut_a > 0) + (pair.cut_b > 0) for pair in pairs),
        cut_tokens=sum(pair.cut_prompt_tokens + pair.cut_a + pair.cut_b for pair in pairs),
    )
