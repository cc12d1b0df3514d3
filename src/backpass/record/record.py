"""`Record`: what a run wrote down. A seed, a few checkpoints and scalars; the rest is computed again."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from backpass.errors import RecordError
from backpass.exec.base import Array, Chunk, Loop, Tap
from backpass.ir import Graph
from backpass.nn import Network
from backpass.record.checkpoints import Checkpoints, Spacing, State, digest
from backpass.record.forks import Stretch, stretches
from backpass.record.monitors import Monitors
from backpass.record.settings import Outcome, Settings
from backpass.training.ahead import StreamedLoop
from backpass.training.batches import Batches
from backpass.training.optimisers import Optimiser
from backpass.training.schedules import When


@dataclass(eq=False)
class Record:
    """The evidence of a run.

    Attributes
    ----------
    settings : Settings
    step : Graph
        The program of one step.
    batches : Batches
        Which rows each step used.
    predict_graph : Graph
        The program of prediction: its outputs are the prediction, first, and the loss of each example.
    checkpoints : mapping of int to dict of str to array
        The carried values after so many completed steps; 0 is the start. Those on the disk are read when they
        are asked for.
    hashes : dict of int to str
        The hash of the carried values after some steps (`checkpoints.digest`): of every checkpoint that there
        is, and of those that were dropped for want of room.
    costs : list of ndarray of float64
        The cost of each step, in blocks.
    monitors : Monitors
        What was seen of the layers at some steps.
    outcome : Outcome
    fixed : dict of str to array
        Inputs of the step that never change in the run: weights that are not trained.
    row_data : dict of str to array
        What each training row has besides ``x`` and ``t``: its weight ``w``, of mean 1.
    """

    settings: Settings
    step: Graph
    batches: Batches
    predict_graph: Graph
    checkpoints: MutableMapping[int, State] = field(default_factory=Checkpoints)
    hashes: dict[int, str] = field(default_factory=dict)
    costs: list[NDArray[np.float64]] = field(default_factory=list)
    monitors: Monitors = field(default_factory=Monitors)
    outcome: Outcome = field(default_factory=Outcome)
    fixed: dict[str, Array] = field(default_factory=dict)
    row_data: dict[str, Array] = field(default_factory=dict)

    @property
    def network(self) -> Network:
        return Network.from_description(self.settings.layers)

    @cached_property
    def optimiser(self) -> Optimiser:
        return Optimiser.from_description(self.settings.optimiser)

    @property
    def prediction(self) -> str:
        """The name of the prediction (``a2``)."""
        return next(iter(self.predict_graph.outputs))

    def all_costs(self) -> NDArray[np.float64]:
        """The cost of every completed step, in one array."""
        return np.concatenate(self.costs) if self.costs else np.zeros(0)

    # ---- states

    @cached_property
    def carried(self) -> tuple[str, ...]:
        """The names of what is carried from step to step: a state, and a checkpoint, hold these."""
        return tuple(self.step.carry.values())

    @property
    def spacing(self) -> Spacing:
        """Which steps have a checkpoint."""
        return Spacing(self.settings.spacing, self.settings.kept)

    def keep(self, done: int, state: State) -> None:
        """Make the carried values after `done` steps a checkpoint."""
        self.checkpoints[done] = state
        self.hashes[done] = digest(state)

    def thin(self, done: int) -> None:
        """Drop the checkpoints that are not to stay after `done` steps; the best state stays."""
        spacing, best = self.spacing, self.outcome.best_step
        for mark in list(self.checkpoints):
            if mark not in (best, done) and not spacing.stays(mark, done):
                del self.checkpoints[mark]

    def has(self, mark: int) -> bool:
        """Whether there is a checkpoint after so many steps, and it can be read."""
        try:
            return mark in self.checkpoints and bool(self.checkpoints[mark])
        except RecordError:
            del self.checkpoints[mark]
            return False

    def before(self, done: int) -> tuple[int, State]:
        """The nearest checkpoint that is not after `done` steps, and its step.

        One that turns out to be torn is left out from then on, and the one before it is taken.
        """
        for mark in sorted((k for k in self.checkpoints if k <= done), reverse=True):
            try:
                return mark, self.checkpoints[mark]
            except RecordError as error:
                if mark == 0:
                    raise
                del self.checkpoints[mark]
                if mark < self.outcome.steps:  # else the run ends before it, which is said
                    self.outcome.notes.append(f"{error}; steps after it are computed from the one before it")
        raise RecordError("the record has no checkpoint of its start")

    def last(self) -> dict[str, Array]:
        """The carried values at the last checkpoint."""
        return self.checkpoints[max(self.checkpoints)]

    def result(self) -> dict[str, Array]:
        """What the run ends with, the inputs that never change included: the best state, or the last."""
        return self.checkpoints[self.result_step] | self.fixed

    @property
    def result_step(self) -> int:
        """After how many steps the run had the values that it ends with."""
        best = self.outcome.best_step
        return best if best is not None and best in self.checkpoints else max(self.checkpoints)

    def load(self, loop: Loop, carry: Mapping[str, Array]) -> None:
        """Bring a loop of the step to a state."""
        loop.load({**carry, **self.fixed})

    def state(self, loop: Loop) -> dict[str, Array]:
        """The state that a loop of the step is in."""
        found = loop.state()
        return {name: found[name] for name in self.carried}

    def run(self, loop: Loop, start: int, stop: int, taps: Sequence[Tap] = ()) -> Chunk:
        """Have a loop of the step run the steps ``start <= s < stop`` (counted from 0); see `Loop.run`."""
        numbers = self.numbers(start, stop)
        if isinstance(loop, StreamedLoop):
            return loop.steps(self.batches, start, stop, numbers, taps)
        return loop.run(*self.batches.span(start, stop), numbers, taps)

    # ---- numbers

    @cached_property
    def stretches(self) -> list[Stretch]:
        """What holds from which step to which: one, but for a run that left another's way."""
        return stretches(self.settings)

    @property
    def number_values(self) -> dict[str, float]:
        """The value of each number of the program, of a schedule the one it starts from."""
        return {name: self.stretches[-1].number(name) for name in self.step.inputs_of_kind("number")}

    def numbers(self, start: int, stop: int) -> NDArray[np.float64]:
        """The value of each number input at the steps ``start <= s < stop`` (counted from 0).

        A pure function of the settings and of the events in the outcome.
        """
        found = []
        for held in self.stretches:
            first, last = max(start, held.first), stop if held.last is None else min(stop, held.last)
            if first < last:
                found.append(self._numbers(held, first, last))
        names = self.step.inputs_of_kind("number")
        return np.concatenate(found) if found else np.zeros((0, len(names)))

    def _numbers(self, held: Stretch, start: int, stop: int) -> NDArray[np.float64]:
        """The same where one plan holds."""
        events = tuple((event.step, event.factor) for event in self.outcome.events if event.step > held.since)
        steps = self.batches.steps if held.steps is None else held.steps
        when = When(np.arange(start, stop), self.batches.epochs_of(start, stop), steps, events)
        known = held.optimiser.values(when)
        names = self.step.inputs_of_kind("number")
        columns = [known[n] if n in known else np.full(stop - start, held.number(n)) for n in names]
        return np.stack(columns, axis=1) if columns else np.zeros((stop - start, 0))
