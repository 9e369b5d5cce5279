"""The runs of a Studio: those of its policy on its data that the store has, and the journal of what was done with them.

The store is the truth: what is shown can be read from it again, and what was hidden from the journal beside it. Nothing is
deleted. A run that is hidden, or that belongs to other data or to another policy, is only not seen.
Imports: `events`, `front_view`, `experiments`, `preferences`, `maths.simplex`.
"""

from collections.abc import Sequence
from threading import Lock
from typing import Any

from paretokit.errors import ParetokitError, StoreError, suggestion
from paretokit.experiments.compare import front_of, true_sets
from paretokit.experiments.evaluation import Evaluation
from paretokit.experiments.journal import Journal
from paretokit.experiments.store import Run, Store
from paretokit.maths.simplex import resolve as resolve_weights
from paretokit.preferences.records import Preferences
from paretokit.view.events import Board, Publish, trouble
from paretokit.view.front_view import HeadsView, bare_view, front_view, with_heads

_TRAINED = ("done", "stopped")  # states of runs that hold a trained policy


class Shelf:
    """The runs, oldest first, which of them are hidden and which is selected, and `board`, what was last to be seen of them.

    It is read from the store when it is made. What cannot be read or written is published as "trouble" and left out.
    """

    def __init__(
        self,
        store: Store,
        journal: Journal,
        *,
        start_key: str,
        pairs: Preferences,
        evaluation: Evaluation | None,
        axes: tuple[str, ...],
        publish: Publish,
    ) -> None:
        self.store, self.start_key = store, start_key
        self.hidden: frozenset[str] = frozenset()
        self.selected: str | None = None
        self.curve: HeadsView | None = None  # the whole front of heads that was drawn last
        self._journal, self._pairs, self._publish = journal, pairs, publish
        self._evaluation, self._axes = evaluation, axes
        self._runs: dict[str, Run] = {}
        self._headed: set[str] = set()  # those that have learnt heads
        self._foreign = 0
        self._hiding = Lock()  # `hidden` is read and replaced by the worker and by whoever hides a run
        self._read()
        self.board = self._board()

    # On the worker's thread, which alone changes what runs there are and what is to be seen of them.

    def add(self, run: Run) -> None:
        """Put a run in its place, which is that of its former self where there was one."""
        self._runs[run.id] = run
        if run.folder is not None and (run.folder / "policy" / "heads.safetensors").exists():
            self._headed.add(run.id)

    def add_newest(self, run: Run) -> None:
        """Put a run that has just been trained last and in sight; what was drawn of its former self is forgotten."""
        if self.curve is not None and self.curve.run == run.id:
            self.curve = None
        self._runs.pop(run.id, None)
        self.add(run)
        self._set_hidden(run.id, hidden=False)

    def show(self) -> Board:
        """Compute the board again, publish it as "front" and return it."""
        self.board = self._board()
        self._publish("front", self.board)
        return self.board

    def _board(self) -> Board:
        shown = [run for run in self.visible() if run.scores is not None]
        if shown:
            front = front_of(shown)
            view = front_view(front)
        else:
            front = None
            recorded = None if self._evaluation is None else self._evaluation.to_json()
            view = bare_view(self._axes, start=self.store.start(self.start_key), truth=true_sets(recorded))
        if self.curve is not None and self.curve.run not in self.hidden:
            view = with_heads(view, self.curve)
        return Board(front, view, self.runs, self.hidden, self._foreign)

    # On any thread.

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs, oldest first; hidden ones too."""
        return tuple(self._runs.values())

    def visible(self) -> list[Run]:
        """Return the runs that are not hidden."""
        return [run for run in self.runs if run.id not in self.hidden]

    def trained(self, *, heads: bool) -> list[Run]:
        """Return the visible runs that hold a trained policy: one with heads, or one without."""
        return [
            run
            for run in self.visible()
            if run.spec.weights is not None and run.state["state"] in _TRAINED and (run.id in self._headed) == heads
        ]

    def chosen(self, runs: Sequence[Run]) -> Run | None:
        """Return of these runs the selected one, else the newest; None where there are none."""
        return next((run for run in runs if run.id == self.selected), runs[-1] if runs else None)

    def check(self, run_id: str) -> None:
        """Raise `StoreError` for the id of a run that is not here."""
        if run_id not in self._runs:
            raise StoreError(
                f"run: found no run {run_id!r} in this Studio.{suggestion(run_id, self._runs)} See `studio.runs` for their ids."
            )

    def hide(self, run_id: str) -> None:
        """Take a run out of sight. Raises `StoreError` for an unknown one, as `restore` and `select` do."""
        self.check(run_id)
        self._set_hidden(run_id, hidden=True)
        self.note("hide", run=run_id)

    def restore(self, run_id: str) -> None:
        """Bring a hidden run back into sight."""
        self.check(run_id)
        self._set_hidden(run_id, hidden=False)
        self.note("restore", run=run_id)

    def _set_hidden(self, run_id: str, *, hidden: bool) -> None:
        with self._hiding:
            self.hidden = self.hidden | {run_id} if hidden else self.hidden - {run_id}

    def select(self, run_id: str | None) -> None:
        """Make a run the one whose curves and texts are shown; None: the newest, and the nearest."""
        if run_id is not None:
            self.check(run_id)
        self.selected = run_id
        self._publish("front", self.board)

    def note(self, action: str, **arguments: Any) -> None:
        """Write an action into the journal."""
        try:
            self._journal.add(action, **arguments)
        except StoreError as error:  # what was asked is done all the same; only its record is missing
            self._publish("trouble", trouble("journal", error))

    def last_weights(self) -> tuple[float, ...]:
        """Return the weights that the store saw last, equal weights where it saw none."""
        objectives = self._pairs.objectives
        for entry in reversed(self._entries()):
            found = entry.get("weights")
            if isinstance(found, dict) and tuple(found) == objectives:
                return resolve_weights(found, objectives)
        for run in reversed(self.runs):
            if run.spec.weights is not None:
                return run.spec.weights
        return tuple([1 / len(objectives)] * len(objectives))

    def _read(self) -> None:
        """Take the runs of this policy on these data from the store; say what could not be read."""
        for run_id in self.store.ids():
            try:
                run = self.store.folder(run_id).read()
            except ParetokitError as error:
                self._publish("trouble", trouble(f"run {run_id}", error))
                continue
            if run.spec.start == self.start_key and run.spec.preferences_hash == self._pairs.fingerprint and run.records:
                self.add(run)
            else:
                self._foreign += 1
        hidden: set[str] = set()
        for entry in self._entries():
            if entry["action"] == "hide":
                hidden.add(entry["run"])
            elif entry["action"] == "restore" or entry.get("outcome") == "done":
                hidden.discard(entry.get("run", entry.get("spec")))
        self.hidden = frozenset(hidden & set(self._runs))

    def _entries(self) -> list[dict[str, Any]]:
        try:
            return self._journal.entries()
        except StoreError as error:
            self._publish("trouble", trouble("journal", error))
            return []
