"""Gradient descent on rows in memory, a pass over the rows at a time: what the lessons train with."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import numpy as np

from backpass.errors import NotLowered
from backpass.exec.base import Array, Loop
from backpass.exec.choose import executor_named, obstacle_to_compiling
from backpass.ir import Graph
from backpass.nn import Network
from backpass.training.batches import Batches
from backpass.training.optimisers import SGD
from backpass.training.step import step_graph


def loop_of(step: Graph, rows: Mapping[str, Array], batch: int) -> Loop:
    """A loop of a step over rows: native code where it can be, else NumPy."""
    if obstacle_to_compiling() is None:
        try:
            return executor_named("compiled").compile_loop(step, rows, batch)
        except NotLowered:
            pass
    return executor_named("reference").compile_loop(step, rows, batch)


class Descent:
    """A net that learns rows by gradient descent.

    Parameters
    ----------
    network : Network
    loss : str
    x, t : ndarray, shape (rows, inputs) and (rows, outputs), f64
    batch : int
        Rows of a step.
    rate : float
    passes : int
        Over the rows.
    seed : int
        Of the start and of the order of the rows.
    l2 : float
        ½ l2 ΣW² is added to the cost.

    Attributes
    ----------
    seconds : float
        What the steps have taken so far.
    """

    def __init__(
        self,
        network: Network,
        loss: str,
        x: Array,
        t: Array,
        *,
        batch: int,
        rate: float,
        passes: int,
        seed: int = 0,
        l2: float = 0.0,
    ) -> None:
        step = step_graph(network, loss, SGD(rate), x.shape[1], "f64", l2=l2)
        self._batches = Batches(len(x), min(batch, len(x)), passes, seed)
        self._numbers = [{"lr": rate, "l2": l2}[name] for name in step.inputs_of_kind("number")]
        self._loop = loop_of(step, {"x": x, "t": t}, self._batches.batch)
        self._loop.load(network.initial(x.shape[1], seed, "f64"))
        self.passes, self.seconds = passes, 0.0

    def weights(self) -> dict[str, Array]:
        """The weights now, a copy."""
        return self._loop.state()

    def run(self) -> Iterator[dict[str, Array]]:
        """The weights after each pass, and before the first; they end early where the cost is not finite."""
        yield self.weights()
        for epoch in range(self.passes):
            first, last = (self._batches.first_step(e) for e in (epoch, epoch + 1))
            order, starts = self._batches.span(first, last)
            numbers, began = np.tile(self._numbers, (last - first, 1)), time.perf_counter()
            found = self._loop.run(order, starts, numbers)
            self.seconds += time.perf_counter() - began
            if found.done < last - first:
                return
            yield self.weights()
