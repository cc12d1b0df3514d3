"""Ops that take entries out, put entries in, and join arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from backpass.errors import ShapeError, UsageError
from backpass.ir.node import SURFACE, Node
from backpass.ir.op import ANY, NUMBERS, Op, Precedence, Sample
from backpass.ir.types import ArrayType, Dim
from backpass.ops.shape import Reshape


@final
@dataclass(frozen=True)
class Slice(Op):
    """The entries from `starts` up to `stops` along each axis.

    Parameters
    ----------
    starts : tuple of int
    stops : tuple of int or None
        None means to the end. A named dimension can only be kept whole (0, None).
    """

    starts: tuple[int, ...]
    stops: tuple[int | None, ...]
    name = "slice"
    notation = "{0}[...]"
    tex = "{0}[...]"
    precedence = Precedence.POSTFIX
    dtypes = ANY
    view = True

    def infer(self, x: ArrayType) -> ArrayType:
        if len(self.starts) != x.ndim or len(self.stops) != x.ndim:
            raise ShapeError(f"slice needs a start and a stop for each axis of {x}")
        shape: list[Dim] = []
        for size, start, stop in zip(x.shape, self.starts, self.stops, strict=True):
            if isinstance(size, str):
                if (start, stop) != (0, None):
                    raise ShapeError(f"slice of {x}: the named dimension {size} can only be kept whole")
                shape.append(size)
                continue
            end = size if stop is None else stop
            if not 0 <= start <= end <= size:
                raise ShapeError(f"slice {start}:{end} does not fit the {size} entries of {x}")
            shape.append(end - start)
        return ArrayType(tuple(shape), x.dtype)

    def source(self) -> str:
        parts = [
            f"{start or ''}:{'' if stop is None else stop}"
            for start, stop in zip(self.starts, self.stops, strict=True)
        ]
        while len(parts) > 1 and parts[-1] == ":":
            parts.pop()
        return f"{{0}}[{', '.join(parts)}]"

    def latex(self) -> str:
        return self.source().replace("{0}", "{{0}}")

    def forward(self, xp: Any, /, x: Any) -> Any:
        return x[tuple(map(slice, self.starts, self.stops))]

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        widths = []
        for size, start, stop in zip(x.shape, self.starts, self.stops, strict=True):
            after = size - stop if isinstance(size, int) and stop is not None else 0
            widths.append((start, after))
        return (Pad(tuple(widths))(adj),)


@final
@dataclass(frozen=True)
class Pad(Op):
    """Zeros before and after the entries along each axis; what a slice sends back.

    Parameters
    ----------
    widths : tuple of (int, int)
        How many before and after, an axis. A named dimension cannot be padded.
    """

    widths: tuple[tuple[int, int], ...]
    name = "pad"
    notation = "pad({0}, {widths})"
    tex = r"\operatorname{pad}({0})"
    dtypes = NUMBERS

    def infer(self, x: ArrayType) -> ArrayType:
        self.of_dtype(x)
        if len(self.widths) != x.ndim or not x.ndim or any(w < 0 for pair in self.widths for w in pair):
            raise ShapeError(f"pad needs two widths for each axis of {x}, got {self.widths}")
        shape: list[Dim] = []
        for size, (before, after) in zip(x.shape, self.widths, strict=True):
            if isinstance(size, str) and before + after:
                raise ShapeError(f"pad of {x}: the named dimension {size} cannot be padded")
            shape.append(size if isinstance(size, str) else size + before + after)
        return ArrayType(tuple(shape), x.dtype)

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.pad(x, self.widths)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        sizes = [
            before + n if isinstance(n, int) else None
            for n, (before, _) in zip(x.shape, self.widths, strict=True)
        ]
        return (Slice(tuple(before for before, _ in self.widths), tuple(sizes))(adj),)


def _only(x: Node, axis: int, start: int, stop: int | None) -> Node:
    """A slice along one axis."""
    axes = range(len(x.shape))
    starts = tuple(start if i == axis else 0 for i in axes)
    return Slice(starts, tuple(stop if i == axis else None for i in axes))(x)


@final
@dataclass(frozen=True)
class Concatenate(Op):
    """Arrays one after another along `axis`, which must not be a named dimension."""

    axis: int
    name = "concatenate"
    notation = "concatenate({(*)}, axis={axis})"
    tex = r"[{*}]"
    dtypes = ANY

    def infer(self, *xs: ArrayType) -> ArrayType:
        if not xs or not 0 <= self.axis < xs[0].ndim:
            raise ShapeError(
                f"concatenate along axis {self.axis} does not fit {', '.join(map(str, xs)) or 'nothing'}"
            )
        total = 0
        for x in xs:
            sizes = (
                *xs[0].shape[: self.axis],
                *x.shape[self.axis : self.axis + 1],
                *xs[0].shape[self.axis + 1 :],
            )
            if x != ArrayType(sizes, xs[0].dtype):
                raise ShapeError(
                    f"concatenate along axis {self.axis} of {', '.join(map(str, xs))}: other axes differ"
                )
            size = x.shape[self.axis]
            if isinstance(size, str):
                raise ShapeError(f"concatenate along the named dimension {size} of {x}")
            total += size
        return ArrayType((*xs[0].shape[: self.axis], total, *xs[0].shape[self.axis + 1 :]), xs[0].dtype)

    def forward(self, xp: Any, /, *xs: Any) -> Any:
        return xp.concatenate(xs, axis=self.axis)

    def vjp(self, adj: Node, y: Node, /, *xs: Node) -> tuple[Node, ...]:
        parts, start = [], 0
        for x in xs:
            size = x.shape[self.axis]
            assert isinstance(size, int)
            parts.append(_only(adj, self.axis, start, start + size))
            start += size
        return tuple(parts)


@final
@dataclass(frozen=True)
class Stack(Op):
    """Arrays of one type beside each other along a new axis, number `axis` of the result."""

    axis: int
    name = "stack"
    notation = "stack({(*)}, axis={axis})"
    tex = r"\operatorname{stack}({*})"
    dtypes = ANY

    def infer(self, *xs: ArrayType) -> ArrayType:
        if not xs or any(x != xs[0] for x in xs) or not 0 <= self.axis <= xs[0].ndim:
            raise ShapeError(
                f"stack needs inputs of one type and an axis among theirs and one more, got "
                f"{', '.join(map(str, xs)) or 'nothing'} and axis {self.axis}"
            )
        return ArrayType((*xs[0].shape[: self.axis], len(xs), *xs[0].shape[self.axis :]), xs[0].dtype)

    def forward(self, xp: Any, /, *xs: Any) -> Any:
        return xp.stack(xs, axis=self.axis)

    def vjp(self, adj: Node, y: Node, /, *xs: Node) -> tuple[Node, ...]:
        return tuple(Reshape(x.shape)(_only(adj, self.axis, i, i + 1)) for i, x in enumerate(xs))


@final
@dataclass(frozen=True)
class Gather(Op):
    """Slices of x along `axis`, one for each integer of an index: rows of an embedding, ``E[i]``.

    The axis is replaced by the axes of the index. Integers are from 0 up to the size of the axis; NumPy
    counts negative ones from the end, other executors need not.
    """

    axis: int
    name = "gather"
    notation = "{0}[{1}]"
    tex = "{{0}}_{{1}}"
    precedence = Precedence.POSTFIX
    dtypes = ANY
    untyped = (1,)

    def infer(self, x: ArrayType, index: ArrayType) -> ArrayType:
        if index.dtype != "i64" or not 0 <= self.axis < x.ndim:
            raise ShapeError(
                f"gather along axis {self.axis} needs an array and an i64 index, got {x} and {index}"
            )
        return ArrayType((*x.shape[: self.axis], *index.shape, *x.shape[self.axis + 1 :]), x.dtype)

    def source(self) -> str:
        return f"{{0}}[{':, ' * self.axis}{{1}}]"

    def latex(self) -> str:
        return f"{{{{0}}}}_{{{': ' * self.axis}{{1}}}}"

    def mixes(self, x: ArrayType, index: ArrayType) -> tuple[Dim, ...]:
        return (x.shape[self.axis],)

    def forward(self, xp: Any, /, x: Any, index: Any) -> Any:
        return x[(slice(None),) * self.axis + (index,)]

    def vjp(self, adj: Node, y: Node, /, x: Node, index: Node) -> tuple[Node, None]:
        return ScatterAdd(self.axis, x.shape[self.axis])(adj, index), None


@final
@dataclass(frozen=True)
class ScatterAdd(Op):
    """Zeros of length `size` along `axis`, with the slices of `values` added where an index says.

    What `Gather` sends back: rows that were taken twice get both shares.
    """

    axis: int
    size: Dim
    name = "scatter_add"
    notation = "scatter_add({0}, {1}, axis={axis}, size={size})"
    tex = r"\operatorname{scatter}({0}, {1})"
    joins = "add"
    dtypes = NUMBERS
    untyped = (1,)
    sized = ("size",)
    prelude = """\
