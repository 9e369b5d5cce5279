"""The engine on a GPU: the numbers of the CPU in float64, one wait for the device in a step, and bfloat16 near float32.

Float32 islands are widened (`wide`), as everywhere. These tests need a GPU that CUDA runs on; what can be shown without one,
that nothing is read from the device and nothing made elsewhere, is shown on the meta device, in `test_jacobian`.
"""

import warnings
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from support.models_cases import ON_CUDA, disturb, ragged_pairs, trained_policy, wide
from support.training_cases import LABELS, LAYOUTS, assert_same_rows, pairs, token_batch

from paretokit.errors import MemoryLimitError
from paretokit.maths.losses import judged
from paretokit.models.compute import Compute
from paretokit.models.tiny import FAMILIES, random_policy
from paretokit.training.config import TrainConfig
from paretokit.training.encode import encode_preferences
from paretokit.training.jacobian import objective_jacobian
from paretokit.training.loop import iter_train
from paretokit.training.references import reference_margins

pytestmark = ON_CUDA
CONFIG = TrainConfig(steps=3, pairs_per_step=4, learning_rate=1e-2, max_length=128, optimizer="sgd")
WEIGHTS = (0.3, 0.7)
RUNS = {
    "raco": {},
    "raco, full": {"adapter": "full"},
    "linear": {"method": "linear"},
    "mah-dpo": {"method": "mah-dpo", "heads": ["o0", "o1"], "head_rank": 4},
    "mah-raco": {"method": "mah-raco", "heads": ["o0", "o1"], "head_rank": None},
}


def on_both(make, *, within):
    """The tensors that `make` returns for a device are the same for the GPU as for the CPU."""
    expected, found = make("cpu"), make("cuda")
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=0, atol=within)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_are_those_of_the_cpu(family, shared):
    prompts, responses = ragged_pairs()

    def make(device):
        policy = trained_policy(family, device=device)
        if shared:
            batch = token_batch(policy, "several")
            return [objective_jacobian(policy, batch, beta=0.7, judged=judged(LABELS)).margins]
        return [policy.ids_logps(prompts, responses)]

    with wide():
        on_both(make, within=1e-8)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("family", "adapter"), [("llama", "lora"), ("gpt2", "full"), ("gemma3", "lora"), ("cohere", "full")])
def test_gradients_per_objective_are_those_of_the_cpu(family, adapter, layout, checkpointing):
    found = {}
    with wide():
        for device in ("cpu", "cuda"):
            policy = disturb(random_policy(family, adapter=adapter, dtype=torch.float64, device=device), size=0.02)
            policy.compute = Compute(checkpointing=checkpointing)
            found[device] = objective_jacobian(policy, token_batch(policy, layout), beta=0.7, judged=judged(LABELS))
    assert {row.device.type for row in found["cuda"].rows} == {"cuda"}
    assert_same_rows([row.cpu() for row in found["cuda"].rows], found["cpu"].rows)
    torch.testing.assert_close(found["cuda"].gram.cpu(), found["cpu"].gram, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", RUNS)
def test_training_is_that_of_the_cpu(name):
    options = dict(RUNS[name])
    method = options.pop("method", "raco")

    def make(device):
        policy = random_policy("gpt2", dtype=torch.float64, device=device, **options)
        records = list(iter_train(policy, pairs(), method=method, weights=WEIGHTS, config=CONFIG))
        numbers = [value for record in records for value in (*record.losses, *record.coefficients, record.update_norm)]
        return [torch.tensor(numbers), *policy.trainable_state().values()]

    on_both(make, within=1e-9)


def waits_of(steps):
    """What torch says of waits for the device while the next step is taken."""
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            next(steps)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return [f"{one.filename}:{one.lineno}" for one in found if "called a synchronizing" in str(one.message)]


@pytest.mark.parametrize("options", [{}, {"adapter": "full"}, {"heads": ["o0", "o1"]}], ids=["lora", "full", "heads"])
def test_a_step_waits_for_the_device_once(options):
    policy, data, references = random_policy(device="cuda", **options), pairs(), {}
    reference_margins(policy, encode_preferences(policy, data, max_length=128), references)
    method = "mah-dpo" if policy.heads else "raco"
    config = replace(CONFIG, optimizer="adamw")
    steps = iter_train(policy, data, method=method, weights=WEIGHTS, config=config, references=references)
    next(steps)  # what is found out once for a model
    waits = waits_of(steps)
    assert len(waits) == 1, waits


def test_a_planted_wait_is_seen():
    tensor = torch.ones(3, device="cuda")
    assert waits_of(tensor.sum() for _ in range(1)) == []
    assert len(waits_of(tensor.tolist() for _ in range(1))) == 1


def test_bfloat16_stays_near_float32():
    """Half precision keeps 8 bits: losses of a run, near 0.69, agree to some hundredths."""
    runs = []
    for dtype, autocast in ((torch.float32, None), (torch.bfloat16, None), (torch.float32, "bfloat16")):
        policy = random_policy(dtype=dtype, device="cuda")
        records = list(iter_train(policy, pairs(), weights=WEIGHTS, config=replace(CONFIG, autocast=autocast)))
        assert {parameter.dtype for parameter in policy.trainable.values()} == {torch.float32}
        runs.append(torch.tensor([record.losses for record in records]))
    for found in runs[1:]:
        torch.testing.assert_close(found, runs[0], rtol=0, atol=2e-2)
        assert not torch.equal(found, runs[0])  # it acts


def test_memory_that_runs_out_leaves_the_policy_as_it_was():
    """The process is given no more memory than it holds, and what it holds is filled; with more, training goes on."""
    policy, data = random_policy(device="cuda"), pairs()
    steps = iter_train(policy, data, weights=WEIGHTS, config=replace(CONFIG, pairs_per_step=6))  # all pairs in each step
    next(steps)
    before = policy.trainable_state()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(torch.cuda.memory_reserved() / torch.cuda.mem_get_info()[1])
    filling = []
    try:
        for size in (2**20, 2**12, 2**9):
            with suppress(torch.OutOfMemoryError):
                while True:
                    filling.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
        with pytest.raises(MemoryLimitError, match="found too little memory for a pass of 6 pairs"):
            next(steps)
    finally:
        filling.clear()
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert all(torch.equal(value, before[name]) for name, value in policy.trainable_state().items())
    assert len(list(iter_train(policy, data, weights=WEIGHTS, config=CONFIG))) == CONFIG.steps
