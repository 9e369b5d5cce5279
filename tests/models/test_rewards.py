"""Scores of reward models: read in one pass or block by block, alone or in a batch, on every family; and their exact start.

Float32 islands are widened (`wide`), so that what is left between two ways in float64 is rounding.
"""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.models_cases import wide
from support.reward_cases import KINDS, PROMPTS, STEPS, reward_model
from transformers import AutoModelForCausalLM

from paretokit.errors import ConfigError, DataError, ModelError
from paretokit.models.outputs import SPREAD, Outputs
from paretokit.models.projection import Projection, backbone
from paretokit.models.rewards import RewardModel, new_reward_model
from paretokit.models.tiny import FAMILIES, random_policy
from paretokit.texts import encode_prompt, encode_steps

# those whose window holds 16 positions read texts with holes that are longer: refused, see `Prefix`
WINDOWED = ("gemma2", "gemma3", "mistral")
WIDTHS = pytest.mark.parametrize("width", [None, 7])


def blocks_of(model: RewardModel, row: int) -> list[list[int]]:
    """The tokens of a row's prompt, then of each step."""
    text = encode_steps(model.tokenizer, PROMPTS[row], STEPS[row])
    prompt = encode_prompt(model.tokenizer, PROMPTS[row])
    bounds = [0, len(prompt), *(end + 1 for end in text.ends)]
    return [list(text.ids[a:b]) for a, b in itertools.pairwise(bounds)]


def alike(found: torch.Tensor, expected: torch.Tensor, *, within: float) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=within, equal_nan=True)


# what a score is


@WIDTHS
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_of_a_slow_twin(family: str, width: int | None) -> None:
    """Each text so far read alone by the whole model; the output by hand; the link and temperature of each kind."""
    with wide(), torch.no_grad():
        model = reward_model(family, width=width)
        found = model.step_scores(PROMPTS, STEPS)
        assert found.shape == (4, 4, 3)
        for row, (prompt, steps) in enumerate(zip(PROMPTS, STEPS, strict=True)):
            for step in range(len(steps)):
                ids = list(encode_prompt(model.tokenizer, prompt))
                for text in steps[: step + 1]:
                    ids += model.tokenizer(text, add_special_tokens=False)["input_ids"]
                state = backbone(model.policy.model)(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
                raw = []
                for name in KINDS:
                    parts = model.outputs.parts[name]
                    value = state
                    if width is not None:
                        value = (parts["hidden.weight"] @ value + parts["hidden.bias"]).clamp(min=0)
                    raw.append(float(parts["weight"] @ value + parts["bias"]))
                expected = [raw[0], 1 / (1 + math.exp(-raw[1] / 1.5)), raw[2] / 1.5]
                alike(found[row, step], torch.tensor(expected, dtype=torch.float64), within=1e-11)
            assert bool(found[row, len(steps) :].isnan().all())


def test_hidden_states_are_those_that_the_output_projection_reads() -> None:
    """After the final norm: the model's own logits follow from them."""
    with wide(), torch.no_grad():
        model = reward_model("qwen2", adapter="none")
        texts = model.encode(PROMPTS, STEPS)
        states = model.features(texts)
        [row, end] = [3, texts[3].ends[-1]]
        logits = model.policy.model(input_ids=torch.tensor([texts[row].ids])).logits[0, end]
        alike(model.policy.model.lm_head(states[-1]), logits, within=1e-12)


def test_no_end_token_closes_a_text_and_a_step_is_tokenised_on_its_own() -> None:
    model = reward_model()
    [text] = model.encode(["Hi"], [["a<|im_end|>", "b"]])
    assert model.tokenizer.eos_token_id not in text.ids
    assert model.tokenizer.decode(text.ids) == "Hia<|im_end|>b"  # spelled out, which is text
    assert [text.ids[: end + 1] for end in text.ends] == [
        encode_steps(model.tokenizer, "Hi", ["a<|im_end|>"]).ids,
        encode_steps(model.tokenizer, "Hi", ["a<|im_end|>", "b"]).ids,
    ]


def test_an_empty_step_has_the_score_of_the_text_before_it() -> None:
    model = reward_model()
    scores = model.step_scores(["Hi", "Hi"], [["", "a", "", "b"], ["a", "b"]])
    alike(scores[0, 1], scores[0, 2], within=0)
    alike(scores[0, [1, 3]], scores[1, :2], within=1e-12)
    reading = model.start([encode_prompt(model.tokenizer, "Hi")])
    alike(reading.read([[]])[0], scores[0, 0], within=1e-12)  # that of the prompt
    assert model.step_scores(["Hi"], [[]]).shape == (1, 0, 3)
    assert model.step_scores([], []).shape == (0, 0, 3)


def test_steps_may_be_given_as_token_ids() -> None:
    model = reward_model()
    ids = [[[*model.tokenizer(step, add_special_tokens=False)["input_ids"]] for step in steps] for steps in STEPS]
    assert torch.equal(model.step_scores(PROMPTS, ids).nan_to_num(9), model.step_scores(PROMPTS, STEPS).nan_to_num(9))


# incremental, prefix, padding


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in WINDOWED])
@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_incremental_scores_equal_those_of_whole_texts(family: str, dtype: torch.dtype, within: float) -> None:
    def check() -> None:
        model = reward_model(family, dtype=dtype)
        rows = [0, 3]
        whole, blocks = model.step_scores(PROMPTS, STEPS)[rows], [blocks_of(model, row) for row in rows]
        reading = model.start([own[0] for own in blocks])
        for step in range(4):
            found = reading.read([own[step + 1] if step + 1 < len(own) else [] for own in blocks])
            for place, row in enumerate(rows):
                alike(found[place], whole[place, min(step, len(STEPS[row]) - 1)], within=within)

    if dtype == torch.float64:
        with wide():
            check()
    else:
        check()


