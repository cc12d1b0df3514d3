"""Ops that rearrange or repeat entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from backpass.errors import ShapeError
from backpass.ir.node import SURFACE, Node
from backpass.ir.op import ANY, Op, Precedence, Sample
from backpass.ir.types import ArrayType, Dim, size_of


@final
@dataclass(frozen=True)
class Broadcast(Op):
    """Repeat an array so that it takes `shape`; axis i of the input becomes axis ``axes[i]``.

    Every broadcast of a program is one of these, so no vjp has to undo a hidden one: the gradient of a bias
    is a sum over the batch because the bias was broadcast over the batch.
    """

    shape: tuple[Dim, ...]
    axes: tuple[int, ...]
    name = "broadcast"
    notation = "broadcast({0}, {shape}, {axes})"
    tex = "{0}"
    printed_as = "broadcast"
    dtypes = ANY
    view = True

    def infer(self, x: ArrayType) -> ArrayType:
        fits = len(self.axes) == x.ndim and all(0 <= a < len(self.shape) for a in self.axes)
        if not fits or list(self.axes) != sorted(set(self.axes)):
            raise ShapeError(f"broadcast of {x} along axes {self.axes} of {self.shape}")
        if tuple(self.shape[a] for a in self.axes) != x.shape:
            raise ShapeError(f"broadcast cannot turn {x} into {ArrayType(self.shape, x.dtype)}")
        return ArrayType(self.shape, x.dtype)

    @property
    def added(self) -> tuple[int, ...]:
        """The axes along which entries are repeated."""
        return tuple(i for i in range(len(self.shape)) if i not in self.axes)

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.broadcast(x, self.shape, self.axes)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        from backpass.ops.reduce import Sum  # the two are each other's vjp

        return (Sum(self.added)(adj) if self.added else adj,)


@final
@dataclass(frozen=True)
class Reshape(Op):
    """The same entries in the same order, in another shape."""

    shape: tuple[Dim, ...]
    name = "reshape"
    notation = "reshape({0}, {shape})"
    tex = r"\operatorname{reshape}({0})"
    dtypes = ANY
    view = True

    def infer(self, x: ArrayType) -> ArrayType:
        if size_of(x.shape) != size_of(self.shape):
            raise ShapeError(f"reshape of {x} to {self.shape}: the number of entries differs")
        return ArrayType(self.shape, x.dtype)

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.reshape(x, self.shape)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (Reshape(x.shape)(adj),)


@final
@dataclass(frozen=True)
class Transpose(Op):
    """Axes in another order; for a matrix, rows become columns."""

    axes: tuple[int, ...]
    name = "transpose"
    notation = "transpose({0}, {axes})"
    tex = r"{{0}}^{\top}"
    dtypes = ANY
    view = True

    def infer(self, x: ArrayType) -> ArrayType:
        if sorted(self.axes) != list(range(x.ndim)):
            raise ShapeError(f"transpose of {x} with axes {self.axes}")
        return ArrayType(tuple(x.shape[i] for i in self.axes), x.dtype)

    @property
    def reverses(self) -> bool:
        return self.axes == tuple(reversed(range(len(self.axes))))

    @property
    def precedence(self) -> Precedence:  # type: ignore[override]
        return Precedence.POSTFIX if self.reverses or self.turns_matrices else Precedence.ATOM

    @property
    def turns_matrices(self) -> bool:
        """Whether only the last two axes change places."""
        rank = len(self.axes)
        return rank > 2 and self.axes == (*range(rank - 2), rank - 1, rank - 2)

    def source(self) -> str:
        if self.turns_matrices:
            return "{0}.mT"
        return "{0}.T" if self.reverses else super().source()

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.transpose(x, self.axes)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        back = tuple(self.axes.index(i) for i in range(len(self.axes)))
        return (Transpose(back)(adj),)


Broadcast.samples = (
    Sample((("n",),), op=Broadcast(("B", "n"), (1,))),
    Sample((("B",),), op=Broadcast(("B", "n"), (0,))),
    Sample(((),), op=Broadcast(("m", "n"), ())),
)
Reshape.samples = (Sample((("B", "m", "n"),), op=Reshape(("B", "m*n"))),)
Transpose.samples = (
    Sample((("B", "n"),), op=Transpose((1, 0))),
    Sample((("B", "m", "n"),), op=Transpose((1, 2, 0))),
)

SURFACE.reshape = Reshape
SURFACE.broadcast = Broadcast
SURFACE.transpose = Transpose