def scatter_add(values, index, axis, size):
    result = zeros((*values.shape[:axis], size, *values.shape[axis + index.ndim :]), values.dtype)
    add.at(result, (slice(None),) * axis + (index,), values)
    return result
"""

    def infer(self, values: ArrayType, index: ArrayType) -> ArrayType:
        self.of_dtype(values, index)
        end = self.axis + index.ndim
        if index.dtype != "i64" or self.axis < 0 or values.shape[self.axis : end] != index.shape:
            raise ShapeError(
                f"scatter_add along axis {self.axis} needs an i64 index with those axes of the values that "
                f"begin there, got {values} and {index}"
            )
        return ArrayType((*values.shape[: self.axis], self.size, *values.shape[end:]), values.dtype)

    def forward(self, xp: Any, /, values: Any, index: Any) -> Any:
        return xp.scatter_add(values, index, self.axis, self.size)

    def vjp(self, adj: Node, y: Node, /, values: Node, index: Node) -> tuple[Node, None]:
        return Gather(self.axis)(adj, index), None

    def flops(self, y: ArrayType, values: ArrayType, index: ArrayType) -> int:
        return values.size


def item(x: Node, key: Any) -> Node:
    """``x[key]``: slices, numbers, an i64 index, or several of them, an axis each.

    Raises
    ------
    UsageError
        The key has a step, None or an array in it; the message says what can be used.
    """
    keys = key if isinstance(key, tuple) else (key,)
    if any(k is Ellipsis for k in keys):
        at = next(i for i, k in enumerate(keys) if k is Ellipsis)
        keys = (*keys[:at], *(slice(None),) * (len(x.shape) - len(keys) + 1), *keys[at + 1 :])
    if len(keys) > len(x.shape):
        raise ShapeError(f"{len(keys)} indices for the {len(x.shape)} axes of {x}")
    axis = 0
    for k in keys:
        if isinstance(k, Node):
            x, axis = Gather(axis)(x, k), axis + len(k.shape)
        elif isinstance(k, slice) and k.step in (None, 1):
            x, axis = _sliced(x, axis, k), axis + 1
        elif isinstance(k, int) and not isinstance(k, bool):
            size = x.shape[axis]
            if not isinstance(size, int) or not -size <= k < size:
                raise ShapeError(f"there is no entry {k} along axis {axis} of {x}")
            one = _only(x, axis, k % size, k % size + 1)
            x = Reshape((*x.shape[:axis], *x.shape[axis + 1 :]))(one)
        else:
            raise UsageError(
                "a value of a program is indexed by slices without a step, numbers and i64 Nodes, not by "
                f"{k!r}; new axes are made by expand_dims"
            )
    return x


def _sliced(x: Node, axis: int, key: slice) -> Node:
    if key.start is None and key.stop is None:
        return x
    size = x.shape[axis]
    if not isinstance(size, int):
        raise ShapeError(f"the named dimension {size} of {x} can only be kept whole")
    start, stop, _ = key.indices(size)
    return _only(x, axis, start, max(start, stop) if stop < size else None)


SURFACE.item = item

Slice.samples = (
    Sample((("B", 5),), op=Slice((0, 1), (None, 4))),
    Sample(((4, "n", 3),), op=Slice((2, 0, 0), (None, None, 2))),
    Sample(((4, "B"),), op=Slice((1, 0), (3, None))),
)
Pad.samples = (
    Sample((("B", "n"),), op=Pad(((0, 0), (1, 2)))),
    Sample((("m", "n", 2),), op=Pad(((2, 0), (0, 0), (0, 1)))),
)
Concatenate.samples = (
    Sample((("B", 2), ("B", 3), ("B", 1)), op=Concatenate(1)),
    Sample(((2, "n"), (3, "n")), op=Concatenate(0)),
    Sample(((2, "n"),), op=Concatenate(0)),
)
Stack.samples = (
    Sample((("B", "n"),) * 3, op=Stack(1)),
    Sample((("B", "n"),) * 2, op=Stack(0)),
    Sample((("B", "n"),) * 2, op=Stack(2)),
    Sample(((), ()), op=Stack(0)),
)
Gather.samples = (
    Sample((("k", 3), ("B",)), op=Gather(0), dtypes=("f64", "i64"), below="k"),
    Sample((("B", "k"), (2, 3)), op=Gather(1), dtypes=("f64", "i64"), below="k"),
    Sample((("k", 2), ()), op=Gather(0), dtypes=("f64", "i64"), below="k"),
    Sample((("B", 2), ("B",)), op=Gather(0), dtypes=("f64", "i64"), below=2),
)
ScatterAdd.samples = (
    Sample((("B", 3), ("B",)), op=ScatterAdd(0, "k"), dtypes=("f64", "i64"), below="k"),
    Sample((("m", "B", 2, "n"), ("B", 2)), op=ScatterAdd(1, "k"), dtypes=("f64", "i64"), below="k"),
    Sample(((3,), ()), op=ScatterAdd(1, "k"), dtypes=("f64", "i64"), below="k"),
)
