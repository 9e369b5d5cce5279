"""What others offer for the same work: TRL's DPO step, TorchJD's CAGrad, and what one would write with peft and autograd.

TRL and TorchJD are imported on use; paretokit needs neither. Imports: torch, `maths`, `models`, `preferences` (types),
`training`, `errors`; on use: trl, datasets, peft, torchjd.
"""

import io
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from paretokit.cli.bench.steps import Task
from paretokit.errors import DependencyError
from paretokit.maths.logps import sum_by_sequence
from paretokit.maths.losses import dpo
from paretokit.models.load import load_policy
from paretokit.models.policy import Policy
from paretokit.models.projection import backbone
from paretokit.models.reading import inputs_of
from paretokit.preferences.pack import Batch
from paretokit.shapes import Float, Int, Tensor
from paretokit.training.jacobian import Jacobian


@contextmanager
def needed(package: str) -> Iterator[None]:
    """Turn an `ImportError` inside the block into a `DependencyError` with the install command."""
    try:
        yield
    except ImportError as error:
        raise DependencyError(
            f"{package}: cannot be imported ({error}). Install it with: pip install 'paretokit[dev]'"
        ) from error


def check_trl() -> None:
    """Raise `DependencyError` where TRL or what it needs is missing, before anything is loaded."""
    with needed("trl"), silent():
        import datasets  # noqa: F401
        import trl.trainer.dpo_trainer  # noqa: F401


def trl_step(task: Task, folder: Path, *, bf16: bool) -> Callable[[], float]:
    """Return a function that takes one step of TRL's `DPOTrainer` on the task's ids and returns the loss before it.

    The same pairs, base, adapter and beta; no gradient checkpointing; reference log-probabilities are given, as in the
    task. The trainer is put together as `DPOTrainer.train` does it, without its logging and saving. `folder` is for files
    that it may write. Raises `DependencyError` where TRL is missing.
    """
    with needed("trl"), silent():
        from datasets import Dataset
        from peft import LoraConfig
        from trl.trainer.dpo_config import DPOConfig
        from trl.trainer.dpo_trainer import DPOTrainer

        adapter = task.policy.lora_config
        assert adapter is not None
        # "all-linear" is what paretokit's own adapter covers: every linear layer but the output projection
        lora = LoraConfig(
            r=adapter.r, lora_alpha=adapter.lora_alpha, target_modules="all-linear", lora_dropout=0.0, task_type="CAUSAL_LM"
        )
        arguments = DPOConfig(
            output_dir=str(folder),
            beta=task.config.beta,
            per_device_train_batch_size=len(task.pairs),
            report_to="none",
            use_cpu=task.policy.device.type == "cpu",
            bf16=bf16,
            gradient_checkpointing=False,
            max_length=None,
            save_strategy="no",
            disable_tqdm=True,
            max_steps=1000,
            learning_rate=task.config.learning_rate,
            precompute_ref_log_probs=True,
            logging_strategy="no",
        )
        # a model of its own, since the trainer patches the one that it is given
        model: Any = load_policy(task.policy.source, adapter="none", device=task.policy.device, dtype="float32").model
        with torch.random.fork_rng(devices=[]):  # it seeds
            trainer: Any = DPOTrainer(
                model=model,
                args=arguments,
                train_dataset=Dataset.from_list([{"prompt": "a b c", "chosen": " d e", "rejected": " f"}] * len(task.pairs)),
                processing_class=task.policy.tokenizer,
                peft_config=lora,
            )
        trainer.create_optimizer()
        trainer.current_gradient_accumulation_steps = 1
        wrapped = trainer.accelerator.prepare(trainer.model)
        rows = [
            {
                "prompt_ids": list(pair.prompt),
                "chosen_ids": list(pair.response_a),
                "rejected_ids": list(pair.response_b),
                "ref_chosen_logps": chosen,
                "ref_rejected_logps": rejected,
            }
            for pair, (chosen, rejected) in zip(task.pairs, task.references.tolist(), strict=True)
        ]
        batch = trainer.data_collator(rows)

    def step() -> float:
        loss = trainer.training_step(wrapped, dict(batch))
        trainer.accelerator.clip_grad_norm_(wrapped.parameters(), task.config.max_grad_norm)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        return float(loss)

    return step


def passes_of_peft(
    policy: Policy, batch: Batch, *, beta: float, judged: Int[Tensor, " m"], objectives: Sequence[str] = ()
) -> Jacobian:
    """Return what `objective_jacobian` does, for a policy without heads, as one would write it: transformers' and peft's layers
    as they are, torch's products, and a backward pass for each objective's loss. Rows and log-probabilities are ours."""
    here, weights = batch.to(policy.device), list(policy.trainable.values())
    inputs = inputs_of(policy.model, here.rows, limit=policy.context_length, shared=here.shared)
    states: Tensor = backbone(policy.model)(**inputs).last_hidden_state.flatten(0, 1)
    logps = policy.reader.own_scorer()(states[here.rows.predicting], here.rows.targets)[0]
    chosen, rejected = sum_by_sequence(logps, here.sequence, count=2 * here.labels.shape[1]).chunk(2)
    margins = chosen - rejected - here.reference.to(logps.dtype)
    losses = dpo(margins, here.labels, beta=beta)
    found = [
        torch.autograd.grad(loss.sum() / count, weights, retain_graph=True)
        for loss, count in zip(losses, judged.tolist(), strict=True)
    ]
    return Jacobian(losses.detach(), margins.detach(), tuple(map(torch.stack, zip(*found, strict=True))))


def torchjd_cagrad(*, c: float) -> Callable[[Float[Tensor, "m m"]], Float[Tensor, " m"]]:
    """Return TorchJD's function from a Gramian to CAGrad's coefficients, at equal weights."""
    with needed("torchjd"):
        from torchjd.aggregation import CAGradWeighting

        return CAGradWeighting(c=c)


@contextmanager
def silent() -> Iterator[None]:
    """Keep TRL and what it is built on silent, and away from the network, inside the block; all is restored."""
    import datasets
    import huggingface_hub.constants as hub

    from paretokit.models.quiet import quiet

    environment, offline = dict(os.environ), hub.HF_HUB_OFFLINE
    level = logging.root.manager.disable
    bars = datasets.are_progress_bars_disabled()
    try:
        os.environ["HF_HUB_OFFLINE"], hub.HF_HUB_OFFLINE = "1", True
        datasets.disable_progress_bars()
        logging.disable(logging.CRITICAL)
        with quiet(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(level)
        if not bars:
            datasets.enable_progress_bars()
        os.environ.clear()
        os.environ.update(environment)
        hub.HF_HUB_OFFLINE = offline
