"""Pairs and policies for the tests of loops: small, conflicting, with every kind of label; and Jacobians compared."""

from collections.abc import Sequence

import torch
from support.models_cases import VOCABULARY

from paretokit.models.policy import Policy
from paretokit.models.tiny import random_policy
from paretokit.preferences.pack import Batch, Pass, packing
from paretokit.preferences.read import read_preferences
from paretokit.preferences.records import Preferences
from paretokit.texts import EncodedPair
from paretokit.training.jacobian import batch_for


def pairs(*, objectives: int = 2, count: int = 6) -> Preferences:
    """Pairs of short texts of unequal length; labels of all kinds, the same for equal arguments."""
    labels = torch.randint(-1, 2, (count, objectives), generator=torch.Generator().manual_seed(5)).tolist()
    labels[0] = [1] * objectives
    labels[1] = [(-1) ** i for i in range(objectives)]
    if objectives > 1:
        labels[2][0] = None
    return read_preferences(
        [
            {
                "prompt": f"question {i} " + "why " * (i % 3),
                "response_a": "because " * (1 + i % 4),
                "response_b": f"no {i}",
                "labels": {f"o{j}": value for j, value in enumerate(row)},
            }
            for i, row in enumerate(labels)
        ],
        ties=True,  # the labels are drawn: an objective may have ties and no -1
    )


def exact_policy(*, adapter: str = "lora", seed: int = 0) -> Policy:
    """A random policy in float64 all through: transformers' GPT-2 has no float32 islands, as Llama's RMSNorm is one."""
    return random_policy("gpt2", seed=seed, adapter=adapter, dtype=torch.float64)


def moved_policy(*, adapter: str = "lora", seed: int = 0) -> Policy:
    """An exact policy that has left its reference a little, so that margins and gradients are not at their start."""
    policy = exact_policy(seed=seed, adapter=adapter)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in policy.trainable.values():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return policy


NONE = float("nan")
LABELS = torch.tensor(  # of `token_pairs`: a tie, not judged, by nobody, alike, opposite; and an objective without any label
    [
        [1, -1, 0, 1, 1, NONE, -1],
        [1, 1, -1, 0, NONE, NONE, -1],
        [-1, 1, 1, 1, 1, NONE, 1],
        [NONE] * 7,
    ]
)
LAYOUTS = ("apart", "single", "packed", "several")


def token_pairs() -> list[EncodedPair]:
    """A pair per column of `LABELS`, of 3 to 18 tokens, of which a prompt with its response has at most 13: all families
    read them with a shared prompt (their windows hold 16). One prompt has the token that Llama's embedding ignores."""
    generator = torch.Generator().manual_seed(3)

    def draw(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, VOCABULARY, (length,), generator=generator).tolist())

    pairs = [EncodedPair(draw(1 + 3 * i % 8), draw(1 + 2 * i % 6), draw(1 + 5 * i % 7)) for i in range(LABELS.shape[1])]
    pairs[1] = pairs[1]._replace(prompt=(2, *pairs[1].prompt[1:]))
    return pairs


def token_batch(policy: Policy, layout: str = "several", *, chosen: Sequence[int] = range(LABELS.shape[1])) -> Batch:
    """Some of `token_pairs` with a row for each response ("apart"), one for each pair ("single"), one for all ("packed"), or
    two rows ("several"). The log-probabilities of the reference are made up."""
    pairs = [token_pairs()[i] for i in chosen]
    if layout in ("apart", "single"):
        placed = Pass(tuple((i,) for i in range(len(pairs))), layout == "single")
    else:
        rows = (512,) if layout == "packed" else (40,)
        [placed] = packing(pairs, allows=policy.sharing.allows, size=len(pairs), budget=4096, rows=rows).passes
        assert max(map(len, placed.rows)) > 1
    order = torch.tensor([chosen[i] for i in placed.pairs])
    reference = torch.linspace(-1, 1, LABELS.shape[1], dtype=torch.float64)[order]
    return batch_for(policy, [pairs[i] for i in placed.pairs], LABELS[:, order], reference, order, placed=placed)


def difference(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """How far rows [m, *shape] are apart at most: of each parameter and objective, relative to its largest expected entry;
    infinite where something else than 0 stands for 0, or no number."""
    worst = 0.0
    for one, other in zip(found, expected, strict=True):
        apart, largest = (part.double().reshape(len(part), -1).abs().amax(dim=1) for part in (one - other, other))
        relative = torch.where(apart == 0, 0.0, apart / largest)
        worst = max(worst, float(torch.where(relative.isnan(), torch.inf, relative).max()))
    return worst


def assert_same_rows(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor], *, within: float = 1e-12) -> None:
    """Equal rows, as `difference` measures it. In float64, widened, rounding is 5e-15; what is missed, 1e-3 or more."""
    assert [row.shape for row in found] == [row.shape for row in expected]
    worst = difference(found, expected)
    assert worst <= within, f"rows differ by {worst:.2g} of the largest entry"
