"""Which policy answers: the one that a Studio was given, that of a run, or the one that trains.

A policy with action heads answers at any weights without training. So its texts come from the run that is shown, a
finished one even while another trains, and follow the sliders at once. Without heads they come from the run that was
trained at the nearest weights, the one that trains included.
Imports: `shelf`, `experiments.store`, `models`, `errors`.
"""

from typing import NamedTuple

from paretokit.errors import ConfigError
from paretokit.experiments.store import Run
from paretokit.models.policy import Policy
from paretokit.view.shelf import Shelf


class Source(NamedTuple):
    """What answers at some weights."""

    run: Run | None  # None: the policy before training
    words: str
    changes: bool = False  # whether its policy trains, and may say something else after the next step


START = Source(None, "before training")


class Policies:
    """The policy `given`, which nothing changes, and forks of it with what the runs on the shelf have learnt; none of them
    once it is closed."""

    def __init__(self, given: Policy, shelf: Shelf) -> None:
        self._given: Policy | None = given
        self.live: Run | None = None  # the run that trains, as it stands after its last step
        self._shelf = shelf
        self._forks: dict[str, Policy] = {}  # by the run's id

    # On any thread.

    @property
    def given(self) -> Policy:
        """The policy before training. Raises `ConfigError` once the Studio is closed."""
        if self._given is None:
            raise ConfigError("policy: the Studio is closed. Make a new one on the same store.")
        return self._given

    def close(self) -> None:
        """Forget all policies, so that their memory is free where nobody else holds them."""
        self._given, self.live = None, None
        self._forks.clear()

    def at(self, weights: tuple[float, ...]) -> Source:
        """Return what answers at these weights. With heads: the run that is shown. Else the selected one, else of the
        trained ones and the one that trains the nearest."""
        selected = self._shelf.selected
        if self.given.heads:
            shown = self._shelf.chosen(self._shelf.trained(heads=True))
            how = "the selected run" if shown is not None and shown.id == selected else "the newest run"
            return START if shown is None else Source(shown, f"{shown.spec.label}, {how}")
        live, trained = self.live, self._shelf.trained(heads=False)
        runs = trained if live is None else [*trained, live]
        found = [run for run in runs if run.id == selected]
        how = "the selected run"
        if not found:
            how = "the run nearest to these weights"
            far = {run.id: sum(abs(a - b) for a, b in zip(weights, run.spec.weights or (), strict=True)) for run in runs}
            found = sorted(runs, key=lambda run: -far[run.id])  # the newest of equals comes last
        if not found:
            return START
        run = found[-1]
        if run is live:
            return Source(run, f"{run.spec.label}, training, after step {run.records[-1].step}", changes=True)
        return Source(run, f"{run.spec.label}, {how}")

    # On the worker's thread.

    def of(self, run: Run | None) -> Policy:
        """Return the policy of a run, loaded once; None: the one before training."""
        if run is None:
            return self.given
        if run.policy is not None:  # it trains
            return run.policy
        if run.id not in self._forks:
            policy = self.given.fork()
            policy.load_trainable_state(self._shelf.store.folder(run.id).trained_weights())
            self._forks[run.id] = policy
        return self._forks[run.id]

    def keep(self, run_id: str, policy: Policy) -> None:
        """Keep the policy of a run that has just been trained."""
        if self._given is not None:  # a training may end after the close that stopped it
            self._forks[run_id] = policy
