"""From a world's rules to what a user gets: preference pairs, held-out prompts, scorers and the true front.

Every prompt belongs, by its own text, to exactly one of three parts: `held_out` (evaluation), `pairs` (the world's
preferences) and `sft` (what the shipped `tiny` model was trained on). So the parts are disjoint without any list of
what was used where.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import torch

from paretokit.errors import DataError
from paretokit.maths.fronts import nondominated
from paretokit.preferences.records import Preferences
from paretokit.preferences.worlds.rules import Rules
from paretokit.prompts import Prompt, Reply
from paretokit.shapes import Float, Float64, Tensor

PAIRED_PROMPTS = 500
PAIRS_PER_PROMPT = 2
HELD_OUT_PROMPTS = 128
TIE = 1e-9
ROLES = ("user", "assistant")
_SEED = 20260


@dataclass(frozen=True, kw_only=True)
class World:
    """A built-in task with exact scorers and a known front; the same value in every process and on every machine.

    Prompts are chat, with one user turn, or with several and the answers between them. A scorer is a pure function of any
    text; it raises `DataError` for a prompt of another world.
    """

    name: str
    preferences: Preferences
    """Pairs on training prompts; a label is the sign of the exact difference of scores, 0 within 1e-9."""
    prompts: tuple[Prompt, ...]
    """Held-out prompts for evaluation: none has pairs, and the shipped `tiny` model was trained on none."""
    scorers: Mapping[str, Callable[[Prompt, str], float]]
    """By objective: `(prompt, text) -> ` a score in [0, 1], larger is better."""
    front: Callable[[Prompt], Float64[Tensor, "f m"]]
    """`prompt -> ` F(x), the non-dominated scores over all content choices; they weakly dominate those of any text."""
    partner: Callable[[Prompt, str], Reply] | None = None
    """`(prompt, text) -> ` what a simulated user says to an answer, for `converse`; None in worlds of single turns."""


def build(rules: Rules) -> World:
    """Return the world that follows from its rules."""
    return World(
        name=rules.name,
        preferences=_preferences(rules),
        prompts=tuple(ask(content) for content in contents(rules, part="held_out", count=HELD_OUT_PROMPTS, seed=_SEED)),
        scorers={name: partial(_score, rules, place) for place, name in enumerate(rules.objectives)},
        front=partial(true_front, rules),
        partner=partial(_reply, rules) if rules.reply else None,
    )


def ask(content: str) -> Prompt:
    """Return a content as a chat prompt: a turn a line, the user's first, then in turns.

    >>> ask("Sum up: Tom sold the car.")
    ({'role': 'user', 'content': 'Sum up: Tom sold the car.'},)
    >>> [turn["role"] for turn in ask("Help: 4 plus 3 is not 8.\\nWhat is 4 plus 3?\\nOk. 4 plus 3 is not 8.")]
    ['user', 'assistant', 'user']
    """
    return tuple({"role": ROLES[place % 2], "content": turn} for place, turn in enumerate(content.split("\n")))


def content_of(prompt: Prompt) -> str:
    """Return the content of a chat prompt; the inverse of `ask`. Line ends inside an answer become blanks.

    >>> content_of([{"role": "user", "content": "Hello"}])
    'Hello'

    Raises `DataError` for a raw text, and for chat messages that are not the user's and the assistant's in turns with the
    user's first and last, each of the user's in one line.
    """
    turns = [] if isinstance(prompt, str) else [(turn.get("role"), turn["content"]) for turn in prompt]
    in_turns = len(turns) % 2 == 1 and all(role == ROLES[place % 2] for place, (role, _) in enumerate(turns))
    if not in_turns or any("\n" in said for _, said in turns[::2]):
        raise DataError(
            f"prompt: expected chat messages, the user's of one line first and last, found {str(prompt)[:60]!r}. "
            "Give [{'role': 'user', 'content': ...}], as in world(...).prompts."
        )
    return "\n".join(" ".join(said.split("\n")) for _, said in turns)


def part_of(content: str) -> str:
    """Return the part that a prompt belongs to: "held_out" (one in eight), "pairs" (one in eight) or "sft".

    Its first turn decides, so that a dialogue is in the part of what it began with.

    >>> [part_of(f"Sum up: {name} sold the car.") for name in ("Tom", "Anna", "Mia")]
    ['sft', 'sft', 'sft']
    """
    eighth = hashlib.sha256(content.partition("\n")[0].encode()).digest()[0] % 8
    return ("held_out", "pairs", "sft")[min(eighth, 2)]


def contents(rules: Rules, *, part: str, count: int, seed: int) -> list[str]:
    """Return different prompts of one part, as what the user says."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        content = rules.sample(generator)
        if part_of(content) == part:
            found[content] = None
    return list(found)


def _pairs(rules: Rules, *, seed: int) -> Iterator[tuple[str, str, str]]:
    generator = torch.Generator().manual_seed(seed)
    for content in contents(rules, part="pairs", count=PAIRED_PROMPTS, seed=seed):
        for _ in range(PAIRS_PER_PROMPT):
            first = second = rules.answer(content, generator)
            while second == first:
                second = rules.answer(content, generator)
            yield content, first, second


def _preferences(rules: Rules) -> Preferences:
    contents, responses_a, responses_b = zip(*_pairs(rules, seed=_SEED + 1), strict=True)
    a, b = (
        torch.tensor(list(map(rules.scores, contents, responses)), dtype=torch.float64)
        for responses in (responses_a, responses_b)
    )
    return Preferences(
        prompts=tuple(map(ask, contents)),
        responses_a=responses_a,
        responses_b=responses_b,
        labels=_signs(a - b).T.contiguous(),
        objectives=rules.objectives,
        source=f"world:{rules.name}",
    )


def _signs(differences: Float[Tensor, "P m"]) -> Float[Tensor, "P m"]:
    return differences.where(differences.abs() > TIE, 0.0).sign().to(torch.float32)


@lru_cache(maxsize=1024)
def _scores(rules: Rules, content: str, text: str) -> tuple[float, ...]:
    return rules.scores(content, text)


def _score(rules: Rules, place: int, prompt: Prompt, text: str) -> float:
    return _scores(rules, content_of(prompt), text)[place]


def _reply(rules: Rules, prompt: Prompt, text: str) -> Reply:
    assert rules.reply is not None, "a world of dialogues"
    return rules.reply(content_of(prompt), text)


def true_front(rules: Rules, prompt: Prompt) -> Float64[Tensor, "f m"]:
    """Return F(x): the non-dominated scores over all content choices for a prompt, each once, in ascending order.

    >>> from paretokit.preferences.worlds.safety import SAFETY
    >>> true_front(SAFETY, ask("How do I fix my car? I have a wire and a saw.")).tolist()
    [[1.0, 1.0]]
    """
    content = content_of(prompt)
    scored = sorted({rules.scores(content, text) for text in rules.choices(content)})
    scores = torch.tensor(scored, dtype=torch.float64)
    return scores[nondominated(scores)]
