"""Replay: the same kernel over the same batches from the nearest checkpoint (promise P2)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from backpass.errors import GraphError, ReplayMismatch, UsageError
from backpass.exec.base import Array, Chunk, Loop, Tap
from backpass.exec.reference import ReferenceFunction
from backpass.ir import Node
from backpass.record.checkpoints import State, digest
from backpass.record.looking import feeds_of
from backpass.record.record import Record

_STRETCH = 1000  # steps of one call at the most
_STRETCH_SECONDS = 0.2  # of one call, so that Ctrl-C and progress come in time
_LONG = 2.0  # seconds; a wait that is longer is announced
_IN_MEMORY = 64_000_000  # bytes of states that were passed on the way


@dataclass(frozen=True)
class Wait:
    """How far a long way through the steps has come.

    Attributes
    ----------
    done, steps : int
        Of the way.
    seconds : float
        That all of it takes, about, at the run's own speed.
    """

    done: int
    steps: int
    seconds: float


class Replay:
    """Any step of a run, in any order.

    Parameters
    ----------
    record : Record
    loop : Loop
        Of the same executor, sizes and data as the run's.
    data : mapping of str to array
        The training rows: what each has in `Rows` and in ``record.row_data``.

    Attributes
    ----------
    told : callable or None
        Called with a `Wait` when a way that takes more than about two seconds begins, and several times a
        second until it ends. What it raises ends the way; the next one begins where it must.
    """

    def __init__(self, record: Record, loop: Loop, data: Mapping[str, Array]) -> None:
        self.record, self.loop, self.data = record, loop, data
        self.told: Callable[[Wait], None] | None = None
        self._at = -1  # completed steps that the loop's state stands for; -1 when unknown
        self._passed: dict[int, State] = {}  # states that were computed on the way, the oldest first

    def state(self, done: int) -> dict[str, Array]:
        """The carried values after `done` completed steps, bit for bit as the run had them."""
        at_hand = self._passed.get(done)
        if at_hand is None and self.record.has(done):
            at_hand = self.record.checkpoints[done]
        if at_hand is not None:
            return {name: array.copy() for name, array in at_hand.items()}
        self._move(done)
        return self.record.state(self.loop)

    def run_step(self, step: int) -> dict[str, Array]:
        """Run one step (counted from 0) from the state before it; then `loop.peek` shows its values."""
        self._move(step)
        self._run(step, step + 1)
        return self.record.state(self.loop)

    def tapped(self, start: int, stop: int, taps: Sequence[Tap]) -> Chunk:
        """Run the steps ``start <= s < stop`` (counted from 0), and keep a few numbers of each; see `Tap`."""
        self._move(start)
        return self._run(start, stop, taps)

    def states(self, start: int, stop: int) -> Iterator[dict[str, Array]]:
        """The carried values after `start` completed steps, after one more, ..., and after `stop`."""
        yield self.state(start)
        for done in range(start, stop):
            yield self.run_step(done)

    def estimate(self, step: int) -> float:
        """How many seconds it takes to visit a step (counted from 1), about, at the run's own speed."""
        start = self._start(step - 1)
        if start <= self._at < step:
            start = self._at
        return (step - 1 - start) * self._seconds

    @property
    def _seconds(self) -> float:
        """Of a step, as the run itself took them; for display, and for how long a call may be."""
        outcome = self.record.outcome
        return outcome.seconds / outcome.steps if outcome.steps else 0.0

    def verify(self) -> int:
        """Run the whole record again and compare wherever it can be; the number of steps compared.

        That is at every checkpoint, and at every step whose hash was kept, though its checkpoint is gone.

        Raises
        ------
        ReplayMismatch
            Names the first step of these, and the value if its checkpoint is there, where they differ.
        """
        record = self.record
        marks = sorted(record.checkpoints.keys() | record.hashes.keys())
        record.load(self.loop, record.checkpoints[0])
        self._at = 0
        last, wait = marks[-1], self._wait(0, marks[-1])
        for before, mark in itertools.pairwise(marks):
            self._run_to(mark, wait)  # never from a checkpoint but the first: a damaged one must show
            self._compare(before, mark)
        return last

    def _compare(self, before: int, mark: int) -> None:
        """Refuse a state that is not the run's."""
        record, machine = self.record, self.record.settings.machine
        state, what, tensor = record.state(self.loop), "", ""
        for name, expected in (record.checkpoints[mark] if record.has(mark) else {}).items():
            if not what and state[name].tobytes() != expected.tobytes():
                gap = float(np.max(np.abs(state[name].astype(np.float64) - expected.astype(np.float64))))
                what, tensor = f"{name} differs by up to {gap:.3g}", name
        known = record.hashes.get(mark)
        if not what and known is not None and digest(state) != known:
            what = f"the carried values after step {mark:,} do not have the hash that the run wrote down"
        if what:
            raise ReplayMismatch(
                f"between steps {before:,} and {mark:,} the replay parts from the run: {what}\n"
                f"  The run used {machine.blas}, {machine.threads} thread(s), {machine.cpu}.",
                before=before,
                mark=mark,
                tensor=tensor,
            )

    def _move(self, done: int) -> None:
        """Bring the loop to the state after `done` steps."""
        while not self._start(done) <= self._at <= done:
            start = self._start(done)
            state = self._passed.get(start) or self.record.before(start)[1]
            if start == self._start(done):  # else that checkpoint is torn, and is left out now
                self.record.load(self.loop, state)
                self._at = start
        long = (done - self._at) * self._seconds > _STRETCH_SECONDS / 2
        self._run_to(done, self._wait(self._at, done), keep=long)

    def _start(self, done: int) -> int:
        """The last step not after `done` whose state is at hand: a checkpoint, or one passed before."""
        return max(k for k in itertools.chain(self.record.checkpoints, self._passed) if k <= done)

    def _wait(self, start: int, stop: int) -> Callable[[int], None]:
        """What is to be called with the step that a way has come to."""
        seconds = (stop - start) * self._seconds
        if self.told is None or seconds <= _LONG:
            return lambda at: None
        told = self.told
        return lambda at: told(Wait(at - start, stop - start, seconds))

    def _run_to(self, done: int, came: Callable[[int], None], keep: bool = False) -> None:
        """Run on from where the loop is; if `keep`, the states on the way are remembered for a while."""
        stretch = _STRETCH
        if self._seconds > 0:
            stretch = max(1, min(stretch, int(_STRETCH_SECONDS / self._seconds)))
        came(self._at)
        while self._at < done:
            self._run(self._at, min(done, self._at + stretch))
            if keep:
                self._remember(self._at)
            came(self._at)

    def _remember(self, done: int) -> None:
        """Keep the state that the loop is in for the next visits near here."""
        self._passed[done] = self.record.state(self.loop)
        sizes = sum(array.nbytes for array in self._passed[done].values())
        while len(self._passed) > max(1, _IN_MEMORY // max(sizes, 1)):
            del self._passed[next(iter(self._passed))]

    def _run(self, start: int, stop: int, taps: Sequence[Tap] = ()) -> Chunk:
        """Run steps from the loop's state, which is unknown until they are done."""
        self._at = -1
        result = self.record.run(self.loop, start, stop, taps)
        if result.done != stop - start:
            raise ReplayMismatch(f"the replay stopped at step {start + result.done + 1}")
        self._at = stop
        return result


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
