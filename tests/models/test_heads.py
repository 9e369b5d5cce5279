"""Action heads: exact copies of the base at the start, mixed the same way by folding, by row and by hand, on every family;
kept apart from each other and from the input embedding; saved strictly, and exported as one plain model.

Float32 islands are widened (`wide`), so that what is left between two ways in float64 is rounding.
"""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.heads_cases import NAMES, head_weights, headed, mixed_by_hand, own_projection, raw_logits, same, squashed
from support.models_cases import disturb, ragged_pairs, wide
from transformers import AutoModelForCausalLM, PreTrainedModel

from paretokit.errors import ConfigError, ModelError, StoreError, WeightsError
from paretokit.models import build, saving
from paretokit.models.build import assemble
from paretokit.models.heads import Heads
from paretokit.models.load import load_policy
from paretokit.models.policy import Policy
from paretokit.models.projection import backbone
from paretokit.models.tiny import FAMILIES, byte_tokenizer, random_policy
from paretokit.rows import pad_rows

PAIRS = ragged_pairs()
PROMPTS, RESPONSES = ["hello", "a", "The quick brown fox"], ["yes", "no, not at all", ""]
MIXTURES = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [1.5, -1.0, 0.5]], dtype=torch.float64)
RANKS = pytest.mark.parametrize("rank", [4, None], ids=["low-rank", "full"])
TIES = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])


def tokens(count: int = 3, width: int = 7) -> torch.Tensor:
    return torch.randint(3, 259, (count, width), generator=torch.Generator().manual_seed(4))


# one function, three ways


@RANKS
@TIES
@pytest.mark.parametrize("family", FAMILIES)
def test_folded_equals_by_row_equals_the_sum_by_hand(family: str, tied: bool, rank: int | None) -> None:
    with wide(), torch.no_grad():
        policy, ids = disturb(headed(family, rank=rank, tie_word_embeddings=tied)), tokens()
        assert policy.model.config.get_text_config().tie_word_embeddings is tied
        expected = mixed_by_hand(policy, family, ids, MIXTURES)
        model, _ = policy.by_row(MIXTURES)
        by_row = model(input_ids=ids, logits_to_keep=1).logits[:, -1]
        torch.testing.assert_close(by_row, expected, rtol=0, atol=1e-10)
        for index, mixture in enumerate(MIXTURES.tolist()):
            folded = policy.merged(mixture, extrapolate=True)(input_ids=ids[index : index + 1]).logits[0, -1]
            torch.testing.assert_close(folded, expected[index], rtol=0, atol=1e-10)
        other = policy.by_row(MIXTURES.flip(0))[0](input_ids=ids, logits_to_keep=1).logits[:, -1]
        assert (other - expected)[0].abs().max() > 1e-3  # planted: the weights of another row
        plain = policy.model(input_ids=ids).logits[:, -1]
        assert (plain - expected).abs().max() > 1e-3  # planted: the model's own head


@RANKS
@TIES
@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_are_those_of_the_mixed_model(family: str, tied: bool, rank: int | None) -> None:
    with wide(), torch.no_grad():
        policy = disturb(headed(family, rank=rank, tie_word_embeddings=tied))
        mixture, prompt, response = [0.2, 0.3, 0.5], PAIRS[0][0], PAIRS[1][4]
        found = policy.ids_logps([prompt], [response], weights=mixture)
        logits = policy.merged(mixture)(input_ids=torch.tensor([[*prompt, *response]])).logits[0].log_softmax(dim=-1)
        start = len(prompt) - 1
        expected = logits[range(start, start + len(response)), response].sum()
        torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-10)
        alone = [policy.ids_logps([prompt], [response], head=name) for name in NAMES]
        one_hot = [policy.ids_logps([prompt], [response], weights=row) for row in torch.eye(3).tolist()]
        torch.testing.assert_close(torch.cat(alone), torch.cat(one_hot), rtol=0, atol=1e-10)
        values = torch.cat([found, *alone])
        assert len(values.unique()) == 4  # planted: they are four policies
        assert values.max() - values.min() > 1e-2


def test_a_soft_cap_before_mixing_would_be_noticed() -> None:
    with wide(), torch.no_grad():
        policy, ids = disturb(headed("gemma2"), size=0.5), tokens()
        expected = mixed_by_hand(policy, "gemma2", ids, MIXTURES)
        hidden = backbone(policy.model)(input_ids=ids).last_hidden_state[:, -1]
        each = torch.stack([squashed("gemma2", raw_logits(policy, hidden, name)) for name in NAMES], dim=1)
        assert ((MIXTURES[:, :, None] * each).sum(dim=1) - expected).abs().max() > 1e-2


@RANKS
def test_every_position_goes_through_its_own_head(rank: int | None) -> None:
    policy = disturb(headed("gpt2", rank=rank))  # float64 all through
    rows = pad_rows(*PAIRS)
    sequence = rows.sequence % 3
    found = policy.token_logps(rows, through=sequence)
    each = torch.stack([policy.token_logps(rows, through=torch.full_like(sequence, number)) for number in range(3)])
    expected = each[sequence, torch.arange(len(sequence))]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert (found - each[0]).abs().max() > 1e-3  # planted: all through the first
    assert set(sequence.tolist()) == {0, 1, 2}


