"""A toy policy with known probabilities: a walk of sentences, whose every continuation can be enumerated."""

from collections.abc import Iterator
from hashlib import sha256

from paretokit.experiments.rollouts import Rollout

LONGEST = 5  # steps of a response
NEXT = {  # after the last step -> what follows, with its probability; "" ends the response
    "Start.": {" Up.": 0.5, " Down.": 0.3, "": 0.2},
    " Up.": {" Up.": 0.4, " Down.": 0.2, "": 0.4},
    " Down.": {" Up.": 0.3, " Down.": 0.5, "": 0.2},
}


def steps_of(text: str) -> list[str]:
    first, *rest = text.split(". ")
    return [step.rstrip(".") + "." for step in [first, *(f" {part}" for part in rest)]]


def continuations(text: str) -> Iterator[tuple[str, float, int]]:
    """Every way to go on from a text: the whole response, its probability, and how many steps it has after the text."""
    steps = steps_of(text)
    if len(steps) == LONGEST:
        yield text, 1.0, 0
        return
    for step, probability in NEXT[steps[-1]].items():
        if not step:
            yield text, probability, 0
            continue
        for whole, rest, more in continuations(text + step):
            yield whole, probability * rest, more + 1


def up(prompt: object, text: str) -> bool:
    """Whether a response ends upwards: the verifier."""
    return text.endswith("Up.")


def expected(text: str, *, gamma: float, outcome=up) -> float:
    """E gamma^(n - t) z from a text, by enumeration."""
    return sum(mass * gamma**more * float(outcome("", whole)) for whole, mass, more in continuations(text))


class Walk:
    """A `Sampler` of the walk; `calls` remembers what it was asked for, and it fails at the call `fails_at`."""

    def __init__(self, *, cache_key: str | None = None, fails_at: int | None = None):
        self.calls: list[tuple[int, range]] = []
        self.fails_at = fails_at
        if cache_key is not None:
            self.cache_key = cache_key

    @property
    def made(self) -> int:
        return sum(count * len(copies) for count, copies in self.calls)

    def __call__(self, prompts, begun, *, copies, seed):
        if self.fails_at == len(self.calls):
            raise KeyboardInterrupt
        self.calls.append((len(prompts), copies))
        pairs = list(zip(prompts, begun, strict=True))
        return [[Rollout(walk(prompt, text, copy, seed)) for copy in copies] for prompt, text in pairs]


def walk(prompt: str, text: str, copy: int, seed: int) -> str:
    digest = sha256(f"{prompt}|{text}|{copy}|{seed}".encode()).digest()
    text = text or "Start."
    for count in range(len(steps_of(text)), LONGEST):
        luck, step = int.from_bytes(digest[4 * count : 4 * count + 4], "big") / 2**32, ""
        for step, probability in NEXT[steps_of(text)[-1]].items():  # noqa: B007 (the last one is what was drawn)
            luck -= probability
            if luck < 0:
                break
        if not step:
            break
        text += step
    return text