@pytest.mark.parametrize("family", WINDOWED)
def test_incremental_scores_with_a_sliding_window(family: str) -> None:
    """A row alone has no holes; rows with holes that are longer than the window are refused, not scored wrongly."""
    with wide():
        model = reward_model(family)
        whole, blocks = model.step_scores(PROMPTS[3:], STEPS[3:])[0], blocks_of(model, 3)
        assert sum(map(len, blocks)) > 2 * 16
        reading = model.start([blocks[0]])
        for step, block in enumerate(blocks[1:]):
            alike(reading.read([block])[0], whole[step], within=1e-12)
    pair = model.start([[5] * 10, [6] * 4])
    with pytest.raises(ModelError, match="found rows of 22 columns with holes for a sliding window of 16"):
        pair.read([[7] * 2, [8] * 12])


def test_a_row_that_reads_nothing_keeps_its_score_bit_for_bit() -> None:
    model = reward_model()
    reading = model.start([[5, 6, 7], [8]])
    first = reading.read([[9, 10], [11]])
    second = reading.read([[], [12, 13]])
    assert torch.equal(second[0], first[0])
    assert not torch.equal(second[1], first[1])
    assert torch.equal(reading.read([[], []]), second)
    second.zero_()  # what was returned is the caller's own
    assert reading.read([[], []]).any()


