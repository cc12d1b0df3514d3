"""Ops that add entries together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

from backpass.errors import ShapeError
from backpass.ir.node import Node
from backpass.ir.op import Op, Sample
from backpass.ir.types import ArrayType
from backpass.ops.leaves import count
from backpass.ops.shape import Broadcast


def _checked(op: Sum | Mean, x: ArrayType) -> tuple[int, ...]:
    """The axes that go; an empty setting means all of them."""
    axes = op.axis or tuple(range(x.ndim))
    if len(set(axes)) != len(axes) or any(not 0 <= i < x.ndim for i in axes):
        raise ShapeError(f"{op.name} over axis {op.axis} does not fit {x}")
    return axes


def _kept(op: Sum | Mean, x: ArrayType) -> tuple[int, ...]:
    gone = _checked(op, x)
    return tuple(i for i in range(x.ndim) if i not in gone)


def _argument(axis: tuple[int, ...]) -> int | tuple[int, ...] | None:
    """`axis` as NumPy is told it, and as the program is printed."""
    return None if not axis else axis[0] if len(axis) == 1 else axis


class _Reduction(Op):
    """What Sum and Mean share: their settings' shape rule and print."""

    axis: tuple[int, ...]
    symbol: ClassVar[str]

    def source(self) -> str:
        axis = _argument(self.axis)
        return f"{self.name}({{0}})" if axis is None else f"{self.name}({{0}}, axis={axis})"

    def latex(self) -> str:
        under = "" if not self.axis else f"_{{{','.join('ijkl'[i] for i in self.axis)}}}"
        return rf"{self.symbol}{under} {{0}}"


@final
@dataclass(frozen=True)
class Sum(_Reduction):
    """Sum of entries along `axis` (counted from 0; empty means over all entries)."""

    axis: tuple[int, ...] = ()
    name = "sum"
    joins = "add"
    notation = "sum({0})"
    tex = r"\sum {0}"
    symbol = r"\textstyle\sum"

    def infer(self, x: ArrayType) -> ArrayType:
        return ArrayType(tuple(x.shape[i] for i in _kept(self, x)), x.dtype)

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.sum(x, axis=_argument(self.axis))

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (Broadcast(x.shape, _kept(self, x.array_type))(adj),)

    def flops(self, y: ArrayType, x: ArrayType) -> int:
        return x.size


@final
@dataclass(frozen=True)
class Mean(_Reduction):
    """Mean of entries along `axis` (empty means over all entries)."""

    axis: tuple[int, ...] = ()
    name = "mean"
    notation = "mean({0})"
    tex = r"\operatorname{mean} {0}"
    symbol = r"\operatorname{mean}"

    def infer(self, x: ArrayType) -> ArrayType:
        return ArrayType(tuple(x.shape[i] for i in _kept(self, x)), x.dtype)

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.mean(x, axis=_argument(self.axis))

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        gone = _checked(self, x.array_type)
        share = adj / count(tuple(x.shape[i] for i in gone), x.dtype)
        return (Broadcast(x.shape, _kept(self, x.array_type))(share),)

    def flops(self, y: ArrayType, x: ArrayType) -> int:
        return x.size


_SHAPES = (("B", "n"),)
Sum.samples = tuple(Sample(_SHAPES, op=Sum(axis)) for axis in ((), (0,), (1,)))
Mean.samples = tuple(Sample(_SHAPES, op=Mean(axis)) for axis in ((), (0,), (1,)))
