"""The loss on one input along a whole run: what each training example moved it by, step by step.

To first order step k moves the loss ℓ_z by ∇ℓ_z·ΔW_k, and ΔW_k is a sum over the examples of a batch, of this
step and, through what the optimiser carries, of earlier ones (TracIn [1]_, here at every step and with the
optimiser as it was). The gradient is the mean of that before and that after the step, as the trapezoid rule
has it; that leaves out only what is of third order in a step (loss change allocation [2]_).

An example of step k acts in step k and, through the velocity, in all that follow: what a gradient of step k
is multiplied by in all later updates is read off the update, backwards from the last step. So the run is
gone through from its end, a stretch at a time, from states that the run's own kernel makes again.

References
----------
.. [1] Pruthi, Liu, Kale & Sundararajan, Estimating training data influence by tracing gradient descent,
   NeurIPS 2020.
.. [2] Lan, Liu, Zhou & Yosinski, LCA: Loss change allocation for neural network training, NeurIPS 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from backpass.data import mapped
from backpass.errors import ShapeError, UsageError
from backpass.exec.base import Array
from backpass.explain.tracing.backwards import slots_of, step_backwards
from backpass.explain.tracing.inspection import SEED, Inspection, loss_gradient
from backpass.explain.updates.shares import check_uncoupled
from backpass.record.record import Record
from backpass.record.replay import Replay

Progress: TypeAlias = Callable[[int, int], None]
State: TypeAlias = dict[str, Array]

_STRETCH, _STRETCH_BYTES = 1000, 128_000_000  # states that are held at a time


@dataclass
class Traced:
    r"""What moved the loss on an input from the start of a run to its result.

    Attributes
    ----------
    influence : ndarray of float64, shape (n,)
        What each training row moved it by, over all its steps; negative where it lowered the loss.
    losses : ndarray of float64, shape (steps + 1,)
        The loss before the first step, and after each.
    parts : dict of str to float
        What else moved it to first order: penalties, decay, clipping, and what was carried into the run.
    moved : float
        Σ ∇ℓ_z·ΔW over the steps, from the weights as they really moved: what the rows and the parts add up
        to.
    bound : float
        The most that rounding can make of the difference: 16 ε of Σ \|part\|, and 8 standard deviations of
        what rounding each weight at each step does, were these roundings independent. [1]_

    References
    ----------
    .. [1] Higham & Mary, A new approach to probabilistic rounding error analysis, SIAM J. Sci. Comput. 41
       (2019).
    """

    influence: NDArray[np.float64]
    losses: NDArray[np.float64]
    parts: dict[str, float] = field(default_factory=dict)
    moved: float = 0.0
    bound: float = 0.0

    @property
    def change(self) -> float:
        """What the loss changed by."""
        return float(self.losses[-1] - self.losses[0])

    @property
    def rounding(self) -> float:
        """What rows and parts leave over of the moves to first order."""
        return self.moved - math.fsum([*self.influence.tolist(), *self.parts.values()])

    @property
    def curvature(self) -> float:
        """What the moves to first order, rounding apart, leave over of the change."""
        return self.change - self.moved

    def add(self, part: str, value: float) -> None:
        """Add to a part."""
        self.parts[part] = self.parts.get(part, 0.0) + value


def follow(replay: Replay, x: Array, t: Array, *, progress: Progress | None = None) -> Traced:
    """Follow the mean loss on given rows through a run.

    Parameters
    ----------
    replay : Replay
    x : ndarray, shape (m, features)
        Prepared rows, as they enter the network.
    t : ndarray, shape (m, outputs)
        Their targets.
    progress : callable, optional
        Called with the steps done, and all of them.

    Returns
    -------
    Traced

    Raises
    ------
    UsageError
        An example has no share of its own: the batch is coupled (batch normalisation), or the optimiser's
        update is no sum of parts. Or the run went where its numbers overflow.
    """
    with np.errstate(all="ignore"):
        found = _Sweep(replay, x, t).run(progress)
    if not math.isfinite(found.rounding + found.bound):
        large = int(np.argmax(np.abs(found.losses)))
        raise UsageError(
            f"the loss on the input grows to {found.losses[large]:.3g} by step {large:,}, and its gradient "
            "to more than the numbers of this run can hold, so what moved it cannot be told.\n  Ask flow, or "
            "why, of an earlier step; or branch the run with a smaller learning rate and ask there."
        )
    return found


class Given:
    """The rows of each step of a stretch, and the step's inputs but for what is carried.

    Parameters
    ----------
    replay : Replay
    start, stop : int
        The steps ``start <= s < stop``, counted from 0.
    """

    def __init__(self, replay: Replay, start: int, stop: int) -> None:
        record, self._replay, self._start = replay.record, replay, start
        self._order, self._ends = record.batches.span(start, stop)
        self._numbers = record.numbers(start, stop)
        self._kinds = {
            name: node.array_type.numpy_dtype for name, node in record.step.inputs_of_kind("number").items()
        }

    def __getitem__(self, step: int) -> tuple[NDArray[np.int64], State]:
        k = step - self._start
        rows = self._order[self._ends[k] : self._ends[k + 1]]
        feeds = {name: mapped.take(array, rows) for name, array in self._replay.data.items()}
        for (name, kind), value in zip(self._kinds.items(), self._numbers[k], strict=True):
            feeds[name] = np.asarray(value, kind)
        return rows, feeds | self._replay.record.fixed


class _Sweep:
    """One pass over a run, from its end to its start."""

    def __init__(self, replay: Replay, x: Array, t: Array) -> None:
        self.replay, self.record = replay, replay.record
        step = self.record.step
        check_uncoupled(step)
        self.inputs = checked_rows(self.record, x, t)
        self.steps = self.record.result_step
        self.parameters = step.inputs_of_kind("parameter")
        self.back = Inspection(step_backwards(step), self.record.batches.batch, self.steps)
        program = loss_gradient(self.record.predict_graph, self.parameters)
        self.gradient = Inspection(program, len(x), self.steps)
        self.kind = step["loss"].array_type.numpy_dtype
        start = self.record.checkpoints[0]
        #: what is felt of each velocity after the step that is looked at
        self.felt = {name: np.zeros_like(start[name]) for name in slots_of(step)}
        #: Σ (∇ℓ·W)² over all weights and steps: each stored weight is rounded, by itself, at each step
        self.stored = 0.0
        self.eps = max(float(np.finfo(start[name].dtype).eps) for name in self.parameters)

    def run(self, progress: Progress | None) -> Traced:
        """Everything, a stretch of steps at a time."""
        start_values = self.record.checkpoints[0]
        size = sum(a.nbytes for a in start_values.values())
        stretch = min(_STRETCH, max(1, _STRETCH_BYTES // size))
        losses = np.zeros(self.steps + 1)
        found = Traced(np.zeros(self.record.batches.rows), losses)
        later: State = {}
        for stop in range(self.steps, 0, -stretch):
            start = max(0, stop - stretch)
            held = list(self.replay.states(start, stop))
            given = Given(self.replay, start, stop)
            if not later:
                losses[stop], later = self._gradient(held[-1])
            for k in reversed(range(stop - start)):
                before, after = held[k], held.pop()
                losses[start + k], earlier = self._gradient(before)
                mean = {name: (earlier[name] + later[name]) / 2 for name in self.parameters}
                self._step(found, *given[start + k], before, after, mean)
                later = earlier
            if progress is not None:
                progress(self.steps - start, self.steps)
        found.bound += 8 * self.eps * math.sqrt(self.stored)
        for slot, felt in self.felt.items():
            if start_values[slot].any():
                found.add("carried into the run", _dot(felt, start_values[slot]))
        return found

    def _gradient(self, state: State) -> tuple[float, State]:
        """The loss in a state, and its gradient: zero where the prediction does not use a parameter."""
        out = self.gradient(state | self.record.fixed | self.inputs)
        found = {k: out[f"d{k}"] if f"d{k}" in out else np.zeros_like(state[k]) for k in self.parameters}
        return float(out["mean_loss"]), found

    def _step(
        self,
        found: Traced,
        rows: NDArray[np.int64],
        given: State,
        before: State,
        after: State,
        gradient: State,
    ) -> None:
        """Add what one step did, and what is felt of the velocities before it."""
        for name in self.parameters:
            moved = after[name].astype(np.float64) - before[name]
            found.moved += _dot(gradient[name], moved)
            self.stored += _dot(np.square(gradient[name]), np.square(after[name]))
        given = given | before
        given |= {f"after_{name}": array for name, array in after.items()}
        given |= {f"felt_{name}": array for name, array in (gradient | self.felt).items()}
        out = self.back(given | {SEED: np.ones(len(rows), self.kind)})
        self.felt = {name: out[f"before_{name}"] for name in self.felt}
        shares = out["shares"].astype(np.float64)
        np.add.at(found.influence, rows, shares)
        gross = float(np.sum(np.abs(shares))) + float(out.get("gross", 0.0))
        for part in ("penalty", "decay", "clipping"):
            if f"by_{part}" in out:
                found.add(part, float(out[f"by_{part}"]))
                gross += abs(float(out[f"by_{part}"]))
        found.bound += 16 * self.eps * gross


def _dot(a: Array, b: Array) -> float:
    return float(np.sum(np.multiply(a, b, dtype=np.float64)))


def checked_rows(record: Record, x: Array, t: Array) -> dict[str, Array]:
    """Rows and targets of the network's types; an error where they are of another shape."""
    inputs = record.predict_graph.inputs
    found = {}
    for name, given in (("x", x), ("t", t)):
        type_ = inputs[name].array_type
        array = np.asarray(given, type_.numpy_dtype)
        if array.ndim != 2 or not len(array) or array.shape[1:] != tuple(map(int, type_.shape[1:])):
            raise ShapeError(
                f"{name} must be rows as they enter the network, {type_}, at least one; got the shape "
                f"{array.shape}"
            )
        found[name] = array
    if len(found["x"]) != len(found["t"]):
        raise ShapeError(f"there are {len(found['x'])} rows and {len(found['t'])} targets")
    return found
