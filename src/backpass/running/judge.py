"""What an epoch's metrics decide while a run goes on: its end, its best state, a lower learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from backpass.exec.base import Array
from backpass.record.forks import changes
from backpass.record.record import Record
from backpass.record.settings import Event, Status
from backpass.training.stopping import Best, EarlyStopping, check_metric

Row = dict[str, float]
Ending = tuple[Status, str] | None  #: of a run, with its reason


class Judge:
    """Looks at each epoch's row: for early stopping, for a schedule that waits for a plateau."""

    def __init__(self, record: Record, stop: EarlyStopping | None) -> None:
        self.record, self.stop, self.plateau = record, stop, record.optimiser.plateau
        self.wanted = stop is not None or self.plateau is not None
        self.best = Best(stop.metric, stop.min_delta) if stop is not None else None
        self.level = Best(self.plateau.metric, self.plateau.min_delta) if self.plateau is not None else None
        self._level_since = 0.0  # the epoch from which on the schedule waits
        # A run that was given other settings gets its patience anew from there on.
        forks = [branch.step for branch, changed in changes(record.settings) if changed]
        self._since = float(record.batches.epoch_of(forks[-1])) if forks else 0.0

    def check(self, validate: Callable[[Mapping[str, Array]], dict[str, float]] | None) -> None:
        """Refuse a metric that is not there, before the first step."""
        if not self.wanted:
            return
        start = self.record.checkpoints[0] | self.record.fixed
        known = validate(start) if validate is not None else None
        if self.stop is not None:
            check_metric(self.stop.metric, known, "EarlyStopping")
        if self.plateau is not None:
            check_metric(self.plateau.metric, known, "OnPlateau")

    def remember(self) -> Ending:
        """Take in the epochs that the record has already; the run's ending, if the last of them is its end.

        What they decided is decided again, and is the same: the record may end between an epoch's row and
        what follows from it.
        """
        record, since, ending = self.record, self.record.stretches[-1].since, None
        if not self.wanted or not record.outcome.epochs:
            return None
        record.outcome.events = [event for event in record.outcome.events if event.step <= since]
        for row in record.outcome.epochs:
            done = int(row["step"])
            self._wait(row, done) if done > since else None
            ending = self._judged(row, None)
        return ending if record.outcome.epochs[-1]["step"] == record.outcome.steps else None

    def see(self, row: Row, done: int, state: dict[str, Array]) -> Ending:
        """Take in an epoch; the run's ending and its reason, if this is its end."""
        self._wait(row, done)
        return self._judged(row, state)

    def _wait(self, row: Row, done: int) -> None:
        """Lower the learning rate where the schedule has waited long enough."""
        if self.plateau is None or self.level is None:
            return
        if self.level.see(row):
            self._level_since = row["epoch"]
        elif row["epoch"] - self._level_since >= self.plateau.patience:
            self._level_since = row["epoch"]
            why = f"{self.level.metric} was no better for {self.plateau.patience} epochs"
            self.record.outcome.events.append(Event(done, self.plateau.factor, why))

    def _judged(self, row: Row, state: dict[str, Array] | None) -> Ending:
        if self.stop is None or self.best is None:
            return None
        if self.best.see(row) and self.stop.keep_best and state is not None:
            self._keep(int(row["step"]), state)
        if min(self.best.waited(row), row["epoch"] - self._since) < self.stop.patience:
            return None
        value, epoch = self.best.sign * self.best.value, int(self.best.epoch)
        best = f"the best, {value:.6g}, was that of epoch {epoch:,}" if epoch else "it never was a number"
        return (
            "stopped early",
            f"the {'' if self.stop.metric == 'cost' else 'validation '}{self.stop.metric} was no better for "
            f"{self.stop.patience} epochs: {best}",
        )

    def _keep(self, done: int, state: dict[str, Array]) -> None:
        """Make this state the run's result; the checkpoint of the one before is needed no more."""
        before, outcome = self.record.outcome.best_step, self.record.outcome
        self.record.keep(done, state)
        outcome.best_step = done
        if before is not None and not self.record.spacing.stays(before, done):
            self.record.checkpoints.pop(before, None)


def best_step(epochs: Iterable[Row], stop: Mapping[str, Any] | None) -> int | None:
    """The step whose state early stopping keeps, by the history of a run; None where it keeps none."""
    rule = EarlyStopping(**stop) if stop is not None else None
    if rule is None or not rule.keep_best:
        return None
    best, found = Best(rule.metric, rule.min_delta), None
    for row in epochs:
        found = int(row["step"]) if best.see(row) else found
    return found
