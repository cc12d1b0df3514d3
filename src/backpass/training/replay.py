"""Replay: the same kernel over the same batches from the nearest checkpoint (promise P2)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from backpass.errors import GraphError, ReplayMismatch, UsageError
from backpass.exec.base import Array, Loop
from backpass.exec.reference import ReferenceFunction
from backpass.ir import Node
from backpass.training.loop import feeds_of
from backpass.training.record import Record

_STRETCH = 1000  # steps of one call


class Replay:
    """Any step of a run, in any order.

    Parameters
    ----------
    record : Record
    loop : Loop
        Of the same executor, sizes and data as the run's.
    data : mapping of str to array
        The training rows: what each has in `Rows` and in ``record.row_data``.
    """

    def __init__(self, record: Record, loop: Loop, data: Mapping[str, Array]) -> None:
        self.record, self.loop, self.data = record, loop, data
        self._at = -1  # completed steps that the loop's state stands for; -1 when unknown

    def state(self, done: int) -> dict[str, Array]:
        """The carried values after `done` completed steps, bit for bit as the run had them."""
        marks = self.record.checkpoints
        if done in marks:
            return {name: array.copy() for name, array in marks[done].items()}
        self._move(done)
        return self.record.state(self.loop)

    def run_step(self, step: int) -> dict[str, Array]:
        """Run one step (counted from 0) from the state before it; then `loop.peek` shows its values."""
        self._move(step)
        self.record.run(self.loop, step, step + 1)
        self._at = step + 1
        return self.record.state(self.loop)

    def verify(self) -> int:
        """Run the whole record again and compare at every checkpoint; the number of steps compared.

        Raises
        ------
        ReplayMismatch
            Names the first checkpoint and value that differ.
        """
        marks, machine = sorted(self.record.checkpoints), self.record.settings.machine
        self.record.load(self.loop, self.record.checkpoints[0])
        self._at = 0
        for before, mark in itertools.pairwise(marks):
            self._run_to(mark)  # never from a checkpoint but the first: a damaged one must show
            for name, array in self.record.state(self.loop).items():
                expected = self.record.checkpoints[mark][name]
                if array.tobytes() != expected.tobytes():
                    gap = float(np.max(np.abs(array.astype(np.float64) - expected.astype(np.float64))))
                    raise ReplayMismatch(
                        f"between steps {before:,} and {mark:,} the replay parts from the run: {name} "
                        f"differs by up to {gap:.3g}\n  The run used {machine.blas}, {machine.threads} "
                        f"thread(s), {machine.cpu}."
                    )
        return marks[-1]

    def _move(self, done: int) -> None:
        """Bring the loop to the state after `done` steps."""
        start = max(k for k in self.record.checkpoints if k <= done)
        if not start <= self._at <= done:
            self.record.load(self.loop, self.record.checkpoints[start])
            self._at = start
        self._run_to(done)

    def _run_to(self, done: int) -> None:
        """Run on from where the loop is."""
        while self._at < done:
            stop = min(done, self._at + _STRETCH)  # short enough for Ctrl-C
            result = self.record.run(self.loop, self._at, stop)
            if result.done != stop - self._at:
                raise ReplayMismatch(f"the replay stopped at step {self._at + result.done + 1}")
            self._at = stop


class Moment:
    """One step of a run, with every value of its forward, backward and update.

    The state before the step comes from replay, bit-equal to the run's. The values are the reference
    executor's, from that state; `actual` has what the run's kernel itself left behind, and `rounding` the
    difference of the two.

    Parameters
    ----------
    replay : Replay
    step : int
        Counted from 1.
    """

    def __init__(self, replay: Replay, step: int) -> None:
        done = replay.record.outcome.steps
        if isinstance(step, bool) or not isinstance(step, (int, np.integer)) or not 1 <= step <= done:
            raise UsageError(f"there is no step {step!r}: this run has steps 1 to {done:,}")
        self.replay, self.step = replay, int(step)
        self.graph = replay.record.step
        self.before = replay.state(self.step - 1)

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """The rows of the training data that made up the batch."""
        return self.replay.record.batches.span(self.step - 1, self.step)[0]

    @cached_property
    def feeds(self) -> dict[str, Array]:
        """Every input of the step."""
        return feeds_of(self.replay.record, self.replay.data, self.before, self.step - 1)

    @cached_property
    def values(self) -> dict[Node, Array]:
        """Every value of the step by node, from the reference executor."""
        return ReferenceFunction(self.graph).values(self.feeds)

    @cached_property
    def after(self) -> dict[str, Array]:
        """The carried values after the step, by the run's own kernel."""
        return self.replay.run_step(self.step - 1)

    def __getitem__(self, name: str) -> Array:
        """A value by its printed name, as the reference executor computes it."""
        return np.asarray(self.values[self.graph[name]])

    def keys(self) -> list[str]:
        """The names of all values, in program order."""
        return list(self.graph.named)

    def actual(self, name: str) -> Array:
        """A carried value after the step (``W1_new``), or before it (``W1``), exactly as the run had it."""
        if name in self.graph.carry:
            return self.after[self.graph.carry[name]]
        if name in self.before:
            return self.before[name]
        if name in self.replay.record.fixed:
            return self.replay.record.fixed[name]
        raise GraphError(f"the run carries {', '.join(self.before)}; it keeps no {name!r} of its own")

    def rounding(self, name: str) -> float:
        """The largest difference between the run's own value and the reference executor's."""
        return float(np.max(np.abs(self.actual(name).astype(np.float64) - self[name].astype(np.float64))))
