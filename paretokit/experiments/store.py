"""Runs on disk: one folder each, readable by eye, written so that a kill at any moment loses at most the current step.

    <store>/runs/<id>/spec.json            what the run is
                      state.json           running, done, stopped or failed, with the reason
                      records.jsonl        one line per step
                      checkpoint.safetensors   trainable weights and optimizer after the last recorded step, until done
                      policy/              the trained policy
                      scores.jsonl         figures after training, one line per sample or held-out pair
    <store>/starts/<key>.jsonl             figures before training, shared by all runs that start alike
    <store>/trash/                         what `remove` moved away

The list of runs is read from the folders themselves, so it cannot disagree with them. Imports: `files`, `spec`, `training`.
"""

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from paretokit.errors import StoreError, suggestion
from paretokit.experiments.files import (
    append_line,
    read_json,
    read_lines,
    storing,
    write_atomically,
    write_json,
    write_lines,
)
from paretokit.experiments.spec import RunSpec
from paretokit.shapes import Tensor
from paretokit.training.records import StepRecord
from paretokit.training.state import TrainState

if TYPE_CHECKING:
    from paretokit.models.policy import Policy

STATES = ("running", "done", "stopped", "failed")
WEIGHTS_FILES = ("adapter_model.safetensors", "model.safetensors", "heads.safetensors")  # of a saved policy


@dataclass(frozen=True)
class Run:
    """A finished or stopped run: what it was, what happened, and what it scored.

    `policy` is the trained policy, or None for a run that was read from a store (`load` gets it). `scores` and `start` are
    the figures after and before training, one row per sample or held-out pair; None where nothing was measured.
    """

    spec: RunSpec
    records: tuple[StepRecord, ...]
    policy: "Policy | None" = None
    scores: pd.DataFrame | None = None
    start: pd.DataFrame | None = None
    folder: Path | None = None
    state: Mapping[str, Any] = field(default_factory=lambda: {"state": "done"})

    @property
    def id(self) -> str:
        """The run's name; equal specs have equal names."""
        return self.spec.id

    def load(self) -> "Policy":
        """Return the trained policy, from memory or from the run's folder. Raises `StoreError` where there is none."""
        if self.policy is not None:
            return self.policy
        if self.folder is None or not (self.folder / "policy").exists():
            raise StoreError(
                f"run {self.id}: found no saved policy (state: {self.state.get('state')}), expected one in "
                f"{self.folder}. Run it to its end first."
            )
        from paretokit.models.load import load_policy

        return load_policy(str(self.folder / "policy"))


