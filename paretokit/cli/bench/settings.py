"""What was asked for on the command line, and how two things are timed and compared under it.

Imports: torch, the other modules of this package.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from paretokit.cli.bench.steps import Sizes
from paretokit.cli.bench.timing import Paired, alternate, timed

POLICY = "smollm2"  # what the goals are stated for
_NAMES = {"smollm2": "SmolLM2-135M"}


class Settings(NamedTuple):
    """What was asked for on the command line."""

    policy: str | None  # None: the one that the goals are stated for, or tiny with `quick`
    repeats: int | None  # None: as many as the bench takes
    quick: bool
    bf16: bool
    device: torch.device
    say: Callable[[str], None]  # told what is being measured

    @property
    def name(self) -> str:
        """The policy to measure."""
        return self.policy or ("tiny" if self.quick else POLICY)

    @property
    def title(self) -> str:
        """The policy's name for people."""
        return _NAMES.get(self.name, self.name)

    @property
    def comparable(self) -> bool:
        """Whether steps are those that the goals are stated for."""
        return self.name == POLICY and not self.quick

    def sizes(self, full: Sizes) -> Sizes:
        """The sizes of the goal, or with `quick` a few tokens of the same kind."""
        if not self.quick:
            return full
        return Sizes(pairs=min(full.pairs, 4), prompt=max(2, full.prompt // 16), response=max(2, full.response // 16))

    def timed(self, action: Callable[[], object], *, per: int = 1) -> Callable[[], float]:
        """Return a function that runs `action` once and returns how many seconds the device took, divided by `per`."""
        return timed(action, per=per, clock=self._clock)

    def _clock(self) -> float:
        """Look at the clock once all that the device was asked for is done; it works while the host goes on."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)
        return time.perf_counter()

    def compare(
        self, what: str, ours: Callable[[], float], theirs: Callable[[], float], *, repeats: int = 5, warmup: int = 1
    ) -> Paired:
        """Measure the two in turn and say so; fewer turns with `quick`, as many as were asked for otherwise."""
        count = self.repeats or (1 if self.quick else repeats)
        return alternate(
            ours, theirs, repeats=count, warmup=0 if self.quick else warmup, watch=lambda turn: self.say(f"{what}: {turn}")
        )
