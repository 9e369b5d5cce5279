"""The memory that log-probabilities and their gradient take, measured in a process of its own for each figure.

    python -m paretokit.cli.bench.memory projected --positions 64 --hidden 32 --vocabulary 1000

prints by how many MiB the process grew at most, from when hidden states and weight were there. Imports: torch, `maths`.
"""

import argparse
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from paretokit.errors import ParetokitError


class Head(NamedTuple):
    """An output projection, and how many positions are scored through it."""

    positions: int
    hidden: int
    vocabulary: int


def grown(side: str, head: Head) -> Callable[[], float]:
    """Return a function that starts a process and returns by how many MiB it grew; `side` is "projected" or "plain"."""
    sizes = [word for name, value in head._asdict().items() for word in (f"--{name}", str(value))]

    def measure() -> float:
        done = subprocess.run([sys.executable, "-m", __name__, side, *sizes], capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
            raise ParetokitError(f"memory, {side}: the process that was measured failed ({last}). Is there enough memory?")
        return float(done.stdout)

    return measure


def peak() -> float:
    """Return the most memory that this process has held so far, in MiB.

    That is `ru_maxrss`; where Linux tells, its own part of it: `ru_maxrss` begins with the peak of the process that
    started this one, and would hide what a small process does behind what a large one did.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found / 2**20 if sys.platform == "darwin" else found / 2**10


def main() -> None:
    """Print by how many MiB this process grows while it does one side's work: forward, then backward to the hidden states."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=("projected", "plain"))
    for name in Head._fields:
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()

    import torch

    from paretokit.maths import heads
    from paretokit.maths.logps import token_logps

    generator = torch.Generator().manual_seed(0)
    weight = torch.empty(options.vocabulary, options.hidden).normal_(generator=generator)
    hidden = torch.empty(options.positions, options.hidden).normal_(generator=generator).requires_grad_()
    targets = torch.randint(options.vocabulary, (options.positions,), generator=generator)
    before = peak()
    projected = options.side == "projected"
    head = heads.Head(weight)
    logps = heads.projected_logps(hidden, head, targets) if projected else token_logps(hidden @ weight.T, targets)
    logps.sum().backward()
    print(peak() - before)


if __name__ == "__main__":
    main()
