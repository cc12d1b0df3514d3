"""Rows that lie in files are brought to memory a stretch of steps at a time, in the order of use.

A shuffled epoch jumps from row to row of the file. Once the file is larger than the memory that the system
has for its cache, each jump is a read from the disk: some ten thousand rows a second. So the rows of the next
many steps are gathered in one go through the file, front to back. An epoch takes as many goes as the training
rows are larger than the buffer. The steps read the same numbers in the same order either way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from backpass.data import mapped
from backpass.data.budget import memory_budget
from backpass.exec.base import Array, Chunk, Loop, Tap
from backpass.ir import Node
from backpass.training.batches import Batches

#: The part of the memory budget that the rows of a stretch take.
_SHARE = 4


class Ahead:
    """The training rows as a loop reads them: as they are, or, of rows in files, a buffer.

    Parameters
    ----------
    data : mapping of str to array
        Rows of x and t, and what else there is by row.
    batch : int
        Rows of the largest step.
    memory : int, optional
        Bytes of the buffer; a quarter of the budget if left out.

    Attributes
    ----------
    arrays : dict of str to array
        What a loop is to be made for.
    """

    def __init__(self, data: Mapping[str, Array], batch: int, memory: int | None = None) -> None:
        self.data, self.arrays = dict(data), dict(data)
        self.in_files = any(map(mapped.in_file, data.values()))
        if self.in_files:
            rows = min(map(len, data.values()))
            each = sum(a.nbytes // max(len(a), 1) for a in data.values())
            share = memory_budget() // _SHARE if memory is None else memory
            room = min(rows, max(batch, share // max(each, 1)))
            self.arrays = {name: np.empty((room, *a.shape[1:]), a.dtype) for name, a in data.items()}

    def loop(self, loop: Loop) -> Loop:
        """The loop over all rows, from one that was made for `arrays`."""
        return StreamedLoop(loop, self) if self.in_files else loop


class StreamedLoop:
    """A loop over rows in files: `steps` gathers those of many steps, and has another loop run them."""

    def __init__(self, loop: Loop, rows: Ahead) -> None:
        self.inner, self.rows = loop, rows
        self.name = loop.name
        self._room = min(map(len, rows.arrays.values()))
        self._first = self._last = 0  # the steps whose rows are in the buffer
        self._ends = np.zeros(1, np.int64)

    @property
    def threads(self) -> int:
        return self.inner.threads

    @threads.setter
    def threads(self, count: int) -> None:
        self.inner.threads = count

    def load(self, carry: Mapping[str, Array]) -> None:
        self.inner.load(carry)

    def state(self) -> dict[str, Array]:
        return self.inner.state()

    def blas_name(self) -> str:
        return self.inner.blas_name()

    def keeps(self, node: Node) -> bool:
        return self.inner.keeps(node)

    def peek(self, node: Node) -> Array | None:
        return self.inner.peek(node)

    def steps(
        self, batches: Batches, start: int, stop: int, numbers: Array, taps: Sequence[Tap] = ()
    ) -> Chunk:
        """Run the steps ``start <= s < stop`` (counted from 0) of a plan, and be ready for those after."""
        watched, done = [np.zeros(0)], start
        tapped = [[np.zeros(0)] for _ in taps]
        while done < stop:
            if not self._first <= done < self._last:
                last = min(batches.steps, done + max(1, self._room // batches.batch))
                self._gather(*batches.span(done, last), done)
            until, at = min(stop, self._last), done - self._first
            ends = self._ends[at : at + until - done + 1]
            part = numbers[done - start : until - start]
            chunk = self.inner.run(np.arange(ends[0], ends[-1]), ends - ends[0], part, taps)
            watched.append(chunk.watched)
            for parts, found in zip(tapped, chunk.tapped, strict=True):
                parts.append(found)
            done += chunk.done
            if done < until:
                break
        return Chunk(done - start, np.concatenate(watched), tuple(map(np.concatenate, tapped)))

    def run(self, order: Array, starts: Array, numbers: Array, taps: Sequence[Tap] = ()) -> Chunk:
        """Run steps of no plan: their rows, at most as many as the buffer holds, are gathered for this."""
        self._gather(order, starts, 0)
        self._last = 0  # nothing that a plan could use
        return self.inner.run(np.arange(len(order)), starts, numbers, taps)

    def _gather(self, order: Array, ends: Array, first: int) -> None:
        if len(order) > self._room:
            raise ValueError(f"{len(order):,} rows at once, and there is room for {self._room:,}")
        self._first = self._last = 0  # if this is interrupted, the buffer holds nothing
        for name, array in self.rows.data.items():
            mapped.take(array, order, self.rows.arrays[name][: len(order)])
        self._first, self._last, self._ends = first, first + len(ends) - 1, ends