def test_rows_may_share_what_was_read_and_leave() -> None:
    policy = disturb(headed("gpt2"))
    _, head = policy.by_row(MIXTURES)
    hidden = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    each = torch.stack([raw_logits(policy, hidden[:, -1], name) for name in NAMES], dim=1)  # [2, H, V]
    with torch.no_grad():
        head.spread = torch.tensor([1, 0, 1])
        torch.testing.assert_close(
            head(hidden)[:, 0], torch.einsum("bh,bhv->bv", MIXTURES, each[[1, 0, 1]]), rtol=0, atol=1e-12
        )
        head.spread = None
        head.select(torch.tensor([2, 0]))
        torch.testing.assert_close(head(hidden)[:, 0], torch.einsum("bh,bhv->bv", MIXTURES[[2, 0]], each), rtol=0, atol=1e-12)


@RANKS
def test_mixed_models_follow_the_adapter_and_share_it(rank: int | None) -> None:
    with wide(), torch.no_grad():
        policy, ids = disturb(headed(rank=rank)), tokens()
        one, other = policy.merged([1.0, 0.0, 0.0]), policy.merged([0.0, 1.0, 0.0])
        assert one.model is other.model  # the adapter is merged in once
        before = one(input_ids=ids).logits[:, -1]
        for name, weight in policy.trainable.items():
            if not name.startswith("heads."):
                weight += 0.05
        expected = mixed_by_hand(policy, "llama", ids, MIXTURES[1].expand(3, 3))
        torch.testing.assert_close(policy.merged([1.0, 0.0, 0.0])(input_ids=ids).logits[:, -1], expected, rtol=0, atol=1e-10)
        assert (before - expected).abs().max() > 1e-3
        assert torch.equal(one(input_ids=ids).logits[:, -1], before)  # what was made before stays


@RANKS
@pytest.mark.parametrize("adapter", ["full", "none"])
def test_other_adapters_mix_alike(adapter: str, rank: int | None) -> None:
    for family, tied in itertools.product(("llama", "gpt2", "phi"), (True, False)):
        with wide(), torch.no_grad():
            policy, ids = headed(family, rank=rank, adapter=adapter, tie_word_embeddings=tied), tokens()
            disturb(policy, size=0.05)
            expected = mixed_by_hand(policy, family, ids, MIXTURES)
            by_row = policy.by_row(MIXTURES)[0](input_ids=ids, logits_to_keep=1).logits[:, -1]
            torch.testing.assert_close(by_row, expected, rtol=0, atol=1e-10)
            folded = policy.merged(MIXTURES[0].tolist())(input_ids=ids).logits[:, -1]
            torch.testing.assert_close(folded[0], expected[0], rtol=0, atol=1e-10)


@RANKS
def test_a_half_precision_base_keeps_heads_in_float32(rank: int | None) -> None:
    policy = disturb(headed(rank=rank, dtype=torch.bfloat16))
    assert policy.model.dtype == torch.bfloat16
    assert {weight.dtype for weight in policy.trainable.values()} == {torch.float32}
    with torch.no_grad():
        folded = policy.merged([0.2, 0.3, 0.5])(input_ids=tokens()).logits[:, -1].float()
        by_row = policy.by_row(MIXTURES[:1].expand(3, 3))[0](input_ids=tokens(), logits_to_keep=1).logits[:, -1].float()
    # bfloat16 has 8 bits; logits are sums of 32 products
    assert (folded - by_row).abs().max() < 0.02 * folded.abs().max()


# the start


CASES = [*((family, "lora") for family in FAMILIES), *itertools.product(("llama", "gpt2", "phi"), ("full", "none"))]


@RANKS
@TIES
@pytest.mark.parametrize(("family", "adapter"), CASES)
def test_heads_start_as_copies_of_the_base(family: str, adapter: str, tied: bool, rank: int | None) -> None:
    """So that margins are zero before the first step; float32 is allowed 1e-4 nats, which is many roundings."""
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        policy = headed(family, rank=rank, adapter=adapter, dtype=dtype, tie_word_embeddings=tied)
        assert policy.at_base()
        reference = policy.reference_logps(PROMPTS, RESPONSES)
        for name in NAMES:
            found = policy.sequence_logps(PROMPTS, RESPONSES, head=name)
            torch.testing.assert_close(found, reference, rtol=0, atol=tolerance)
        mixed = policy.sequence_logps(PROMPTS, RESPONSES, weights=[1.5, -1.0, 0.5], extrapolate=True)
        # the mixture is a sum of three copies, whose rounding is that of numbers of size 3
        torch.testing.assert_close(mixed, reference, rtol=0, atol=max(tolerance, 1e-11))
    disturb(policy)
    assert not policy.at_base()
    assert (policy.sequence_logps(PROMPTS, RESPONSES, head="honest") - reference).abs().max() > 1e-3  # planted: it has moved
    torch.testing.assert_close(policy.reference_logps(PROMPTS, RESPONSES), reference, rtol=0, atol=1e-4)


