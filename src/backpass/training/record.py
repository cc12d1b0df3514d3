"""`Record`: what a run wrote down. A seed, a few checkpoints and scalars; the rest is computed again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from backpass.exec.base import Array, Chunk, Loop
from backpass.ir import Graph
from backpass.nn import Network
from backpass.passes import work
from backpass.training.ahead import StreamedLoop
from backpass.training.batches import Batches
from backpass.training.optimisers import Optimiser
from backpass.training.schedules import When
from backpass.training.settings import Outcome, Settings

#: A visit runs at most about this long from the nearest checkpoint, by counted work.
_VISIT_SECONDS = 0.1
#: Bytes of checkpoints that a run may keep.
_CHECKPOINT_BUDGET = 200_000_000


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
    checkpoints : dict of int to dict of str to array
        The carried values after so many completed steps; 0 is the start.
    costs : list of ndarray of float64
        The cost of each step, in blocks.
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
    checkpoints: dict[int, dict[str, Array]] = field(default_factory=dict)
    costs: list[NDArray[np.float64]] = field(default_factory=list)
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

    def last(self) -> dict[str, Array]:
        """The carried values at the last checkpoint."""
        return self.checkpoints[max(self.checkpoints)]

    def result(self) -> dict[str, Array]:
        """What the run ends with, the inputs that never change included: the best state, or the last."""
        best = self.outcome.best_step
        return (self.checkpoints[best] if best in self.checkpoints else self.last()) | self.fixed

    def load(self, loop: Loop, carry: Mapping[str, Array]) -> None:
        """Bring a loop of the step to a state."""
        loop.load({**carry, **self.fixed})

    def state(self, loop: Loop) -> dict[str, Array]:
        """The state that a loop of the step is in."""
        found = loop.state()
        return {name: found[name] for name in self.carried}

    def run(self, loop: Loop, start: int, stop: int) -> Chunk:
        """Have a loop of the step run the steps ``start <= s < stop`` (counted from 0)."""
        numbers = self.numbers(start, stop)
        if isinstance(loop, StreamedLoop):
            return loop.steps(self.batches, start, stop, numbers)
        return loop.run(*self.batches.span(start, stop), numbers)

    # ---- numbers

    @property
    def number_values(self) -> dict[str, float]:
        """The value of each number of the program, of a schedule the one it starts from."""
        penalties = {"l1": self.settings.l1, "l2": self.settings.l2}
        known = self.optimiser.numbers | penalties
        return {name: known[name] for name in self.step.inputs_of_kind("number")}

    def numbers(self, start: int, stop: int) -> NDArray[np.float64]:
        """The value of each number input at the steps ``start <= s < stop`` (counted from 0).

        A pure function of the settings and of the events in the outcome.
        """
        events = tuple((event.step, event.factor) for event in self.outcome.events)
        epochs = self.batches.epochs_of(start, stop)
        when = When(np.arange(start, stop), epochs, self.batches.steps, events)
        known = self.optimiser.values(when)
        for name, value in (("l1", self.settings.l1), ("l2", self.settings.l2)):
            known[name] = np.full(stop - start, value)
        columns = [known[name] for name in self.step.inputs_of_kind("number")]
        return np.stack(columns, axis=1) if columns else np.zeros((stop - start, 0))


def checkpoint_spacing(step: Graph, batch: int, steps: int) -> int:
    """Steps between checkpoints: near enough that any visit is quick, few enough to fit the budget.

    A pure function of the program and its sizes, at a speed that most machines reach.
    """
    counted = work(step, {"B": batch})
    seconds = counted.flops / 10e9 + counted.traffic / 20e9 + 1e-6 * len(step.nodes)
    near = max(1, int(_VISIT_SECONDS / seconds))
    carried = sum(step.inputs[name].array_type.nbytes for name in step.carry.values())
    most = max(2, _CHECKPOINT_BUDGET // max(carried, 1) - 1)
    return max(near, -(-steps // most), 1)
