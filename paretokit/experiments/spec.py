"""What a run is: everything that decides its result, as a frozen value with a name derived from its content.

Imports: `training.config`, the standard library.
"""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from paretokit.errors import StoreError
from paretokit.training.config import TrainConfig

FORMAT = 1  # of a run folder; raised when an older paretokit could not read it


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One run: policy, data, method, weights, configuration and evaluation. Equal specs give equal results on one machine.

    `weights` is None where they came from a function of the step; the records hold what was used.
    """

    policy: str  # the name it was loaded by
    adapter: str
    policy_hash: str  # of the base and the trainable weights as training begins
    start: str  # names the figures before training: equal for policies that answer alike
    preferences: str  # where they came from
    preferences_hash: str
    objectives: tuple[str, ...]
    method: str
    weights: tuple[float, ...] | None
    config: TrainConfig
    evaluation: Mapping[str, Any] | None  # what was measured, as JSON; None: nothing
    versions: Mapping[str, str]
    device: str
    note: str = ""  # tells apart runs whose weights came from a function
    chat: Mapping[str, Any] | None = None  # options, date and lead-in of the chat template; None: it has none of them

    @property
    def id(self) -> str:
        """The run's name: method, seed, and ten digits of the hash of everything except versions, where things lay, and a date
        that nobody asked for: a run that is taken up on another day is the same run."""
        whole = {**self.to_json(), "config": self.config.identity()}
        content = {key: value for key, value in whole.items() if key not in ("versions", "policy", "preferences")}
        if self.chat is None:
            del content["chat"]  # runs that were made before it existed keep their names
        elif self.chat["by_clock"]:
            content["chat"] = {**content["chat"], "date": None}
            content["start"] = undated(self.start)
        digest = blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=5).hexdigest()
        return f"{self.method}-s{self.seed}-{digest}"

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.config.seed

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes of the front: the columns of the figures that are compared; () where nothing was measured."""
        return () if self.evaluation is None else tuple(self.evaluation["axes"])

    @property
    def label(self) -> str:
        """Method and weights, for people.

        >>> example_spec().label
        'raco 0.20/0.80'
        """
        weights = "weights by step" if self.weights is None else "/".join(f"{weight:.2f}" for weight in self.weights)
        return f"{self.method} {weights}"

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values.

        >>> RunSpec.from_json(example_spec().to_json()) == example_spec()
        True
        """
        return json.loads(json.dumps({**asdict(self), "format": FORMAT, "config": self.config.to_json()}))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "RunSpec":
        """Return the spec that `to_json` wrote; raises `StoreError` for one of another format."""
        if data.get("format") != FORMAT:
            raise StoreError(
                f"run spec: found format {data.get('format')!r}, expected {FORMAT}. The run was written by another version "
                "of paretokit; read it with that version or use another store."
            )
        values = {key: value for key, value in data.items() if key != "format"}
        values["config"] = TrainConfig.from_json(values["config"])
        values["objectives"] = tuple(values["objectives"])
        values["weights"] = None if values["weights"] is None else tuple(values["weights"])
        return cls(**values)

    def replace(self, **changes: Any) -> "RunSpec":
        """Return a copy with some fields changed."""
        return replace(self, **changes)


def dated(start: str, chat: Mapping[str, Any] | None) -> str:
    """Return the name of figures before training, with the date that stands in the prompts they were measured on.

    >>> dated("2222", None), dated("2222", {"date": "2026-11-30", "by_clock": True})
    ('2222', '2222-2026-11-30')
    """
    return start if chat is None or chat["date"] is None else f"{start}-{chat['date']}"


def undated(start: str) -> str:
    """Return what was passed to `dated`.

    >>> undated("2222-2026-11-30"), undated("2222")
    ('2222', '2222')
    """
    return start.partition("-")[0]


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on: python, paretokit, torch, transformers, peft.

    >>> sorted(versions())
    ['paretokit', 'peft', 'python', 'torch', 'transformers']
    """
    found = {"python": platform.python_version()}
    for package in ("paretokit", "torch", "transformers", "peft"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def example_spec() -> RunSpec:
    """Return a small, complete spec: for documentation and tests."""
    return RunSpec(
        policy="tiny",
        adapter="lora",
        policy_hash="0" * 16,
        start="2" * 16,
        preferences="world:safety",
        preferences_hash="1" * 16,
        objectives=("helpfulness", "harmlessness"),
        method="raco",
        weights=(0.2, 0.8),
        config=TrainConfig(steps=2),
        evaluation=None,
        versions={"paretokit": "0.1.0"},
        device="cpu",
    )
