"""The shipped `tiny` model: recorded files, the script that makes them, a tokenizer for any text, world answers."""

import hashlib
import importlib.util
import json
import random
import re

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from paretokit.preferences.worlds import WORLDS, world
from paretokit.preferences.worlds.build import content_of, part_of
from paretokit.resources import data_path
from paretokit.texts import decode, encode_prompt, encode_response, end_tokens

TINY = data_path("tiny")
TAUGHT = ("summaries", "safety", "math", "values", "tutoring")  # the worlds that the model was trained on
COPIES = 16
PROMPTS = 32


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(TINY)


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(TINY).eval()


@pytest.fixture(scope="module")
def make():
    spec = importlib.util.spec_from_file_location("make_tiny", TINY / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recorded():
    lines = (TINY / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ") for line in lines)}


def test_files_are_the_recorded_ones():
    found = {path.name for path in TINY.iterdir() if path.is_file()}
    assert found == set(recorded()) | {"SHA256SUMS", "ORIGIN.md", "make.py"}
    for name, digest in recorded().items():
        assert hashlib.sha256((TINY / name).read_bytes()).hexdigest() == digest, name


def test_origin_states_licence_and_every_checksum():
    origin = (TINY / "ORIGIN.md").read_text()
    assert "Apache-2.0" in origin
    for name, digest in recorded().items():
        assert f"| `{name}` | `{digest}` |" in origin


def test_the_folder_is_small():
    assert sum(path.stat().st_size for path in TINY.iterdir() if path.is_file()) < 4e6


def test_the_script_reproduces_its_first_losses(make):
    """rtol 1e-3: other CPUs sum in another order, which five steps spread; another sample or rate does more."""
    first = json.loads((TINY / "curve.json").read_text())["first"]
    assert make.first_losses(5) == pytest.approx(first, rel=1e-3)


def test_another_seed_gives_other_losses(make):
    first = json.loads((TINY / "curve.json").read_text())["first"]
    tokenizer = make.make_tokenizer(seed=make.SEED)
    other = list(make.train(make.make_model(tokenizer, seed=make.SEED), tokenizer, steps=2, seed=make.SEED + 1))
    assert other != pytest.approx(first[:2], rel=1e-3)


def test_the_script_makes_the_shipped_tokenizer(make, tokenizer):
    assert make.make_tokenizer(seed=make.SEED).get_vocab() == tokenizer.get_vocab()


def test_training_prompts_are_those_of_the_part_sft(make):
    """Those of rehearsals too, which may be cut short: a problem that is cut is another problem."""
    generator = torch.Generator().manual_seed(7)
    for _ in range(300):
        for content, answers in (
            make._conversation(generator),
            make._rehearsal(make._pick(make.FIRST_SHARES, generator), generator),
        ):
            assert part_of(content) == "sft"
            assert len(answers) == 2


@pytest.mark.parametrize("name", TAUGHT)
def test_rehearsed_answers_tell_what_is_right(make, name):
    """Every sentence of a rehearsed answer is one of the fullest right answer to its prompt, in its order."""
    generator = torch.Generator().manual_seed(8)
    rules = WORLDS[name]
    for _ in range(60):
        content, answers = make._rehearsal(rules, generator)
        *_, fullest = rules.choices(content)
        for answer in answers:
            assert rules.parses(answer)
            rest = iter(make._SENTENCE.findall(fullest))
            assert all(sentence in rest for sentence in make._SENTENCE.findall(answer))


def test_the_script_teaches_these_worlds(make):
    assert tuple(rules.name for rules in make.TAUGHT) == TAUGHT
    for shares in (make.FIRST_SHARES, make.SECOND_SHARES, make.OWN_SHARES):
        assert {rules.name for rules in shares} == set(TAUGHT)


def test_talk_goes_from_rehearsal_to_the_worlds_own_answers(make, monkeypatch):
    monkeypatch.setattr(make, "_conversation", lambda generator: "own")
    monkeypatch.setattr(make, "_rehearsal", lambda rules, generator: "rehearsed")
    generator = torch.Generator().manual_seed(9)

    def own_share(step):
        return sum(make._talk(step, generator) == "own" for _ in range(400)) / 400

    middle = (make.FIRST_ROUND + make.REHEARSAL_ENDS) // 2
    assert [own_share(0), own_share(make.FIRST_ROUND), own_share(make.REHEARSAL_ENDS)] == [0, 0, 1]
    assert own_share(middle) == pytest.approx(0.5, abs=0.1)  # four standard deviations


def test_muon_in_float32_takes_the_steps_of_torch(make):
    """Within what torch loses by orthogonalising in bfloat16, 2 % of the step; wide and tall matrices, several steps."""
    generator = torch.Generator().manual_seed(10)
    for shape in ((6, 9), (9, 6)):
        start = torch.randn(shape, generator=generator)
        ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
        optimizers = (
            make.Muon([ours], lr=0.1, weight_decay=0.01),
            torch.optim.Muon([theirs], lr=0.1, weight_decay=0.01),
        )
        for _ in range(5):
            slope = torch.randn(shape, generator=generator)
            for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
                parameter.grad = slope.clone()
                optimizer.step()
        assert (ours - theirs).norm() < 0.02 * (theirs - start).norm()
        assert (ours - start).norm() > 0.1


def test_batches_hold_prompts_with_answers(make, tokenizer):
    batch = next(make.batches(tokenizer, seed=make.SEED))
    assert len(batch) == make.BATCH
    for example in batch:
        assert tokenizer.decode(example.prompt[-1]) == "<|assistant|>"
        assert example.first[-1] == example.second[-1] == tokenizer.eos_token_id


def test_the_model_is_a_small_llama_with_tied_embeddings(model, tokenizer):
    assert model.config.model_type == "llama"
    assert 0.3e6 < sum(parameter.numel() for parameter in model.parameters()) < 0.7e6
    assert model.config.tie_word_embeddings
    assert model.config.max_position_embeddings == tokenizer.model_max_length == 512
    assert len(tokenizer) == model.config.vocab_size == 800


def test_any_text_encodes_and_comes_back(tokenizer):
    draw = random.Random(0)
    texts = ["", " ", "\n\n a  b ", "<|end|>", "naïve ☃ \U0001d54f \x00 \ufeff", "def f(x):\n\treturn x"]
    texts += ["".join(map(chr, (draw.randrange(0xD800) for _ in range(20)))) for _ in range(300)]
    for text in texts:
        for chat in (False, True):
            ids = encode_response(tokenizer, text, chat=chat)
            assert ids[-1] == tokenizer.eos_token_id
            assert ids.count(tokenizer.eos_token_id) == 1
            assert decode(tokenizer, ids) == text


def test_special_tokens(tokenizer):
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<|bos|>", "<|end|>", "<|pad|>")
    assert end_tokens(tokenizer) == {tokenizer.eos_token_id}
    assert encode_prompt(tokenizer, "Tom")[0] == tokenizer.bos_token_id


def test_the_template_takes_system_and_several_turns(tokenizer):
    turns = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "Bye"},
    ]
    rendered = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert rendered == (
        "<|bos|><|system|>Be kind.<|end|><|user|>Hello<|end|><|assistant|>Hi<|end|><|user|>Bye<|end|><|assistant|>"
    )
    assert tokenizer.decode(encode_prompt(tokenizer, turns), skip_special_tokens=False) == rendered


