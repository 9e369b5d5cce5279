"""The estimate of memory: what a real step keeps, what makes it larger, what would make it fit."""

import pytest
import torch
from support.training_cases import pairs

from paretokit.errors import ModelError
from paretokit.experiments import memory, reading
from paretokit.experiments.memory import memory_estimate
from paretokit.experiments.reading import how_read, packed_steps
from paretokit.models.compute import Compute
from paretokit.models.sharing import Sharing
from paretokit.models.taps import Coverage
from paretokit.models.tiny import random_policy
from paretokit.training import loop
from paretokit.training.config import TrainConfig
from paretokit.training.encode import encode_preferences

CONFIG = TrainConfig(steps=3, pairs_per_step=8, max_length=128)


class Saved:
    """The slow twin of the trial: distinct storages that autograd saves until it first asks for one."""

    def __init__(self, policy):
        self.own = {part.untyped_storage().data_ptr() for part in [*policy.model.parameters(), *policy.model.buffers()]}
        self.sizes, self.alive, self.forward = {}, [], True

    def pack(self, tensor):
        storage = tensor.untyped_storage()
        if self.forward and storage.data_ptr() not in self.own:
            self.sizes[storage.data_ptr()] = storage.nbytes()
            self.alive.append(tensor.detach())
        return tensor.detach()

    def unpack(self, tensor):
        self.forward = False
        return tensor


def kept_by_a_run(policy, data, config, monkeypatch):
    """The most bytes that a pass of a real run keeps for its backward pass."""
    most = []

    def measured(*args, **kwargs):
        saved = Saved(policy)
        with torch.autograd.graph.saved_tensors_hooks(saved.pack, saved.unpack):
            found = whole(*args, **kwargs)
        most.append(sum(saved.sizes.values()))
        return found

    whole = loop.objective_jacobian
    monkeypatch.setattr(loop, "objective_jacobian", measured)
    try:
        list(loop.iter_train(policy, data, weights=[0.5, 0.5], config=config))
    finally:
        monkeypatch.setattr(loop, "objective_jacobian", whole)
    return max(most)


# the bytes of a pass are a polynomial in its shape, so that the trial gives them exactly; kernels may pad, hence 5 %
EXACT = 0.05


@pytest.mark.parametrize("adapter", ["lora", "full"])
@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_the_activations_are_those_of_a_real_step(family, adapter, monkeypatch):
    data, policy = pairs(count=20), random_policy(family, adapter=adapter)
    found = memory_estimate(policy, data, config=CONFIG)
    assert found.activations == pytest.approx(kept_by_a_run(policy, data, CONFIG, monkeypatch), rel=EXACT)


def test_checkpointing_keeps_the_inputs_of_layers_and_makes_one_layer_again(monkeypatch):
    def policy(*, layers):
        made = random_policy(num_hidden_layers=layers)
        made.base.sharing = Sharing(False, "of a test", None)  # then there is no mask, which all layers share
        return made

    data, config = pairs(count=8), CONFIG.replace(checkpointing=True, steps=1)
    found = memory_estimate(policy(layers=3), data, config=config)
    two, three = (kept_by_a_run(policy(layers=n), data, CONFIG.replace(steps=1), monkeypatch) for n in (2, 3))
    between = kept_by_a_run(policy(layers=3), data, config, monkeypatch)
    # the angles of the positions, which all layers share too, are counted with the first one: hence 25 %
    assert found.activations == pytest.approx(between + three - two, rel=0.25)
    assert found.activations < memory_estimate(policy(layers=3), data, config=CONFIG.replace(steps=1)).activations


def test_the_parts_add_up_to_a_peak():
    found = memory_estimate(random_policy(), pairs(), config=CONFIG)
    beside = found.weights + found.moments
    assert found.total == beside + max(found.gradients + found.activations + found.chunk, found.reading)
    assert found.update < found.activations


