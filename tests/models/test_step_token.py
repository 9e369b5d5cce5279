"""Scores that are read at a token behind each step, and backbones without an output projection."""

import json

import pytest
import torch
from support.reward_cases import step_labels

from paretokit.decoding.guided import guided_generate
from paretokit.errors import ConfigError, ModelError
from paretokit.experiments.rewards import train_reward_model
from paretokit.models.load import load_policy, load_reward_model
from paretokit.models.rewards import new_reward_model
from paretokit.models.tiny import random_policy
from paretokit.preferences.records import Preferences
from paretokit.texts import begin_response, encode_prompt, encode_steps, mark_token
from paretokit.training.config import RewardConfig
from paretokit.training.reward_examples import encode_labels
from paretokit.training.rewards import iter_reward_train

STEPS = ["One.", "", " Two."]
CONFIG = RewardConfig(steps=2, examples_per_step=4, heldout=0)


def made(**options):
    return new_reward_model(random_policy(adapter="none"), kinds={"right": "class"}, **options)


def test_a_mark_stands_behind_every_step_that_has_tokens():
    tokenizer = random_policy(adapter="none").tokenizer
    mark = mark_token(tokenizer, "#")
    prompt, one, two = encode_prompt(tokenizer, "p"), *(begin_response(tokenizer, step) for step in ("One.", " Two."))
    found = encode_steps(tokenizer, "p", STEPS, mark=mark)
    assert found.ids == (*prompt, *one, mark, *two, mark)
    assert [found.ids[end] for end in found.ends] == [mark] * 3
    assert found.ends[0] == found.ends[1]  # an empty step has the score of the text before it


def test_scores_are_those_of_the_texts_with_the_marks_in_them():
    plain, marked = made(), made(step_token="#")
    mark = marked.mark
    ids = [begin_response(marked.tokenizer, step) for step in ("One.", " Two.")]
    expected = plain.step_scores(["p"], [[(*one, mark) for one in ids]])
    torch.testing.assert_close(marked.step_scores(["p"], [["One.", " Two."]]), expected, rtol=0, atol=0)
    assert not torch.equal(plain.step_scores(["p"], [["One.", " Two."]]), expected)
    assert marked.fingerprint != plain.fingerprint


def test_what_is_read_a_step_at_a_time_has_the_same_scores():
    marked = made(step_token="#")
    prompt = encode_prompt(marked.tokenizer, "p")
    reading = marked.start([prompt])
    found = torch.stack([reading.read([begin_response(marked.tokenizer, step)])[0] for step in STEPS])
    torch.testing.assert_close(found, marked.step_scores(["p"], [STEPS])[0], rtol=1e-5, atol=1e-6)


def test_labels_stand_at_the_marks():
    policy = random_policy(adapter="none")
    mark = mark_token(policy.tokenizer, "#")
    pair = Preferences(objectives=["kind"], prompts=["p"], responses_a=["yes"], responses_b=[""], labels=torch.tensor([[1.0]]))
    for labels in (step_labels(), pair):
        found = encode_labels(policy, labels, max_length=None, mark=mark)
        for example in found.texts:
            for text in example:
                assert all(text.ids[end] == mark or end == len(text.ids) - 1 for end in text.ends)
    yes, nothing = encode_labels(policy, pair, max_length=None, mark=mark).texts[0]
    assert yes.ids[-1] == mark
    assert nothing.ids == encode_prompt(policy.tokenizer, "p")
    cut = encode_labels(policy, pair, max_length=len(yes.ids) - 1, mark=mark).texts[0][0]
    assert len(cut.ids) <= len(yes.ids) - 1
    assert cut.ids[-1] == mark


def test_it_is_trained_saved_and_loaded(tmp_path):
    policy = load_policy("tiny", adapter="none")
    model = train_reward_model(policy, step_labels(), config=CONFIG.replace(step_token="#"), progress=False)
    assert model.step_token == "#"
    model.save(tmp_path / "model")
    loaded = load_reward_model(tmp_path / "model")
    assert (loaded.step_token, loaded.fingerprint) == ("#", model.fingerprint)
    torch.testing.assert_close(loaded.step_scores(["p"], [STEPS]), model.step_scores(["p"], [STEPS]), rtol=0, atol=0)