def test_selected_rows_go_on_as_if_they_had_been_read_alone() -> None:
    with wide():
        model = reward_model()
        reading = model.start([[5, 6, 7], [8], [9, 10]])
        reading.read([[11], [12, 13, 14], []])
        reading.select(torch.tensor([1, 1, 2]))
        found = reading.read([[15], [16, 17], [18]])
        for row, ids in enumerate(([8, 12, 13, 14, 15], [8, 12, 13, 14, 16, 17], [9, 10, 18])):
            alone = model.start([ids]).read([[]])
            alike(found[row], alone[0], within=1e-12)
        with pytest.raises(AssertionError):  # planted: another row has another score
            alike(found[0], model.start([[5, 6, 7, 11, 15]]).read([[]])[0], within=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_appended_changes_no_score_before_it(family: str) -> None:
    with wide():
        model = reward_model(family)
        whole = model.step_scores(PROMPTS[3:], STEPS[3:])
        for count in range(1, 4):
            part = model.step_scores(PROMPTS[3:], [STEPS[3][:count]])
            alike(part[0], whole[0, :count], within=1e-12)
        other = model.step_scores(PROMPTS[3:], [[" No", *STEPS[3][1:]]])
        assert (other[0, 1:] - whole[0, 1:]).abs().min() > 1e-6  # planted: an earlier step does change them


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_and_company_change_nothing(family: str) -> None:
    with wide():
        model = reward_model(family)
        together = model.step_scores(PROMPTS, STEPS, batch_size=4)
        states = model.hidden(model.encode(PROMPTS, STEPS))  # all rows padded to the longest
        alike(model.features(model.encode(PROMPTS, STEPS)), states.detach(), within=1e-12)
        for row in (0, 1, 3):
            alone = model.step_scores([PROMPTS[row]], [STEPS[row]], batch_size=1)
            alike(together[row, : len(STEPS[row])], alone[0], within=1e-12)
        turned = model.step_scores(PROMPTS[::-1], STEPS[::-1])
        alike(turned.flip(0), together, within=1e-12)


@settings(max_examples=20)
@given(st.lists(st.lists(st.lists(st.integers(0, 258), max_size=5), min_size=1, max_size=4), min_size=1, max_size=4))
def test_any_steps_read_block_by_block_or_at_once(texts: list[list[list[int]]]) -> None:
    model = reward_model("gpt2")  # no float32 islands
    whole = model.step_scores(["Hi"] * len(texts), texts)
    prompt = encode_prompt(model.tokenizer, "Hi")
    reading = model.start([prompt] * len(texts))
    for step in range(max(map(len, texts))):
        found = reading.read([steps[step] if step < len(steps) else [] for steps in texts])
        for row, steps in enumerate(texts):
            alike(found[row], whole[row, min(step, len(steps) - 1)], within=1e-11)


def test_scoring_leaves_no_gradient_and_the_model_as_it_was() -> None:
    model = reward_model(dtype=torch.float32)
    before = {name: part.detach().clone() for name, part in model.trainable.items()}
    scores = model.step_scores(PROMPTS, STEPS)
    assert (scores.dtype, scores.requires_grad, scores.device.type) == (torch.float32, False, "cpu")
    reading = model.start([[5]])
    assert not reading.read([[6]]).requires_grad
    assert all(torch.equal(part, before[name]) and part.grad is None for name, part in model.trainable.items())
    assert model.hidden(model.encode(PROMPTS[:1], STEPS[:1])).requires_grad  # what training uses does


# the start


@WIDTHS
@pytest.mark.parametrize("adapter", ["lora", "full", "none"])
def test_the_start_is_that_of_the_base_and_the_seed(adapter: str, width: int | None) -> None:
    with wide(), torch.no_grad():
        model = reward_model("llama", adapter=adapter, width=width, moved=False, seed=4)
        assert model.policy.at_base()
        assert model.report is None
        assert set(model.temperatures.values()) == {1.0}
        twin = Outputs(list(KINDS), features=32, width=width, dtype=torch.float64, device=torch.device("cpu"), seed=4)
        assert all(torch.equal(part, twin.parameters()[name]) for name, part in model.outputs.parameters().items())
        base = model.policy.base.model()
        text = model.encode(PROMPTS[:1], STEPS[:1])[0]
        states = AutoModelForCausalLM.from_config(base.config, dtype=torch.float64)
        states.load_state_dict(base.state_dict())
        hidden = states.eval().base_model(input_ids=torch.tensor([text.ids])).last_hidden_state[0, list(text.ends)]
        alike(model.step_scores(PROMPTS[:1], STEPS[:1])[0], model.scored(twin(hidden)), within=1e-12)
        for name, part in model.outputs.parameters().items():
            if name.endswith("bias"):
                assert not part.any()
            else:
                assert 0.5 * SPREAD < float(part.std()) < 2 * SPREAD or part.numel() < 20


def test_an_output_does_not_depend_on_the_others() -> None:
    one = Outputs(["a"], features=8, width=3, dtype=torch.float32, device=torch.device("cpu"), seed=0)
    two = Outputs(["b", "a"], features=8, width=3, dtype=torch.float32, device=torch.device("cpu"), seed=0)
    other = Outputs(["a"], features=8, width=3, dtype=torch.float32, device=torch.device("cpu"), seed=1)
    hidden = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(one(hidden)[:, 0], two(hidden)[:, 1])
    assert not torch.equal(one(hidden), other(hidden))
    state = torch.get_rng_state()
    Outputs(["a"], features=8, width=3, dtype=torch.float32, device=torch.device("cpu"), seed=0)
    assert torch.equal(state, torch.get_rng_state())


def test_a_half_precision_backbone_has_outputs_in_float32() -> None:
    model = reward_model(dtype=torch.bfloat16, moved=False)
    assert {part.dtype for part in model.outputs.parameters().values()} == {torch.float32}
    assert model.step_scores(PROMPTS, STEPS).dtype == torch.float32
    assert model.start([[5]]).read([[6]]).dtype == torch.float32


def test_temperatures_order_and_fingerprints() -> None:
    model = reward_model()
    assert model.objectives == ("worth", "right", "kind")
    before, print_before = model.step_scores(PROMPTS[:1], STEPS[:1]), model.fingerprint
    assert model.source == f"reward model {print_before[:12]} on random llama, seed 0 (worth, right, kind)"
    assert reward_model().fingerprint == print_before
    model.temperatures = {"worth": 1.0, "right": 3.0, "kind": 3.0}
    after = model.step_scores(PROMPTS[:1], STEPS[:1])
    assert torch.equal(after[..., 0], before[..., 0])
    alike(after[..., 2] * 3.0, before[..., 2] * 1.5, within=1e-14)
    alike(torch.logit(after[..., 1]) * 3.0, torch.logit(before[..., 1]) * 1.5, within=1e-12)
    assert model.fingerprint != print_before
    assert reward_model(adapter="full").fingerprint != reward_model(adapter="none").fingerprint


# errors


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda model: model.step_scores(["Hi"], [["a"], ["b"]]),
            DataError,
            "step_scores: found 1 prompts and 2 lists of steps; pass one per prompt.",
        ),
        (
            lambda model: model.step_scores(["Hi"], ["abc"]),
            DataError,
            "step_scores: row 0: found the text 'abc', expected a list of steps; pass [text].",
        ),
        (
            lambda model: model.step_scores(["Hi", "Hi"], [["a"], ["b" * 300]]),
            DataError,
            "step_scores: row 1: found 302 tokens, expected at most 256, the context of random llama, seed 0. Shorten the "
            "prompt or the steps.",
        ),
        (
            lambda model: model.start([[5] * 250]).read([[6] * 7]),
            DataError,
            "reward model: row 0: found 257 tokens, expected at most 256, the context of random llama, seed 0. Shorten the "
            "prompt or the steps.",
        ),
        (
            lambda model: model.start([[5], []]),
            DataError,
            "reward model: row 1: found a prompt without tokens. Encode it with texts.encode_prompt.",
        ),
        (
            lambda model: model.start([[5]]).read([[6], [7]]),
            DataError,
            "reward model: found 2 blocks for 1 rows; pass one block per row.",
        ),
        (
            lambda model: new_reward_model(random_policy(heads=["a", "b"]), kinds=KINDS),
            ConfigError,
            "reward model: found a policy with the heads a, b, expected one without: a reward model has outputs of its own. "
            "Load it without heads.",
        ),
        (
            lambda model: new_reward_model(model.policy, kinds={"right": "clas"}),
            ConfigError,
            "objective 'right': found the kind 'clas', expected one of value, class, preference, as its labels are. Did you "
            "mean 'class'? Correct the kind.",
        ),
        (
            lambda model: new_reward_model(model.policy, kinds={}),
            ConfigError,
            "kinds: found {}, expected a kind for each objective. Name at least one objective.",
        ),
        (
            lambda model: new_reward_model(model.policy, kinds=KINDS, width=0),
            ConfigError,
            "width: found 0, expected a whole number >= 1, or None for linear outputs.",
        ),
    ],
)
def test_messages(call, kind, message) -> None:
    with pytest.raises(kind) as caught:
        call(reward_model())
    assert str(caught.value) == message


def test_a_model_without_hidden_states_is_refused() -> None:
    policy = random_policy()
    policy.base.projection = Projection(False, "it returns no hidden states", 1.0, None)
    with pytest.raises(ModelError) as caught:
        new_reward_model(policy, kinds=KINDS)
    assert str(caught.value) == (
        "reward model: the hidden states of 'random llama, seed 0' cannot be read: it returns no hidden states. Expected a "
        "causal language model whose backbone returns last_hidden_state."
    )
