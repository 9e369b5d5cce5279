"""Log-probabilities, loss and gradients against TRL's `DPOTrainer` on the same token ids.

TRL computes the log-softmax and the gradient through it in float32, whatever the dtype of the model. So the formulas are
compared with those islands widened to float64, where what is left is rounding; then once in float32, as both are used.
"""

from typing import Any, NamedTuple
from unittest import mock

import pytest
import torch
from support.models_cases import disturb, ragged_pairs, wide

from paretokit.maths.losses import dpo
from paretokit.models.policy import Policy
from paretokit.models.tiny import FAMILIES, byte_tokenizer, random_policy
from paretokit.rows import pad_rows
from paretokit.texts import EncodedPair, encode_pair
from paretokit.training.jacobian import batch_for, objective_jacobian
from paretokit.training.references import reference_margins

# TRL 1.16 uses both names, and turns checkpointing on where the argument is not given
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:`{name}` is deprecated and will be removed in v6:FutureWarning")
    for name in ("gradient_checkpointing", "is_gradient_checkpointing")
]

END = byte_tokenizer().eos_token_id  # and what TRL pads with
TEXTS = {"prompt": "Why? ", "chosen": "Because.", "rejected": "No idea, é"}


class Sides(NamedTuple):
    """Two policies of equal weights, one untouched by TRL, which patches `forward` on the model it is given."""

    ours: Policy
    theirs: Policy
    trainer: Any  # a DPOTrainer of `theirs`


def ragged() -> list[EncodedPair]:
    """Responses of 1 to 21 tokens, cut (a) and with their end token (b), and one that is the end token alone."""
    prompts, responses = ragged_pairs()
    shifted = responses[-1:] + responses[:-1]
    pairs = [EncodedPair(tuple(p), tuple(a), (*b, END)) for p, a, b in zip(prompts, responses, shifted, strict=True)]
    return [*pairs, EncodedPair((7, 8), (END,), (9, END))]


def swapped(pairs: list[EncodedPair]) -> list[EncodedPair]:
    return [EncodedPair(pair.prompt, pair.response_b, pair.response_a) for pair in pairs]