def test_what_heads_are_made_of() -> None:
    for rank, tied in itertools.product((4, None), (True, False)):
        policy = headed("phi", rank=rank, tie_word_embeddings=tied, adapter="none")
        assert policy.heads == tuple(NAMES)
        weight, bias = own_projection(policy.base)
        shapes = {name: tuple(part.shape) for name, part in policy.trainable.items()}
        if rank is None:
            assert shapes == {
                f"heads.{name}.{kind}": s for name in NAMES for kind, s in (("weight", (259, 32)), ("bias", (259,)))
            }
            assert all(torch.equal(policy.trainable[f"heads.{name}.weight"], weight) for name in NAMES)
            assert all(torch.equal(policy.trainable[f"heads.{name}.bias"], bias) for name in NAMES)
        else:
            assert shapes == {f"heads.{name}.{kind}": s for name in NAMES for kind, s in (("A", (259, 4)), ("B", (4, 32)))}
            assert not any(policy.trainable[f"heads.{name}.A"].any() for name in NAMES)
            downs = [policy.trainable[f"heads.{name}.B"] for name in NAMES]
            assert all(0 < part.abs().max() <= 32**-0.5 for part in downs)
            assert not torch.equal(downs[0], downs[1])
    assert "heads.help.bias" not in headed(rank=None).trainable  # Llama has none


def test_at_base_follows_what_heads_add() -> None:
    thin, full = headed("phi"), headed("phi", rank=None)
    with torch.no_grad():
        thin.trainable["heads.honest.B"] += 1
        assert thin.at_base()  # A is zero: nothing is added yet
        thin.trainable["heads.honest.A"][3, 0] = 1e-9
        assert not thin.at_base()
        for kind in ("weight", "bias"):
            assert full.at_base()
            part = full.trainable[f"heads.truth.{kind}"]
            before = part.clone()
            part.view(-1)[-1] += 1e-9
            assert not full.at_base()
            part.copy_(before)


