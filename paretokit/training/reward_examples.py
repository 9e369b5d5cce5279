"""What a reward model is trained on: texts with the places where their scores are read, and a label for each place.

An example is a text with its steps, or a pair of texts after one prompt. The places of all examples are numbered through,
those of an example next to each other. The label of a pair stands at the end of its first text; the end of the second is the
next place. So labels of every kind stand in one table [m, N], NaN where nobody judged.
Imports: torch, `texts`, `errors`, `encode`, `sampling`; `models` and `preferences` by value.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from paretokit.errors import ConfigError, DataError
from paretokit.models.policy import Policy
from paretokit.preferences.records import Preferences
from paretokit.preferences.splits import held_out_by_prompt
from paretokit.preferences.step_labels import StepLabels
from paretokit.shapes import Float, Float64, Int, Tensor
from paretokit.templates import ChatFormat
from paretokit.texts import EncodedSteps, Prompt, encode_pair, encode_steps
from paretokit.training.encode import length_limit
from paretokit.training.sampling import order

__all__ = ["Drawn", "Examples", "Labels", "Split", "draw_for", "encode_labels", "kinds_of", "places_of", "split"]

Labels = StepLabels | Preferences | Sequence[StepLabels | Preferences]


class Examples(NamedTuple):
    """E examples with N places in all, and the labels of m objectives there."""

    objectives: tuple[str, ...]
    prompts: tuple[Prompt, ...]  # [E]
    texts: tuple[tuple[EncodedSteps, ...], ...]  # [E]: one text, or the two of a pair
    first: tuple[int, ...]  # [E + 1], the first place of each example, and N
    labels: Float64[Tensor, "m N"]
    cut_steps: int  # labelled steps beyond `max_length`, left out
    cut_texts: int  # texts of pairs cut to `max_length`


class Split(NamedTuple):
    """Examples by their number; no prompt is in two of the parts."""

    training: list[int]
    fitting: list[int]  # held out, to fit temperatures on
    measuring: list[int]  # held out, to measure


class Drawn(NamedTuple):
    """The examples of a step, each once, and how much each counts in the mean of each objective."""

    examples: list[int]
    shares: Float64[Tensor, "m E"]  # a row sums to 1; to 0 for an objective without examples


def sources_of(labels: Labels) -> list[StepLabels | Preferences]:
    """Return step labels and preferences as a list."""
    return [labels] if isinstance(labels, (StepLabels, Preferences)) else list(labels)


def kinds_of(labels: Labels) -> dict[str, str]:
    """Return the kind of each objective: that of its step labels, or "preference". The order is that of the sources.

    Raises `ConfigError` for no labels, and where an objective is in two of the sources.

    >>> step_labels = StepLabels(kinds={"right": "value"}, prompts=["Hi"], steps=[["Yes"]], labels=[{"right": [0.5]}])
    >>> kinds_of(step_labels)
    {'right': 'value'}
    """
    kinds: dict[str, str] = {}
    for source in sources_of(labels):
        found: Mapping[str, str] = (
            source.kinds if isinstance(source, StepLabels) else dict.fromkeys(source.objectives, "preference")
        )
        if twice := [name for name in found if name in kinds]:
            raise ConfigError(
                f"labels: found the objective {twice[0]!r} in two of them, expected it in one. Rename it, or put its labels "
                "together."
            )
        kinds |= found
    if not kinds:
        raise ConfigError("labels: found none, expected StepLabels, Preferences, or a list of them.")
    return kinds


def encode_labels(policy: Policy, labels: Labels, *, max_length: int | None, mark: int | None = None) -> Examples:
    """Return the examples of all sources, one source after another, as token ids.

    Steps that end beyond `max_length` (default: the model's context) are left out with their labels; pairs are cut as
    `texts.encode_pair` does; both are counted. `mark` is a token behind every step, where its label stands. The responses of a
    pair are read without an end token, as partial texts are. Raises `DataError`, naming the record, for a text of which nothing
    that was judged is left, and for labels that are all null, `ConfigError` for a `max_length` beyond the context.
    """
    kinds = kinds_of(labels)
    limit = length_limit(policy, max_length or policy.context_length)
    found: list[tuple[Prompt, tuple[EncodedSteps, ...], Float64[Tensor, "m S"], int]] = []
    for source in sources_of(labels):
        rows = [list(kinds).index(name) for name in source.objectives]
        encode = _steps if isinstance(source, StepLabels) else _pairs
        for prompt, texts, own, cut in encode(policy.chat, source, limit=limit, mark=mark):
            table = torch.full((len(kinds), sum(len(text.ends) for text in texts)), torch.nan, dtype=torch.float64)
            table[rows, : own.shape[1]] = own  # of a pair, the second place has no label
            found.append((prompt, texts, table, cut))
    if not found:
        raise DataError(
            f"labels: found no label on the {sum(map(len, sources_of(labels)))} responses of {', '.join(kinds)}, expected "
            "some. Label some steps, or leave the data out."
        )
    first = [0]
    for _, _, table, _ in found:
        first.append(first[-1] + table.shape[1])
    return Examples(
        tuple(kinds),
        prompts=tuple(prompt for prompt, *_ in found),
        texts=tuple(texts for _, texts, *_ in found),
        first=tuple(first),
        labels=torch.cat([table for _, _, table, _ in found], dim=1),
        cut_steps=sum(cut for _, texts, _, cut in found if len(texts) == 1),
        cut_texts=sum(cut for _, texts, _, cut in found if len(texts) == 2),
    )


def split(examples: Examples, *, heldout: float, seed: int) -> Split:
    """Return the examples in three parts by prompt: the share `heldout` is not trained on, half of it to fit temperatures.

    A prompt is in one part with all its examples, of whatever source. With `heldout` 0 all are trained on. Raises `DataError`
    where that leaves a part without a prompt.
    """
    if heldout == 0:
        return Split(list(range(len(examples.prompts))), [], [])
    prompts = examples.prompts
    held = sorted(held_out_by_prompt(prompts, test=float(heldout), seed=seed, source="labels", noun="examples"))
    if len({prompts[i] for i in held}) < 2:
        raise DataError(
            f"heldout: found one prompt among the {len(held)} examples held out of {len(prompts)}, expected two or more: some "
            "to fit temperatures, some to measure. Raise heldout, bring labels on more prompts, or set heldout=0."
        )
    away = set(held)
    some = held_out_by_prompt([prompts[i] for i in held], test=0.5, seed=seed, source="heldout", noun="examples")
    parts = Split(
        [i for i in range(len(prompts)) if i not in away],
        [example for place, example in enumerate(held) if place in some],
        [example for place, example in enumerate(held) if place not in some],
    )
    sides = [{prompts[i] for i in part} for part in parts]
    assert sum(map(len, sides)) == len(set(prompts)), "a prompt is in two parts"
    return parts


def draw_for(examples: Examples, chosen: Sequence[int], *, size: int, seed: int) -> Callable[[int], Drawn]:
    """Return how a step, counted from 1, draws its examples among those chosen: `size` of each objective's own.

    Every objective goes through the examples that it judged in seeded shuffles, so that none is cut to the length of another,
    and its draws do not depend on the others. Objectives with equal examples draw the same ones, which are then read once.
    Raises `DataError` for an objective that judged none of those chosen.
    """
    places, owner = places_of(examples, chosen)
    known = (~examples.labels[:, places].isnan()).double()
    judged = known.new_zeros(len(known), len(chosen)).index_add(1, owner, known)
    pools = [[chosen[i] for i in row.nonzero().squeeze(1).tolist()] for row in judged]
    for name, pool in zip(examples.objectives, pools, strict=True):
        if not pool:
            raise DataError(
                f"objective {name!r}: found no label on the {len(chosen)} examples to train on, expected some. Leave the "
                "objective out, bring more labels, or hold out fewer."
            )

    def draw(step: int) -> Drawn:
        drawn = [[pool[index] for index in order(len(pool), step=step, size=size, seed=seed)] for pool in pools]
        numbers = sorted({example for own in drawn for example in own})
        counts = torch.tensor([[own.count(example) for example in numbers] for own in drawn], dtype=torch.float64)
        return Drawn(numbers, counts / size)

    return draw


def places_of(examples: Examples, chosen: Sequence[int]) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """Return the places of some examples, one example after another, and for each which of those chosen it belongs to."""
    ranges = [torch.arange(examples.first[e], examples.first[e + 1]) for e in chosen]
    counts = torch.tensor([len(one) for one in ranges], dtype=torch.int64)
    nothing = torch.zeros(0, dtype=torch.int64)
    return torch.cat([nothing, *ranges]), torch.arange(len(chosen)).repeat_interleave(counts)


def means_of(labels: Float[Tensor, "m n"], owner: Int[Tensor, " n"], shares: Float64[Tensor, "m E"]) -> Float64[Tensor, "m n"]:
    """Return the factors by which losses at n places sum to the mean over an example's judged places, then over examples."""
    known = (~labels.isnan()).double()
    counts = torch.zeros_like(shares).index_add(1, owner, known)
    return known * (shares / counts.clamp(min=1))[:, owner]


Encoded = tuple[Prompt, tuple[EncodedSteps, ...], Float64[Tensor, "k S"], int]


def _steps(chat: ChatFormat, source: Any, *, limit: int, mark: int | None) -> list[Encoded]:
    """Texts with their steps, as far as they fit; the last number counts labelled steps that did not."""
    found = []
    for index, (prompt, steps, rows) in enumerate(zip(source.prompts, source.steps, source.labels, strict=True)):
        whole = _encoded(encode_steps, chat, prompt, steps, mark=mark, place=f"{source.source}, record {index}")
        labels = torch.tensor([[torch.nan if x is None else x for x in rows[name]] for name in source.objectives]).double()
        if not bool((~labels.isnan()).any()):
            continue  # nobody judged it
        ends = tuple(end for end in whole.ends if end < limit)
        kept = labels[:, : len(ends)]
        if not bool((~kept.isnan()).any()):
            raise DataError(
                f"{source.source}, record {index}: found no labelled step within {limit} tokens, expected one. Raise "
                "max_length, or leave the record out."
            )
        cut = int((~labels[:, len(ends) :].isnan()).any(dim=0).sum())
        found.append((prompt, (EncodedSteps(whole.ids[: ends[-1] + 1], ends),), kept, cut))
    return found


def _pairs(chat: ChatFormat, source: Any, *, limit: int, mark: int | None) -> list[Encoded]:
    """Pairs of texts without end tokens; the last number counts texts that were cut."""
    found = []
    marks = () if mark is None else (mark,)
    room = limit - len(marks)
    rows = source.labels.double().unbind(dim=1)
    for index, (prompt, a, b, labels) in enumerate(
        zip(source.prompts, source.responses_a, source.responses_b, rows, strict=True)
    ):
        # one token more than fits: that of the end, which is not read
        place = f"{source.source}, pair {index}"
        pair = _encoded(encode_pair, chat, prompt, a, b, max_length=room + 1, place=place)
        texts = []
        for response, cut in ((pair.response_a, pair.cut_a), (pair.response_b, pair.cut_b)):
            own = response if cut else response[:-1]
            ids = (*(*pair.prompt, *own)[:room], *(marks if own else ()))
            texts.append(EncodedSteps(ids, (len(ids) - 1,)))
        cuts = sum(pair.cut_prompt_tokens + cut > 0 for cut in (pair.cut_a, pair.cut_b))
        found.append((prompt, tuple(texts), labels[:, None], cuts))
    return found


def _encoded(encode: Callable[..., Any], *given: Any, place: str, **options: Any) -> Any:
    try:
        return encode(*given, **options)
    except DataError as error:
        raise DataError(f"{place}: {error}") from error
