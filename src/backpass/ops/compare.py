"""Comparisons, choices and conversions, entry by entry: what gives, reads or changes a dtype."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

from backpass.errors import ShapeError
from backpass.ir.node import SURFACE, Node
from backpass.ir.op import ANY, NUMBERS, Elementwise, Precedence, Sample
from backpass.ir.types import DTYPES, ArrayType


class _Comparison(Elementwise):
    """What the six comparisons share: the value is true or false, and no derivative flows.

    A comparison is constant wherever it is continuous, so None (zero) is its derivative, as in JAX.
    """

    dtypes: ClassVar[tuple[str, ...]] = NUMBERS
    precedence = Precedence.COMPARE
    samples: ClassVar[tuple[Sample, ...]] = (
        Sample((("m", "n"), ("m", "n")), distinct=True),
        Sample((("m", "n"), ("m", "n")), dtypes=("i64", "i64")),
    )

    def infer(self, *xs: ArrayType) -> ArrayType:
        return ArrayType(super().infer(*xs).shape, "bool")

    def vjp(self, adj: Node, y: Node, /, a: Node, b: Node) -> tuple[None, None]:
        return None, None


@final
@dataclass(frozen=True)
class Greater(_Comparison):
    """Whether a > b."""

    name = "greater"
    notation = tex = "{0} > {1}"

    def forward(self, xp: Any, /, a: Any, b: Any) -> Any:
        return a > b


@final
@dataclass(frozen=True)
class GreaterEqual(_Comparison):
    """Whether a ≥ b."""

    name = "greater_equal"
    notation = "{0} >= {1}"
    tex = r"{0} \ge {1}"

    def forward(self, xp: Any, /, a: Any, b: Any) -> Any:
        return a >= b


@final
@dataclass(frozen=True)
class Less(_Comparison):
    """Whether a < b."""

    name = "less"
    notation = tex = "{0} < {1}"

    def forward(self, xp: Any, /, a: Any, b: Any) -> Any:
        return a < b


@final
@dataclass(frozen=True)
class LessEqual(_Comparison):
    """Whether a ≤ b."""

    name = "less_equal"
    notation = "{0} <= {1}"
    tex = r"{0} \le {1}"

    def forward(self, xp: Any, /, a: Any, b: Any) -> Any:
        return a <= b


@final
@dataclass(frozen=True)
class Equal(_Comparison):
    """Whether a = b. (``==`` of two Nodes is Python's own: whether they are the same Node.)"""

    name = "equal"
    notation = "equal({0}, {1})"
    tex = "{0} = {1}"
    precedence = Precedence.ATOM
    dtypes = ANY

    def forward(self, xp: Any, /, a: Any, b: Any) -> Any:
        return xp.equal(a, b)


@final
@dataclass(frozen=True)
class NotEqual(_Comparison):
    """Whether a ≠ b."""

    name = "not_equal"
    notation = "not_equal({0}, {1})"
    tex = r"{0} \ne {1}"
    precedence = Precedence.ATOM
    dtypes = ANY

    def forward(self, xp: Any, /, a: Any, b: Any) -> Any:
        return xp.not_equal(a, b)


@final
@dataclass(frozen=True)
class Where(Elementwise):
    """The second input where the first is true, else the third.

    The adjoint goes to the branch that was taken; the other gets exact zeros. Zero times an infinite
    derivative is NaN, though, so a function that is not defined everywhere needs a safe argument:
    ``where(x > 0, sqrt(where(x > 0, x, 1)), 0)``, as in JAX and PyTorch.
    """

    name = "where"
    notation = "where({0}, {1}, {2})"
    tex = r"\begin{cases} {1} & \text{if } {0} \\ {2} & \text{else} \end{cases}"
    dtypes = ANY
    untyped = (0,)
    samples = (Sample((("B", "n"),) * 3, dtypes=("bool", "f64", "f64")),)

    def infer(self, condition: ArrayType, a: ArrayType, b: ArrayType) -> ArrayType:
        if condition.dtype != "bool" or a != b or condition.shape != a.shape:
            raise ShapeError(f"where needs a condition and two inputs of one type, got {condition}, {a}, {b}")
        return a

    def forward(self, xp: Any, /, condition: Any, a: Any, b: Any) -> Any:
        return xp.where(condition, a, b)

    def vjp(self, adj: Node, y: Node, /, condition: Node, a: Node, b: Node) -> tuple[None, Node, Node]:
        return None, Where()(condition, adj, 0), Where()(condition, 0, adj)


@final
@dataclass(frozen=True)
class Cast(Elementwise):
    """The same values in another dtype; numbers become integers by leaving off what follows the point.

    Only from floating-point numbers to floating-point numbers does a derivative flow.
    """

    dtype: str
    name = "cast"
    notation = "float64({0})"
    tex = "{0}"
    dtypes = ANY
    untyped = (0,)

    def infer(self, x: ArrayType) -> ArrayType:
        return ArrayType(x.shape, self.dtype)

    def source(self) -> str:
        return f"{DTYPES[self.dtype].type.__name__}({{0}})".replace("bool(", "bool_(")

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.cast(x, self.dtype)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node | None]:
        floating = {x.dtype, self.dtype} <= {"f32", "f64"}
        return (Cast(x.dtype)(adj) if floating else None,)

    def flops(self, y: ArrayType, *xs: ArrayType) -> int:
        return 0


@final
@dataclass(frozen=True)
class StopGradient(Elementwise):
    """The same value, through which no derivative flows (``stop_gradient`` of JAX, ``detach`` of PyTorch)."""

    name = "stop_gradient"
    notation = "stop_gradient({0})"
    tex = r"\operatorname{sg}({0})"
    dtypes = ANY
    samples = (Sample((("m", "n"),), fixed=(0,)),)

    def forward(self, xp: Any, /, x: Any) -> Any:
        return x

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[None]:
        return (None,)

    def flops(self, y: ArrayType, *xs: ArrayType) -> int:
        return 0


_ONE = (("m", "n"),)
Cast.samples = (
    Sample(_ONE, op=Cast("f64")),
    Sample(_ONE, op=Cast("f64"), dtypes=("i64",)),
    Sample(_ONE, op=Cast("f64"), dtypes=("bool",)),
    Sample(_ONE, op=Cast("i64"), away_from=0.0),
    Sample(_ONE, op=Cast("bool"), dtypes=("i64",)),
)

SURFACE.binary.update({">": Greater, ">=": GreaterEqual, "<": Less, "<=": LessEqual})
