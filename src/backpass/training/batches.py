"""Which rows each step uses: a pure function of the plan, so any batch can be rebuilt alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from backpass.data.split import Order, batch_starts, epoch_order

Indices = NDArray[np.int64]

#: Orders of epochs that are kept.
_KEPT_BYTES = 64_000_000


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of a run.

    Parameters
    ----------
    rows : int
        How many training rows there are.
    batch : int
        Rows of a step; the last batch of an epoch may be shorter.
    epochs, seed : int
    order : None, "sequential", array or callable
        See `backpass.data.epoch_order`.
    """

    rows: int
    batch: int
    epochs: int
    seed: int
    order: Order = None

    @cached_property
    def _each(self) -> int:
        """Steps of an epoch, where all epochs have the same number; else 0."""
        same = self.order is None or isinstance(self.order, str)
        return len(batch_starts(self.rows, self.batch)) - 1 if same else 0

    @cached_property
    def _first(self) -> Indices:
        """For a given order: the first step of each epoch, and at the end the number of steps."""
        sizes = [len(batch_starts(len(self.epoch(e)), self.batch)) - 1 for e in range(self.epochs)]
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    @property
    def steps(self) -> int:
        return self.first_step(self.epochs)

    def first_step(self, epoch: int) -> int:
        """The first step of an epoch, both counted from 0."""
        return epoch * self._each if self._each else int(self._first[epoch])

    def epoch_of(self, step: int) -> int:
        """The epoch (counted from 0) that a step (counted from 0) belongs to."""
        if self._each:
            return step // self._each
        return int(np.searchsorted(self._first, step, side="right") - 1)

    def epochs_of(self, start: int, stop: int) -> Indices:
        """The epoch of each of the steps ``start <= s < stop``, both counted from 0."""
        steps = np.arange(start, stop, dtype=np.int64)
        if self._each:
            return steps // self._each
        return np.searchsorted(self._first, steps, side="right").astype(np.int64) - 1

    def epoch(self, epoch: int) -> Indices:
        """The rows of an epoch in the order of use."""
        cached: dict[int, Indices] = self.__dict__.setdefault("_orders", {})
        if epoch not in cached:
            # Replay goes back and forth between a few epochs; of many rows the next one must do.
            while len(cached) > min(8, _KEPT_BYTES // (8 * self.rows)):
                cached.pop(next(iter(cached)))
            cached[epoch] = self._made(epoch)
        return cached[epoch]

    def _made(self, epoch: int) -> Indices:
        return epoch_order(self.rows, self.seed, epoch, self.order)

    def span(self, start: int, stop: int) -> tuple[Indices, Indices]:
        """The rows of the steps ``start <= s < stop`` (counted from 0), one after another.

        Returns
        -------
        order, starts : ndarray of int64
            Step ``start + i`` uses ``order[starts[i]:starts[i + 1]]``.
        """
        orders, starts, used = [], [np.zeros(1, dtype=np.int64)], 0
        while start < stop:
            epoch = self.epoch_of(start)
            first, last = self.first_step(epoch), min(stop, self.first_step(epoch + 1))
            rows = self.epoch(epoch)
            cuts = batch_starts(len(rows), self.batch)[start - first : last - first + 1]
            orders.append(rows[cuts[0] : cuts[-1]])
            starts.append(cuts[1:] - cuts[0] + used)
            used += int(cuts[-1] - cuts[0])
            start = last
        return np.concatenate(orders) if orders else np.zeros(0, np.int64), np.concatenate(starts)