class RunFolder:
    """The folder of one run; every method leaves it whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, spec: RunSpec) -> None:
        """Write the spec and mark the run as running."""
        with storing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "spec.json", spec.to_json())
        self.mark("running")

    def mark(self, state: str, *, reason: str = "", **facts: Any) -> None:
        """Set the state, with the reason and other JSON facts."""
        write_json(self.path / "state.json", {"state": state, "reason": reason, **facts})

    def state(self) -> dict[str, Any]:
        """Return the state as written; {"state": "missing"} for a folder without a run."""
        return read_json(self.path / "state.json") if (self.path / "state.json").exists() else {"state": "missing"}

    def add_step(self, record: StepRecord, weights: Mapping[str, Tensor], state: TrainState) -> None:
        """Keep a step: first its record, then the checkpoint; `resume_point` settles a kill in between."""
        append_line(self.path / "records.jsonl", record.to_json())
        tensors = {f"policy/{name}": value.detach().contiguous() for name, value in weights.items()}
        tensors |= {f"optimizer/{name}": value.detach().contiguous() for name, value in state.optimizer.items()}
        metadata = {"step": str(state.step)}
        write_atomically(self.path / "checkpoint.safetensors", lambda path: save_file(tensors, str(path), metadata=metadata))

    def resume_point(self) -> tuple[list[StepRecord], dict[str, Tensor], TrainState] | None:
        """Return records, trainable weights and optimizer state after the last step that was kept whole, or None; records
        beyond the checkpoint are dropped from the file too."""
        path = self.path / "checkpoint.safetensors"
        if not path.exists():
            return None
        try:
            with safe_open(str(path), framework="pt") as handle:
                step = int(handle.metadata()["step"])
                tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a mapping)
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise StoreError(f"{path}: found no readable checkpoint ({error}). Delete {self.path} and run it again.") from error
        records = self.records()[:step]
        write_lines(self.path / "records.jsonl", (record.to_json() for record in records))
        parts = {
            part: {name.removeprefix(part): value for name, value in tensors.items() if name.startswith(part)}
            for part in ("policy/", "optimizer/")
        }
        return records, parts["policy/"], TrainState(step, parts["optimizer/"])

    def spec(self) -> RunSpec | None:
        """Return what the run is, or None for a folder without one."""
        path = self.path / "spec.json"
        return RunSpec.from_json(read_json(path)) if path.exists() else None

    def records(self) -> list[StepRecord]:
        """Return the records of the steps so far."""
        try:
            return [StepRecord.from_json(line) for line in read_lines(self.path / "records.jsonl")]
        except TypeError as error:
            raise StoreError(f"{self.path / 'records.jsonl'}: {error} Use another store.") from error

    def clear(self) -> None:
        """Forget the steps of a run that starts anew."""
        with storing(self.path):
            for name in ("records.jsonl", "checkpoint.safetensors", "scores.jsonl"):
                (self.path / name).unlink(missing_ok=True)

    def end(self, run: Run) -> None:
        """Write the policy and the figures of a run, then its state; a finished run no longer needs its checkpoint."""
        with storing(self.path):
            run.load().save(self.path / "policy")
        if run.scores is not None:
            write_frame(self.path / "scores.jsonl", run.scores)
        self.mark(run.state["state"])
        if run.state["state"] == "done":
            (self.path / "checkpoint.safetensors").unlink(missing_ok=True)

    def trained_weights(self) -> dict[str, Tensor]:
        """Return the trained weights of a run that has ended, by the names of `Policy.trainable`."""
        files = [self.path / "policy" / name for name in WEIGHTS_FILES]
        found = {name: value for file in files if file.exists() for name, value in load_file(str(file)).items()}
        if found:
            return found
        raise StoreError(f"{self.path / 'policy'}: found no trained weights. Delete {self.path} and run it again.")

    def read(self) -> Run:
        """Return the run as a value, without its policy."""
        spec = RunSpec.from_json(read_json(self.path / "spec.json"))
        return Run(
            spec=spec,
            records=tuple(self.records()),
            scores=read_frame(self.path / "scores.jsonl"),
            start=read_frame(self.path.parent.parent / "starts" / f"{spec.start}.jsonl"),
            folder=self.path,
            state=self.state(),
        )


class Store:
    """A folder of runs.

    >>> import tempfile
    >>> store = Store(tempfile.mkdtemp())
    >>> len(store.runs())
    0
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder)
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"{self.path}: found a file, expected a folder. Choose another folder with --store.")

    def folder(self, run_id: str) -> RunFolder:
        """Return the folder of a run, which need not exist yet."""
        return RunFolder(self.path / "runs" / run_id)

    def start(self, key: str) -> pd.DataFrame | None:
        """Return the figures before training of the runs that start like `key`, or None where they were not measured."""
        return read_frame(self._start(key))

    def keep_start(self, key: str, frame: pd.DataFrame) -> None:
        """Write the figures before training of the runs that start like `key`."""
        write_frame(self._start(key), frame)

    def _start(self, key: str) -> Path:
        return self.path / "starts" / f"{key}.jsonl"

    def ids(self) -> list[str]:
        """Return the names of all runs, oldest first."""
        found = [path.parent for path in self.path.glob("runs/*/spec.json")]
        return [path.name for path in sorted(found, key=lambda path: ((path / "spec.json").stat().st_mtime, path.name))]

    def runs(self) -> list[Run]:
        """Return all runs, oldest first."""
        return [self.folder(run_id).read() for run_id in self.ids()]

    def run(self, run_id: str) -> Run:
        """Return a run by its name, or by a beginning of it that only one run has. Raises `StoreError` otherwise."""
        ids = self.ids()
        found = [known for known in ids if known == run_id] or [known for known in ids if known.startswith(run_id)]
        if len(found) == 1:
            return self.folder(found[0]).read()
        if found:
            raise StoreError(
                f"{self.path}: found {len(found)} runs that begin with {run_id!r}, expected one: {', '.join(found)}."
            )
        raise StoreError(
            f"{self.path}: found no run {run_id!r}.{suggestion(run_id, ids)} "
            "List the runs with `paretokit runs --store FOLDER`."
        )

    def remove(self, run_id: str) -> Path:
        """Move a run to the store's trash and return where it lies now."""
        run = self.run(run_id)
        target = self.path / "trash" / run.id
        with storing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                shutil.rmtree(target)
            (self.path / "runs" / run.id).replace(target)
        return target


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame of figures as JSON lines; NaN becomes null."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict(orient="records")
    write_lines(path, ({key: _plain(value) for key, value in row.items()} for row in rows))


def read_frame(path: Path) -> pd.DataFrame | None:
    """Return the frame that `write_frame` wrote, null as NaN, or None where there is no file."""
    if not path.exists():
        return None
    frame = pd.DataFrame(read_lines(path)).fillna(value=math.nan)
    empty = [
        name for name in frame.columns if bool(frame[name].isna().to_numpy().all())
    ]  # a column of nothing but null is one of numbers
    return frame.astype(dict.fromkeys(empty, "float64"))


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
