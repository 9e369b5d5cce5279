"""What a response of a shared row sees that it must not: the derivative of its log-probability at the other embeddings.

Imports: torch, `rows`, `shapes`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any, NamedTuple

import torch

from paretokit.rows import Rows, pad_rows, shared_rows, visible
from paretokit.shapes import Bool, Float, Tensor

__all__ = ["Pairs", "along_direction", "drawn_pairs", "embedded", "seen_unasked"]


class Pairs(NamedTuple):
    """Token ids of pairs to try a model on."""

    prompts: list[list[int]]
    first: list[list[int]]
    second: list[list[int]]
    vocabulary: int

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return len(self.prompts)

    @property
    def apart(self) -> Rows:
        """The pairs with a row for each response, first ones before second ones."""
        return pad_rows(self.prompts * 2, self.first + self.second)

    def shared(self, *, together: bool = True) -> Rows:
        """The pairs with their prompts shared: all but the last in one row, the last in a row of its own; or a row each."""
        last = self.count - 1 if together else 0
        return shared_rows(self.prompts, self.first, self.second, rows=[range(last), [last]] if last else None)

    def with_other_first(self) -> "Pairs":
        """The same pairs with other first responses, every token of which is another one."""
        others = [[(token + self.vocabulary // 2) % self.vocabulary for token in response] for response in self.first]
        return self._replace(first=others)


def drawn_pairs(lengths: Sequence[Sequence[int]], *, vocabulary: int, seed: int = 0) -> Pairs:
    """Return pairs of random tokens, of so many in prompt, first and second response."""
    generator = torch.Generator().manual_seed(seed)
    parts = [[torch.randint(0, vocabulary, (length,), generator=generator).tolist() for length in each] for each in lengths]
    prompts, first, second = (list(part) for part in zip(*parts, strict=True))
    return Pairs(prompts, first, second, vocabulary)


def along_direction(hidden: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
    """Return hidden states along a fixed random direction: what a model without an output projection is tried by."""
    direction = torch.randn(hidden.shape[-1], generator=torch.Generator().manual_seed(0))
    return hidden.float() @ direction.to(hidden.device)


def seen_unasked(model: Any, pairs: Pairs, scores: Callable[[Rows, bool], Float[Tensor, " N"]]) -> float:
    """Return the largest derivative of a sequence's log-probability at an embedding that it must not see; NaN counts.

    It is 0.0 where nothing is seen: what the mask hides has the weight 0, and a product with 0 is 0 in any precision.
    """
    rows, largest = pairs.shared(), 0.0
    seen = visible(rows.segments)[:, 0]
    with torch.enable_grad(), embedded(model, rows.input_ids.shape) as leaves:
        logps = scores(rows, True)
        for response, parity in product((0, 1), (0, 1)):  # neither a pair's own responses nor neighbours are asked together
            part_of = (rows.sequence // pairs.count == response) & (rows.sequence % pairs.count % 2 == parity)
            if not part_of.any():
                continue
            hidden = _hidden(rows, seen, part_of)
            found = torch.autograd.grad(logps[part_of.to(logps.device)].sum(), leaves, retain_graph=True, allow_unused=True)
            for part in found:
                slope = 0.0 if part is None else float(part[hidden.to(part.device)].abs().sum())
                if not slope <= largest:
                    largest = slope
    return largest


def _hidden(rows: Rows, seen: Bool[Tensor, "R T T"], part_of: Bool[Tensor, " N"]) -> Bool[Tensor, "R T"]:
    """The positions that none of these predictions may see."""
    from_here = torch.zeros(rows.input_ids.shape, dtype=torch.bool)
    from_here.view(-1)[rows.predicting[part_of]] = True
    return ~(seen & from_here[:, :, None]).any(dim=1)


@contextmanager
def embedded(model: Any, shape: Sequence[int]) -> Iterator[list[Tensor]]:
    """Add zeros that ask for a gradient to every embedding of tokens of this shape; the list fills while the model runs."""
    leaves: list[Tensor] = []

    def add(module: torch.nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        if not isinstance(output, torch.Tensor) or tuple(output.shape[:2]) != tuple(shape):
            return output
        leaves.append(torch.zeros_like(output, requires_grad=True))
        return output + leaves[-1]

    embeddings = {model.get_input_embeddings(), *(part for part in model.modules() if isinstance(part, torch.nn.Embedding))}
    hooks = [part.register_forward_hook(add) for part in embeddings]
    try:
        yield leaves
    finally:
        for hook in hooks:
            hook.remove()
