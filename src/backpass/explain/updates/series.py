"""Single entries of a program over many steps at once: what a replay kept of each step, and what follows.

An entry is a value and where in it: ``(W2, (3, 1))`` is a number a step, ``(δ2, (slice(None), 1))`` a number
for each row of each step. What the loop keeps of a value is read; what is calculated from others entry by
entry is calculated again, in the dtype of the program.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from backpass.errors import UsageError
from backpass.exec.base import Array, Tap
from backpass.ir import Elementwise, Node
from backpass.ir.xp import NUMPY
from backpass.ops import Broadcast, Constant, Size, Transpose
from backpass.record.replay import Moment, Replay

Index: TypeAlias = tuple[int | slice, ...]
Entry: TypeAlias = tuple[Node, Index]
Floats: TypeAlias = NDArray[np.float64]

_CALL = 2000  # steps


def rows_of(index: Index) -> bool:
    """Whether an entry is a number for each row."""
    return any(isinstance(i, slice) for i in index)


def _read_from(node: Node, index: Index) -> list[Entry] | None:
    """The entries that an entry is calculated from; None where it is from whole arrays."""
    op = node.op
    if isinstance(op, (Constant, Size)):
        return []
    if isinstance(op, Broadcast):
        return [(node.inputs[0], tuple(index[a] for a in op.axes))]
    if isinstance(op, Transpose):
        return [(node.inputs[0], tuple(index[op.axes.index(k)] for k in range(len(index))))]
    return [(x, index) for x in node.inputs] if isinstance(op, Elementwise) else None


class Reading:
    """What has to be kept of each step so that some entries are known.

    Parameters
    ----------
    replay : Replay
    wanted : iterable of (Node, index)
    supplied : collection of Node
        Values that whoever asks knows by other means.

    Attributes
    ----------
    taps : dict of Tap to int
        What the loop keeps, numbered.
    slow : dict of Tap to int
        What it does not: those values are the reference executor's, step by step.
    """

    def __init__(self, replay: Replay, wanted: Iterable[Entry], supplied: Iterable[Node] = ()) -> None:
        self.graph, self._keeps = replay.record.step, replay.loop.keeps
        self.replaced = {self.graph.outputs[new]: old for new, old in self.graph.carry.items()}
        self.supplied = frozenset(supplied)
        self.taps: dict[Tap, int] = {}
        self.slow: dict[Tap, int] = {}
        self._seen: set[tuple[Node, str]] = set()
        for node, index in wanted:
            self._add(node, index)

    def _add(self, node: Node, index: Index) -> None:
        if (node, str(index)) in self._seen:
            return
        self._seen.add((node, str(index)))
        tap = self.tap(node, index)
        if tap is not None:
            self.taps.setdefault(tap, len(self.taps))
        elif not self.is_given(node):
            inputs = _read_from(node, index)
            if inputs is None:
                self.slow.setdefault(_tap(node, index), len(self.slow))
            for x, at in inputs or ():
                self._add(x, at)

    def is_given(self, node: Node) -> bool:
        """Whether a value needs no look at the steps: a number of the run, a weight that is not trained."""
        kind = node.op.settings().get("kind") if node.op.feeds else None
        return node in self.supplied or kind in ("number", "fixed")

    def tap(self, node: Node, index: Index) -> Tap | None:
        """What the loop has to keep for an entry, if it is to be read and can be."""
        if node in self.replaced:  # what replaces a held value is what it is after the step
            return _tap(self.graph.inputs[self.replaced[node]], index)
        if self.is_given(node):
            return None
        simple = isinstance(node.op, (Constant, Size, Broadcast, Transpose))
        return _tap(node, index) if not simple and self._keeps(node) else None


def _tap(node: Node, index: Index) -> Tap:
    return Tap(node, tuple(i for i in index if not isinstance(i, slice)))


class Series:
    """Entries over the steps ``start <= s < stop`` of a run (counted from 0).

    Attributes
    ----------
    rows : ndarray of int64
        The training rows of the steps, one step after another.
    starts : ndarray of int64
        Where those of each step begin, and the end.
    """

    def __init__(
        self, reading: Reading, replay: Replay, start: int, stop: int, stepwise: bool = False
    ) -> None:
        self.reading, self.graph, self._record = reading, reading.graph, replay.record
        self.rows, self.starts = replay.record.batches.span(start, stop)
        self.sizes = np.diff(self.starts)
        self.start, self.stop = start, stop
        self.before = replay.state(start)
        self._numbers = replay.record.numbers(start, stop)
        self._known: dict[tuple[Node, str], Array] = {}
        self._kept = (_step_by_step if stepwise or reading.slow else _tapped)(reading, replay, start, stop)

    def supply(self, node: Node, values: Array) -> None:
        """Say what a value was that `Reading` was told not to look for."""
        self._known[node, "supplied"] = values.astype(node.array_type.numpy_dtype)

    def by_row(self, values: Array) -> Array:
        """Numbers of steps, each for all rows of its step; what is by row, or one for all, stays as it is."""
        return np.repeat(values, self.sizes) if values.ndim and len(values) != len(self.rows) else values

    def number(self, node: Node, index: Index) -> Floats:
        """An entry of each step, in f64."""
        found = self.at(node, index).astype(np.float64)
        return found if found.ndim else np.full(len(self.sizes), float(found))

    def column(self, node: Node, index: Index) -> Floats:
        """An entry of each row of each step, in f64."""
        found = self.by_row(self.at(node, index).astype(np.float64))
        return found if found.ndim else np.full(len(self.rows), float(found))

    def at(self, node: Node, index: Index) -> Array:
        """An entry in the dtype of the program: of each row or of each step, or one for all."""
        if node in self.reading.supplied:
            return self._known[node, "supplied"]
        key = node, str(index)
        if key not in self._known:
            self._known[key] = np.asarray(self._at(node, index), node.array_type.numpy_dtype)
        return self._known[key]

    def _at(self, node: Node, index: Index) -> Array:
        name, kind = str(node.name), node.op.settings().get("kind") if node.op.feeds else None
        if kind == "number":
            return self._numbers[:, list(self.graph.inputs_of_kind("number")).index(name)]
        if kind == "fixed":
            return np.asarray(self._record.fixed[name][index])
        tap = self.reading.tap(node, index)
        if tap is not None:
            after = self._kept[tap]
            if node in self.reading.replaced or kind == "data" or kind is None:
                return after
            return np.concatenate([[self.before[name][index]], after[:-1]])  # held: before the step
        if _tap(node, index) in self._kept:
            return self._kept[_tap(node, index)]
        if isinstance(node.op, Size):
            return self.sizes
        inputs = _read_from(node, index)
        assert inputs is not None
        values = [self.at(*entry) for entry in inputs]
        if isinstance(node.op, (Broadcast, Transpose)):
            return values[0]
        if rows_of(index):  # numbers of a step may stand beside those of rows
            values = [self.by_row(v) for v in values]
        return np.asarray(node.op.forward(NUMPY, *values))


def _tapped(reading: Reading, replay: Replay, start: int, stop: int) -> dict[Tap, Array]:
    """By the kernel that keeps numbers by the way, in calls that are short enough for Ctrl-C."""
    taps, parts = list(reading.taps), []
    for first in range(start, stop, _CALL):
        parts.append(replay.tapped(first, min(first + _CALL, stop), taps).tapped)
    return {tap: np.concatenate(found) for tap, found in zip(taps, zip(*parts, strict=True), strict=True)}


def _step_by_step(reading: Reading, replay: Replay, start: int, stop: int) -> dict[Tap, Array]:
    """Each step by itself: what the loop left behind, or what the reference executor says."""
    kept: dict[Tap, list[Any]] = {tap: [] for tap in (*reading.taps, *reading.slow)}
    for step in range(start, stop):
        moment = Moment(replay, step + 1)
        after = replay.run_step(step)
        for tap, values in kept.items():
            name = str(tap.node.name)
            value = after.get(name) if tap.node.op.feeds else replay.loop.peek(tap.node)
            value = np.asarray(moment.values[tap.node]) if value is None else value
            values.append(np.atleast_1d(value[_place(tap)].astype(np.float64)))
    return {tap: np.concatenate(values) for tap, values in kept.items()}


def _place(tap: Tap) -> Index:
    rows = [axis for axis, size in enumerate(tap.node.shape) if isinstance(size, str)]
    if len(rows) > 1:
        raise UsageError(f"{tap.node} has more than one axis of the size of a batch")
    return (*tap.index[: rows[0]], slice(None), *tap.index[rows[0] :]) if rows else tap.index