def test_tokens_that_are_none_are_refused():
    with pytest.raises(ConfigError) as error:
        made(step_token="<extra_0>")
    assert "tokens for '<extra_0>', expected one of the tokenizer's tokens" in str(error.value)
    plain = new_reward_model(random_policy(adapter="none"), kinds=step_labels().kinds)
    with pytest.raises(ConfigError, match=r"step_token: found '#', expected None, that of the reward model"):
        iter_reward_train(plain, step_labels(), config=CONFIG.replace(step_token="#"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Writes a tiny Llama of a class to a folder, with the tokenizer of the tiny model."""
    from transformers import LlamaConfig

    tokenizer = load_policy("tiny", adapter="none").tokenizer
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **sizes)

    def write(kind):
        place = tmp_path_factory.mktemp(kind.__name__)
        torch.manual_seed(0)
        kind(config).save_pretrained(place)
        tokenizer.save_pretrained(place)
        return place

    return write


@pytest.mark.parametrize("adapter", ["none", "lora", "full"])
@pytest.mark.parametrize("name", ["LlamaModel", "LlamaForSequenceClassification", "LlamaForTokenClassification"])
def test_a_backbone_without_an_output_projection_is_one_of_a_reward_model(folder, tmp_path, name, adapter):
    import transformers

    place = folder(getattr(transformers, name))
    model = train_reward_model(load_policy(place, adapter=adapter), step_labels(), config=CONFIG, progress=False)
    model.save(tmp_path / "model")
    loaded = load_reward_model(tmp_path / "model")
    assert loaded.fingerprint == model.fingerprint
    torch.testing.assert_close(loaded.step_scores(["p"], [STEPS]), model.step_scores(["p"], [STEPS]), rtol=0, atol=0)
    if adapter == "none":  # the weights are those of the folder
        whole = getattr(transformers, name).from_pretrained(place)
        ids = torch.tensor([encode_steps(model.tokenizer, "p", STEPS).ids])
        expected = getattr(whole, "model", whole)(input_ids=ids).last_hidden_state[0]
        found = model.features([encode_steps(model.tokenizer, "p", STEPS)])
        ends = list(encode_steps(model.tokenizer, "p", STEPS).ends)
        torch.testing.assert_close(found, expected[ends], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("LlamaForProcessRewardModel", ("score.0.weight", "score.2.bias")),  # as of Qwen's process reward models
        ("LlamaForRewardModel", ("score.weight", "lm_head.weight")),
        ("LlamaForSequenceClassification", ("regression_layer.weight",)),
        ("LlamaForCausalLMWithValueHead", ("v_head.summary.weight", "lm_head.weight")),
    ],
)
def test_the_backbone_of_a_published_reward_model_is_read_without_its_heads(folder, name, heads):
    from safetensors.torch import load_file, save_file
    from transformers import LlamaForSequenceClassification

    place = folder(LlamaForSequenceClassification)
    expected = new_reward_model(load_policy(place, adapter="none"), kinds={"right": "class"})
    state = {key: value for key, value in load_file(place / "model.safetensors").items() if not key.startswith("score")}
    save_file({**state, **{key: torch.zeros(2) for key in heads}}, place / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    code = {"AutoConfig": "configuration_rm.Config", "AutoModel": f"modeling_rm.{name}"}  # never run
    (place / "config.json").write_text(json.dumps({**config, "architectures": [name], "auto_map": code}), encoding="utf-8")
    found = new_reward_model(load_policy(place, adapter="none"), kinds={"right": "class"})
    torch.testing.assert_close(found.step_scores(["p"], [STEPS]), expected.step_scores(["p"], [STEPS]), rtol=0, atol=0)
    save_file({**state, "more.weight": torch.zeros(2)}, place / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="weights and configuration do not fit each other"):
        load_policy(place, adapter="none")


@pytest.mark.parametrize("name", ["LlamaModel", "LlamaForSequenceClassification", "LlamaForRewardModel"])
def test_a_backbone_alone_guides(folder, name):
    from transformers import LlamaForSequenceClassification, LlamaModel

    place = folder(LlamaModel if name == "LlamaModel" else LlamaForSequenceClassification)
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    (place / "config.json").write_text(json.dumps({**config, "architectures": [name]}), encoding="utf-8")
    policy = load_policy(place, adapter="none")
    assert policy.sharing == (True, "", None)
    assert "no output projection" in policy.coverage.reason
    model = new_reward_model(policy, kinds={"right": "class"})
    [made] = guided_generate(
        load_policy("tiny", adapter="none"), ["p"], reward_model=model, weights=[1.0], candidates=2, max_new_tokens=6
    )
    expected = model.step_scores(["p"], [list(made.steps)])[0, -1]
    torch.testing.assert_close(torch.tensor(made.scores), expected, rtol=1e-4, atol=1e-5)


def test_a_backbone_alone_cannot_be_scored_and_a_damaged_one_is_refused(folder):
    from safetensors.torch import load_file, save_file
    from transformers import LlamaForSequenceClassification

    place = folder(LlamaForSequenceClassification)
    with pytest.raises(ModelError, match="found no output projection"):
        load_policy(place, adapter="none").sequence_logps(["p"], ["yes"])
    state = load_file(place / "model.safetensors")
    for changed in ({k: v for k, v in state.items() if "norm" not in k}, {**state, "model.more.weight": torch.zeros(2)}):
        save_file(changed, place / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ModelError, match="weights and configuration do not fit each other"):
            load_policy(place, adapter="none")
