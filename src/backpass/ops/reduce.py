"""Ops that reduce axes to one number each, or accumulate along one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

from backpass.errors import ShapeError
from backpass.ir.node import Node
from backpass.ir.op import FLOATS, NUMBERS, Op, Sample
from backpass.ir.types import ArrayType, Dim, size_of
from backpass.ops.compare import Cast, Equal, Where
from backpass.ops.leaves import count, filled
from backpass.ops.shape import Broadcast, Reshape, Transpose
from backpass.ops.transcendental import Exp


def _argument(axis: tuple[int, ...]) -> int | tuple[int, ...] | None:
    """`axis` as NumPy is told it, and as the program is printed."""
    return None if not axis else axis[0] if len(axis) == 1 else axis


class _Reduction(Op):
    """What reductions share: a setting `axis` (counted from 0; empty means all axes), shape rule, print."""

    axis: tuple[int, ...]
    symbol: ClassVar[str]

    def gone(self, x: ArrayType) -> tuple[int, ...]:
        """The axes that go."""
        axes = self.axis or tuple(range(x.ndim))
        if len(set(axes)) != len(axes) or any(not 0 <= i < x.ndim for i in axes):
            raise ShapeError(f"{self.name} over axis {self.axis} does not fit {x}")
        return axes

    def kept(self, x: ArrayType) -> tuple[int, ...]:
        """The axes that stay."""
        gone = self.gone(x)
        return tuple(i for i in range(x.ndim) if i not in gone)

    def infer(self, x: ArrayType) -> ArrayType:
        self.of_dtype(x)
        return ArrayType(tuple(x.shape[i] for i in self.kept(x)), x.dtype)

    def repeated(self, value: Node, x: Node) -> Node:
        """A value of the result's shape, beside each of the entries that it was reduced from."""
        return Broadcast(x.shape, self.kept(x.array_type))(value)

    def source(self) -> str:
        axis = _argument(self.axis)
        return f"{self.name}({{0}})" if axis is None else f"{self.name}({{0}}, axis={axis})"

    def latex(self) -> str:
        under = "" if not self.axis else f"_{{{','.join('ijklmn'[i] for i in self.axis)}}}"
        return rf"{self.symbol}{under} {{0}}"

    def flops(self, y: ArrayType, x: ArrayType) -> int:
        return x.size


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
    dtypes = NUMBERS

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.sum(x, axis=_argument(self.axis))

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (self.repeated(adj, x),)


@final
@dataclass(frozen=True)
class Mean(_Reduction):
    """Mean of entries along `axis` (empty means over all entries)."""

    axis: tuple[int, ...] = ()
    name = "mean"
    notation = "mean({0})"
    tex = r"\operatorname{mean} {0}"
    symbol = r"\operatorname{mean}"

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.mean(x, axis=_argument(self.axis))

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        share = adj / count(tuple(x.shape[i] for i in self.gone(x.array_type)), x.dtype)
        return (self.repeated(share, x),)


class _Extreme(_Reduction):
    """What Max and Min share: equal shares of the adjoint for all entries that attain the value."""

    dtypes = NUMBERS

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        hit = Equal()(x, self.repeated(y, x))
        ties = Sum(self.axis)(Cast(x.dtype)(hit))
        return (Where()(hit, self.repeated(adj / ties, x), 0),)


@final
@dataclass(frozen=True)
class Max(_Extreme):
    """Largest entry along `axis` (empty means of all entries).

    Entries that tie share the adjoint equally, as by ``jnp.max`` of JAX and ``torch.amax``.
    """

    axis: tuple[int, ...] = ()
    name = "max"
    notation = "max({0})"
    tex = r"\max {0}"
    symbol = r"\max"

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.max(x, axis=_argument(self.axis))


@final
@dataclass(frozen=True)
class Min(_Extreme):
    """Smallest entry along `axis` (empty means of all entries); ties as for `Max`."""

    axis: tuple[int, ...] = ()
    name = "min"
    notation = "min({0})"
    tex = r"\min {0}"
    symbol = r"\min"

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.min(x, axis=_argument(self.axis))


@final
@dataclass(frozen=True)
class Prod(_Reduction):
    """Product of entries along `axis` (empty means of all entries).

    The derivative with respect to an entry is the product of all others. It is calculated as that, with n²
    work for n entries, and not as the quotient y / x, so that it holds where entries are zero.
    """

    axis: tuple[int, ...] = ()
    name = "prod"
    notation = "prod({0})"
    tex = r"\prod {0}"
    symbol = r"\textstyle\prod"
    dtypes = NUMBERS

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.prod(x, axis=_argument(self.axis))

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        kept, gone = self.kept(x.array_type), self.gone(x.array_type)
        order = (*kept, *gone)
        last, turned = len(kept), tuple(x.shape[i] for i in order)
        n: Dim = size_of(x.shape[i] for i in gone)
        rows = Reshape((*turned[:last], n))(Transpose(order)(x))
        square = (*rows.shape, n)
        here, other = (CumSum(i)(filled(1.0, ArrayType((n, n), x.dtype))) for i in (0, 1))
        itself = Broadcast(square, (last, last + 1))(Equal()(here, other))
        others = Prod((last + 1,))(Where()(itself, 1, Broadcast(square, (*range(last), last + 1))(rows)))
        back = tuple(order.index(i) for i in range(len(order)))
        return (self.repeated(adj, x) * Transpose(back)(Reshape(turned)(others)),)