def test_more_tokens_need_more():
    data = pairs(count=20)
    short, long = (memory_estimate(random_policy(), data, config=CONFIG.replace(max_length=size)) for size in (24, 48))
    assert short.activations < long.activations
    small = memory_estimate(random_policy(), data, config=CONFIG.replace(tokens_per_backward=200))
    assert small.activations < memory_estimate(random_policy(), data, config=CONFIG).activations


def test_full_fine_tuning_needs_more_than_an_adapter():
    data = pairs()
    lora, full = (memory_estimate(random_policy(spread=0.1, adapter=one), data, config=CONFIG) for one in ("lora", "full"))
    assert all(getattr(full, part) > getattr(lora, part) for part in ("gradients", "update", "moments"))


def test_rows_grow_with_the_objectives_and_double_where_passes_are_added():
    policy = random_policy()
    trained = sum(weight.numel() * 4 for weight in policy.trainable.values())
    for count in (1, 2, 3):
        found = memory_estimate(policy, pairs(objectives=count), config=CONFIG)
        assert (found.gradients, found.update, found.moments) == (count * trained, trained, 2 * trained)
    several = memory_estimate(policy, pairs(), config=CONFIG.replace(pairs_per_backward=2))
    assert several.gradients == 2 * 2 * trained
    assert memory_estimate(policy, pairs(), config=CONFIG.replace(optimizer="sgd")).moments == 0
    assert memory_estimate(policy, pairs(), config=CONFIG.replace(optimizer="rmsprop")).moments == trained
    assert memory_estimate(policy, pairs(), config=CONFIG.replace(combine_every=2)).update == 2 * trained


def test_a_backward_pass_per_objective_has_one_gradient_more():
    policy = random_policy()
    trained = sum(weight.numel() * 4 for weight in policy.trainable.values())
    policy.base.coverage = Coverage(False, "of a test", {})
    assert memory_estimate(policy, pairs(), config=CONFIG).gradients == 3 * trained
    assert "each objective has a backward pass of its own: of a test" in how_read(policy, pairs(), config=CONFIG).report()


def test_a_tied_embedding_has_rows_from_both_of_its_uses():
    policy = random_policy("llama", adapter="full")
    trained = sum(weight.numel() * 4 for weight in policy.trainable.values())
    embedding = policy.model.get_input_embeddings().weight.numel() * 4
    assert memory_estimate(policy, pairs(), config=CONFIG).gradients == 2 * (trained + embedding)


@pytest.mark.parametrize("share", [0.6, 0.3])
def test_what_is_suggested_fits(share):
    policy, data = random_policy(num_hidden_layers=6), pairs(count=20)
    found = memory_estimate(policy, data, config=CONFIG)
    room = int(found.total - found.activations * (1 - share))
    tight = memory_estimate(policy, data, config=CONFIG, available=room)
    assert not tight.fits
    assert f"too little, it would fit with {tight.suggestion}" in tight.report()
    changes = {
        name: value == "True" if name == "checkpointing" else int(value)
        for name, value in (part.split("=") for part in tight.suggestion.split(", "))
    }
    after = memory_estimate(policy, data, config=CONFIG.replace(**changes), available=room)
    assert after.fits
    assert after.suggestion == ""


def test_where_nothing_fits_the_suggestion_says_what_else():
    data = pairs()
    tight = memory_estimate(random_policy(), data, config=CONFIG, available=1000)
    assert tight.suggestion.startswith("a smaller max_length (the settings of a pass save too little: ")
    tight = memory_estimate(random_policy(adapter="full"), data, config=CONFIG, available=1000)
    assert tight.suggestion.startswith("a smaller max_length or adapter='lora' (")


def test_what_is_not_known_is_taken_to_fit(monkeypatch):
    monkeypatch.setattr(memory, "_free", lambda device: None)
    found = memory_estimate(random_policy(), pairs(), config=CONFIG)
    assert found.available is None
    assert found.fits
    assert found.report().endswith("needed, what is available is not known")


