"""Ops that work entry by entry. Executors may fuse any chain of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from backpass.ir.node import SURFACE, Node
from backpass.ir.op import Elementwise, Precedence, Sample
from backpass.ir.types import ArrayType

_ONE = (Sample((("m", "n"),)),)
_TWO = (Sample((("B", "n"), ("B", "n"))),)


@final
@dataclass(frozen=True)
class Add(Elementwise):
    """Sum of two arrays."""

    name = "add"
    notation = tex = "{0} + {1}"
    precedence = Precedence.SUM
    samples = _TWO

    def forward(self, xp: Any, /, a: Any, b: Any) -> Any:
        return a + b

    def vjp(self, adj: Node, y: Node, /, a: Node, b: Node) -> tuple[Node, Node]:
        return adj, adj


@final
@dataclass(frozen=True)
class Subtract(Elementwise):
    """Difference of two arrays."""

    name = "subtract"
    notation = tex = "{0} - {1}"
    precedence = Precedence.SUM
    samples = _TWO

    def forward(self, xp: Any, /, a: Any, b: Any) -> Any:
        return a - b

    def vjp(self, adj: Node, y: Node, /, a: Node, b: Node) -> tuple[Node, Node]:
        return adj, -adj


@final
@dataclass(frozen=True)
class Multiply(Elementwise):
    """Product entry by entry: the Hadamard product of the delta equations."""

    name = "multiply"
    notation = "{0} * {1}"
    tex = r"{0} \odot {1}"
    precedence = Precedence.PRODUCT
    samples = _TWO

    def forward(self, xp: Any, /, a: Any, b: Any) -> Any:
        return a * b

    def vjp(self, adj: Node, y: Node, /, a: Node, b: Node) -> tuple[Node, Node]:
        return adj * b, adj * a


@final
@dataclass(frozen=True)
class Divide(Elementwise):
    """Quotient of two arrays."""

    name = "divide"
    notation = "{0} / {1}"
    tex = r"{0} / {1}"
    precedence = Precedence.PRODUCT
    samples = (Sample((("m", "n"), ("m", "n")), within=(0.5, 3.0)),)

    def forward(self, xp: Any, /, a: Any, b: Any) -> Any:
        return a / b

    def vjp(self, adj: Node, y: Node, /, a: Node, b: Node) -> tuple[Node, Node]:
        return adj / b, -(adj * y / b)


@final
@dataclass(frozen=True)
class Negate(Elementwise):
    """Change of sign."""

    name = "negate"
    notation = tex = "-{0}"
    precedence = Precedence.UNARY
    samples = _ONE

    def forward(self, xp: Any, /, x: Any) -> Any:
        return -x

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (-adj,)


@final
@dataclass(frozen=True)
class Exp(Elementwise):
    """Exponential function."""

    name = "exp"
    notation = "exp({0})"
    tex = r"\exp({0})"
    samples = _ONE

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.exp(x)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (adj * y,)

    def flops(self, y: ArrayType, *xs: ArrayType) -> int:
        return 10 * y.size


@final
@dataclass(frozen=True)
class Log(Elementwise):
    """Natural logarithm."""

    name = "log"
    notation = "log({0})"
    tex = r"\ln({0})"
    samples = (Sample((("m", "n"),), within=(0.3, 4.0)),)

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.log(x)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (adj / x,)

    def flops(self, y: ArrayType, *xs: ArrayType) -> int:
        return 10 * y.size


@final
@dataclass(frozen=True)
class Tanh(Elementwise):
    """Hyperbolic tangent; its derivative is 1 − tanh²."""

    name = "tanh"
    notation = "tanh({0})"
    tex = r"\tanh({0})"
    samples = _ONE

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.tanh(x)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (adj * (1 - y * y),)

    def flops(self, y: ArrayType, *xs: ArrayType) -> int:
        return 12 * y.size


@final
@dataclass(frozen=True)
class Sigmoid(Elementwise):
    """Logistic function σ(x) = 1 / (1 + e⁻ˣ); its derivative is σ (1 − σ).

    The formula keeps full relative accuracy on both sides: where e⁻ˣ overflows, σ is exactly 0.
    """

    name = "sigmoid"
    notation = "sigmoid({0})"
    tex = r"\sigma({0})"
    samples = _ONE

    def forward(self, xp: Any, /, x: Any) -> Any:
        return 1 / (1 + xp.exp(-x))

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (adj * (y * (1 - y)),)

    def flops(self, y: ArrayType, *xs: ArrayType) -> int:
        return 12 * y.size


@final
@dataclass(frozen=True)
class Relu(Elementwise):
    """Rectified linear unit, max(x, 0).

    At the kink the derivative is taken as 0, as in JAX and PyTorch (the smallest-norm subgradient).
    """

    name = "relu"
    notation = "relu({0})"
    tex = r"\operatorname{relu}({0})"
    samples = (Sample((("m", "n"),), away_from=0.0),)

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.maximum(x, 0)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (Gate()(adj, x),)


@final
@dataclass(frozen=True)
class Gate(Elementwise):
    """The first input where the second is positive, else 0: what ReLU lets back."""

    name = "gate"
    notation = "{0} * ({1} > 0)"
    tex = r"{0} \odot [{1} > 0]"
    precedence = Precedence.PRODUCT
    samples = (Sample((("m", "n"), ("m", "n")), away_from=0.0),)

    def forward(self, xp: Any, /, a: Any, x: Any) -> Any:
        return a * (x > 0)

    def vjp(self, adj: Node, y: Node, /, a: Node, x: Node) -> tuple[Node, None]:
        return Gate()(adj, x), None  # constant in x away from the kink


SURFACE.binary.update({"+": Add, "-": Subtract, "*": Multiply, "/": Divide})
SURFACE.negate = Negate
