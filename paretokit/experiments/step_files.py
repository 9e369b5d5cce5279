"""Step labels on disk, as JSON lines. Imports: `files`, `preferences.step_labels`."""

from pathlib import Path

from paretokit.experiments.files import write_lines
from paretokit.preferences.step_labels import StepLabels

__all__ = ["write_step_labels"]


def write_step_labels(labels: StepLabels, path: str | Path) -> None:
    """Write the labels to a JSONL file, one response a line, whole or not at all; `read_step_labels` gives equal labels.

    Raises `StoreError` where the file cannot be written.

    >>> import tempfile
    >>> from paretokit.preferences.read_steps import read_step_labels
    >>> made = StepLabels(kinds={"calm": "class"}, prompts=["Hi"], steps=[["Hello."]], labels=[{"calm": [1]}])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_step_labels(made, f"{folder}/labels.jsonl")
    ...     read_step_labels(f"{folder}/labels.jsonl") == made
    True
    """
    write_lines(Path(path), labels.to_records())
