"""Reference log-probabilities, each computed once: a mapping from the tokens of a sequence to its log-probability.

The mapping is the caller's: a plain dict lives as long as the run, `experiments` passes one that is kept on disk, one per
base model. It is filled lazily, for the pairs that a step needs. Imports: torch, `texts`; `models` by value.
"""

from collections.abc import Iterator, MutableMapping, Sequence
from hashlib import blake2b

import torch

from paretokit.models.policy import Policy
from paretokit.shapes import Float64, Tensor
from paretokit.texts import EncodedPair

References = MutableMapping[str, float]  # key of a sequence -> sum of its response's log-probabilities, in nats


def sequence_key(prompt: Sequence[int], response: Sequence[int]) -> str:
    """Return the name of a prompt and response, given as token ids: 32 hexadecimal digits, equal for equal tokens.

    >>> sequence_key([1, 2], [3]) == sequence_key([1], [2, 3])
    False
    """
    text = f"{','.join(map(str, prompt))}|{','.join(map(str, response))}"
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _sequences(pairs: Sequence[EncodedPair]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    for pair in pairs:
        yield pair.prompt, pair.response_a
        yield pair.prompt, pair.response_b


def missing(pairs: Sequence[EncodedPair], references: References) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return the distinct (prompt, response) of the pairs that the mapping does not hold yet."""
    wanted = {sequence_key(*sequence): sequence for sequence in _sequences(pairs)}
    return [sequence for key, sequence in wanted.items() if key not in references]


def reference_sums(policy: Policy, pairs: Sequence[EncodedPair], references: References) -> Float64[Tensor, "P 2"]:
    """Return log ref(a|x) and log ref(b|x) of each pair, in nats; what the mapping lacks is computed and added to it."""
    lacking = missing(pairs, references)
    if lacking:
        prompts, responses = zip(*lacking, strict=True)
        sums = policy.ids_logps(prompts, responses, reference=True).tolist()
        references.update({sequence_key(*sequence): value for sequence, value in zip(lacking, sums, strict=True)})
    values = [references[sequence_key(*sequence)] for sequence in _sequences(pairs)]
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 2)


def reference_margins(policy: Policy, pairs: Sequence[EncodedPair], references: References) -> Float64[Tensor, " P"]:
    """Return log ref(a|x) - log ref(b|x) of each pair, in nats; see `reference_sums`."""
    sums = reference_sums(policy, pairs, references)
    return sums[:, 0] - sums[:, 1]
