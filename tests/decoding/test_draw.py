"""Drawing one token: the right distribution, the cuts, and streams that belong to their rows."""

import pytest
import torch
from scipy.stats import chisquare

from paretokit.decoding.draw import draw, uniforms

LOGITS = torch.tensor([1.0, -0.5, 2.0, 0.3, -torch.inf, 1.7, -3.0, 0.0])
COUNT = 20_000


def frequencies(**options: float) -> torch.Tensor:
    """How often each token of LOGITS is drawn, in COUNT draws from the streams that decoding uses."""
    uniform = torch.cat([uniforms([row], copy=0, seed=0, count=COUNT // 20) for row in range(20)])
    tokens = draw(LOGITS.expand(COUNT, -1), uniform, **options).tokens
    return tokens.bincount(minlength=len(LOGITS))


def cut(probabilities: torch.Tensor, keep: list[int]) -> torch.Tensor:
    kept = torch.zeros_like(probabilities)
    kept[keep] = probabilities[keep]
    return kept / kept.sum()


@pytest.mark.parametrize(
    ("options", "keep"),
    [
        ({}, [0, 1, 2, 3, 5, 6, 7]),
        ({"temperature": 0.5}, [0, 1, 2, 3, 5, 6, 7]),
        ({"temperature": 3.0}, [0, 1, 2, 3, 5, 6, 7]),
        ({"top_k": 3}, [2, 5, 0]),
        ({"top_k": 100}, [0, 1, 2, 3, 5, 6, 7]),
        ({"top_p": 0.6}, [2, 5]),
        ({"top_k": 2, "top_p": 0.99, "temperature": 2.0}, [2, 5]),
        ({"top_p": 1e-6}, [2]),
    ],
)
def test_frequencies_are_those_of_the_distribution(options: dict[str, float], keep: list[int]) -> None:
    expected = cut((LOGITS.double() / options.get("temperature", 1.0)).softmax(-1), keep)
    found = frequencies(**options)
    assert found[expected == 0].sum() == 0
    assert len(keep) == 1 or chisquare(found[keep], COUNT * expected[keep]).pvalue > 1e-3


def test_the_frequency_test_can_fail() -> None:
    expected = COUNT * LOGITS.double().softmax(-1)
    real = expected > 0
    assert chisquare(frequencies(temperature=1.1)[real], expected[real]).pvalue < 1e-3


def test_each_token_takes_its_share_of_the_unit_interval() -> None:
    logits = torch.tensor([0.5, 0.25, 0.25]).log().expand(5, 3)
    assert draw(logits, torch.tensor([0.0, 0.49, 0.51, 0.74, 0.76])).tokens.tolist() == [0, 0, 1, 1, 2]


def test_the_ends_of_the_interval_never_draw_the_impossible() -> None:
    largest = 1 - 2**-24  # the largest float32 below 1
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2000, 50, generator=generator)
    logits[:, 40:] = -torch.inf
    logits[:, 0] = -torch.inf
    for value in (0.0, largest):
        drawn = draw(logits, torch.full((2000,), value))
        assert torch.isfinite(drawn.logps).all()
        assert drawn.tokens.min() >= 1
        assert drawn.tokens.max() < 40


def test_greedy_takes_the_first_of_the_likeliest() -> None:
    assert draw(torch.tensor([[1.0, 3.0, 3.0]]), torch.tensor([0.99]), temperature=0).tokens.tolist() == [1]


def test_log_probabilities_are_untempered_and_uncut() -> None:
    for options in ({}, {"temperature": 0}, {"temperature": 0.3, "top_k": 2}, {"top_p": 0.5}):
        drawn = draw(LOGITS.double()[None], torch.tensor([0.4]), **options)
        assert drawn.logps[0] == pytest.approx(LOGITS.double().log_softmax(-1)[drawn.tokens[0]].item(), abs=1e-14)


def test_ties_at_the_last_place_stay() -> None:
    logits = torch.tensor([2.0, 1.0, 1.0, 0.0]).expand(100, 4)
    tokens = draw(logits, torch.arange(100) / 100, top_k=2).tokens
    assert set(tokens.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_logits_that_are_not_finite_show_in_the_log_probability(bad: float) -> None:
    logits = torch.zeros(2, 4)
    logits[1, 2] = bad
    for temperature in (0.0, 1.0):
        drawn = draw(logits, torch.tensor([0.5, 0.5]), temperature=temperature)
        assert torch.isfinite(drawn.logps).tolist() == [True, False]


def test_a_stream_depends_on_seed_prompt_and_copy_only() -> None:
    first = uniforms([1, 2], copy=0, seed=0, count=50)
    assert torch.equal(first, uniforms((1, 2), copy=0, seed=0, count=60)[:50])
    others = [
        uniforms([1, 2], copy=1, seed=0, count=50),
        uniforms([1, 2], copy=0, seed=1, count=50),
        uniforms([2, 1], copy=0, seed=0, count=50),
        uniforms([1, 2, 0], copy=0, seed=0, count=50),
        uniforms([1, 2], copy=0, seed=-1, count=50),
        uniforms([1, 2], copy=0, seed=2**70, count=50),
    ]
    assert len({tuple(stream.tolist()) for stream in [first, *others]}) == 7
    assert first.dtype == torch.float32
    assert 0 <= first.min() < first.max() < 1


def test_streams_are_the_same_on_every_machine() -> None:
    found = uniforms([3, 1, 4], copy=1, seed=5, count=3).tolist()
    assert found == [0.8395645022392273, 0.7906444668769836, 0.6510279774665833]  # exact: multiples of 2**-24
