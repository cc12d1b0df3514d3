"""A kernel that keeps a few numbers of each step: the same statements, and at the end of a step more.

Nothing of what was there changes. Which numbers are kept is no part of the source: the kernel is told where
they lie in the memory of all its values. So one kernel more is enough for all questions about a program.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from backpass.exec.base import Array, Tap, rows_axis
from backpass.exec.compiled.compiler import Argument
from backpass.exec.compiled.groups import barrier
from backpass.ir import Node
from backpass.ir.types import Dim

#: Of what a tapped kernel reads, by name: all memory of the loop as numbers of a kind, and the single numbers
#: of the step.
_READ = {"real": "memory", "int64": "memory_int64", "boolean": "memory_boolean", "single": "single"}
#: In this order the numbers are listed, those with rows first.
_GROUPS = [(by_row, kind) for by_row in (True, False) for kind in _READ if not (by_row and kind == "single")]


@dataclass(frozen=True)
class Source:
    """Where a kernel has a value at the end of a step.

    Attributes
    ----------
    kind : {"real", "int64", "boolean", "single"}
    start : int
        Its first entry in what `_READ` names.
    """

    kind: str
    start: int


@dataclass(eq=False)
class Taps:
    """What a kernel can keep.

    Attributes
    ----------
    real : {"f32", "f64"}
    memory : ndarray of uint8
        All arrays of the loop.
    single : mapping of str to int
        The variables that are single numbers, numbered.
    dim : str
        The rows of a batch.
    kinds : set of str
        The kinds of all arrays.
    split : bool
        Whether the kernel is divided among threads.
    """

    real: str
    kinds: set[str]
    memory: Array
    single: Mapping[str, int]
    dim: str
    split: bool
    numbers: Array = field(init=False)

    def __post_init__(self) -> None:
        self.numbers = np.zeros(len(self.single))

    def arguments(self) -> list[Argument]:
        """What the kernel is given besides: memory, where the taps lie in it, and the logs."""
        return [
            Argument("memory", self.real, alone=False),
            Argument("memory_int64", "int64", alone=False),
            Argument("memory_boolean", "boolean", alone=False),
            Argument("single", "f64"),
            Argument("tapped", "int64"),
            Argument("tap_at", "int64"),
            Argument("row_log", "f64"),
            Argument("step_log", "f64"),
            *(Argument(name, "int64", array=False) for name in ("row_line", "step_line")),
        ]

    def statements(self) -> list[str]:
        """What the kernel does at the end of a step: all values are there, and none is written to.

        The taps of a group of `_GROUPS` are ``tapped[k]`` up to ``tapped[k + 1]``; those of the first, with
        rows, are ``tapped[0] = 0`` up to ``tapped[3]``.
        """
        lines = [f"single[{k}] = f64({name})" for name, k in self.single.items()]
        for k, (by_row, kind) in enumerate(_GROUPS):
            if kind not in {"real", "single", *self.kinds}:
                continue
            lines.append(f"for u in range(tapped[{k}], tapped[{k + 1}]):")
            if by_row:
                lines += [
                    f"    tap = tap_at[3*u] + tap_at[3*u + 1] * n_{self.dim}",
                    f"    for i in range(n_{self.dim}):",
                    f"        row_log[u*row_line + first + i] = f64({_READ[kind]}[tap + i*tap_at[3*u + 2]])",
                ]
            else:
                lines.append(f"    step_log[s*step_line + u - tapped[3]] = f64({_READ[kind]}[tap_at[3*u]])")
        if not self.split:
            return lines
        # One thread looks at what all have written, before any of them writes to it again.
        wait = barrier().lines
        return [*wait, "if thread == 0:", *("    " + line for line in lines), *wait]

    def in_memory(self, array: Array, kind: str) -> Source:
        """Where an array of the loop lies."""
        start = array.ctypes.data - self.memory.ctypes.data
        return Source(kind, start // array.itemsize)


def _position(node: Node, index: tuple[int, ...]) -> tuple[int, int, int]:
    """Where an entry lies in a row-major array: ``a + b n + i c`` for row i of a batch of n rows."""
    axis = rows_axis(node)
    if axis is None:
        return _flat(node.shape, index), 0, 0
    after = node.shape[axis + 1 :]
    row = math.prod(int(d) for d in after)
    return _flat(after, index[axis:]), _flat(node.shape[:axis], index[:axis]) * row, row


def _flat(shape: tuple[Dim, ...], index: tuple[int, ...]) -> int:
    at = 0
    for size, i in zip(shape, index, strict=True):
        at = at * int(size) + i
    return at


class Log:
    """The memory that a tapped kernel writes to in one call of a loop.

    Parameters
    ----------
    taps : Taps
    asked : sequence of (Source, Tap)
    rows, steps : int
        Of the call.
    """

    def __init__(self, taps: Taps, asked: Sequence[tuple[Source, Tap]], rows: int, steps: int) -> None:
        group = [_GROUPS.index((rows_axis(tap.node) is not None, source.kind)) for source, tap in asked]
        order = sorted(range(len(asked)), key=group.__getitem__)
        at = np.array([_position(tap.node, tap.index) for _, tap in asked], np.int64)
        at[:, 0] += [source.start for source, _ in asked]
        begins = np.cumsum([0, *np.bincount(group, minlength=len(_GROUPS))])
        self._line = {k: u for u, k in enumerate(order)}
        self._with_rows = int(begins[3])
        self._by_row = np.empty((self._with_rows, rows))
        self._by_step = np.empty((steps, len(asked) - self._with_rows))
        reals = taps.memory.view(np.float32 if taps.real == "f32" else np.float64)
        memory = reals, taps.memory.view(np.int64), taps.memory.view(np.bool_)
        self._given = *memory, taps.numbers, begins.astype(np.int64), at[order].reshape(-1)

    def arguments(self, done: int) -> tuple[Array | int, ...]:
        """What a kernel is given that goes on after `done` steps; see `Taps.arguments`."""
        logs = self._by_row.reshape(-1), self._by_step[done:].reshape(-1)
        return *self._given, *logs, self._by_row.shape[1], self._by_step.shape[1]

    def kept(self, starts: Array, done: int) -> tuple[Array, ...]:
        """What was kept of `done` steps, in the order of the taps."""
        rows = slice(int(starts[0]), int(starts[done]))
        lines = [self._line[k] for k in range(len(self._line))]
        by_step, first = self._by_step[:done], self._with_rows
        return tuple(self._by_row[u, rows] if u < first else by_step[:, u - first] for u in lines)
