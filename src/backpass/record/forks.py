"""What holds at which step of a run that left another's way: its numbers, its plan, its rows.

The settings of such a run (`Settings`) are those that hold from its last fork on; each `Branch` says what
held up to it. Everything here is a pure function of them, so that a step before the fork is what it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from backpass.data.split import Order, batch_starts
from backpass.errors import UsageError
from backpass.record.ranges import numbers_in
from backpass.record.settings import Branch, Settings
from backpass.training.batches import Batches, Indices
from backpass.training.optimisers import Optimiser


@dataclass(frozen=True)
class Stretch:
    """Steps between two forks.

    Attributes
    ----------
    first : int
        Completed steps when it begins.
    last : int or None
        Completed steps when it ends; None for the end of the run.
    optimiser : Optimiser
    l1, l2 : float
    epochs : int
        Planned then.
    steps : int or None
        Planned then; None where it is the plan that the run has now.
    since : int
        The step since which the learning rate has gone by the same schedule.
    """

    first: int
    last: int | None
    optimiser: Optimiser
    l1: float
    l2: float
    epochs: int
    steps: int | None
    since: int = 0

    def number(self, name: str) -> float:
        """The value of a number of the program; of a schedule the one that it starts from."""
        if name in ("l1", "l2"):
            return float(getattr(self, name))
        known = self.optimiser.numbers
        # One that is zero now, a momentum say, is no number of the optimiser's any more; the program has it.
        return known[name] if name in known else float(getattr(self.optimiser, name))


def stretches(settings: Settings) -> list[Stretch]:
    """What holds from which step to which, in order.

    A run that left nobody's way has one stretch.
    """
    found: list[Stretch] = []
    first, since = 0, 0
    ways: list[Branch | Settings] = [*settings.branches, settings]
    for i, held in enumerate(ways):
        if i and held.optimiser["lr"] != ways[i - 1].optimiser["lr"]:
            since = first
        last, planned = (held.step, held.steps) if isinstance(held, Branch) else (None, None)
        optimiser = Optimiser.from_description(held.optimiser)
        found.append(Stretch(first, last, optimiser, held.l1, held.l2, held.epochs, planned, since))
        first = first if last is None else last
    return found


def changes(settings: Settings) -> Iterator[tuple[Branch, bool]]:
    """Each fork, and whether anything is different after it."""
    ways: list[Branch | Settings] = [*settings.branches, settings]
    for branch, then in zip(settings.branches, ways[1:], strict=True):
        held = (branch.optimiser, branch.l1, branch.l2, branch.epochs)
        yield branch, bool(branch.dropped) or held != (then.optimiser, then.l1, then.l2, then.epochs)


@dataclass(frozen=True, eq=False)
class Forked(Batches):
    """The batches of a run that leaves out some rows from a step on.

    Up to that step they are as they were. The rest of its epoch has the rows that were still to come, and
    later epochs have theirs, in the same order, without those.

    Parameters
    ----------
    rows, batch, epochs, seed, order
        See `Batches`.
    whole : Batches
        The batches without the fork, for as many epochs.
    fork : int
        Completed steps.
    dropped : ndarray of int64
        Positions among the training rows.

    Examples
    --------
    >>> whole = Batches(6, 2, epochs=2, seed=0, order="sequential")
    >>> forked = Forked(6, 2, 2, 0, "sequential", whole=whole, fork=1, dropped=np.array([1, 2, 4]))
    >>> forked.steps, [forked.span(s, s + 1)[0].tolist() for s in range(4)]
    (4, [[0, 1], [3, 5], [0, 3], [5]])
    """

    whole: Batches = field(kw_only=True)
    fork: int = field(kw_only=True)
    dropped: Indices = field(kw_only=True)

    @cached_property
    def _left(self) -> NDArray[np.bool_]:
        left = np.ones(self.rows, bool)
        left[self.dropped] = False
        return left

    @cached_property
    def _here(self) -> int:
        """The epoch of the fork."""
        return self.whole.epoch_of(self.fork)

    @cached_property
    def _sizes(self) -> tuple[int, int]:
        """Steps of the epoch of the fork, and of each later one; 0 where those are not all alike."""
        found = [len(batch_starts(len(self.epoch(self._here)), self.batch)) - 1, 0]
        if self.order is None or isinstance(self.order, str):
            left = int(self._left_in(self.whole.epoch(self._here + 1)).sum())
            found[1] = -(-left // self.batch)
        return found[0], found[1]

    @cached_property
    def _first(self) -> Indices:
        """The first step of each epoch, where they are not all alike."""
        counts = [self.whole.first_step(e) for e in range(self._here + 1)]
        for epoch in range(self._here, self.epochs):
            counts.append(counts[-1] + len(batch_starts(len(self.epoch(epoch)), self.batch)) - 1)
        return np.array(counts, np.int64)

    def first_step(self, epoch: int) -> int:
        if epoch <= self._here:
            return self.whole.first_step(epoch)
        here, later = self._sizes
        if not later:
            return int(self._first[epoch])
        return self.whole.first_step(self._here) + here + (epoch - self._here - 1) * later

    def epoch_of(self, step: int) -> int:
        return int(self.epochs_of(step, step + 1)[0])

    def epochs_of(self, start: int, stop: int) -> Indices:
        here, later = self._sizes
        steps = np.arange(start, stop, dtype=np.int64)
        after = steps - self.whole.first_step(self._here) - here
        before = np.minimum(self.whole.epochs_of(start, stop), self._here)
        if later:
            then = self._here + 1 + after // later
        else:
            then = np.searchsorted(self._first, steps, side="right").astype(np.int64) - 1
        return np.where(after < 0, before, then)

    def _left_in(self, order: Indices) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = self._left[order]
        return found

    def _made(self, epoch: int) -> Indices:
        whole, here = self.whole.epoch(epoch), self._here
        if epoch < here:
            return whole
        used = (self.fork - self.whole.first_step(here)) * self.batch if epoch == here else 0
        rest = whole[used:]
        found = np.concatenate([whole[:used], rest[self._left_in(rest)]])
        if not len(found):
            raise UsageError(f"without these rows there is nothing left in epoch {epoch + 1:,}")
        return found


def batches_for(settings: Settings, order: Order) -> Batches:
    """The batches of a run: those of its plan, without the rows that it left out on the way."""
    rows, plan = settings.data.rows, (settings.batch, settings.epochs, settings.seed, order)
    found = Batches(rows, *plan)
    for branch in settings.branches:
        if branch.dropped:
            dropped = numbers_in(branch.dropped, rows)
            if len(dropped) == rows:
                raise UsageError("without these rows there is nothing left to train on")
            found = Forked(rows, *plan, whole=found, fork=branch.step, dropped=dropped)
    return found


def undropped(batches: Batches) -> Batches:
    """The batches as they would be with all rows."""
    return undropped(batches.whole) if isinstance(batches, Forked) else batches