def test_the_start_follows_the_seed_and_the_name_alone() -> None:
    def downs(names: list[str], seed: int) -> dict[str, torch.Tensor]:
        policy = random_policy(heads=names, head_rank=4, seed=seed)
        return {name: policy.trainable[f"heads.{name}.B"] for name in names}

    first, turned, other = downs(["x", "y"], 0), downs(["y", "new", "x"], 0), downs(["x", "y"], 1)
    assert all(torch.equal(first[name], turned[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)
    state = torch.get_rng_state()
    downs(["x"], 0)
    assert torch.equal(state, torch.get_rng_state())


# what a head does not touch


@RANKS
@TIES
@pytest.mark.parametrize("adapter", ["lora", "full", "none"])
def test_the_input_embedding_is_never_touched(tmp_path: Path, adapter: str, tied: bool, rank: int | None) -> None:
    for family in ("llama", "gpt2", "phi"):
        policy = headed(family, rank=rank, adapter=adapter, tie_word_embeddings=tied)
        embedding = policy.model.get_input_embeddings().weight
        own = policy.model.get_output_embeddings().weight
        assert (own is embedding) is tied
        before, base = embedding.detach().clone(), policy.bank.base.weight.clone()
        assert not any(part.data_ptr() == embedding.data_ptr() for part in head_weights(policy).values())
        with torch.no_grad():
            for part in head_weights(policy).values():
                part += 0.1
        assert torch.equal(embedding, before)
        policy.merged([0.2, 0.3, 0.5])(input_ids=tokens())
        policy.by_row(MIXTURES)[0](input_ids=tokens(), logits_to_keep=1)
        policy.ids_logps(*PAIRS, weights=[0.2, 0.3, 0.5])
        policy.export(tmp_path / f"{family} plain", weights=[0.2, 0.3, 0.5])
        policy.add_head("new")
        policy.remove_head("honest")
        policy.fork(seed=1)
        assert torch.equal(embedding, before)
        assert torch.equal(own, policy.bank.base.weight)
        assert policy.model.get_output_embeddings().weight is own
        assert policy.model.config.get_text_config().tie_word_embeddings is tied
        disturb(policy)  # also the embedding, where it is trained: as the backbone's, not as a head
        assert torch.equal(embedding, before) is (adapter != "full")
        assert torch.equal(policy.bank.base.weight, base)
        own_is_trained = any(part is own for part in policy.trainable.values())
        assert own_is_trained is (adapter == "full" and tied)


def test_the_embedding_would_be_touched_through_a_head_that_is_not_copied() -> None:
    """Planted: low-rank heads on the tied matrix itself, while the embedding is trained."""
    policy = headed(adapter="full", tie_word_embeddings=True)
    reference = policy.reference_logps(PROMPTS, RESPONSES)
    own = policy.model.get_output_embeddings().weight
    policy.bank.base = policy.bank.base._replace(weight=own)
    with torch.no_grad():
        own += 0.1 * torch.randn(own.shape, generator=torch.Generator().manual_seed(2), dtype=own.dtype)
    assert not torch.equal(policy.bank.base.weight, own_projection(policy.base)[0])
    policy.bank.base = policy.bank.base._replace(weight=own_projection(policy.base)[0])
    torch.testing.assert_close(policy.reference_logps(PROMPTS, RESPONSES), reference, rtol=0, atol=1e-12)


@RANKS
def test_a_tied_projection_keeps_the_base_and_its_bias_out_of_training(rank: int | None) -> None:
    policy = headed("phi", rank=rank, adapter="full", tie_word_embeddings=True)
    linear = policy.model.get_output_embeddings()
    assert linear.bias is not None
    assert not linear.bias.requires_grad  # nothing reads it but the reference: weight decay alone would move it
    assert not any(part is linear.bias for part in policy.trainable.values())
    before = [part.clone() for part in policy.bank.base[:2]]
    disturb(policy)
    assert all(torch.equal(part, kept) for part, kept in zip(policy.bank.base[:2], before, strict=True))


@RANKS
def test_adding_and_removing_a_head_leaves_the_others_bit_for_bit(rank: int | None) -> None:
    policy = disturb(headed(rank=rank))
    before = policy.trainable_state()
    logps = {name: policy.ids_logps(*PAIRS, head=name) for name in NAMES}
    policy.add_head("new")
    assert policy.heads == (*NAMES, "new")
    assert same({name: policy.trainable[name] for name in before}, before)
    assert all(torch.equal(policy.ids_logps(*PAIRS, head=name), logps[name]) for name in NAMES)
    fresh = random_policy(heads=["new"], head_rank=rank, dtype=torch.float64)
    assert same({k: v for k, v in policy.trainable.items() if ".new." in k}, head_weights(fresh))
    policy.remove_head("honest")
    assert policy.heads == ("help", "truth", "new")
    kept = {name: weight for name, weight in before.items() if ".honest." not in name}
    assert same({name: policy.trainable[name] for name in kept}, kept)
    assert not any(".honest." in name for name in policy.trainable)
    assert all(torch.equal(policy.ids_logps(*PAIRS, head=name), logps[name]) for name in ("help", "truth"))
    mixed = policy.ids_logps(*PAIRS, weights={"help": 1.0, "truth": 0.0, "new": 0.0})
    torch.testing.assert_close(mixed, logps["help"], rtol=0, atol=1e-11)
    policy.add_head("honest")
    assert policy.heads == ("help", "truth", "new", "honest")
    assert not torch.equal(policy.ids_logps(*PAIRS, head="honest"), logps["honest"])  # planted: it starts afresh


# forks and states


@RANKS
@pytest.mark.parametrize("adapter", ["lora", "full", "none"])
def test_a_fork_owns_its_heads(adapter: str, rank: int | None) -> None:
    policy = disturb(headed(rank=rank, adapter=adapter))
    before, mixed = policy.trainable_state(), policy.ids_logps(*PAIRS, weights=[0.2, 0.3, 0.5])
    fork = policy.fork()
    assert fork.heads == policy.heads
    assert same(fork.trainable_state(), before)
    assert torch.equal(fork.ids_logps(*PAIRS, weights=[0.2, 0.3, 0.5]), mixed)
    assert fork.bank.base.weight.data_ptr() == policy.bank.base.weight.data_ptr()  # what is frozen is shared
    disturb(fork)
    fork.remove_head("help")
    assert same(policy.trainable_state(), before)
    assert torch.equal(policy.ids_logps(*PAIRS, weights=[0.2, 0.3, 0.5]), mixed)
    assert torch.equal(fork.ids_logps(*PAIRS, reference=True), policy.ids_logps(*PAIRS, reference=True))
    learnt = fork.ids_logps(*PAIRS, weights=[0.5, 0.5])
    assert (learnt - mixed).abs().min() > 1e-3  # planted: the fork did move


@RANKS
@pytest.mark.parametrize("adapter", ["lora", "full", "none"])
def test_a_seeded_fork_starts_afresh(adapter: str, rank: int | None) -> None:
    policy = disturb(headed("phi", rank=rank, adapter=adapter))
    fork = policy.fork(seed=3)
    assert fork.at_base()
    assert not policy.at_base()
    expected = random_policy("phi", heads=NAMES, head_rank=rank, dtype=torch.float64, adapter="none", seed=0)
    if rank is None:
        assert same(head_weights(fork), head_weights(expected))
    else:
        assert not torch.equal(fork.trainable["heads.help.B"], expected.trainable["heads.help.B"])  # drawn from seed 0
        assert torch.equal(fork.trainable["heads.help.B"], policy.fork(seed=3).trainable["heads.help.B"])
        assert not torch.equal(fork.trainable["heads.help.B"], policy.fork(seed=4).trainable["heads.help.B"])
    reference = fork.ids_logps(*PAIRS, reference=True)
    for name in NAMES:
        torch.testing.assert_close(fork.ids_logps(*PAIRS, head=name), reference, rtol=0, atol=1e-12)


@RANKS
def test_the_trainable_state_goes_round(rank: int | None) -> None:
    policy = disturb(headed("phi", rank=rank))
    state, logps = policy.trainable_state(), policy.ids_logps(*PAIRS, head="truth")
    disturb(policy, seed=6)
    assert not torch.equal(policy.ids_logps(*PAIRS, head="truth"), logps)
    policy.load_trainable_state(state)
    assert same(policy.trainable_state(), state)
    assert torch.equal(policy.ids_logps(*PAIRS, head="truth"), logps)
    assert all(weight.requires_grad and weight.is_leaf for weight in policy.trainable.values())
    fresh = headed("phi", rank=rank)
    fresh.load_trainable_state(state)
    assert torch.equal(fresh.ids_logps(*PAIRS, head="truth"), logps)


@RANKS
def test_a_state_that_does_not_fit_changes_nothing(rank: int | None) -> None:
    policy = disturb(headed(rank=rank))
    before = policy.trainable_state()
    last = next(reversed(before))
    surplus = random_policy(heads=[*NAMES, "new"], head_rank=rank, dtype=torch.float64).trainable_state()
    short = {name: weight + 1 for name, weight in before.items() if name != last}
    thin = {name: weight + 1 for name, weight in before.items()} | {last: before[last][:1]}
    for state, message in (
        (short, rf"1 missing \({last}\), none unexpected"),
        (surplus, r"none missing, \d unexpected \(heads\.new\."),
        (thin, rf"{last} has shape"),
    ):
        with pytest.raises(ModelError, match=message):
            policy.load_trainable_state(state)
        assert same(policy.trainable_state(), before)


# on disk


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Plain transformers folders: tied, untied, and untied with an output bias."""
    root = tmp_path_factory.mktemp("models")
    for name, family, tied in (("tied", "llama", True), ("untied", "llama", False), ("biased", "phi", False)):
        random_policy(family, adapter="none", tie_word_embeddings=tied).export(root / name)
    return {name: root / name for name in ("tied", "untied", "biased")}


@RANKS
@pytest.mark.parametrize("adapter", ["lora", "full", "none"])
@pytest.mark.parametrize("base", ["tied", "untied", "biased"])
def test_saved_and_loaded_is_the_same_policy(
    folders: dict[str, Path], tmp_path: Path, base: str, adapter: str, rank: int | None
) -> None:
    policy = disturb(load_policy(folders[base], adapter=adapter, heads=NAMES, head_rank=rank))
    policy.save(tmp_path / "saved")
    loaded = load_policy(tmp_path / "saved")
    assert (loaded.heads, loaded.bank.rank, loaded.adapter) == (tuple(NAMES), rank, adapter)
    assert same(loaded.trainable_state(), policy.trainable_state())
    for options in ({"head": "honest"}, {"weights": [0.2, 0.3, 0.5]}, {"reference": True}):
        assert torch.equal(loaded.ids_logps(*PAIRS, **options), policy.ids_logps(*PAIRS, **options))
    assert not loaded.at_base()
    loaded.save(tmp_path / "again")
    for file in (tmp_path / "saved").iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()
    kinds = ["A", "B"] if rank else ["weight", "bias"] if base == "biased" else ["weight"]
    stored = load_file(tmp_path / "saved" / "heads.safetensors")
    assert sorted(stored) == sorted(f"heads.{name}.{kind}" for name in NAMES for kind in kinds)
    files = {"lora": ["adapter_config.json", "adapter_model.safetensors"], "full": ["model.safetensors"], "none": []}[adapter]
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == sorted([*files, "heads.safetensors", "policy.json"])
    told = json.loads((tmp_path / "saved" / "policy.json").read_text())
    assert (told["heads"], told["head_rank"]) == (NAMES, rank)


def test_added_and_removed_heads_are_saved(folders: dict[str, Path], tmp_path: Path) -> None:
    policy = load_policy(folders["tied"], heads=NAMES, head_rank=4)
    policy.save(tmp_path / "saved")
    policy.add_head("new")
    policy.remove_head("honest")
    disturb(policy).save(tmp_path / "saved")
    loaded = load_policy(tmp_path / "saved")
    assert loaded.heads == ("help", "truth", "new")
    assert same(loaded.trainable_state(), policy.trainable_state())


def test_a_policy_without_heads_has_no_file_of_them(folders: dict[str, Path], tmp_path: Path) -> None:
    load_policy(folders["tied"], heads=NAMES).save(tmp_path / "saved")
    load_policy(folders["tied"]).save(tmp_path / "saved")
    assert not (tmp_path / "saved" / "heads.safetensors").exists()
    assert load_policy(tmp_path / "saved").heads == ()


def change(function: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / "heads.safetensors"
        save_file(function(load_file(file)), file)

    return damage


def without(name: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    return lambda state: {key: value for key, value in state.items() if key != name}


def told_otherwise(**changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / "policy.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return damage


def cut(folder: Path) -> None:
    file = folder / "heads.safetensors"
    file.write_bytes(file.read_bytes()[:-10])


DAMAGES = [
    (
        lambda folder: (folder / "heads.safetensors").unlink(),
        r"heads\.safetensors: cannot be read \(.*\)\. Save the policy again",
    ),
    (cut, r"heads\.safetensors: cannot be read \("),
    (
        change(without("heads.honest.B")),
        r"saved: the weights do not fit the policy: 1 missing \(heads\.honest\.B\), none unexpected\. Use weights saved from",
    ),
    (
        change(lambda state: {**state, "heads.surplus.A": torch.zeros(1)}),
        r"none missing, 1 unexpected \(heads\.surplus\.A\)",
    ),
    (
        change(lambda state: {**state, "heads.truth.A": state["heads.truth.A"][:, :2].clone()}),
        r"heads\.truth\.A has shape \(259, 2\), expected \(259, 4\)\. Use weights that were saved from",
    ),
    (
        change(lambda state: without("heads.help.A")({**state, "heads.help.a": state["heads.help.A"].clone()})),
        r"1 missing \(heads\.help\.A\), 1 unexpected \(heads\.help\.a\)",
    ),
    (told_otherwise(heads=["help", "honest"]), r"none missing, 2 unexpected \(heads\.truth\.A, heads\.truth\.B\)"),
    (told_otherwise(heads=[*NAMES, "new"]), r"2 missing \(heads\.new\.A, heads\.new\.B\), none unexpected"),
    (told_otherwise(head_rank=2), r"heads\.help\.A has shape \(259, 4\), expected \(259, 2\)"),
    (told_otherwise(head_rank=None), r"3 missing \(heads\.help\.weight, heads\.honest\.weight, heads\.truth\.weight\)"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_loading_is_strict(folders: dict[str, Path], tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    load_policy(folders["tied"], heads=NAMES, head_rank=4).save(tmp_path / "saved")
    load_policy(tmp_path / "saved")  # as it was written, it is read
    damage(tmp_path / "saved")
    with pytest.raises(ModelError, match=message) as raised:
        load_policy(tmp_path / "saved")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("damage", "message"), DAMAGES[:6])
def test_what_cannot_be_restored_leaves_the_policy_unchanged(
    folders: dict[str, Path], tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    disturb(load_policy(folders["tied"], heads=NAMES, head_rank=4)).save(tmp_path / "saved")
    policy = load_policy(folders["tied"], heads=NAMES, head_rank=4)
    before = policy.trainable_state()
    damage(tmp_path / "saved")
    saved = saving.read_policy_file(tmp_path / "saved")
    with pytest.raises(ModelError, match=message):
        build.restore(policy, folder=tmp_path / "saved", saved=saved)
    assert same(policy.trainable_state(), before)


def test_a_saved_policy_keeps_its_heads(folders: dict[str, Path], tmp_path: Path) -> None:
    load_policy(folders["tied"], heads=NAMES, head_rank=4).save(tmp_path / "saved")
    assert load_policy(tmp_path / "saved", heads=NAMES).bank.rank == 4
    for other in (["help"], NAMES[::-1], [*NAMES, "new"]):
        with pytest.raises(ConfigError) as raised:
            load_policy(tmp_path / "saved", heads=other)
        assert str(raised.value) == (
            f"policy '{tmp_path / 'saved'}': heads={other} were asked for, but the saved policy has {NAMES} and keeps them. "
            "Leave the argument out; Policy.add_head and .remove_head change them."
        )
    load_policy(folders["tied"]).save(tmp_path / "plain")
    with pytest.raises(ConfigError, match=r"heads=\['help'\] were asked for, but the saved policy has \[\] and keeps them"):
        load_policy(tmp_path / "plain", heads=["help"])


# exported


@RANKS
@TIES
@pytest.mark.parametrize("family", FAMILIES)
def test_export_is_a_plain_model_with_the_logits_of_the_mixture(
    tmp_path: Path, family: str, tied: bool, rank: int | None
) -> None:
    policy = disturb(headed(family, rank=rank, tie_word_embeddings=tied))
    before = policy.trainable_state()
    policy.export(tmp_path / "plain", weights={"truth": 0.5, "help": 0.2, "honest": 0.3})
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "plain", dtype="auto").eval()
    assert type(plain) is type(random_policy(family, adapter="none").model)
    assert plain.dtype == torch.float64
    assert plain.config.get_text_config().tie_word_embeddings is False
    assert plain.get_output_embeddings().weight is not plain.get_input_embeddings().weight
    with wide(), torch.no_grad():
        found = plain(input_ids=tokens()).logits[:, -1]
        expected = mixed_by_hand(policy, family, tokens(), MIXTURES[:1].expand(3, 3))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
        other = mixed_by_hand(policy, family, tokens(), MIXTURES[1:2].expand(3, 3))
        assert (found - other).abs().max() > 1e-3  # planted: another mixture
    embedding = policy.model.get_input_embeddings().weight
    assert torch.equal(plain.get_input_embeddings().weight, embedding)
    assert same(policy.trainable_state(), before)
    assert policy.model.config.get_text_config().tie_word_embeddings is tied


@RANKS
@pytest.mark.parametrize("adapter", ["full", "none", "lora"])
def test_export_of_a_half_precision_base_is_in_the_precision_of_the_heads(
    tmp_path: Path, adapter: str, rank: int | None
) -> None:
    dtype = torch.float32 if adapter == "full" else torch.bfloat16
    policy = disturb(headed(rank=rank, dtype=dtype, adapter=adapter))
    policy.export(tmp_path / "plain", weights=[0.2, 0.3, 0.5])
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "plain", dtype="auto").eval()
    assert (plain.dtype, policy.model.dtype) == (torch.float32, dtype)
    weight = policy.bank.base.weight.float()
    if rank is None:
        expected = sum(w * policy.trainable[f"heads.{n}.weight"] for w, n in zip((0.2, 0.3, 0.5), NAMES, strict=True))
    else:
        parts = [policy.trainable[f"heads.{n}.A"] @ policy.trainable[f"heads.{n}.B"] for n in NAMES]
        expected = weight + sum(w * part for w, part in zip((0.2, 0.3, 0.5), parts, strict=True))
    torch.testing.assert_close(plain.lm_head.weight, expected, rtol=0, atol=1e-6)  # float32


def test_exported_mixtures_are_bases_to_train_further(folders: dict[str, Path], tmp_path: Path) -> None:
    policy = disturb(load_policy(folders["biased"], heads=NAMES, head_rank=None, dtype="float64"))
    policy.export(tmp_path / "plain", weights=[0.2, 0.3, 0.5])
    further = load_policy(tmp_path / "plain", heads=["next"], dtype="float64")
    found = further.ids_logps(*PAIRS, head="next")
    torch.testing.assert_close(found, policy.ids_logps(*PAIRS, weights=[0.2, 0.3, 0.5]), rtol=0, atol=1e-10)


def test_a_full_folder_is_not_exported_to(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(StoreError, match="thesis: exists and is not empty"):
        headed().export(tmp_path / "thesis", weights=[0.2, 0.3, 0.5])
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]


# what is refused


NO_HEADS = (
    "weights: found weights for a policy that has no heads to weigh, expected none. Leave them out, load the policy with "
    "heads=[...], or train one policy per weighting."
)
NO_WEIGHTS = "weights: found none for a policy with the heads help, honest, truth, expected one weight for each. "


def test_weights_and_heads_go_together(tmp_path: Path) -> None:
    plain, policy = random_policy(), headed()
    for ask in (
        lambda: plain.merged([0.5, 0.5]),
        lambda: plain.ids_logps(*PAIRS, weights=[0.5, 0.5]),
        lambda: plain.sequence_logps(PROMPTS, RESPONSES, weights=[0.5, 0.5]),
        lambda: plain.export(tmp_path / "plain", weights=[0.5, 0.5]),
    ):
        with pytest.raises(ConfigError) as raised:
            ask()
        assert str(raised.value) == NO_HEADS
    for ask in (
        policy.merged,
        lambda: policy.ids_logps(*PAIRS),
        lambda: policy.sequence_logps(PROMPTS, RESPONSES),
        lambda: policy.export(tmp_path / "plain"),
    ):
        with pytest.raises(ConfigError) as raised:
            ask()
        assert str(raised.value) == NO_WEIGHTS + "Pass weights that sum to 1."
    assert list(tmp_path.iterdir()) == []
    assert plain.mixture(None) == ()
    assert policy.mixture({"truth": 0.5, "honest": 0.3, "help": 0.2}) == (0.2, 0.3, 0.5)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([0.5, 0.5], r"weights: found 2 weights, expected 3 \(help, honest, truth\)\. Pass one weight per objective, in order"),
        ([0.2, 0.2, 0.2, 0.4], r"weights: found 4 weights, expected 3"),
        ([0.5, 0.3, 0.3], r"weights: found the sum 1\.1, expected 1 \(within 1e-06\)\. Divide the weights by their sum"),
        ([1.5, -1.0, 0.5], r"weights: found -1\.0 for honest, expected a finite number >= 0\. Change that weight"),
        ([float("nan"), 0.5, 0.5], r"weights: found nan for help"),
        ({"help": 0.5, "honest": 0.3, "trust": 0.2}, r"unknown objective 'trust', .*Did you mean 'truth'\? Correct or remove"),
        ({"help": 0.5, "honest": 0.5}, r"weights: found no weight for truth, expected one for each of help, honest, truth"),
    ],
)
def test_unfit_weights(tmp_path: Path, weights: object, message: str) -> None:
    policy = headed()
    for ask in (
        lambda: policy.merged(weights),
        lambda: policy.ids_logps(*PAIRS, weights=weights),
        lambda: policy.export(tmp_path / "plain", weights=weights),
    ):
        with pytest.raises(WeightsError, match=message):
            ask()
    assert list(tmp_path.iterdir()) == []


def test_extrapolation_is_asked_for_and_stays_in_the_plane(tmp_path: Path) -> None:
    policy = disturb(headed("gpt2"))
    outside = policy.ids_logps(*PAIRS, weights=[1.5, -1.0, 0.5], extrapolate=True)
    assert outside.isfinite().all()
    policy.export(tmp_path / "plain", weights=[1.5, -1.0, 0.5], extrapolate=True)
    plain = load_policy(tmp_path / "plain", adapter="none", dtype="float64")
    torch.testing.assert_close(plain.ids_logps(*PAIRS), outside, rtol=0, atol=1e-10)
    with pytest.raises(WeightsError, match=r"found the sum 1\.2, expected 1"):
        policy.merged([1.5, -1.0, 0.7], extrapolate=True)
    with pytest.raises(WeightsError, match=r"found inf for help, expected a finite number\."):
        policy.merged([float("inf"), -1.0, 0.7], extrapolate=True)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"heads: found \[\], expected a list of objective names\. Pass one name per head"),
        ([""], r"heads: found \[''\], expected a list of objective names"),
        ("help", r"heads: found 'help', expected a list of objective names"),
        (["a", "b", "a"], r"heads: found 'a' twice, expected different names\. Name each objective once"),
    ],
)
def test_names_that_cannot_be(names: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_policy("tiny", heads=names)


@pytest.mark.parametrize("rank", [0, -1, True])
def test_ranks_that_cannot_be(rank: int) -> None:
    with pytest.raises(ConfigError) as raised:
        load_policy("tiny", heads=["a"], head_rank=rank)
    assert str(raised.value) == f"head_rank: found {rank!r}, expected a whole number >= 1, or None for full heads."


def test_heads_that_are_not_there() -> None:
    policy, plain = headed(), random_policy()
    for ask in (lambda: policy.ids_logps(*PAIRS, head="trust"), lambda: policy.remove_head("trust")):
        with pytest.raises(ConfigError) as raised:
            ask()
        assert str(raised.value) == (
            "head 'trust': found none of that name, expected one of help, honest, truth. Did you mean 'truth'? Name the "
            "objective that the policy was loaded with."
        )
    message = r"policy: found no heads, expected some\. Load it with load_policy\(\.\.\., heads=\[\.\.\.\]\)"
    for ask in (
        lambda: plain.ids_logps(*PAIRS, head="help"),
        lambda: plain.add_head("help"),
        lambda: plain.remove_head("help"),
        lambda: plain.by_row(MIXTURES),
    ):
        with pytest.raises(ConfigError, match=message):
            ask()


def test_a_head_and_weights_together() -> None:
    with pytest.raises(ConfigError, match=r"head: found 'help' and weights as well, expected one of them\. Leave one out"):
        headed().ids_logps(*PAIRS, head="help", weights=[0.2, 0.3, 0.5])


def test_names_of_added_heads() -> None:
    policy = headed()
    for name, message in (("truth", "found 'truth' twice"), ("", "expected a list of objective names")):
        with pytest.raises(ConfigError, match=message):
            policy.add_head(name)
    assert policy.heads == tuple(NAMES)


def test_the_last_head_stays() -> None:
    policy = random_policy(heads=["a", "b"])
    policy.remove_head("a")
    with pytest.raises(
        ConfigError, match=r"head 'b': found no other head, expected one to stay\. Load the policy without heads"
    ):
        policy.remove_head("b")
    assert policy.heads == ("b",)


def test_log_probabilities_of_positions_say_which_head() -> None:
    rows = pad_rows(*PAIRS)
    with pytest.raises(ConfigError, match=r"found no heads for a policy with 3 heads\. Pass `through` for a policy that has"):
        headed().token_logps(rows)
    with pytest.raises(ConfigError, match=r"found numbers of heads for a policy with 0 heads"):
        random_policy().token_logps(rows, through=torch.zeros_like(rows.sequence))


def made_otherwise(change: Callable[[PreTrainedModel], None]) -> Policy:
    def read() -> PreTrainedModel:
        model = random_policy(adapter="none").model
        change(model)
        return model

    return assemble(read, byte_tokenizer(), name="strange", adapter="lora", heads=["a"], head_rank=4, seed=0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda model: model.set_output_embeddings(torch.nn.Sequential(model.get_output_embeddings())),
            "its output projection is a Sequential",
        ),
        (  # says what the model does not do
            lambda model: setattr(model.config.get_text_config(), "logits_scaling", 2.0),
            "its logits are not those of its hidden states",
        ),
    ],
)
def test_an_output_projection_that_cannot_be_copied(change: Callable[[PreTrainedModel], None], reason: str) -> None:
    with pytest.raises(ModelError) as raised:
        made_otherwise(change)
    assert str(raised.value) == (
        f"model 'strange': its output projection cannot be copied for the heads: {reason}. Expected logits that are a linear "
        "map of the last hidden states. Load it without heads."
    )
    assert made_otherwise(lambda model: None).heads == ("a",)  # planted: the same model, unchanged


def test_heads_are_one_kind_and_copied_apart() -> None:
    bank = headed().bank
    assert isinstance(bank, Heads)
    copied = bank.copied()
    pairs = zip(bank.parameters().values(), copied.parameters().values(), strict=True)
    assert all(torch.equal(one, other) and one.data_ptr() != other.data_ptr() for one, other in pairs)
    with torch.no_grad():
        copied.parts["help"]["A"] += 1
    assert copied.scorers["help"].head(torch.zeros(1, 32, dtype=torch.float64)).up.any()  # its own weights are read
    assert not bank.scorers["help"].head(torch.zeros(1, 32, dtype=torch.float64)).up.any()


@pytest.mark.parametrize("asked", [{"head": "kind"}, {"weights": [0.5, 0.5]}])
def test_the_base_is_not_asked_for_a_head(asked):
    policy = random_policy(heads=["kind", "short"])
    with pytest.raises(ConfigError, match=r"^reference: found a head or weights as well, expected neither"):
        policy.ids_logps([[1]], [[2]], reference=True, **asked)
