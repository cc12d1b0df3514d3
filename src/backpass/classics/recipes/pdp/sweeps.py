"""Small nets of 1986, trained for many presentations of every pattern, and when they had learned them.

The whole training is one epoch in a given order, so that a kernel runs it in one go: of a net with four
patterns, 5,000 presentations of each take milliseconds. The cost of a step is then the loss of one pattern as
it was met, before the weights changed.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backpass.classics.keeping import kept
from backpass.classics.measured import Ours, ours
from backpass.fit import train
from backpass.nn import Dense, Network
from backpass.nn.initialisers import Uniform
from backpass.run import Run
from backpass.training.optimisers import SGD, Optimiser

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """Patterns to learn.

    Attributes
    ----------
    x, t : ndarray, shape (n, inputs) and (n, outputs)
        Patterns and their targets.
    """

    x: Floats
    t: Floats

    @property
    def yes(self) -> NDArray[np.bool_]:
        """On which side of the middle each target is."""
        return self.t > 0.5


def words(bits: int) -> Floats:
    """All words of so many bits, in the order of counting, shape (2**bits, bits)."""
    return ((np.arange(2**bits)[:, None] >> np.arange(bits)[::-1]) & 1).astype(np.float64)


def soft(yes: Any) -> Floats:
    """Targets as the chapter has them: 0.9 for yes, 0.1 for no."""
    return np.where(np.asarray(yes, dtype=bool), 0.9, 0.1)


def unit_layer(units: int, start: float) -> Dense:
    """Logistic units whose weights and biases start uniformly on ±start."""
    rule = Uniform(-start, start)
    return Dense(units, "sigmoid", init=rule, bias_init=rule)


@dataclass(frozen=True)
class Trained:
    """A training, and how each pattern did.

    Attributes
    ----------
    run : Run
    task : Task
    losses : ndarray, shape (presentations, n)
        The loss of each pattern at each of its presentations; of whole sweeps their sum, shape
        (presentations, 1).
    """

    run: Run
    task: Task
    losses: Floats

    def met(self, loss: float) -> int | None:
        """The first presentation (from 1) at which every pattern had less than this loss."""
        found = np.flatnonzero(self.losses.max(axis=1) < loss)
        return int(found[0]) + 1 if len(found) else None

    @cached_property
    def outputs(self) -> Floats:
        """What the net gives for each pattern in the end."""
        return np.asarray(self.run.predict_raw(self.task.x), dtype=np.float64)

    @property
    def right(self) -> bool:
        """Every output of every pattern is on the side of its target in the end."""
        return bool(((self.outputs > 0.5) == self.task.yes).all())

    def activations(self, name: str) -> Floats:
        """A value of the net, such as ``a1``, for each pattern in the end."""
        from backpass.exec.reference import ReferenceFunction

        record = self.run.record
        graph = record.step
        node = next(n for n in graph.nodes if n.name == name)
        inputs: dict[str, Any] = {**record.result(), "x": self.task.x, "t": self.task.t}
        inputs |= {key: np.float64(value) for key, value in record.number_values.items()}
        return np.asarray(ReferenceFunction(graph).values(inputs)[node], dtype=np.float64)


def sweep(
    network: Network,
    task: Task,
    *,
    rate: float,
    momentum: float,
    presentations: int,
    seed: int,
    name: str,
    together: bool = False,
    shuffled: bool = True,
    optimiser: Optimiser | None = None,
    loss: Any = "squared_error",
    start: Run | None = None,
) -> Trained:
    """Train with so many presentations of every pattern.

    Parameters
    ----------
    network : Network
    task : Task
    rate, momentum : float
        Of eq. 16 of the chapter. For whole sweeps the gradients of the patterns are added, as there.
    presentations : int
    seed : int
        Of the weights to start from, and of the orders.
    name : str
        What the run is called where runs are kept.
    together : bool
        Weights change after a sweep over all patterns, and not after each pattern.
    shuffled : bool
        Each sweep has an order of its own.
    optimiser : Optimiser, optional
        Instead of SGD(rate, momentum).
    loss : str, Loss or callable
    start : Run, optional
        Whose weights to go on from.
    """
    n, rng = len(task.x), np.random.Generator(np.random.Philox(seed))
    order = np.tile(np.arange(n), presentations).reshape(presentations, n)
    if shuffled and not together:
        order = np.argsort(rng.random(order.shape), axis=1)
    folder = kept(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an output that is learned at once grows tenfold from almost nothing
        run = train(
            network,
            (task.x, task.t),
            task="regression",
            loss=loss,
            optimizer=optimiser or SGD(rate * n if together else rate, momentum),
            batch=n if together else 1,
            epochs=1,
            order=order.reshape(-1),
            seed=seed,
            start=start,
            dtype="f64",
            executor="compiled",
            out=folder,
            record_mb=16.0 if folder is not None else 0.0,
        )
    if together:
        return Trained(run, task, run.costs[:, None] * n)
    losses = np.empty((presentations, n))
    np.put_along_axis(losses, order, run.costs.reshape(presentations, n), axis=1)
    return Trained(run, task, losses)


def of_solved(counts: Sequence[int | None]) -> Ours:
    """The presentations of the runs that came to the end; NaN if none did."""
    found = [float(count) for count in counts if count is not None]
    return ours(*(found or [float("nan")]))


def median_told(counts: Sequence[int | None]) -> str:
    """Median, range and number of those that came to the end.

    Examples
    --------
    >>> median_told([3, None, 5, 10])
    '5 (3 to 10; 3 of 4 runs)'
    >>> median_told([None])
    'none of 1 runs'
    """
    found = [count for count in counts if count is not None]
    if not found:
        return f"none of {len(counts)} runs"
    middle, low, high = statistics.median(found), min(found), max(found)
    return f"{middle:,.0f} ({low:,} to {high:,}; {len(found)} of {len(counts)} runs)"