@pytest.mark.parametrize("name", TAUGHT)
def test_prompts_and_answers_are_short(name, tokenizer):
    built = world(name)
    prompts = [len(encode_prompt(tokenizer, prompt)) for prompt in built.prompts]
    answers = [len(encode_response(tokenizer, text, chat=True)) for text in built.preferences.responses_a]
    assert max(prompts) <= (110 if built.partner else 45)  # a dialogue has up to five turns
    assert max(answers) <= 36
    assert sum(answers) / len(answers) < 22
    text = " ".join(built.preferences.responses_a)
    pieces = len(tokenizer(text, add_special_tokens=False)["input_ids"])
    assert pieces / len(re.findall(r"\w+|[^\w\s]", text)) < 1.05


def sample(model, tokenizer, prompts, *, copies, seed):
    """`copies` answers to each prompt at temperature 1, by transformers alone; prompts of one length share a batch."""
    encoded = [encode_prompt(tokenizer, prompt) for prompt in prompts]
    answers = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for length in sorted(set(map(len, encoded))):
            places = [place for place, ids in enumerate(encoded) if len(ids) == length]
            ids = torch.tensor([encoded[place] for place in places])
            made = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                top_k=0,
                num_return_sequences=copies,
                max_new_tokens=48,
            )
            texts = [decode(tokenizer, row.tolist()) for row in made[:, length:]]
            answers |= {place: texts[i * copies : (i + 1) * copies] for i, place in enumerate(places)}
    return [answers[place] for place in range(len(prompts))]


@pytest.fixture(scope="module", params=TAUGHT)
def sampled(request, model, tokenizer):
    prompts = world(request.param).prompts[:PROMPTS]
    return WORLDS[request.param], prompts, sample(model, tokenizer, prompts, copies=COPIES, seed=0)


def test_sampled_answers_are_world_text(sampled):
    rules, _, answers = sampled
    parsed = [rules.parses(text) for texts in answers for text in texts]
    assert sum(parsed) / len(parsed) >= 0.95


def test_sampled_answers_leave_something_to_align(sampled):
    """Per held-out prompt, 16 samples: at least 8 different answers, and scores that differ.

    Where one sum is left in a dialogue there is less to say: of 16 answers of the world itself 4 to 8 differ, and in 3 %
    of the prompts all have one accuracy.
    """
    rules, prompts, answers = sampled
    fewest, differing = (4, 0.9) if rules.reply else (8, 0.95)
    assert min(len(set(texts)) for texts in answers) >= fewest
    scores = torch.tensor(
        [[rules.scores(content_of(prompt), text) for text in texts] for prompt, texts in zip(prompts, answers, strict=True)]
    )
    assert (scores.std(1).mean(0) >= 0.1).all(), scores.std(1).mean(0)
    assert (scores.amax(1) - scores.amin(1) >= 0.1).double().mean(0).min() >= differing
    assert ((scores.mean((0, 1)) > 0.2) & (scores.mean((0, 1)) < 0.85)).all(), scores.mean((0, 1))  # math's own: 0.40, 0.43


def test_sampled_answers_speak_of_the_prompt(sampled):
    """The model copies: it is much nearer to the worlds' own answers than to the same texts under other prompts."""
    rules, prompts, answers = sampled
    contents = [content_of(prompt) for prompt in prompts]
    own = [rules.scores(content, text)[0] for content, texts in zip(contents, answers, strict=True) for text in texts]
    others = [
        rules.scores(content, text)[0]
        for content, texts in zip(contents[1:] + contents[:1], answers, strict=True)
        for text in texts
    ]
    assert sum(own) / len(own) > sum(others) / len(others) + 0.2