@final
@dataclass(frozen=True)
class LogSumExp(_Reduction):
    """ln Σ exp(x) along `axis` (empty means over all entries), shifted so that nothing overflows.

    The derivative is the softmax (Blanchard, Higham & Higham, IMA J. Numer. Anal. 41, 2021).
    """

    axis: tuple[int, ...] = ()
    name = "logsumexp"
    notation = "logsumexp({0})"
    tex = r"\operatorname{lse} {0}"
    symbol = r"\operatorname{lse}"
    dtypes = FLOATS
    prelude = """\
def logsumexp(x, axis=None):
    top = max(x, axis=axis, keepdims=True)
    top = where(abs(top) < inf, top, 0)
    return sum(log(sum(exp(x - top), axis=axis, keepdims=True)) + top, axis=axis)
"""

    def forward(self, xp: Any, /, x: Any) -> Any:
        axis = _argument(self.axis)
        top = xp.max(x, axis=axis, keepdims=True)
        top = xp.where(xp.abs(top) < float("inf"), top, 0)  # ∞ − ∞ is no shift
        return xp.sum(xp.log(xp.sum(xp.exp(x - top), axis=axis, keepdims=True)) + top, axis=axis)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (self.repeated(adj, x) * Exp()(x - self.repeated(y, x)),)

    def flops(self, y: ArrayType, x: ArrayType) -> int:
        return 13 * x.size


class _Along(Op):
    """What ops along one axis share."""

    axis: int

    def checked(self, x: ArrayType) -> ArrayType:
        self.of_dtype(x)
        if not 0 <= self.axis < x.ndim:
            raise ShapeError(f"{self.name} along axis {self.axis} does not fit {x}")
        return x

    def flops(self, y: ArrayType, x: ArrayType) -> int:
        return x.size


@final
@dataclass(frozen=True)
class ArgMax(_Along):
    """Where along `axis` the largest entry is, as an integer; the first of several. It has no derivative."""

    axis: int
    name = "argmax"
    notation = "argmax({0}, axis={axis})"
    tex = r"\operatorname{argmax} {0}"
    dtypes = NUMBERS

    def infer(self, x: ArrayType) -> ArrayType:
        shape = self.checked(x).shape
        return ArrayType((*shape[: self.axis], *shape[self.axis + 1 :]), "i64")

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.argmax(x, axis=self.axis)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[None]:
        return (None,)


@final
@dataclass(frozen=True)
class CumSum(_Along):
    """Sums of the entries up to each one along `axis`; of those from each one on where `reverse`.

    Each direction is the other's derivative.
    """

    axis: int
    reverse: bool = False
    name = "cumsum"
    notation = "cumsum({0}, axis={axis})"
    tex = r"\operatorname{cumsum} {0}"
    dtypes = NUMBERS

    def source(self) -> str:
        if not self.reverse:
            return super().source()
        turned = f"[{':, ' * self.axis}::-1]"
        return f"cumsum({{0}}{turned}, axis={self.axis}){turned}"

    def infer(self, x: ArrayType) -> ArrayType:
        return self.checked(x)

    def mixes(self, x: ArrayType) -> tuple[Dim, ...]:
        return (x.shape[self.axis],)

    def forward(self, xp: Any, /, x: Any) -> Any:
        if not self.reverse:
            return xp.cumsum(x, axis=self.axis)
        turned = (slice(None),) * self.axis + (slice(None, None, -1),)
        return xp.cumsum(x[turned], axis=self.axis)[turned]

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (CumSum(self.axis, not self.reverse)(adj),)


_SHAPES = (("B", "n"),)
Sum.samples = tuple(Sample(_SHAPES, op=Sum(axis)) for axis in ((), (0,), (1,)))
Mean.samples = tuple(Sample(_SHAPES, op=Mean(axis)) for axis in ((), (0,), (1,)))
Max.samples = tuple(Sample(_SHAPES, op=Max(axis), distinct=True) for axis in ((), (0,), (1,)))
Min.samples = tuple(Sample(_SHAPES, op=Min(axis), distinct=True) for axis in ((), (0,), (1,)))
Prod.samples = (
    *(Sample(_SHAPES, op=Prod(axis)) for axis in ((), (0,), (1,))),
    Sample((("m", 2, "n"),), op=Prod((0, 2)), within=(0.3, 1.5)),
)
LogSumExp.samples = (
    *(Sample(_SHAPES, op=LogSumExp(axis)) for axis in ((), (0,), (1,))),
    Sample((("m", 2, "n"),), op=LogSumExp((0, 2))),
)
ArgMax.samples = tuple(Sample(_SHAPES, op=ArgMax(axis), distinct=True) for axis in (0, 1))
CumSum.samples = tuple(Sample(_SHAPES, op=CumSum(axis, back)) for axis in (0, 1) for back in (False, True))