def build(family: str, adapter: str, folder: str, *, dtype: torch.dtype = torch.float64) -> Sides:
    """Both sides have left their reference, so that margins are not zero. TRL's reference is the base given as a model of its
    own or, with LoRA, the copy of the adapter that it takes at its start, which adds nothing."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    theirs = random_policy(family, adapter=adapter, dtype=dtype)
    arguments = DPOConfig(
        folder,
        bf16=False,
        gradient_checkpointing=False,
        max_length=None,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    with torch.random.fork_rng(devices=[]):  # it seeds
        trainer = DPOTrainer(
            theirs.model,
            ref_model=None if adapter == "lora" else random_policy(family, adapter="none", dtype=dtype).model,
            args=arguments,
            train_dataset=Dataset.from_list([TEXTS]),
            processing_class=theirs.tokenizer,
        )
    return Sides(disturb(random_policy(family, adapter=adapter, dtype=dtype)), disturb(theirs), trainer)


@pytest.fixture(scope="module", params=[(family, adapter) for family in FAMILIES for adapter in ("full", "lora")], ids="-".join)
def sides(request, tmp_path_factory) -> Sides:
    return build(*request.param, str(tmp_path_factory.mktemp("trl")))


def trl_batch(pairs: list[EncodedPair]) -> dict[str, torch.Tensor]:
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    rows = [
        {"prompt_ids": list(pair.prompt), "chosen_ids": list(pair.response_a), "rejected_ids": list(pair.response_b)}
        for pair in pairs
    ]
    return DataCollatorForPreference(pad_token_id=END)(rows)


@torch.no_grad()
def trl_logps(trainer: Any, pairs: list[EncodedPair]) -> tuple[torch.Tensor, torch.Tensor]:
    """The log-probability of each response token, those of the chosen responses first; and the sums per response."""
    batch = trl_batch(pairs)
    mask = batch.pop("completion_mask")
    labels = batch["input_ids"].masked_fill(mask == 0, -100)
    found = trainer.model(**batch, labels=labels, use_cache=False, fused_lm_head=True).log_probs
    return found[mask[:, 1:] == 1], found.sum(dim=1)


def trl_loss(trainer: Any, pairs: list[EncodedPair], *, beta: float) -> torch.Tensor:
    with mock.patch.object(trainer, "beta", beta):
        return trainer.compute_loss(trainer.model, trl_batch(pairs))


def trl_gradients(side: Sides, pairs: list[EncodedPair], *, beta: float) -> torch.Tensor:
    loss = trl_loss(side.trainer, pairs, beta=beta)
    parameters = side.theirs.trainable.values()
    return joined(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))


@torch.no_grad()
def token_logps(policy: Policy, pairs: list[EncodedPair]) -> torch.Tensor:
    responses = [pair.response_a for pair in pairs] + [pair.response_b for pair in pairs]
    return policy.token_logps(pad_rows([pair.prompt for pair in pairs] * 2, responses))


def sums(policy: Policy, pairs: list[EncodedPair]) -> torch.Tensor:
    responses = [pair.response_a for pair in pairs] + [pair.response_b for pair in pairs]
    return policy.ids_logps([pair.prompt for pair in pairs] * 2, responses)


def moved_margins(policy: Policy, pairs: list[EncodedPair]) -> torch.Tensor:
    chosen, rejected = sums(policy, pairs).chunk(2)
    margins = chosen - rejected - reference_margins(policy, pairs, {})
    assert margins.abs().max() > 0.1  # the policy has left its reference
    return margins


def loss(margins: torch.Tensor, *, beta: float, sign: int = 1) -> torch.Tensor:
    return dpo(margins, torch.full((1, len(margins)), sign, dtype=margins.dtype), beta=beta).mean()


def gradients(policy: Policy, pairs: list[EncodedPair], *, beta: float) -> torch.Tensor:
    labels = torch.ones(1, len(pairs))
    batch = batch_for(policy, pairs, labels, reference_margins(policy, pairs, {}), torch.arange(len(pairs)))
    return joined(row[0] for row in objective_jacobian(policy, batch, beta=beta, judged=torch.tensor([len(pairs)])).rows)


def joined(parts) -> torch.Tensor:
    return torch.cat([part.flatten() for part in parts])


def assert_same(found: torch.Tensor, expected: torch.Tensor, *, within: float = 1e-13) -> None:
    """Equal within an absolute tolerance; as it stands, 60 times the rounding of a float64 log-probability of 8 nats."""
    torch.testing.assert_close(found.double(), expected.detach().double(), rtol=0, atol=within)


# in float64 all through


def test_the_log_probability_of_every_token_and_response_equals_trl(sides):
    with wide():
        tokens, responses = trl_logps(sides.trainer, ragged())
        assert_same(token_logps(sides.ours, ragged()), tokens)
        assert_same(sums(sides.ours, ragged()), responses)


def test_the_loss_equals_trl_and_minus_one_is_trl_on_swapped_pairs(sides):
    with wide():
        margins = moved_margins(sides.ours, ragged())
        for beta in (0.1, 0.5):
            assert_same(loss(margins, beta=beta), trl_loss(sides.trainer, ragged(), beta=beta))
        assert_same(loss(margins, beta=0.5, sign=-1), trl_loss(sides.trainer, swapped(ragged()), beta=0.5))


def test_the_gradient_of_every_trainable_weight_equals_trl(sides):
    with wide():
        assert_same(gradients(sides.ours, ragged(), beta=0.5), trl_gradients(sides, ragged(), beta=0.5))


# in float32, as both are used


@pytest.fixture(scope="module", params=["llama", "gpt2", "qwen3", "gemma2"])
def narrow(request, tmp_path_factory) -> Sides:
    return build(request.param, "lora", str(tmp_path_factory.mktemp("trl")), dtype=torch.float32)


def test_in_float32_what_differs_from_trl_is_rounding(narrow):
    # logits and log-sum below 8 are rounded to 2.4e-7 each, ours from a log_softmax, TRL's from a difference of the two
    assert_same(token_logps(narrow.ours, ragged()), trl_logps(narrow.trainer, ragged())[0], within=2e-6)
    # a margin sums up to 33 such tokens and as many of the reference, times beta; the errors cancel in part: 2e-6 was seen
    assert_same(loss(moved_margins(narrow.ours, ragged()), beta=0.5), trl_loss(narrow.trainer, ragged(), beta=0.5), within=1e-5)
    found, expected = gradients(narrow.ours, ragged(), beta=0.5), trl_gradients(narrow, ragged(), beta=0.5)
    assert_same(found, expected, within=1e-5 * float(expected.abs().max()))  # 4e-6 was seen: sums over all positions


# from text


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Sides:
    return build("gpt2", "lora", str(tmp_path_factory.mktemp("trl")))


def test_trl_makes_the_same_ids_of_plain_text(one):
    row = one.trainer.train_dataset[0]
    pair = encode_pair(one.ours.tokenizer, TEXTS["prompt"], TEXTS["chosen"], TEXTS["rejected"], max_length=100)
    assert (pair.prompt, pair.response_a, pair.response_b) == tuple(
        tuple(row[name]) for name in ("prompt_ids", "chosen_ids", "rejected_ids")
    )


# each of these mistakes is noticed


def without_end() -> list[EncodedPair]:
    return [pair._replace(response_b=pair.response_b[:-1]) for pair in ragged()]


def test_a_dropped_end_token_is_noticed(one):
    with wide(), pytest.raises(AssertionError, match="not close"):
        assert_same(sums(one.ours, without_end()), trl_logps(one.trainer, ragged())[1])


def test_another_beta_is_noticed(one):
    with wide(), pytest.raises(AssertionError, match="not close"):
        assert_same(loss(moved_margins(one.ours, ragged()), beta=0.1001), trl_loss(one.trainer, ragged(), beta=0.1))


def test_a_sign_is_noticed(one):
    with wide(), pytest.raises(AssertionError, match="not close"):
        assert_same(loss(moved_margins(one.ours, ragged()), beta=0.1, sign=-1), trl_loss(one.trainer, ragged(), beta=0.1))


def test_weights_that_moved_are_noticed(one):
    moved = disturb(one.ours.fork(), size=1e-9, seed=0)
    with wide(), pytest.raises(AssertionError, match="not close"):
        assert_same(gradients(moved, ragged(), beta=0.1), trl_gradients(one, ragged(), beta=0.1))


def test_float32_in_trl_is_noticed(one):
    """Why the others are `wide`: in a float64 model TRL is no better than float32."""
    with pytest.raises(AssertionError, match="not close"):
        assert_same(token_logps(one.ours, ragged()), trl_logps(one.trainer, ragged())[0])
