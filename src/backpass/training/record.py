"""`Record`: what a run wrote down. A seed, a few checkpoints and scalars; the rest is computed again."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from backpass.exec.base import Array
from backpass.ir import Graph
from backpass.nn import Network
from backpass.passes import work
from backpass.training.batches import Batches
from backpass.training.optimisers import SGD
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
    checkpoints : dict of int to dict of str to array
        The carried values after so many completed steps; 0 is the start.
    costs : list of ndarray of float64
        The cost of each step, in blocks.
    outcome : Outcome
    """

    settings: Settings
    step: Graph
    batches: Batches
    checkpoints: dict[int, dict[str, Array]] = field(default_factory=dict)
    costs: list[NDArray[np.float64]] = field(default_factory=list)
    outcome: Outcome = field(default_factory=Outcome)

    @property
    def network(self) -> Network:
        return Network.from_description(self.settings.layers)

    @property
    def optimiser(self) -> SGD:
        return SGD.from_description(self.settings.optimiser)

    def all_costs(self) -> NDArray[np.float64]:
        """The cost of every completed step, in one array."""
        return np.concatenate(self.costs) if self.costs else np.zeros(0)

    def last(self) -> dict[str, Array]:
        """The carried values at the last checkpoint."""
        return self.checkpoints[max(self.checkpoints)]

    def numbers(self, start: int, stop: int) -> NDArray[np.float64]:
        """The value of each number input at the steps ``start <= s < stop`` (counted from 0)."""
        values = self.optimiser.numbers
        row = [values[name] for name in self.step.inputs_of_kind("number")]
        return np.tile(np.array(row, dtype=np.float64), (stop - start, 1))


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