def test_the_policy_is_as_before():
    policy = random_policy()
    before, how = policy.trainable_state(), Compute(autocast="bfloat16")
    policy.compute = how
    memory_estimate(policy, pairs(), config=CONFIG.replace(checkpointing=True), available=1000)
    how_read(policy, pairs(), config=CONFIG)
    assert policy.compute == how
    assert all(torch.equal(policy.trainable_state()[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in policy.trainable.values())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in policy.model.modules())


def test_checkpointing_a_model_without_such_layers_is_refused(monkeypatch):
    monkeypatch.setattr("paretokit.models.compute.GradientCheckpointingLayer", torch.nn.Bilinear)
    policy = random_policy()
    assert memory_estimate(policy, pairs(), config=CONFIG).activations > 0
    with pytest.raises(ModelError, match="found no layers that can be computed once more"):
        memory_estimate(policy, pairs(), config=CONFIG.replace(checkpointing=True))


def test_the_steps_are_those_of_the_loop():
    policy, data = random_policy(), pairs(count=20)
    steps = packed_steps(policy, encode_preferences(policy, data, max_length=128), data, config=CONFIG)
    records = list(loop.iter_train(policy, data, weights=[0.5, 0.5], config=CONFIG))
    assert [step.plan.positions for step in steps] == [record.positions for record in records]
    assert [len(step.plan.passes) for step in steps] == [record.backward_passes for record in records]


def test_a_long_run_is_bounded_by_its_longest_pairs(monkeypatch):
    policy, data = random_policy(), pairs(count=40)
    whole = memory_estimate(policy, data, config=CONFIG.replace(steps=40))
    monkeypatch.setattr(reading, "_LOOKED_AT", 8)
    assert len(packed_steps(policy, encode_preferences(policy, data, max_length=128), data, config=CONFIG)) == 1
    assert memory_estimate(policy, data, config=CONFIG.replace(steps=40)).activations >= whole.activations


# how pairs are read


def test_pairs_longer_than_a_window_are_said_to_stand_apart():
    found = how_read(random_policy("gemma3"), pairs(count=20), config=CONFIG)
    assert found.reasons == (
        "20 of 20 pairs do not share their prompt in one row: longer than the 16 tokens that a layer sees",
    )
    assert "8 of them apart" in found.report()


def test_a_model_that_takes_no_mask_is_said_so():
    policy = random_policy()
    policy.base.sharing = Sharing(False, "its attention takes no mask of ours", None)
    assert how_read(policy, pairs(), config=CONFIG).reasons == (
        "6 of 6 pairs do not share their prompt in one row: its attention takes no mask of ours",
    )
    assert how_read(random_policy(), pairs(), config=CONFIG).reasons == ()


def test_a_compiled_model_is_said_to_have_a_pass_per_objective():
    found = how_read(random_policy(), pairs(), config=CONFIG.replace(compiler="eager"))
    assert found.reasons == (
        "each objective has a backward pass of its own: the model is compiled, and its modules cannot be listened to",
    )


# what is free


def test_what_the_system_says_is_free(tmp_path):
    told = tmp_path / "meminfo"
    told.write_text("MemTotal: 200 kB\nMemAvailable:     100 kB\n", encoding="utf-8")
    assert memory._free_of_system(told=told) == 102_400
    assert memory._free(torch.device("meta")) is None


def test_without_that_file_the_free_pages_count(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_AVPHYS_PAGES": 3, "SC_PAGE_SIZE": 4096}[name])
    monkeypatch.setattr("os.sysconf_names", {"SC_AVPHYS_PAGES": 0})
    assert memory._free_of_system(told=tmp_path / "nothing") == 12_288
    monkeypatch.setattr("os.sysconf_names", {})
    assert memory._free_of_system(told=tmp_path / "nothing") is None


def test_a_gpu_is_asked_itself(monkeypatch):
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (1000, 5000))
    monkeypatch.setattr("torch.cuda.memory_reserved", lambda device: 70)
    monkeypatch.setattr("torch.cuda.memory_allocated", lambda device: 50)
    assert memory._free(torch.device("cuda")) == 1020
