"""Looking at a run while it goes: when, and at what state; `monitors` has what is seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from backpass.data import mapped
from backpass.exec.base import Array, Loop
from backpass.record.checkpoints import step_seconds
from backpass.record.monitors import Cadence, Inspection
from backpass.record.record import Record

if TYPE_CHECKING:
    from backpass.record.replay import Replay


def feeds_of(
    record: Record, data: Mapping[str, Array], carry: Mapping[str, Array], step: int
) -> dict[str, Array]:
    """The inputs of one step (counted from 0), given the carried values before it."""
    order, _ = record.batches.span(step, step + 1)
    numbers = record.numbers(step, step + 1)[0]
    feeds: dict[str, Array] = {name: mapped.take(array, order) for name, array in data.items()}
    for (name, node), value in zip(record.step.inputs_of_kind("number").items(), numbers, strict=True):
        feeds[name] = np.asarray(value, dtype=node.array_type.numpy_dtype)
    return feeds | dict(carry) | record.fixed


class Looks:
    """Fills ``record.monitors`` at the cadence that the run can afford: a pure function of counted work.

    Parameters
    ----------
    record : Record
    data : mapping of str to array
    """

    def __init__(self, record: Record, data: Mapping[str, Array]) -> None:
        self.record, self.data = record, data
        settings, steps, batch = record.settings, record.batches.steps, record.batches.batch
        self._cadence = Cadence(0, steps)
        if settings.record_mb:
            self._inspection = Inspection(record.step)
            run = steps * step_seconds(record.step, batch, settings.executor)
            self._cadence = Cadence.of(run, self._inspection.seconds(batch), steps)
        self._plan()

    def _plan(self) -> None:
        step = self._cadence.after(self.record.monitors.last)
        self.next = None if step is None else step - 1  #: completed steps at which there is a look

    def go_on(self) -> None:
        """Forget a look at the end of a run that was to end and goes on now: it would not have been."""
        seen, forks = self.record.monitors, self.record.settings.branches
        own = seen.last > max((fork.step for fork in forks), default=0)
        if own and self._cadence.after(seen.last - 1) != seen.last:
            self.record.monitors = seen.until(seen.last - 1)
            self._plan()

    def fill(self, replay: Replay, done: int) -> None:
        """Look again at steps up to this one whose looks are lost."""
        while self.next is not None and self.next < done:
            self._look(self.next, replay.state(self.next))

    def at(self, done: int, state: Mapping[str, Array]) -> None:
        """Look, if it is time, at the step that comes after `done` completed ones."""
        if self.next is not None and done >= self.next:
            self._look(done, state)

    def _look(self, done: int, state: Mapping[str, Array]) -> None:
        seen = self._inspection.look(feeds_of(self.record, self.data, state, done))
        self.record.monitors.add(done + 1, seen)
        self._plan()

    def end(self, loop: Loop, first: int, state: Mapping[str, Array], done: int) -> None:
        """Look near the end of a run that ends before its last step.

        Parameters
        ----------
        loop : Loop
        first : int
            Completed steps before the last chunk.
        state : mapping of str to array
            The carried values then.
        done : int
            Completed steps.
        """
        record = self.record
        if self.next is None or done < 1:
            return
        if record.monitors.last < done - 1 > first:  # not where the last chunk began, which the clock decides
            record.load(loop, state)
            record.run(loop, first, done - 1)
            first, state = done - 1, record.state(loop)
        if record.monitors.last <= first < done:
            self._look(first, state)
