"""Log-probabilities of scored tokens and their sums over sequences, in nats.

N scored tokens are the rows of a logit matrix; which of S sequences each belongs to is a vector of indices, so a ragged
batch needs neither padding nor a mask. Imports: torch, `shapes`.
"""

import torch

from paretokit.shapes import Float, Int, Tensor

__all__ = ["sum_by_sequence", "token_logps", "wide"]


def token_logps(logits: Float[Tensor, "N V"], targets: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Return log softmax(logits)[n, targets[n]] for each n, in nats, <= 0; differentiable in `logits`.

    Half-precision logits are widened before the log-sum-exp: the result is float32, or float64 where the logits are.
    A target outside 0..V-1 is torch's index error: no index is taken to mean "ignore".

    >>> token_logps(torch.tensor([[0.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1]))
    tensor([-0.6931, -0.3133])
    """
    return torch.log_softmax(logits.to(wide(logits.dtype)), dim=-1).gather(-1, targets[:, None]).squeeze(-1)


def sum_by_sequence(token_logps: Float[Tensor, " N"], sequence: Int[Tensor, " N"], *, count: int) -> Float[Tensor, " S"]:
    """Return the sum of `token_logps` over each of `count` sequences (sum_logps), 0 for one without tokens.

    `sequence[n]`, in 0..count-1, is the sequence of token n, in any order.

    >>> sum_by_sequence(torch.tensor([-1.0, -2.0, -4.0]), torch.tensor([1, 0, 1]), count=3)
    tensor([-2., -5.,  0.])
    """
    values = token_logps.to(wide(token_logps.dtype))
    return values.new_zeros(count).index_add(0, sequence, values)


def wide(dtype: torch.dtype) -> torch.dtype:
    """Return the precision in which log-probabilities are computed: float64 for float64, else float32.

    >>> wide(torch.bfloat16)
    torch.float32
    """
    return dtype if dtype == torch.float64 else torch.float32
